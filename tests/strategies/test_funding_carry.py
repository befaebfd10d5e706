"""Funding carry: the side that receives, hysteresis between the rates, the hedge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from replay import Result
from replay.events import BUY, SELL
from strategies.funding_carry import FundingCarry
from tests.strategies.conftest import Runner
from tests.strategies.tape import PAIR, SECOND, Tape, fills, requests


@pytest.mark.parametrize(("rate_e8", "side"), [(10_000, SELL), (-10_000, BUY)])
def test_it_holds_the_side_that_receives(tape: Tape, rate_e8: int, side: int) -> None:
    tape.book(200_000, 10_000, 10_001)
    tape.mark(300_000, 10_000)
    tape.funding(500_000, rate_e8, 5 * SECOND)
    tape.funding(5_500_000, rate_e8, 10 * SECOND)
    tape.level(9 * SECOND, BUY, 10_000, 900)
    result = tape.run(FundingCarry(lots=10))
    assert requests(result) == [(1 * SECOND, "new", side, 10_000 if side == SELL else 10_001)]
    assert result.summary_by_instrument[0].position == 10 * side
    assert result.summary_by_instrument[0].funding == pytest.approx(-10 * 0.001 * 1000.0 * 0.0001, rel=1e-12)


def test_it_turns_with_the_rate_and_leaves_near_zero(tape: Tape) -> None:
    tape.book(200_000, 10_000, 10_001)
    for at, rate_e8 in ((500_000, 10_000), (1_500_000, 3_000), (2_500_000, -6_000), (3_500_000, -1_000)):
        tape.funding(at, rate_e8, 60 * SECOND)
    tape.level(9 * SECOND, BUY, 10_000, 900)
    result = tape.run(FundingCarry(lots=10, enter_rate=0.00005, leave_rate=0.00002))
    assert fills(result) == [(SELL, 10_000, 10), (BUY, 10_001, 20), (SELL, 10_000, 10)]
    assert [at for at, _, _, _ in requests(result)] == [1 * SECOND, 3 * SECOND, 4 * SECOND], "3 000 is kept"


def test_a_small_rate_of_the_other_sign_ends_the_carry(tape: Tape) -> None:
    tape.book(200_000, 10_000, 10_001)
    tape.funding(500_000, 10_000, 60 * SECOND)
    tape.funding(1_500_000, -3_000, 60 * SECOND)
    tape.level(4 * SECOND, BUY, 10_000, 900)
    assert fills(tape.run(FundingCarry())) == [(SELL, 10_000, 10), (BUY, 10_001, 10)]


def test_what_was_not_filled_is_sent_again(tape: Tape) -> None:
    tape.book(200_000, 10_000, 10_001, lots=6)
    tape.funding(500_000, 10_000, 60 * SECOND)
    tape.level(1_500_000, BUY, 10_000, 6)
    tape.level(4 * SECOND, BUY, 10_000, 6)
    result = tape.run(FundingCarry(lots=10))
    assert fills(result) == [(SELL, 10_000, 6), (SELL, 10_000, 4)]


def test_the_hedge_is_held_the_other_way_round(tape: Tape) -> None:
    for instrument in (0, 1):
        tape.book(200_000 + instrument, 10_000, 10_001, instrument=instrument)
    tape.funding(500_000, 10_000, 60 * SECOND)
    tape.funding(600_000, -90_000, 60 * SECOND, instrument=1)  # of the hedge: not our business
    tape.level(5 * SECOND, BUY, 10_000, 900)
    result = tape.run(FundingCarry(lots=10, hedge=1, hedge_lots=30), instruments=PAIR)
    assert [part.position for part in result.summary_by_instrument] == [-10, 30]


def test_it_waits_for_the_book(tape: Tape) -> None:
    tape.book(200_000, 10_000, 10_001)
    tape.gap(300_000)
    tape.funding(500_000, 10_000, 60 * SECOND)
    tape.book(3_500_000, 10_000, 10_001)
    tape.level(6 * SECOND, BUY, 10_000, 900)
    assert [at for at, _, _, _ in requests(tape.run(FundingCarry()))] == [4 * SECOND]


def test_runs_on_a_synthetic_market(synthetic: Runner, sound: Callable[[Result, int], None]) -> None:
    result = synthetic(FundingCarry())
    sound(result, 10)
    part = result.summary_by_instrument[0]
    assert part.funding < 0, "three settlements were received"
    assert np.sign(part.position) == -1, "the synthetic rate is positive"
    assert result.digest == synthetic(FundingCarry()).digest


def test_without_funding_it_does_nothing_on_a_real_market(real: Runner) -> None:
    result = real(FundingCarry())
    assert result.rows > 0
    assert len(result.orders) == 0, "the capture has no funding rates"
