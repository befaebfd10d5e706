"""Order-by-order (level 3) feeds: the exact place of our orders in their queues.

An ORDER row tells the size that one order of the market has from now on (0: it is gone).  The table keeps every order
of the market with `arrived`, the number of the venue message that put it at the end of its queue; our own order keeps
`queued`, the number of the next message at the moment when it began to rest.  So an order at its price and side with
`arrived < queued` stands ahead of it, any other behind, and whatever comes later stays behind:

* an order ahead that gets smaller or leaves takes exactly that from our `front`; one behind takes nothing;
* an order that grows, or changes its price or side, leaves its place and arrives anew;
* prints take from `front` at once and are remembered in `printed`, as with level-2 feeds.  The order that they hit is
  ahead and gets smaller next: that part, up to `printed`, was taken already.  So executions need no name of their own,
  and it is the same whether a taker's prints and the orders that it hit come in turn or one after the other;
* a snapshot names all orders: those that it does not name have left, those that it knows keep their place.  After a
  gap the places of our orders are therefore exact again: who was ahead of us before it and is still named.

`front + printed` is the size of the orders ahead, for an order that was accepted while the feed was followed
(`queued > 0`).  The queue models do not touch such an order; an older one goes on under its model.  Everything else
(who fills, and how much) is as for level 2, see `matching`; books follow the BOOK rows, which add the orders up.

The table is open, with linear probing; a place is free when its `lots` are 0, and what is removed leaves no mark:
the entries behind it move up.
"""

from __future__ import annotations

from replay.events import LAST, SNAPSHOT
from replay.kernel.codes import GO_ON, NEED_ROOM, ROOM_MARKET_ORDERS
from replay.kernel.jit import kernel
from replay.kernel.orders import BOOKS_EACH, list_head
from replay.kernel.state import open_state


@kernel
def home(number, instrument, mask):
    """Where an order belongs in a table of `mask + 1` places; numbers may be dense or hashes, in [0, 2^63)."""
    mixed = number ^ (number >> 32) ^ (number >> 15) ^ (instrument << 7)
    return mixed & mask


@kernel(entry=False)
def place_of(table, number, instrument):
    """The order's place, or the free one where it would go; the table is never full."""
    mask = len(table) - 1
    at = home(number, instrument, mask)
    while table[at]["lots"] != 0 and (table[at]["number"] != number or table[at]["instrument"] != instrument):
        at = (at + 1) & mask
    return at


@kernel(entry=False)
def remove(table, at):
    """Free a place; entries that were pushed past it move up."""
    mask = len(table) - 1
    hole = at
    k = (at + 1) & mask
    while table[k]["lots"] != 0:
        wanted = home(table[k]["number"], table[k]["instrument"], mask)
        if ((k - wanted) & mask) >= ((k - hole) & mask):
            table[hole] = table[k]
            hole = k
        k = (k + 1) & mask
    table[hole]["lots"] = 0


@kernel
def rehash(old, new):
    """Put all entries of `old` into `new`: a zeroed table of a power-of-two length that is large enough."""
    for k in range(len(old)):
        if old[k]["lots"] != 0:
            new[place_of(new, old[k]["number"], old[k]["instrument"])] = old[k]


@kernel(entry=False)
def order_message(arena, at, instrument):
    """One message of ORDER rows, whole.  NEED_ROOM leaves it to be begun again: setting an order twice is harmless."""
    st = open_state(arena)
    run = st.run[0]
    st.instruments[instrument]["by_order"] = 1
    snapshot = st.rows[at]["flags"] & SNAPSHOT
    while True:
        row = st.rows[at]
        if row["side"] != 0:
            if 2 * (run["market_orders_n"] + 1) > len(st.market_orders):
                run["out_room"] = ROOM_MARKET_ORDERS
                return NEED_ROOM
            set_order(arena, instrument, row["value"], row["side"], row["price"], row["qty"])
        if row["flags"] & LAST:
            break
        at += 1
    if snapshot != 0:
        forget_unnamed(arena, instrument)
    return GO_ON


@kernel(entry=False)
def set_order(arena, instrument, number, side, ticks, lots):
    """An order of the market has `lots` left at a price; 0 when it is gone."""
    st = open_state(arena)
    run, table = st.run[0], st.market_orders
    at = place_of(table, number, instrument)
    entry = table[at]
    before = entry["lots"]
    stays = before > 0 and entry["side"] == side and entry["ticks"] == ticks and lots <= before
    if before > 0 and run["live_orders"] > 0:
        gone = before - lots if stays else before
        queue_shrank(arena, instrument, entry["side"], entry["ticks"], entry["arrived"], gone)
    if lots == 0:
        if before > 0:
            remove(table, at)
            run["market_orders_n"] -= 1
        return
    if before == 0:
        run["market_orders_n"] += 1
        entry["number"] = number
        entry["instrument"] = instrument
    if not stays:
        entry["side"] = side
        entry["ticks"] = ticks
        entry["arrived"] = run["steps_venue"]
    entry["lots"] = lots
    entry["named"] = run["steps_venue"]


@kernel(entry=False)
def queue_shrank(arena, instrument, side, ticks, arrived, lots):
    """An order of the market at a price lost `lots`: our orders behind it move up, less what prints moved already."""
    st = open_state(arena)
    head = list_head(st.books, st.cells, instrument * BOOKS_EACH + 2, side, ticks)
    if head < 0:
        return
    at = head
    while True:
        order = st.orders[at]
        if arrived < order["queued"]:
            known = min(float(lots), order["printed"])
            order["printed"] -= known
            order["front"] = max(order["front"] - (lots - known), 0.0)
        at = order["next"]
        if at == head:
            break


@kernel(entry=False)
def forget_unnamed(arena, instrument):
    """After a snapshot: the orders that it did not name have left."""
    st = open_state(arena)
    run, table = st.run[0], st.market_orders
    at = 0
    while at < len(table):
        entry = table[at]
        if entry["lots"] != 0 and entry["instrument"] == instrument and entry["named"] != run["steps_venue"]:
            set_order(arena, instrument, entry["number"], entry["side"], entry["ticks"], 0)
        else:
            at += 1


def check_market_orders(table, count: int) -> None:
    """AssertionError unless the table is sound: a power of two, at most half full, each order found, none twice."""
    used = table[table["lots"] != 0]
    mask = len(table) - 1
    assert len(table) & mask == 0, "the length is no power of two"
    assert len(used) == count, f"{len(used)} orders, counted {count}"
    assert 2 * len(used) <= len(table), "more than half full"
    assert (used["lots"] > 0).all(), "an order of negative size"
    names = set(zip(used["instrument"].tolist(), used["number"].tolist()))
    assert len(names) == count, "an order stands in the table twice"
    for at in range(len(table)):
        if table["lots"][at] != 0:
            k = home(int(table["number"][at]), int(table["instrument"][at]), mask)
            while k != at:
                assert table["lots"][k] != 0, "a free place before an order hides it"
                k = (k + 1) & mask
