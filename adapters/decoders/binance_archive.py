"""Files of Binance's public archive (data.binance.vision): columns to ROWs, one function a data type.

The archive has no time of receipt: a row is received when it happened, so feed latency must come from a model.  Times
are milliseconds, in spot files from 2025 on microseconds; both are documented, so the size of the number decides.
A funding rate is dated when it was settled, a few ms late: its row stands at the whole minute and settles then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adapters.decoders.csv_table import IDENT, NUMBER, SKIP, WHOLE, WORD, CsvReader
from replay.errors import DataError
from replay.events import BUY, FUNDING, LIQUIDATION, QUOTE, SELL, TRADE
from replay.kernel.assemble import BEGINS, NO_SEQ, ROW
from replay.kernel.lexer import word
from replay.units import US_PER_MIN, US_PER_MS

MS_FLOOR, US_FLOOR, US_CEILING = 10**11, 10**14, 9 * 10**15
TRUE = [word(text) for text in (b"true", b"True", b"TRUE")]
FALSE = [word(text) for text in (b"false", b"False", b"FALSE")]


@dataclass(frozen=True, slots=True)
class Archive:
    """One kind of file: kinds of its columns by position (the first `len(kinds)`; others are skipped).

    `widths` are the numbers of columns that occur, with whether that many are a spot file.
    """

    name: str
    channel: str
    kinds: tuple[int, ...]
    widths: dict[int, bool]
    rows: Callable[[CsvReader, int], np.ndarray]
    """(reader, number of lines) to ROWs with the 0-based line of the chunk and no owner."""

    def plan(self, width: int) -> np.ndarray:
        """Kind of each of `width` columns; DataError (without a place) when there should not be so many."""
        if width not in self.widths:
            known = " or ".join(map(str, sorted(self.widths)))
            raise DataError(f"{width} columns instead of {known}: this is no {self.name} file")
        return np.array([*self.kinds, *[SKIP] * (width - len(self.kinds))], np.int64)


def _times_us(reader: CsvReader, k: int, count: int) -> np.ndarray:
    """Times of the k-th column in µs; DataError with the 0-based line of the chunk for any other unit."""
    times = reader.values[k, :count]
    wrong = (times < MS_FLOOR) | (times >= US_CEILING)
    if wrong.any():
        row = int(np.argmax(wrong))
        problem = f"time {int(times[row])} is neither in milliseconds nor in microseconds"
        raise DataError(problem, line=int(reader.lines[row]))
    return np.where(times < US_FLOOR, times * US_PER_MS, times)


def _blank(reader: CsvReader, times: np.ndarray, kind: int) -> np.ndarray:
    rows = np.zeros(len(times), ROW)
    rows["line"] = reader.lines[: len(times)]
    rows["local_us"] = rows["venue_us"] = times
    rows["seq"] = rows["ident"] = NO_SEQ
    rows["kind"], rows["bits"] = kind, BEGINS
    return rows


def _number(rows: np.ndarray, field: str, reader: CsvReader, k: int) -> None:
    rows[field] = reader.values[k, : len(rows)]
    rows[field + "_digits"] = reader.digits[k, : len(rows)]


def _prints(reader: CsvReader, count: int, time: int, maker: int) -> np.ndarray:
    rows = _blank(reader, _times_us(reader, time, count), TRADE)
    rows["seq"] = rows["ident"] = np.where(reader.digits[0, :count] == 0, reader.values[0, :count], NO_SEQ)
    words = reader.values[maker, :count]
    rows["side"] = np.where(np.isin(words, TRUE), SELL, np.where(np.isin(words, FALSE), BUY, 0))
    _number(rows, "price", reader, 1)
    _number(rows, "size", reader, 2)
    return rows


def trade_rows(reader: CsvReader, count: int) -> np.ndarray:
    """id, price, qty, (quote qty), time, buyer is maker."""
    return _prints(reader, count, 3, 4)


def agg_trade_rows(reader: CsvReader, count: int) -> np.ndarray:
    """id, price, quantity, (first id, last id), time, buyer is maker."""
    return _prints(reader, count, 3, 4)


def ticker_rows(reader: CsvReader, count: int) -> np.ndarray:
    """update id, bid price, bid qty, ask price, ask qty, transaction time."""
    times = _times_us(reader, 5, count)
    rows = np.repeat(_blank(reader, times, QUOTE), 2)
    rows["seq"] = np.repeat(reader.values[0, :count], 2)
    for start, side, price in ((0, BUY, 1), (1, SELL, 3)):
        mine = rows[start::2]
        mine["side"] = side
        _number(mine, "price", reader, price)
        _number(mine, "size", reader, price + 1)
    rows["bits"][1::2] = 0
    return rows


def funding_rows(reader: CsvReader, count: int) -> np.ndarray:
    """calc time, (interval), rate."""
    times = _times_us(reader, 0, count)
    rows = _blank(reader, times - times % US_PER_MIN, FUNDING)
    rows["seq"] = rows["local_us"]
    _number(rows, "price", reader, 1)
    return rows


def liquidation_rows(reader: CsvReader, count: int) -> np.ndarray:
    """time, side, price, status, accumulated filled quantity; only filled orders count."""
    rows = _blank(reader, _times_us(reader, 0, count), LIQUIDATION)
    words = reader.values[1, :count]
    rows["side"] = (words == word(b"BUY")).astype(np.int8) - (words == word(b"SELL"))
    _number(rows, "price", reader, 2)
    _number(rows, "size", reader, 4)
    kept: np.ndarray = rows[reader.values[3, :count] == word(b"FILLED")]
    return kept


TYPES = {
    archive.name: archive
    for archive in (
        Archive(
            "trades", "trades", (IDENT, NUMBER, NUMBER, SKIP, WHOLE, WORD), {6: False, 7: True}, trade_rows
        ),
        Archive(
            "aggTrades", "trades", (IDENT, NUMBER, NUMBER, SKIP, SKIP, WHOLE, WORD), {7: False, 8: True}, agg_trade_rows
        ),
        Archive("bookTicker", "quotes", (WHOLE, NUMBER, NUMBER, NUMBER, NUMBER, WHOLE), {7: False}, ticker_rows),
        Archive("fundingRate", "marks", (WHOLE, SKIP, NUMBER), {3: False}, funding_rows),
        Archive(
            "liquidationSnapshot", "liquidations",
            (WHOLE, WORD, SKIP, SKIP, SKIP, NUMBER, SKIP, WORD, SKIP, NUMBER), {10: False}, liquidation_rows,
        ),
    )
}  # fmt: skip

REFUSED = {
    "bookDepth": "cumulative bands around the price every 30 s are not a book",
    "metrics": "open interest and ratios every 5 minutes are no events",
    "klines": "bars are no events; take trades or aggTrades",
    "indexPriceKlines": "bars are no events",
    "markPriceKlines": "bars are no events",
    "premiumIndexKlines": "bars are no events",
}
