"""One side of a book: lots by price, best first, at a cost that depends on neither tick size nor empty prices.

THEORY.  A side orders its levels by `key = −side · ticks`, so that on both sides the best level has the smallest key
and one piece of code serves both.  Three structures hold it, in one run of int64 cells that begins at `h`:

* the **window**: WINDOW buckets of `2**shift` keys each, a ring addressed by `key >> shift`.  A bucket has one slot:
  lots, and its key, which is kept apart and only where a bucket has more than one key (shift > 0).  The shift fits the
  book, not the tick: when all prices are multiplied by 1000 the shift rises by ten and everything else stays as it was;
* two **bitmaps**, 32 bits a word, the second a summary of the first: the next occupied bucket is found by a few word
  reads, at most MIDS and three, however many empty prices lie between;
* the **spill**, an open-addressing hash table, for levels outside the window and for the second and further levels
  of one bucket (its "mates").  It is hashed by bucket, so the mates of a bucket lie in one probe run.

INVARIANTS (`replay.kernel.ladder_check`).  The best level lies in the window and no level lies before it; hence
levels outside the window are worse than all inside.  A bucket's bit is set when its slot is taken or it has mates; the
bits of MATES tell which have.  When the best level leaves the first half of the window, the window moves so that the
best lies at its first quarter; levels that fall out go to the spill, and those that come in leave it.

ROOM.  ROOM is the number of levels beyond which an insertion is refused.  It is LIMIT, or 0 as soon as the spill has
doubled or the window has moved often since the shift was last chosen: then the owner chooses it anew.
"""

from __future__ import annotations

import numpy as np

from replay.kernel.jit import kernel

NO_KEY = 2**62 - 1
"""Larger than any key: the best of an empty side."""

NEED_ROOM = -1
"""Answer of `book_set`: nothing was changed; call `grow_book` and repeat."""

WINDOW = 16384
FRONT = WINDOW // 4
RIGHT = WINDOW // 2
WORDS = WINDOW // 32
MIDS = WORDS // 32

# Cells of a side: first its numbers, then bitmaps, lots and keys of the window's slots, spill slots (key, lots).
BEST, BASE, SHIFT, COUNT, LIMIT, MASK, SPILLED, INNER, SPILL_AT, MOVES, MOVES_AT, ROOM = range(12)
MID = 16
BITS = MID + MIDS
MATES = BITS + WORDS
LOTS = MATES + WORDS
KEYS = LOTS + WINDOW
SPILL = KEYS + WINDOW

FIRST_MOVES_AT = 32


LOW_BIT = np.zeros(32, dtype=np.int64)
for _bit in range(32):
    LOW_BIT[((1 << _bit) * 0x077CB531 & 0xFFFFFFFF) >> 27] = _bit


@kernel(entry=False, counted=False)
def _lowest(word):
    """Index of the lowest set bit of a word in 1 … 2^32 − 1, by a de Bruijn product."""
    return LOW_BIT[(((word & -word) * 0x077CB531) & 0xFFFFFFFF) >> 27]


@kernel(entry=False, counted=False)
def _first_bit(cells, h, start):
    """First occupied ring place >= start, or −1."""
    bits = h + BITS
    word = start >> 5
    if word < WORDS:
        x = cells[bits + word] >> (start & 31)
        if x != 0:
            return start + _lowest(x)
        word += 1
    while word < WORDS:
        mid = word >> 5
        x = cells[h + MID + mid] >> (word & 31)
        if x != 0:
            word += _lowest(x)
            return (word << 5) + _lowest(cells[bits + word])
        word = (mid + 1) << 5
    return -1


@kernel(entry=False, counted=False)
def next_place(cells, h, depth):
    """Depth (buckets from the window's base) of the first occupied bucket deeper than `depth`, or −1."""
    base = cells[h + BASE]
    place = _first_bit(cells, h, ((base + depth) & (WINDOW - 1)) + 1)
    if place < 0:
        place = _first_bit(cells, h, 0)
        if place < 0:
            return -1
    found = (place - base) & (WINDOW - 1)
    return found if found > depth else -1


@kernel(entry=False, counted=False, inline=True)
def mark(cells, h, place, occupied):
    """Set the bit of a bucket to `occupied` (0 or 1), and the one that summarises its word, without a branch."""
    word = place >> 5
    mid = h + MID + (word >> 5)
    bits = (cells[h + BITS + word] & ~(1 << (place & 31))) | (occupied << (place & 31))
    cells[h + BITS + word] = bits
    cells[mid] = (cells[mid] & ~(1 << (word & 31))) | (int(bits != 0) << (word & 31))


@kernel(entry=False, counted=False)
def slot_key(cells, h, place):
    """Key of the level in the slot of a bucket of the window."""
    if cells[h + SHIFT] != 0:
        return cells[h + KEYS + place]
    base = cells[h + BASE]
    return base + ((place - base) & (WINDOW - 1))


@kernel(entry=False, counted=False)
def has_mates(cells, h, place):
    return (cells[h + MATES + (place >> 5)] >> (place & 31)) & 1


@kernel(entry=False, counted=False)
def _home(cells, h, bucket):
    """First probe of a bucket in the spill; the product stays below 2^62."""
    folded = (bucket ^ (bucket >> 30)) & 0x3FFFFFFF
    product = folded * 0x9E3779B1
    return ((product >> 15) ^ (product >> 31)) & cells[h + MASK]


@kernel(entry=False, counted=False)
def spill_find(cells, h, key):
    """Cell of the spill slot that holds `key`, or −1."""
    spill = h + SPILL
    mask = cells[h + MASK]
    i = _home(cells, h, key >> cells[h + SHIFT])
    while cells[spill + 2 * i + 1] != 0:
        if cells[spill + 2 * i] == key:
            return spill + 2 * i
        i = (i + 1) & mask
    return -1


@kernel(entry=False, counted=False)
def _spill_put(cells, h, key, lots):
    """Add a level that is not in the spill; there is always a free slot (the table is at most half full)."""
    spill = h + SPILL
    mask = cells[h + MASK]
    i = _home(cells, h, key >> cells[h + SHIFT])
    while cells[spill + 2 * i + 1] != 0:
        i = (i + 1) & mask
    cells[spill + 2 * i] = key
    cells[spill + 2 * i + 1] = lots
    spilled = cells[h + SPILLED] + 1
    cells[h + SPILLED] = spilled
    if spilled >= cells[h + SPILL_AT]:
        cells[h + ROOM] = 0


@kernel(entry=False, counted=False)
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


@kernel(entry=False, counted=False)
def least_mate(cells, h, bucket, above):
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


@kernel(entry=False, counted=False)
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


@kernel(entry=False, counted=False)
def least_in(cells, h, bucket, above):
    """Smallest key > above in a bucket of the window, or NO_KEY."""
    place = bucket & (WINDOW - 1)
    least = NO_KEY
    if cells[h + INNER] != 0 and has_mates(cells, h, place):
        least = least_mate(cells, h, bucket, above)
    if cells[h + LOTS + place] != 0:
        key = slot_key(cells, h, place)
        if key > above and key < least:
            least = key
    return least


@kernel(entry=False, counted=False)
def next_key(cells, h, key):
    """Smallest occupied key > key, or NO_KEY."""
    if key < cells[h + BEST]:
        return cells[h + BEST]
    base = cells[h + BASE]
    bucket = key >> cells[h + SHIFT]
    if bucket - base < WINDOW:
        least = least_in(cells, h, bucket, key)
        if least != NO_KEY:
            return least
        depth = next_place(cells, h, bucket - base)
        if depth >= 0:
            return least_in(cells, h, base + depth, key)
    if cells[h + SPILLED] == cells[h + INNER]:
        return NO_KEY
    return _least_spilled(cells, h, key)


@kernel(entry=False, counted=False)
def lots_cell(cells, h, key):
    """Cell that holds the lots of `key`, or −1 when there is no such level."""
    bucket = key >> cells[h + SHIFT]
    depth = bucket - cells[h + BASE]
    if depth >= 0 and depth < WINDOW:
        place = bucket & (WINDOW - 1)
        if cells[h + LOTS + place] != 0 and slot_key(cells, h, place) == key:
            return h + LOTS + place
        if cells[h + INNER] == 0:
            return -1
    if cells[h + SPILLED] == 0:
        return -1
    slot = spill_find(cells, h, key)
    return slot + 1 if slot >= 0 else -1


@kernel(entry=False, counted=False)
def _evict(cells, h, base):
    """First half of a move: slots outside the window at `base` go to the spill; bits tell taken slots alone."""
    shift = cells[h + SHIFT]
    for word in range(WORDS):
        bits = cells[h + BITS + word]
        kept = 0
        while bits != 0:
            bit = _lowest(bits)
            bits &= bits - 1
            place = (word << 5) + bit
            lots = cells[h + LOTS + place]
            if lots != 0:
                key = slot_key(cells, h, place)
                depth = (key >> shift) - base
                if depth >= 0 and depth < WINDOW:
                    kept |= 1 << bit
                else:
                    _spill_put(cells, h, key, lots)
                    cells[h + LOTS + place] = 0
        cells[h + BITS + word] = kept
        cells[h + MATES + word] = 0
    for mid in range(MIDS):
        summary = 0
        for i in range(32):
            if cells[h + BITS + (mid << 5) + i] != 0:
                summary |= 1 << i
        cells[h + MID + mid] = summary


@kernel(entry=False, counted=False)
def _move(cells, h, base):
    """Put the window at `base`: what falls out is spilled, what comes in takes its slot or becomes a mate."""
    _evict(cells, h, base)
    cells[h + BASE] = base
    cells[h + INNER] = 0
    cells[h + MOVES] += 1
    if cells[h + MOVES] >= cells[h + MOVES_AT]:
        cells[h + ROOM] = 0
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
        if cells[h + LOTS + place] == 0:
            cells[h + KEYS + place] = cells[cell]
            cells[h + LOTS + place] = cells[cell + 1]
            mark(cells, h, place, 1)
            _spill_drop(cells, h, cell)
            i -= 1
    _count_mates(cells, h)


@kernel(entry=False, counted=False)
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


@kernel(entry=False, counted=False)
def _follow(cells, h, key):
    """Make `key` (or NO_KEY) the best, moving the window when it lies in its wrong part."""
    cells[h + BEST] = key
    if key != NO_KEY:
        bucket = key >> cells[h + SHIFT]
        depth = bucket - cells[h + BASE]
        if depth < 0 or depth >= RIGHT:
            _move(cells, h, bucket - FRONT)


@kernel(entry=False, counted=False)
def delete_level(cells, h, key, cell):
    """Remove the level whose lots are in `cell`."""
    bucket = key >> cells[h + SHIFT]
    depth = bucket - cells[h + BASE]
    after = NO_KEY
    if key == cells[h + BEST]:
        after = next_key(cells, h, key)
    cells[h + COUNT] -= 1
    place = bucket & (WINDOW - 1)
    if cell < h + SPILL:
        cells[cell] = 0
        if cells[h + INNER] == 0 or has_mates(cells, h, place) == 0:
            mark(cells, h, place, 0)
    else:
        _spill_drop(cells, h, cell - 1)
        if depth >= 0 and depth < WINDOW:
            cells[h + INNER] -= 1
            if least_mate(cells, h, bucket, -NO_KEY) == NO_KEY:
                cells[h + MATES + (place >> 5)] &= ~(1 << (place & 31))
                if cells[h + LOTS + place] == 0:
                    mark(cells, h, place, 0)
    if key == cells[h + BEST]:
        _follow(cells, h, after)


@kernel(entry=False, counted=False)
def insert_level(cells, h, key, lots):
    """Add a level that is absent: 0, or NEED_ROOM having changed nothing."""
    if cells[h + COUNT] >= cells[h + ROOM]:
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
    if cells[h + LOTS + place] == 0:
        cells[h + KEYS + place] = key
        cells[h + LOTS + place] = lots
        mark(cells, h, place, 1)
    else:
        _spill_put(cells, h, key, lots)
        cells[h + INNER] += 1
        cells[h + MATES + (place >> 5)] |= 1 << (place & 31)
    return 0


@kernel(entry=False, counted=False)
def clear_side(cells, h):
    """Empty a side; reads the slots of occupied buckets alone, and the spill when it holds anything."""
    for word in range(WORDS):
        bits = cells[h + BITS + word]
        while bits != 0:
            cells[h + LOTS + (word << 5) + _lowest(bits)] = 0
            bits &= bits - 1
        cells[h + BITS + word] = 0
        cells[h + MATES + word] = 0
    for mid in range(MIDS):
        cells[h + MID + mid] = 0
    if cells[h + SPILLED] != 0:
        for i in range(cells[h + MASK] + 1):
            cells[h + SPILL + 2 * i + 1] = 0
    cells[h + SPILLED] = 0
    cells[h + INNER] = 0
    cells[h + COUNT] = 0
    cells[h + BEST] = NO_KEY
    if cells[h + MOVES] < cells[h + MOVES_AT]:
        cells[h + ROOM] = cells[h + LIMIT]


@kernel(entry=False, counted=False)
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


@kernel(entry=False, counted=False)
def _sort(keys, lots, first, last):
    """Heap-sort of [first, last), ascending by key, both arrays together."""
    for i in range((last - first) // 2 - 1, -1, -1):
        _sink(keys, lots, first, last, i)
    for end in range(last - 1, first, -1):
        keys[first], keys[end] = keys[end], keys[first]
        lots[first], lots[end] = lots[end], lots[first]
        _sink(keys, lots, first, end, 0)


@kernel(entry=False, counted=False)
def collect_far(cells, h, first, keys, lots):
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
