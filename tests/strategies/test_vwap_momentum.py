"""VWAP momentum: the exact VWAP, entries only with momentum, exits at target and stop."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from replay import Result
from replay.events import BUY, SELL
from strategies.vwap_momentum import VwapMomentum
from tests.strategies.tape import SECOND, Tape, fills, requests


def rule() -> VwapMomentum:
    """Three bars of a second; 10 bps of 10 000 ticks are 10 ticks."""
    return VwapMomentum(window_bars=3, momentum_bars=1, entry_bps=10, target_bps=20, stop_bps=20)


def climb(tape: Tape, last: int = 10_040) -> None:
    """Prints at 10 000, 10 000 and `last` in the bars that end at 1, 2 and 3 s, and a book around 10 040."""
    tape.book(100_000, 10_039, 10_041)
    tape.trade(500_000, BUY, 10_000, 30)
    tape.trade(1_500_000, SELL, 10_000, 10)
    tape.trade(1_600_000, BUY, 10_000, 20)
    tape.trade(2_500_000, BUY, last, 40)


def test_the_vwap_is_exact(tape: Tape) -> None:
    climb(tape, last=10_005)
    tape.trade(3_200_000, BUY, 10_008, 60)
    tape.level(4_100_000, BUY, 10_039, 900)
    result = tape.run(rule())
    assert result.records["vwap"]["value"].tolist() == [
        (10_000 * 60 + 10_005 * 40) / 100,
        (10_000 * 30 + 10_005 * 40 + 10_008 * 60) / 130,
    ]
    assert requests(result) == [], "deviation below 10 bps"


def test_a_rise_is_bought_and_left_at_the_target(tape: Tape) -> None:
    climb(tape)
    tape.book(4_500_000, 10_060, 10_062)  # 19 ticks above the entry: not yet 20 bps
    tape.book(5_500_000, 10_062, 10_064)
    tape.level(6_500_000, BUY, 10_062, 900)
    result = tape.run(rule())
    assert [(at, side) for at, _, side, _ in requests(result)] == [(3 * SECOND, BUY), (5_500_000, SELL)]
    assert fills(result) == [(BUY, 10_041, 10), (SELL, 10_062, 10)]


def test_a_loss_is_stopped(tape: Tape) -> None:
    climb(tape)
    tape.book(4_500_000, 10_022, 10_024)  # 19 ticks below the entry
    tape.book(5_500_000, 10_019, 10_021)
    tape.level(6_500_000, BUY, 10_019, 900)
    result = tape.run(rule())
    assert [(at, side) for at, _, side, _ in requests(result)] == [(3 * SECOND, BUY), (5_500_000, SELL)]
    assert fills(result)[1] == (SELL, 10_019, 10)


def test_a_fall_is_sold_and_bought_back(tape: Tape) -> None:
    climb(tape, last=9_960)
    tape.book(3_500_000, 10_017, 10_018)
    tape.level(4_500_000, BUY, 10_017, 900)
    result = tape.run(rule())
    assert fills(result) == [(SELL, 10_039, 10), (BUY, 10_018, 10)]


def test_deviation_without_momentum_is_left_alone(tape: Tape) -> None:
    tape.book(100_000, 10_039, 10_041)
    tape.trade(500_000, BUY, 10_000, 300)
    tape.trade(1_500_000, BUY, 10_040, 1)
    tape.trade(2_500_000, BUY, 10_039, 1)  # far above the VWAP, but lower than a bar ago
    tape.level(3_200_000, BUY, 10_039, 900)
    result = tape.run(rule())
    assert len(result.records["vwap"]) == 1
    assert requests(result) == []


def test_nothing_is_sent_into_a_gap(tape: Tape) -> None:
    climb(tape)
    tape.gap(2_600_000)
    tape.book(3_500_000, 10_039, 10_041)
    tape.level(3_900_000, BUY, 10_039, 900)
    assert requests(tape.run(rule())) == []


@pytest.mark.parametrize("market", ["synthetic", "real"])
def test_runs(market: str, request: pytest.FixtureRequest, sound: Callable[[Result, int], None]) -> None:
    run = request.getfixturevalue(market)
    lively = {"window_bars": 10, "momentum_bars": 3, "entry_bps": 0.2, "target_bps": 0.5, "stop_bps": 0.5}
    result = run(VwapMomentum(**lively))
    sound(result, 10)
    assert 0 in result.fills["position"], "it left a position again"
    assert result.digest == run(VwapMomentum(**lively)).digest
