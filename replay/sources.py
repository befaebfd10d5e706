"""Sources: where events come from.

A source is one recording or feed.  It yields batches of event records in order of local receipt; each batch is a
fresh or reused array that the consumer copies before it asks for the next one.  The venue times of its rows are
bounded from below: no row has `exch_ts < ts - horizon_us`, which is what lets the engine put the venue side in order
while it holds only a short stretch of the recording.

Adapters are found by name in the entry-point group `replay.adapters`; a third-party package plugs in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import entry_points
from os import fspath
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from replay.errors import ConfigError, did_you_mean
from replay.events import EVENT, LAST
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.units import INT64_MIN

ADAPTER_GROUP = "replay.adapters"
STREAM_GROUP = "replay.streams"
BATCH_ROWS = 32_768


@runtime_checkable
class Source(Protocol):
    """One stream of events in order of local receipt.

    A method `digests() -> dict[str, str]`, which may be missing, names what is read (see `digests_of`).  An attribute
    `reached_us`, which may be missing, tells after an empty batch that no row with an earlier `ts` will come: with it
    a live feed lets time pass while no message comes.
    """

    @property
    def name(self) -> str:
        """What a person calls it: a file name, a URL."""

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What `event["instrument"]` indexes; complete before the first batch."""

    @property
    def quality(self) -> QualityReport:
        """Counts so far; final when the batches have ended."""

    @property
    def horizon_us(self) -> int:
        """No row's `exch_ts` lies further than this before its `ts`."""

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Arrays of EVENT records, at most about `rows` long; a message is never cut."""


class Adapter(Protocol):
    """What an entry point of the group `replay.adapters` names."""

    name: str

    def open(
        self,
        paths: Sequence[Path],
        *,
        instruments: Sequence[Instrument] = (),
        drop_every: int = 0,
        drop_from: int = 0,
        **options: Any,
    ) -> Source:
        """Recordings as a source; several files of one instrument are one recording.

        `instruments` gives ticks and lots that are known; others are found in the data.  `drop_every`, `drop_from`
        leave out the depth messages whose 0-based ordinal i has i >= drop_from and i % drop_every == 0 (0: none).
        `options` are the adapter's own.  ConfigError for wrong options, DataError for
        what cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Part:
    """Recordings that must be read together, and can be without any others.

    `end_us` is the midnight that ends their UTC day, where whoever made the files cut them there by local time; None
    when they may hold any times.
    """

    paths: tuple[Path, ...]
    end_us: int | None = None


class Divisible(Protocol):
    """An adapter that can tell, without reading them whole, which recordings need each other."""

    def parts(self, paths: Sequence[Path]) -> list[Part]:
        """All paths, each in one part; no instrument and day is in two parts.  DataError for what cannot be read."""


_METER: ContextVar[Callable[[int], None]] = ContextVar("_METER", default=lambda count: None)


def count_read(count: int) -> None:
    """Tell whoever watches (`metered`) that a transport took `count` bytes from a recording."""
    _METER.get()(count)


@contextmanager
def metered(meter: Callable[[int], None]) -> Iterator[None]:
    """Call `meter(bytes)` while recordings are read in this block and thread; what it raises ends the reading."""
    token = _METER.set(meter)
    try:
        yield
    finally:
        _METER.reset(token)


def adapter_names() -> list[str]:
    """Names of all installed adapters."""
    return sorted(point.name for point in entry_points(group=ADAPTER_GROUP))


def find_adapter(name: str) -> Adapter:
    """The adapter called `name`; ConfigError with the nearest name when there is none."""
    for point in entry_points(group=ADAPTER_GROUP):
        if point.name == name:
            adapter: Adapter = point.load()
            return adapter
    raise ConfigError("adapter", name, "no such adapter", did_you_mean(name, adapter_names()))


def open_stream(url: str) -> Source:
    """The source at an address such as `redis://…`; its scheme names an entry point of the group `replay.streams`.

    ConfigError for a scheme that is not known, and what the source raises when it cannot be opened.
    """
    scheme = url.partition(":")[0]
    points = {point.name: point for point in entry_points(group=STREAM_GROUP)}
    if scheme not in points:
        raise ConfigError("address", scheme, "is the scheme of no stream", did_you_mean(scheme, points))
    opened: Callable[[str], Source] = points[scheme].load()
    return opened(url)


class ArraySource:
    """Events that are already in memory, as a source (tests, generated markets, small files).

    `events` must be EVENT records sorted by `ts` with messages closed by LAST.  ConfigError otherwise.
    """

    def __init__(self, events: np.ndarray, instruments: Sequence[Instrument], name: str = "array") -> None:
        if events.dtype != EVENT:
            raise ConfigError("events", str(events.dtype), "must be an array of replay.events.EVENT records")
        if len(events) and np.any(np.diff(events["ts"]) < 0):
            at = int(np.argmax(np.diff(events["ts"]) < 0)) + 1
            raise ConfigError("events", f"row {at}", "ts steps back", "sort the rows by ts (stable)")
        if len(events) and not events["flags"][-1] & LAST:
            raise ConfigError("events", f"row {len(events) - 1}", "the last message is not closed by LAST")
        self.name = name
        self.instruments = tuple(instruments)
        self.quality = QualityReport()
        self.events = events
        late = events["ts"] - events["exch_ts"]
        self.horizon_us = max(0, int(late.max())) if len(events) else 0

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Slices of the array that end with a message."""
        return cut_batches(self.events, rows)


def digests_of(source: Source) -> dict[str, str]:
    """What the source reads, for the record: SHA-256 in hex by file or day; {} when it has no method `digests`."""
    digests: Callable[[], dict[str, str]] | None = getattr(source, "digests", None)
    return {} if digests is None else digests()


def reached_by(source: Source) -> int:
    """Up to when (µs) an empty batch of the source says that no row will come; INT64_MIN when it does not say."""
    reached_us: int = getattr(source, "reached_us", INT64_MIN)
    return reached_us


def file_digests(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 in hex of each file, by its path."""
    found = {}
    for path in paths:
        with path.open("rb") as stream:
            found[fspath(path)] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def cut_batches(events: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    """Slices of `events` (closed by LAST) of at most `rows` rows, or one message where that is longer."""
    flags = events["flags"]
    start = 0
    while start < len(flags):
        stop = min(start + rows, len(flags))
        while stop > start and not flags[stop - 1] & LAST:
            stop -= 1
        if stop == start:
            stop = start + rows + int(np.argmax(flags[start + rows :] & LAST)) + 1
        yield events[start:stop]
        start = stop
