"""Imbalance: follows the heavier side, goes flat when the book is even, starts afresh after a gap."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from replay import Result
from replay.events import BUY, SELL
from strategies.imbalance import Imbalance
from tests.strategies.tape import SECOND, Tape, fills, requests


def test_it_follows_the_heavier_side_and_leaves_when_the_book_is_even(tape: Tape) -> None:
    tape.book(1 * SECOND, 1000, 1001, lots=900, other=100)
    tape.book(2 * SECOND, 1000, 1001, lots=100, other=900)
    tape.book(3 * SECOND, 1000, 1001, lots=480, other=520)
    tape.level(4 * SECOND, BUY, 1000, 480)
    result = tape.run(Imbalance(lots=10, weight=1.0, enter=0.5, leave=0.1))
    assert fills(result) == [(BUY, 1001, 10), (SELL, 1000, 20), (BUY, 1001, 10)]
    assert [at for at, _, _, _ in requests(result)] == [1 * SECOND, 2 * SECOND, 3 * SECOND]


def test_between_the_thresholds_it_keeps_what_it_has(tape: Tape) -> None:
    tape.book(1 * SECOND, 1000, 1001, lots=600, other=400)
    tape.book(2 * SECOND, 1000, 1001, lots=900, other=100)
    tape.book(3 * SECOND, 1000, 1001, lots=600, other=400)
    tape.level(4 * SECOND, BUY, 1000, 600)
    result = tape.run(Imbalance(weight=1.0, enter=0.5, leave=0.1))
    assert requests(result) == [(2 * SECOND, "new", BUY, 1001)]
    assert result.summary_by_instrument[0].position == 10


def test_one_message_does_not_trade_but_two_do(tape: Tape) -> None:
    tape.book(1 * SECOND, 1000, 1001, lots=900, other=100)
    tape.book(2 * SECOND, 1000, 1001, lots=900, other=100)
    tape.level(3 * SECOND, BUY, 1000, 900)
    result = tape.run(Imbalance(weight=0.5, enter=0.5))
    assert [at for at, _, _, _ in requests(result)] == [2 * SECOND]


def test_a_gap_forgets_the_average(tape: Tape) -> None:
    tape.book(1 * SECOND, 1000, 1001, lots=900, other=100)
    tape.gap(1_500_000)
    tape.book(2 * SECOND, 1000, 1001, lots=900, other=100)
    assert requests(tape.run(Imbalance(weight=0.5, enter=0.5))) == []


def test_an_order_that_was_too_late_is_sent_anew(tape: Tape) -> None:
    tape.book(1 * SECOND, 1000, 1001, lots=900, other=100)
    tape.book(1_000_500, 1002, 1003, lots=900, other=100)  # on its way while our order is
    tape.level(2 * SECOND, BUY, 1002, 901)
    tape.level(3 * SECOND, BUY, 1002, 902)
    result = tape.run(Imbalance(weight=1.0, enter=0.5))
    assert [(at, ticks) for at, _, _, ticks in requests(result)] == [(1 * SECOND, 1001), (2 * SECOND, 1003)]
    assert fills(result) == [(BUY, 1003, 10)]


@pytest.mark.parametrize("market", ["synthetic", "real"])
def test_runs(market: str, request: pytest.FixtureRequest, sound: Callable[[Result, int], None]) -> None:
    run = request.getfixturevalue(market)
    result = run(Imbalance(enter=0.3))
    sound(result, 10)
    assert (result.fills["maker"] == 0).all(), "it only takes"
    assert {-10, 10} <= set(result.fills["position"].tolist()), "it was long and short"
    assert result.digest == run(Imbalance(enter=0.3)).digest
