"""The L2 book: what its questions answer, what its check catches, and where its window goes."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import numpy as np
import pytest

from replay.instruments import Instrument
from replay.kernel import ladder
from replay.kernel.book import (
    BOOK,
    MAX_TICKS,
    NEED_ROOM,
    NO_ASK,
    NO_BID,
    best_shift,
    book_check,
    book_clear,
    book_depth,
    book_digest,
    book_levels,
    book_lots,
    book_next,
    book_set,
    grow_book,
    make_books,
)
from replay.kernel.ladder_check import CHECK_MEANINGS

Arrays = tuple[np.ndarray, np.ndarray]


def filled(changes: list[tuple[int, int, int]], levels: int = 64) -> Arrays:
    """One book after `changes` (side, ticks, lots)."""
    books, cells = make_books(1, levels)
    for side, ticks, lots in changes:
        while book_set(books, cells, 0, side, ticks, lots) == NEED_ROOM:
            books, cells = grow_book(books, cells, 0)
    return books, cells


def touch(books: np.ndarray) -> tuple[int, ...]:
    return tuple(int(books[0][name]) for name in ("bid_ticks", "bid_lots", "ask_ticks", "ask_lots"))


def test_head_is_one_cache_line() -> None:
    assert BOOK.itemsize == 64


def test_empty_book_has_no_touch() -> None:
    books, cells = make_books(2)
    assert touch(books) == (NO_BID, 0, NO_ASK, 0)
    assert (books["bids"] == 0).all() and (books["asks"] == 0).all()
    assert book_next(books, cells, 1, 1, 100) == NO_BID
    assert book_next(books, cells, 1, -1, 100) == NO_ASK
    assert book_check(books, cells, 1) == 0


def test_set_answers_previous_lots() -> None:
    books, cells = make_books(1)
    assert book_set(books, cells, 0, 1, 100, 5) == 0
    assert book_set(books, cells, 0, 1, 100, 7) == 5
    assert book_set(books, cells, 0, 1, 99, 3) == 0
    assert book_set(books, cells, 0, 1, 99, 4) == 3
    assert book_set(books, cells, 0, 1, 99, 0) == 4
    assert book_set(books, cells, 0, 1, 99, 0) == 0
    assert touch(books)[:2] == (100, 7)
    assert books[0]["bids"] == 1


def test_sides_are_independent_and_may_cross() -> None:
    books, _ = filled([(1, 105, 1), (-1, 100, 2), (1, 100, 3)])
    assert touch(books) == (105, 1, 100, 2)


def test_next_best_is_found_over_empty_prices() -> None:
    books, cells = filled([(-1, 100, 1), (-1, 7_000, 2), (-1, 1_000_000, 3)])
    assert book_next(books, cells, 0, -1, 100) == 7_000
    assert book_next(books, cells, 0, -1, 500) == 7_000
    assert book_next(books, cells, 0, -1, 7_000) == 1_000_000
    assert book_next(books, cells, 0, -1, 1_000_000) == NO_ASK
    for best in (7_000, 1_000_000, NO_ASK):
        book_set(books, cells, 0, -1, int(books[0]["ask_ticks"]), 0)
        assert books[0]["ask_ticks"] == best
        assert book_check(books, cells, 0) == 0


def test_negative_zero_and_extreme_prices() -> None:
    ticks = [0, -1, 1, MAX_TICKS, -MAX_TICKS]
    books, cells = filled([(side, t, 9) for t in ticks for side in (1, -1)])
    assert touch(books) == (MAX_TICKS, 9, -MAX_TICKS, 9)
    assert book_levels(books, cells, 0, 1)[0].tolist() == sorted(ticks, reverse=True)
    assert book_levels(books, cells, 0, -1)[0].tolist() == sorted(ticks)
    assert book_check(books, cells, 0) == 0


def test_depth_fills_no_more_than_asked() -> None:
    books, cells = filled([(1, t, 1000 + t) for t in (5, -40_000, 3, 9, -90_000)])
    ticks, lots = np.zeros(6, np.int64), np.zeros(6, np.int64)
    assert book_depth(books, cells, 0, 1, ticks[:2], lots[:2]) == 2
    assert (ticks.tolist(), lots.tolist()) == ([9, 5, 0, 0, 0, 0], [1009, 1005, 0, 0, 0, 0])
    assert book_depth(books, cells, 0, 1, ticks[:4], lots[:4]) == 4
    assert ticks.tolist() == [9, 5, 3, -40_000, 0, 0]
    assert book_depth(books, cells, 0, 1, ticks, lots) == 5
    assert ticks.tolist() == [9, 5, 3, -40_000, -90_000, 0]
    assert book_depth(books, cells, 0, 1, ticks[:0], lots[:0]) == 0


def test_clear_leaves_the_other_book() -> None:
    books, cells = make_books(2)
    for b in (0, 1):
        for ticks in (10, 50_000):
            book_set(books, cells, b, -1, ticks, 4)
    book_clear(books, cells, 0)
    assert touch(books) == (NO_BID, 0, NO_ASK, 0)
    assert book_lots(books, cells, 0, -1, 50_000) == 0
    assert book_levels(books, cells, 1, -1)[0].tolist() == [10, 50_000]
    assert (book_check(books, cells, 0), book_check(books, cells, 1)) == (0, 0)


def test_full_side_asks_for_room_and_changes_nothing() -> None:
    books, cells = make_books(1, levels=16)
    for ticks in range(16):
        assert book_set(books, cells, 0, 1, ticks, 1) == 0
    before = cells.copy()
    assert book_set(books, cells, 0, 1, 99, 1) == NEED_ROOM
    assert book_set(books, cells, 0, 1, -99, 1) == NEED_ROOM
    assert (cells == before).all()
    assert book_set(books, cells, 0, 1, 3, 8) == 1, "a level that stands needs no room"
    more_books, more_cells = grow_book(books, cells, 0)
    assert len(more_cells) > len(cells)
    assert book_set(more_books, more_cells, 0, 1, 99, 1) == 0
    assert more_books[0]["bids"] == 17
    assert book_check(more_books, more_cells, 0) == 0


def test_growing_moves_neighbours_unchanged() -> None:
    books, cells = make_books(3, levels=16)
    for b in range(3):
        for ticks in range(16):
            book_set(books, cells, b, -1, 10 * b + ticks, b + 1)
    books, cells = grow_book(books, cells, 1)
    for b in range(3):
        assert book_check(books, cells, b) == 0
        ticks, lots = book_levels(books, cells, b, -1)
        assert ticks.tolist() == list(range(10 * b, 10 * b + 16))
        assert set(lots.tolist()) == {b + 1}


def test_books_may_lie_in_a_larger_arena() -> None:
    own_books, own_cells = make_books(1, levels=16)
    arena = np.full(own_books.nbytes + own_cells.nbytes + 64, 0xAB, np.uint8)
    books = arena[: own_books.nbytes].view(BOOK)
    cells = arena[own_books.nbytes : -64].view(np.int64)
    books[:], cells[:] = own_books, own_cells
    assert book_set(books, cells, 0, 1, 8, 2) == 0
    book_clear(books, cells, 0)
    assert book_check(books, cells, 0) == 0
    assert (arena[-64:] == 0xAB).all()


def test_window_follows_the_market() -> None:
    books, cells = make_books(1, levels=256)
    h = int(books[0]["bid_at"])
    for ticks in range(0, 60_000, 500):
        while book_set(books, cells, 0, 1, ticks, 1) == NEED_ROOM:
            books, cells = grow_book(books, cells, 0)
    depth = (-59_500 >> int(cells[h + ladder.SHIFT])) - int(cells[h + ladder.BASE])
    assert 0 <= depth < ladder.RIGHT
    for ticks in range(59_500, 0, -500):
        book_set(books, cells, 0, 1, ticks, 0)
        assert books[0]["bid_ticks"] == ticks - 500
    assert book_check(books, cells, 0) == 0


@pytest.mark.parametrize("grid", [1, 1000, 10**6])
def test_shift_follows_the_grid(grid: int) -> None:
    keys = np.arange(5_000) * grid
    shift = best_shift(keys)
    assert (grid >> 1) < 2**shift <= 2 * grid
    assert best_shift(keys[:0]) == 0


def test_fine_grid_ends_up_in_the_window() -> None:
    """A thousandfold finer grid asks for another shift, after which few levels are left in the spill."""
    books, cells = filled([(-1, 1000 * t, 1) for t in range(400)], levels=512)
    h = int(books[0]["ask_at"])
    assert 5 <= cells[h + ladder.SHIFT] <= 10
    assert cells[h + ladder.SPILLED] < 512 // 8
    assert book_levels(books, cells, 0, -1)[0].tolist() == [1000 * t for t in range(400)]


def test_spill_keeps_probe_runs_whole() -> None:
    """Deleting from a half-full hash table in any order loses no level."""
    rng = np.random.default_rng(5)
    far = (10**6 + rng.permutation(10**5)[:100] * 10_007).tolist()
    books, cells = filled([(-1, 0, 1), *((-1, t, 2) for t in far)], levels=128)
    for i, ticks in enumerate(sorted(far, key=lambda t: t % 97)):
        assert book_set(books, cells, 0, -1, ticks, 0) == 2
        if i % 20 == 0:
            assert book_check(books, cells, 0) == 0
    assert books[0]["asks"] == 1


DAMAGE = {
    "negative lots": (ladder.LOTS + (100 & (ladder.WINDOW - 1)), -1, 1),
    "mark": (ladder.MARKS + (100 >> ladder.BLOCK_SHIFT), 0, 2),
    "mates of an empty slot": (ladder.MATES + (200 >> 5), 1 << (200 & 31), 3),
    "mates": (ladder.MATES + (100 >> 5), 1 << (100 & 31), 5),
    "count": (ladder.COUNT, 7, 6),
    "best": (ladder.BEST, 101, 7),
    "limit": (ladder.LIMIT, 1, 9),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_check_names_the_broken_invariant(name: str) -> None:
    books, cells = filled([(-1, 100, 1), (-1, 101, 2)])
    where, value, code = DAMAGE[name]
    h = int(books[0]["ask_at"])
    assert book_check(books, cells, 0) == 0
    cells[h + where] = value
    assert book_check(books, cells, 0) == 100 + code
    assert code in CHECK_MEANINGS


@pytest.mark.parametrize("field", ["bid_ticks", "bid_lots", "bids", "ask_ticks", "ask_lots", "asks"])
def test_check_sees_a_wrong_head(field: str) -> None:
    books, cells = filled([(1, 99, 1), (-1, 100, 1)])
    books[0][field] += 1
    assert book_check(books, cells, 0) == (8 if field.startswith("bid") else 108)


def test_check_sees_a_lost_spilled_level() -> None:
    books, cells = filled([(1, 0, 1), (1, -(10**6), 1)])
    h = int(books[0]["bid_at"])
    spill = cells[h + ladder.SPILL :]
    at = int(np.flatnonzero(spill[: 4 * 64] == 10**6)[0])
    spill[at] = 10**6 + 12_345
    assert book_check(books, cells, 0) == 4


def test_digest_is_sha_of_plain_lines() -> None:
    instrument = Instrument("v", "S", "linear", Decimal("0.10"), Decimal("0.001"))
    books, cells = filled([(1, 618_002, 100), (1, 618_000, 1_500), (-1, 618_010, 100_000), (-1, 618_011, 1)])
    text = "B 61800.2 0.1\nB 61800 1.5\nA 61801 100\nA 61801.1 0.001\n"
    assert book_digest(books, cells, 0, instrument) == hashlib.sha256(text.encode()).hexdigest()
    best = "B 61800.2 0.1\nA 61801 100\n"
    assert book_digest(books, cells, 0, instrument, 1) == hashlib.sha256(best.encode()).hexdigest()
