"""Reports in a real browser: they draw, nothing is asked for, all charts move together, no word of a user runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay import Result
from replay.report.page import Page, time_charts
from replay.report.series import Chart, Charts, Series
from replay.results import SERIES
from replay.sweep import Band, Sweep
from tests.report.chromium import Chromium, chromium, find_chromium

CHART = "figure.time canvas"
VIEWS = "[...document.querySelectorAll('figure.time')].map(f => [+f.dataset.from, +f.dataset.to])"
INK = """[...document.querySelectorAll('canvas')].map(c => {
    const d = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer);
    return [d.filter(x => x !== 0).length, new Set(d).size]; })"""
READOUTS = "[...document.querySelectorAll('figure.time .legend b')].map(b => b.textContent).join('|')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """One for all tests of the module."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on PATH: apt-get install chromium (.ci/run does it on Debian as root)")
    with chromium(program) as found:
        yield found


@pytest.fixture
def shown(browser: Chromium, page: Path) -> Chromium:
    """The browser with the report of the result, light, on a wide screen."""
    browser.size(1100, 900)
    browser.dark(False)
    browser.open(page)
    return browser


def view(browser: Chromium) -> tuple[float, float]:
    """The stretch of time that all charts show."""
    browser.settle()
    views = browser.evaluate(VIEWS)
    assert len(views) >= 4 and all(each == views[0] for each in views), "all charts show the same time"
    return views[0][0], views[0][1]


def test_it_draws_without_errors_and_asks_for_nothing(shown: Chromium, page: Path) -> None:
    assert shown.errors == [] and shown.requests == [page.resolve().as_uri()]
    ink = shown.evaluate(INK)
    assert len(ink) >= 6, "equity, drawdown, price, inventory, a recorded series, books"
    assert all(painted > 1_000 and colours > 8 for painted, colours in ink)


def test_wheel_zooms_all_charts_once_one_was_clicked(shown: Chromium) -> None:
    everything = view(shown)
    x, y = shown.place(CHART)
    shown.mouse("mouseWheel", x, y, deltaX=0, deltaY=-1)
    assert view(shown) == everything, "the wheel scrolls the page until a chart was clicked"
    x, y = shown.place(CHART)
    shown.click(x, y)
    shown.mouse("mouseWheel", x, y, deltaX=0, deltaY=-400)
    closer = view(shown)
    assert everything[0] < closer[0] < closer[1] < everything[1]
    shown.mouse("mouseWheel", x, y, deltaX=0, deltaY=4_000)
    assert view(shown) == everything


def test_keys_zoom_move_and_reset(shown: Chromium) -> None:
    everything = view(shown)
    shown.evaluate(f"document.querySelector('{CHART}').focus()")
    shown.key("+")
    half = view(shown)
    assert half[1] - half[0] == pytest.approx((everything[1] - everything[0]) / 2)
    shown.key("ArrowRight", shift=True)
    moved = view(shown)
    assert moved[0] > half[0] and moved[1] - moved[0] == pytest.approx(half[1] - half[0])
    before = shown.evaluate(READOUTS)
    for _ in range(3):
        shown.key("ArrowLeft")
    assert shown.evaluate(READOUTS) != before, "the values at the cursor"
    shown.key("-")
    assert view(shown)[1] - view(shown)[0] > moved[1] - moved[0]
    shown.key("0")
    assert view(shown) == everything


def test_drag_selects_and_double_click_shows_all(shown: Chromium) -> None:
    everything = view(shown)
    x, y = shown.place(CHART)
    shown.drag(x - 100, y, x + 100, y)
    chosen = view(shown)
    assert 0 < chosen[1] - chosen[0] < 0.3 * (everything[1] - everything[0])
    shown.mouse("mouseMoved", x, y)
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            shown.mouse(kind, x, y, button="left", buttons=1, clickCount=count)
    assert view(shown) == everything


def test_fingers_pinch(shown: Chromium) -> None:
    shown.size(390, 800, mobile=True)
    everything = view(shown)
    x, y = shown.place(CHART)

    def touch(kind: str, *xs: float) -> None:
        points = [{"x": at, "y": y, "id": k} for k, at in enumerate(xs)]
        shown.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    shown.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    touch("touchStart", x - 20, x + 20)
    touch("touchMove", x - 60, x + 20)
    touch("touchMove", x - 60, x + 60)
    touch("touchEnd")
    closer = view(shown)
    shown.call("Emulation.setTouchEmulationEnabled", enabled=False)
    assert closer[1] - closer[0] < 0.6 * (everything[1] - everything[0])


def test_dark_is_dark_and_can_be_switched(shown: Chromium) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = shown.evaluate(paper)
    ink = shown.evaluate(INK)
    shown.dark(True)
    dark = shown.evaluate(paper)
    assert brightness(light) > 600 and brightness(dark) < 150
    assert shown.evaluate(INK) != ink, "the charts are drawn again"
    shown.evaluate("document.getElementById('theme').click()")
    assert shown.evaluate(paper) == light
    shown.dark(False)
    assert shown.evaluate(paper) == light, "a choice holds"


def brightness(colour: str) -> int:
    """Sum of the parts of `rgb(r, g, b)`."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


def test_one_point_in_a_million_is_seen(browser: Chromium, tmp_path: Path) -> None:
    value = np.zeros(1_000_000)
    value[654_321] = 1.0
    chart = Chart("Spike", "units", [Series("value", np.arange(len(value)), value)], np.zeros((0, 2), np.int64))
    charts = Charts(0, len(value), [chart])
    Page("Spike", "", [time_charts(charts)], charts).write(tmp_path / "spike.html")
    browser.size(1100, 900)
    browser.dark(False)
    browser.open(tmp_path / "spike.html")
    blue = """(() => { const c = document.querySelector('canvas'), g = c.getContext('2d'), found = [];
        const d = g.getImageData(0, 0, c.width, Math.round(c.height / 3)).data;
        for (let i = 0; i < d.length; i += 4)
            if (d[i] < 60 && d[i + 2] > 120 && d[i + 3] > 100) found.push(i / 4 % c.width / c.width);
        return found; })()"""
    places = browser.evaluate(blue)
    assert places and max(places) - min(places) < 0.01 and 0.6 < places[0] < 0.72
    x, y = browser.place(CHART)
    browser.click(x, y)
    for _ in range(6):
        browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    browser.settle()
    assert browser.evaluate(blue) == [], "elsewhere it is not"


@pytest.mark.parametrize("width", [390, 1280])
def test_no_figure_is_cut_off(shown: Chromium, width: int) -> None:
    shown.size(width, 800, mobile=width < 500)
    hidden = "[...document.querySelectorAll('.row .scroll')].map(table => table.scrollWidth - table.clientWidth)"
    assert max(shown.evaluate(hidden)) <= 0


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_narrow_screen(shown: Chromium, width: int) -> None:
    shown.size(width, 800, mobile=True)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.evaluate("Math.max(...[...document.querySelectorAll('canvas')].map(c => c.clientWidth))") <= width
    assert all(painted > 500 for painted, _ in shown.evaluate(INK))


def test_no_word_of_a_user_runs(browser: Chromium, evil: Result, tmp_path: Path) -> None:
    path = tmp_path / "evil.html"
    evil.to_html(path)
    browser.size(1100, 900)
    browser.open(path)
    assert browser.errors == [] and len(browser.requests) == 1
    assert browser.evaluate("window.hacked") is None and browser.evaluate("document.images.length") == 0
    assert browser.evaluate("document.querySelector('h1').textContent") == evil.strategy
    assert evil.strategy in browser.evaluate("document.getElementById('time').textContent"), "the recorded series"
    assert len(browser.evaluate(VIEWS)) >= 4


@pytest.mark.parametrize(
    "values",
    [[1e308, -1e308], [1e17, 1e17 + 16], [5e-324, 0.0], [7.0, 7.0], [float("nan"), float("inf")], [1e-9, -1e-9]],
)
def test_no_values_break_a_chart(browser: Chromium, result: Result, values: list[float], tmp_path: Path) -> None:
    """Some would make an endless axis of one who adds steps in floats."""
    series = np.zeros(len(values), SERIES)
    series["ts"], series["value"] = [result.first_us, result.last_us], values
    path = tmp_path / "values.html"
    replace(result, records={"values": series}).to_html(path)
    browser.open(path)
    assert browser.errors == [] and len(browser.evaluate(VIEWS)) == 5


def test_the_page_may_run_and_load_nothing_else(shown: Chromium) -> None:
    add: Any = "document.body.append(Object.assign(document.createElement('{}'), {}))"
    shown.evaluate(add.format("script", "{textContent: 'window.hacked = 1'}"))
    shown.evaluate(add.format("img", "{src: 'http://127.0.0.1:9/x.png'}"))
    shown.until(lambda: shown.blocked == ["csp"], "that the request is refused")
    shown.until(lambda: len(shown.errors) >= 2, "a word about each on the console")
    assert shown.evaluate("window.hacked") is None
    assert all("Content Security Policy" in text for text in shown.errors)


def test_comparison_sorts_and_draws(browser: Chromium, sweep: Sweep, tmp_path: Path) -> None:
    path = tmp_path / "sweep.html"
    sweep.to_html(path)
    browser.size(1100, 900)
    browser.open(path)
    assert browser.errors == [] and len(browser.requests) == 1
    column = """[...document.querySelectorAll('table.sortable tbody tr')].map(r => +r.cells[2 + {}].dataset.key)"""
    heads = browser.evaluate("[...document.querySelectorAll('table.sortable th button')].map(b => b.textContent)")
    fills = heads.index("fills") - 2
    for expected in (True, False):
        browser.evaluate(f"document.querySelectorAll('table.sortable th button')[{fills + 2}].click()")
        found = browser.evaluate(column.format(fills))
        assert found == sorted(found, reverse=expected) and len(set(found)) > 1
    assert all(painted > 1_000 for painted, _ in browser.evaluate(INK))
    assert browser.evaluate("document.querySelectorAll('svg .cell').length") == len(sweep)


def test_band_draws(browser: Chromium, band: Band, tmp_path: Path) -> None:
    path = tmp_path / "band.html"
    band.to_html(path)
    browser.open(path)
    assert browser.errors == [] and len(browser.requests) == 1
    assert all(painted > 1_000 for painted, _ in browser.evaluate(INK))
    assert browser.evaluate("document.querySelector('.verdict').textContent") == band.verdict("USDT")
