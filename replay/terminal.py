"""What is written for a person who watches: one progress line, only on a terminal, gone when the work is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

INTERVAL_S = 0.1


def say_when_compiling(stream: TextIO) -> None:
    """Tell a person why nothing happens for a minute: the engine's kernels are not in the cache yet."""
    from replay.kernel.jit import is_compiled

    if not is_compiled("advance"):
        stream.write("tickreplay: compiling the engine, once for this installation, about a minute …\n")
        stream.flush()


class ProgressLine:
    """A line that is overwritten, at most ten times a second; silent when `stream` is not a terminal.

    `clock` returns seconds and never steps back.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = stream
        self.clock = clock
        self.active = stream.isatty()
        self.shown = ""
        self.next_s = clock()

    def show(self, text: str) -> None:
        """Replace the line by `text` (no newline in it)."""
        if self.active and self.clock() >= self.next_s:
            self.stream.write("\r" + text.ljust(len(self.shown)))
            self.stream.flush()
            self.shown = text
            self.next_s = self.clock() + INTERVAL_S

    def clear(self) -> None:
        """Blank the line, so that what is printed next starts clean."""
        if self.shown:
            self.stream.write("\r" + " " * len(self.shown) + "\r")
            self.stream.flush()
            self.shown = ""

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
