"""Events out as Tardis-like CSV (gzip): exact decimals, one file an instrument and data type, bounded memory.

Files are `<venue>_<type>_<symbol>.csv.gz` and read back by the adapter `tardis-csv`.  Numbers are the integers of the
events times tick or lot, written as decimals with as many places as the step has; no float is made.  Gaps have no row
of their own: the snapshot after one shows them to a reader.  Everything is written aside and renamed when all is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from isal import igzip

from adapters.sequencing import grid
from replay.errors import ConfigError
from replay.events import (
    BOOK,
    BUY,
    FUNDING,
    KIND_NAMES,
    LAST,
    LIQUIDATION,
    MARK,
    QUOTE,
    SELL,
    SNAPSHOT,
    TRADE,
)  # fmt: skip
from replay.instruments import Instrument
from replay.units import INT64_MAX, SCALE_DIGITS

if TYPE_CHECKING:
    import pyarrow as pa

LEVEL = 2
"""Of gzip."""
create_gzip = cast(Callable[[Path, str, int], IO[bytes]], igzip.open)
UNIT = Decimal(1).scaleb(-SCALE_DIGITS)
Columns = dict[str, Any]
"""Name to an Arrow array, or to None for a column that stays empty."""


def decimals(counts: np.ndarray, unit: Decimal, present: np.ndarray | None = None) -> pa.Array:
    """`counts` (int64) times `unit` as decimal128, exactly; null where not `present`.

    ConfigError when a product does not fit 64 bits.
    """
    import pyarrow as pa

    mantissa, digits = grid(unit)
    if len(counts) and int(np.abs(counts).max()) * mantissa > INT64_MAX:
        raise ConfigError("events", int(np.abs(counts).max()), f"times {unit} does not fit 64 bits")
    words = np.empty((len(counts), 2), np.int64)
    words[:, 0] = counts * mantissa
    words[:, 1] = words[:, 0] >> 63  # the sign, in the high word
    mask = None if present is None else pa.array(present).buffers()[1]
    return pa.Array.from_buffers(pa.decimal128(38, digits), len(counts), [mask, pa.py_buffer(words)])


def integers(values: np.ndarray, present: np.ndarray | None = None) -> pa.Array:
    """int64, null where not `present`."""
    import pyarrow as pa

    return pa.array(values.astype(np.int64), mask=None if present is None else ~present)


def words(choices: np.ndarray, texts: Sequence[str]) -> pa.Array:
    """texts[choice] for each choice."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(choices.astype(np.int8), list(texts)).dictionary_decode()


def book_columns(events: np.ndarray, instrument: Instrument) -> Columns:
    """incremental_book_L2, a row an event."""
    return {
        "is_snapshot": words(events["flags"] & SNAPSHOT > 0, ("false", "true")),
        "side": words(events["side"] == SELL, ("bid", "ask")),
        "price": decimals(events["price"], instrument.tick),
        "amount": decimals(events["qty"], instrument.lot),
    }


def print_columns(events: np.ndarray, instrument: Instrument) -> Columns:
    """trades and liquidations, a row an event."""
    return {
        "id": integers(events["seq"], events["seq"] >= 0),
        "side": words(1 + events["side"], ("sell", "unknown", "buy")),
        "price": decimals(events["price"], instrument.tick),
        "amount": decimals(events["qty"], instrument.lot),
    }


def spread(events: np.ndarray, chosen: np.ndarray, field: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(`field` of the chosen event of each of `count` messages, whether there is one)."""
    message = np.cumsum(np.concatenate([[0], (events["flags"][:-1] & LAST) > 0]))
    values, present = np.zeros(count, np.int64), np.zeros(count, bool)
    values[message[chosen]] = events[field][chosen]
    present[message[chosen]] = True
    return values, present


def touch_columns(events: np.ndarray, instrument: Instrument) -> Columns:
    """quotes, a row a message; an empty side stays empty."""
    count = int((events["flags"] & LAST > 0).sum())
    out: Columns = {}
    for name, side in (("ask", SELL), ("bid", BUY)):
        chosen = (events["side"] == side) & (events["qty"] > 0)
        out[f"{name}_amount"] = decimals(*_pair(events, chosen, "qty", count, instrument.lot))
        out[f"{name}_price"] = decimals(*_pair(events, chosen, "price", count, instrument.tick))
    return {name: out[name] for name in ("ask_amount", "ask_price", "bid_price", "bid_amount")}


def ticker_columns(events: np.ndarray, instrument: Instrument) -> Columns:
    """derivative_ticker, a row a message."""
    count = int((events["flags"] & LAST > 0).sum())
    funding, mark = events["kind"] == FUNDING, events["kind"] == MARK
    return {
        "funding_timestamp": integers(*spread(events, funding, "seq", count)),
        "funding_rate": decimals(*_pair(events, funding, "value", count, UNIT)),
        "predicted_funding_rate": None,
        "open_interest": None,
        "last_price": None,
        "index_price": None,
        "mark_price": decimals(*_pair(events, mark, "value", count, UNIT)),
    }


def _pair(
    events: np.ndarray, chosen: np.ndarray, field: str, count: int, unit: Decimal
) -> tuple[np.ndarray, Decimal, np.ndarray]:
    values, present = spread(events, chosen, field, count)
    return values, unit, present


TYPES: Mapping[str, tuple[tuple[int, ...], Callable[[np.ndarray, Instrument], Columns]]] = {
    "incremental_book_L2": ((BOOK,), book_columns),
    "trades": ((TRADE,), print_columns),
    "liquidations": ((LIQUIDATION,), print_columns),
    "quotes": ((QUOTE,), touch_columns),
    "derivative_ticker": ((MARK, FUNDING), ticker_columns),
}


def table_of(events: np.ndarray, name: str, instrument: Instrument) -> pa.Table:
    """The rows of a data type as a table; `events` are whole messages of its kinds and of one instrument."""
    import pyarrow as pa

    columns = TYPES[name][1]
    by_message = name in ("quotes", "derivative_ticker")
    rows = events[events["flags"] & LAST > 0] if by_message else events
    lead: Columns = {
        "exchange": words(np.zeros(len(rows)), [instrument.venue]),
        "symbol": words(np.zeros(len(rows)), [instrument.symbol]),
        "timestamp": integers(rows["exch_ts"]),
        "local_timestamp": integers(rows["ts"]),
    }
    filled = {k: pa.nulls(len(rows)) if v is None else v for k, v in {**lead, **columns(events, instrument)}.items()}
    return pa.table(filled)


class CsvWriter:
    """Writes batches of events into a folder; a context manager that keeps the files only when nothing raised.

    `left_out` counts rows that CSV cannot say, by kind.
    """

    def __init__(self, folder: Path | str, instruments: Sequence[Instrument]) -> None:
        self.folder, self.instruments = Path(folder), tuple(instruments)
        self.left_out: Counter[str] = Counter()
        self.files: dict[Path, Any] = {}
        self.stack = ExitStack()

    def __enter__(self) -> CsvWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def write(self, events: np.ndarray) -> None:
        """Add a batch of whole messages; ConfigError when a number does not fit."""
        for index in np.unique(events["instrument"]):
            mine = events[events["instrument"] == index]
            for name, (kinds, _) in TYPES.items():
                chosen = mine[np.isin(mine["kind"], kinds)]
                if name == "incremental_book_L2":
                    said = chosen["side"] != 0
                    self.left_out["book message without levels"] += int((~said).sum())
                    chosen = chosen[said]
                if len(chosen):
                    self._add(self.instruments[index], name, chosen)
            for kind in np.setdiff1d(mine["kind"], [kind for kinds, _ in TYPES.values() for kind in kinds]):
                self.left_out[KIND_NAMES[int(kind)]] += int((mine["kind"] == kind).sum())

    def _add(self, instrument: Instrument, name: str, events: np.ndarray) -> None:
        from pyarrow import csv

        table = table_of(events, name, instrument)
        path = self.folder / f"{instrument.venue}_{name}_{instrument.symbol.replace('/', '-')}.csv.gz"
        if path not in self.files:
            stream = self.stack.enter_context(create_gzip(_aside(path), "wb", LEVEL))
            stream.write(",".join(table.column_names).encode() + b"\n")
            options = csv.WriteOptions(include_header=False, quoting_style="none")
            self.files[path] = self.stack.enter_context(csv.CSVWriter(stream, table.schema, write_options=options))
        self.files[path].write_table(table)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            self.stack.close()
            if kind is None:
                for path in self.files:
                    _aside(path).replace(path)
        finally:
            for path in self.files:
                _aside(path).unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def write(folder: Path | str, batches: Iterable[np.ndarray], instruments: Sequence[Instrument]) -> Counter[str]:
    """Write all batches into `folder`; returns what was left out, by kind."""
    with CsvWriter(folder, instruments) as writer:
        for batch in batches:
            writer.write(batch)
    return +writer.left_out
