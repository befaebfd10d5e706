"""The progress line: only for people, at most ten times a second, gone at the end."""

from __future__ import annotations

import io

from replay.terminal import ProgressLine


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
