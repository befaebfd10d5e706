"""Books straight from raw messages, as plainly as it can be said: dicts of Decimal, no chain, no grid."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Levels = dict[Decimal, Decimal]


@dataclass
class RawBook:
    """One instrument; `time_ms` and `number` (None: the venue has none) are those of the latest message."""

    bids: Levels = field(default_factory=dict)
    asks: Levels = field(default_factory=dict)
    time_ms: int = 0
    number: int | None = None
    absent: int = 0
    """Changes and deletes of levels that are not there."""

    def touch(self) -> tuple[Decimal, ...]:
        """Best bid, its size, best ask, its size; zeros for an empty side."""
        bid = max(self.bids.items(), default=(Decimal(0), Decimal(0)))
        ask = min(self.asks.items(), default=(Decimal(0), Decimal(0)))
        return (*bid, *ask)


def exact(text: bytes | str) -> Any:
    """JSON with every number an exact decimal or a whole number."""
    return json.loads(text, parse_float=Decimal)


def deribit(messages: Iterable[Any]) -> Iterator[tuple[str, RawBook]]:
    """(instrument, its book) after each book message."""
    books: dict[str, RawBook] = {}
    for message in messages:
        if not message.get("params", {}).get("channel", "").startswith("book."):
            continue
        data = message["params"]["data"]
        if data.get("type") == "snapshot":
            books[data["instrument_name"]] = RawBook()
        book = books[data["instrument_name"]]
        book.time_ms, book.number = data["timestamp"], data["change_id"]
        for name, side in (("bids", book.bids), ("asks", book.asks)):
            for action, price, amount in data[name]:
                book.absent += action != "new" and Decimal(price) not in side
                if action == "delete":
                    side.pop(Decimal(price), None)
                else:
                    side[Decimal(price)] = Decimal(amount)
        yield data["instrument_name"], book


def hyperliquid(messages: Iterable[Any]) -> Iterator[tuple[str, RawBook]]:
    """(coin, its book) after each book message."""
    for message in messages:
        if message["channel"] == "l2Book":
            data = message["data"]
            bids, asks = ({Decimal(each["px"]): Decimal(each["sz"]) for each in side} for side in data["levels"])
            yield data["coin"], RawBook(bids, asks, data["time"])
