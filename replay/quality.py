"""What was wrong with the data, counted.

Anomalies in the world are data, not exceptions: each kind is counted under its name, per instrument, with the first
place where it was seen, so that a person can go and look.  Gaps are listed one by one (bounded) because their times
matter.  Under the policy "raise" the first anomaly becomes a DataError instead.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from replay.units import US_PER_MS, iso_from_us

Policy = Literal["repair", "count", "raise"]

MAX_LISTED_GAPS = 1_000
"""Gaps beyond this many are counted but not listed one by one."""


@dataclass(slots=True)
class Gap:
    """One hole in a feed: ids in (last_good_id, next_id) are missing; the book was invalid from start to end.

    `end_us` is None while the book has not recovered.  `repair` says how it did: "snapshot", "refetch", "bridge"
    or "" (not yet).
    """

    instrument: str
    start_us: int
    last_good_id: int
    next_id: int
    end_us: int | None = None
    repair: str = ""

    @property
    def blind_us(self) -> int | None:
        """Length of time without a valid book, or None when it never came back."""
        return None if self.end_us is None else self.end_us - self.start_us


@dataclass(slots=True)
class InstrumentQuality:
    """Counts of one instrument of one source; all integers are numbers of messages unless named otherwise."""

    messages: int = 0
    depth_messages: int = 0
    applied: int = 0
    stale: int = 0
    duplicates: int = 0
    breaks: int = 0
    snapshots: int = 0
    snapshots_refused: int = 0
    trades: int = 0
    off_tick: int = 0
    exch_ts_backsteps: int = 0
    buffer_overflows: int = 0
    book_state: str = "empty"
    anomalies: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        values = {name: getattr(self, name) for name in InstrumentQuality.__slots__}
        values["anomalies"] = dict(self.anomalies)
        return values


@dataclass(slots=True)
class QualityReport:
    """Everything noticed while reading one source (or, merged, a whole run).

    `cache` counts blocks of events by the tier that had them, and what went wrong there (see `replay.cache`); `live`
    what happened to the connections and the queue of a live feed, or to its recorder.
    """

    instruments: dict[str, InstrumentQuality] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    gaps_total: int = 0
    clock_offset_us: float = 0.0
    max_feed_latency_us: int = 0
    ts_backsteps: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    cache: Counter[str] = field(default_factory=Counter)
    live: Counter[str] = field(default_factory=Counter)

    def of(self, instrument: str) -> InstrumentQuality:
        """The counts of `instrument`, made on first use."""
        return self.instruments.setdefault(instrument, InstrumentQuality())

    def add_gap(self, gap: Gap) -> None:
        """Count a gap and, while there are few, keep it."""
        self.gaps_total += 1
        if len(self.gaps) < MAX_LISTED_GAPS:
            self.gaps.append(gap)

    def merged(self, other: QualityReport) -> QualityReport:
        """A new report of both sources; a name in both is the same instrument recorded twice: counts add up."""
        total = QualityReport(
            gaps=[*self.gaps, *other.gaps][:MAX_LISTED_GAPS],
            gaps_total=self.gaps_total + other.gaps_total,
            clock_offset_us=max(self.clock_offset_us, other.clock_offset_us),
            max_feed_latency_us=max(self.max_feed_latency_us, other.max_feed_latency_us),
            ts_backsteps=self.ts_backsteps + other.ts_backsteps,
            ignored=self.ignored + other.ignored,
            cache=self.cache + other.cache,
            live=self.live + other.live,
        )
        for report in (self, other):
            for name, counts in report.instruments.items():
                mine = total.of(name)
                for key in InstrumentQuality.__slots__:
                    value = getattr(counts, key)
                    setattr(mine, key, value if key == "book_state" else getattr(mine, key) + value)
        return total

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        # Not dataclasses.asdict: it rebuilds a Counter from its (key, count) pairs and so counts the pairs.
        values = {name: getattr(self, name) for name in QualityReport.__slots__}
        values["instruments"] = {name: counts.as_dict() for name, counts in self.instruments.items()}
        values["gaps"] = [asdict(gap) for gap in self.gaps]
        values["ignored"] = dict(self.ignored)
        values["cache"] = dict(self.cache)
        values["live"] = dict(self.live)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> QualityReport:
        """The report of which `as_dict` made `values`.  TypeError, KeyError for anything else."""
        counts = {
            name: InstrumentQuality(**{**own, "anomalies": Counter(own["anomalies"])})
            for name, own in values["instruments"].items()
        }
        gaps = [Gap(**gap) for gap in values["gaps"]]
        tallies = {name: Counter(values[name]) for name in ("ignored", "cache", "live")}
        return cls(**{**values, "instruments": counts, "gaps": gaps, **tallies})

    def lines(self) -> list[str]:
        """The report as lines for a terminal."""
        out = [f"clock offset {self.clock_offset_us / US_PER_MS:+.3f} ms (added to local times)"]
        for name, q in self.instruments.items():
            out.append(
                f"{name}: {q.messages:,} messages, {q.depth_messages:,} depth ({q.applied:,} applied, "
                f"{q.stale:,} stale, {q.duplicates:,} duplicate), {q.trades:,} trades, "
                f"{q.breaks:,} gaps, book {q.book_state}"
            )
            if q.off_tick:
                out.append(f"  {q.off_tick:,} prices or sizes off the grid")
            if q.exch_ts_backsteps:
                out.append(f"  {q.exch_ts_backsteps:,} venue times stepped back and were clamped")
            out.extend(f"  {count:,} × {what}" for what, count in sorted(q.anomalies.items()))
        for gap in self.gaps[:20]:
            blind = "never recovered" if gap.blind_us is None else f"blind {gap.blind_us / US_PER_MS:,.1f} ms"
            how = f", repaired by {gap.repair}" if gap.repair else ""
            out.append(
                f"gap {gap.instrument} at {iso_from_us(gap.start_us)}: ids {gap.last_good_id}…{gap.next_id}, "
                f"{blind}{how}"
            )
        if self.gaps_total > 20:
            out.append(f"… {self.gaps_total - 20:,} more gaps (all in the JSON)")
        out.extend(f"ignored {count:,} × {what}" for what, count in sorted(self.ignored.items()))
        out.extend(f"live: {count:,} × {what}" for what, count in sorted(self.live.items()))
        if self.cache:
            out.append("cache: " + ", ".join(f"{count:,} × {what}" for what, count in sorted(self.cache.items())))
        return out
