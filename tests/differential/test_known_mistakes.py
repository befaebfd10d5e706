"""The mistakes of other simulators (simulation.md, section 10), one test each that fails if we make it.

Covered elsewhere: lost depth messages and wrong levels (tests/adapters, tests/property/test_gaps.py), misspelt handlers
(tests/unit/test_strategy.py, and here in short), a file shifted by its worst latency without a word (the clock offset
of tests/adapters/test_binance_captures.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay import (
    ConfigError,
    ConstantLatency,
    Context,
    Instrument,
    LogProbQueue,
    MakerTaker,
    Margin,
    PowerProbQueue,
    Replay,
    Strategy,
)
from replay.context import Book, Gap, Timer
from replay.errors import StrategyError
from replay.events import BOOK, CLEAR, EVENT, FUNDING, GAP, LAST, MARK, SNAPSHOT, TRADE
from replay.kernel import codes
from replay.results import Result
from replay.units import SCALE

REPO = Path(__file__).resolve().parents[2]
START = 1_700_000_000_000_000
ABC = Instrument("test", "ABC", "linear", Decimal("0.1"), Decimal("0.001"), settle="USD")
Act = Callable[[Context], Any]
Rows = list[tuple[int, ...]]


def message(at: int, *bodies: tuple[int, int, int, int, int, int, int]) -> Rows:
    """Rows (kind, side, seq, price, qty, value, flags) of one message, seen at once."""
    rows = [(START + at, START + at, seq, price, qty, value, 0, 0, flags, kind, side, 0, 0)
            for kind, side, seq, price, qty, value, flags in bodies]  # fmt: skip
    rows[-1] = (*rows[-1][:8], rows[-1][8] | LAST, *rows[-1][9:])
    return rows


def book(at: int, *levels: tuple[int, int, int], snapshot: bool = False) -> Rows:
    """Levels (side, ticks, lots)."""
    flags = [SNAPSHOT | CLEAR] + [SNAPSHOT] * len(levels) if snapshot else [0] * len(levels)
    return message(at, *[(BOOK, side, at, ticks, lots, 0, flag) for (side, ticks, lots), flag in zip(levels, flags)])


def first_book(at: int = 0) -> Rows:
    return book(at, (1, 100, 10), (1, 99, 20), (-1, 101, 5), (-1, 102, 7), snapshot=True)


def trade(at: int, side: int, ticks: int, lots: int) -> Rows:
    return message(at, (TRADE, side, at, ticks, lots, 0, 0))


def mark(at: int, value: int) -> Rows:
    return message(at, (MARK, 0, 0, 0, 0, value, 0))


def funding(at: int, rate: int, due: int) -> Rows:
    return message(at, (FUNDING, 0, START + due, 0, 0, rate, 0))


class Script(Strategy):
    """Does `(µs after the start, action)`."""

    plan: list[tuple[int, Act]] | None = None

    def on_start(self, ctx: Context) -> None:
        self.gaps: list[int] = []
        for k, (at, _) in enumerate(self.plan or ()):
            ctx.at(START + at, tag=k)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        assert self.plan is not None
        self.plan[timer.tag][1](ctx)

    def on_gap(self, ctx: Context, gap: Gap) -> None:
        self.gaps.append(ctx.now)


def play(rows: list[Rows], *plan: tuple[int, Act], instrument: Instrument = ABC, **models: Any) -> Result:
    """Run a script; a last message without levels keeps the clock running for 10 ms."""
    events = np.array([row for part in (*rows, message(10_000, (BOOK, 0, 0, 0, 0, 0, 0))) for row in part], EVENT)
    return Replay(events, instruments=[instrument], **models).run(Script(plan=list(plan)))


def executions(result: Result) -> list[tuple[int, int, int]]:
    return [(int(fill["order_id"]), int(fill["lots"]), int(fill["ticks"])) for fill in result.fills]


def last_status(result: Result, order_id: int) -> str:
    rows = result.orders[(result.orders["order_id"] == order_id) & (result.orders["answer"] == 1)]
    return codes.STATUS_NAMES[rows[-1]["status"]]


def test_a_partly_filled_order_lives_on() -> None:
    """Partially filled orders died or stopped the run."""
    rows = [first_book(), trade(50, -1, 100, 12), trade(60, -1, 100, 2), trade(70, -1, 100, 9)]
    result = play(rows, (10, lambda ctx: ctx.buy(0, 8, 100)))
    assert executions(result) == [(1, 2, 100), (1, 2, 100), (1, 4, 100)]
    assert last_status(result, 1) == "filled"


def test_every_execution_is_booked_at_once() -> None:
    """Accounts credited final fills only: 7 to 13 % of the executed quantity."""
    held: list[int] = []
    rows = [first_book(), trade(50, -1, 100, 12), trade(70, -1, 100, 1)]
    see: Act = lambda ctx: held.append(ctx.position(0))  # noqa: E731
    result = play(rows, (10, lambda ctx: ctx.buy(0, 8, 100)), (55, see), (75, see), fees=MakerTaker("0.001", "0.002"))
    assert held == [2, 3]
    part = result.summary_by_instrument[0]
    assert (part.position, part.volume, part.fills) == (3, 3, 2)
    assert part.fees == pytest.approx(3 * 100 * 0.0001 * 0.001, rel=1e-12)
    assert last_status(result, 1) == "partly-filled" and result.open_orders == 1


def test_a_size_increase_executes_the_new_remainder() -> None:
    """A size increase executed the old remainder."""
    rows = [first_book(), trade(20, -1, 100, 13), book(60, (1, 100, 0), (1, 99, 0), (1, 98, 1), (-1, 100, 50))]
    result = play(rows, (10, lambda ctx: ctx.buy(0, 5, 100)), (30, lambda ctx: ctx.modify(1, 20, 100)))
    assert executions(result) == [(1, 3, 100), (1, 17, 100)]


def test_a_size_increase_loses_its_place_and_a_decrease_keeps_it() -> None:
    """After 6 of 10 lots ahead are printed, the smaller order has 4 ahead, the larger one the whole level again."""
    rows = [first_book(), trade(20, -1, 100, 6), trade(60, -1, 100, 5)]
    orders = (10, lambda ctx: ctx.buy(0, 5, 100))
    assert executions(play(rows, orders, (30, lambda ctx: ctx.modify(1, 2, 100)))) == [(1, 1, 100)]
    assert executions(play(rows, orders, (30, lambda ctx: ctx.modify(1, 9, 100)))) == []


def test_own_orders_share_a_print() -> None:
    """Every own order got the whole print."""
    orders = [(10 + k, lambda ctx: ctx.buy(0, 2, 100)) for k in range(3)]
    assert executions(play([first_book(), trade(50, -1, 100, 13)], *orders)) == [(1, 2, 100), (2, 1, 100)]


@pytest.mark.parametrize("queue", [PowerProbQueue(2.0, 1), PowerProbQueue(3.0, 3), LogProbQueue(1), LogProbQueue(2)])
def test_a_print_of_one_lot_fills_at_most_one_lot(queue: Any) -> None:
    """Negative queue estimates filled 0.491 against a print of 0.001."""
    shrinking = [book(20 + k, (1, 100, lots)) for k, lots in enumerate((9, 30, 4, 25, 2, 40, 1))]
    prints = [trade(50 + 2 * k, -1, 100, 1) for k in range(4)]
    deletes = [book(51, (1, 100, 0)), book(53, (1, 100, 3)), book(55, (1, 100, 1))]
    rows = sorted([*shrinking, *prints, *deletes], key=lambda part: part[0][0])
    result = play([first_book(), *rows], (10, lambda ctx: ctx.buy(0, 491, 100)), queue=queue)
    assert (result.fills["front"] >= 0.0).all()
    assert result.fills["lots"].tolist() == [1] * len(result.fills) and len(result.fills) <= 4


def test_a_cleared_book_keeps_nothing() -> None:
    """Cleared books kept one side, or skipped one tick."""
    seen: list[Any] = []

    def look(ctx: Context) -> None:
        view = ctx.book(0)
        seen.append([view.depth(side)[0].tolist() for side in (1, -1)])

    rows = [first_book(), book(20, (1, 90, 1), snapshot=True), book(40, (1, 90, 1), (-1, 95, 2), snapshot=True)]
    result = play(
        rows, (10, look), (30, look), (30, lambda ctx: ctx.buy(0, 1)), (50, look), (50, lambda ctx: ctx.buy(0, 1))
    )
    assert seen == [[[100, 99], [101, 102]], [[90], []], [[90], [95]]]
    assert executions(result) == [(2, 1, 95)]


@pytest.mark.parametrize("execution", ["partial", "full"])
def test_a_market_order_on_an_empty_side_expires(execution: str) -> None:
    """It was filled at 9.2e18."""
    rows = [book(0, (1, 100, 10), snapshot=True)]
    result = play(rows, (10, lambda ctx: ctx.buy(0, 5)), (20, lambda ctx: ctx.sell(0, 5, 101)), execution=execution)
    assert (last_status(result, 1), len(result.fills)) == ("expired", 0)
    assert last_status(result, 2) == "live"


def test_levels_that_were_crossed_do_not_come_back() -> None:
    """Crossed levels came back later."""
    seen: list[Any] = []
    rows = [first_book(), book(20, (1, 102, 3), (-1, 101, 0), (-1, 102, 0), (-1, 103, 4)), book(40, (1, 102, 0))]
    look: Act = lambda ctx: seen.append((ctx.book(0).bid_ticks, ctx.book(0).ask_ticks))  # noqa: E731
    result = play(rows, (30, look), (50, look), (60, lambda ctx: ctx.buy(0, 4, 103, tif="IOC")))
    assert seen == [(102, 103), (100, 103)]
    assert executions(result) == [(1, 4, 103)]


def test_taken_liquidity_does_not_fill_twice() -> None:
    """A book that forgets what we took sells the same lots again and again."""
    orders = [(at, lambda ctx: ctx.buy(0, 4, 101, tif="IOC")) for at in (10, 20, 40)]
    result = play([first_book(), book(30, (-1, 101, 3))], *orders)
    assert executions(result) == [(1, 4, 101), (2, 1, 101), (3, 3, 101)]


RERUN = """
from decimal import Decimal
from replay import ConstantLatency, Instrument, LogProbQueue, Replay
from replay.testing import synthetic_events
from tests.differential.random_flow import EngineTrader, Flow
instrument = Instrument("sim", "A", "linear", Decimal("0.1"), Decimal("0.01"))
replay = Replay(synthetic_events(1, 3, 400), instruments=[instrument], latency=ConstantLatency(100, 100),
                queue=LogProbQueue(1), batch_rows={rows})
print(replay.run(EngineTrader(flow=Flow(3, 1), step_us=2_000)).digest)
"""


def test_reruns_are_the_same_to_the_last_bit() -> None:
    """Own orders were visited in hash order, so reruns differed."""
    digests = set()
    for hash_seed, rows in (("1", 50), ("2", 5_000)):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(REPO)}
        done = subprocess.run([sys.executable, "-c", RERUN.format(rows=rows)], env=environment, cwd=REPO,
                              capture_output=True, text=True, check=True)  # fmt: skip
        digests.add(done.stdout.strip())
    assert len(digests) == 1 and len(digests.pop()) == 64


def test_a_gap_is_told_and_stops_trading_against_a_stale_book() -> None:
    """50 lost depth messages passed without a word."""
    rows = [first_book(), message(20, (GAP, 0, 0, 0, 0, 9, 0)), book(60, (1, 50, 1), (-1, 60, 1), snapshot=True)]
    ready: list[bool] = []
    look: Act = lambda ctx: ready.append(ctx.book(0).ready)  # noqa: E731
    result = play(rows, (10, look), (30, look), (30, lambda ctx: ctx.buy(0, 1)), (70, look))
    part = result.summary_by_instrument[0]
    assert ready == [True, False, True]
    assert (part.gaps, part.blind_us, len(result.fills)) == (1, 40, 0)
    assert codes.REASONS[result.orders[-1]["reason"]] == "book-invalid"
    held = play(rows, (30, lambda ctx: ctx.buy(0, 1)), on_gap="hold")
    assert executions(held) == [(1, 1, 60)] and held.fills["exch_ts"].tolist() == [START + 60]


def test_an_exception_in_a_handler_stops_the_run_and_is_told() -> None:
    """Exceptions in callbacks were swallowed."""
    with pytest.raises(StrategyError, match="ZeroDivisionError") as caught:
        play([first_book()], (10, lambda ctx: 1 // 0))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_misspelt_handler_or_setting_is_an_error() -> None:
    """Misspelt handlers were ignored, configuration keys did nothing."""
    with pytest.raises(ConfigError, match="on_boook"):
        type("Typo", (Strategy,), {"on_boook": lambda self, ctx, book: None})
    with pytest.raises(TypeError, match="latencyy"):
        play([first_book()], latencyy=None)
    with pytest.raises(ConfigError, match="consume"):
        play([first_book()], execution="full", consume=True)
    with pytest.raises(ConfigError, match="partiall"):
        play([first_book()], execution="partiall")


def test_funding_is_settled_to_the_last_digit() -> None:
    """Funding was never settled.  The rate is the one announced for the settlement, not the next one."""
    rows = [
        first_book(),
        mark(20, 10_12345678),
        funding(30, 12_345, 100),
        funding(100, -999_999, 5_000),
        mark(101, 11 * SCALE),
    ]
    result = play(rows, (10, lambda ctx: ctx.buy(0, 5)))
    part = result.summary_by_instrument[0]
    first = 5 * Fraction(1, 1_000) * Fraction(10_12345678, SCALE) * Fraction(12_345, SCALE)
    second = 5 * Fraction(1, 1_000) * 11 * Fraction(-999_999, SCALE)
    assert part.funding == pytest.approx(float(first + second), rel=1e-15)
    assert part.net == pytest.approx(part.pnl - part.funding, rel=1e-15)


def test_liquidation_closes_the_position_and_costs_its_fee() -> None:
    """The liquidation switch had no effect."""
    fall = [mark(30, 9 * SCALE), mark(50, 5 * SCALE)]
    deep = book(0, (1, 100, 50), (1, 99, 100), (-1, 101, 500), snapshot=True)
    settings: dict[str, Any] = {"deposit": 0.5, "fees": MakerTaker(0, "0.001")}
    buy = (10, lambda ctx: ctx.buy(0, 100))
    margin = Margin("0.1", "0.05", "0.02")
    result = play([deep, mark(1, 10 * SCALE), *fall], buy, margin=margin, **settings)
    assert result.liquidations == 1
    assert executions(result) == [(1, 100, 101), (2, 50, 100), (2, 50, 99)]
    taken = Fraction(100 * 101 + 50 * 100 + 50 * 99, 10_000) * Fraction("0.001")
    forced = Fraction(50 * 100 + 50 * 99, 10_000) * Fraction("0.02")
    assert result.summary_by_instrument[0].fees == pytest.approx(float(taken + forced), rel=1e-12)
    assert result.summary_by_instrument[0].position == 0
    kept = play([deep, mark(1, 10 * SCALE), *fall], buy, **settings)
    assert (kept.liquidations, kept.summary_by_instrument[0].position) == (0, 100)


def test_reading_the_book_copies_nothing() -> None:
    """The book was copied on every read."""
    views: list[Book] = []
    bids: list[int] = []
    keep: Act = lambda ctx: (views.append(ctx.book(0)), bids.append(views[0].bid_ticks))  # noqa: E731
    play([first_book(), book(20, (1, 100, 0))], (10, keep), (30, keep))
    assert views[0] is views[1]
    assert bids == [100, 99]


def test_a_stop_can_be_moved_and_expires_in_time() -> None:
    """A waiting stop takes a new size and stop price; one that was hit on arrival still ends at its GTD time."""
    rows = [first_book(), trade(5, 1, 101, 1), trade(40, 1, 103, 1), trade(70, 1, 102, 1)]
    buy = (10, lambda ctx: ctx.buy(0, 5, stop_ticks=103))
    assert executions(play(rows, buy)) == [(1, 5, 101)]
    moved = play(rows, buy, (20, lambda ctx: ctx.modify(1, 3, 0, 104)))
    assert executions(moved) == [] and last_status(moved, 1) == "live"
    hit = play(rows, buy, (50, lambda ctx: ctx.modify(1, 2, 0, 103)))
    assert executions(hit) == [(1, 5, 101)], "it was hit before it could be moved"
    hit = play(rows, buy, (20, lambda ctx: ctx.modify(1, 2, 0, 101)))
    assert executions(hit) == [(1, 2, 101)] and hit.fills["exch_ts"].tolist() == [START + 20]
    terms: dict[str, Any] = {"stop_ticks": 101, "tif": "GTD", "expire_us": START + 60}
    result = play(rows, (10, lambda ctx: ctx.buy(0, 5, 99, **terms)))
    assert last_status(result, 1) == "expired"


def test_a_refused_request_does_not_bring_old_news_back() -> None:
    """A cancel that comes too late leaves the order filled, and the position as it was."""
    states: list[Any] = []

    def look(ctx: Context) -> None:
        order = ctx.order(1)
        states.append((order.status if order else "gone", ctx.position(0)))

    rows = [first_book(), trade(50, -1, 99, 1)]
    plan = [(10, lambda ctx: ctx.buy(0, 5, 100, tif="GTD", expire_us=START + 90)), (45, lambda ctx: ctx.cancel(1))]
    result = play(rows, *plan, (62, look), (200, look), latency=ConstantLatency(10, 10))
    assert executions(result) == [(1, 5, 100)]
    assert states == [("filled", 5), ("gone", 5)]
    late = play(
        [first_book()], (10, plan[0][1]), (85, lambda ctx: ctx.cancel(1)), (200, look), latency=ConstantLatency(10, 10)
    )
    assert last_status(late, 1) == "expired" and states[-1] == ("gone", 0)
