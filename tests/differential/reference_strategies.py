"""The strategies of ../shared/reference/fills, written from its README for our own engine."""

from __future__ import annotations

import math

from replay import Context, Strategy
from replay.context import Timer

DAY = 86_400_000_000


class Timed(Strategy):
    """Acts at local times `k · step_us`, from `start_us` on; notes touch and account before each action."""

    step_us: int = 1_000_000
    start_us: int = 0
    lots: int = 50
    p1: int = 0
    p2: int = 0

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.step_us)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        if ctx.now < self.start_us:
            return
        book = ctx.book(0)
        touch = (book.bid_ticks, book.ask_ticks, book.bid_lots, book.ask_lots)
        account = ctx._session.money(0, "l_", 0.0) if not ctx.position(0) else ctx._session.money(0, "l_", ctx.mark(0))
        slot = ctx._session.arena["slots"][0]
        cash = int(slot["l_cash"])
        for name, value in zip(("bid", "ask", "bid_lots", "ask_lots"), touch):
            ctx.record(name, value)
        ctx.record("position", ctx.position(0))
        ctx.record("cash", cash)
        ctx.record("fees", account["fees"])
        ctx.record("fills", int(slot["l_fills"]))
        self.act(ctx)

    def act(self, ctx: Context) -> None:
        raise AssertionError("a subclass acts")


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
        mine = {order.side: order for order in ctx.orders(0)}
        for order in ctx.orders(0):
            touch = book.bid_ticks if order.side > 0 else book.ask_ticks
            if abs(order.ticks - touch) > self.p1 and not order.pending:
                ctx.cancel(order.id)
        if 1 not in mine:
            ctx.buy(0, self.lots, ticks=book.bid_ticks, post_only=True)
        if -1 not in mine:
            ctx.sell(0, self.lots, ticks=book.ask_ticks, post_only=True)


class Grid(Timed):
    """Five orders a side on a lattice of `p1` ticks, `p2` ticks from the middle."""

    limit_lots: int = 1_000

    def act(self, ctx: Context) -> None:
        book = ctx.book(0)
        middle = (book.bid_ticks + book.ask_ticks) / 2
        first_bid = math.floor((middle - self.p2) / self.p1) * self.p1
        first_ask = math.ceil((middle + self.p2) / self.p1) * self.p1
        bids = [first_bid - k * self.p1 for k in range(5)]
        asks = [first_ask + k * self.p1 for k in range(5)]
        position = ctx.position(0)
        known = set()
        for order in ctx.orders(0):
            known.add((order.side, order.ticks))
            wanted = bids if order.side > 0 else asks
            if order.ticks not in wanted and not order.pending:
                ctx.cancel(order.id)
        if position < self.limit_lots:
            for ticks in bids:
                if (1, ticks) not in known:
                    ctx.buy(0, self.lots, ticks=ticks, post_only=True)
        if position > -self.limit_lots:
            for ticks in asks:
                if (-1, ticks) not in known:
                    ctx.sell(0, self.lots, ticks=ticks, post_only=True)


class Taker(Timed):
    """Buy on even steps, sell on odd ones, more than the touch shows."""

    tif: str = "GTC"

    def act(self, ctx: Context) -> None:
        book = ctx.book(0)
        side = 1 if (ctx.now // self.step_us) % 2 == 0 else -1
        touch = book.ask_ticks if side > 0 else book.bid_ticks
        lots = self.lots + (book.ask_lots if side > 0 else book.bid_lots)
        if self.tif == "MARKET":
            ctx.send(0, side, lots, None)
        else:
            ctx.send(0, side, lots, touch + side * 20, tif=self.tif)
