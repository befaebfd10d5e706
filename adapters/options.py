"""Option summaries of data sets as tables (`replay.store.options`): Tardis `options_chain`, tardis-machine messages.

The survey of the files has checked the times and what becomes events; here the other columns are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import csv

from adapters.transports.file import open_recording, read_chunks
from replay.errors import DataError
from replay.store.options import SCHEMA
from replay.units import us_from_time

BLOCK_BYTES = 1 << 20
BATCH_ROWS = 16_384
MACHINE = {
    "type": "optionType", "strike_price": "strikePrice", "expiration": "expirationDate",
    "open_interest": "openInterest", "last_price": "lastPrice", "bid_price": "bestBidPrice",
    "bid_amount": "bestBidAmount", "bid_iv": "bestBidIV", "ask_price": "bestAskPrice", "ask_amount": "bestAskAmount",
    "ask_iv": "bestAskIV", "mark_price": "markPrice", "mark_iv": "markIV", "underlying_index": "underlyingIndex",
    "underlying_price": "underlyingPrice", "delta": "delta", "gamma": "gamma", "vega": "vega", "theta": "theta",
    "rho": "rho",
}  # fmt: skip
"""Key of a message by column; `symbol` and the times have their own."""
NO_NUMBER = ("", "nan", "NaN", "null", "inf", "-inf", "Infinity", "-Infinity")


def csv_summaries(path: Path, offset_us: int) -> Iterator[tuple[str, Any]]:
    """(venue, batch) of a file `options_chain`; `offset_us` is added to local times."""
    types = {field.name: pa.int64() if pa.types.is_timestamp(field.type) else field.type for field in SCHEMA}
    types.update(exchange=pa.string(), timestamp=pa.int64(), local_timestamp=pa.int64())
    lead = ["exchange", "timestamp", "local_timestamp"]
    convert = csv.ConvertOptions(
        column_types=types, include_columns=lead + [name for name in SCHEMA.names if name not in ("ts", "exch_ts")],
        include_missing_columns=True, null_values=list(NO_NUMBER), strings_can_be_null=True,
    )  # fmt: skip
    with open_recording(path) as stream:
        try:
            reader = csv.open_csv(stream, csv.ReadOptions(block_size=BLOCK_BYTES), convert_options=convert)
            for batch in reader:
                yield from _by_venue(batch, offset_us)
        except pa.ArrowException as error:
            raise DataError(f"a row of the option chain cannot be read: {error}", str(path)) from None


def _by_venue(batch: Any, offset_us: int) -> Iterator[tuple[str, Any]]:
    local = np.asarray(batch.column("local_timestamp")) + offset_us
    said = batch.column("timestamp").fill_null(0).to_numpy()
    times = {"ts": local, "exch_ts": np.where(said == 0, local, said)}
    arrays = []
    for field in SCHEMA:
        array = pa.array(times[field.name]) if field.name in times else batch.column(field.name)
        arrays.append(array.cast(field.type))
    venues = batch.column("exchange").to_numpy(zero_copy_only=False)
    whole = pa.record_batch(arrays, schema=SCHEMA)
    for venue in sorted(set(venues.tolist())):
        yield venue, whole.filter(pa.array(venues == venue))


def machine_summaries(path: Path, offset_us: int) -> Iterator[tuple[str, Any]]:
    """(venue, batch) of the messages `option_summary` in a file; `offset_us` is added to local times."""
    waiting: dict[str, list[dict[str, Any]]] = {}
    for chunk in read_chunks(path):
        if b'"option_summary"' not in chunk.data:
            continue
        for i, line in enumerate(chunk.data[:-1].split(b"\n")):
            if b'"option_summary"' not in line:
                continue
            message = orjson.loads(line)
            if message["type"] != "option_summary":
                continue
            try:
                waiting.setdefault(message["exchange"], []).append(_row(message, offset_us))
            except (ArithmeticError, ValueError, TypeError, KeyError) as error:
                raise DataError(f"an option summary cannot be read: {error!r}", *chunk.where(i)) from None
        for venue in [venue for venue, rows in waiting.items() if len(rows) >= BATCH_ROWS]:
            yield venue, _batch(waiting.pop(venue), path)
    for venue, rows in waiting.items():
        yield venue, _batch(rows, path)


def _row(message: dict[str, Any], offset_us: int) -> dict[str, Any]:
    local = us_from_time(message["localTimestamp"]) + offset_us
    row = {"symbol": message["symbol"], "ts": local, "exch_ts": local}
    if message.get("timestamp"):
        row["exch_ts"] = us_from_time(message["timestamp"])
    for name, key in MACHINE.items():
        value, kind = message.get(key), SCHEMA.field(name).type
        if value is None:
            row[name] = None
        elif pa.types.is_decimal(kind):
            row[name] = Decimal(repr(value) if isinstance(value, float) else value)
        elif pa.types.is_timestamp(kind):
            row[name] = us_from_time(value)
        else:
            row[name] = float(value) if pa.types.is_floating(kind) else str(value)
    return row


def _batch(rows: Sequence[dict[str, Any]], path: Path) -> Any:
    arrays = []
    for field in SCHEMA:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        try:
            arrays.append(pa.array([row[field.name] for row in rows], kind).cast(field.type))
        except pa.ArrowException as error:
            raise DataError(f"{field.name} of an option summary: {error}", str(path)) from None
    return pa.record_batch(arrays, schema=SCHEMA)
