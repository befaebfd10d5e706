"""A day on its way to the disk: one draft a channel, written aside, and the counts of what was seen.

Rows wait as columns until a row group is full, so what a file contains does not depend on how the rows were handed in.
A full group is encoded by a thread, one at a time, while the next one fills.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from os import fspath
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from replay.errors import ConfigError, DataError
from replay.events import BOOK, EVENT, GAP, LAST, SNAPSHOT
from replay.instruments import Instrument
from replay.kernel import filing
from replay.quality import MAX_LISTED_GAPS, Gap, InstrumentQuality
from replay.store import layout
from replay.store.check import digest_of
from replay.store.columns import DIGITS, ROW_GROUP_ROWS, Columns, encoded, mantissa, record_batch
from replay.store.footer import KEY, DayQuality, Footer, SourceFile

FIRST_ROWS = 1_024
"""Room of a file at first: a recording may have thousands of instruments with few rows each."""
HASHED_ROWS = 8_192
"""Rows that are copied and hashed at a time: they stay in the cache."""

_CHANNEL_INDEX = np.array(
    [layout.CHANNELS.index(layout.CHANNEL_OF[kind]) if kind in layout.CHANNEL_OF else -1 for kind in range(128)]
)
"""Index into `layout.CHANNELS` by kind."""


class DayDraft:
    """The files of the day that is being written, and what was seen of it."""

    def __init__(self, number: int, folder: Path, instrument: Instrument, schema: Any) -> None:
        self.number, self.folder, self.instrument, self.schema = number, folder, instrument, schema
        self.files: dict[str, FileDraft] = {}
        self.press = Press()
        self.rows = np.empty(HASHED_ROWS, EVENT)
        self.seen = DayQuality()
        self.next_message = 0
        self.state = "empty"

    def write(self, events: np.ndarray, message: np.ndarray | None) -> None:
        """Count rows and hand them to their channels."""
        if message is None:
            message = np.empty(len(events), np.int64)
            filing.number(events, self.next_message, message)
        if message[0] < self.next_message:
            raise ConfigError("message", int(message[0]), f"does not follow the last one, {self.next_message - 1}")
        self.next_message = int(message[-1]) + 1
        channels = np.empty(len(events), np.int8)
        for index in np.flatnonzero(self._count(events, channels)).tolist():
            name = layout.CHANNELS[index]
            if name not in self.files:
                self.files[name] = FileDraft(self.folder / f"{name}.part", self.instrument, self.schema, self.press)
            self.files[name].append(events, message, channels, index, self.rows)

    def _count(self, events: np.ndarray, channels: np.ndarray) -> np.ndarray:
        """Fill in the channel of each row; the number of rows by channel."""
        rows, found = np.zeros(len(layout.CHANNELS), np.int64), np.zeros(filing.NOTED + 1, np.int64)
        unknown = filing.tally(events, _CHANNEL_INDEX, channels, found, rows)
        if unknown >= 0:
            kind = int(events["kind"][unknown])
            raise DataError(f"{self.instrument.name}: the store has no channel for events of kind {kind}")
        counts = self.seen.counts
        counts.messages += int(found[filing.MESSAGES])
        counts.depth_messages += int(found[filing.DEPTH])
        counts.trades += int(found[filing.TRADES])
        counts.snapshots += int(found[filing.SNAPSHOTS])
        counts.off_tick += int(found[filing.OFF_GRID])
        counts.exch_ts_backsteps += int(found[filing.BAD_TIMES])
        if found[filing.NOTED]:
            kinds, flags = events["kind"], events["flags"]
            recovered = (kinds == BOOK) & ((flags & (LAST | SNAPSHOT)) == LAST | SNAPSHOT)
            for row in events[(kinds == GAP) | recovered]:
                ts = int(row["ts"])
                if row["kind"] == GAP:
                    self._lose(Gap(self.instrument.name, ts, int(row["seq"]), int(row["value"])))
                else:
                    self._recover(ts)
        return rows

    def _lose(self, gap: Gap) -> None:
        self.seen.counts.breaks += 1
        self.seen.gaps_total += 1
        if len(self.seen.gaps) < MAX_LISTED_GAPS:
            self.seen.gaps.append(gap)
        self.state = "stale"

    def _recover(self, ts: int) -> None:
        if self.seen.recovered_us is None:
            self.seen.recovered_us = ts
        for gap in reversed(self.seen.gaps):
            if gap.end_us is not None:
                break
            gap.end_us, gap.repair = ts, "snapshot"
        self.state = "live"

    def summary(self, extra: InstrumentQuality) -> DayQuality:
        """What was seen, with the importer's own counts added."""
        counts = self.seen.counts
        for field in InstrumentQuality.__slots__:
            if field != "book_state":
                setattr(counts, field, getattr(counts, field) + getattr(extra, field))
        counts.book_state = self.state
        return self.seen

    def abandon(self) -> None:
        """Close the files as they are."""
        self.press.close()
        for file in self.files.values():
            file.abandon()


def new_columns(rows: int) -> Columns:
    """Room for rows as columns, in the order of the arguments of `filing.take`."""
    fields = [(name, filing.COLUMNS[name]) for name in filing.COLUMNS.names or ()]
    return {name: np.empty((rows, *kind.shape), kind.base) for name, kind in fields}


class Press:
    """Has one row group at a time encoded and written by a thread; room for columns goes round."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "replay-parquet")
        self._pressing: Future[None] | None = None
        self._spare: list[Columns] = []

    def columns(self) -> Columns:
        """Room for a row group."""
        return self._spare.pop() if self._spare else new_columns(ROW_GROUP_ROWS)

    def write(self, parquet: Any, columns: Columns, batch: Any) -> None:
        """Write a batch made of `columns`, which belong to the press from now on; raises what went wrong before."""
        self.wait()
        self._pressing = self._thread.submit(self._write, parquet, columns, batch)

    def _write(self, parquet: Any, columns: Columns, batch: Any) -> None:
        parquet.write_batch(batch, row_group_size=ROW_GROUP_ROWS)
        self._spare.append(columns)

    def wait(self) -> None:
        """All is written; raises what went wrong."""
        pressing, self._pressing = self._pressing, None
        if pressing is not None:
            pressing.result()

    def close(self) -> None:
        """End the thread, whatever became of its work."""
        self._thread.shutdown()


class FileDraft:
    """One Parquet file on its way: rows wait until a row group is full."""

    def __init__(self, path: Path, instrument: Instrument, schema: Any, press: Press) -> None:
        self.path, self.instrument, self.schema, self.press = path, instrument, schema, press
        self.sink: Any = None
        self.parquet: Any = None
        self.columns = new_columns(min(FIRST_ROWS, ROW_GROUP_ROWS))
        self.waiting_rows = 0
        self.hashes = hashlib.sha256(), hashlib.sha256()
        self.facts = filing.new_facts()
        self.factors = mantissa(instrument.tick)[0], mantissa(instrument.lot)[0]
        self.first_us = self.last_us = self.first_seq = self.last_seq = 0

    def append(
        self, events: np.ndarray, message: np.ndarray, channels: np.ndarray, channel: int, rows: np.ndarray
    ) -> None:
        """Take the rows that are this file's own; writes full row groups.  `rows` is room for records."""
        start = 0
        while start < len(events):
            first, at = not self.facts["rows"][0], self.waiting_rows
            start, taken = filing.take(
                events, message, channels, start, channel, at, *self.factors, self.facts[0], rows,
                *self.columns.values(),
            )  # fmt: skip
            if not taken:
                return
            self.hashes[0].update(rows[:taken].view(np.uint8).data)
            self.hashes[1].update(self.columns["message"][at : at + taken].view(np.uint8).data)
            if first:
                self.first_us, self.first_seq = int(rows["ts"][0]), int(rows["seq"][0])
            self.last_us, self.last_seq = int(rows["ts"][taken - 1]), int(rows["seq"][taken - 1])
            self.waiting_rows += taken
            if self.waiting_rows == ROW_GROUP_ROWS:
                self._write_group()
                self.columns = self.press.columns()
            elif self.waiting_rows == len(self.columns["ts"]):
                self._widen()

    def _widen(self) -> None:
        """Make more room for the first row group."""
        before, self.columns = self.columns, new_columns(min(2 * self.waiting_rows, ROW_GROUP_ROWS))
        for name, values in before.items():
            self.columns[name][: self.waiting_rows] = values

    def _write_group(self) -> None:
        for name, factor in zip(("price", "qty"), self.factors):
            limit, which = (10**DIGITS - 1) // factor, filing.WATCHED.index(name)
            if self.facts["high"][0, which] > limit or self.facts["low"][0, which] < -limit:
                raise DataError(
                    f"{self.instrument.name}: a {name} has more than {DIGITS} digits at "
                    f"{self.schema.field(name).type.scale} decimals",
                    hint="give the instrument a coarser tick or lot",
                )
        if self.parquet is None:
            self.sink = pa.OSFile(fspath(self.path), "wb")
            settings = encoded(self.columns["message"][: self.waiting_rows])
            self.parquet = pq.ParquetWriter(self.sink, self.schema, **settings)
        self.press.write(self.parquet, self.columns, record_batch(self.columns, self.waiting_rows, self.schema))
        self.waiting_rows = 0

    def digest(self) -> str:
        """Digest in hex of the rows so far."""
        return digest_of(self.hashes[0].digest(), self.hashes[1].digest())

    def footer(
        self, channel: str, day: int, siblings: dict[str, str], source_files: tuple[SourceFile, ...],
        quality: DayQuality, origin: str,
    ) -> Footer:  # fmt: skip
        """All facts of this file."""
        facts = self.facts[0]
        lows, highs = facts["low"].tolist(), facts["high"].tolist()
        constants = {name: low for name, low, high in zip(filing.WATCHED, lows, highs) if low == high}
        return Footer(
            self.instrument, channel, day, int(facts["rows"]), int(facts["messages"]), self.first_us, self.last_us,
            self.first_seq, self.last_seq, int(facts["latency_us"]), self.digest(), constants, siblings, source_files,
            quality, origin,
        )  # fmt: skip

    def finish(self, footer: Footer) -> None:
        """Write what waits and the footer; the file is then on the disk."""
        if self.waiting_rows:
            self._write_group()
        self.press.wait()
        self.parquet.add_key_value_metadata({KEY: footer.text().encode()})
        self.parquet.close()
        self.sink.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def abandon(self) -> None:
        """Close without a footer."""
        if self.parquet is not None:
            self.parquet.is_open = False  # or it would write a footer when it is collected
            self.parquet = None
            self.sink.close()
