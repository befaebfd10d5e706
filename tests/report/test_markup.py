"""Numbers that can be read, and text that is text."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.report.markup import (
    NONE,
    Html,
    decimals,
    facts,
    fixed,
    moment,
    notes,
    number,
    paragraph,
    section,
    share,
    signed,
    span,
    table,
    tiles,
)
from replay.report.svg import figure, grid, histogram, nice, steps_chart, waterfall

EVIL = '<img src=x onerror="hack()">\'&'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NONE), (0, "0"), (-0.0, "0"), (1234.5, "1,234.5"), (-38.59841, "−38.5984"), (0.000679548, "0.000679548"),
        (2137043.19, "2,137,043"), (1e-9, "1.00000e-09"), (1e20, "1.00000e+20"), (100.0, "100"), (math.inf, "inf"),
    ],
)  # fmt: skip
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text
    assert signed(value) == (f"+{text}" if value is not None and value > 0 else text)


@given(st.floats(-1e14, 1e14))
def test_a_number_says_what_it_is(value: float) -> None:
    """Six figures are right, whatever the size."""
    read = float(number(value).replace(",", "").replace("−", "-"))
    assert read == pytest.approx(value, rel=1e-5, abs=1e-300)


def test_figures_under_each_other() -> None:
    places = decimals([-42.7409, 7.86, None, -0.00068])
    assert places == 3
    assert [fixed(v, places, sign=True) for v in (-42.7409, 7.86, -0.0002, None)] == [
        "−42.741",
        "+7.860",
        "0.000",
        NONE,
    ]
    assert decimals([]) == 0 and decimals([1e9]) == 0 and share(-0.0000001) == "0.00 %" and share(0.123456) == "12.35 %"


@pytest.mark.parametrize(
    ("us", "text"),
    [(None, NONE), (0, "0 µs"), (999, "999 µs"), (8_985, "8.985 ms"), (179_854_000, "2.998 min"), (90e9, "1.042 d"),
     (7.2e9, "2 h"), (1_500_000, "1.5 s")],
)  # fmt: skip
def test_lengths_of_time(us: float | None, text: str) -> None:
    assert span(us) == text


def test_moments() -> None:
    assert moment(1_700_000_000_123_456) == "2023-11-14 22:13:20.123 UTC"


def test_every_word_is_escaped() -> None:
    made = [
        table([EVIL], [[EVIL], [(EVIL, EVIL)]], sortable=True), table([EVIL, EVIL], [[EVIL, EVIL]]),
        facts([(EVIL, EVIL)]), tiles([(EVIL, EVIL, EVIL)]), notes([EVIL]), paragraph(EVIL), section(EVIL, Html("x")),
        figure(EVIL, EVIL), waterfall([(EVIL, 1.0)], EVIL), steps_chart([EVIL], [(EVIL, [1.0])], EVIL),
    ]  # fmt: skip
    made.append(grid((EVIL, EVIL), ([EVIL], [EVIL]), np.ones((1, 1)), EVIL))
    made.append(histogram(np.array([1.0, 2.0]), [(1.0, EVIL)], EVIL))
    for html in made:
        assert "<img" not in html and 'onerror="' not in html and "&lt;img" in html


def test_nothing_is_made_of_nothing() -> None:
    assert section("t") == "" and section("t", "") == "" and notes([]) == ""
    assert steps_chart(["a"], [("b", [None])], "bp") == "" and histogram(np.zeros(3), [], "orders") == ""


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(2, 12))
def test_round_numbers_enclose_the_values(a: float, b: float, count: int) -> None:
    """Ticks of a scale are evenly spaced and reach from below the least to above the greatest value."""
    low, high = min(a, b), max(a, b)
    ticks = nice(low, high, count)
    slack = 1e-6 * max(1.0, abs(low), abs(high)) + 1e-6 * (ticks[1] - ticks[0])
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack and 2 <= len(ticks) <= count + 3
