"""A day on its way to the disk: one draft a channel, written aside, and the counts of what was seen.

Rows wait until a row group is full, so what a file contains does not depend on how the rows were handed in.
"""

from __future__ import annotations

import hashlib
import os
from os import fspath
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from replay.errors import ConfigError, DataError
from replay.events import BAD_TS, BOOK, CLEAR, GAP, LAST, OFF_TICK, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.quality import MAX_LISTED_GAPS, Gap, InstrumentQuality
from replay.store import layout
from replay.store.check import digest_of
from replay.store.columns import NAMES, ROW_GROUP_ROWS, Columns, chosen, encoded, joined, record_batch
from replay.store.footer import KEY, DayQuality, Footer, SourceFile

_WATCHED = ("seq", "price", "qty", "value", "flags", "kind", "side")
"""Columns that may turn out to be constant in a file."""

_CHANNEL_INDEX = np.array(
    [layout.CHANNELS.index(layout.CHANNEL_OF[kind]) if kind in layout.CHANNEL_OF else -1 for kind in range(128)]
)
"""Index into `layout.CHANNELS` by kind."""


class DayDraft:
    """The files of the day that is being written, and what was seen of it."""

    def __init__(self, number: int, folder: Path, instrument: Instrument, schema: Any) -> None:
        self.number, self.folder, self.instrument, self.schema = number, folder, instrument, schema
        self.files: dict[str, FileDraft] = {}
        self.seen = DayQuality()
        self.next_message = 0
        self.state = "empty"

    def write(self, events: np.ndarray, message: np.ndarray | None) -> None:
        """Count rows and hand them to their channels."""
        ends = (events["flags"] & LAST) != 0
        ordinal = np.cumsum(ends) - ends
        if message is None:
            message = self.next_message + ordinal
        if message[0] < self.next_message:
            raise ConfigError("message", int(message[0]), f"does not follow the last one, {self.next_message - 1}")
        self.next_message = int(message[-1]) + 1
        self._count(events, ends)
        firsts = np.concatenate(([0], np.flatnonzero(ends)[:-1] + 1))
        kinds = events["kind"][firsts]
        for kind in np.unique(kinds).tolist():
            if kind not in layout.CHANNEL_OF:
                raise DataError(f"{self.instrument.name}: the store has no channel for events of kind {kind}")
        of_row = _CHANNEL_INDEX[kinds][ordinal]
        for index in np.unique(of_row).tolist():
            name = layout.CHANNELS[index]
            if name not in self.files:
                self.files[name] = FileDraft(self.folder / f"{name}.part", self.instrument, self.schema)
            mine = np.flatnonzero(of_row == index)
            self.files[name].append(chosen(events, mine), np.asarray(message[mine], np.int64))

    def _count(self, events: np.ndarray, ends: np.ndarray) -> None:
        counts, kinds, flags = self.seen.counts, events["kind"], events["flags"]
        books = kinds == BOOK
        counts.messages += int(np.count_nonzero(ends))
        counts.depth_messages += int(np.count_nonzero(ends & books & ((flags & SNAPSHOT) == 0)))
        counts.trades += int(np.count_nonzero(kinds == TRADE))
        counts.snapshots += int(np.count_nonzero((flags & CLEAR) != 0))
        counts.off_tick += int(np.count_nonzero((flags & OFF_TICK) != 0))
        counts.exch_ts_backsteps += int(np.count_nonzero((flags & BAD_TS) != 0))
        for row in events[(kinds == GAP) | (books & ends & ((flags & SNAPSHOT) != 0))]:
            ts = int(row["ts"])
            if row["kind"] == GAP:
                self._lose(Gap(self.instrument.name, ts, int(row["seq"]), int(row["value"])))
            else:
                self._recover(ts)

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
        for file in self.files.values():
            file.abandon()


class FileDraft:
    """One Parquet file on its way: rows wait until a row group is full."""

    def __init__(self, path: Path, instrument: Instrument, schema: Any) -> None:
        self.path, self.instrument, self.schema = path, instrument, schema
        self.sink: Any = None
        self.parquet: Any = None
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self.waiting_rows = self.rows = self.messages = 0
        self.hashes = hashlib.sha256(), hashlib.sha256()
        self.first_us = self.last_us = self.first_seq = self.last_seq = self.max_latency_us = 0
        self.low: dict[str, int] = {}
        self.high: dict[str, int] = {}

    def append(self, events: np.ndarray, message: np.ndarray) -> None:
        """Take rows that are this file's own; writes full row groups."""
        for name in ("instrument", "source", "pad2", "pad4"):
            events[name] = 0
        self.hashes[0].update(events.view(np.uint8).data)
        self.hashes[1].update(message.view(np.uint8).data)
        if not self.rows:
            self.first_us, self.first_seq = int(events["ts"][0]), int(events["seq"][0])
        self.last_us, self.last_seq = int(events["ts"][-1]), int(events["seq"][-1])
        self.max_latency_us = max(self.max_latency_us, int((events["ts"] - events["exch_ts"]).max()))
        for name in _WATCHED:
            low, high = int(events[name].min()), int(events[name].max())
            self.low[name], self.high[name] = min(low, self.low.get(name, low)), max(high, self.high.get(name, high))
        self.rows += len(events)
        self.messages += int(np.count_nonzero(events["flags"] & LAST))
        self.waiting.append((events, message))
        self.waiting_rows += len(events)
        if self.waiting_rows >= ROW_GROUP_ROWS:
            self._write_groups(ROW_GROUP_ROWS)

    def _write_groups(self, least: int) -> None:
        """Write row groups while at least `least` rows wait."""
        events = joined([rows for rows, _ in self.waiting])
        message = np.concatenate([numbers for _, numbers in self.waiting])
        at = 0
        while len(events) - at >= least:
            stop = min(at + ROW_GROUP_ROWS, len(events))
            columns: Columns = {name: events[name][at:stop] for name in NAMES if name != "message"}
            columns["message"] = message[at:stop]
            if self.parquet is None:
                self.sink = pa.OSFile(fspath(self.path), "wb")
                self.parquet = pq.ParquetWriter(self.sink, self.schema, **encoded(columns))
            batch = record_batch(columns, self.schema, self.instrument)
            self.parquet.write_batch(batch, row_group_size=ROW_GROUP_ROWS)
            at = stop
        self.waiting = [(events[at:].copy(), message[at:].copy())]
        self.waiting_rows = len(events) - at

    def digest(self) -> str:
        """Digest in hex of the rows so far."""
        return digest_of(self.hashes[0].digest(), self.hashes[1].digest())

    def footer(
        self, channel: str, day: int, siblings: dict[str, str], source_files: tuple[SourceFile, ...],
        quality: DayQuality, origin: str,
    ) -> Footer:  # fmt: skip
        """All facts of this file."""
        constants = {name: low for name, low in self.low.items() if low == self.high[name]}
        return Footer(
            self.instrument, channel, day, self.rows, self.messages, self.first_us, self.last_us, self.first_seq,
            self.last_seq, self.max_latency_us, self.digest(), constants, siblings, source_files, quality, origin,
        )  # fmt: skip

    def finish(self, footer: Footer) -> None:
        """Write what waits and the footer; the file is then on the disk."""
        if self.waiting_rows:
            self._write_groups(1)
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
