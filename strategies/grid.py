"""Grid: resting orders on fixed price lines, buys below the market and sells above it.

The oldest way to trade a range: a buy on each of the nearest lines below the market, a sell on each of the nearest ones
above.  A price that swings over a line and back earns the step; a price that trends away leaves the grid with a full
position on the wrong side.  Lines are whole multiples of the step: they stay while the market moves through them, and
resting orders keep their place in the queue.

Parameters: `instrument` index; `lots` of each order; `step_ticks` between lines; `levels` lines a side (at most 31);
`limit_lots` the largest position either way, all resting orders counted as if filled; `refresh_us` between looks at the
market.  The rest is state: rings in which line k has place k % 64.

Orders on lines that the market has left behind are cancelled, and all of them while the book is not known.
Ignored: trend, volatility, fees (a step must be worth more than two of them), a way out of a losing position.
"""

from __future__ import annotations

import numpy as np

from replay import Strategy
from replay.context import Context, Gap, Order, Timer


class Grid(Strategy):
    """Post-only orders on the nearest lines of a fixed grid."""

    instrument: int = 0
    lots: int = 5
    step_ticks: int = 20
    levels: int = 4
    limit_lots: int = 40
    refresh_us: int = 100_000

    ids: np.ndarray = np.zeros(64, np.int64)
    lines: np.ndarray = np.zeros(64, np.int64)
    sides: np.ndarray = np.zeros(64, np.int64)
    busy: np.ndarray = np.zeros(64, np.bool_)

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.refresh_us)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        book = ctx.book(self.instrument)
        if not book.ready:
            ctx.cancel_all(self.instrument)
            self.busy[:] = True
            return
        below = book.bid_ticks // self.step_ticks
        above = -(-book.ask_ticks // self.step_ticks)
        for k in range(64):
            far = self.lines[k] <= below - self.levels or self.lines[k] >= above + self.levels
            if self.ids[k] != 0 and far and not self.busy[k]:
                self.busy[k] = ctx.cancel(self.ids[k]) == 0
        for k in range(self.levels):
            self.place(ctx, 1, below - k)
            self.place(ctx, -1, above + k)

    def place(self, ctx: Context, side: int, line: int) -> None:
        """Put an order on a free line, if the limit allows it."""
        k = line % 64
        resting = np.sum((self.ids != 0) & (self.sides == side))
        if self.ids[k] != 0 or side * ctx.position(self.instrument) + (resting + 1) * self.lots > self.limit_lots:
            return
        if side > 0:
            self.ids[k] = max(0, ctx.buy(self.instrument, self.lots, line * self.step_ticks, post_only=True, tag=k))
        else:
            self.ids[k] = max(0, ctx.sell(self.instrument, self.lots, line * self.step_ticks, post_only=True, tag=k))
        self.lines[k], self.sides[k], self.busy[k] = line, side, True

    def on_order(self, ctx: Context, order: Order) -> None:
        self.busy[order.tag] = order.pending
        self.ids[order.tag] = 0 if order.done else order.id

    def on_gap(self, ctx: Context, gap: Gap) -> None:
        if gap.instrument == self.instrument:
            ctx.cancel_all(self.instrument)
            self.busy[:] = True
