"""Rows on their way into files: what they break, what they show, and their columns.

Message numbers, channels and facts are taken in one pass each over rows that are still in the cache: NumPy would go
over them once for every field.
"""

from __future__ import annotations

import numpy as np

from replay.events import BAD_TS, BOOK, CLEAR, GAP, LAST, OFF_TICK, SNAPSHOT, TRADE
from replay.kernel.jit import kernel
from replay.units import INT64_MAX, INT64_MIN

# What `check` finds, the gravest first
SOUND, BACKSTEP, OPEN_END, MIXED_TIMES, MIXED_INSTRUMENTS, MISNUMBERED = range(6)

# What `tally` counts
MESSAGES, DEPTH, TRADES, SNAPSHOTS, OFF_GRID, BAD_TIMES, NOTED = range(7)

WATCHED = ("seq", "price", "qty", "value", "flags", "kind", "side")
"""Columns that may turn out to be constant in a file, in the order of `low` and `high`."""

FACTS = np.dtype(
    [
        ("rows", "<i8"),
        ("messages", "<i8"),
        ("latency_us", "<i8"),  # longest, at least 0
        ("low", "<i8", (len(WATCHED),)),
        ("high", "<i8", (len(WATCHED),)),
    ]
)

COLUMNS = np.dtype(
    [
        ("ts", "<i8"),
        ("exch_ts", "<i8"),
        ("message", "<i8"),
        ("seq", "<i8"),
        ("kind", "i1"),
        ("side", "i1"),
        ("price", "<i8", (2,)),
        ("qty", "<i8", (2,)),
        ("value", "<i8"),
        ("flags", "<i2"),
    ]
)
"""The columns of a file, each an array of its own; prices and sizes are 128-bit decimals, the low word first."""


def new_facts() -> np.ndarray:
    """Facts of a file without rows."""
    facts = np.zeros(1, FACTS)
    facts["low"], facts["high"] = INT64_MAX, INT64_MIN
    return facts


@kernel
def number(events, first, numbers):
    """Number messages from `first` on: (next number, smallest instrument, largest); there must be a row."""
    low = int(events[0]["instrument"])
    high = low
    for i in range(len(events)):
        event = events[i]
        numbers[i] = first
        if event["flags"] & LAST:
            first += 1
        low = min(low, int(event["instrument"]))
        high = max(high, int(event["instrument"]))
    return first, low, high


@kernel
def check(events, numbers, last_us):
    """The gravest thing that is wrong with rows that follow one at `last_us`, SOUND if nothing is."""
    count = len(events)
    if events[0]["ts"] < last_us:
        return BACKSTEP
    found = SOUND if events[count - 1]["flags"] & LAST else OPEN_END
    first = events[0]["instrument"]
    for i in range(1, count):
        event = events[i]
        step = event["ts"] - events[i - 1]["ts"]
        ended = events[i - 1]["flags"] & LAST
        if step < 0:
            return BACKSTEP
        wrong = SOUND
        if ended == 0 and step != 0:
            wrong = MIXED_TIMES
        elif event["instrument"] != first:
            wrong = MIXED_INSTRUMENTS
        elif (numbers[i] <= numbers[i - 1]) if ended else (numbers[i] != numbers[i - 1]):
            wrong = MISNUMBERED
        if wrong != SOUND and (found == SOUND or wrong < found):
            found = wrong
    return found


@kernel
def tally(events, channel_of, channels, counts, rows):
    """Count what whole messages show, and the channel of each row: that of the first row of its message.

    `channel_of` is by kind, −1 unknown; `rows` counts by channel.  Returns the first row of unknown kind, or −1.
    `counts[NOTED]` are rows of gaps and ends of snapshots, which someone has to look at one by one.
    """
    channel = -1
    for i in range(len(events)):
        event = events[i]
        kind = event["kind"]
        flags = event["flags"]
        if channel < 0:
            channel = channel_of[kind] if kind >= 0 else -1
            if channel < 0:
                return i
        channels[i] = channel
        rows[channel] += 1
        if kind == TRADE:
            counts[TRADES] += 1
        if flags & CLEAR:
            counts[SNAPSHOTS] += 1
        if flags & OFF_TICK:
            counts[OFF_GRID] += 1
        if flags & BAD_TS:
            counts[BAD_TIMES] += 1
        if kind == GAP:
            counts[NOTED] += 1
        if flags & LAST:
            channel = -1
            counts[MESSAGES] += 1
            if kind == BOOK:
                counts[NOTED if flags & SNAPSHOT else DEPTH] += 1
    return -1


@kernel(inline=True)
def watch(facts, which, value):
    """Take a value of WATCHED[which] into account."""
    if value < facts["low"][which]:
        facts["low"][which] = value
    if value > facts["high"][which]:
        facts["high"][which] = value


@kernel
def take(
    events, numbers, channels, start, channel, at, price_factor, qty_factor, facts, rows,
    ts, exch_ts, message, seq, kind, side, price, qty, value, flags,
):  # fmt: skip
    """Copy rows of a channel from row `start` on: as records to the front of `rows`, as columns to place `at` on.

    Ends with the rows, or where one of the two is full: (row to go on with, rows copied).  Fields that are not kept
    become 0.
    """
    i = start
    taken = 0
    room = min(len(rows), len(ts) - at)
    while i < len(events) and taken < room:
        if channels[i] == channel:
            event = events[i]
            record = rows[taken]
            record["ts"] = event["ts"]
            record["exch_ts"] = event["exch_ts"]
            record["seq"] = event["seq"]
            record["price"] = event["price"]
            record["qty"] = event["qty"]
            record["value"] = event["value"]
            record["instrument"] = 0
            record["source"] = 0
            record["flags"] = event["flags"]
            record["kind"] = event["kind"]
            record["side"] = event["side"]
            record["pad2"] = 0
            record["pad4"] = 0
            ts[at] = event["ts"]
            exch_ts[at] = event["exch_ts"]
            message[at] = numbers[i]
            seq[at] = event["seq"]
            kind[at] = event["kind"]
            side[at] = event["side"]
            price[at, 0] = event["price"] * price_factor
            price[at, 1] = event["price"] >> 63
            qty[at, 0] = event["qty"] * qty_factor
            qty[at, 1] = event["qty"] >> 63
            value[at] = event["value"]
            flags[at] = event["flags"]
            watch(facts, 0, event["seq"])
            watch(facts, 1, event["price"])
            watch(facts, 2, event["qty"])
            watch(facts, 3, event["value"])
            watch(facts, 4, event["flags"])
            watch(facts, 5, event["kind"])
            watch(facts, 6, event["side"])
            facts["latency_us"] = max(facts["latency_us"], event["ts"] - event["exch_ts"])
            if event["flags"] & LAST:
                facts["messages"] += 1
            at += 1
            taken += 1
        i += 1
    facts["rows"] += taken
    return i, taken
