"""Events out as a NautilusTrader data catalog: order book deltas, trade ticks and quote ticks in Parquet.

A catalog is a folder: `data/<type>/<instrument id>/<first>_<last>.parquet`, the times those of the file's first and
last `ts_init` in ns.  Prices and sizes are 128-bit integers of 1e-16, little-endian, in 16 bytes (Nautilus calls this
high precision; its packages for Linux and macOS are built so); the schema's metadata names the instrument and how many
decimals it shows.  `ts_event` is the venue's time, `ts_init` that of receipt.

A snapshot is a CLEAR delta and one ADD a level, a delta with size 0 a DELETE, any other an UPDATE.  Nautilus wants an
instrument under the same id; its definition (margins, fees, currencies) is not in the data and is not written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapters.csv_out import decimals, spread
from adapters.sequencing import grid
from replay.errors import ConfigError
from replay.events import BOOK, BUY, CLEAR, KIND_NAMES, LAST, QUOTE, SELL, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.units import NS_PER_US

if TYPE_CHECKING:
    import pyarrow as pa

DIGITS = 16
LARGEST = 17_014_118_346_046
"""Price or size; Nautilus takes none that is larger."""
ADD, UPDATE, DELETE, CLEARED = 1, 2, 3, 4
F_LAST, F_SNAPSHOT = 128, 32
BUYER, SELLER = 1, 2
"""Sides of an order and of an aggressor; 0 is neither."""
NS_PER_S = 1_000_000_000


def fixed(counts: np.ndarray, unit: Decimal, what: str) -> pa.Array:
    """`counts` (int64) times `unit` in units of 1e-16, 16 bytes each.  ConfigError when Nautilus cannot hold one."""
    import pyarrow as pa

    largest = int(np.abs(counts).max()) if len(counts) else 0
    if grid(unit)[1] > DIGITS or largest * unit > LARGEST:
        raise ConfigError(what, largest * unit, f"in steps of {unit} does not fit: {DIGITS} decimals, up to {LARGEST}")
    values = decimals(counts, unit).cast(pa.decimal128(38, DIGITS))
    return pa.Array.from_buffers(pa.binary(16), len(values), [None, values.buffers()[1]])


def sides(events: np.ndarray) -> np.ndarray:
    """Codes of Nautilus."""
    return np.select([events["side"] == BUY, events["side"] == SELL], [BUYER, SELLER], 0).astype(np.uint8)


def delta_rows(events: np.ndarray, instrument: Instrument) -> dict[str, Any]:
    """Order book deltas: a row a level, and one before each snapshot that clears the book."""
    clears = np.flatnonzero(events["flags"] & CLEAR)
    rows = np.insert(events, clears, events[clears])
    cleared = np.zeros(len(rows), bool)
    cleared[clears + np.arange(len(clears))] = True
    for name in ("price", "qty", "side"):
        rows[name][cleared] = 0
    rows["flags"][cleared] &= ~LAST
    kept = cleared | (rows["side"] != 0)
    alone = np.flatnonzero(cleared & ~np.append(kept[1:], True))  # clears of snapshots without a level
    rows["flags"][alone] |= LAST
    rows, cleared = rows[kept], cleared[kept]
    snapshot = (rows["flags"] & SNAPSHOT) > 0
    return {
        "action": np.select([cleared, rows["qty"] == 0, snapshot], [CLEARED, DELETE, ADD], UPDATE).astype(np.uint8),
        "side": sides(rows),
        "price": fixed(rows["price"], instrument.tick, "price"),
        "size": fixed(rows["qty"], instrument.lot, "size"),
        "order_id": np.zeros(len(rows), np.uint64),
        "flags": (F_SNAPSHOT * snapshot + F_LAST * ((rows["flags"] & LAST) > 0)).astype(np.uint8),
        "sequence": np.maximum(rows["seq"], 0).astype(np.uint64),
        **_times(rows),
    }


def trade_rows(events: np.ndarray, instrument: Instrument) -> dict[str, Any]:
    """Trade ticks; a trade without an id is given its time of receipt in ns."""
    names = np.where(events["seq"] >= 0, events["seq"], events["ts"] * NS_PER_US)
    return {
        "price": fixed(events["price"], instrument.tick, "price"),
        "size": fixed(events["qty"], instrument.lot, "size"),
        "aggressor_side": sides(events),
        "trade_id": [str(name) for name in names.tolist()],
        **_times(events),
    }


def quote_rows(events: np.ndarray, instrument: Instrument) -> dict[str, Any]:
    """Quote ticks, a row a message; a message that does not have both sides is left out."""
    lasts = events[events["flags"] & LAST > 0]
    both = np.ones(len(lasts), bool)
    found = {}
    for name, side in (("bid", BUY), ("ask", SELL)):
        chosen = (events["side"] == side) & (events["qty"] > 0)
        found[f"{name}_price"], there = spread(events, chosen, "price", len(lasts))
        found[f"{name}_size"], _ = spread(events, chosen, "qty", len(lasts))
        both &= there
    rows: dict[str, Any] = {
        name: fixed(found[name][both], instrument.tick if "price" in name else instrument.lot, name)
        for name in ("bid_price", "ask_price", "bid_size", "ask_size")
    }
    return {**rows, **_times(lasts[both])}


def _times(events: np.ndarray) -> dict[str, np.ndarray]:
    return {name: (events[ours] * NS_PER_US).astype(np.uint64) for name, ours in (("ts_event", "exch_ts"),
                                                                                  ("ts_init", "ts"))}  # fmt: skip


TYPES = {BOOK: ("order_book_delta", delta_rows), TRADE: ("trade_tick", trade_rows), QUOTE: ("quote_tick", quote_rows)}


def table_of(events: np.ndarray, kind: int, instrument: Instrument, name: str) -> pa.Table:
    """The rows of one type for the instrument that Nautilus knows as `name`; `events` are whole messages of `kind`."""
    import pyarrow as pa

    rows = {column: pa.array(values) for column, values in TYPES[kind][1](events, instrument).items()}
    facts = {"instrument_id": name, "price_precision": str(grid(instrument.tick)[1])}
    facts["size_precision"] = str(grid(instrument.lot)[1])
    schema = pa.schema([pa.field(column, values.type, nullable=False) for column, values in rows.items()], facts)
    return pa.table(list(rows.values()), schema=schema)


def file_time(time_ns: int) -> str:
    """`2024-08-08T23-54-00-000000001Z`, as in the names of files."""
    seconds, rest = divmod(time_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H-%M-%S}-{rest:09d}Z"


class _File:
    """A file on its way: written aside, then named after its first and last time."""

    def __init__(self, folder: Path, schema: Any, stack: ExitStack) -> None:
        import pyarrow.parquet as pq

        if folder.is_dir() and any(folder.glob("*.parquet")):
            raise ConfigError("folder", str(folder), "has data already", "name another folder, or delete it")
        folder.mkdir(parents=True, exist_ok=True)
        self.aside = folder / "new.part"
        stack.callback(self.aside.unlink, missing_ok=True)
        self.parquet = stack.enter_context(pq.ParquetWriter(self.aside, schema))
        self.first_ns = self.last_ns = -1

    def add(self, table: Any) -> None:
        """Append rows."""
        first, last = (table.column("ts_init")[row].as_py() for row in (0, len(table) - 1))
        self.first_ns, self.last_ns = first if self.first_ns < 0 else self.first_ns, last
        self.parquet.write_table(table)

    def put(self) -> None:
        """Put it in place; it must be closed."""
        self.aside.replace(self.aside.with_name(f"{file_time(self.first_ns)}_{file_time(self.last_ns)}.parquet"))


def write(
    folder: Path | str, batches: Iterable[np.ndarray], instruments: Sequence[Instrument],
    names: Mapping[str, str] | None = None,
) -> Counter[str]:  # fmt: skip
    """Write all batches (EVENT, whole messages, `ts` never stepping back) into the catalog `folder`.

    Returns how many rows were left out because the format has none for them, by kind.  `names` maps `venue:symbol` to
    an id of Nautilus, `SYMBOL.VENUE` otherwise.  Each file is written aside; they are put in place when all are
    complete.  ConfigError when the catalog has data of an instrument, or a number does not fit.
    """
    ids = [(names or {}).get(i.name, f"{i.symbol}.{i.venue.upper()}") for i in instruments]
    files: dict[tuple[str, str], _File] = {}
    left_out: Counter[str] = Counter()
    with ExitStack() as stack:
        for batch in batches:
            for index in np.unique(batch["instrument"]).tolist():
                mine = batch[batch["instrument"] == index]
                for kind in np.unique(mine["kind"]).tolist():
                    chosen = mine[mine["kind"] == kind]
                    if kind not in TYPES:
                        left_out[KIND_NAMES[kind]] += len(chosen)
                        continue
                    table = table_of(chosen, kind, instruments[index], ids[index])
                    left_out[KIND_NAMES[kind]] += _lost(chosen, kind, len(table))
                    if not len(table):
                        continue
                    key = TYPES[kind][0], ids[index].replace("/", "")
                    if key not in files:
                        files[key] = _File(Path(folder, "data", *key), table.schema, stack)
                    files[key].add(table)
        for file in files.values():
            file.parquet.close()
        for file in files.values():
            file.put()
    return +left_out


def _lost(events: np.ndarray, kind: int, written: int) -> int:
    """How many rows (QUOTE: messages) of one kind were not written."""
    if kind == BOOK:
        return int(((events["side"] == 0) & (events["flags"] & CLEAR == 0)).sum())
    return (int((events["flags"] & LAST > 0).sum()) if kind == QUOTE else len(events)) - written
