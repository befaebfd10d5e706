"""Funding and inverse profit against the venues' published formulas, and liquidation of an own position."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from replay import ConstantLatency, Context, Instrument, MakerTaker, Margin, Replay, Result, Strategy
from replay.context import Funding, Timer
from replay.events import BOOK, CLEAR, EVENT, FUNDING, LAST, MARK, SNAPSHOT
from replay.units import SCALE, US_PER_S

LINEAR = Instrument("test", "L", "linear", Decimal("0.1"), Decimal("0.001"))
INVERSE = Instrument("test", "I", "inverse", Decimal("0.1"), Decimal(1), Decimal(100), "BTC")
START = 1_700_000_000_000_000


def book(ts: int, bid: int, ask: int, lots: int = 1_000) -> list[tuple[int, ...]]:
    """A whole book of one level a side, received 1 ms after it was true."""
    return [
        (ts, ts - 1_000, ts, bid, lots, 0, 0, 0, SNAPSHOT | CLEAR, BOOK, 1, 0, 0),
        (ts, ts - 1_000, ts, ask, lots, 0, 0, 0, SNAPSHOT | LAST, BOOK, -1, 0, 0),
    ]


def mark(ts: int, price: str, rate: str, next_us: int) -> list[tuple[int, ...]]:
    scaled, scaled_rate = int(Decimal(price) * SCALE), int(Decimal(rate) * SCALE)
    return [
        (ts, ts - 1_000, 0, 0, 0, scaled, 0, 0, 0, MARK, 0, 0, 0),
        (ts, ts - 1_000, next_us, 0, 0, scaled_rate, 0, 0, LAST, FUNDING, 0, 0, 0),
    ]


class Hold(Strategy):
    """Buys at market after one second and, if asked to, sells all at `close_us`."""

    lots: int = 7
    side: int = 1
    close_us: int = 0
    heard: int = 0

    def on_start(self, ctx: Context) -> None:
        ctx.at(START + US_PER_S, tag=1)
        if self.close_us:
            ctx.at(self.close_us, tag=2)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        ctx.send(0, self.side if timer.tag == 1 else -self.side, self.lots)

    def on_funding(self, ctx: Context, funding: Funding) -> None:
        self.heard += 1


def run(rows: list[tuple[int, ...]], instrument: Instrument, strategy: Strategy, **settings: object) -> Result:
    events = np.array(rows, EVENT)
    return Replay(events, instruments=[instrument], latency=ConstantLatency(2_000, 2_000), **settings).run(strategy)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", [1, -1])
def test_funding_pays_lots_mark_rate_to_the_last_digit(side: int) -> None:
    settle = START + 10 * US_PER_S
    rows = [
        *book(START + 1_000, 600_000, 600_001),
        *mark(START + 2 * US_PER_S, "60000.12345678", "0.00010000", settle),
        *mark(START + 9 * US_PER_S, "60111.98765432", "0.00012345", settle),
        *mark(START + 11 * US_PER_S, "61000.00000001", "0.00050000", settle + 10 * US_PER_S),
        *book(START + 12 * US_PER_S, 600_000, 600_001),
    ]
    strategy = Hold(lots=123, side=side)
    result = run(rows, LINEAR, strategy)
    exact = side * 123 * Fraction("0.001") * Fraction("60111.98765432") * Fraction("0.00012345")
    part = result.summary_by_instrument[0]
    assert part.position == side * 123
    assert part.funding == float(exact)
    assert part.net == part.pnl - part.fees - part.funding
    assert strategy.heard == 3


def test_a_position_closed_before_the_settlement_pays_nothing() -> None:
    settle = START + 10 * US_PER_S
    rows = [
        *book(START + 1_000, 600_000, 600_001),
        *mark(START + 2 * US_PER_S, "60000", "0.0001", settle),
        *book(START + 12 * US_PER_S, 600_000, 600_001),
    ]
    # The request reaches the venue 2 ms after the timer: just before, and just after the settlement.
    before = run(rows, LINEAR, Hold(close_us=settle - 2_001))
    after = run(rows, LINEAR, Hold(close_us=settle - 1_999))
    assert before.summary_by_instrument[0].funding == 0.0
    assert after.summary_by_instrument[0].funding == float(7 * Fraction("0.001") * 60_000 * Fraction("0.0001"))


@pytest.mark.parametrize("side", [1, -1])
def test_inverse_profit_is_the_venues_formula(side: int) -> None:
    """Binance COIN-M: profit in coin = side · contracts · size · (1/entry − 1/exit)."""
    close = START + 5 * US_PER_S
    rows = [
        *book(START + 1_000, 600_000, 600_010),
        *book(START + 4 * US_PER_S, 612_340, 612_350),
        *book(START + 9 * US_PER_S, 612_340, 612_350),
    ]
    result = run(rows, INVERSE, Hold(lots=40, side=side, close_us=close), fees=MakerTaker(0, "0.0005"))
    entry = Fraction(600_010 if side > 0 else 600_000, 10)
    exit_ = Fraction(612_340 if side > 0 else 612_350, 10)
    profit = side * 40 * 100 * (1 / entry - 1 / exit_)
    fees = 40 * 100 * (1 / entry + 1 / exit_) * Fraction("0.0005")
    part = result.summary_by_instrument[0]
    assert part.position == 0 and part.currency == "BTC"
    assert part.pnl == pytest.approx(float(profit), rel=1e-12)
    assert part.fees == pytest.approx(float(fees), rel=1e-12)
    assert part.realised == part.pnl and part.unrealised == 0.0


def test_inverse_open_position_is_valued_at_the_mark() -> None:
    rows = [
        *book(START + 1_000, 600_000, 600_010),
        *mark(START + 8 * US_PER_S, "59000", "0.0001", START + 3_600 * US_PER_S),
        *book(START + 9 * US_PER_S, 590_000, 590_010),
    ]
    part = run(rows, INVERSE, Hold(lots=40)).summary_by_instrument[0]
    assert part.unrealised == pytest.approx(40 * 100 * (1 / 60_001 - 1 / 59_000), rel=1e-12)
    assert part.entry == pytest.approx(60_001)
    assert part.pnl == pytest.approx(part.realised + part.unrealised, rel=1e-12)


def test_below_maintenance_the_position_is_liquidated_and_the_fee_charged() -> None:
    rows = [
        *book(START + 1_000, 600_000, 600_001),
        *book(START + 4 * US_PER_S, 540_000, 540_001),
        *mark(START + 5 * US_PER_S, "54000", "0.0001", START + 3_600 * US_PER_S),
        *book(START + 9 * US_PER_S, 540_000, 540_001),
    ]
    margin = Margin(initial="0.1", maintenance="0.05", liquidation_fee="0.01")
    result = run(rows, LINEAR, Hold(lots=1_000), margin=margin, deposit=6_100.0)
    part = result.summary_by_instrument[0]
    assert result.liquidations == 1
    assert part.position == 0
    assert part.pnl == pytest.approx(-6_000.1)
    assert part.fees == pytest.approx(54_000 * 0.01)


def test_an_order_that_free_margin_cannot_carry_is_rejected() -> None:
    rows = [*book(START + 1_000, 600_000, 600_001), *book(START + 9 * US_PER_S, 600_000, 600_001)]
    margin = Margin(initial="0.1", maintenance="0.05")
    too_much = run(rows, LINEAR, Hold(lots=1_000), margin=margin, deposit=5_999.0)
    enough = run(rows, LINEAR, Hold(lots=1_000), margin=margin, deposit=6_001.0)
    assert too_much.summary_by_instrument[0].position == 0
    assert {row["reason"] for row in too_much.orders if row["answer"]} == {7}  # insufficient-margin
    assert enough.summary_by_instrument[0].position == 1_000


def test_spot_cannot_sell_what_it_does_not_hold_unless_it_borrows() -> None:
    spot = Instrument("test", "S", "spot", Decimal("0.1"), Decimal("0.001"))
    rows = [*book(START + 1_000, 600_000, 600_001), *book(START + 9 * US_PER_S, 600_000, 600_001)]
    assert run(rows, spot, Hold(side=-1)).summary_by_instrument[0].position == 0
    assert run(rows, spot, Hold(side=-1), borrow=True).summary_by_instrument[0].position == -7
