"""Market maker: quote both sides around the mid, lean against the inventory.

The maker earns the spread from those who cannot wait and loses to those who know more.  Its inventory is the risk it
holds in between, so both quotes are shifted against it: long means lower quotes, hence a likelier sale.  The shift is
the linear form of the reservation price of Avellaneda and Stoikov (2008): one number for risk aversion and variance.

Parameters: `instrument` index; `lots` of one quote; `limit_lots` the largest position either way; `half_spread_ticks`
from the centre to a quote; `skew_ticks` by which the centre has moved at a full limit; `refresh_us` between looks at
the market.  The rest is state: place 0 is the bid, place 1 the ask.

Quotes are post-only, one a side, sized so that the position stays within the limit.  A quote whose price is no longer
the wanted one is moved; both are withdrawn while the book is not known.
Ignored: volatility, order flow, fees, the place in the queue (a move gives it up), other instruments.
"""

from __future__ import annotations

import math

import numpy as np

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

    ids: np.ndarray = np.zeros(2, np.int64)
    sizes: np.ndarray = np.zeros(2, np.int64)
    prices: np.ndarray = np.zeros(2, np.int64)
    busy: np.ndarray = np.zeros(2, np.bool_)

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.refresh_us)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        book = ctx.book(self.instrument)
        if not book.ready:
            ctx.cancel_all(self.instrument)
            self.busy[:] = True
            return
        position = ctx.position(self.instrument)
        centre = book.mid_ticks - self.skew_ticks * position / self.limit_lots
        bid = min(math.floor(centre - self.half_spread_ticks), book.ask_ticks - 1)
        ask = max(math.ceil(centre + self.half_spread_ticks), book.bid_ticks + 1)
        self.quote(ctx, 0, bid, min(self.lots, self.limit_lots - position))
        self.quote(ctx, 1, ask, min(self.lots, self.limit_lots + position))

    def quote(self, ctx: Context, place: int, ticks: int, lots: int) -> None:
        """Send the quote of one side, or move it."""
        if self.ids[place] != 0:
            if not self.busy[place] and self.prices[place] != ticks:
                self.busy[place] = ctx.modify(self.ids[place], self.sizes[place], ticks) == 0
            return
        if lots > 0 and place == 0:
            self.ids[place] = max(0, ctx.buy(self.instrument, lots, ticks, post_only=True, tag=place))
        elif lots > 0:
            self.ids[place] = max(0, ctx.sell(self.instrument, lots, ticks, post_only=True, tag=place))
        self.sizes[place], self.busy[place] = lots, True

    def on_order(self, ctx: Context, order: Order) -> None:
        self.prices[order.tag], self.busy[order.tag] = order.ticks, order.pending
        self.ids[order.tag] = 0 if order.done else order.id

    def on_gap(self, ctx: Context, gap: Gap) -> None:
        if gap.instrument == self.instrument:
            ctx.cancel_all(self.instrument)
            self.busy[:] = True
