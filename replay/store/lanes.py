"""The files of a day as one stream of events, in exactly the order in which they were written.

A lane is one file: blocks of whole messages in order of `(ts, message)`.  Merging takes from every lane what is not
later than the last message of the lane that is read least far, so each step uses up at least one block and memory is
a block a lane, whatever the length of the day.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from os import fspath
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from replay.errors import DataError
from replay.events import EVENT, LAST
from replay.store.columns import NAMES, Grid, events_of, joined, words_of
from replay.store.footer import KEY, Footer, unreadable

Block = tuple[np.ndarray, np.ndarray]
"""EVENT rows and the number of the message of each."""


def parquet_batches(path: Path, footer: Footer, start_us: int, end_us: int, rows: int) -> Iterator[Any]:
    """Record batches of at most `rows` rows that together hold all rows with `ts` in [start_us, end_us).

    Row groups outside that range are not read, nor are the footer's constant columns.  DataError when the file cannot
    be read or is not the one that `footer` describes.
    """
    names = [name for name in NAMES if name not in footer.constants]
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            if metadata.metadata.get(KEY) != footer.text().encode():
                raise DataError("was replaced while it was in use", fspath(path), hint="open the store again")
            groups = range(metadata.num_row_groups)
            first = bisect_left(groups, start_us, key=lambda g: metadata.row_group(g).column(0).statistics.max_raw)
            stop = bisect_left(groups, end_us, key=lambda g: metadata.row_group(g).column(0).statistics.min_raw)
            yield from file.iter_batches(rows, row_groups=list(groups[first:stop]), columns=names, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from None


def hot_batches(path: Path, start_us: int, end_us: int) -> Iterator[Any]:
    """As `parquet_batches`, from a memory-mapped uncompressed copy; the batches are as they were written."""
    try:
        with pa.memory_map(fspath(path)) as mapped, pa.ipc.open_file(mapped) as file:
            batches = range(file.num_record_batches)

            def edge(index: int, row: int) -> int:
                column = file.get_batch(index).column(0)
                return int(column[row if row >= 0 else len(column) - 1].value)

            first = bisect_left(batches, start_us, key=lambda index: edge(index, -1))
            stop = bisect_left(batches, end_us, key=lambda index: edge(index, 0))
            for index in batches[first:stop]:
                yield file.get_batch(index)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from None


class Lane:
    """One file, read in blocks of whole messages; `rows` and `numbers` are what has been read but not taken."""

    def __init__(
        self, path: Path, batches: Iterator[Any], constants: dict[str, int], grid: Grid, instrument: int,
        start_us: int, end_us: int,
    ) -> None:  # fmt: skip
        self.path, self.batches, self.constants = path, batches, constants
        self.grid, self.instrument = grid, instrument
        self.start_us, self.end_us = start_us, end_us
        self.rows, self.numbers = np.zeros(0, EVENT), np.zeros(0, np.int64)
        self._tail: Block = self.rows, self.numbers

    def fill(self) -> bool:
        """Read until at least one whole message waits; False when the file has ended."""
        parts = [self._tail] if len(self._tail[0]) else []
        for batch in self.batches:
            if not len(batch):
                continue
            try:
                rows, numbers = events_of(batch, self.constants, self.grid, self.instrument)
            except DataError as error:
                raise DataError(error.problem, fspath(self.path), hint="import the day again") from None
            if rows["ts"][0] < self.start_us or rows["ts"][-1] >= self.end_us:
                first, stop = np.searchsorted(rows["ts"], [self.start_us, self.end_us])
                rows, numbers = rows[first:stop], numbers[first:stop]
            parts.append((rows, numbers))
            ends = np.flatnonzero(rows["flags"] & LAST)
            if len(ends):
                self._keep(parts, len(rows) - int(ends[-1]) - 1)
                return True
        if any(len(rows) for rows, _ in parts):
            raise DataError("the last message is not closed", fspath(self.path), hint="import the day again")
        return False

    def _keep(self, parts: list[Block], tail: int) -> None:
        rows, numbers = parts[0]
        if len(parts) > 1:
            rows, numbers = joined([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        cut = len(rows) - tail
        self._tail = rows[cut:].copy(), numbers[cut:].copy()
        self.rows, self.numbers = rows[:cut], numbers[:cut]

    @property
    def last(self) -> tuple[int, int]:
        """`(ts, message)` of the last row that waits."""
        return int(self.rows["ts"][-1]), int(self.numbers[-1])

    def take(self, bound: tuple[int, int]) -> Block:
        """The waiting rows up to `bound`, which is not after `last`."""
        times = self.rows["ts"]
        first, stop = np.searchsorted(times, bound[0]), np.searchsorted(times, bound[0], side="right")
        cut = int(first + np.searchsorted(self.numbers[first:stop], bound[1], side="right"))
        taken = self.rows[:cut], self.numbers[:cut]
        self.rows, self.numbers = self.rows[cut:], self.numbers[cut:]
        return taken


def merged(lanes: Sequence[Lane]) -> Iterator[np.ndarray]:
    """Arrays of whole messages of all lanes by `(ts, message)`, ties in the order of `lanes`."""
    waiting = [lane for lane in lanes if lane.fill()]
    while waiting:
        bound = min(lane.last for lane in waiting)
        blocks = [block for block in (lane.take(bound) for lane in waiting) if len(block[0])]
        yield blocks[0][0] if len(blocks) == 1 else _interleaved(blocks)
        waiting = [lane for lane in waiting if len(lane.rows) or lane.fill()]


def _interleaved(blocks: list[Block]) -> np.ndarray:
    from replay.kernel.interleave import interleave
    from replay.kernel.merge import CURSOR

    words = np.concatenate([words_of(rows) for rows, _ in blocks])
    numbers = np.concatenate([own for _, own in blocks])
    stops = np.cumsum([len(own) for _, own in blocks])
    at = stops - [len(own) for _, own in blocks]
    out = np.empty_like(words)
    written = interleave(
        words, numbers, at, stops, np.zeros(len(at), CURSOR), np.zeros(len(at), np.int64), out
    )  # fmt: skip
    assert written == len(out), "rows were lost"
    return out.view(EVENT)[:, 0]
