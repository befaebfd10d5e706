"""Holes of a recording filled by somebody who has what is missing: which to ask for, and when an answer may be seen.

A hole is asked for when the message behind it was read.  The answer is a full book with an update id; it is loaded
once the recording itself has reached that id, so no strategy sees a book from its own future.  It then meets the
deltas that were kept aside, by the same rules as any snapshot.  A hole for which there is no good answer stays open
until the recording's next snapshot, and is counted with the reason.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from adapters.base import Filled, Filler, FillGap
from replay.errors import DataError
from replay.kernel import scan
from replay.kernel.lexer import LEVEL


class Fills:
    """Answers of `filler` that wait for their time; `failed[i]` counts the holes of instrument i that stayed open."""

    def __init__(self, filler: Filler) -> None:
        self.filler = filler
        self.waiting: dict[int, Filled] = {}
        self.failed: dict[int, Counter[str]] = {}

    def ask(self, index: int, symbol: str, last_good_id: int, last_missing_id: int) -> None:
        """Ask for the hole behind `last_good_id`."""
        self.waiting.pop(index, None)
        try:
            self.waiting[index] = self.filler(FillGap(symbol, last_good_id + 1, last_missing_id))
        except DataError as error:
            self.failed.setdefault(index, Counter())[error.problem] += 1

    def stop(self, messages: np.ndarray, start: int, count: int) -> int:
        """How many of `count` messages may be read, from `start` on, before an answer can be due."""
        stop = count
        for index, filled in self.waiting.items():
            part = messages[start:stop]
            reached = (part["symbol"] == index) & (part["kind"] == scan.DEPTH) & (part["last_id"] >= filled.sequence)
            if reached.any():
                stop = start + int(np.argmax(reached)) + 1
        return stop

    def due(self, machines: np.ndarray) -> tuple[int, Filled] | None:
        """An answer whose id the recording has reached, taken out."""
        for index, filled in self.waiting.items():
            if machines[index]["seen"] >= filled.sequence:
                del self.waiting[index]
                return index, filled
        return None


def as_message(index: int, filled: Filled, after: np.void) -> tuple[np.ndarray, np.ndarray]:
    """A snapshot of instrument `index`, received with the message `after`, as tables of one message and its levels."""
    levels = np.zeros(len(filled.bids) + len(filled.asks), LEVEL)
    for row, ((price, price_digits), (size, size_digits)) in zip(levels, (*filled.bids, *filled.asks)):
        row["price"], row["price_digits"], row["size"], row["size_digits"] = price, price_digits, size, size_digits
    messages = np.zeros(1, scan.MESSAGE)
    message = messages[0]
    message["local_ns"], message["line"] = after["local_ns"], after["line"]
    message["venue_us"] = message["first_id"] = message["prev_id"] = -1
    message["last_id"], message["symbol"], message["kind"] = filled.sequence, index, scan.SNAPSHOT
    message["bids"], message["asks"], message["ask_start"] = len(filled.bids), len(filled.asks), len(filled.bids)
    return messages, levels
