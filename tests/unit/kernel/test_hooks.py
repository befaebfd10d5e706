"""A user's own models reach the engine and decide."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from numba import config

from replay import (
    BpsSlippage,
    ConfigError,
    Context,
    Instrument,
    MakerTaker,
    Replay,
    RiskAverseQueue,
    Strategy,
    UserFees,
    UserQueue,
    UserSlippage,
)
from replay.context import Timer
from replay.testing import synthetic_events

X = Instrument("test", "X", "linear", Decimal("0.1"), Decimal("0.001"))


class Both(Strategy):
    """Rests on both touches and takes now and then."""

    turn: int = 0

    def on_start(self, ctx: Context) -> None:
        ctx.every(20_000)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        book = ctx.book(0)
        ctx.cancel_all(0)
        self.turn += 1
        if not book.ready:
            return
        if self.turn % 5 == 0:
            ctx.send(0, 1 if self.turn % 2 else -1, 3)
        ctx.buy(0, 3, ticks=book.bid_ticks, post_only=True)
        ctx.sell(0, 3, ticks=book.ask_ticks, post_only=True)


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    return synthetic_events([X], seed=5, messages=600)


def risk_averse(front: float, printed: float, before: float, after: float, lot: float, parameter: float) -> float:
    return min(front, after)


def always_first(front: float, printed: float, before: float, after: float, lot: float, parameter: float) -> float:
    return -1.0


def undefined(front: float, printed: float, before: float, after: float, lot: float, parameter: float) -> float:
    return math.nan


def ten_bps(ticks: float, lots: float, side: float, spread: float, lot: float, parameter: float) -> float:
    return ticks * parameter * 1e-4


def improving(ticks: float, lots: float, side: float, spread: float, lot: float, parameter: float) -> float:
    return -5.0


def taker_only(maker: float, price: float, size: float, lots: float, a: float, b: float) -> float:
    return 0.0 if maker > 0.5 else price * size * 0.0005


def test_user_queue_that_is_risk_averse_gives_the_risk_averse_run(events: np.ndarray) -> None:
    ours = Replay(events, instruments=[X], queue=RiskAverseQueue()).run(Both())
    theirs = Replay(events, instruments=[X], queue=UserQueue(risk_averse)).run(Both())
    assert len(ours.fills) > 10
    assert ours.digest == theirs.digest


def test_user_queue_changes_fills_and_stays_in_bounds(events: np.ndarray) -> None:
    plain = Replay(events, instruments=[X]).run(Both())
    first = Replay(events, instruments=[X], queue=UserQueue(always_first)).run(Both())
    assert len(first.fills) > len(plain.fills)
    assert (first.fills["front"] >= 0).all()
    assert Replay(events, instruments=[X], queue=UserQueue(undefined)).run(Both()).fills["front"].min() >= 0


def test_user_slippage_equals_the_built_in_one_and_never_improves(events: np.ndarray) -> None:
    ours = Replay(events, instruments=[X], slippage=BpsSlippage(10)).run(Both())
    theirs = Replay(events, instruments=[X], slippage=UserSlippage(ten_bps, 10)).run(Both())
    assert (ours.fills["slippage_ticks"] > 0).any()
    assert ours.digest == theirs.digest
    none = Replay(events, instruments=[X]).run(Both())
    assert Replay(events, instruments=[X], slippage=UserSlippage(improving)).run(Both()).digest == none.digest


def test_user_fees(events: np.ndarray) -> None:
    ours = Replay(events, instruments=[X], fees=MakerTaker(0, 0.0005)).run(Both())
    theirs = Replay(events, instruments=[X], fees=UserFees(taker_only)).run(Both())
    assert theirs.summary_by_instrument[0].fees == pytest.approx(ours.summary_by_instrument[0].fees, rel=1e-12)
    assert theirs.summary_by_instrument[0].fees > 0


def test_what_cannot_be_a_hook_is_refused() -> None:
    with pytest.raises(ConfigError, match="function of 6 numbers"):
        UserQueue(lambda front: front)
    with pytest.raises(ConfigError, match="function of 6 numbers"):
        UserFees(3)  # type: ignore[arg-type]


@pytest.mark.skipif(config.DISABLE_JIT, reason="without JIT nothing is compiled")
def test_a_hook_that_numba_cannot_compile_says_why() -> None:
    def reads_a_file(a: float, b: float, c: float, d: float, e: float, f: float) -> float:
        return float(open("x").read())  # noqa: PTH123

    with pytest.raises(ConfigError, match="cannot be compiled"):
        UserQueue(reads_a_file)
