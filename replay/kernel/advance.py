"""The machine: market data and the simulation's own business, in one total order.

`advance` runs until somebody outside has to do something and says what: CALLBACK (a strategy wants to see an event),
NEED_DATA (a source's window is used up), NEED_ROOM (a section is too small), FLUSH (logs are full), DONE.  It never
waits, reads no clock, allocates nothing and raises nothing.  Cutting the input into other batches never changes what
it does.

The order is `(time, phase, …)` with the phases 0 local market data, 1 answers, 2 venue market data, 3 requests at the
venue, 4 timers; time never goes back.
"""

from __future__ import annotations

from replay.events import BOOK, FUNDING, GAP, LAST, LIQUIDATION, MARK, QUOTE, SNAPSHOT, TRADE
from replay.kernel.agenda import PHASE_SHIFT, PHASE_TIMER, PHASE_VENUE, agenda_free, agenda_pop
from replay.kernel.book import set_levels
from replay.kernel.codes import (
    CALLBACK,
    DO_ANSWER,
    DO_CANCEL,
    DO_EXPIRE,
    DO_EXPIRY,
    DO_EXPIRY_SEEN,
    DO_FUNDING,
    DO_FUNDING_SEEN,
    DO_MARKOUT,
    DO_MODIFY,
    DO_NEW,
    DO_SAMPLE,
    DO_TIMER,
    DO_TRIGGERED,
    DONE,
    FLUSH,
    GO_ON,
    NEED_DATA,
    NEED_ROOM,
    ON_BOOK,
    ON_FUNDING,
    ON_GAP,
    ON_LIQUIDATION,
    ON_QUOTE,
    ON_TRADE,
    RESERVE,
    ROOM_BOOK,
)
from replay.kernel.duties import (
    do_answer,
    do_cancel,
    do_expire,
    do_expiry,
    do_expiry_seen,
    do_funding,
    do_funding_seen,
    do_markout,
    do_modify,
    do_new,
    do_sample,
    do_timer,
    do_triggered,
    drains,
    forget_retired,
    reserve_for,
)
from replay.kernel.feed import set_cursors
from replay.kernel.jit import kernel
from replay.kernel.merge import NEVER, merge_runner_up, merge_sift
from replay.kernel.orders import BOOKS_EACH
from replay.kernel.state import open_state
from replay.kernel.venue import venue_message


@kernel
def advance(arena):
    """Run until the outside is needed; returns a code of `codes` (DONE, CALLBACK, NEED_DATA, NEED_ROOM, FLUSH)."""
    st = open_state(arena)
    run = st.run
    forget_retired(arena)
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
            if not drains(st.items[st.heap[0]["item"]]["kind"]):
                agenda_free(run, st.items, agenda_pop(run, st.heap))
                continue
        if t_local <= t_venue and t_local <= t_agenda:
            code = run_local(arena, s_local, min(t_venue, t_agenda), n)
        elif t_venue < t_agenda or (t_venue == t_agenda and phase >= PHASE_VENUE):
            if not enough_room(arena):
                return FLUSH
            code = run_venue(arena, s_venue, t_local, t_agenda, phase, n)
        else:
            if not enough_room(arena):
                return FLUSH
            code = run_agenda(arena)
        if code != GO_ON:
            return code


@kernel(entry=False)
def enough_room(arena):
    """Whether pools and logs can take what one event may cause."""
    st = open_state(arena)
    run = st.run
    need = 4 * run[0]["live_orders"] + RESERVE
    return (
        run[0]["free_items"] > need
        and len(st.fills) - run[0]["fills_n"] > need
        and len(st.markouts) - run[0]["markouts_n"] > need
        and len(st.log) - run[0]["log_n"] > 8
        and len(st.equity) - run[0]["equity_n"] > (need + run[0]["strategies"]) * run[0]["currencies"]
        and len(st.retired) - run[0]["retired_n"] > 2
    )


@kernel(entry=False)
def run_local(arena, s, until, n):
    """Drain source `s` on the local side up to and including `until`, or to the runner-up, or to a callback."""
    st = open_state(arena)
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
            b = instrument * BOOKS_EACH + 1
            last = set_levels(rows, st.books, st.cells, b, row0 + at, row0 + end)
            if last < 0:
                at = -1 - last - row0
                run[0]["out_room"] = ROOM_BOOK
                run[0]["out_source"] = b
                code = NEED_ROOM
                break
            at = last - row0
            if rows[last]["flags"] & LAST:
                code = local_book_done(arena, last, instrument, wanted)
        else:
            code = local_row(arena, row0 + at, kind, instrument, wanted)
        at += 1
        if code != GO_ON:
            break
    run[0]["steps_local"] += at - source["local_pos"]
    starved = at == source["local_pos"] and at == end
    source["local_pos"] = at
    if starved:
        run[0]["out_source"] = s
        return NEED_DATA
    set_cursors(arena, s)
    merge_sift(st.local_cursors, st.local_heap, n, 0)
    return code


@kernel(entry=False)
def local_book_done(arena, at, instrument, wanted):
    """The last level of a message has been set in the strategy's book."""
    st = open_state(arena)
    row = st.rows[at]
    inst = st.instruments[instrument]
    inst["feed_us"] = row["ts"] - row["exch_ts"]
    if row["flags"] & SNAPSHOT:
        inst["local_valid"] = 1
    if wanted & ON_BOOK:
        return call(arena, at, ON_BOOK)
    return GO_ON


@kernel(entry=False)
def local_row(arena, at, kind, instrument, wanted):
    """Any other row, as the strategy sees it."""
    st = open_state(arena)
    row = st.rows[at]
    inst = st.instruments[instrument]
    inst["feed_us"] = row["ts"] - row["exch_ts"]
    if kind == TRADE:
        inst["last_local"] = row["price"]
        if wanted & ON_TRADE:
            return call(arena, at, ON_TRADE)
    elif kind == QUOTE:
        if row["side"] > 0:
            inst["quote_bid"] = row["price"]
            inst["quote_bid_lots"] = row["qty"]
        else:
            inst["quote_ask"] = row["price"]
            inst["quote_ask_lots"] = row["qty"]
        if row["flags"] & LAST and wanted & ON_QUOTE:
            return call(arena, at, ON_QUOTE)
    elif kind == MARK:
        inst["mark_local"] = row["value"]
    elif kind == FUNDING:
        inst["rate_local"] = row["value"]
        inst["next_funding_local"] = row["seq"]
        if wanted & ON_FUNDING:
            return call(arena, at, ON_FUNDING)
    elif kind == LIQUIDATION:
        if wanted & ON_LIQUIDATION:
            return call(arena, at, ON_LIQUIDATION)
    elif kind == GAP:
        inst["local_valid"] = 0
        if wanted & ON_GAP:
            return call(arena, at, ON_GAP)
    return GO_ON


@kernel(entry=False)
def call(arena, at, kind):
    """Hand row `at` to the strategies that want `kind`."""
    st = open_state(arena)
    st.event[0] = st.rows[at]
    st.run[0]["out_kinds"] = kind
    st.run[0]["out_instrument"] = st.rows[at]["instrument"]
    st.run[0]["out_strategy"] = -1
    return CALLBACK


@kernel(entry=False)
def run_venue(arena, s, t_local, t_agenda, phase, n):
    """Drain source `s` on the venue side while it comes first; stops when it planned something."""
    st = open_state(arena)
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
        if time >= t_local or time > t_agenda or (time == t_agenda and phase < PHASE_VENUE):
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
        code = venue_message(arena, at)
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
    set_cursors(arena, s)
    merge_sift(st.venue_cursors, st.venue_heap, n, 0)
    return code


@kernel(entry=False)
def run_agenda(arena):
    """Do the next thing that was planned."""
    st = open_state(arena)
    run = st.run
    index = st.heap[0]["item"]
    kind = st.items[index]["kind"]
    time = st.heap[0]["time"]
    if time > run[0]["now"]:
        run[0]["now"] = time
    if kind in (DO_NEW, DO_TRIGGERED, DO_MODIFY):
        code = reserve_for(arena, index, kind)
        if code != GO_ON:
            return code
    agenda_pop(run, st.heap)
    code = GO_ON
    if kind == DO_ANSWER:
        code = do_answer(arena, index)
    elif kind == DO_NEW:
        do_new(arena, index)
    elif kind == DO_CANCEL:
        do_cancel(arena, index)
    elif kind == DO_MODIFY:
        do_modify(arena, index)
    elif kind == DO_TRIGGERED:
        do_triggered(arena, index)
    elif kind == DO_EXPIRE:
        do_expire(arena, index)
    elif kind == DO_TIMER:
        return do_timer(arena, index)
    elif kind == DO_FUNDING:
        do_funding(arena, index)
    elif kind == DO_FUNDING_SEEN:
        do_funding_seen(arena, index)
    elif kind == DO_EXPIRY:
        do_expiry(arena, index)
    elif kind == DO_EXPIRY_SEEN:
        do_expiry_seen(arena, index)
    elif kind == DO_SAMPLE:
        do_sample(arena, index)
        return GO_ON
    elif kind == DO_MARKOUT:
        do_markout(arena, index)
        return GO_ON
    agenda_free(run, st.items, index)
    return code
