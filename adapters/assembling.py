"""Rows of downloaded data sets to events: the Python side of `replay.kernel.assemble`.

An `Assembler` owns the state of one lane (one channel of some instruments, files one after the other).  The size of
batches never changes the events.  A book that is crossed after a whole message is counted; under "repair" the
crossing levels of the other side are deleted by rows with REPAIRED that end the message: bids, when the message set
the best ask, else asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from adapters.sequencing import grid
from replay.errors import ConfigError, DataError, did_you_mean
from replay.events import BOOK, BUY, CLEAR, GAP_BEFORE, LAST, OFF_TICK, REPAIRED, SELL, empty_events
from replay.instruments import Instrument
from replay.kernel import assemble as kernel
from replay.kernel import cross
from replay.kernel.book import book_levels, grow_book, make_books
from replay.kernel.rows import CHANNELS
from replay.quality import Gap, QualityReport

LOG_ROWS = 256

Where = Callable[[int], tuple[str, int]]
"""(path, line) of the `line` of a ROW."""


def policy_code(policy: str) -> int:
    """The policy as the kernel knows it; ConfigError when there is none of that name."""
    if policy not in kernel.POLICIES:
        raise ConfigError("policy", policy, "no such policy", did_you_mean(str(policy), kernel.POLICIES))
    return kernel.POLICIES[policy]


class Assembler:
    """State of one lane; `offset_us` is added to local times, `horizon_us` bounds the feed latency (both µs)."""

    def __init__(
        self,
        instruments: Sequence[Instrument],
        where: Where,
        *,
        offset_us: int = 0,
        horizon_us: int = 10_000_000,
        policy: str = "repair",
    ) -> None:
        self.instruments, self.where = tuple(instruments), where
        count = len(self.instruments)
        self.setup = np.zeros(1, kernel.SETUP)
        self.setup[0] = (offset_us, horizon_us, policy_code(policy))
        self.feeds = np.zeros(count, kernel.FEED)
        for feed, instrument in zip(self.feeds, self.instruments):
            feed["price_step"], feed["price_digits"] = grid(instrument.tick)
            feed["size_step"], feed["size_digits"] = grid(instrument.lot)
        self.feeds["last_ident"] = -1
        self.latest = np.zeros((count, CHANNELS), np.int64)
        self.log = np.zeros(LOG_ROWS, kernel.GAP_LOG)
        self.before = np.zeros(1, kernel.ROW)
        self.cursor = np.zeros(1, kernel.CURSOR)
        self.out, self.lines = empty_events(2), np.zeros(2, np.int64)
        self.gaps = QualityReport()
        self.books: tuple[np.ndarray, np.ndarray] | None = None

    def push(self, rows: np.ndarray, count: int, batch_rows: int) -> Iterator[np.ndarray]:
        """Take `count` ROWs; yield batches of about `batch_rows` events, valid until the next step.

        DataError with file and line for a number that does not fit and, under "raise", for the first anomaly.
        """
        cursor = self.cursor[0]
        cursor["next"] = 0
        self._resize(batch_rows + 1)
        while True:
            status = kernel.assemble(
                rows, count, self.setup[0], self.feeds, self.latest, self.log, self.out, self.lines, self.before, cursor
            )
            if status == kernel.DONE:
                return
            if status == kernel.LOG_FULL:
                self._drain_log()
            elif status == kernel.OUT_FULL:
                if not cursor["done"]:
                    self._resize(2 * len(self.out))
                yield from self.flush()
            else:
                row = rows[cursor["next"]]
                name = self.instruments[row["owner"]].name
                problem = "a price or size is too large for its tick or lot"
                if status == kernel.ANOMALY:
                    problem = kernel.ANOMALIES[cursor["code"]]
                raise DataError(f"{name}: {problem}", *self.where(int(row["line"])))

    def flush(self) -> Iterator[np.ndarray]:
        """Complete messages not handed out yet, as one batch, if any."""
        cursor = self.cursor[0]
        done, rows = int(cursor["done"]), int(cursor["rows"])
        if done:
            yield self._uncrossed(self.out[:done])
            self.out[: rows - done] = self.out[done:rows].copy()
            self.lines[: rows - done] = self.lines[done:rows].copy()
            cursor["rows"], cursor["done"] = rows - done, 0

    def finish(self) -> Iterator[np.ndarray]:
        """Close the open message, then as `flush`."""
        kernel.close(self.out, self.cursor[0])
        yield from self.flush()

    def _resize(self, rows: int) -> None:
        if len(self.out) < rows:
            bigger, lines = empty_events(rows), np.zeros(rows, np.int64)
            bigger[: len(self.out)], lines[: len(self.lines)] = self.out, self.lines
            self.out, self.lines = bigger, lines

    def _uncrossed(self, events: np.ndarray) -> np.ndarray:
        """The events with the rows that uncross books; looks only where there are books."""
        if not (events["kind"] == BOOK).any():
            return events
        books, cells = self.books or make_books(len(self.instruments))
        at, parts, begun = 0, [], 0
        while at < len(events):
            at, status = cross.find_crossed(events, at, books, cells)
            if status == cross.NO_ROOM:
                books, cells = grow_book(books, cells, int(events[at]["instrument"]))
            elif status == cross.CROSSED:
                self._note_crossed(events[at - 1], at - 1)
                if self.setup[0]["policy"] == kernel.REPAIR:
                    parts += [events[begun:at], _repair(events[begun:at], books, cells)]
                    parts[-2]["flags"][-1] &= ~LAST
                    cross.find_crossed(parts[-1], 0, books, cells)
                    begun = at
        self.books = (books, cells)
        return np.concatenate([*parts, events[begun:]]) if parts else events

    def _note_crossed(self, event: np.void, row: int) -> None:
        self.feeds[event["instrument"]]["anomalies"][kernel.CROSSED] += 1
        if self.setup[0]["policy"] == kernel.RAISE:
            name = self.instruments[event["instrument"]].name
            raise DataError(f"{name}: {kernel.ANOMALIES[kernel.CROSSED]}", *self.where(int(self.lines[row])))

    def _drain_log(self) -> None:
        cursor = self.cursor[0]
        for entry in self.log[: cursor["logged"]]:
            name = self.instruments[entry["owner"]].name
            self.gaps.add_gap(Gap(name, int(entry["start_us"]), -1, -1, int(entry["end_us"]), "snapshot"))
        cursor["logged"] = 0

    def report(self, report: QualityReport) -> None:
        """Add the counts so far to `report`."""
        self._drain_log()
        for gap in self.gaps.gaps:
            report.add_gap(gap)
        for instrument, feed in zip(self.instruments, self.feeds):
            if feed["gap_us"]:
                report.add_gap(Gap(instrument.name, int(feed["gap_us"]), -1, -1))
        report.gaps_total += self.gaps.gaps_total - len(self.gaps.gaps)
        report.ts_backsteps += int(self.feeds["anomalies"][:, kernel.OFF_ORDER].sum())
        for instrument, feed in zip(self.instruments, self.feeds):
            if not feed["messages"]:
                continue
            q = report.of(instrument.name)
            q.messages += int(feed["messages"])
            q.depth_messages += int(feed["deltas"] + feed["stale"])
            q.applied += int(feed["deltas"])
            q.stale += int(feed["stale"])
            q.breaks += int(feed["reconnects"])
            q.snapshots += int(feed["snapshots"])
            q.trades += int(feed["trades"])
            q.off_tick += int(feed["off_tick"])
            q.exch_ts_backsteps += int(feed["backsteps"])
            q.duplicates += int(feed["anomalies"][kernel.REPEATED])
            if feed["live"] or feed["gap_us"]:
                q.book_state = "live" if feed["live"] else "stale"
            for what, times in zip(kernel.ANOMALIES, feed["anomalies"]):
                if times:
                    q.anomalies[what] += int(times)
            if feed["early_rows"]:
                q.anomalies["book row before the first snapshot, left out"] += int(feed["early_rows"])


def _repair(events: np.ndarray, books: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Rows that delete the crossing levels after the message that ends `events`."""
    last = events[-1]
    before = np.flatnonzero(events["flags"][:-1] & LAST)
    message = events[before[-1] + 1 if len(before) else 0 :]
    i = int(last["instrument"])
    best_ask = int(books["ask_ticks"][i])
    asked = ((message["side"] == SELL) & (message["price"] == best_ask) & (message["qty"] > 0)).any()
    side = BUY if asked else SELL
    ticks, _ = book_levels(books, cells, i, side)
    crossing = ticks[ticks >= best_ask] if asked else ticks[ticks <= int(books["bid_ticks"][i])]
    rows = np.repeat(events[-1:], len(crossing))
    rows["side"], rows["price"], rows["qty"] = side, crossing, 0
    rows["flags"] = (rows["flags"] & ~(LAST | CLEAR | GAP_BEFORE | OFF_TICK)) | REPAIRED
    rows["flags"][-1] |= LAST
    return rows
