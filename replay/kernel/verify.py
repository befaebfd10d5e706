"""Checking a recording while it streams by: books rebuilt, their touch compared with the venue's quotes, trades added.

A venue that numbers its updates lets a rebuilt book be proved: after the delta that ends at update `u`, the touch must
equal the quote with the same `u` (exact), and also the quote with the largest `u' <= u` (as-of), because a quote is
sent whenever the touch changes.  Both id streams increase but arrive interleaved with up to a tenth of a second of
skew either way, so the comparison is a merge of two queues by id.  A delta can be decided when a quote with a larger
id was seen; a quote can be forgotten when a delta with a larger or equal id was seen and a later quote replaces it.
Hence at any moment only one of the two queues is non-empty and one ring an instrument holds it:

    ring holds deltas    every one has an id >= the last quote's: they wait for a quote with a larger id
    ring holds quotes    every one has an id > the last delta's: they wait for a delta that catches up

`quoted` is the latest quote that left the ring: the as-of partner of the oldest undecided delta.  A full ring decides
its oldest delta early, or lets its oldest quote go; what that could have changed is counted in `overflow`.

Everything is per instrument.  Kernels here hand records and single arrays to each other, never the tuple of arrays:
a tuple of arrays is counted in and out at each call, which more than doubled the time of the pass.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from replay.events import BOOK, CLEAR, GAP, LAST, QUOTE, SNAPSHOT, TRADE
from replay.kernel.book import NEED_ROOM, book_clear, book_set
from replay.kernel.jit import kernel

NO_ID = -(2**63)
"""Smaller than every update id: nothing seen yet."""

DELTAS = 0
QUOTES = 1

TOUCH = np.dtype([(name, "<i8") for name in ("u", "ts", "bid_ticks", "bid_lots", "ask_ticks", "ask_lots")], align=True)
"""Best bid and ask at update `u`; an empty side is 0 ticks, 0 lots."""

MISMATCH = np.dtype([("book", TOUCH), ("quote", TOUCH)], align=True)
"""One as-of comparison that failed: what was rebuilt at book.u, what the venue quoted at quote.u."""

CHECKS = np.dtype(
    [
        (name, "<i8")
        for name in (
            # the book
            "valid", "deltas", "snapshots", "unusable", "crossed", "deletes", "absent_deletes", "gaps",
            # the join
            "holds", "head", "count", "last_delta", "last_quote", "quotes", "out_of_order", "overflow",
            "exact_compared", "exact_matched", "asof_compared", "asof_matched",
            # trades
            "trades", "first_trade", "last_trade", "trade_gaps", "trade_backsteps", "buy_lots", "sell_lots",
        )
    ]
    + [("quoted", TOUCH), ("arriving", TOUCH)],
    align=True,
)  # fmt: skip
"""Counts and ring positions of one instrument.

`quoted` is the last quote that left the ring, `arriving` the message being read (its levels are zero in between).
"""


class Checks(NamedTuple):
    """All state of a verification over `n` instruments.

    `counts` CHECKS[n]; `ring` TOUCH[n, room]; `log` MISMATCH[n, bound]: the first mismatches of each instrument.
    """

    counts: np.ndarray
    ring: np.ndarray
    log: np.ndarray


def make_checks(n: int, room: int = 1 << 16, bound: int = 100) -> Checks:
    """Fresh state for `n` instruments, rings of `room` (>= 1) touches, the first `bound` mismatches of each kept."""
    counts = np.zeros(n, CHECKS)
    counts["last_delta"] = counts["last_quote"] = counts["quoted"]["u"] = NO_ID
    return Checks(counts, np.zeros((n, room), TOUCH), np.zeros((n, bound), MISMATCH))


@kernel(entry=False)
def copy_touch(to, touch):
    """Copy the six numbers of a touch."""
    to["u"] = touch["u"]
    to["ts"] = touch["ts"]
    to["bid_ticks"] = touch["bid_ticks"]
    to["bid_lots"] = touch["bid_lots"]
    to["ask_ticks"] = touch["ask_ticks"]
    to["ask_lots"] = touch["ask_lots"]


@kernel(entry=False)
def set_levels(touch, bid_ticks, bid_lots, ask_ticks, ask_lots):
    """Write both sides of a touch; a side of 0 lots is empty and gets 0 ticks."""
    touch["bid_ticks"] = bid_ticks if bid_lots > 0 else 0
    touch["bid_lots"] = bid_lots
    touch["ask_ticks"] = ask_ticks if ask_lots > 0 else 0
    touch["ask_lots"] = ask_lots


@kernel(entry=False)
def decide(count, log, i, delta):
    """Compare `delta` with the latest quote at or before it."""
    quote = count["quoted"]
    if quote["u"] == NO_ID:
        return
    if quote["u"] > delta["u"]:  # its partner was pushed out of a full ring
        count["overflow"] += 1
        return
    same = (
        quote["bid_ticks"] == delta["bid_ticks"]
        and quote["bid_lots"] == delta["bid_lots"]
        and quote["ask_ticks"] == delta["ask_ticks"]
        and quote["ask_lots"] == delta["ask_lots"]
    )
    wrong = count["asof_compared"] - count["asof_matched"]
    count["asof_compared"] += 1
    if quote["u"] == delta["u"]:
        count["exact_compared"] += 1
        if same:
            count["exact_matched"] += 1
    if same:
        count["asof_matched"] += 1
    elif wrong < log.shape[1]:
        copy_touch(log[i, wrong]["book"], delta)
        copy_touch(log[i, wrong]["quote"], quote)


@kernel(entry=False)
def push(count, ring, i, touch, what):
    """Append to a ring that has room and holds `what` or nothing."""
    if count["count"] == 0:
        count["head"] = 0
        count["holds"] = what
    at = count["head"] + count["count"]
    if at >= ring.shape[1]:
        at -= ring.shape[1]
    copy_touch(ring[i, at], touch)
    count["count"] += 1


@kernel(entry=False)
def pop(count, room):
    """Forget the oldest touch of the ring."""
    count["head"] += 1
    if count["head"] == room:
        count["head"] = 0
    count["count"] -= 1


@kernel(entry=False)
def join_delta(count, ring, log, i, delta):
    """A book stands at `delta`; ids must not step back (one that does is counted and not compared).

    Without an id (−1) there is nothing to compare by.
    """
    if delta["u"] < 0:
        return
    if delta["u"] < count["last_delta"]:
        count["out_of_order"] += 1
        return
    count["last_delta"] = delta["u"]
    room = ring.shape[1]
    if count["holds"] == QUOTES:
        while count["count"] > 0 and ring[i, count["head"]]["u"] <= delta["u"]:
            copy_touch(count["quoted"], ring[i, count["head"]])
            pop(count, room)
        if count["count"] > 0:
            decide(count, log, i, delta)
            return
    elif count["count"] == room:
        if count["quotes"] > 0:
            count["overflow"] += 1
        decide(count, log, i, ring[i, count["head"]])
        pop(count, room)
    push(count, ring, i, delta, DELTAS)


@kernel(entry=False)
def join_quote(count, ring, log, i, quote):
    """The venue quoted `quote`; ids must increase (one that does not is counted and not compared)."""
    if quote["u"] < 0:
        return
    if quote["u"] <= count["last_quote"]:
        count["out_of_order"] += 1
        return
    count["last_quote"] = quote["u"]
    count["quotes"] += 1
    room = ring.shape[1]
    if count["holds"] == DELTAS:
        while count["count"] > 0 and ring[i, count["head"]]["u"] < quote["u"]:
            decide(count, log, i, ring[i, count["head"]])
            pop(count, room)
        if count["count"] > 0:
            copy_touch(count["quoted"], quote)
            return
    elif count["count"] == room:
        copy_touch(count["quoted"], ring[i, count["head"]])
        pop(count, room)
    push(count, ring, i, quote, QUOTES)


@kernel
def check_checks(checks):
    """0, or the first broken invariant: 1 ring positions, 2 order of a ring, 3 a ring beside what left it, 4 counts."""
    room = checks.ring.shape[1]
    for i in range(checks.counts.shape[0]):
        count = checks.counts[i]
        if count["count"] < 0 or count["count"] > room or count["head"] < 0 or count["head"] >= room:
            return 1
        last = count["quoted"]["u"]
        for k in range(count["count"]):
            touch = checks.ring[i, (count["head"] + k) % room]
            if k > 0 and (touch["u"] < last or (touch["u"] == last and count["holds"] == QUOTES)):
                return 2
            if k == 0 and count["holds"] == QUOTES and touch["u"] <= last:
                return 3
            last = touch["u"]
        newest = count["last_quote"] if count["holds"] == QUOTES else count["last_delta"]
        if count["count"] > 0 and last != newest:
            return 3
        if count["exact_compared"] > count["asof_compared"] or count["exact_matched"] > count["asof_matched"]:
            return 4
        if count["asof_matched"] > count["asof_compared"] or count["absent_deletes"] > count["deletes"]:
            return 4
    return 0


@kernel
def finish(checks):
    """The recording has ended: decide the deltas that still wait."""
    for i in range(checks.counts.shape[0]):
        count = checks.counts[i]
        while count["holds"] == DELTAS and count["count"] > 0:
            decide(count, checks.log, i, checks.ring[i, count["head"]])
            pop(count, checks.ring.shape[1])


@kernel(entry=False)
def check_trade(count, event):
    """Add a trade to the sums and look at its id, where it has one (not −1)."""
    trade_id = event["seq"]
    if count["trades"] == 0:
        count["first_trade"] = trade_id
    elif trade_id < 0:
        trade_id = count["last_trade"]
    elif trade_id <= count["last_trade"]:
        count["trade_backsteps"] += 1
    elif trade_id != count["last_trade"] + 1:
        count["trade_gaps"] += 1
    count["trades"] += 1
    count["last_trade"] = trade_id
    if event["side"] > 0:
        count["buy_lots"] += event["qty"]
    else:
        count["sell_lots"] += event["qty"]


@kernel(entry=False)
def check_quote(count, ring, log, i, event):
    """Gather the sides of a quote message; join it when it is complete."""
    quote = count["arriving"]
    if event["side"] > 0:
        quote["bid_ticks"] = event["price"] if event["qty"] > 0 else 0
        quote["bid_lots"] = event["qty"]
    elif event["side"] < 0:
        quote["ask_ticks"] = event["price"] if event["qty"] > 0 else 0
        quote["ask_lots"] = event["qty"]
    if event["flags"] & LAST:
        quote["u"] = event["seq"]
        quote["ts"] = event["ts"]
        join_quote(count, ring, log, i, quote)
        set_levels(quote, 0, 0, 0, 0)


@kernel(entry=False)
def check_book_row(count, books, cells, i, event):
    """Apply one BOOK row: 1 when it closes a delta on a valid book, 0 when not, NEED_ROOM having counted nothing."""
    snapshot = event["flags"] & SNAPSHOT
    last = event["flags"] & LAST
    if event["flags"] & CLEAR:
        book_clear(books, cells, i)
    if count["valid"] == 0 and not snapshot:
        if last:
            count["unusable"] += 1
        return 0
    if event["side"] != 0:
        before = book_set(books, cells, i, event["side"], event["price"], event["qty"])
        if before == NEED_ROOM:
            return NEED_ROOM
        if event["qty"] == 0 and not snapshot:
            count["deletes"] += 1
            if before == 0:
                count["absent_deletes"] += 1
    if not last:
        return 0
    if snapshot:
        count["snapshots"] += 1
        count["valid"] = 1
        return 0
    count["deltas"] += 1
    return 1


@kernel(entry=False)
def check_touch(count, book, ring, log, i, event):
    """Look at the touch after a delta and join it with the quotes."""
    if book["bids"] > 0 and book["asks"] > 0 and book["bid_ticks"] >= book["ask_ticks"]:
        count["crossed"] += 1
    touch = count["arriving"]
    touch["u"] = event["seq"]
    touch["ts"] = event["ts"]
    set_levels(touch, book["bid_ticks"], book["bid_lots"], book["ask_ticks"], book["ask_lots"])
    join_delta(count, ring, log, i, touch)
    set_levels(touch, 0, 0, 0, 0)


@kernel
def check_batch(events, start, books, cells, checks):
    """Check EVENT records from row `start` on.

    Returns the row to go on with: len(events) when all are done, otherwise a row whose book has no room left; call
    again from there when it has grown (the row is then taken up anew; nothing of it was counted).
    """
    counts, ring, log = checks
    for row in range(start, events.shape[0]):
        event = events[row]
        i = event["instrument"]
        count = counts[i]
        kind = event["kind"]
        if kind == BOOK:
            closed = check_book_row(count, books, cells, i, event)
            if closed == NEED_ROOM:
                return row
            if closed:
                check_touch(count, books[i], ring, log, i, event)
        elif kind == QUOTE:
            check_quote(count, ring, log, i, event)
        elif kind == TRADE:
            check_trade(count, event)
        elif kind == GAP:
            count["valid"] = 0
            count["gaps"] += 1
    return events.shape[0]
