"""Liquidation fade: the opposite side of a burst, left after a while or at the stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replay import Result
from replay.events import BUY, SELL
from strategies.liquidation_fade import LiquidationFade
from tests.strategies.conftest import Runner
from tests.strategies.tape import SECOND, Tape, fills, requests


def fade(**parameters: Any) -> LiquidationFade:
    return LiquidationFade(**{"lots": 10, "trigger_lots": 500, "hold_us": 3 * SECOND, "stop_bps": 50.0, **parameters})


@pytest.mark.parametrize(("forced", "entry", "leave"), [(SELL, (BUY, 10_001, 10), (SELL, 10_000, 10)),
                                                        (BUY, (SELL, 10_000, 10), (BUY, 10_001, 10))])  # fmt: skip
def test_it_takes_the_other_side_and_leaves_in_time(
    tape: Tape, forced: int, entry: tuple[int, int, int], leave: tuple[int, int, int]
) -> None:
    tape.book(200_000, 10_000, 10_001)
    tape.liquidation(1 * SECOND, forced, 9_990, 600)
    tape.level(9 * SECOND, BUY, 10_000, 900)
    result = tape.run(fade())
    assert fills(result) == [entry, leave]
    assert [at for at, _, _, _ in requests(result)] == [1 * SECOND, 4 * SECOND]


def test_liquidations_add_up_while_they_are_remembered(tape: Tape) -> None:
    tape.book(200_000, 10_000, 10_001)
    tape.liquidation(1_000_000, SELL, 9_990, 300)
    tape.liquidation(1_200_000, SELL, 9_990, 300)
    tape.level(2 * SECOND, BUY, 10_000, 900)
    assert [at for at, _, _, _ in requests(tape.run(fade(memory_us=SECOND)))] == [1_200_000]
    assert requests(tape.run(fade(memory_us=SECOND // 10))) == [], "by then the first is forgotten"


def test_forced_buys_and_sales_offset_each_other(tape: Tape) -> None:
    tape.book(200_000, 10_000, 10_001)
    tape.liquidation(1_000_000, SELL, 9_990, 400)
    tape.liquidation(1_000_100, BUY, 9_990, 400)
    tape.liquidation(1_000_200, SELL, 9_990, 400)
    tape.level(2 * SECOND, BUY, 10_000, 900)
    assert requests(tape.run(fade())) == []


def test_the_stop_comes_before_the_time(tape: Tape) -> None:
    tape.book(200_000, 10_000, 10_001)
    tape.liquidation(1 * SECOND, SELL, 9_990, 600)
    tape.book(2 * SECOND, 9_955, 9_956)  # 46 bps below the entry
    tape.book(3 * SECOND, 9_950, 9_951)  # 51
    tape.level(9 * SECOND, BUY, 9_950, 900)
    result = tape.run(fade())
    assert fills(result) == [(BUY, 10_001, 10), (SELL, 9_950, 10)]
    assert requests(result)[1][0] == 3 * SECOND


def test_in_a_gap_it_waits_for_the_book(tape: Tape) -> None:
    tape.book(200_000, 10_000, 10_001)
    tape.liquidation(1 * SECOND, SELL, 9_990, 600)
    tape.gap(2 * SECOND)
    tape.liquidation(2_500_000, SELL, 9_990, 600)
    tape.book(6 * SECOND, 10_000, 10_001)
    tape.level(9 * SECOND, BUY, 10_000, 900)
    assert [at for at, _, _, _ in requests(tape.run(fade()))] == [1 * SECOND, 6 * SECOND]


def test_runs_on_a_synthetic_market(synthetic: Runner, sound: Callable[[Result, int], None]) -> None:
    result = synthetic(LiquidationFade())
    sound(result, 10)
    assert {-10, 0, 10} <= set(result.fills["position"].tolist()), "it faded both kinds and left again"
    assert result.digest == synthetic(LiquidationFade()).digest


def test_without_liquidations_it_does_nothing_on_a_real_market(real: Runner) -> None:
    result = real(LiquidationFade())
    assert result.rows > 0
    assert len(result.orders) == 0, "the capture has no forced orders"
