"""What a strategy knows of its own affairs: kernels against the session's exact arithmetic and the arena itself."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from replay import ConstantLatency, Context, Instrument, MakerTaker, Replay, Strategy
from replay.context import Book
from replay.kernel.exact import whole
from replay.kernel.local_view import (
    CASH,
    EQUITY,
    FEES,
    TURNOVER,
    local_depth,
    local_mark_ticks,
    local_money,
    own_order_at,
)
from replay.session import Session
from replay.testing import synthetic_events
from replay.units import SCALE

PAIR = [
    Instrument("test", "L", "linear", Decimal("0.1"), Decimal("0.001")),
    Instrument("test", "I", "inverse", Decimal("0.5"), Decimal("100")),
]


class Trades(Strategy):
    """Buys, sells and rests, and leaves orders behind."""

    turn: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        self.turn += 1
        if book.ready and self.turn % 7 == 0:
            ctx.send(book.instrument, 1 if self.turn % 3 else -1, 1 + self.turn % 4)
            ctx.buy(book.instrument, 1, book.bid_ticks - 3, post_only=True)


@pytest.fixture(scope="module")
def sessions() -> list[Session]:
    """A run of two strategies, stopped at several moments."""
    events = synthetic_events(PAIR, seed=8, messages=400)
    found = []
    for steps in (1, 40, 90, 10_000):
        session = Replay(
            events, instruments=PAIR, latency=ConstantLatency(900, 400), fees=MakerTaker("-0.0001", "0.0005")
        ).session([Trades(), Trades(turn=3)])
        for _ in range(steps):
            if not session.step():
                break
        found.append(session)
    return found


def exact_money(slot: np.void, instrument: Instrument, price: float) -> list[float]:
    """Equity, cash, fees and turnover as the strategy knows them, from exact fractions; `price` is the mark."""
    unit, tick = Fraction(instrument.lot) * Fraction(instrument.multiplier), Fraction(instrument.tick)
    fees = Fraction(whole(slot["l_fee_hi"], slot["l_fee_lo"])) * unit * tick / SCALE + Fraction(float(slot["l_fee_f"]))
    funding = Fraction(whole(slot["l_funding_hi"], slot["l_funding_lo"])) * unit / SCALE**2
    funding += Fraction(float(slot["l_funding_f"]))
    position = int(slot["l_position"])
    if instrument.payoff == "inverse":
        cash = Fraction(float(slot["l_cash_f"])) * unit / tick
        turnover = Fraction(float(slot["l_turnover_f"])) * unit / tick
        value = cash - (position * unit / Fraction(price) if position else 0)
    else:
        cash, turnover = int(slot["l_cash"]) * unit * tick, int(slot["l_turnover"]) * unit * tick
        value = cash + (position * unit * Fraction(price) if position else 0)
    return [float(amount) for amount in (value - fees - funding, cash, fees, turnover)]


def test_money_is_the_exact_one(sessions: list[Session]) -> None:
    held = 0
    for session in sessions:
        for k, slot in enumerate(session.arena["slots"]):
            instrument = int(slot["instrument"])
            mark = local_mark_ticks(session.bytes, instrument) * float(PAIR[instrument].tick)
            found = [local_money(session.bytes, k, what) for what in (EQUITY, CASH, FEES, TURNOVER)]
            for amount, exact in zip(found, exact_money(slot, PAIR[instrument], mark)):
                assert math.isclose(amount, exact, rel_tol=1e-9, abs_tol=1e-9)
            held += abs(int(slot["l_position"]))
    assert held > 0


def test_the_mark_is_the_best_that_is_known(sessions: list[Session]) -> None:
    session = sessions[-1]
    inst = session.arena["instruments"][0]
    saved = inst.copy()
    inst["mark_local"] = 12345 * int(inst["tick_scaled"]) // 10
    assert local_mark_ticks(session.bytes, 0) == int(inst["mark_local"]) / int(inst["tick_scaled"])
    assert session.contexts[0].mark(0) == int(inst["mark_local"]) / SCALE
    inst["mark_local"] = 0
    book = session.books[0]
    assert local_mark_ticks(session.bytes, 0) == (book.bid_ticks + book.ask_ticks) / 2
    inst["local_valid"], inst["last_local"] = 0, 77
    assert local_mark_ticks(session.bytes, 0) == 77.0
    inst["last_local"] = 0
    assert math.isnan(local_mark_ticks(session.bytes, 0))
    session.arena["instruments"][0] = saved


def test_orders_are_found_by_strategy_and_number(sessions: list[Session]) -> None:
    seen = 0
    for session in sessions:
        table = session.arena["orders"]
        owners = session.arena["slots"]["strategy"][table["slot"]]
        for strategy in (0, 1):
            mine = {int(r["number"]): k for k, r in enumerate(table) if r["id"] > 0 and owners[k] == strategy}
            last = int(session.arena["strategies"][strategy]["next_number"])
            for number in range(-1, last + 2):
                assert own_order_at(session.bytes, strategy, number) == mine.get(number, -1)
            seen += len(mine)
    assert seen > 0


def test_depth_comes_best_first(sessions: list[Session]) -> None:
    session = sessions[-1]
    for instrument, side in ((0, 1), (0, -1), (1, 1), (1, -1)):
        ticks, lots = np.zeros(5, np.int64), np.zeros(5, np.int64)
        n = local_depth(session.bytes, instrument, side, ticks, lots)
        book = session.books[instrument]
        assert 0 < n <= 5 and (lots[:n] > 0).all() and (np.diff(ticks[:n]) * side < 0).all()
        best = (book.bid_ticks, book.bid_lots) if side > 0 else (book.ask_ticks, book.ask_lots)
        assert (ticks[0], lots[0]) == best
