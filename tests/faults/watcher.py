"""A strategy's view without an engine: reads a live source in a thread and keeps its books, slowly and obviously."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal

import numpy as np

from adapters.live.source import LiveSource
from replay.events import BOOK, CLEAR, GAP, TRADE
from tests.faults.dialects import Dialect

PATIENCE_S = 60.0
Levels = dict[Decimal, Decimal]


class Watcher:
    """Books by symbol as the events tell them; `valid[symbol]` is false from a gap to the next full book."""

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        symbols = [instrument.symbol for instrument in source.instruments]
        self.books: dict[str, tuple[Levels, Levels]] = {symbol: ({}, {}) for symbol in symbols}
        self.valid = dict.fromkeys(symbols, False)
        self.gaps: Counter[str] = Counter()
        self.prints: dict[str, list[Decimal]] = {symbol: [] for symbol in symbols}
        self.rows: list[np.ndarray] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._watch, name="watcher")

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.source.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the source does not end"
        if self.error is not None:
            raise self.error

    def _watch(self) -> None:
        try:
            for batch in self.source.batches():
                if len(batch):
                    self.rows.append(batch.copy())
                for row in batch:
                    self._take(row)
        except BaseException as error:
            self.error = error

    def _take(self, row: np.void) -> None:
        instrument = self.source.instruments[row["instrument"]]
        symbol, kind, flags = instrument.symbol, int(row["kind"]), int(row["flags"])
        if kind == GAP:
            self.valid[symbol] = False
            self.gaps[symbol] += 1
        elif kind == TRADE:
            self.prints[symbol].append(instrument.size(int(row["qty"])))
        elif kind == BOOK:
            if flags & CLEAR:
                self.books[symbol] = ({}, {})
            if row["side"]:
                levels = self.books[symbol][0 if row["side"] > 0 else 1]
                price = instrument.price(int(row["price"]))
                if row["qty"]:
                    levels[price] = instrument.size(int(row["qty"]))
                else:
                    levels.pop(price, None)
            if flags & CLEAR:
                self.valid[symbol] = True

    def agrees(self, dialect: Dialect) -> bool:
        """Whether all books are valid and those of the venue."""
        for symbol, truth in dialect.market.books.items():
            own = tuple(
                {t * dialect.tick: q * dialect.lot for t, q in side.items()} for side in (truth.bids, truth.asks)
            )
            if not self.valid[symbol] or own != self.books[symbol]:
                return False
        return True

    def alive(self) -> None:
        """Raise what ended the source, if anything did."""
        if self.error is not None:
            raise self.error


def until(holds: Callable[[], bool], watcher: Watcher, what: str) -> None:
    """Wait until something holds, for a long time if need be; AssertionError with the state when it does not."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        watcher.alive()
        assert time.monotonic() < end, f"{what} does not happen: {watcher.source.quality.live}, {watcher.valid}"
        time.sleep(0.01)
