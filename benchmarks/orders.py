"""What orders cost: a grid maker against the engine without orders, and resting orders that nothing touches.

**Grid.**  Every 100 ms of simulated time the strategy lays twenty post-only orders on lines around the mid and cancels
those that left the grid; power-3 queue, 10 ms each way.  The time spent inside the Python handler is measured there
and taken off, and the run beside it has the same timer with an empty handler, so both drivers cost the same: what
remains is venue, queue, matching, answers.

**Resting orders.**  10, 100 and 1000 orders rest far behind the touch, each on a price of its own.  The market never
comes near them, so neither that they are there nor how many may cost anything.  Timed from the second repetition of
the tape on: sending a thousand orders from Python takes 8 ms, and the larger arena that they need is copied each time
that a book grows (five times 8 ms instead of four times 5), whatever the length of the recording.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.engine import ROUNDS, Tape, run, tape
from benchmarks.harness import Measurement
from replay.context import Context, Timer
from replay.engine import Replay
from replay.models import ConstantLatency, PowerProbQueue
from replay.results import Result
from replay.strategy import Strategy
from replay.units import US_PER_MS, US_PER_S

TITLE = "Orders: a grid maker, and orders that rest far from the touch"

RESTING = (0, 10, 100, 1000)
GROWTH_LIMIT = 1.1
"""1000 resting orders may cost this many times what 10 cost: room for a noisy machine."""


class Idle(Strategy):
    """The grid's timer, and nothing else."""

    refresh_us: int = 100 * US_PER_MS

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.refresh_us)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        pass


class GridMaker(Idle):
    """Orders on the `levels` lines each side of the touch; `own_ns` is the time its handler took."""

    levels: int = 10
    step_ticks: int = 10
    lots: int = 1
    limit_lots: int = 20
    own_ns: int = 0

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        start = time.perf_counter_ns()
        if ctx.book().ready:
            self.lay(ctx)
        self.own_ns += time.perf_counter_ns() - start

    def lay(self, ctx: Context) -> None:
        """Cancel what left the grid and fill its free lines."""
        book, position = ctx.book(), ctx.position()
        bid = book.bid_ticks // self.step_ticks
        ask = -(-book.ask_ticks // self.step_ticks)
        wanted = {(1, (bid - k) * self.step_ticks) for k in range(self.levels) if position < self.limit_lots}
        wanted |= {(-1, (ask + k) * self.step_ticks) for k in range(self.levels) if position > -self.limit_lots}
        for order in ctx.orders():
            line = (order.side, order.ticks)
            if line in wanted:
                wanted.remove(line)
            elif not order.done and not order.pending:
                ctx.cancel(order.id)
        for side, ticks in sorted(wanted):
            ctx.send(0, side, self.lots, ticks, post_only=True)


class Resting(Strategy):
    """Half of `count` orders far below the bid, half far above the ask, sent once.

    `own_ns` is the time until `settled_us`: orders, and books that grow.
    """

    count: int = 0
    distance_ticks: int = 100_000
    settled_us: int = 0
    own_ns: int = 0

    def on_start(self, ctx: Context) -> None:
        self.own_ns = -time.perf_counter_ns()
        ctx.at(ctx.now + 5 * US_PER_S)
        ctx.at(self.settled_us, tag=1)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        if timer.tag == 1:
            self.own_ns += time.perf_counter_ns()
            return
        book = ctx.book()
        assert book.ready, "the market has no book after five seconds"
        for k in range(self.count // 2):
            ctx.buy(0, 1, book.bid_ticks - self.distance_ticks - k)
            ctx.sell(0, 1, book.ask_ticks + self.distance_ticks + k)


def market(data: Tape, **settings: object) -> Replay:
    """The venue of this benchmark."""
    latency = ConstantLatency(entry=10 * US_PER_MS, response=10 * US_PER_MS)
    return data.replay(queue=PowerProbQueue(3), latency=latency, **settings)


def timed(replay: Replay, strategy: Strategy) -> tuple[float, Result]:
    """Seconds of a run, less those that a grid maker's handler took, and the result."""
    session = replay.session(strategy)
    spent = run(session)
    return spent - strategy.parameters().get("own_ns", 0) / 1e9, session.results()[0]


def check_grid(data: Tape) -> Result:
    """AssertionError unless the grid trades, its position is the sum of its fills, and batches change nothing."""
    result = timed(market(data), GridMaker())[1]
    signed = result.fills["side"].astype(np.int64) * result.fills["lots"]
    position = result.summary_by_instrument[0].position
    assert len(result.fills) > 0, "the grid never traded"
    assert result.fills["maker"].all(), "a post-only order took"
    assert int(signed.sum()) == position, f"fills add up to {signed.sum()}, the position is {position}"
    other = timed(market(data, batch_rows=5_000), GridMaker())[1]
    assert other.digest == result.digest, "other batches gave another result"
    return result


def measure_grid(data: Tape) -> list[Measurement]:
    """Nanoseconds a row without orders and with the grid."""
    result = check_grid(data)
    without, with_grid = [], []
    for _ in range(ROUNDS):
        without.append(1e9 * timed(market(data), Idle())[0] / len(data.events))
        with_grid.append(1e9 * timed(market(data), GridMaker())[0] / len(data.events))
    facts = {
        "ratio": ratio(with_grid, without),
        "answers": len(result.orders),
        "fills": len(result.fills),
        "ns/answer": float(np.median(np.subtract(with_grid, without))) * len(data.events) / len(result.orders),
    }
    return [
        Measurement("no orders", data.name, "ns/row", tuple(without)),
        Measurement("grid maker", data.name, "ns/row", tuple(with_grid), facts=facts),
    ]


def measure_resting(data: Tape) -> list[Measurement]:
    """Nanoseconds a row for each number of resting orders; AssertionError when it grows with them."""
    spent: dict[int, list[float]] = {count: [] for count in RESTING}
    rows, settled_us = len(data.events) - data.once, int(data.events["ts"][data.once])
    for _ in range(ROUNDS):
        for count in RESTING:
            seconds, result = timed(market(data), Resting(count=count, settled_us=settled_us))
            assert result.open_orders == count and len(result.fills) == 0, f"{result.open_orders} of {count} still rest"
            spent[count].append(1e9 * seconds / rows)
    out = []
    few, many = RESTING[1], RESTING[-1]
    for count in RESTING:
        facts = {"ratio to none": ratio(spent[count], spent[0]), f"to {few}": ratio(spent[count], spent[few])}
        out.append(Measurement(f"{count} resting orders", data.name, "ns/row", tuple(spent[count]), facts=facts))
    growth = ratio(spent[many], spent[few])
    assert growth < GROWTH_LIMIT, f"{many} orders far from the touch cost {growth:.2f} times what {few} cost"
    return out


def ratio(these: list[float], those: list[float]) -> float:
    """Median over the rounds of one time divided by another."""
    return float(np.median(np.divide(these, those)))


def measure(capture: Path | None) -> list[Measurement]:
    """The grid, then the resting orders, on one tape."""
    data = tape(capture)
    return measure_grid(data) + measure_resting(data)
