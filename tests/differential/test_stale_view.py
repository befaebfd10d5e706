"""No handler can read anything that happened at the venue later than its latency allows.

Metamorphic: a second run gets another future.  Everything that happens at the venue after a moment `t` is changed,
and so is what we do about it; what handlers saw, up to the moment when the first change can have reached us, must be
the same to the last digit: books, prices, marks, money, orders, times.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from replay import ConstantLatency, Context, FeedLatency, Instrument, MakerTaker, Replay, Strategy
from replay.context import Fill, Funding, Gap, Liquidation, Order, Quote, Timer, Trade
from replay.events import BOOK, LAST, LIQUIDATION, MARK, QUOTE, TRADE
from replay.testing import synthetic_events
from tests.differential.random_flow import EngineDesk, Flow
from tests.differential.scenarios import START_US

FEED_US = (2_000, 6_000)
RESPONSE_US = 3_000
INSTRUMENTS = [Instrument("sim", f"I{k}", "linear", Decimal("0.1"), Decimal("0.01")) for k in range(2)]
MODELS: dict[str, dict[str, Any]] = {
    "partial": {"latency": ConstantLatency(1_000, RESPONSE_US)},
    "full": {"latency": ConstantLatency(0, RESPONSE_US), "execution": "full"},
    "feed": {"latency": FeedLatency(1.0, 0.0, 0, RESPONSE_US), "on_gap": "hold"},
    "slow": {"latency": ConstantLatency(50_000, RESPONSE_US)},
}


class Witness(Strategy):
    """Writes down everything that a strategy can read, in every handler, and trades at random."""

    seed: int = 1
    step_us: int = 1_500

    def on_start(self, ctx: Context) -> None:
        self.flow = Flow(self.seed, len(INSTRUMENTS))
        self.seen: list[tuple[int, Any]] = []
        ctx.every(self.step_us)

    def note(self, ctx: Context, what: Any) -> None:
        views = []
        for i in range(len(INSTRUMENTS)):
            book = ctx.book(i)
            depth = [tuple(map(tuple, book.depth(side, 5))) for side in (1, -1)]
            touch = (book.bid_ticks, book.bid_lots, book.ask_ticks, book.ask_lots, book.valid, book.ready)
            views.append((touch, depth, repr(ctx.mark(i)), repr(ctx.equity(i)), ctx.position(i)))
        orders = [[getattr(order, name) for name in Order.__slots__] for order in ctx.orders()]
        self.seen.append((ctx.now, (repr(what), views, orders)))

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        self.note(ctx, timer)
        self.flow.act(EngineDesk(ctx), "timer")

    def on_book(self, ctx: Context, book: Any) -> None:
        self.note(ctx, "book")

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        self.note(ctx, (trade, trade.ts, trade.exch_ts, trade.seq))

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        self.note(ctx, (quote, quote.ts, quote.seq))

    def on_liquidation(self, ctx: Context, liquidation: Liquidation) -> None:
        self.note(ctx, liquidation)

    def on_funding(self, ctx: Context, funding: Funding) -> None:
        self.note(ctx, funding)

    def on_gap(self, ctx: Context, gap: Gap) -> None:
        self.note(ctx, gap)

    def on_order(self, ctx: Context, order: Order) -> None:
        self.note(ctx, order)

    def on_fill(self, ctx: Context, fill: Fill) -> None:
        self.note(ctx, (fill, fill.exch_ts, fill.fee))
        self.flow.act(EngineDesk(ctx), "fill")


def market(seed: int) -> np.ndarray:
    return synthetic_events(INSTRUMENTS, seed, 500, feed_latency_us=FEED_US, gap_every=9, start_us=START_US,
                            mean_step_us=700, levels=4)  # fmt: skip


def other_future(events: np.ndarray, t: int, seed: int) -> np.ndarray:
    """The same past; every message that the venue sent after `t` tells something else."""
    changed = events.copy()
    late = changed["exch_ts"] > t
    kind = changed["kind"]
    rng = np.random.default_rng(seed)
    shift = rng.integers(-40, 41)
    priced = late & np.isin(kind, (BOOK, TRADE, QUOTE, LIQUIDATION)) & (changed["side"] != 0)
    changed["price"][priced] += shift
    sized = priced & (changed["qty"] > 0)
    changed["qty"][sized] = rng.integers(1, 60, int(sized.sum()))
    changed["side"][late & (kind == TRADE)] *= -1
    changed["value"][late & (kind != BOOK)] += 12_345_678
    changed["price"][late & (kind == MARK)] += 1
    return changed


def play(events: np.ndarray, models: dict[str, Any]) -> list[tuple[int, Any]]:
    strategy = Witness()
    Replay(events, instruments=INSTRUMENTS, fees=MakerTaker("0.0001", "0.0004"), **models).run(strategy)
    return strategy.seen


@pytest.mark.parametrize("name", sorted(MODELS))
def test_no_handler_sees_the_venue_before_its_latency(name: str) -> None:
    events = market(11)
    seen = play(events, MODELS[name])
    reached = 0
    for k, part in enumerate((0.3, 0.55, 0.8)):
        t = int(np.quantile(events["exch_ts"], part))
        changed = other_future(events, t, k)
        first_feed = int(events["ts"][events["exch_ts"] > t].min())
        horizon = min(first_feed, t + 1 + RESPONSE_US)
        before = [line for line in seen if line[0] < horizon]
        other = play(changed, MODELS[name])
        assert [line for line in other if line[0] < horizon] == before, (
            f"{name}: a change after {t} was seen before {horizon}"
        )
        assert other != seen, "the change must show in the end"
        part_seen = next(k for k, (a, b) in enumerate(zip(seen, other)) if a != b)
        reached += seen[part_seen][0] < horizon + 5_000
    assert reached == 3, "the change must show soon after its latency, or this test is blind"


def test_the_log_knows_no_more_than_the_strategy() -> None:
    """What a request row says about its order (its last venue time, too) is what we had been told when we sent it."""
    for models in MODELS.values():
        result = Replay(market(12), instruments=INSTRUMENTS, **models).run(Witness(seed=2))
        told: dict[int, int] = {}
        for row in result.orders:
            order = int(row["order_id"])
            if row["answer"]:
                told[order] = int(row["exch_ts"]) or told.get(order, 0)
                assert row["exch_ts"] + RESPONSE_US <= row["local_ts"]
            else:
                assert row["exch_ts"] == told.get(order, 0)


def test_a_message_is_seen_whole() -> None:
    """`on_book` comes once for each message, after its last row."""

    class Books(Strategy):
        def on_start(self, ctx: Context) -> None:
            self.touches: list[tuple[int, int, int]] = []

        def on_book(self, ctx: Context, book: Any) -> None:
            self.touches.append((ctx.now, book.bid_ticks, book.ask_ticks))

    events, strategy = market(13), Books()
    Replay(events, instruments=INSTRUMENTS).run(strategy)
    assert len(strategy.touches) == int(((events["kind"] == BOOK) & (events["flags"] & LAST > 0)).sum())
    assert all(bid < ask for _, bid, ask in strategy.touches)
