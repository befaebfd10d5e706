"""One side of a book: lots by price, best first, at a cost that depends on neither tick size nor empty prices.

THEORY.  A side orders its levels by `key = −side · ticks`, so that on both sides the best level has the smallest key
and one piece of code serves both.  Three structures hold it, in one run of int64 cells that begins at `h`:

* the **window**: WINDOW buckets of `2**shift` keys each, a ring addressed by `key >> shift`.  A bucket has one slot:
  lots, and its key, which is kept apart and only where a bucket has more than one key (shift > 0).  The shift fits the
  book, not the tick: when all prices are multiplied by 1000 the shift rises by ten and everything else stays as it was;
* the **marks**, one cell for each BLOCK buckets: not 0 where a level may be.  A change of a level only writes them.  A
  bitmap would have to be read, changed and written, and each level of a message would wait for the one before it (a
  quarter of the time of a delta).  So a mark may be stale; those that the best level has passed are taken away;
* the **spill**, an open-addressing hash table, for levels outside the window and for the second and further levels
  of one bucket (its "mates").  It is hashed by bucket, so the mates of a bucket lie in one probe run.

INVARIANTS (`replay.kernel.ladder_check`).  The best level lies in the window and no level lies before it; hence
levels outside the window are worse than all inside.  A bucket with mates has its slot taken, and its bit of MATES set.
A block with a taken slot is marked.  When the best level leaves the first half of the window, the window moves so that
the best lies at its first quarter; levels that fall out go to the spill, and those that come in leave it.

ROOM.  ROOM is the number of levels beyond which an insertion is refused.  It is LIMIT, or 0 as soon as the spill has
doubled or the window has moved often since the shift was last chosen: then the owner chooses it anew.
"""

from __future__ import annotations

from replay.kernel.jit import kernel

NO_KEY = 2**62 - 1
"""Larger than any key: the best of an empty side."""

NEED_ROOM = -1
"""Answer of `book_set`: nothing was changed; call `grow_book` and repeat."""

WINDOW = 16384
FRONT = WINDOW // 4
RIGHT = WINDOW // 2
BLOCK_SHIFT = 6
BLOCK = 1 << BLOCK_SHIFT
BLOCKS = WINDOW // BLOCK
WORDS = WINDOW // 32

# Cells of a side: its numbers, marks of blocks, bits of mates, lots and keys of the window's slots, spill (key, lots).
BEST, BASE, SHIFT, COUNT, LIMIT, MASK, SPILLED, INNER, SPILL_AT, MOVES, MOVES_AT, ROOM = range(12)
MARKS = 16
MATES = MARKS + BLOCKS
LOTS = MATES + WORDS
KEYS = LOTS + WINDOW
SPILL = KEYS + WINDOW

FIRST_MOVES_AT = 32


@kernel(entry=False, counted=False)
def next_place(cells, h, depth):
    """Depth (buckets from the window's base) of the first taken slot deeper than `depth` >= -1, or −1."""
    base = cells[h + BASE]
    depth += 1
    while depth < WINDOW:
        place = (base + depth) & (WINDOW - 1)
        end = min(depth + BLOCK - (place & (BLOCK - 1)), WINDOW)
        if cells[h + MARKS + (place >> BLOCK_SHIFT)] != 0:
            while depth < end:
                if cells[h + LOTS + place] != 0:
                    return depth
                depth += 1
                place += 1
        depth = end
    return -1


@kernel(entry=False, counted=False, inline=True)
def mark(cells, h, place):
    """Say that the block of a place may have a level."""
    cells[h + MARKS + (place >> BLOCK_SHIFT)] = 1


@kernel(entry=False, counted=False)
def _unmark(cells, h, bucket, end):
    """Take the marks of the blocks from that of `bucket` up to that of `end`, which have no level, and not that one."""
    for block in range(bucket >> BLOCK_SHIFT, end >> BLOCK_SHIFT):
        cells[h + MARKS + (block & (BLOCKS - 1))] = 0


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
        # The best's own slot is one of those that are taken.
        if cells[h + COUNT] - cells[h + SPILLED] > int(key == cells[h + BEST]):
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
    """First half of a move: slots outside the window at `base` go to the spill, and no bucket has mates yet."""
    shift = cells[h + SHIFT]
    for block in range(BLOCKS):
        if cells[h + MARKS + block] == 0:
            continue
        kept = 0
        for place in range(block << BLOCK_SHIFT, (block + 1) << BLOCK_SHIFT):
            lots = cells[h + LOTS + place]
            if lots != 0:
                key = slot_key(cells, h, place)
                depth = (key >> shift) - base
                if depth >= 0 and depth < WINDOW:
                    kept = 1
                else:
                    _spill_put(cells, h, key, lots)
                    cells[h + LOTS + place] = 0
        cells[h + MARKS + block] = kept
    _forget_mates(cells, h)


@kernel(entry=False, counted=False)
def _forget_mates(cells, h):
    """Take the bits of mates of all buckets, when there are any."""
    if cells[h + INNER] != 0:
        for word in range(WORDS):
            cells[h + MATES + word] = 0
        cells[h + INNER] = 0


@kernel(entry=False, counted=False)
def _move(cells, h, base):
    """Put the window at `base`: what falls out is spilled, what comes in takes its slot or becomes a mate."""
    _evict(cells, h, base)
    cells[h + BASE] = base
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
            mark(cells, h, place)
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
def _drop_mate(cells, h, bucket, slot):
    """Remove the mate of `bucket` in spill slot `slot`."""
    _spill_drop(cells, h, slot)
    cells[h + INNER] -= 1
    if least_mate(cells, h, bucket, -NO_KEY) == NO_KEY:
        place = bucket & (WINDOW - 1)
        cells[h + MATES + (place >> 5)] &= ~(1 << (place & 31))


@kernel(entry=False, counted=False)
def delete_level(cells, h, key, cell):
    """Remove the level whose lots are in `cell`; the slot of a bucket with mates goes to the least of them."""
    bucket = key >> cells[h + SHIFT]
    depth = bucket - cells[h + BASE]
    after = NO_KEY
    if key == cells[h + BEST]:
        after = next_key(cells, h, key)
    cells[h + COUNT] -= 1
    place = bucket & (WINDOW - 1)
    if cell < h + SPILL:
        cells[cell] = 0
        if cells[h + INNER] != 0 and has_mates(cells, h, place):
            heir = least_mate(cells, h, bucket, -NO_KEY)
            slot = spill_find(cells, h, heir)
            cells[cell] = cells[slot + 1]
            cells[h + KEYS + place] = heir
            _drop_mate(cells, h, bucket, slot)
    elif depth >= 0 and depth < WINDOW:
        _drop_mate(cells, h, bucket, cell - 1)
    else:
        _spill_drop(cells, h, cell - 1)
    if key == cells[h + BEST]:
        end = cells[h + BASE] + WINDOW
        if after != NO_KEY:
            end = min(end, after >> cells[h + SHIFT])
        _unmark(cells, h, bucket, end)
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
        mark(cells, h, place)
    else:
        _spill_put(cells, h, key, lots)
        cells[h + INNER] += 1
        cells[h + MATES + (place >> 5)] |= 1 << (place & 31)
    return 0


@kernel(entry=False, counted=False)
def clear_side(cells, h):
    """Empty a side; touches the slots of marked blocks alone, and the spill when it holds anything."""
    for block in range(BLOCKS):
        if cells[h + MARKS + block] != 0:
            cells[h + MARKS + block] = 0
            for place in range(block << BLOCK_SHIFT, (block + 1) << BLOCK_SHIFT):
                cells[h + LOTS + place] = 0
    _forget_mates(cells, h)
    if cells[h + SPILLED] != 0:
        for i in range(cells[h + MASK] + 1):
            cells[h + SPILL + 2 * i + 1] = 0
    cells[h + SPILLED] = 0
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
