"""The merge heap: which source has the next event.

Each source is a cursor with the key of its head, `(time, tie1, tie2)` compared in that order; a tournament of cursor
numbers lies in a binary heap.  The winner is drained until the runner-up (the smaller child of the root) comes first,
so a run of events of one source costs a comparison each and no sift at all; only a change of source costs one
sift-down.  A linear scan would be as good for four sources and several times slower for 64.

Local cursors use `(ts, rank, 0)`; venue cursors `(exch_ts, ts, class << 32 | rank)` with class 0 for trades and 1 for
book messages, which is the order of ties that the venue side promises.
"""

from __future__ import annotations

import numpy as np

from replay.kernel.jit import kernel

CURSOR = np.dtype([("time", "<i8"), ("tie1", "<i8"), ("tie2", "<i8")], align=True)

NEVER = 2**63 - 1
"""Time of a cursor that has no more events."""


@kernel
def cursor_before(cursors, a, b):
    """1 when cursor `a` comes before cursor `b`; equal keys (only possible at NEVER) keep the lower number first."""
    if cursors[a]["time"] != cursors[b]["time"]:
        return cursors[a]["time"] < cursors[b]["time"]
    if cursors[a]["tie1"] != cursors[b]["tie1"]:
        return cursors[a]["tie1"] < cursors[b]["tie1"]
    if cursors[a]["tie2"] != cursors[b]["tie2"]:
        return cursors[a]["tie2"] < cursors[b]["tie2"]
    return a < b


@kernel
def merge_sift(cursors, heap, n, at):
    """Restore heap order below position `at` of `heap[:n]` after the key of `heap[at]` grew."""
    moving = heap[at]
    while True:
        child = 2 * at + 1
        if child >= n:
            break
        if child + 1 < n and cursor_before(cursors, heap[child + 1], heap[child]):
            child += 1
        if not cursor_before(cursors, heap[child], moving):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = moving


@kernel
def merge_build(cursors, heap, n):
    """Put cursors 0 … n-1 into heap order; needed after any key changed by other means than draining the root."""
    for i in range(n):
        heap[i] = i
    for i in range(n // 2 - 1, -1, -1):
        merge_sift(cursors, heap, n, i)


@kernel
def merge_runner_up(cursors, heap, n):
    """The cursor that comes next after the root, or -1 when the root is alone."""
    if n < 2:
        return -1
    if n > 2 and cursor_before(cursors, heap[2], heap[1]):
        return heap[2]
    return heap[1]


@kernel
def merge_check(cursors, heap, n):
    """0, or 1 when a child precedes its parent, 2 when `heap[:n]` is no permutation."""
    for i in range(n):
        found = 0
        for k in range(n):
            found += heap[k] == i
        if found != 1:
            return 2
    for i in range(1, n):
        if cursor_before(cursors, heap[i], heap[(i - 1) // 2]):
            return 1
    return 0


@kernel
def merge_times(times, starts, stops, cursors, heap, out):
    """Merge sorted runs: `times[starts[s]:stops[s]]` for each source s, stable by s; indices go to `out`.

    Returns the number of indices written.  The engine inlines this loop; here it stands alone for tests and timing.
    """
    n = len(starts)
    for s in range(n):
        cursors[s]["time"] = times[starts[s]] if starts[s] < stops[s] else NEVER
        cursors[s]["tie1"] = s
        cursors[s]["tie2"] = starts[s]
    merge_build(cursors, heap, n)
    written = 0
    while n > 0:
        s = heap[0]
        if cursors[s]["time"] == NEVER:
            break
        other = merge_runner_up(cursors, heap, n)
        limit = NEVER - 1 if other < 0 else cursors[other]["time"] - (1 if other < s else 0)
        if limit == NEVER:
            limit = NEVER - 1
        at = cursors[s]["tie2"]
        stop = stops[s]
        while at < stop and times[at] <= limit:
            out[written] = at
            written += 1
            at += 1
        cursors[s]["tie2"] = at
        cursors[s]["time"] = times[at] if at < stop else NEVER
        merge_sift(cursors, heap, n, 0)
    return written
