"""Order-by-order feeds: every place in every queue, and every fill, against real queues in plain lists."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import numba
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from replay import (
    ConstantLatency,
    Context,
    Instrument,
    OptimisticQueue,
    PowerProbQueue,
    Replay,
    RiskAverseQueue,
    Strategy,
)
from replay.context import Timer
from replay.events import BOOK, CLEAR, EVENT, GAP, LAST, ORDER, SNAPSHOT, TRADE
from replay.kernel import codes
from replay.kernel.by_order import check_market_orders
from replay.session import Session
from tests.oracles.fifo import Fifo, Fill

INTERPRETED = bool(numba.config.DISABLE_JIT)
START_US = 1_700_000_000_000_000
STEP_US = 10
INSTRUMENT = Instrument("test", "ABC", "linear", Decimal(1), Decimal(1))
Request = tuple[Any, ...]
Places = dict[int, tuple[float, int]]


class Script(Strategy):
    """Sends what the plan says and notes where its orders stand; numbers of orders count from 1."""

    plan: list[tuple[int, Request]] | None = None

    def on_start(self, ctx: Context) -> None:
        self.ids: list[int] = []
        self.seen: list[Places] = []
        self.session: Session | None = None
        for k, (time_us, _) in enumerate(self.plan or ()):
            ctx.at(time_us, tag=k)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        assert self.plan is not None
        kind, *what = self.plan[timer.tag][1]
        if kind == "send":
            side, ticks, lots = what
            self.ids.append(ctx.send(0, side, lots, ticks, post_only=True))
        elif kind == "cancel":
            ctx.cancel(self.ids[what[0] - 1])
        elif kind == "modify":
            ctx.modify(self.ids[what[0] - 1], *what[1:])
        else:
            assert self.session is not None
            self.seen.append(places(self.session))


def places(session: Session) -> Places:
    """Number to (front, lots left) of our resting orders; checks the table of the market's orders."""
    arena = session.arena
    check_market_orders(arena["market_orders"], int(arena["run"][0]["market_orders_n"]))
    orders = arena["orders"]
    resting = orders[(orders["id"] > 0) & (orders["venue_state"] == codes.RESTING)]
    return {int(o["number"]): (float(o["front"]), int(o["leaves"])) for o in resting}


class Market:
    """Plays actions to the oracle and writes what the feed would tell of them, and what we do, with the answers."""

    def __init__(self, execution: Literal["partial", "full"], grouped: bool) -> None:
        self.fifo, self.grouped = Fifo(execution), grouped
        self.now, self.number, self.sent = START_US, 0, 0
        self.hole = False
        self.rows: list[tuple[int, ...]] = []
        self.plan: list[tuple[int, Request]] = []
        self.expected: list[Places] = []
        self.fills: list[Fill] = []
        self.sizes: dict[int, int] = {}
        for side in (1, -1):
            for k in range(3):
                self.fifo.set(self.next_number(), side, 100 - side * (1 + k), 4 + k)
        self.snapshot()

    def next_number(self) -> int:
        """Numbers that meet in the table."""
        self.number += 1
        return self.number << 40 | self.number % 3

    def message(self, *bodies: tuple[int, int, int, int, int, int]) -> None:
        """(kind, side, ticks, lots, value, flags) rows."""
        for k, (kind, side, ticks, lots, value, flags) in enumerate(bodies):
            flags |= LAST if k + 1 == len(bodies) else 0
            row = (self.now, self.now, len(self.rows), ticks, lots, value, 0, 0, flags, kind, side, 0, 0)
            self.rows.append(row)

    def snapshot(self) -> None:
        """All orders, then all levels."""
        orders = sorted(self.fifo.market().items())
        self.message(*[(ORDER, *order, number, SNAPSHOT) for number, order in orders])
        levels = sorted({order[:2] for _, order in orders})
        rows = [(BOOK, *level, self.fifo.size(*level), 0, SNAPSHOT) for level in levels]
        self.message((*rows[0][:5], SNAPSHOT | CLEAR), *rows[1:])

    def order_row(self, number: int, side: int, ticks: int) -> tuple[int, int, int, int, int, int]:
        lots = self.fifo.market().get(number, (0, 0, 0))[2]
        return (ORDER, side, ticks, lots, number, 0)

    def book_rows(self, *levels: tuple[int, int]) -> list[tuple[int, int, int, int, int, int]]:
        return [(BOOK, *level, self.fifo.size(*level), 0, 0) for level in dict.fromkeys(levels)]

    def change(self, number: int, side: int, ticks: int, lots: int) -> None:
        """An order of the market comes, shrinks, grows, moves or leaves; the market never crosses or empties itself."""
        before = self.fifo.market().get(number)
        opposite = self.fifo.best(-side)
        if opposite is not None and (opposite - ticks) * side <= 0:
            return
        if before and not lots and sum(order[0] == side for order in self.fifo.market().values()) == 1:
            return
        self.fifo.set(number, side, ticks, lots)
        if not self.hole:
            self.message(self.order_row(number, side, ticks))
            self.message(*self.book_rows((before or (side, ticks))[:2], (side, ticks)))
            self.fills += self.fifo.touched()

    def sweep(self, side: int, lots: int) -> None:
        """A taker hits the orders of `side`, the best first; their rows come in turn, or prints first."""
        later = []
        while lots:
            entry = self.fifo.head(side)
            assert entry
            if sum(order[0] == side for order in self.fifo.market().values()) == 1:
                break
            number, traded = entry.number, min(lots, entry.lots)
            ticks = self.fifo.market()[number][1]
            self.message((TRADE, -side, ticks, traded, 0, 0))
            self.fills += self.fifo.printed(number, traded)
            self.fifo.set(number, side, ticks, entry.lots - traded)
            messages = [[self.order_row(number, side, ticks)], self.book_rows((side, ticks))]
            if self.grouped:
                later += messages
            else:
                for message in messages:
                    self.message(*message)
            lots -= traded
        for message in later:
            self.message(*message)
        self.fills += self.fifo.touched()

    def request(self, kind: str, which: int, side: int, ticks: int, lots: int) -> None:
        """We send, cancel, or modify one of our resting orders."""
        if self.hole:
            return
        if kind == "send":
            self.sent += 1
            self.plan.append((self.now, (kind, side, ticks, lots)))
            self.sizes[self.sent] = lots
            self.fifo.join(self.sent, side, ticks, lots)
            return
        resting = sorted(self.fifo.own())
        if not resting:
            return
        number = resting[which % len(resting)]
        found = self.fifo.find(number, ours=True)
        assert found
        if kind == "cancel":
            self.plan.append((self.now, (kind, number)))
            self.fifo.leave(number)
            return
        (mine, price), entry = found
        filled = self.sizes[number] - entry.lots
        self.sizes[number] = filled + lots
        self.plan.append((self.now, (kind, number, filled + lots, price)))
        if lots <= entry.lots:
            entry.lots = lots
        else:
            self.fifo.leave(number)
            self.fifo.join(number, mine, price, lots)

    def play(self, action: tuple[str, int, int, int, int]) -> None:
        """One action at its own time, and a look after it."""
        kind, which, side, offset, lots = action
        self.now += STEP_US
        ticks = 100 - side * offset
        market = sorted(self.fifo.market().items())
        number, order = market[which % len(market)]
        if kind == "new":
            self.change(self.next_number(), side, ticks, lots)
        elif kind == "shrink":
            self.change(number, order[0], order[1], max(order[2] - lots, 0))
        elif kind == "grow" and not self.hole:
            self.change(number, order[0], order[1], order[2] + lots)
        elif kind == "move" and not self.hole:
            self.change(number, order[0], 100 - order[0] * offset, lots)
        elif kind == "sweep" and not self.hole:
            self.sweep(side, lots + which % 7)
        elif kind == "gap":
            if self.hole:
                self.snapshot()
                self.fills += self.fifo.touched()
            else:
                self.message((GAP, 0, 0, 0, 0, 0))
            self.hole = not self.hole
        elif kind in ("send", "cancel", "modify"):
            self.request(kind, which, side, ticks, lots)
        if not self.hole:
            self.plan.append((self.now + 5, ("look",)))
            self.expected.append({n: (float(front), left) for n, (front, left) in self.fifo.own().items()})

    def run(self, queue: Any) -> tuple[Script, Session]:
        """The engine on the recording and the plan."""
        if self.hole:
            self.play(("gap", 0, 1, 0, 1))
        self.now += 50
        self.message((BOOK, 0, 0, 0, 0, 0))
        replay = Replay(
            np.array(self.rows, EVENT), instruments=[INSTRUMENT], latency=ConstantLatency(0, 0), queue=queue,
            execution=self.fifo.execution, consume=False, self_trade="allow", sample_us=10**9, batch_rows=64,
        )  # fmt: skip
        script = Script(plan=self.plan)
        session = replay.session(script)
        while session.step():
            script.session = session
        return script, session


KINDS = ("new", "new", "shrink", "grow", "move", "sweep", "sweep", "send", "send", "send", "cancel", "modify", "gap")
actions = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 30), st.sampled_from((1, -1)), st.integers(0, 3), st.integers(1, 9)
)
OURS_BETWEEN = [
    ("send", 0, 1, 1, 2), ("new", 0, 1, 1, 5), ("send", 0, 1, 1, 3), ("new", 0, 1, 1, 4), ("shrink", 3, 1, 1, 1),
    ("gap", 0, 1, 0, 1), ("shrink", 3, 1, 1, 2), ("new", 0, 1, 1, 9), ("gap", 0, 1, 0, 1), ("sweep", 0, 1, 0, 9),
]  # fmt: skip


@settings(max_examples=25 if INTERPRETED else 150)
@given(
    played=st.lists(actions, max_size=60), execution=st.sampled_from(("partial", "full")), grouped=st.booleans(),
    queue=st.sampled_from((RiskAverseQueue(), PowerProbQueue(2.0, 1), OptimisticQueue())),
)  # fmt: skip
@example(played=OURS_BETWEEN, execution="partial", grouped=False, queue=PowerProbQueue(2.0, 1))
@example(played=OURS_BETWEEN, execution="full", grouped=True, queue=PowerProbQueue(2.0, 1))
def test_places_and_fills_are_those_of_real_queues(
    played: list[Any], execution: Literal["partial", "full"], grouped: bool, queue: Any
) -> None:
    """Whatever the market and we do, also through gaps, fronts and fills are exact and no queue model is asked."""
    market = Market(execution, grouped)
    for action in played:
        market.play(action)
    script, session = market.run(queue)
    assert script.seen == market.expected
    (result,) = session.results()
    numbers = {order_id: k + 1 for k, order_id in enumerate(script.ids)}
    made = [(numbers[int(fill["order_id"])], int(fill["lots"])) for fill in result.fills]
    assert made == market.fills
    assert bool(result.fills["maker"].all())
    table = session.arena["market_orders"]
    rest = table[table["lots"] > 0]
    told = {int(o["number"]): (int(o["side"]), int(o["ticks"]), int(o["lots"])) for o in rest}
    assert told == market.fifo.market()


@given(played=st.lists(actions, max_size=40))
def test_a_front_never_rises_and_never_exceeds_the_orders_there(played: list[Any]) -> None:
    """An order that keeps its place only moves forward."""
    market = Market("partial", grouped=True)
    for action in played:
        if action[0] != "modify":
            market.play(action)
    script, _ = market.run(RiskAverseQueue())
    for earlier, later in zip(script.seen, script.seen[1:]):
        for number, (front, left) in later.items():
            assert left > 0 and front >= 0.0
            assert front <= earlier.get(number, (float("inf"), 0))[0]
