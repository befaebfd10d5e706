"""The market as one slot can still trade with it.

The venue's book less what the slot itself has taken since the venue last updated a level ("consume"), and the slippage
that a taking fill pays on top.
"""

from __future__ import annotations

import math

from replay.kernel.book import NO_ASK, NO_BID, book_lots, book_next, book_set
from replay.kernel.codes import SLIPPAGE_BPS, SLIPPAGE_SPREAD, SLIPPAGE_SQRT
from replay.kernel.hooks import LAST_CODE, call_hook
from replay.kernel.jit import kernel
from replay.kernel.orders import BOOKS_EACH, list_head
from replay.kernel.state import open_state

FAR = 1 << 60
"""Limit of a market order, in ticks."""


@kernel(entry=False)
def taken_lots(arena, instrument, slot_index, side, ticks):
    """Lots of a level (of `side` of the market) that this slot has taken since the venue last updated it."""
    st = open_state(arena)
    b = instrument * BOOKS_EACH + 3
    count = st.books[b]["bids"] if side > 0 else st.books[b]["asks"]
    if count == 0:
        return 0
    k = list_head(st.books, st.cells, b, side, ticks)
    while k >= 0:
        if st.taken[k]["slot"] == slot_index:
            return st.taken[k]["lots"]
        k = st.taken[k]["next"]
    return 0


@kernel(entry=False)
def take_lots(arena, instrument, slot_index, side, ticks, lots):
    """Remember that the slot has taken `lots` from a level."""
    st = open_state(arena)
    b = instrument * BOOKS_EACH + 3
    head = list_head(st.books, st.cells, b, side, ticks)
    k = head
    while k >= 0:
        if st.taken[k]["slot"] == slot_index:
            st.taken[k]["lots"] += lots
            return
        k = st.taken[k]["next"]
    k = st.run[0]["free_taken"]
    st.run[0]["free_taken"] = st.taken[k]["next"]
    st.run[0]["taken_n"] += 1
    st.taken[k]["slot"] = slot_index
    st.taken[k]["ticks"] = ticks
    st.taken[k]["lots"] = lots
    st.taken[k]["next"] = head
    book_set(st.books, st.cells, b, side, ticks, k + 1)


@kernel(entry=False)
def forget_taken(arena, instrument, side, ticks):
    """The venue updated a level: what we took there is in its new size."""
    st = open_state(arena)
    b = instrument * BOOKS_EACH + 3
    k = list_head(st.books, st.cells, b, side, ticks)
    book_set(st.books, st.cells, b, side, ticks, 0)
    while k >= 0:
        following = st.taken[k]["next"]
        st.taken[k]["next"] = st.run[0]["free_taken"]
        st.run[0]["free_taken"] = k
        st.run[0]["taken_n"] -= 1
        k = following


@kernel(entry=False)
def forget_all_taken(arena, instrument):
    """The venue sent a whole book."""
    st = open_state(arena)
    b = instrument * BOOKS_EACH + 3
    while st.books[b]["bids"] > 0:
        forget_taken(arena, instrument, 1, st.books[b]["bid_ticks"])
    while st.books[b]["asks"] > 0:
        forget_taken(arena, instrument, -1, st.books[b]["ask_ticks"])


@kernel(entry=False)
def best_for(arena, slot_index, side):
    """Best price of market side `side` that this slot can still trade with, NO_BID or NO_ASK when there is none."""
    st = open_state(arena)
    instrument = st.slots[slot_index]["instrument"]
    b = instrument * BOOKS_EACH
    ticks = st.books[b]["bid_ticks"] if side > 0 else st.books[b]["ask_ticks"]
    if st.slots[slot_index]["consume"] == 0:
        return ticks
    empty = NO_BID if side > 0 else NO_ASK
    while ticks != empty:
        taken = taken_lots(arena, instrument, slot_index, side, ticks)
        if taken == 0 or taken < book_lots(st.books, st.cells, b, side, ticks):
            return ticks
        ticks = book_next(st.books, st.cells, b, side, ticks)
    return ticks


@kernel(entry=False)
def reaches(side, limit, ticks):
    """Whether an order of `side` with `limit` may trade at `ticks` of the other side."""
    if ticks in (NO_BID, NO_ASK):
        return False
    return ticks <= limit if side > 0 else ticks >= limit


@kernel(entry=False)
def available(arena, slot_index, side, limit, wanted):
    """Lots (at most `wanted`) that an order of `side` finds up to `limit`."""
    st = open_state(arena)
    instrument = st.slots[slot_index]["instrument"]
    b = instrument * BOOKS_EACH
    ticks = st.books[b]["ask_ticks"] if side > 0 else st.books[b]["bid_ticks"]
    found = 0
    while found < wanted and reaches(side, limit, ticks):
        found += book_lots(st.books, st.cells, b, -side, ticks)
        if st.slots[slot_index]["consume"] != 0:
            found -= taken_lots(arena, instrument, slot_index, -side, ticks)
        ticks = book_next(st.books, st.cells, b, -side, ticks)
    return min(found, wanted)


@kernel(entry=False)
def slippage(arena, slot, inst, b, side, ticks, lots):
    """Extra ticks, never negative, that a taking fill pays beyond the book's price.

    bps: fixed part of the price. spread fraction: part of the current spread. square root: Y·σ·sqrt(q/V) of the price
    (Tóth et al. 2011, "Anomalous price impact and the critical nature of liquidity in financial markets",
    Phys. Rev. X 1, 021006), with σ and V of one day.
    """
    st = open_state(arena)
    kind = slot["slippage_kind"]
    extra = 0.0
    spread = 0
    if st.books[b]["bid_lots"] > 0 and st.books[b]["ask_lots"] > 0:
        spread = st.books[b]["ask_ticks"] - st.books[b]["bid_ticks"]
    if kind == SLIPPAGE_BPS:
        extra = ticks * slot["slippage_a"] * 1e-4
    elif kind == SLIPPAGE_SPREAD:
        extra = spread * slot["slippage_a"]
    elif kind == SLIPPAGE_SQRT:
        part = lots * inst["lot"] / slot["slippage_c"]
        extra = ticks * slot["slippage_a"] * slot["slippage_b"] * math.sqrt(part)
    elif kind > LAST_CODE:
        extra = call_hook(kind, float(ticks), float(lots), float(side), float(spread), inst["lot"], slot["slippage_a"])
        if not (0.0 <= extra < 1e15):
            extra = 0.0
    whole = int(math.ceil(extra - 1e-9))
    if side < 0 and whole >= ticks:
        whole = max(ticks - 1, 0)
    return max(whole, 0)
