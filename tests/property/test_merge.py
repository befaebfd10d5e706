"""The merge heap against `heapq.merge` and a stable sort."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.kernel.merge import (
    CURSOR,
    NEVER,
    cursor_before,
    merge_build,
    merge_check,
    merge_runner_up,
    merge_sift,
    merge_times,
)
from tests.oracles.merge import merged

TIMES = st.one_of(st.integers(0, 5), st.integers(-(10**6), 10**6), st.integers(-(2**62), NEVER - 1))
RUNS = st.lists(st.lists(TIMES, max_size=12).map(sorted), min_size=1, max_size=64)


def merge(runs: list[list[int]]) -> list[int]:
    """What the kernel makes of `runs`, and its heap must be sound afterwards."""
    lengths = [len(run) for run in runs]
    stops = np.cumsum(lengths, dtype=np.int64)
    starts = stops - np.array(lengths, np.int64)
    times = np.array([time for run in runs for time in run], np.int64)
    cursors, heap = np.zeros(len(runs), CURSOR), np.zeros(len(runs), np.int64)
    out = np.full(len(times), -1, np.int64)
    written = merge_times(times, starts, stops, cursors, heap, out)
    assert written == len(times)
    assert merge_check(cursors, heap, len(runs)) == 0
    assert (cursors["time"] == NEVER).all()
    return out.tolist()


@given(RUNS)
def test_merge_is_a_stable_sort(runs: list[list[int]]) -> None:
    """Any sorted runs come out as heapq.merge gives them, which is what a stable sort of all of them gives."""
    times = [time for run in runs for time in run]
    order = merge(runs)
    assert order == merged(runs)
    assert order == np.argsort(np.array(times, np.int64), kind="stable").tolist()


@given(st.integers(1, 64), st.integers(0, 9))
def test_equal_times_keep_the_order_of_registration(sources: int, each: int) -> None:
    """When every event has one and the same time, source 0 is drained first, then source 1, and so on."""
    assert merge([[7] * each for _ in range(sources)]) == list(range(sources * each))


@pytest.mark.parametrize("sources", [1, 2, 3, 4, 5, 8, 31, 32, 33, 63, 64])
def test_long_runs(sources: int) -> None:
    """Thousands of events with many ties, for every shape of the heap's last row."""
    random_source = random.Random(sources)
    runs = [sorted(random_source.choices(range(200), k=40)) for _ in range(sources)]
    assert merge(runs) == merged(runs)


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=64), st.data())
def test_build_and_sift_keep_the_least_cursor_on_top(keys: list[tuple[int, int, int]], data: st.DataObject) -> None:
    """The root is the least by (time, tie1, tie2, number), the runner-up the second; both after every draining."""
    n = len(keys)
    cursors, heap = np.array(keys, CURSOR), np.zeros(n, np.int64)
    merge_build(cursors, heap, n)
    for _ in range(8):
        assert merge_check(cursors, heap, n) == 0
        assert sorted(heap.tolist()) == list(range(n))
        order = sorted(range(n), key=lambda k: (*cursors[k].tolist(), k))
        assert heap[0] == order[0]
        assert merge_runner_up(cursors, heap, n) == (order[1] if n > 1 else -1)
        cursors[heap[0]]["time"] += data.draw(st.integers(0, 3))
        merge_sift(cursors, heap, n, 0)


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=2, max_size=2))
def test_cursor_order_is_that_of_tuples(keys: list[tuple[int, int, int]]) -> None:
    """Keys compare as tuples do; full ties keep the lower number first."""
    cursors = np.array(keys, CURSOR)
    assert bool(cursor_before(cursors, 0, 1)) == (keys[0] <= keys[1])
    assert bool(cursor_before(cursors, 1, 0)) == (keys[1] < keys[0])


@given(st.lists(st.integers(0, 50), min_size=2, max_size=20), st.data())
def test_check_notices_a_child_before_its_parent(times: list[int], data: st.DataObject) -> None:
    """Making any child earlier than its parent is reported as code 1."""
    n = len(times)
    cursors, heap = np.zeros(n, CURSOR), np.zeros(n, np.int64)
    cursors["time"] = times
    merge_build(cursors, heap, n)
    child = data.draw(st.integers(1, n - 1))
    cursors[heap[child]]["time"] = cursors[heap[(child - 1) // 2]]["time"] - 1
    assert merge_check(cursors, heap, n) == 1
