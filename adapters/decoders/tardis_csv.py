"""Tardis CSV data sets: columns to ROWs, one function a data type.

Times are whole microseconds; anything else is an error, never a guess.  What no event can carry is left out and
counted in `ignored`: open interest, last and index price, predicted funding, volatilities and Greeks of options.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters.decoders.csv_table import EMPTY, IDENT, NUMBER, WHOLE, WORD, CsvReader, Layout
from replay.errors import ConfigError, DataError, did_you_mean
from replay.events import BOOK, BUY, FUNDING, LIQUIDATION, MARK, QUOTE, SELL, TRADE
from replay.kernel.assemble import BEGINS, NO_SEQ, ROW, SNAP
from replay.kernel.levels import level_rows
from replay.kernel.lexer import word

LEAD = ("exchange", "symbol")
US_FLOOR, US_CEILING = 10**14, 9 * 10**15
UNITS = ((10**11, "seconds"), (10**14, "milliseconds"), (10**17, "microseconds"))

Times = tuple[np.ndarray, np.ndarray]
Notes = Counter[str]


@dataclass(frozen=True, slots=True)
class DataType:
    """One kind of file.

    `columns` are read after `timestamp` and `local_timestamp` and handed to `rows` in that order.  Files of one
    `channel` cannot be mixed for one instrument.
    """

    name: str
    channel: str
    columns: dict[str, int]
    rows: Callable[[CsvReader, int, np.ndarray, Notes], np.ndarray]

    @property
    def layout(self) -> Layout:
        """Columns of such a file."""
        return Layout({"timestamp": WHOLE, "local_timestamp": WHOLE, **self.columns}, LEAD)


def new_rows(reader: CsvReader, count: int, lines: np.ndarray, kind: int, bits: int, times: int = 1) -> np.ndarray:
    """`times` ROWs for each of `count` lines, with owner, line and checked times; the other fields are blank."""
    local, venue = checked_times(reader, count)
    rows = np.zeros(count * times, ROW)
    repeat = (lambda column: np.repeat(column, times)) if times > 1 else (lambda column: column)
    rows["local_us"], rows["venue_us"] = repeat(local), repeat(venue)
    rows["owner"], rows["line"] = repeat(reader.owners[:count]), repeat(lines)
    rows["seq"] = rows["ident"] = NO_SEQ
    rows["kind"], rows["bits"] = kind, bits
    return rows


def checked_times(reader: CsvReader, count: int) -> Times:
    """(local, venue) times in µs, venue −1 where there is none; DataError with the 0-based line of the chunk."""
    for k, name in ((1, "local_timestamp"), (0, "timestamp")):
        times, digits = reader.values[k, :count], reader.digits[k, :count]
        wrong = (times < US_FLOOR) | (times >= US_CEILING)
        if k == 0:
            wrong &= times != 0
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(_time_problem(name, int(times[row]), int(digits[row])), line=int(reader.lines[row]))
    venue = reader.values[0, :count]
    return reader.values[1, :count], np.where(venue == 0, -1, venue)


def _time_problem(name: str, time: int, digits: int) -> str:
    if digits < 0:
        return f"{name} is empty"
    unit = next((unit for limit, unit in UNITS if time < limit), "nanoseconds")
    if unit == "microseconds":
        return f"{name} {time} lies beyond the year 2255"
    return f"{name} {time} is in {unit}, not in microseconds as Tardis files are; convert the file's times"


def set_number(rows: np.ndarray, field: str, reader: CsvReader, k: int, count: int) -> None:
    """Copy the k-th column as price or size."""
    rows[field] = reader.values[k, :count]
    rows[field + "_digits"] = reader.digits[k, :count]


def set_side(rows: np.ndarray, reader: CsvReader, k: int, count: int, buy: bytes, sell: bytes) -> None:
    """+1 where the word of the k-th column is `buy`, −1 where it is `sell`, 0 elsewhere."""
    words = reader.values[k, :count]
    rows["side"] = (words == word(buy)).astype(np.int8) - (words == word(sell))


def set_ident(rows: np.ndarray, reader: CsvReader, k: int, count: int) -> None:
    """Ids: numbers are the `seq`, anything else only tells repeated rows."""
    digits = reader.digits[k, :count]
    rows["ident"] = np.where(digits == EMPTY, NO_SEQ, reader.values[k, :count])
    rows["seq"] = np.where(digits == 0, reader.values[k, :count], NO_SEQ)


def book_rows(reader: CsvReader, count: int, lines: np.ndarray, notes: Notes) -> np.ndarray:
    """incremental_book_L2: is_snapshot, side, price, amount."""
    rows = np.empty(count, ROW)
    first_line = int(lines[0] - reader.lines[0])
    found = level_rows(
        reader.values, reader.digits, reader.lines, reader.owners, count, first_line, US_FLOOR, US_CEILING, rows
    )
    if found < count:
        checked_times(reader, count)
        marks = reader.values[2, :count]
        odd = (marks != word(b"true")) & (marks != word(b"false"))
        raise DataError("is_snapshot is neither true nor false", line=int(reader.lines[np.argmax(odd)]))
    return rows


def trade_rows(reader: CsvReader, count: int, lines: np.ndarray, notes: Notes) -> np.ndarray:
    """trades: id, side, price, amount."""
    return _prints(reader, count, lines, TRADE)


def liquidation_rows(reader: CsvReader, count: int, lines: np.ndarray, notes: Notes) -> np.ndarray:
    """liquidations: id, side, price, amount."""
    return _prints(reader, count, lines, LIQUIDATION)


def _prints(reader: CsvReader, count: int, lines: np.ndarray, kind: int) -> np.ndarray:
    rows = new_rows(reader, count, lines, kind, BEGINS)
    set_ident(rows, reader, 2, count)
    set_side(rows, reader, 3, count, b"buy", b"sell")
    set_number(rows, "price", reader, 4, count)
    set_number(rows, "size", reader, 5, count)
    return rows


def quote_rows(reader: CsvReader, count: int, lines: np.ndarray, notes: Notes) -> np.ndarray:
    """quotes, book_ticker: ask_amount, ask_price, bid_price, bid_amount."""
    return _quotes(reader, count, lines, bid=(4, 5), ask=(3, 2))


def _quotes(reader: CsvReader, count: int, lines: np.ndarray, bid: tuple[int, int], ask: tuple[int, int]) -> np.ndarray:
    """Two ROWs a line from the columns (price, size) of each side."""
    rows = new_rows(reader, count, lines, QUOTE, 0, times=2)
    for start, side, (price, size) in ((0, BUY, bid), (1, SELL, ask)):
        mine = rows[start::2]
        mine["side"] = side
        set_number(mine, "price", reader, price, count)
        set_number(mine, "size", reader, size, count)
    rows["bits"][::2] = BEGINS
    return rows


def snapshot_rows(reader: CsvReader, count: int, lines: np.ndarray, notes: Notes) -> np.ndarray:
    """book_snapshot_N: asks[i].price, asks[i].amount, bids[i].price, bids[i].amount; a whole book a line."""
    pairs = (len(reader.kinds) - 2) // 2
    rows = new_rows(reader, count, lines, BOOK, SNAP, times=pairs)
    for pair in range(pairs):
        mine = rows[pair::pairs]
        mine["side"] = BUY if pair % 2 else SELL
        set_number(mine, "price", reader, 2 + 2 * pair, count)
        set_number(mine, "size", reader, 3 + 2 * pair, count)
    given = ~((rows["price_digits"] == EMPTY) & (rows["size_digits"] == EMPTY)).reshape(count, pairs)
    empty = int((~given.any(axis=1)).sum())
    if empty:
        notes["book snapshot without levels, left out"] += empty
    first = given & (np.cumsum(given, axis=1) == 1)
    rows["bits"][first.ravel()] |= BEGINS
    kept: np.ndarray = rows[given.ravel()]
    return kept


def derivative_rows(reader: CsvReader, count: int, lines: np.ndarray, notes: Notes) -> np.ndarray:
    """derivative_ticker: funding_timestamp, funding_rate, mark_price."""
    due, rate, mark = 2, 3, 4
    rows = new_rows(reader, count, lines, MARK, BEGINS, times=2)
    set_number(rows[::2], "price", reader, mark, count)
    funding = rows[1::2]
    funding["kind"] = FUNDING
    set_number(funding, "price", reader, rate, count)
    funding["seq"] = reader.values[due, :count]
    dated, rated = reader.values[due, :count] != 0, reader.digits[rate, :count] != EMPTY
    wrong = dated & ((funding["seq"] < US_FLOOR) | (funding["seq"] >= US_CEILING))
    if wrong.any():
        row = int(np.argmax(wrong))
        problem = _time_problem("funding_timestamp", int(funding["seq"][row]), 0)
        raise DataError(problem, line=int(reader.lines[row]))
    undated = int((rated & ~dated).sum())
    if undated:
        notes["funding rate without funding time, left out"] += undated
    marked = reader.digits[mark, :count] != EMPTY
    funding["bits"][marked] = 0  # goes on with the message of the mark
    wanted = np.empty(2 * count, bool)
    wanted[::2], wanted[1::2] = marked, rated & dated
    notes["open interest, last and index price, predicted funding (derivative_ticker)"] += count
    return rows[wanted]


def option_rows(reader: CsvReader, count: int, lines: np.ndarray, notes: Notes) -> np.ndarray:
    """options_chain: bid_price, bid_amount, ask_price, ask_amount, mark_price as a quote and a mark."""
    quotes = _quotes(reader, count, lines, bid=(2, 3), ask=(4, 5))
    marks = new_rows(reader, count, lines, MARK, BEGINS)
    set_number(marks, "price", reader, 6, count)
    notes["volatilities, Greeks, open interest, last and underlying price (options_chain)"] += count
    rows = np.empty(3 * count, ROW)
    rows[::3], rows[1::3], rows[2::3] = quotes[::2], quotes[1::2], marks
    zero = (marks["price"] == 0) & (marks["price_digits"] >= 0)
    wanted = np.ones(3 * count, bool)
    wanted[2::3] = (marks["price_digits"] != EMPTY) & ~zero
    return rows[wanted]


PRINT = {"id": IDENT, "side": WORD, "price": NUMBER, "amount": NUMBER}
TOUCH = {"ask_amount": NUMBER, "ask_price": NUMBER, "bid_price": NUMBER, "bid_amount": NUMBER}


def _depth_columns(depth: int) -> dict[str, int]:
    return {
        f"{side}[{i}].{what}": NUMBER for i in range(depth) for side in ("asks", "bids") for what in ("price", "amount")
    }


DELTA = {"is_snapshot": WORD, "side": WORD, "price": NUMBER, "amount": NUMBER}
DERIVATIVE = {"funding_timestamp": WHOLE, "funding_rate": NUMBER, "mark_price": NUMBER}
OPTION = dict.fromkeys(("bid_price", "bid_amount", "ask_price", "ask_amount", "mark_price"), NUMBER)

DATA_TYPES = {
    t.name: t
    for t in (
        DataType("trades", "trades", PRINT, trade_rows),
        DataType("liquidations", "liquidations", PRINT, liquidation_rows),
        DataType("derivative_ticker", "marks", DERIVATIVE, derivative_rows),
        DataType("incremental_book_L2", "book", DELTA, book_rows),
        DataType("book_snapshot_5", "book", _depth_columns(5), snapshot_rows),
        DataType("book_snapshot_25", "book", _depth_columns(25), snapshot_rows),
        DataType("quotes", "quotes", TOUCH, quote_rows),
        DataType("book_ticker", "quotes", TOUCH, quote_rows),
        DataType("options_chain", "quotes", OPTION, option_rows),
    )
}

MARKS_OF = {
    "is_snapshot": "incremental_book_L2",
    "funding_rate": "derivative_ticker",
    "strike_price": "options_chain",
    "asks[24].price": "book_snapshot_25",
    "asks[4].price": "book_snapshot_5",
}
"""A column that only one data type has."""


def data_type_of(path: Path, header: Sequence[str], declared: str = "") -> DataType:
    """What kind of file this is: by its header, and by its name where two kinds have the same columns.

    DataError when it is none, or when the name does not tell.
    """
    if declared:
        if declared not in DATA_TYPES:
            raise ConfigError("data_type", declared, "is not a data type", did_you_mean(declared, DATA_TYPES))
        return DATA_TYPES[declared]
    if tuple(header[:4]) != (*LEAD, "timestamp", "local_timestamp"):
        raise DataError("this is not a Tardis CSV file: its first line is not their header", str(path), 1)
    for column, name in MARKS_OF.items():
        if column in header:
            return DATA_TYPES[name]
    twins = ("trades", "liquidations") if "side" in header else ("quotes", "book_ticker")
    if not set(DATA_TYPES[twins[0]].columns) <= set(header):
        raise DataError("no Tardis data type has these columns", str(path), 1, ", ".join(header))
    named = [name for name in twins if re.search(rf"(?<![a-z]){name}(?![a-z])", path.as_posix())]
    if len(named) != 1:
        raise DataError(
            f"{twins[0]} and {twins[1]} have the same columns, and the file's name does not tell which it is",
            str(path), 1, f"put {twins[0]!r} or {twins[1]!r} into its name, or say data_type=",
        )  # fmt: skip
    return DATA_TYPES[named[0]]
