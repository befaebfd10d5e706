"""What is written for a person who watches: one progress line, only on a terminal, gone when the work is done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TextIO

INTERVAL_S = 0.1


def say_when_compiling(stream: TextIO, what: str = "the engine", kernel: str = "advance") -> None:
    """Tell a person why nothing happens for a while: the entry `kernel` of `what` is not in the cache yet."""
    from replay.kernel.jit import is_compiled

    if not is_compiled(kernel):
        stream.write(f"tickreplay: compiling {what}, once for this installation, about a minute …\n")
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
            text = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps cannot be overwritten
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


class Progress:
    """How far work is: rows, rows a second and, where the `total` is known, the share that is done and the time left.

    `total` and what is told to `done` are of one unit, bytes or rows; 0 when nobody knows.
    """

    def __init__(self, line: ProgressLine, total: int = 0) -> None:
        self.line, self.total = line, total
        self.start()

    def start(self, rows: int = 0) -> None:
        """Begin (again): the next pass over the same data, of `rows` rows where that is known."""
        self.begin_s, self.done, self.rows, self.more = self.line.clock(), 0, 0, ""
        self.counts_rows = rows > 0
        self.total = rows or self.total

    def read(self, count: int) -> None:
        """`count` more bytes of the total are done; what goes beyond it belongs to another pass."""
        if not self.counts_rows:
            if self.done + count > self.total > 0 and not self.rows:
                self.start()
            self.done += count
        self.show(self.rows, self.more)

    def show(self, rows: int, more: str = "") -> None:
        """Show `rows` so far, and `more` behind everything; less rows than before are another pass."""
        if rows < self.rows:
            self.start(self.total if self.counts_rows else 0)
        self.rows, self.more = rows, more
        if self.counts_rows:
            self.done = rows
        self.line.show("   ".join(self._parts()))

    def _parts(self) -> Iterator[str]:
        seconds = max(self.line.clock() - self.begin_s, 1e-3)
        yield f"{self.rows:,} rows" if self.rows else "reading …"
        if self.rows:
            yield f"{self.rows / seconds:,.0f} rows/s"
        if self.done and self.total:
            share = min(self.done / self.total, 1.0)
            left_s = round(seconds * (1 - share) / share)
            yield f"{share:.0%}"
            yield f"{left_s // 60}:{left_s % 60:02} left"
        if self.more:
            yield self.more


@contextmanager
def progress_of(stream: TextIO, paths: Iterable[Path] = ()) -> Iterator[Progress]:
    """Progress on `stream` of what is read from the files in this block and thread; the line is gone at its end."""
    from replay.sources import metered

    with ProgressLine(stream) as line:
        progress = Progress(line, sum(path.stat().st_size for path in paths if path.is_file()))
        progress.show(0)
        with metered(progress.read):
            yield progress
