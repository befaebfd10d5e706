"""A part of a store as a source of events (see `replay.sources.Source`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from math import gcd, inf
from pathlib import Path
from types import MappingProxyType

import numpy as np

from replay.errors import ConfigError, DataError
from replay.instruments import Instrument
from replay.quality import InstrumentQuality, QualityReport
from replay.sources import BATCH_ROWS, cut_batches
from replay.store.catalog import Day, DayFile
from replay.store.columns import Grid, mantissa
from replay.store.hot import hot_copy
from replay.store.lanes import Lane, hot_batches, merged, parquet_batches
from replay.store.prefetch import prefetched
from replay.units import INT64_MAX, INT64_MIN

BLOCK_ROWS = 16_384
LEAST_BLOCK_ROWS = 4_096
"""Shorter blocks would spend more on the calls than on the rows."""
ROWS_IN_FLIGHT = 131_072
"""Rows that all lanes together hold at once, about: with many lanes each reads shorter blocks."""


class StoreSource:
    """Days of some instruments, merged; `batches` can be called again.  Made by `Store.source`.

    The events are those that were written, in the order in which they were written; between instruments that were
    not recorded together, equal `ts` are in order of message number, then of `instruments`.  A window begins where it
    begins: a book is valid after the first snapshot inside.  `starts` gives other beginnings than `start_us` by
    (instrument, channel).  `rows` is how many all files of the days hold.
    """

    def __init__(
        self, root: Path, days: dict[str, list[Day]], channels: Sequence[str], start_us: int | None,
        end_us: int | None, hot: bool, starts: Mapping[tuple[str, str], int] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.starts = starts
        self.root, self.days, self.channels, self.hot = root, days, tuple(channels), hot
        self.name = str(root)
        self.start_us = INT64_MIN if start_us is None else start_us
        self.end_us = INT64_MAX if end_us is None else end_us
        self.instruments = tuple(common_terms([day.instrument for day in own]) for own in days.values())
        used = [file.footer for own in days.values() for day in own for file in self._files(day)]
        self.horizon_us = max((footer.max_latency_us for footer in used), default=0)
        self.quality = _quality(days, self.horizon_us)
        self.rows = sum(footer.rows for footer in used)

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Batches of at most about `rows` rows, which stay valid; read and decoded ahead by a thread."""
        if rows < 1:
            raise ConfigError("rows", rows, "must be at least 1")
        for events in prefetched(self._events()):
            yield from cut_batches(events, rows)

    def digests(self) -> dict[str, str]:
        """Digest of the events of each day, by instrument and date."""
        return {f"{name} {day.date}": day.digest for name, own in self.days.items() for day in own}

    def _files(self, day: Day) -> list[DayFile]:
        return [day.files[channel] for channel in self.channels if channel in day.files]

    def _events(self) -> Iterator[np.ndarray]:
        """Arrays of whole messages, day after day."""
        by_number: dict[int, list[tuple[int, Day]]] = {}
        for index, own in enumerate(self.days.values()):
            for day in own:
                by_number.setdefault(day.number, []).append((index, day))
        for number in sorted(by_number):
            found = [(index, file) for index, day in by_number[number] for file in self._files(day)]
            rows = max(LEAST_BLOCK_ROWS, min(BLOCK_ROWS, ROWS_IN_FLIGHT // max(1, len(found))))
            lanes = [self.lane(index, file, rows, self._start_of(file), self.end_us) for index, file in found]
            yield from merged(lanes, rows)

    def _start_of(self, file: DayFile) -> int:
        return self.starts.get((file.footer.instrument.name, file.footer.channel), self.start_us)

    def lane(self, index: int, file: DayFile, rows: int, start_us: int, end_us: int) -> Lane:
        """The rows of one file with `ts` in [start_us, end_us), at most `rows` at a time, for instrument `index`."""
        footer, path = file.footer, file.path
        if self.hot:
            path = hot_copy(self.root, file)
            batches, constants = hot_batches(path, start_us, end_us, rows), {}
        else:
            batches = parquet_batches(path, footer, start_us, end_us, rows)
            constants = footer.constants
        grid = Grid.of(footer.instrument, self.instruments[index], decimals=not self.hot)
        return Lane(path, batches, constants, grid, index, start_us, end_us)


def common_terms(terms: Sequence[Instrument]) -> Instrument:
    """One instrument for several days: with the finest tick and lot of which theirs are multiples.

    DataError when the days differ in anything else.
    """
    first = terms[0]
    tick, lot = common_step([i.tick for i in terms]), common_step([i.lot for i in terms])
    common = replace(first, tick=tick, lot=lot)
    for other in terms:
        if replace(other, tick=tick, lot=lot) != common:
            raise DataError(f"the terms of {first.name} change from {first} to {other}", hint="replay them one by one")
    return common


def common_step(steps: Sequence[Decimal]) -> Decimal:
    if all(step == steps[0] for step in steps):
        return steps[0]
    pairs = [mantissa(step) for step in steps]
    digits = max(places for _, places in pairs)
    return Decimal(gcd(*(whole * 10 ** (digits - places) for whole, places in pairs))).scaleb(-digits)


def _quality(days: dict[str, list[Day]], horizon_us: int) -> QualityReport:
    """The counts of all days; a gap that a day left open ends with the next snapshot of a later one."""
    report = QualityReport()
    for name, own in days.items():
        for day in own:
            part = QualityReport(gaps_total=day.quality.gaps_total, gaps=[replace(gap) for gap in day.quality.gaps])
            part.instruments[name] = replace(day.quality.counts)
            if part.instruments[name].book_state == "empty" and name in report.instruments:
                part.instruments[name].book_state = report.instruments[name].book_state  # no book message that day
            recovered = day.quality.recovered_us
            for gap in report.gaps:
                if gap.instrument == name and gap.end_us is None and recovered is not None:
                    gap.end_us, gap.repair = recovered, "snapshot"
            report = report.merged(part)
        report.of(name)
    report.gaps.sort(key=lambda gap: (gap.start_us, gap.end_us if gap.end_us is not None else inf))
    report.max_feed_latency_us = horizon_us
    return report


def add_counts(total: InstrumentQuality, now: InstrumentQuality, before: InstrumentQuality) -> None:
    """Add to `total` what only a reader of raw data can count and what grew from `before` to `now`."""
    for name in ("applied", "stale", "duplicates", "snapshots_refused", "buffer_overflows"):
        setattr(total, name, getattr(total, name) + getattr(now, name) - getattr(before, name))
    total.anomalies += now.anomalies - before.anomalies
