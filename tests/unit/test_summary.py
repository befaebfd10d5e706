"""The summary: short, with the figures that a person looks for first, safe in a notebook."""

from __future__ import annotations

from dataclasses import replace

from replay.summary import headline
from replay.units import US_PER_DAY
from tests.unit.test_metrics import market
from tests.unit.test_metrics import run as sends
from tests.unit.test_results import run


def test_money_and_its_sources() -> None:
    text = run().summary()
    assert "USD: largest drawdown 0.010515, recovered after 2.0 s" in text
    assert "USD: spread -0.0125, inventory +0.3, fees -0.005215, funding +0; turnover 5.21" in text
    assert "Sharpe" not in text, "a yearly ratio of four seconds is no headline"
    assert len(text.splitlines()) < 12


def test_ratios_of_longer_runs_and_round_trips() -> None:
    metrics = replace(
        sends("0.5:buy 3:sell", market((0, 200, 201), (2, 190, 191), (4, 220, 221)), deposit=10.0).metrics(),
        length_us=3 * US_PER_DAY, sharpe=1.234, sortino=None, calmar=2.0, annualised_return=0.5,
    )  # fmt: skip
    first, _, trips = headline(metrics)
    assert first.startswith("USD: return -0.5500%, +50.00% a year, Sharpe 1.23, Calmar 2.00, largest drawdown")
    assert "not recovered" in first
    assert trips == "USD: 1 round trips, 0% won, profit factor 0.00, held 2.5 s on average"


def test_blind_time_is_told_and_no_fills_are_no_lines() -> None:
    blind = sends("0.5:buy", market((0, 200, 201), (2.25, 0, 0), (2.75, 300, 301), (6, 300, 301)))
    assert "USD: +0.5 of it over 0.500 s blind" in blind.summary()
    assert headline(sends("", market((0, 200, 201), (1, 200, 201))).metrics()) == []


def test_a_notebook_gets_it_escaped() -> None:
    result = replace(run(), strategy="<script>alert(1)</script>")
    page = result._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and page.startswith("<pre>")
