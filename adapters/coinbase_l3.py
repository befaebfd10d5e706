"""Coinbase level-3 recordings (`full` channel and order-book snapshots): orders, their levels, and trades.

A recording is a JSON list of messages and one or more REST order books (`level=3`), each file one JSON document that
is read whole.  Every order is followed by its id; what goes out is its new size (ORDER, unless `orders=False`) and then
the new size of its price level (BOOK):

    open     the order rests with remaining_size         match    the maker loses size, and a trade is printed
    done     the order leaves                            change   the order has new_size, perhaps at new_price
    received, activate: nothing rests yet

The number of an order is 63 bits of a hash of its id.  The venue matches first come, first served
(https://docs.cdp.coinbase.com/exchange/concepts/matching-engine), so `replay.kernel.by_order` is exact for it.

Messages up to the sequence of the first book are older than it.  A missing sequence makes the book invalid until the
next book file.  A later book file is compared with the orders that were followed: what differs is counted, and the
file becomes a snapshot where it differs or closes a gap.  The venue's time is also the time of receipt: the recording
has no other.  `side` of a match is the maker's, the taker's is the opposite.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from adapters.datasets import DataFile, DataSetSource, Notes, check_options
from adapters.decoders.csv_table import Names
from adapters.terms import inferred
from adapters.transports.file import BROKEN, open_recording
from replay.errors import ConfigError, DataError
from replay.events import BOOK, GAP, ORDER, TRADE
from replay.instruments import Instrument
from replay.kernel.assemble import BEGINS, NO_SEQ, ROW, SNAP
from replay.units import US_PER_S, scaled_int

DIGITS = 8
TABLE_ROWS = 16_384
SIDES = {"buy": 1, "sell": -1}
KIND = 6
"""Where the kind stands in a row of `_table`."""
QUIET = frozenset(("received", "activate", "subscriptions", "heartbeat"))
Order = tuple[int, int, int]
"""side, price, size; numbers in units of 1e-8"""
Level = tuple[int, int]


@dataclass(slots=True)
class OrderBook:
    """Orders by number, and the size of each level (side, price); never 0."""

    orders: dict[int, Order] = field(default_factory=dict)
    levels: Counter[Level] = field(default_factory=Counter)

    def set(self, number: int, order: Order | None) -> list[Level]:
        """Put, change or (None) remove an order; the levels that changed."""
        before = self.orders.pop(number, None)
        touched = []
        for change, sign in ((before, -1), (order, 1)):
            if change and change[2]:
                level = change[:2]
                self.levels[level] += sign * change[2]
                if not self.levels[level]:
                    del self.levels[level]
                touched.append(level)
        if order and order[2]:
            self.orders[number] = order
        return list(dict.fromkeys(touched))

    def check(self) -> None:
        """AssertionError when the levels are not the sums of their orders."""
        sums: Counter[Level] = Counter()
        for side, price, size in self.orders.values():
            sums[side, price] += size
        assert sums == self.levels, "levels are not the sums of their orders"
        assert all(size > 0 for size in sums.values()), "a level without size"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A REST order book."""

    path: Path
    sequence: int
    orders: dict[int, Order]


class Recording(DataFile):
    """The files of one product; `path` is that of the messages, and lines count messages from 1."""

    def __init__(self, path: Path, messages: list[dict[str, Any]], snapshots: Sequence[Snapshot], orders: bool) -> None:
        super().__init__(path, "full", "mixed")
        self.messages, self.orders = messages, orders
        self.snapshots = sorted(snapshots, key=lambda snapshot: snapshot.sequence)
        products = {str(message["product_id"]) for message in messages if "product_id" in message}
        if len(products) != 1:
            raise DataError(f"it holds {len(products)} products instead of one", str(path))
        (self.product,) = products

    def rows(self, names: Names, notes: Notes) -> Iterator[np.ndarray]:
        """ROWs, table by table."""
        owner = names.add(f"coinbase,{self.product}".encode())
        table: list[tuple[int, ...]] = []
        for row in Follower(self.snapshots, notes).rows(self.messages, self.path):
            if row[KIND] == ORDER and not self.orders:
                continue
            table.append(row)
            if len(table) == TABLE_ROWS:
                yield _table(table, owner, self.path)
                table.clear()
        if table:
            yield _table(table, owner, self.path)


def _table(rows: list[tuple[int, ...]], owner: int, path: Path) -> np.ndarray:
    """(time, seq, ident, price, size, line, kind, side, bits) as ROWs."""
    try:
        columns = np.array(rows, np.int64).T
    except OverflowError:
        raise DataError("a sequence, an id or the size of a level does not fit 64 bits", str(path)) from None
    out = np.zeros(len(rows), ROW)
    out["local_us"] = out["venue_us"] = columns[0]
    for name, column in zip(("seq", "ident", "price", "size", "line", "kind", "side", "bits"), columns[1:]):
        out[name] = column
    out["price_digits"] = out["size_digits"] = DIGITS
    out["owner"] = owner
    return out


class Follower:
    """Follows every order from the first book on."""

    def __init__(self, snapshots: Sequence[Snapshot], notes: Notes) -> None:
        self.waiting, self.notes = list(snapshots), notes
        self.book = OrderBook()
        self.sequence: int | None = None
        self.valid = False

    def rows(self, messages: list[dict[str, Any]], path: Path) -> Iterator[tuple[int, ...]]:
        """Rows for `_table`; DataError that names the message which is broken."""
        for line, message in enumerate(messages, 1):
            try:
                yield from self._message(message, line)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"broken message ({type(error).__name__}: {error})", str(path), line) from None
        while self.waiting and self.sequence is not None and self.waiting[0].sequence <= self.sequence:
            self._compare(self.waiting.pop(0))

    def _message(self, message: dict[str, Any], line: int) -> Iterator[tuple[int, ...]]:
        if "sequence" not in message:
            self.notes[f"message {message.get('type')}"] += 1
            return
        sequence, time_us = int(message["sequence"]), _time_us(message["time"])
        if self.sequence is not None and sequence <= self.sequence:
            self.notes["repeated message"] += 1
            return
        yield from self._load(sequence, time_us, line)
        if self.valid and self.sequence is not None and sequence != self.sequence + 1:
            yield (time_us, self.sequence, NO_SEQ, sequence, 0, line, GAP, 0, BEGINS)
            self.valid = False
        self.sequence = sequence
        if message["type"] == "match":
            side = -SIDES[message["side"]]
            price, size = _number(message["price"]), _number(message["size"])
            trade = int(message["trade_id"])
            yield (time_us, trade, trade, price, size, line, TRADE, side, BEGINS)
        if not self.valid:
            self.notes["message without a valid book"] += 1
            return
        changed = self._changed(message)
        if changed is None:
            return
        number, order = changed
        touched = self.book.set(number, order)
        if touched:
            side, price, size = self.book.orders.get(number) or (*touched[0], 0)
            yield (time_us, sequence, number, price, size, line, ORDER, side, BEGINS)
        for k, (side, price) in enumerate(touched):
            size = self.book.levels.get((side, price), 0)
            yield (time_us, sequence, NO_SEQ, price, size, line, BOOK, side, 0 if k else BEGINS)

    def _load(self, sequence: int, time_us: int, line: int) -> Iterator[tuple[int, ...]]:
        """Take the books that are older than the message; a snapshot where one is needed."""
        while self.waiting and self.waiting[0].sequence < sequence:
            snapshot = self.waiting.pop(0)
            if self.valid and self._compare(snapshot):
                continue
            if snapshot.sequence + 1 < sequence and self.sequence is None:
                self.notes["messages missing between the book and the first message"] += 1
                continue
            self.book = OrderBook()
            for number, order in snapshot.orders.items():
                self.book.set(number, order)
            self.sequence, self.valid = max(self.sequence or 0, snapshot.sequence), True
            sequence = snapshot.sequence
            for k, (number, (side, price, size)) in enumerate(self.book.orders.items()):
                yield (time_us, sequence, number, price, size, line, ORDER, side, SNAP | (0 if k else BEGINS))
            for k, ((side, price), size) in enumerate(self.book.levels.items()):
                yield (time_us, sequence, NO_SEQ, price, size, line, BOOK, side, SNAP | (0 if k else BEGINS))

    def _compare(self, snapshot: Snapshot) -> bool:
        """Whether the orders followed equal those of the book; counts those that do not."""
        if snapshot.sequence != self.sequence:
            self.notes["order book between two messages, not compared"] += 1
            return True
        wrong = len(set(snapshot.orders.items()) ^ set(self.book.orders.items()))
        if wrong:
            self.notes["order that differs from a later order book"] += wrong
        self.notes["order book compared"] += 1
        return not wrong

    def _changed(self, message: dict[str, Any]) -> tuple[int, Order | None] | None:
        """The order that a message is about, by number, and what it is from now on; None when no order changes."""
        kind = message["type"]
        if kind == "open":
            number = order_number(message["order_id"])
            if number in self.book.orders:
                self.notes["order opened twice"] += 1
            return number, (SIDES[message["side"]], _number(message["price"]), _number(message["remaining_size"]))
        if kind == "done":
            return order_number(message["order_id"]), None
        if kind in ("match", "change"):
            number = order_number(message["maker_order_id" if kind == "match" else "order_id"])
            before = self.book.orders.get(number)
            if before is None:
                if kind == "match":
                    self.notes["match of an order that is not in the book"] += 1
                return None
            side, price, size = before
            if kind == "change":
                new_price = message.get("new_price")
                return number, (side, _number(new_price) if new_price else price, _number(message["new_size"]))
            left = size - _number(message["size"])
            if left < 0:
                self.notes["match of more than the order had"] += 1
            return number, (side, price, max(0, left))
        if kind not in QUIET:
            self.notes[f"message {kind}"] += 1
        return None


def order_number(name: str) -> int:
    """63 bits of a hash of an order's id: two of a million orders share one with a chance of 1 in 10^7."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


def _number(text: str) -> int:
    return scaled_int(text, DIGITS)


def _time_us(text: str) -> int:
    """`2018-07-13T20:47:11.025000Z` as µs."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time {text} has no zone")
    return int(moment.replace(microsecond=0).timestamp()) * US_PER_S + moment.microsecond


def read_document(path: Path) -> Any:
    """The JSON of a file, plain or gzip; DataError when it is none."""
    try:
        with open_recording(path) as stream:
            return orjson.loads(stream.read())
    except orjson.JSONDecodeError as error:
        raise DataError(f"broken JSON ({error})", str(path)) from None
    except EOFError:
        raise DataError("the gzip data is truncated", str(path), hint="download it again") from None
    except BROKEN as error:
        raise DataError(f"the gzip data is broken ({error})", str(path), hint="download it again") from error


def read_snapshot(path: Path, document: dict[str, Any]) -> Snapshot:
    """An order book with its orders; DataError when it is none."""
    try:
        orders = {
            order_number(name): (side, _number(price), _number(size))
            for key, side in (("bids", 1), ("asks", -1))
            for price, size, name in document[key]
        }
        return Snapshot(path, int(document["sequence"]), orders)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"not a level-3 order book ({type(error).__name__}: {error})", str(path)) from None


class CoinbaseAdapter:
    """Coinbase level 3 (see `replay.sources.Adapter`)."""

    name = "coinbase-l3"

    def __repr__(self) -> str:
        return "CoinbaseAdapter()"

    def open(
        self, paths: Sequence[Path], *, instruments: Sequence[Instrument] = (), **options: Any
    ) -> DataSetSource:  # fmt: skip
        """One file of messages and any number of order books as a source.

        `instruments` gives known terms.  Options: `policy` as for Tardis files; `orders` (default True), whether the
        order-by-order rows go out, too.  DataError for what cannot be read, ConfigError for wrong options.
        """
        check_options(self.name, paths, options, ("policy", "orders", "drop_every", "drop_from"))
        orders = options.get("orders", True)
        if not isinstance(orders, bool):
            raise ConfigError("orders", orders, "is neither True nor False")
        messages, snapshots = [], []
        for path in map(Path, paths):
            document = read_document(path)
            if isinstance(document, dict):
                snapshots.append(read_snapshot(path, document))
            elif isinstance(document, list) and all(isinstance(message, dict) for message in document):
                messages.append((path, document))
            else:
                raise DataError("neither a list of messages nor an order book", str(path))
        if len(messages) != 1:
            raise DataError(f"{len(messages)} lists of messages instead of one", str(paths[0]))
        recording = Recording(*messages[0], snapshots, orders)
        return DataSetSource([recording], inferred, instruments, options.get("policy", "repair"))


L3 = CoinbaseAdapter()
