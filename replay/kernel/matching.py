"""The venue: what happens to orders there.

Everything in this file happens on the venue clock.  A new order is judged against the venue book; a resting order is
filled when the opposite best reaches its price, when a print goes through its price, or when prints at its price have
used up the queue in front of it.  Nothing here waits or allocates: callers make sure before each event that the pools
have room (`advance`).
"""

from __future__ import annotations

import math

from replay.kernel.answers import answer, execute, finish
from replay.kernel.book import NO_ASK, NO_BID, book_lots, book_next
from replay.kernel.codes import (
    CANCELLED,
    CAUSE_QUEUE,
    CAUSE_TAKE,
    CAUSE_THROUGH,
    CAUSE_TOUCH,
    EXECUTION_FULL,
    EXPIRED,
    FOK,
    GTD,
    HELD,
    IOC,
    LIMIT,
    LIVE,
    MARKET,
    PARTLY_FILLED,
    POST_ONLY,
    R_BOOK_INVALID,
    R_EXPIRED,
    R_NO_LIQUIDITY,
    R_NONE,
    R_POST_ONLY,
    R_REDUCE_ONLY,
    R_SELF_TRADE,
    REDUCE_ONLY,
    REJECTED,
    REQUEST_NONE,
    SELF_ALLOW,
    SELF_CANCEL_NEWEST,
    STOP_MARKET,
    SYSTEM,
    TRAILING_STOP,
)
from replay.kernel.jit import kernel
from replay.kernel.margin import refuse_new
from replay.kernel.orders import BOOKS_EACH, list_head, rest_order, unrest_order, watch_order
from replay.kernel.queueing import front_after_change
from replay.kernel.state import open_state
from replay.kernel.venue_view import FAR, available, best_for, reaches, slippage, take_lots, taken_lots


@kernel(entry=False)
def worst_price(arena, at, limit):
    """The furthest price at which the order would trade or rest: what its own orders of the other side may meet."""
    st = open_state(arena)
    order = st.orders[at]
    slot_index, side = order["slot"], order["side"]
    slot = st.slots[slot_index]
    rests = order["kind"] == LIMIT and order["tif"] not in (IOC, FOK)
    nothing = -side * FAR
    b = order["instrument"] * BOOKS_EACH
    ticks = best_for(arena, slot_index, -side)
    if slot["execution"] == EXECUTION_FULL:
        if reaches(side, limit, ticks):
            return ticks
        return limit if rests else nothing
    if rests and available(arena, slot_index, side, limit, order["leaves"]) < order["leaves"]:
        return limit
    worst = nothing
    found = 0
    while found < order["leaves"] and reaches(side, limit, ticks):
        lots = book_lots(st.books, st.cells, b, -side, ticks)
        if slot["consume"] != 0:
            lots -= taken_lots(arena, order["instrument"], slot_index, -side, ticks)
        if lots > 0:
            worst = ticks
            found += lots
        ticks = book_next(st.books, st.cells, b, -side, ticks)
    return worst


@kernel(entry=False)
def can_fill_whole(arena, at, limit):
    """Whether all of the order executes now, up to `limit`."""
    st = open_state(arena)
    order = st.orders[at]
    side = order["side"]
    if st.slots[order["slot"]]["execution"] == EXECUTION_FULL:
        return reaches(side, limit, best_for(arena, order["slot"], -side))
    return available(arena, order["slot"], side, limit, order["leaves"]) == order["leaves"]


@kernel(entry=False)
def own_limit(arena, at, limit):
    """Cut `limit` so that the order cannot trade with, or rest through, a resting order of its own account.

    Under "cancel-oldest" those resting orders are cancelled instead; under "allow" nothing happens, nor to the
    liquidation of a position, which own orders must not stop.
    """
    st = open_state(arena)
    order = st.orders[at]
    slot_index = order["slot"]
    slot = st.slots[slot_index]
    if slot["self_trade"] == SELF_ALLOW or slot["resting"] == 0 or order["flags"] & SYSTEM:
        return limit
    side = order["side"]
    meets = worst_price(arena, at, limit)
    b = order["instrument"] * BOOKS_EACH + 2
    ticks = st.books[b]["ask_ticks"] if side > 0 else st.books[b]["bid_ticks"]
    while reaches(side, meets, ticks):
        following = book_next(st.books, st.cells, b, -side, ticks)
        own = list_head(st.books, st.cells, b, -side, ticks)
        left = level_count(arena, own)
        while left > 0:
            after = st.orders[own]["next"]
            if st.orders[own]["slot"] == slot_index:
                if slot["self_trade"] == SELF_CANCEL_NEWEST:
                    return ticks - side
                unrest_order(st.books, st.cells, st.orders, st.slots, own)
                finish(arena, own, CANCELLED, REQUEST_NONE, R_SELF_TRADE)
            own = after
            left -= 1
        ticks = following
    return limit


@kernel(entry=False)
def accept(arena, at, request):
    """A new (or modified, or triggered) order at the venue: judge, execute, rest.  Room has been made sure of.

    `request` is what the first answer settles; REQUEST_NONE for a triggered order.
    """
    st = open_state(arena)
    run, order = st.run, st.orders[at]
    slot_index = order["slot"]
    slot = st.slots[slot_index]
    instrument = order["instrument"]
    inst = st.instruments[instrument]
    side = order["side"]
    if inst["expired"] != 0 or (order["tif"] == GTD and order["expire_us"] <= run[0]["now"]):
        finish(arena, at, EXPIRED, request, R_EXPIRED)
        return
    if inst["venue_valid"] == 0:
        if slot["hold"] != 0:
            order["pending_request"] = request
            watch_order(st.orders, st.instruments, at, HELD)
        else:
            finish(arena, at, REJECTED, request, R_BOOK_INVALID)
        return
    reason = refuse_new(arena, at)
    if reason != R_NONE:
        finish(arena, at, REJECTED, request, reason)
        return
    market = order["kind"] in (MARKET, STOP_MARKET, TRAILING_STOP)
    asked = side * FAR if market else order["ticks"]
    if order["flags"] & POST_ONLY and reaches(side, asked, best_for(arena, slot_index, -side)):
        finish(arena, at, REJECTED, request, R_POST_ONLY)
        return
    if order["tif"] == FOK and not can_fill_whole(arena, at, asked):
        finish(arena, at, EXPIRED, request, R_NO_LIQUIDITY)
        return
    limit = own_limit(arena, at, asked)
    if limit != asked and (order["tif"] == FOK or order["flags"] & POST_ONLY):
        finish(arena, at, REJECTED, request, R_SELF_TRADE)
        return
    crosses = reaches(side, limit, best_for(arena, slot_index, -side))
    announce = True
    if crosses:
        order["front"] = 0.0
        take(arena, at, limit, request)
        request = REQUEST_NONE
        announce = False
        if order["leaves"] == 0:
            return
    if limit != asked:
        finish(arena, at, CANCELLED if crosses else REJECTED, request, R_SELF_TRADE)
    elif market or order["tif"] in (IOC, FOK):
        finish(arena, at, EXPIRED, request, R_NO_LIQUIDITY)
    else:
        rest(arena, at, request, announce)


@kernel(entry=False)
def rest(arena, at, request, announce):
    """Put the order last in its level's queue; `announce` answers, unless a fill already did."""
    st = open_state(arena)
    order = st.orders[at]
    b = order["instrument"] * BOOKS_EACH
    order["front"] = float(book_lots(st.books, st.cells, b, order["side"], order["ticks"]))
    order["printed"] = 0.0
    order["accepted_ts"] = st.run[0]["now"]
    order["queued"] = st.run[0]["steps_venue"] if st.instruments[order["instrument"]]["by_order"] != 0 else 0
    order["kind"] = LIMIT
    rest_order(st.books, st.cells, st.orders, st.slots, at)
    if announce:
        answer(arena, at, PARTLY_FILLED if order["filled"] > 0 else LIVE, request, R_NONE)


@kernel(entry=False)
def take(arena, at, limit, request):
    """Execute against the book up to `limit`; at least one level is reachable.

    "full": everything at the best price.  "partial": level by level, one fill each, remembering what was taken.
    """
    st = open_state(arena)
    order = st.orders[at]
    slot_index = order["slot"]
    slot = st.slots[slot_index]
    instrument = order["instrument"]
    inst = st.instruments[instrument]
    b = instrument * BOOKS_EACH
    side = order["side"]
    ticks = best_for(arena, slot_index, -side)
    if slot["execution"] == EXECUTION_FULL:
        extra = slippage(arena, slot, inst, b, side, ticks, order["leaves"])
        execute(arena, at, order["leaves"], ticks + side * extra, extra, 0, request, CAUSE_TAKE)
        return
    total = order["leaves"]
    while order["leaves"] > 0 and reaches(side, limit, ticks):
        lots = book_lots(st.books, st.cells, b, -side, ticks)
        if slot["consume"] != 0:
            lots -= taken_lots(arena, instrument, slot_index, -side, ticks)
        if lots > 0:
            lots = min(lots, order["leaves"])
            if slot["consume"] != 0:
                take_lots(arena, instrument, slot_index, -side, ticks, lots)
            extra = slippage(arena, slot, inst, b, side, ticks, total)
            execute(arena, at, lots, ticks + side * extra, extra, 0, request, CAUSE_TAKE)
            request = REQUEST_NONE
        ticks = book_next(st.books, st.cells, b, -side, ticks)


@kernel(entry=False)
def fill_resting(arena, at, lots, cause):
    """A resting order trades `lots` at its own price as maker; it leaves the book when nothing remains.

    Returns the lots that traded: a reduce-only order is cut to the position first.
    """
    st = open_state(arena)
    order = st.orders[at]
    if order["flags"] & REDUCE_ONLY:
        closable = -order["side"] * st.slots[order["slot"]]["position"]
        if closable < order["leaves"]:
            order["lots"] -= order["leaves"] - max(closable, 0)
            order["leaves"] = max(closable, 0)
            lots = min(lots, order["leaves"])
        if lots == 0:
            unrest_order(st.books, st.cells, st.orders, st.slots, at)
            finish(arena, at, EXPIRED, REQUEST_NONE, R_REDUCE_ONLY)
            return 0
    if lots == order["leaves"]:
        unrest_order(st.books, st.cells, st.orders, st.slots, at)
    execute(arena, at, lots, order["ticks"], 0, 1, REQUEST_NONE, cause)
    return lots


@kernel(entry=False)
def level_changed(arena, instrument, side, ticks, before, after):
    """The venue changed a level from `before` to `after` lots: the queues of our orders there move.

    Not of those whose place an order-by-order feed tells (`by_order`).
    """
    st = open_state(arena)
    b = instrument * BOOKS_EACH + 2
    head = list_head(st.books, st.cells, b, side, ticks)
    if head < 0:
        return
    lot = st.instruments[instrument]["lot"]
    at = head
    while True:
        order = st.orders[at]
        slot = st.slots[order["slot"]]
        if order["queued"] == 0:
            order["front"] = front_after_change(
                slot["queue_kind"],
                slot["queue_n"],
                order["front"],
                order["printed"],
                float(before),
                float(after),
                lot,
                slot["execution"] != EXECUTION_FULL,
            )
            order["printed"] = 0.0
        at = order["next"]
        if at == head:
            break


@kernel(entry=False)
def touch_moved(arena, instrument, side):
    """The best price of market side `side` may have reached our orders on the other side: fill those."""
    st = open_state(arena)
    b = instrument * BOOKS_EACH
    own = b + 2
    mine = -side
    empty = NO_BID if mine > 0 else NO_ASK
    best = st.books[b]["bid_ticks"] if side > 0 else st.books[b]["ask_ticks"]
    ticks = st.books[own]["bid_ticks"] if mine > 0 else st.books[own]["ask_ticks"]
    while ticks != empty and reaches(mine, ticks, best):
        following = book_next(st.books, st.cells, own, mine, ticks)
        at = list_head(st.books, st.cells, own, mine, ticks)
        left = level_count(arena, at)
        while left > 0:
            after = st.orders[at]["next"]
            slot_index = st.orders[at]["slot"]
            if reaches(mine, ticks, best_for(arena, slot_index, side)):
                fill_resting(arena, at, st.orders[at]["leaves"], CAUSE_TOUCH)
            at = after
            left -= 1
        ticks = following


@kernel(entry=False)
def level_count(arena, head):
    """Orders in the list that begins at `head`."""
    st = open_state(arena)
    n = 1
    at = st.orders[head]["next"]
    while at != head:
        n += 1
        at = st.orders[at]["next"]
    return n


@kernel(entry=False)
def printed(arena, instrument, aggressor, ticks, lots):
    """A trade print: orders through whose price it went fill in full, at its price the queues move."""
    st = open_state(arena)
    own = instrument * BOOKS_EACH + 2
    mine = -aggressor
    empty = NO_BID if mine > 0 else NO_ASK
    level = st.books[own]["bid_ticks"] if mine > 0 else st.books[own]["ask_ticks"]
    while level != empty and reaches(aggressor, ticks, level):
        following = book_next(st.books, st.cells, own, mine, level)
        at = list_head(st.books, st.cells, own, mine, level)
        if level == ticks:
            printed_at(arena, at, lots)
            return
        left = level_count(arena, at)
        while left > 0:
            after = st.orders[at]["next"]
            fill_resting(arena, at, st.orders[at]["leaves"], CAUSE_THROUGH)
            at = after
            left -= 1
        level = following


@kernel(entry=False)
def printed_at(arena, head, lots):
    """A print of `lots` at the price of the orders in the list of `head`.

    "full": each order sees the whole print.  "partial": one print is one quantity, so what the account's earlier
    orders at this price executed is gone for its later ones.
    """
    st = open_state(arena)
    left = level_count(arena, head)
    at = head
    while left > 0:
        order = st.orders[at]
        after = order["next"]
        slot = st.slots[order["slot"]]
        if slot["execution"] == EXECUTION_FULL:
            front = order["front"] - lots
            if math.floor(0.5 - front) > 0:
                fill_resting(arena, at, order["leaves"], CAUSE_QUEUE)
            order["front"] = front
            order["printed"] += lots
        else:
            printed_partial(arena, at, slot, lots)
        at = after
        left -= 1


@kernel(entry=False)
def printed_partial(arena, at, slot, lots):
    """One order's part of a print under "partial"; the slot keeps what its orders ahead took from the same print.

    A fill tells the front as it was before the print.
    """
    st = open_state(arena)
    order = st.orders[at]
    if slot["print_mark"] != st.run[0]["steps_venue"]:
        slot["print_mark"] = st.run[0]["steps_venue"]
        slot["print_taken"] = 0
    excess = int(math.floor(lots - order["front"] + 1e-9)) - slot["print_taken"]
    if excess > 0:
        slot["print_taken"] += fill_resting(arena, at, min(excess, order["leaves"]), CAUSE_QUEUE)
    order["front"] = max(order["front"] - lots, 0.0)
    order["printed"] += lots


@kernel(entry=False)
def resynchronise(arena, instrument, side):
    """After a gap the level sizes are news: no front is longer than its level, and old prints count no more."""
    st = open_state(arena)
    b = instrument * BOOKS_EACH
    own = b + 2
    empty = NO_BID if side > 0 else NO_ASK
    ticks = st.books[own]["bid_ticks"] if side > 0 else st.books[own]["ask_ticks"]
    while ticks != empty:
        size = float(book_lots(st.books, st.cells, b, side, ticks))
        head = list_head(st.books, st.cells, own, side, ticks)
        at = head
        while True:
            order = st.orders[at]
            order["front"] = min(order["front"], size)
            order["printed"] = 0.0
            at = order["next"]
            if at == head:
                break
        ticks = book_next(st.books, st.cells, own, side, ticks)
