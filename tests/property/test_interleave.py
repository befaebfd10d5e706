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


@given(runs_of_rows, st.data())
def test_rows_come_in_the_order_of_the_oracle(runs: list[Rows], data: st.DataObject) -> None:
    """Whatever the ties and wherever a run pauses, all rows come out once, whole, as from an obvious merge."""
    rows = [row for run in runs for row in run]
    words = np.array([[t, *range(t, t + 6), payload] for t, _, payload in rows], np.int64).reshape(-1, 8)
    numbers = np.array([number for _, number, _ in rows], np.int64)
    ends = np.cumsum([len(run) for run in runs])
    at = ends - [len(run) for run in runs]
    stops = at.copy()
    count = len(runs)
    cursors, heap = np.zeros(count, CURSOR), np.zeros(count, np.int64)
    found: list[tuple[int, int]] = []
    while (at < ends).any():
        for s in np.flatnonzero(at == stops).tolist():
            stops[s] = pause(rows, int(at[s]), int(ends[s]), data)
        more = (stops < ends).astype(np.int64)
        out = np.full((int((stops - at).sum()), 8), -9)
        written = interleave(words, numbers, at, stops, more, cursors, heap, out)
        assert written > 0
        assert (out[:written, 1:7] == out[:written, :1] + np.arange(6)).all(), "the words of a row stay together"
        assert (out[written:] == -9).all()
        found += [(int(row[0]), int(row[7])) for row in out[:written]]
    assert found == [(t, payload) for t, _, payload in merged(runs)]


def pause(rows: Rows, at: int, end: int, data: st.DataObject) -> int:
    """Some place after `at`, between two messages: where a file was read up to."""
    if at == end:
        return end
    stop = data.draw(st.integers(at + 1, end))
    while stop < end and rows[stop][:2] == rows[stop - 1][:2]:
        stop += 1
    return stop
