"""What a decoder is: bytes in, events and wishes out; no socket, clock, sleep or environment inside.

The shell around a decoder (a file reader, a live connection, a test) hands it bytes with the time of their receipt
and carries out the commands that it asks for; the answer to a command comes back through `feed`.  So one decoder
serves history, live feeds and tests, and any cutting of the same messages gives the same events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from replay.instruments import Instrument
from replay.quality import QualityReport


@dataclass(frozen=True, slots=True)
class FetchSnapshot:
    """Ask the venue for the full book of `symbol`; feed the answer back."""

    symbol: str
    reason: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Ask the venue for these streams."""

    streams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resubscribe:
    """Leave the book stream of `symbol` and join it again; the venue then sends a full book in the stream."""

    symbol: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Close the connection and open a new one."""

    reason: str


@dataclass(frozen=True, slots=True)
class FillGap:
    """Ask somebody who has them for the messages `first_id` to `last_id` of `symbol`, which are missing."""

    symbol: str
    first_id: int
    last_id: int


Command = FetchSnapshot | Subscribe | Resubscribe | Reconnect | FillGap

Cell = tuple[int, int]
"""A number as (value, digits): value · 10^−digits."""


@dataclass(frozen=True, slots=True)
class Filled:
    """The answer to FillGap: a full book with the last update id in it; (price, size) of each level."""

    sequence: int
    bids: tuple[tuple[Cell, Cell], ...]
    asks: tuple[tuple[Cell, Cell], ...]


class Filler(Protocol):
    """Carries out FillGap for recordings, where one can wait for the answer."""

    def __call__(self, gap: FillGap) -> Filled:
        """A book at `gap.last_id` or later; DataError when there is none, TransportError when nobody can be asked."""


EventSink = Callable[[np.ndarray], None]
"""Takes a batch of EVENT records that is valid until it returns; whole messages only."""


class Decoder(Protocol):
    """One connection's worth of messages, decoded."""

    @property
    def instruments(self) -> Sequence[Instrument]:
        """What `event["instrument"]` indexes."""

    @property
    def quality(self) -> QualityReport:
        """Counts so far."""

    def feed(self, data: bytes, received_ns: int, out: EventSink) -> None:
        """Decode one message that was received at `received_ns` (ns since 1970); DataError when it is broken."""

    def commands(self) -> list[Command]:
        """What the decoder wants done, each wish once."""
