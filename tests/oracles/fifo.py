"""Price-time priority with our own orders in the queues, in plain lists: the oracle of order-by-order feeds.

A queue is a list of entries in order of arrival, the market's and ours.  The market's history is given: a print names
the order that it hit, and what it would have hit is every order of ours that stands before that one.  "partial": they
share the print, first come first served; "full": each of them executes whole.  As everywhere in the simulation a print
beyond our price, and the opposite market best at our price, fill us whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Level = tuple[int, int]
"""side, ticks"""
Fill = tuple[int, int]
"""number of our order, lots"""


@dataclass(slots=True)
class Entry:
    """An order in a queue; numbers of ours and of the market's are apart."""

    number: int
    lots: int
    ours: bool


@dataclass
class Fifo:
    """All queues of one instrument."""

    execution: Literal["partial", "full"]
    queues: dict[Level, list[Entry]] = field(default_factory=dict)

    def find(self, number: int, ours: bool) -> tuple[Level, Entry] | None:
        """Where an order stands."""
        for level, queue in self.queues.items():
            for entry in queue:
                if (entry.number, entry.ours) == (number, ours):
                    return level, entry
        return None

    def set(self, number: int, side: int, ticks: int, lots: int) -> None:
        """An order of the market has `lots` at a price from now on: less keeps its place, anything else is new."""
        found = self.find(number, ours=False)
        if found:
            level, entry = found
            if level == (side, ticks) and 0 < lots <= entry.lots:
                entry.lots = lots
                return
            self.queues[level].remove(entry)
        if lots:
            self.queues.setdefault((side, ticks), []).append(Entry(number, lots, False))

    def size(self, side: int, ticks: int) -> int:
        """What the market has at a price."""
        return sum(entry.lots for entry in self.queues.get((side, ticks), []) if not entry.ours)

    def market(self) -> dict[int, tuple[int, int, int]]:
        """Number to (side, ticks, lots) of the market's orders."""
        return {
            entry.number: (*level, entry.lots)
            for level, queue in self.queues.items() for entry in queue if not entry.ours
        }  # fmt: skip

    def best(self, side: int) -> int | None:
        """The market's best price of a side."""
        prices = [side * ticks for (of, ticks) in self.queues if of == side and self.size(of, ticks)]
        return side * max(prices) if prices else None

    def head(self, side: int) -> Entry | None:
        """The market's first order at its best price."""
        best = self.best(side)
        return None if best is None else next(e for e in self.queues[side, best] if not e.ours)

    def join(self, number: int, side: int, ticks: int, lots: int) -> bool:
        """Our post-only order goes last in its queue; False when it would cross the market."""
        opposite = self.best(-side)
        if opposite is not None and (opposite - ticks) * side <= 0:
            return False
        self.queues.setdefault((side, ticks), []).append(Entry(number, lots, True))
        return True

    def leave(self, number: int) -> None:
        """Our order is cancelled."""
        found = self.find(number, ours=True)
        if found:
            self.queues[found[0]].remove(found[1])

    def own(self) -> dict[int, tuple[int, int]]:
        """Our orders: number to (market's lots ahead, lots left)."""
        told = {}
        for queue in self.queues.values():
            ahead = 0
            for entry in queue:
                if entry.ours:
                    told[entry.number] = (ahead, entry.lots)
                else:
                    ahead += entry.lots
        return told

    def printed(self, maker: int, lots: int) -> list[Fill]:
        """A print of `lots` against an order of the market: what we execute.  The order itself is changed by `set`."""
        found = self.find(maker, ours=False)
        assert found, "the maker rests"
        (side, ticks), entry = found
        fills = []
        for of, price in sorted(self.queues, key=lambda level: -side * level[1]):
            if of == side and (price - ticks) * side > 0:
                fills += self._fill_all((of, price))
        queue, left = self.queues[side, ticks], lots
        for mine in [e for e in queue[: queue.index(entry)] if e.ours]:
            done = mine.lots if self.execution == "full" else min(left, mine.lots)
            left -= done
            if done:
                fills.append((mine.number, done))
                mine.lots -= done
                if not mine.lots:
                    queue.remove(mine)
        return fills

    def touched(self) -> list[Fill]:
        """What we execute because the market's opposite best has reached our prices."""
        fills = []
        for side in (-1, 1):
            opposite = self.best(-side)
            for of, price in sorted(self.queues, key=lambda level: -side * level[1]):
                if of == side and opposite is not None and (opposite - price) * side <= 0:
                    fills += self._fill_all((of, price))
        return fills

    def _fill_all(self, level: Level) -> list[Fill]:
        mine = [entry for entry in self.queues[level] if entry.ours]
        for entry in mine:
            self.queues[level].remove(entry)
        return [(entry.number, entry.lots) for entry in mine]
