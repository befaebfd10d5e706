"""The compiled driver: how far it goes, whom it calls, what it leaves to Python."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from replay import ConstantLatency, Context, Instrument, Replay, Strategy
from replay.context import Book, Order, Timer
from replay.kernel.jit import jit_is_on
from replay.testing import synthetic_events

if not jit_is_on():
    pytest.skip("the driver exists only compiled (NUMBA_DISABLE_JIT)", allow_module_level=True)

INSTRUMENTS = [Instrument("test", "A", "linear", Decimal("0.1"), Decimal("0.001"))]


class Acts(Strategy):
    """Sends an order now and then and counts its calls."""

    calls: int = 0
    every_n: int = 5

    def on_start(self, ctx: Context) -> None:
        ctx.every(30_000)

    def on_book(self, ctx: Context, book: Book) -> None:
        self.calls += 1
        if self.calls % self.every_n == 0 and book.ready:
            ctx.buy(0, 1, book.bid_ticks)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        self.calls += 1_000

    def on_order(self, ctx: Context, order: Order) -> None:
        self.calls += 1_000_000


class Silent(Strategy):
    """No handler."""


@pytest.fixture(scope="module")
def replay() -> Replay:
    events: np.ndarray = synthetic_events(INSTRUMENTS, seed=2, messages=800)
    return Replay(events, instruments=INSTRUMENTS, latency=ConstantLatency(900, 400), batch_rows=64)


def test_any_number_of_callbacks_at_a_time_is_the_same_run(replay: Replay) -> None:
    digests, calls = set(), set()
    for callbacks in (1, 3, 10_000):
        strategy = Acts()
        session = replay.session(strategy, mode="compiled")
        while session._go(callbacks):
            pass
        digests.add(session.results()[0].digest)
        calls.add(strategy.calls)
    assert len(digests) == 1 and len(calls) == 1 and min(calls) > 1_000_000


def test_everybody_gets_market_events_and_only_the_owner_its_own(replay: Replay) -> None:
    alone = [Acts(), Acts(every_n=9)]
    for strategy in alone:
        replay.run(strategy, mode="compiled")
    together = [Silent(), Acts(), Silent(), Acts(every_n=9)]
    replay.run(together, mode="compiled")
    assert [together[1].calls, together[3].calls] == [s.calls for s in alone]  # type: ignore[attr-defined]
    assert alone[0].calls != alone[1].calls


def test_without_handlers_it_runs_to_the_end_at_once(replay: Replay) -> None:
    session = replay.session(Silent(), mode="compiled")
    assert session.step()
    assert not session.step(), "one step to the end"
    assert session.results()[0].digest == replay.run(Silent()).digest
