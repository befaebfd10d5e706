"""Tardis CSV data sets as a source of events.

Files of one data type that share an instrument are one lane, read one after the other by their first times (a book
carries over midnight); lanes are merged by local time, at equal times trades before liquidations before marks before
books before quotes.  Each file is read twice: the survey finds instruments, the grid of prices and sizes, and the
offset of the recorder's clock (see `adapters.survey`: the least that makes no book or trade row arrive before the
venue made it); the second pass streams with bounded memory.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from adapters.assembling import Assembler, policy_code
from adapters.decoders.csv_table import CsvReader, Names
from adapters.decoders.tardis_csv import DataType, data_type_of
from adapters.merging import merged
from adapters.survey import MAX_HORIZON_US
from adapters.terms import IN_CONTRACTS, inferred
from adapters.transports.file import first_line, read_chunks
from replay.errors import ConfigError, DataError, did_you_mean
from replay.instruments import Instrument
from replay.kernel import outline as kernel
from replay.kernel.survey import NO_LAG
from replay.quality import QualityReport
from replay.sources import BATCH_ROWS

OPTIONS = ("data_type", "policy")
LINE_BITS = 40
"""The line of a ROW is file << LINE_BITS | 1-based line."""


@dataclass(slots=True)
class CsvFile:
    """One file and what the survey found in it; `findings[i]` is of name i, `owners` the names that occur."""

    path: Path
    header: list[str]
    data_type: DataType
    findings: np.ndarray = field(default_factory=lambda: kernel.new_findings(0))
    owners: tuple[int, ...] = ()

    @property
    def first_us(self) -> int:
        """Local time of the first row."""
        return min(int(self.findings[i]["first_us"]) for i in self.owners)

    @property
    def last_us(self) -> int:
        """Latest local time."""
        return max(int(self.findings[i]["last_us"]) for i in self.owners)

    def rows(self, names: Names, number: int, notes: Counter[str]) -> Iterator[tuple[np.ndarray, int]]:
        """ROWs, table by table, with their number; `number` is that of the file; DataError with file and line."""
        layout = self.data_type.layout
        try:
            plan = layout.plan(self.header)
        except DataError as error:
            raise DataError(error.problem, str(self.path), 1, error.hint) from None
        reader = CsvReader(plan, len(layout.lead), names)
        skip = 1
        for chunk in read_chunks(self.path):
            for count in reader.tables(chunk, skip):
                lines = (number << LINE_BITS) | (chunk.first_line + reader.lines[:count])
                try:
                    rows = self.data_type.rows(reader, count, lines, notes)
                except DataError as error:
                    raise DataError(error.problem, *chunk.where(error.line), error.hint) from None
                yield rows, len(rows)
            skip = 0


def open_file(path: Path, declared: str) -> CsvFile:
    """The file by its header; DataError when it is none of Tardis."""
    try:
        (header,) = csv.reader([first_line(path).decode("utf-8").strip()])
    except (UnicodeDecodeError, csv.Error, ValueError):
        raise DataError("this is not a Tardis CSV file: its first line is not text", str(path), 1) from None
    return CsvFile(path, header, data_type_of(path, header, declared))


def survey(file: CsvFile, number: int, names: Names) -> None:
    """Read a file once; fills in its findings."""
    highest_us = 0
    findings = kernel.new_findings(64)
    for rows, count in file.rows(names, number, Counter()):
        while len(names.list) > len(findings):
            findings = np.concatenate([findings, kernel.new_findings(len(findings))])
        highest_us = kernel.outline(rows, count, findings, highest_us)
    file.findings = findings
    file.owners = tuple(int(i) for i in np.flatnonzero(findings["rows"]))


def lanes_of(files: Sequence[CsvFile], names: Names) -> list[list[CsvFile]]:
    """Files grouped into lanes, each in order of time; DataError where two of them cannot be read together."""
    lanes: list[list[CsvFile]] = []
    for file in files:
        joined = [file]
        for lane in [lane for lane in lanes if lane[0].data_type.channel == file.data_type.channel]:
            shared = set(file.owners) & {owner for other in lane for owner in other.owners}
            if not shared:
                continue
            name = names.list[min(shared)].decode().replace(",", ":")
            if lane[0].data_type is not file.data_type:
                raise DataError(
                    f"it holds {file.data_type.name} of {name}, and {lane[0].path.name} {lane[0].data_type.name}: "
                    f"two sources of the same channel", str(file.path), hint="leave one of them out",
                )  # fmt: skip
            lanes.remove(lane)
            joined = [*lane, *joined]
        lanes.append(sorted(joined, key=lambda each: each.first_us))
    for lane in lanes:
        for early, late in pairwise(lane):
            if late.first_us < early.last_us:
                raise DataError(
                    f"its times overlap those of {early.path.name}", str(late.path), hint="same data twice?"
                )
    return sorted(lanes, key=lambda lane: lane[0].data_type.rank)


class TardisSource:
    """Data sets of one or more instruments (see `replay.sources.Source`); `batches` can be called again."""

    def __init__(self, files: Sequence[CsvFile], names: Names, given: Sequence[Instrument], policy: str) -> None:
        self.files, self.names, self.policy = tuple(files), names, policy
        self.name = ", ".join(file.path.name for file in files)
        self.lanes = lanes_of(files, names)
        self.assumed: Counter[str] = Counter()
        self.instruments = self._instruments(given)
        self.offset_us, self.horizon_us = self._clock()
        self._start()

    def _finding(self, owner: int) -> np.void:
        total: np.void = kernel.new_findings(1)[0]
        for file in self.files:
            if owner in file.owners:
                kernel.absorb(total, file.findings[owner])
        return total

    def _instruments(self, given: Sequence[Instrument]) -> tuple[Instrument, ...]:
        exchanges = {name.split(b",")[0] for name in self.names.list}
        known = {instrument.name: instrument for instrument in given}
        if len(exchanges) == 1:  # a given instrument may call the venue by another name
            (exchange,) = exchanges
            known = {f"{exchange.decode()}:{instrument.symbol}": instrument for instrument in given}
        out = []
        for owner, name in enumerate(self.names.list):
            exchange_name, symbol = name.decode().split(",")
            instrument = known.get(f"{exchange_name}:{symbol}")
            if instrument is None:
                instrument = inferred(exchange_name, symbol, self._finding(owner))
                if exchange_name in IN_CONTRACTS:
                    self.assumed[f"size of a contract of {instrument.name}: taken as 1, pass instruments="] += 1
            out.append(instrument)
        return tuple(out)

    def _clock(self) -> tuple[int, int]:
        """(offset, horizon) in µs over all files."""
        found = [self._finding(owner) for owner in range(len(self.names.list))]
        least = min(int(f["least_lag"]) for f in found)
        longest = max(int(f["max_lag"]) for f in found)
        offset_us = max(0, -least) if least < NO_LAG else 0
        horizon_us = 0 if longest == -NO_LAG else max(0, longest + offset_us)
        return offset_us, min(horizon_us, MAX_HORIZON_US)

    def where(self, line: int) -> tuple[str, int]:
        """File and line of the `line` of a ROW."""
        return str(self.files[line >> LINE_BITS].path), line & ((1 << LINE_BITS) - 1)

    def _start(self) -> None:
        self.notes: Counter[str] = Counter()
        self.assemblers = [
            Assembler(
                self.instruments, self.where, offset_us=self.offset_us, horizon_us=self.horizon_us, policy=self.policy
            )
            for _ in self.lanes
        ]

    @property
    def quality(self) -> QualityReport:
        """Counts so far; final when the batches have ended."""
        report = QualityReport(clock_offset_us=float(self.offset_us), max_feed_latency_us=self.horizon_us)
        report.ignored = self.notes + self.assumed
        for assembler in self.assemblers:
            assembler.report(report)
        return report

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Batches of about `rows` rows, valid until the next one is asked for; a message is never cut."""
        if rows < 1:
            raise ConfigError("rows", rows, "must be at least 1")
        self._start()
        return merged([self._lane(files, a, rows) for files, a in zip(self.lanes, self.assemblers)], rows)

    def _lane(self, files: Sequence[CsvFile], assembler: Assembler, batch_rows: int) -> Iterator[np.ndarray]:
        for file in files:
            for rows, count in file.rows(self.names, self.files.index(file), self.notes):
                yield from assembler.push(rows, count, batch_rows)
        yield from assembler.finish()


class TardisAdapter:
    """Tardis CSV (see `replay.sources.Adapter`)."""

    name = "tardis-csv"

    def __repr__(self) -> str:
        return "TardisAdapter()"

    def open(
        self,
        paths: Sequence[Path],
        *,
        instruments: Sequence[Instrument] = (),
        drop_every: int = 0,
        drop_from: int = 0,
        **options: Any,
    ) -> TardisSource:
        """Data sets as a source; plain or gzip.

        `instruments` gives known terms, by `venue:symbol`, or by symbol alone when all files are of one venue.
        Options: `policy` "repair" (default), "count" or "raise" (see `replay.kernel.assemble`); `data_type` where
        neither header nor name of a file tells it.  DataError for what cannot be read, ConfigError for wrong options.
        """
        policy, declared = options.pop("policy", "repair"), options.pop("data_type", "")
        if options:
            name = sorted(options)[0]
            raise ConfigError("option", name, f"{self.name} has no such option", did_you_mean(name, OPTIONS))
        policy_code(policy)
        if drop_every or drop_from:
            raise ConfigError("drop_every", drop_every, "messages without ids cannot be missed", "use a raw recording")
        if not paths:
            raise ConfigError("paths", [], "no file was named")
        names = Names()
        files = [open_file(Path(path), declared) for path in paths]
        for number, file in enumerate(files):
            survey(file, number, names)
            if not file.owners:
                raise DataError("it has no rows", str(file.path))
        return TardisSource(files, names, instruments, policy)


CSV = TardisAdapter()
