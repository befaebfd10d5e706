"""Kraken: what each message of its protocol says, versions 1 (arrays) and 2 (objects).

* Books: a full one, then changes.  A side that grows beyond the depth of the subscription loses its worst levels
  without a word, so a copy of each book is kept and those deletes are added.  A message of version 1 may have a part
  for each side; a level marked `r` is told again, because it came back into the depth, and its time is old.
* Checksums: CRC32 over the best ten asks, then bids: price and size as written, without point and leading zeros.  There
  are no numbers, so the checksum is what shows a lost message; the book is then invalid until the next full one.
  Version 2 sends JSON numbers, whose trailing zeros are lost here: its checksums can be looked at only where the
  recording has the channel `instrument`, which tells the decimals.
* Trades have no ids in version 1.  Version 2 begins with the latest trades before the subscription: left out.
* Quotes: `spread`, and `ticker` as long as there is no spread (it comes later and, in version 1, has no time).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

from sortedcontainers import SortedDict

from adapters.decoders.parsed import (
    Json,
    Level,
    Parsed,
    event_time_us,
    get,
    level,
    number,
    other,
    record,
    records,
    seconds_us,
    side_of,
    symbol_of,
    whole,
)
from adapters.venue import Messages
from replay.errors import DataError
from replay.events import BUY, SELL
from replay.instruments import Instrument
from replay.kernel import scan

COINS = {"XBT": "BTC", "XDG": "DOGE"}
TAKERS = {"b": BUY, "s": SELL}
SIDES = {"buy": BUY, "sell": SELL}
DEPTHS = (10, 25, 100, 500, 1000)
BOOKS = {f"book-{depth}": depth for depth in DEPTHS}
CHECKED = 10
"""Levels of each side that are in the checksum."""
MAX_DECIMALS = 18

Text = tuple[str, str]
"""Price and size as the venue wrote them."""


class Book:
    """A copy of the venue's book of at most `depth` levels a side.

    What is kept of a level are its digits in the checksum, by price (bids: by −price), so that the best come first.
    """

    def __init__(self, depth: int) -> None:
        self.depth, self.valid = depth, True
        self.bids: SortedDict[Decimal, str] = SortedDict()
        self.asks: SortedDict[Decimal, str] = SortedDict()

    def take(self, parsed: Parsed, bids: Sequence[Text], asks: Sequence[Text], checksum: int | None) -> bool:
        """Apply a message and add to it the deletes that the venue leaves out; whether the checksum holds, if any."""
        for side, sign, texts, levels in ((self.bids, -1, bids, parsed.bids), (self.asks, 1, asks, parsed.asks)):
            for price, size in texts:
                if Decimal(size):
                    side[sign * Decimal(price)] = digits_of(price) + digits_of(size)
                else:
                    side.pop(sign * Decimal(price), None)
            while len(side) > self.depth:
                worst, _ = side.popitem()
                levels.append(level(str(abs(worst)), "0"))
        self.valid = checksum is None or checksum == self.checksum()
        return self.valid

    def checksum(self) -> int:
        """Of the best levels."""
        best = (*islice(self.asks.values(), CHECKED), *islice(self.bids.values(), CHECKED))
        return crc32("".join(best).encode())

    def check(self) -> None:
        """AssertionError when a side is too deep, or a level has no digits."""
        for side in (self.bids, self.asks):
            assert len(side) <= self.depth, "more levels than were subscribed"
            assert all(text.isdigit() for text in side.values()), "a level without size"


def digits_of(text: str) -> str:
    """A number as it stands in the checksum: `0.00753600` is `753600`."""
    return text.replace(".", "").lstrip("0")


class Kraken(Messages):
    """Messages of one recording or connection, in order.

    `depths` holds what was subscribed in version 2, `decimals` those of prices and sizes there, by symbol.
    """

    def __init__(self) -> None:
        super().__init__()
        self.books: dict[str, Book] = {}
        self.spreads: set[str] = set()
        self.depths: dict[str, int] = {}
        self.decimals: dict[str, tuple[int, int]] = {}

    def answer(self, url: str, body: bytes) -> bytes | None:
        """The list of pairs."""
        return b'{"event":"AssetPairs","data":%s}' % body if urlsplit(url).path == "/0/public/AssetPairs" else None

    def read(self, message: Any, received_ns: int) -> list[Parsed]:
        """What a message says; DataError (without a place) when it is broken."""
        if isinstance(message, list):
            return self._array(message)
        if not isinstance(message, dict):
            return [other(type(message).__name__)]
        if message.get("event") == "AssetPairs":
            for row in record(record(message, "data"), "result").values():
                self._pair(row)
            return []
        if "channel" in message:
            return self._object(message)
        if message.get("method") == "subscribe":
            self._subscribed(message)
        return [other(str(message.get("event", message.get("method", "message without a name")))[:40])]

    def _array(self, message: list[Any]) -> list[Parsed]:
        """Version 1: channel number, parts, name of the channel, pair."""
        if len(message) < 4:
            raise DataError("an array of fewer than four parts")
        symbol, channel, parts = symbol_of({"pair": message[-1]}, "pair"), message[-2], message[1:-2]
        if not isinstance(channel, str):
            raise DataError(f"channel {channel!r} is not a name")
        if channel in BOOKS:
            return [self._book_parts(symbol, BOOKS[channel], [part for part in parts if part is not None])]
        if channel == "trade":
            return [_trade_row(symbol, row) for row in rows_of(parts[0], 5)]
        if channel == "spread":
            self.spreads.add(symbol)
            bid, ask, time, bid_size, ask_size = rows_of([parts[0]], 5)[0][:5]
            return [_quote(symbol, seconds_us(time), level(bid, bid_size), level(ask, ask_size))]
        if channel == "ticker" and isinstance(parts[0], dict):
            (bid, _, bid_size), (ask, _, ask_size) = (rows_of([get(parts[0], side)], 3)[0][:3] for side in "ba")
            return [self._ticker(symbol, -1, level(bid, bid_size), level(ask, ask_size))]
        return [other(f"channel {channel[:40]}", symbol)]

    def _book_parts(self, symbol: str, depth: int, parts: list[Any]) -> Parsed:
        """A book of version 1."""
        if not parts or not all(isinstance(part, dict) for part in parts):
            raise DataError("a book without parts")
        full = any("as" in part or "bs" in part for part in parts)
        sides: list[list[Text]] = []
        times: list[int] = []
        for key in ("bs", "as") if full else ("b", "a"):
            rows = [row for part in parts for row in rows_of(part.get(key, []), 3)]
            sides.append([_text(row[0], row[1]) for row in rows])
            times += [seconds_us(row[2]) for row in rows if len(row) == 3]
        checksum = next((_checksum(part["c"]) for part in parts if "c" in part), None)
        return self._book(symbol, max(times, default=-1), sides, checksum, depth if full else None)

    def _book(
        self, symbol: str, venue_us: int, sides: list[list[Text]], checksum: int | None, depth: int | None
    ) -> Parsed:
        """A change, or with a `depth` a full book."""
        bids, asks = sides
        out = Parsed(
            scan.DEPTH if depth is None else scan.RESET,
            symbol,
            venue_us=venue_us,
            bids=[level(*text) for text in bids],
            asks=[level(*text) for text in asks],
        )
        if depth is not None:
            self.books[symbol] = Book(depth)
        book = self.books.get(symbol)
        if book is not None and book.valid:  # an invalid one waits for the next full book
            out.check = partial(book.take, out, bids, asks, checksum)
        return out

    def _object(self, message: Json) -> list[Parsed]:
        """Version 2."""
        channel, snapshot = message["channel"], message.get("type") == "snapshot"
        if channel == "instrument":
            for row in records(record(message, "data"), "pairs"):
                price, size = _decimals(row, "price_precision"), _decimals(row, "qty_precision")
                self.decimals[symbol_of(row, "symbol")] = price, size
            return [other("instrument")]
        if channel == "trade" and snapshot:
            return [other("trades from before the subscription")]
        if channel == "book":
            return [self._book_object(row, snapshot) for row in records(message, "data")]
        if channel == "trade":
            return [_trade(row) for row in records(message, "data")]
        if channel == "ticker":
            return [
                self._ticker(
                    symbol_of(row, "symbol"),
                    event_time_us(row, "timestamp") if "timestamp" in row else -1,
                    level(get(row, "bid"), get(row, "bid_qty")),
                    level(get(row, "ask"), get(row, "ask_qty")),
                )
                for row in records(message, "data")
            ]
        return [other(f"channel {str(channel)[:40]}")]

    def _book_object(self, row: Json, full: bool) -> Parsed:
        symbol = symbol_of(row, "symbol")
        decimals = self.decimals.get(symbol)
        sides = [
            [_text(get(each, "price"), get(each, "qty"), decimals) for each in records(row, side)]
            for side in ("bids", "asks")
        ]
        checksum = whole(row, "checksum") if decimals and "checksum" in row else None
        venue_us = event_time_us(row, "timestamp") if "timestamp" in row else -1
        longest = max(map(len, sides))
        depth = self.depths.get(symbol, longest if longest in DEPTHS else DEPTHS[-1])
        return self._book(symbol, venue_us, sides, checksum, depth if full else None)

    def _ticker(self, symbol: str, venue_us: int, bid: Level, ask: Level) -> Parsed:
        if symbol in self.spreads:
            return other("ticker beside the spread", symbol)
        return _quote(symbol, venue_us, bid, ask)

    def _subscribed(self, message: Json) -> None:
        """Keep the depth of a subscription."""
        result = message.get("result")
        if isinstance(result, dict) and result.get("channel") == "book" and result.get("depth") in DEPTHS:
            self.depths[symbol_of(result, "symbol")] = result["depth"]

    def _pair(self, row: Any) -> None:
        """Keep the terms of a pair."""
        if not isinstance(row, dict):
            raise DataError(f"a pair is {row!r}, not an object")
        if "wsname" not in row:
            return
        symbol = symbol_of(row, "wsname")
        quote = symbol.partition("/")[2]
        tick, lot = (Decimal(1).scaleb(-_decimals(row, key)) for key in ("pair_decimals", "lot_decimals"))
        self.stated[symbol] = Instrument("kraken", symbol, "spot", tick, lot, settle=COINS.get(quote, quote))


def rows_of(value: object, width: int) -> list[list[Any]]:
    """A list of lists of at least `width` values."""
    if not isinstance(value, list) or not all(isinstance(row, list) and len(row) >= width for row in value):
        raise DataError(f"not a list of rows of {width} values")
    return value


def _decimals(row: Json, key: str) -> int:
    value = whole(row, key)
    if value > MAX_DECIMALS:
        raise DataError(f"field {key!r} is {value}, more than {MAX_DECIMALS} decimals")
    return value


def _text(price: object, size: object, decimals: tuple[int, int] | None = None) -> Text:
    """Numbers as the venue wrote them, which for JSON numbers is known only with their `decimals`."""
    if isinstance(price, str) and isinstance(size, str):
        return price, size
    mantissa, digits, size_mantissa, size_digits = level(price, size)
    exact = Decimal(mantissa).scaleb(-digits), Decimal(size_mantissa).scaleb(-size_digits)
    if decimals is None:
        return format(exact[0], "f"), format(exact[1], "f")
    return format(exact[0], f".{decimals[0]}f"), format(exact[1], f".{decimals[1]}f")


def _checksum(value: object) -> int:
    mantissa, digits = number(value, "checksum")
    if digits or not 0 <= mantissa < 2**32:
        raise DataError(f"checksum {value!r} is not a whole number of 32 bits")
    return mantissa


def _trade_row(symbol: str, row: list[Any]) -> Parsed:
    side = side_of({"side": row[3]}, "side", TAKERS)
    return Parsed(scan.TRADE, symbol, venue_us=seconds_us(row[2]), side=side, bids=[level(row[0], row[1])])


def _trade(row: Json) -> Parsed:
    return Parsed(
        scan.TRADE,
        symbol_of(row, "symbol"),
        venue_us=event_time_us(row, "timestamp"),
        last_id=whole(row, "trade_id"),
        side=side_of(row, "side", SIDES),
        bids=[level(get(row, "price"), get(row, "qty"))],
    )


def _quote(symbol: str, venue_us: int, bid: Level, ask: Level) -> Parsed:
    """A quote; a pair without orders is quoted at zero."""
    if not bid[0] and not ask[0]:
        return other("quote of an empty book", symbol)
    return Parsed(scan.TICKER, symbol, venue_us=venue_us, bids=[bid], asks=[ask])
