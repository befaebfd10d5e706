"""The order pool and the lists in which orders rest.

An order lies at the first free place at or after `id & mask` of a power-of-two table, so it is found by id with a
short probe and its place is reused when it is over and its answers have been seen.

Resting orders are indexed like a market: per instrument a book (kernel/book.py) whose "lots" are the place of the
first order at that price plus one; the orders of one price form a circular list in order of acceptance.  The best own
price is read in O(1), a market event away from it costs nothing, however many orders rest.  Orders that wait for
something else (a trigger, a valid book) stand in one plain list per instrument, headed at the sentinel that the
instrument owns: they are few.
"""

from __future__ import annotations

from replay.kernel.book import LEVELS, book_lots, book_set
from replay.kernel.codes import ABSENT, GONE, RESTING
from replay.kernel.jit import kernel

BOOKS_EACH = 4
"""Books of one instrument: venue, local, own resting orders, liquidity that we took."""

LEVELS_EACH = (LEVELS, LEVELS, 512, 512)
"""Levels a side for which these have room at first."""

RESERVED = 1 << 40
"""Value of a price in one of our own books that has room but no list yet."""


@kernel(entry=False)
def find_order(run, orders, order_id):
    """Place of the order, or -1."""
    mask = len(orders) - 1
    for step in range(run[0]["max_probe"] + 1):
        at = (order_id + step) & mask
        if orders[at]["id"] == order_id:
            return at
    return -1


@kernel(entry=False)
def order_key(run, strategy, number):
    """The id of order `number` of a strategy: unique in the run, and dense, so that the table has few collisions.

    Strategies count their own orders, from 1, so that a run does not depend on who else takes part.
    """
    return number * run[0]["strategies"] + strategy


@kernel(entry=False)
def new_order(run, strategies, orders, strategy):
    """A place for the strategy's next order, its id set and all else zero, or -1 when more than half of the table is
    in use.
    """
    if 2 * (run[0]["live_orders"] + 1) > len(orders):
        return -1
    number = strategies[strategy]["next_number"]
    order_id = order_key(run, strategy, number)
    mask = len(orders) - 1
    step = 0
    while orders[(order_id + step) & mask]["id"] != 0:
        step += 1
    if step > run[0]["max_probe"]:
        run[0]["max_probe"] = step
    at = (order_id + step) & mask
    strategies[strategy]["next_number"] = number + 1
    run[0]["live_orders"] += 1
    order = orders[at]
    order["id"] = order_id
    order["number"] = number
    order["flags"] = 0
    order["stop_ticks"] = 0
    order["trigger"] = 0
    order["filled"] = 0
    order["venue_state"] = ABSENT
    order["status"] = 0
    order["pending"] = 0
    order["front"] = 0.0
    order["printed"] = 0.0
    order["exch_ts"] = 0
    order["expire_us"] = 0
    order["next"] = -1
    order["prev"] = -1
    order["next_watch"] = -1
    order["prev_watch"] = -1
    order["l_filled"] = 0
    order["reason"] = 0
    order["trail"] = 0
    order["tag"] = 0
    order["in_flight"] = 0
    order["accepted_ts"] = 0
    order["pending_request"] = 0
    order["queued"] = 0
    return at


@kernel(entry=False)
def list_head(books, cells, b, side, ticks):
    """First place of the list at a price of own-order (or taken) book `b`, or -1."""
    value = book_lots(books, cells, b, side, ticks)
    return -1 if value in (0, RESERVED) else value - 1


@kernel(entry=False)
def reserve_price(books, cells, b, side, ticks):
    """Make sure that a list can be put at a price of book `b`: 0, or the book's code for "no room"."""
    if book_lots(books, cells, b, side, ticks) > 0:
        return 0
    code = book_set(books, cells, b, side, ticks, RESERVED)
    return code if code < 0 else 0


@kernel(entry=False)
def release_price(books, cells, b, side, ticks):
    """Undo a reservation that was not used."""
    if book_lots(books, cells, b, side, ticks) == RESERVED:
        book_set(books, cells, b, side, ticks, 0)


@kernel(entry=False)
def own_order(orders, slots, at):
    """Put a new order last on its slot's list of orders that the strategy knows; the list is in order of id."""
    order = orders[at]
    slot = slots[order["slot"]]
    head = slot["own_head"]
    if head < 0:
        slot["own_head"] = at
        order["own_next"] = at
        order["own_prev"] = at
        return
    tail = orders[head]["own_prev"]
    order["own_next"] = head
    order["own_prev"] = tail
    orders[tail]["own_next"] = at
    orders[head]["own_prev"] = at


@kernel(entry=False)
def forget_order(run, orders, slots, at):
    """Free the place of an order that is over and whose answers have all been seen."""
    order = orders[at]
    slot = slots[order["slot"]]
    following = order["own_next"]
    if following == at:
        slot["own_head"] = -1
    else:
        orders[order["own_prev"]]["own_next"] = following
        orders[following]["own_prev"] = order["own_prev"]
        if slot["own_head"] == at:
            slot["own_head"] = following
    order["id"] = 0
    run[0]["live_orders"] -= 1


@kernel(entry=False)
def rest_order(books, cells, orders, slots, at):
    """Put an order last at its price."""
    order = orders[at]
    b = order["instrument"] * BOOKS_EACH + 2
    head = list_head(books, cells, b, order["side"], order["ticks"])
    if head < 0:
        order["next"] = at
        order["prev"] = at
        book_set(books, cells, b, order["side"], order["ticks"], at + 1)
    else:
        tail = orders[head]["prev"]
        order["next"] = head
        order["prev"] = tail
        orders[tail]["next"] = at
        orders[head]["prev"] = at
    order["venue_state"] = RESTING
    slots[order["slot"]]["resting"] += 1


@kernel(entry=False)
def unrest_order(books, cells, orders, slots, at):
    """Take a resting order out of its list."""
    order = orders[at]
    b = order["instrument"] * BOOKS_EACH + 2
    following = order["next"]
    if following == at:
        book_set(books, cells, b, order["side"], order["ticks"], 0)
    else:
        orders[order["prev"]]["next"] = following
        orders[following]["prev"] = order["prev"]
        if book_lots(books, cells, b, order["side"], order["ticks"]) == at + 1:
            book_set(books, cells, b, order["side"], order["ticks"], following + 1)
    order["next"] = -1
    order["prev"] = -1
    order["venue_state"] = GONE
    slots[order["slot"]]["resting"] -= 1


@kernel(entry=False)
def watch_order(orders, instruments, at, state):
    """Put an order on its instrument's list of those that wait (`state` WATCHING or HELD), last."""
    order = orders[at]
    inst = instruments[order["instrument"]]
    order["venue_state"] = state
    head = inst["watch_head"]
    if head < 0:
        inst["watch_head"] = at
        order["next_watch"] = at
        order["prev_watch"] = at
        return
    tail = orders[head]["prev_watch"]
    order["next_watch"] = head
    order["prev_watch"] = tail
    orders[tail]["next_watch"] = at
    orders[head]["prev_watch"] = at


@kernel(entry=False)
def unwatch_order(orders, instruments, at):
    """Take an order off that list."""
    order = orders[at]
    inst = instruments[order["instrument"]]
    following = order["next_watch"]
    if following == at:
        inst["watch_head"] = -1
    else:
        orders[order["prev_watch"]]["next_watch"] = following
        orders[following]["prev_watch"] = order["prev_watch"]
        if inst["watch_head"] == at:
            inst["watch_head"] = following
    order["next_watch"] = -1
    order["prev_watch"] = -1
    order["venue_state"] = GONE
