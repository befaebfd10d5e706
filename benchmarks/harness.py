"""What a benchmark is: check the answer, then time it, then say what was timed, on what, in which unit.

A benchmark module has a `TITLE` and a function `measure(capture: Path | None) -> list[Measurement]`.  `capture` is a
real recording when the caller has one; otherwise the module makes its data with `replay.testing`.  Machines are
noisy: a figure is the median of several runs, and comparisons are ratios of things timed in the same call.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the result table: `value` is the median of `samples`, all in `unit`."""

    name: str
    workload: str
    unit: str
    samples: tuple[float, ...]
    note: str = ""
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """Median of the samples."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """(max − min) / median: how far to trust it."""
        return (max(self.samples) - min(self.samples)) / self.value if self.value else 0.0


def seconds(action: Callable[[], object], runs: int = 5) -> list[float]:
    """Wall seconds of each of `runs` calls."""
    out = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        out.append(time.perf_counter() - start)
    return out
