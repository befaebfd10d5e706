"""Funding carry: hold the side of a perpetual future that receives funding.

A perpetual future is tied to its index by a payment between longs and shorts, settled every few hours: at a positive
rate longs pay shorts.  Traders who want leverage on one side pay for it, and who takes the other side earns a carry,
as with the forward discount of a currency.  The strategy is short at rates of at least `enter_rate`, long at rates of
at most minus that, and flat again when the rate has come within `leave_rate` of zero or changed its sign.

Parameters: `instrument` index of the future; `lots` the position, also its limit; `enter_rate` and `leave_rate` as
fractions for one funding period (0.0001 is one basis point); `hedge` index of an instrument that is held the other way
round (-1: none) and `hedge_lots` its size for a full position; `check_us` between looks.  The rest is state.

Orders are IOC at the touch, one an instrument at a time, repeated until the position is the wanted one; none is sent
while the book is not known.
Ignored: that the rate of a period is final only at its end, the loss that the price can bring without a hedge, margin,
fees (several settlements pay for one round trip), the cost of borrowing a spot hedge.
"""

from __future__ import annotations

from replay import Strategy
from replay.context import Context, Funding, Order, Timer


class FundingCarry(Strategy):
    """Short while longs pay, long while shorts pay, hedged if asked to."""

    instrument: int = 0
    lots: int = 10
    enter_rate: float = 0.00005
    leave_rate: float = 0.00002
    hedge: int = -1
    hedge_lots: int = 0
    check_us: int = 1_000_000

    target: int = 0
    order_id: int = 0
    hedge_id: int = 0

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.check_us)

    def on_funding(self, ctx: Context, funding: Funding) -> None:
        if funding.instrument != self.instrument:
            return
        if funding.rate >= self.enter_rate:
            self.target = -self.lots
        elif funding.rate <= -self.enter_rate:
            self.target = self.lots
        elif abs(funding.rate) < self.leave_rate or funding.rate * self.target > 0:
            self.target = 0

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        if self.order_id == 0:
            self.order_id = self.steer(ctx, self.instrument, self.target)
        if self.hedge >= 0 and self.hedge_id == 0:
            wanted = -self.hedge_lots * ctx.position(self.instrument) // self.lots
            self.hedge_id = self.steer(ctx, self.hedge, wanted)

    def steer(self, ctx: Context, instrument: int, wanted: int) -> int:
        """Send what is missing from the position; the order's id, or 0 when there was nothing to send."""
        book = ctx.book(instrument)
        missing = wanted - ctx.position(instrument)
        if not book.ready or missing == 0:
            return 0
        if missing > 0:
            return max(0, ctx.buy(instrument, missing, book.ask_ticks, tif="IOC"))
        return max(0, ctx.sell(instrument, -missing, book.bid_ticks, tif="IOC"))

    def on_order(self, ctx: Context, order: Order) -> None:
        if order.done and order.instrument == self.instrument:
            self.order_id = 0
        elif order.done:
            self.hedge_id = 0
