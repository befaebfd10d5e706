"""Accounts by hand (see tests/property/test_account.py for the rest)."""

from __future__ import annotations

import numpy as np
import pytest

from replay.kernel import account
from replay.kernel.book import BOOK
from replay.kernel.codes import FEE_RATES, INVERSE, LINEAR
from replay.kernel.exact import whole
from replay.kernel.jit import kernel
from replay.kernel.state import INSTRUMENT, PAIR, SLOT
from replay.units import SCALE

NO_TABLES = np.zeros(1, PAIR)


@kernel
def trade(slot, inst, tables, maker, side, ticks, lots):
    """One fill with its fee."""
    hi, lo, f = account.fill_fee(slot, tables, inst, maker, ticks, lots)
    account.book_fill(slot, inst["payoff"], side, ticks, lots)
    account.add_fee(slot, hi, lo, f)


@kernel
def equity(slot, inst, mark):
    """Equity at `mark` (1/SCALE)."""
    return account.equity_of(slot, inst, mark)


def empty(payoff: int, tick: float, lot: float, multiplier: float = 1.0) -> tuple[np.void, np.void]:
    slot, inst = np.zeros(1, SLOT)[0], np.zeros(1, INSTRUMENT)[0]
    slot["fee_kind"], slot["maker"], slot["taker"] = FEE_RATES, -SCALE // 10_000, 5 * SCALE // 10_000
    inst["payoff"], inst["tick"], inst["lot"], inst["multiplier"] = payoff, tick, lot, multiplier
    inst["tick_scaled"] = round(tick * SCALE)
    inst["fee_unit"], inst["fee_factor"] = inst["lot"] * inst["multiplier"] * inst["tick"], 1.0
    return slot, inst


def test_a_linear_round_trip() -> None:
    # Buy 2 coins at 100 (taker, 5 bp), sell them at 110 (maker, -1 bp): +20, fees 0.1 - 0.022.
    slot, inst = empty(LINEAR, 0.5, 0.001)
    trade(slot, inst, NO_TABLES, 0, 1, 200, 2_000)
    assert equity(slot, inst, 104 * SCALE) == pytest.approx(8.0 - 0.1)
    trade(slot, inst, NO_TABLES, 1, -1, 220, 2_000)
    assert slot["position"] == 0
    for mark in (1, 104 * SCALE, 10**6 * SCALE):
        assert equity(slot, inst, mark) == pytest.approx(20.0 - 0.1 + 0.022)


def test_an_inverse_round_trip() -> None:
    # 10 contracts of 100 USD from 10 000 to 12 500: 1000/10000 - 1000/12500 = 0.02 coin for a long.
    slot, inst = empty(INVERSE, 0.1, 1.0, 100.0)
    slot["maker"] = slot["taker"] = 0
    trade(slot, inst, NO_TABLES, 0, 1, 100_000, 10)
    assert equity(slot, inst, 12_500 * SCALE) == pytest.approx(0.02)
    trade(slot, inst, NO_TABLES, 0, -1, 125_000, 10)
    assert equity(slot, inst, 1_000 * SCALE) == pytest.approx(0.02)
    slot, inst = empty(INVERSE, 0.1, 1.0, 100.0)
    slot["maker"] = slot["taker"] = 0
    trade(slot, inst, NO_TABLES, 0, -1, 100_000, 10)
    assert equity(slot, inst, 12_500 * SCALE) == pytest.approx(-0.02)


def test_longs_pay_positive_funding() -> None:
    _, linear = empty(LINEAR, 0.5, 0.001)
    # 2 coins at a mark of 100.25 and 1 bp: 0.02005.
    hi, lo, f = account.funding_due(linear, 2_000, 10_025 * SCALE // 100, SCALE // 10_000)
    assert (whole(hi, lo), f) == (20_05 * SCALE**2 // 100, 0.0)
    assert whole(*account.funding_due(linear, -2_000, 10_025 * SCALE // 100, SCALE // 10_000)[:2]) < 0
    assert account.funding_due(linear, 0, 10**10, 10**4) == (0, 0, 0.0)
    _, inverse = empty(INVERSE, 0.1, 1.0, 100.0)
    # 10 contracts of 100 USD at 50 000 and 1 bp: 0.02 coin times 1e-4.
    assert account.funding_due(inverse, 10, 50_000 * SCALE, SCALE // 10_000)[2] == pytest.approx(2e-6)


def test_mark_comes_from_the_feed_then_the_mid_then_the_last_trade() -> None:
    _, inst = empty(LINEAR, 0.5, 0.001)
    book = np.zeros(1, BOOK)[0]
    book["bid_ticks"], book["bid_lots"], book["ask_ticks"], book["ask_lots"] = 100, 1, 103, 1
    assert account.mark_of(inst, book) == 0
    inst["last_ticks"] = 90
    assert account.mark_of(inst, book) == 45 * SCALE
    inst["venue_valid"] = 1
    assert account.mark_of(inst, book) == 203 * SCALE // 4
    book["bid_lots"] = 0
    assert account.mark_of(inst, book) == 45 * SCALE
    inst["mark_fed"], inst["mark"] = 1, 77
    assert account.mark_of(inst, book) == 77


def test_a_rebate_raises_equity() -> None:
    slot, inst = empty(LINEAR, 0.5, 0.001)
    trade(slot, inst, NO_TABLES, 1, 1, 200, 1_000)
    assert equity(slot, inst, 100 * SCALE) == pytest.approx(0.01)
    assert whole(slot["fee_hi"], slot["fee_lo"]) == -200 * 1_000 * SCALE // 10_000
