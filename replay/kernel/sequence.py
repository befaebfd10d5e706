"""From message tables to event rows: gap machines, buffers of early deltas, one row writer per kind of message.

`sequence` takes the tables that `replay.kernel.scan` (or its slow twin) filled and writes EVENT rows.  All state is
in the arrays that it is given, so it can stop before any message (output full, log full) and go on later: the size
of the output never changes the rows.  Deltas kept aside go into one ring per instrument; a full ring drops its oldest
delta, counted.
"""

from __future__ import annotations

import numpy as np

from replay.events import FUNDING, GAP, GAP_BEFORE, LAST, LIQUIDATION, QUOTE, REPAIRED
from replay.events import MARK as MARK_ROW
from replay.events import SNAPSHOT as SNAPSHOT_ROW
from replay.events import TRADE as TRADE_ROW
from replay.kernel import gaps
from replay.kernel.jit import kernel
from replay.kernel.rows import (
    BIG,
    BOOKS,
    LIQUIDATIONS,
    MARKS,
    QUOTES,
    TRADES,
    local_time,
    rescale,
    steps,
    to_grid,
    venue_time,
    write,
    write_book,
)
from replay.kernel.scan import (
    AGG_TRADE,
    DEPTH,
    FORCE,
    FUND,
    LOST,
    MARK,
    OFF_BOOK,
    OTHER,
    RESET,
    SNAPSHOT,
    TICKER,
    TRADE,
)

# Status
DONE, OUT_FULL, GROW, LOG_FULL, TOO_LARGE = 0, 1, 2, 3, 4

RING = np.dtype(
    [("first_id", "<i8"), ("last_id", "<i8"), ("prev_id", "<i8"), ("venue_us", "<i8"), ("start", "<i8"),
     ("bids", "<i8"), ("asks", "<i8")]
)  # fmt: skip

GAP_LOG = np.dtype([("instrument", "<i8"), ("ts", "<i8"), ("last_good", "<i8"), ("next_id", "<i8"), ("what", "<i8")])
OPENED, CLOSED, BRIDGED = 1, 2, 3

CURSOR = np.dtype(
    [
        ("next", "<i8"),
        ("rows", "<i8"),
        ("limit", "<i8"),
        ("needed", "<i8"),
        ("logged", "<i8"),
        ("last_ts", "<i8"),
        ("ts_backsteps", "<i8"),
        ("releasing", "<i8"),  # instrument + 1 while its kept deltas go out
        ("release_ts", "<i8"),
        ("release_exch", "<i8"),
        ("ts", "<i8"),
        ("ts_flag", "<i8"),
        ("exch", "<i8"),
        ("flag", "<i8"),
    ]
)
OPENED, CLOSED, BRIDGED = 1, 2, 3

MARK_DIGITS = 8


@kernel
def note(log, cursor, instrument, last_good, next_id, what):
    """One line of the gap log."""
    entry = log[cursor["logged"]]
    entry["instrument"] = instrument
    entry["ts"] = cursor["ts"]
    entry["last_good"] = last_good
    entry["next_id"] = next_id
    entry["what"] = what
    cursor["logged"] += 1


@kernel
def open_gap(instrument, last_good, next_id, feed, log, out, cursor):
    """The GAP row and its log line."""
    write(out, cursor, GAP, instrument, last_good, 0, 0, next_id, 0, LAST)
    feed["in_gap"] = 1
    feed["wants_snapshot"] = 1
    note(log, cursor, instrument, last_good, next_id, OPENED)


@kernel
def drop_oldest(feed, ring):
    """Forget the oldest kept delta."""
    entry = ring[feed["head"]]
    feed["levels_kept"] -= entry["bids"] + entry["asks"]
    feed["head"] = (feed["head"] + 1) % len(ring)
    feed["kept"] -= 1


@kernel
def drop_all(feed):
    """Forget all kept deltas."""
    feed["kept"] = 0
    feed["levels_kept"] = 0


@kernel
def keep(message, levels, feed, ring, ring_levels):
    """Put a delta (already on the grid) into the ring; the oldest make room."""
    need = message["bids"] + message["asks"]
    if need > len(ring_levels):
        feed["overflows"] += 1 + feed["kept"]
        drop_all(feed)
        return
    while feed["kept"] >= len(ring) or feed["levels_kept"] + need > len(ring_levels):
        drop_oldest(feed, ring)
        feed["overflows"] += 1
    start = feed["level_head"]
    entry = ring[(feed["head"] + feed["kept"]) % len(ring)]
    entry["first_id"] = message["first_id"]
    entry["last_id"] = message["last_id"]
    entry["prev_id"] = message["prev_id"]
    entry["venue_us"] = message["venue_us"]
    entry["start"] = start
    entry["bids"] = message["bids"]
    entry["asks"] = message["asks"]
    at = start
    for i in range(need):
        source = message["bid_start"] + i
        if i >= message["bids"]:
            source = message["ask_start"] + i - message["bids"]
        target = ring_levels[at]
        level = levels[source]
        target["price"] = level["price"]
        target["size"] = level["size"]
        target["price_digits"] = level["price_digits"]
        at = (at + 1) % len(ring_levels)
    feed["level_head"] = at
    feed["kept"] += 1
    feed["levels_kept"] += need


@kernel
def room(need, out, log, cursor):
    """DONE when `need` more rows and two log lines fit, else why not."""
    if cursor["logged"] + 2 > len(log):
        return LOG_FULL
    if need > len(out):
        if cursor["rows"] > 0:
            return OUT_FULL
        cursor["needed"] = need
        return GROW
    if cursor["rows"] > 0 and cursor["rows"] + need > cursor["limit"]:
        return OUT_FULL
    return DONE


@kernel
def release(setup, feeds, machines, rules, rings, ring_levels, latest, log, out, cursor):
    """Send out the deltas that were kept until a snapshot came."""
    instrument = cursor["releasing"] - 1
    feed, machine, ring, store = (
        feeds[instrument],
        machines[instrument],
        rings[instrument],
        ring_levels[instrument],
    )
    cursor["ts"] = cursor["release_ts"]
    cursor["ts_flag"] = 0
    cursor["flag"] = 0
    while feed["kept"] > 0:
        entry = ring[feed["head"]]
        status = room(entry["bids"] + entry["asks"] + 2, out, log, cursor)
        if status != DONE:
            return status
        before = machine["book_id"]
        first, last, prev = entry["first_id"], entry["last_id"], entry["prev_id"]
        verdict = gaps.on_buffered(machine, rules[feed["rule"]], setup["policy"], first, last, prev)
        exch = min(cursor["release_ts"], max(cursor["release_exch"], entry["venue_us"]))
        cursor["release_exch"] = exch
        cursor["exch"] = exch
        if verdict == gaps.BREAK:
            open_gap(instrument, before, first, feed, log, out, cursor)
            break
        if verdict != gaps.OLD:
            flags = REPAIRED
            if verdict == gaps.BRIDGED:
                flags |= GAP_BEFORE
                note(log, cursor, instrument, before, first, BRIDGED)
            start, bids, asks = entry["start"], entry["bids"], entry["asks"]
            write_book(store, start, bids, start + bids, asks, instrument, last, flags, out, cursor)
            latest[instrument, BOOKS] = exch
        drop_oldest(feed, ring)
    cursor["releasing"] = 0
    return DONE


@kernel
def take_delta(
    message, levels, instrument, setup, feeds, machines, rules, rings, ring_levels, latest, log, out, cursor
):
    """A depth message: apply, drop, keep aside, or report a hole."""
    feed, machine = feeds[instrument], machines[instrument]
    first, last, prev = message["first_id"], message["last_id"], message["prev_id"]
    before = machine["book_id"]
    was = machine["state"]
    anew = last <= machine["seen"]
    verdict = gaps.on_delta(machine, rules[feed["rule"]], setup["policy"], first, last, prev)
    if verdict == gaps.DUPLICATE or verdict == gaps.OLD:
        feed["depth_us"] = max(feed["depth_us"], message["venue_us"])
        return
    feed["depth_us"] = max(feed["depth_us"], message["venue_us"])
    if verdict == gaps.BUFFER or verdict == gaps.BREAK:
        if verdict == gaps.BREAK:
            venue_time(message["venue_us"], BOOKS, instrument, setup, feed, latest, cursor)
            open_gap(instrument, before, first, feed, log, out, cursor)
        if was == gaps.EMPTY:
            feed["wants_snapshot"] = 1
        if anew:
            drop_all(feed)
        if prev < 0 and rules[feed["rule"]]["chain"] == gaps.LINK:  # no snapshot could be joined with it
            machine["stale"] += 1
            return
        keep(message, levels, feed, rings[instrument], ring_levels[instrument])
        return
    venue_time(message["venue_us"], BOOKS, instrument, setup, feed, latest, cursor)
    flags = 0
    if verdict == gaps.BRIDGED:
        flags = GAP_BEFORE
        note(log, cursor, instrument, before, first, BRIDGED)
    write_book(levels, message["bid_start"], message["bids"], message["ask_start"], message["asks"],
               instrument, last, flags, out, cursor)  # fmt: skip


@kernel
def take_snapshot(message, levels, instrument, setup, feeds, machines, rules, rings, latest, log, out, cursor):
    """A full book: load it and start the release of what was kept, refuse it, or ignore it."""
    feed, machine, ring = feeds[instrument], machines[instrument], rings[instrument]
    rule = rules[feed["rule"]]
    snapshot_id = message["last_id"]
    kept = False
    at = feed["head"]
    for i in range(feed["kept"]):
        at = (feed["head"] + i) % len(ring)
        if not gaps.is_old(rule, snapshot_id, ring[at]["last_id"]):
            kept = True
            break
    first, last, prev = ring[at]["first_id"], ring[at]["last_id"], ring[at]["prev_id"]
    verdict = gaps.on_snapshot(machine, rule, snapshot_id, kept, first, last, prev)
    if verdict == gaps.REFUSE:
        feed["wants_snapshot"] = 1
    if verdict != gaps.LOAD:
        return
    feed["wants_snapshot"] = 0
    venue_us = message["venue_us"]
    venue_time(feed["depth_us"] if venue_us < 0 else venue_us, BOOKS, instrument, setup, feed, latest, cursor)
    flags = SNAPSHOT_ROW
    if feed["in_gap"] == 1:
        flags |= REPAIRED
        feed["in_gap"] = 0
        note(log, cursor, instrument, snapshot_id, snapshot_id, CLOSED)
    write_book(levels, message["bid_start"], message["bids"], message["ask_start"], message["asks"],
               instrument, snapshot_id, flags, out, cursor)  # fmt: skip
    cursor["releasing"] = instrument + 1
    cursor["release_ts"] = cursor["ts"]
    cursor["release_exch"] = cursor["exch"]


@kernel
def take_reset(message, levels, instrument, setup, feeds, machines, latest, log, out, cursor):
    """A full book in the stream."""
    feed, machine = feeds[instrument], machines[instrument]
    gaps.on_reset(machine, message["last_id"])
    drop_all(feed)
    feed["wants_snapshot"] = 0
    venue_time(message["venue_us"], BOOKS, instrument, setup, feed, latest, cursor)
    flags = SNAPSHOT_ROW
    if feed["in_gap"] == 1:
        flags |= REPAIRED
        feed["in_gap"] = 0
        note(log, cursor, instrument, message["last_id"], message["last_id"], CLOSED)
    write_book(levels, message["bid_start"], message["bids"], message["ask_start"], message["asks"],
               instrument, message["last_id"], flags, out, cursor)  # fmt: skip


@kernel
def take_loss(message, instrument, setup, feeds, machines, latest, log, out, cursor):
    """Messages were lost: a valid book becomes a gap, whose next id is the message's."""
    feed, machine = feeds[instrument], machines[instrument]
    drop_all(feed)
    feed["wants_snapshot"] = 1
    if gaps.on_loss(machine):
        venue_time(message["venue_us"], BOOKS, instrument, setup, feed, latest, cursor)
        open_gap(instrument, machine["book_id"], message["last_id"], feed, log, out, cursor)


@kernel
def take_print(message, levels, instrument, setup, feed, latest, out, cursor):
    """A trade or a liquidation."""
    level = levels[message["bid_start"]]
    side, price, qty, off = message["side"], level["price"], level["size"], level["price_digits"]
    if message["kind"] == FORCE:
        venue_time(message["venue_us"], LIQUIDATIONS, instrument, setup, feed, latest, cursor)
        write(out, cursor, LIQUIDATION, instrument, 0, price, qty, 0, side, LAST | off)
        return
    feed["trades"] += 1
    venue_time(message["venue_us"], TRADES, instrument, setup, feed, latest, cursor)
    write(out, cursor, TRADE_ROW, instrument, message["last_id"], price, qty, 0, side, LAST | off)


@kernel
def take_ticker(message, levels, instrument, setup, feed, latest, out, cursor):
    """A quote: bid row, then ask row."""
    venue_time(message["venue_us"], QUOTES, instrument, setup, feed, latest, cursor)
    bid, ask, seq = levels[message["bid_start"]], levels[message["ask_start"]], message["last_id"]
    write(out, cursor, QUOTE, instrument, seq, bid["price"], bid["size"], 0, 1, bid["price_digits"])
    write(out, cursor, QUOTE, instrument, seq, ask["price"], ask["size"], 0, -1, LAST | ask["price_digits"])


@kernel
def take_mark(message, levels, instrument, setup, feed, latest, out, cursor):
    """A mark price row (not of FUND) and, if there is one, a funding row; False when a number is too large."""
    level = levels[message["bid_start"]]
    mark, _ = rescale(level["price"], level["price_digits"], MARK_DIGITS)
    rate, _ = rescale(level["size"], level["size_digits"], MARK_DIGITS)
    ticks, _ = steps(level["price"], level["price_digits"], feed["price_step"], feed["price_digits"])
    if mark == -BIG or rate == -BIG or ticks == -BIG:
        return False
    venue_time(message["venue_us"], MARKS, instrument, setup, feed, latest, cursor)
    funded = message["extra"] > 0
    if message["kind"] == MARK:
        write(out, cursor, MARK_ROW, instrument, 0, ticks, 0, mark, 0, 0 if funded else LAST)
    if funded:
        write(out, cursor, FUNDING, instrument, message["extra"], 0, 0, rate, 0, LAST)
    return True


@kernel
def dropped(message, setup, feed, ordinals):
    """Whether this depth message is to be left out; numbers the depth messages of its lane."""
    ordinal = ordinals[feed["lane"]]
    ordinals[feed["lane"]] += 1
    return setup["drop_every"] > 0 and ordinal >= setup["drop_from"] and ordinal % setup["drop_every"] == 0


@kernel
def sequence(
    messages,
    count,
    levels,
    setup,
    feeds,
    machines,
    rules,
    rings,
    ring_levels,
    ordinals,
    latest,
    log,
    out,
    cursor,
):
    """Rows of messages [cursor["next"], count) into `out` from cursor["rows"] on.

    DONE: all taken.  OUT_FULL: hand out the rows, set `rows` to 0, call again.  GROW: `out` must hold `needed` rows.
    LOG_FULL: empty the log, set `logged` to 0.  TOO_LARGE: a number of message `next` leaves 64 bits.
    """
    while True:
        if cursor["releasing"] > 0:
            status = release(setup, feeds, machines, rules, rings, ring_levels, latest, log, out, cursor)
            if status != DONE:
                return status
        if cursor["next"] >= count:
            return DONE
        message = messages[cursor["next"]]
        instrument = message["symbol"]
        kind = message["kind"]
        feed = feeds[instrument]
        status = room(message["bids"] + message["asks"] + 2, out, log, cursor)
        if status != DONE:
            return status
        if kind not in (MARK, FUND, OTHER, OFF_BOOK, LOST):
            if not to_grid(levels, message["bid_start"], message["bids"], feed):
                return TOO_LARGE
            if not to_grid(levels, message["ask_start"], message["asks"], feed):
                return TOO_LARGE
        if kind == DEPTH and dropped(message, setup, feed, ordinals):
            cursor["next"] += 1
            continue
        local_time(message, setup, cursor)
        if kind == DEPTH:
            take_delta(message, levels, instrument, setup, feeds, machines, rules, rings, ring_levels, latest, log,
                       out, cursor)  # fmt: skip
        elif kind == TICKER:
            take_ticker(message, levels, instrument, setup, feed, latest, out, cursor)
        elif kind in (TRADE, FORCE) or (kind == AGG_TRADE and feed["use_agg"] == 1):
            take_print(message, levels, instrument, setup, feed, latest, out, cursor)
        elif kind == AGG_TRADE:
            feed["agg_unused"] += 1
        elif kind == OFF_BOOK:
            feed["off_book"] += 1
        elif kind == SNAPSHOT:
            take_snapshot(message, levels, instrument, setup, feeds, machines, rules, rings, latest, log, out, cursor)
        elif kind == RESET:
            take_reset(message, levels, instrument, setup, feeds, machines, latest, log, out, cursor)
        elif kind == LOST:
            take_loss(message, instrument, setup, feeds, machines, latest, log, out, cursor)
        elif kind in (MARK, FUND) and not take_mark(message, levels, instrument, setup, feed, latest, out, cursor):
            return TOO_LARGE
        feed["messages"] += 1
        cursor["next"] += 1
