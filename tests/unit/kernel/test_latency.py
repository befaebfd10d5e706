"""Travel times: tables, feed multiples, the log-normal generator."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.kernel.latency import entry_us, interpolate, response_us, uniform
from replay.kernel.state import PAIR, SLOT
from replay.models import ConstantLatency, FeedLatency, Latency, LogNormalLatency, TableLatency, write_latency

NONE = np.zeros(1, PAIR)


def slot_of(model: Latency) -> tuple[np.void, np.ndarray]:
    """A slot with that model and the tables it reads."""
    slot = np.zeros(1, SLOT)[0]
    tables: list[tuple[int, int]] = [(5, 5)]
    write_latency(slot, model, tables)
    return slot, np.array(tables, PAIR)


def exact(points: list[tuple[int, int]], at: int) -> int:
    """The interpolation in fractions, floored."""
    if at <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= at < x1:
            return math.floor(y0 + Fraction((y1 - y0) * (at - x0), x1 - x0))
    return points[-1][1]


POINTS = st.dictionaries(st.integers(0, 10**9), st.integers(-(10**6), 10**6), min_size=1, max_size=30)


@given(POINTS, st.lists(st.integers(-10, 10**9 + 10), max_size=20), st.integers(0, 5))
def test_interpolation_is_linear_and_floored(table: dict[int, int], moments: list[int], first: int) -> None:
    """At any moment and at every point of the table, the floored exact value; it is near what numpy.interp says."""
    points = sorted(table.items())
    rows = np.array([(-1, 77)] * first + points + [(2**40, 99)], PAIR)
    for at in [*moments, *table, *(x + 1 for x in table)]:
        value = interpolate(rows, first, len(points), at)
        assert value == exact(points, at)
        assert abs(value - np.interp(at, [x for x, _ in points], [y for _, y in points])) <= 1.001


def test_both_ends_are_flat() -> None:
    rows = np.array([(100, 7), (200, 17)], PAIR)
    assert [interpolate(rows, 0, 2, at) for at in (-(10**15), 99, 100, 150, 199, 200, 10**16)] == [
        7, 7, 7, 12, 16, 17, 17]  # fmt: skip


def test_table_looks_up_entry_by_request_and_response_by_venue_time() -> None:
    slot, tables = slot_of(TableLatency([(1_000, 1_100, 1_150), (2_000, 2_300, 2_310)]))
    assert [entry_us(slot, tables, at, 0) for at in (0, 1_000, 1_500, 2_000, 9_000)] == [100, 100, 200, 300, 300]
    assert [response_us(slot, tables, at, 0) for at in (0, 1_100, 1_700, 2_300, 9_000)] == [50, 50, 30, 10, 10]


def test_a_rejected_trip_makes_the_entry_negative_and_leaves_the_response_alone() -> None:
    slot, tables = slot_of(TableLatency([(1_000, 1_100, 1_150), (2_000, 0, 2_400), (3_000, 3_100, 3_190)]))
    assert entry_us(slot, tables, 2_000, 0) == -400
    assert entry_us(slot, tables, 1_500, 0) == -150
    assert entry_us(slot, tables, 3_000, 0) == 100
    assert response_us(slot, tables, 2_100, 0) == 70


def test_constant_latency() -> None:
    slot, tables = slot_of(ConstantLatency(10, 20))
    assert (entry_us(slot, tables, 10**15, 999), response_us(slot, tables, 10**15, 999)) == (10, 20)


def test_feed_latency_is_a_multiple_of_the_feeds() -> None:
    slot, tables = slot_of(FeedLatency(1.5, 0.5, entry=100, response=7))
    assert entry_us(slot, tables, 0, 1_001) == 100 + 1_501
    assert response_us(slot, tables, 0, 1_001) == 7 + 500
    assert entry_us(slot, tables, 0, 0) == 100


def test_a_venue_clock_ahead_of_ours_is_no_rejection() -> None:
    slot, tables = slot_of(FeedLatency(1.0, 1.0))
    assert (entry_us(slot, tables, 0, -500), response_us(slot, tables, 0, -500)) == (0, 0)


def draws(seed: int, count: int, median: int = 10_000, sigma: float = 0.5) -> np.ndarray:
    slot, tables = slot_of(LogNormalLatency(median, sigma, seed))
    return np.array([entry_us(slot, tables, 0, 0) for _ in range(count)])


def test_log_normal_is_the_same_for_one_seed_and_differs_between_seeds() -> None:
    assert (draws(3, 50) == draws(3, 50)).all()
    assert (draws(3, 50) != draws(4, 50)).any()
    assert len(set(draws(3, 50).tolist())) > 40


@pytest.mark.parametrize("seed", [1, 2, 12_345, 2**31 - 2])
def test_log_normal_has_its_median_and_spread(seed: int) -> None:
    values = draws(seed, 4_000)
    logs = np.log(values / 10_000)
    # 4000 draws: the standard error of the median of ln is 0.5 · 1.25 / 63 = 0.01.
    assert abs(np.median(logs)) < 0.04
    assert abs(logs.std() - 0.5) < 0.03
    assert (values > 0).all()


def test_log_normal_without_spread_is_constant() -> None:
    values = draws(9, 20, sigma=0.0)
    assert values.max() - values.min() == 0
    assert abs(int(values[0]) - 10_000) <= 1


def test_both_ways_share_one_generator() -> None:
    slot, tables = slot_of(LogNormalLatency(10_000, 0.5, 3))
    mixed = [entry_us(slot, tables, 0, 0), response_us(slot, tables, 0, 0), entry_us(slot, tables, 0, 0)]
    assert mixed == draws(3, 3).tolist()


@pytest.mark.parametrize("seed", [1, 7, 2**31 - 2])
def test_uniform_is_two_steps_of_the_published_generator(seed: int) -> None:
    slot = np.zeros(1, SLOT)[0]
    slot["random"] = seed
    state = seed
    m = 2**31 - 1
    for _ in range(200):
        high = state * 48271 % m
        state = high * 48271 % m
        value = uniform(slot)
        assert slot["random"] == state
        assert 0.0 < value < 1.0
        assert value == pytest.approx((high * m + state) / m**2, rel=1e-15)


WIDE = st.dictionaries(st.integers(-(10**17), 10**17), st.integers(-(10**17), 10**17), min_size=2, max_size=4)


@given(WIDE, st.lists(st.integers(-(10**17), 10**17), min_size=1, max_size=9))
def test_points_years_apart_do_not_overflow(table: dict[int, int], moments: list[int]) -> None:
    """Where slope times time leaves 64 bits the interpolation is still the floor of the exact fraction."""
    points = sorted(table.items())
    for at in moments:
        assert interpolate(np.array(points, PAIR), 0, len(points), at) == exact(points, at)
