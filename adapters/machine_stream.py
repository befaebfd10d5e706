"""tardis-machine as a source that reads while the server speaks (see `adapters.transports.machine_stream`).

    http://HOST:8000/replay-normalized      normalized messages of a stretch of time
    ws://HOST:8001/ws-replay-normalized     likewise
    ws://HOST:8001/ws-stream-normalized     normalized messages of now
    http://HOST:8000/replay                 the venue's own messages, through the venue's own decoder

Nothing can be read twice, so ticks and lots have to be known: the instruments are given.  Where messages were lost the
books are invalid until the next snapshot.  `/ws-replay` is left out, for its messages carry no time of receipt.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from random import Random, SystemRandom
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import orjson

from adapters.assembling import Assembler
from adapters.base import Decoder
from adapters.decoders.csv_table import Names
from adapters.decoders.json_rows import table
from adapters.decoders.tardis_json import Reader, failure_of
from adapters.decoders.tardis_raw import machine_line, venue_of
from adapters.sequencing import Timing
from adapters.transports.downloads import TryAgain
from adapters.transports.machine_stream import Settings, messages
from adapters.transports.pump import pumped
from replay.errors import ConfigError, DataError
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.sources import BATCH_ROWS, cut_batches, find_adapter
from replay.units import NS_PER_US

DATA_TYPES = ("trade", "book_change")
HORIZON_US = 2_000_000


class _Feed(Protocol):
    """Messages to events."""

    def read(self, line: bytes) -> Any:
        """A line as a message; TryAgain when it is none."""

    def events(self, message: Any) -> Sequence[np.ndarray]:
        """Its events; `message` None: some were lost.  The arrays are the caller's."""

    def report(self) -> QualityReport:
        """Counts so far."""


class _Normalized:
    """Messages of tardis-machine's own form."""

    def __init__(self, instruments: Sequence[Instrument], horizon_us: int, offset_us: int) -> None:
        self.notes: Counter[str] = Counter()
        self.instruments = tuple(instruments)
        self.known = {(each.venue, each.symbol) for each in instruments}
        self.reader = Reader(Names([f"{each.venue},{each.symbol}".encode() for each in instruments]), self.notes)
        self.assembler = Assembler(
            instruments, lambda line: ("message", line), offset_us=offset_us, horizon_us=horizon_us
        )  # fmt: skip
        self.number, self.local = 0, ""

    def read(self, line: bytes) -> Any:
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise TryAgain(f"a message is not JSON ({error})") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise TryAgain(failure_of(message if isinstance(message, dict) else {"message": message}))
        return message

    def events(self, message: Any) -> Sequence[np.ndarray]:
        if message is None:
            self.notes["connection lost"] += 1
            venues = dict.fromkeys(each.venue for each in self.instruments)
            lost = [{"type": "disconnect", "exchange": venue, "localTimestamp": self.local} for venue in venues]
            return [batch for each in lost for batch in self.events(each)]
        self.number += 1
        if message["type"] == "error":
            self.notes["error of the venue's connection, told by the server"] += 1
            return []
        if "symbol" in message and (message.get("exchange"), message["symbol"]) not in self.known:
            self.notes[f"message of {message.get('exchange')}:{message['symbol']}, which was not asked for"] += 1
            return []
        self.local = message.get("localTimestamp", self.local)
        try:
            rows = table(list(self.reader.rows(message, self.number)))
        except DataError as error:
            raise DataError(error.problem, "message", self.number, error.hint) from None
        out = [batch.copy() for batch in self.assembler.push(rows, len(rows), BATCH_ROWS)]
        return out + [batch.copy() for batch in self.assembler.finish()]

    def report(self) -> QualityReport:
        report = QualityReport()
        report.ignored.update(self.notes)
        self.assembler.report(report)
        return report


class _Raw:
    """Messages of one venue, by the decoder that its adapter has for live connections."""

    def __init__(self, instruments: Sequence[Instrument], exchange: str, timing: Timing) -> None:
        adapter = find_adapter(venue_of(exchange))
        make: Callable[..., Decoder] | None = getattr(adapter, "decoder", None)
        if make is None:
            raise ConfigError("exchange", exchange, f"the adapter {adapter.name} reads recordings only")
        self.decoder = make(instruments, timing=timing)
        self.received_ns, self.number = 0, 0

    def read(self, line: bytes) -> Any:
        return machine_line(line)

    def events(self, message: Any) -> Sequence[np.ndarray]:
        self.number += 1
        received_ns, text = message
        self.received_ns = received_ns or self.received_ns
        out: list[np.ndarray] = []
        try:
            self.decoder.feed(text, self.received_ns, lambda batch: out.append(batch.copy()))
        except DataError as error:
            raise DataError(error.problem, "message", self.number, error.hint) from None
        return out

    def report(self) -> QualityReport:
        return self.decoder.quality


class MachineStream:
    """A tardis-machine as a source (see `replay.sources.Source`); each call of `batches` asks anew.

    `instruments` name what is wanted (venue: the name of the exchange at Tardis), `data_types` the kinds of normalized
    messages, `channels` those of the venue; `start` and `stop` (ISO, to the minute) bound a replay.  `horizon_us`
    bounds the latency of the feed, `offset_us` is added to local times.
    """

    def __init__(
        self, settings: Settings, instruments: Sequence[Instrument], *, data_types: Sequence[str] = DATA_TYPES,
        channels: Sequence[str] = (), start: str = "", stop: str = "", horizon_us: int = HORIZON_US,
        offset_us: int = 0, random: Random | None = None,
    ) -> None:  # fmt: skip
        if not instruments:
            raise ConfigError("instruments", [], "a stream needs to know its ticks and lots", "name them")
        if settings.live == bool(start or stop):
            raise ConfigError("from", start, "is for replays, which need it" if start or stop else "is missing")
        self.settings, self.instruments = settings, tuple(instruments)
        self.name = settings.url
        self.horizon_us, self.offset_us = horizon_us, offset_us
        self.raw = settings.endpoint == "replay"
        self.venues = list(dict.fromkeys(each.venue for each in instruments))
        if self.raw and len(self.venues) > 1:
            raise ConfigError("instruments", self.venues, "are of several exchanges", "ask for one at a time")
        if self.raw != bool(channels):
            raise ConfigError("channel", list(channels), "is for /replay, which needs it")
        span = {} if settings.live else {"from": start, "to": stop}
        self.options = self._options(span, data_types, channels)
        self.random = random or Random(0)
        self.feed = self._new_feed()

    def _options(self, span: dict[str, str], data_types: Sequence[str], channels: Sequence[str]) -> str:
        symbols = {venue: [i.symbol for i in self.instruments if i.venue == venue] for venue in self.venues}
        if self.raw:
            venue = self.venues[0]
            names = [symbol.lower() if venue.startswith("binance") else symbol for symbol in symbols[venue]]
            filters = [{"channel": channel, "symbols": names} for channel in channels]
            return json.dumps({"exchange": venue, **span, "filters": filters, "withDisconnects": True})
        asked = [{"exchange": venue, "symbols": symbols[venue], **span, "dataTypes": list(data_types),
                  "withDisconnectMessages": True} for venue in self.venues]  # fmt: skip
        return json.dumps(asked[0] if len(asked) == 1 else asked)

    def _new_feed(self) -> _Feed:
        if self.raw:
            timing = Timing(self.offset_us * NS_PER_US, self.horizon_us)
            return _Raw(self.instruments, self.venues[0], timing)
        return _Normalized(self.instruments, self.horizon_us, self.offset_us)

    @property
    def quality(self) -> QualityReport:
        """Counts so far."""
        return self.feed.report()

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Batches of at most about `rows` rows: what each message brought, as it comes."""
        if rows < 1:
            raise ConfigError("rows", rows, "must be at least 1")
        feed = self.feed = self._new_feed()
        for message in pumped(lambda: messages(self.settings, self.options, feed.read, self.random)):
            for batch in feed.events(message):
                yield from cut_batches(batch, rows)


def instrument_of(text: str) -> Instrument:
    """`venue:SYMBOL:payoff:tick:lot[:multiplier[:settle]]`; ConfigError for what is none."""
    try:
        venue, symbol, payoff, tick, lot, *more = text.split(":")
        multiplier = Decimal(more[0]) if more else Decimal(1)
        settle = more[1] if len(more) > 1 else "USDT"
        return Instrument(venue, symbol, payoff, Decimal(tick), Decimal(lot), multiplier, settle)  # type: ignore[arg-type]
    except (ValueError, InvalidOperation):
        form = "venue:SYMBOL:payoff:tick:lot[:multiplier[:settle]]"
        raise ConfigError("instrument", text, "is not of the form " + form) from None


def open_address(url: str) -> MachineStream:
    """The source at `machine+http://HOST:8000/replay-normalized?instrument=…&from=…&to=…` (see docs/guides/live.md).

    The query: `instrument` (see `instrument_of`; repeatable), `type` or, for /replay, `channel` (repeatable), `from`,
    `to`.
    """
    parts = urlsplit(url.partition("+")[2])
    said: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query):
        said.setdefault(name, []).append(value)
    for name in said:
        if name not in ("instrument", "type", "channel", "from", "to"):
            raise ConfigError("address", name, "is not known", "known: instrument, type, channel, from, to")
    return MachineStream(
        Settings(parts._replace(query="").geturl()),
        [instrument_of(text) for text in said.get("instrument", ())],
        data_types=said.get("type", DATA_TYPES),
        channels=said.get("channel", ()),
        start=said.get("from", [""])[-1],
        stop=said.get("to", [""])[-1],
        random=SystemRandom(),
    )
