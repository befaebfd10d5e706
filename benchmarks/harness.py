"""What a benchmark is: check the answer, then time it, then say what was timed, on what, in which unit.

A benchmark module has a `TITLE` and a function `measure(capture: Path | None) -> list[Measurement]`; one that knows
peers has also `against(capture)`, which runs both sides in turn.  `capture` is a real recording when the caller has
one; otherwise the module makes its data with `replay.testing`.  Machines are noisy: a figure is the median of several
runs, and comparisons are ratios of things timed in the same call.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be: at least `limit`, or at most it."""

    limit: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Whether `value` reaches it."""
        return value >= self.limit if self.at_least else value <= self.limit

    def verdict(self, value: float) -> str:
        """`goal >= 3: met`, or `MISSED`."""
        return f"goal {'≥' if self.at_least else '≤'} {self.limit:g}: {'met' if self.met(value) else 'MISSED'}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the result table: `value` is the median of `samples`, all in `unit`."""

    name: str
    workload: str
    unit: str
    samples: tuple[float, ...]
    note: str = ""
    facts: dict[str, float] = field(default_factory=dict)
    goal: Goal | None = None

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


def peak_mb() -> float:
    """Largest resident memory of this process so far, or since `forget_peak`, MB.

    `VmHWM` on Linux, because `ru_maxrss` there starts from the memory of the parent at the time of the fork.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest * (1 if sys.platform == "darwin" else 1024) / 1e6


def forget_peak() -> None:
    """Let the peak begin from the memory of now, where the system can do that (Linux)."""
    if CLEAR.exists():
        CLEAR.write_text("5")
