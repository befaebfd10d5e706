"""A ring buffer for strategies: the last values of something, with sums over them.

Declared like any other state, `prices: Window = Window(100)`, it works in interpreted and compiled strategies and
gives the same bits in both: sums run from the oldest to the newest value, one addition after the other (NumPy adds in
another order, which changes the last digits).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from replay.errors import ConfigError


class Window:
    """The last `size` values, of `float` (the default) or `int`.

    `w.push(x)` adds one and drops the oldest when full; `w[0]` is the oldest, `w[-1]` the newest; `len(w)` how many
    there are.  IndexError outside of them; sums over an empty window are 0, `mean` and `std` of it NaN.
    """

    __slots__ = ("_data", "count")

    def __init__(self, size: int, kind: type = float) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError("Window.size", size, "must be a whole number of at least 1")
        if kind not in (int, float):
            raise ConfigError("Window.kind", kind, "must be int or float")
        self._data = np.zeros(size, np.int64 if kind is int else np.float64)
        self.count = 0
        """How many values were pushed since the beginning or `clear`."""

    @property
    def size(self) -> int:
        """How many values fit."""
        return len(self._data)

    @property
    def full(self) -> bool:
        """Whether `size` values are there."""
        return self.count >= len(self._data)

    def push(self, value: float) -> None:
        """Add a value."""
        self._data[self.count % len(self._data)] = value
        self.count += 1

    def clear(self) -> None:
        """Forget all values."""
        self.count = 0

    def __len__(self) -> int:
        return min(self.count, len(self._data))

    def __getitem__(self, index: int) -> Any:
        n = len(self)
        if not -n <= index < n:
            raise IndexError("window index out of range")
        back = index if index >= 0 else n + index
        return self._data[(self.count - n + back) % len(self._data)].item()

    def _ordered(self) -> np.ndarray:
        n = len(self)
        return self._data[np.arange(self.count - n, self.count) % len(self._data)]

    def sum(self) -> Any:
        """Sum from 0 on, oldest first."""
        values = self._ordered()
        zero = self._data.dtype.type(0).item()
        return zero + np.add.accumulate(values)[-1].item() if len(values) else zero

    def mean(self) -> float:
        """Arithmetic mean."""
        n = len(self)
        return float(self.sum() / n) if n else math.nan

    def std(self) -> float:
        """Standard deviation of the values (divided by their number)."""
        n = len(self)
        if n == 0:
            return math.nan
        apart = self._ordered() - self.mean()
        return math.sqrt(float(np.add.accumulate(apart * apart)[-1]) / n)

    def min(self) -> Any:
        """Least value, as `min` of a list; ValueError when there is none."""
        if self.count == 0:
            raise ValueError("the window is empty")
        return min(self._ordered().tolist())

    def max(self) -> Any:
        """Greatest value, as `max` of a list; ValueError when there is none."""
        if self.count == 0:
            raise ValueError("the window is empty")
        return max(self._ordered().tolist())

    def check(self) -> None:
        """AssertionError when the window is not what its contract says."""
        assert self.count >= 0 and self._data.ndim == 1 and len(self._data) > 0
        assert self._data.dtype in (np.int64, np.float64)

    def __repr__(self) -> str:
        return f"Window({len(self)} of {self.size})"
