"""Liquidation fade: stand against a burst of forced orders, leave when it is over.

A liquidation engine sells (or buys) because it must, at any price, and often starts the next liquidation with it.  Who
is not forced can be paid for taking the other side and waiting: prices pushed by fire sales tend to come back
(Coval and Stafford 2007 on funds; Brunnermeier and Pedersen 2009 on the spiral).  Forced lots are summed with their
sign, the sum fading with time constant `memory_us`.  Beyond `trigger_lots` the strategy takes the opposite side: it
buys after forced sales of longs and sells after forced purchases of shorts.  It leaves after `hold_us`, or earlier
when the price at which it could leave is `stop_bps` worse than its average entry.

Parameters: `instrument` index; `lots` the position, also its limit; `trigger_lots`; `memory_us`; `hold_us`;
`stop_bps` in 1/10000 of the price; `check_us` between looks at stop and time.  The rest is state.

Entries are IOC at the touch, exits market orders, one at a time; nothing is sent while the book is not known.
Ignored: that venues publish only some of the liquidations, the size of the book, trend, fees.
"""

from __future__ import annotations

import math

from replay import Strategy
from replay.context import Context, Fill, Liquidation, Order, Timer


class LiquidationFade(Strategy):
    """Buy what longs are forced to sell, sell what shorts are forced to buy."""

    instrument: int = 0
    lots: int = 10
    trigger_lots: int = 500
    memory_us: int = 5_000_000
    hold_us: int = 5_000_000
    stop_bps: float = 20.0
    check_us: int = 100_000

    forced: float = 0.0
    forced_us: int = 0
    leave_us: int = 0
    cost: float = 0.0
    order_id: int = 0

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.check_us)

    def on_liquidation(self, ctx: Context, liquidation: Liquidation) -> None:
        if liquidation.instrument != self.instrument:
            return
        fading = math.exp((self.forced_us - ctx.now) / self.memory_us)
        self.forced = self.forced * fading + liquidation.side * liquidation.lots
        self.forced_us = ctx.now
        book = ctx.book(self.instrument)
        position = ctx.position(self.instrument)
        if abs(self.forced) < self.trigger_lots or not book.ready or self.order_id != 0 or position != 0:
            return
        self.leave_us = ctx.now + self.hold_us
        if self.forced < 0:
            self.order_id = max(0, ctx.buy(self.instrument, self.lots, book.ask_ticks, tif="IOC"))
        else:
            self.order_id = max(0, ctx.sell(self.instrument, self.lots, book.bid_ticks, tif="IOC"))

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        book = ctx.book(self.instrument)
        position = ctx.position(self.instrument)
        if position == 0 or self.order_id != 0 or not book.ready:
            return
        price = book.bid_ticks if position > 0 else book.ask_ticks
        stopped = price * position - self.cost <= -abs(self.cost) * self.stop_bps / 10_000
        if position > 0 and (stopped or ctx.now >= self.leave_us):
            self.order_id = max(0, ctx.sell(self.instrument, position, reduce_only=True))
        elif position < 0 and (stopped or ctx.now >= self.leave_us):
            self.order_id = max(0, ctx.buy(self.instrument, -position, reduce_only=True))

    def on_order(self, ctx: Context, order: Order) -> None:
        self.order_id = 0 if order.done else order.id

    def on_fill(self, ctx: Context, fill: Fill) -> None:
        traded, held = fill.side * fill.lots, ctx.position(self.instrument)
        self.cost = self.cost + traded * fill.ticks if traded * held > 0 else self.cost * held / (held - traded)
