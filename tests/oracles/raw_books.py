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


def bitmex(messages: Iterable[Any]) -> Iterator[tuple[str, RawBook]]:
    """(contract, its book) after each message about it; `absent` counts inserts of levels that are there, too."""
    books: dict[str, RawBook] = {}
    levels: dict[str, dict[int, tuple[Levels, Decimal]]] = {}
    for message in messages:
        if message.get("table") != "orderBookL2":
            continue
        name = message["filter"]["symbol"] if message["action"] == "partial" else message["data"][0]["symbol"]
        if message["action"] == "partial":
            books[name], levels[name] = RawBook(), {}
        book, known = books[name], levels[name]
        for row in message["data"]:
            new = message["action"] in ("partial", "insert")
            book.absent += (row["id"] in known) == new
            if new:
                known[row["id"]] = (book.bids if row["side"] == "Buy" else book.asks, Decimal(row["price"]))
            side, price = known[row["id"]]
            if message["action"] == "delete":
                del side[price], known[row["id"]]
            else:
                side[price] = Decimal(row["size"])
        yield name, book


def coinbase(messages: Iterable[Any]) -> Iterator[tuple[str, RawBook]]:
    """(product, its book) after each message about it."""
    books: dict[str, RawBook] = {}
    for message in messages:
        name = message.get("product_id", "")
        if message["type"] == "snapshot":
            sides = ({Decimal(p): Decimal(s) for p, s in message[key]} for key in ("bids", "asks"))
            books[name] = RawBook(*sides)
        elif message["type"] == "l2update":
            for side, price, size in message["changes"]:
                change(books[name], books[name].bids if side == "buy" else books[name].asks, price, size)
        else:
            continue
        yield name, books[name]


def kraken(messages: Iterable[Any]) -> Iterator[tuple[str, RawBook]]:
    """(pair, its book) after each message about it, as long as no side grows beyond 1000 levels."""
    books: dict[str, RawBook] = {}
    for message in messages:
        if not isinstance(message, list) or message[-2] != "book-1000":
            continue
        name = message[-1]
        for part in message[1:-2]:
            if "as" in part:
                books[name] = RawBook()
            for key in part.keys() - {"c"}:
                for price, size, *_ in part[key]:
                    change(books[name], books[name].bids if key[0] == "b" else books[name].asks, price, size)
        assert max(len(books[name].bids), len(books[name].asks)) <= 1000
        yield name, books[name]


def change(book: RawBook, side: Levels, price: str, size: str) -> None:
    """Set a level; size 0 deletes it."""
    if Decimal(size):
        side[Decimal(price)] = Decimal(size)
    else:
        book.absent += Decimal(price) not in side
        side.pop(Decimal(price), None)
