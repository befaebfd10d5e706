"""The strategy's side of an order: what leaves here, and what is refused before it leaves.

`submit`, `cancel` and `modify` run on the local clock.  They return the order id (or 0) when the request is on its
way, or minus a reason code when it is refused here; nothing is half done.  NEED_ROOM_CODE asks the caller to make the
arena larger and to repeat.
"""

from __future__ import annotations

from replay.kernel.agenda import PHASE_ANSWER, PHASE_REQUEST, PHASE_TIMER, agenda_push
from replay.kernel.codes import (
    DO_ANSWER,
    DO_CANCEL,
    DO_MODIFY,
    DO_NEW,
    DO_TIMER,
    FILLED,
    LIVE,
    MARKET,
    PARTLY_FILLED,
    PENDING,
    R_ENDED,
    R_NONE,
    R_OFF_LOT,
    R_OFF_TICK,
    R_PENDING,
    R_UNKNOWN_ORDER,
    R_VENUE,
    R_WARM_UP,
    REJECTED,
    REQUEST_CANCEL,
    REQUEST_MODIFY,
    REQUEST_NEW,
    REQUEST_NONE,
    STOP_MARKET,
)
from replay.kernel.jit import kernel
from replay.kernel.latency import entry_us
from replay.kernel.orders import BOOKS_EACH, find_order, new_order, order_key, own_order
from replay.kernel.state import open_state

NEED_ROOM_CODE = -1000
REASON_WORDS = 32
"""Counters of refusals for each strategy."""

MAX_LOTS = 1 << 50
MAX_PRICE_TICKS = 1 << 50
MAX_NOTIONAL = 1 << 60
"""Largest ticks · lots of an order at its price and at our touch: four times that still fits what sums are kept in."""


@kernel(entry=False)
def send(arena, at, kind, request):
    """Put a request on its way; returns its agenda item.  A negative entry latency makes it a rejection instead."""
    st = open_state(arena)
    run, order = st.run, st.orders[at]
    slot = st.slots[order["slot"]]
    inst = st.instruments[order["instrument"]]
    now = run[0]["now"]
    travel = entry_us(slot, st.tables, now, inst["feed_us"])
    order["pending"] = request
    order["req_ts"] = now
    order["in_flight"] += 1
    if travel < 0:
        due = max(now - travel, slot["last_answer"])
        slot["last_answer"] = due
        index = agenda_push(run, st.heap, st.items, due, PHASE_ANSWER)
        item = st.items[index]
        item["kind"] = DO_ANSWER
        item["status"] = REJECTED if request == REQUEST_NEW else order["status"]
        item["filled"] = order["l_filled"]
        item["leaves"] = order["l_leaves"]
        item["ticks"] = order["l_ticks"]
        item["lots"] = order["l_lots"]
        item["exec_lots"] = 0
        item["exec_ticks"] = 0
        item["exch_ts"] = 0
        item["maker"] = 0
        item["fill"] = -1
        item["reason"] = R_VENUE
        item["request"] = request
        item["strategy"] = slot["strategy"]
        item["slot"] = order["slot"]
        if request == REQUEST_NEW:
            slot["live"] -= 1
    else:
        due = max(now + travel, slot["last_arrival"])
        slot["last_arrival"] = due
        index = agenda_push(run, st.heap, st.items, due, PHASE_REQUEST)
        item = st.items[index]
        item["kind"] = kind
    item["order"] = at
    item["id"] = order["id"]
    log_request(arena, at, request)
    return index


@kernel(entry=False)
def log_request(arena, at, request):
    """One row of the order log: what has just left here, with the order as we know it (modify: as we want it)."""
    st = open_state(arena)
    order = st.orders[at]
    n = st.run[0]["log_n"]
    st.run[0]["log_n"] = n + 1
    row = st.log[n]
    row["local_ts"] = st.run[0]["now"]
    row["strategy"] = st.slots[order["slot"]]["strategy"]
    row["instrument"] = order["instrument"]
    row["order_id"] = order["number"]
    row["side"] = order["side"]
    row["status"] = order["status"]
    row["request"] = request
    row["ticks"] = order["l_ticks"]
    row["lots"] = order["l_lots"]
    row["leaves"] = order["l_leaves"]
    row["filled"] = order["l_filled"]
    row["exec_lots"] = 0
    row["exec_ticks"] = 0
    row["exch_ts"] = order["exch_ts"]
    row["req_ts"] = order["req_ts"]
    row["tif"] = order["tif"]
    row["kind"] = order["kind"]
    row["maker"] = 0
    row["reason"] = 0
    row["fee"] = 0.0
    row["answer"] = 0


@kernel(entry=False)
def no_room(arena, requests):
    """Whether pools or log are too full for that many requests."""
    st = open_state(arena)
    run = st.run
    return run[0]["free_items"] < run[0]["live_orders"] + requests + 64 or run[0]["log_n"] + requests > len(st.log)


@kernel(entry=False)
def refused(arena, strategy, reason):
    """Count a refusal; returns its code."""
    open_state(arena).refusals[strategy * REASON_WORDS + reason] += 1
    return -reason


@kernel(entry=False)
def too_large(arena, instrument, lots, ticks):
    """Whether ticks · lots would leave MAX_NOTIONAL at the order's price or at the local ask."""
    book = open_state(arena).books[instrument * BOOKS_EACH + 1]
    price = max(abs(ticks), abs(book["ask_ticks"]) if book["ask_lots"] > 0 else 0)
    return price > 0 and lots > MAX_NOTIONAL // price


@kernel
def submit(
    arena,
    strategy,
    instrument,
    side,
    kind,
    tif,
    flags,
    lots,
    ticks,
    stop_ticks,
    trigger,
    trail,
    expire_us,
    tag,
):
    """Send a new order.  Returns its id (> 0), minus a reason code, or NEED_ROOM_CODE.

    `side` ±1; `kind`, `tif`, `flags`, `trigger` codes; `lots`, `ticks`, `stop_ticks`, `trail` integers;
    `expire_us` absolute venue time for GTD.
    """
    st = open_state(arena)
    run = st.run
    slot_index = st.strategies[strategy]["first_slot"] + instrument
    slot = st.slots[slot_index]
    reason = R_NONE
    if lots <= 0 or lots > MAX_LOTS:
        reason = R_OFF_LOT
    elif ticks < -MAX_PRICE_TICKS or ticks > MAX_PRICE_TICKS:
        reason = R_OFF_TICK
    elif too_large(arena, instrument, lots, ticks):
        reason = R_OFF_LOT
    elif run[0]["now"] < run[0]["warm_until"]:
        reason = R_WARM_UP
    elif run[0]["ended"] != 0:
        reason = R_ENDED
    if reason != R_NONE:
        slot["refused"] += 1
        return refused(arena, strategy, reason)
    if no_room(arena, 1):
        return NEED_ROOM_CODE
    at = new_order(run, st.strategies, st.orders, strategy)
    if at < 0:
        return NEED_ROOM_CODE
    order = st.orders[at]
    order["slot"] = slot_index
    order["instrument"] = instrument
    order["side"] = side
    order["kind"] = kind
    order["tif"] = tif
    order["flags"] = flags
    order["ticks"] = 0 if kind in (MARKET, STOP_MARKET) else ticks
    order["stop_ticks"] = stop_ticks
    order["trigger"] = trigger
    order["trail"] = trail
    order["lots"] = lots
    order["leaves"] = lots
    order["expire_us"] = expire_us
    order["status"] = PENDING
    order["l_ticks"] = order["ticks"]
    order["l_lots"] = lots
    order["l_leaves"] = lots
    order["tag"] = tag
    slot["submitted"] += 1
    slot["live"] += 1
    own_order(st.orders, st.slots, at)
    send(arena, at, DO_NEW, REQUEST_NEW)
    return order["number"]


@kernel(entry=False)
def refuse_request(arena, strategy, order_id):
    """(place, reason) of a request on an existing order."""
    st = open_state(arena)
    at = find_order(st.run, st.orders, order_key(st.run, strategy, order_id)) if order_id > 0 else -1
    if at < 0:
        return -1, R_UNKNOWN_ORDER
    order = st.orders[at]
    if order["status"] >= FILLED:
        return at, R_UNKNOWN_ORDER
    return at, R_PENDING if order["pending"] != REQUEST_NONE else R_NONE


@kernel
def cancel(arena, strategy, order_id):
    """Ask the venue to cancel.  Returns 0, minus a reason code, or NEED_ROOM_CODE."""
    at, reason = refuse_request(arena, strategy, order_id)
    if reason != R_NONE:
        return refused(arena, strategy, reason)
    if no_room(arena, 1):
        return NEED_ROOM_CODE
    send(arena, at, DO_CANCEL, REQUEST_CANCEL)
    return 0


@kernel
def cancel_all(arena, strategy, instrument):
    """Cancel every live order of the strategy in `instrument` that has no request under way, in order of id.

    Returns how many, or NEED_ROOM_CODE.
    """
    st = open_state(arena)
    run = st.run
    slot_index = st.strategies[strategy]["first_slot"] + instrument
    head = st.slots[slot_index]["own_head"]
    if head < 0:
        return 0
    if no_room(arena, run[0]["live_orders"]):
        return NEED_ROOM_CODE
    sent = 0
    at = head
    while True:
        order = st.orders[at]
        if order["pending"] == REQUEST_NONE and order["status"] in (LIVE, PARTLY_FILLED):
            send(arena, at, DO_CANCEL, REQUEST_CANCEL)
            sent += 1
        at = order["own_next"]
        if at == head:
            return sent


@kernel
def modify(arena, strategy, order_id, lots, ticks, stop_ticks=0):
    """Ask for a new total size and price, and for a stop that waits a new stop price (0: as it is; an order
    that never was a stop refuses one, "off-tick").

    Returns 0, minus a reason code, or NEED_ROOM_CODE.
    """
    st = open_state(arena)
    at, reason = refuse_request(arena, strategy, order_id)
    if reason == R_NONE:
        if lots <= 0 or lots > MAX_LOTS:
            reason = R_OFF_LOT
        elif abs(ticks) > MAX_PRICE_TICKS or abs(stop_ticks) > MAX_PRICE_TICKS:
            reason = R_OFF_TICK
        elif too_large(arena, st.orders[at]["instrument"], lots, ticks):
            reason = R_OFF_LOT
        elif stop_ticks != 0 and st.orders[at]["stop_ticks"] == 0 and st.orders[at]["trail"] == 0:
            reason = R_OFF_TICK
    if reason != R_NONE:
        return refused(arena, strategy, reason)
    if no_room(arena, 1):
        return NEED_ROOM_CODE
    index = send(arena, at, DO_MODIFY, REQUEST_MODIFY)
    item = st.items[index]
    if item["kind"] == DO_MODIFY:
        item["ticks"] = ticks
        item["lots"] = lots
        item["interval"] = stop_ticks
    asked = st.log[st.run[0]["log_n"] - 1]
    asked["ticks"] = ticks
    asked["lots"] = lots
    return 0


@kernel
def set_timer(arena, strategy, time_us, interval_us, tag):
    """Call `on_timer` at `time_us` and then every `interval_us` (0: once).  Returns 0 or NEED_ROOM_CODE."""
    st = open_state(arena)
    if no_room(arena, 1):
        return NEED_ROOM_CODE
    index = agenda_push(st.run, st.heap, st.items, max(time_us, st.run[0]["now"]), PHASE_TIMER)
    item = st.items[index]
    item["kind"] = DO_TIMER
    item["strategy"] = strategy
    item["interval"] = interval_us
    item["id"] = tag
    return 0


@kernel
def record_value(arena, strategy, name, value):
    """Keep a value of the user's own under the number `name`.  Returns 0 or NEED_ROOM_CODE."""
    st = open_state(arena)
    run = st.run
    n = run[0]["records_n"]
    if n == len(st.records):
        return NEED_ROOM_CODE
    run[0]["records_n"] = n + 1
    row = st.records[n]
    row["ts"] = run[0]["now"]
    row["strategy"] = strategy
    row["name"] = name
    row["value"] = value
    return 0
