"""The venue: what happens to orders there.

Everything in this file happens on the venue clock.  A new order is judged against the venue book; a resting order is
filled when the opposite best reaches its price, when a print goes through its price, or when prints at its price have
used up the queue in front of it.  Nothing here waits or allocates: callers make sure before each event that the pools
have room (`advance`).
"""

from __future__ import annotations

import math

from replay.kernel.account import add_fee, book_fill, equity_of, fill_fee, mark_of, scaled_money
from replay.kernel.agenda import PHASE_ANSWER, PHASE_REQUEST, agenda_push
from replay.kernel.book import NO_ASK, NO_BID, book_lots, book_next, book_set
from replay.kernel.codes import (
    ABSENT,
    CANCELLED,
    CAUSE_QUEUE,
    CAUSE_TAKE,
    CAUSE_THROUGH,
    CAUSE_TOUCH,
    DO_ANSWER,
    DO_TRIGGERED,
    EXECUTION_FULL,
    EXPIRED,
    FILLED,
    FOK,
    GONE,
    GTD,
    HELD,
    INVERSE,
    IOC,
    LIMIT,
    LIVE,
    MARKET,
    PARTLY_FILLED,
    POST_ONLY,
    R_BOOK_INVALID,
    R_EXPIRED,
    R_MARGIN,
    R_MIN_NOTIONAL,
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
    SLIPPAGE_BPS,
    SLIPPAGE_SPREAD,
    SLIPPAGE_SQRT,
    SPOT,
    STOP_LIMIT,
    STOP_MARKET,
    SYSTEM,
    TRAILING_STOP,
    TRIGGER_MARK,
    TRIGGER_TOUCH,
    WATCHING,
)
from replay.kernel.jit import kernel
from replay.kernel.latency import response_us
from replay.kernel.orders import BOOKS_EACH, list_head, rest_order, unrest_order, unwatch_order, watch_order
from replay.kernel.queueing import front_after_change
from replay.units import SCALE

FAR = 1 << 60
"""Limit of a market order, in ticks."""


# ---------------------------------------------------------------------------------------------- answers and fills


@kernel(entry=False)
def answer(st, at, status, request, reason):
    """Send the order's state as it is now back to the strategy; returns the agenda item for the caller to complete."""
    run, order = st.run, st.orders[at]
    slot = st.slots[order["slot"]]
    inst = st.instruments[order["instrument"]]
    now = run[0]["now"]
    due = now + response_us(slot, st.tables, now, inst["feed_us"])
    if due < slot["last_answer"]:
        due = slot["last_answer"]
    slot["last_answer"] = due
    index = agenda_push(run, st.heap, st.items, due, PHASE_ANSWER)
    item = st.items[index]
    item["kind"] = DO_ANSWER
    item["strategy"] = slot["strategy"]
    item["slot"] = order["slot"]
    item["order"] = at
    item["id"] = order["id"]
    item["status"] = status
    item["ticks"] = order["ticks"]
    item["lots"] = order["lots"]
    item["leaves"] = order["leaves"]
    item["filled"] = order["filled"]
    item["exec_lots"] = 0
    item["exec_ticks"] = 0
    item["exch_ts"] = now
    item["reason"] = reason
    item["maker"] = 0
    item["fill"] = -1
    item["request"] = request
    order["in_flight"] += 1
    order["exch_ts"] = now
    return due, index


@kernel(entry=False)
def finish(st, at, status, request, reason):
    """The order is over at the venue; its answer says how."""
    order = st.orders[at]
    order["venue_state"] = GONE
    st.slots[order["slot"]]["live"] -= 1
    answer(st, at, status, request, reason)


@kernel(entry=False)
def execute(st, at, lots, ticks, slippage_ticks, maker, request, cause):
    """`lots` of the order trade at `ticks` (slippage included); books the venue side and sends the answer."""
    run, order = st.run, st.orders[at]
    slot = st.slots[order["slot"]]
    inst = st.instruments[order["instrument"]]
    order["leaves"] -= lots
    order["filled"] += lots
    hi, lo, f = fill_fee(slot, st.tables, inst, maker, ticks, lots)
    book_fill(slot, inst["payoff"], order["side"], ticks, lots)
    add_fee(slot, hi, lo, f)
    status = FILLED if order["leaves"] == 0 else PARTLY_FILLED
    if status == FILLED:
        order["venue_state"] = GONE
        slot["live"] -= 1
    due, index = answer(st, at, status, request, R_NONE)
    item = st.items[index]
    item["exec_lots"] = lots
    item["exec_ticks"] = ticks
    item["maker"] = maker
    item["fee_hi"], item["fee_lo"], item["fee_f"] = hi, lo, f
    n = run[0]["fills_n"]
    run[0]["fills_n"] = n + 1
    item["fill"] = n
    fill = st.fills[n]
    fill["order_id"] = order["id"]
    fill["strategy"] = slot["strategy"]
    fill["instrument"] = order["instrument"]
    fill["exch_ts"] = run[0]["now"]
    fill["local_ts"] = due
    fill["ticks"] = ticks
    fill["lots"] = lots
    fill["side"] = order["side"]
    fill["maker"] = maker
    fill["front"] = order["front"]
    fill["cause"] = cause
    fill["cause_seq"] = inst["cause_seq"]
    unit = inst["lot"] * inst["multiplier"] * inst["tick"]
    fill["fee"] = scaled_money(hi, lo, float(SCALE)) * unit + f
    fill["slippage_ticks"] = slippage_ticks
    fill["position"] = slot["position"]
    sample_equity(st, slot["strategy"])


@kernel(entry=False)
def sample_equity(st, strategy):
    """One equity row for each settlement currency in which the strategy has an account."""
    run = st.run
    first = st.strategies[strategy]["first_slot"]
    count = run[0]["instruments"]
    for k in range(count):
        currency = st.instruments[k]["currency"]
        seen = 0
        for j in range(k):
            if st.instruments[j]["currency"] == currency:
                seen = 1
        if seen == 0:
            sample_currency(st, strategy, first, count, currency)


@kernel(entry=False)
def sample_currency(st, strategy, first, count, currency):
    """Equity of the strategy over all instruments that settle in `currency`, at the venue's marks."""
    value = 0.0
    fees = 0.0
    funding = 0.0
    valid = 1
    position = 0
    for j in range(count):
        inst = st.instruments[j]
        slot = st.slots[first + j]
        if inst["currency"] != currency or (slot["fills"] == 0 and slot["position"] == 0):
            continue
        mark = mark_of(inst, st.books[j * BOOKS_EACH])
        if mark == 0:
            valid = 0
            mark = inst["tick_scaled"]
        if inst["venue_valid"] == 0:
            valid = 0
        value += equity_of(slot, inst, mark)
        position += abs(slot["position"])
    n = st.run[0]["equity_n"]
    st.run[0]["equity_n"] = n + 1
    row = st.equity[n]
    row["ts"] = st.run[0]["now"]
    row["strategy"] = strategy
    row["currency"] = currency
    row["value"] = value
    row["position"] = position
    row["fees"] = fees
    row["funding"] = funding
    row["valid"] = valid


# ----------------------------------------------------------------------------------- the market as one slot sees it


@kernel(entry=False)
def taken_lots(st, instrument, slot_index, side, ticks):
    """Lots of a level (of `side` of the market) that this slot has taken since the venue last updated it."""
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
def take_lots(st, instrument, slot_index, side, ticks, lots):
    """Remember that the slot has taken `lots` from a level."""
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
def forget_taken(st, instrument, side, ticks):
    """The venue updated a level: what we took there is in its new size."""
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
def forget_all_taken(st, instrument):
    """The venue sent a whole book."""
    b = instrument * BOOKS_EACH + 3
    while st.books[b]["bids"] > 0:
        forget_taken(st, instrument, 1, st.books[b]["bid_ticks"])
    while st.books[b]["asks"] > 0:
        forget_taken(st, instrument, -1, st.books[b]["ask_ticks"])


@kernel(entry=False)
def best_for(st, slot_index, side):
    """Best price of market side `side` that this slot can still trade with, NO_BID or NO_ASK when there is none."""
    instrument = st.slots[slot_index]["instrument"]
    b = instrument * BOOKS_EACH
    ticks = st.books[b]["bid_ticks"] if side > 0 else st.books[b]["ask_ticks"]
    if st.slots[slot_index]["consume"] == 0:
        return ticks
    empty = NO_BID if side > 0 else NO_ASK
    while ticks != empty:
        taken = taken_lots(st, instrument, slot_index, side, ticks)
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
def available(st, slot_index, side, limit, wanted):
    """Lots (at most `wanted`) that an order of `side` finds up to `limit`."""
    instrument = st.slots[slot_index]["instrument"]
    b = instrument * BOOKS_EACH
    ticks = st.books[b]["ask_ticks"] if side > 0 else st.books[b]["bid_ticks"]
    found = 0
    while found < wanted and reaches(side, limit, ticks):
        found += book_lots(st.books, st.cells, b, -side, ticks)
        if st.slots[slot_index]["consume"] != 0:
            found -= taken_lots(st, instrument, slot_index, -side, ticks)
        ticks = book_next(st.books, st.cells, b, -side, ticks)
    return min(found, wanted)


@kernel(entry=False)
def slippage(st, slot, inst, b, side, ticks, lots):
    """Extra ticks, never negative, that a taking fill pays beyond the book's price.

    bps: fixed part of the price. spread fraction: part of the current spread. square root: Y·σ·sqrt(q/V) of the price
    (Tóth et al. 2011, "Anomalous price impact and the critical nature of liquidity in financial markets",
    Phys. Rev. X 1, 021006), with σ and V of one day.
    """
    kind = slot["slippage_kind"]
    extra = 0.0
    if kind == SLIPPAGE_BPS:
        extra = ticks * slot["slippage_a"] * 1e-4
    elif kind == SLIPPAGE_SPREAD:
        if st.books[b]["bid_lots"] > 0 and st.books[b]["ask_lots"] > 0:
            extra = (st.books[b]["ask_ticks"] - st.books[b]["bid_ticks"]) * slot["slippage_a"]
    elif kind == SLIPPAGE_SQRT:
        part = lots * inst["lot"] / slot["slippage_c"]
        extra = ticks * slot["slippage_a"] * slot["slippage_b"] * math.sqrt(part)
    whole = int(math.ceil(extra - 1e-9))
    if side < 0 and whole >= ticks:
        whole = max(ticks - 1, 0)
    return max(whole, 0)


# ------------------------------------------------------------------------------------------------------- new orders


@kernel(entry=False)
def refuse_new(st, at):
    """The reason why the venue will not take the order, or 0: minimum notional, holdings, reduce-only, margin.

    Reduce-only orders are cut to the position, as the venues do.
    """
    order = st.orders[at]
    slot = st.slots[order["slot"]]
    inst = st.instruments[order["instrument"]]
    if order["flags"] & SYSTEM:
        return R_NONE
    if order["flags"] & REDUCE_ONLY:
        closable = -order["side"] * slot["position"]
        if closable <= 0:
            return R_REDUCE_ONLY
        if order["leaves"] > closable:
            order["lots"] -= order["leaves"] - closable
            order["leaves"] = closable
    mark = mark_of(inst, st.books[order["instrument"] * BOOKS_EACH])
    price = order["ticks"] * inst["tick"]
    if order["kind"] == MARKET or abs(order["ticks"]) >= FAR:
        price = mark / SCALE
    size = order["leaves"] * inst["lot"] * inst["multiplier"]
    notional = size if inst["payoff"] == INVERSE else size * price
    if slot["min_notional"] > 0.0 and notional < slot["min_notional"]:
        return R_MIN_NOTIONAL
    if inst["payoff"] == SPOT and slot["borrow"] == 0 and order["side"] < 0:
        promised = open_lots(st, order["slot"], -1)
        if order["leaves"] + promised > slot["position"]:
            return R_MARGIN
    if slot["initial_scaled"] > 0 and not margin_allows(st, at, mark):
        return R_MARGIN
    return R_NONE


@kernel(entry=False)
def open_lots(st, slot_index, side):
    """Lots of this slot's resting orders on one side."""
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
def margin_of(st, slot_index, lots, mark, rate):
    """Margin in the settlement currency that `lots` need at `mark` (1/SCALE) and `rate` (1/SCALE)."""
    slot = st.slots[slot_index]
    inst = st.instruments[slot["instrument"]]
    size = abs(lots) * inst["lot"] * inst["multiplier"]
    if mark == 0:
        return 0.0
    if inst["payoff"] == INVERSE:
        return size / (mark / SCALE) * (rate / SCALE)
    return size * (mark / SCALE) * (rate / SCALE)


@kernel(entry=False)
def free_margin(st, strategy, currency, maintenance):
    """Deposit and equity of the strategy in `currency` less the margin of its positions and resting orders."""
    first = st.strategies[strategy]["first_slot"]
    free = st.strategies[strategy]["deposit"]
    for j in range(st.run[0]["instruments"]):
        inst = st.instruments[j]
        if inst["currency"] != currency:
            continue
        slot = st.slots[first + j]
        mark = mark_of(inst, st.books[j * BOOKS_EACH])
        if mark == 0:
            continue
        free += equity_of(slot, inst, mark)
        if maintenance != 0:
            free -= margin_of(st, first + j, slot["position"], mark, slot["maintenance_scaled"])
        else:
            longest = slot["position"] + open_lots(st, first + j, 1)
            shortest = slot["position"] - open_lots(st, first + j, -1)
            worst = max(abs(longest), abs(shortest))
            free -= margin_of(st, first + j, worst, mark, slot["initial_scaled"])
    return free


@kernel(entry=False)
def margin_allows(st, at, mark):
    """Whether free margin covers what the order adds to the worst case of position and open orders."""
    order = st.orders[at]
    slot = st.slots[order["slot"]]
    inst = st.instruments[order["instrument"]]
    side = order["side"]
    longest = slot["position"] + open_lots(st, order["slot"], 1)
    shortest = slot["position"] - open_lots(st, order["slot"], -1)
    before = max(abs(longest), abs(shortest))
    if side > 0:
        longest += order["leaves"]
    else:
        shortest -= order["leaves"]
    after = max(abs(longest), abs(shortest))
    if after <= before:
        return True
    free = free_margin(st, slot["strategy"], inst["currency"], 0)
    return margin_of(st, order["slot"], after - before, mark, slot["initial_scaled"]) <= free


@kernel(entry=False)
def own_limit(st, at, limit):
    """Cut `limit` so that the order cannot trade with, or through, a resting order of its own account.

    Under "cancel-oldest" those resting orders are cancelled instead; under "allow" nothing happens.
    """
    order = st.orders[at]
    slot_index = order["slot"]
    slot = st.slots[slot_index]
    if slot["self_trade"] == SELF_ALLOW or slot["resting"] == 0:
        return limit
    side = order["side"]
    b = order["instrument"] * BOOKS_EACH + 2
    ticks = st.books[b]["ask_ticks"] if side > 0 else st.books[b]["bid_ticks"]
    while reaches(side, limit, ticks):
        following = book_next(st.books, st.cells, b, -side, ticks)
        head = list_head(st.books, st.cells, b, -side, ticks)
        own = head
        while True:
            after = st.orders[own]["next"]
            last = after == head
            if st.orders[own]["slot"] == slot_index:
                if slot["self_trade"] == SELF_CANCEL_NEWEST:
                    return ticks - side
                if own == head:
                    head = after
                    if not last:
                        unrest_order(st.books, st.cells, st.orders, st.slots, own)
                        finish(st, own, CANCELLED, REQUEST_NONE, R_SELF_TRADE)
                        own = after
                        continue
                unrest_order(st.books, st.cells, st.orders, st.slots, own)
                finish(st, own, CANCELLED, REQUEST_NONE, R_SELF_TRADE)
            if last:
                break
            own = after
        ticks = following
    return limit


@kernel(entry=False)
def accept(st, at, request):
    """A new (or modified, or triggered) order at the venue: judge, execute, rest.  Room has been made sure of.

    `request` is what the first answer settles; REQUEST_NONE for a triggered order.
    """
    run, order = st.run, st.orders[at]
    slot_index = order["slot"]
    slot = st.slots[slot_index]
    instrument = order["instrument"]
    inst = st.instruments[instrument]
    side = order["side"]
    if inst["venue_valid"] == 0:
        if slot["hold"] != 0:
            order["pending_request"] = request
            watch_order(st.orders, st.instruments, at, HELD)
        else:
            finish(st, at, REJECTED, request, R_BOOK_INVALID)
        return
    reason = refuse_new(st, at)
    if reason != R_NONE:
        finish(st, at, REJECTED, request, reason)
        return
    market = order["kind"] in (MARKET, STOP_MARKET, TRAILING_STOP)
    asked = side * FAR if market else order["ticks"]
    limit = own_limit(st, at, asked)
    crosses = reaches(side, limit, best_for(st, slot_index, -side))
    if order["flags"] & POST_ONLY:
        if crosses or limit != asked:
            finish(st, at, REJECTED, request, R_POST_ONLY if crosses else R_SELF_TRADE)
        else:
            rest(st, at, request, True)
        return
    announce = True
    if crosses:
        if order["tif"] == FOK and slot["execution"] != EXECUTION_FULL:
            if available(st, slot_index, side, limit, order["leaves"]) < order["leaves"]:
                finish(st, at, EXPIRED, request, R_NO_LIQUIDITY)
                return
        order["front"] = 0.0
        take(st, at, limit, request)
        request = REQUEST_NONE
        announce = False
        if order["leaves"] == 0:
            return
    if limit != asked:
        finish(st, at, CANCELLED if crosses else REJECTED, request, R_SELF_TRADE)
    elif market or order["tif"] in (IOC, FOK):
        finish(st, at, EXPIRED, request, R_NO_LIQUIDITY)
    elif order["tif"] == GTD and order["expire_us"] <= run[0]["now"]:
        finish(st, at, EXPIRED, request, R_EXPIRED)
    else:
        rest(st, at, request, announce)


@kernel(entry=False)
def rest(st, at, request, announce):
    """Put the order last in its level's queue; `announce` answers, unless a fill already did."""
    order = st.orders[at]
    b = order["instrument"] * BOOKS_EACH
    order["front"] = float(book_lots(st.books, st.cells, b, order["side"], order["ticks"]))
    order["printed"] = 0.0
    order["accepted_ts"] = st.run[0]["now"]
    order["kind"] = LIMIT
    rest_order(st.books, st.cells, st.orders, st.slots, at)
    if announce:
        answer(st, at, LIVE, request, R_NONE)


@kernel(entry=False)
def take(st, at, limit, request):
    """Execute against the book up to `limit`; at least one level is reachable.

    "full": everything at the best price.  "partial": level by level, one fill each, remembering what was taken.
    """
    order = st.orders[at]
    slot_index = order["slot"]
    slot = st.slots[slot_index]
    instrument = order["instrument"]
    inst = st.instruments[instrument]
    b = instrument * BOOKS_EACH
    side = order["side"]
    ticks = best_for(st, slot_index, -side)
    if slot["execution"] == EXECUTION_FULL:
        extra = slippage(st, slot, inst, b, side, ticks, order["leaves"])
        execute(st, at, order["leaves"], ticks + side * extra, extra, 0, request, CAUSE_TAKE)
        return
    total = order["leaves"]
    while order["leaves"] > 0 and reaches(side, limit, ticks):
        lots = book_lots(st.books, st.cells, b, -side, ticks)
        if slot["consume"] != 0:
            lots -= taken_lots(st, instrument, slot_index, -side, ticks)
        if lots > 0:
            lots = min(lots, order["leaves"])
            if slot["consume"] != 0:
                take_lots(st, instrument, slot_index, -side, ticks, lots)
            extra = slippage(st, slot, inst, b, side, ticks, total)
            execute(st, at, lots, ticks + side * extra, extra, 0, request, CAUSE_TAKE)
            request = REQUEST_NONE
        ticks = book_next(st.books, st.cells, b, -side, ticks)


# --------------------------------------------------------------------------------------------------- resting orders


@kernel(entry=False)
def fill_resting(st, at, lots, cause):
    """A resting order trades `lots` at its own price as maker; it leaves the book when nothing remains."""
    order = st.orders[at]
    if lots == order["leaves"]:
        unrest_order(st.books, st.cells, st.orders, st.slots, at)
    execute(st, at, lots, order["ticks"], 0, 1, REQUEST_NONE, cause)


@kernel(entry=False)
def level_changed(st, instrument, side, ticks, before, after):
    """The venue changed a level from `before` to `after` lots: the queues of our orders there move."""
    b = instrument * BOOKS_EACH + 2
    head = list_head(st.books, st.cells, b, side, ticks)
    if head < 0:
        return
    lot = st.instruments[instrument]["lot"]
    at = head
    while True:
        order = st.orders[at]
        slot = st.slots[order["slot"]]
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
def touch_moved(st, instrument, side):
    """The best price of market side `side` may have reached our orders on the other side: fill those."""
    b = instrument * BOOKS_EACH
    own = b + 2
    mine = -side
    empty = NO_BID if mine > 0 else NO_ASK
    best = st.books[b]["bid_ticks"] if side > 0 else st.books[b]["ask_ticks"]
    ticks = st.books[own]["bid_ticks"] if mine > 0 else st.books[own]["ask_ticks"]
    while ticks != empty and reaches(mine, ticks, best):
        following = book_next(st.books, st.cells, own, mine, ticks)
        at = list_head(st.books, st.cells, own, mine, ticks)
        left = level_count(st, at)
        while left > 0:
            after = st.orders[at]["next"]
            slot_index = st.orders[at]["slot"]
            if reaches(mine, ticks, best_for(st, slot_index, side)):
                fill_resting(st, at, st.orders[at]["leaves"], CAUSE_TOUCH)
            at = after
            left -= 1
        ticks = following


@kernel(entry=False)
def level_count(st, head):
    """Orders in the list that begins at `head`."""
    n = 1
    at = st.orders[head]["next"]
    while at != head:
        n += 1
        at = st.orders[at]["next"]
    return n


@kernel(entry=False)
def printed(st, instrument, aggressor, ticks, lots):
    """A trade print: orders through whose price it went fill in full, at its price the queues move."""
    own = instrument * BOOKS_EACH + 2
    mine = -aggressor
    empty = NO_BID if mine > 0 else NO_ASK
    level = st.books[own]["bid_ticks"] if mine > 0 else st.books[own]["ask_ticks"]
    while level != empty and reaches(aggressor, ticks, level):
        following = book_next(st.books, st.cells, own, mine, level)
        at = list_head(st.books, st.cells, own, mine, level)
        if level == ticks:
            printed_at(st, at, lots)
            return
        left = level_count(st, at)
        while left > 0:
            after = st.orders[at]["next"]
            fill_resting(st, at, st.orders[at]["leaves"], CAUSE_THROUGH)
            at = after
            left -= 1
        level = following


@kernel(entry=False)
def printed_at(st, head, lots):
    """A print of `lots` at the price of the orders in the list of `head`.

    "full": each order sees the whole print.  "partial": one print is one quantity, so what the account's earlier
    orders at this price executed is gone for its later ones.
    """
    left = level_count(st, head)
    at = head
    while left > 0:
        order = st.orders[at]
        after = order["next"]
        slot = st.slots[order["slot"]]
        if slot["execution"] == EXECUTION_FULL:
            order["front"] -= lots
            order["printed"] += lots
            if math.floor(0.5 - order["front"]) > 0:
                fill_resting(st, at, order["leaves"], CAUSE_QUEUE)
        else:
            printed_partial(st, at, slot, lots)
        at = after
        left -= 1


@kernel(entry=False)
def printed_partial(st, at, slot, lots):
    """One order's part of a print under "partial"; the slot keeps what its orders ahead took from the same print."""
    order = st.orders[at]
    if slot["print_mark"] != st.run[0]["steps_venue"]:
        slot["print_mark"] = st.run[0]["steps_venue"]
        slot["print_taken"] = 0
    excess = int(math.floor(lots - order["front"] + 1e-9)) - slot["print_taken"]
    order["front"] = max(order["front"] - lots, 0.0)
    order["printed"] += lots
    if excess > 0:
        got = min(excess, order["leaves"])
        slot["print_taken"] += got
        fill_resting(st, at, got, CAUSE_QUEUE)


# ------------------------------------------------------------------------------------------- orders that wait


@kernel(entry=False)
def watch_level(st, instrument, order):
    """Price in ticks that a stop order compares with its stop, and whether there is one."""
    inst = st.instruments[instrument]
    b = instrument * BOOKS_EACH
    if order["trigger"] == TRIGGER_MARK:
        return inst["mark"] // inst["tick_scaled"], inst["mark_fed"] != 0
    if order["trigger"] == TRIGGER_TOUCH:
        if order["side"] > 0:
            return st.books[b]["ask_ticks"], inst["venue_valid"] != 0 and st.books[b]["ask_lots"] > 0
        return st.books[b]["bid_ticks"], inst["venue_valid"] != 0 and st.books[b]["bid_lots"] > 0
    return inst["last_ticks"], inst["last_ticks"] != 0


@kernel(entry=False)
def check_stops(st, instrument, trigger):
    """Trigger the stop orders that watch `trigger`; a trailing stop follows the best price first."""
    inst = st.instruments[instrument]
    head = inst["watch_head"]
    if head < 0:
        return
    left = watch_count(st, head)
    at = head
    while left > 0:
        order = st.orders[at]
        after = order["next_watch"]
        if order["venue_state"] == WATCHING and order["trigger"] == trigger:
            level, known = watch_level(st, instrument, order)
            if known:
                side = order["side"]
                if order["kind"] == TRAILING_STOP:
                    follow = level + side * order["trail"]
                    if (side > 0 and follow < order["stop_ticks"]) or (
                        side < 0 and follow > order["stop_ticks"]
                    ):
                        order["stop_ticks"] = follow
                if (side > 0 and level >= order["stop_ticks"]) or (side < 0 and level <= order["stop_ticks"]):
                    unwatch_order(st.orders, st.instruments, at)
                    trigger_order(st, at)
        at = after
        left -= 1


@kernel(entry=False)
def watch_count(st, head):
    """Orders on the waiting list that begins at `head`."""
    n = 1
    at = st.orders[head]["next_watch"]
    while at != head:
        n += 1
        at = st.orders[at]["next_watch"]
    return n


@kernel(entry=False)
def trigger_order(st, at):
    """A stop was hit: the order is judged like a new one at the same venue time, after the market event."""
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
def release_held(st, instrument):
    """The book is valid again: held orders are judged now, in the order in which they came."""
    inst = st.instruments[instrument]
    head = inst["watch_head"]
    if head < 0:
        return
    left = watch_count(st, head)
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


@kernel(entry=False)
def resynchronise(st, instrument, side):
    """After a gap the level sizes are news: no front is longer than its level, and old prints count no more."""
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
