"""Ours and a peer in turn: the same tape, each in a process of its own, the ratio of each pair of runs.

A contest first compares the answers; nothing is timed when they differ.  The order within a pair changes from one to
the next, so that a slow minute of the machine hurts both.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.contenders import Settings
from benchmarks.harness import Goal, Measurement
from benchmarks.worker import Timing, Worker

PAIRS = 5
PACKAGES = {"hft": "hftbacktest", "tutorial": "sortedcontainers", "nautilus": "nautilus_trader"}
"""What a peer needs."""

INSTALL = {
    "hftbacktest": "pip install tickreplay[bench]",
    "sortedcontainers": "pip install tickreplay[bench]",
    "nautilus_trader": "pip install nautilus_trader",
}


@dataclass(frozen=True, slots=True)
class Side:
    """A contender with a workload: `settings` go to it, `tape` is a saved one with `rows` rows."""

    contender: str
    workload: str
    tape: Path
    rows: int
    settings: Settings = field(default_factory=dict)
    label: str = "ours"

    def worker(self) -> Worker:
        """A process for it."""
        return Worker(self.contender, self.workload, self.tape, self.settings)


def missing(contender: str) -> str:
    """What to do when the package that a contender needs is not there, else ""."""
    package = PACKAGES.get(contender, "")
    return f"{package} is not installed: {INSTALL[package]}" if package and find_spec(package) is None else ""


def alone(name: str, side: Side, what: str, runs: int = PAIRS) -> Measurement:
    """Rows a second of one side."""
    with side.worker() as worker:
        answer = worker.check()
        timings = [worker.time() for _ in range(runs)]
    return figure(name, side, what, timings, answer)


def contest(name: str, ours: Side, theirs: Side, what: str, goal: Goal | None = None) -> list[Measurement]:
    """Rows a second of both sides, and how many times as fast ours is, pair by pair.

    AssertionError when the answers differ.  A peer that is not installed is named, and ours runs alone.
    """
    absent = missing(theirs.contender)
    if absent:
        print(f"  {name}: {theirs.label} left out, {absent}", flush=True)
        return [alone(f"{name}, {ours.label}", ours, what)]
    timings, answers = runs_of([ours, theirs])
    assert_same(*answers, f"{name}: ours and {theirs.label}")
    ratios = [t.wall_s / o.wall_s for o, t in zip(*timings)]
    by_cpu = statistics.median(t.cpu_s / o.cpu_s for o, t in zip(*timings))
    return [
        figure(f"{name}, {ours.label}", ours, what, timings[0], answers[0]),
        figure(f"{name}, {theirs.label}", theirs, what, timings[1], answers[1]),
        ratio(f"{name}, {ours.label} to {theirs.label}", what, "× their speed", ratios, goal, {"by CPU time": by_cpu}),
    ]


def runs_of(sides: Sequence[Side]) -> tuple[list[list[Timing]], list[dict[str, Any]]]:
    """PAIRS timings of each side, taken in turn, forwards and backwards; and each side's answer."""
    timings: list[list[Timing]] = [[] for _ in sides]
    with ExitStack() as stack:
        workers = [stack.enter_context(side.worker()) for side in sides]
        answers = [worker.check() for worker in workers]
        for turn in range(PAIRS):
            order = range(len(sides))
            for k in order if turn % 2 == 0 else reversed(order):
                timings[k].append(workers[k].time())
    return timings, answers


def ratio(
    name: str,
    what: str,
    unit: str,
    ratios: Sequence[float],
    goal: Goal | None = None,
    facts: Mapping[str, float] | None = None,
) -> Measurement:
    """A ratio with that of each pair, after other facts."""
    return Measurement(
        name,
        what,
        unit,
        tuple(ratios),
        facts={**(facts or {}), **{f"pair {k + 1}": r for k, r in enumerate(ratios)}},
        goal=goal,
    )


def figure(name: str, side: Side, what: str, timings: Sequence[Timing], answer: Mapping[str, Any]) -> Measurement:
    """Rows a second, with CPU, memory and what can be counted of the answer."""
    median = statistics.median(t.wall_s for t in timings)
    facts = {
        "rows": float(side.rows),
        "ns/row": 1e9 * median / side.rows,
        "wall s": median,
        "CPU s": statistics.median(t.cpu_s for t in timings),
        "peak MB": max(t.peak_mb for t in timings),
    }
    if "calls" in answer:
        facts |= {"callbacks": answer["calls"], "ns/callback": 1e9 * median / answer["calls"]}
    if "fills" in answer:
        facts["fills"] = len(answer["fills"])
    return Measurement(name, what, "M rows/s", tuple(side.rows / t.wall_s / 1e6 for t in timings), facts=facts)


def assert_same(ours: Mapping[str, Any], theirs: Mapping[str, Any], who: str) -> None:
    """AssertionError that shows the first difference."""
    for key in theirs:
        a, b = ours[key], theirs[key]
        if a == b:
            continue
        if isinstance(a, list) and isinstance(b, list):
            at = next((k for k, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            first = f"first at {at}: {a[at : at + 1]}, {b[at : at + 1]}"
            raise AssertionError(f"{who} differ in {key}: {len(a)} and {len(b)}, {first}")
        raise AssertionError(f"{who} differ in {key}: {a} and {b}")
