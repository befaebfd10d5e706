"""What the venue will not take, and how much margin an account has free.

Margin is a fraction of notional at the mark.  A new order must be carried in the worst case of position and open
orders; maintenance counts positions only.  An option that is held is worth its mark and carries nothing else, so it
needs its whole mark; one that is owed needs the fraction of its underlying's notional.
"""

from __future__ import annotations

from replay.kernel.account import equity_of, fees_in, mark_of
from replay.kernel.book import NO_ASK, NO_BID, book_next
from replay.kernel.codes import (
    INVERSE,
    MARKET,
    OPTION,
    R_MARGIN,
    R_MIN_NOTIONAL,
    R_NONE,
    R_REDUCE_ONLY,
    REDUCE_ONLY,
    SPOT,
    SYSTEM,
)
from replay.kernel.jit import kernel
from replay.kernel.orders import BOOKS_EACH, list_head
from replay.kernel.state import open_state
from replay.kernel.venue_view import FAR
from replay.units import SCALE


@kernel(entry=False)
def refuse_new(arena, at):
    """The reason why the venue will not take the order, or 0: minimum notional, holdings, reduce-only, margin.

    Reduce-only orders are cut to the position, as the venues do.
    """
    st = open_state(arena)
    order = st.orders[at]
    slot = st.slots[order["slot"]]
    inst = st.instruments[order["instrument"]]
    if order["flags"] & SYSTEM:
        return R_NONE
    mark = mark_of(inst, st.books[order["instrument"] * BOOKS_EACH])
    price = order["ticks"] * inst["tick"]
    if order["kind"] == MARKET or abs(order["ticks"]) >= FAR:
        price = mark / SCALE
    size = order["leaves"] * inst["lot"] * inst["multiplier"]
    notional = size if inst["payoff"] == INVERSE else size * price
    if notional < slot["min_notional"] and (mark != 0 or order["kind"] != MARKET):
        return R_MIN_NOTIONAL
    if order["flags"] & REDUCE_ONLY:
        closable = -order["side"] * slot["position"]
        if closable <= 0:
            return R_REDUCE_ONLY
        if order["leaves"] > closable:
            order["lots"] -= order["leaves"] - closable
            order["leaves"] = closable
    if inst["payoff"] == SPOT and slot["borrow"] == 0 and order["side"] < 0:
        promised = open_lots(arena, order["slot"], -1)
        if order["leaves"] + promised > slot["position"]:
            return R_MARGIN
    if slot["initial_scaled"] > 0 and not margin_allows(arena, at, mark):
        return R_MARGIN
    return R_NONE


@kernel(entry=False)
def open_lots(arena, slot_index, side):
    """Lots of this slot's resting orders on one side."""
    st = open_state(arena)
    total = 0
    instrument = st.slots[slot_index]["instrument"]
    b = instrument * BOOKS_EACH + 2
    empty = NO_BID if side > 0 else NO_ASK
    ticks = st.books[b]["bid_ticks"] if side > 0 else st.books[b]["ask_ticks"]
    while ticks != empty:
        head = list_head(st.books, st.cells, b, side, ticks)
        at = head
        while at >= 0:
            if st.orders[at]["slot"] == slot_index:
                total += st.orders[at]["leaves"]
            at = st.orders[at]["next"]
            if at == head:
                break
        ticks = book_next(st.books, st.cells, b, side, ticks)
    return total


@kernel(entry=False)
def margin_of(arena, slot_index, lots, mark, rate):
    """Margin in the settlement currency that a position of `lots` needs at `mark` and `rate` (both 1/SCALE)."""
    st = open_state(arena)
    slot = st.slots[slot_index]
    inst = st.instruments[slot["instrument"]]
    size = abs(lots) * inst["lot"] * inst["multiplier"]
    if mark == 0:
        return 0.0
    if inst["payoff"] == INVERSE:
        return size / (mark / SCALE) * (rate / SCALE)
    if inst["payoff"] == OPTION and lots > 0:
        return size * (mark / SCALE)
    if inst["payoff"] == OPTION:
        mark = mark_of(st.instruments[inst["underlying"]], st.books[inst["underlying"] * BOOKS_EACH])
    return size * (mark / SCALE) * (rate / SCALE)


@kernel(entry=False)
def free_margin(arena, strategy, currency, maintenance):
    """Deposit and equity of the strategy in `currency` less the margin of its positions and resting orders."""
    st = open_state(arena)
    first = st.strategies[strategy]["first_slot"]
    free = st.strategies[strategy]["deposit"]
    for j in range(st.run[0]["instruments"]):
        inst = st.instruments[j]
        slot = st.slots[first + j]
        if inst["currency"] != currency:
            free -= fees_in(slot, inst, currency)
            continue
        mark = mark_of(inst, st.books[j * BOOKS_EACH])
        if mark == 0:
            continue
        free += equity_of(slot, inst, mark)
        if maintenance != 0:
            free -= margin_of(arena, first + j, slot["position"], mark, slot["maintenance_scaled"])
        else:
            longest = slot["position"] + open_lots(arena, first + j, 1)
            shortest = slot["position"] - open_lots(arena, first + j, -1)
            free -= worst_margin(arena, first + j, longest, shortest, mark)
    return free


@kernel(entry=False)
def worst_margin(arena, slot_index, longest, shortest, mark):
    """Initial margin of the dearer of two positions."""
    rate = open_state(arena).slots[slot_index]["initial_scaled"]
    return max(margin_of(arena, slot_index, longest, mark, rate), margin_of(arena, slot_index, shortest, mark, rate))


@kernel(entry=False)
def margin_allows(arena, at, mark):
    """Whether free margin covers what the order adds to the worst case of position and open orders."""
    st = open_state(arena)
    order = st.orders[at]
    slot = st.slots[order["slot"]]
    inst = st.instruments[order["instrument"]]
    side = order["side"]
    longest = slot["position"] + open_lots(arena, order["slot"], 1)
    shortest = slot["position"] - open_lots(arena, order["slot"], -1)
    before = max(abs(longest), abs(shortest))
    carried = worst_margin(arena, order["slot"], longest, shortest, mark)
    if side > 0:
        longest += order["leaves"]
    else:
        shortest -= order["leaves"]
    after = max(abs(longest), abs(shortest))
    if inst["payoff"] == OPTION:
        added = worst_margin(arena, order["slot"], longest, shortest, mark) - carried
    else:
        added = margin_of(arena, order["slot"], max(after - before, 0), mark, slot["initial_scaled"])
    return added <= 0.0 or added <= free_margin(arena, slot["strategy"], inst["currency"], 0)
