"""L2 book: nanoseconds a delta, on a real recording or a made stream, with what must not make it slower.

Timed is one kernel that applies an array of (book, side, ticks, lots) to empty books that already have their room.
Before and after timing, every level of the final book is compared with a sorted dictionary.  Two ratios show
what the book is built for: prices times 1000 (a finer tick), and 64 books in turn instead of one.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import orjson

from benchmarks.harness import Measurement, seconds
from replay.kernel.book import NEED_ROOM, book_check, book_clear, book_levels, book_set, grow_book, make_books
from replay.kernel.jit import kernel
from tests.oracles.book import OracleBook

TITLE = "L2 book"
MADE = 300_000
BOOKS = 64
RUN = 20
"""Deltas of one book before the next book has its turn: a typical depth message."""

FINER = 1000
RUNS = 7


@kernel
def apply(books, cells, deltas, first):  # type: ignore[no-untyped-def]
    """Apply rows (book, side, ticks, lots) from `first` on: the row that needs room, or their number."""
    for i in range(first, len(deltas)):
        if book_set(books, cells, deltas[i, 0], deltas[i, 1], deltas[i, 2], deltas[i, 3]) == NEED_ROOM:
            return i
    return len(deltas)


def measure(capture: Path | None) -> list[Measurement]:
    """Deltas per second, and both ratios; `capture` is a Binance recording of one instrument."""
    deltas = recorded(capture) if capture else made()
    finer = deltas.copy()
    finer[:, 2] *= FINER
    what = f"{capture.name if capture else 'made stream'}, {len(deltas):,} deltas"
    streams = [Stream(deltas), Stream(finer), Stream(interleaved(deltas))]
    rounds = [[stream.time() for stream in streams] for _ in range(RUNS)]
    for stream in streams:
        stream.check()
    plain = tuple(times[0] for times in rounds)
    fine = tuple(times[1] / times[0] for times in rounds)
    many = tuple(times[2] / times[0] for times in rounds)
    return [
        Measurement("book deltas", what, "M/s", tuple(1e3 / ns for ns in plain)),
        Measurement("time of a delta", what, "ns", plain),
        Measurement("prices ×1000", what, "× time", fine, "a finer tick"),
        Measurement(f"{BOOKS} books", what, "× time", many, f"{RUN} deltas each in turn"),
    ]


class Stream:
    """Deltas and the books that they build: made once and compared with the oracle, then timed again and again."""

    def __init__(self, deltas: np.ndarray) -> None:
        self.deltas = deltas
        self.books, self.cells = make_books(int(deltas[:, 0].max()) + 1)
        self.apply()
        self.check()

    def apply(self) -> None:
        """Apply all deltas, giving room where it is asked for."""
        at = apply(self.books, self.cells, self.deltas, 0)
        while at < len(self.deltas):
            self.books, self.cells = grow_book(self.books, self.cells, int(self.deltas[at, 0]))
            at = apply(self.books, self.cells, self.deltas, at)

    def time(self) -> float:
        """Nanoseconds a delta from empty books on."""
        for b in range(len(self.books)):
            book_clear(self.books, self.cells, b)
        (elapsed,) = seconds(self.apply, runs=1)
        return elapsed / len(self.deltas) * 1e9

    def check(self) -> None:
        """Raise AssertionError unless every book is whole and book 0 is the one that a dictionary builds."""
        for b in range(len(self.books)):
            code = book_check(self.books, self.cells, b)
            if code:
                raise AssertionError(f"book {b} breaks invariant {code}")
        for side, levels in expected(self.deltas).items():
            ticks, lots = book_levels(self.books, self.cells, 0, side)
            if list(zip(ticks.tolist(), lots.tolist())) != levels:
                raise AssertionError(f"side {side} differs from the sorted dictionary")


def expected(deltas: np.ndarray) -> dict[int, list[tuple[int, int]]]:
    """Levels of book 0 by side, best first, from the oracle of the tests."""
    oracle = OracleBook()
    for _, side, ticks, lots in deltas[deltas[:, 0] == 0].tolist():
        oracle.set(side, ticks, lots)
    return {side: oracle.levels(side) for side in (1, -1)}


def interleaved(deltas: np.ndarray) -> np.ndarray:
    """The first part of the stream given to BOOKS books, RUN deltas each in turn, every book a step ahead in time.

    Books start at different places of the stream, so that no two see the same deltas at the same moment.
    """
    length = min(len(deltas), 60_000) // RUN * RUN
    chunks = deltas[:length].reshape(-1, RUN, 4)
    parts = []
    for b in range(BOOKS):
        own = np.roll(chunks, b * len(chunks) // BOOKS, axis=0).copy()
        own[:, :, 0] = b
        parts.append(own)
    return np.stack(parts, axis=1).reshape(-1, 4)


def recorded(path: Path) -> np.ndarray:
    """All levels of snapshots and depth messages of a Binance recording, on the grid that its own digits need."""
    rows = list(_levels(path))
    digits = [max(_digits(row[i]) for row in rows) for i in (1, 2)]
    grid = [Decimal(10) ** d for d in digits]
    return np.array(
        [(0, side, int(Decimal(price) * grid[0]), int(Decimal(size) * grid[1])) for side, price, size in rows],
        dtype=np.int64,
    )


def _levels(path: Path) -> Iterator[tuple[int, str, str]]:
    with gzip.open(path) as lines:
        for line in lines:
            message = orjson.loads(line.partition(b" ")[2])
            body = message.get("data", message)
            for side, names in ((1, ("b", "bids")), (-1, ("a", "asks"))):
                levels = body.get(names[0], body.get(names[1]))
                if isinstance(levels, list):
                    yield from ((side, price, size) for price, size in levels)


def _digits(number: str) -> int:
    return len(number.partition(".")[2].rstrip("0"))


def made(seed: int = 1) -> np.ndarray:
    """A stream like a busy venue's: a wandering touch, most changes near it, a fifth of them deletions."""
    rng = np.random.default_rng(seed)
    middle = 600_000 + np.cumsum(rng.integers(-2, 3, MADE))
    side = rng.choice((1, -1), MADE)
    distance = rng.exponential(np.where(rng.random(MADE) < 0.9, 400, 10_000)).astype(np.int64)
    lots = rng.integers(1, 5_000, MADE) * (rng.random(MADE) < 0.8)
    return np.stack([np.zeros(MADE, np.int64), side, middle - side * (1 + distance), lots], axis=1)
