"""Binance spot, USD-M and COIN-M: the live protocol (see `adapters.live.protocol`).

Messages come over the combined stream, so each names its stream.  The server pings by WebSocket and only wants the
pong.  USD-M carries book, quotes and trades over one path and everything else over another.  Books come back by a REST
snapshot that is joined with the buffered deltas.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from adapters.decoders import binance_lines
from adapters.decoders.binance import BinanceDecoder
from adapters.decoders.binance_lines import Market
from adapters.live.protocol import (
    BOOK,
    LIQUIDATIONS,
    MARKS,
    QUOTES,
    TRADES,
    Connection,
    Control,
    Data,
    Heartbeat,
    Leaving,
    Limits,
    Outcome,
    Refused,
    Request,
    connections_for,
    in_batches,
    moved,
)
from adapters.live.streaming import json_object
from adapters.sequencing import Repair, Timing
from replay.errors import ConfigError, DataError, did_you_mean
from replay.instruments import Instrument
from replay.units import US_PER_MIN

SUFFIXES = {
    BOOK: "depth@100ms", TRADES: "trade", QUOTES: "bookTicker", LIQUIDATIONS: "forceOrder", MARKS: "markPrice@1s",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class BinanceVenue:
    """One market.  `sockets` maps the channels that share a path to its address, without `/stream`."""

    market: Market
    sockets: tuple[tuple[tuple[str, ...], str], ...]
    rest: str
    depth_path: str
    depth_weight: int
    info_path: str
    info_weight: int
    limits: Limits
    depth_limit: int = 1_000
    heartbeat: Heartbeat = field(default=Heartbeat())

    @property
    def name(self) -> str:
        """Of the market."""
        return self.market.name

    @property
    def channels(self) -> tuple[str, ...]:
        """All that some socket carries."""
        return tuple(channel for channels, _ in self.sockets for channel in channels)

    def at(self, sockets: str, rest: str) -> BinanceVenue:
        """At other addresses."""
        there = tuple((channels, moved(url, sockets)) for channels, url in self.sockets)
        return replace(self, sockets=there, rest=moved(self.rest, rest))

    def connections(self, symbols: Sequence[str], channels: Sequence[str]) -> list[Connection]:
        """One socket per path, more where there are many streams."""
        found = []
        for carried, url in self.sockets:
            wanted = [channel for channel in carried if channel in channels]
            streams = [f"{symbol.lower()}@{SUFFIXES[channel]}" for symbol in symbols for channel in wanted]
            books = {self.book_stream(symbol): symbol for symbol in symbols}
            found += connections_for(f"{url}/stream", self.limits, streams, books)
        return found

    def opening(self) -> list[str]:
        """Nothing."""
        return []

    def subscribe(self, streams: Sequence[str], number: int) -> list[str]:
        """Lists of stream names."""
        return self._requests("SUBSCRIBE", streams, number)

    def unsubscribe(self, streams: Sequence[str], number: int) -> list[str]:
        """Lists of stream names."""
        return self._requests("UNSUBSCRIBE", streams, number)

    def _requests(self, method: str, streams: Sequence[str], number: int) -> list[str]:
        batches = in_batches(streams, self.limits.streams_per_frame)
        return [json.dumps({"method": method, "params": part, "id": number + i}) for i, part in enumerate(batches)]

    def receive(self, frame: bytes) -> Outcome:
        """Data names its stream; the rest are answers, errors and the notice of a restart."""
        if frame.startswith(b'{"stream":"!serverShutdown"'):
            return Leaving("the server will be restarted")
        if frame.startswith(b'{"stream":'):
            return Data(frame)
        message = json_object(frame)
        if message.get("e") == "serverShutdown":
            return Leaving("the server will be restarted")
        error = message.get("error", message if "code" in message else None)
        if error is not None:
            return Refused(f"{self.name} refuses a request: {error}")
        if "stream" in message:
            return Data(frame)
        if "id" in message:
            return Control("answer to a request")
        raise DataError("a frame of the combined stream names no stream")

    def book_stream(self, symbol: str) -> str:
        """`btcusdt@depth@100ms`."""
        return f"{symbol.lower()}@{SUFFIXES[BOOK]}"

    def snapshot(self, symbol: str) -> Request | None:
        """The REST book."""
        return Request(f"{self.rest}{self.depth_path}?symbol={symbol}&limit={self.depth_limit}", self.depth_weight)

    def snapshot_message(self, symbol: str, body: bytes) -> bytes:
        """As recorders write it: wrapped, because the spot answer names no symbol."""
        if "lastUpdateId" not in json_object(body):
            raise DataError(f"the answer is no book: {body[:100].decode('utf-8', 'replace')}")
        return b'{"stream":"%s@depthSnapshot","data":%s}' % (symbol.lower().encode(), b" ".join(body.split()))

    def lookup(self, symbols: Sequence[str]) -> list[Request]:
        """One request for the terms of all symbols of the market."""
        return [Request(f"{self.rest}{self.info_path}", self.info_weight)]

    def instruments(self, symbols: Sequence[str], bodies: Sequence[bytes]) -> list[Instrument]:
        """From `exchangeInfo`."""
        try:
            listed = {entry["symbol"]: entry for body in bodies for entry in json_object(body)["symbols"]}
        except (KeyError, TypeError) as error:
            raise DataError(f"exchangeInfo is not what it should be ({error!r})") from None
        for symbol in symbols:
            if symbol not in listed:
                raise ConfigError("symbol", symbol, f"{self.name} has none", did_you_mean(symbol, listed))
        return [self._instrument(symbol, listed[symbol]) for symbol in symbols]

    def _instrument(self, symbol: str, entry: dict[str, Any]) -> Instrument:
        try:
            filters = {each["filterType"]: each for each in entry["filters"]}
            tick = Decimal(filters["PRICE_FILTER"]["tickSize"]).normalize()
            lot = Decimal(filters["LOT_SIZE"]["stepSize"]).normalize()
            if self.market is binance_lines.SPOT:
                return Instrument(self.name, symbol, "spot", tick, lot, settle=entry["quoteAsset"])
            if self.market is binance_lines.USDM:
                return Instrument(self.name, symbol, "linear", tick, lot, settle=entry["marginAsset"])
            size = Decimal(entry["contractSize"])
            return Instrument(self.name, symbol, "inverse", tick, lot, size, settle=entry["marginAsset"])
        except (KeyError, TypeError, InvalidOperation) as error:
            raise DataError(f"exchangeInfo of {symbol} is not what it should be ({error!r})") from None

    def decoder(self, instruments: Sequence[Instrument], timing: Timing, repair: Repair) -> BinanceDecoder:
        """For all sockets together."""
        return BinanceDecoder(self.market, instruments, timing=timing, repair=repair)


SPOT = BinanceVenue(
    binance_lines.SPOT,
    (((BOOK, TRADES, QUOTES), "wss://stream.binance.com:9443"),),
    "https://api.binance.com", "/api/v3/depth", 50, "/api/v3/exchangeInfo", 20,
    Limits(streams_per_connection=1_024, weight_per_min=6_000),
)  # fmt: skip
USDM = BinanceVenue(
    binance_lines.USDM,
    (
        ((BOOK, TRADES, QUOTES), "wss://fstream.binance.com/public"),
        ((LIQUIDATIONS, MARKS), "wss://fstream.binance.com/market"),
    ),
    "https://fapi.binance.com", "/fapi/v1/depth", 20, "/fapi/v1/exchangeInfo", 1,
    Limits(frames_per_s=8.0, weight_per_min=2_400, silence_us=5 * US_PER_MIN),
)  # fmt: skip
COINM = BinanceVenue(
    binance_lines.COINM,
    (((BOOK, TRADES, QUOTES, LIQUIDATIONS, MARKS), "wss://dstream.binance.com"),),
    "https://dapi.binance.com", "/dapi/v1/depth", 20, "/dapi/v1/exchangeInfo", 1,
    Limits(frames_per_s=8.0, weight_per_min=2_400),
)  # fmt: skip
