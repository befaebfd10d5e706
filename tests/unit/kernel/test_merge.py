"""The merge heap by hand (see tests/property/test_merge.py for the rest)."""

from __future__ import annotations

import numpy as np
import pytest

from replay.kernel.merge import CURSOR, NEVER, merge_build, merge_check, merge_runner_up, merge_times


def test_nothing_to_merge() -> None:
    none = np.zeros(0, np.int64)
    assert merge_times(none, none, none, np.zeros(0, CURSOR), none, none) == 0
    zero = np.zeros(2, np.int64)
    assert merge_times(none, zero, zero, np.zeros(2, CURSOR), np.zeros(2, np.int64), none) == 0


def test_a_later_source_wins_ties_only_after_the_earlier_one() -> None:
    times = np.array([1, 2, 2, 3, 2, 2, 4], np.int64)
    starts, stops = np.array([0, 4], np.int64), np.array([4, 7], np.int64)
    out = np.zeros(7, np.int64)
    assert merge_times(times, starts, stops, np.zeros(2, CURSOR), np.zeros(2, np.int64), out) == 7
    assert out.tolist() == [0, 1, 2, 4, 5, 3, 6]


def test_the_last_moment_before_never_is_merged() -> None:
    times = np.array([NEVER - 1, NEVER - 2, NEVER - 1], np.int64)
    starts, stops = np.array([0, 1], np.int64), np.array([1, 3], np.int64)
    out = np.zeros(3, np.int64)
    assert merge_times(times, starts, stops, np.zeros(2, CURSOR), np.zeros(2, np.int64), out) == 3
    assert out.tolist() == [1, 0, 2]


@pytest.mark.parametrize(("times", "runner_up"), [([4], -1), ([4, 9], 1), ([4, 9, 8], 2), ([4, 8, 8], 1)])
def test_runner_up(times: list[int], runner_up: int) -> None:
    cursors, heap = np.zeros(len(times), CURSOR), np.zeros(len(times), np.int64)
    cursors["time"] = times
    merge_build(cursors, heap, len(times))
    assert merge_runner_up(cursors, heap, len(times)) == runner_up


@pytest.mark.parametrize("order", [[0, 2, 2], [1, 1, 1], [0, 1, 3]])
def test_check_notices_a_lost_cursor(order: list[int]) -> None:
    cursors, heap = np.zeros(4, CURSOR), np.array(order, np.int64)
    assert merge_check(cursors, heap, 3) == 2
