"""The figures of whole runs: put together right, blind time out, nothing undefined, no warnings."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from replay import ConfigError, Context, Instrument, MakerTaker, Replay, Result, Strategy
from replay.context import Timer
from replay.events import BOOK, CLEAR, GAP, LAST, SNAPSHOT, empty_events
from replay.testing import synthetic_events
from replay.units import US_PER_S
from tests.differential.scenarios import scenario, wider

START = 1_700_000_000 * US_PER_S
COIN = Instrument("test", "COINUSD", "linear", Decimal("0.5"), Decimal("0.01"), settle="USD")


class Sends(Strategy):
    """Market orders at given times: a word of `seconds:side` pairs, one lot each."""

    plan: str = ""

    def on_start(self, ctx: Context) -> None:
        for word in self.plan.split():
            second, side = word.split(":")
            ctx.at(START + int(float(second) * US_PER_S), tag=1 if side == "buy" else 2)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        ctx.send(0, 1 if timer.tag == 1 else -1, 1)


def market(*rows: tuple[float, int, int]) -> np.ndarray:
    """A snapshot (second, bid, ask) each, in ticks; bid 0: a gap."""
    out: list[np.ndarray] = []
    for second, bid, ask in rows:
        ts = START + int(second * US_PER_S)
        events = empty_events(2 if bid else 1)
        events["ts"] = events["exch_ts"] = ts
        if bid:
            events["kind"], events["side"], events["price"], events["qty"] = BOOK, [1, -1], [bid, ask], 50
            events["flags"] = [SNAPSHOT | CLEAR, SNAPSHOT | LAST]
        else:
            events["kind"], events["flags"] = GAP, LAST
        out.append(events)
    return np.concatenate(out)


def run(plan: str, events: np.ndarray, fees: MakerTaker | None = None, **settings: Any) -> Result:
    replay = Replay(events, instruments=[COIN], fees=fees or MakerTaker(0, 0), **settings)
    return replay.run(Sends(plan=plan))


def test_figures_of_a_small_run() -> None:
    # Bought at 100.5, sold at 110: 0.095.  Mids 100.25, 110.25: spread -0.0025 twice, inventory 0.1.
    events = market((0, 200, 201), (2, 220, 221), (4, 220, 221))
    result = run("0.5:buy 3:sell", events, MakerTaker(0, "0.001"), deposit=10.0)
    of = result.metrics()
    fees = 0.01 * 210.5 * 0.001
    assert (of.currency, of.capital, of.fills, of.maker_share, of.trades.count) == ("USD", 10.0, 2, 0.0, 1)
    assert of.net == pytest.approx(0.095 - fees) and of.total_return == pytest.approx(of.net / 10)
    assert float(of.split.spread) == pytest.approx(-0.005) and float(of.split.inventory) == pytest.approx(0.1)
    assert of.fees == pytest.approx(fees) and of.fees_bps == pytest.approx(10.0)
    assert of.fee_share == pytest.approx(fees / 0.095) and of.funding_share == 0.0
    assert of.turnover == pytest.approx(2.105) and of.turnover_ratio == pytest.approx(0.2105)
    assert of.exposure == pytest.approx(2.5 / 4) and of.inventory[0].in_market == pytest.approx(2.5 / 4)
    assert of.trades.holding_mean_us == 2.5e6 and of.trades.win_rate == 1.0
    assert of.slippage_bps == pytest.approx(1e4 * 0.5 / 210.5)
    assert [(m.role, m.horizon_us, m.fills) for m in of.markouts] == [("taker", 100_000, 2), ("taker", 1_000_000, 2)]
    assert of.markouts[0].drift_bps == 0.0
    assert (of.annualised_return, of.calmar) == (None, None)
    assert of.notes == ("shorter than a day: returns are not annualised",)
    fall = of.drawdown
    assert fall is not None and fall.money == pytest.approx(0.01 * 110.25 - 1.1 + 0.0011), "at the sale, and for good"
    assert (fall.peak_us - START, fall.trough_us - START, fall.recovery_us) == (2_000_000, 3_000_000, None)


def test_blind_time_is_sampled_at_its_edges_and_left_out() -> None:
    events = market((0, 200, 201), (2.25, 0, 0), (2.75, 300, 301), (6, 300, 301))
    result = run("0.5:buy", events, deposit=10.0)
    rows = result.equity
    edges = rows[rows["ts"] % US_PER_S != 0]
    assert (edges["ts"] - START).tolist() == [500_000, 2_250_000, 2_750_000]
    assert edges["valid"].tolist() == [1, 0, 1]
    of = result.metrics()
    assert of.blind_us == 500_000 == result.summary_by_instrument[0].blind_us
    assert of.net == pytest.approx(0.01 * (150.25 - 100.5))
    assert of.blind_net == pytest.approx(0.01 * (150.25 - 100.25))
    assert (of.steps, of.all_steps) == (5, 6)
    assert of.volatility == pytest.approx(float(np.std([-0.00025, 0, 0, 0, 0], ddof=1)) * math.sqrt(365 * 86_400))
    assert of.drawdown is not None and of.drawdown.money == pytest.approx(0.0025)
    assert any("blind" in note for note in of.notes)
    assert of.split.net == sum([of.split.spread, of.split.inventory, -of.split.fees, -of.split.funding])


def test_a_gap_before_the_start_leaves_no_sample() -> None:
    events = market((0, 200, 201), (1, 0, 0), (2, 200, 201), (3, 0, 0), (4, 200, 201), (6, 200, 201))
    result = run("5:buy", events, start=START + 3 * US_PER_S + 500_000)
    assert result.equity["ts"].min() >= result.first_us
    assert result.summary_by_instrument[0].blind_us == 500_000


@pytest.mark.parametrize("plan", ["", "1:buy", "1:buy 2:sell", "3.9:buy"])
@pytest.mark.parametrize("deposit", [None, 10.0, 1e-9])
def test_everything_is_defined(plan: str, deposit: float | None) -> None:
    """No trade, one trade, a constant equity, an account that is lost at once: numbers or None, no NaN, no warning."""
    result = run(plan, market((0, 200, 201), (2, 150, 151), (4, 150, 151)))
    of = result.metrics(deposit=deposit)
    text = json.dumps(of.as_dict(), allow_nan=False)
    assert json.loads(text)["net"] == of.net == result.net["USD"]
    assert (of.total_return is None) == (deposit is None)
    assert any("no capital base" in note for note in of.notes) == (deposit is None)
    assert any("lost" in note for note in of.notes) == (deposit == 1e-9 and of.net < 0)
    if not plan:
        assert (of.fills, of.maker_share, of.sharpe, of.drawdown, of.exposure) == (0, None, None, None, 0.0)


def test_an_unknown_currency_and_a_bad_deposit_are_refused() -> None:
    result = run("", market((0, 200, 201), (1, 200, 201)))
    with pytest.raises(ConfigError, match=r"'USDT'.*did you mean 'USD'"):
        result.metrics("USDT")
    for bad in (0.0, -5.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="positive"):
            result.metrics(deposit=bad)
    two = replace(COIN, symbol="COINEUR", settle="EUR")
    several = Replay(synthetic_events([COIN, two], messages=200), instruments=[COIN, two]).run(Sends())
    with pytest.raises(ConfigError, match="name one of USD, EUR"):
        several.metrics()
    assert several.metrics("EUR").net == 0.0


def test_money_scales_with_the_size_of_a_lot() -> None:
    """Lots ten times as large earn ten times the money at the same returns on ten times the capital."""
    events = synthetic_events([COIN], seed=3, messages=3_000, gap_every=200, mean_step_us=20_000)
    plan = " ".join(f"{k / 4}:{'buy' if k % 3 else 'sell'}" for k in range(4, 90))
    one, ten = (
        Replay(events, instruments=[replace(COIN, lot=lot)], deposit=capital)
        .run(Sends(plan=plan))
        .metrics().as_dict()
        for lot, capital in ((Decimal("0.01"), 50.0), (Decimal("0.1"), 500.0))
    )  # fmt: skip
    assert one["blind_us"] == ten["blind_us"] > 0 and one["fills"] > 50
    for name in ("net", "blind_net", "turnover", "fees"):
        assert ten[name] == pytest.approx(10 * one[name]), name
    for name in ("spread", "inventory", "fees", "net"):
        assert ten["split"][name] == pytest.approx(10 * one["split"][name]), name
    for name in ("total_return", "volatility", "sharpe", "sortino", "exposure", "slippage_bps", "fees_bps"):
        assert ten[name] == pytest.approx(one[name], rel=1e-6), name
    assert [m["edge_bps"] for m in ten["markouts"]] == pytest.approx([m["edge_bps"] for m in one["markouts"]])


@pytest.mark.parametrize("seed", range(10))
def test_random_runs_over_all_models_have_figures(seed: int) -> None:
    """Figures of random runs: JSON without NaN, shares in [0, 1], the parts of the time and of the money add up."""
    for result in (scenario if seed % 2 else wider)(seed).session().results():
        for currency in result.currencies:
            of = result.metrics(currency)
            json.dumps(of.as_dict(), allow_nan=False)
            curve = result.curve(currency)
            clean = float(np.diff(curve.value)[curve.clean].sum())
            assert clean + of.blind_net == pytest.approx(of.net, abs=1e-9 * max(1.0, of.turnover))
            assert float(of.split.net) == pytest.approx(of.net, abs=1e-9 * max(1.0, of.turnover))
            assert 0 <= of.blind_us <= of.length_us and of.steps <= of.all_steps
            for share in (of.exposure, of.maker_share, of.orders.fill_ratio, of.trades.win_rate):
                assert share is None or 0.0 <= share <= 1.0
            assert 0 <= of.fills_without_mid <= of.fills
