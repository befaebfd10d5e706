"""The kernel that puts the lanes of a store together, against an obvious merge."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.kernel.interleave import interleave
from replay.kernel.merge import CURSOR
from tests.oracles.interleave import merged

Rows = list[tuple[int, int, int]]
runs_of_rows = st.lists(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3), st.integers(0, 99)), max_size=12).map(
        lambda rows: sorted(rows, key=lambda row: row[:2])
    ),
    min_size=1,
    max_size=9,
)


@given(runs_of_rows)
def test_rows_come_in_the_order_of_the_oracle(runs: list[Rows]) -> None:
    """Whatever the ties, all rows come out once, whole, in the order of an obvious merge."""
    rows = [row for run in runs for row in run]
    words = np.array([[t, *range(t, t + 6), payload] for t, _, payload in rows], np.int64).reshape(-1, 8)
    numbers = np.array([number for _, number, _ in rows], np.int64)
    stops = np.cumsum([len(run) for run in runs])
    at = stops - [len(run) for run in runs]
    out = np.full_like(words, -1)
    count = len(runs)
    assert interleave(words, numbers, at, stops, np.zeros(count, CURSOR), np.zeros(count, np.int64), out) == len(rows)
    assert at.tolist() == stops.tolist()
    expected = merged(runs)
    assert [(int(row[0]), int(row[7])) for row in out] == [(t, payload) for t, _, payload in expected]
    assert (out[:, 1:7] == out[:, :1] + np.arange(6)).all(), "the words of a row stay together"
