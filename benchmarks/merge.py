"""The merge heap alone: which of many sources comes next, against `heapq.merge` of the standard library.

Two mixtures: sources that take turns row by row in random order (a change of source at almost every event: the worst
case), and sources whose rows come in messages of eight with one time (what a feed looks like).  `heapq.merge` gets
the same times as Python ints and need not even say which source an event came from.
"""

from __future__ import annotations

import heapq
from collections import deque
from pathlib import Path

import numpy as np

from benchmarks.harness import Measurement, seconds
from replay.kernel.merge import CURSOR, merge_times

TITLE = "Merge of sorted sources, ns an event"

EVENTS = 1 << 20
SOURCES = (1, 4, 16, 64)
MESSAGE_ROWS = (1, 8)
MEAN_STEP_US = 100
SEED = 20_240_808


def measure(capture: Path | None) -> list[Measurement]:
    """One line for each number of sources and mixture; the data is always made here, `capture` is not used."""
    random = np.random.default_rng(SEED)
    return [compare(random, count, rows) for rows in MESSAGE_ROWS for count in SOURCES]


def made_times(random: np.random.Generator, sources: int, rows: int) -> list[np.ndarray]:
    """Ascending times of each source: `rows` with one time, then a step; ties between sources happen."""
    messages = EVENTS // sources // rows
    steps = random.integers(1, 2 * MEAN_STEP_US * sources * rows, (sources, messages))
    return [np.repeat(np.cumsum(own), rows) for own in steps]


def compare(random: np.random.Generator, sources: int, rows: int) -> Measurement:
    """Check against a stable sort, then time ours and `heapq.merge` in turn."""
    runs = made_times(random, sources, rows)
    times = np.concatenate(runs)
    stops = np.cumsum([len(run) for run in runs])
    starts = stops - [len(run) for run in runs]
    cursors, heap, out = np.zeros(sources, CURSOR), np.zeros(sources, np.int64), np.full(len(times), -1)

    def ours() -> int:
        return int(merge_times(times, starts, stops, cursors, heap, out))

    assert ours() == len(times), f"{sources} sources: events are missing"
    expected = np.argsort(times, kind="stable")
    assert np.array_equal(out, expected), f"{sources} sources: not the order of a stable sort"
    lists = [run.tolist() for run in runs]
    assert np.array_equal(list(heapq.merge(*lists)), times[expected]), "heapq.merge disagrees"

    fast = [1e9 * s / len(times) for s in seconds(ours)]
    slow = [1e9 * s / len(times) for s in seconds(lambda: deque(heapq.merge(*lists), maxlen=0), 2)]
    changes = np.count_nonzero(np.diff(np.searchsorted(stops, expected, side="right"))) / len(times)
    what = f"{len(times):,} events, {rows} a message, {changes:.0%} change the source"
    facts = {"heapq.merge": min(slow), "ratio": min(slow) / float(np.median(fast))}
    return Measurement(f"{sources} sources", what, "ns/event", tuple(fast), facts=facts)
