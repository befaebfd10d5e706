"""Thinning a series, the obvious way: sort the points into buckets, keep four of each."""

from __future__ import annotations


def kept(ts: list[int], value: list[float], width_us: int) -> list[int]:
    """Indices of the first, least, greatest (the earliest of equals) and last point of each bucket, ascending."""
    buckets: dict[int, list[int]] = {}
    for i, time in enumerate(ts):
        buckets.setdefault((time - ts[0]) // width_us, []).append(i)
    chosen = set()
    for indices in buckets.values():
        least, greatest = min(indices, key=lambda i: value[i]), max(indices, key=lambda i: value[i])
        chosen |= {indices[0], least, greatest, indices[-1]}
    return sorted(chosen)
