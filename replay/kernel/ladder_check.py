"""The invariants of one side of a book (see `replay.kernel.ladder`), each tested by reading everything."""

from __future__ import annotations

from replay.kernel.jit import kernel
from replay.kernel.ladder import (
    BASE,
    BEST,
    BLOCK_SHIFT,
    COUNT,
    INNER,
    LIMIT,
    LOTS,
    MARKS,
    MASK,
    NO_KEY,
    SHIFT,
    SPILL,
    SPILLED,
    WINDOW,
    has_mates,
    least_mate,
    slot_key,
    spill_find,
)

CHECK_MEANINGS = {
    1: "a window slot holds negative lots, or a key of another bucket",
    2: "a taken slot lies in a block without a mark",
    3: "a bucket has mates and an empty slot",
    4: "a spilled level cannot be found, stands twice, or has negative lots",
    5: "a mates' bit disagrees with the spill",
    6: "the numbers of levels disagree",
    7: "the best level is not the smallest key, or is outside the window",
    8: "the head disagrees with the side",
    9: "a side holds more than its limit",
}


@kernel(entry=False, counted=False)
def _check_places(cells, h):
    """Codes 2 and 3: each place of the window against the mark of its block and its bit of mates."""
    for place in range(WINDOW):
        taken = cells[h + LOTS + place] != 0
        if taken and cells[h + MARKS + (place >> BLOCK_SHIFT)] == 0:
            return 2
        if not taken and has_mates(cells, h, place):
            return 3
    return 0


@kernel(entry=False, counted=False)
def check_side(cells, h):
    """The first broken invariant of a side, or 0."""
    shift = cells[h + SHIFT]
    base = cells[h + BASE]
    least = NO_KEY
    count = 0
    for place in range(WINDOW):
        lots = cells[h + LOTS + place]
        if lots != 0:
            key = slot_key(cells, h, place)
            bucket = key >> shift
            depth = bucket - base
            if lots < 0 or depth < 0 or depth >= WINDOW or bucket & (WINDOW - 1) != place:
                return 1
            count += 1
            least = min(least, key)
    spilled = 0
    inner = 0
    for i in range(cells[h + MASK] + 1):
        cell = h + SPILL + 2 * i
        if cells[cell + 1] != 0:
            bucket = cells[cell] >> shift
            if cells[cell + 1] < 0 or spill_find(cells, h, cells[cell]) != cell:
                return 4
            spilled += 1
            least = min(least, cells[cell])
            if bucket - base >= 0 and bucket - base < WINDOW:
                inner += 1
                place = bucket & (WINDOW - 1)
                if has_mates(cells, h, place) == 0:
                    return 5
                if cells[h + LOTS + place] != 0 and slot_key(cells, h, place) == cells[cell]:
                    return 4
    code = _check_places(cells, h)
    if code != 0:
        return code
    for place in range(WINDOW):
        if has_mates(cells, h, place):
            bucket = base + ((place - base) & (WINDOW - 1))
            if least_mate(cells, h, bucket, -NO_KEY) == NO_KEY:
                return 5
    if spilled != cells[h + SPILLED] or inner != cells[h + INNER] or count + spilled != cells[h + COUNT]:
        return 6
    best = cells[h + BEST]
    if best != least:
        return 7
    if best != NO_KEY and ((best >> shift) < base or (best >> shift) - base >= WINDOW):
        return 7
    return 9 if cells[h + COUNT] > cells[h + LIMIT] else 0
