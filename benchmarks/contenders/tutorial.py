"""The engine of a good tutorial: a heap of events, a book of two sorted dictionaries, callbacks.  Plain Python.

Written as one would write it to be clear and not slow: messages are cut before the clock starts, the heap holds one
entry a message and clock, levels change in `SortedDict`s.  Like the others it keeps two books, the venue's by venue
time and the strategy's by receipt.  It runs no orders: it is the baseline for moving market data.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np
from sortedcontainers import SortedDict

from benchmarks.contenders import Make, Settings
from benchmarks.tape import Tape
from replay.events import BOOK, BUY, LAST

LOCAL, VENUE = 0, 1

Message = tuple[int, int, bool, list[tuple[int, int, int]]]
"""Receipt time, venue time, whether it is a book message, (side, ticks, lots) of its rows."""


class TwoSidedBook:
    """Levels by price; best bid is the last key of `bids`, best ask the first of `asks`."""

    def __init__(self) -> None:
        self.bids: SortedDict = SortedDict()
        self.asks: SortedDict = SortedDict()

    def apply(self, levels: list[tuple[int, int, int]]) -> None:
        """Set or delete levels."""
        for side, ticks, lots in levels:
            book = self.bids if side == BUY else self.asks
            if lots:
                book[ticks] = lots
            else:
                book.pop(ticks, None)

    def touch(self) -> list[int]:
        """Bid, its lots, ask, its lots."""
        return [*self.bids.peekitem(-1), *self.asks.peekitem(0)]


def load(tape: Tape, settings: Settings) -> list[Message]:
    """The messages of the first instrument."""
    events = tape.events
    ends = np.flatnonzero(events["flags"] & LAST) + 1
    starts = np.concatenate([[0], ends[:-1]])
    rows = list(zip(events["side"].tolist(), events["price"].tolist(), events["qty"].tolist()))
    heads = events[starts]
    return [
        (ts, venue_us, kind == BOOK, rows[start:end])
        for ts, venue_us, kind, start, end in zip(
            heads["ts"].tolist(), heads["exch_ts"].tolist(), heads["kind"].tolist(), starts.tolist(), ends.tolist()
        )
    ]


class Engine:
    """Pops the earliest message of either clock, applies it to that clock's book, calls back."""

    def __init__(self, messages: list[Message], on_message: Callable[[TwoSidedBook], None] | None) -> None:
        self.messages, self.on_message = messages, on_message
        self.books = (TwoSidedBook(), TwoSidedBook())

    def run(self) -> None:
        """Replay everything."""
        heap = [(m[LOCAL], LOCAL, k) for k, m in enumerate(self.messages)]
        heap += [(m[VENUE], VENUE, k) for k, m in enumerate(self.messages)]
        heapq.heapify(heap)
        while heap:
            _, clock, k = heapq.heappop(heap)
            message = self.messages[k]
            if message[2]:
                self.books[clock].apply(message[3])
            if clock == LOCAL and self.on_message is not None:
                self.on_message(self.books[LOCAL])


class Noop:
    """No callback; answers with the touch of the strategy's book."""

    def __init__(self, messages: list[Message], settings: Settings) -> None:
        self.engine = Engine(messages, None)

    def go(self) -> None:
        """Run."""
        self.engine.run()

    def answer(self) -> dict[str, Any]:
        """The touch."""
        return {"touch": [self.engine.books[LOCAL].touch()]}


class Watched:
    """Reads the touch at every message."""

    def __init__(self, messages: list[Message], settings: Settings) -> None:
        self.engine = Engine(messages, self.look)
        self.calls = self.total_ticks = 0

    def look(self, book: TwoSidedBook) -> None:
        """Count, and add up the touch."""
        self.calls += 1
        self.total_ticks += book.bids.peekitem(-1)[0] + book.asks.peekitem(0)[0]

    def go(self) -> None:
        """Run."""
        self.engine.run()

    def answer(self) -> dict[str, Any]:
        """Calls and the sum."""
        return {"calls": self.calls, "total_ticks": self.total_ticks}


RUNS: dict[str, Make] = {"noop": Noop, "watch": Watched}
