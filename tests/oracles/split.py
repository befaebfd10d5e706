"""Where P&L comes from, one fill at a time in exact fractions, and the mids of a market from its events.

Slow and obvious: a book is a dict, the mid at a time is that of the last message up to then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from replay.events import BOOK, CLEAR, GAP, LAST, SNAPSHOT
from replay.instruments import Instrument


def price_worth(instrument: Instrument, price: Fraction) -> Fraction:
    """Money that one lot is worth at `price`, up to a constant: inverse contracts pay 1 / price."""
    size = Fraction(instrument.lot * instrument.multiplier)
    return -size / price if instrument.payoff == "inverse" else size * price


def split(
    fills: Iterable[tuple[int, int, int]], mids: Iterable[Fraction | None], mark: Fraction, instrument: Instrument
) -> tuple[Fraction, Fraction]:  # fmt: skip
    """(spread, inventory) of fills (side, ticks, lots) with the mid of each, held to `mark`; unknown mid: inventory."""
    spread = inventory = Fraction(0)
    for (side, ticks, lots), known in zip(fills, mids):
        price = ticks * Fraction(instrument.tick)
        mid = price if known is None else known
        spread += side * lots * (price_worth(instrument, mid) - price_worth(instrument, price))
        inventory += side * lots * (price_worth(instrument, mark) - price_worth(instrument, mid))
    return spread, inventory


class Mids:
    """Best bid + best ask of one instrument at the venue over time, 0 while invalid or one-sided."""

    def __init__(self, events: np.ndarray, instrument: int) -> None:
        mine = events[events["instrument"] == instrument]
        self.times: list[int] = []
        self.mids: list[int] = []
        self.book: dict[int, dict[int, int]] = {1: {}, -1: {}}
        self.valid = False
        for rows in sorted(
            _messages(mine), key=lambda rows: (rows[0]["exch_ts"], rows[0]["ts"], rows[0]["kind"] == BOOK)
        ):
            self._apply(rows)
            self.times.append(int(rows[0]["exch_ts"]))
            self.mids.append(self._mid())

    def _apply(self, rows: list[np.void]) -> None:
        if rows[0]["kind"] == GAP:
            self.valid = False
        if rows[0]["kind"] != BOOK:
            return
        for row in rows:
            if row["flags"] & CLEAR:
                self.book = {1: {}, -1: {}}
            if row["side"]:
                self.book[int(row["side"])][int(row["price"])] = int(row["qty"])
                if row["qty"] == 0:
                    del self.book[int(row["side"])][int(row["price"])]
            if row["flags"] & SNAPSHOT:
                self.valid = True

    def _mid(self) -> int:
        bids, asks = self.book[1], self.book[-1]
        return max(bids) + min(asks) if self.valid and bids and asks else 0

    def at(self, time_us: int) -> int:
        """The mid after everything up to and including `time_us`."""
        k = bisect_right(self.times, time_us)
        return self.mids[k - 1] if k else 0


def _messages(events: np.ndarray) -> Iterable[list[np.void]]:
    rows: list[np.void] = []
    for row in events:
        rows.append(row)
        if row["flags"] & LAST or row["kind"] != BOOK:
            yield rows
            rows = []
