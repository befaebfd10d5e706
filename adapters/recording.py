"""Raw recordings of one venue as a source of events.

Every file was read once before, to learn its symbols, grids and clocks (`adapters.survey`); the source streams them
with bounded memory.  Files that share a symbol are one recording, read one after the other by their first times; the
others are merged by local ns (ties: order of the paths, then line).  Cryptofeed files given together are one recording.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from adapters.base import Filler
from adapters.sequencing import Drop, Repair, Sequencer
from adapters.survey import Format, Recording, Survey, take_survey
from adapters.transports.file import Chunk, join_lines
from replay.errors import ConfigError, DataError, did_you_mean
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.sources import BATCH_ROWS, file_digests


class RecordingSource:
    """Recordings of one venue (see `replay.sources.Source`); `batches` can be called again."""

    def __init__(
        self, venue: Format, survey: Survey, repair: Repair, drop: Drop, filler: Filler | None = None
    ) -> None:  # fmt: skip
        self.venue, self.survey, self.repair, self.drop, self.filler = venue, survey, repair, drop, filler
        self.name = ", ".join(path.name for recording in survey.recordings for path in recording.paths)
        self.instruments = survey.instruments
        self.horizon_us = survey.timing.horizon_us
        self._start()

    def _start(self) -> None:
        symbols = [instrument.symbol for instrument in self.instruments]
        lanes = [self.survey.lane_of(symbol) for symbol in symbols]
        self.reader = self.venue.reader(symbols, False, self.drop, lanes)
        self.sequencer = Sequencer(
            self.instruments,
            self.venue.rule,
            self.survey.timing,
            repair=self.repair,
            drop=self.reader.to_drop,
            lanes=lanes,
            aggregated=self.survey.aggregated,
            filler=self.filler,
        )

    @property
    def quality(self) -> QualityReport:
        """Counts so far; final when the batches have ended."""
        report = self.sequencer.quality
        report.ignored.update(self.reader.ignored)
        return report

    @cached_property
    def _digests(self) -> dict[str, str]:
        return file_digests(path for recording in self.survey.recordings for path in recording.paths)

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file, read once."""
        return self._digests

    def chunks(self) -> Iterator[Chunk]:
        """All lines in order of receipt."""
        recordings = self.survey.recordings
        if len(recordings) == 1:
            return recordings[0].chunks()
        streams = [self._timed(recording, rank) for rank, recording in enumerate(recordings)]
        merged = heapq.merge(*streams, key=lambda item: item[:3])
        return join_lines(item[3:] for item in merged)

    def _timed(self, recording: Recording, rank: int) -> Iterator[tuple[int, int, int, bytes, str, int]]:
        """(ns, rank, place, line, path, line number) of each line."""
        place = 0
        for chunk in recording.chunks():
            for i, line in enumerate(chunk.data[:-1].split(b"\n")):
                if line.strip():
                    place += 1
                    ns, text = self.venue.stamped(line, recording.symbols)
                    yield ns, rank, place, text, *chunk.where(i)

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Batches of about `rows` rows, valid until the next one is asked for; a message is never cut."""
        if rows < 1:
            raise ConfigError("rows", rows, "must be at least 1")
        self._start()
        for chunk in self.chunks():
            for count in self.reader.tables(chunk):
                try:
                    yield from self.sequencer.push(self.reader.messages, count, self.reader.levels, rows)
                except DataError as error:
                    path, line = chunk.where(error.line)
                    raise DataError(error.problem, path, line, error.hint) from None
        yield from self.sequencer.flush()


def open_recordings(
    venue: Format,
    paths: Sequence[Path],
    instruments: Sequence[Instrument],
    drop: Drop,
    options: Mapping[str, Any],
) -> RecordingSource:
    """Recordings as a source.

    `instruments` gives known ticks and lots; the option `repair` is "wait" (default), "bridge", or "refetch" together
    with `filler`, who is asked for what is missing (`adapters.base.Filler`).  DataError for what cannot be read,
    ConfigError for wrong options.
    """
    known = ("repair", "filler")
    for name in sorted(options):
        if name not in known:
            raise ConfigError("option", name, f"{venue.name} has no such option", did_you_mean(name, known))
    repair = Repair(options.get("repair", "wait"))
    filler: Filler | None = options.get("filler")
    if (repair.policy == "refetch") != (filler is not None):
        raise ConfigError("repair", repair.policy, "needs somebody to ask", "give repair='refetch' and filler=")
    for key, value in (("drop_every", drop.every), ("drop_from", drop.start)):
        if value < 0:
            raise ConfigError(key, value, "must not be negative")
    if not paths:
        raise ConfigError("paths", [], "no recording was named")
    survey = take_survey([Path(path) for path in paths], venue, tuple(instruments))
    return RecordingSource(venue, survey, repair, drop, filler)
