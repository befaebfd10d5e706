"""Joining a stream of events in the middle: whole books for those who missed what came before.

`Keyframes` follows the events that one side sends and can say at any message's end what every valid book holds.
`Rejoining` stands on the other side: after a loss it makes each book invalid (a GAP row), lets everything through, and
takes of the next keyframe the books that no snapshot of the feed has restored until then.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from replay.events import BOOK, BUY, CLEAR, GAP, LAST, REPAIRED, SELL, SNAPSHOT, empty_events
from replay.instruments import Instrument
from replay.kernel import cross
from replay.kernel.book import book_check, book_levels, grow_book, make_books
from replay.quality import Gap, QualityReport


class Keyframes:
    """The books of `count` instruments as of the last batch that was pushed; `horizon_us` is that of the source."""

    def __init__(self, count: int, horizon_us: int) -> None:
        self.horizon_us = horizon_us
        self.books, self.cells = make_books(count)
        self.valid = np.zeros(count, bool)
        self.seq = np.full(count, -1, np.int64)
        self.exch_ts = np.zeros(count, np.int64)

    def push(self, events: np.ndarray) -> None:
        """Take EVENT rows of whole messages."""
        at = 0
        while at < len(events):
            at, status = cross.find_crossed(events, at, self.books, self.cells)
            if status == cross.NO_ROOM:
                self.books, self.cells = grow_book(self.books, self.cells, int(events[at]["instrument"]))
        rows = events[events["kind"] == BOOK]
        self.seq[rows["instrument"]] = rows["seq"]  # of several rows of one instrument the last one counts
        self.exch_ts[rows["instrument"]] = rows["exch_ts"]
        turns = events[(events["kind"] == GAP) | (events["flags"] & CLEAR != 0)]
        self.valid[turns["instrument"]] = turns["kind"] != GAP

    def rows(self, ts: int) -> np.ndarray:
        """A snapshot message of each valid book, received at `ts` (µs)."""
        return np.concatenate([empty_events(0), *(self._book(int(i), ts) for i in np.flatnonzero(self.valid))])

    def check(self) -> None:
        """AssertionError when a book contradicts itself."""
        assert all(book_check(self.books, self.cells, i) == 0 for i in range(len(self.valid))), "a book is broken"

    def _book(self, i: int, ts: int) -> np.ndarray:
        bids, asks = (book_levels(self.books, self.cells, i, side) for side in (BUY, SELL))
        count = len(bids[0])
        out = empty_events(max(1, count + len(asks[0])))
        out["ts"], out["exch_ts"], out["seq"] = ts, max(self.exch_ts[i], ts - self.horizon_us), self.seq[i]
        out["instrument"], out["kind"], out["flags"] = i, BOOK, SNAPSHOT | REPAIRED
        for part, side, (ticks, lots) in ((out[:count], BUY, bids), (out[count:], SELL, asks)):
            if len(ticks):
                part["side"], part["price"], part["qty"] = side, ticks, lots
        out["flags"][0] |= CLEAR
        out["flags"][-1] |= LAST
        return out


class Rejoining:
    """What a receiver knows of its books; `horizon_us` as in `replay.sources.Source`."""

    def __init__(self, instruments: Sequence[Instrument], horizon_us: int) -> None:
        self.instruments, self.horizon_us = tuple(instruments), horizon_us
        self.exch_ts = np.zeros(len(self.instruments), np.int64)
        self.open: dict[int, Gap] = {}
        self.gaps = QualityReport()

    def pushed(self, events: np.ndarray) -> np.ndarray:
        """Note what the feed itself tells; returns the rows."""
        rows = events[events["kind"] == BOOK]
        self.exch_ts[rows["instrument"]] = rows["exch_ts"]
        if self.open:
            whole = rows[rows["flags"] & CLEAR != 0]
            for i, ts in zip(whole["instrument"].tolist(), whole["ts"].tolist()):
                self._close(i, ts)
        return events

    def lost(self, ts: int) -> np.ndarray:
        """A GAP row at `ts` (µs) for each book that is not waiting already."""
        missing = np.array([i for i in range(len(self.instruments)) if i not in self.open], np.int64)
        out = empty_events(len(missing))
        out["ts"], out["instrument"], out["kind"], out["flags"] = ts, missing, GAP, LAST
        out["exch_ts"] = np.minimum(ts, np.maximum(self.exch_ts[missing], ts - self.horizon_us))
        out["seq"] = out["value"] = -1
        for i in missing.tolist():
            self.open[i] = Gap(self.instruments[i].name, ts, -1, -1)
            self.gaps.add_gap(self.open[i])
        return out

    def restored(self, keyframe: np.ndarray) -> np.ndarray:
        """The rows of a keyframe that are of use."""
        wanted = keyframe[np.isin(keyframe["instrument"], list(self.open))]
        return self.pushed(wanted)

    def _close(self, i: int, ts: int) -> None:
        gap = self.open.pop(i, None)
        if gap is not None:
            gap.end_us, gap.repair = ts, "snapshot"

    def check(self) -> None:
        """AssertionError when a gap is open twice or closed in secret."""
        still = [gap for gap in self.gaps.gaps if gap.end_us is None]
        assert len(still) <= len(self.open), "a gap is open that nobody waits for"
        assert all(gap.end_us is None for gap in self.open.values()), "a closed gap is waited for"
