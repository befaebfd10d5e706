"""What a run writes down for one strategy: rows of one table, gathered while the run goes on.

The engine's logs are small, and are emptied again and again.  What is gathered lies in one piece, so that nothing is
put together at the end: memory that the process has not used yet costs several times what copying rows into it costs
(on the machine of `benchmarks/README.md`, 250,000 rows of the order log cost half as long as the replay that wrote
them).  A piece that is full is moved into one many times as long, of which the part that is never written to is address
space and no memory.  Rows are copied as words, because NumPy copies records field by field.
"""

from __future__ import annotations

import numpy as np

FIRST = 64
"""Rows of the first piece."""

TIMES = 16
SPARE_BYTES = 2**30
"""A longer piece has room for TIMES as many rows, but for no more than SPARE_BYTES of new ones beyond twice as many."""


class Rows:
    """Rows of one record type, whose fields are all 8 bytes wide, in the order in which they were added."""

    __slots__ = ("_count", "_kind", "_words")

    def __init__(self, kind: np.dtype) -> None:
        self._kind = kind
        self._words = np.empty((0, kind.itemsize // 8), np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: np.ndarray) -> None:
        """Copy `rows` (contiguous) to the end."""
        self._room_for(len(rows))[:] = self._as_words(rows)

    def add_some(self, rows: np.ndarray, which: np.ndarray) -> None:
        """Copy those of `rows` (contiguous) whose numbers `which` tells to the end."""
        np.take(self._as_words(rows), which, axis=0, out=self._room_for(len(which)), mode="clip")

    def table(self) -> np.ndarray:
        """All rows so far, without copying; rows that are added later do not change them."""
        return self._words[: self._count].reshape(-1).view(self._kind)

    def _as_words(self, rows: np.ndarray) -> np.ndarray:
        return rows.view(np.int64).reshape(len(rows), self._words.shape[1])

    def _room_for(self, rows: int) -> np.ndarray:
        """The words of as many new rows, to be written."""
        used, end = self._count, self._count + rows
        if end > len(self._words):
            spare = SPARE_BYTES // self._kind.itemsize
            size = max(FIRST, min(TIMES * end, end + max(end, spare)))
            longer = np.empty((size, self._words.shape[1]), np.int64)
            longer[:used] = self._words[:used]
            self._words = longer
        self._count = end
        return self._words[used:end]
