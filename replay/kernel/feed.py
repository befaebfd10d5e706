"""Windows: how batches of a source become what the cursors walk over.

A source owns a stretch of the `rows` section.  The local cursor walks it in order of receipt.  The venue cursor walks
the messages that matter to the venue (books, gaps, marks, funding, and each print of a trade message; a recording's
quotes are for the strategy)
in order of `(exch_ts, ts, trades before books, position)`, kept as a list of row numbers in `venue_order`.  Because no
later row can have `exch_ts < last ts - horizon`, everything before that moment is final and may be walked
(`venue_end`); the rest waits for the next batch.  Feeds are almost sorted by venue time, so an insertion sort of
messages costs a few steps each.
"""

from __future__ import annotations

from replay.events import BOOK, LAST, LIQUIDATION, QUOTE, TRADE
from replay.kernel.jit import kernel
from replay.kernel.merge import NEVER, merge_build
from replay.kernel.state import open_state

NO_ROOM = -1
OUT_OF_ORDER = -2


@kernel(entry=False)
def venue_key_before(rows, a, b):
    """Whether message `a` (its first row) comes before `b` on the venue side; equal keys keep their row order."""
    if rows[a]["exch_ts"] != rows[b]["exch_ts"]:
        return rows[a]["exch_ts"] < rows[b]["exch_ts"]
    if rows[a]["ts"] != rows[b]["ts"]:
        return rows[a]["ts"] < rows[b]["ts"]
    a_class = rows[a]["kind"] == BOOK
    b_class = rows[b]["kind"] == BOOK
    if a_class != b_class:
        return b_class
    return a < b


@kernel(entry=False)
def set_cursors(arena, s):
    """Keys of both cursors of source `s` from where they stand.

    A cursor that has used up its window, while more may come, gets the earliest time that the next row can have.
    """
    st = open_state(arena)
    source = st.sources[s]
    local = st.local_cursors[s]
    local["tie1"] = s
    local["tie2"] = 0
    if source["local_pos"] < source["local_end"]:
        local["time"] = st.rows[source["row0"] + source["local_pos"]]["ts"]
    else:
        local["time"] = NEVER if source["done"] != 0 else source["last_ts"]
    venue = st.venue_cursors[s]
    if source["venue_pos"] < source["venue_end"]:
        row = source["row0"] + st.venue_order[source["order0"] + source["venue_pos"]]
        venue["time"] = st.rows[row]["exch_ts"]
        venue["tie1"] = st.rows[row]["ts"]
        venue["tie2"] = (int(st.rows[row]["kind"] == BOOK) << 32) | s
    else:
        venue["time"] = NEVER if source["done"] != 0 else source["last_ts"] - source["horizon_us"]
        venue["tie1"] = 0
        venue["tie2"] = s


@kernel
def append(arena, s, batch, instrument_map, last):
    """Append `batch` (EVENT records) to source `s`; `last` tells that nothing follows.

    Returns the number of rows that could not be taken for lack of room as NO_ROOM (nothing changed), OUT_OF_ORDER when
    the batch breaks the source's promises, else 0.
    """
    st = open_state(arena)
    source = st.sources[s]
    rows, order = st.rows, st.venue_order
    row0, order0 = source["row0"], source["order0"]
    # Drop what both cursors have passed.
    keep = source["local_pos"]
    for k in range(source["venue_pos"], source["venue_n"]):
        if order[order0 + k] < keep:
            keep = order[order0 + k]
    left = source["local_end"] - keep
    if left + len(batch) > source["row_cap"]:
        return NO_ROOM
    if keep > 0:
        for k in range(left):
            rows[row0 + k] = rows[row0 + keep + k]
        waiting = source["venue_n"] - source["venue_pos"]
        for k in range(waiting):
            order[order0 + k] = order[order0 + source["venue_pos"] + k] - keep
        source["local_pos"] -= keep
        source["venue_end"] -= source["venue_pos"]
        source["venue_n"] = waiting
        source["venue_pos"] = 0
    n = source["venue_n"]
    first_free = source["venue_end"]
    begins = True
    last_ts = source["last_ts"]
    for k in range(len(batch)):
        at = row0 + left + k
        rows[at] = batch[k]
        rows[at]["instrument"] = instrument_map[batch[k]["instrument"]]
        rows[at]["source"] = s
        if batch[k]["ts"] < last_ts or batch[k]["exch_ts"] < batch[k]["ts"] - source["horizon_us"]:
            return OUT_OF_ORDER
        last_ts = batch[k]["ts"]
        kind = batch[k]["kind"]
        if kind == TRADE or (begins and kind not in (QUOTE, LIQUIDATION)):
            place = n
            row = left + k
            while place > first_free and venue_key_before(rows, at, row0 + order[order0 + place - 1]):
                order[order0 + place] = order[order0 + place - 1]
                place -= 1
            order[order0 + place] = row
            n += 1
        begins = (batch[k]["flags"] & LAST) != 0
    source["venue_n"] = n
    source["local_end"] = left + len(batch)
    source["last_ts"] = last_ts
    source["done"] = last
    end = source["venue_end"]
    while end < n and (last != 0 or rows[row0 + order[order0 + end]]["exch_ts"] < last_ts - source["horizon_us"]):
        end += 1
    source["venue_end"] = end
    set_cursors(arena, s)
    merge_build(st.local_cursors, st.local_heap, st.run[0]["sources"])
    merge_build(st.venue_cursors, st.venue_heap, st.run[0]["sources"])
    return 0
