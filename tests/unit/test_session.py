"""The shell around the machine: stepping, growing, ending."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from replay import ConfigError, Context, Instrument, Replay, Strategy
from replay.context import Timer, Trade
from replay.kernel.agenda import agenda_check
from replay.kernel.book import book_check
from replay.testing import synthetic_events

X = Instrument("test", "X", "linear", Decimal("0.1"), Decimal("0.001"))


class Counts(Strategy):
    trades: int = 0

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        self.trades += 1


class Floods(Strategy):
    """Rests a few hundred orders at each turn, far from the touch, and cancels half of them later."""

    turn: int = 0

    def on_start(self, ctx: Context) -> None:
        ctx.every(200_000)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        self.turn += 1
        book = ctx.book(0)
        if not book.ready:
            return
        if self.turn == 6:
            for order in ctx.orders(0)[::2]:
                ctx.cancel(order.id)
        elif self.turn < 6:
            for k in range(300):
                ctx.buy(0, 1, ticks=book.bid_ticks - 200 - k % 150, post_only=True)
                ctx.sell(0, 1, ticks=book.ask_ticks + 200 + k % 150, post_only=True)
        else:
            ctx.send(0, 1 if self.turn % 2 else -1, 5)


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    return synthetic_events([X], seed=21, messages=1_500)


def test_stepping_by_hand_is_the_same_run(events: np.ndarray) -> None:
    replay = Replay(events, instruments=[X])
    strategy = Counts()
    session = replay.session(strategy)
    with pytest.raises(ConfigError, match="the run is not over"):
        session.results()
    steps = 0
    while session.step():
        steps += 1
        assert strategy.trades == steps - 1  # the first step is the start
    assert strategy.trades > 50
    assert not session.step()
    assert session.results()[0].digest == replay.run(Counts()).digest


def test_thousands_of_orders_make_the_arena_grow_and_change_nothing_else(events: np.ndarray) -> None:
    replay = Replay(events, instruments=[X], batch_rows=64)
    session = replay.session(Floods())
    before = len(session.arena["orders"])
    session.run()
    result = session.results()[0]
    arena = session.arena
    assert len(arena["orders"]) > before
    assert agenda_check(arena["run"], arena["heap"], arena["items"]) == 0
    assert all(book_check(arena["books"], arena["cells"], b) == 0 for b in range(4))
    part = result.summary_by_instrument[0]
    assert part.submitted > 2_400
    answers = result.orders[result.orders["answer"] == 1]
    over = np.unique(answers["order_id"][answers["status"] >= 3])
    assert int((answers["status"] == 4).sum()) > 1_000
    assert result.open_orders == part.submitted - len(over) > 1_000
    assert result.digest == Replay(events, instruments=[X]).run(Floods()).digest


def test_a_small_window_grows_for_a_late_message(events: np.ndarray) -> None:
    late = events.copy()
    late["exch_ts"] = np.maximum(late["exch_ts"] - 400_000, 0)
    wide = Replay(late, instruments=[X], batch_rows=8)
    assert wide.sources[0].horizon_us > 400_000
    assert wide.run(Counts()).digest == Replay(late, instruments=[X]).run(Counts()).digest


def test_a_run_needs_a_strategy_instance(events: np.ndarray) -> None:
    replay = Replay(events, instruments=[X])
    with pytest.raises(ConfigError, match="register at least one"):
        replay.session([])
    with pytest.raises(ConfigError, match="is not a Strategy instance"):
        replay.run(Counts)  # type: ignore[arg-type]


def test_an_instance_cannot_take_part_twice(events: np.ndarray) -> None:
    replay, one = Replay(events, instruments=[X]), Counts()
    with pytest.raises(ConfigError, match="twice"):
        replay.run([one, Counts(), one])
    assert replay.run(one).digest, "the refused run has not used it up"


def test_progress_counts_every_row(events: np.ndarray) -> None:
    calls: list[tuple[int, int, int]] = []
    Replay(events, instruments=[X], batch_rows=256, progress=lambda *facts: calls.append(facts)).run(Counts())
    assert calls[-1][0] == len(events)
    assert [c[0] for c in calls] == sorted(c[0] for c in calls)
