"""`Store`: a folder of events that was written once and is replayed often."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from os import fspath
from pathlib import Path

import numpy as np

from replay.errors import ConfigError, DataError, did_you_mean
from replay.instruments import Instrument
from replay.quality import InstrumentQuality
from replay.sources import Source
from replay.store import layout
from replay.store.aside import sweep
from replay.store.catalog import Catalog, Day, IncompleteDay
from replay.store.check import check_day
from replay.store.columns import chosen
from replay.store.footer import SourceFile, combined_digest
from replay.store.source import StoreSource, add_counts
from replay.store.warm import start_of
from replay.store.writer import Existing, Writer
from replay.units import iso_from_us


def _counts(source: Source) -> list[InstrumentQuality]:
    """What the source has counted so far, one by one instrument; later counting does not change it."""
    report = source.quality
    return [copy.deepcopy(report.of(instrument.name)) for instrument in source.instruments]


def _share(events: np.ndarray, messages: int, writers: Sequence[Writer]) -> int:
    """Hand the rows of one day to the writers of their instruments; `messages` came before them, more came now."""
    from replay.kernel.filing import number

    events, numbers = np.ascontiguousarray(events), np.empty(len(events), np.int64)
    messages, low, high = number(events, messages, numbers)
    if low == high:
        writers[low].write(events, numbers)
        return messages
    for index in range(low, high + 1):
        mine = np.flatnonzero(events["instrument"] == index)
        if len(mine):
            writers[index].write(chosen(events, mine), numbers[mine])
    return messages


@dataclass(frozen=True, slots=True)
class Swept:
    """What `Store.gc` deleted: bytes of leftovers of killed writers, days that were never complete, bytes of copies.

    `busy` says that somebody is writing; incomplete days are then left alone, they may be on their way.
    """

    leftover_bytes: int
    incomplete: list[str]
    hot_bytes: int
    busy: bool


class Store:
    """A folder of events: Parquet files, one a day and channel (see `replay.store.layout`).

    The folder need not exist: the first writer makes it.  Raises ConfigError when `path` is a file, or a folder with
    other things in it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if self.path.exists():
            if not self.path.is_dir():
                raise ConfigError("store", fspath(path), "is a file", "name the folder of a store")
            inside = [child.name for child in self.path.iterdir()]
            if inside and not any(layout.value_of(name, "venue") or name in layout.OWN for name in inside):
                raise ConfigError(
                    "store", fspath(path), "is a folder, but not of a store (no venue=… in it)",
                    "name the folder of a store, or a new one",
                )  # fmt: skip
        self.catalog = Catalog(self.path)

    def __repr__(self) -> str:
        return f"Store({fspath(self.path)!r})"

    # ------------------------------------------------------------------------------------------------- what is there

    def names(self) -> list[str]:
        """`venue:symbol` of every instrument that has files, sorted.  ConfigError when there is no such folder."""
        if not self.path.exists():
            raise ConfigError("store", fspath(self.path), "does not exist", "check the path, or import something first")
        return [name for name in self.catalog.names() if self.catalog.paths(name)]

    def days(self, instrument: str) -> list[Day]:
        """The complete days of `venue:symbol`, in order of time; none for an instrument that the store has not."""
        return [day for day in self.catalog.days(instrument) if isinstance(day, Day)]

    def problems(self) -> list[DataError]:
        """What is wrong with the days that `days` leaves out, one error each."""
        return [day for name in self.names() for day in self.catalog.days(name) if isinstance(day, DataError)]

    def digest(self) -> str:
        """SHA-256 in hex over all complete days: equal when the same events were written, in whatever order."""
        days = [day for name in self.names() for day in self.days(name)]
        return combined_digest((f"{day.instrument.name} {day.date}", day.digest) for day in days)

    def check(self) -> None:
        """Read every complete day and compare it with its digest.  DataError naming the first file that differs."""
        for name in self.names():
            for day in self.days(name):
                check_day(day)

    # -------------------------------------------------------------------------------------------------------- reading

    def source(
        self, instruments: Iterable[str] = (), start_us: int | None = None, end_us: int | None = None,
        channels: Sequence[str] | None = None, *, hot: bool = False, warm: bool = False,
    ) -> StoreSource:  # fmt: skip
        """The events of some instruments (`venue:symbol`; all without a choice) with `ts` in [start_us, end_us).

        Instruments are numbered in the order given.  `channels` chooses from `layout.CHANNELS`.  `hot` reads
        uncompressed copies, which are made where they are missing: faster for windows and repeated runs.  `warm` adds
        what was before `start_us` and must be known there: the book from its last snapshot on, and the last quote,
        trade, mark and funding rate (see `replay.store.warm`).

        Raises ConfigError for an unknown instrument or channel and for a range without a day, DataError when a day in
        the range is damaged or incomplete.
        """
        chosen = layout.checked_channels(channels)
        if isinstance(instruments, str):
            instruments = [instruments]
        known = self.names()
        wanted = list(dict.fromkeys(instruments)) or known
        for name in wanted:
            if name not in known:
                raise ConfigError("instruments", name, "is not in the store", did_you_mean(name, known))
        if start_us is not None and end_us is not None and start_us >= end_us:
            raise ConfigError("end_us", end_us, f"is not after start_us={start_us}")
        starts = {}
        if warm and start_us is not None:
            starts = {(n, c): start_of(self.catalog, n, c, start_us) for n in wanted for c in chosen}
        first = {name: min([us for (n, _), us in starts.items() if n == name], default=start_us) for name in wanted}
        days = {name: self.catalog.between(name, first[name], end_us) for name in wanted}
        for name, found in days.items():
            if not found:
                raise ConfigError("start_us, end_us", (start_us, end_us), f"{name} has no day there", self._span(name))
        return StoreSource(self.path, days, chosen, start_us, end_us, hot, starts)

    def _span(self, name: str) -> str:
        days = self.days(name)
        if not days:
            return "the store holds none that is complete"
        return f"the store holds {iso_from_us(days[0].first_us)} to {iso_from_us(days[-1].last_us)}"

    # -------------------------------------------------------------------------------------------------------- writing

    def writer(
        self, instrument: Instrument, *, source_files: Sequence[SourceFile | Path | str] = (),
        existing: Existing = "error", origin: str = "",
    ) -> Writer:  # fmt: skip
        """A writer of one instrument (see `replay.store.writer.Writer`).

        `source_files` are kept with their SHA-256; paths are read for it.  `existing` says what happens to a day that
        the store has already: "error", "replace" or "skip".  A day that is damaged or incomplete is always written; one
        that was written under the same `origin` (not "") is left as it is unless "replace" is said.
        """
        return Writer(instrument, source_files, existing, self.catalog, origin)

    def record(
        self, source: Source, *, source_files: Sequence[SourceFile | Path | str] = (), existing: Existing = "error",
        origin: str = "", progress: Callable[[int], None] | None = None,
    ) -> int:  # fmt: skip
        """Write everything that a source yields, so that it replays with the same result.  Returns the rows read.

        `progress` is called with the rows read so far.
        """
        files = [f if isinstance(f, SourceFile) else SourceFile.of(f) for f in source_files]
        rows = messages = 0
        today = -1
        with ExitStack() as stack:
            writers = [
                stack.enter_context(self.writer(i, source_files=files, existing=existing, origin=origin))
                for i in source.instruments
            ]
            before = _counts(source)
            for batch in source.batches():
                for day, part in layout.day_slices(batch["ts"]):
                    if day != today:
                        today, messages = day, 0
                    messages = _share(batch[part], messages, writers)
                now = _counts(source)
                for writer, new, old in zip(writers, now, before):
                    add_counts(writer.quality, new, old)
                before = now
                rows += len(batch)
                if progress is not None:
                    progress(rows)
        return rows

    # ------------------------------------------------------------------------------------------------------- cleaning

    def gc(self, *, hot: bool = False) -> Swept:
        """Delete what killed writers left behind, and with `hot` the uncompressed copies."""
        self.names()
        leftover, busy = sweep(self.path)
        incomplete = []
        for name in self.catalog.names() if not busy else []:
            for number in list(self.catalog.paths(name)):
                incomplete += self._sweep_day(name, number)
            self.catalog.forget(name)
        tier = self.path / layout.HOT
        size = sum(path.stat().st_size for path in tier.rglob("*") if path.is_file()) if hot else 0
        if hot and tier.is_dir():
            shutil.rmtree(tier)
        return Swept(leftover, incomplete, size, busy)

    def _sweep_day(self, name: str, number: int) -> list[str]:
        try:
            self.catalog.day(name, number)
        except IncompleteDay:
            for path in self.catalog.paths(name)[number].values():
                path.unlink()
            return [f"{name} {layout.date_of(number)}"]
        except DataError:
            return []  # damaged: a person decides
        return []
