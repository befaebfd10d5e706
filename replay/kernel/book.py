"""The L2 book: lots by price, best first, at a cost that depends neither on the tick size nor on empty prices.

THEORY.  Each side of a book orders its levels by `key = −side · ticks`, so that on both sides the best level has the
smallest key and one piece of code serves both.  Three structures hold a side:

* the **window**: WINDOW buckets of `2**shift` keys each, a ring addressed by `key >> shift`.  A bucket has one slot
  (key, lots).  The shift fits the book, not the tick: when all prices are multiplied by 1000, the shift rises by ten
  and everything else stays as it was;
* three **bitmaps**, 32 bits a word, each a summary of the one below: the next occupied bucket is found by at most
  five word reads, however many empty prices lie between;
* the **spill**, an open-addressing hash table, for levels outside the window and for the second and further levels
  of one bucket (its "mates").  It is hashed by bucket, so the mates of a bucket lie in one probe run.

INVARIANTS (`book_check`).  The best level lies in the window, and no level lies before it; hence levels outside the
window are worse than all inside.  A bucket's bit is set when its slot is taken or it has mates; the bits of `mates`
tell which have.  When the best level leaves the first half of the window (or its front), the window is moved so that
the best lies at its first quarter; levels that fall out go to the spill, and those that come in leave it.

ROOM.  Kernels never allocate.  `book_set` answers NEED_ROOM, having changed nothing, when a side holds its limit of
levels, or when spill or window moves have doubled since the shift was last chosen; `grow_book` then makes the side
larger if it is full, and chooses the shift anew.  The doubling makes such calls logarithmic in number.

All books of a run live in two arrays: `books` (BOOK[n], the touch and counts) and `cells` (int64, everything else, at
the offsets that the heads name).  Bids and asks are independent: a book may be crossed inside a message.

MEASURED_PLACEHOLDER
"""

from __future__ import annotations

import hashlib

import numpy as np

from replay.instruments import Instrument
from replay.kernel.jit import kernel
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

NO_KEY = 2**62 - 1
NO_BID = -NO_KEY
NO_ASK = NO_KEY
"""Ticks of a touch that does not exist; their difference still fits 64 bits."""

NEED_ROOM = -1
"""Answer of `book_set`: nothing was changed; call `grow_book` and repeat."""

MAX_TICKS = 2**61

WINDOW = 8192
FRONT = WINDOW // 4
RIGHT = WINDOW // 2
WORDS = WINDOW // 32
MIDS = WORDS // 32

# Cells of a side: first its numbers, then bitmaps, window slots (key, lots) and spill slots (key, lots).
BEST, BASE, SHIFT, COUNT, LIMIT, MASK, SPILLED, INNER, SPILL_AT, MOVES, MOVES_AT, TOP = range(12)
MID = 16
BITS = MID + MIDS
MATES = BITS + WORDS
SLOTS = (MATES + WORDS + 7) // 8 * 8
SPILL = SLOTS + 2 * WINDOW

FIRST_SPILL_AT = 128
FIRST_MOVES_AT = 32

LOW_BIT = np.zeros(32, dtype=np.int64)
for _bit in range(32):
    LOW_BIT[((1 << _bit) * 0x077CB531 & 0xFFFFFFFF) >> 27] = _bit


@kernel
def _lowest(word):
    """Index of the lowest set bit of a word in 1 … 2^32 − 1, by a de Bruijn product."""
    return LOW_BIT[(((word & -word) * 0x077CB531) & 0xFFFFFFFF) >> 27]


@kernel
def _first_bit(cells, h, start):
    """First occupied ring place >= start, or −1."""
    bits = h + BITS
    word = start >> 5
    if word < WORDS:
        x = cells[bits + word] >> (start & 31)
        if x != 0:
            return start + _lowest(x)
        word += 1
    mid = word >> 5
    if mid < MIDS:
        x = cells[h + MID + mid] >> (word & 31)
        if x != 0:
            word += _lowest(x)
            return (word << 5) + _lowest(cells[bits + word])
        mid += 1
    x = cells[h + TOP] >> mid
    if x == 0:
        return -1
    mid += _lowest(x)
    word = (mid << 5) + _lowest(cells[h + MID + mid])
    return (word << 5) + _lowest(cells[bits + word])


@kernel
def _next_place(cells, h, depth):
    """Depth (buckets from the window's base) of the first occupied bucket deeper than `depth`, or −1."""
    base = cells[h + BASE]
    place = _first_bit(cells, h, ((base + depth) & (WINDOW - 1)) + 1)
    if place < 0:
        place = _first_bit(cells, h, 0)
        if place < 0:
            return -1
    found = (place - base) & (WINDOW - 1)
    return found if found > depth else -1


@kernel
def _mark(cells, h, place):
    """Set the bits of an occupied bucket at all three heights."""
    word = place >> 5
    mid = word >> 5
    cells[h + BITS + word] |= 1 << (place & 31)
    cells[h + MID + mid] |= 1 << (word & 31)
    cells[h + TOP] |= 1 << mid


@kernel
def _unmark(cells, h, place):
    """Clear the bit of an emptied bucket, and those above it that summarise nothing any more."""
    word = place >> 5
    mid = word >> 5
    left = cells[h + BITS + word] & ~(1 << (place & 31))
    cells[h + BITS + word] = left
    if left == 0:
        left = cells[h + MID + mid] & ~(1 << (word & 31))
        cells[h + MID + mid] = left
        if left == 0:
            cells[h + TOP] &= ~(1 << mid)


@kernel
def _has_mates(cells, h, place):
    return (cells[h + MATES + (place >> 5)] >> (place & 31)) & 1


@kernel
def _home(cells, h, bucket):
    """First probe of a bucket in the spill; the product stays below 2^62."""
    folded = (bucket ^ (bucket >> 30)) & 0x3FFFFFFF
    product = folded * 0x9E3779B1
    return ((product >> 15) ^ (product >> 31)) & cells[h + MASK]


@kernel
def _spill_find(cells, h, key):
    """Cell of the spill slot that holds `key`, or −1."""
    spill = h + SPILL
    mask = cells[h + MASK]
    i = _home(cells, h, key >> cells[h + SHIFT])
    while cells[spill + 2 * i + 1] != 0:
        if cells[spill + 2 * i] == key:
            return spill + 2 * i
        i = (i + 1) & mask
    return -1


@kernel
def _spill_put(cells, h, key, lots):
    """Add a level that is not in the spill; there is always a free slot (the table is at most half full)."""
    spill = h + SPILL
    mask = cells[h + MASK]
    i = _home(cells, h, key >> cells[h + SHIFT])
    while cells[spill + 2 * i + 1] != 0:
        i = (i + 1) & mask
    cells[spill + 2 * i] = key
    cells[spill + 2 * i + 1] = lots
    cells[h + SPILLED] += 1


@kernel
def _spill_drop(cells, h, cell):
    """Remove the level in spill slot `cell` and close the hole, so that no probe run is cut."""
    spill = h + SPILL
    mask = cells[h + MASK]
    shift = cells[h + SHIFT]
    hole = (cell - spill) >> 1
    i = (hole + 1) & mask
    while cells[spill + 2 * i + 1] != 0:
        home = _home(cells, h, cells[spill + 2 * i] >> shift)
        if ((i - home) & mask) >= ((i - hole) & mask):
            cells[spill + 2 * hole] = cells[spill + 2 * i]
            cells[spill + 2 * hole + 1] = cells[spill + 2 * i + 1]
            hole = i
        i = (i + 1) & mask
    cells[spill + 2 * hole + 1] = 0
    cells[h + SPILLED] -= 1


@kernel
def _least_mate(cells, h, bucket, above):
    """Smallest key > above among the spilled levels of `bucket`, or NO_KEY."""
    spill = h + SPILL
    mask = cells[h + MASK]
    shift = cells[h + SHIFT]
    least = NO_KEY
    i = _home(cells, h, bucket)
    while cells[spill + 2 * i + 1] != 0:
        key = cells[spill + 2 * i]
        if key > above and key < least and key >> shift == bucket:
            least = key
        i = (i + 1) & mask
    return least


@kernel
def _least_spilled(cells, h, above):
    """Smallest key > above in the whole spill, or NO_KEY; reads every slot."""
    spill = h + SPILL
    least = NO_KEY
    if cells[h + SPILLED] != 0:
        for i in range(cells[h + MASK] + 1):
            if cells[spill + 2 * i + 1] != 0:
                key = cells[spill + 2 * i]
                if key > above and key < least:
                    least = key
    return least


@kernel
def _least_in(cells, h, bucket, above):
    """Smallest key > above in a bucket of the window, or NO_KEY."""
    place = bucket & (WINDOW - 1)
    slot = h + SLOTS + 2 * place
    least = NO_KEY
    if cells[h + INNER] != 0 and _has_mates(cells, h, place):
        least = _least_mate(cells, h, bucket, above)
    if cells[slot + 1] != 0 and cells[slot] > above and cells[slot] < least:
        least = cells[slot]
    return least


@kernel
def _next_key(cells, h, key):
    """Smallest occupied key > key, or NO_KEY."""
    if key < cells[h + BEST]:
        return cells[h + BEST]
    base = cells[h + BASE]
    bucket = key >> cells[h + SHIFT]
    if bucket - base < WINDOW:
        least = _least_in(cells, h, bucket, key)
        if least != NO_KEY:
            return least
        depth = _next_place(cells, h, bucket - base)
        if depth >= 0:
            return _least_in(cells, h, base + depth, key)
    if cells[h + SPILLED] == cells[h + INNER]:
        return NO_KEY
    return _least_spilled(cells, h, key)


@kernel
def _lots_cell(cells, h, key):
    """Cell that holds the lots of `key`, or −1 when there is no such level."""
    bucket = key >> cells[h + SHIFT]
    depth = bucket - cells[h + BASE]
    if depth >= 0 and depth < WINDOW:
        slot = h + SLOTS + 2 * (bucket & (WINDOW - 1))
        if cells[slot] == key and cells[slot + 1] != 0:
            return slot + 1
        if cells[h + INNER] == 0:
            return -1
    if cells[h + SPILLED] == 0:
        return -1
    slot = _spill_find(cells, h, key)
    return slot + 1 if slot >= 0 else -1


@kernel
def _evict(cells, h, base):
    """First half of a move: slots outside the window at `base` go to the spill; bits tell taken slots alone."""
    shift = cells[h + SHIFT]
    for word in range(WORDS):
        bits = cells[h + BITS + word]
        kept = 0
        while bits != 0:
            bit = _lowest(bits)
            bits &= bits - 1
            slot = h + SLOTS + 2 * ((word << 5) + bit)
            if cells[slot + 1] != 0:
                depth = (cells[slot] >> shift) - base
                if depth >= 0 and depth < WINDOW:
                    kept |= 1 << bit
                else:
                    _spill_put(cells, h, cells[slot], cells[slot + 1])
                    cells[slot + 1] = 0
        cells[h + BITS + word] = kept
        cells[h + MATES + word] = 0
    cells[h + TOP] = 0
    for mid in range(MIDS):
        summary = 0
        for i in range(32):
            if cells[h + BITS + (mid << 5) + i] != 0:
                summary |= 1 << i
        cells[h + MID + mid] = summary
        if summary != 0:
            cells[h + TOP] |= 1 << mid


@kernel
def _move(cells, h, base):
    """Put the window at `base`: what falls out is spilled, what comes in takes its slot or becomes a mate."""
    _evict(cells, h, base)
    cells[h + BASE] = base
    cells[h + INNER] = 0
    cells[h + MOVES] += 1
    if cells[h + SPILLED] == 0:
        return
    shift = cells[h + SHIFT]
    i = 0
    while i <= cells[h + MASK]:
        cell = h + SPILL + 2 * i
        i += 1
        if cells[cell + 1] == 0:
            continue
        bucket = cells[cell] >> shift
        if bucket < base or bucket - base >= WINDOW:
            continue
        place = bucket & (WINDOW - 1)
        slot = h + SLOTS + 2 * place
        if cells[slot + 1] == 0:
            cells[slot] = cells[cell]
            cells[slot + 1] = cells[cell + 1]
            _mark(cells, h, place)
            _spill_drop(cells, h, cell)
            i -= 1
    _count_mates(cells, h)


@kernel
def _count_mates(cells, h):
    """Set the mates' bits and INNER from what is in the spill."""
    shift = cells[h + SHIFT]
    base = cells[h + BASE]
    for i in range(cells[h + MASK] + 1):
        cell = h + SPILL + 2 * i
        if cells[cell + 1] != 0:
            bucket = cells[cell] >> shift
            if bucket >= base and bucket - base < WINDOW:
                place = bucket & (WINDOW - 1)
                cells[h + MATES + (place >> 5)] |= 1 << (place & 31)
                cells[h + INNER] += 1


@kernel
def _follow(cells, h, key):
    """Make `key` (or NO_KEY) the best, moving the window when it lies in its wrong part."""
    cells[h + BEST] = key
    if key != NO_KEY:
        bucket = key >> cells[h + SHIFT]
        depth = bucket - cells[h + BASE]
        if depth < 0 or depth >= RIGHT:
            _move(cells, h, bucket - FRONT)


@kernel
def _delete(cells, h, key, cell):
    """Remove the level whose lots are in `cell`."""
    bucket = key >> cells[h + SHIFT]
    depth = bucket - cells[h + BASE]
    after = NO_KEY
    if key == cells[h + BEST]:
        after = _next_key(cells, h, key)
    cells[h + COUNT] -= 1
    place = bucket & (WINDOW - 1)
    if cell < h + SPILL:
        cells[cell] = 0
        if cells[h + INNER] == 0 or _has_mates(cells, h, place) == 0:
            _unmark(cells, h, place)
    else:
        _spill_drop(cells, h, cell - 1)
        if depth >= 0 and depth < WINDOW:
            cells[h + INNER] -= 1
            if _least_mate(cells, h, bucket, -NO_KEY) == NO_KEY:
                cells[h + MATES + (place >> 5)] &= ~(1 << (place & 31))
                if cells[h + SLOTS + 2 * place + 1] == 0:
                    _unmark(cells, h, place)
    if key == cells[h + BEST]:
        _follow(cells, h, after)


@kernel
def _insert(cells, h, key, lots):
    """Add a level that is absent: 0, or NEED_ROOM having changed nothing."""
    if cells[h + COUNT] >= cells[h + LIMIT]:
        return NEED_ROOM
    if cells[h + SPILLED] >= cells[h + SPILL_AT] or cells[h + MOVES] >= cells[h + MOVES_AT]:
        return NEED_ROOM
    if key < cells[h + BEST]:
        _follow(cells, h, key)
    cells[h + COUNT] += 1
    bucket = key >> cells[h + SHIFT]
    depth = bucket - cells[h + BASE]
    if depth < 0 or depth >= WINDOW:
        _spill_put(cells, h, key, lots)
        return 0
    place = bucket & (WINDOW - 1)
    slot = h + SLOTS + 2 * place
    if cells[slot + 1] == 0:
        cells[slot] = key
        cells[slot + 1] = lots
        _mark(cells, h, place)
    else:
        _spill_put(cells, h, key, lots)
        cells[h + INNER] += 1
        cells[h + MATES + (place >> 5)] |= 1 << (place & 31)
    return 0


@kernel
def _publish(rec, cells, h, side):
    """Copy touch and number of levels of a side into the head."""
    best = cells[h + BEST]
    lots = 0
    if best != NO_KEY:
        lots = cells[_lots_cell(cells, h, best)]
    if side > 0:
        rec["bid_ticks"] = -best
        rec["bid_lots"] = lots
        rec["bids"] = cells[h + COUNT]
    else:
        rec["ask_ticks"] = best
        rec["ask_lots"] = lots
        rec["asks"] = cells[h + COUNT]


@kernel
def book_set(books, cells, b, side, ticks, lots):
    """Set a level to `lots` (0 deletes): its previous lots (>= 0), or NEED_ROOM having changed nothing.

    side +1 bid, −1 ask; |ticks| <= 2^61; lots >= 0.  Deleting an absent level is normal and returns 0.
    """
    rec = books[b]
    h = rec["bid_at"] if side > 0 else rec["ask_at"]
    key = -ticks if side > 0 else ticks
    cell = _lots_cell(cells, h, key)
    old = 0
    best = cells[h + BEST]
    if cell >= 0:
        old = cells[cell]
        if lots != 0:
            cells[cell] = lots
        else:
            _delete(cells, h, key, cell)
    elif lots != 0:
        if _insert(cells, h, key, lots) != 0:
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


@kernel
def _clear_side(cells, h):
    """Empty a side; reads the slots of occupied buckets alone, and the spill when it holds anything."""
    for word in range(WORDS):
        bits = cells[h + BITS + word]
        while bits != 0:
            cells[h + SLOTS + 2 * ((word << 5) + _lowest(bits)) + 1] = 0
            bits &= bits - 1
        cells[h + BITS + word] = 0
        cells[h + MATES + word] = 0
    for mid in range(MIDS):
        cells[h + MID + mid] = 0
    cells[h + TOP] = 0
    if cells[h + SPILLED] != 0:
        for i in range(cells[h + MASK] + 1):
            cells[h + SPILL + 2 * i + 1] = 0
    cells[h + SPILLED] = 0
    cells[h + INNER] = 0
    cells[h + COUNT] = 0
    cells[h + BEST] = NO_KEY


@kernel
def book_clear(books, cells, b):
    """Empty both sides of book `b`; room and shift stay."""
    rec = books[b]
    _clear_side(cells, rec["bid_at"])
    _clear_side(cells, rec["ask_at"])
    _publish(rec, cells, rec["bid_at"], 1)
    _publish(rec, cells, rec["ask_at"], -1)


@kernel
def book_lots(books, cells, b, side, ticks):
    """Lots at a price, 0 when there is no such level."""
    rec = books[b]
    h = rec["bid_at"] if side > 0 else rec["ask_at"]
    cell = _lots_cell(cells, h, -side * ticks)
    return cells[cell] if cell >= 0 else 0


@kernel
def book_next(books, cells, b, side, ticks):
    """Ticks of the next occupied level strictly worse than `ticks`, or NO_BID / NO_ASK.

    `ticks` need not be a level.  Inside the window this is a few word reads; beyond it the whole spill is read.
    """
    rec = books[b]
    h = rec["bid_at"] if side > 0 else rec["ask_at"]
    return -side * _next_key(cells, h, -side * ticks)


@kernel
def _sink(keys, lots, first, last, i):
    """Restore a max-heap in [first, last) whose element i (counted from first) may be too small."""
    n = last - first
    while 2 * i + 1 < n:
        child = 2 * i + 1
        if child + 1 < n and keys[first + child + 1] > keys[first + child]:
            child += 1
        if keys[first + child] <= keys[first + i]:
            return
        a = first + i
        c = first + child
        keys[a], keys[c] = keys[c], keys[a]
        lots[a], lots[c] = lots[c], lots[a]
        i = child


@kernel
def _sort(keys, lots, first, last):
    """Heap-sort of [first, last), ascending by key, both arrays together."""
    for i in range((last - first) // 2 - 1, -1, -1):
        _sink(keys, lots, first, last, i)
    for end in range(last - 1, first, -1):
        keys[first], keys[end] = keys[end], keys[first]
        lots[first], lots[end] = lots[end], lots[first]
        _sink(keys, lots, first, end, 0)


@kernel
def _collect(cells, h, first, keys, lots):
    """Write the smallest keys of the spill outside the window, sorted, to [first, len): the new length."""
    n = first
    size = len(keys)
    base = cells[h + BASE]
    shift = cells[h + SHIFT]
    for i in range(cells[h + MASK] + 1):
        cell = h + SPILL + 2 * i
        if cells[cell + 1] == 0 or (cells[cell] >> shift) - base < WINDOW:
            continue
        if n < size:
            keys[n] = cells[cell]
            lots[n] = cells[cell + 1]
            n += 1
            if n == size:
                for j in range((n - first) // 2 - 1, -1, -1):
                    _sink(keys, lots, first, n, j)
        elif cells[cell] < keys[first]:
            keys[first] = cells[cell]
            lots[first] = cells[cell + 1]
            _sink(keys, lots, first, n, 0)
    _sort(keys, lots, first, n)
    return n


@kernel
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
        if cells[h + INNER] == 0 or _has_mates(cells, h, place) == 0:
            slot = h + SLOTS + 2 * place
            out_ticks[n] = cells[slot]
            out_lots[n] = cells[slot + 1]
            n += 1
        else:
            key = _least_in(cells, h, base + depth, -NO_KEY)
            while key != NO_KEY and n < size:
                out_ticks[n] = key
                out_lots[n] = cells[_lots_cell(cells, h, key)]
                n += 1
                key = _least_in(cells, h, base + depth, key)
        depth = _next_place(cells, h, depth)
    if n < size and cells[h + SPILLED] > cells[h + INNER]:
        n = _collect(cells, h, n, out_ticks, out_lots)
    if side > 0:
        for i in range(n):
            out_ticks[i] = -out_ticks[i]
    return n


CHECK_MEANINGS = {
    1: "a window slot holds negative lots, or a key of another bucket",
    2: "a bucket's bit disagrees with its slot and mates",
    3: "a summary bit disagrees with the words below it",
    4: "a spilled level cannot be found, stands twice, or has negative lots",
    5: "a mates' bit disagrees with the spill",
    6: "the numbers of levels disagree",
    7: "the best level is not the smallest key, or is outside the window",
    8: "the head disagrees with the side",
    9: "a side holds more than its limit",
}


@kernel
def _check_bits(cells, h):
    """Codes 2 and 3: each bit against what it stands for."""
    for place in range(WINDOW):
        bit = (cells[h + BITS + (place >> 5)] >> (place & 31)) & 1
        taken = cells[h + SLOTS + 2 * place + 1] != 0
        if bit != (1 if taken or _has_mates(cells, h, place) else 0):
            return 2
    for word in range(WORDS):
        bit = (cells[h + MID + (word >> 5)] >> (word & 31)) & 1
        if bit != (1 if cells[h + BITS + word] != 0 else 0):
            return 3
    for mid in range(MIDS):
        if ((cells[h + TOP] >> mid) & 1) != (1 if cells[h + MID + mid] != 0 else 0):
            return 3
    return 0


@kernel
def _check_side(cells, h):
    """The first broken invariant of a side, or 0."""
    shift = cells[h + SHIFT]
    base = cells[h + BASE]
    least = NO_KEY
    count = 0
    for place in range(WINDOW):
        slot = h + SLOTS + 2 * place
        if cells[slot + 1] != 0:
            bucket = cells[slot] >> shift
            depth = bucket - base
            if cells[slot + 1] < 0 or depth < 0 or depth >= WINDOW or bucket & (WINDOW - 1) != place:
                return 1
            count += 1
            least = min(least, cells[slot])
    spilled = 0
    inner = 0
    for i in range(cells[h + MASK] + 1):
        cell = h + SPILL + 2 * i
        if cells[cell + 1] != 0:
            bucket = cells[cell] >> shift
            if cells[cell + 1] < 0 or _spill_find(cells, h, cells[cell]) != cell:
                return 4
            spilled += 1
            least = min(least, cells[cell])
            if bucket - base >= 0 and bucket - base < WINDOW:
                inner += 1
                place = bucket & (WINDOW - 1)
                if _has_mates(cells, h, place) == 0:
                    return 5
                if cells[h + SLOTS + 2 * place] == cells[cell] and cells[h + SLOTS + 2 * place + 1] != 0:
                    return 4
    code = _check_bits(cells, h)
    if code != 0:
        return code
    for place in range(WINDOW):
        if _has_mates(cells, h, place):
            bucket = base + ((place - base) & (WINDOW - 1))
            if _least_mate(cells, h, bucket, -NO_KEY) == NO_KEY:
                return 5
    if spilled != cells[h + SPILLED] or inner != cells[h + INNER] or count + spilled != cells[h + COUNT]:
        return 6
    best = cells[h + BEST]
    if best != least:
        return 7
    if best != NO_KEY and ((best >> shift) < base or (best >> shift) - base >= WINDOW):
        return 7
    return 9 if cells[h + COUNT] > cells[h + LIMIT] else 0


@kernel
def book_check(books, cells, b):
    """0, or the code (see CHECK_MEANINGS) of the first broken invariant of book `b`; asks add 100."""
    rec = books[b]
    bid = rec["bid_at"]
    ask = rec["ask_at"]
    code = _check_side(cells, bid)
    if code != 0:
        return code
    code = _check_side(cells, ask)
    if code != 0:
        return 100 + code
    bid_cell = _lots_cell(cells, bid, cells[bid + BEST])
    ask_cell = _lots_cell(cells, ask, cells[ask + BEST])
    bid_lots = cells[bid_cell] if bid_cell >= 0 else 0
    ask_lots = cells[ask_cell] if ask_cell >= 0 else 0
    if (
        rec["bids"] != cells[bid + COUNT]
        or rec["bid_ticks"] != -cells[bid + BEST]
        or rec["bid_lots"] != bid_lots
    ):
        return 8
    if (
        rec["asks"] != cells[ask + COUNT]
        or rec["ask_ticks"] != cells[ask + BEST]
        or rec["ask_lots"] != ask_lots
    ):
        return 108
    return 0


def _side_cells(limit: int, shift: int, base: int) -> np.ndarray:
    """Cells of an empty side with room for `limit` levels (a power of two)."""
    cells = np.zeros(SPILL + 4 * limit, dtype=np.int64)
    _open_side(cells, limit, shift, base)
    return cells


def _open_side(cells: np.ndarray, limit: int, shift: int, base: int) -> None:
    """Write the numbers of an empty side into zeroed cells."""
    cells[BEST] = NO_KEY
    cells[BASE] = base
    cells[SHIFT] = shift
    cells[LIMIT] = limit
    cells[MASK] = 2 * limit - 1
    cells[SPILL_AT] = FIRST_SPILL_AT
    cells[MOVES_AT] = FIRST_MOVES_AT


def _side_size(cells: np.ndarray, h: int) -> int:
    return SPILL + 4 * int(cells[h + LIMIT])


def make_books(n: int, levels: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """`n` empty books with room for `levels` a side (rounded up to a power of two, at least 16): books, cells.

    Untouched cells cost address space only, as long as the operating system hands out zeroed pages lazily.
    """
    limit = 1 << max(4, (levels - 1).bit_length())
    size = SPILL + 4 * limit
    books = np.zeros(n, dtype=BOOK)
    cells = np.zeros(2 * n * size, dtype=np.int64)
    for i in range(2 * n):
        _open_side(cells[i * size : (i + 1) * size], limit, 0, 0)
    books["bid_at"] = 2 * size * np.arange(n)
    books["ask_at"] = books["bid_at"] + size
    books["bid_ticks"] = NO_BID
    books["ask_ticks"] = NO_ASK
    return books, cells


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


def _grown_side(cells: np.ndarray, h: int) -> np.ndarray:
    """The side at `h` again: twice the room when it is full, and with the shift that suits it now."""
    size = _side_size(cells, h)
    slots = cells[h + SLOTS : h + size].reshape(-1, 2)
    keys, lots = slots[slots[:, 1] != 0].T
    order = np.argsort(keys)
    keys, lots = keys[order], lots[order]
    limit = int(cells[h + LIMIT])
    if len(keys) >= limit:
        limit *= 2
    shift = best_shift(keys)
    base = (int(keys[0]) >> shift) - FRONT if len(keys) else 0
    side = _side_cells(limit, shift, base)
    side[SPILL_AT] = side[MOVES_AT] = limit + 1
    for key, amount in zip(keys.tolist(), lots.tolist()):
        _insert(side, 0, key, amount)
    side[SPILL_AT] = max(FIRST_SPILL_AT, 2 * int(side[SPILLED]))
    side[MOVES_AT] = (
        2 * int(cells[h + MOVES_AT]) if cells[h + MOVES] >= cells[h + MOVES_AT] else cells[h + MOVES_AT]
    )
    side[MOVES] = 0
    return side


def grow_book(books: np.ndarray, cells: np.ndarray, b: int) -> tuple[np.ndarray, np.ndarray]:
    """New arrays in which book `b` has what `book_set` asked for; all levels of all books are unchanged."""
    starts = [int(at) for at in books["bid_at"]] + [int(at) for at in books["ask_at"]]
    grown = {int(books["bid_at"][b]), int(books["ask_at"][b])}
    moved: dict[int, int] = {}
    parts: list[np.ndarray] = []
    end = 0
    for at in sorted(starts):
        part = _grown_side(cells, at) if at in grown else cells[at : at + _side_size(cells, at)]
        moved[at] = end
        parts.append(part)
        end += len(part)
    out = books.copy()
    for name in ("bid_at", "ask_at"):
        out[name] = [moved[int(at)] for at in books[name]]
    return out, np.concatenate(parts)


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


def book_digest(
    books: np.ndarray, cells: np.ndarray, b: int, instrument: Instrument, limit: int | None = None
) -> str:
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
