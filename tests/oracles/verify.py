"""What a verification must find, computed the slow way: whole recording in memory, dicts and sorted lists."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from replay.events import BOOK, CLEAR, GAP, LAST, QUOTE, SNAPSHOT, TRADE

Touch = tuple[int, int, int, int]


@dataclass
class Expected:
    """Counts of one instrument, named as in `replay.kernel.verify.CHECKS`."""

    valid: int = 0
    deltas: int = 0
    snapshots: int = 0
    unusable: int = 0
    crossed: int = 0
    deletes: int = 0
    absent_deletes: int = 0
    gaps: int = 0
    exact_compared: int = 0
    exact_matched: int = 0
    asof_compared: int = 0
    asof_matched: int = 0
    trades: int = 0
    first_trade: int = 0
    last_trade: int = 0
    trade_gaps: int = 0
    trade_backsteps: int = 0
    buy_lots: int = 0
    sell_lots: int = 0
    mismatches: list[tuple[int, int]] = field(default_factory=list)


def touch(sides: dict[int, dict[int, int]]) -> Touch:
    """Best bid and ask with sizes, zeros for an empty side."""
    bid = max(sides[1], default=0)
    ask = min(sides[-1], default=0)
    return bid, sides[1].get(bid, 0), ask, sides[-1].get(ask, 0)


def _book_row(found: Expected, sides: dict[int, dict[int, int]], row: np.void) -> bool:
    """Apply a BOOK row; whether it closed a delta on a valid book."""
    snapshot, last = bool(row["flags"] & SNAPSHOT), bool(row["flags"] & LAST)
    if row["flags"] & CLEAR:
        sides[1].clear()
        sides[-1].clear()
    if not snapshot and not found.valid:
        found.unusable += last
        return False
    if row["side"]:
        levels = sides[int(row["side"])]
        before = levels.pop(int(row["price"]), 0)
        if row["qty"]:
            levels[int(row["price"])] = int(row["qty"])
        elif not snapshot:
            found.deletes += 1
            found.absent_deletes += before == 0
    if last and snapshot:
        found.snapshots += 1
        found.valid = 1
    return last and not snapshot


def _trade_row(found: Expected, row: np.void) -> None:
    trade = int(row["seq"])
    if not found.trades:
        found.first_trade = trade
    else:
        found.trade_backsteps += trade <= found.last_trade
        found.trade_gaps += trade > found.last_trade + 1
    found.trades += 1
    found.last_trade = trade
    if row["side"] > 0:
        found.buy_lots += int(row["qty"])
    else:
        found.sell_lots += int(row["qty"])


def expected(events: np.ndarray, instrument: int) -> Expected:
    """What is to be found about one instrument in a recording whose update ids increase."""
    found = Expected()
    sides: dict[int, dict[int, int]] = {1: {}, -1: {}}
    deltas: list[tuple[int, Touch]] = []
    quotes: dict[int, Touch] = {}
    quote = {1: (0, 0), -1: (0, 0)}
    for row in events[events["instrument"] == instrument]:
        if row["kind"] == BOOK:
            if _book_row(found, sides, row):
                found.deltas += 1
                deltas.append((int(row["seq"]), touch(sides)))
                found.crossed += bool(sides[1] and sides[-1] and max(sides[1]) >= min(sides[-1]))
        elif row["kind"] == QUOTE:
            quote[int(row["side"])] = (int(row["price"]), int(row["qty"]))
            if row["flags"] & LAST:
                quotes[int(row["seq"])] = (*quote[1], *quote[-1])
        elif row["kind"] == TRADE:
            _trade_row(found, row)
        elif row["kind"] == GAP:
            found.gaps += 1
            found.valid = 0
    ids = sorted(quotes)
    for u, rebuilt in deltas:
        if u in quotes:
            found.exact_compared += 1
            found.exact_matched += quotes[u] == rebuilt
        at = bisect_right(ids, u) - 1
        if at >= 0:
            found.asof_compared += 1
            found.asof_matched += quotes[ids[at]] == rebuilt
            if quotes[ids[at]] != rebuilt:
                found.mismatches.append((u, ids[at]))
    return found
