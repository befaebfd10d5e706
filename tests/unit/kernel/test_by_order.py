"""The table of the market's orders against a dict, and short sequences of a level-3 feed worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import ConstantLatency, Context, Instrument, PowerProbQueue, Replay, Strategy
from replay.context import Timer
from replay.events import BOOK, CLEAR, EVENT, LAST, ORDER, SNAPSHOT, TRADE
from replay.kernel import by_order, codes
from replay.kernel.by_order import check_market_orders, rehash
from replay.kernel.jit import kernel
from replay.kernel.state import MARKET_ORDER
from replay.session import Session

TWO = [Instrument("test", name, "linear", Decimal(1), Decimal(1)) for name in "XY"]
START_US = 1_700_000_000_000_000
Row = tuple[int, ...]


@kernel
def put(table, number, instrument, lots):
    """Set or (0) remove an order; the change in the count of orders."""
    at = by_order.place_of(table, number, instrument)
    before = table[at]["lots"]
    if lots == 0:
        if before != 0:
            by_order.remove(table, at)
            return -1
        return 0
    table[at]["number"] = number
    table[at]["instrument"] = instrument
    table[at]["lots"] = lots
    return 0 if before != 0 else 1


numbers = st.one_of(st.integers(0, 20), st.integers(0, 2**63 - 1), st.integers(0, 9).map(lambda k: k << 40))


@given(st.lists(st.tuples(numbers, st.integers(0, 1), st.integers(0, 5)), max_size=120))
def test_the_table_is_a_dict(changes: list[tuple[int, int, int]]) -> None:
    """Whatever comes and goes, also through larger tables, every order is found and nothing else."""
    table, count = np.zeros(2, MARKET_ORDER), 0
    expected: dict[tuple[int, int], int] = {}
    for number, instrument, lots in changes:
        if 2 * (count + 1) > len(table):
            table, old = np.zeros(4 * len(table), MARKET_ORDER), table
            rehash(old, table)
        count += int(put(table, number, instrument, lots))
        expected[number, instrument] = lots
        check_market_orders(table, count)
    used = table[table["lots"] > 0]
    told = dict(zip(zip(used["number"].tolist(), used["instrument"].tolist()), used["lots"].tolist()))
    assert told == {key: lots for key, lots in expected.items() if lots}


def test_a_broken_table_is_found() -> None:
    table = np.zeros(4, MARKET_ORDER)
    put(table, 1, 0, 5)
    check_market_orders(table, 1)
    with pytest.raises(AssertionError, match="counted 2"):
        check_market_orders(table, 2)
    table[3] = table[1]
    with pytest.raises(AssertionError, match="twice"):
        check_market_orders(table, 2)
    table["number"][3] = 2
    with pytest.raises(AssertionError, match="hides"):
        check_market_orders(table, 2)


class OneBid(Strategy):
    """A bid of 4 at 99 of instrument 0, from the first timer on; notes its front at the others."""

    looks: int = 0

    def on_start(self, ctx: Context) -> None:
        self.fronts: list[float | None] = []
        self.session: Session | None = None
        for k in range(self.looks + 1):
            ctx.at(START_US + 10 * k + 5, tag=k)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        if timer.tag == 0:
            ctx.buy(0, 4, 99)
            return
        assert self.session is not None
        orders = self.session.arena["orders"]
        (at,) = np.flatnonzero(orders["number"] == 1)
        resting = orders["venue_state"][at] == codes.RESTING
        self.fronts.append(float(orders["front"][at]) if resting else None)


def fronts(*messages: list[Row], begin: tuple[list[Row], ...]) -> tuple[list[float | None], list[int]]:
    """Fronts after each later message, and lots filled; a row is (kind, side, ticks, lots, number, instrument)."""
    rows = []
    for k, message in enumerate((*begin, *messages)):
        now = START_US + 10 * max(0, k - len(begin) + 1)
        for n, (kind, side, ticks, lots, number, instrument) in enumerate(message):
            flags = LAST if n + 1 == len(message) else 0
            if k < len(begin):
                flags |= SNAPSHOT | (CLEAR if n == 0 and kind == BOOK else 0)
            rows.append((now, now, k, ticks, lots, number, instrument, 0, flags, kind, side, 0, 0))
    end = START_US + 10 * len(messages) + 10
    rows.append((end, end, 0, 0, 0, 0, 0, 0, LAST, BOOK, 0, 0, 0))
    strategy = OneBid(looks=len(messages))
    replay = Replay(
        np.array(rows, EVENT), instruments=TWO, latency=ConstantLatency(0, 0), queue=PowerProbQueue(2.0, 1),
        sample_us=10**9,
    )  # fmt: skip
    session = replay.session(strategy)
    while session.step():
        strategy.session = session
    return strategy.fronts, session.results()[0].fills["lots"].tolist()


ORDERS = [(ORDER, 1, 99, 3, 1, 0), (ORDER, 1, 99, 5, 2, 0), (ORDER, -1, 101, 9, 3, 0)]
LEVELS = [(BOOK, 1, 99, 8, 0, 0), (BOOK, -1, 101, 9, 0, 0)]
OTHER = [(ORDER, 1, 99, 7, 1, 1)]


def order(number: int, lots: int, ticks: int = 99, instrument: int = 0) -> list[Row]:
    return [(ORDER, 1, ticks, lots, number, instrument)]


def level(lots: int) -> list[Row]:
    return [(BOOK, 1, 99, lots, 0, 0)]


def sold(lots: int) -> list[Row]:
    return [(TRADE, -1, 99, lots, 0, 0)]


@pytest.mark.parametrize(
    ("messages", "expected", "filled"),
    [
        ([order(2, 1), level(4)], [4, 4], []),  # shrinks ahead
        ([order(1, 0), level(5)], [5, 5], []),  # leaves ahead
        ([order(9, 6), level(14), order(9, 0), level(8)], [8, 8, 8, 8], []),  # comes and goes behind
        ([order(1, 4), level(9), order(1, 0), level(5)], [5, 5, 5, 5], []),  # grows: is behind from then on
        ([order(1, 3, 98), order(1, 3, 99)], [5, 5], []),  # goes to another price and comes back behind
        ([sold(2), order(1, 1), level(6)], [6, 6, 6], []),  # a print, then the order that it hit
        ([sold(3), sold(1), order(1, 0), order(2, 4), level(4)], [5, 4, 4, 4, 4], []),  # prints first
        ([sold(1), order(2, 1), order(1, 2), level(3)], [7, 4, 3, 3], []),  # a cancel in between
        ([order(9, 6), order(1, 0), order(2, 0), sold(3)], [8, 5, 0, 0], [3]),  # what is behind us is hit: we are
        ([sold(10), order(1, 0), order(2, 0), level(0)], [0, 0, 0, 0], [2]),  # one print through all ahead
        ([order(1, 0, 99, 1), order(2, 5)], [8, 8], []),  # another instrument's; a row that changes nothing
        ([order(7, 0), level(8)], [8, 8], []),  # an order that nobody knows leaves
    ],
)
def test_by_hand(messages: list[list[Row]], expected: list[Any], filled: list[int]) -> None:
    assert fronts(*messages, begin=(ORDERS, OTHER, LEVELS)) == (expected, filled)


def test_an_order_from_before_the_feed_told_orders_keeps_its_model() -> None:
    before, _ = fronts(level(6), begin=(LEVELS,))
    told, _ = fronts(ORDERS, order(1, 1), level(6), begin=(LEVELS,))
    assert 0 < before[0] < 8
    assert told == [8, 8, before[0]]
