"""Which rows of two sequences are the same, in the manner of diff, while both stream by.

Rows are equal when their keys are.  Where the sequences part, they meet again at the nearest place (the fewest rows
left out of both) at which a run of `RUN` rows is equal, or the rest of both; where that lies further than `WINDOW`
rows ahead, `WINDOW` rows of each are given up.  So memory is bounded, and sequences that have nothing in common cost
no more than equal ones.  What is left out is "missing" (only in the first) and "extra" (only in the second); a pair of
the two with the same `ident` in one place is one row that is "different".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

WINDOW = 4_096
RUN = 4
CANDIDATES = 64
"""Meeting places that are looked at, nearest first."""
MOST_WAITING = 64 * WINDOW
"""Rows that wait for a partner before they are given up: the other sequence has none."""

ALIGNED = np.dtype(
    [("key", "<u8"), ("ident", "<u8"), ("ts", "<i8"), ("exch_ts", "<i8"), ("price", "<i8"), ("qty", "<i8"),
     ("value", "<i8"), ("side", "<i8")]
)  # fmt: skip
"""A row: what makes it equal, what makes it the same row, times in µs, and what a person is shown."""


def mixed(columns: list[np.ndarray]) -> np.ndarray:
    """One 64-bit key for the values of each row; different rows have different keys but for one in 2^64."""
    key = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        key ^= column.astype(np.int64).view(np.uint64)
        key *= np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
        key *= np.uint64(0xBF58476D1CE4E5B9)
        key ^= key >> np.uint64(32)
    return key


class Aligner:
    """Two sequences of ALIGNED rows; `sides[0]` and `sides[1]` wait to be aligned.

    Rows that were left out before the first match and after the last one are kept apart (`lead`, `tail`), because two
    recordings seldom begin and end with the same row; the caller decides with `finish`.
    """

    def __init__(self) -> None:
        self.sides = [np.zeros(0, ALIGNED), np.zeros(0, ALIGNED)]
        self.matched = self.missing = self.extra = self.different = 0
        self.examples: list[tuple[str, np.void]] = []
        self.lead: list[tuple[np.ndarray, np.ndarray]] = []
        self.tail: list[tuple[np.ndarray, np.ndarray]] = []
        self.later_us = {"ts": [2**62, 0, -(2**62)], "exch_ts": [2**62, 0, -(2**62)]}
        """Least, sum and greatest of the second sequence's time minus the first one's, over the matches."""

    def push(self, side: int, rows: np.ndarray) -> None:
        """Take rows of sequence `side`, 0 or 1."""
        self.sides[side] = np.concatenate([self.sides[side], rows])
        self._run(final=False)

    def finish(self, start_us: int, end_us: int) -> None:
        """Both have ended.  Left out at the ends and not counted is what has `exch_ts` < start_us or > end_us."""
        self._run(final=True)
        if not self.matched:
            self.lead, self.tail = [*self.lead, *self.tail], []
        for a, b in self.lead:
            self._count(a[a["exch_ts"] >= start_us], b[b["exch_ts"] >= start_us])
        for a, b in self.tail:
            self._count(a[a["exch_ts"] <= end_us], b[b["exch_ts"] <= end_us])

    def _run(self, final: bool) -> None:
        while True:
            a, b = self.sides
            count = min(len(a), len(b))
            if not count:
                break
            differ = a["key"][:count] != b["key"][:count]
            equal = int(np.argmax(differ)) if differ.any() else count
            if equal:
                self._match(equal)
            if equal == count:
                continue
            if not final and min(len(self.sides[0]), len(self.sides[1])) < WINDOW + RUN:
                break
            self._leave(*self._meeting())
        keep = 0 if final else MOST_WAITING
        self._leave(*(max(0, len(side) - keep) for side in self.sides))

    def _match(self, count: int) -> None:
        a, b = (side[:count] for side in self.sides)
        for name, found in self.later_us.items():
            later = b[name] - a[name]
            found[:] = min(found[0], int(later.min())), found[1] + int(later.sum()), max(found[2], int(later.max()))
        for missing, extra in self.tail:
            self._count(missing, extra)
        self.tail = []
        self.matched += count
        self.sides = [side[count:] for side in self.sides]

    def _meeting(self) -> tuple[int, int]:
        """How many rows of each are left out."""
        a, b = (side["key"][: WINDOW + RUN] for side in self.sides)
        near = b[:WINDOW]
        order = np.argsort(near, kind="stable")
        place = np.searchsorted(near[order], a[:WINDOW])
        found = np.flatnonzero((place < len(near)) & (near[order][np.minimum(place, len(near) - 1)] == a[:WINDOW]))
        pairs = np.column_stack([found, order[place[found]]])
        for i, j in pairs[np.argsort(pairs.sum(axis=1), kind="stable")][:CANDIDATES].tolist():
            run = min(RUN, len(a) - i, len(b) - j)
            if (a[i : i + run] == b[j : j + run]).all():
                return i, j
        return min(len(a), WINDOW), min(len(b), WINDOW)

    def _leave(self, first: int, second: int) -> None:
        """Leave out so many rows of each."""
        block = (self.sides[0][:first], self.sides[1][:second])
        self.sides = [self.sides[0][first:], self.sides[1][second:]]
        if not first and not second:
            return
        where = self.tail if self.matched else self.lead
        where.append(block)
        if len(where) > RUN:  # not the edge of a recording any more
            self._count(*where.pop(0 if self.matched else -1))

    def _count(self, a: np.ndarray, b: np.ndarray) -> None:
        idents, at_a, at_b = np.intersect1d(a["ident"], b["ident"], return_indices=True)
        self.different += len(idents)
        self.missing += len(a) - len(idents)
        self.extra += len(b) - len(idents)
        for what, rows in self._shown(a, b, at_a, at_b):
            self.examples.append((what, rows))

    def _shown(
        self, a: np.ndarray, b: np.ndarray, at_a: np.ndarray, at_b: np.ndarray, most: int = 20
    ) -> Iterator[tuple[str, np.void]]:
        """What a person may want to see, the first `most` over all."""
        room = most - len(self.examples)
        if room <= 0:
            return
        alone_a, alone_b = np.delete(a, at_a), np.delete(b, at_b)
        for what, rows in (("missing", alone_a), ("extra", alone_b), ("different", a[at_a])):
            for row in rows[:room]:
                yield what, row.copy()
