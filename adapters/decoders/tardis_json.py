"""Normalized messages of tardis-machine: what each becomes as ROWs.

Books are absolute; `isSnapshot` discards the state before.  A `disconnect` makes the books of its symbols, or of all of
its exchange, invalid until the next snapshot.  What no event can carry is counted: trade bars, open interest, last and
index prices, volatilities, Greeks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from adapters.decoders.csv_table import EMPTY, HASHED, IDENT, Names, read_cell
from adapters.decoders.json_rows import Fields, cell
from replay.errors import DataError
from replay.events import BOOK, BUY, FUNDING, GAP, LIQUIDATION, MARK, QUOTE, SELL, TRADE
from replay.kernel.assemble import BEGINS, NO_SEQ, SNAP
from replay.units import us_from_time

Json = dict[str, Any]
SIDES = {"buy": BUY, "sell": SELL}
DATA_TYPES = ("trade", "book_change", "derivative_ticker", "liquidation", "option_summary", "book_ticker", "quote")
"""What may be asked for; `quote` and `book_snapshot_…` may carry a depth and an interval."""


def failure_of(message: Json) -> str:
    """What the server says when a line is no message but the report of its failure."""
    said = message.get("message") or message.get("details") or message
    return f"the server failed in the middle: {str(said)[:200]}"


class Reader:
    """Messages of one file; `names` gets every `exchange,symbol`, `notes` counts what is left out."""

    def __init__(self, names: Names, notes: Counter[str]) -> None:
        self.names, self.notes = names, notes
        self.books: dict[int, str] = {}
        self.valid: set[int] = set()

    def rows(self, message: object, line: int) -> Iterator[Fields]:
        """Fields with line and owner at the end; DataError (without a place) for what is broken."""
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise DataError(failure_of(message) if isinstance(message, dict) else f"{message!r} is no message")
        kind, local = message["type"], _time(message, "localTimestamp")
        if kind == "disconnect":
            yield from self._disconnect(message, local, line)
            return
        reader = READERS.get(kind)
        if reader is None:
            self.notes[f"message of type {kind}"] += 1
            return
        owner = self.names.add(f"{message.get('exchange')},{message.get('symbol')}".encode())
        venue = _time(message, "timestamp") if message.get("timestamp") else -1
        for fields in reader(self, message, owner):
            yield (local, venue, *fields, line, owner)

    def _disconnect(self, message: Json, local: int, line: int) -> Iterator[Fields]:
        exchange = str(message.get("exchange"))
        symbols = message.get("symbols")
        for owner in sorted(self.valid):
            venue, _, symbol = self.names.list[owner].decode().partition(",")
            if venue == exchange and (symbols is None or symbol in symbols):
                self.valid.discard(owner)
                yield (local, local, NO_SEQ, NO_SEQ, NO_SEQ, 0, 0, 0, GAP, 0, BEGINS, line, owner)

    def _one_book(self, owner: int, kind: str) -> None:
        if self.books.setdefault(owner, kind) != kind:
            name = self.names.list[owner].decode().replace(",", ":")
            raise DataError(f"{name} has {kind} beside {self.books[owner]}: two sources of the same channel",
                            hint="ask for one of them")  # fmt: skip

    def trade(self, message: Json, owner: int) -> Iterator[Fields]:
        """trade, liquidation."""
        (price, price_digits), (size, size_digits) = cell(message.get("price")), cell(message.get("amount"))
        name = message.get("id")
        ident, digits = read_cell("" if name is None else str(name), IDENT)
        seq = ident if digits not in (EMPTY, HASHED) else NO_SEQ
        kind = TRADE if message["type"] == "trade" else LIQUIDATION
        side = SIDES.get(str(message.get("side")), 0)
        ident = NO_SEQ if digits == EMPTY else ident
        yield (seq, ident, price, size, price_digits, size_digits, kind, side, BEGINS)

    def book(self, message: Json, owner: int) -> Iterator[Fields]:
        """book_change; book_snapshot, which is a whole book or, by the name of quote, a touch."""
        if str(message.get("name", "")).startswith("quote"):
            bid, ask = ((message.get(side) or [{}])[0] for side in ("bids", "asks"))
            yield from _touch(bid.get("price"), bid.get("amount"), ask.get("price"), ask.get("amount"))
            return
        whole = message["type"] == "book_snapshot"
        self._one_book(owner, str(message["type"]))
        snapshot = whole or message.get("isSnapshot") is True
        mark = SNAP if snapshot else 0
        bits, empty = mark | BEGINS, True
        for side, levels in ((BUY, message.get("bids")), (SELL, message.get("asks"))):
            if not isinstance(levels, list) or not all(isinstance(level, dict) for level in levels):
                raise DataError("a book has no lists of bids and asks")
            for level in levels:
                if whole and level.get("price") is None:
                    continue  # the book is thinner than what was asked for
                (price, price_digits), (size, size_digits) = cell(level.get("price")), cell(level.get("amount"))
                yield (NO_SEQ, NO_SEQ, price, size, price_digits, size_digits, BOOK, side, bits)
                bits, empty = mark, False
        if empty:
            self.notes["book message without levels, left out"] += 1
        elif snapshot:
            self.valid.add(owner)

    def ticker(self, message: Json, owner: int) -> Iterator[Fields]:
        """book_ticker."""
        names = ("bidPrice", "bidAmount", "askPrice", "askAmount")
        yield from _touch(*(message.get(name) for name in names))

    def derivative(self, message: Json, owner: int) -> Iterator[Fields]:
        """derivative_ticker: mark price and funding rate."""
        self.notes["open interest, last and index price, predicted funding (derivative_ticker)"] += 1
        mark, rate, due = (message.get(name) for name in ("markPrice", "fundingRate", "fundingTimestamp"))
        bits = BEGINS
        if mark is not None:
            value, digits = cell(mark)
            yield (NO_SEQ, NO_SEQ, value, 0, digits, 0, MARK, 0, bits)
            bits = 0
        if rate is not None and due:
            value, digits = cell(rate)
            yield (_time(message, "fundingTimestamp"), NO_SEQ, value, 0, digits, 0, FUNDING, 0, bits)
        elif rate is not None:
            self.notes["funding rate without funding time, left out"] += 1

    def option(self, message: Json, owner: int) -> Iterator[Fields]:
        """option_summary: the touch and the mark price."""
        self.notes["volatilities, Greeks, open interest, last and underlying price (option_summary)"] += 1
        names = ("bestBidPrice", "bestBidAmount", "bestAskPrice", "bestAskAmount")
        yield from _touch(*(message.get(name) for name in names))
        if message.get("markPrice"):
            value, digits = cell(message["markPrice"])
            yield (NO_SEQ, NO_SEQ, value, 0, digits, 0, MARK, 0, BEGINS)


READERS = {
    "trade": Reader.trade, "liquidation": Reader.trade, "book_change": Reader.book, "book_snapshot": Reader.book,
    "book_ticker": Reader.ticker, "derivative_ticker": Reader.derivative, "option_summary": Reader.option,
}  # fmt: skip


def _touch(bid: object, bid_size: object, ask: object, ask_size: object) -> Iterator[Fields]:
    """Two QUOTE rows; an absent price is an empty side."""
    bits = BEGINS
    for side, price, size in ((BUY, bid, bid_size), (SELL, ask, ask_size)):
        (value, digits), (lots, size_digits) = (
            (0, EMPTY) if number is None else cell(number) for number in (price, size)
        )
        yield (NO_SEQ, NO_SEQ, value, lots, digits, size_digits, QUOTE, side, bits)
        bits = 0


def _time(message: Json, name: str) -> int:
    value = message.get(name)
    if not isinstance(value, str):
        raise DataError(f"{name} is {value!r}, not a time")
    try:
        return us_from_time(value)
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None
