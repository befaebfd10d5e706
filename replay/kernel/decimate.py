"""Fewer points for the same picture: of each stretch of time the first, least, greatest and last point.

A chart column that shows many points is a vertical line from the least to the greatest of them, entered at the first
and left at the last.  Keeping these four of each bucket (in their order, each once) therefore keeps the picture at any
zoom whose columns are not narrower than a bucket, and no extreme is ever lost.
U. Jugel, Z. Jerzak, G. Hackenbroich, V. Markl, M4: A Visualization-Oriented Time Series Data Aggregation, VLDB 2014.
"""

from __future__ import annotations

import numpy as np

from replay.kernel.jit import kernel

KEPT_EACH = 4
"""At most so many points of a bucket are kept."""


@kernel(counted=False)
def decimate(ts, value, width_us, chosen):
    """Indices of the points to keep, ascending, into `chosen` (int64); returns how many, or -1 when there is no room.

    `ts` (µs) never steps back, `value` holds no NaN; bucket k is [ts[0] + k width_us, ts[0] + (k + 1) width_us).  Of
    equal extremes the earliest is kept.
    """
    n = 0
    start = 0
    while start < len(ts):
        bucket = (ts[start] - ts[0]) // width_us
        least = start
        greatest = start
        end = start + 1
        while end < len(ts) and (ts[end] - ts[0]) // width_us == bucket:
            if value[end] < value[least]:
                least = end
            if value[end] > value[greatest]:
                greatest = end
            end += 1
        if n + KEPT_EACH > len(chosen):
            return -1
        low = min(least, greatest)
        high = max(least, greatest)
        chosen[n] = start
        n += 1
        if low > chosen[n - 1]:
            chosen[n] = low
            n += 1
        if high > chosen[n - 1]:
            chosen[n] = high
            n += 1
        if end - 1 > chosen[n - 1]:
            chosen[n] = end - 1
            n += 1
        start = end
    return n


def kept(ts: np.ndarray, value: np.ndarray, buckets: int) -> np.ndarray:
    """Indices of at most 4 `buckets` points that draw as all of them; of all when there are not more than that."""
    if len(ts) <= KEPT_EACH * buckets:
        return np.arange(len(ts))
    chosen = np.empty(KEPT_EACH * buckets, np.int64)
    width_us = int(ts[-1] - ts[0]) // buckets + 1
    count = decimate(np.ascontiguousarray(ts), np.ascontiguousarray(value), width_us, chosen)
    return chosen[:count]
