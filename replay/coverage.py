"""What a recording covers, and how far it can be trusted: one pass over its events.

Per instrument and channel: rows, first and last time, silences, feed latency.  Per instrument: gaps of the book with
their causes, reconnects (snapshots after the first), spells with a crossed book, the clocks (`replay.clocks`), values
off the grid and times that were clamped.  Times are local ones, µs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from replay.clocks import PIECE_US, ClockPiece, LeastLags
from replay.events import BAD_TS, BOOK, CLEAR, GAP, LAST, OFF_TICK, SNAPSHOT, TRADE
from replay.kernel import cross
from replay.kernel.book import grow_book, make_books
from replay.sources import Source
from replay.store.layout import CHANNEL_OF, CHANNELS
from replay.units import US_PER_MIN, US_PER_MS, US_PER_S, iso_from_us

SILENCE_US = US_PER_MIN
QUANTILES = (0.0, 0.5, 0.9, 0.99, 0.999, 1.0)
MOST_LISTED = 1_000
STEPS = 16
"""Latencies are counted in steps of 2^(1/16), so quantiles are exact to 4.5 %."""


@dataclass(slots=True)
class Spell:
    """From `start_us` to `end_us` (None: to the end of the recording and perhaps beyond)."""

    start_us: int
    end_us: int | None
    cause: str

    @property
    def length_us(self) -> int | None:
        """How long it took."""
        return None if self.end_us is None else self.end_us - self.start_us

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"start_us": self.start_us, "end_us": self.end_us, "length_us": self.length_us, "cause": self.cause}

    def __str__(self) -> str:
        length = "never ended" if self.length_us is None else f"{self.length_us / US_PER_S:,.3f} s"
        return f"{self.cause} at {iso_from_us(self.start_us)}, {length}"


@dataclass(slots=True)
class Spells:
    """All spells of a kind: the first `MOST_LISTED` one by one, all by number and length."""

    listed: list[Spell] = field(default_factory=list)
    total: int = 0
    closed_us: int = 0
    open: Spell | None = None

    def begin(self, start_us: int, cause: str) -> None:
        """A spell begins, if none is under way."""
        if self.open is None:
            self.open = Spell(start_us, None, cause)
            self.total += 1
            if len(self.listed) < MOST_LISTED:
                self.listed.append(self.open)

    def end(self, end_us: int) -> None:
        """The spell that is under way, if any, ends."""
        if self.open is not None:
            self.open.end_us = end_us
            self.closed_us += end_us - self.open.start_us
            self.open = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"total": self.total, "closed_us": self.closed_us, "spells": [spell.as_dict() for spell in self.listed]}


@dataclass(slots=True)
class ChannelCoverage:
    """One channel; `lags[k]` counts messages with a feed latency of 2^(k/16) − 1 µs and more."""

    rows: int = 0
    messages: int = 0
    first_us: int = 0
    last_us: int = 0
    silences: Spells = field(default_factory=Spells)
    lags: np.ndarray = field(default_factory=lambda: np.zeros(64 * STEPS, np.int64))

    def push(self, rows: np.ndarray, silence_us: int) -> None:
        """Take rows of this channel."""
        ts = rows["ts"]
        times = np.concatenate([[self.last_us if self.rows else ts[0]], ts])
        for at in np.flatnonzero(np.diff(times) >= silence_us).tolist():
            self.silences.begin(int(times[at]), "silence")
            self.silences.end(int(times[at + 1]))
        self.first_us = self.first_us if self.rows else int(ts[0])
        self.last_us = int(ts[-1])
        ends = rows[(rows["flags"] & LAST) != 0]
        self.rows += len(rows)
        self.messages += len(ends)
        steps = np.log2(np.maximum(ends["ts"] - ends["exch_ts"], 0) + 1.0) * STEPS
        self.lags += np.bincount(np.round(steps).astype(np.int64), minlength=len(self.lags))

    def latency_us(self) -> dict[str, float]:
        """Quantiles of the feed latency, by "0.5", …"""
        upto = np.cumsum(self.lags)
        steps = [int(np.searchsorted(upto, max(1, np.ceil(q * self.messages)))) for q in QUANTILES]
        return {f"{q:g}": float(np.round(2 ** (step / STEPS) - 1, 1)) for q, step in zip(QUANTILES, steps)}

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        out: dict[str, Any] = {name: getattr(self, name) for name in ("rows", "messages", "first_us", "last_us")}
        return {**out, "silences": self.silences.as_dict(), "latency_us": self.latency_us()}


@dataclass(slots=True)
class InstrumentCoverage:
    """One instrument; counts are rows."""

    channels: dict[str, ChannelCoverage] = field(default_factory=dict)
    gaps: Spells = field(default_factory=Spells)
    crossed: Spells = field(default_factory=Spells)
    snapshots: int = 0
    off_tick: int = 0
    clamped: int = 0
    clock: list[ClockPiece] = field(default_factory=list)

    @property
    def reconnects(self) -> int:
        """Snapshots after the first one."""
        return max(0, self.snapshots - 1)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "channels": {name: channel.as_dict() for name, channel in self.channels.items()},
            "gaps": self.gaps.as_dict(),
            "crossed": self.crossed.as_dict(),
            "reconnects": self.reconnects,
            "off_tick": self.off_tick,
            "clamped": self.clamped,
            "clock": [asdict(piece) for piece in self.clock],
        }

    def lines(self, name: str, most: int = 10) -> list[str]:
        """For a terminal."""
        out = [name]
        for which, channel in self.channels.items():
            latency = channel.latency_us()
            out.append(
                f"  {which}: {channel.rows:,} rows, {iso_from_us(channel.first_us)} … {iso_from_us(channel.last_us)}, "
                f"latency {latency['0.5'] / US_PER_MS:,.1f} ms (99 %: {latency['0.99'] / US_PER_MS:,.1f})"
            )
        silences = [f"{which}: {s}" for which, channel in self.channels.items() for s in channel.silences.listed]
        for what, spells in (("gaps", self.gaps), ("crossed spells", self.crossed)):
            out.append(f"  {spells.total:,} {what}, {spells.closed_us / US_PER_S:,.3f} s")
            out += [f"    {spell}" for spell in spells.listed[:most]]
        out += [f"    {text}" for text in silences[:most]]
        out.append(
            f"  {self.reconnects:,} reconnects, {self.off_tick:,} rows off the grid, {self.clamped:,} times clamped"
        )
        if self.clock:
            begin, end = self.clock[0], self.clock[-1]
            offsets_us = begin.offset_at(begin.start_us), end.offset_at(end.end_us)
            first, last = (f"{offset_us / US_PER_MS:+,.3f} ms" for offset_us in offsets_us)
            drifts = [piece.drift_ppm for piece in self.clock]
            out.append(f"  clock {first} at first, {last} at last, drift {min(drifts):+.1f} … {max(drifts):+.1f} ppm")
        return out


class _Books:
    """The books of all instruments, to see where they are crossed."""

    def __init__(self, count: int) -> None:
        self.books, self.cells = make_books(count)

    def crossed(self, events: np.ndarray) -> np.ndarray:
        """Rows after whose message the book is crossed or locked."""
        at, found = 0, []
        while at < len(events):
            at, status = cross.find_crossed(events, at, self.books, self.cells)
            if status == cross.NO_ROOM:
                self.books, self.cells = grow_book(self.books, self.cells, int(events[at]["instrument"]))
            elif status == cross.CROSSED:
                found.append(at - 1)
        return np.array(found, np.int64)


def cover(
    source: Source, *, silence_us: int = SILENCE_US, piece_us: int = PIECE_US,
    progress: Callable[[int], None] | None = None,
) -> dict[str, InstrumentCoverage]:  # fmt: skip
    """Read a source once; what it covers, by `venue:symbol`.

    A channel is silent when nothing comes for `silence_us`; the clocks are judged in pieces of `piece_us`.  `progress`
    is told the rows read so far.  Raises what the source raises.
    """
    found = {instrument.name: InstrumentCoverage() for instrument in source.instruments}
    lags = [LeastLags() for _ in source.instruments]
    valid = [False] * len(lags)
    books = _Books(len(lags))
    rows = 0
    for events in source.batches():
        is_crossed = np.zeros(len(events), bool)
        is_crossed[books.crossed(events)] = True
        for index, coverage in enumerate(found.values()):
            own = events["instrument"] == index
            if own.any():
                _push(coverage, events[own], lags[index], silence_us)
                valid[index] = _push_book(coverage, events[own], is_crossed[own], valid[index])
        rows += len(events)
        if progress is not None:
            progress(rows)
    for coverage, least in zip(found.values(), lags):
        coverage.clock = least.envelope(piece_us)
    return found


def _push(coverage: InstrumentCoverage, rows: np.ndarray, lags: LeastLags, silence_us: int) -> None:
    kinds, flags = rows["kind"], rows["flags"]
    for name in CHANNELS:
        mine = rows[np.isin(kinds, [kind for kind, channel in CHANNEL_OF.items() if channel == name])]
        if len(mine):
            coverage.channels.setdefault(name, ChannelCoverage()).push(mine, silence_us)
    coverage.snapshots += int(np.count_nonzero(flags & CLEAR))
    coverage.off_tick += int(np.count_nonzero(flags & OFF_TICK))
    coverage.clamped += int(np.count_nonzero(flags & BAD_TS))
    timed = ((kinds == TRADE) | ((kinds == BOOK) & ((flags & SNAPSHOT) == 0))) & ((flags & BAD_TS) == 0)
    if timed.any():
        lags.push(rows["ts"][timed], rows["exch_ts"][timed])


def _push_book(coverage: InstrumentCoverage, rows: np.ndarray, is_crossed: np.ndarray, valid: bool) -> bool:
    """Gaps and crossed spells; whether the book is valid afterwards."""
    ends = (rows["kind"] == BOOK) & ((rows["flags"] & LAST) != 0)
    turns = (rows["kind"] == GAP) | (ends & ((rows["flags"] & SNAPSHOT) != 0))
    changes = np.append(False, is_crossed[ends][1:] != is_crossed[ends][:-1]) if ends.any() else np.zeros(0, bool)
    looked = turns.copy()
    looked[np.flatnonzero(ends)[changes]] = True
    looked[np.flatnonzero(ends)[:1]] = True
    for row, crossed in zip(rows[looked], is_crossed[looked].tolist()):
        ts = int(row["ts"])
        if row["kind"] == GAP:
            valid = False
            coverage.crossed.end(ts)
            lost = f"ids after {int(row['seq'])} lost, {int(row['value'])} came"
            coverage.gaps.begin(ts, lost if row["seq"] >= 0 else "reconnect")
            continue
        if row["flags"] & SNAPSHOT:
            valid = True
            coverage.gaps.end(ts)
        if valid and crossed:
            coverage.crossed.begin(ts, "crossed")
        else:
            coverage.crossed.end(ts)
    return valid
