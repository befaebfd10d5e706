"""Merging and planning as plainly as they can be said: `heapq.merge`, and `heapq` over whole tuples."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field


def merged(runs: list[list[int]]) -> list[int]:
    """Positions in the concatenation of `runs` (each sorted) in merged order, earlier runs first among equals."""
    starts = [sum(len(run) for run in runs[:k]) for k in range(len(runs))]
    keyed = [[(time, k, starts[k] + i) for i, time in enumerate(run)] for k, run in enumerate(runs)]
    return [index for _, _, index in heapq.merge(*keyed)]


@dataclass
class AgendaModel:
    """What is planned: (time, phase, order of planning, item)."""

    planned: list[tuple[int, int, int, int]] = field(default_factory=list)
    count: int = 0

    def push(self, time: int, phase: int, item: int) -> None:
        """Plan `item`."""
        heapq.heappush(self.planned, (time, phase, self.count, item))
        self.count += 1

    def pop(self) -> tuple[int, int, int, int]:
        """What is due first."""
        return heapq.heappop(self.planned)
