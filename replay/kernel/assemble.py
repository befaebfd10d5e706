"""Rows of downloaded data sets to events: grids, clocks, messages, snapshots, and what is wrong with a row.

A ROW is one line of a data set in the words of `replay.events`, before grid and clock: numbers are value · 10^−digits.
Data sets have no sequence numbers, so the rules differ from those of `replay.kernel.sequence`:

* A row with BEGINS starts a message.  A BOOK row with GROUPED starts one when local time, venue time (not inside a
  snapshot), instrument or the snapshot mark changes; other rows continue the message before them.
* Book rows before the first snapshot of an instrument are left out.  A snapshot after a delta means that the recorder
  connected anew: what came between is lost, so a GAP row goes before it, at the time of the row before.
* A format that numbers its messages may send a GAP row itself (`seq` the last good id, `price` the first one after the
  hole); book rows are then left out until the next snapshot.
* ORDER rows come before the BOOK rows of the same change, also in a snapshot; they are not looked at for repeats.
* ts = local + offset, held from stepping back; venue times are held inside [ts − horizon, ts] and, inside one channel
  of one instrument, from stepping back.  Each clamp flags BAD_TS and is counted.

Anomalies are counted per instrument.  Policy REPAIR leaves out repeated rows, COUNT keeps them; both leave out what no
event can say (no number, price or traded size not positive, side of a book row unknown) and clamp times.  RAISE stops
at the first anomaly.
"""

from __future__ import annotations

import numpy as np

from replay.events import (
    BAD_TS,
    BOOK,
    CLEAR,
    FUNDING,
    GAP,
    GAP_BEFORE,
    LAST,
    LIQUIDATION,
    MARK,
    OFF_TICK,
    ORDER,
    QUOTE,
    SNAPSHOT,
    TRADE,
)
from replay.kernel.jit import kernel
from replay.kernel.rows import BIG, BOOKS, LIQUIDATIONS, MARKS, QUOTES, TRADES, rescale, steps
from replay.units import SCALE_DIGITS

ROW = np.dtype(
    [
        ("local_us", "<i8"),
        ("venue_us", "<i8"),  # −1: none
        ("seq", "<i8"),
        ("ident", "<i8"),  # number or hash of an id, to find repeated ones, ORDER: of the order; −1: none
        ("price", "<i8"),  # MARK: mark price; FUNDING: rate
        ("size", "<i8"),
        ("line", "<i8"),
        ("owner", "<i4"),
        ("price_digits", "i1"),  # negative: no number
        ("size_digits", "i1"),
        ("kind", "i1"),
        ("side", "i1"),
        ("bits", "i1"),
    ],
    align=True,
)

# Bits of a row
BEGINS, GROUPED, SNAP = 1, 2, 4

# Policies
REPAIR, COUNT, RAISE = 0, 1, 2
POLICIES = {"repair": REPAIR, "count": COUNT, "raise": RAISE}

# Status
DONE, OUT_FULL, TOO_LARGE, ANOMALY, LOG_FULL = 0, 1, 2, 3, 4

# Anomalies
OFF_ORDER, REPEATED, BAD_PRICE, BAD_SIZE, UNKNOWN_SIDE, OFF_GRID, NO_TIME, FINE_RATE, EARLY, LATE, CROSSED = range(11)
ANOMALIES = (
    "local time stepped back",
    "repeated row",
    "price not a positive number, left out",
    "size not a number, negative, or zero in a trade, left out",
    "unknown side",
    "price or size off the grid, rounded",
    "no venue time, receipt taken instead",
    "rate with more than 8 decimals, rounded",
    "venue time after receipt, clamped",
    "venue time further back than the horizon, clamped",
    "book crossed after a message",
)
FEED = np.dtype(
    [
        ("price_step", "<i8"),
        ("price_digits", "<i8"),
        ("size_step", "<i8"),
        ("size_digits", "<i8"),
        ("live", "<i8"),
        ("after_delta", "<i8"),
        ("delta_us", "<i8"),  # ts of the latest book message
        ("gap_us", "<i8"),  # ts of a GAP row that no snapshot has closed, 0: none
        ("last_ident", "<i8"),
        ("rows", "<i8"),
        ("messages", "<i8"),
        ("deltas", "<i8"),
        ("stale", "<i8"),
        ("snapshots", "<i8"),
        ("reconnects", "<i8"),
        ("trades", "<i8"),
        ("off_tick", "<i8"),
        ("backsteps", "<i8"),
        ("early_rows", "<i8"),  # book rows before the first snapshot
        ("anomalies", "<i8", (len(ANOMALIES),)),
    ]
)

CURSOR = np.dtype(
    [
        ("next", "<i8"),
        ("rows", "<i8"),
        ("done", "<i8"),  # rows of complete messages
        ("open", "<i8"),  # 1 while a message is open
        ("wanted", "<i8"),  # 0: its rows are left out
        ("clear", "<i8"),  # flags of its next row only
        ("last_ts", "<i8"),
        ("ts", "<i8"),
        ("exch", "<i8"),
        ("flag", "<i8"),
        ("code", "<i8"),
        ("logged", "<i8"),
    ]
)

SETUP = np.dtype([("offset_us", "<i8"), ("horizon_us", "<i8"), ("policy", "<i8")])
GAP_LOG = np.dtype([("owner", "<i8"), ("start_us", "<i8"), ("end_us", "<i8")])

NO_SEQ = -1
"""Where a data set has no update id."""


@kernel
def close(out, cursor):
    """End the open message."""
    if cursor["rows"] > cursor["done"]:
        out[cursor["rows"] - 1]["flags"] |= LAST
        cursor["done"] = cursor["rows"]
    cursor["open"] = 0


@kernel
def put(out, lines, cursor, row, kind, side, price, qty, value, flags):
    """One event at the times of the open message."""
    at = cursor["rows"]
    event = out[at]
    event["ts"] = cursor["ts"]
    event["exch_ts"] = cursor["exch"]
    event["seq"] = row["seq"]
    event["price"] = price
    event["qty"] = qty
    event["value"] = value
    event["instrument"] = row["owner"]
    event["source"] = 0
    event["flags"] = flags | cursor["flag"] | cursor["clear"]
    event["kind"] = kind
    event["side"] = side
    lines[at] = row["line"]
    cursor["clear"] = 0
    cursor["rows"] = at + 1


@kernel
def channel_of(kind):
    """Channel whose venue times are in order."""
    if kind == BOOK or kind == ORDER or kind == GAP:
        return BOOKS
    if kind == TRADE:
        return TRADES
    if kind == QUOTE:
        return QUOTES
    if kind == LIQUIDATION:
        return LIQUIDATIONS
    return MARKS


@kernel
def set_times(row, setup, feed, latest, cursor):
    """Times of the message that `row` starts."""
    ts = row["local_us"] + setup["offset_us"]
    flag = 0
    if ts < cursor["last_ts"]:
        ts = cursor["last_ts"]
        flag = BAD_TS
    venue_us = row["venue_us"]
    exch = ts if venue_us < 0 else venue_us
    if venue_us < 0:
        feed["anomalies"][NO_TIME] += 1
    if exch > ts:
        exch = ts
        flag = BAD_TS
        feed["anomalies"][EARLY] += 1
    elif exch < ts - setup["horizon_us"]:
        exch = ts - setup["horizon_us"]
        flag = BAD_TS
        feed["anomalies"][LATE] += 1
    channel = channel_of(row["kind"])
    if exch < latest[row["owner"], channel]:
        exch = latest[row["owner"], channel]
        flag = BAD_TS
        feed["backsteps"] += 1
    latest[row["owner"], channel] = exch
    cursor["last_ts"] = ts
    cursor["ts"] = ts
    cursor["exch"] = exch
    cursor["flag"] = flag


@kernel
def starts(row, before, opened):
    """Whether `row` starts a message, given the row before it."""
    bits = row["bits"]
    if opened == 0 or bits & BEGINS:
        return True
    if not bits & GROUPED:
        return False
    return (
        row["local_us"] != before["local_us"]
        or row["bits"] != before["bits"]
        or row["owner"] != before["owner"]
        or row["kind"] != before["kind"]
        or (not bits & SNAP and row["venue_us"] != before["venue_us"])
    )


@kernel
def lose(row, setup, feed, latest, out, lines, cursor):
    """A GAP row at the time of the row before the snapshot that `row` starts."""
    feed["gap_us"] = feed["delta_us"]
    feed["reconnects"] += 1
    cursor["ts"] = cursor["last_ts"]
    cursor["exch"] = max(latest[row["owner"], BOOKS], cursor["last_ts"] - setup["horizon_us"])
    latest[row["owner"], BOOKS] = cursor["exch"]
    cursor["flag"] = 0
    put(out, lines, cursor, row, GAP, 0, 0, 0, NO_SEQ, LAST)
    cursor["done"] = cursor["rows"]


@kernel
def begin(row, setup, feed, latest, out, lines, log, cursor):
    """Open the message that `row` starts."""
    kind = row["kind"]
    lost = (kind == BOOK or kind == ORDER) and row["bits"] & SNAP and feed["after_delta"] == 1
    if lost:
        lose(row, setup, feed, latest, out, lines, cursor)
        feed["after_delta"] = 0
    cursor["open"] = 1
    cursor["clear"] = 0
    feed["messages"] += 1
    cursor["wanted"] = 0 if kind == BOOK and feed["live"] == 0 and not row["bits"] & SNAP else 1
    if cursor["wanted"] == 0:
        feed["stale"] += 1
        return
    set_times(row, setup, feed, latest, cursor)
    if kind == BOOK:
        feed["delta_us"] = cursor["ts"]
        if row["bits"] & SNAP:
            cursor["clear"] = CLEAR | (GAP_BEFORE if feed["gap_us"] > 0 else 0)
            if feed["gap_us"] > 0:
                entry = log[cursor["logged"]]
                entry["owner"] = row["owner"]
                entry["start_us"] = feed["gap_us"]
                entry["end_us"] = cursor["ts"]
                cursor["logged"] += 1
                feed["gap_us"] = 0
            feed["snapshots"] += 1
            feed["live"] = 1
            feed["after_delta"] = 0
        else:
            feed["deltas"] += 1
            feed["after_delta"] = 1


@kernel
def judge(row, before, feed, policy):
    """The anomaly of a row and whether it is left out: (code, out); code −1 when nothing is wrong with it."""
    kind = row["kind"]
    if kind == GAP:
        return -1, False
    if kind == QUOTE:
        if row["price_digits"] < -1 or row["size_digits"] < -1:
            return BAD_PRICE, False
        return -1, False
    if row["price_digits"] < 0 or (row["price"] <= 0 and kind != FUNDING):
        return BAD_PRICE, True
    if kind == MARK or kind == FUNDING:
        return -1, False
    if row["size_digits"] < 0 or row["size"] < 0 or (row["size"] == 0 and kind != BOOK and kind != ORDER):
        return BAD_SIZE, True
    if row["side"] == 0:
        return UNKNOWN_SIDE, kind == BOOK or kind == ORDER
    if kind == ORDER:
        return -1, False
    if kind == BOOK:
        same = (
            row["price"] == before["price"]
            and row["size"] == before["size"]
            and row["local_us"] == before["local_us"]
            and row["venue_us"] == before["venue_us"]
            and row["side"] == before["side"]
            and row["bits"] & SNAP == before["bits"] & SNAP  # whether it begins a message is no difference
            and row["owner"] == before["owner"]
            and row["price_digits"] == before["price_digits"]
            and row["size_digits"] == before["size_digits"]
            and before["kind"] == BOOK
        )
    else:
        same = row["ident"] >= 0 and row["ident"] == feed["last_ident"]
        feed["last_ident"] = row["ident"]
    if same:
        return REPEATED, policy == REPAIR
    return -1, False


@kernel
def emit(row, feed, out, lines, cursor):
    """The event of a sound row; 0, TOO_LARGE, or ANOMALY with the code of what was rounded in the cursor."""
    kind = row["kind"]
    cursor["code"] = -1
    if kind == GAP:
        feed["gap_us"] = cursor["ts"]
        feed["reconnects"] += 1
        feed["live"] = 0
        feed["after_delta"] = 0
        put(out, lines, cursor, row, kind, 0, 0, 0, row["price"], 0)
        return DONE
    if kind == FUNDING:
        rate, lost = rescale(row["price"], row["price_digits"], SCALE_DIGITS)
        if rate == -BIG:
            return TOO_LARGE
        if lost:
            feed["anomalies"][FINE_RATE] += 1
        put(out, lines, cursor, row, kind, 0, 0, 0, rate, 0)
        return DONE
    if kind == QUOTE and (row["price"] <= 0 or row["price_digits"] < 0 or row["size_digits"] < 0 or row["size"] <= 0):
        put(out, lines, cursor, row, kind, row["side"], 0, 0, 0, 0)
        return DONE
    price, off = steps(row["price"], row["price_digits"], feed["price_step"], feed["price_digits"])
    if price == -BIG:
        return TOO_LARGE
    if kind == MARK:
        mark, _ = rescale(row["price"], row["price_digits"], SCALE_DIGITS)
        if mark == -BIG:
            return TOO_LARGE
        put(out, lines, cursor, row, kind, 0, price, 0, mark, 0)
        return DONE
    size, odd = steps(row["size"], row["size_digits"], feed["size_step"], feed["size_digits"])
    if size == -BIG:
        return TOO_LARGE
    flags = SNAPSHOT if row["bits"] & SNAP else 0
    if off + odd > 0:
        feed["off_tick"] += off + odd
        flags |= OFF_TICK
        cursor["code"] = OFF_GRID
    put(out, lines, cursor, row, kind, row["side"], price, size, row["ident"] if kind == ORDER else 0, flags)
    if kind == TRADE:
        feed["trades"] += 1
    return DONE if cursor["code"] < 0 else ANOMALY


@kernel
def assemble(rows, count, setup, feeds, latest, log, out, lines, before, cursor):
    """Turn rows [cursor.next, count) into events; complete messages end at cursor.done.

    `before` holds the row before (one ROW).  Returns DONE, OUT_FULL or LOG_FULL (make room and call again), TOO_LARGE
    or, under RAISE, ANOMALY with its code; cursor.next is then the row.  A message may stay open: the next rows go on
    with it, or `close` ends it.
    """
    policy = setup["policy"]
    while cursor["next"] < count:
        if cursor["rows"] + 2 > len(out):
            return OUT_FULL
        if cursor["logged"] >= len(log):
            return LOG_FULL
        row = rows[cursor["next"]]
        feed = feeds[row["owner"]]
        if starts(row, before[0], cursor["open"]):
            if cursor["open"]:
                close(out, cursor)
            if row["local_us"] + setup["offset_us"] < cursor["last_ts"]:
                feed["anomalies"][OFF_ORDER] += 1
                if policy == RAISE:
                    cursor["code"] = OFF_ORDER
                    return ANOMALY
            begin(row, setup, feed, latest, out, lines, log, cursor)
        feed["rows"] += 1
        code, left_out = judge(row, before[0], feed, policy)
        before[0] = row
        status = DONE
        if code >= 0:
            feed["anomalies"][code] += 1
            cursor["code"] = code
            if policy == RAISE:
                return ANOMALY
        if cursor["wanted"] == 0:
            feed["early_rows"] += 1
        elif not left_out:
            status = emit(row, feed, out, lines, cursor)
            if status == TOO_LARGE or (status == ANOMALY and policy == RAISE):
                return status
        cursor["next"] += 1
    return DONE
