"""The summary: short, with the figures that a person looks for first, safe in a notebook."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from replay import Context, Instrument, Replay, Strategy
from replay.context import Book
from replay.summary import headline
from replay.testing import synthetic_events
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


def test_wide_figures_and_names_do_not_touch_their_neighbours() -> None:
    instrument = Instrument("binance-options", "BTC-240809-60000-C", "linear", Decimal("0.1"), Decimal("0.001"))
    result = Replay(synthetic_events([instrument], messages=200), instruments=[instrument]).run(Strategy())
    (part,) = result.summary_by_instrument
    money: dict[str, Any] = {
        "pnl": 1234567890123.25,
        "fees": 9876543210.0,
        "funding": 9876543210.0,
        "net": -123456789012345.0,
    }
    money["net"] = -123456789012345.0
    wide = replace(part, fills=1_234_567, maker_fills=1_234_567, size="1000000000.001", **money)
    row = replace(result, summary_by_instrument=(wide,)).summary().splitlines()[5]
    assert row.split() == ["binance-options:BTC-240809-60000-C", "1,234,567", "100", "%", "1000000000.001",
                           "1,234,567,890,123.25", "9,876,543,210.00", "9,876,543,210.00",
                           "-123,456,789,012,345.00", "USDT"]  # fmt: skip


def test_orders_that_the_venue_rejected_are_told() -> None:
    class Eager(Strategy):
        sent: int = 0

        def on_book(self, ctx: Context, book: Book) -> None:
            if book.ready and self.sent < 2:
                self.sent += 1
                ctx.buy(0, 1, book.ask_ticks + 50, post_only=True)

    instrument = Instrument("test", "A", "linear", Decimal("0.1"), Decimal("0.001"))
    result = Replay(synthetic_events([instrument], messages=200), instruments=[instrument]).run(Eager())
    assert result.rejections == {"post-only-would-cross": 2} and result.refusals == {}
    assert "rejected by the venue: 2 × post-only-would-cross" in result.summary()
