"""Orders that wait: stops for their trigger, held orders for a valid book.

They stand in one list per instrument.  What happens to them happens in the request phase of the same microsecond, so
that it is judged after the market event that caused it.
"""

from __future__ import annotations

from replay.kernel.account import mark_of
from replay.kernel.agenda import PHASE_REQUEST, agenda_push
from replay.kernel.codes import (
    ABSENT,
    DO_TRIGGERED,
    HELD,
    LIMIT,
    MARKET,
    REQUEST_NONE,
    STOP_LIMIT,
    TRAILING_STOP,
    TRIGGER_MARK,
    TRIGGER_TOUCH,
    WATCHING,
)
from replay.kernel.jit import kernel
from replay.kernel.orders import BOOKS_EACH, unwatch_order
from replay.kernel.state import open_state


@kernel(entry=False)
def watch_level(arena, instrument, order):
    """Price in ticks that a stop order compares with its stop, and whether there is one."""
    st = open_state(arena)
    inst = st.instruments[instrument]
    b = instrument * BOOKS_EACH
    if order["trigger"] == TRIGGER_MARK:
        mark = mark_of(inst, st.books[b])
        if order["side"] > 0:
            return mark // inst["tick_scaled"], mark != 0
        return -(-mark // inst["tick_scaled"]), mark != 0
    if order["trigger"] == TRIGGER_TOUCH:
        if order["side"] > 0:
            return st.books[b]["ask_ticks"], inst["venue_valid"] != 0 and st.books[b]["ask_lots"] > 0
        return st.books[b]["bid_ticks"], inst["venue_valid"] != 0 and st.books[b]["bid_lots"] > 0
    return inst["last_ticks"], inst["last_ticks"] != 0


@kernel(entry=False)
def check_stops(arena, instrument, trigger):
    """Trigger the stop orders that watch `trigger`; a trailing stop follows the best price first."""
    st = open_state(arena)
    inst = st.instruments[instrument]
    head = inst["watch_head"]
    if head < 0:
        return
    left = watch_count(arena, head)
    at = head
    while left > 0:
        order = st.orders[at]
        after = order["next_watch"]
        if order["venue_state"] == WATCHING and order["trigger"] == trigger:
            level, known = watch_level(arena, instrument, order)
            if known:
                side = order["side"]
                if order["kind"] == TRAILING_STOP:
                    follow = trailing_stop(arena, instrument, order, level)
                    if (side > 0 and follow < order["stop_ticks"]) or (side < 0 and follow > order["stop_ticks"]):
                        order["stop_ticks"] = follow
                if (side > 0 and level >= order["stop_ticks"]) or (side < 0 and level <= order["stop_ticks"]):
                    unwatch_order(st.orders, st.instruments, at)
                    trigger_order(arena, at)
        at = after
        left -= 1


@kernel(entry=False)
def trailing_stop(arena, instrument, order, level):
    """Where a trailing stop would stand now: `trail` ticks from the watched price, a fraction rounded away from it."""
    st = open_state(arena)
    inst = st.instruments[instrument]
    side = order["side"]
    if order["trigger"] == TRIGGER_MARK and mark_of(inst, st.books[instrument * BOOKS_EACH]) % inst["tick_scaled"] != 0:
        level += side
    return level + side * order["trail"]


@kernel(entry=False)
def watch_count(arena, head):
    """Orders on the waiting list that begins at `head`."""
    st = open_state(arena)
    n = 1
    at = st.orders[head]["next_watch"]
    while at != head:
        n += 1
        at = st.orders[at]["next_watch"]
    return n


@kernel(entry=False)
def trigger_order(arena, at):
    """A stop was hit: the order is judged like a new one at the same venue time, after the market event."""
    st = open_state(arena)
    order = st.orders[at]
    order["kind"] = LIMIT if order["kind"] == STOP_LIMIT else MARKET
    order["venue_state"] = ABSENT
    order["pending_request"] = REQUEST_NONE
    index = agenda_push(st.run, st.heap, st.items, st.run[0]["now"], PHASE_REQUEST)
    item = st.items[index]
    item["kind"] = DO_TRIGGERED
    item["order"] = at
    item["id"] = order["id"]
    order["in_flight"] += 1


@kernel(entry=False)
def release_held(arena, instrument):
    """The book is valid again: held orders are judged now, in the order in which they came."""
    st = open_state(arena)
    inst = st.instruments[instrument]
    head = inst["watch_head"]
    if head < 0:
        return
    left = watch_count(arena, head)
    at = head
    while left > 0:
        after = st.orders[at]["next_watch"]
        if st.orders[at]["venue_state"] == HELD:
            unwatch_order(st.orders, st.instruments, at)
            st.orders[at]["venue_state"] = ABSENT
            index = agenda_push(st.run, st.heap, st.items, st.run[0]["now"], PHASE_REQUEST)
            item = st.items[index]
            item["kind"] = DO_TRIGGERED
            item["order"] = at
            item["id"] = st.orders[at]["id"]
            st.orders[at]["in_flight"] += 1
        at = after
        left -= 1
