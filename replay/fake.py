"""A context without an engine, for unit tests of strategies.

`FakeContext` answers what a strategy asks from values that the test sets, and keeps what the strategy asked for.
Nothing happens by itself: no market, no matching, no time.

    ctx = FakeContext()
    ctx.set_book(0, bid_ticks=100, ask_ticks=103)
    Quoter(half_spread=2).on_timer(ctx, Timer(0, ctx.now))
    assert [(r.side, r.ticks) for r in ctx.sent] == [(1, 99), (-1, 104)]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from replay.context import Order, Trade, _Grid
from replay.errors import ConfigError, did_you_mean
from replay.instruments import Instrument
from replay.kernel import codes
from replay.kernel.book import NO_ASK, NO_BID


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the strategy: `kind` new, cancel or modify; `ticks` None for a market order; `terms` the rest."""

    kind: str
    order_id: int
    instrument: int = 0
    side: int = 0
    lots: int = 0
    ticks: int | None = None
    terms: dict[str, Any] = field(default_factory=dict)


class FakeBook:
    """A book of two touches and, if given, depth; the same names as `replay.context.Book`."""

    def __init__(self, instrument: int, grid: _Grid) -> None:
        self.instrument, self.grid = instrument, grid
        self.bid_ticks, self.bid_lots, self.ask_ticks, self.ask_lots = NO_BID, 0, NO_ASK, 0
        self.valid = False
        self.levels: dict[int, list[tuple[int, int]]] = {1: [], -1: []}

    @property
    def ready(self) -> bool:
        """Valid, with a bid and an ask."""
        return self.valid and self.bid_lots > 0 and self.ask_lots > 0

    @property
    def mid_ticks(self) -> float:
        """Half way between the touches, in ticks; NaN when a side is empty."""
        return (self.bid_ticks + self.ask_ticks) / 2 if self.bid_lots and self.ask_lots else float("nan")

    @property
    def mid(self) -> float:
        """Mid price in the quote currency."""
        return self.grid.price(self.mid_ticks)

    @property
    def spread_ticks(self) -> int:
        """Ask minus bid."""
        return self.ask_ticks - self.bid_ticks

    def depth(self, side: int, levels: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """(ticks, lots) as set by the test, best first."""
        rows = self.levels[side][:levels]
        return np.array([r[0] for r in rows], np.int64), np.array([r[1] for r in rows], np.int64)


class FakeContext:
    """A `Context` whose answers are attributes and whose requests are kept in `sent`.

    `positions`, `marks`, `equities`, `cashes`, `paid_fees`, `turnovers` are lists by instrument; `timers` holds
    (time µs, interval µs, tag); `records` the recorded values; `stopped` tells that the strategy ended the run.
    `refuse` is a reason code to refuse everything.
    """

    def __init__(self, instruments: int | Sequence[Instrument] = 1, now: int = 0) -> None:
        if isinstance(instruments, int):
            one = Decimal(1)
            instruments = [Instrument("fake", f"X{i}", "linear", one, one) for i in range(instruments)]
        self.instruments = tuple(instruments)
        self.grids = [_Grid(instrument) for instrument in self.instruments]
        self.books = [FakeBook(i, grid) for i, grid in enumerate(self.grids)]
        self.now = now
        self.positions = [0] * len(self.instruments)
        self.marks = [float("nan")] * len(self.instruments)
        self.equities = [0.0] * len(self.instruments)
        self.cashes, self.paid_fees, self.turnovers = ([0.0] * len(self.instruments) for _ in range(3))
        self.sent: list[Request] = []
        self.open: dict[int, Order] = {}
        self.timers: list[tuple[int, int, int]] = []
        self.records: dict[str, list[tuple[int, float]]] = {}
        self.stopped = False
        self.refuse = 0

    # ------------------------------------------------------------------------------------------- what a test sets

    def set_book(
        self, instrument: int, *, bid_ticks: int, ask_ticks: int, bid_lots: int = 1, ask_lots: int = 1,
        bids: Sequence[tuple[int, int]] = (), asks: Sequence[tuple[int, int]] = (),
    ) -> FakeBook:  # fmt: skip
        """A valid book with these touches; `bids`, `asks` are (ticks, lots) for `depth`, the touches if left out."""
        book = self.books[instrument]
        book.bid_ticks, book.bid_lots, book.ask_ticks, book.ask_lots = bid_ticks, bid_lots, ask_ticks, ask_lots
        book.levels = {1: list(bids) or [(bid_ticks, bid_lots)], -1: list(asks) or [(ask_ticks, ask_lots)]}
        book.valid = True
        return book

    def trade(self, ticks: int, lots: int, side: int, instrument: int = 0, seq: int = 1) -> Trade:
        """A print to hand to `on_trade`; received and made `now`."""
        row = (self.now, self.now, seq, ticks, lots, instrument, side)
        return Trade(row, self.grids[instrument])

    # ---------------------------------------------------------------------------------------- what a strategy asks

    def index(self, name: str) -> int:
        """Index of the instrument called `venue:symbol`."""
        names = [instrument.name for instrument in self.instruments]
        if name not in names:
            raise ConfigError("instrument", name, "is not in this run", did_you_mean(name, names))
        return names.index(name)

    def book(self, instrument: int = 0) -> FakeBook:
        """The book that the test set."""
        return self.books[instrument]

    def position(self, instrument: int = 0) -> int:
        """`positions[instrument]`."""
        return self.positions[instrument]

    def mark(self, instrument: int = 0) -> float:
        """`marks[instrument]`, else the mid."""
        mark = self.marks[instrument]
        return mark if mark == mark else self.books[instrument].mid

    def equity(self, instrument: int = 0) -> float:
        """`equities[instrument]`."""
        return self.equities[instrument]

    def cash(self, instrument: int = 0) -> float:
        """`cashes[instrument]`."""
        return self.cashes[instrument]

    def fees(self, instrument: int = 0) -> float:
        """`paid_fees[instrument]`."""
        return self.paid_fees[instrument]

    def turnover(self, instrument: int = 0) -> float:
        """`turnovers[instrument]`."""
        return self.turnovers[instrument]

    def order(self, order_id: int) -> Order | None:
        """The open order, or None."""
        return self.open.get(order_id)

    def orders(self, instrument: int | None = None) -> list[Order]:
        """Open orders in order of id."""
        return [o for o in self.open.values() if instrument is None or o.instrument == instrument]

    def buy(self, instrument: int, lots: int, ticks: int | None = None, **terms: Any) -> int:
        """Keep a buy request."""
        return self.send(instrument, 1, lots, ticks, **terms)

    def sell(self, instrument: int, lots: int, ticks: int | None = None, **terms: Any) -> int:
        """Keep a sell request."""
        return self.send(instrument, -1, lots, ticks, **terms)

    def send(self, instrument: int, side: int, lots: int, ticks: int | None = None, **terms: Any) -> int:
        """Keep a new-order request; the order is live at once."""
        if self.refuse or lots <= 0:
            return -(self.refuse or codes.R_OFF_LOT)
        order_id = sum(request.kind == "new" for request in self.sent) + 1
        self.sent.append(Request("new", order_id, instrument, side, lots, ticks, terms))
        record = {
            "number": order_id, "instrument": instrument, "side": side, "l_ticks": ticks or 0, "l_lots": lots,
            "l_leaves": lots, "l_filled": 0, "status": codes.LIVE, "pending": 0, "reason": 0,
            "tag": terms.get("tag", 0),
        }  # fmt: skip
        self.open[order_id] = Order(record)
        return order_id

    def cancel(self, order_id: int) -> int:
        """Keep a cancel request; the order is gone at once."""
        if order_id not in self.open:
            return -codes.R_UNKNOWN_ORDER
        order = self.open.pop(order_id)
        self.sent.append(Request("cancel", order_id, order.instrument, order.side, order.leaves, order.ticks))
        return 0

    def cancel_all(self, instrument: int = 0) -> int:
        """Cancel all open orders of the instrument."""
        return sum(self.cancel(order.id) == 0 for order in self.orders(instrument))

    def modify(self, order_id: int, lots: int, ticks: int, stop_ticks: int = 0) -> int:
        """Keep a modify request; it holds at once (the stop is in the request's terms)."""
        if order_id not in self.open:
            return -codes.R_UNKNOWN_ORDER
        order = self.open[order_id]
        order.lots, order.ticks, order.leaves = lots, ticks, lots - order.filled
        terms = {"stop_ticks": stop_ticks} if stop_ticks else {}
        self.sent.append(Request("modify", order_id, order.instrument, order.side, lots, ticks, terms))
        return 0

    def every(self, interval_us: int, tag: int = 0) -> None:
        """Keep a repeating timer."""
        self.timers.append((-(-self.now // interval_us) * interval_us, interval_us, tag))

    def at(self, time_us: int, tag: int = 0) -> None:
        """Keep a single timer."""
        self.timers.append((time_us, 0, tag))

    def record(self, name: str, value: float) -> None:
        """Keep a value."""
        self.records.setdefault(name, []).append((self.now, float(value)))

    def stop(self) -> None:
        """Remember that the strategy ended the run."""
        self.stopped = True

    @staticmethod
    def reason(code: int) -> str:
        """Name of a refusal."""
        return codes.REASONS[-code] if code < 0 else ""
