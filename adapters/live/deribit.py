"""Deribit v2: the live protocol, JSON-RPC.  Liquidations come with the trades; its heartbeats are answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters import deribit
from adapters.live.protocol import (
    BOOK,
    MARKS,
    QUOTES,
    TRADES,
    Answer,
    Control,
    Data,
    Heartbeat,
    Leaving,
    Limits,
    Outcome,
    Refused,
    Request,
)
from adapters.live.streaming import StreamingVenue, json_object
from replay.errors import ConfigError, DataError
from replay.instruments import Instrument
from replay.units import US_PER_S

CHANNELS = {BOOK: "book.{}.100ms", TRADES: "trades.{}.100ms", QUOTES: "quote.{}", MARKS: "ticker.{}.100ms"}
HEARTBEAT_S = 30
TOO_MANY = 10028


def call(method: str, number: int, parameters: dict[str, Any]) -> str:
    """A request."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": parameters})


@dataclass(frozen=True)
class DeribitVenue(StreamingVenue):
    """Public data in steps of 100 ms."""

    def opening(self) -> list[str]:
        """Ask for heartbeats, so that silence means something."""
        return [call("public/set_heartbeat", 0, {"interval": HEARTBEAT_S})]

    def streams(self, symbol: str, channel: str) -> list[str]:
        """One channel."""
        return [CHANNELS[channel].format(symbol)]

    def request(self, operation: str, streams: Sequence[str], number: int) -> str:
        """A list of channels."""
        return call(f"public/{operation}", number, {"channels": streams})

    def receive(self, frame: bytes) -> Outcome:
        """Notifications are data, answers have a result or an error."""
        message = json_object(frame)
        method = message.get("method")
        if method == "subscription":
            return Data(frame)
        if method == "heartbeat":
            asked = message.get("params")
            wants = isinstance(asked, dict) and asked.get("type") == "test_request"
            return Answer(call("public/test", 0, {})) if wants else Control("heartbeat")
        error = message.get("error")
        if isinstance(error, dict):
            said = f"{error.get('code')} {error.get('message')}"
            return Leaving(f"deribit says {said}") if error.get("code") == TOO_MANY else Refused(f"deribit: {said}")
        if message.get("result") == [] and message.get("id"):
            return Refused("deribit accepts none of the channels")
        if "result" in message:
            return Control("answer to a request")
        raise DataError("a frame without method or result")

    def lookup(self, symbols: Sequence[str]) -> list[Request]:
        """One request a symbol."""
        path = f"{self.rest}/api/v2/public/get_instrument?instrument_name="
        return [Request(path + symbol) for symbol in symbols]

    def instruments(self, symbols: Sequence[str], bodies: Sequence[bytes]) -> list[Instrument]:
        """From `get_instrument`."""
        found = []
        for symbol, body in zip(symbols, bodies, strict=True):
            result = json_object(body).get("result")
            if not isinstance(result, dict) or result.get("instrument_name") != symbol:
                raise ConfigError("symbol", symbol, "deribit has none")
            found.append(self.instrument(symbol, result.get("tick_size"), result.get("min_trade_amount")))
        return found


DERIBIT = DeribitVenue(
    deribit.DERIBIT, "wss://www.deribit.com/ws/api/v2", "https://www.deribit.com", (BOOK, TRADES, QUOTES, MARKS),
    Limits(frames_per_s=3.0, weight_per_min=600, silence_us=3 * HEARTBEAT_S * US_PER_S), Heartbeat(),
)  # fmt: skip
