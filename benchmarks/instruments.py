"""What must not matter: how many instruments there are, and how fine the tick is.

The tapes have about the same number of rows: one instrument; 64 that run one after the other by a fraction of a second,
in one source and in 64; one on a tick 1000 times finer.  Figures are times a row, as ratios to the first, run by run.
hftbacktest does the same on its HashMap depth: for the finer tick its ROIVector would take 5 GB a book.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.contest import Side, missing, ratio, runs_of
from benchmarks.harness import Goal, Measurement
from benchmarks.tape import Tape, contest_tape, finer, many, saved

TITLE = "1 to 64 instruments, coarse to fine tick"
INSTRUMENTS = 64
FINER = 1_000
MANY_GOAL = Goal(1.5, at_least=False)
FINER_GOAL = Goal(1.2, at_least=False)


def measure(capture: Path | None) -> list[Measurement]:
    """Ours."""
    one, lot, fine = tapes(capture)
    with saved(one, lot, fine) as (one_path, lot_path, fine_path):
        rows = len(lot.events)
        sides = [
            Side("ours", "noop", one_path, len(one.events)),
            Side("ours", "noop", lot_path, rows),
            Side("ours", "noop", lot_path, rows, {"split": True}),
            Side("ours", "noop", fine_path, len(fine.events)),
        ]
        what = ("1 instrument", f"{INSTRUMENTS} in one source", f"{INSTRUMENTS} sources", f"tick / {FINER}")
        return compared("ours", sides, what, one.name, (None, MANY_GOAL, MANY_GOAL, FINER_GOAL))


def against(capture: Path | None) -> list[Measurement]:
    """Ours, then theirs."""
    out = measure(capture)
    absent = missing("hft")
    if absent:
        print(f"  hftbacktest left out, {absent}", flush=True)
        return out
    one, lot, fine = tapes(capture)
    with saved(one, lot, fine) as (one_path, lot_path, fine_path):
        hashmap = {"backend": "hashmap"}
        sides = [
            Side("hft", "noop", one_path, len(one.events), hashmap),
            Side("hft", "noop", lot_path, len(lot.events), hashmap),
            Side("hft", "noop", fine_path, len(fine.events), hashmap),
        ]
        what = ("1 instrument", f"{INSTRUMENTS} instruments", f"tick / {FINER}")
        return out + compared("hftbacktest hashmap", sides, what, one.name, (None, None, None))


def tapes(capture: Path | None) -> tuple[Tape, Tape, Tape]:
    """One instrument, many, one on a finer tick."""
    one = contest_tape(capture)
    return one, many(one, INSTRUMENTS), finer(one, FINER)


def compared(
    who: str, sides: Sequence[Side], what: Sequence[str], tape: str, goals: Sequence[Goal | None]
) -> list[Measurement]:
    """ns a row of each side, and how many times that of the first."""
    timings, _ = runs_of(sides)
    each = [[1e9 * t.wall_s / side.rows for t in own] for side, own in zip(sides, timings)]
    out = [
        Measurement(f"{who}, {name}", tape, "ns/row", tuple(ns), facts={"peak MB": max(t.peak_mb for t in own)})
        for name, ns, own in zip(what, each, timings)
    ]
    for name, ns, goal in zip(what[1:], each[1:], goals[1:]):
        out.append(ratio(f"{who}, {name} to 1", tape, "× time", [a / b for a, b in zip(ns, each[0])], goal))
    return out
