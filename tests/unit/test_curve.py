"""Equity curves: figures worked out by hand, blind time, and what has no value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.curve import US_PER_YEAR, Curve
from replay.kernel.state import EQUITY
from replay.units import US_PER_DAY, US_PER_S

START = 1_700_006_400 * US_PER_S  # a midnight


def curve(values: list[float], valid: list[int] | None = None, step: int = US_PER_DAY, first: float = 0.0) -> Curve:
    """A curve with a point each `step`, the first `first`."""
    rows = np.zeros(len(values), EQUITY)
    rows["ts"] = START // step * step + step * np.arange(1, len(values) + 1)
    rows["value"], rows["position"] = values, 1
    rows["valid"] = 1 if valid is None else valid
    start = np.zeros(1, EQUITY)
    start["ts"], start["value"], start["valid"] = START // step * step, first, 1
    last = int(rows["ts"][-1]) if values else int(start["ts"][0])
    return Curve.build(np.concatenate([start, rows]), int(start["ts"][0]), last, values[-1] if values else first, step)


def test_returns_by_hand() -> None:
    of = curve([10.0, -1.0, 32.3])
    returns, steps = of.steps(100.0)
    assert returns.tolist() == pytest.approx([0.1, -0.1, 33.3 / 99])
    assert steps == 3
    mean = (0.1 - 0.1 + 33.3 / 99) / 3
    variance = sum((r - mean) ** 2 for r in (0.1, -0.1, 33.3 / 99)) / 2
    risk = of.risk(100.0)
    assert risk.volatility == pytest.approx(math.sqrt(365 * variance))
    assert risk.sharpe == pytest.approx(mean / math.sqrt(variance) * math.sqrt(365))
    assert risk.sortino == pytest.approx(mean / math.sqrt(0.01 / 3) * math.sqrt(365))
    assert of.annualised(100.0) == pytest.approx(1.323 ** (365 / 3) - 1)


def test_drawdown_by_hand() -> None:
    of = curve([10.0, -1.0, 4.0, 12.0, 11.0])
    fall = of.drawdown(100.0)
    assert fall is not None
    assert fall.money == pytest.approx(11.0)
    assert fall.fraction == pytest.approx(11 / 110)
    day = [int(ts) for ts in of.ts]
    assert (fall.peak_us, fall.trough_us, fall.recovery_us) == (day[1], day[2], day[4])
    assert fall.duration_us == 3 * US_PER_DAY
    later = curve([10.0, 10.0, -1.0, 9.0]).drawdown(None)
    assert later is not None and later.fraction is None and later.recovery_us is None
    assert (later.peak_us, later.duration_us) == (day[2], 2 * US_PER_DAY), "the last moment at the peak, to the end"
    assert curve([1.0, 1.0, 2.0]).drawdown(100.0) is None


def test_blind_time_is_in_the_total_and_nowhere_else() -> None:
    of = curve([1.0, 2.0, -50.0, -40.0, -39.0, -41.0, -36.0], valid=[1, 1, 0, 1, 1, 1, 1])
    assert of.net == -36.0
    assert of.blind_us == US_PER_DAY
    assert of.blind_net == pytest.approx(-52 + 10)
    assert of.steps(None)[0].tolist() == [1.0, 1.0, 1.0, -2.0, 5.0]
    assert of.risk(None).all_steps == 7
    assert of.path().tolist() == pytest.approx([0.0, 1.0, 2.0, 2.0, 2.0, 3.0, 1.0, 6.0])
    fall = of.drawdown(100.0)
    assert fall is not None
    assert (fall.money, fall.duration_us) == (pytest.approx(2.0), 2 * US_PER_DAY)
    assert fall.fraction == pytest.approx(2 / 103)
    assert of.exposure == pytest.approx(4 / 5), "the first of five clean days had no position"


def test_a_blind_window_inside_a_step_takes_the_step_out() -> None:
    rows = np.zeros(6, EQUITY)
    rows["ts"] = START + np.array([0, 10, 14, 15, 20, 30]) * US_PER_S
    rows["value"] = [0.0, 1.0, 7.0, 3.0, 4.0, 6.0]
    rows["valid"] = [1, 1, 0, 1, 1, 1]
    of = Curve.build(rows, START, START + 30 * US_PER_S, 6.0, 10 * US_PER_S)
    assert of.steps(None)[0].tolist() == [1.0, 2.0]
    assert of.blind_us == US_PER_S
    assert of.blind_net == pytest.approx(6.0 - 4.0)


def test_a_drawdown_that_spans_blind_time_counts_the_clean_part() -> None:
    of = curve([5.0, 3.0, 2.0, 2.0, 5.5], valid=[1, 1, 0, 1, 1])
    fall = of.drawdown(None)
    assert fall is not None
    assert fall.money == pytest.approx(2.0)
    assert fall.duration_us == 2 * US_PER_DAY


@pytest.mark.parametrize("values", [[], [5.0], [0.0, 0.0, 0.0], [3.0, 3.0, 3.0, 3.0]])
@pytest.mark.parametrize("capital", [None, 100.0])
def test_too_few_points_and_constant_equity_have_no_ratios(values: list[float], capital: float | None) -> None:
    of = curve(values, first=values[0] if len(values) > 1 else 0.0)
    risk = of.risk(capital)
    assert risk.sharpe is None and risk.sortino is None
    assert risk.volatility in (None, 0.0)
    assert of.drawdown(capital) is None


def test_a_steady_gain_is_not_an_infinite_ratio() -> None:
    risk = curve([0.1 * k for k in range(1, 40)]).risk(None)
    assert risk.sharpe is None and risk.sortino is None


def test_lost_capital_ends_the_returns() -> None:
    of = curve([-50.0, -100.0, -130.0, -20.0])
    returns, steps = of.steps(100.0)
    assert returns.tolist() == [-0.5, -1.0] and steps == 4
    assert of.annualised(100.0) == pytest.approx(0.8 ** (365 / 4) - 1)
    ruined = curve([-50.0, -130.0])
    assert ruined.annualised(100.0) == -1.0
    fall = ruined.drawdown(100.0)
    assert fall is not None and fall.fraction == pytest.approx(1.3)


def test_what_cannot_be_extrapolated_is_none() -> None:
    assert curve([1.0, 2.0], step=US_PER_S).annualised(100.0) is None
    assert curve([1.0, 2.0]).annualised(None) is None
    assert curve([1e9]).annualised(1.0) is None, "more than a float can hold"


def test_a_grid_that_nobody_reaches_and_a_run_without_length() -> None:
    of = Curve.build(np.zeros(0, EQUITY), START, START, 0.0, 2**61)
    assert (of.net, of.blind_us, of.exposure, of.drawdown(1.0), of.annualised(1.0)) == (0.0, 0, None, None, None)
    assert of.risk(1.0).sharpe is None


@given(
    st.lists(st.integers(-1_000, 1_000).map(float), min_size=3, max_size=40),
    st.lists(st.booleans(), min_size=40, max_size=40),
    st.sampled_from((1e-6, 0.5, 64.0, 1e6)),
)
def test_money_scales_and_ratios_do_not(values: list[float], valid: list[bool], factor: float) -> None:
    """All money times a factor: P&L and drawdown follow, ratios and times stay; blind and clean P&L add up."""
    ok = [int(v) for v in valid[: len(values)]]
    one, other = curve(values, ok), curve([v * factor for v in values], ok)
    assert other.net == pytest.approx(one.net * factor)
    assert one.path()[-1] + one.blind_net == pytest.approx(one.net, abs=1e-9)
    a, b = one.risk(2_000.0), other.risk(2_000.0 * factor)
    for name in ("volatility", "sharpe", "sortino"):
        before, after = getattr(a, name), getattr(b, name)
        assert (before is None) == (after is None)
        assert before is None or after == pytest.approx(before, rel=1e-6, abs=1e-9)
    fall, scaled = one.drawdown(2_000.0), other.drawdown(2_000.0 * factor)
    if fall is not None and scaled is not None and fall.money > 1e-6:
        assert scaled.money == pytest.approx(fall.money * factor, rel=1e-6)
        assert scaled.fraction == pytest.approx(fall.fraction, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_empyrical_agrees(seed: int) -> None:
    empyrical: Any = pytest.importorskip("empyrical", reason="optional oracle: pip install empyrical-reloaded")
    random = np.random.default_rng(seed)
    returns = random.normal(0.001, 0.02, 200)
    equity = 1_000.0 * np.cumprod(1 + returns)
    of = curve((equity - 1_000.0).tolist())
    risk, fall = of.risk(1_000.0), of.drawdown(1_000.0)
    assert fall is not None
    ours = of.steps(1_000.0)[0]
    assert ours == pytest.approx(returns)
    assert risk.volatility == pytest.approx(empyrical.annual_volatility(ours, annualization=365))
    assert risk.sharpe == pytest.approx(empyrical.sharpe_ratio(ours, annualization=365))
    assert risk.sortino == pytest.approx(empyrical.sortino_ratio(ours, annualization=365))
    assert -(fall.fraction or 0.0) == pytest.approx(empyrical.max_drawdown(ours))
    yearly = of.annualised(1_000.0)
    assert yearly == pytest.approx(empyrical.annual_return(ours, annualization=365))
    assert yearly / fall.fraction == pytest.approx(empyrical.calmar_ratio(ours, annualization=365))  # type: ignore[operator]


def test_a_year_has_365_days() -> None:
    assert US_PER_YEAR == 365 * 86_400 * 10**6
