"""Accounts, fees, funding and exact products against Python's own unlimited numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from replay.kernel import account
from replay.kernel.codes import FEE_FLAT, FEE_PER_CONTRACT, FEE_RATES, FEE_TIERS, INVERSE, LINEAR
from replay.kernel.exact import BASE, LIMB, carried, product, whole
from replay.kernel.jit import kernel
from replay.kernel.state import INSTRUMENT, PAIR, SLOT
from replay.units import SCALE
from tests.oracles.account import Account, Terms

NO_TABLES = np.zeros(1, PAIR)
SIDES = st.sampled_from([1, -1])
TICKS = st.integers(1, 10**8)
LOTS = st.integers(1, 10**7)
RATES = st.integers(-(SCALE // 10), SCALE // 10)
FILLS = st.lists(st.tuples(SIDES, TICKS, LOTS, RATES), min_size=1, max_size=20)
STEPS = st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(1, 8), Fraction(1, 1000), Fraction(5, 100)])
MULTIPLIERS = st.sampled_from([Fraction(1), Fraction(10), Fraction(100)])
SUMS = ("position", "cash", "cash_f", "fee_hi", "fee_lo", "fee_f", "turnover", "turnover_f", "volume", "fills")


@kernel
def enter(slot, inst, tables, side, ticks, lots):
    """A taking fill with its fee at the venue, and what it cost."""
    hi, lo, f = account.fill_fee(slot, tables, inst, 0, ticks, lots)
    account.book_fill(slot, inst["payoff"], side, ticks, lots)
    account.add_fee(slot, hi, lo, f)
    return hi, lo, f


@kernel
def learn(slot, inst, side, ticks, lots, hi, lo, f):
    """The strategy is told of that fill."""
    account.book_fill_local(slot, inst["payoff"], side, ticks, lots)
    account.add_fee_local(slot, hi, lo, f)


@kernel
def pay_funding(slot, inst, mark, rate):
    """One settlement at the venue."""
    hi, lo, f = account.funding_due(inst, slot["position"], mark, rate)
    slot["funding_hi"], slot["funding_lo"] = carried(slot["funding_hi"] + hi, slot["funding_lo"] + lo)
    slot["funding_f"] += f


@kernel
def money(slot, inst, mark):
    """(equity, fees, funding) of the venue side."""
    return account.equity_of(slot, inst, mark), account.fees_of(slot, inst), account.funding_of(slot, inst)


def made(terms: Terms) -> tuple[np.void, np.void]:
    """An empty slot that charges rates, and the instrument's record."""
    slot, inst = np.zeros(1, SLOT)[0], np.zeros(1, INSTRUMENT)[0]
    slot["fee_kind"] = FEE_RATES
    inst["payoff"] = INVERSE if terms.inverse else LINEAR
    for name in ("tick", "lot", "multiplier"):
        inst[name] = float(getattr(terms, name))
    inst["tick_scaled"] = int(terms.tick * SCALE)
    inst["fee_unit"], inst["fee_factor"] = inst["lot"] * inst["multiplier"] * inst["tick"], 1.0
    return slot, inst


def near(value: float, exact: Fraction, scale: Fraction) -> bool:
    """Equal to 1e-12 of `scale`, the largest sum on the way."""
    return abs(Fraction(value) - exact) <= scale * Fraction(1, 10**12)


@given(st.integers(-(2**62) + 1, 2**62 - 1), st.integers(-(2**62) + 1, 2**62 - 1))
def test_product_is_exact(a: int, b: int) -> None:
    """Any product in the stated range comes out to the last digit, with its low part in [0, 10^16)."""
    assume(abs(a) // LIMB * (abs(b) // LIMB) < 2**62)
    hi, lo = product(a, b)
    assert whole(hi, lo) == a * b
    assert 0 <= lo < BASE


@given(st.lists(st.tuples(st.integers(-(10**17), 10**17), st.integers(-(10**9), 10**9)), max_size=30))
def test_sums_of_products_are_exact(pairs: list[tuple[int, int]]) -> None:
    """Adding many products of both signs limb by limb loses nothing."""
    hi = lo = 0
    for a, b in pairs:
        more_hi, more_lo = product(a, b)
        hi, lo = carried(hi + more_hi, lo + more_lo)
        assert 0 <= lo < BASE
    assert whole(hi, lo) == sum(a * b for a, b in pairs)


@given(FILLS, STEPS, STEPS, MULTIPLIERS)
def test_linear_sums_are_exact(fills: list, tick: Fraction, lot: Fraction, multiplier: Fraction) -> None:
    """Position, cash, turnover and fees of any fills in a linear instrument equal the fractions to the last digit."""
    terms = Terms(False, tick, lot, multiplier)
    (slot, inst), oracle = made(terms), Account(terms)
    for side, ticks, lots, rate in fills:
        slot["taker"] = rate
        enter(slot, inst, NO_TABLES, side, ticks, lots)
        oracle.fill(side, ticks, lots, Fraction(rate, SCALE))
    unit = tick * lot * multiplier
    assert (slot["position"], slot["volume"], slot["fills"]) == (oracle.position, oracle.volume, oracle.fills)
    assert int(slot["cash"]) * unit == oracle.cash
    assert int(slot["turnover"]) * unit == oracle.turnover
    assert whole(slot["fee_hi"], slot["fee_lo"]) * unit / SCALE == oracle.fees
    assert slot["cash_f"] == slot["turnover_f"] == slot["fee_f"] == 0


@given(FILLS, STEPS, STEPS, MULTIPLIERS)
def test_inverse_sums_are_near(fills: list, tick: Fraction, lot: Fraction, multiplier: Fraction) -> None:
    """An inverse contract divides: position exact, cash, turnover and fees within 1e-12 of the turnover."""
    terms = Terms(True, tick, lot, multiplier)
    (slot, inst), oracle = made(terms), Account(terms)
    for side, ticks, lots, rate in fills:
        slot["taker"] = rate
        enter(slot, inst, NO_TABLES, side, ticks, lots)
        oracle.fill(side, ticks, lots, Fraction(rate, SCALE))
    unit = Fraction(lot * multiplier / tick)
    assert (slot["position"], slot["volume"], slot["fills"]) == (oracle.position, oracle.volume, oracle.fills)
    assert near(slot["cash_f"], oracle.cash / unit, oracle.turnover / unit)
    assert near(slot["turnover_f"], oracle.turnover / unit, oracle.turnover / unit)
    assert near(slot["fee_f"], oracle.fees, oracle.turnover)
    assert (slot["cash"], slot["turnover"], slot["fee_hi"], slot["fee_lo"]) == (0, 0, 0, 0)


@given(st.booleans(), FILLS, st.lists(st.tuples(TICKS, RATES), max_size=5), TICKS)
def test_equity_adds_up(inverse: bool, fills: list, settlements: list, mark_ticks: int) -> None:
    """Value of fills and position, less fees and funding, is the equity that the exact account has."""
    terms = Terms(inverse, Fraction(1, 2), Fraction(1, 8), Fraction(10))
    (slot, inst), oracle = made(terms), Account(terms)
    tick = int(inst["tick_scaled"])
    funded = Fraction(0)
    for side, ticks, lots, rate in fills:
        slot["taker"] = rate
        enter(slot, inst, NO_TABLES, side, ticks, lots)
        oracle.fill(side, ticks, lots, Fraction(rate, SCALE))
    for ticks, rate in settlements:
        pay_funding(slot, inst, ticks * tick, rate)
        oracle.settle(ticks * terms.tick, Fraction(rate, SCALE))
        funded += abs(terms.notional(oracle.position, ticks * terms.tick))
    mark = mark_ticks * terms.tick
    equity, fees, funding = money(slot, inst, mark_ticks * tick)
    largest = oracle.turnover + funded + abs(terms.notional(oracle.position, mark))
    assert near(fees, oracle.fees, oracle.turnover)
    assert near(funding, oracle.funding, funded)
    assert near(equity, oracle.equity(mark), largest)
    if not inverse:
        unit = terms.lot * terms.multiplier
        assert whole(slot["funding_hi"], slot["funding_lo"]) * unit / SCALE**2 == oracle.funding


@given(
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.integers(1, 10**9 * SCALE // 10),
    st.integers(-(SCALE // 100), SCALE // 100),
)
def test_funding_of_one_settlement(inverse: bool, position: int, mark: int, rate: int) -> None:
    """Longs pay a positive rate on notional at mark, shorts receive it; linear exactly, inverse to 1e-12."""
    terms = Terms(inverse, Fraction(1), Fraction(1, 8), Fraction(100))
    _, inst = made(terms)
    hi, lo, f = account.funding_due(inst, position, mark, rate)
    exact = terms.notional(position, Fraction(mark, SCALE)) * Fraction(rate, SCALE)
    if inverse:
        assert (hi, lo) == (0, 0)
        assert near(f, exact, abs(exact))
    else:
        assert f == 0
        assert whole(hi, lo) * terms.lot * terms.multiplier / SCALE**2 == exact


@given(st.booleans(), FILLS, st.integers(0, 2**32 - 1))
def test_local_equals_venue_when_all_answers_are_in(inverse: bool, fills: list, seed: int) -> None:
    """However late the answers come, after the last one the local account equals the venue's bit for bit."""
    slot, inst = made(Terms(inverse, Fraction(1, 2), Fraction(1, 1000), Fraction(10)))
    answers: list[tuple] = []
    delays = np.random.default_rng(seed)
    for side, ticks, lots, rate in fills:
        slot["taker"] = rate
        answers.append((side, ticks, lots, *enter(slot, inst, NO_TABLES, side, ticks, lots)))
        for _ in range(int(delays.integers(0, len(answers) + 1))):
            learn(slot, inst, *answers.pop(0))
        assert slot["l_fills"] == slot["fills"] - len(answers)
    for waiting in answers:
        learn(slot, inst, *waiting)
    for name in SUMS:
        assert slot[name].tobytes() == slot["l_" + name].tobytes(), name


@given(st.lists(st.tuples(st.integers(0, 10**6), RATES, RATES), min_size=1, max_size=6), st.integers(0, 2 * 10**6),
       st.booleans(), st.booleans())  # fmt: skip
def test_tiers_follow_the_turnover_before_the_fill(rows: list, turnover: int, maker: bool, inverse: bool) -> None:
    """The rate is that of the highest tier whose turnover has been reached, the first one below all of them."""
    tiers = [(0, *rows[0][1:]), *sorted({row[0]: row for row in rows[1:] if row[0]}.values())]
    slot, inst = made(Terms(inverse, Fraction(1), Fraction(1), Fraction(1)))
    tables = np.array([(t, m) for t, m, _ in tiers] + [(t, k) for t, _, k in tiers], PAIR)
    slot["fee_kind"], slot["tier0"], slot["tier_n"] = FEE_TIERS, 0, len(tiers)
    slot["turnover"], slot["turnover_f"] = turnover, float(turnover)
    reached = [tier for tier in tiers if tier[0] <= turnover][-1]
    rate = reached[1 if maker else 2]
    hi, lo, f = account.fill_fee(slot, tables, inst, int(maker), 4, 8)
    if inverse:
        assert f == 2.0 * (rate / SCALE)
    else:
        assert whole(hi, lo) == 32 * rate


@given(LOTS, TICKS, st.integers(-(10**10), 10**10), st.integers(-(10**10), 10**10), st.booleans())
def test_fees_by_contract_and_by_fill(lots: int, ticks: int, maker_fee: int, taker_fee: int, maker: bool) -> None:
    """Per contract: size times the amount of one's role; flat: the amount, whatever the size; prices do not matter."""
    slot, inst = made(Terms(False, Fraction(1, 2), Fraction(1, 8), Fraction(10)))
    slot["maker"], slot["taker"], slot["flat_scaled"] = maker_fee, taker_fee, abs(maker_fee)
    each = Fraction(maker_fee if maker else taker_fee, SCALE)
    slot["fee_kind"] = FEE_PER_CONTRACT
    hi, lo, f = account.fill_fee(slot, NO_TABLES, inst, int(maker), ticks, lots)
    assert (hi, lo) == (0, 0)
    assert near(f, each * lots / 8, abs(each) * lots)
    slot["fee_kind"] = FEE_FLAT
    hi, lo, f = account.fill_fee(slot, NO_TABLES, inst, int(maker), ticks, lots)
    assert (hi, lo) == (0, 0)
    assert near(f, Fraction(abs(maker_fee), SCALE), Fraction(abs(maker_fee), SCALE))
