"""Binance European options: what each message says, in the form of 2023 and in that of December 2025 and later.

| 2023 | now | meaning |
|---|---|---|
| `depth` | `depthUpdate` of a stream `@depth<N>` | the best N levels, whole: a full book each time |
| `trade`, `S` 1 or −1, `t` text | `trade`, `S` BUY or SELL | a print; with `X` other than MARKET off the book |
| `24hrTicker` with `bo`, `ao`, `mp` | | touch and mark price |
| | `bookTicker` | touch |
| `markPrice` | `markPrice` | mark price of a list of options; the touch in it is up to a second old and left out |

Time is that of the matching engine, `T`, where there is one.  Sizes are in the coin, prices in USDT.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from adapters.decoders.parsed import (
    Json,
    Parsed,
    amount,
    get,
    level,
    levels,
    mark_and_funding,
    other,
    quote,
    quoted,
    side_of,
    symbol_of,
    time_us,
    whole,
    whole_or_text,
)
from adapters.venue import Messages
from replay.errors import DataError
from replay.events import BUY, SELL
from replay.kernel import scan

TOP = re.compile(r"@depth\d+(@|$)")
SIDES = {"1": BUY, "-1": SELL, "BUY": BUY, "SELL": SELL}


class BinanceOptionsMessages(Messages):
    """Messages of one recording or connection; none needs those before it."""

    def read(self, message: Any, received_ns: int) -> list[Parsed]:
        """What a message says; DataError (without a place) when it is broken."""
        if not isinstance(message, dict):
            return [other(type(message).__name__)]
        stream, data = str(message.get("stream", "")), message.get("data", message)
        parsed = []
        for each in data if isinstance(data, list) else [data]:
            if not isinstance(each, dict):
                raise DataError(f"field 'data' holds {each!r}, not an object")
            parsed += _event(each, stream)
        return parsed


def _event(data: Json, stream: str) -> list[Parsed]:
    event = data.get("e")
    reader = READERS.get(event) if isinstance(event, str) else None
    if reader is None or (event == "depthUpdate" and not TOP.search(stream)):
        return [other(str(event or "unknown message")[:40])]
    return reader(data, symbol_of(data))


def _book(data: Json, symbol: str) -> list[Parsed]:
    bids, asks = levels(data, "b", amount), levels(data, "a", amount)
    return [Parsed(scan.RESET, symbol, venue_us=time_us(data, "T"), last_id=whole(data, "u"), bids=bids, asks=asks)]


def _trade(data: Json, symbol: str) -> list[Parsed]:
    kind = scan.TRADE if data.get("X", "MARKET") == "MARKET" else scan.OFF_BOOK
    side, price = side_of(data, "S", SIDES), [level(get(data, "p"), get(data, "q"))]
    return [
        Parsed(kind, symbol, venue_us=time_us(data, "T"), last_id=whole_or_text(data, "t"), side=side, bids=price),
    ]


def _touch(data: Json, symbol: str) -> list[Parsed]:
    bid, ask = quoted(get(data, "b"), get(data, "B")), quoted(get(data, "a"), get(data, "A"))
    return [quote(symbol, time_us(data, "T"), bid, ask, whole(data, "u"))]


def _ticker(data: Json, symbol: str) -> list[Parsed]:
    if "bo" not in data:
        return [other("24hrTicker", symbol)]
    bid, ask = quoted(get(data, "bo"), get(data, "bq")), quoted(get(data, "ao"), get(data, "aq"))
    return [quote(symbol, time_us(data, "E"), bid, ask), *_mark(data, symbol)]


def _mark(data: Json, symbol: str) -> list[Parsed]:
    return mark_and_funding(symbol, time_us(data, "E"), amount(get(data, "mp"), "mark price"))


READERS: dict[str, Callable[[Json, str], list[Parsed]]] = {
    "depth": _book,
    "depthUpdate": _book,
    "trade": _trade,
    "bookTicker": _touch,
    "24hrTicker": _ticker,
    "markPrice": _mark,
}
