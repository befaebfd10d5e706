"""The strategies of ../shared/reference/fills, written from its README for our own engine."""

from __future__ import annotations

import math

from replay import Context, Strategy
from replay.context import Timer

GRID_ORDERS = 5
GRID_LIMIT_LOTS = 1_000
TAKER_REACH_TICKS = 20


class Timed(Strategy):
    """Acts at local times `k · step_us`, from `start_us` on; records touch and position before each action."""

    step_us: int = 1_000_000
    start_us: int = 0
    lots: int = 50
    p1: int = 0
    p2: float = 0.0

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.step_us)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        if ctx.now < self.start_us:
            return
        book = ctx.book(0)
        ctx.record("bid", book.bid_ticks)
        ctx.record("ask", book.ask_ticks)
        ctx.record("bid_lots", book.bid_lots)
        ctx.record("ask_lots", book.ask_lots)
        ctx.record("position", ctx.position(0))
        self.act(ctx)

    def act(self, ctx: Context) -> None:
        raise NotImplementedError("a subclass acts")


class Bbo(Timed):
    """Cancel everything, quote both touches."""

    def act(self, ctx: Context) -> None:
        book = ctx.book(0)
        ctx.cancel_all(0)
        ctx.buy(0, self.lots, ticks=book.bid_ticks, post_only=True)
        ctx.sell(0, self.lots, ticks=book.ask_ticks, post_only=True)


class Join(Timed):
    """Keep one order a side at the touch; cancel one that is more than `p1` ticks away."""

    def act(self, ctx: Context) -> None:
        book = ctx.book(0)
        touch = {1: book.bid_ticks, -1: book.ask_ticks}
        known = ctx.orders(0)
        for order in known:
            if abs(order.ticks - touch[order.side]) > self.p1 and not order.pending:
                ctx.cancel(order.id)
        for side in (1, -1):
            if all(order.side != side for order in known):
                ctx.send(0, side, self.lots, touch[side], post_only=True)


class Grid(Timed):
    """Orders on a lattice of `p1` ticks, `p2` ticks from the middle, while the position is below `limit_lots`."""

    limit_lots: int = GRID_LIMIT_LOTS

    def act(self, ctx: Context) -> None:
        book = ctx.book(0)
        middle, step = (book.bid_ticks + book.ask_ticks) / 2, self.p1
        inner = {1: math.floor((middle - self.p2) / step) * step, -1: math.ceil((middle + self.p2) / step) * step}
        wanted = {side: [inner[side] - side * k * step for k in range(GRID_ORDERS)] for side in (1, -1)}
        position = ctx.position(0)
        known = ctx.orders(0)
        for order in known:
            if order.ticks not in wanted[order.side] and not order.pending:
                ctx.cancel(order.id)
        taken = {(order.side, order.ticks) for order in known}
        for side in (1, -1):
            for ticks in wanted[side]:
                if side * position < self.limit_lots and (side, ticks) not in taken:
                    ctx.send(0, side, self.lots, ticks, post_only=True)


class Taker(Timed):
    """Buy on even steps, sell on odd ones, more than the touch shows."""

    tif: str = "GTC"

    def act(self, ctx: Context) -> None:
        book = ctx.book(0)
        side = 1 if (ctx.now // self.step_us) % 2 == 0 else -1
        touch = book.ask_ticks if side > 0 else book.bid_ticks
        lots = self.lots + (book.ask_lots if side > 0 else book.bid_lots)
        if self.tif == "MARKET":
            ctx.send(0, side, lots)
        else:
            ctx.send(0, side, lots, touch + side * TAKER_REACH_TICKS, tif=self.tif)
