"""Event records as Arrow columns, and back.

All channels have the same columns, so one query reads any mixture of files; a column that never changes costs a few
bytes a file.  Prices and sizes are exact decimals: the mantissa of `ticks × tick` at the scale of the tick, which
Parquet keeps as int64.  `source` and the padding of a record are not kept, `instrument` is the folder.
The scale is the instrument's own: a query over files of several scales must ask its tool to unite them (DuckDB:
`union_by_name`, without which it rounds to the scale of the first file; polars: `concat(how="vertical_relaxed")`).

The encodings (`encoded`) were chosen by the time that reading takes: on a Binance USD-M book half of that of packed
steps and dictionaries under zstd, for a few more bytes.  Files in other encodings are read just the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from replay.errors import DataError
from replay.events import EVENT
from replay.instruments import Instrument
from replay.units import INT64_MAX

ROW_GROUP_ROWS = 131_072
DIGITS = 18
"""Most decimal digits that Parquet keeps in 64 bits."""

_TIME = pa.timestamp("us", tz="UTC")
_COLUMNS: tuple[tuple[str, Any, str], ...] = (
    ("ts", _TIME, "local receipt, clock offset corrected"),
    ("exch_ts", _TIME, "venue time"),
    ("message", pa.int64(), "number of the message within the UTC day of the recording, over all channels"),
    ("seq", pa.int64(), "book, quote, order: last update id; trade: trade id; funding: next settlement in us; "
     "gap: last good"),
    ("kind", pa.int8(), "1 book, 2 trade, 3 quote, 4 liquidation, 5 mark, 6 funding, 7 gap, 8 order"),
    ("side", pa.int8(), "+1 bid or buy, -1 ask or sell, 0 neither"),
    ("price", pa.decimal128, "price in the quote currency"),
    ("qty", pa.decimal128, "book, quote, order: size of the level or order, 0 deletes; trade, liquidation: traded"),
    ("value", pa.int64(), "mark price or funding rate in 1e-8; gap: first id after the hole; order: its number"),
    ("flags", pa.int16(), "1 last row of its message, 2 snapshot, 4 clear, 8 gap before, 16 repaired, 32 bad time, "
     "64 off the grid"),
)  # fmt: skip
NAMES = tuple(name for name, _, _ in _COLUMNS)
WORDS = EVENT.itemsize // 8
_TYPES = {name: np.dtype(np.int64) if name == "message" else EVENT[name] for name in NAMES}
"""Of the values in memory; a decimal is two of them, the low word first."""
_TIMES_AND_IDS = ("ts", "exch_ts", "message", "seq")
LONG_MESSAGES = 4
"""From so many rows a message on, a dictionary of times and ids is read several times faster than their steps."""

Columns = dict[str, np.ndarray]
"""Arrays of one length by column name (see `replay.kernel.filing.COLUMNS`)."""


def encoded(message: np.ndarray) -> dict[str, Any]:
    """Settings of a Parquet writer for a file in whose first row group the rows have these message numbers.

    Prices and sizes are split into their bytes, of which LZ4 then finds the upper ones alike; flags are runs that it
    packs as they are.  Times and ids are a dictionary if a message has many rows; else that would be as long as the
    column, and their steps are packed.
    """
    many = len(message) >= LONG_MESSAGES * (1 + np.count_nonzero(np.diff(message)))
    encoding = {"price": "BYTE_STREAM_SPLIT", "qty": "BYTE_STREAM_SPLIT", "flags": "PLAIN"}
    if not many:
        encoding |= {name: "DELTA_BINARY_PACKED" for name in _TIMES_AND_IDS}
    return {
        "compression": "lz4",
        "column_encoding": encoding,
        "use_dictionary": [name for name in NAMES if name not in encoding],
        "store_decimal_as_integer": True,
        "write_page_checksum": True,
    }


def mantissa(step: Decimal) -> tuple[int, int]:
    """A positive decimal as (mantissa, digits): 0.05 is (5, 2), 10 is (10, 0)."""
    sign, figures, exponent = step.normalize().as_tuple()
    assert sign == 0 and isinstance(exponent, int), "Instrument promises a positive finite step"
    whole = int("".join(map(str, figures)))
    return (whole * 10**exponent, 0) if exponent > 0 else (whole, -exponent)


def schema_of(instrument: Instrument) -> Any:
    """Arrow schema of the files of an instrument.  DataError when a step has more digits than a file can keep."""
    scales = {"price": mantissa(instrument.tick)[1], "qty": mantissa(instrument.lot)[1]}
    for name, digits in scales.items():
        if digits > DIGITS:
            raise DataError(f"{instrument.name}: the step of {name} has {digits} decimals, the store keeps {DIGITS}")
    return pa.schema([
        pa.field(name, kind(DIGITS, scales[name]) if name in scales else kind, False, {"doc": doc})
        for name, kind, doc in _COLUMNS
    ])  # fmt: skip


def hot_schema(digest: str) -> Any:
    """Schema of an uncompressed copy: as of the file, with prices in ticks and sizes in lots."""
    fields = [pa.field(name, pa.int64() if kind is pa.decimal128 else kind, False) for name, kind, _ in _COLUMNS]
    return pa.schema(fields, {"digest": digest})


def record_batch(columns: Columns, rows: int, schema: Any) -> Any:
    """The first `rows` rows of columns as a record batch for a file, without a copy."""
    arrays = [pa.Array.from_buffers(field.type, rows, [None, pa.py_buffer(columns[field.name])]) for field in schema]
    return pa.record_batch(arrays, schema=schema)


@dataclass(frozen=True, slots=True)
class Grid:
    """How the prices and sizes of one file become ticks and lots: `stored × up // down`, exact."""

    price: tuple[int, int]
    qty: tuple[int, int]

    @classmethod
    def of(cls, stored: Instrument, wanted: Instrument, decimals: bool) -> Grid:
        """From a file written with the steps of `stored` to those of `wanted`, which divide them.

        `decimals` says whether the file holds decimals (Parquet) or ticks and lots (uncompressed copy).
        """
        pairs = []
        for mine, theirs in ((stored.tick, wanted.tick), (stored.lot, wanted.lot)):
            ratio = mine / theirs
            assert ratio == int(ratio), "the wanted step does not divide the stored one"
            pairs.append((int(ratio), mantissa(mine)[0] if decimals else 1))
        return cls(pairs[0], pairs[1])


def events_of(batch: Any, constants: Mapping[str, int], grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """A record batch as (new EVENT records of instrument 0, int64 message numbers).

    `constants` gives the columns that the batch leaves out.  DataError when a value is missing or too large.
    """
    words, numbers = np.empty((len(batch), WORDS), np.int64), np.empty(len(batch), np.int64)
    rows_into(words, numbers, batch, constants, grid, 0)
    return words.view(EVENT)[:, 0], numbers


def rows_into(
    words: np.ndarray, numbers: np.ndarray, batch: Any, constants: Mapping[str, int], grid: Grid, instrument: int
) -> int:  # fmt: skip
    """Write a record batch and the columns with one value to as many EVENT records, as words, and message numbers.

    Returns how many rows there are up to the last that closes a message.  DataError when a value is missing or too
    large.
    """
    from replay.kernel.expand import expand

    cells = {name: _cells(name, array, grid) for name, array in zip(batch.schema.names, batch.columns)}
    for name, value in constants.items():
        up, _ = _factors(grid, name)  # constants are in ticks and lots
        cells[name] = _times(np.array([value], _TYPES[name]), up, name), 0
    for values, _ in cells.values():
        values.flags.writeable = False  # the kernel is compiled for one kind of array
    steps = np.array([cells[name][1] for name in NAMES])
    arguments: list[Any] = [*(cells[name][0] for name in NAMES), steps, instrument, words, numbers]
    return int(expand(*arguments))


def _cells(name: str, array: Any, grid: Grid) -> tuple[np.ndarray, int]:
    """The values of a column in ticks, lots or as they are, and how many places they lie apart."""
    if array.null_count:
        raise DataError(f"column {name} has empty cells")
    step = 2 if pa.types.is_decimal(array.type) else 1  # a decimal has two words
    values = np.frombuffer(array.buffers()[1], _TYPES[name])[step * array.offset : step * (array.offset + len(array))]
    up, down = _factors(grid, name)
    if up == down == 1:
        return values, step
    return _times(values[::step] // down, up, name), 1


def _factors(grid: Grid, name: str) -> tuple[int, int]:
    factors: tuple[int, int] = getattr(grid, name, (1, 1))
    return factors


def _times(values: np.ndarray, factor: int, name: str) -> np.ndarray:
    if factor == 1:
        return values
    limit = INT64_MAX // factor
    if len(values) and (int(values.max()) > limit or int(values.min()) < -limit):
        raise DataError(f"a {name} does not fit 64 bits on the grid that all days share")
    return values * factor


def times_of(batch: Any) -> np.ndarray:
    """The column `ts`, without a copy."""
    times = batch.column(0)
    return np.frombuffer(times.buffers()[1], np.int64)[times.offset : times.offset + len(times)]


def words_of(events: np.ndarray) -> np.ndarray:
    """EVENT rows as int64[rows, 8], the same memory if they are contiguous: NumPy copies those faster than records."""
    return np.ascontiguousarray(events).view(np.int64).reshape(-1, WORDS)


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """EVENT rows of all parts in one new array."""
    return np.concatenate([words_of(part) for part in parts]).view(EVENT)[:, 0]


def chosen(events: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A new array of the EVENT rows at the indices `rows`."""
    taken: np.ndarray = words_of(events)[rows].view(EVENT)[:, 0]
    return taken
