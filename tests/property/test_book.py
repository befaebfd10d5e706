"""The compiled book against a sorted dictionary, with its invariants checked after every step."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.kernel.book import (
    MAX_TICKS,
    NEED_ROOM,
    NO_ASK,
    NO_BID,
    book_check,
    book_clear,
    book_depth,
    book_has,
    book_levels,
    book_lots,
    book_next,
    book_set,
    grow_book,
    make_books,
)
from tests.oracles.book import OracleBook

INTERPRETED = numba.config.DISABLE_JIT
"""`book_check` reads the whole window: some 0.1 s in plain Python, so it then looks at every 16th step alone."""

SIDES = st.sampled_from((1, -1))
LOTS = st.one_of(st.just(0), st.integers(1, 9), st.just(2**62))
GRIDS = st.sampled_from((1, 7, 1000, 2**20, 2**45))
ANYWHERE = st.integers(-MAX_TICKS, MAX_TICKS)


class Pair:
    """A compiled book between two neighbours that must stay untouched, and its oracle."""

    def __init__(self) -> None:
        self.books, self.cells = make_books(3, levels=16)
        for b in (0, 2):
            assert book_set(self.books, self.cells, b, 1, 100 + b, 5) == 0
        self.oracle = OracleBook()
        self.grown = 0

    def set(self, side: int, ticks: int, lots: int) -> None:
        while (old := book_set(self.books, self.cells, 1, side, ticks, lots)) == NEED_ROOM:
            self.grown += 1
            assert self.levels() == [self.oracle.levels(s) for s in (1, -1)]
            self.books, self.cells = grow_book(self.books, self.cells, 1)
        assert old == self.oracle.set(side, ticks, lots)

    def clear(self) -> None:
        book_clear(self.books, self.cells, 1)
        self.oracle.clear()

    def levels(self) -> list[list[tuple[int, int]]]:
        return [list(zip(*(a.tolist() for a in book_levels(self.books, self.cells, 1, side)))) for side in (1, -1)]

    def check_touch(self) -> None:
        head = self.books[1]
        for side, name, nothing in ((1, "bid", NO_BID), (-1, "ask", NO_ASK)):
            best = self.oracle.levels(side, 1)
            assert (head[f"{name}_ticks"], head[f"{name}_lots"]) == (best[0] if best else (nothing, 0))
            assert head[f"{name}s"] == len(self.oracle.sides[side])

    def check(self, probe: int) -> None:
        assert book_check(self.books, self.cells, 1) == 0
        self.check_touch()
        assert self.levels() == [self.oracle.levels(s) for s in (1, -1)]
        for side, nothing in ((1, NO_BID), (-1, NO_ASK)):
            assert book_lots(self.books, self.cells, 1, side, probe) == self.oracle.lots(side, probe)
            assert self.oracle.lots(side, probe) == 0 or book_has(self.books, self.cells, 1, side, probe) != 0
            for ticks in [probe, *(t for t, _ in self.oracle.levels(side, 5))]:
                after = self.oracle.next(side, ticks)
                assert book_next(self.books, self.cells, 1, side, ticks) == (nothing if after is None else after)
            out = np.full((2, 4), -77)
            n = book_depth(self.books, self.cells, 1, side, out[0, :3], out[1, :3])
            assert list(zip(*out[:, :n].tolist())) == self.oracle.levels(side, 3)
            assert (out[:, max(n, 3) :] == -77).all()

    def check_neighbours(self) -> None:
        for b in (0, 2):
            assert book_check(self.books, self.cells, b) == 0
            assert [a.tolist() for a in book_levels(self.books, self.cells, b, 1)] == [[100 + b], [5]]


@st.composite
def steps(draw: Any) -> list[tuple[int, int, int]]:
    """Changes near a centre that jumps, on a grid that is coarse or fine; side 0 means clear."""
    grid = draw(GRIDS)
    reach = draw(st.sampled_from((4, 40, 6000)))
    out: list[tuple[int, int, int]] = []
    for _ in range(draw(st.integers(1, 3))):
        centre = draw(st.one_of(ANYWHERE, st.integers(-9000, 9000)))
        offsets = draw(st.lists(st.tuples(SIDES, st.integers(-reach, reach), LOTS), min_size=1, max_size=14))
        for side, offset, lots in offsets:
            ticks = min(max(centre + offset * grid, -MAX_TICKS), MAX_TICKS)
            out.append((side, ticks, lots))
        if draw(st.integers(0, 5)) == 0:
            out.append((0, 0, 0))
    if draw(st.booleans()):
        out += [(side, ticks, 0) for side, ticks, _ in out if side]
    return out


@given(steps())
def test_book_equals_oracle(changes: list[tuple[int, int, int]]) -> None:
    """After any changes and clears, anywhere on any grid, touch, depth, next and lots are the oracle's."""
    pair = Pair()
    for i, (side, ticks, lots) in enumerate(changes):
        if side == 0:
            pair.clear()
        else:
            pair.set(side, ticks, lots)
        pair.check_touch()
        if not INTERPRETED or i % 16 == 0 or i == len(changes) - 1:
            pair.check(ticks)
    pair.check_neighbours()


@settings(max_examples=2 if INTERPRETED else 8)
@given(st.integers(0, 2**32 - 1), st.sampled_from((1, 7, 1000, 2**20)), st.sampled_from((3, 300, 5000)))
def test_long_walk_equals_oracle(seed: int, grid: int, spread: int) -> None:
    """A wandering market, its window moved, its room grown and its shift chosen anew, stays the oracle's book."""
    rng = np.random.default_rng(seed)
    pair = Pair()
    centre = int(rng.integers(-(10**6), 10**6)) * grid
    for step in range(400):
        centre += int(rng.normal() * spread) * grid
        side = 1 if rng.random() < 0.5 else -1
        ticks = centre - side * int(rng.exponential(spread)) * grid
        known = pair.oracle.levels(side, 3)
        if known and rng.random() < 0.35:
            pair.set(side, known[int(rng.integers(len(known)))][0], 0)
        else:
            pair.set(side, ticks, int(rng.integers(1, 50)))
        pair.check_touch()
        if step % 100 == 99:
            pair.check(ticks)
    assert pair.grown > 0
    pair.check_neighbours()


@settings(max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_finer_ticks_give_the_same_book(seed: int) -> None:
    """The same changes with all prices times 1000 give the same levels, times 1000."""
    rng = np.random.default_rng(seed)
    fine, coarse = Pair(), Pair()
    for _ in range(150):
        side = 1 if rng.random() < 0.5 else -1
        ticks = 60_000 - side * int(rng.exponential(60))
        lots = int(rng.integers(0, 4))
        coarse.set(side, ticks, lots)
        fine.set(side, ticks * 1000, lots)
    scaled = [[(ticks * 1000, lots) for ticks, lots in levels] for levels in coarse.levels()]
    assert fine.levels() == scaled
    fine.check(0)
