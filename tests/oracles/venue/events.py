"""What the oracle is fed: market events as plain frozen dataclasses.

Every event has an instrument (index), `ts` (receipt, µs), `exch_ts` (venue time, µs) and the `rank` of its source;
its ordinal is its place in the list given to `Simulation`.  Levels are `(side, ticks, lots)`, lots absolute.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BookMessage:
    """One venue message, applied whole; a `snapshot` replaces the book and makes it valid."""

    instrument: int
    ts: int
    exch_ts: int
    levels: tuple[tuple[int, int, int], ...]
    snapshot: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Trade:
    """One print; `side` is the aggressor's."""

    instrument: int
    ts: int
    exch_ts: int
    side: int
    ticks: int
    lots: int
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark price, `value` in 1e-8."""

    instrument: int
    ts: int
    exch_ts: int
    value: int
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Funding:
    """The rate (1e-8) as announced for the settlement at `next_us`."""

    instrument: int
    ts: int
    exch_ts: int
    rate: int
    next_us: int
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Depth messages were lost: the book is invalid until the next snapshot."""

    instrument: int
    ts: int
    exch_ts: int
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """What only the strategy hears (quotes, liquidations); it counts for the feed latency."""

    instrument: int
    ts: int
    exch_ts: int
    rank: int = 0


Event = BookMessage | Trade | Mark | Funding | Gap | Notice
