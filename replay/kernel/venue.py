"""Market data at the venue: books, prints, marks, funding, gaps, and what they do to our orders."""

from __future__ import annotations

from replay.events import BOOK, CLEAR, FUNDING, GAP, LAST, MARK, ORDER, SNAPSHOT, TRADE
from replay.kernel.account import mark_of
from replay.kernel.agenda import PHASE_REQUEST, PHASE_TIMER, PHASE_VENUE, agenda_push
from replay.kernel.book import NO_ASK, NO_BID, book_clear, book_has, book_set, set_levels
from replay.kernel.by_order import order_message
from replay.kernel.codes import (
    DO_FUNDING,
    DO_NEW,
    DO_SAMPLE,
    GO_ON,
    IOC,
    MARKET,
    NEED_ROOM,
    REQUEST_NEW,
    ROOM_BOOK,
    SYSTEM,
    TRIGGER_LAST,
    TRIGGER_MARK,
    TRIGGER_TOUCH,
)
from replay.kernel.jit import kernel
from replay.kernel.margin import free_margin
from replay.kernel.matching import level_changed, printed, resynchronise, touch_moved
from replay.kernel.orders import BOOKS_EACH, new_order, own_order
from replay.kernel.state import open_state
from replay.kernel.venue_view import forget_all_taken, forget_taken
from replay.kernel.waiting import check_stops, release_held


@kernel(entry=False)
def venue_message(arena, at):
    """One venue message, whole.  NEED_ROOM leaves the message to be begun again: setting a level twice is harmless."""
    st = open_state(arena)
    row = st.rows[at]
    instrument = row["instrument"]
    inst = st.instruments[instrument]
    kind = row["kind"]
    inst["cause_seq"] = row["seq"]
    if kind == BOOK:
        return venue_book_message(arena, at, instrument, inst)
    if kind == TRADE:
        inst["last_ticks"] = row["price"]
        if st.run[0]["live_orders"] > 0:
            printed(arena, instrument, int(row["side"]), row["price"], row["qty"])
            check_stops(arena, instrument, TRIGGER_LAST)
        if inst["mark_fed"] == 0:
            if inst["venue_valid"] == 0:
                inst["mark"] = row["price"] * inst["tick_scaled"]
            mark_moved(arena, instrument)
    elif kind == MARK:
        inst["mark"] = row["value"]
        inst["mark_fed"] = 1
        mark_moved(arena, instrument)
        if (row["flags"] & LAST) == 0:
            venue_funding(arena, at + 1, inst)
    elif kind == FUNDING:
        venue_funding(arena, at, inst)
    elif kind == GAP:
        if inst["venue_valid"] != 0:
            inst["blind_since"] = row["exch_ts"]
            if inst["mark_fed"] == 0:
                inst["mark"] = mark_of(inst, st.books[instrument * BOOKS_EACH])
            sample_soon(st.run, st.heap, st.items)
        inst["venue_valid"] = 0
        inst["gaps"] += 1
        if inst["mark_fed"] == 0:
            check_stops(arena, instrument, TRIGGER_MARK)
    elif kind == ORDER:
        return order_message(arena, at, instrument)
    return GO_ON


@kernel(entry=False)
def sample_soon(run, heap, items):
    """Plan one sample of equity at the end of this microsecond; none before the run has begun."""
    if run[0]["sample_us"] > 0:
        index = agenda_push(run, heap, items, run[0]["now"], PHASE_TIMER)
        items[index]["kind"] = DO_SAMPLE
        items[index]["interval"] = 0


@kernel(entry=False)
def venue_book_message(arena, at, instrument, inst):
    """Levels one by one, then what the new book means for resting orders."""
    st = open_state(arena)
    b = instrument * BOOKS_EACH
    books = st.books
    snapshot = st.rows[at]["flags"] & SNAPSHOT
    own_bid = books[b + 2]["bid_ticks"]
    own_ask = books[b + 2]["ask_ticks"]
    if own_bid == NO_BID and own_ask == NO_ASK and books[b + 3]["bids"] + books[b + 3]["asks"] == 0:
        at = set_levels(st.rows, books, st.cells, b, at, len(st.rows))
    else:
        at = venue_levels(arena, at, instrument, snapshot == 0 and inst["venue_valid"] != 0)
    if at < 0:
        st.run[0]["out_room"] = ROOM_BOOK
        st.run[0]["out_source"] = b
        return NEED_ROOM
    row = st.rows[at]
    if snapshot != 0:
        if inst["venue_valid"] == 0:
            if inst["venue_seen"] != 0:
                inst["blind_us"] += row["exch_ts"] - inst["blind_since"]
                sample_soon(st.run, st.heap, st.items)
            inst["venue_valid"] = 1
            inst["venue_seen"] = 1
            release_held(arena, instrument)
        resynchronise(arena, instrument, 1)
        resynchronise(arena, instrument, -1)
    if inst["venue_valid"] != 0:
        if own_ask != NO_ASK:
            touch_moved(arena, instrument, 1)
        if own_bid != NO_BID:
            touch_moved(arena, instrument, -1)
        if inst["watch_head"] >= 0:
            check_stops(arena, instrument, TRIGGER_TOUCH)
        if inst["mark_fed"] == 0:
            mark_moved(arena, instrument)
    return GO_ON


@kernel(entry=False)
def venue_levels(arena, at, instrument, moves):
    """`set_levels` of the venue's book where orders of ours rest or liquidity was taken; `moves`: queues move, too."""
    st = open_state(arena)
    b = instrument * BOOKS_EACH
    books, cells, rows = st.books, st.cells, st.rows
    any_taken = books[b + 3]["bids"] + books[b + 3]["asks"] > 0
    while True:
        flags = rows[at]["flags"]
        if flags & CLEAR:
            book_clear(books, cells, b)
            if any_taken:
                forget_all_taken(arena, instrument)
                any_taken = False
        side = int(rows[at]["side"])
        ticks = rows[at]["price"]
        if side != 0:
            before = book_set(books, cells, b, side, ticks, rows[at]["qty"])
            if before < 0:
                return -1 - at
            if any_taken:
                forget_taken(arena, instrument, side, ticks)
            if moves and book_has(books, cells, b + 2, side, ticks) != 0:
                level_changed(arena, instrument, side, ticks, before, rows[at]["qty"])
        if flags & LAST:
            return at
        at += 1


@kernel(entry=False)
def venue_funding(arena, at, inst):
    """A funding announcement: the rate of the period that ends at `seq`; the settlement is planned once.

    A venue may announce the next period before or at the settlement of this one, so the rate before is kept.
    """
    st = open_state(arena)
    row = st.rows[at]
    due = row["seq"]
    if due > inst["funding_booked"] and due >= st.run[0]["now"]:
        index = agenda_push(st.run, st.heap, st.items, due, PHASE_VENUE)
        st.items[index]["kind"] = DO_FUNDING
        st.items[index]["order"] = row["instrument"]
        inst["funding_booked"] = due
    if due < inst["next_funding"]:
        inst["rate_before"] = row["value"]
        return
    if due > inst["next_funding"]:
        inst["rate_before"] = inst["rate"]
    inst["next_funding"] = due
    inst["rate"] = row["value"]


@kernel(entry=False)
def mark_moved(arena, instrument):
    """Stops on the mark price, and the maintenance margin of every account in the instrument."""
    st = open_state(arena)
    inst = st.instruments[instrument]
    if inst["watch_head"] >= 0:
        check_stops(arena, instrument, TRIGGER_MARK)
    if st.run[0]["margin_used"] == 0:
        return
    for k in range(st.run[0]["strategies"]):
        slot_index = st.strategies[k]["first_slot"] + instrument
        slot = st.slots[slot_index]
        if slot["maintenance_scaled"] == 0 or slot["position"] == 0 or slot["liquidating"] != 0:
            continue
        if free_margin(arena, k, inst["currency"], 1) < 0.0:
            liquidate(arena, slot_index)


@kernel(entry=False)
def liquidate(arena, slot_index):
    """Close the position at the venue's book with a market order of the simulation itself."""
    st = open_state(arena)
    slot = st.slots[slot_index]
    at = new_order(st.run, st.strategies, st.orders, slot["strategy"])
    if at < 0:
        return
    order = st.orders[at]
    order["slot"] = slot_index
    order["instrument"] = slot["instrument"]
    order["side"] = -1 if slot["position"] > 0 else 1
    order["kind"] = MARKET
    order["tif"] = IOC
    order["flags"] = SYSTEM
    order["ticks"] = 0
    order["lots"] = abs(slot["position"])
    order["leaves"] = order["lots"]
    order["l_ticks"] = 0
    order["l_lots"] = order["lots"]
    order["l_leaves"] = order["lots"]
    order["req_ts"] = st.run[0]["now"]
    order["pending"] = REQUEST_NEW
    slot["live"] += 1
    slot["liquidating"] = order["id"]
    st.strategies[slot["strategy"]]["liquidations"] += 1
    own_order(st.orders, st.slots, at)
    index = agenda_push(st.run, st.heap, st.items, st.run[0]["now"], PHASE_REQUEST)
    st.items[index]["kind"] = DO_NEW
    st.items[index]["order"] = at
    st.items[index]["id"] = order["id"]
    order["in_flight"] += 1
