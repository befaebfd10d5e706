"""Synthetic data for tests: your own strategies' and ours.

`FakeContext` (see `replay.fake`) stands in for the engine in unit tests of a strategy.

Two makers of markets: `SyntheticMarket` (see `replay.synthetic`) is a whole recorded market in a venue's
own messages, for adapters, demos and end-to-end tests.  `synthetic_events` makes event records directly,
thousands of messages in well under a second, for property tests of the engine.

Rules of `synthetic_events`, per instrument:

* Books are complete: the first message is a snapshot, and after every BOOK message the book that a reader
  holds is the venue's book at that message's `exch_ts`.  It is never crossed and no side is empty.
* A QUOTE message has two rows, bid then ask, and is sent when the touch changes; its `seq` is the update id,
  and update ids grow by one.  A BOOK message covers all changes since the one before; some carry no level
  (side 0).
* TRADE rows print what the book held; one message may hold several (a walk through levels).
* Channels (book, quote, trade, derivatives) have their own latency: `exch_ts` and `ts` never step back inside
  one, `exch_ts` lies before `ts` by a latency within the given range, and channels overtake each other.
* With `gap_every` = n each n-th delta is lost: the next one shows as a GAP row, book rows stop, and a
  snapshot comes a few messages later.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from replay.errors import ConfigError
from replay.events import (
    BOOK,
    BUY,
    CLEAR,
    EVENT,
    FUNDING,
    GAP,
    LAST,
    LIQUIDATION,
    MARK,
    QUOTE,
    SELL,
    SNAPSHOT,
    TRADE,
)
from replay.fake import FakeBook, FakeContext, Request
from replay.instruments import Instrument
from replay.synthetic import Faults, InjectedFault, SyntheticMarket, TradeTotals, Truth
from replay.synthetic_flow import LISTINGS, Listing, stream
from replay.units import SCALE, US_PER_S

__all__ = [
    "LISTINGS",
    "FakeBook",
    "FakeContext",
    "Faults",
    "InjectedFault",
    "Listing",
    "Request",
    "SyntheticMarket",
    "TradeTotals",
    "Truth",
    "synthetic_events",
]

Row = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]
Body = tuple[int, int, int, int, int, int, int]
"""kind, side, seq, price, qty, value, flags of one row."""

BOOKS, QUOTES, TRADES, DERIVATIVES = range(4)
FUNDING_EVERY = 10
"""Every so many mark prices carry a funding rate."""


def synthetic_events(
    instruments: int | Sequence[Instrument] = 1,
    seed: int = 7,
    messages: int = 1_000,
    *,
    feed_latency_us: tuple[int, int] = (500, 5_000),
    gap_every: int = 0,
    start_us: int = 1_700_000_000 * US_PER_S,
    mean_step_us: int = 2_000,
    levels: int = 8,
    price_ticks: int = 10_000,
    derivatives: bool = True,
) -> np.ndarray:
    """A small random market as EVENT records in order of `ts`, about `messages` messages in all.

    `instruments` says how many there are (a sequence counts); row `instrument` is an index into it.
    `mean_step_us` is the mean time between two things that happen to one instrument, `levels` the usual
    number of levels a side, `price_ticks` where prices start.  Marks, funding and liquidations are left out
    without `derivatives`.  Same arguments, same array on every machine.  Raises ConfigError for values out of
    range.
    """
    count = instruments if isinstance(instruments, int) else len(instruments)
    if count < 1 or messages < count:
        raise ConfigError("instruments", count, f"must be at least 1 and at most messages ({messages})")
    if not 0 <= feed_latency_us[0] <= feed_latency_us[1]:
        raise ConfigError("feed_latency_us", feed_latency_us, "must be (least, largest), not negative")
    if mean_step_us < 0 or not 2 <= levels <= 1_000 or price_ticks < 4 * levels:
        raise ConfigError("levels", (levels, price_ticks, mean_step_us), "2 to 1000 levels, price 4 times as far")
    if gap_every < 0 or gap_every == 1:
        raise ConfigError("gap_every", gap_every, "must be 0 (no gaps) or at least 2")
    scales = [SCALE] * count if isinstance(instruments, int) else [int(i.tick * SCALE) for i in instruments]
    out: list[tuple[int, list[Row]]] = []
    for index in range(count):
        market = _TinyMarket(
            index, stream(seed, "events", str(index)), feed_latency_us, levels, price_ticks, scales[index]
        )
        share = messages // count + (index < messages % count)
        market.run(share, start_us, mean_step_us, gap_every, derivatives)
        out += market.messages
    out.sort(key=lambda message: message[0])
    return np.array([row for _, rows in out for row in rows], EVENT)


class _TinyMarket:
    """One instrument of `synthetic_events`; `messages` collects (ts, rows)."""

    def __init__(self, index: int, source: random.Random, latency_us: tuple[int, int], levels: int, price: int,
                 tick_scaled: int) -> None:  # fmt: skip
        self.tick_scaled = tick_scaled
        self.index, self.bits, self.latency_us, self.levels = index, source.getrandbits, latency_us, levels
        self.books: dict[int, dict[int, int]] = {
            side: {price - side * (1 + i): 1 + self.below(20) for i in range(levels)} for side in (BUY, SELL)
        }
        self.dirty: dict[tuple[int, int], None] = {}
        self.update_id = self.sent_id = 1_000
        self.trade_id, self.marks, self.deltas = 1, 0, 0
        self.last_ts = [0] * 4
        self.good_id = 0
        self.blind, self.lost = 0, False
        self.messages: list[tuple[int, list[Row]]] = []

    def below(self, limit: int) -> int:
        """A random integer in [0, limit)."""
        return self.bits(24) * limit >> 24

    def run(self, wanted: int, start_us: int, mean_step_us: int, gap_every: int, derivatives: bool) -> None:
        """Let things happen until `wanted` messages were sent."""
        now = start_us
        self.snapshot(now)
        while len(self.messages) < wanted:
            now += self.below(2 * mean_step_us + 1)
            before = self.touch()
            what = self.below(32)
            if what < 6:
                self.market_order(now, derivatives and what == 0)
            elif what == 6 and derivatives:
                self.mark(now)
            else:
                self.limit_change()
            if self.touch() != before and len(self.messages) < wanted:
                self.quote(now)
            if self.below(3) == 0 and len(self.messages) < wanted:
                self.depth(now, gap_every)

    def touch(self) -> tuple[int, int, int, int]:
        """Bid, its size, ask, its size."""
        bid, ask = max(self.books[BUY]), min(self.books[SELL])
        return bid, self.books[BUY][bid], ask, self.books[SELL][ask]

    def send(self, channel: int, exch_us: int, bodies: list[Body]) -> None:
        """Queue one message; its last row gets LAST."""
        low, high = self.latency_us
        ts = max(exch_us + low + self.below(high - low + 1), self.last_ts[channel])
        self.last_ts[channel] = ts
        rows: list[Row] = [
            (ts, exch_us, seq, price, qty, value, self.index, 0, flags, kind, side, 0, 0)
            for kind, side, seq, price, qty, value, flags in bodies
        ]
        rows[-1] = (*rows[-1][:8], rows[-1][8] | LAST, *rows[-1][9:])
        self.messages.append((ts, rows))

    def set_level(self, side: int, price: int, lots: int) -> None:
        """New size of a level, 0 removes it."""
        self.update_id += 1
        self.dirty[side, price] = None
        if lots:
            self.books[side][price] = lots
        else:
            self.books[side].pop(price, None)

    def limit_change(self) -> None:
        """A level near the touch grows, shrinks, comes or goes."""
        side = BUY if self.bits(1) else SELL
        bid, _, ask, _ = self.touch()
        book = self.books[side]
        inside = ask - bid - 1
        best = bid if side == BUY else ask
        price = best - side * (self.below(2 * self.levels) - min(inside, 2))
        full = len(book) >= 2 * self.levels
        if price in book and len(book) > 2 and (full or self.bits(1)):
            self.set_level(side, price, 0)
        elif price in book or not full:
            if price > 0:
                self.set_level(side, price, 1 + self.below(20))
        else:
            self.set_level(side, max(book, key=lambda level: -side * level), 0)

    def market_order(self, now: int, forced: bool) -> None:
        """Take from the touch; a forced one is reported as a liquidation, too."""
        side = BUY if self.bits(1) else SELL
        book = self.books[-side]
        left = 1 + self.below(30)
        bodies: list[Body] = []
        total = 0
        while left and len(book) > 1:
            price = side * min(side * level for level in book)
            lots = min(left, book[price])
            bodies.append((TRADE, side, self.trade_id, price, lots, 0, 0))
            self.trade_id += 1
            self.set_level(-side, price, book[price] - lots)
            left -= lots
            total += lots
        if bodies:
            self.send(TRADES, now, bodies)
            if forced:
                self.send(DERIVATIVES, now, [(LIQUIDATION, side, 0, bodies[-1][3], total, 0, 0)])

    def mark(self, now: int) -> None:
        """A mark price near the mid, sometimes with the funding rate of the next settlement."""
        bid, _, ask, _ = self.touch()
        mid = (bid + ask) // 2
        bodies: list[Body] = [(MARK, 0, 0, mid, 0, mid * self.tick_scaled + self.below(self.tick_scaled), 0)]
        self.marks += 1
        if self.marks % FUNDING_EVERY == 1:
            settle_us = (now // US_PER_S + 1) * US_PER_S
            bodies.append((FUNDING, 0, settle_us, 0, 0, self.below(40_000) - 20_000, 0))
        self.send(DERIVATIVES, now, bodies)

    def quote(self, now: int) -> None:
        """Both sides of the touch."""
        bid, bid_lots, ask, ask_lots = self.touch()
        seq = self.update_id
        rows = [(QUOTE, BUY, seq, bid, bid_lots, 0, 0), (QUOTE, SELL, seq, ask, ask_lots, 0, 0)]
        self.send(QUOTES, now, rows)

    def snapshot(self, now: int) -> None:
        """The whole book, best levels first."""
        bodies: list[Body] = []
        for side in (BUY, SELL):
            for price, lots in sorted(self.books[side].items(), reverse=side == BUY):
                flags = SNAPSHOT if bodies else SNAPSHOT | CLEAR
                bodies.append((BOOK, side, self.update_id, price, lots, 0, flags))
        self.dirty.clear()
        self.sent_id = self.good_id = self.update_id
        self.send(BOOKS, now, bodies)

    def depth(self, now: int, gap_every: int) -> None:
        """The changes since the last depth message, or what became of them."""
        if self.blind > 1:
            self.blind -= 1
            return
        if self.blind == 1:
            self.blind = 0
            self.snapshot(now)
            return
        self.deltas += 1
        first_id, self.sent_id = self.sent_id + 1, self.update_id
        changes = list(self.dirty)
        self.dirty.clear()
        if gap_every and self.deltas % gap_every == 0 and changes and not self.lost:
            self.lost = True
            return
        if self.lost:
            self.lost = False
            self.send(BOOKS, now, [(GAP, 0, self.good_id, 0, 0, first_id, 0)])
            self.blind = 1 + self.below(4)
            return
        self.good_id = self.update_id
        bodies: list[Body] = [
            (BOOK, side, self.update_id, price, self.books[side].get(price, 0), 0, 0) for side, price in changes
        ]
        self.send(BOOKS, now, bodies or [(BOOK, 0, self.update_id, 0, 0, 0, 0)])
