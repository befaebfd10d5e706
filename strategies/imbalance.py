"""Imbalance: follow the heavier side of the book.

When far more is bid than offered near the touch, the next move of the mid is more often up than down (Cont, Kukanov
and Stoikov 2014 on order flow, Gould and Bonart 2016 on queues).  The measure is (bids - asks) / (bids + asks) of the
lots on the best levels, between -1 and 1, smoothed over book messages so that a single flickering order does not
trade.

Parameters: `instrument` index; `lots` the position when in the market, also its limit; `levels` of each side that
count; `weight` of the newest message in the average (0 to 1); `enter` the average above which it goes long and below
whose negative it goes short; `leave` the absolute average under which it goes flat.  The rest is state.

It takes the touch with orders that never rest (IOC), one at a time; what was not filled is judged anew at the next book
message.  After a gap the average begins at zero again.

Ignored: spread and fees (they must be below what the signal foretells, which for most accounts they are not), depth
behind the counted levels, spoofing.
"""

from __future__ import annotations

from replay import Strategy
from replay.context import Book, Context, Gap, Order


class Imbalance(Strategy):
    """Long when the bids outweigh the asks, short when the asks outweigh the bids."""

    instrument: int = 0
    lots: int = 10
    levels: int = 5
    weight: float = 0.2
    enter: float = 0.5
    leave: float = 0.1

    average: float = 0.0
    order_id: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        if book.instrument != self.instrument or not book.ready:
            return
        bids = book.depth(1, self.levels)[1].sum()
        asks = book.depth(-1, self.levels)[1].sum()
        self.average += self.weight * ((bids - asks) / (bids + asks) - self.average)
        position = ctx.position(self.instrument)
        target = position
        if self.average > self.enter:
            target = self.lots
        elif self.average < -self.enter:
            target = -self.lots
        elif abs(self.average) < self.leave:
            target = 0
        if self.order_id != 0 or target == position:
            return
        if target > position:
            self.order_id = max(0, ctx.buy(self.instrument, target - position, book.ask_ticks, tif="IOC"))
        else:
            self.order_id = max(0, ctx.sell(self.instrument, position - target, book.bid_ticks, tif="IOC"))

    def on_order(self, ctx: Context, order: Order) -> None:
        if order.id == self.order_id and order.done:
            self.order_id = 0

    def on_gap(self, ctx: Context, gap: Gap) -> None:
        if gap.instrument == self.instrument:
            self.average = 0.0
