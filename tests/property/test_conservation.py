"""What no market and no order flow can break: quantities, money, requests and time add up.

Hypothesis plays market and trader; the engine runs what they did, one callback at a time.  Checked on the way: the
position is the sum of the fills, 0 <= front <= level under "partial".  At the end: money to the last digit, each
order's filled + left = size, own executions of one print within its excess, one answer for every request, and nothing
before its time.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numba
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from replay import ConstantLatency, Context, Instrument, LogProbQueue, MakerTaker, PowerProbQueue, Replay, Strategy
from replay.context import Timer
from replay.events import BOOK, CLEAR, EVENT, FUNDING, GAP, LAST, MARK, SNAPSHOT, TRADE
from replay.kernel import codes
from replay.kernel.book import book_lots
from replay.kernel.exact import whole
from replay.kernel.orders import BOOKS_EACH
from replay.models import RiskAverseQueue
from replay.session import Session
from replay.units import SCALE

INTERPRETED = bool(numba.config.DISABLE_JIT)
START_US = 1_700_000_000_000_000
INSTRUMENT = Instrument("test", "ABC", "linear", Decimal("0.1"), Decimal("0.01"), Decimal(2), "USD")
UNIT = Fraction(INSTRUMENT.lot * INSTRUMENT.multiplier)
MONEY = UNIT * Fraction(INSTRUMENT.tick)
MAKER, TAKER = Fraction("-0.00005"), Fraction("0.0004")
QUEUES = (RiskAverseQueue(), PowerProbQueue(2.0, 1), PowerProbQueue(0.5, 2), PowerProbQueue(3.0, 3), LogProbQueue(1),
          LogProbQueue(2))  # fmt: skip
LATENCIES = (ConstantLatency(0, 0), ConstantLatency(40, 7), ConstantLatency(3, 90))
DONE = ("filled", "cancelled", "expired", "rejected")

sides = st.sampled_from((1, -1))
small = st.integers(1, 12)


class Script(Strategy):
    """Sends what the plan says: `(time, kind, arguments)`, addressed to the k-th last order for changes."""

    plan: list[tuple[int, str, tuple[Any, ...]]] | None = None

    def on_start(self, ctx: Context) -> None:
        self.sent: list[int] = []
        for k, (time_us, _, _) in enumerate(self.plan or ()):
            ctx.at(time_us, tag=k)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        assert self.plan is not None
        _, kind, what = self.plan[timer.tag]
        if kind == "send":
            side, lots, ticks, terms = what
            order_id = ctx.send(0, side, lots, ticks, **terms)
            if order_id > 0:
                self.sent.append(order_id)
        elif self.sent:
            order_id = self.sent[-1 - what[0] % len(self.sent)]
            if kind == "cancel":
                ctx.cancel(order_id)
            else:
                ctx.modify(order_id, *what[1:])


class Market(RuleBasedStateMachine):
    """Builds a recording and a plan of requests; `teardown` runs and judges them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START_US
        self.rows: list[tuple[int, ...]] = []
        self.plan: list[tuple[int, str, tuple[Any, ...]]] = []
        self.book: dict[int, dict[int, int]] = {1: {100 - k: 3 for k in range(5)}, -1: {101 + k: 3 for k in range(5)}}
        self.last_ts, self.seq, self.valid = 0, 0, False

    @initialize(
        queue=st.sampled_from(QUEUES), latency=st.sampled_from(LATENCIES),
        execution=st.sampled_from(("partial", "partial", "full")),
        consume=st.booleans(), self_trade=st.sampled_from(("cancel-newest", "cancel-oldest", "allow")),
        on_gap=st.sampled_from(("reject", "hold")),
    )  # fmt: skip
    def begin(self, **models: Any) -> None:
        if models["execution"] == "full":
            models["consume"] = False
        self.models = models
        self.snapshot()

    def send(self, *bodies: tuple[int, int, int, int, int, int], lag: int = 20) -> None:
        """One message: (kind, side, price, qty, value, flags) rows."""
        ts = self.last_ts = max(self.last_ts, self.now + lag)
        self.seq += 1
        for k, (kind, side, price, qty, value, flags) in enumerate(bodies):
            flags |= LAST if k + 1 == len(bodies) else 0
            seq = START_US + 1_000 * (1 + (self.now - START_US) // 1_000) if kind == FUNDING else self.seq
            self.rows.append((ts, self.now, seq, price, qty, value, 0, 0, flags, kind, side, 0, 0))

    @rule()
    def snapshot(self) -> None:
        levels = [(side, ticks, lots) for side in (1, -1) for ticks, lots in self.book[side].items()]
        flags = [SNAPSHOT | CLEAR] + [SNAPSHOT] * (len(levels) - 1)
        self.send(*[(BOOK, *level, 0, flag) for level, flag in zip(levels, flags)])
        self.valid = True

    @rule(
        wait=st.integers(0, 120), side=sides, offset=st.integers(-3, 4), lots=st.integers(0, 6), lag=st.integers(0, 60)
    )
    def change_level(self, wait: int, side: int, offset: int, lots: int, lag: int) -> None:
        """A level near the touch changes, without crossing the book or emptying a side."""
        self.now += wait
        mine, other = self.book[side], self.book[-side]
        best, opposite = side * max(side * t for t in mine), -side * max(-side * t for t in other)
        ticks = best - side * offset
        if (opposite - ticks) * side <= 0 or (lots == 0 and len(mine) == 1):
            return
        if lots:
            mine[ticks] = lots
        else:
            mine.pop(ticks, None)
        if self.valid:
            self.send((BOOK, side, ticks, lots, 0, 0), lag=lag)

    @rule(
        wait=st.integers(0, 120),
        side=sides,
        offset=st.sampled_from((0, 0, 0, -1, 1)),
        sizes=st.lists(small, min_size=1, max_size=3),
    )
    def prints(self, wait: int, side: int, offset: int, sizes: list[int]) -> None:
        """Trades, one message; the book follows or does not."""
        self.now += wait
        best = -side * max(-side * t for t in self.book[-side])
        self.send(*[(TRADE, side, best + side * (offset + k), lots, 0, 0) for k, lots in enumerate(sizes)])

    @rule()
    def gap(self) -> None:
        self.send((GAP, 0, 0, 0, 0, 0))
        self.valid = False

    @rule(extra=st.integers(0, SCALE), rate=st.integers(-9_999, 9_999))
    def mark(self, extra: int, rate: int) -> None:
        """A mark near the book, and the funding rate of the next settlement."""
        mark = min(self.book[-1]) * SCALE // 10 + extra // 10
        self.send((MARK, 0, mark * 10 // SCALE, 0, mark, 0), (FUNDING, 0, 0, 0, rate, 0))

    @rule(
        wait=st.integers(0, 60), side=sides, lots=small, away=st.sampled_from((0, 0, 0, 1, 2, -1, -3)),
        post=st.booleans(), reduce=st.sampled_from((False,) * 5 + (True,)),
        tif=st.sampled_from(("GTC",) * 4 + ("IOC", "FOK", "GTD")),
    )  # fmt: skip
    def limit(self, wait: int, side: int, lots: int, away: int, post: bool, reduce: bool, tif: str) -> None:
        self.now += wait
        terms: dict[str, Any] = {"reduce_only": reduce, "tif": tif, "post_only": post and tif in ("GTC", "GTD")}
        if tif == "GTD":
            terms["expire_us"] = self.now + 150
        ticks = (100 if side > 0 else 101) - side * away
        self.plan.append((self.now, "send", (side, lots, ticks, terms)))

    @rule(side=sides, lots=small, ticks=st.one_of(st.none(), st.integers(97, 104)), stop=st.integers(97, 104),
          trigger=st.sampled_from(("none", "last", "mark", "touch")))  # fmt: skip
    def market_or_stop(self, side: int, lots: int, ticks: int | None, stop: int, trigger: str) -> None:
        terms = {} if trigger == "none" else {"stop_ticks": stop, "trigger": trigger}
        self.plan.append((self.now, "send", (side, lots, ticks, terms)))

    @rule(wait=st.integers(0, 60), which=st.integers(0, 5))
    def cancel(self, wait: int, which: int) -> None:
        self.now += wait
        self.plan.append((self.now, "cancel", (which,)))

    @rule(wait=st.integers(0, 60), which=st.integers(0, 5), lots=st.integers(1, 20), ticks=st.integers(97, 104))
    def modify(self, wait: int, which: int, lots: int, ticks: int) -> None:
        self.now += wait
        self.plan.append((self.now, "modify", (which, lots, ticks)))

    def teardown(self) -> None:
        if not hasattr(self, "models"):
            return
        self.now += 500
        self.send((MARK, 0, 100, 0, 10 * SCALE, 0))
        replay = Replay(
            np.array(self.rows, EVENT), instruments=[INSTRUMENT], fees=MakerTaker("-0.00005", "0.0004"), batch_rows=64,
            sample_us=10**9, **self.models,
        )  # fmt: skip
        session = replay.session(Script(plan=self.plan))
        bounded = self.models["execution"] == "partial"
        while session.step():
            check_now(session, bounded)
        check_now(session, bounded)
        check_orders(session)
        check_money(session)
        check_times(session, self.models["latency"])
        if bounded:
            check_prints(session, self.rows)


def check_now(session: Session, bounded: bool) -> None:
    """Holds after every callback: position = sum of fills; 0 <= front <= level."""
    arena = session.arena
    run, slot = arena["run"][0], arena["slots"][0]
    booked = sum(
        int((part["side"] * part["lots"]).sum())
        for part in (session._fills[0].table(), arena["fills"][: run["fills_n"]])
    )
    assert booked == slot["position"]
    resting = arena["orders"][(arena["orders"]["id"] > 0) & (arena["orders"]["venue_state"] == codes.RESTING)]
    assert len(resting) == slot["resting"]
    for order in resting:
        assert 0 < order["leaves"] <= order["lots"]
        level = book_lots(
            arena["books"], arena["cells"], int(order["instrument"]) * BOOKS_EACH, order["side"], order["ticks"]
        )
        if bounded and arena["instruments"][0]["venue_valid"]:
            assert 0.0 <= order["front"] <= level
    assert np.isfinite(resting["front"]).all()


def check_orders(session: Session) -> None:
    """filled + left = size at every answer, filled = executions so far, one answer for each request."""
    result = session.results()[0]
    invalid = not session.arena["instruments"][0]["venue_valid"]
    filled: dict[int, int] = defaultdict(int)
    open_request: dict[int, int] = {}
    final: dict[int, str] = {}
    for row in result.orders:
        order, request = int(row["order_id"]), int(row["request"])
        if not row["answer"]:
            assert order not in open_request, "a second request before the first was answered"
            assert order not in final, "a request on an order that is over"
            open_request[order] = request
            continue
        filled[order] += int(row["exec_lots"])
        assert row["filled"] == filled[order]
        assert row["filled"] + row["leaves"] == row["lots"]
        if request != codes.REQUEST_NONE:
            assert open_request.pop(order) == request
        status = codes.STATUS_NAMES[row["status"]]
        assert final.get(order, status) == status, "an order that was over came back"
        assert (status == "filled") <= (row["leaves"] == 0)
        if status in DONE:
            final[order] = status
    assert invalid or not open_request, "only a held order may still wait for its answer"
    assert sum(filled.values()) == result.fills["lots"].sum()


def check_money(session: Session) -> None:
    """Cash, fees and funding are the exact sums over fills; both sides of the account agree once all is heard."""
    result, slot = session.results()[0], session.arena["slots"][0]
    fills = [(int(f["side"]), int(f["lots"]), int(f["ticks"]), bool(f["maker"])) for f in result.fills]
    assert slot["cash"] == -sum(side * lots * ticks for side, lots, ticks, _ in fills)
    fees = sum(((MAKER if maker else TAKER) * lots * ticks * MONEY for _, lots, ticks, maker in fills), Fraction(0))
    assert whole(slot["fee_hi"], slot["fee_lo"]) * MONEY / SCALE == fees
    assert slot["fee_f"] == slot["funding_f"] == 0.0
    for name in ("position", "cash", "fee_hi", "fee_lo", "funding_hi", "funding_lo", "volume", "turnover", "fills"):
        assert slot[name] == slot["l_" + name], name
    part = result.summary_by_instrument[0]
    funding = whole(slot["funding_hi"], slot["funding_lo"]) * UNIT / SCALE**2
    mark = Fraction(int(session.arena["instruments"][0]["mark"]), SCALE)
    equity = int(slot["cash"]) * MONEY + int(slot["position"]) * UNIT * mark - fees - funding
    assert abs(Fraction(part.net) - equity) < Fraction(1, 10**9)
    assert abs(Fraction(part.pnl) - Fraction(part.fees) - Fraction(part.funding) - equity) < Fraction(1, 10**9)


def check_times(session: Session, latency: ConstantLatency) -> None:
    """Nothing is seen before it happened plus its way, and the log never steps back."""
    result = session.results()[0]
    orders, fills = result.orders, result.fills
    answers = orders[orders["answer"] == 1]
    assert (np.diff(orders["local_ts"]) >= 0).all() and (np.diff(fills["exch_ts"]) >= 0).all()
    assert (answers["local_ts"] >= answers["exch_ts"] + latency.response).all()
    asked = answers[answers["request"] != codes.REQUEST_NONE]
    assert (asked["exch_ts"] >= asked["req_ts"] + latency.entry).all()
    assert (fills["local_ts"] >= fills["exch_ts"] + latency.response).all()
    assert sorted(fills["local_ts"]) == sorted(answers["local_ts"][answers["exec_lots"] > 0])


def check_prints(session: Session, rows: list[tuple[int, ...]]) -> None:
    """At one price own executions never exceed what a print had left after the shortest queue."""
    prints: dict[tuple[int, int], int] = defaultdict(int)
    for row in rows:
        if row[9] == TRADE:
            prints[row[2], row[3]] += row[4]
    used: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for fill in session.results()[0].fills:
        if fill["cause"] == codes.CAUSE_QUEUE:
            used[int(fill["cause_seq"]), int(fill["ticks"])].append(fill)
    for key, fills in used.items():
        excess = prints[key] - min(float(fill["front"]) for fill in fills)
        assert sum(int(fill["lots"]) for fill in fills) <= excess + 1e-6


class TestConservation(Market.TestCase):  # type: ignore[misc, name-defined]
    """Whatever market and trader do, quantities, money, requests and times add up."""

    settings = settings(max_examples=60 if INTERPRETED else 200, stateful_step_count=120)
