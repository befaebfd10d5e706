"""Thinned series against the obvious way, and what a chart needs of them: no extreme is ever lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.kernel.decimate import KEPT_EACH, decimate, kept
from tests.oracles import decimate as oracle

points = st.lists(st.tuples(st.integers(0, 60), st.sampled_from([-2.5, -1.0, 0.0, 1.0, 3.25])), min_size=1, max_size=60)


def arrays(rows: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Times in order from some day on, and values."""
    start = 1_700_000_000_000_000
    return np.array(sorted(start + t for t, _ in rows)), np.array([value for _, value in rows])


@given(points, st.integers(1, 70))
def test_points_are_those_of_the_oracle(rows: list[tuple[int, float]], width_us: int) -> None:
    """Whatever the times and ties, the kernel keeps exactly the points that sorting into buckets keeps."""
    ts, value = arrays(rows)
    chosen = np.full(KEPT_EACH * len(ts), -9)
    count = decimate(ts, value, width_us, chosen)
    assert chosen[:count].tolist() == oracle.kept(ts.tolist(), value.tolist(), width_us)
    assert (chosen[count:] == -9).all()


@given(points, st.integers(1, 6), st.data())
def test_no_extreme_is_lost(rows: list[tuple[int, float]], buckets: int, data: st.DataObject) -> None:
    """Least and greatest value over any columns of whole buckets are those of all points, and the ends stay."""
    ts, value = arrays(rows)
    chosen = kept(ts, value, buckets)
    assert len(chosen) <= max(KEPT_EACH * buckets, 0) and chosen[0] == 0 and chosen[-1] == len(ts) - 1
    assert (np.diff(chosen) > 0).all()
    width_us = int(ts[-1] - ts[0]) // buckets + 1
    first = data.draw(st.integers(0, buckets - 1))
    last = data.draw(st.integers(first, buckets - 1))
    bucket = (ts - ts[0]) // width_us
    inside = (bucket >= first) & (bucket <= last)
    mine = inside[chosen]
    assert inside.any() == mine.any()
    if inside.any():
        assert value[chosen][mine].min() == value[inside].min() and value[chosen][mine].max() == value[inside].max()


def test_few_points_stay_and_lack_of_room_is_told() -> None:
    ts, value = np.arange(8), np.array([0.0, 5, -5, 1, 2, 9, -9, 3])
    assert kept(ts, value, 2).tolist() == list(range(8))
    assert kept(ts, value, 1).tolist() == [0, 5, 6, 7]
    assert decimate(ts, value, 4, np.zeros(7, np.int64)) == -1
    assert kept(ts[:0], value[:0], 3).tolist() == []


@pytest.mark.parametrize("count", [1, 1_000_000])
def test_many_points_become_few(count: int) -> None:
    seed = 5
    print(f"seed {seed}")
    ts, value = np.arange(count) * 7, np.random.default_rng(seed).normal(size=count)
    chosen = kept(ts, value, 1_000)
    assert len(chosen) <= 4_000 and value[chosen].max() == value.max() and value[chosen].min() == value.min()
