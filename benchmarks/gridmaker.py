"""The same grid maker everywhere: risk-averse and power-3 queue, 10 ms each way, orders filled in full.

Ours runs compiled, hftbacktest's under `njit` on its ROIVector depth.  All fills must be the same: venue time, side,
price, size, of every fill that both had heard of when the last second of the tape began.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contenders.ours import MODE
from benchmarks.contest import Side, alone, contest
from benchmarks.harness import Goal, Measurement
from benchmarks.tape import Tape, contest_tape, saved
from replay.units import US_PER_MS, US_PER_S

TITLE = "Grid maker, against hftbacktest"
GOAL = Goal(2.5)
QUEUES = ("risk", "power3")
START_US = 5 * US_PER_S
GRID = {
    "step_us": 100 * US_PER_MS, "levels": 5, "spacing_ticks": 1, "half_spread_ticks": 0, "lots": 100,
    "limit_lots": 2_000,
}  # fmt: skip
"""Parameters of the grid maker: it quotes close to the touch, so that the queue model decides about its fills."""


def grid_settings(tape: Tape, **others: Any) -> dict[str, Any]:
    """When the grid maker acts, and until when its fills are compared."""
    first, last = int(tape.events["ts"][0]), int(tape.events["ts"][-1])
    step = GRID["step_us"]
    start = -(-(first + START_US) // step) * step
    return {"start_us": start, "until_us": last - US_PER_S, "grid": GRID, **others}


@contextmanager
def sides(capture: Path | None) -> Iterator[tuple[str, list[Side]]]:
    """What is replayed, and our side for each queue."""
    tape = contest_tape(capture)
    with saved(tape) as (path,):
        yield (
            tape.name,
            [
                Side("ours", "grid", path, len(tape.events), grid_settings(tape, queue=q), f"ours, {MODE}")
                for q in QUEUES
            ],
        )


def measure(capture: Path | None) -> list[Measurement]:
    """Ours alone."""
    with sides(capture) as (what, ours):
        return [alone(f"grid maker, {side.settings['queue']}, ours", side, what) for side in ours]


def against(capture: Path | None) -> list[Measurement]:
    """Ours and theirs in turn."""
    out = []
    with sides(capture) as (what, ours):
        for own in ours:
            theirs = Side("hft", "grid", own.tape, own.rows, {**own.settings, "backend": "roi"}, "hftbacktest njit")
            out += contest(f"grid maker, {own.settings['queue']}", own, theirs, what, GOAL)
    return out
