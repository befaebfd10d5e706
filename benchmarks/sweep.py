"""Many variants of the grid maker in one pass, against one; each variant's result must be that of a run of its own."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contenders.ours import MODE
from benchmarks.contest import Side, runs_of
from benchmarks.gridmaker import grid_settings
from benchmarks.harness import Goal, Measurement
from benchmarks.tape import contest_tape, saved

TITLE = "100 variants of the grid maker in one pass"
VARIANTS = 100
GOAL = Goal(15.0, at_least=False)
ROWS = 0
"""Rows of the tape; 0: as all others."""

CHECKED = 3
"""Variants that also run alone."""


def measure(capture: Path | None) -> list[Measurement]:
    """Time of the pass with VARIANTS as multiples of the time with one.

    AssertionError when a variant's digest is another in company than in a smaller company.
    """
    tape = contest_tape(capture, ROWS)
    with saved(tape) as (path,):
        sides = [
            Side("ours", "sweep", path, len(tape.events), grid_settings(tape, variants=n, mode=MODE))
            for n in (1, CHECKED, VARIANTS)
        ]
        timings, answers = runs_of(sides)
    for few in answers[:-1]:
        digests = few["digests"]
        assert digests == answers[-1]["digests"][: len(digests)], "a variant's result depends on its company"
    assert len(set(answers[-1]["digests"])) > VARIANTS // 2, "the variants do not differ"
    alone, _, together = [[t.wall_s for t in own] for own in timings]
    facts = {"one, s": sorted(alone)[len(alone) // 2], "all, s": sorted(together)[len(together) // 2]}
    facts |= {"peak MB": max(t.peak_mb for t in timings[-1])}
    times = tuple(a / b for a, b in zip(together, alone))
    return [Measurement(f"{VARIANTS} variants, {MODE}", tape.name, "× time of one", times, facts=facts, goal=GOAL)]
