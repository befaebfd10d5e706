"""Rows gathered piece by piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import logs
from replay.logs import Rows

KIND = np.dtype([("a", "<i8"), ("b", "<f8"), ("c", "<i8")])


def made(first: int, count: int) -> np.ndarray:
    rows = np.zeros(count, KIND)
    rows["a"] = np.arange(first, first + count)
    rows["b"] = rows["a"] / 3
    rows["c"] = -rows["a"]
    return rows


def test_nothing_is_a_table_too() -> None:
    rows = Rows(KIND)
    assert len(rows) == 0
    assert rows.table().dtype == KIND and len(rows.table()) == 0


@given(st.lists(st.integers(0, 500), max_size=30))
def test_all_rows_come_back_in_order(sizes: list[int]) -> None:
    """Cutting rows into other pieces never changes the table, and a table never changes afterwards."""
    rows, first, early = Rows(KIND), 0, []
    for size in sizes:
        rows.add(made(first, size))
        first += size
        early.append((first, rows.table()))
    assert len(rows) == first
    for count, table in early:
        assert table.tobytes() == made(0, count).tobytes()


@given(st.lists(st.lists(st.integers(0, 39), max_size=60), max_size=12))
def test_some_rows_are_those_that_were_named(picks: list[list[int]]) -> None:
    """Adding some of the rows is adding an array of them."""
    some, whole, log = Rows(KIND), Rows(KIND), made(7, 40)
    for pick in picks:
        some.add_some(log, np.array(pick, np.int64))
        whole.add(log[pick])
    assert some.table().tobytes() == whole.table().tobytes()


def test_what_was_added_may_be_used_again() -> None:
    rows, log = Rows(KIND), made(0, 10)
    rows.add(log)
    log["a"] = 99
    assert rows.table()["a"].tolist() == list(range(10))


def test_spare_room_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece grows TIMES at first, and by no more than twice or SPARE_BYTES later on."""
    monkeypatch.setattr(logs, "SPARE_BYTES", 4_800)
    rows = Rows(KIND)
    rows.add(made(0, 1))
    assert rows._words.nbytes == logs.FIRST * KIND.itemsize
    rows.add(made(1, 64))
    assert rows._words.nbytes == 65 * KIND.itemsize + 4_800
    rows.add(made(65, 1_000))
    assert rows._words.nbytes == 2 * 1_065 * KIND.itemsize
