"""Bybit v5: the live protocol of derivatives (linear and inverse, each on a path of its own) and spot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from adapters import bybit
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
    Limits,
    Outcome,
    Refused,
    Request,
)
from adapters.live.streaming import StreamingVenue, json_object
from replay.errors import ConfigError, DataError
from replay.instruments import Instrument
from replay.units import US_PER_S

TOPICS = {
    BOOK: "orderbook.50", TRADES: "publicTrade", QUOTES: "orderbook.1", LIQUIDATIONS: "allLiquidation",
    MARKS: "tickers",
}  # fmt: skip


@dataclass(frozen=True)
class BybitVenue(StreamingVenue):
    """`url` and `rest` are without path; the category is told by the symbol, or it is spot."""

    def category(self, symbol: str) -> str:
        """linear, inverse or spot; ConfigError when the name does not tell."""
        if self.adapter is bybit.SPOT:
            return "spot"
        try:
            return bybit.category(symbol)
        except DataError as error:
            raise ConfigError("symbol", symbol, error.problem, error.hint) from None

    def connections(self, symbols: Sequence[str], channels: Sequence[str]) -> list[Connection]:
        """Sockets for each category."""
        found = []
        for category in dict.fromkeys(self.category(symbol) for symbol in symbols):
            mine = [symbol for symbol in symbols if self.category(symbol) == category]
            found += self._connections_at(f"{self.url}/v5/public/{category}", mine, channels)
        return found

    def streams(self, symbol: str, channel: str) -> list[str]:
        """One topic."""
        return [f"{TOPICS[channel]}.{symbol}"]

    def request(self, operation: str, streams: Sequence[str], number: int) -> str:
        """A list of topics."""
        return json.dumps({"req_id": str(number), "op": operation, "args": streams})

    def receive(self, frame: bytes) -> Outcome:
        """Data names its topic."""
        message = json_object(frame)
        if "topic" in message:
            return Data(frame)
        if message.get("success") is False:
            return Refused(f"{self.name} refuses a request: {message.get('ret_msg')}")
        if "op" in message:
            return Control(f"answer to {message['op']}")
        raise DataError("a frame without topic or op")

    def lookup(self, symbols: Sequence[str]) -> list[Request]:
        """One request a symbol."""
        path = f"{self.rest}/v5/market/instruments-info"
        return [Request(f"{path}?category={self.category(symbol)}&symbol={symbol}") for symbol in symbols]

    def instruments(self, symbols: Sequence[str], bodies: Sequence[bytes]) -> list[Instrument]:
        """From `instruments-info`."""
        return [self._one(symbol, body) for symbol, body in zip(symbols, bodies, strict=True)]

    def _one(self, symbol: str, body: bytes) -> Instrument:
        answer = json_object(body)
        try:
            listed = {entry["symbol"]: entry for entry in (answer.get("result") or {}).get("list") or ()}
            if symbol not in listed:
                raise ConfigError("symbol", symbol, f"{self.name} has none ({answer.get('retMsg')})")
            sizes = listed[symbol]["lotSizeFilter"]
            lot = sizes["basePrecision"] if self.adapter is bybit.SPOT else sizes["qtyStep"]
            return self.instrument(symbol, listed[symbol]["priceFilter"]["tickSize"], lot)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"instruments-info of {symbol} is not what it should be ({error!r})") from None


PING = Heartbeat(20 * US_PER_S, '{"op":"ping"}')
BYBIT = BybitVenue(
    bybit.DERIVATIVES, "wss://stream.bybit.com", "https://api.bybit.com",
    (BOOK, TRADES, QUOTES, LIQUIDATIONS, MARKS), Limits(weight_per_min=6_000), PING,
)  # fmt: skip
BYBIT_SPOT = BybitVenue(
    bybit.SPOT, "wss://stream.bybit.com", "https://api.bybit.com",
    (BOOK, TRADES, QUOTES), Limits(streams_per_frame=10, weight_per_min=6_000), PING,
)  # fmt: skip
