"""From starting Python to the result of a grid maker, in a fresh process with warm caches.

Each sample is the whole way: interpreter, imports, machine code from the cache or compiled, a recording of some minutes
from a file (the peer gets it in its own rows), the replay, the fills.  Both read the same short tape.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.contenders.ours import MODE
from benchmarks.contest import PAIRS, Side, assert_same, missing, ratio
from benchmarks.gridmaker import grid_settings
from benchmarks.harness import Goal, Measurement
from benchmarks.tape import contest_tape, saved

TITLE = "Time to the first result of a grid maker, fresh process, warm caches"
GOAL = Goal(1 / 3, at_least=False)


def fresh(side: Side) -> tuple[float, dict[str, object]]:
    """Seconds from the start of a process to its answer, and the answer."""
    start = time.perf_counter()
    with side.worker() as worker:
        answer = worker.check()
        return time.perf_counter() - start, answer


def measure(capture: Path | None) -> list[Measurement]:
    """Ours alone."""
    tape = contest_tape(capture, 1)
    with saved(tape) as (path,):
        ours = Side("ours", "grid", path, len(tape.events), grid_settings(tape, mode=MODE))
        fresh(ours)
        return [Measurement(f"first result, ours, {MODE}", tape.name, "s", tuple(fresh(ours)[0] for _ in range(PAIRS)))]


def against(capture: Path | None) -> list[Measurement]:
    """Ours and hftbacktest in turn."""
    absent = missing("hft")
    if absent:
        print(f"  hftbacktest left out, {absent}", flush=True)
        return measure(capture)
    from benchmarks.contenders import hft

    tape = contest_tape(capture, 1)
    with saved(tape) as (path,):
        converted = path.with_name("converted.npy")
        np.save(converted, hft.rows(tape.events, tape.instruments[0], False))
        settings = grid_settings(tape, mode=MODE)
        theirs = {**settings, "backend": "roi", "converted": str(converted)}
        rows = len(tape.events)
        sides = (Side("ours", "grid", path, rows, settings), Side("hft", "grid", path, rows, theirs))
        assert_same(*[fresh(side)[1] for side in sides], "first result: ours and hftbacktest")
        spent: tuple[list[float], list[float]] = ([], [])
        for pair in range(PAIRS):
            for k in (0, 1) if pair % 2 == 0 else (1, 0):
                spent[k].append(fresh(sides[k])[0])
    return [
        Measurement(f"first result, ours, {MODE}", tape.name, "s", tuple(spent[0])),
        Measurement("first result, hftbacktest", tape.name, "s", tuple(spent[1])),
        ratio("first result, ours to theirs", tape.name, "× their time", [a / b for a, b in zip(*spent)], GOAL),
    ]
