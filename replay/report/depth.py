"""What a result does not hold, read again from its data: the path of the price, and books around chosen moments.

One pass over the sources of a Replay: prices are those of the trades, by venue time like the fills; books are rebuilt
as the strategy saw them, by local time, and looked at once a column.  Own quotes lie over them as the strategy knew
them: from the answer that an order is live to the next answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.errors import ConfigError
from replay.events import BOOK, EVENT, GAP, TRADE
from replay.executions import mids_of
from replay.kernel import codes, verify
from replay.kernel.book import book_levels, grow_book, make_books
from replay.kernel.decimate import kept
from replay.report.series import MOST_BUCKETS, packed
from replay.sources import digests_of
from replay.units import US_PER_S

if TYPE_CHECKING:
    from replay.engine import Replay
    from replay.results import Result

WINDOW_US = 12 * US_PER_S
COLUMNS = 240
ROWS = 72
LEVELS = 400
"""Levels a side that are looked at in each column."""
_MANY = 1_000_000
"""Trades of one instrument that are held before they are thinned."""

_Book = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Bid ticks, bid lots, ask ticks, ask lots; best first."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time (µs, local) to look at instrument number `instrument`, and why."""

    time_us: int
    instrument: int
    why: str


@dataclass(slots=True)
class Columns:
    """The book around a moment: at each of `times` (µs) its levels, or None while it was not known."""

    moment: Moment
    times: np.ndarray
    books: list[_Book | None] = field(default_factory=list)

    @classmethod
    def around(cls, moment: Moment) -> Columns:
        """`COLUMNS` of them; a column shows the book at its end."""
        step = WINDOW_US // COLUMNS
        return cls(moment, moment.time_us - WINDOW_US // 2 + step * np.arange(1, COLUMNS + 1))


@dataclass(frozen=True, slots=True)
class Reread:
    """Trades by instrument, (venue times µs, ticks), thinned where there are many; and the books."""

    trades: dict[int, tuple[np.ndarray, np.ndarray]]
    columns: list[Columns]


def check_same_data(result: Result, replay: Replay) -> None:
    """ConfigError when `replay` reads other data than the result was made from, as far as digests tell."""
    found = {digest for source in replay.sources for digest in digests_of(source).values()}
    known = set(result.data.values())
    names = [instrument.name for instrument in replay.instruments]
    missing = [instrument.name for instrument in result.instruments if instrument.name not in names]
    if missing or (known and found and not known & found):
        what = f"lacks {missing[0]}" if missing else "is other data, by SHA-256, than the result was made from"
        given = ", ".join(source.name for source in replay.sources)
        raise ConfigError("replay", given, what, "name the files or the store that were replayed")


def reread(result: Result, replay: Replay, moments: Sequence[Moment]) -> Reread:
    """Prices of all instruments with fills, and the books around `moments`.

    Raises ConfigError when it is not the data of the result, and what the sources raise.
    """
    check_same_data(result, replay)
    names = [instrument.name for instrument in result.instruments]
    traded = np.unique(result.fills["instrument"]).tolist()
    trades: dict[int, list[np.ndarray]] = {i: [] for i in traded}
    columns = [Columns.around(moment) for moment in moments]
    for source in replay.sources:
        owners = [names.index(i.name) if i.name in names else -1 for i in source.instruments]
        mine = [each for each in columns if each.moment.instrument in owners and not any(each.books)]
        reader = _Reader(len(owners), owners, mine)
        for batch in source.batches():
            for i in trades:
                if i in owners:
                    rows = batch[(batch["kind"] == TRADE) & (batch["instrument"] == owners.index(i))]
                    trades[i] = _appended(trades[i], np.column_stack([rows["exch_ts"], rows["price"]]))
            reader.feed(batch)
        reader.finish()
    return Reread({i: _path(parts) for i, parts in trades.items()}, columns)


def _appended(parts: list[np.ndarray], more: np.ndarray) -> list[np.ndarray]:
    """`parts` and `more` (time, ticks), thinned when they have become many."""
    parts = [*parts, more]
    return parts if sum(map(len, parts)) < _MANY else [np.column_stack(_path(parts))]


def _path(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Times and ticks in order of time, thinned."""
    rows = np.concatenate([np.zeros((0, 2), np.int64), *parts])
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    rows = rows[kept(rows[:, 0], rows[:, 1], MOST_BUCKETS)]
    return rows[:, 0], rows[:, 1]


class _Reader:
    """Rebuilds the books of one source and looks at them when a column ends."""

    def __init__(self, count: int, owners: list[int], columns: Iterable[Columns]) -> None:
        self.owners = owners
        self.books, self.cells = make_books(count)
        self.checks = verify.make_checks(count, room=1)
        self.due = []
        for each in columns:
            each.books.clear()
            self.due += [(int(time), each) for time in each.times]
        self.due.sort(key=lambda pair: pair[0], reverse=True)

    def feed(self, batch: np.ndarray) -> None:
        """Take the next rows; of no use, and skipped, once all columns are done."""
        if not self.due or not len(batch):
            return
        rows = batch[(batch["kind"] == BOOK) | (batch["kind"] == GAP)]
        self._look(rows, int(batch["ts"][-1]))

    def finish(self) -> None:
        """No more rows come."""
        while self.due:
            self._look(np.zeros(0, EVENT), self.due[0][0] + 1)

    def _look(self, rows: np.ndarray, until_us: int) -> None:
        """Apply `rows`, with a look at the books at each column that ends before `until_us`."""
        while self.due and self.due[-1][0] < until_us:
            time_us, columns = self.due.pop()
            end = int(np.searchsorted(rows["ts"], time_us, side="right"))
            self._apply(rows[:end])
            rows = rows[end:]
            columns.books.append(self._levels(self.owners.index(columns.moment.instrument)))
        self._apply(rows)

    def _apply(self, rows: np.ndarray) -> None:
        at = 0
        while at < len(rows):
            at = verify.check_batch(rows, at, self.books, self.cells, self.checks)
            if at < len(rows):
                self.books, self.cells = grow_book(self.books, self.cells, int(rows[at]["instrument"]))

    def _levels(self, i: int) -> _Book | None:
        if not self.checks.counts[i]["valid"]:
            return None
        bids, asks = (book_levels(self.books, self.cells, i, side, LEVELS) for side in (1, -1))
        return (*bids, *asks) if len(bids[0]) and len(asks[0]) else None


def heat_map(columns: Columns, result: Result) -> dict[str, Any] | None:
    """The chart's data, JSON-ready: lots by price and time, own quotes and fills; None when no book was known.

    Rows are prices from `low` (ticks) up, `each` ticks high; `lots` float32 row by row as base64, NaN where the book
    was not known.  Times are µs after the start of the window.
    """
    known = [book for book in columns.books if book is not None]
    if not known:
        return None
    i, first_us = columns.moment.instrument, int(columns.times[0] - WINDOW_US // COLUMNS)
    quotes = _quotes(result, i, first_us, first_us + WINDOW_US)
    low, each = _scale(known, quotes)
    cells = np.full((ROWS, COLUMNS), np.nan, np.float32)
    for k, book in enumerate(columns.books):
        if book is not None:
            cells[:, k] = 0
            for ticks, lots in (book[:2], book[2:]):
                row = (ticks - low) // each
                inside = (row >= 0) & (row < ROWS)
                np.add.at(cells[:, k], row[inside], lots[inside].astype(np.float32))
    fills = result.fills[(result.fills["instrument"] == i)]
    fills = fills[(fills["local_ts"] >= first_us) & (fills["local_ts"] < first_us + WINDOW_US)]
    instrument = result.instruments[i]
    touch = [[int(book[0][0]), int(book[2][0])] if book is not None else None for book in columns.books]
    return {
        "why": columns.moment.why, "instrument": instrument.name, "first": first_us, "span": WINDOW_US,
        "columns": COLUMNS, "rows": ROWS, "low": low, "each": each, "tick": float(instrument.tick),
        "lot": float(instrument.lot), "lots": packed(cells.ravel(), "<f4"), "touch": touch, "quotes": quotes,
        "fills": [[int(f["local_ts"]) - first_us, int(f["ticks"]), int(f["side"]), int(f["maker"])] for f in fills],
    }  # fmt: skip


def _scale(known: list[_Book], quotes: list[list[int]]) -> tuple[int, int]:
    """Lowest tick and ticks a row, so that the touch is in the picture, own quotes near it, and air around them."""
    bids, asks = np.array([book[0][0] for book in known]), np.array([book[2][0] for book in known])
    air = max(12, 2 * int(np.median(asks - bids)))
    low, high = int(bids.min()) - air, int(asks.max()) + air
    near = [ticks for _, _, ticks, _ in quotes if low - 3 * air < ticks < high + 3 * air]
    low, high = min([low, *(ticks - 4 for ticks in near)]), max([high, *(ticks + 4 for ticks in near)])
    each = -(-(high - low + 1) // ROWS)
    return (low + high) // 2 - each * ROWS // 2, each


def _quotes(result: Result, i: int, first_us: int, last_us: int) -> list[list[int]]:
    """[from µs, to µs, ticks, side] of own limit orders in a window, as answers told of them; µs after `first_us`."""
    rows = result.orders
    rows = rows[(rows["instrument"] == i) & (rows["answer"] == 1) & (rows["kind"] == codes.LIMIT)]
    rows = rows[np.lexsort((np.arange(len(rows)), rows["order_id"]))]
    same = np.append(rows["order_id"][1:] == rows["order_id"][:-1], False)
    ends = np.where(same, np.append(rows["local_ts"][1:], 0), result.last_us)
    live = np.isin(rows["status"], (codes.LIVE, codes.PARTLY_FILLED))
    shown = live & (ends > first_us) & (rows["local_ts"] < last_us)
    return [
        [max(0, int(row["local_ts"]) - first_us), min(last_us, int(end)) - first_us, int(row["ticks"]),
         int(row["side"])]
        for row, end in zip(rows[shown], ends[shown])
    ]  # fmt: skip


def moments_of(result: Result) -> list[Moment]:
    """Up to three worth a look: the busiest stretch, the fill that the market turned against most, the deepest fall."""
    fills = result.fills
    if not len(fills):
        return []
    times = np.sort(fills["local_ts"])
    after = np.searchsorted(times, times + WINDOW_US // 2) - np.arange(len(times))
    busy = int(np.argmax(after))
    at = int(times[busy]) + WINDOW_US // 4
    found = [Moment(at, nearest_instrument(fills, at), "most fills")]
    worst = _worst_fill(result)
    if worst is not None:
        found.append(worst)
    for currency in dict.fromkeys(part.currency for part in result.summary_by_instrument):
        drawdown = result.curve(currency).drawdown(None)
        if drawdown is not None:
            found.append(
                Moment(drawdown.trough_us, nearest_instrument(fills, drawdown.trough_us), "bottom of the drawdown")
            )
    apart: list[Moment] = []
    for moment in (_inside(result, moment) for moment in found):
        if all(abs(moment.time_us - other.time_us) > WINDOW_US // 2 for other in apart):
            apart.append(moment)
    return apart[:3]


def _inside(result: Result, moment: Moment) -> Moment:
    """The moment, moved so that its window lies in the run where that is possible."""
    half = WINDOW_US // 2
    time_us = max(result.first_us + half, min(result.last_us - half, moment.time_us))
    return Moment(time_us, moment.instrument, moment.why)


def nearest_instrument(fills: np.ndarray, time_us: int) -> int:
    """The instrument of the fill nearest to a time (µs, local); the first without fills."""
    if not len(fills):
        return 0
    return int(fills["instrument"][np.argmin(np.abs(fills["local_ts"] - time_us))])


def _worst_fill(result: Result) -> Moment | None:
    """The fill after which the mid moved most against it within a second, in parts of the price."""
    worst: tuple[float, Moment] | None = None
    for i in range(len(result.instruments)):
        fills = result.fills[result.fills["instrument"] == i]
        now, later = (mids_of(result.markouts, i, len(fills), horizon) for horizon in (0, US_PER_S))
        known = (now > 0) & (later > 0)
        if known.any():
            drift = np.where(known, fills["side"] * (later - now) / np.maximum(now, 1), np.inf)
            k = int(np.argmin(drift))
            if drift[k] < 0 and (worst is None or drift[k] < worst[0]):
                worst = float(drift[k]), Moment(int(fills["local_ts"][k]), i, "worst fill after one second")
    return None if worst is None else worst[1]
