"""Answers of a REST relay: what to ask for, page after page, and what a row of an answer means.

Relays differ in paths, names, units and paging, so a way of asking is data (`Shape`), and any of it may be changed
with `dataclasses.replace`.  A `Pager` walks through one shape's pages of one market and stretch of time; it does no
I/O: `request` says what to ask, `take` is given the answer.

* Bounds are [start, end), whatever the relay thinks of its own; what lies outside is left out here.
* Rows of a page are sorted by time, then by numeric id.
* A row that came before is left out: by its id, else by everything in it.  Rows without id may be equal inside one
  page, then they are different trades: a later page adds as many as it has more of than were seen.
* A page that promises more and gives no way on, or the same one again, is an error, never a loop.

Times in answers are whole numbers in the shape's unit, or ISO text.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import quote

import orjson

from adapters.base import Cell, Filled
from adapters.decoders.csv_table import EMPTY, HASHED, IDENT, read_cell
from adapters.decoders.json_rows import Fields, cell
from replay.errors import DataError
from replay.events import BOOK, BUY, FUNDING, LIQUIDATION, MARK, SELL, TRADE
from replay.kernel.assemble import BEGINS, NO_SEQ, SNAP
from replay.units import US_PER_HOUR, US_PER_MS, us_from_time

Json = dict[str, Any]
REMEMBERED = 200_000
"""Rows that are compared with what comes: several pages of any relay."""
US_FLOOR, US_CEILING = 10**14, 9 * 10**15

TIMES = ("timestamp", "ts", "time")
RECEIVED = ("local_timestamp", "localTimestamp")
PRICES = ("price", "p")
SIZES = ("amount", "size", "qty", "quantity", "volume")
IDENTS = ("id", "trade_id")
SEQUENCES = ("sequence", "seq")
MAKERS = ("is_buyer_maker", "isBuyerMaker", "buyer_maker", "m")
RATES = ("funding_rate", "rate")
MARKS = ("mark_price", "markPrice")
DUE = ("next_funding_time", "funding_timestamp")
SIDES = {"buy": BUY, "taker_buy": BUY, "b": BUY, "sell": SELL, "taker_sell": SELL, "s": SELL}


@dataclass(frozen=True, slots=True)
class Request:
    """One call; `values` are the query of a GET or the JSON body of a POST; `cursor` says that it names one."""

    method: str
    path: str
    values: Json
    cursor: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """A way of asking.

    `path` may name {exchange} and {symbol}; `names` maps exchange, symbol, start, end, limit and cursor to the
    relay's parameters.  `rows` is the key of the list in the answer, `kind` what it holds: trades, books or events.
    Paging "cursor" follows next_cursor; "time" goes on at the last time of a full page (without a limit: until a page
    brings no later time); "range" asks for stretches of
    `chunk_us` and halves them while a page is full.  `unit_us` is the length of the relay's unit of time, `limit` the
    rows of a full page (0: no limit), `within` the key around the body.
    """

    name: str
    kind: str
    path: str
    names: Mapping[str, str]
    rows: str
    paging: str
    method: str = "GET"
    unit_us: int = US_PER_MS
    limit: int = 10_000
    extra: Mapping[str, Any] = field(default_factory=dict)
    within: str = ""
    chunk_us: int = US_PER_HOUR

    def request(self, exchange: str, symbol: str, start_us: int, end_us: int, cursor: str = "") -> Request:
        """What to ask for the rows of [start_us, end_us)."""
        start, end = start_us // self.unit_us, -(-end_us // self.unit_us)
        said = {"exchange": exchange, "symbol": symbol, "start": start, "end": end, "limit": self.limit}
        said["cursor"] = cursor
        values = {self.names[ours]: value for ours, value in said.items() if ours in self.names and value != ""}
        values.update(self.extra)
        path = self.path.format(exchange=quote(exchange, safe=""), symbol=quote(symbol, safe=""))
        return Request(self.method, path, {self.within: values} if self.within else values, bool(cursor))


_MARKET = {"exchange": "exchange", "symbol": "symbol"}
_SNAKE = {**_MARKET, "start": "start_time", "end": "end_time"}
_CAMEL_NO_LIMIT = {**_MARKET, "start": "startTime", "end": "endTime"}
_CAMEL = {**_CAMEL_NO_LIMIT, "limit": "limit"}
_PLAIN = {"start": "start", "end": "end"}
INCLUDE = ("orderbook", "trades", "liquidations", "funding")

SHAPES = {
    shape.name: shape
    for shape in (
        Shape("trades", "trades", "/tardis/trades", {**_SNAKE, "limit": "limit", "cursor": "cursor"}, "trades",
              "cursor"),
        Shape("query_trades", "trades", "/tardis/trades", {**_MARKET, "start": "start_ms", "end": "end_ms"}, "trades",
              "range", method="POST", limit=0, within="query"),
        Shape("market_trades", "trades", "/markets/{exchange}/{symbol}/trades", {**_PLAIN, "limit": "limit"}, "trades",
              "range"),
        Shape("option_trades", "trades", "/trades", _CAMEL, "data", "time", extra={"category": "option"}),
        Shape("book_snapshots", "books", "/orderbook-snapshots", _CAMEL_NO_LIMIT, "data", "time", limit=0,
              extra={"depth": 25}),
        Shape("stream", "events", "/backtest/tardis/stream", {**_MARKET, **_PLAIN}, "events", "range", method="POST",
              limit=0, extra={"include": list(INCLUDE)}),
    )
}  # fmt: skip
COVERAGE = Shape("coverage", "gaps", "/tardis/coverage", _SNAKE, "gaps", "range")
FILL_GAPS = "/backtest/fill-gaps"


def first_of(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The value of the first of `names` that is there and not null, else None."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def time_us(value: object, unit_us: int) -> int:
    """A time of an answer in µs; DataError when it is none or in another unit."""
    if isinstance(value, str) and not value.isdigit():
        try:
            return us_from_time(value)
        except ValueError:
            raise DataError(f"{value!r} is not a time") from None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise DataError(f"{value!r} is not a time")
    found = int(value) * unit_us
    if not US_FLOOR <= found < US_CEILING:
        raise DataError(f"the time {value} is not in units of {unit_us} µs", hint="set the shape's unit_us")
    return found


def row_time_us(row: Mapping[str, Any], unit_us: int) -> int:
    """Time of a row; DataError when it has none."""
    return time_us(first_of(row, TIMES), unit_us)


def rows_of(answer: object, key: str) -> list[Json]:
    """The list of rows in an answer; DataError when there is none."""
    rows = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"the answer holds no list {key!r}")
    return rows


def gaps_of(answer: object, unit_us: int = COVERAGE.unit_us) -> list[tuple[int, int]]:
    """(start, end) µs of each hole that the relay admits."""
    found = []
    for row in rows_of(answer, COVERAGE.rows):
        start, end = time_us(row.get("start"), unit_us), time_us(row.get("end"), unit_us)
        if end < start:
            raise DataError(f"a gap ends at {end} before it starts at {start}")
        found.append((start, end))
    return found


class Pager:
    """The pages of one shape, market and stretch of time; `state` and `remember` resume one that was broken off."""

    def __init__(self, shape: Shape, exchange: str, symbol: str, start_us: int, end_us: int) -> None:
        self.shape, self.exchange, self.symbol = shape, exchange, symbol
        self.start_us, self.end_us = start_us, end_us
        self.at_us, self.cursor, self.chunk_us = start_us, "", shape.chunk_us
        self.page_us: tuple[int, int] | None = None
        self.lost_at_us = -1
        self.done = start_us >= end_us
        self.seen: dict[bytes, int] = {}
        self.cursors: set[str] = set()

    @property
    def state(self) -> Json:
        """Where it stands, as JSON; `restore` goes on from there."""
        return {"at_us": self.at_us, "cursor": self.cursor, "page_us": self.page_us, "done": self.done}

    def restore(self, state: Json, rows: Iterable[Json]) -> None:
        """Go on from `state`, after `rows` were taken."""
        self.at_us, self.cursor, self.done = int(state["at_us"]), str(state["cursor"]), bool(state["done"])
        self.page_us = (int(state["page_us"][0]), int(state["page_us"][1])) if state["page_us"] else None
        for row in rows:
            self._remember(Counter([self._key(row)]))

    @property
    def request(self) -> Request:
        """What to ask next."""
        end_us = min(self.end_us, self.at_us + self.chunk_us) if self.shape.paging == "range" else self.end_us
        return self.shape.request(self.exchange, self.symbol, self.at_us, end_us, self.cursor)

    def take(self, answer: object) -> list[Json]:
        """The rows of the answer that are new, in order; DataError when it cannot be right."""
        rows = rows_of(answer, self.shape.rows)
        assert isinstance(answer, dict)
        timed = [(row_time_us(row, self.shape.unit_us), _number_of(row), row) for row in rows]
        timed.sort(key=lambda item: item[:2])
        if timed:
            oldest, newest = timed[0][0], timed[-1][0]
            if self.page_us is not None and newest < self.page_us[0]:
                raise DataError("its pages go back in time", hint="ask for rows in rising order")
        if self._advance(answer, timed):
            if timed:
                self.page_us = (oldest, newest)
            return self._fresh([row for us, _, row in timed if self.start_us <= us < self.end_us])
        return []

    def lose_cursor(self) -> None:
        """The relay forgot its cursor: ask again from the last time; DataError when that does not help."""
        newest = self.page_us[1] if self.page_us else self.start_us
        if newest <= self.lost_at_us:
            raise DataError("it forgets each cursor at once", hint="ask for shorter stretches")
        self.lost_at_us = self.at_us = newest
        self.cursor = ""
        self.cursors.clear()

    def _advance(self, answer: Json, timed: list[tuple[int, int, Json]]) -> bool:
        """Find the way to the next page; False when this one must be asked for in smaller pieces."""
        full = 0 < self.shape.limit <= len(timed)
        if self.shape.paging == "cursor":
            self._follow(answer, bool(timed))
        elif self.shape.paging == "time":
            newest = timed[-1][0] if timed else self.at_us
            onward = newest // self.shape.unit_us > self.at_us // self.shape.unit_us
            if full and not onward:
                self._stuck()
            self.done = not onward or newest >= self.end_us or (self.shape.limit > 0 and not full)
            self.at_us = newest
        elif full:
            if self.chunk_us <= self.shape.unit_us:
                self._stuck()
            self.chunk_us = max(self.shape.unit_us, self.chunk_us // 2 // self.shape.unit_us * self.shape.unit_us)
            return False
        else:
            self.at_us += self.chunk_us
            self.chunk_us = min(2 * self.chunk_us, self.shape.chunk_us)
            self.done = self.at_us >= self.end_us
        return True

    def _stuck(self) -> None:
        raise DataError(f"at least {self.shape.limit} rows have one time", hint="raise the shape's limit")

    def _follow(self, answer: Json, any_rows: bool) -> None:
        if not answer.get("has_more"):
            self.done = True
            return
        cursor = answer.get("next_cursor")
        if not isinstance(cursor, str) or not cursor:
            raise DataError("it says has_more, but names no next_cursor")
        if cursor in self.cursors or cursor == self.cursor:
            raise DataError("it names a next_cursor that was there before, which would go round for ever")
        if not any_rows:
            raise DataError("it says has_more after a page without rows")
        self.cursors.add(cursor)
        self.cursor = cursor

    def _key(self, row: Json) -> bytes:
        """What a repeated row has in common with the first; 17 bytes, the first 1 where an id makes it unique."""
        inner = row.get("data")
        ident = first_of(inner if isinstance(inner, dict) else row, IDENTS)
        text = orjson.dumps([row.get("type"), str(ident)] if ident is not None else row, option=orjson.OPT_SORT_KEYS)
        return (b"\1" if ident is not None else b"\0") + hashlib.blake2b(text, digest_size=16).digest()

    def _fresh(self, rows: list[Json]) -> list[Json]:
        here: Counter[bytes] = Counter()
        fresh = []
        for row in rows:
            key = self._key(row)
            here[key] += 1
            if here[key] > self.seen.get(key, 0) and (here[key] == 1 or key[0] == 0):
                fresh.append(row)
        self._remember(here)
        return fresh

    def _remember(self, keys: Counter[bytes]) -> None:
        for key, times in keys.items():
            self.seen[key] = max(times, self.seen.get(key, 0))
        for key in list(islice(self.seen, max(0, len(self.seen) - REMEMBERED))):
            del self.seen[key]


def _number_of(row: Mapping[str, Any]) -> int:
    ident = str(first_of(row, IDENTS))
    return int(ident) if ident.isdigit() and len(ident) < 19 else 0


# --------------------------------------------------------------------------------------------------- rows to ROWs


def levels_of(book: Mapping[str, Any], side: str) -> list[tuple[Cell, Cell]]:
    """(price, size) of each level of one side, `[p, q]` or `{"price", "size"}`; DataError for anything else."""
    levels = book.get(side)
    if not isinstance(levels, list):
        raise DataError(f"a book has no list of {side}")
    out = []
    for level in levels:
        pair = (first_of(level, PRICES), first_of(level, SIZES)) if isinstance(level, dict) else level
        if not isinstance(pair, (list, tuple)) or len(pair) < 2:
            raise DataError(f"a level of {side} is {level!r}, not a price and a size")
        out.append((cell(pair[0]), cell(pair[1])))
    return out


class RowReader:
    """Rows of one kind (trades, books, events) as ROWs; `notes` counts what no event can say."""

    def __init__(self, kind: str, unit_us: int, notes: Counter[str]) -> None:
        self.kind, self.unit_us, self.notes = kind, unit_us, notes

    def fields(self, row: Json) -> Iterator[Fields]:
        """What one row says; DataError (without a place) when it is broken."""
        kind, data = {"trades": "trade", "books": "orderbook"}.get(self.kind), row
        if kind is None:
            kind, data = str(row.get("type")), row.get("data", row)
            if not isinstance(data, dict):
                raise DataError(f"the data of a {kind} event is {data!r}")
        venue = row_time_us(row, self.unit_us)
        received = first_of(row, RECEIVED)
        times = (venue if received is None else time_us(received, self.unit_us), venue)
        if kind in ("trade", "liquidation"):
            yield self._print(times, data, TRADE if kind == "trade" else LIQUIDATION)
        elif kind == "orderbook":
            yield from self._book(times, data)
        elif kind == "funding":
            yield from self._funding(times, data)
        else:
            self.notes[f"event of type {kind}"] += 1

    def _print(self, times: tuple[int, int], data: Json, kind: int) -> Fields:
        (price, price_digits), (size, size_digits) = cell(first_of(data, PRICES)), cell(first_of(data, SIZES))
        name = first_of(data, IDENTS)
        ident, digits = read_cell("" if name is None else str(name), IDENT)
        maker = first_of(data, MAKERS)
        side = SIDES.get(str(data.get("side")).lower(), 0)
        if not side and isinstance(maker, bool):
            side = SELL if maker else BUY
        seq = ident if digits not in (EMPTY, HASHED) else NO_SEQ
        ident = NO_SEQ if digits == EMPTY else ident
        return (*times, seq, ident, price, size, price_digits, size_digits, kind, side, BEGINS)

    def _book(self, times: tuple[int, int], data: Json) -> Iterator[Fields]:
        sequence = first_of(data, SEQUENCES)
        seq = NO_SEQ if sequence is None else sequence
        if isinstance(seq, bool) or not isinstance(seq, int):
            raise DataError(f"the sequence of a book is {sequence!r}")
        mark = SNAP if data.get("is_snapshot", True) else 0
        bits = mark | BEGINS
        levels = [(BUY, *level) for level in levels_of(data, "bids")]
        levels += [(SELL, *level) for level in levels_of(data, "asks")]
        if not levels:
            self.notes["book without levels, left out"] += 1
        for side, (price, price_digits), (size, size_digits) in levels:
            yield (*times, seq, NO_SEQ, price, size, price_digits, size_digits, BOOK, side, bits)
            bits = mark

    def _funding(self, times: tuple[int, int], data: Json) -> Iterator[Fields]:
        mark, rate, due = first_of(data, MARKS), first_of(data, RATES), first_of(data, DUE)
        bits = BEGINS
        if mark is not None:
            value, digits = cell(mark)
            yield (*times, NO_SEQ, NO_SEQ, value, 0, digits, 0, MARK, 0, bits)
            bits = 0
        if rate is not None and due is not None:
            value, digits = cell(rate)
            yield (*times, time_us(due, self.unit_us), NO_SEQ, value, 0, digits, 0, FUNDING, 0, bits)
        elif rate is not None:
            self.notes["funding rate without funding time, left out"] += 1


# ------------------------------------------------------------------------------------------------------- gap repair


def filled_of(answer: object, last_id: int) -> Filled:
    """The book of a fill-gaps answer that closes a hole up to `last_id`.

    DataError, which means that the repair failed, when there is none, or it is older, empty or crossed.
    """
    book = answer.get("filled_snapshot") if isinstance(answer, dict) else None
    if not isinstance(book, dict):
        raise DataError("the relay has no snapshot for the gap")
    sequence = first_of(book, SEQUENCES)
    if isinstance(sequence, bool) or not isinstance(sequence, int):
        raise DataError("the relay's snapshot has no sequence")
    if sequence < last_id:
        raise DataError("the relay's snapshot is older than the end of the gap")
    bids, asks = levels_of(book, "bids"), levels_of(book, "asks")
    if not bids or not asks:
        raise DataError("the relay's snapshot is empty on a side")
    for (price, price_digits), (size, size_digits) in (*bids, *asks):
        if min(price_digits, size_digits) < 0 or price <= 0 or size <= 0:
            raise DataError("the relay's snapshot has a level without price or size")
    highest = max(_ordered(price) for price, _ in bids)
    if highest >= min(_ordered(price) for price, _ in asks):
        raise DataError("the relay's snapshot is crossed")
    return Filled(sequence, tuple(bids), tuple(asks))


def _ordered(price: Cell) -> int:
    """A number that compares as the price does: in units of 1e-18."""
    shift: int = 10 ** (18 - price[1])
    return price[0] * shift
