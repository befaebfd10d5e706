"""The files of a day as one stream of events, in exactly the order in which they were written.

A lane is one file, its messages in order of `(ts, message)`.  The lanes' next rows lie side by side in a stage, and a
kernel puts them together until one of them is used up and must be read on: memory is a block a lane, whatever the
length of the day.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from os import fspath
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from replay.errors import DataError
from replay.events import EVENT
from replay.store.columns import NAMES, WORDS, Grid, rows_into, times_of
from replay.store.footer import KEY, Footer, unreadable


def parquet_batches(path: Path, footer: Footer, start_us: int, end_us: int, rows: int) -> Iterator[Any]:
    """Record batches of at most `rows` rows that together hold all rows with `ts` in [start_us, end_us).

    Row groups outside that range are not read, nor are the footer's constant columns; Arrow's own reading ahead
    (`pre_buffer`) stays off, because it keeps the whole file in memory.  DataError when the file cannot
    be read or is not the one that `footer` describes.
    """
    names = [name for name in NAMES if name not in footer.constants]
    try:
        with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file:
            metadata = file.metadata
            if Footer.from_text((metadata.metadata or {}).get(KEY, b""), path) != footer:
                raise DataError("was replaced while it was in use", fspath(path), hint="open the store again")
            groups = range(metadata.num_row_groups)
            first = bisect_left(groups, start_us, key=lambda g: metadata.row_group(g).column(0).statistics.max_raw)
            stop = bisect_left(groups, end_us, key=lambda g: metadata.row_group(g).column(0).statistics.min_raw)
            yield from file.iter_batches(rows, row_groups=list(groups[first:stop]), columns=names, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from None


def hot_batches(path: Path, start_us: int, end_us: int, rows: int) -> Iterator[Any]:
    """As `parquet_batches`, from a memory-mapped uncompressed copy."""
    try:
        with pa.memory_map(fspath(path)) as mapped, pa.ipc.open_file(mapped) as file:
            batches = range(file.num_record_batches)

            def edge(index: int, row: int) -> int:
                column = file.get_batch(index).column(0)
                return int(column[row if row >= 0 else len(column) - 1].value)

            first = bisect_left(batches, start_us, key=lambda index: edge(index, -1))
            stop = bisect_left(batches, end_us, key=lambda index: edge(index, 0))
            for index in batches[first:stop]:
                batch = file.get_batch(index)
                for row in range(0, len(batch), rows):
                    yield batch.slice(row, rows)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from None


class Lane:
    """One file, cut to [start_us, end_us), of instrument index `instrument`."""

    def __init__(
        self, path: Path, batches: Iterator[Any], constants: Mapping[str, int], grid: Grid, instrument: int,
        start_us: int, end_us: int,
    ) -> None:  # fmt: skip
        self.path, self.constants, self.grid, self.instrument = path, constants, grid, instrument
        self._batches, self._start_us, self._end_us = batches, start_us, end_us

    def read(self) -> Any:
        """The next record batch with rows in the range, None at the end."""
        for batch in self._batches:
            times = times_of(batch)
            if len(times) and (times[0] < self._start_us or times[-1] >= self._end_us):
                first, stop = np.searchsorted(times, [self._start_us, self._end_us]).tolist()
                batch = batch.slice(first, stop - first)
            if len(batch):
                return batch
        return None

    def expand(self, batch: Any, words: np.ndarray, numbers: np.ndarray) -> int:
        """Write a batch to as many rows; how many of them whole messages take.

        DataError naming the file when a value is missing or too large.
        """
        try:
            return rows_into(words, numbers, batch, self.constants, self.grid, self.instrument)
        except DataError as error:
            raise DataError(error.problem, fspath(self.path), hint="import the day again") from None


def merged(lanes: Sequence[Lane], rows: int) -> Iterator[np.ndarray]:
    """Arrays of whole messages of all lanes by `(ts, message)`, ties in the order of `lanes`; each stays valid.

    `rows` is how many rows a batch of a lane has at most.
    """
    from replay.kernel.interleave import interleave
    from replay.kernel.merge import CURSOR

    stage = Stage(lanes, 2 * rows)
    cursors, heap = np.zeros(len(lanes), CURSOR), np.zeros(len(lanes), np.int64)
    while waiting := stage.refill():
        out = np.empty((waiting, WORDS), np.int64)
        written = interleave(stage.words, stage.numbers, stage.at, stage.stops, stage.more, cursors, heap, out)
        yield out[:written].view(EVENT)[:, 0]


class Stage:
    """Room for a block of rows of each lane, all in one array.

    Lane s owns rows [s · room, (s + 1) · room): those from `at[s]` to `stops[s]` are whole messages that wait, those
    from there to `ends[s]` the beginning of a message.  `more[s]` is 1 until the file has ended.
    """

    def __init__(self, lanes: Sequence[Lane], room: int) -> None:
        self.lanes, self.room = lanes, room
        count = len(lanes)
        self.at = np.arange(count) * room
        self.stops, self.ends, self.more = self.at.copy(), self.at.copy(), np.ones(count, np.int64)
        self.words, self.numbers = np.empty((count * room, WORDS), np.int64), np.empty(count * room, np.int64)

    def refill(self) -> int:
        """Read until each lane has a whole message or has ended; the number of rows that wait."""
        for s in np.flatnonzero((self.more == 1) & (self.at == self.stops)).tolist():
            self._read(s)
        return int((self.stops - self.at).sum())

    def _read(self, s: int) -> None:
        base = s * self.room
        tail = int(self.ends[s] - self.stops[s])
        for array in (self.words, self.numbers):
            array[base : base + tail] = array[self.stops[s] : self.ends[s]]
        self.at[s], self.stops[s], self.ends[s] = base, base, base + tail
        while self.stops[s] == self.at[s]:
            batch = self.lanes[s].read()
            if batch is None:
                if self.ends[s] > self.at[s]:
                    raise DataError("the last message is not closed", fspath(self.lanes[s].path))
                self.more[s] = 0
                return
            while self.ends[s] + len(batch) > (s + 1) * self.room:
                self._widen()
            first, stop = int(self.ends[s]), int(self.ends[s]) + len(batch)
            closed = self.lanes[s].expand(batch, self.words[first:stop], self.numbers[first:stop])
            self.ends[s] = stop
            if closed:
                self.stops[s] = first + closed

    def _widen(self) -> None:
        """Twice the room for every lane: a message is longer than a block."""
        words, numbers, old, count = self.words, self.numbers, self.room, len(self.lanes)
        self.room = 2 * old
        self.words = np.empty((count * self.room, WORDS), np.int64)
        self.numbers = np.empty(count * self.room, np.int64)
        for s in range(count):
            from_, to = s * old, s * self.room
            self.words[to : to + old] = words[from_ : from_ + old]
            self.numbers[to : to + old] = numbers[from_ : from_ + old]
            for edge in (self.at, self.stops, self.ends):
                edge[s] += to - from_
