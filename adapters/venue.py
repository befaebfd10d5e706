"""Venues that speak JSON: one reader, one historical source and one live decoder for all of them.

To add a venue, write two things in `adapters/decoders/<venue>.py` (pure functions and state, no I/O) and name them in a
`Venue` in `adapters/<venue>.py`:

1. `class X(Messages)`: the state of one connection (or of one recording).  `read(message, received_ns)` takes decoded
   JSON and gives a `Parsed` (`adapters.decoders.parsed`) for each event in it, `[]` or `other("what it was")` for none;
   only DataError (without a place) may leave it.  Kinds, from `replay.kernel.scan`:

   * RESET: a full book in the stream.  Replaces whatever was before; `last_id` −1 where the venue has no ids.
   * DEPTH: levels that changed, size 0 deletes.  `first_id = last_id` = the message's id, `prev_id` = the id that the
     book must stand at (Bybit: u − 1; OKX: prevSeqId; Deribit: prev_change_id); `prev_id` −1: the venue does not link
     its messages, so no hole can be seen by numbers; `last_id` −1: it has no ids at all.  Ids that the venue repeats
     (`last_id` not above the latest) are duplicates and change nothing.  A hole, or `check()` giving False (checksums),
     becomes a GAP row; the book is invalid until the next RESET.
   * TRADE: `last_id` the id where it is a number, else −1; `side` of the aggressor; `bids=[(price, size)]`.
     OFF_BOOK: the same for block trades and the like, counted only.
   * FORCE: a liquidation; `side` of the forced order; `bids=[(price, size)]`.
   * TICKER: a quote; one level in `bids` and one in `asks`, NOTHING for an empty side; `last_id` id or −1.
   * MARK: `bids=[(mark, rate)]` with `extra` = next funding in µs, rate and `extra` 0: no funding.  FUND: no mark.
   * LOST: messages are missing here, the book is invalid until the next RESET.

   `venue_us` is the venue's time, −1 where it has none.  A subclass may fill `stated[symbol]` with an Instrument when
   the recording itself says what is traded, and say by `sent_ns` when a message without a local time was sent.  Where
   several streams tell the same (books of several depths), `self.only(…)` keeps to the first.
2. `terms(symbol) -> Terms`: what an instrument pays when nobody says it; DataError when its name does not tell.

Then `X = VenueAdapter(Venue("x", XMessages, terms, servers=re.compile(...)))` and an entry point `x = adapters.x:X`.

Recordings are lines `<local ns> <json>`, plain or gzip, or the files of the cryptofeed library; lines of JSON alone are
taken at the time at which they were sent.  `{"replay":"disconnected"}` says that the connection was lost there
(`adapters.decoders.parsed`).  Live, `VenueDecoder` takes frames as they come; after a hole `commands()` asks for
`Resubscribe(symbol)`, upon which these venues send a full book.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from adapters.base import Command, EventSink, Resubscribe
from adapters.decoders.parsed import ENDED, Parsed, decoded, local_time_ns, lost_symbols
from adapters.recording import RecordingSource, open_recordings
from adapters.sequencing import Drop, Repair, Sequencer, Timing
from adapters.survey import found_grid
from adapters.transports.file import Chunk
from replay.errors import ConfigError, DataError
from replay.instruments import Instrument, Payoff
from replay.kernel import gaps, scan
from replay.kernel.lexer import LEVEL
from replay.quality import QualityReport

TABLE_MESSAGES = 16_384
KEEP_ALIVE = (b"ping", b"pong", ENDED)
"""Frames that no venue's reader sees."""


class Messages(ABC):
    """State of one connection, or of one recording; the base of every venue's decoder."""

    def __init__(self) -> None:
        self.stated: dict[str, Instrument] = {}
        self.streams: dict[tuple[str, str], str] = {}

    def only(self, what: str, symbol: str, stream: str, chosen: str = "") -> bool:
        """Whether `stream` is the one that tells `what` ("book") of a symbol: `chosen`, else the first that did.

        Venues send the same book with several depths; their changes cannot be mixed.
        """
        return self.streams.setdefault((what, symbol), chosen or stream) == stream

    @abstractmethod
    def read(self, message: Any, received_ns: int) -> Iterable[Parsed]:
        """The events in decoded JSON that was received at `received_ns`; DataError when it is broken."""

    def sent_ns(self, message: Any) -> int:
        """When the venue sent a message, for recordings without local times; DataError when it does not say."""
        raise DataError("no local time in front of the message", hint="lines are `<local ns> <json>`")

    def answer(self, url: str, body: bytes) -> bytes | None:
        """The answer to an HTTP request as a message that `read` understands, None when it carries nothing."""
        return None


@dataclass(frozen=True, slots=True)
class Terms:
    """What an instrument pays: `multiplier` is the contract size (see `replay.instruments`)."""

    payoff: Payoff
    settle: str
    multiplier: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class Venue:
    """A venue: adapter name, state of a connection, terms of a symbol, and its servers (host and path of a URL).

    `settings` are options that `messages` takes by name.
    """

    name: str
    messages: Callable[..., Messages]
    terms: Callable[[str], Terms]
    servers: re.Pattern[str]
    settings: frozenset[str] = frozenset()


class VenueReader:
    """Lines and frames to message and level tables (see `adapters.survey.Reader`).

    `symbols` are known from the start; with `learn` unknown ones are added when a message names them, otherwise such
    messages are counted in `ignored`.  Depth messages of `drop` are left out here, before checksums are looked at;
    `lanes[i]` numbers those of symbol i.
    """

    def __init__(
        self,
        messages: Messages,
        symbols: Sequence[str] = (),
        *,
        learn: bool = False,
        drop: Drop | None = None,
        lanes: Sequence[int] = (),
    ) -> None:
        self.state, self.learn, self.drop = messages, learn, drop or Drop()
        self.symbols = list(symbols)
        self.index = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.lanes = list(lanes) or [0] * len(self.symbols)
        self.ordinals: Counter[int] = Counter()
        self.ignored: Counter[str] = Counter()
        self.to_drop = Drop()
        self.rows: list[tuple[int, ...]] = []
        self.level_rows: list[tuple[int, ...]] = []
        self.messages = np.zeros(0, scan.MESSAGE)
        self.levels = np.zeros(1, LEVEL)

    @property
    def stated(self) -> dict[str, Instrument]:
        """What the recording itself says about instruments."""
        return self.state.stated

    def tables(self, chunk: Chunk) -> Iterator[int]:
        """Fill `messages` and `levels`, part by part; yields the number of messages each time.

        DataError with file and line for what is broken.
        """
        lines = chunk.data[:-1].split(b"\n")
        for i, line in enumerate(lines):
            if not line.strip():
                continue
            try:
                self.take(*split_line(line, self.state), i)
            except DataError as error:
                problem = error.problem
                if chunk.cut and i == len(lines) - 1 and "JSON" in problem:
                    problem = "the file is truncated: its final line is incomplete"
                raise DataError(problem, *chunk.where(i), error.hint) from None
            if len(self.rows) >= TABLE_MESSAGES:
                yield self.fill()
        if self.rows:
            yield self.fill()

    def take(self, text: bytes, message: Any, local_ns: int, line: int) -> None:
        """One message, all of it or, with a DataError, nothing."""
        if text in KEEP_ALIVE:
            self.ignored[text.decode()] += 1
            return
        lost = lost_symbols(message)
        if lost is not None:
            found = [Parsed(scan.LOST, symbol) for symbol in lost or self.symbols if symbol in self.index]
        else:
            found = list(self.state.read(message, local_ns))
        for parsed in found:
            parsed.local_ns = local_ns
            self._put(parsed, line)

    def fill(self) -> int:
        """What was taken as tables; their number of messages."""
        self.messages = np.array(self.rows, scan.MESSAGE)
        self.levels = np.array(self.level_rows or [(0, 0, 0, 0)], LEVEL)
        self.rows, self.level_rows = [], []
        return len(self.messages)

    def _put(self, parsed: Parsed, line: int) -> None:
        if parsed.kind == scan.OTHER:
            self.ignored[parsed.name] += 1
            return
        symbol = self.index.get(parsed.symbol, -1)
        if symbol < 0:
            if not self.learn:
                self.ignored[f"message of unknown symbol {parsed.symbol}"] += 1
                return
            symbol = self._add(parsed.symbol)
        if parsed.kind == scan.DEPTH and self._dropped(self.lanes[symbol]):
            return
        if parsed.check and not self.learn and not parsed.check():
            parsed = Parsed(scan.LOST, parsed.symbol, parsed.local_ns, parsed.venue_us, last_id=parsed.last_id)
        start, bids, asks = len(self.level_rows), len(parsed.bids), len(parsed.asks)
        self.level_rows += [(price, size, digits, places) for price, digits, size, places in parsed.bids]
        self.level_rows += [(price, size, digits, places) for price, digits, size, places in parsed.asks]
        self.rows.append((
            parsed.local_ns, parsed.venue_us, parsed.first_id, parsed.last_id, parsed.prev_id, parsed.extra,
            start, start + bids, bids, asks, line, symbol, parsed.kind, parsed.side,
        ))  # fmt: skip

    def _add(self, symbol: str) -> int:
        self.index[symbol] = len(self.symbols)
        self.symbols.append(symbol)
        self.lanes.append(0)
        return self.index[symbol]

    def _dropped(self, lane: int) -> bool:
        ordinal = self.ordinals[lane]
        self.ordinals[lane] += 1
        return self.drop.every > 0 and ordinal >= self.drop.start and ordinal % self.drop.every == 0


def split_line(line: bytes, state: Messages) -> tuple[bytes, Any, int]:
    """(text, decoded JSON, local ns) of a line without its newline."""
    if line.startswith(b"{"):
        message = decoded(line)
        return line, message, state.sent_ns(message)
    prefix, _, text = line.partition(b" ")
    local_ns = local_time_ns(prefix)
    return text, None if text in KEEP_ALIVE else decoded(text), local_ns


class VenueDecoder:
    """One live connection (see `adapters.base.Decoder`).

    `instruments` are those that are subscribed; `timing` the clock offset and the bound on latency; `repair` what
    happens at a hole ("wait": `commands` asks for a new book; "bridge": apply on); `settings` those of the venue.
    """

    def __init__(
        self,
        venue: Venue,
        instruments: Sequence[Instrument],
        *,
        timing: Timing | None = None,
        repair: Repair | None = None,
        **settings: Any,
    ) -> None:
        if not instruments:
            raise ConfigError("instruments", [], "a decoder needs to know its instruments")
        self.reader = VenueReader(venue.messages(**settings), [instrument.symbol for instrument in instruments])
        self.sequencer = Sequencer(instruments, gaps.LINKED, timing or Timing(), repair=repair)

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What `event["instrument"]` indexes."""
        return self.sequencer.instruments

    @property
    def quality(self) -> QualityReport:
        """Counts so far."""
        report = self.sequencer.quality
        report.ignored = Counter(self.reader.ignored)
        return report

    def feed(self, data: bytes, received_ns: int, out: EventSink) -> None:
        """Decode one frame; `{"replay":"disconnected"}` says that the connection was lost."""
        text = data.strip()
        message = None if text in KEEP_ALIVE else decoded(text)
        self.reader.take(text, message, received_ns, 0)
        if self.reader.rows:
            count = self.reader.fill()
            try:
                for batch in self.sequencer.push(self.reader.messages, count, self.reader.levels, 4096):
                    out(batch)
            finally:  # what was good in a frame that is refused does not wait for the next one
                for batch in self.sequencer.flush():
                    out(batch)
        if lost_symbols(message) is not None:
            self.sequencer.wanted()  # whoever connects again subscribes to everything

    def commands(self) -> list[Command]:
        """Books that are to be subscribed anew, each wish once."""
        return [Resubscribe(symbol, "the book has no valid state") for symbol in self.sequencer.wanted()]


class VenueAdapter:
    """A venue as an adapter (see `replay.sources.Adapter`, `adapters.survey.Format`)."""

    rule = gaps.LINKED

    def __init__(self, venue: Venue, settings: Mapping[str, Any] | None = None) -> None:
        self.venue, self.settings = venue, dict(settings or {})
        self.name = venue.name

    def __repr__(self) -> str:
        return f"VenueAdapter({self.name!r})"

    def open(
        self,
        paths: Sequence[Path],
        *,
        instruments: Sequence[Instrument] = (),
        drop_every: int = 0,
        drop_from: int = 0,
        **options: Any,
    ) -> RecordingSource:
        """Recordings as a source; options as in `adapters.recording.open_recordings`, and the venue's settings."""
        settings = {name: options.pop(name) for name in self.venue.settings & options.keys()}
        chosen = VenueAdapter(self.venue, {**self.settings, **settings})
        return open_recordings(chosen, paths, instruments, Drop(drop_every, drop_from), options)

    def decoder(self, instruments: Sequence[Instrument], **options: Any) -> VenueDecoder:
        """The decoder of a live connection; `options` are those of VenueDecoder."""
        return VenueDecoder(self.venue, instruments, **{**self.settings, **options})

    def reader(self, symbols: Sequence[str], learn: bool, drop: Drop, lanes: Sequence[int]) -> VenueReader:
        """A fresh reader."""
        return VenueReader(self._messages(), symbols, learn=learn, drop=drop, lanes=lanes)

    def _messages(self) -> Messages:
        return self.venue.messages(**self.settings)

    def check_url(self, url: str) -> None:
        """DataError when `url` is of another venue."""
        parts = urlsplit(url)
        if not self.venue.servers.fullmatch(f"{parts.hostname or ''}{parts.path}"):
            raise DataError(f"{parts.hostname}{parts.path} is no server of {self.name}", hint="use another adapter")

    def answer(self, url: str, body: bytes) -> bytes | None:
        """The answer to an HTTP request as a message."""
        return self._messages().answer(url, body)

    def stamped(self, line: bytes, symbols: Sequence[str]) -> tuple[int, bytes]:
        """A line without a local time gets the one at which it was sent."""
        if line.startswith(b"{"):
            line = b"%d %s" % (self._messages().sent_ns(decoded(line)), line)
        return local_time_ns(line.partition(b" ")[0]), line

    def instrument(self, symbol: str, finding: np.void) -> Instrument:
        """The instrument with the grid that was found; DataError when its name does not tell its terms."""
        name = f"{self.name}:{symbol}"
        tick, lot = found_grid(name, finding)
        try:
            terms = self.venue.terms(symbol)
        except DataError as error:
            raise DataError(f"{name}: {error.problem}", hint=error.hint) from None
        return Instrument(self.name, symbol, terms.payoff, tick, lot, terms.multiplier, terms.settle)
