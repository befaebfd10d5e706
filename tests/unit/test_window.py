"""`Window` against a deque, and its rules."""

from __future__ import annotations

import math
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import ConfigError, Window

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1e6, 1e6)
WHOLE = st.integers(-(2**40), 2**40)


def same(a: float, b: float) -> bool:
    """Equal with the sign of zero, or both NaN."""
    return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (math.isnan(a) and math.isnan(b))


def added(values: list[float]) -> float:
    """One addition after the other."""
    total = 0.0
    for value in values:
        total = total + value
    return total


@given(st.integers(1, 7), st.lists(NUMBERS | st.none(), max_size=30))
def test_a_window_is_a_deque_with_sums(size: int, steps: list[float | None]) -> None:
    """After any pushes and clears (None) the values, sums and extremes are those of a deque of that length."""
    window, oracle = Window(size), deque[float](maxlen=size)
    for step in steps:
        if step is None:
            window.clear()
            oracle.clear()
        else:
            window.push(step)
            oracle.append(step)
        window.check()
        values = list(oracle)
        n = len(values)
        assert (len(window), window.size, window.full) == (n, size, n == size)
        assert all(same(window[k], values[k]) for k in range(-n, n))
        for outside in (n, -n - 1):
            with pytest.raises(IndexError, match="out of range"):
                window[outside]
        if not values:
            assert window.sum() == 0.0 and math.isnan(window.mean()) and math.isnan(window.std())
            for extreme in (window.min, window.max):
                with pytest.raises(ValueError, match="empty"):
                    extreme()
            continue
        assert same(window.sum(), added(values)) and same(window.mean(), added(values) / n)
        assert same(window.min(), min(values)) and same(window.max(), max(values))
        if all(math.isfinite(v) and abs(v) < 1e100 for v in values):
            apart = [(v - added(values) / n) ** 2 for v in values]
            assert math.isclose(window.std(), math.sqrt(sum(apart) / n), rel_tol=1e-12, abs_tol=1e-300)


@given(st.integers(1, 7), st.lists(WHOLE, min_size=1, max_size=30))
def test_a_window_of_int_stays_whole(size: int, steps: list[int]) -> None:
    """Values, sum and extremes of an int window are Python ints."""
    window, oracle = Window(size, int), deque[int](maxlen=size)
    for step in steps:
        window.push(step)
        oracle.append(step)
    found = (window[0], window[-1], window.sum(), window.min(), window.max())
    assert found == (oracle[0], oracle[-1], sum(oracle), min(oracle), max(oracle))
    assert {type(value) for value in found} == {int}


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "3"])
def test_a_size_is_a_whole_number(size: object) -> None:
    with pytest.raises(ConfigError, match=r"Window\.size"):
        Window(size)  # type: ignore[arg-type]


def test_a_kind_is_int_or_float() -> None:
    with pytest.raises(ConfigError, match="int or float"):
        Window(3, bool)
