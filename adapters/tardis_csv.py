"""Tardis CSV data sets (plain or gzip) as a source of events; see `adapters.datasets` for how files are joined."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adapters.datasets import DataFile, DataSetSource, Notes, check_options
from adapters.decoders.csv_table import CsvReader, Names
from adapters.decoders.tardis_csv import data_type_of
from adapters.dividing import joined_parts
from adapters.options import csv_summaries
from adapters.terms import IN_CONTRACTS, inferred
from adapters.transports.file import first_line, read_chunks
from replay.errors import DataError
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.sources import Part
from replay.store.prefetch import prefetched
from replay.units import US_PER_DAY

AHEAD = 2
"""Chunks that are inflated while one is decoded."""


class TardisFile(DataFile):
    """One file; DataError when its header is none of Tardis."""

    def __init__(self, path: Path, declared: str) -> None:
        try:
            (header,) = csv.reader([first_line(path).decode("utf-8").strip()])
        except (UnicodeDecodeError, csv.Error, ValueError):
            raise DataError("this is not a Tardis CSV file: its first line is not text", str(path), 1) from None
        self.data_type = data_type_of(path, header, declared)
        super().__init__(path, self.data_type.name, self.data_type.channel)
        try:
            self.plan = self.data_type.layout.plan(header)
        except DataError as error:
            raise DataError(error.problem, str(path), 1, error.hint) from None

    def rows(self, names: Names, notes: Notes) -> Iterator[np.ndarray]:
        """ROWs, table by table."""
        reader = CsvReader(self.plan, len(self.data_type.layout.lead), names)
        header = 1
        for chunk in prefetched(read_chunks(self.path), AHEAD):
            for count in reader.tables(chunk, header):
                try:
                    yield self.data_type.rows(reader, count, chunk.first_line + reader.lines[:count], notes)
                except DataError as error:
                    raise DataError(error.problem, *chunk.where(error.line), error.hint) from None
            header = 0

    def option_summaries(self, offset_us: int) -> Iterator[tuple[str, Any]]:
        """All columns of an option chain."""
        return csv_summaries(self.path, offset_us) if self.kind == "options_chain" else iter(())


class TardisSource(DataSetSource):
    """Tardis files; says where the size of a contract had to be assumed."""

    def __init__(self, files: Sequence[TardisFile], given: Sequence[Instrument], policy: str) -> None:
        super().__init__(files, inferred, given, policy)
        self.assumed = [i.name for i in self.instruments if i.venue in IN_CONTRACTS and i not in given]

    @property
    def quality(self) -> QualityReport:
        """Counts so far; final when the batches have ended."""
        report = super().quality
        for name in self.assumed:
            report.ignored[f"size of a contract of {name}: taken as 1, pass instruments="] += 1
        return report


def keys_of(path: Path) -> tuple[set[tuple[str, str, int]], int]:
    """(exchange, symbol, UTC day) of the instruments in the first lines, and the midnight that ends the day, in µs.

    A file of several symbols has the key (exchange, "", day) as well.  DataError when there is no row with a time.
    """
    chunk = next(read_chunks(path), None)
    lines = chunk.data.splitlines()[1:] if chunk else []
    cells = [line.split(b",", 4) for line in lines]
    if not cells or len(cells[0]) < 5 or not cells[0][3].isdigit():
        raise DataError("it has no row with exchange, symbol and times", str(path), 2, "is it a Tardis CSV file?")
    day = int(cells[0][3]) // US_PER_DAY
    names = {(cell[0].decode(errors="replace"), cell[1].decode(errors="replace")) for cell in cells if len(cell) == 5}
    keys = {(exchange, symbol, day) for exchange, symbol in names}
    if len(names) > 1:
        keys |= {(exchange, "", day) for exchange, _ in names}
    return keys, (day + 1) * US_PER_DAY


class TardisAdapter:
    """Tardis CSV (see `replay.sources.Adapter`)."""

    name = "tardis-csv"

    def __repr__(self) -> str:
        return "TardisAdapter()"

    def parts(self, paths: Sequence[Path]) -> list[Part]:
        """Files of one instrument and day together; all of an exchange and day when one holds several symbols."""
        found = [(path, *keys_of(path)) for path in paths]
        grouped = {(key[0], key[2]) for _, keys, _ in found for key in keys if not key[1]}
        files = []
        for path, keys, _ in found:
            mixed = {(exchange, "", day) for exchange, _, day in keys if (exchange, day) in grouped}
            files.append((path, keys | mixed))
        return joined_parts(files, {key: end for _, keys, end in found for key in keys})

    def open(
        self,
        paths: Sequence[Path],
        *,
        instruments: Sequence[Instrument] = (),
        **options: Any,
    ) -> TardisSource:
        """Data sets as a source.

        `instruments` gives known terms, by `venue:symbol`, or by symbol alone when all files are of one venue.
        Options: `policy` "repair" (default), "count" or "raise" (see `replay.kernel.assemble`); `data_type` where
        neither header nor name of a file tells it.  DataError for what cannot be read, ConfigError for wrong options.
        """
        check_options(self.name, paths, options, ("data_type", "policy", "drop_every", "drop_from"))
        declared = options.get("data_type", "")
        files = [TardisFile(Path(path), declared) for path in paths]
        return TardisSource(files, instruments, options.get("policy", "repair"))


CSV = TardisAdapter()
