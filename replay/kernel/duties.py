"""What the simulation has planned: requests that reach the venue, answers, timers, settlements, samples."""

from __future__ import annotations

from replay.kernel.account import (
    add_fee_local,
    book_fill_local,
    funding_due,
    intrinsic_value,
    mark_of,
    scaled_money,
)
from replay.kernel.agenda import PHASE_ANSWER, PHASE_REQUEST, PHASE_TIMER, agenda_free, agenda_push
from replay.kernel.answers import answer, finish, note_markout, sample_equity
from replay.kernel.book import NO_ASK, NO_BID, book_lots, book_next
from replay.kernel.codes import (
    ABSENT,
    CALLBACK,
    CANCELLED,
    DO_ANSWER,
    DO_CANCEL,
    DO_EXPIRE,
    DO_EXPIRY_SEEN,
    DO_FUNDING_SEEN,
    DO_MODIFY,
    DO_NEW,
    DO_SAMPLE,
    DO_TIMER,
    DO_TRIGGERED,
    EXECUTION_FULL,
    EXPIRED,
    FILLED,
    GO_ON,
    GONE,
    GTD,
    HELD,
    LIVE,
    MARKET,
    NEED_ROOM,
    ON_FILL,
    ON_ORDER,
    ON_TIMER,
    PARTLY_FILLED,
    R_EXPIRED,
    R_NONE,
    R_UNKNOWN_ORDER,
    R_VENUE,
    REQUEST_CANCEL,
    REQUEST_MODIFY,
    REQUEST_NEW,
    REQUEST_NONE,
    RESERVE,
    RESTING,
    ROOM_BOOK,
    ROOM_ITEMS,
    ROOM_TAKEN,
    STOP_LIMIT,
    STOP_MARKET,
    TRAILING_STOP,
    WATCHING,
)
from replay.kernel.exact import carried, product
from replay.kernel.jit import kernel
from replay.kernel.matching import accept
from replay.kernel.orders import (
    BOOKS_EACH,
    find_order,
    forget_order,
    list_head,
    release_price,
    reserve_price,
    unrest_order,
    unwatch_order,
    watch_order,
)
from replay.kernel.state import open_state
from replay.kernel.venue_view import FAR, reaches
from replay.kernel.waiting import check_stops, trailing_stop, watch_level
from replay.units import SCALE


@kernel(entry=False)
def drains(kind):
    """Whether something planned still happens after the last market event: requests under way and their answers."""
    return kind in (DO_ANSWER, DO_NEW, DO_CANCEL, DO_MODIFY, DO_TRIGGERED, DO_FUNDING_SEEN, DO_EXPIRY_SEEN)


@kernel(entry=False)
def forget_retired(arena):
    """Orders that ended before the last callback returned are forgotten now."""
    st = open_state(arena)
    run = st.run
    for k in range(run[0]["retired_n"]):
        at = st.retired[k]
        if st.orders[at]["id"] > 0:
            forget_order(run, st.orders, st.slots, at)
    run[0]["retired_n"] = 0


@kernel(entry=False)
def reserve_for(arena, index, kind):
    """Room in our own books for what the order at the root of the agenda may need."""
    st = open_state(arena)
    item = st.items[index]
    order = st.orders[item["order"]]
    instrument = order["instrument"]
    slot = st.slots[order["slot"]]
    b = instrument * BOOKS_EACH
    side = order["side"]
    ticks = item["ticks"] if kind == DO_MODIFY else order["ticks"]
    lots = item["lots"] if kind == DO_MODIFY else order["leaves"]
    market = order["kind"] in (MARKET, STOP_MARKET, TRAILING_STOP)
    if not market and reserve_price(st.books, st.cells, b + 2, side, ticks) < 0:
        st.run[0]["out_room"] = ROOM_BOOK
        st.run[0]["out_source"] = b + 2
        return NEED_ROOM
    if slot["consume"] == 0 and slot["execution"] == EXECUTION_FULL:
        return GO_ON
    limit = side * FAR if market else ticks
    best = st.books[b]["ask_ticks"] if side > 0 else st.books[b]["bid_ticks"]
    found = 0
    levels = 0
    while found < lots and reaches(side, limit, best):
        found += book_lots(st.books, st.cells, b, -side, best)
        levels += 1
        if slot["consume"] != 0 and reserve_price(st.books, st.cells, b + 3, -side, best) < 0:
            st.run[0]["out_room"] = ROOM_BOOK
            st.run[0]["out_source"] = b + 3
            return NEED_ROOM
        best = book_next(st.books, st.cells, b, -side, best)
    if slot["consume"] != 0 and st.run[0]["taken_n"] + levels > len(st.taken):
        st.run[0]["out_room"] = ROOM_TAKEN
        return NEED_ROOM
    run = st.run[0]
    if levels > RESERVE // 2 and (
        run["free_items"] < 2 * levels + RESERVE
        or len(st.fills) - run["fills_n"] < levels + RESERVE
        or len(st.markouts) - run["markouts_n"] < levels + RESERVE
        or len(st.equity) - run["equity_n"] < (levels + RESERVE) * run["currencies"]
    ):
        run["out_room"] = ROOM_ITEMS
        run["out_source"] = levels
        return NEED_ROOM
    return GO_ON


@kernel(entry=False)
def release_reserved(arena, instrument, side, ticks):
    """Give back the prices that were reserved and not used."""
    st = open_state(arena)
    b = instrument * BOOKS_EACH
    release_price(st.books, st.cells, b + 2, side, ticks)
    taken = b + 3
    empty = NO_BID if side < 0 else NO_ASK
    level = st.books[taken]["bid_ticks"] if side < 0 else st.books[taken]["ask_ticks"]
    while level != empty:
        following = book_next(st.books, st.cells, taken, -side, level)
        release_price(st.books, st.cells, taken, -side, level)
        level = following


@kernel(entry=False)
def do_new(arena, index):
    """A new order reaches the venue."""
    st = open_state(arena)
    at = st.items[index]["order"]
    order = st.orders[at]
    order["in_flight"] -= 1
    if order["kind"] in (STOP_MARKET, STOP_LIMIT, TRAILING_STOP):
        gone = order["tif"] == GTD and order["expire_us"] <= st.run[0]["now"]
        if gone or st.instruments[order["instrument"]]["expired"] != 0:
            finish(arena, at, EXPIRED, REQUEST_NEW, R_EXPIRED)
        else:
            place_stop(arena, at)
    else:
        accept(arena, at, REQUEST_NEW)
    release_reserved(arena, order["instrument"], order["side"], order["ticks"])
    plan_expiry(arena, at)


@kernel(entry=False)
def place_stop(arena, at):
    """A stop order begins to watch; it may trigger at once."""
    st = open_state(arena)
    order = st.orders[at]
    instrument = order["instrument"]
    if order["kind"] == TRAILING_STOP:
        level, known = watch_level(arena, instrument, order)
        order["stop_ticks"] = trailing_stop(arena, instrument, order, level) if known else order["side"] * FAR
    watch_order(st.orders, st.instruments, at, WATCHING)
    answer(arena, at, LIVE, REQUEST_NEW, R_NONE)
    check_stops(arena, instrument, order["trigger"])


@kernel(entry=False)
def plan_expiry(arena, at):
    """A GTD order that is still there (a stop may have been hit, too) will be taken out at its time."""
    st = open_state(arena)
    order = st.orders[at]
    if order["tif"] != GTD or order["venue_state"] == GONE:
        return
    index = agenda_push(st.run, st.heap, st.items, max(order["expire_us"], st.run[0]["now"]), PHASE_REQUEST)
    st.items[index]["kind"] = DO_EXPIRE
    st.items[index]["order"] = at
    st.items[index]["id"] = order["id"]


@kernel(entry=False)
def leave_venue(arena, at):
    """Take the order out of whatever list it is in; False when it is over.

    ABSENT is an order that waits for its judgement later in this microsecond (`do_triggered`): it is in no list.
    """
    st = open_state(arena)
    order = st.orders[at]
    if order["venue_state"] == RESTING:
        unrest_order(st.books, st.cells, st.orders, st.slots, at)
        return True
    if order["venue_state"] in (WATCHING, HELD):
        unwatch_order(st.orders, st.instruments, at)
        return True
    return order["venue_state"] == ABSENT


@kernel(entry=False)
def do_expire(arena, index):
    """The time of a GTD order has come."""
    st = open_state(arena)
    order_id = st.items[index]["id"]
    at = find_order(st.run, st.orders, order_id)
    if at < 0:
        return
    request = REQUEST_NONE
    if st.orders[at]["venue_state"] in (HELD, ABSENT):
        request = st.orders[at]["pending_request"]
    if leave_venue(arena, at):
        finish(arena, at, EXPIRED, request, R_EXPIRED)


@kernel(entry=False)
def do_cancel(arena, index):
    """A cancel request reaches the venue."""
    st = open_state(arena)
    at = st.items[index]["order"]
    order = st.orders[at]
    order["in_flight"] -= 1
    if leave_venue(arena, at):
        finish(arena, at, CANCELLED, REQUEST_CANCEL, R_NONE)
    else:
        answer(arena, at, order["status"], REQUEST_CANCEL, R_UNKNOWN_ORDER)


@kernel(entry=False)
def do_modify(arena, index):
    """A modify request reaches the venue: `lots` is the new total size.

    Less size at the same price keeps the place in the queue; anything else leaves and is judged as a new order for
    the new remaining quantity.  A stop that waits is not judged; it may get a new stop price, which may be hit at once.
    """
    st = open_state(arena)
    item = st.items[index]
    at = item["order"]
    order = st.orders[at]
    ticks, lots = item["ticks"], item["lots"]
    if order["kind"] in (MARKET, STOP_MARKET, TRAILING_STOP):
        ticks = order["ticks"]
    order["in_flight"] -= 1
    old_ticks = order["ticks"]
    leaves = lots - order["filled"]
    if order["venue_state"] == GONE:
        answer(arena, at, order["status"], REQUEST_MODIFY, R_UNKNOWN_ORDER)
    elif leaves <= 0:
        leave_venue(arena, at)
        order["lots"] = order["filled"]
        order["leaves"] = 0
        finish(arena, at, CANCELLED, REQUEST_MODIFY, R_NONE)
    elif order["venue_state"] != RESTING or (ticks == order["ticks"] and leaves <= order["leaves"]):
        order["ticks"] = ticks
        order["lots"] = lots
        order["leaves"] = leaves
        answer(arena, at, PARTLY_FILLED if order["filled"] > 0 else LIVE, REQUEST_MODIFY, R_NONE)
        if order["venue_state"] == WATCHING and item["interval"] != 0:
            order["stop_ticks"] = item["interval"]
            check_stops(arena, order["instrument"], order["trigger"])
    else:
        leave_venue(arena, at)
        order["venue_state"] = ABSENT
        order["ticks"] = ticks
        order["lots"] = lots
        order["leaves"] = leaves
        accept(arena, at, REQUEST_MODIFY)
    release_reserved(arena, order["instrument"], order["side"], ticks)
    if old_ticks != ticks:
        release_price(st.books, st.cells, order["instrument"] * BOOKS_EACH + 2, order["side"], old_ticks)


@kernel(entry=False)
def do_triggered(arena, index):
    """A stop that was hit, or an order that was held until the book was valid, is judged (unless it is over by now)."""
    st = open_state(arena)
    at = st.items[index]["order"]
    order = st.orders[at]
    order["in_flight"] -= 1
    if order["venue_state"] != GONE:
        accept(arena, at, order["pending_request"])
    release_reserved(arena, order["instrument"], order["side"], order["ticks"])


@kernel(entry=False)
def do_answer(arena, index):
    """An answer reaches the strategy: local order, local account, log, callbacks."""
    st = open_state(arena)
    run, item = st.run, st.items[index]
    at = item["order"]
    order = st.orders[at]
    slot = st.slots[item["slot"]]
    inst = st.instruments[order["instrument"]]
    order["in_flight"] -= 1
    if item["reason"] == R_VENUE and item["request"] != REQUEST_NEW:
        keep_as_known(item, order)
    if order["status"] < FILLED:
        order["status"] = item["status"]
    if item["exch_ts"] != 0:
        order["exch_ts"] = item["exch_ts"]
    order["l_ticks"] = item["ticks"]
    order["l_lots"] = item["lots"]
    order["l_leaves"] = item["leaves"]
    order["l_filled"] = item["filled"]
    order["reason"] = item["reason"]
    if item["request"] != REQUEST_NONE and item["request"] == order["pending"]:
        order["pending"] = REQUEST_NONE
    kinds = ON_ORDER
    if item["exec_lots"] > 0:
        book_fill_local(slot, inst["payoff"], order["side"], item["exec_ticks"], item["exec_lots"])
        add_fee_local(slot, item["fee_hi"], item["fee_lo"], item["fee_f"])
        kinds = ON_ORDER | ON_FILL
    log_answer(arena, index, at)
    if order["status"] >= FILLED:
        if slot["liquidating"] == order["id"]:
            slot["liquidating"] = 0
        if order["in_flight"] == 0:
            st.retired[run[0]["retired_n"]] = at
            run[0]["retired_n"] += 1
    run[0]["out_kinds"] = kinds & run[0]["wanted"]
    run[0]["out_instrument"] = order["instrument"]
    run[0]["out_strategy"] = item["strategy"]
    run[0]["out_order"] = at
    if kinds & run[0]["wanted"]:
        return CALLBACK
    forget_retired(arena)
    return GO_ON


@kernel(entry=False)
def keep_as_known(item, order):
    """A refused cancel or modify never reached the order: its answer says what we know now, not when we asked."""
    item["status"] = order["status"]
    item["ticks"] = order["l_ticks"]
    item["lots"] = order["l_lots"]
    item["leaves"] = order["l_leaves"]
    item["filled"] = order["l_filled"]


@kernel(entry=False)
def log_answer(arena, index, at):
    """One row of the order log: what the strategy has just learnt."""
    st = open_state(arena)
    item, order = st.items[index], st.orders[at]
    n = st.run[0]["log_n"]
    st.run[0]["log_n"] = n + 1
    st.run[0]["out_log"] = n
    row = st.log[n]
    row["local_ts"] = st.run[0]["now"]
    row["strategy"] = item["strategy"]
    row["instrument"] = order["instrument"]
    row["order_id"] = order["number"]
    row["side"] = order["side"]
    row["status"] = order["status"]
    row["request"] = item["request"]
    row["ticks"] = item["ticks"]
    row["lots"] = item["lots"]
    row["leaves"] = item["leaves"]
    row["filled"] = item["filled"]
    row["exec_lots"] = item["exec_lots"]
    row["exec_ticks"] = item["exec_ticks"]
    row["exch_ts"] = item["exch_ts"]
    row["req_ts"] = order["req_ts"]
    row["tif"] = order["tif"]
    row["kind"] = order["kind"]
    row["maker"] = item["maker"]
    row["reason"] = item["reason"]
    inst = st.instruments[order["instrument"]]
    row["fee"] = 0.0
    row["answer"] = 1
    if item["exec_lots"] > 0:
        row["fee"] = scaled_money(item["fee_hi"], item["fee_lo"], float(SCALE)) * inst["fee_unit"] + item["fee_f"]
    st.answered[0] = row


@kernel(entry=False)
def do_timer(arena, index):
    """A timer: plan the next turn, call the strategy."""
    st = open_state(arena)
    run, item = st.run, st.items[index]
    strategy, interval, tag = item["strategy"], item["interval"], item["id"]
    agenda_free(run, st.items, index)
    if interval > 0:
        following = agenda_push(run, st.heap, st.items, run[0]["now"] + interval, PHASE_TIMER)
        st.items[following]["kind"] = DO_TIMER
        st.items[following]["strategy"] = strategy
        st.items[following]["interval"] = interval
        st.items[following]["id"] = tag
    run[0]["out_kinds"] = ON_TIMER
    run[0]["out_strategy"] = strategy
    run[0]["out_id"] = tag
    return CALLBACK if run[0]["wanted"] & ON_TIMER else GO_ON


@kernel(entry=False)
def do_sample(arena, index):
    """Equity of every strategy; again after `interval` (the fixed grid), 0: once (a book became invalid or valid)."""
    st = open_state(arena)
    run = st.run
    interval = st.items[index]["interval"]
    agenda_free(run, st.items, index)
    for k in range(run[0]["strategies"]):
        sample_equity(arena, k)
    if interval > 0:
        following = agenda_push(run, st.heap, st.items, run[0]["now"] + interval, PHASE_TIMER)
        st.items[following]["kind"] = DO_SAMPLE
        st.items[following]["interval"] = interval


@kernel(entry=False)
def do_markout(arena, index):
    """The mid some time after a fill."""
    st = open_state(arena)
    item = st.items[index]
    strategy, instrument, number, step = item["strategy"], item["order"], item["fill"], item["interval"]
    agenda_free(st.run, st.items, index)
    note_markout(arena, strategy, instrument, number, step)


@kernel(entry=False)
def do_funding(arena, index):
    """Funding settlement at the venue: every position pays lots · multiplier · mark · rate."""
    st = open_state(arena)
    run = st.run
    instrument = st.items[index]["order"]
    inst = st.instruments[instrument]
    mark = mark_of(inst, st.books[instrument * BOOKS_EACH])
    if mark == 0:
        return
    rate = inst["rate"] if inst["next_funding"] == run[0]["now"] else inst["rate_before"]
    for k in range(run[0]["strategies"]):
        slot_index = st.strategies[k]["first_slot"] + instrument
        slot = st.slots[slot_index]
        if slot["position"] == 0:
            continue
        hi, lo, f = funding_due(inst, slot["position"], mark, rate)
        slot["funding_hi"], slot["funding_lo"] = carried(slot["funding_hi"] + hi, slot["funding_lo"] + lo)
        slot["funding_f"] += f
        seen = agenda_push(run, st.heap, st.items, run[0]["now"] + max(inst["feed_us"], 0), PHASE_ANSWER)
        item = st.items[seen]
        item["kind"] = DO_FUNDING_SEEN
        item["slot"] = slot_index
        item["amount_hi"], item["amount_lo"], item["amount_f"] = hi, lo, f
        sample_equity(arena, k)


@kernel(entry=False)
def do_funding_seen(arena, index):
    """The strategy's account learns of a settlement."""
    st = open_state(arena)
    item = st.items[index]
    slot = st.slots[item["slot"]]
    slot["l_funding_hi"], slot["l_funding_lo"] = carried(
        slot["l_funding_hi"] + item["amount_hi"], slot["l_funding_lo"] + item["amount_lo"]
    )
    slot["l_funding_f"] += item["amount_f"]


@kernel(entry=False)
def do_expiry(arena, index):
    """An option expires: its orders end, and each position becomes its intrinsic value at the underlying's mark.

    Without a mark nothing is settled and positions stay; the result says so.
    """
    st = open_state(arena)
    run = st.run
    instrument = st.items[index]["order"]
    inst = st.instruments[instrument]
    inst["expired"] = 1
    expire_orders(arena, instrument)
    underlying = inst["underlying"]
    price = mark_of(st.instruments[underlying], st.books[underlying * BOOKS_EACH])
    inst["settled_at"] = price
    if price == 0:
        return
    each = intrinsic_value(inst, price)
    for k in range(run[0]["strategies"]):
        slot_index = st.strategies[k]["first_slot"] + instrument
        slot = st.slots[slot_index]
        lots = slot["position"]
        if lots == 0:
            continue
        hi, lo = product(lots, each)
        slot["settled_hi"], slot["settled_lo"] = carried(slot["settled_hi"] + hi, slot["settled_lo"] + lo)
        slot["expired_lots"] = lots
        slot["position"] = 0
        seen = agenda_push(run, st.heap, st.items, run[0]["now"] + max(inst["feed_us"], 0), PHASE_ANSWER)
        item = st.items[seen]
        item["kind"] = DO_EXPIRY_SEEN
        item["slot"] = slot_index
        item["lots"] = lots
        item["amount_hi"], item["amount_lo"] = hi, lo
        sample_equity(arena, k)


@kernel(entry=False)
def expire_orders(arena, instrument):
    """All orders of the instrument that rest or wait end as expired."""
    st = open_state(arena)
    own = instrument * BOOKS_EACH + 2
    while st.books[own]["bids"] + st.books[own]["asks"] > 0:
        side = 1 if st.books[own]["bids"] > 0 else -1
        ticks = st.books[own]["bid_ticks"] if side > 0 else st.books[own]["ask_ticks"]
        at = list_head(st.books, st.cells, own, side, ticks)
        unrest_order(st.books, st.cells, st.orders, st.slots, at)
        finish(arena, at, EXPIRED, REQUEST_NONE, R_EXPIRED)
    while st.instruments[instrument]["watch_head"] >= 0:
        at = st.instruments[instrument]["watch_head"]
        request = st.orders[at]["pending_request"] if st.orders[at]["venue_state"] == HELD else REQUEST_NONE
        unwatch_order(st.orders, st.instruments, at)
        finish(arena, at, EXPIRED, request, R_EXPIRED)


@kernel(entry=False)
def do_expiry_seen(arena, index):
    """The strategy's account learns that its option was settled."""
    st = open_state(arena)
    item = st.items[index]
    slot = st.slots[item["slot"]]
    slot["l_settled_hi"], slot["l_settled_lo"] = carried(
        slot["l_settled_hi"] + item["amount_hi"], slot["l_settled_lo"] + item["amount_lo"]
    )
    slot["l_position"] -= item["lots"]
