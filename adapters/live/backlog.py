"""What was received and not yet taken: the bounded queue between a live feed and a run.

When the run falls behind (the oldest waiting row is older than `max_lag_us`, or there are more than `max_rows`), what
waits is conflated: of each instrument the book messages become one, which takes the book where they would have taken
it, and of its quotes the latest remains.  Trades, liquidations, marks, funding and gaps are never left out: when they
alone fill the queue, `full` tells the feed to wait.
"""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np

from replay.events import BOOK, CLEAR, LAST, QUOTE, SNAPSHOT, empty_events
from replay.sources import cut_batches

WORTH_ROWS = 1_024
"""Less than this is not conflated again."""


class Backlog:
    """Rows in order of receipt, from one thread to another; `reached_ns` is up to when they are complete."""

    def __init__(self, max_rows: int, max_lag_us: int) -> None:
        self.max_rows, self.max_lag_us = max_rows, max_lag_us
        self.events: Counter[str] = Counter()
        self._parts: list[np.ndarray] = []
        self._rows = self._fresh = self._stale = 0
        self._reached_ns = self._given_ns = 0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def full(self) -> bool:
        """Whether no more should be put in for now."""
        return self._rows > self.max_rows

    @property
    def rows(self) -> int:
        """How many wait."""
        return self._rows

    def put(self, batches: list[np.ndarray]) -> None:
        """Append rows, whole messages of EVENT records that nobody else will change; conflate if need be."""
        with self._changed:
            self._parts += batches
            count = sum(map(len, batches))
            self._rows += count
            self._fresh += count
            if self._fresh >= max(WORTH_ROWS, self._stale) and self._behind():
                self._conflate()
            self._changed.notify()

    def reach(self, reached_ns: int) -> None:
        """Nothing that was received before `reached_ns` is still to come."""
        with self._changed:
            self._reached_ns = reached_ns
            self._changed.notify()

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self, rows: int) -> tuple[np.ndarray, int] | None:
        """(at most about `rows` waiting rows, 0), or (no rows, up to when none will come, ns), or None at the end.

        Waits until there is something.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._parts or self._reached_ns > self._given_ns or self._closed)
            if self._parts:
                first = next(cut_batches(self._parts[0], rows))
                rest = self._parts[0][len(first) :]
                self._parts[:1] = [rest] if len(rest) else []
                self._rows -= len(first)
                self._fresh = min(self._fresh, self._rows)
                self._stale = min(self._stale, self._rows)
                return first, 0
            if self._reached_ns > self._given_ns:
                self._given_ns = self._reached_ns
                return empty_events(0), self._reached_ns
            return None

    def _behind(self) -> bool:
        lag_us = int(self._parts[-1]["ts"][-1]) - int(self._parts[0]["ts"][0])
        return lag_us > self.max_lag_us or self._rows > self.max_rows

    def _conflate(self) -> None:
        rows, merged = conflate(np.concatenate(self._parts))
        self.events.update(merged)
        self._parts = [rows]
        self._rows = self._stale = len(rows)
        self._fresh = 0


def conflate(rows: np.ndarray) -> tuple[np.ndarray, Counter[str]]:
    """`rows` (whole messages) with one book message and one quote per instrument, each in the place of the latest.

    Also how many messages of either kind were left out.
    """
    ends = (rows["flags"] & LAST) != 0
    message = np.cumsum(ends) - ends
    kept = [np.flatnonzero((rows["kind"] != BOOK) & (rows["kind"] != QUOTE))]
    parts, places = [rows[kept[0]]], [kept[0]]
    merged: Counter[str] = Counter()
    for kind, name in ((QUOTE, "quotes conflated"), (BOOK, "book messages conflated")):
        for instrument in np.unique(rows["instrument"][rows["kind"] == kind]):
            mine = np.flatnonzero((rows["kind"] == kind) & (rows["instrument"] == instrument))
            left_out = len(np.unique(message[mine])) - 1
            if kind == QUOTE or not left_out:
                part = rows[mine[message[mine] == message[mine[-1]]]]
            else:
                part = _one_book(rows[mine])
            parts.append(part)
            places.append(np.full(len(part), mine[-1]))
            if left_out:
                merged[name] += left_out
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate(parts)[order], merged


def _one_book(rows: np.ndarray) -> np.ndarray:
    """The book messages of one instrument as one message, at the times of the last."""
    clears = np.flatnonzero(rows["flags"] & CLEAR)
    levels = rows[clears[-1] :] if len(clears) else rows
    key = levels["price"] * 2 + (levels["side"] > 0)
    latest = len(levels) - 1 - np.unique(key[::-1], return_index=True)[1]
    latest = np.sort(latest[levels["side"][latest] != 0])
    if len(clears):
        latest = latest[levels["qty"][latest] > 0]
    if not len(latest):
        out = levels[-1:].copy()
        out[["price", "qty", "side"]] = 0
    else:
        out = levels[latest]
    for name in ("ts", "exch_ts", "seq"):
        out[name] = levels[-1][name]
    out["flags"] &= ~(LAST | CLEAR | SNAPSHOT)
    if len(clears):
        out["flags"] |= SNAPSHOT
        out["flags"][0] |= CLEAR
    out["flags"][-1] |= LAST
    return out
