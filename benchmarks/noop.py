"""Market data alone: rows a second without a strategy, two books each (the venue's and the strategy's).

The answer that is checked is the touch of every book at the end.  hftbacktest runs on its ROIVector and HashMap depths,
the tutorial engine, which is much slower, on a shorter tape.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.contest import Side, alone, contest
from benchmarks.harness import Goal, Measurement
from benchmarks.tape import contest_tape, saved

TITLE = "No-op replay, against hftbacktest and a tutorial engine"
GOAL = Goal(3.0)
SHORT_ROWS = 400_000
"""For engines in plain Python."""


def measure(capture: Path | None) -> list[Measurement]:
    """Ours alone."""
    tape = contest_tape(capture)
    with saved(tape) as (path,):
        return [alone("no-op, ours", Side("ours", "noop", path, len(tape.events)), tape.name)]


def against(capture: Path | None) -> list[Measurement]:
    """Ours and each peer in turn."""
    tape, short = contest_tape(capture), contest_tape(capture, SHORT_ROWS)
    out = []
    with saved(tape, short) as (path, short_path):
        ours = Side("ours", "noop", path, len(tape.events))
        for backend, goal in (("roi", GOAL), ("hashmap", None)):
            theirs = Side("hft", "noop", path, len(tape.events), {"backend": backend}, f"hftbacktest {backend}")
            out += contest("no-op", ours, theirs, tape.name, goal)
        ours = Side("ours", "noop", short_path, len(short.events))
        theirs = Side("tutorial", "noop", short_path, len(short.events), label="tutorial engine")
        out += contest("no-op", ours, theirs, short.name)
    return out
