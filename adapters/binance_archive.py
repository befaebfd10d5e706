"""Binance's public archive (data.binance.vision) as a source of events; see `adapters.datasets` for how files join.

A file is what was downloaded (`BTCUSDT-trades-2024-08-08.zip`) or its unpacked CSV, plain or gzip, under the same
name: the name tells symbol and data type.  The market follows from the symbol (`…USD_PERP` is COIN-M) and, for trades,
from the number of columns; option `market` says it outright.  A `.CHECKSUM` file beside a zip is verified.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adapters.binance import instrument_of
from adapters.datasets import DataFile, DataSetSource, Notes, check_options
from adapters.decoders.binance_archive import REFUSED, TYPES
from adapters.decoders.binance_lines import COINM, MARKETS, SPOT, USDM, Market, coin_margined
from adapters.decoders.csv_table import CsvReader, Names
from adapters.dividing import joined_parts
from adapters.transports.file import Opener, open_member, open_recording, read_chunks
from replay.errors import ConfigError, DataError, did_you_mean
from replay.instruments import Instrument
from replay.sources import Part

NAME = re.compile(r"(?P<symbol>[^-]+)-[A-Za-z]+-(?P<period>\d{4}-\d\d(-\d\d)?)\.(zip|csv|csv\.gz)")
MONTH = len("2024-08")
BY_NAME = {market.name: market for market in MARKETS}


class ArchiveFile(DataFile):
    """One file; DataError when its name, checksum or columns are wrong, or when it holds no events."""

    def __init__(self, path: Path, market: Market | None) -> None:
        self.symbol, _ = period_of(path)
        kind = path.name.split("-")[1]
        if kind in REFUSED:
            raise DataError(f"{kind} cannot be replayed: {REFUSED[kind]}", str(path))
        if kind not in TYPES:
            raise DataError(f"no data type {kind!r} in the archive", str(path), hint=did_you_mean(kind, TYPES))
        self.archive = TYPES[kind]
        self.opened: Opener = open_member if path.suffix == ".zip" else open_recording
        check_sum(path)
        super().__init__(path, kind, self.archive.channel)
        first = self._first_line().strip()
        cells = first.split(b",")
        self.header = int(not cells[0].strip().isdigit())
        try:
            self.plan = self.archive.plan(len(cells))
        except DataError as error:
            raise DataError(error.problem, str(path), 1) from None
        self.market = market or self._market(len(cells))

    def _first_line(self) -> bytes:
        for chunk in read_chunks(self.path, opened=self.opened):
            return chunk.data[: chunk.data.index(b"\n")]
        raise DataError("the file is empty", str(self.path))

    def _market(self, width: int) -> Market:
        if self.archive.widths[width]:
            return SPOT
        return COINM if coin_margined(self.symbol) else USDM

    def rows(self, names: Names, notes: Notes) -> Iterator[np.ndarray]:
        """ROWs, table by table."""
        owner = names.add(f"{self.market.name},{self.symbol}".encode())
        reader = CsvReader(self.plan, 0, Names())
        header = self.header
        for chunk in read_chunks(self.path, opened=self.opened):
            for count in reader.tables(chunk, header):
                try:
                    rows = self.archive.rows(reader, count)
                except DataError as error:
                    raise DataError(error.problem, *chunk.where(error.line), error.hint) from None
                if len(rows) < count:
                    notes[f"{self.kind} row of an order that was not filled"] += count - len(rows)
                rows["line"] += chunk.first_line
                rows["owner"] = owner
                yield rows
            header = 0


def check_sum(path: Path) -> None:
    """DataError when the `.CHECKSUM` file beside `path` says another SHA-256; nothing when there is none."""
    beside = path.with_name(path.name + ".CHECKSUM")
    if not beside.is_file() or not path.is_file():
        return
    said = beside.read_text(errors="replace").split()
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not said or said[0].lower() != found:
        raise DataError(f"its SHA-256 is not the one in {beside.name}", str(path), hint="download both again")


def inferred(venue: str, symbol: str, finding: np.void) -> Instrument:
    """The instrument with the grid that was found."""
    return instrument_of(symbol, BY_NAME[venue], finding)


def period_of(path: Path) -> tuple[str, str]:
    """(symbol, `2024-08-08` or `2024-08`) by the name; DataError when it is none of the archive."""
    match = NAME.fullmatch(path.name)
    if not match:
        raise DataError("the name is not that of an archive file", str(path), hint="SYMBOL-type-YYYY-MM-DD.zip")
    return match["symbol"], match["period"]


class ArchiveAdapter:
    """Binance's public archive (see `replay.sources.Adapter`)."""

    name = "binance-archive"

    def __repr__(self) -> str:
        return "ArchiveAdapter()"

    def parts(self, paths: Sequence[Path]) -> list[Part]:
        """Files of one symbol and day together, of one symbol and month where there is a file of the whole month."""
        periods = [period_of(path) for path in paths]
        months = {(symbol, period) for symbol, period in periods if len(period) == MONTH}
        files = []
        for path, (symbol, period) in zip(paths, periods):
            month = (symbol, period[:MONTH])
            files.append((path, [month if month in months else (symbol, period)]))
        return joined_parts(files, {})

    def open(
        self, paths: Sequence[Path], *, instruments: Sequence[Instrument] = (), **options: Any
    ) -> DataSetSource:  # fmt: skip
        """Archive files as a source.

        `instruments` gives known terms.  Options: `policy` as for Tardis files; `market` "binance-spot",
        "binance-usdm" or "binance-coinm" for all files.  DataError for what cannot be read, ConfigError for wrong
        options.
        """
        check_options(self.name, paths, options, ("market", "policy", "drop_every", "drop_from"))
        market = options.get("market")
        if market is not None and market not in BY_NAME:
            raise ConfigError("market", market, "is not known", did_you_mean(str(market), BY_NAME))
        files = [ArchiveFile(Path(path), BY_NAME[market] if market else None) for path in paths]
        return DataSetSource(files, inferred, instruments, options.get("policy", "repair"))


ARCHIVE = ArchiveAdapter()
