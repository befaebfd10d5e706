"""The L2 book: two sides (see `replay.kernel.ladder`) under a head that holds the touch.

All books of a run live in two arrays: `books` (BOOK[n]: touch, numbers of levels) and `cells` (int64: everything else,
at the offsets that the heads name).  Both may be views into a larger arena.  Bids and asks are independent, so a book
may be crossed inside a message.  Touch and counts are plain fields; the depth is read without copying the book.

Kernels never allocate: `book_set` answers NEED_ROOM, having changed nothing, and the caller lets `grow_book` make the
side larger, or fit its window to the prices, and repeats.  Both happen ever more rarely (thresholds double).

MEASURED: nanoseconds a delta, on the 445,521 levels of the capture binance_usdm/btcusdt_20240808 (5,019 + 4,578 levels
at the end), with prices as they are and times 1000, on a shared 2-core machine in its quieter minutes:

| structure | × 1 | × 1000 | its weak point |
|---|---|---|---|
| this one, complete | 11.1 to 12.4 | 1.04 to 1.10 times that | mates and far levels cost a hash probe |
| dense ladder and bitmap, hash outside; without head and best | 9.7 | 10.0 | × 1000: all outside, unordered |
| hash of pages of 8 ticks, page bitmap; without head and next best | 12.2 | 15.1 | × 1000: a page a level |

With 64 books in turn a delta takes about 1.7 times as long as with one, for the cache misses (`benchmarks.book`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from replay.events import CLEAR, LAST
from replay.instruments import Instrument
from replay.kernel.jit import kernel
from replay.kernel.ladder import (
    BASE,
    BEST,
    BLOCK_SHIFT,
    COUNT,
    FIRST_MOVES_AT,
    FRONT,
    INNER,
    KEYS,
    LIMIT,
    LOTS,
    MARKS,
    MASK,
    MOVES,
    MOVES_AT,
    NEED_ROOM,
    NO_KEY,
    ROOM,
    SHIFT,
    SPILL,
    SPILL_AT,
    SPILLED,
    WINDOW,
    clear_side,
    collect_far,
    delete_level,
    has_mates,
    insert_level,
    least_in,
    lots_cell,
    mark,
    next_key,
    next_place,
    slot_key,
)
from replay.kernel.ladder_check import check_side
from replay.units import plain

BOOK = np.dtype(
    [
        ("bid_ticks", np.int64),
        ("bid_lots", np.int64),
        ("ask_ticks", np.int64),
        ("ask_lots", np.int64),
        ("bids", np.int64),
        ("asks", np.int64),
        ("bid_at", np.int64),
        ("ask_at", np.int64),
    ],
    align=True,
)
"""Head of one book: touch, numbers of levels, and where its sides begin in `cells` (private)."""

NO_BID = -NO_KEY
NO_ASK = NO_KEY
"""Ticks of a touch that does not exist; their difference still fits 64 bits."""


MAX_TICKS = 2**61


@kernel(entry=False, counted=False)
def _publish(rec, cells, h, side):
    """Copy touch and number of levels of a side into the head."""
    best = cells[h + BEST]
    lots = 0
    if best != NO_KEY:
        lots = cells[lots_cell(cells, h, best)]
    if side > 0:
        rec["bid_ticks"] = -best
        rec["bid_lots"] = lots
        rec["bids"] = cells[h + COUNT]
    else:
        rec["ask_ticks"] = best
        rec["ask_lots"] = lots
        rec["asks"] = cells[h + COUNT]


@kernel(entry=False, counted=False)
def _set_rare(rec, cells, h, side, key, lots):
    """`book_set` for all that is not a plain change in the window: mates, spilled levels, the best, lack of room."""
    cell = lots_cell(cells, h, key)
    old = 0
    best = cells[h + BEST]
    if cell >= 0:
        old = cells[cell]
        if lots != 0:
            cells[cell] = lots
        else:
            delete_level(cells, h, key, cell)
    elif lots != 0:
        if insert_level(cells, h, key, lots) != 0:
            return NEED_ROOM
    else:
        return 0
    if key <= best:
        _publish(rec, cells, h, side)
    elif side > 0:
        rec["bids"] = cells[h + COUNT]
    else:
        rec["asks"] = cells[h + COUNT]
    return old


@kernel(counted=False, inline=True)
def book_set(books, cells, b, side, ticks, lots):
    """Set a level to `lots` (0 deletes): its previous lots (>= 0), or NEED_ROOM having changed nothing.

    side +1 bid, −1 ask; |ticks| <= 2^61; lots >= 0.  Deleting an absent level is normal and returns 0.
    What happens most, a level inside the window that is not the best, is done here without a call, and without a branch
    that depends on whether the level is new, changed or deleted: nobody can foretell that, the processor neither.
    """
    rec = books[b]
    h = rec["bid_at"] if side > 0 else rec["ask_at"]
    key = -ticks if side > 0 else ticks
    shift = cells[h + SHIFT]
    bucket = key >> shift
    depth = bucket - cells[h + BASE]
    if depth < 0 or depth >= WINDOW or key <= cells[h + BEST]:
        return _set_rare(rec, cells, h, side, key, lots)
    place = bucket & (WINDOW - 1)
    old = cells[h + LOTS + place]
    if shift != 0:
        other = old != 0 and cells[h + KEYS + place] != key
        if other or (cells[h + INNER] != 0 and has_mates(cells, h, place) != 0):
            return _set_rare(rec, cells, h, side, key, lots)
        cells[h + KEYS + place] = key
    count = cells[h + COUNT]
    after = count + int(lots != 0) - int(old != 0)
    if count >= cells[h + ROOM] and after > count:
        return NEED_ROOM
    cells[h + LOTS + place] = lots
    cells[h + COUNT] = after
    mark(cells, h, place)
    if side > 0:
        rec["bids"] = after
    else:
        rec["asks"] = after
    return old


@kernel(counted=False, inline=True)
def book_has(books, cells, b, side, ticks):
    """Whether there may be a level at a price: 0 means surely not.

    For asking at each event about a book that is nearly empty: where it is empty, one mark is read and no slot.
    """
    h = books[b]["bid_at"] if side > 0 else books[b]["ask_at"]
    bucket = (-ticks if side > 0 else ticks) >> cells[h + SHIFT]
    depth = bucket - cells[h + BASE]
    if depth < 0 or depth >= WINDOW:
        return cells[h + SPILLED]
    place = bucket & (WINDOW - 1)
    if cells[h + MARKS + (place >> BLOCK_SHIFT)] == 0:
        return 0
    return cells[h + LOTS + place]


@kernel(counted=False)
def book_clear(books, cells, b):
    """Empty both sides of book `b`; room and shift stay."""
    rec = books[b]
    clear_side(cells, rec["bid_at"])
    clear_side(cells, rec["ask_at"])
    _publish(rec, cells, rec["bid_at"], 1)
    _publish(rec, cells, rec["ask_at"], -1)


@kernel(entry=False, counted=False)
def set_levels(rows, books, cells, b, at, end):
    """Set the levels of one book message in book `b`, from its row `at` on; the row with LAST, at most `end` - 1.

    -1 - row when that row's level needs room (`grow_book`); the rows before it are done.
    """
    while True:
        flags = rows[at]["flags"]
        if flags & CLEAR:
            book_clear(books, cells, b)
        side = int(rows[at]["side"])
        if side != 0 and book_set(books, cells, b, side, rows[at]["price"], rows[at]["qty"]) < 0:
            return -1 - at
        if flags & LAST or at + 1 == end:
            return at
        at += 1


@kernel(counted=False)
def book_lots(books, cells, b, side, ticks):
    """Lots at a price, 0 when there is no such level."""
    rec = books[b]
    h = rec["bid_at"] if side > 0 else rec["ask_at"]
    cell = lots_cell(cells, h, -side * ticks)
    return cells[cell] if cell >= 0 else 0


@kernel(counted=False)
def book_next(books, cells, b, side, ticks):
    """Ticks of the next occupied level strictly worse than `ticks`, or NO_BID / NO_ASK.

    `ticks` need not be a level.  Inside the window this is a few word reads; beyond it the whole spill is read.
    """
    rec = books[b]
    h = rec["bid_at"] if side > 0 else rec["ask_at"]
    return -side * next_key(cells, h, -side * ticks)


@kernel(counted=False)
def book_depth(books, cells, b, side, out_ticks, out_lots):
    """Fill the arrays best level first up to their length; the number filled.  The rest stays untouched."""
    rec = books[b]
    h = rec["bid_at"] if side > 0 else rec["ask_at"]
    size = len(out_ticks)
    n = 0
    base = cells[h + BASE]
    key = cells[h + BEST]
    depth = (key >> cells[h + SHIFT]) - base if key != NO_KEY else -1
    while depth >= 0 and n < size:
        place = (base + depth) & (WINDOW - 1)
        if cells[h + INNER] == 0 or has_mates(cells, h, place) == 0:
            out_ticks[n] = slot_key(cells, h, place)
            out_lots[n] = cells[h + LOTS + place]
            n += 1
        else:
            key = least_in(cells, h, base + depth, -NO_KEY)
            while key != NO_KEY and n < size:
                out_ticks[n] = key
                out_lots[n] = cells[lots_cell(cells, h, key)]
                n += 1
                key = least_in(cells, h, base + depth, key)
        depth = next_place(cells, h, depth)
    if n < size and cells[h + SPILLED] > cells[h + INNER]:
        n = collect_far(cells, h, n, out_ticks, out_lots)
    if side > 0:
        for i in range(n):
            out_ticks[i] = -out_ticks[i]
    return n


@kernel(counted=False)
def book_check(books, cells, b):
    """0, or the code (see CHECK_MEANINGS) of the first broken invariant of book `b`; asks add 100."""
    rec = books[b]
    bid = rec["bid_at"]
    ask = rec["ask_at"]
    code = check_side(cells, bid)
    if code != 0:
        return code
    code = check_side(cells, ask)
    if code != 0:
        return 100 + code
    bid_cell = lots_cell(cells, bid, cells[bid + BEST])
    ask_cell = lots_cell(cells, ask, cells[ask + BEST])
    bid_lots = cells[bid_cell] if bid_cell >= 0 else 0
    ask_lots = cells[ask_cell] if ask_cell >= 0 else 0
    if rec["bids"] != cells[bid + COUNT] or rec["bid_ticks"] != -cells[bid + BEST] or rec["bid_lots"] != bid_lots:
        return 8
    if rec["asks"] != cells[ask + COUNT] or rec["ask_ticks"] != cells[ask + BEST] or rec["ask_lots"] != ask_lots:
        return 108
    return 0


def _open_side(cells: np.ndarray, limit: int, shift: int, base: int) -> None:
    """Write the numbers of an empty side into zeroed cells."""
    cells[BEST] = NO_KEY
    cells[BASE] = base
    cells[SHIFT] = shift
    cells[LIMIT] = limit
    cells[ROOM] = limit
    cells[MASK] = 2 * limit - 1
    cells[SPILL_AT] = limit // 8
    cells[MOVES_AT] = FIRST_MOVES_AT


def _side_size(cells: np.ndarray, h: int) -> int:
    return SPILL + 4 * int(cells[h + LIMIT])


LEVELS = 8192
"""Levels a side for which a market's book has room at first; cells that are not touched cost address space only."""


def make_books(n: int, levels: int = LEVELS) -> tuple[np.ndarray, np.ndarray]:
    """`n` empty books with room for `levels` a side (rounded up to a power of two, at least 16): books, cells."""
    books = np.zeros(n, dtype=BOOK)
    cells = np.zeros(book_cells([levels] * n), dtype=np.int64)
    open_books(books, cells, [levels] * n)
    return books, cells


def book_cells(levels: Sequence[int]) -> int:
    """Cells of books with room for that many levels a side."""
    return sum(2 * (SPILL + 4 * _limit(n)) for n in levels)


def _limit(levels: int) -> int:
    return 1 << max(4, (levels - 1).bit_length())


def open_books(books: np.ndarray, cells: np.ndarray, levels: Sequence[int]) -> None:
    """Make zeroed `books` and `cells` (`book_cells(levels)`) empty books; touches few of the cells."""
    at = 0
    for book, room in zip(books, levels):
        for name in ("bid_at", "ask_at"):
            _open_side(cells[at:], _limit(room), 0, 0)
            book[name] = at
            at += SPILL + 4 * _limit(room)
    books["bid_ticks"] = NO_BID
    books["ask_ticks"] = NO_ASK


def best_shift(keys: np.ndarray) -> int:
    """The shift that leaves the least of a side in the spill, levels near the touch weighing more.

    `keys` ascending, distinct.  A mate costs more than a level outside the window, because it also slows the search
    for its bucket's best.  A weight falls with the rank of the level, as the rate of updates does.
    """
    if len(keys) == 0:
        return 0
    weight = 1.0 / (np.arange(len(keys)) + 64.0)
    best, least = 0, np.inf
    for shift in range(62):
        buckets = keys >> shift
        outside = buckets - buckets[0] >= WINDOW - FRONT
        mate = np.zeros(len(keys), dtype=bool)
        mate[1:] = buckets[1:] == buckets[:-1]
        cost = float(weight[outside].sum() + 2.0 * weight[mate & ~outside].sum())
        if cost < least:
            best, least = shift, cost
        if not outside.any():
            break
    return best


@kernel(counted=False)
def _refill(side, keys, lots):
    """Insert the levels into the empty side `side`."""
    for i in range(len(keys)):
        insert_level(side, 0, keys[i], lots[i])


def _fitted_side(cells: np.ndarray, h: int) -> np.ndarray:
    """The side at `h` again: twice the room when it is full, and with the shift that suits it now."""
    shift, base = int(cells[h + SHIFT]), int(cells[h + BASE])
    places = np.flatnonzero(cells[h + LOTS : h + KEYS])
    far = cells[h + SPILL : h + _side_size(cells, h)].reshape(-1, 2)
    far = far[far[:, 1] != 0]
    near = cells[h + KEYS + places] if shift else base + ((places - base) & (WINDOW - 1))
    keys, lots = np.concatenate([near, far[:, 0]]), np.concatenate([cells[h + LOTS + places], far[:, 1]])
    order = np.argsort(keys)
    keys, lots = keys[order], lots[order]
    limit = int(cells[h + LIMIT])
    if len(keys) >= limit:
        limit *= 2
    if len(keys):
        shift = best_shift(keys)
        base = (int(keys[0]) >> shift) - FRONT
    side = np.zeros(SPILL + 4 * limit, dtype=np.int64)
    _open_side(side, limit, shift, base)
    side[SPILL_AT] = limit + 1
    _refill(side, keys, lots)
    side[SPILL_AT] = max(limit // 8, 2 * int(side[SPILLED]))
    moved_often = cells[h + MOVES] >= cells[h + MOVES_AT]
    side[MOVES_AT] = int(cells[h + MOVES_AT]) * (2 if moved_often else 1)
    return side


def grow_book(books: np.ndarray, cells: np.ndarray, b: int) -> tuple[np.ndarray, np.ndarray]:
    """Give book `b` what `book_set` asked for: the arrays to use from now on; all levels of all books are unchanged.

    A side that only needs another shift is rewritten in place and the given arrays come back; a side that is full
    needs more cells, and then both arrays are new.
    """
    fitted = {int(at): _fitted_side(cells, int(at)) for at in (books["bid_at"][b], books["ask_at"][b])}
    if all(len(side) == _side_size(cells, at) for at, side in fitted.items()):
        for at, side in fitted.items():
            cells[at : at + len(side)] = side
        return books, cells
    moved: dict[int, int] = {}
    parts: list[np.ndarray] = []
    end = 0
    for at in sorted([*books["bid_at"].tolist(), *books["ask_at"].tolist()]):
        part = fitted.get(at, cells[at : at + _side_size(cells, at)])
        moved[at] = end
        parts.append(part)
        end += len(part)
    heads = books.copy()
    for name in ("bid_at", "ask_at"):
        heads[name] = [moved[int(at)] for at in books[name]]
    return heads, np.concatenate(parts)


def book_levels(
    books: np.ndarray, cells: np.ndarray, b: int, side: int, limit: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Ticks and lots of the best `limit` levels (all when None), best first."""
    count = int(books["bids" if side > 0 else "asks"][b])
    size = count if limit is None else min(count, limit)
    ticks = np.empty(size, dtype=np.int64)
    lots = np.empty(size, dtype=np.int64)
    book_depth(books, cells, b, side, ticks, lots)
    return ticks, lots


def book_digest(books: np.ndarray, cells: np.ndarray, b: int, instrument: Instrument, limit: int | None = None) -> str:
    """SHA-256 (hex) over the best `limit` levels a side as text: what two programs compare to agree on a book.

    Lines `B <price> <size>\\n`, bids descending, then `A <price> <size>\\n`, asks ascending; plain decimals without
    trailing zeros.
    """
    state = hashlib.sha256()
    for letter, side in (("B", 1), ("A", -1)):
        for ticks, lots in zip(*(a.tolist() for a in book_levels(books, cells, b, side, limit))):
            line = f"{letter} {plain(instrument.price(ticks))} {plain(instrument.size(lots))}\n"
            state.update(line.encode())
    return state.hexdigest()
