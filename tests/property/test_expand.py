"""The kernel that makes records of columns, against one field after the other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.events import EVENT
from replay.kernel.expand import expand
from replay.store.columns import NAMES
from tests.oracles.expand import expanded

TYPES = {name: EVENT[name] if name != "message" else np.dtype(np.int64) for name in NAMES}


@given(st.data())
def test_rows_are_those_of_the_oracle(data: st.DataObject) -> None:
    """Whatever the values and however far apart they lie, each row has its own, and padding is empty."""
    count = data.draw(st.integers(0, 6), "rows")
    instrument = data.draw(st.integers(0, 2**31 - 1), "instrument")
    columns, arrays, steps = {}, [], []
    for name, kind in TYPES.items():
        step = data.draw(st.sampled_from([0, 1, 2]), f"step of {name}")
        limits = np.iinfo(kind)
        size = max(1, count * step)
        cells = data.draw(
            st.lists(st.integers(int(limits.min), int(limits.max)), min_size=size, max_size=size), name
        )  # fmt: skip
        columns[name] = [cells[i * step] for i in range(count)]
        arrays.append(np.array(cells, kind))
        arrays[-1].flags.writeable = False
        steps.append(step)
    words, numbers = np.full((count, 8), -9), np.full(count, -9)
    closed = expand(*arrays, np.array(steps), instrument, words, numbers)
    events, messages, expected = expanded(columns, instrument)
    assert words.tobytes() == events.tobytes()
    assert numbers.tolist() == messages and closed == expected
