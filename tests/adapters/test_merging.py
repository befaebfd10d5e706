"""Streams of events as one: by time, then by stream, whatever the batches; messages stay whole, memory bounded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adapters.merging import merged
from replay.events import LAST, empty_events
from replay.sources import cut_batches

STREAMS = st.lists(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 3)), max_size=15).map(sorted), min_size=1, max_size=4
)
"""For each stream (time, rows of the message), sorted by time."""


def stream_of(messages: list[tuple[int, int]], number: int) -> np.ndarray:
    """The messages as events that carry their stream and place."""
    events = empty_events(sum(rows for _, rows in messages))
    events["ts"] = np.repeat([ts for ts, _ in messages], [rows for _, rows in messages])
    events["instrument"], events["seq"] = number, np.arange(len(events))
    ends = np.cumsum([rows for _, rows in messages], dtype=np.int64) - 1
    events["flags"][ends] = LAST
    return events


@given(drawn=STREAMS, cuts=st.lists(st.integers(1, 9), min_size=4, max_size=4), rows=st.integers(1, 9))
def test_merge_is_a_stable_sort(drawn: list[list[tuple[int, int]]], cuts: list[int], rows: int) -> None:
    """The result is that of sorting all rows by (ts, stream, place), and no batch cuts a message."""
    streams = [stream_of(messages, k) for k, messages in enumerate(drawn)]
    batches = [b.copy() for b in merged([cut_batches(s, cut) for s, cut in zip(streams, cuts)], rows)]
    assert all(batch["flags"][-1] & LAST for batch in batches)
    found = [(int(e["ts"]), int(e["instrument"]), int(e["seq"])) for batch in batches for e in batch]
    assert found == sorted((int(e["ts"]), int(e["instrument"]), int(e["seq"])) for s in streams for e in s)


def test_no_stream_is_read_ahead_of_its_turn() -> None:
    asked = [0, 0]

    def counting(k: int) -> Iterator[np.ndarray]:
        for batch in cut_batches(stream_of([(ts, 1) for ts in range(k, 1000, 2)], k), 10):
            asked[k] += 1
            yield batch

    for n, _ in enumerate(merged([counting(0), counting(1)], 10)):
        assert max(asked) <= n // 2 + 3
