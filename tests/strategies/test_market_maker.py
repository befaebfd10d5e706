"""Market maker: quotes around the mid, leans against its inventory, keeps its limit, steps back in a gap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replay import Result
from replay.events import BUY, SELL
from strategies.market_maker import MarketMaker
from tests.strategies.tape import SECOND, Tape, fills, quotes, requests


def maker(**parameters: Any) -> MarketMaker:
    settings = {"lots": 10, "limit_lots": 20, "half_spread_ticks": 5, "skew_ticks": 8, "refresh_us": SECOND}
    return MarketMaker(**{**settings, **parameters})


def test_quotes_lie_around_the_mid_and_follow_it(tape: Tape) -> None:
    tape.book(200_000, 1000, 1002)
    tape.book(1_500_000, 1010, 1014)
    tape.level(9 * SECOND, BUY, 1010, 900)
    result = tape.run(maker(lots=4, half_spread_ticks=12))
    assert quotes(result, 1_400_000) == [(BUY, 989, 4), (SELL, 1013, 4)]
    assert quotes(result, 2_500_000) == [(BUY, 1000, 4), (SELL, 1024, 4)]
    assert [what for _, what, _, _ in requests(result)] == ["new", "new", "modify", "modify"]


def test_a_long_position_lowers_both_quotes(tape: Tape) -> None:
    tape.book(200_000, 1000, 1002)
    tape.trade(1_500_000, SELL, 995, 1)  # through the bid at 996
    tape.level(9 * SECOND, BUY, 1000, 900)
    result = tape.run(maker())
    assert fills(result) == [(BUY, 996, 10)]
    assert quotes(result, 1_400_000) == [(BUY, 996, 10), (SELL, 1006, 10)]
    assert quotes(result, 2_500_000) == [(BUY, 992, 10), (SELL, 1002, 10)]


def test_at_the_limit_only_the_reducing_side_is_quoted(tape: Tape) -> None:
    tape.book(200_000, 1000, 1002)
    tape.trade(1_500_000, SELL, 900, 1)
    tape.trade(2_500_000, SELL, 900, 1)
    tape.trade(3_500_000, SELL, 900, 1)
    tape.level(9 * SECOND, BUY, 1000, 900)
    result = tape.run(maker(limit_lots=15))
    assert [lots for _, _, lots in fills(result)] == [10, 5]
    assert {side for side, _, _ in quotes(result, 4_500_000)} == {SELL}


def test_a_gap_withdraws_the_quotes_until_the_book_is_back(tape: Tape) -> None:
    tape.book(200_000, 1000, 1002)
    tape.gap(2_500_000)
    tape.book(5_500_000, 1000, 1002)
    tape.level(9 * SECOND, BUY, 1000, 900)
    result = tape.run(maker())
    blind = [request for request in requests(result) if 2_500_000 <= request[0] < 5_500_000]
    assert [(at, what) for at, what, _, _ in blind] == [(2_500_000, "cancel"), (2_500_000, "cancel")]
    assert len(quotes(result, 2_400_000)) == 2
    assert quotes(result, 4_500_000) == []
    assert len(quotes(result, 6_500_000)) == 2


def test_a_quote_is_never_sent_across_the_touch(tape: Tape) -> None:
    tape.book(200_000, 1000, 1002)
    tape.trade(1_500_000, SELL, 990, 1)
    tape.level(9 * SECOND, BUY, 1000, 900)
    result = tape.run(maker(half_spread_ticks=1, skew_ticks=100))
    assert quotes(result, 1_400_000) == [(BUY, 1000, 10), (SELL, 1002, 10)]
    assert quotes(result, 2_500_000) == [(BUY, 950, 10), (SELL, 1001, 10)], "the ask is not at the 952 of the centre"


@pytest.mark.parametrize("market", ["synthetic", "real"])
def test_runs(market: str, request: pytest.FixtureRequest, sound: Callable[[Result, int], None]) -> None:
    run = request.getfixturevalue(market)
    result = run(MarketMaker(limit_lots=25))
    sound(result, 25)
    assert (result.fills["maker"] == 1).all(), "post-only quotes never take"
    assert result.digest == run(MarketMaker(limit_lots=25)).digest
    assert result.digest != run(MarketMaker(limit_lots=25, skew_ticks=0)).digest
