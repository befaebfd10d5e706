"""FakeContext: the same questions and requests as the real context, nothing by itself."""

from __future__ import annotations

import inspect

import pytest

from replay import ConfigError, Context, Strategy
from replay.context import Timer
from replay.testing import FakeContext


class Quoter(Strategy):
    half_spread: int = 2

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        book = ctx.book(0)
        ctx.cancel_all(0)
        ctx.buy(0, 3, ticks=book.bid_ticks - self.half_spread, post_only=True)
        ctx.sell(0, 3, ticks=book.ask_ticks + self.half_spread, post_only=True)


def public(cls: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") and name != "bind"
    }


def test_has_every_method_of_the_real_context() -> None:
    fake, real = public(FakeContext), public(Context)
    assert set(real) <= set(fake)
    for name in set(real) - {"send"}:
        assert list(real[name].parameters) == list(fake[name].parameters), name


def test_keeps_requests_in_order() -> None:
    ctx = FakeContext(now=5)
    ctx.set_book(0, bid_ticks=100, ask_ticks=103)
    strategy = Quoter(half_spread=1)
    strategy.on_timer(ctx, Timer(0, 5))  # type: ignore[arg-type]
    strategy.on_timer(ctx, Timer(0, 6))  # type: ignore[arg-type]
    assert [(r.kind, r.side, r.ticks) for r in ctx.sent] == [
        ("new", 1, 99), ("new", -1, 104), ("cancel", 1, 99), ("cancel", -1, 104), ("new", 1, 99), ("new", -1, 104),
    ]  # fmt: skip
    assert [order.id for order in ctx.orders(0)] == [3, 4]
    assert ctx.sent[0].terms == {"post_only": True}


def test_modify_and_refusals() -> None:
    ctx = FakeContext()
    order = ctx.buy(0, 5, ticks=10)
    assert ctx.modify(order, 2, 11) == 0
    assert (ctx.orders()[0].leaves, ctx.orders()[0].ticks) == (2, 11)
    assert ctx.reason(ctx.cancel(99)) == "unknown-order"
    assert ctx.reason(ctx.buy(0, 0)) == "off-lot"
    with pytest.raises(ConfigError, match="did you mean 'fake:X0'"):
        ctx.index("fake:X1")


def test_book_before_it_is_set_is_not_ready() -> None:
    ctx = FakeContext(2)
    assert not ctx.book(1).ready
    assert ctx.mark(1) != ctx.mark(1)
    ctx.set_book(1, bid_ticks=8, ask_ticks=10, bids=[(8, 1), (7, 4)])
    assert ctx.book(1).ready and ctx.mark(1) == 9.0
    assert ctx.book(1).depth(1)[0].tolist() == [8, 7]
    assert ctx.trade(9, 2, 1).price == 9.0
