"""Rows from numbers and times: the grid of an instrument, the clocks of a source, the records themselves.

Times: ts = (local + offset) / 1000, held from stepping back.  A venue time is held inside [ts − horizon, ts], and
inside one channel of one instrument from stepping back; each clamp flags BAD_TS and is counted.
"""

from __future__ import annotations

import numpy as np

from replay.events import BAD_TS, BOOK, CLEAR, LAST, OFF_TICK, SNAPSHOT
from replay.kernel.jit import kernel

# Channels
BOOKS, TRADES, QUOTES, LIQUIDATIONS, MARKS = 0, 1, 2, 3, 4
CHANNELS = 5

SETUP = np.dtype(
    [
        ("offset_ns", "<i8"),
        ("horizon_us", "<i8"),
        ("policy", "<i8"),
        ("drop_every", "<i8"),
        ("drop_from", "<i8"),
    ]
)

FEED = np.dtype(
    [
        ("rule", "<i8"),
        ("price_step", "<i8"),
        ("price_digits", "<i8"),
        ("size_step", "<i8"),
        ("size_digits", "<i8"),
        ("lane", "<i8"),  # depth messages of one lane are numbered together (drop_every)
        ("use_agg", "<i8"),
        ("head", "<i8"),
        ("kept", "<i8"),
        ("level_head", "<i8"),
        ("levels_kept", "<i8"),
        ("depth_us", "<i8"),
        ("in_gap", "<i8"),
        ("wants_snapshot", "<i8"),
        ("messages", "<i8"),
        ("trades", "<i8"),
        ("off_book", "<i8"),
        ("agg_unused", "<i8"),
        ("off_tick", "<i8"),
        ("backsteps", "<i8"),
        ("late", "<i8"),
        ("early", "<i8"),
        ("overflows", "<i8"),
    ]
)

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

BIG = 2**62


@kernel
def write(out, cursor, kind, instrument, seq, price, qty, value, side, flags):
    """One row with the times of the cursor."""
    row = out[cursor["rows"]]
    row["ts"] = cursor["ts"]
    row["exch_ts"] = cursor["exch"]
    row["seq"] = seq
    row["price"] = price
    row["qty"] = qty
    row["value"] = value
    row["instrument"] = instrument
    row["source"] = 0
    row["flags"] = flags | cursor["flag"] | cursor["ts_flag"]
    row["kind"] = kind
    row["side"] = side
    cursor["rows"] += 1


@kernel
def rescale(mantissa, digits, to):
    """(value, lost) of mantissa · 10^−digits in units of 10^−to; value −BIG when it does not fit."""
    while digits < to:
        if mantissa >= BIG // 10 or mantissa <= -(BIG // 10):
            return -BIG, 0
        mantissa *= 10
        digits += 1
    lost = 0
    divisor = 1
    while digits > to:
        divisor *= 10
        digits -= 1
    if divisor > 1:
        whole = mantissa // divisor
        rest = mantissa - whole * divisor
        lost = 1 if rest != 0 else 0
        mantissa = whole + (1 if rest * 2 >= divisor else 0)
    return mantissa, lost


@kernel
def steps(mantissa, digits, step, step_digits):
    """(nearest whole number of steps, 1 when it was rounded); −BIG when it does not fit."""
    finest = digits if digits > step_digits else step_digits
    value, _ = rescale(mantissa, digits, finest)
    unit, _ = rescale(step, step_digits, finest)
    if value == -BIG or unit == -BIG:
        return -BIG, 0
    if unit == 1:
        return value, 0
    whole = value // unit
    rest = value - whole * unit
    if rest == 0:
        return whole, 0
    return whole + (1 if rest >= unit - rest else 0), 1


@kernel
def to_grid(levels, start, count, feed):
    """Replace the numbers of levels [start, start + count) by ticks and lots, in place; False when one is too large.

    Afterwards `price_digits` holds OFF_TICK or 0 and `size_digits` −1: done.
    """
    for i in range(start, start + count):
        level = levels[i]
        if level["size_digits"] < 0:
            continue
        price, off = steps(level["price"], level["price_digits"], feed["price_step"], feed["price_digits"])
        size, odd = steps(level["size"], level["size_digits"], feed["size_step"], feed["size_digits"])
        if price == -BIG or size == -BIG:
            return False
        feed["off_tick"] += off + odd
        level["price"] = price
        level["size"] = size
        level["price_digits"] = OFF_TICK if off + odd else 0
        level["size_digits"] = -1
    return True


@kernel
def local_time(message, setup, cursor):
    """Set the receipt time of a message; a step back is clamped, flagged, counted."""
    ts = (message["local_ns"] + setup["offset_ns"]) // 1000
    cursor["ts_flag"] = 0
    if ts < cursor["last_ts"]:
        ts = cursor["last_ts"]
        cursor["ts_flag"] = BAD_TS
        cursor["ts_backsteps"] += 1
    cursor["last_ts"] = ts
    cursor["ts"] = ts


@kernel
def venue_time(venue_us, channel, instrument, setup, feed, latest, cursor):
    """Set the venue time of rows of a channel, clamped into its window; `latest` is [instrument, channel]."""
    ts = cursor["ts"]
    exch = ts if venue_us < 0 else venue_us
    cursor["flag"] = 0
    if exch > ts:
        exch = ts
        feed["early"] += 1
        cursor["flag"] = BAD_TS
    elif exch < ts - setup["horizon_us"]:
        exch = ts - setup["horizon_us"]
        feed["late"] += 1
        cursor["flag"] = BAD_TS
    if exch < latest[instrument, channel]:
        exch = latest[instrument, channel]
        feed["backsteps"] += 1
        cursor["flag"] = BAD_TS
    latest[instrument, channel] = exch
    cursor["exch"] = exch


@kernel
def write_side(levels, start, count, side, instrument, seq, flags, out, cursor):
    """BOOK rows of one side; `start` counts modulo the length of `levels`."""
    size = len(levels)
    for i in range(count):
        level = levels[(start + i) % size]
        write(
            out,
            cursor,
            BOOK,
            instrument,
            seq,
            level["price"],
            level["size"],
            0,
            side,
            flags | level["price_digits"],
        )


@kernel
def write_book(levels, bid_start, bids, ask_start, asks, instrument, seq, flags, out, cursor):
    """All rows of a book message; a message without levels is one row of side 0."""
    first = cursor["rows"]
    write_side(levels, bid_start, bids, 1, instrument, seq, flags, out, cursor)
    write_side(levels, ask_start, asks, -1, instrument, seq, flags, out, cursor)
    if cursor["rows"] == first:
        write(out, cursor, BOOK, instrument, seq, 0, 0, 0, 0, flags)
    if flags & SNAPSHOT:
        out[first]["flags"] |= CLEAR
    out[cursor["rows"] - 1]["flags"] |= LAST
