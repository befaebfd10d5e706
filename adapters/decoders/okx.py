"""OKX v5: messages of the public channels; the formats before it are in `adapters.decoders.okx_v3`.

A book comes as `snapshot`, then `update`, each of which names its predecessor (`prevSeqId`); before 2023 there are no
such ids, only a CRC32 over the best 25 levels, and from June 2026 on that sum is always 0, "not provided".  By default
sums are looked at only where there are no ids ("missing"); the setting `checksums` may be "always" or "never".

The first push of trades after a subscription repeats the last trade, that of liquidations what happened before: both
are left out.  The touch of the tickers lags by 0.1 s up to seconds, so it becomes quotes only with `ticker_quotes`.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import islice, zip_longest
from typing import Any
from zlib import crc32

import orjson
from sortedcontainers import SortedDict

from adapters.decoders import okx_v3
from adapters.decoders.parsed import (
    NOTHING,
    Json,
    Level,
    Parsed,
    get,
    in_us,
    json_number,
    level,
    levels,
    mark_and_funding,
    other,
    quote,
    quoted,
    record,
    records,
    side_of,
    symbol_of,
    trade_id,
    whole_or_text,
)
from adapters.venue import Messages
from replay.errors import ConfigError, DataError, did_you_mean
from replay.instruments import Instrument, Payoff
from replay.kernel import scan

CHECKSUMS = ("missing", "always", "never")
SUMMED_LEVELS = 25
SIDES = {"buy": 1, "sell": -1}
BOOKS = ("books", "books-l2-tbt", "books50-l2-tbt", "sprd-books-l2-tbt")
WITH_BACKLOG = ("trades", "trades-all", "liquidation-orders")
WHOLE_BOOKS = ("books5", "sprd-books5")


class SumBook:
    """A book of text as it was received, for its checksum."""

    def __init__(self) -> None:
        self.bids, self.asks = SortedDict(), SortedDict()

    def apply(self, data: Json) -> None:
        """Levels of a message; size 0 deletes."""
        for side, sign, rows in ((self.bids, -1, data["bids"]), (self.asks, 1, data["asks"])):
            for row in rows:
                price, size = str(row[0]), str(row[1])
                if Decimal(size):
                    side[sign * Decimal(price)] = f"{price}:{size}"
                else:
                    side.pop(sign * Decimal(price), None)

    def checksum(self) -> int:
        """CRC32, signed, over bid, ask, bid, … of the best levels; where a side is shorter, the other goes on."""
        best = (islice(side.values(), SUMMED_LEVELS) for side in (self.bids, self.asks))
        text = ":".join(each for pair in zip_longest(*best) for each in pair if each is not None)
        unsigned = crc32(text.encode())
        return unsigned - (1 << 32) if unsigned >> 31 else unsigned


class OkxMessages(Messages):
    """State of one connection: books whose sums are looked at, streams that have just been subscribed.

    Of several channels of a book the one called `book` ("books-l2-tbt") is read, else the first that comes.
    """

    def __init__(self, checksums: str = "missing", ticker_quotes: bool = False, book: str = "") -> None:
        super().__init__()
        if checksums not in CHECKSUMS:
            raise ConfigError("checksums", checksums, "no such choice", did_you_mean(str(checksums), CHECKSUMS))
        self.checksums, self.ticker_quotes, self.chosen = checksums, ticker_quotes, book
        self.books: dict[str, SumBook] = {}
        self.backlog: set[tuple[str, str]] = set()

    def read(self, message: Any, received_ns: int) -> Iterable[Parsed]:
        if not isinstance(message, dict):
            return [other(type(message).__name__)]
        if message.get("replay") == "instruments":
            self.stated.update(instruments(record(message, "answer")))
            return []
        if "table" in message:
            return okx_v3.read(self, message)
        if "event" in message or "arg" not in message:
            return [self._event(message)]
        arg = record(message, "arg")
        channel, rows = str(arg.get("channel")), records(message, "data")
        if (channel, subject(arg)) in self.backlog:
            self.backlog.remove((channel, subject(arg)))
            return [other(f"{channel} of before the subscription")] * max(1, len(rows))
        reader = READERS.get(channel)
        if reader is None:
            return [other(channel[:60])]
        if channel.startswith("sprd-") and any(map(has_negative_price, rows)):
            return [other("spread at a negative price")]
        return [parsed for data in rows for parsed in reader(self, message, arg, data)]

    def answer(self, url: str, body: bytes) -> bytes | None:
        return b'{"replay":"instruments","answer":%s}' % body if "/public/instruments" in url else None

    def _event(self, message: Json) -> Parsed:
        arg = message.get("arg")
        channel = str(arg.get("channel")) if isinstance(arg, dict) else ""
        if message.get("event") == "subscribe" and channel in WITH_BACKLOG:
            self.backlog.add((channel, subject(record(message, "arg"))))
        return other(f"event {message.get('event', 'without a name')}"[:60])

    def change(
        self, symbol: str, stream: str, reset: bool, data: Json, venue_us: int, last_id: int = -1, prev_id: int = -1
    ) -> Parsed:  # fmt: skip
        """A full book or a change of it, with its checksum where that is to be looked at."""
        if not self.only("book", symbol, stream, self.chosen):
            return other(f"{stream} beside {self.streams['book', symbol]}", symbol)
        bids, asks = levels(data, "bids"), levels(data, "asks")
        if not (reset or bids or asks) and prev_id == last_id:
            return other("book update without levels", symbol)
        total = data.get("checksum", 0)
        if type(total) is not int:
            raise DataError(f"field 'checksum' is {total!r}, not a whole number")
        look = self.checksums == "always" or (self.checksums == "missing" and last_id < 0)
        return Parsed(
            scan.RESET if reset else scan.DEPTH,
            symbol,
            venue_us=venue_us,
            first_id=last_id,
            last_id=last_id,
            prev_id=-1 if reset else prev_id,
            bids=bids,
            asks=asks,
            check=(lambda: self._agrees(symbol, reset, data, total)) if look else None,
        )

    def _agrees(self, symbol: str, reset: bool, data: Json, total: int) -> bool:
        """Whether our book has the venue's checksum; without a full book nobody knows."""
        if reset:
            self.books[symbol] = SumBook()
        book = self.books.get(symbol)
        if book is None:
            return True
        book.apply(data)
        if total in (0, book.checksum()):
            return True
        del self.books[symbol]
        return False

    def book(self, message: Json, arg: Json, data: Json) -> list[Parsed]:
        """books, books-l2-tbt, books50-l2-tbt"""
        action = message.get("action")
        if action not in ("snapshot", "update"):
            raise DataError(f"a book with action {action!r}, neither 'snapshot' nor 'update'")
        last_id = whole_or_text(data, "seqId") if "seqId" in data else -1
        prev_id = -1
        if last_id >= 0 and action == "update":
            prev_id = whole_or_text(data, "prevSeqId")
        symbol, channel = name(arg), str(arg["channel"])
        return [self.change(symbol, channel, action == "snapshot", data, time_us(data), last_id, prev_id)]

    def whole_book(self, message: Json, arg: Json, data: Json) -> list[Parsed]:
        """books5"""
        last_id = whole_or_text(data, "seqId") if "seqId" in data else -1
        return [self.change(name(arg), str(arg["channel"]), True, data, time_us(data), last_id)]

    def touch(self, message: Json, arg: Json, data: Json) -> list[Parsed]:
        """bbo-tbt"""
        bids, asks = levels(data, "bids"), levels(data, "asks")
        return [quote(name(arg), time_us(data), bids[0] if bids else NOTHING, asks[0] if asks else NOTHING)]

    def trade(self, message: Json, arg: Json, data: Json) -> list[Parsed]:
        """trades, trades-all"""
        symbol, channel = name(data), str(arg["channel"])
        if not self.only("trades", symbol, channel):
            return [other(f"{channel} beside {self.streams['trades', symbol]}", symbol)]
        size, side = level(get(data, "px"), get(data, "sz")), side_of(data, "side", SIDES)
        ident = trade_id(data.get("tradeId"))
        return [Parsed(scan.TRADE, symbol, venue_us=time_us(data), last_id=ident, side=side, bids=[size])]

    def liquidations(self, message: Json, arg: Json, data: Json) -> list[Parsed]:
        """liquidation-orders: per instrument a list of details; liquidations (polled by recorders): the details"""
        symbol = name(data if "details" in data else arg)
        return [
            Parsed(
                scan.FORCE,
                symbol,
                venue_us=time_us(detail),
                side=side_of(detail, "side", SIDES),
                bids=[level(get(detail, "bkPx"), get(detail, "sz"))],
            )
            for detail in (records(data, "details") if "details" in data else [data])
        ]

    def mark(self, message: Json, arg: Json, data: Json) -> list[Parsed]:
        """mark-price"""
        return mark_and_funding(name(data), time_us(data), json_number(get(data, "markPx"), "mark price"))

    def funding(self, message: Json, arg: Json, data: Json) -> list[Parsed]:
        """funding-rate: of the settlement at fundingTime"""
        symbol = name(data)
        if not data.get("fundingRate") or not data.get("fundingTime"):
            return [other("funding-rate without a rate", symbol)]
        rate, due_us = json_number(data["fundingRate"], "funding rate"), in_us(whole_or_text(data, "fundingTime"))
        return mark_and_funding(symbol, time_us(data) if data.get("ts") else -1, None, rate, due_us)

    def ticker(self, message: Json, arg: Json, data: Json) -> list[Parsed]:
        """tickers"""
        bid, ask = (quoted(data.get(f"{side}Px"), data.get(f"{side}Sz")) for side in ("bid", "ask"))
        return self.ticker_quote(name(data), time_us(data), bid, ask)

    def ticker_quote(self, symbol: str, venue_us: int, bid: Level, ask: Level) -> list[Parsed]:
        """The touch of a ticker, when it is wanted and there is one."""
        wanted = self.ticker_quotes and (bid != NOTHING or ask != NOTHING)
        return [quote(symbol, venue_us, bid, ask) if wanted else other("touch of a ticker", symbol)]


READERS = {
    **dict.fromkeys(BOOKS, OkxMessages.book),
    **dict.fromkeys(WHOLE_BOOKS, OkxMessages.whole_book),
    **dict.fromkeys(("bbo-tbt", "sprd-bbo-tbt"), OkxMessages.touch),
    **dict.fromkeys(("trades", "trades-all", "sprd-public-trades"), OkxMessages.trade),
    **dict.fromkeys(("liquidation-orders", "liquidations"), OkxMessages.liquidations),
    "mark-price": OkxMessages.mark,
    "funding-rate": OkxMessages.funding,
    "tickers": OkxMessages.ticker,
}


def name(data: Json) -> str:
    """The instrument, or the spread."""
    return symbol_of(data, "instId" if "instId" in data else "sprdId")


def has_negative_price(data: Json) -> bool:
    """Whether a price in a message of a spread is below zero, which no event can say."""
    rows = [row for side in ("bids", "asks") for row in data.get(side) or () if isinstance(row, list)]
    return any(str(price).startswith("-") for price in (data.get("px"), *(row[0] for row in rows if row)))


def subject(arg: Json) -> str:
    """What a subscription is of."""
    return str(arg.get("instId") or arg.get("sprdId") or arg.get("instFamily") or arg.get("instType"))


def time_us(data: Json) -> int:
    """The time of a message, in ms as text; 0 stands for none."""
    return in_us(whole_or_text(data, "ts")) or -1


def instruments(answer: Json) -> dict[str, Instrument]:
    """What an answer of /public/instruments says; DataError when it is broken."""
    found = {}
    for data in records(answer, "data"):
        try:
            instrument = _instrument(data)
        except (ArithmeticError, ConfigError, TypeError, ValueError):
            raise DataError(f"the instrument {orjson.dumps(data).decode()[:200]} is not understood") from None
        found[instrument.symbol] = instrument
    return found


def _instrument(data: Json) -> Instrument:
    symbol, kind = name(data), data.get("instType")
    tick, lot = Decimal(data["tickSz"]), Decimal(data["lotSz"])
    if kind in ("SPOT", "MARGIN"):
        return Instrument("okx", symbol, "spot", tick, lot, settle=str(data["quoteCcy"]))
    size = Decimal(data["ctVal"]) * Decimal(data.get("ctMult") or 1)
    payoff: Payoff = "inverse" if data.get("ctType") == "inverse" else "linear"
    return Instrument("okx", symbol, payoff, tick, lot, size, str(data["settleCcy"]))
