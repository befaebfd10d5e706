"""`self` in machine code: scalars, arrays and windows of a state record, against the same in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay import Window
from replay.kernel.jit import jit_is_on

if not jit_is_on():
    pytest.skip("`self` as a machine value exists only compiled (NUMBA_DISABLE_JIT)", allow_module_level=True)

import numba

from replay.kernel.strategy_type import StrategyType, field_of, self_reader

SIZE = 4
LAYOUT = np.dtype(
    [
        ("whole", "<i8"), ("real", "<f8"), ("flag", "?"), ("table", "<f8", (2, 3)), ("flags", "?", (3,)),
        ("window", [("count", "<i8"), ("data", "<f8", (SIZE,))]),
        ("steps", [("count", "<i8"), ("data", "<i8", (SIZE,))]),
    ],
    align=True,
)  # fmt: skip
FIELDS = {name: field_of(*LAYOUT.fields[name][:2]) for name in LAYOUT.names}  # type: ignore[index, union-attr]
self_at = self_reader(StrategyType("probe", FIELDS, {}, {"LIMIT": 7}))


@numba.njit(error_model="python", boundscheck=True)
def set_all(address: int, whole: int, real: float, flag: bool, row: int, column: int) -> float:
    """Store, and read back."""
    self = self_at(address)
    self.whole, self.real, self.flag = whole, real, flag
    self.table[row, column] = real
    self.flags[column] = flag
    return self.whole + self.real + self.LIMIT + (1.0 if self.flag else 0.0) + self.table[row, column]


@numba.njit(error_model="python", boundscheck=True)
def drive_window(address: int, values: np.ndarray, clear: np.ndarray, out: np.ndarray) -> None:
    """Push or clear; a row of `out` (len, full, count, sum, mean, std, min, max, first, last) after each step."""
    window = self_at(address).window
    for k in range(len(values)):
        if clear[k]:
            window.clear()
        else:
            window.push(values[k])
        out[k, 0], out[k, 1], out[k, 2] = len(window), window.full, window.count
        out[k, 3], out[k, 4], out[k, 5] = window.sum(), window.mean(), window.std()
        if len(window) > 0:
            out[k, 6], out[k, 7], out[k, 8], out[k, 9] = window.min(), window.max(), window[0], window[-1]


@numba.njit(error_model="python", boundscheck=True)
def at(address: int, index: int) -> float:
    """One value of the window."""
    return self_at(address).window[index]


def python_window(values: np.ndarray, clear: np.ndarray, out: np.ndarray) -> None:
    """The same with `replay.Window`."""
    window = Window(SIZE)
    for k in range(len(values)):
        if clear[k]:
            window.clear()
        else:
            window.push(values[k])
        out[k, :6] = len(window), window.full, window.count, window.sum(), window.mean(), window.std()
        if len(window):
            out[k, 6:] = window.min(), window.max(), window[0], window[-1]


@pytest.fixture
def record() -> np.ndarray:
    """One state record between two that must stay zero."""
    return np.zeros(3, LAYOUT)


def address(record: np.ndarray) -> int:
    """Of the one in the middle."""
    return int(record[1:].ctypes.data)


def test_scalars_and_arrays_lie_where_the_record_has_them(record: np.ndarray) -> None:
    for whole, real, flag, row, column in ((5, 0.25, True, 1, 2), (-(2**62), -0.0, False, 0, 0)):
        expected = whole + real + 7 + flag + real
        assert set_all(address(record), whole, real, flag, row, column) == expected
        mine = record[1]
        assert (mine["whole"], mine["real"], mine["flag"]) == (whole, real, flag)
        assert (mine["table"][row, column], mine["flags"][column]) == (real, flag)
    assert not record[0].tobytes().strip(b"\0") and not record[2].tobytes().strip(b"\0")


def test_places_outside_of_an_array_raise(record: np.ndarray) -> None:
    with pytest.raises(IndexError):
        set_all(address(record), 1, 1.0, True, 2, 0)
    with pytest.raises(IndexError):
        set_all(address(record), 1, 1.0, True, 0, 3)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.floats(width=64), st.integers(0, 9)), min_size=1, max_size=20))
def test_a_window_gives_the_same_bits_as_in_python(steps: list[tuple[float, int]]) -> None:
    """Every reading of a window after every push or clear, NaN and infinities included."""
    values, clear = np.array([v for v, _ in steps]), np.array([c == 0 for _, c in steps])
    record = np.zeros(3, LAYOUT)
    fast, slow = np.zeros((len(steps), 10)), np.zeros((len(steps), 10))
    drive_window(address(record), values, clear, fast)
    with np.errstate(all="ignore"):
        python_window(values, clear, slow)
    nan = np.isnan(fast)
    assert (nan == np.isnan(slow)).all()
    assert fast[~nan].tobytes() == slow[~nan].tobytes()


def test_a_window_ends_where_it_ends(record: np.ndarray) -> None:
    for length in range(SIZE + 2):
        record[1]["window"]["count"] = length
        n = min(length, SIZE)
        for index in range(-n, n):
            at(address(record), index)
        for index in (n, -n - 1):
            with pytest.raises(IndexError, match="window index"):
                at(address(record), index)


def test_what_an_address_model_cannot_do_is_said(record: np.ndarray) -> None:
    def unknown(address: int) -> Any:
        return self_at(address).nothing

    def replaced(address: int) -> None:
        self_at(address).table = np.zeros((2, 3))

    def constant(address: int) -> None:
        self_at(address).LIMIT = 3

    def into_int(address: int) -> None:
        self_at(address).steps.push(0.5)

    for function, words in (
        (unknown, "nothing: int = 0"), (replaced, r"self.table\[:\]"), (constant, "constant of the class"),
        (into_int, "whole numbers"),
    ):  # fmt: skip
        with pytest.raises(Exception, match=words):
            numba.njit(function)(address(record))
