"""The progress line: only for people, at most ten times a second, gone at the end."""

from __future__ import annotations

import io
from decimal import Decimal
from pathlib import Path

import pytest

from replay import Instrument, Replay, Strategy
from replay.sources import find_adapter
from replay.terminal import Progress, ProgressLine, progress_of
from replay.testing import SyntheticMarket, synthetic_events


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


def test_whoever_runs_a_compiled_strategy_first_is_told_that_its_engine_compiles(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("replay.kernel.jit.is_compiled", lambda name: name != "drive")
    instruments = [Instrument("test", "A", "linear", Decimal("0.1"), Decimal("0.001"))]
    replay = Replay(synthetic_events(instruments, messages=50), instruments=instruments)
    replay.run(Strategy())
    assert capsys.readouterr().err == ""
    replay.run(Strategy(), mode="compiled")
    assert capsys.readouterr().err.startswith("tickreplay: compiling the engine of compiled strategies, once")


def test_a_line_is_cut_to_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    ProgressLine(stream).show("x" * 80)
    assert stream.getvalue() == "\r" + "x" * 29


def progress(total: int, times: list[float]) -> tuple[Progress, Terminal]:
    """Progress on a terminal whose clock shows `times`, one more at each look."""
    stream = Terminal()
    ticks = iter(times)
    now = [0.0]

    def clock() -> float:
        now[0] = next(ticks, now[0])
        return now[0]

    return Progress(ProgressLine(stream, clock), total), stream


def last(stream: Terminal) -> str:
    """What the line shows."""
    return stream.getvalue().rpartition("\r")[2].rstrip()


def test_progress_tells_rate_share_and_time_left() -> None:
    shown, stream = progress(1_000, [0.0, 0.0, 10.0])
    shown.done = 250
    shown.show(5_000, "12 fills")
    assert last(stream) == "5,000 rows   500 rows/s   25%   0:30 left   12 fills"


def test_progress_without_a_total_tells_no_time_left() -> None:
    shown, stream = progress(0, [0.0, 0.0, 4.0])
    shown.read(100)
    assert last(stream) == "reading …"
    shown, stream = progress(0, [0.0, 0.0, 4.0])
    shown.show(100)
    assert last(stream) == "100 rows   25 rows/s"


def test_progress_by_rows() -> None:
    shown, stream = progress(10, [*[0.0] * 6, 130.0])
    shown.start(200)
    shown.read(7)
    shown.show(100)
    assert (shown.done, shown.total) == (100, 200)
    assert last(stream) == "100 rows   1 rows/s   50%   2:10 left"


def test_a_pass_over_the_same_rows_starts_again() -> None:
    shown, _ = progress(100, [0.0])
    shown.read(80)
    shown.show(50)
    shown.show(10)
    assert (shown.done, shown.rows) == (0, 10)


def test_what_is_read_from_files_is_counted(tmp_path: Path) -> None:
    path = SyntheticMarket("binance-usdm", seed=1, duration_us=1_000_000).write(tmp_path / "day.gz")
    with progress_of(io.StringIO(), [path, tmp_path / "missing"]) as shown:
        source = find_adapter("binance-usdm").open([path])
        assert shown.total == shown.done == path.stat().st_size
        shown.start()
        rows = sum(len(batch) for batch in source.batches())
        assert rows > 0 and shown.done == path.stat().st_size
