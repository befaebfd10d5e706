"""How long a request travels to the venue and its answer back.

constant: `entry_us`, `response_us`.  table: measured round trips (request time, venue time, answer time), interpolated
linearly; the entry latency is looked up by request time, the response by venue time, both ends held flat.  feed: a
multiple of the latest feed latency (receipt minus venue time, at least 0) of the instrument.  log-normal:
`exp(a + b·z)` µs each way, z from the slot's own seeded generator.

A negative entry latency means that the venue refused: its absolute value is the time until that answer.
"""

from __future__ import annotations

import math

from replay.kernel.codes import LATENCY_FEED, LATENCY_LOG_NORMAL, LATENCY_TABLE
from replay.kernel.jit import kernel


@kernel
def interpolate(tables, first, count, at):
    """Value at key `at` in `tables[first:first+count]` (keys ascending), linear, floored, flat beyond the ends."""
    if at <= tables[first]["key"]:
        return tables[first]["value"]
    if at >= tables[first + count - 1]["key"]:
        return tables[first + count - 1]["value"]
    low = 0
    high = count - 1
    while high - low > 1:
        middle = (low + high) // 2
        if tables[first + middle]["key"] <= at:
            low = middle
        else:
            high = middle
    x0, y0 = tables[first + low]["key"], tables[first + low]["value"]
    x1, y1 = tables[first + high]["key"], tables[first + high]["value"]
    return y0 + share(y1 - y0, at - x0, x1 - x0)


@kernel
def share(rise, steps, span):
    """floor(rise · steps / span) for 0 <= steps <= span < 2^60, |rise| < 2^60, without leaving 64 bits.

    A product that would leave them (points months apart) is made bit by bit: after each, `whole · span + rest` is
    `part` times the bits of `steps` so far.
    """
    if abs(rise) <= (1 << 62) // max(steps, 1):
        return rise * steps // span
    part = rise % span
    whole = 0
    rest = 0
    for bit in range(60, -1, -1):
        rest *= 2
        if (steps >> bit) & 1 != 0:
            rest += part
        whole = 2 * whole + rest // span
        rest %= span
    return rise // span * steps + whole


@kernel
def uniform(slot):
    """Next number in (0, 1) of the slot's generator: two steps of x → 48271·x mod (2^31 - 1) (Park, Miller 1993)."""
    high = slot["random"] * 48271 % 2147483647
    low = high * 48271 % 2147483647
    slot["random"] = low
    return (high * 2147483647.0 + low) / 4611686014132420609.0


@kernel(entry=False)
def log_normal_us(slot):
    """One latency: `exp(a + b·z)` µs with z by Box and Muller."""
    radius = math.sqrt(-2.0 * math.log(uniform(slot)))
    z = radius * math.cos(2.0 * math.pi * uniform(slot))
    return int(math.exp(slot["latency_a"] + slot["latency_b"] * z))


@kernel
def entry_us(slot, tables, now, feed_us):
    """Travel time of a request that leaves at `now`; negative: refused by the venue."""
    kind = slot["latency_kind"]
    if kind == LATENCY_TABLE:
        return interpolate(tables, slot["table0"], slot["table_n"], now)
    if kind == LATENCY_FEED:
        return slot["entry_us"] + int(slot["latency_a"] * max(feed_us, 0))
    if kind == LATENCY_LOG_NORMAL:
        return log_normal_us(slot)
    return slot["entry_us"]


@kernel
def response_us(slot, tables, venue_time, feed_us):
    """Travel time of an answer that leaves the venue at `venue_time`; never negative."""
    kind = slot["latency_kind"]
    if kind == LATENCY_TABLE:
        return interpolate(tables, slot["answer0"], slot["answer_n"], venue_time)
    if kind == LATENCY_FEED:
        return slot["response_us"] + int(slot["latency_b"] * max(feed_us, 0))
    if kind == LATENCY_LOG_NORMAL:
        return log_normal_us(slot)
    return slot["response_us"]
