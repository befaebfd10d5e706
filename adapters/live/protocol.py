"""What a venue wants from a client of its live market data: addresses, frames, limits; no socket, clock or sleep.

A `Venue` is a frozen value: where to connect, what to send to subscribe, what a received frame means, how a book is
brought back after a hole, where ticks and lots are looked up.  The shell (`adapters.transports.websocket`) does what
it says; a test or a fault-injecting server reads the same values from the other side.  Base addresses are fields of
the venue, so a test points them to loopback.

A stream is the venue's own name of one flow of messages (`btcusdt@depth@100ms`, `orderbook.50.BTCUSDT`); where the
venue names it by a JSON object, the stream is its channel and symbol joined by a colon (`books:BTC-USDT`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from adapters.base import Decoder
from adapters.sequencing import Repair, Timing
from replay.errors import ConfigError, did_you_mean
from replay.instruments import Instrument
from replay.units import US_PER_S

BOOK, TRADES, QUOTES, LIQUIDATIONS, MARKS = "book", "trades", "quotes", "liquidations", "marks"
CHANNELS = (BOOK, TRADES, QUOTES, LIQUIDATIONS, MARKS)
"""What can be asked for; a venue leaves out what it does not have."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One socket: its address, the streams that are asked for over it, and the symbols whose books come over it."""

    url: str
    streams: tuple[str, ...]
    books: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, a POST of JSON when it has a `body`; `weight` counts against `Limits.weight_per_min`."""

    url: str
    weight: int = 1
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`text` is sent every `every_us`, with `when_idle` only if nothing has come for so long; 0: never."""

    every_us: int = 0
    text: str = ""
    when_idle: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What a venue allows, and what it means when it says nothing; venues change these, so all are settings.

    `streams_per_frame`, `streams_per_connection`: of one subscribe frame, of one socket.  `frames_per_s`: sent by us.
    `weight_per_min`: of HTTP requests.  `silence_us`: a socket without any frame for so long is dead.
    `resync_us`: a book that was asked for anew and is not there after so long is asked for again.
    """

    streams_per_frame: int = 100
    streams_per_connection: int = 200
    frames_per_s: float = 4.0
    weight_per_min: int = 1_200
    silence_us: int = 60 * US_PER_S
    resync_us: int = 10 * US_PER_S


@dataclass(frozen=True, slots=True)
class Data:
    """Market data: `message` goes to the decoder (and the recorder) as it is."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Control:
    """An acknowledgement, a pong, a greeting: nothing to do."""

    what: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The venue wants this text back at once."""

    text: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """The venue is about to close, or asks us to come again: connect anew."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The venue refuses a request of ours for good, such as a symbol that it does not have."""

    problem: str


Outcome = Data | Control | Answer | Leaving | Refused
"""What a received frame is."""


class Venue(Protocol):
    """One venue's protocol.  Methods are pure; DataError for a frame or body that is not what it should be."""

    @property
    def name(self) -> str:
        """Of the venue in instruments, of the adapter of its recordings, and on the command line."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Those of `CHANNELS` that the venue has."""

    @property
    def limits(self) -> Limits:
        """What it allows."""

    @property
    def heartbeat(self) -> Heartbeat:
        """What it wants to hear (pongs to its WebSocket pings are sent in any case)."""

    def at(self, sockets: str, rest: str) -> Venue:
        """The same venue at other base addresses (`wss://host:port`, `https://host:port`); "" keeps the usual ones."""

    def connections(self, symbols: Sequence[str], channels: Sequence[str]) -> list[Connection]:
        """The sockets that carry these channels of these symbols, within the limits."""

    def opening(self) -> list[str]:
        """Frames that are sent before anything else on a new socket."""

    def subscribe(self, streams: Sequence[str], number: int) -> list[str]:
        """Frames that ask for `streams`; `number` (≥ 1) distinguishes requests of one socket."""

    def unsubscribe(self, streams: Sequence[str], number: int) -> list[str]:
        """Frames that take it back."""

    def receive(self, frame: bytes) -> Outcome:
        """What a frame means."""

    def book_stream(self, symbol: str) -> str:
        """The stream of `Connection.streams` that carries the book of `symbol`."""

    def snapshot(self, symbol: str) -> Request | None:
        """How the full book is fetched; None where it comes in the stream after subscribing anew."""

    def snapshot_message(self, symbol: str, body: bytes) -> bytes:
        """The answer to `snapshot` as a message for the decoder; DataError when it is no book."""

    def lookup(self, symbols: Sequence[str]) -> list[Request]:
        """Requests whose answers name the terms of these symbols."""

    def instruments(self, symbols: Sequence[str], bodies: Sequence[bytes]) -> list[Instrument]:
        """Terms of `symbols`, in their order, from the answers to `lookup`; ConfigError for one that is not there."""

    def decoder(self, instruments: Sequence[Instrument], timing: Timing, repair: Repair) -> Decoder:
        """The decoder of the messages; it asks for snapshots by FetchSnapshot."""


def check_channels(venue: Venue, channels: Sequence[str]) -> tuple[str, ...]:
    """`channels` without repetition, all of the venue's by default; ConfigError for one that it does not have."""
    for channel in channels:
        if channel not in venue.channels:
            raise ConfigError("channel", channel, f"{venue.name} has none", did_you_mean(channel, venue.channels))
    return tuple(dict.fromkeys(channels)) or venue.channels


def connections_for(url: str, limits: Limits, streams: Sequence[str], books: dict[str, str]) -> list[Connection]:
    """`streams` over as few sockets at `url` as the limit allows; `books` names the symbol of each book stream."""
    size = limits.streams_per_connection
    parts = [tuple(streams[at : at + size]) for at in range(0, len(streams), size)]
    return [Connection(url, part, tuple(books[stream] for stream in part if stream in books)) for part in parts]


def moved(url: str, base: str) -> str:
    """`url` on the server of `base`, which has no path; as it is when `base` is ""."""
    if not base:
        return url
    there = urlsplit(base)
    if there.scheme not in ("ws", "wss", "http", "https") or not there.netloc or there.path.strip("/"):
        raise ConfigError("url", base, "is no base address", "for example wss://host:port")
    return urlunsplit((there.scheme, there.netloc, *urlsplit(url)[2:]))


def in_batches(streams: Sequence[str], size: int) -> list[list[str]]:
    """`streams` in lists of at most `size`."""
    return [list(streams[at : at + size]) for at in range(0, len(streams), size)]
