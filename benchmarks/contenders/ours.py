"""Our engine, and the strategies that all contenders run."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.contenders import Make, Settings
from benchmarks.tape import Tape
from replay.context import Book, Context, Order, Timer, Trade
from replay.engine import Replay
from replay.models import ConstantLatency, MakerTaker, PowerProbQueue, Queue, RiskAverseQueue
from replay.results import Result
from replay.sources import ArraySource
from replay.strategy import Strategy
from replay.units import US_PER_DAY, US_PER_MS

MODE = "compiled"
"""How strategies run unless a setting says so."""

NEVER_US = 1_000 * US_PER_DAY
"""A step of the equity curve that no tape reaches."""

GRID_SLOTS = 64


class Silent(Strategy):
    """No handler at all."""


class Watcher(Strategy):
    """Reads the touch at every message."""

    calls: int = 0
    total_ticks: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        self.calls += 1
        self.total_ticks += book.bid_ticks + book.ask_ticks

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        book = ctx.book(0)
        self.calls += 1
        self.total_ticks += book.bid_ticks + book.ask_ticks


class GridMaker(Strategy):
    """Every `step_us` keeps `levels` post-only orders a side on a lattice of `spacing_ticks`.

    The innermost lies at least `half_spread_ticks` from the middle.  What left the lattice is cancelled; what is
    missing is sent while the position is below `limit_lots`.  `known_*` are our orders that are not over: id, side,
    price, and whether a request is under way.
    """

    step_us: int = 100 * US_PER_MS
    start_us: int = 0
    levels: int = 5
    spacing_ticks: int = 10
    half_spread_ticks: int = 10
    lots: int = 1
    limit_lots: int = 20
    known: int = 0
    known_id: np.ndarray = np.zeros(GRID_SLOTS, np.int64)
    known_side: np.ndarray = np.zeros(GRID_SLOTS, np.int64)
    known_ticks: np.ndarray = np.zeros(GRID_SLOTS, np.int64)
    known_pending: np.ndarray = np.zeros(GRID_SLOTS, np.int64)

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.step_us)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        if ctx.now < self.start_us:
            return
        book = ctx.book(0)
        doubled = book.bid_ticks + book.ask_ticks
        step = self.spacing_ticks
        bid = (doubled - 2 * self.half_spread_ticks) // (2 * step) * step
        ask = -(-(doubled + 2 * self.half_spread_ticks) // (2 * step)) * step
        for i in range(self.known):
            side = self.known_side[i]
            behind = side * ((bid if side > 0 else ask) - self.known_ticks[i])
            if (behind < 0 or behind >= self.levels * step) and self.known_pending[i] == 0:
                ctx.cancel(self.known_id[i])
                self.known_pending[i] = 1
        position = ctx.position(0)
        if position < self.limit_lots:
            self.lay(ctx, 1, bid)
        if position > -self.limit_lots:
            self.lay(ctx, -1, ask)

    def lay(self, ctx: Context, side: int, inner_ticks: int) -> None:
        """Send what is missing on one side."""
        for k in range(self.levels):
            ticks = inner_ticks - side * k * self.spacing_ticks
            if self.knows(side, ticks):
                continue
            if side > 0:
                order_id = ctx.buy(0, self.lots, ticks, post_only=True)
            else:
                order_id = ctx.sell(0, self.lots, ticks, post_only=True)
            if order_id > 0:
                i = self.known
                self.known_id[i] = order_id
                self.known_side[i] = side
                self.known_ticks[i] = ticks
                self.known_pending[i] = 1
                self.known = i + 1

    def knows(self, side: int, ticks: int) -> bool:
        """Whether an order of ours that is not over stands there."""
        for i in range(self.known):  # noqa: SIM110 (a generator cannot be compiled)
            if self.known_side[i] == side and self.known_ticks[i] == ticks:
                return True
        return False

    def on_order(self, ctx: Context, order: Order) -> None:
        for i in range(self.known):
            if self.known_id[i] == order.id:
                self.known_pending[i] = 1 if order.pending else 0
                if order.done:
                    self.forget(i)
                return

    def forget(self, i: int) -> None:
        """Put the last known order in the place of order `i`."""
        last = self.known - 1
        self.known_id[i] = self.known_id[last]
        self.known_side[i] = self.known_side[last]
        self.known_ticks[i] = self.known_ticks[last]
        self.known_pending[i] = self.known_pending[last]
        self.known = last


def load(tape: Tape, settings: Settings) -> list[ArraySource]:
    """The tape as a source, or one for each instrument (`split`); checked here, once."""
    if not settings.get("split"):
        return [ArraySource(tape.events, tape.instruments)]
    sources = []
    for i, instrument in enumerate(tape.instruments):
        own = tape.events[tape.events["instrument"] == i]
        own["instrument"] = 0
        sources.append(ArraySource(own, [instrument]))
    return sources


class Played:
    """Strategies over a tape; `result` is the first one's."""

    def __init__(self, data: list[ArraySource], settings: Settings, strategies: list[Strategy]) -> None:
        self.strategies, self.mode = strategies, settings.get("mode", MODE)
        self.replay = replay_of(data, settings)
        self.results: list[Result] = []

    def go(self) -> None:
        """Run; what a user calls, results included."""
        self.results = self.replay.run(self.strategies, mode=self.mode)

    def answer(self) -> dict[str, Any]:
        """Rows read, and how many strategies ran."""
        return {"rows": self.results[0].rows, "strategies": len(self.results)}


def replay_of(sources: list[ArraySource], settings: Settings) -> Replay:
    """The venue that all contenders model: 10 ms each way, orders filled in full, no equity curve."""
    queue: Queue = PowerProbQueue(3, 3) if settings.get("queue") == "power3" else RiskAverseQueue()
    return Replay(
        sources,
        latency=ConstantLatency(entry=10 * US_PER_MS, response=10 * US_PER_MS),
        queue=queue,
        fees=MakerTaker(0.0002, 0.0005),
        execution="full",
        sample_us=NEVER_US,
    )


class Noop(Played):
    """No handler; answers with the touch of every local book."""

    def __init__(self, data: list[ArraySource], settings: Settings) -> None:
        super().__init__(data, settings, [Silent()])
        self.session = self.replay.session(self.strategies)

    def go(self) -> None:
        self.session.run()

    def answer(self) -> dict[str, Any]:
        books = self.session.books
        return {"touch": [[b.bid_ticks, b.bid_lots, b.ask_ticks, b.ask_lots] for b in books]}


class Watched(Played):
    """A strategy that is woken at every message."""

    def __init__(self, data: list[ArraySource], settings: Settings) -> None:
        super().__init__(data, settings, [Watcher()])

    def answer(self) -> dict[str, Any]:
        found = self.strategies[0].parameters()
        return {"calls": found["calls"], "total_ticks": found["total_ticks"]}


def grid(settings: Settings, **others: int) -> GridMaker:
    """The grid maker of `settings`."""
    return GridMaker(start_us=settings["start_us"], **{**settings["grid"], **others})


class Grid(Played):
    """The grid maker; answers with its fills (venue time µs, side, ticks, lots) that it had heard of by `until_us`."""

    def __init__(self, data: list[ArraySource], settings: Settings) -> None:
        super().__init__(data, settings, [grid(settings)])
        self.until_us = settings["until_us"]

    def answer(self) -> dict[str, Any]:
        fills = self.results[0].fills
        heard = fills[fills["exch_ts"] + 10 * US_PER_MS <= self.until_us]
        return {"fills": sorted([int(f[name]) for name in ("exch_ts", "side", "ticks", "lots")] for f in heard)}


class Sweep(Played):
    """`variants` grid makers side by side; answers with the digest of each result."""

    def __init__(self, data: list[ArraySource], settings: Settings) -> None:
        spreads = range(1, settings["variants"] + 1)
        super().__init__(data, settings, [grid(settings, half_spread_ticks=spread) for spread in spreads])

    def answer(self) -> dict[str, Any]:
        return {"digests": [result.digest for result in self.results]}


RUNS: dict[str, Make] = {"noop": Noop, "watch": Watched, "grid": Grid, "sweep": Sweep}
