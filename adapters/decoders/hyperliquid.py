"""Hyperliquid: what each message of its WebSocket says.

* `l2Book`: the best 20 levels a side, whole, in every message: each replaces the book.  There are no ids, so a lost
  message cannot be noticed.  A level that is not among the 20 is unknown, not empty.
* `trades`: the first push of a coin, and of each new subscription, is history and left out.  `tid` names a trade but
  does not order them.  `B`: the taker bought.
* `bbo`: the touch; a side without orders is null or missing.
* `activeAssetCtx`: mark price and the funding rate of the running hour, which is paid when the hour ends.  It has no
  time: that of its receipt counts.

Sizes are in the coin.  There is no public feed of liquidations.
"""

from __future__ import annotations

from typing import Any

from adapters.decoders.parsed import (
    NOTHING,
    Json,
    Level,
    Parsed,
    amount,
    get,
    level,
    mark_and_funding,
    number,
    other,
    quote,
    record,
    records,
    side_of,
    symbol_of,
    time_us,
    whole,
)
from adapters.venue import Messages
from replay.errors import DataError
from replay.events import BUY, SELL
from replay.kernel import scan
from replay.units import US_PER_HOUR, us_from_ns

SIDES = {"B": BUY, "A": SELL}
BACKLOG = "trade from before the subscription, left out"


class HyperliquidMessages(Messages):
    """Messages of one recording or connection, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: set[str] = set()

    def read(self, message: Any, received_ns: int) -> list[Parsed]:
        """What a message says; DataError (without a place) when it is broken."""
        if not isinstance(message, dict):
            return [other(type(message).__name__)]
        channel = message.get("channel")
        if channel == "l2Book":
            return [_book(record(message, "data"))]
        if channel == "trades":
            return self._trades(records(message, "data"))
        if channel == "bbo":
            return [_touch(record(message, "data"))]
        if channel == "activeAssetCtx":
            return _context(record(message, "data"), us_from_ns(received_ns))
        if channel == "subscriptionResponse":
            self._subscribed(record(message, "data"))
        return [other(f"channel {str(channel)[:40]}")]

    def _subscribed(self, data: Json) -> None:
        """What is pushed next on a new subscription is history again."""
        if data.get("method") == "subscribe":
            subscription = record(data, "subscription")
            if subscription.get("type") == "trades":
                self.begun.discard(symbol_of(subscription, "coin"))

    def _trades(self, trades: list[Json]) -> list[Parsed]:
        parsed = [_trade(trade) for trade in trades]
        fresh = {trade.symbol for trade in parsed} - self.begun
        self.begun |= fresh
        return [other(BACKLOG, trade.symbol) if trade.symbol in fresh else trade for trade in parsed]


def _trade(data: Json) -> Parsed:
    return Parsed(
        scan.TRADE,
        symbol_of(data, "coin"),
        venue_us=time_us(data, "time"),
        last_id=whole(data, "tid"),
        side=side_of(data, "side", SIDES),
        bids=[_level(data)],
    )


def _level(data: Json) -> Level:
    return level(get(data, "px"), get(data, "sz"))


def _book(data: Json) -> Parsed:
    sides = get(data, "levels")
    if not isinstance(sides, list) or len(sides) != 2:
        raise DataError("field 'levels' is not a list of bids and a list of asks")
    bids, asks = ([_level(each) for each in records({"levels": side}, "levels")] for side in sides)
    return Parsed(scan.RESET, symbol_of(data, "coin"), venue_us=time_us(data, "time"), bids=bids, asks=asks)


def _touch(data: Json) -> Parsed:
    sides = get(data, "bbo")
    if not isinstance(sides, list) or len(sides) > 2 or not all(isinstance(side, (dict, type(None))) for side in sides):
        raise DataError("field 'bbo' is not a list of the best bid and the best ask")
    bid, ask = [*(_level(side) if side else NOTHING for side in sides), NOTHING, NOTHING][:2]
    return quote(symbol_of(data, "coin"), time_us(data, "time"), bid, ask)


def _context(data: Json, received_us: int) -> list[Parsed]:
    context = record(data, "ctx")
    mark, rate = amount(get(context, "markPx"), "mark price"), number(get(context, "funding"), "funding rate")
    hour_ends_us = (received_us // US_PER_HOUR + 1) * US_PER_HOUR
    return mark_and_funding(symbol_of(data, "coin"), -1, mark, rate, hour_ends_us)
