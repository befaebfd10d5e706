"""Merging runs of rows, as slow and obvious as can be."""

from __future__ import annotations

import heapq


def merged(runs: list[list[tuple[int, int, int]]]) -> list[tuple[int, int, int]]:
    """Rows `(time, number, payload)` of sorted runs by time, then number, then run, then place in the run."""
    keyed = [[(row[0], row[1], rank, place, row) for place, row in enumerate(run)] for rank, run in enumerate(runs)]
    return [item[-1] for item in heapq.merge(*keyed)]
