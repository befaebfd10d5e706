"""Hand-made markets: a test says exactly what happens and when."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

from replay import ConstantLatency, Instrument, Replay, Result, Strategy
from replay.events import BOOK, BUY, CLEAR, EVENT, FUNDING, GAP, LAST, LIQUIDATION, MARK, SELL, SNAPSHOT, TRADE
from replay.kernel.codes import REQUEST_CANCEL, REQUEST_MODIFY, REQUEST_NEW, STATUS_NAMES
from replay.units import SCALE, US_PER_S

SECOND = US_PER_S
START_US = 1_700_000_000 * US_PER_S
COIN = Instrument("test", "COIN", "linear", Decimal("0.1"), Decimal("0.001"))
PAIR = (COIN, Instrument("test", "HEDGE", "linear", Decimal("0.1"), Decimal("0.001")))
REQUESTS = {REQUEST_NEW: "new", REQUEST_CANCEL: "cancel", REQUEST_MODIFY: "modify"}


class Tape:
    """Messages of hand-made markets; `at_us` counts from the start, times at the venue are 1 ms earlier."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ...]] = []
        self.seq = 0

    def add(self, at_us: int, instrument: int, *bodies: tuple[int, int, int, int, int, int]) -> None:
        """One message; a body is (kind, side, price, qty, value, flags)."""
        self.seq += 1
        for k, (kind, side, price, qty, value, flags) in enumerate(bodies):
            flags |= LAST if k == len(bodies) - 1 else 0
            at = START_US + at_us
            self.rows.append((at, at - 1_000, self.seq, price, qty, value, instrument, 0, flags, kind, side, 0, 0))

    def book(self, at_us: int, bid: int, ask: int, lots: int = 1_000, other: int = 0, instrument: int = 0) -> None:
        """A snapshot of five levels a side, `lots` on each bid and `other` (default: as many) on each ask."""
        levels = [(BOOK, BUY, bid - k, lots, 0, SNAPSHOT) for k in range(5)]
        levels += [(BOOK, SELL, ask + k, other or lots, 0, SNAPSHOT) for k in range(5)]
        levels[0] = (BOOK, BUY, bid, lots, 0, SNAPSHOT | CLEAR)
        self.add(at_us, instrument, *levels)

    def level(self, at_us: int, side: int, ticks: int, lots: int, instrument: int = 0) -> None:
        """A delta: one level has a new size."""
        self.add(at_us, instrument, (BOOK, side, ticks, lots, 0, 0))

    def trade(self, at_us: int, side: int, ticks: int, lots: int, instrument: int = 0) -> None:
        """A print; `side` is the aggressor's."""
        self.add(at_us, instrument, (TRADE, side, ticks, lots, 0, 0))

    def mark(self, at_us: int, ticks: int, instrument: int = 0) -> None:
        """A mark price on the tick grid."""
        self.add(at_us, instrument, (MARK, 0, ticks, 0, ticks * SCALE // 10, 0))

    def liquidation(self, at_us: int, side: int, ticks: int, lots: int, instrument: int = 0) -> None:
        """A forced order: `side` -1 is a long that must sell."""
        self.add(at_us, instrument, (LIQUIDATION, side, ticks, lots, 0, 0))

    def gap(self, at_us: int, instrument: int = 0) -> None:
        """Messages are lost; the book is invalid until the next `book`."""
        self.add(at_us, instrument, (GAP, 0, 0, 0, self.seq + 10, 0))

    def funding(self, at_us: int, rate_e8: int, settle_us: int, instrument: int = 0) -> None:
        """The rate that will be paid at `settle_us`."""
        self.add(at_us, instrument, (FUNDING, 0, 0, 0, rate_e8, 0))
        self.rows[-1] = (*self.rows[-1][:2], START_US + settle_us, *self.rows[-1][3:])

    def run(self, strategy: Strategy, instruments: tuple[Instrument, ...] = (COIN,), **settings: Any) -> Result:
        """Replay the tape; 5 ms each way unless told otherwise."""
        settings.setdefault("latency", ConstantLatency(entry=5_000, response=5_000))
        events = np.array(sorted(self.rows, key=lambda row: row[0]), EVENT)
        return Replay(events, instruments=instruments, **settings).run(strategy)


def fills(result: Result) -> list[tuple[int, int, int]]:
    """(side, ticks, lots) of all fills."""
    return [(int(f["side"]), int(f["ticks"]), int(f["lots"])) for f in result.fills]


def requests(result: Result) -> list[tuple[int, str, int, int]]:
    """(µs from the start, what, side, price known then) of all requests."""
    rows = result.orders[(result.orders["request"] > 0) & (result.orders["answer"] == 0)]
    return [(int(r["local_ts"]) - START_US, REQUESTS[int(r["request"])], int(r["side"]), int(r["ticks"])) for r in rows]


def quotes(result: Result, at_us: int) -> list[tuple[int, int, int]]:
    """(side, ticks, lots left) of the orders that the strategy knows to be open at `at_us`, best first."""
    open_orders: dict[int, tuple[int, int, int]] = {}
    for row in result.orders[(result.orders["answer"] == 1) & (result.orders["local_ts"] <= START_US + at_us)]:
        open_orders[int(row["order_id"])] = (int(row["side"]), int(row["ticks"]), int(row["leaves"]))
        if STATUS_NAMES[int(row["status"])] not in ("live", "partly-filled"):
            del open_orders[int(row["order_id"])]
    return sorted(open_orders.values(), key=lambda order: (-order[0], -order[0] * order[1]))
