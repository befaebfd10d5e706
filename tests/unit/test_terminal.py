"""The progress line: only for people, at most ten times a second, gone at the end."""

from __future__ import annotations

import io
from decimal import Decimal

import pytest

from replay import Instrument, Replay, Strategy
from replay.terminal import ProgressLine
from replay.testing import synthetic_events


class Terminal(io.StringIO):
    """A stream that a person watches."""

    def isatty(self) -> bool:
        return True


def test_silent_when_nobody_watches() -> None:
    stream = io.StringIO()
    with ProgressLine(stream) as line:
        line.show("half")
    assert stream.getvalue() == ""


def test_overwrites_and_vanishes() -> None:
    times = iter([0.0, 0.0, 0.0, 0.05, 0.2, 0.2])
    stream = Terminal()
    with ProgressLine(stream, lambda: next(times)) as line:
        line.show("first")
        line.show("too soon")
        line.show("2nd")
    assert stream.getvalue() == "\rfirst\r2nd  \r   \r"


@pytest.mark.parametrize("compiled", [True, False])
def test_whoever_runs_is_told_that_the_engine_compiles(
    compiled: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("replay.kernel.jit.is_compiled", lambda name: compiled)
    instruments = [Instrument("test", "A", "linear", Decimal("0.1"), Decimal("0.001"))]
    Replay(synthetic_events(instruments, messages=50), instruments=instruments).run(Strategy())
    assert ("compiling the engine, once" in capsys.readouterr().err) is not compiled
