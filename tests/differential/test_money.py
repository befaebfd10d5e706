"""Funding and inverse profit against the venues' published formulas, and liquidation of an own position."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from replay import (
    ConfigError,
    ConstantLatency,
    Context,
    FeesIn,
    FlatFees,
    Instrument,
    MakerTaker,
    Margin,
    PerContractFees,
    Replay,
    Result,
    Strategy,
)
from replay.context import Funding, Order, Timer
from replay.events import BOOK, CLEAR, EVENT, FUNDING, LAST, MARK, SNAPSHOT, TRADE
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


# ------------------------------------------------------------------------------------------------------ fee currency


@pytest.mark.parametrize(
    ("fees", "owed"),
    [
        (FeesIn(MakerTaker(0, "0.00075"), "BNB", "600.5"),
         14 * Fraction("60.0005") * Fraction("0.00075") / Fraction("600.5")),
        (FeesIn(MakerTaker(0, "0.001"), "BTC"), 14 * Fraction(1, 1_000) * Fraction("0.001")),
        (FeesIn(FlatFees("0.25"), "BNB"), Fraction("0.5")),
        (FeesIn(PerContractFees(0, "0.5"), "BNB"), 14 * Fraction(1, 1_000) * Fraction("0.5")),
    ],
)  # fmt: skip
def test_fees_in_another_currency_leave_the_profit_alone(fees: FeesIn, owed: Fraction) -> None:
    rows = [*book(START + 1_000, 600_005, 600_005), *book(START + 9 * US_PER_S, 600_005, 600_005)]
    plain = run(rows, LINEAR, Hold(close_us=START + 5 * US_PER_S), self_trade="allow")
    result = run(rows, LINEAR, Hold(close_us=START + 5 * US_PER_S), fees=fees, self_trade="allow")
    part = result.summary_by_instrument[0]
    assert part.fills == 2 and part.volume == 14
    assert part.fees == float(owed)
    assert (part.fee_currency, part.currency) == (fees.currency, "USDT")
    assert part.net == part.pnl == plain.summary_by_instrument[0].net
    assert result.net == {"USDT": part.net, fees.currency: -part.fees}
    assert [row["fee_currency"] for row in result.fills_table()] == [fees.currency] * 2
    assert result.fills["fee"].sum() == pytest.approx(float(owed), rel=1e-15)
    by_currency = {c: result.equity[result.equity["currency"] == c][-1] for c in (0, 1)}
    assert by_currency[0]["value"] == part.net and by_currency[0]["fees"] == 0
    assert by_currency[1]["value"] == -by_currency[1]["fees"] == pytest.approx(-float(owed), rel=1e-15)
    assert by_currency[1]["position"] == 0


def test_fees_in_the_coin_of_another_instrument_are_taken_off_its_equity() -> None:
    """Two instruments: the linear one's fees are owed in the coin in which the inverse one settles."""
    rows = [*book(START + 1_000, 600_000, 600_001), *book(START + 9 * US_PER_S, 600_000, 600_001)]
    events = np.array([*rows[:2], *rows[:2], *rows[2:]], EVENT)
    events["instrument"][2:4] = 1
    fees = {LINEAR.name: FeesIn(MakerTaker(0, "0.001"), "BTC")}
    result = Replay(events, instruments=[LINEAR, INVERSE], fees=fees).run(Hold(lots=1_000))
    part = result.summary_by_instrument[0]
    assert part.fees == 0.001
    assert result.net == {"USDT": part.net, "BTC": -0.001}
    assert result.equity[result.equity["currency"] == 1]["value"].tolist()[-1] == -0.001


def test_fee_currencies_that_make_no_sense() -> None:
    rows = [*book(START + 1_000, 600_000, 600_001)]
    with pytest.raises(ConfigError, match=r"I\.fees=.*needs a price"):
        run(rows, INVERSE, Hold(), fees=FeesIn(MakerTaker(0, "0.001"), "ETH"))
    with pytest.raises(ConfigError, match="does nothing"):
        FeesIn(FlatFees("1"), "BNB", "600")
    for price in ("0", "-1", 600.0, "x"):
        with pytest.raises(ConfigError, match=r"FeesIn\.price"):
            FeesIn(MakerTaker(), "BNB", price)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"FeesIn\.currency"):
        FeesIn(MakerTaker(), "")
    with pytest.raises(ConfigError, match=r"FeesIn\.fees"):
        FeesIn(FeesIn(MakerTaker(), "BNB", "1"), "BTC")  # type: ignore[arg-type]


def test_an_inverse_contracts_fee_at_a_fixed_price() -> None:
    rows = [*book(START + 1_000, 600_000, 600_010), *book(START + 9 * US_PER_S, 600_000, 600_010)]
    result = run(rows, INVERSE, Hold(lots=40), fees=FeesIn(MakerTaker(0, "0.0005"), "BNB", "0.01"))
    part = result.summary_by_instrument[0]
    assert part.fees == pytest.approx(40 * 100 / 60_001 * 0.0005 / 0.01, rel=1e-12)
    assert part.net == part.pnl


# ----------------------------------------------------------------------------------------------------------- options

EXPIRY = START + 10 * US_PER_S
PERP = Instrument("test", "U", "linear", Decimal("0.1"), Decimal("0.001"))


def option(right: str, strike: str = "60000") -> Instrument:
    return Instrument("test", "O", "option", Decimal("0.5"), Decimal("0.01"), Decimal(1), "USDT", right,  # type: ignore[arg-type]
                      Decimal(strike), EXPIRY, PERP.name)  # fmt: skip


class TradeOption(Strategy):
    """Takes the option after a second, rests far away and waits at a stop; tries again after it expired."""

    lots: int = 7
    side: int = 1
    rest: bool = False
    heard: str = ""
    held: int = 0

    def on_start(self, ctx: Context) -> None:
        for tag, after in enumerate((1, 2, 10, 11)):
            ctx.at(START + after * US_PER_S, tag)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        if timer.tag == 0:
            ctx.send(0, self.side, self.lots)
        elif timer.tag == 1 and self.rest:
            ctx.buy(0, 1, 2)
            ctx.sell(0, 1, 9_999)
            ctx.buy(0, 1, stop_ticks=9_000)
        elif timer.tag == 2:
            self.held = ctx.position()
        elif timer.tag == 3:
            assert ctx.position() == 0
            if self.rest:
                ctx.buy(0, 1, 2)
                ctx.buy(0, 1, stop_ticks=9_000)

    def on_order(self, ctx: Context, order: Order) -> None:
        self.heard += f"{order.id}:{order.status}:{order.reason} "


def option_rows(settle: str) -> list[tuple[int, ...]]:
    """An option at 500 to 501 with a mark of its own, its underlying's mark, and events beyond the expiry."""
    premium = [*book(START + 1_000, 1_000, 1_002), *mark(START + 3 * US_PER_S, "512.3", "0", START)[:1]]
    premium[-1] = (*premium[-1][:8], LAST, *premium[-1][9:])
    under = [mark(START + at, price, "0", START)[0] for at, price in
             ((2 * US_PER_S, "60100.5"), (10 * US_PER_S + 1_000, settle), (13 * US_PER_S, "1"))]  # fmt: skip
    rows = [*premium, *((*row[:6], 1, 0, LAST, *row[9:]) for row in under)]
    return sorted(rows, key=lambda row: row[0])


def run_option(instrument: Instrument, settle: str, strategy: Strategy, **settings: object) -> Result:
    events = np.array(option_rows(settle), EVENT)
    replay = Replay(events, instruments=[instrument, PERP], latency=ConstantLatency(2_000, 2_000), **settings)  # type: ignore[arg-type]
    return replay.run(strategy)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("right", "settle"),
    [
        ("call", "60777.12345678"),
        ("put", "60777.12345678"),
        ("put", "58999.00000001"),
        ("call", "60000"),
        ("call", "1"),
    ],
)
def test_an_option_pays_its_intrinsic_value_at_expiry_to_the_last_digit(right: str, settle: str, side: int) -> None:
    strategy = TradeOption(side=side)
    result = run_option(option(right), settle, strategy, fees=MakerTaker(0, "0.0003"))
    part = result.summary_by_instrument[0]
    moneyness = Fraction(settle) - 60_000
    intrinsic = max(0, moneyness if right == "call" else -moneyness)
    premium = Fraction(501 if side > 0 else 500)
    size = side * 7 * Fraction("0.01")
    assert (part.position, part.expired, part.settled_at) == (0, side * 7, float(settle))
    assert part.pnl == float(size * (intrinsic - premium))
    assert part.realised == part.pnl and part.unrealised == 0.0
    assert part.fees == float(abs(size) * premium * Fraction("0.0003"))
    assert part.net == part.pnl - part.fees
    assert strategy.held == side * 7
    assert result.equity[-1]["value"] == pytest.approx(part.net, abs=1e-9)


def test_an_option_before_its_expiry_is_worth_its_mark() -> None:
    result = run_option(option("call"), "61000", TradeOption(), end=START + 9 * US_PER_S)
    part = result.summary_by_instrument[0]
    assert (part.position, part.expired, part.settled_at) == (7, 0, 0.0)
    assert part.pnl == pytest.approx(float(7 * Fraction("0.01") * (Fraction("512.3") - 501)), abs=1e-12)
    assert part.entry == 501.0


def test_orders_of_an_expired_option_end() -> None:
    strategy = TradeOption(rest=True, lots=1)
    result = run_option(option("call"), "61000", strategy)
    assert strategy.heard.split() == [
        "1:filled:", "2:live:", "3:live:", "4:live:", "2:expired:expired", "3:expired:expired", "4:expired:expired",
        "5:expired:expired", "6:expired:expired",
    ]  # fmt: skip
    assert result.open_orders == 0


def test_an_option_without_a_mark_of_its_underlying_is_not_settled() -> None:
    rows = [row for row in option_rows("61000") if row[6] == 0]
    rows.append((EXPIRY + US_PER_S, EXPIRY + US_PER_S, 9, 1_001, 5, 0, 0, 0, LAST, TRADE, 1, 0, 0))
    replay = Replay(np.array(rows, EVENT), instruments=[option("call"), PERP])
    session = replay.session(Hold(lots=3))
    session.run()
    part = session.results()[0].summary_by_instrument[0]
    assert (part.position, part.expired, part.settled_at) == (3, 0, 0.0)


def test_what_an_option_ties_up() -> None:
    """A held option needs its whole mark (0.07 · 501), an owed one the fraction of its underlying (0.07 · 60100.5)."""
    margin = Margin(initial="0.1", maintenance="0.05")
    for side, needed in ((1, 7 * 0.01 * 501.0), (-1, 7 * 0.01 * 60_100.5 * 0.1)):
        rows = option_rows("61000")
        rows = [(START, START, *row[2:]) if row[6] == 1 and row[0] == START + 2 * US_PER_S else row for row in rows]
        events = np.array(sorted(rows, key=lambda row: row[0]), EVENT)
        for deposit, position in ((needed - 0.01, 0), (needed + 0.01, side * 7)):
            replay = Replay(events, instruments=[option("call"), PERP], margin=margin, deposit=deposit, end=EXPIRY - 1)
            assert replay.run(TradeOption(side=side)).summary_by_instrument[0].position == position


def test_options_need_their_terms_and_their_underlying() -> None:
    good = option("call")
    with pytest.raises(ConfigError, match=r"test:O\.underlying='test:U'.*is not in this run; add its recording"):
        Replay(np.zeros(0, EVENT), instruments=[good])
    terms = {name: getattr(good, name) for name in good.__dataclass_fields__}
    bad: tuple[tuple[str, object], ...] = (
        ("right", ""), ("right", "CALL"), ("strike", Decimal(0)), ("strike", 60_000), ("expiry_us", 0),
        ("expiry_us", 1.5), ("underlying", ""), ("underlying", "test:O"),
    )  # fmt: skip
    for name, value in bad:
        with pytest.raises(ConfigError, match=rf"test:O\.{name}="):
            Instrument(**{**terms, name: value})
    with pytest.raises(ConfigError, match="has terms of an option"):
        Instrument(**{**terms, "payoff": "linear"})


# ---------------------------------------------------------------------------------------- margin without a mark feed


def test_a_mark_that_is_the_books_mid_liquidates_too() -> None:
    rows = [
        *book(START + 1_000, 600_000, 600_001),
        *book(START + 4 * US_PER_S, 540_000, 540_001),
        *book(START + 9 * US_PER_S, 540_000, 540_001),
    ]
    margin = Margin(initial="0.1", maintenance="0.05", liquidation_fee="0.01")
    result = run(rows, LINEAR, Hold(lots=1_000), margin=margin, deposit=6_100.0)
    assert result.liquidations == 1
    assert result.summary_by_instrument[0].position == 0
    assert int(result.fills["exch_ts"][1]) == START + 4 * US_PER_S - 1_000
