"""A price-level book of two dicts; best prices are looked up by max and min when they are wanted."""

from __future__ import annotations


class Book:
    """Levels of one instrument as one side of the simulation knows them; `valid` from the first snapshot on."""

    def __init__(self) -> None:
        self.levels: dict[int, dict[int, int]] = {1: {}, -1: {}}
        self.known: dict[int, int | None] = {1: None, -1: None}
        self.valid = False

    def lots(self, side: int, ticks: int) -> int:
        return self.levels[side].get(ticks, 0)

    def best(self, side: int) -> int | None:
        """Best price of a side, None when it is empty."""
        if self.known[side] is None and self.levels[side]:
            self.known[side] = max(self.levels[side]) if side > 0 else min(self.levels[side])
        return self.known[side]

    def apply(self, levels: tuple[tuple[int, int, int], ...], snapshot: bool) -> None:
        """Apply a whole message."""
        if snapshot:
            self.levels = {1: {}, -1: {}}
            self.known = {1: None, -1: None}
            self.valid = True
        for side, ticks, lots in levels:
            best = self.known[side]
            if lots:
                self.levels[side][ticks] = lots
                if best is not None and (ticks - best) * side > 0:
                    self.known[side] = ticks
            else:
                self.levels[side].pop(ticks, None)
                if ticks == best:
                    self.known[side] = None

    def check(self) -> None:
        for side in (1, -1):
            assert all(lots > 0 for lots in self.levels[side].values())
            known = self.known[side]
            assert known is None or known == (max if side > 0 else min)(self.levels[side])
