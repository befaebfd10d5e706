"""The machine: market data and the simulation's own business, in one total order.

`advance` runs until somebody outside has to do something and says what: CALLBACK (a strategy wants to see an event),
NEED_DATA (a source's window is used up), NEED_ROOM (a section is too small), FLUSH (logs are full), DONE.  It never
waits, reads no clock, allocates nothing and raises nothing.  Cutting the input into other batches never changes what
it does.

The order is `(time, phase, …)` with the phases 0 local market data, 1 answers, 2 venue market data, 3 requests at the
venue, 4 timers; time never goes back.
"""

from __future__ import annotations

from replay.events import BOOK, CLEAR, FUNDING, GAP, LAST, LIQUIDATION, MARK, QUOTE, SNAPSHOT, TRADE
from replay.kernel.account import (
    add_fee_local,
    book_fill_local,
    funding_due,
    mark_of,
    scaled_money,
)
from replay.kernel.agenda import (
    PHASE_ANSWER,
    PHASE_SHIFT,
    PHASE_TIMER,
    PHASE_VENUE,
    agenda_free,
    agenda_pop,
    agenda_push,
)
from replay.kernel.book import NO_ASK, NO_BID, book_clear, book_lots, book_next, book_set
from replay.kernel.codes import (
    ABSENT,
    CALLBACK,
    CANCELLED,
    DO_ANSWER,
    DO_CANCEL,
    DO_EXPIRE,
    DO_FUNDING,
    DO_FUNDING_SEEN,
    DO_MODIFY,
    DO_NEW,
    DO_SAMPLE,
    DO_TIMER,
    DO_TRIGGERED,
    DONE,
    EXPIRED,
    FILLED,
    FLUSH,
    GTD,
    HELD,
    IOC,
    LIVE,
    MARKET,
    NEED_DATA,
    NEED_ROOM,
    ON_BOOK,
    ON_FILL,
    ON_FUNDING,
    ON_GAP,
    ON_LIQUIDATION,
    ON_ORDER,
    ON_QUOTE,
    ON_TIMER,
    ON_TRADE,
    PARTLY_FILLED,
    R_EXPIRED,
    R_NONE,
    R_UNKNOWN_ORDER,
    REQUEST_CANCEL,
    REQUEST_MODIFY,
    REQUEST_NEW,
    REQUEST_NONE,
    RESTING,
    ROOM_BOOK,
    ROOM_ITEMS,
    ROOM_TAKEN,
    STOP_LIMIT,
    STOP_MARKET,
    SYSTEM,
    TRAILING_STOP,
    TRIGGER_LAST,
    TRIGGER_MARK,
    TRIGGER_TOUCH,
    WATCHING,
)
from replay.kernel.exact import carried
from replay.kernel.feed import set_cursors
from replay.kernel.jit import kernel
from replay.kernel.matching import (
    FAR,
    accept,
    answer,
    check_stops,
    finish,
    forget_all_taken,
    forget_taken,
    free_margin,
    level_changed,
    printed,
    reaches,
    release_held,
    resynchronise,
    sample_equity,
    touch_moved,
    watch_level,
)
from replay.kernel.merge import NEVER, merge_runner_up, merge_sift
from replay.kernel.orders import (
    BOOKS_EACH,
    find_order,
    forget_order,
    new_order,
    own_order,
    release_price,
    reserve_price,
    unrest_order,
    unwatch_order,
    watch_order,
)
from replay.kernel.state import open_state
from replay.units import SCALE

GO_ON = 100
"""Internal: nothing for the outside to do."""

RESERVE = 256
"""Free agenda items and log rows, beyond four for each live order, that one event may need."""


@kernel
def advance(arena):
    """Run until the outside is needed; returns a code of `codes` (DONE, CALLBACK, NEED_DATA, NEED_ROOM, FLUSH)."""
    st = open_state(arena)
    run = st.run
    forget_retired(st)
    n = run[0]["sources"]
    while True:
        s_local = st.local_heap[0]
        s_venue = st.venue_heap[0]
        t_local = st.local_cursors[s_local]["time"] if n > 0 else NEVER
        t_venue = st.venue_cursors[s_venue]["time"] if n > 0 else NEVER
        t_agenda = NEVER
        phase = PHASE_TIMER
        if run[0]["heap_n"] > 0:
            t_agenda = st.heap[0]["time"]
            phase = st.heap[0]["key"] >> PHASE_SHIFT
        if run[0]["stopping"] != 0:
            return DONE
        if t_local == NEVER and t_venue == NEVER and t_agenda > run[0]["end_us"]:
            if t_agenda == NEVER:
                return DONE
            run[0]["ended"] = 1
            if phase == PHASE_TIMER or (phase == PHASE_VENUE and t_agenda > run[0]["end_us"]):
                agenda_free(run, st.items, agenda_pop(run, st.heap))
                continue
        if t_local <= t_venue and t_local <= t_agenda:
            code = run_local(st, s_local, min(t_venue, t_agenda), n)
        elif t_venue < t_agenda or (t_venue == t_agenda and phase > PHASE_VENUE):
            if not enough_room(st):
                return FLUSH
            code = run_venue(st, s_venue, t_local, t_agenda, phase, n)
        else:
            if not enough_room(st):
                return FLUSH
            code = run_agenda(st)
        if code != GO_ON:
            return code


@kernel(entry=False)
def enough_room(st):
    """Whether pools and logs can take what one event may cause."""
    run = st.run
    need = 4 * run[0]["live_orders"] + RESERVE
    return (
        run[0]["free_items"] > need
        and len(st.fills) - run[0]["fills_n"] > need
        and len(st.log) - run[0]["log_n"] > 8
        and len(st.equity) - run[0]["equity_n"] > (need + run[0]["strategies"]) * run[0]["instruments"]
        and len(st.retired) - run[0]["retired_n"] > 2
    )


@kernel(entry=False)
def forget_retired(st):
    """Orders that ended before the last callback returned are forgotten now."""
    run = st.run
    for k in range(run[0]["retired_n"]):
        at = st.retired[k]
        if st.orders[at]["id"] > 0:
            forget_order(run, st.orders, st.slots, at)
    run[0]["retired_n"] = 0


# ------------------------------------------------------------------------------------------------------ local side


@kernel(entry=False)
def run_local(st, s, until, n):
    """Drain source `s` on the local side up to and including `until`, or to the runner-up, or to a callback."""
    run, rows = st.run, st.rows
    source = st.sources[s]
    other = merge_runner_up(st.local_cursors, st.local_heap, n)
    limit = until
    if other >= 0:
        limit = min(limit, st.local_cursors[other]["time"] - (1 if other < s else 0))
    row0 = source["row0"]
    at = source["local_pos"]
    end = source["local_end"]
    wanted = run[0]["wanted"]
    code = GO_ON
    while at < end:
        ts = rows[row0 + at]["ts"]
        if ts > limit:
            break
        run[0]["now"] = ts
        kind = rows[row0 + at]["kind"]
        instrument = rows[row0 + at]["instrument"]
        if kind == BOOK:
            code = local_book_row(st, row0 + at, instrument, wanted)
            if code == NEED_ROOM:
                break
        else:
            code = local_row(st, row0 + at, kind, instrument, wanted)
        at += 1
        if code != GO_ON:
            break
    run[0]["steps_local"] += at - source["local_pos"]
    starved = at == source["local_pos"] and at == end
    source["local_pos"] = at
    if starved:
        run[0]["out_source"] = s
        return NEED_DATA
    set_cursors(st, s)
    merge_sift(st.local_cursors, st.local_heap, n, 0)
    return code


@kernel(entry=False)
def local_book_row(st, at, instrument, wanted):
    """One level of the strategy's book."""
    row = st.rows[at]
    b = instrument * BOOKS_EACH + 1
    if row["flags"] & CLEAR:
        book_clear(st.books, st.cells, b)
    if row["side"] != 0:
        if book_set(st.books, st.cells, b, row["side"], row["price"], row["qty"]) < 0:
            st.run[0]["out_room"] = ROOM_BOOK
            st.run[0]["out_source"] = b
            return NEED_ROOM
    if row["flags"] & LAST:
        inst = st.instruments[instrument]
        inst["feed_us"] = row["ts"] - row["exch_ts"]
        if row["flags"] & SNAPSHOT:
            inst["local_valid"] = 1
        if wanted & ON_BOOK:
            return call(st, at, ON_BOOK)
    return GO_ON


@kernel(entry=False)
def local_row(st, at, kind, instrument, wanted):
    """Any other row, as the strategy sees it."""
    row = st.rows[at]
    inst = st.instruments[instrument]
    if kind == TRADE:
        inst["feed_us"] = row["ts"] - row["exch_ts"]
        inst["last_local"] = row["price"]
        if wanted & ON_TRADE:
            return call(st, at, ON_TRADE)
    elif kind == QUOTE:
        if row["side"] > 0:
            inst["quote_bid"] = row["price"]
            inst["quote_bid_lots"] = row["qty"]
        else:
            inst["quote_ask"] = row["price"]
            inst["quote_ask_lots"] = row["qty"]
        if row["flags"] & LAST and wanted & ON_QUOTE:
            return call(st, at, ON_QUOTE)
    elif kind == MARK:
        inst["mark_local"] = row["value"]
    elif kind == FUNDING:
        inst["rate_local"] = row["value"]
        inst["next_funding_local"] = row["seq"]
        if wanted & ON_FUNDING:
            return call(st, at, ON_FUNDING)
    elif kind == LIQUIDATION:
        if wanted & ON_LIQUIDATION:
            return call(st, at, ON_LIQUIDATION)
    elif kind == GAP:
        inst["local_valid"] = 0
        if wanted & ON_GAP:
            return call(st, at, ON_GAP)
    return GO_ON


@kernel(entry=False)
def call(st, at, kind):
    """Hand row `at` to the strategies that want `kind`."""
    st.event[0] = st.rows[at]
    st.run[0]["out_kinds"] = kind
    st.run[0]["out_instrument"] = st.rows[at]["instrument"]
    st.run[0]["out_strategy"] = -1
    return CALLBACK


# ------------------------------------------------------------------------------------------------------ venue side


@kernel(entry=False)
def run_venue(st, s, t_local, t_agenda, phase, n):
    """Drain source `s` on the venue side while it comes first; stops when it planned something."""
    run, rows = st.run, st.rows
    source = st.sources[s]
    row0, order0 = source["row0"], source["order0"]
    pos = source["venue_pos"]
    other = merge_runner_up(st.venue_cursors, st.venue_heap, n)
    planned = run[0]["sequence"]
    code = GO_ON
    cursor = st.venue_cursors[s]
    while pos < source["venue_end"]:
        at = row0 + st.venue_order[order0 + pos]
        time = rows[at]["exch_ts"]
        if time >= t_local or time > t_agenda or (time == t_agenda and phase <= PHASE_VENUE):
            break
        if other >= 0:
            cursor["time"] = time
            cursor["tie1"] = rows[at]["ts"]
            cursor["tie2"] = (int(rows[at]["kind"] == BOOK) << 32) | s
            rival = st.venue_cursors[other]
            if time > rival["time"] or (
                time == rival["time"]
                and (
                    cursor["tie1"] > rival["tie1"]
                    or (cursor["tie1"] == rival["tie1"] and cursor["tie2"] > rival["tie2"])
                )
            ):
                break
        if time > run[0]["now"]:
            run[0]["now"] = time
        code = venue_message(st, at)
        if code != GO_ON:
            break
        run[0]["steps_venue"] += 1
        pos += 1
        if run[0]["sequence"] != planned:
            break
    starved = pos == source["venue_pos"] and pos == source["venue_end"]
    source["venue_pos"] = pos
    if starved:
        run[0]["out_source"] = s
        return NEED_DATA
    set_cursors(st, s)
    merge_sift(st.venue_cursors, st.venue_heap, n, 0)
    return code


@kernel(entry=False)
def venue_message(st, at):
    """One venue message, whole.  NEED_ROOM leaves the message to be begun again: setting a level twice is harmless."""
    row = st.rows[at]
    instrument = row["instrument"]
    inst = st.instruments[instrument]
    kind = row["kind"]
    inst["cause_seq"] = row["seq"]
    if kind == BOOK:
        return venue_book_message(st, at, instrument, inst)
    if kind == TRADE:
        inst["last_ticks"] = row["price"]
        if st.run[0]["live_orders"] > 0:
            printed(st, instrument, row["side"], row["price"], row["qty"])
            check_stops(st, instrument, TRIGGER_LAST)
    elif kind == MARK:
        inst["mark"] = row["value"]
        inst["mark_fed"] = 1
        mark_moved(st, instrument)
        if (row["flags"] & LAST) == 0:
            venue_funding(st, at + 1, inst)
    elif kind == FUNDING:
        venue_funding(st, at, inst)
    elif kind == GAP:
        if inst["venue_valid"] != 0:
            inst["blind_since"] = row["exch_ts"]
        inst["venue_valid"] = 0
        inst["gaps"] += 1
    return GO_ON


@kernel(entry=False)
def venue_book_message(st, at, instrument, inst):
    """Levels one by one, then what the new book means for resting orders."""
    b = instrument * BOOKS_EACH
    books, cells = st.books, st.cells
    snapshot = st.rows[at]["flags"] & SNAPSHOT
    own_bids = books[b + 2]["bids"] > 0
    own_asks = books[b + 2]["asks"] > 0
    any_taken = books[b + 3]["bids"] + books[b + 3]["asks"] > 0
    while True:
        row = st.rows[at]
        if row["flags"] & CLEAR:
            book_clear(books, cells, b)
            if any_taken:
                forget_all_taken(st, instrument)
                any_taken = False
        side = row["side"]
        if side != 0:
            before = book_set(books, cells, b, side, row["price"], row["qty"])
            if before < 0:
                st.run[0]["out_room"] = ROOM_BOOK
                st.run[0]["out_source"] = b
                return NEED_ROOM
            if any_taken:
                forget_taken(st, instrument, side, row["price"])
            if snapshot == 0 and (own_bids if side > 0 else own_asks) and inst["venue_valid"] != 0:
                level_changed(st, instrument, side, row["price"], before, row["qty"])
        if row["flags"] & LAST:
            break
        at += 1
    if snapshot != 0:
        if inst["venue_valid"] == 0:
            if inst["venue_seen"] != 0:
                inst["blind_us"] += row["exch_ts"] - inst["blind_since"]
            inst["venue_valid"] = 1
            inst["venue_seen"] = 1
            release_held(st, instrument)
        resynchronise(st, instrument, 1)
        resynchronise(st, instrument, -1)
    if inst["venue_valid"] != 0:
        if own_asks:
            touch_moved(st, instrument, 1)
        if own_bids:
            touch_moved(st, instrument, -1)
        if inst["watch_head"] >= 0:
            check_stops(st, instrument, TRIGGER_TOUCH)
    return GO_ON


@kernel(entry=False)
def venue_funding(st, at, inst):
    """A funding announcement: the rate of the period that ends at `seq`; the settlement is planned once."""
    row = st.rows[at]
    due = row["seq"]
    if due > inst["funding_booked"] and due >= st.run[0]["now"]:
        index = agenda_push(st.run, st.heap, st.items, due, PHASE_VENUE)
        st.items[index]["kind"] = DO_FUNDING
        st.items[index]["order"] = row["instrument"]
        inst["funding_booked"] = due
    inst["next_funding"] = due
    inst["rate"] = row["value"]


@kernel(entry=False)
def mark_moved(st, instrument):
    """Stops on the mark price, and the maintenance margin of every account in the instrument."""
    inst = st.instruments[instrument]
    if inst["watch_head"] >= 0:
        check_stops(st, instrument, TRIGGER_MARK)
    if st.run[0]["margin_used"] == 0:
        return
    for k in range(st.run[0]["strategies"]):
        slot_index = st.strategies[k]["first_slot"] + instrument
        slot = st.slots[slot_index]
        if slot["maintenance_scaled"] == 0 or slot["position"] == 0 or slot["liquidating"] != 0:
            continue
        if free_margin(st, k, inst["currency"], 1) < 0.0:
            liquidate(st, slot_index)


@kernel(entry=False)
def liquidate(st, slot_index):
    """Close the position at the venue's book with a market order of the simulation itself."""
    slot = st.slots[slot_index]
    at = new_order(st.run, st.orders)
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
    index = agenda_push(st.run, st.heap, st.items, st.run[0]["now"], PHASE_VENUE + 1)
    st.items[index]["kind"] = DO_NEW
    st.items[index]["order"] = at
    st.items[index]["id"] = order["id"]
    order["in_flight"] += 1


# ---------------------------------------------------------------------------------------------------------- agenda


@kernel(entry=False)
def run_agenda(st):
    """Do the next thing that was planned."""
    run = st.run
    index = st.heap[0]["item"]
    kind = st.items[index]["kind"]
    time = st.heap[0]["time"]
    if time > run[0]["now"]:
        run[0]["now"] = time
    if kind in (DO_NEW, DO_TRIGGERED, DO_MODIFY):
        code = reserve_for(st, index, kind)
        if code != GO_ON:
            return code
    agenda_pop(run, st.heap)
    code = GO_ON
    if kind == DO_ANSWER:
        code = do_answer(st, index)
    elif kind == DO_NEW:
        do_new(st, index)
    elif kind == DO_CANCEL:
        do_cancel(st, index)
    elif kind == DO_MODIFY:
        do_modify(st, index)
    elif kind == DO_TRIGGERED:
        do_triggered(st, index)
    elif kind == DO_EXPIRE:
        do_expire(st, index)
    elif kind == DO_TIMER:
        return do_timer(st, index)
    elif kind == DO_FUNDING:
        do_funding(st, index)
    elif kind == DO_FUNDING_SEEN:
        do_funding_seen(st, index)
    elif kind == DO_SAMPLE:
        do_sample(st, index)
        return GO_ON
    agenda_free(run, st.items, index)
    return code


@kernel(entry=False)
def reserve_for(st, index, kind):
    """Room in our own books for what the order at the root of the agenda may need."""
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
    if slot["consume"] == 0:
        return GO_ON
    limit = side * FAR if market else ticks
    best = st.books[b]["ask_ticks"] if side > 0 else st.books[b]["bid_ticks"]
    found = 0
    levels = 0
    while found < lots and reaches(side, limit, best):
        found += book_lots(st.books, st.cells, b, -side, best)
        levels += 1
        if reserve_price(st.books, st.cells, b + 3, -side, best) < 0:
            st.run[0]["out_room"] = ROOM_BOOK
            st.run[0]["out_source"] = b + 3
            return NEED_ROOM
        best = book_next(st.books, st.cells, b, -side, best)
    if st.run[0]["taken_n"] + levels > len(st.taken):
        st.run[0]["out_room"] = ROOM_TAKEN
        return NEED_ROOM
    if levels > RESERVE // 2 and st.run[0]["free_items"] < 2 * levels + RESERVE:
        st.run[0]["out_room"] = ROOM_ITEMS
        return NEED_ROOM
    return GO_ON


@kernel(entry=False)
def release_reserved(st, instrument, side, ticks):
    """Give back the prices that were reserved and not used."""
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
def do_new(st, index):
    """A new order reaches the venue."""
    at = st.items[index]["order"]
    order = st.orders[at]
    order["in_flight"] -= 1
    if order["kind"] in (STOP_MARKET, STOP_LIMIT, TRAILING_STOP):
        place_stop(st, at)
    else:
        accept(st, at, REQUEST_NEW)
    release_reserved(st, order["instrument"], order["side"], order["ticks"])
    plan_expiry(st, at)


@kernel(entry=False)
def place_stop(st, at):
    """A stop order begins to watch; it may trigger at once."""
    order = st.orders[at]
    instrument = order["instrument"]
    if order["kind"] == TRAILING_STOP:
        level, known = watch_level(st, instrument, order)
        order["stop_ticks"] = level + order["side"] * order["trail"] if known else order["side"] * FAR
    watch_order(st.orders, st.instruments, at, WATCHING)
    answer(st, at, LIVE, REQUEST_NEW, R_NONE)
    check_stops(st, instrument, order["trigger"])


@kernel(entry=False)
def plan_expiry(st, at):
    """A GTD order that is still there will be taken out at its time."""
    order = st.orders[at]
    if order["tif"] != GTD or order["venue_state"] not in (RESTING, WATCHING, HELD):
        return
    index = agenda_push(st.run, st.heap, st.items, max(order["expire_us"], st.run[0]["now"]), PHASE_VENUE)
    st.items[index]["kind"] = DO_EXPIRE
    st.items[index]["order"] = at
    st.items[index]["id"] = order["id"]


@kernel(entry=False)
def leave_venue(st, at):
    """Take the order out of whatever list it is in; False when it is not there any more."""
    order = st.orders[at]
    if order["venue_state"] == RESTING:
        unrest_order(st.books, st.cells, st.orders, st.slots, at)
        return True
    if order["venue_state"] in (WATCHING, HELD):
        unwatch_order(st.orders, st.instruments, at)
        return True
    return False


@kernel(entry=False)
def do_expire(st, index):
    """The time of a GTD order has come."""
    order_id = st.items[index]["id"]
    at = find_order(st.run, st.orders, order_id)
    if at < 0:
        return
    request = REQUEST_NONE
    if st.orders[at]["venue_state"] == HELD:
        request = st.orders[at]["pending_request"]
    if leave_venue(st, at):
        finish(st, at, EXPIRED, request, R_EXPIRED)


@kernel(entry=False)
def do_cancel(st, index):
    """A cancel request reaches the venue."""
    at = st.items[index]["order"]
    order = st.orders[at]
    order["in_flight"] -= 1
    if leave_venue(st, at):
        finish(st, at, CANCELLED, REQUEST_CANCEL, R_NONE)
    else:
        answer(st, at, order["status"], REQUEST_CANCEL, R_UNKNOWN_ORDER)


@kernel(entry=False)
def do_modify(st, index):
    """A modify request reaches the venue: `lots` is the new total size.

    Less size at the same price keeps the place in the queue; anything else leaves and is judged as a new order for
    the new remaining quantity.
    """
    item = st.items[index]
    at = item["order"]
    order = st.orders[at]
    ticks, lots = item["ticks"], item["lots"]
    order["in_flight"] -= 1
    old_ticks = order["ticks"]
    leaves = lots - order["filled"]
    if order["venue_state"] not in (RESTING, WATCHING, HELD):
        answer(st, at, order["status"], REQUEST_MODIFY, R_UNKNOWN_ORDER)
    elif leaves <= 0:
        leave_venue(st, at)
        order["lots"] = order["filled"]
        order["leaves"] = 0
        finish(st, at, CANCELLED, REQUEST_MODIFY, R_NONE)
    elif order["venue_state"] != RESTING or (ticks == order["ticks"] and leaves <= order["leaves"]):
        order["ticks"] = ticks
        order["lots"] = lots
        order["leaves"] = leaves
        answer(st, at, PARTLY_FILLED if order["filled"] > 0 else LIVE, REQUEST_MODIFY, R_NONE)
    else:
        leave_venue(st, at)
        order["venue_state"] = ABSENT
        order["ticks"] = ticks
        order["lots"] = lots
        order["leaves"] = leaves
        accept(st, at, REQUEST_MODIFY)
    release_reserved(st, order["instrument"], order["side"], ticks)
    if old_ticks != ticks:
        release_price(st.books, st.cells, order["instrument"] * BOOKS_EACH + 2, order["side"], old_ticks)


@kernel(entry=False)
def do_triggered(st, index):
    """A stop that was hit, or an order that was held until the book was valid, is judged."""
    at = st.items[index]["order"]
    order = st.orders[at]
    order["in_flight"] -= 1
    accept(st, at, order["pending_request"])
    release_reserved(st, order["instrument"], order["side"], order["ticks"])


@kernel(entry=False)
def do_answer(st, index):
    """An answer reaches the strategy: local order, local account, log, callbacks."""
    run, item = st.run, st.items[index]
    at = item["order"]
    order = st.orders[at]
    slot = st.slots[item["slot"]]
    inst = st.instruments[order["instrument"]]
    order["in_flight"] -= 1
    order["status"] = item["status"] if order["status"] not in (FILLED, CANCELLED) else order["status"]
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
    log_answer(st, index, at)
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
    forget_retired(st)
    return GO_ON


@kernel(entry=False)
def log_answer(st, index, at):
    """One row of the order log: what the strategy has just learnt."""
    item, order = st.items[index], st.orders[at]
    n = st.run[0]["log_n"]
    st.run[0]["log_n"] = n + 1
    st.run[0]["out_log"] = n
    row = st.log[n]
    row["local_ts"] = st.run[0]["now"]
    row["strategy"] = item["strategy"]
    row["instrument"] = order["instrument"]
    row["order_id"] = order["id"]
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
    unit = inst["lot"] * inst["multiplier"] * inst["tick"]
    row["fee"] = 0.0
    row["answer"] = 1
    if item["exec_lots"] > 0:
        row["fee"] = scaled_money(item["fee_hi"], item["fee_lo"], float(SCALE)) * unit + item["fee_f"]


@kernel(entry=False)
def do_timer(st, index):
    """A timer: plan the next turn, call the strategy."""
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
def do_sample(st, index):
    """Equity of every strategy on the fixed grid."""
    run = st.run
    agenda_free(run, st.items, index)
    for k in range(run[0]["strategies"]):
        sample_equity(st, k)
    following = agenda_push(run, st.heap, st.items, run[0]["now"] + run[0]["sample_us"], PHASE_TIMER)
    st.items[following]["kind"] = DO_SAMPLE


@kernel(entry=False)
def do_funding(st, index):
    """Funding settlement at the venue: every position pays lots · multiplier · mark · rate."""
    run = st.run
    instrument = st.items[index]["order"]
    inst = st.instruments[instrument]
    mark = mark_of(inst, st.books[instrument * BOOKS_EACH])
    if mark == 0:
        return
    for k in range(run[0]["strategies"]):
        slot_index = st.strategies[k]["first_slot"] + instrument
        slot = st.slots[slot_index]
        if slot["position"] == 0:
            continue
        hi, lo, f = funding_due(inst, slot["position"], mark, inst["rate"])
        slot["funding_hi"], slot["funding_lo"] = carried(slot["funding_hi"] + hi, slot["funding_lo"] + lo)
        slot["funding_f"] += f
        seen = agenda_push(run, st.heap, st.items, run[0]["now"] + max(inst["feed_us"], 0), PHASE_ANSWER)
        item = st.items[seen]
        item["kind"] = DO_FUNDING_SEEN
        item["slot"] = slot_index
        item["amount_hi"], item["amount_lo"], item["amount_f"] = hi, lo, f
        sample_equity(st, k)


@kernel(entry=False)
def do_funding_seen(st, index):
    """The strategy's account learns of a settlement."""
    item = st.items[index]
    slot = st.slots[item["slot"]]
    slot["l_funding_hi"], slot["l_funding_lo"] = carried(
        slot["l_funding_hi"] + item["amount_hi"], slot["l_funding_lo"] + item["amount_lo"]
    )
    slot["l_funding_f"] += item["amount_f"]
