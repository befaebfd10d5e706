"""Grid: orders on fixed lines on both sides, lines left behind are given up, all orders count for the limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replay import Result
from replay.events import BUY, SELL
from strategies.grid import Grid
from tests.strategies.tape import SECOND, Tape, fills, quotes, requests


def grid(**parameters: Any) -> Grid:
    settings = {"lots": 5, "step_ticks": 10, "levels": 2, "limit_lots": 100, "refresh_us": SECOND}
    return Grid(**{**settings, **parameters})


def test_orders_lie_on_the_nearest_lines(tape: Tape) -> None:
    tape.book(200_000, 1003, 1005)
    tape.level(3 * SECOND, BUY, 1003, 900)
    result = tape.run(grid())
    assert quotes(result, 1_500_000) == [(BUY, 1000, 5), (BUY, 990, 5), (SELL, 1010, 5), (SELL, 1020, 5)]


def test_resting_orders_are_left_alone_while_the_market_moves_between_lines(tape: Tape) -> None:
    tape.book(200_000, 1003, 1005)
    tape.book(1_500_000, 1006, 1008)
    tape.level(4 * SECOND, BUY, 1006, 900)
    result = tape.run(grid())
    assert {at for at, _, _, _ in requests(result)} == {SECOND}


def test_a_swing_over_a_line_and_back_earns_the_step(tape: Tape) -> None:
    tape.book(200_000, 1003, 1005)
    tape.trade(1_500_000, SELL, 999, 1)
    tape.trade(2_500_000, BUY, 1011, 1)
    tape.level(4 * SECOND, BUY, 1003, 900)
    result = tape.run(grid())
    assert fills(result) == [(BUY, 1000, 5), (SELL, 1010, 5)]
    assert result.summary_by_instrument[0].pnl == pytest.approx(10 * 0.1 * 5 * 0.001)


def test_lines_left_behind_are_cancelled(tape: Tape) -> None:
    tape.book(200_000, 1003, 1005)
    tape.book(1_500_000, 1043, 1045)
    tape.level(9 * SECOND, BUY, 1043, 900)
    result = tape.run(grid())
    assert fills(result) == [(SELL, 1010, 5), (SELL, 1020, 5)], "filled at their own prices as the market went over"
    assert quotes(result, 3_500_000) == [(BUY, 1040, 5), (BUY, 1030, 5), (SELL, 1050, 5), (SELL, 1060, 5)]
    assert [side for _, what, side, _ in requests(result) if what == "cancel"] == [BUY, BUY]


def test_resting_orders_count_for_the_limit(tape: Tape) -> None:
    tape.book(200_000, 1003, 1005)
    tape.level(3 * SECOND, BUY, 1003, 900)
    assert quotes(tape.run(grid(limit_lots=9)), 1_500_000) == [(BUY, 1000, 5), (SELL, 1010, 5)]


def test_a_gap_withdraws_the_grid_until_the_book_is_back(tape: Tape) -> None:
    tape.book(200_000, 1003, 1005)
    tape.gap(2_500_000)
    tape.book(4_500_000, 1003, 1005)
    tape.level(9 * SECOND, BUY, 1003, 900)
    result = tape.run(grid())
    assert len(quotes(result, 2_400_000)) == 4
    assert quotes(result, 3_500_000) == []
    assert len(quotes(result, 5_500_000)) == 4


@pytest.mark.parametrize("market", ["synthetic", "real"])
def test_runs(market: str, request: pytest.FixtureRequest, sound: Callable[[Result, int], None]) -> None:
    run = request.getfixturevalue(market)
    result = run(Grid(limit_lots=15))
    sound(result, 15)
    assert (result.fills["maker"] == 1).all(), "post-only orders never take"
    assert (result.fills["ticks"] % 20 == 0).all(), "fills lie on the lines"
    assert result.digest == run(Grid(limit_lots=15)).digest
