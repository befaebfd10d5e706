"""The gap rules once more, as plainly as they can be said: lists, no table, no ring, no early exit."""

from __future__ import annotations

from dataclasses import dataclass, field

Delta = tuple[int, int, int]
"""first, last, prev"""


@dataclass
class GapModel:
    """One instrument; `out` collects ("snapshot", id), ("delta", last), ("bridged", last), ("gap", last good, next)."""

    futures: bool
    bridge: bool = False
    seen: int | None = None
    book: int | None = None
    joined: bool = False
    broken_once: bool = False
    kept: list[Delta] = field(default_factory=list)
    out: list[tuple] = field(default_factory=list)
    applied: int = 0
    stale: int = 0
    duplicates: int = 0
    breaks: int = 0
    refused: int = 0
    ignored: int = 0

    def chained(self, before: int, delta: Delta) -> bool:
        """Whether `delta` continues a stream that ended at `before`."""
        first, _, prev = delta
        return prev == before if self.futures else first <= before + 1

    def old(self, snapshot: int, delta: Delta) -> bool:
        """Whether the snapshot has it already."""
        return delta[1] < snapshot if self.futures else delta[1] <= snapshot

    def first_after(self, snapshot: int, delta: Delta) -> bool:
        """Whether `delta` joins the snapshot."""
        first, last, prev = delta
        if self.futures:
            return first <= snapshot <= last or prev == snapshot
        return first <= snapshot + 1 <= last

    def delta(self, delta: Delta) -> None:
        """A depth message arrives."""
        if self.seen is not None and delta[1] <= self.seen:
            self.duplicates += 1
            return
        hole = self.seen is not None and not self.chained(self.seen, delta)
        self.seen = delta[1]
        self.breaks += hole
        if self.book is None:
            self.kept.append(delta)
        elif self.judge(delta) and not hole:
            self.breaks += 1

    def judge(self, delta: Delta) -> bool:
        """Apply a delta to the valid book; True when it does not fit."""
        if not self.joined and self.old(self.book, delta):
            self.stale += 1
            return False
        fits = self.chained(self.book, delta) if self.joined else self.first_after(self.book, delta)
        if fits or self.bridge:
            self.out.append(("delta" if fits else "bridged", delta[1]))
            self.applied += 1
            self.book, self.joined = delta[1], True
        else:
            self.out.append(("gap", self.book, delta[0]))
            self.book = None
            self.kept.append(delta)
        return not fits

    def snapshot(self, snapshot: int) -> None:
        """A full book arrives."""
        if self.book is not None and snapshot <= self.book:
            self.ignored += 1
            return
        later = [delta for delta in self.kept if not self.old(snapshot, delta)]
        if later and not self.first_after(snapshot, later[0]):
            self.refused += 1
            return
        self.out.append(("snapshot", snapshot))
        self.book, self.joined = snapshot, False
        waiting, self.kept = self.kept, []
        while waiting:
            delta = waiting.pop(0)
            self.judge(delta)
            if self.book is None:
                self.kept = [delta, *waiting]
                return

    @property
    def state(self) -> str:
        """As in the quality report."""
        if self.book is not None:
            return "live"
        if any(row[0] == "gap" for row in self.out):
            return "stale"
        return "empty" if self.seen is None else "buffering"
