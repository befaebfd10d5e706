"""Bybit v5: messages of the public topics of spot, linear, inverse and option.

A book comes as `snapshot`, then `delta` with ids one apart; any later snapshot, and any message with id 1, replaces it.
`orderbook.1` is the touch and becomes quotes; its ids are another stream's, so quotes carry none.  A ticker leaves out
what has not changed.  The side of a liquidation is that of the position: a liquidated long is a forced sale.
Older formats are in `adapters.decoders.bybit_v2`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adapters.decoders import bybit_v2
from adapters.decoders.bybit_v2 import POSITION, TAKER
from adapters.decoders.parsed import (
    NOTHING,
    Json,
    Level,
    Parsed,
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
    time_us,
    trade_id,
    whole,
    whole_or_text,
)
from adapters.venue import Messages
from replay.errors import DataError
from replay.kernel import scan


class BybitMessages(Messages):
    """State of one connection: touches and tickers that deltas change.

    Of several depths of a book the one called `book` ("200") is read, else the first that comes.
    """

    def __init__(self, book: str = "") -> None:
        super().__init__()
        self.chosen = book
        self.touches: dict[str, list[Level]] = {}
        self.tickers: dict[str, Json] = {}

    def read(self, message: Any, received_ns: int) -> Iterable[Parsed]:
        if not isinstance(message, dict):
            return [other(type(message).__name__)]
        topic = message.get("topic")
        if not isinstance(topic, str) or "data" not in message:
            return [other(f"answer to {message.get('op', message.get('event', 'a request'))}"[:60])]
        if "params" in message:
            return bybit_v2.spot(message, topic)
        kind, _, rest = topic.partition(".")
        reader = READERS.get(kind)
        if reader is not None:
            return reader(self, message, rest)
        return bybit_v2.derivatives(self, message, kind, rest)

    def sent_ns(self, message: Any) -> int:
        data = message if isinstance(message, dict) else {}
        if "ts" in data:
            return time_us(data, "ts") * 1000
        return bybit_v2.sent_us(data) * 1000

    def book(self, message: Json, rest: str) -> list[Parsed]:
        """orderbook.<depth>.<symbol>"""
        data, depth = record(message, "data"), rest.partition(".")[0]
        symbol = symbol_of(data)
        if depth == "1":
            return [self._touch(message, data, symbol)]
        if not depth.isdigit():
            return [other(f"orderbook.{depth}", symbol)]
        if not self.only("book", symbol, depth, self.chosen):
            return [other(f"orderbook.{depth} beside orderbook.{self.streams['book', symbol]}", symbol)]
        number, first = whole(data, "u"), is_snapshot(message)
        reset = first or number == 1
        return [
            Parsed(
                scan.RESET if reset else scan.DEPTH,
                symbol,
                venue_us=time_us(message, "cts" if "cts" in message else "ts"),
                first_id=number,
                last_id=number,
                prev_id=-1 if reset else number - 1,
                bids=levels(data, "b"),
                asks=levels(data, "a"),
            )
        ]

    def _touch(self, message: Json, data: Json, symbol: str) -> Parsed:
        touch = [NOTHING, NOTHING] if is_snapshot(message) else list(self.touches.get(symbol, (NOTHING, NOTHING)))
        for side, key in enumerate("ba"):
            changed = levels(data, key)
            if changed:
                touch[side] = next((each for each in reversed(changed) if each[2]), NOTHING)
        self.touches[symbol] = touch
        venue_us = time_us(message, "cts" if "cts" in message else "ts")
        return quote(symbol, venue_us, touch[0], touch[1])

    def trades(self, message: Json, rest: str) -> list[Parsed]:
        """publicTrade.<symbol or coin>; a block trade is off the book."""
        return [
            Parsed(
                scan.OFF_BOOK if data.get("BT") is True else scan.TRADE,
                symbol_of(data),
                venue_us=time_us(data, "T"),
                last_id=trade_id(data.get("i")),
                side=side_of(data, "S", TAKER),
                bids=[level(data.get("p"), data.get("v"))],
            )
            for data in records(message, "data")
        ]

    def liquidations(self, message: Json, rest: str) -> list[Parsed]:
        """allLiquidation.<symbol>"""
        found = []
        for data in records(message, "data"):
            symbol = symbol_of(data)
            if not self.only("liquidations", symbol, "all"):
                found.append(other("allLiquidation beside liquidation", symbol))
                continue
            side, size = side_of(data, "S", POSITION), level(data.get("p"), data.get("v"))
            found.append(Parsed(scan.FORCE, symbol, venue_us=time_us(data, "T"), side=side, bids=[size]))
        return found

    def ticker(self, message: Json, rest: str) -> list[Parsed]:
        """tickers.<symbol>: mark price and funding as far as they changed; of options the touch too."""
        data, venue_us = record(message, "data"), time_us(message, "ts")
        symbol = symbol_of(data, "symbol")
        if is_snapshot(message) or "type" not in message:
            self.tickers[symbol] = {}
        known = self.tickers.setdefault(symbol, {})
        news = {key: data[key] for key in ("fundingRate", "nextFundingTime") if data.get(key)}
        known.update(news)
        mark = json_number(data["markPrice"], "mark price") if data.get("markPrice") else None
        rate = json_number(known["fundingRate"], "funding rate") if news and "fundingRate" in known else None
        due_us = in_us(whole_or_text(known, "nextFundingTime")) if "nextFundingTime" in known else 0
        found = mark_and_funding(symbol, venue_us, mark, rate, due_us)
        if "bidPrice" in data:
            bid, ask = (quoted(data.get(f"{side}Price"), data.get(f"{side}Size")) for side in ("bid", "ask"))
            found.append(quote(symbol, venue_us, bid, ask))
        return found or [other("ticker without mark price and funding", symbol)]


READERS = {
    "orderbook": BybitMessages.book,
    "publicTrade": BybitMessages.trades,
    "allLiquidation": BybitMessages.liquidations,
    "tickers": BybitMessages.ticker,
}


def is_snapshot(message: Json) -> bool:
    """By its type; DataError for a type that is neither."""
    kind = message.get("type")
    if kind not in ("snapshot", "delta"):
        raise DataError(f"a message of type {kind!r}, neither 'snapshot' nor 'delta'")
    return bool(kind == "snapshot")
