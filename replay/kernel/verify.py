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

Everything is per instrument, indexed by the event's `instrument`.
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

MISMATCH = np.dtype(
    [("instrument", "<i8"), ("ts", "<i8"), ("book", TOUCH), ("quote", TOUCH)],
    align=True,
)
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
    ],
    align=True,
)  # fmt: skip
"""Counts and ring positions of one instrument; all int64."""


class Checks(NamedTuple):
    """All state of a verification over `n` instruments.

    `counts` CHECKS[n]; `quoted` TOUCH[n]: the last quote that left the ring; `arriving` TOUCH[n]: the message being
    read (its levels are zero between messages); `ring` TOUCH[n, room]; `log` MISMATCH[bound]; `logged` int64[1]:
    mismatches seen, also those beyond the bound.
    """

    counts: np.ndarray
    quoted: np.ndarray
    arriving: np.ndarray
    ring: np.ndarray
    log: np.ndarray
    logged: np.ndarray


def make_checks(n: int, room: int = 1 << 16, bound: int = 1_000) -> Checks:
    """Fresh state for `n` instruments, rings of `room` (>= 1) touches, the first `bound` mismatches kept."""
    counts = np.zeros(n, CHECKS)
    counts["last_delta"] = counts["last_quote"] = NO_ID
    quoted = np.zeros(n, TOUCH)
    quoted["u"] = NO_ID
    return Checks(
        counts,
        quoted,
        np.zeros(n, TOUCH),
        np.zeros((n, room), TOUCH),
        np.zeros(bound, MISMATCH),
        np.zeros(1, np.int64),
    )


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
def decide(checks, i, delta):
    """Compare `delta` with the latest quote at or before it."""
    count = checks.counts[i]
    quote = checks.quoted[i]
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
    count["asof_compared"] += 1
    if quote["u"] == delta["u"]:
        count["exact_compared"] += 1
        if same:
            count["exact_matched"] += 1
    if same:
        count["asof_matched"] += 1
        return
    if checks.logged[0] < checks.log.shape[0]:
        entry = checks.log[checks.logged[0]]
        entry["instrument"] = i
        entry["ts"] = delta["ts"]
        copy_touch(entry["book"], delta)
        copy_touch(entry["quote"], quote)
    checks.logged[0] += 1


@kernel(entry=False)
def push(checks, i, touch, what):
    """Append to a ring that has room and holds `what` or nothing."""
    count = checks.counts[i]
    if count["count"] == 0:
        count["head"] = 0
        count["holds"] = what
    at = (count["head"] + count["count"]) % checks.ring.shape[1]
    copy_touch(checks.ring[i, at], touch)
    count["count"] += 1


@kernel(entry=False)
def pop(checks, i):
    """Forget the oldest touch of the ring."""
    count = checks.counts[i]
    count["head"] = (count["head"] + 1) % checks.ring.shape[1]
    count["count"] -= 1


@kernel(entry=False)
def join_delta(checks, i, delta):
    """A book stands at `delta`; ids must not step back (one that does is counted and not compared)."""
    count = checks.counts[i]
    if delta["u"] < count["last_delta"]:
        count["out_of_order"] += 1
        return
    count["last_delta"] = delta["u"]
    if count["holds"] == QUOTES:
        while count["count"] > 0 and checks.ring[i, count["head"]]["u"] <= delta["u"]:
            copy_touch(checks.quoted[i], checks.ring[i, count["head"]])
            pop(checks, i)
        if count["count"] > 0:
            decide(checks, i, delta)
            return
    elif count["count"] == checks.ring.shape[1]:
        if count["quotes"] > 0:
            count["overflow"] += 1
        decide(checks, i, checks.ring[i, count["head"]])
        pop(checks, i)
    push(checks, i, delta, DELTAS)


@kernel(entry=False)
def join_quote(checks, i, quote):
    """The venue quoted `quote`; ids must increase (one that does not is counted and not compared)."""
    count = checks.counts[i]
    if quote["u"] <= count["last_quote"]:
        count["out_of_order"] += 1
        return
    count["last_quote"] = quote["u"]
    count["quotes"] += 1
    if count["holds"] == DELTAS:
        while count["count"] > 0 and checks.ring[i, count["head"]]["u"] < quote["u"]:
            decide(checks, i, checks.ring[i, count["head"]])
            pop(checks, i)
        if count["count"] > 0:
            copy_touch(checks.quoted[i], quote)
            return
    elif count["count"] == checks.ring.shape[1]:
        copy_touch(checks.quoted[i], checks.ring[i, count["head"]])
        pop(checks, i)
    push(checks, i, quote, QUOTES)


@kernel
def check_checks(checks):
    """0, or the first broken invariant: 1 ring positions, 2 order of a ring, 3 a ring beside what left it, 4 counts."""
    room = checks.ring.shape[1]
    for i in range(checks.counts.shape[0]):
        count = checks.counts[i]
        if count["count"] < 0 or count["count"] > room or count["head"] < 0 or count["head"] >= room:
            return 1
        last = checks.quoted[i]["u"]
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
            decide(checks, i, checks.ring[i, count["head"]])
            pop(checks, i)


@kernel(entry=False)
def check_trade(count, event):
    """Add a trade to the sums and look at its id."""
    trade_id = event["seq"]
    if count["trades"] == 0:
        count["first_trade"] = trade_id
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
def check_quote(checks, i, event):
    """Gather the sides of a quote message; join it when it is complete."""
    quote = checks.arriving[i]
    if event["side"] > 0:
        quote["bid_ticks"] = event["price"] if event["qty"] > 0 else 0
        quote["bid_lots"] = event["qty"]
    elif event["side"] < 0:
        quote["ask_ticks"] = event["price"] if event["qty"] > 0 else 0
        quote["ask_lots"] = event["qty"]
    if event["flags"] & LAST:
        quote["u"] = event["seq"]
        quote["ts"] = event["ts"]
        join_quote(checks, i, quote)
        quote["bid_ticks"] = 0
        quote["bid_lots"] = 0
        quote["ask_ticks"] = 0
        quote["ask_lots"] = 0


@kernel(entry=False)
def check_book(checks, books, cells, i, event):
    """Apply one BOOK row and, at the end of a message, look at the touch; NEED_ROOM when the book must grow first."""
    count = checks.counts[i]
    snapshot = event["flags"] & SNAPSHOT
    if event["flags"] & CLEAR:
        book_clear(books, cells, i)
    if count["valid"] == 0 and not snapshot:
        if event["flags"] & LAST:
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
    if not event["flags"] & LAST:
        return 0
    if snapshot:
        count["snapshots"] += 1
        count["valid"] = 1
        return 0
    count["deltas"] += 1
    book = books[i]
    touch = checks.arriving[i]
    touch["u"] = event["seq"]
    touch["ts"] = event["ts"]
    touch["bid_ticks"] = book["bid_ticks"] if book["bids"] > 0 else 0
    touch["bid_lots"] = book["bid_lots"] if book["bids"] > 0 else 0
    touch["ask_ticks"] = book["ask_ticks"] if book["asks"] > 0 else 0
    touch["ask_lots"] = book["ask_lots"] if book["asks"] > 0 else 0
    if book["bids"] > 0 and book["asks"] > 0 and book["bid_ticks"] >= book["ask_ticks"]:
        count["crossed"] += 1
    join_delta(checks, i, touch)
    touch["bid_ticks"] = 0
    touch["bid_lots"] = 0
    touch["ask_ticks"] = 0
    touch["ask_lots"] = 0
    return 0


@kernel
def check_batch(events, start, books, cells, checks):
    """Check EVENT records from row `start` on.

    Returns the row to go on with: len(events) when all are done, otherwise a row whose book has no room left; call
    again from there when it has grown (the row is then taken up anew; nothing of it was counted).
    """
    for row in range(start, events.shape[0]):
        event = events[row]
        i = event["instrument"]
        kind = event["kind"]
        if kind == BOOK:
            if check_book(checks, books, cells, i, event) == NEED_ROOM:
                return row
        elif kind == QUOTE:
            check_quote(checks, i, event)
        elif kind == TRADE:
            check_trade(checks.counts[i], event)
        elif kind == GAP:
            checks.counts[i]["valid"] = 0
            checks.counts[i]["gaps"] += 1
    return events.shape[0]
