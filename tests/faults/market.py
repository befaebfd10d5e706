"""A small market that moves step by step, for servers that speak a venue's protocol.

Every step changes one instrument and says how, in ticks and lots; what the books really are is always known, so a
client's books can be held against them.  Books stay within DEPTH ticks of the middle, are never crossed and never
empty, so the best 20 levels are the whole book on every venue.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

DEPTH = 10
START_MS = 1_790_000_000_000


@dataclass(frozen=True)
class Delta:
    """Levels that changed (ticks, lots; 0 lots: gone) and the update ids: the first, the last and the one before."""

    symbol: str
    time_ms: int
    first_id: int
    last_id: int
    prev_id: int
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Print:
    """A trade; `buy` when the taker bought."""

    symbol: str
    time_ms: int
    number: int
    ticks: int
    lots: int
    buy: bool


@dataclass(frozen=True)
class Mark:
    """Mark price (ticks) and funding rate (1e-8) of the period that ends at `next_ms`."""

    symbol: str
    time_ms: int
    ticks: int
    rate: int
    next_ms: int


@dataclass(frozen=True)
class Liquidation:
    """A forced order; `buy` when a short position was liquidated."""

    symbol: str
    time_ms: int
    ticks: int
    lots: int
    buy: bool


@dataclass(frozen=True)
class Touch:
    """Best bid and ask after the update `last_id`."""

    symbol: str
    time_ms: int
    last_id: int
    bid: tuple[int, int]
    ask: tuple[int, int]


Change = Delta | Print | Mark | Liquidation | Touch


@dataclass
class TrueBook:
    """What the venue holds: lots by ticks."""

    middle: int
    last_id: int
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    prints: int = 0

    def check(self) -> None:
        """AssertionError when it is crossed, empty or holds nothing at a price."""
        assert max(self.bids) < min(self.asks), "crossed"
        assert all(lots > 0 for side in (self.bids, self.asks) for lots in side.values()), "a level without lots"

    def ordered(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Bids and asks, the best first."""
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


class Market:
    """Books of several symbols; `stride` is the largest step of update ids, `first` the first middle in ticks."""

    def __init__(self, symbols: tuple[str, ...], seed: int, stride: int = 1, first: int = 600_000) -> None:
        self.random, self.stride, self.now_ms = Random(seed), stride, START_MS
        self.books = {symbol: TrueBook(first + 1_000 * i, 1_000_000) for i, symbol in enumerate(symbols)}
        for symbol in symbols:
            self.delta(symbol)

    def delta(self, symbol: str) -> Delta:
        """The middle may move a tick; a few levels change; what lies on the wrong side or too far out goes."""
        book, random = self.books[symbol], self.random
        self.now_ms += random.randrange(1, 20)
        book.middle += random.choice((-1, 0, 0, 1))
        middle = book.middle
        bids = {middle - 1: random.randrange(1, 5_000)}
        asks = {middle + 1: random.randrange(1, 5_000)}
        for _ in range(random.randrange(4)):
            changed, levels, sign = random.choice(((bids, book.bids, -1), (asks, book.asks, 1)))
            ticks = middle + sign * random.randrange(2, DEPTH + 1)
            gone = ticks in levels and random.random() < 0.5
            changed.setdefault(ticks, 0 if gone else random.randrange(1, 9_000))
        bids.update({ticks: 0 for ticks in book.bids if not middle - DEPTH <= ticks < middle})
        asks.update({ticks: 0 for ticks in book.asks if not middle < ticks <= middle + DEPTH})
        for levels, changed in ((book.bids, bids), (book.asks, asks)):
            levels.update(changed)
            for ticks in [ticks for ticks, lots in levels.items() if not lots]:
                del levels[ticks]
        prev, first = book.last_id, book.last_id + 1
        book.last_id += random.randrange(1, self.stride + 1)
        return Delta(symbol, self.now_ms, first, book.last_id, prev, tuple(bids.items()), tuple(asks.items()))

    def print(self, symbol: str) -> Print:
        """A trade at the touch (the size of the level stays: the next delta tells)."""
        book, buy = self.books[symbol], self.random.random() < 0.5
        book.prints += 1
        self.now_ms += 1
        ticks = min(book.asks) if buy else max(book.bids)
        return Print(symbol, self.now_ms, book.prints, ticks, self.random.randrange(1, 50), buy)

    def latest(self, symbol: str) -> Print:
        """A trade from before, which some venues send to a new subscriber."""
        return Print(symbol, START_MS - 60_000, 0, self.books[symbol].middle, 1, True)

    def touch(self, symbol: str) -> Touch:
        """The quote as it is."""
        book = self.books[symbol]
        bids, asks = book.ordered()
        return Touch(symbol, self.now_ms, book.last_id, bids[0], asks[0])

    def mark(self, symbol: str) -> Mark:
        """Mark price and funding."""
        next_ms = (self.now_ms // 28_800_000 + 1) * 28_800_000
        return Mark(symbol, self.now_ms, self.books[symbol].middle, self.random.randrange(-9_999, 9_999), next_ms)

    def liquidation(self, symbol: str) -> Liquidation:
        """A forced order at the touch."""
        book, buy = self.books[symbol], self.random.random() < 0.5
        ticks = min(book.asks) if buy else max(book.bids)
        return Liquidation(symbol, self.now_ms, ticks, self.random.randrange(1, 9), buy)

    def step(self) -> Change:
        """The next thing that happens: mostly a delta."""
        symbol = self.random.choice(tuple(self.books))
        chance = self.random.random()
        if chance < 0.60:
            return self.delta(symbol)
        if chance < 0.80:
            return self.print(symbol)
        if chance < 0.93:
            return self.touch(symbol)
        return self.mark(symbol) if chance < 0.98 else self.liquidation(symbol)
