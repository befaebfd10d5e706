"""Market maker: quote both sides around the mid, lean against the inventory.

The maker earns the spread from those who cannot wait and loses to those who know more.  Its inventory is the risk it
holds in between, so both quotes are shifted against it: long means lower quotes, which makes the next sale likelier
than the next purchase.  The shift is the linear form of the reservation price of Avellaneda and Stoikov (2008), after
Ho and Stoll (1981), with one number in the place of risk aversion, variance and remaining time.

Parameters: `instrument` index; `lots` of one quote; `limit_lots` the largest position either way; `half_spread_ticks`
from the centre to a quote; `skew_ticks` by which the centre has moved at a full limit; `refresh_us` between looks at
the market.  The rest is state.

Quotes are post-only.  A quote whose price is no longer the wanted one is moved; all are withdrawn while the book is not
known.  One order a side at most, sized so that the position cannot pass the limit even when every order fills.

Ignored: volatility, order flow, fees, the place in the queue (a move gives it up), other instruments.
"""

from __future__ import annotations

import math

from replay import Strategy
from replay.context import Context, Gap, Order, Timer


class MarketMaker(Strategy):
    """Two post-only quotes around an inventory-shifted mid."""

    instrument: int = 0
    lots: int = 10
    limit_lots: int = 50
    half_spread_ticks: int = 5
    skew_ticks: int = 20
    refresh_us: int = 100_000

    bid_id: int = 0
    bid_lots: int = 0
    bid_ticks: int = 0
    bid_busy: bool = False
    ask_id: int = 0
    ask_lots: int = 0
    ask_ticks: int = 0
    ask_busy: bool = False

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.refresh_us)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        book = ctx.book(self.instrument)
        if not book.ready:
            self.withdraw(ctx)
            return
        position = ctx.position(self.instrument)
        centre = book.mid_ticks - self.skew_ticks * position / self.limit_lots
        bid = min(math.floor(centre - self.half_spread_ticks), book.ask_ticks - 1)
        ask = max(math.ceil(centre + self.half_spread_ticks), book.bid_ticks + 1)
        if self.bid_id == 0:
            self.bid_lots = min(self.lots, self.limit_lots - position)
            if self.bid_lots > 0:
                self.bid_id = max(0, ctx.buy(self.instrument, self.bid_lots, bid, post_only=True))
                self.bid_busy = True
        elif not self.bid_busy and self.bid_ticks != bid:
            self.bid_busy = ctx.modify(self.bid_id, self.bid_lots, bid) == 0
        if self.ask_id == 0:
            self.ask_lots = min(self.lots, self.limit_lots + position)
            if self.ask_lots > 0:
                self.ask_id = max(0, ctx.sell(self.instrument, self.ask_lots, ask, post_only=True))
                self.ask_busy = True
        elif not self.ask_busy and self.ask_ticks != ask:
            self.ask_busy = ctx.modify(self.ask_id, self.ask_lots, ask) == 0

    def on_order(self, ctx: Context, order: Order) -> None:
        if order.id == self.bid_id:
            self.bid_ticks, self.bid_busy = order.ticks, order.pending
            self.bid_id = 0 if order.done else order.id
        elif order.id == self.ask_id:
            self.ask_ticks, self.ask_busy = order.ticks, order.pending
            self.ask_id = 0 if order.done else order.id

    def on_gap(self, ctx: Context, gap: Gap) -> None:
        if gap.instrument == self.instrument:
            self.withdraw(ctx)

    def withdraw(self, ctx: Context) -> None:
        """Cancel both quotes; what has a request under way is caught at the next refresh."""
        if ctx.cancel_all(self.instrument) > 0:
            self.bid_busy = self.ask_busy = True
