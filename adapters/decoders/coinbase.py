"""Coinbase Exchange: what each message of the channels `level2`, `ticker` and `matches` says.

* `snapshot` is a full book, `l2update` names levels with their new sizes.  Neither has a number, so lost messages
  cannot be seen.  An update of the year 1 has the time of the one before it.
* `match`: `side` is the maker's, the aggressor is on the other one.  `last_match` is from before the subscription.
* `ticker`: best bid and ask after a match, until 2022 without their sizes (ours are 0).  The first one of a product
  after a subscription repeats the latest before it and is left out.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from adapters.decoders.parsed import (
    Json,
    Level,
    Parsed,
    event_time_us,
    get,
    level,
    levels,
    other,
    records,
    side_of,
    step_of,
    symbol_of,
    whole,
)
from adapters.venue import Messages
from replay.errors import DataError
from replay.events import BUY, SELL
from replay.instruments import Instrument
from replay.kernel import scan

SIDES = {"buy": BUY, "sell": SELL}
BROKEN_SIZE = re.compile(r"\d*\.-\d+", re.ASCII)
"""What the venue wrote instead of some sizes (`0.-10000`)."""


class Coinbase(Messages):
    """Messages of one recording or connection, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.updated_us: dict[str, int] = {}
        self.ticked: set[str] = set()

    def answer(self, url: str, body: bytes) -> bytes | None:
        """The list of products."""
        return b'{"type":"products","data":%s}' % body if urlsplit(url).path == "/products" else None

    def read(self, message: Any, received_ns: int) -> list[Parsed]:
        """What a message says; DataError (without a place) when it is broken."""
        if not isinstance(message, dict):
            return [other(type(message).__name__)]
        kind = get(message, "type")
        if kind == "snapshot":
            return self._snapshot(message)
        if kind == "l2update":
            return [self._update(message)]
        if kind == "match":
            return [_match(message)]
        if kind == "ticker":
            return [self._ticker(message)]
        if kind == "products":
            for row in records(message, "data"):
                self._state(row)
            return []
        return [other(str(kind)[:40])]

    def _snapshot(self, message: Json) -> list[Parsed]:
        symbol = symbol_of(message, "product_id")
        sides, out = {}, []
        for name in ("bids", "asks"):
            rows = get(message, name)
            if not isinstance(rows, list):
                raise DataError(f"field {name!r} is not a list of price levels")
            sides[name] = [row for row in rows if not _broken(row)]
            out += [other("level with a broken size, left out", symbol)] * (len(rows) - len(sides[name]))
        book = Parsed(scan.RESET, symbol, bids=levels(sides, "bids"), asks=levels(sides, "asks"))
        self.ticked.discard(symbol)
        return [book, *out]

    def _update(self, message: Json) -> Parsed:
        symbol, venue_us = symbol_of(message, "product_id"), event_time_us(message, "time")
        out = Parsed(scan.DEPTH, symbol, venue_us=venue_us if venue_us >= 0 else self.updated_us.get(symbol, -1))
        changes = get(message, "changes")
        if not isinstance(changes, list):
            raise DataError("field 'changes' is not a list of price levels")
        for change in changes:
            if not isinstance(change, list) or len(change) != 3 or change[0] not in ("buy", "sell"):
                raise DataError(f"field 'changes' holds {change!r}, not a side, a price and a size")
            (out.bids if change[0] == "buy" else out.asks).append(level(change[1], change[2]))
        self.updated_us[symbol] = out.venue_us
        return out

    def _ticker(self, message: Json) -> Parsed:
        symbol = symbol_of(message, "product_id")
        bid, ask = _touch(message, "best_bid"), _touch(message, "best_ask")
        venue_us = event_time_us(message, "time")
        if symbol not in self.ticked:
            self.ticked.add(symbol)
            return other("first ticker, from before the subscription", symbol)
        return Parsed(scan.TICKER, symbol, venue_us=venue_us, bids=[bid], asks=[ask])

    def _state(self, row: Json) -> None:
        symbol, settle = symbol_of(row, "id"), symbol_of(row, "quote_currency")
        tick, lot = step_of(row, "quote_increment"), step_of(row, "base_increment")
        self.stated[symbol] = Instrument("coinbase", symbol, "spot", tick, lot, settle=settle)


def _broken(row: object) -> bool:
    """Whether a level has a size that the venue wrote wrongly."""
    return isinstance(row, list) and len(row) > 1 and isinstance(row[1], str) and bool(BROKEN_SIZE.fullmatch(row[1]))


def _match(message: Json) -> Parsed:
    return Parsed(
        scan.TRADE,
        symbol_of(message, "product_id"),
        venue_us=event_time_us(message, "time"),
        last_id=whole(message, "trade_id"),
        side=-side_of(message, "side", SIDES),
        bids=[level(get(message, "price"), get(message, "size"))],
    )


def _touch(message: Json, side: str) -> Level:
    return level(get(message, side), message.get(f"{side}_size", "0"))
