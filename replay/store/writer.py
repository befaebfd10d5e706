"""Writing one instrument: events in, complete days out.

A day is written aside, one Parquet file a channel, and put in place when the first row of a later day arrives or the
writer is closed: every file is complete, synced and named before the first is moved, and each names the digests of
all, so readers see the whole day or none of it.  What a day's files contain depends on its events alone: not on the
size of batches, not on the clock; the same events give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from os import fspath
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from replay.errors import ConfigError, DataError, did_you_mean
from replay.events import BAD_TS, BOOK, CLEAR, EVENT, GAP, LAST, OFF_TICK, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.quality import MAX_LISTED_GAPS, Gap, InstrumentQuality
from replay.store import layout
from replay.store.aside import Slot, writing_errors
from replay.store.catalog import Catalog
from replay.store.check import digest_of
from replay.store.columns import ENCODED, NAMES, ROW_GROUP_ROWS, Columns, chosen, joined, record_batch, schema_of
from replay.store.footer import KEY, DayQuality, Footer, SourceFile

Existing = Literal["error", "replace", "skip"]
EXISTING: tuple[Existing, ...] = ("error", "replace", "skip")

_WATCHED = ("seq", "price", "qty", "value", "flags", "kind", "side")
"""Columns that may turn out to be constant in a file."""


_CHANNEL_INDEX = np.full(128, -1, np.int8)
"""Index into `layout.CHANNELS` by kind."""
for _kind, _channel in layout.CHANNEL_OF.items():
    _CHANNEL_INDEX[_kind] = layout.CHANNELS.index(_channel)


class Writer:
    """Writes one instrument to a store; made by `Store.writer`.  Use it in a `with` block.

    `quality` are the counts of the day that is being written.  The writer counts what the events show (messages, depth
    messages, trades, snapshots, breaks, off-grid rows, clamped times) when the day is complete; an importer adds what
    only it knows (`stale`, `duplicates`, `anomalies["crossed message"]`, …) while it writes the day.
    """

    def __init__(
        self, instrument: Instrument, source_files: Sequence[SourceFile | Path | str], existing: Existing,
        catalog: Catalog,
    ) -> None:  # fmt: skip
        if existing not in EXISTING:
            raise ConfigError("existing", existing, "is not known", did_you_mean(str(existing), EXISTING))
        self.root, self.instrument, self.existing = catalog.root, instrument, existing
        self.schema = schema_of(instrument)
        self.source_files = tuple(f if isinstance(f, SourceFile) else SourceFile.of(f) for f in source_files)
        self.quality = InstrumentQuality()
        self.days: list[int] = []
        self._catalog = catalog
        self._slot: Slot | None = None
        self._day: _Day | None = None
        self._skipping = -1
        self._last_us = -(2**63)
        self._over = False

    def write(self, events: np.ndarray, message: np.ndarray | None = None) -> None:
        """Append EVENT rows: whole messages of this instrument, `ts` never stepping back over all calls.

        `message` gives each row's message a number, the same for all rows of a message and growing from one to the
        next: its place in the recording, counted from the start of the UTC day.  Two instruments of one recording then
        replay in exactly the order in which they came.  Without it the messages of each day are counted from 0.

        Raises ConfigError for rows that break these rules, and for a day that is in the store already when `existing`
        is "error" ("skip" leaves such days as they are, "replace" writes them anew); DataError when a number does not
        fit or the disk is full.  After an error nothing of the unfinished day remains.
        """
        if self._over:
            raise ConfigError("writer", self.instrument.name, "is closed", "make a new one")
        if not len(events):
            return
        try:
            self._check(events, message)
            for day, part in layout.day_slices(events["ts"]):
                self._write_day(day, events[part], None if message is None else message[part])
            self._last_us = int(events["ts"][-1])
        except BaseException:
            self.abort()
            raise

    def close(self) -> None:
        """Complete the last day and put it in place."""
        if not self._over:
            try:
                self._complete()
            finally:
                self.abort()

    def abort(self) -> None:
        """Forget the unfinished day and delete its temporaries; finished days stay."""
        self._over = True
        if self._day is not None:
            self._day.abandon()
            self._day = None
        if self._slot is not None:
            self._slot.release()
            self._slot = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _check(self, events: np.ndarray, message: np.ndarray | None) -> None:
        if events.dtype != EVENT:
            raise ConfigError("events", str(events.dtype), "must be an array of replay.events.EVENT records")
        steps = np.diff(events["ts"])
        if int(events["ts"][0]) < self._last_us or (steps < 0).any():
            raise ConfigError("events", self.instrument.name, "ts steps back", "sort the rows by ts (stable)")
        ends = (events["flags"] & LAST) != 0
        if not ends[-1]:
            raise ConfigError("events", self.instrument.name, "the last message of a batch is not closed by LAST")
        if (steps[~ends[:-1]] != 0).any():
            raise ConfigError("events", self.instrument.name, "the rows of a message have different ts")
        if events["instrument"].min() != events["instrument"].max():
            raise ConfigError("events", self.instrument.name, "rows of several instruments", "use Store.record")
        if message is None:
            return
        grows = np.diff(message)
        if len(message) != len(events) or (grows[ends[:-1]] <= 0).any() or (grows[~ends[:-1]] != 0).any():
            raise ConfigError("message", self.instrument.name, "must be one number a message, growing")

    def _write_day(self, day: int, events: np.ndarray, message: np.ndarray | None) -> None:
        if day == self._skipping:
            return
        if self._day is None or self._day.number != day:
            self._complete()
            if self.existing != "replace" and self._is_there(day):
                if self.existing == "skip":
                    self._skipping = day
                    return
                raise ConfigError(
                    "existing", "error", f"{self.instrument.name} {layout.date_of(day)} is in the store already",
                    'pass existing="replace" to write it anew, "skip" to leave it',
                )  # fmt: skip
            self._open(day)
        assert self._day is not None
        with writing_errors(self.root):
            self._day.write(events, message, self.instrument, self.schema)

    def _is_there(self, day: int) -> bool:
        """Whether the store has a complete day of that number; what is broken or incomplete is written anew."""
        name = self.instrument.name
        self._catalog.forget(name)  # another process may have written it
        if day not in self._catalog.paths(name):
            return False
        try:
            self._catalog.day(name, day)
        except DataError:
            return False
        return True

    def _open(self, day: int) -> None:
        with writing_errors(self.root):
            if self._slot is None:
                self._slot = Slot(self.root)
        self._day = _Day(day, self._slot.path)
        if self._skipping >= 0:
            self.quality, self._skipping = InstrumentQuality(), -1

    def _complete(self) -> None:
        """Put the current day in place, if there is one."""
        if self._day is None:
            return
        day, name = self._day, self.instrument.name
        quality = day.summary(name, self.quality)
        siblings = {channel: file.digest() for channel, file in day.files.items()}
        with writing_errors(self.root):
            for channel, file in day.files.items():
                footer = file.footer(self.instrument, channel, day.number, siblings, self.source_files, quality)
                file.finish(footer, self.instrument, self.schema)
            for channel, file in day.files.items():
                place = self.root / layout.file_path(name, channel, day.number)
                place.parent.mkdir(parents=True, exist_ok=True)
                file.path.replace(place)
            for channel in layout.CHANNELS:
                if channel not in siblings:
                    (self.root / layout.file_path(name, channel, day.number)).unlink(missing_ok=True)
        self._catalog.forget(name)
        self.days.append(day.number)
        self._day, self.quality = None, InstrumentQuality()


class _Day:
    """The files of the day that is being written, and what was seen of it."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number, self.folder = number, folder
        self.files: dict[str, _ChannelFile] = {}
        self.seen = DayQuality()
        self.messages = 0
        self.state = "empty"

    def write(self, events: np.ndarray, message: np.ndarray | None, instrument: Instrument, schema: Any) -> None:
        """Count rows and hand them to their channels."""
        ends = (events["flags"] & LAST) != 0
        ordinal = np.cumsum(ends) - ends
        if message is None:
            message = self.messages + ordinal
        self.messages += int(ordinal[-1]) + 1
        self._count(events, ends, instrument.name)
        firsts = np.concatenate(([0], np.flatnonzero(ends)[:-1] + 1))
        kinds = events["kind"][firsts]
        for kind in np.unique(kinds).tolist():
            if kind not in layout.CHANNEL_OF:
                raise DataError(f"{instrument.name}: the store has no channel for events of kind {kind}")
        of_row = _CHANNEL_INDEX[kinds][ordinal]
        for index in np.unique(of_row).tolist():
            name = layout.CHANNELS[index]
            if name not in self.files:
                self.files[name] = _ChannelFile(self.folder / f"{name}.part")
            mine = np.flatnonzero(of_row == index)
            self.files[name].append(chosen(events, mine), np.asarray(message[mine], np.int64), instrument, schema)

    def _count(self, events: np.ndarray, ends: np.ndarray, name: str) -> None:
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
                self._lose(Gap(name, ts, int(row["seq"]), int(row["value"])))
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

    def summary(self, name: str, extra: InstrumentQuality) -> DayQuality:
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


class _ChannelFile:
    """One Parquet file on its way: rows wait until a row group is full."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sink: Any = None
        self.parquet: Any = None
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self.waiting_rows = self.rows = self.messages = 0
        self.hashes = hashlib.sha256(), hashlib.sha256()
        self.first_us = self.last_us = self.first_seq = self.last_seq = self.max_latency_us = 0
        self.low: dict[str, int] = {}
        self.high: dict[str, int] = {}

    def append(self, events: np.ndarray, message: np.ndarray, instrument: Instrument, schema: Any) -> None:
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
            self._write_groups(instrument, schema, ROW_GROUP_ROWS)

    def _write_groups(self, instrument: Instrument, schema: Any, least: int) -> None:
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
                self.parquet = pq.ParquetWriter(self.sink, schema, **ENCODED)
            self.parquet.write_batch(record_batch(columns, schema, instrument), row_group_size=ROW_GROUP_ROWS)
            at = stop
        self.waiting = [(events[at:].copy(), message[at:].copy())]
        self.waiting_rows = len(events) - at

    def digest(self) -> str:
        """Digest in hex of the rows so far."""
        return digest_of(self.hashes[0].digest(), self.hashes[1].digest())

    def footer(
        self, instrument: Instrument, channel: str, day: int, siblings: dict[str, str],
        source_files: tuple[SourceFile, ...], quality: DayQuality,
    ) -> Footer:  # fmt: skip
        """All facts of this file."""
        constants = {name: low for name, low in self.low.items() if low == self.high[name]}
        return Footer(
            instrument, channel, day, self.rows, self.messages, self.first_us, self.last_us, self.first_seq,
            self.last_seq, self.max_latency_us, self.digest(), constants, siblings, source_files, quality,
        )  # fmt: skip

    def finish(self, footer: Footer, instrument: Instrument, schema: Any) -> None:
        """Write what waits and the footer; the file is then on the disk."""
        if self.waiting_rows:
            self._write_groups(instrument, schema, 1)
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
