"""Books of Bybit and OKX straight from raw messages, as plainly as it can be said; OKX's checksum by sorting.

Each generator yields (symbol, its book, checksum holds) after each book message; a venue without checksums has True.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any
from zlib import crc32

from tests.oracles.raw_books import RawBook


def bybit(messages: Iterable[Any]) -> Iterator[tuple[str, RawBook, bool]]:
    """v5: orderbook.<depth>.<symbol>; `absent` counts deletes of levels that are not there."""
    books: dict[str, RawBook] = {}
    for message in messages:
        if not message.get("topic", "").startswith("orderbook."):
            continue
        data = message["data"]
        if message["type"] == "snapshot":
            books[data["s"]] = RawBook()
        book = books[data["s"]]
        book.number, book.time_ms = data["u"], message["cts"]
        for side, key in ((book.bids, "b"), (book.asks, "a")):
            for price, size in data[key]:
                put(book, side, Decimal(price), Decimal(size))
        yield data["s"], book, True


def put(book: RawBook, side: dict[Decimal, Decimal], price: Decimal, size: Decimal) -> None:
    """The new size of a level; 0 deletes."""
    if size:
        side[price] = size
    else:
        book.absent += price not in side
        side.pop(price, None)


def bybit_v2(messages: Iterable[Any]) -> Iterator[tuple[str, RawBook, bool]]:
    """orderBookL2_25.<symbol>, by the ids of levels; `absent` counts whatever does not fit the ids that are there."""
    books: dict[str, RawBook] = {}
    ids: dict[str, dict[str, tuple[str, Decimal]]] = {}
    for message in messages:
        if not message.get("topic", "").startswith("orderBookL2_25."):
            continue
        symbol, data = message["topic"].partition(".")[2], message["data"]
        if message["type"] == "snapshot":
            books[symbol], ids[symbol] = RawBook(), {}
            data = {"insert": data if isinstance(data, list) else data["order_book"]}
        book, known = books[symbol], ids[symbol]
        book.number = int(message["cross_seq"])
        for what in ("delete", "update", "insert"):
            for level in data.get(what, []):
                ident = str(level["id"])
                book.absent += (ident in known) == (what == "insert")
                if what == "delete":
                    side, price = known.pop(ident)
                    (book.bids if side == "Buy" else book.asks).pop(price)
                    continue
                known[ident] = level["side"], Decimal(level["price"])
                (book.bids if level["side"] == "Buy" else book.asks)[Decimal(level["price"])] = Decimal(level["size"])
        yield symbol, book, True


def okx(messages: Iterable[Any]) -> Iterator[tuple[str, RawBook, bool]]:
    """books channels."""
    books: dict[str, RawBook] = {}
    texts: dict[str, list[dict[str, str]]] = {}
    for message in messages:
        if not str(message.get("arg", {}).get("channel")).startswith("books") or "data" not in message:
            continue
        symbol, (data,) = message["arg"]["instId"], message["data"]
        if message["action"] == "snapshot":
            books[symbol], texts[symbol] = RawBook(), [{}, {}]
        book = books[symbol]
        book.time_ms = int(data["ts"])
        for side, text, rows in zip((book.bids, book.asks), texts[symbol], (data["bids"], data["asks"])):
            for price, size, *_ in rows:
                put(book, side, Decimal(price), Decimal(size))
                text[price] = size
                if not Decimal(size):
                    del text[price]
        yield symbol, book, checksum(*texts[symbol]) == data["checksum"]


def checksum(bids: dict[str, str], asks: dict[str, str]) -> int:
    """Of the best 25 levels of each side, by sorting them."""
    parts: list[list[str]] = [[] for _ in range(25)]
    for levels, falling in ((bids, True), (asks, False)):
        for place, price in enumerate(sorted(levels, key=Decimal, reverse=falling)[:25]):
            parts[place] += [price, levels[price]]
    total = crc32(":".join(text for part in parts for text in part).encode())
    return total - 2**32 if total >= 2**31 else total
