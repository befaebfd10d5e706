"""The queue models against their formulas, at the edges too."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.kernel import codes
from replay.kernel.queueing import front_after_change, log1, power, ratio, share_behind
from tests.oracles import queueing as oracle

KINDS = {
    "risk-averse": codes.QUEUE_RISK_AVERSE,
    "power": codes.QUEUE_POWER,
    "power-2": codes.QUEUE_POWER_2,
    "power-3": codes.QUEUE_POWER_3,
    "log": codes.QUEUE_LOG,
    "log-2": codes.QUEUE_LOG_2,
}
EXPONENTS = (0.5, 1.0, 2.0, 2.5, 3.0)
EDGES = (0.0, 1.0, 2.0, 5.0, 10.0)


def same(mine: float, theirs: float) -> bool:
    """Equal, both no number, or apart by rounding."""
    if math.isnan(mine) or math.isnan(theirs):
        return math.isnan(mine) and math.isnan(theirs)
    return math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("n", EXPONENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_small_case(kind: str, n: float, bounded: bool) -> None:
    for lot in (1.0, 0.001):
        for front in (-11.0, -1.0, -0.5, *EDGES, 12.0):
            for before in EDGES:
                for after in EDGES:
                    for printed in (0.0, 1.0, 5.0):
                        case = (n, front, printed, before, after, lot)
                        mine = front_after_change(KINDS[kind], *case, int(bounded))
                        assert same(mine, oracle.front_after(kind, *case, bounded)), (kind, case, mine)


@given(
    st.sampled_from(sorted(KINDS)),
    st.floats(0.01, 8.0),
    *[st.floats(-1e3, 1e7, allow_subnormal=False)] * 2,
    *[st.integers(0, 10**7).map(float)] * 2,
    st.sampled_from([1.0, 0.1, 0.001, 1e-8]),
)
def test_bounded_estimates_are_numbers_within_the_level(
    kind: str, n: float, front: float, printed: float, before: float, after: float, lot: float
) -> None:
    """From any number of lots in front that is not negative, however odd the change, 0 <= front' <= after."""
    moved = front_after_change(KINDS[kind], n, max(front, 0.0), max(printed, 0.0), before, after, lot, 1)
    assert 0.0 <= moved <= after


@given(st.sampled_from(sorted(KINDS)), st.sampled_from(EXPONENTS), st.integers(0, 10**6), st.integers(0, 10**6))
def test_shares_are_shares(kind: str, n: float, front: int, behind: int) -> None:
    """While front and behind are not negative and not both zero, P lies in [0, 1] and follows its formula."""
    if kind == "risk-averse" or front + behind == 0:
        return
    share = share_behind(KINDS[kind], n, float(front), float(behind), 0.01)
    assert 0.0 <= share <= 1.0
    assert same(share, float(oracle.share_behind(kind, n, float(front), float(behind), 0.01)))
    assert share == (0.0 if behind == 0 else 1.0 if front == 0 else share)


def test_a_hand_worked_case() -> None:
    # 10 lots, 4 ahead and 6 behind, 5 cancelled: with n = 1 six tenths of them were behind us.
    assert front_after_change(codes.QUEUE_POWER, 1.0, 4.0, 0.0, 10.0, 5.0, 1.0, 1) == pytest.approx(2.0)
    # Of the 5 that went, 2 were printed and have been counted: 3 cancelled.
    assert front_after_change(codes.QUEUE_POWER, 1.0, 4.0, 2.0, 10.0, 5.0, 1.0, 1) == pytest.approx(2.8)
    assert front_after_change(codes.QUEUE_RISK_AVERSE, 1.0, 4.0, 0.0, 10.0, 5.0, 1.0, 1) == 4.0
    assert front_after_change(codes.QUEUE_RISK_AVERSE, 1.0, 4.0, 0.0, 10.0, 3.0, 1.0, 1) == 3.0


def test_only_the_bounded_form_stops_at_zero() -> None:
    # 1 ahead, 9 behind, all but the printed 8 vanish: the bare formula overshoots below zero.
    case = (codes.QUEUE_POWER_3, 3.0, -0.5, 0.0, 10.0, 2.0, 1.0)
    assert front_after_change(*case, 0) < 0.0
    assert front_after_change(*case, 1) == 0.0


@pytest.mark.parametrize("kind", ["power", "power-2", "power-3", "log", "log-2"])
def test_the_last_lot_of_a_level(kind: str) -> None:
    """A level that is deleted leaves nothing in front; one that was empty and stays empty as well."""
    assert front_after_change(KINDS[kind], 2.0, 3.0, 0.0, 10.0, 0.0, 1.0, 1) == 0.0
    assert front_after_change(KINDS[kind], 2.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1) == 0.0


@pytest.mark.parametrize("variant", [codes.QUEUE_POWER, codes.QUEUE_POWER_2, codes.QUEUE_POWER_3])
def test_powers_beyond_float64_leave_a_number(variant: int) -> None:
    assert power(1e6, 100.0) == math.inf
    assert power(-1e6, 101.0) == -math.inf
    assert power(-1e6, 100.0) == math.inf
    assert power(10.0, 300.0) == pytest.approx(1e300)
    assert 0.0 <= front_after_change(variant, 100.0, 1e6, 0.0, 3e6, 2.5e6, 1.0, 1) <= 2.5e6


def test_powers_logarithms_and_divisions_are_ieee() -> None:
    assert math.isnan(power(-1.0, 0.5))
    assert power(-2.0, 3.0) == -8.0
    assert power(0.0, 2.5) == 0.0
    assert log1(-1.0) == -math.inf
    assert math.isnan(log1(-1.5))
    assert log1(1.0) == math.log(2.0)
    assert ratio(1.0, 0.0) == math.inf
    assert math.isnan(ratio(0.0, 0.0))
    assert math.isnan(ratio(math.nan, 0.0))
    assert ratio(1.0, -4.0) == -0.25
