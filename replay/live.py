"""Live feeds by name, and what a person who watches one sees and does.

A venue is an entry point of the group `replay.live`.  Ctrl-C (or SIGTERM) asks the feed to end, so that what was done
so far is finished and kept; a second one interrupts.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from random import Random
from types import FrameType
from typing import Protocol

from replay.errors import ConfigError, did_you_mean
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.sources import Source
from replay.terminal import ProgressLine
from replay.units import NS_PER_US, US_PER_MS

LIVE_GROUP = "replay.live"
LOOK_S = 0.5
"""A status line is made no more often."""


class Health(Protocol):
    """What the connections of a feed do."""

    frames: int
    open: int
    problem: str


class LiveSource(Source, Protocol):
    """A source whose rows are received now; an empty batch only moves `reached_us` (µs, Unix time)."""

    reached_us: int

    @property
    def health(self) -> Health:
        """Of its connections."""

    def stop(self) -> None:
        """Let the batches end soon; from any thread or signal handler."""

    def close(self) -> None:
        """Stop, and wait until everything is closed and written."""


class LiveVenue(Protocol):
    """What an entry point of the group `replay.live` names."""

    name: str

    def at(self, sockets: str, rest: str) -> LiveVenue:
        """The same venue at other base addresses (`wss://host`, `https://host`); "" keeps the usual ones."""

    def open(
        self,
        symbols: Sequence[str],
        *,
        now_ns: Callable[[], int],
        random: Random,
        channels: Sequence[str] = (),
        instruments: Sequence[Instrument] = (),
        order: str = "arrival",
        record: Path | None = None,
    ) -> LiveSource:
        """A live source; ConfigError for what the venue does not have, TransportError when it does not answer."""


def find_live(name: str) -> LiveVenue:
    """The venue called `name`; ConfigError with the nearest name when there is none."""
    points = {point.name: point for point in entry_points(group=LIVE_GROUP)}
    if name not in points:
        raise ConfigError("venue", name, "has no live feed here", did_you_mean(name, points))
    venue: LiveVenue = points[name].load()
    return venue


@contextmanager
def interrupting(stop: Callable[[], None]) -> Iterator[None]:
    """In this block the first SIGINT or SIGTERM calls `stop`, the next one raises KeyboardInterrupt."""

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)
        stop()

    before = {number: signal.signal(number, first) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Status:
    """A line about a live feed: how far behind the wall clock it is, messages per second, gaps, trouble.

    `now_ns` tells Unix time, `clock` seconds for the rates.
    """

    def __init__(
        self, line: ProgressLine, source: LiveSource, now_ns: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.line, self.source, self.now_ns, self.clock = line, source, now_ns, clock
        self.looked_s, self.frames = clock(), 0

    def show(self, time_us: int, rest: str = "") -> None:
        """`time_us` is how far whoever takes the events has come."""
        now_s = self.clock()
        passed_s = now_s - self.looked_s
        if not self.line.active or passed_s < LOOK_S:
            return
        health, quality = self.source.health, self.source.quality
        lag_ms = (self.now_ns() // NS_PER_US - time_us) / US_PER_MS if time_us else 0.0
        rate = (health.frames - self.frames) / passed_s
        self.looked_s, self.frames = now_s, health.frames
        trouble = f"   {health.problem}" if health.problem else ""
        self.line.show(
            f"{health.open} sockets   {rate:,.0f} messages/s   lag {lag_ms:,.1f} ms   {gaps_in(quality)}{rest}{trouble}"
        )


def gaps_in(quality: QualityReport) -> str:
    """How many gaps there were, and which books are not valid now."""
    invalid = [name for name, counts in quality.instruments.items() if counts.book_state in ("buffering", "stale")]
    waiting = f" ({len(invalid)} books not valid)" if invalid else ""
    return f"{quality.gaps_total:,} gaps{waiting}"
