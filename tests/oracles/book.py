"""The slow, obvious book: one sorted dictionary a side."""

from __future__ import annotations

from sortedcontainers import SortedDict


class OracleBook:
    """Same questions as `replay.kernel.book`; keys are `−side · ticks`, so the best level comes first."""

    def __init__(self) -> None:
        self.sides = {1: SortedDict(), -1: SortedDict()}

    def set(self, side: int, ticks: int, lots: int) -> int:
        """Set a level (0 deletes); its previous lots."""
        levels = self.sides[side]
        old = levels.pop(-side * ticks, 0)
        if lots:
            levels[-side * ticks] = lots
        return int(old)

    def clear(self) -> None:
        """Empty both sides."""
        for levels in self.sides.values():
            levels.clear()

    def lots(self, side: int, ticks: int) -> int:
        """Lots at a price, 0 when there is no level."""
        return int(self.sides[side].get(-side * ticks, 0))

    def next(self, side: int, ticks: int) -> int | None:
        """Ticks of the first level strictly worse than `ticks`."""
        after = next(self.sides[side].irange(-side * ticks, inclusive=(False, True)), None)
        return None if after is None else -side * after

    def levels(self, side: int, limit: int | None = None) -> list[tuple[int, int]]:
        """(ticks, lots), best first."""
        return [(-side * key, lots) for key, lots in list(self.sides[side].items())[:limit]]
