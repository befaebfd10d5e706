"""Writing one instrument: events in, complete days out.

A day is written aside, one Parquet file a channel, and put in place when the first row of a later day arrives or the
writer is closed: every file is complete, synced and named before the first is moved, and each names the digests of
all, so readers see the whole day or none of it.  What a day's files contain depends on its events alone: not on the
size of batches, not on the clock; the same events give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np

from replay.errors import ConfigError, DataError, did_you_mean
from replay.events import EVENT
from replay.instruments import Instrument
from replay.quality import InstrumentQuality
from replay.store import layout
from replay.store.aside import Slot, writing_errors
from replay.store.catalog import Catalog
from replay.store.columns import schema_of
from replay.store.footer import SourceFile

if TYPE_CHECKING:
    from replay.store.draft import DayDraft

Existing = Literal["error", "replace", "skip"]
EXISTING: tuple[Existing, ...] = ("error", "replace", "skip")
MISNUMBERED = "must be one number a message, growing"


class Writer:
    """Writes one instrument to a store; made by `Store.writer`.  Use it in a `with` block.

    `quality` are the counts of the day that is being written.  The writer counts what the events show (messages, depth
    messages, trades, snapshots, breaks, off-grid rows, clamped times) when the day is complete; an importer adds what
    only it knows (`stale`, `duplicates`, `anomalies["crossed message"]`, …) while it writes the day.
    """

    def __init__(
        self, instrument: Instrument, source_files: Sequence[SourceFile | Path | str], existing: Existing,
        catalog: Catalog, origin: str = "",
    ) -> None:  # fmt: skip
        if existing not in EXISTING:
            raise ConfigError("existing", existing, "is not known", did_you_mean(str(existing), EXISTING))
        self.root, self.instrument, self.existing = catalog.root, instrument, existing
        self.origin = origin
        self.schema = schema_of(instrument)
        self.source_files = tuple(f if isinstance(f, SourceFile) else SourceFile.of(f) for f in source_files)
        self.quality = InstrumentQuality()
        self.days: list[int] = []
        self._catalog = catalog
        self._slot: Slot | None = None
        self._day: DayDraft | None = None
        self._skipping = -1
        self._last_us = -(2**63)
        self._over = False

    def write(self, events: np.ndarray, message: np.ndarray | None = None) -> None:
        """Append EVENT rows: whole messages of this instrument, `ts` never stepping back over all calls.

        `message` gives each row's message a number, the same for all rows of a message and growing from one to the
        next: its place in the recording, counted from the start of the UTC day.  Two instruments of one recording then
        replay in exactly the order in which they came.  Without it the messages of each day are counted from 0.

        Raises ConfigError for rows that break these rules, and for a day that is in the store already when `existing`
        is "error" ("skip" leaves such days as they are, "replace" writes them anew; a day of the same `origin` is left
        as it is, too, unless it is replaced); DataError when a number does not
        fit or the disk is full.  After an error nothing of the unfinished day remains.
        """
        if self._over:
            raise ConfigError("writer", self.instrument.name, "is closed", "make a new one")
        if not len(events):
            return
        try:
            events = np.ascontiguousarray(events)
            message = None if message is None else np.ascontiguousarray(message, np.int64)
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
        from replay.kernel import filing

        if events.dtype != EVENT:
            raise ConfigError("events", str(events.dtype), "must be an array of replay.events.EVENT records")
        if message is not None and len(message) != len(events):
            raise ConfigError("message", self.instrument.name, MISNUMBERED)
        numbers = message
        if numbers is None:
            numbers = np.empty(len(events), np.int64)
            filing.number(events, 0, numbers)
        found = filing.check(events, numbers, self._last_us)
        if found == filing.BACKSTEP:
            raise ConfigError("events", self.instrument.name, "ts steps back", "sort the rows by ts (stable)")
        if found == filing.OPEN_END:
            raise ConfigError("events", self.instrument.name, "the last message of a batch is not closed by LAST")
        if found == filing.MIXED_TIMES:
            raise ConfigError("events", self.instrument.name, "the rows of a message have different ts")
        if found == filing.MIXED_INSTRUMENTS:
            raise ConfigError("events", self.instrument.name, "rows of several instruments", "use Store.record")
        if found == filing.MISNUMBERED:
            raise ConfigError("message", self.instrument.name, MISNUMBERED)

    def _write_day(self, day: int, events: np.ndarray, message: np.ndarray | None) -> None:
        if day == self._skipping:
            return
        if self._day is None or self._day.number != day:
            self._complete()
            if self.existing != "replace" and self._keeps(day):
                self._skipping = day
                return
            self._open(day)
        assert self._day is not None
        with writing_errors(self.root):
            self._day.write(events, message)

    def _keeps(self, day: int) -> bool:
        """Whether the store has a complete day of that number, to be left alone; ConfigError when that is a mistake.

        What is broken or incomplete is written anew.
        """
        name = self.instrument.name
        self._catalog.forget(name)  # another process may have written it
        if day not in self._catalog.paths(name):
            return False
        try:
            found = self._catalog.day(name, day)
        except DataError:
            return False
        if self.existing == "skip" or (self.origin and found.origin == self.origin):
            return True
        files = ", ".join(file.name for file in found.source_files)
        raise ConfigError(
            "existing", self.existing, f"{name} {found.date} is in the store already" + (files and f", from {files}"),
            'pass existing="replace" (replay import --replace) to write it anew, "skip" to leave it',
        )  # fmt: skip

    def _open(self, day: int) -> None:
        from replay.store.draft import DayDraft

        with writing_errors(self.root):
            if self._slot is None:
                self._slot = Slot(self.root)
        self._day = DayDraft(day, self._slot.path, self.instrument, self.schema)
        if self._skipping >= 0:
            self.quality, self._skipping = InstrumentQuality(), -1

    def _complete(self) -> None:
        """Put the current day in place, if there is one."""
        if self._day is None:
            return
        day, name = self._day, self.instrument.name
        quality = day.summary(self.quality)
        siblings = {channel: file.digest() for channel, file in day.files.items()}
        with writing_errors(self.root):
            for channel, file in day.files.items():
                footer = file.footer(channel, day.number, siblings, self.source_files, quality, self.origin)
                file.finish(footer)
            day.press.close()
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
