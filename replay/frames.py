"""The tables of a result for people and other tools: exact dicts, Arrow, pandas, polars.

An Arrow table holds the raw integer columns under their own names, times as timestamps (UTC, µs; null where unknown),
and next to them what they mean: `symbol`, `price` and `size` as float64, names for codes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.errors import ConfigError, did_you_mean
from replay.instruments import Instrument
from replay.kernel import codes
from replay.units import iso_from_us, plain

if TYPE_CHECKING:
    import pyarrow as pa

    from replay.results import Result

TABLES = ("fills", "orders", "equity", "markouts", "positions", "records")
TIMES = ("ts", "local_ts", "exch_ts", "req_ts", "opened_us", "closed_us")
_NAMES = {"cause": codes.CAUSE_NAMES, "status": codes.STATUS_NAMES, "reason": codes.REASONS}


def optional(package: str) -> Any:
    """The package, loaded now.  ConfigError that says how to get it when it is missing."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ConfigError("", None, f"{package} is not installed", f"pip install {package}") from None


def arrow_table(result: Result, name: str) -> pa.Table:
    """Table `name` (one of TABLES) of a result.  ConfigError for another name."""
    import pyarrow as pa

    if name not in TABLES:
        raise ConfigError("table", name, "is no table of a result", did_you_mean(name, TABLES))
    if name == "records":
        return _records(result)
    rows = getattr(result, name)
    columns = {field: _column(rows[field], field) for field in rows.dtype.names if field != "strategy"}
    columns |= _meaning(rows, result)
    return pa.table(columns)


def _records(result: Result) -> pa.Table:
    import pyarrow as pa

    names = list(result.records)
    lengths = [len(series) for series in result.records.values()]
    ts, value = (
        np.concatenate([np.zeros(0, kind), *(series[field] for series in result.records.values())])
        for field, kind in (("ts", np.int64), ("value", np.float64))
    )
    return pa.table({"name": _words(np.repeat(np.arange(len(names)), lengths), names), "ts": _column(ts, "ts"),
                     "value": pa.array(value)})  # fmt: skip


def _column(values: np.ndarray, field: str) -> Any:
    import pyarrow as pa

    values = np.ascontiguousarray(values)
    if field in TIMES:
        return pa.array(values, mask=values == 0).cast(pa.timestamp("us", "UTC"))
    return pa.array(values)


def _meaning(rows: np.ndarray, result: Result) -> dict[str, Any]:
    """Columns that say in words and decimals what the raw ones mean."""
    import pyarrow as pa

    named = rows.dtype.names or ()
    out: dict[str, Any] = {}
    if "instrument" in named:
        index = rows["instrument"]
        out["symbol"] = _words(index, [instrument.name for instrument in result.instruments])
        for field, source, step in (("price", "ticks", "tick"), ("size", "lots", "lot")):
            if source in named:
                out[field] = pa.array(_decimals(rows[source], index, result.instruments, step))
        if "mid2" in named:
            mid = _decimals(rows["mid2"], index, result.instruments, "tick") / 2
            out["mid"] = pa.array(mid, mask=rows["mid2"] == 0)
    if "currency" in named:
        out["currency_name"] = _words(rows["currency"], list(result.currencies))
    for field, words in _NAMES.items():
        if field in named:
            out[f"{field}_name"] = _words(rows[field], list(words))
    return out


def _decimals(whole: np.ndarray, index: np.ndarray, instruments: tuple[Instrument, ...], step: str) -> np.ndarray:
    """The nearest float64 to each integer times its instrument's tick or lot."""
    ratios = [getattr(instrument, step).as_integer_ratio() for instrument in instruments]
    up, down = (np.array(numbers, np.float64)[index] for numbers in zip(*ratios))
    return np.asarray(whole * up / down)


def _words(index: np.ndarray, words: list[str]) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), pa.array(words, pa.string()))


def fills_table(result: Result) -> list[dict[str, Any]]:
    """See `Result.fills_table`."""
    out = []
    for row in result.fills:
        instrument = result.instruments[int(row["instrument"])]
        out.append(
            {
                "time": iso_from_us(int(row["exch_ts"])),
                "seen": iso_from_us(int(row["local_ts"])),
                "instrument": instrument.name,
                "order": int(row["order_id"]),
                "side": "buy" if row["side"] > 0 else "sell",
                "price": plain(instrument.price(int(row["ticks"]))),
                "size": plain(instrument.size(int(row["lots"]))),
                "role": "maker" if row["maker"] else "taker",
                "cause": codes.CAUSE_NAMES[int(row["cause"])],
                "cause_id": int(row["cause_seq"]),
                "queue_front": float(row["front"]),
                "fee": float(row["fee"]),
                "fee_currency": result.summary_by_instrument[int(row["instrument"])].fee_currency,
                "slippage_ticks": int(row["slippage_ticks"]),
                "position": plain(instrument.size(int(row["position"]))),
            }
        )
    return out
