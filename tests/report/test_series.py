"""Data for charts: exact where there are few points, bounded where there are many, with all extremes; shaded spans."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.curve import Curve
from replay.report.series import MOST_BUCKETS, POINTS, Chart, Charts, Series, blind_spans, merged, packed

NONE = np.zeros((0, 2), np.int64)
START = 1_700_000_000_000_000


def unpacked(text: str) -> np.ndarray:
    """The float64 numbers in base64."""
    return np.frombuffer(base64.b64decode(text), "<f8")


def series_of(charts: Charts) -> list[dict[str, Any]]:
    """All series of the page, as they come out of JSON."""
    return [each for chart in json.loads(json.dumps(charts.as_dict()))["charts"] for each in chart["series"]]


def test_few_points_are_kept_exactly() -> None:
    ts, value = START + np.array([0, 5, 5, 2**40 + 1]), np.array([0.1, -1e-300, 1e300, 61_800.2])
    chart = Chart("t", "u", [Series("a", ts, value, "step", 3)], NONE)
    (found,) = series_of(Charts(START, START + 2**41, [chart]))
    assert unpacked(found["t"]).tolist() == (ts - START).tolist() and unpacked(found["v"]).tolist() == value.tolist()
    assert (found["name"], found["style"], found["colour"]) == ("a", "step", 3) and "of" not in found


def test_what_cannot_be_drawn_is_left_out() -> None:
    value = np.array([np.nan, 1.0, np.inf, 2.0, -np.inf])
    (found,) = series_of(Charts(0, 9, [Chart("t", "u", [Series("a", np.arange(5), value)], NONE)]))
    assert unpacked(found["t"]).tolist() == [1, 3] and unpacked(found["v"]).tolist() == [1, 2]


def test_five_million_points_are_a_bounded_page() -> None:
    seed, count = 3, 5_000_000
    print(f"seed {seed}")
    ts, value = START + np.arange(count) * 100_000, np.random.default_rng(seed).normal(size=count).cumsum()
    begun = time.perf_counter()
    charts = Charts(int(ts[0]), int(ts[-1]), [Chart("t", "u", [Series("a", ts, value)], NONE)])
    text = json.dumps(charts.as_dict())
    print(f"{time.perf_counter() - begun:.2f} s, {len(text) / 1e6:.2f} MB")
    assert len(text) < 4 * MOST_BUCKETS * 16 * 4 / 3 + 1_000 < 1.5e6
    (found,) = series_of(charts)
    kept = unpacked(found["v"])
    assert found["of"] == count and (kept.min(), kept.max()) == (value.min(), value.max())
    assert (kept[0], kept[-1]) == (value[0], value[-1])


def test_many_series_share_the_room() -> None:
    ts, value = np.arange(100_000), np.tile([0.0, 1.0, -1.0, 0.5], 25_000)
    charts = Charts(0, 100_000, [Chart("t", "u", [Series(str(k), ts, value) for k in range(50)], NONE)])
    assert sum(len(unpacked(each["t"])) for each in series_of(charts)) <= POINTS


def test_blind_time_is_where_the_curve_is_not_valid() -> None:
    def spans(*valid: bool) -> list[list[int]]:
        n = len(valid)
        curve = Curve(np.arange(n) * 10, np.zeros(n), np.array(valid), np.zeros(n, bool), 10)
        assert sum(b - a for a, b in blind_spans(curve)) == curve.blind_us
        return blind_spans(curve).tolist()

    assert spans(True, False, False, True, True) == [[10, 30]]
    assert spans(False, True, False) == [[0, 10], [20, 20]]
    assert spans(True, True) == []


@given(st.lists(st.integers(0, 100), min_size=2, max_size=40, unique=True), st.integers(1, 12))
def test_merged_spans_cover_all_and_are_few(edges: list[int], most: int) -> None:
    """However many there are, no more than `most` are left, they cover what was covered, and the ends stay."""
    edges = sorted(edges)[: len(edges) // 2 * 2]
    spans = np.array(edges).reshape(-1, 2)
    found = merged(spans, most)
    assert len(found) == min(len(spans), most)
    assert (found[0, 0], found[-1, 1]) == (spans[0, 0], spans[-1, 1])
    assert (found[1:, 0] > found[:-1, 1]).all()
    for start, end in spans:
        assert ((found[:, 0] <= start) & (end <= found[:, 1])).any()


@pytest.mark.parametrize("kind", ["<f8", "<f4"])
def test_numbers_are_packed_in_little_endian(kind: str) -> None:
    assert np.frombuffer(base64.b64decode(packed(np.array([1, -2.5]), kind)), kind).tolist() == [1, -2.5]
