"""What stands on the pages: the figures of the result, nothing of a user's as markup, one file written whole."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay import ConfigError, DataError, Instrument, MakerTaker, Replay, Result, Strategy
from replay.cli import main
from replay.curve import MIN_ANNUALISED_US
from replay.report import parts
from replay.report.markup import NONE, fixed, signed
from replay.report.several import MOST_COLOURED, MOST_FAINT, comparison_page, envelope, overlay, sweep_page
from replay.report.single import MOST_CHARTS, NO_DATA, result_page
from replay.sweep import Band, Sweep
from replay.testing import synthetic_events
from replay.units import US_PER_S
from tests.report.conftest import EVIL


class Elements(HTMLParser):
    """Tags with their attributes, and the text outside of script and style."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.text += data + "\n"


def data_of(html: str) -> Any:
    """The JSON in the page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def points(text: str) -> np.ndarray:
    """The float64 numbers in base64."""
    return np.frombuffer(base64.b64decode(text), "<f8")


def test_a_report_holds_the_figures_of_its_result(page: Path, result: Result) -> None:
    html = page.read_text()
    text, metrics = Elements(html).text, result.metrics()
    for figure in (
        signed(metrics.net),
        f"{metrics.fills:,}",
        result.digest,
        result.strategy,
        *result.versions.values(),
    ):
        assert figure in text
    split = metrics.split
    for amount in (split.spread, split.inventory, -split.fees, -split.funding, split.net):
        assert fixed(float(amount), 4, sign=True)[:6] in text
    assert f"{result.quality.gaps_total:,} gaps" in text and next(iter(result.data.values())) in text
    assert NO_DATA not in text
    data = data_of(html)
    titles = [chart["title"] for chart in data["charts"]]
    assert titles == ["Equity", "Drawdown", "Price and own fills", "Inventory", "signal"] and len(data["heat"]) >= 1
    curve = result.curve()
    assert points(data["charts"][0]["series"][0]["v"]).tolist() == curve.value.tolist()
    assert (data["first"], data["last"]) == (result.first_us, result.last_us)
    assert points(data["charts"][1]["series"][0]["v"]).min() == pytest.approx(-metrics.drawdown.money)
    assert len(data["charts"][0]["spans"]) > 0


def test_every_fill_is_marked_once(result: Result) -> None:
    data = result_page(result).charts.as_dict()
    marks = data["charts"][2]["series"][1:]
    assert sum(len(points(each["t"])) for each in marks) == len(result.fills)
    buys = sum(len(points(each["t"])) for each in marks if each["style"].startswith("buy"))
    assert buys == (result.fills["side"] > 0).sum()
    held = points(data["charts"][3]["series"][0]["v"])
    assert held[1:-1] == pytest.approx(result.fills["position"] * float(result.instruments[0].lot))


def test_the_page_is_closed_to_the_outside(page: Path) -> None:
    html = page.read_text()
    elements = Elements(html)
    policy = next(a["content"] for tag, a in elements.tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None and "default-src 'none'" in policy and "unsafe" not in policy
    for name in ("script", "style"):
        (code,) = re.findall(rf"<{name}>(.*?)</{name}>", html, re.DOTALL)
        assert "sha256-" + base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() in policy
    outward = {"src", "href", "action", "style", "srcset", "formaction"}
    links = [(tag, a[key]) for tag, a in elements.tags for key in outward & set(a)]
    assert links == [("link", "data:,")]
    assert not [key for _, a in elements.tags for key in a if key.startswith("on")]


def test_no_word_of_a_user_becomes_markup(evil: Result) -> None:
    pages = [result_page(evil), comparison_page({EVIL: evil, "b": evil})]
    for each in pages:
        html = each.html()
        tags = [tag for tag, _ in Elements(html).tags]
        assert tags.count("script") == 2 and "img" not in tags
        assert data_of(html)["first"] == evil.first_us, "a name in braces is not filled in"
        assert html.count("</script>") == 2


def test_without_data_the_page_says_so(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    result.to_html(path)
    text = Elements(path.read_text()).text
    assert NO_DATA in text and "the mid is known at fills" in text
    with pytest.raises(ConfigError, match="need the data"):
        result.to_html(path, moments=[result.first_us])


@pytest.mark.parametrize(
    ("moment", "why"),
    [("yesterday", "is not a date"), (0, "lies outside of the run"), ("2023-11-14T22:13:30", "has no time zone")],
)
def test_wrong_moments_are_refused(result: Result, replay: Replay, moment: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=why):
        result.to_html(tmp_path / "r.html", replay=replay, moments=[moment])
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_whole_or_not_at_all(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("before")
    result.to_html(path)
    assert path.read_text().endswith("</html>\n") and [each.name for each in tmp_path.iterdir()] == ["r.html"]
    with pytest.raises(DataError, match=r"cannot be written: .*; check folder"):
        result.to_html(tmp_path / "none" / "r.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        result.to_html(tmp_path / "folder")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "r.html"]


def test_a_short_run_has_no_yearly_ratios(result: Result) -> None:
    """Seconds of trading, of which a yearly Sharpe ratio would be a number without a meaning."""
    of = result.metrics()
    assert of.length_us < MIN_ANNUALISED_US and of.sharpe is not None
    profit = parts._figures(of)["profit and risk"]
    names = ["volatility, a year", "Sharpe ratio, a year", "Sortino ratio, a year", "Calmar ratio"]
    assert [profit[name] for name in names] == [NONE] * 4


def test_a_run_without_fills_is_a_page(result: Result) -> None:
    still = replace(result, fills=result.fills[:0], orders=result.orders[:0], markouts=result.markouts[:0], records={})
    data = result_page(still).charts.as_dict()
    assert [chart["title"] for chart in data["charts"]] == ["Equity", "Drawdown"]


def test_what_is_left_out_is_told(result: Result) -> None:
    series = result.records["signal"]
    many = replace(result, records={f"s{k}": series[: 2 + k] for k in range(MOST_CHARTS + 3)})
    page = result_page(many)
    titles = [chart["title"] for chart in page.charts.as_dict()["charts"]]
    assert titles[4:] == [f"s{k}" for k in range(MOST_CHARTS + 2, 2, -1)]
    assert "3 recorded series with fewer points are left out." in Elements(page.html()).text


class Buyer(Strategy):
    """Takes a little of everything, once."""

    def on_start(self, ctx: Any) -> None:
        ctx.at(1_700_000_000_000_000 + 5 * US_PER_S)

    def on_timer(self, ctx: Any, timer: Any) -> None:
        for i in range(2):
            ctx.buy(i, 2)


def test_every_currency_and_payoff_has_its_charts() -> None:
    coins = [
        Instrument("test", "A", "linear", Decimal("0.1"), Decimal("0.001")),
        Instrument("test", "B", "inverse", Decimal("0.1"), Decimal(1), Decimal(10), settle="BTC"),
    ]
    events = synthetic_events(coins, seed=3, messages=6_000)
    both = Replay(events, instruments=coins, fees=MakerTaker("0", "0.0005")).run(Buyer())
    page = result_page(both)
    units = [(chart["title"], chart["unit"]) for chart in page.charts.as_dict()["charts"]]
    assert [unit for title, unit in units if title == "Equity"] == ["P&L in USDT", "P&L in BTC"]
    assert sum(title == "Price and own fills" for title, _ in units) == 2
    text = Elements(page.html()).text
    assert "At a glance, BTC" in text and "P&L in BTC" in text and "taker edge" in text
    with pytest.raises(ConfigError, match="name one of USDT, BTC"):
        comparison_page({"a": both, "b": both})
    assert "P&L in BTC" in Elements(comparison_page({"a": both, "b": both}, "BTC").html()).text


def test_a_sweep_compares_its_variants(sweep: Sweep) -> None:
    html = sweep_page(sweep).html()
    text = Elements(html).text
    for word in ("half_spread_ticks", "skew_ticks", "By parameters", signed(sweep.best()[1].net["USDT"])):
        assert word in text
    (chart,) = data_of(html)["charts"]
    styles = [series["style"] for series in chart["series"]]
    assert styles.count("line") == MOST_COLOURED and styles.count("faint") == len(sweep) - MOST_COLOURED
    first = next(series for series in chart["series"] if series["style"] == "line")
    assert points(first["v"]).tolist() == sweep.best()[1].curve().value.tolist()


def test_of_many_results_an_even_choice_is_drawn(result: Result) -> None:
    count = MOST_COLOURED + 3 * MOST_FAINT
    (chart,) = overlay([str(k) for k in range(count)], [result] * count, "USDT").charts
    assert len(chart.series) == MOST_COLOURED + MOST_FAINT and f"{2 * MOST_FAINT} left out" in chart.note


def test_currencies_have_to_be_in_common(result: Result) -> None:
    other = replace(result, summary_by_instrument=tuple(
        replace(part, currency="BTC", fee_currency="BTC") for part in result.summary_by_instrument
    ))  # fmt: skip
    with pytest.raises(ConfigError, match="compare results with a settlement currency in common"):
        comparison_page({"a": result, "b": other})
    with pytest.raises(ConfigError, match="name one of USDT"):
        comparison_page({"a": result}, "EUR")
    with pytest.raises(ConfigError, match="is empty"):
        comparison_page({})


def test_the_envelope_holds_every_curve(band: Band) -> None:
    curves = [case.result.curve() for case in band.cases]
    ts, least, greatest = envelope(curves)
    assert (np.diff(ts) > 0).all() and (least <= greatest).all()
    for curve in curves:
        at = np.searchsorted(ts, curve.ts)
        assert (ts[at] == curve.ts).all() and (least[at] <= curve.value).all() and (curve.value <= greatest[at]).all()
    k = len(ts) // 2
    values = [float(curve.value[curve.ts <= ts[k]][-1]) for curve in curves]
    assert (least[k], greatest[k]) == (min(values), max(values))


def test_a_verdict_is_one_plain_sentence(band: Band) -> None:
    def verdict(base: float, worst: float) -> str:
        cases = []
        for case in band.cases:
            net = base if (case.queue, case.latency_factor) == ("base", 1.0) else worst
            part = replace(case.result.summary_by_instrument[0], net=net)
            cases.append(replace(case, result=replace(case.result, summary_by_instrument=(part,))))
        return Band(tuple(cases)).verdict("USDT")

    assert verdict(10, 4) == "40 % of the profit of 10 USDT is left under the harshest assumptions: 4 USDT."
    assert verdict(10, -4) == "Nothing of the profit of 10 USDT is left under the harshest assumptions."
    assert verdict(-1, -4) == "There is no profit to begin with: -1 USDT as configured."
    assert (band.verdict("USDT") in str(band)) == (band.base.net["USDT"] > 0) and "<pre>" in band._repr_html_()


def test_sweeps_show_themselves(sweep: Sweep) -> None:
    assert str(sweep) == sweep.summary() and sweep._repr_html_().startswith("<pre>")


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def saved(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "maker"
    result.to_parquet(folder)
    return folder


def test_the_command_reports_a_saved_result(
    saved: Path, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data,) = result.data
    out = tmp_path / "out.html"
    assert main(["report", str(saved), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n" and NO_DATA in Elements(out.read_text()).text
    moment = str(result.first_us + 1)
    arguments = ["--data", data, "--adapter", "binance-usdm", "--moment", moment]
    assert main(["report", str(saved), "--out", str(out), *arguments]) == 0
    assert len(data_of(out.read_text())["heat"]) == 1


def test_the_command_compares_results(saved: Path, sweep: Sweep, tmp_path: Path) -> None:
    other, out = tmp_path / "other", tmp_path / "out.html"
    sweep.results[0].to_parquet(other)
    assert main(["report", str(saved), str(other), "--out", str(out)]) == 0
    text = Elements(out.read_text()).text
    assert "maker" in text and "other" in text and "half_spread_ticks" in text


def test_the_command_reports_a_saved_band(
    band: Band, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out, direct = tmp_path / "band", tmp_path / "out.html", tmp_path / "direct.html"
    band.to_parquet(folder)
    band.to_html(direct)
    assert main(["report", str(folder), "--out", str(out), "--currency", "USDT"]) == 0
    assert out.read_text() == direct.read_text()
    for more, why in (([str(saved)], "name it alone"), (["--moment", "1"], "is for one result")):
        assert main(["report", str(folder), *more, "--out", str(out)]) == 2
        assert why in capsys.readouterr().err
    assert main(["report", str(folder), "--out", str(out), "--currency", "EUR"]) == 2
    assert main(["report", str(folder / "base-1"), "--out", str(out)]) == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["DIR", "DIR"], "name a folder twice"),
        (["DIR", "--data", "x.gz"], "--adapter go together"),
        (["DIR", "--currency", "USDT"], "is for several results"),
        (["DIR", "--store", "s", "--adapter", "a"], "excludes --data"),
        (["DIR", "--moment", "noon"], "is not a date|need the data"),
        (["nowhere"], "is not a saved result"),
    ],
)
def test_mistakes_are_told(
    saved: Path, arguments: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.html"
    given = [str(saved) if word == "DIR" else word for word in arguments]
    assert main(["report", *given, "--out", str(out)]) == 2
    assert re.search(why, capsys.readouterr().err) and not out.exists()
