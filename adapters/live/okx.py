"""OKX v5: the live protocol.

A stream is the channel and what it is of (`books:BTC-USDT`, `liquidation-orders:SWAP`).  Acknowledgements go to the
decoder too: it leaves out the history that some channels push after them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from adapters import okx
from adapters.decoders.okx import instruments as listed_in
from adapters.live.protocol import (
    BOOK,
    LIQUIDATIONS,
    MARKS,
    QUOTES,
    TRADES,
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
from replay.errors import ConfigError, DataError, did_you_mean
from replay.instruments import Instrument
from replay.units import US_PER_S

KINDS = ((re.compile(r".+-SWAP"), "SWAP"), (re.compile(r".+-\d{6}"), "FUTURES"), (re.compile(r".+-[CP]"), "OPTION"))
BUSY = ("60014", "50011", "64008")
"""Too many requests, and a server that will be taken down: come again."""


def kind_of(symbol: str) -> str:
    """The `instType`."""
    return next((kind for pattern, kind in KINDS if pattern.fullmatch(symbol)), "SPOT")


@dataclass(frozen=True)
class OkxVenue(StreamingVenue):
    """The public channels."""

    def streams(self, symbol: str, channel: str) -> list[str]:
        """Spot has neither marks nor liquidations; only swaps have funding."""
        kind = kind_of(symbol)
        if channel == LIQUIDATIONS:
            return [] if kind in ("SPOT", "OPTION") else [f"liquidation-orders:{kind}"]
        if channel == MARKS:
            marks = [] if kind == "SPOT" else [f"mark-price:{symbol}"]
            return [*marks, f"funding-rate:{symbol}"] if kind == "SWAP" else marks
        return [{BOOK: "books", TRADES: "trades", QUOTES: "bbo-tbt"}[channel] + f":{symbol}"]

    def request(self, operation: str, streams: Sequence[str], number: int) -> str:
        """A list of channels; it has no number."""
        pairs = [stream.split(":", 1) for stream in streams]
        arguments = [
            {"channel": channel, "instType" if channel == "liquidation-orders" else "instId": subject}
            for channel, subject in pairs
        ]
        return json.dumps({"op": operation, "args": arguments})

    def receive(self, frame: bytes) -> Outcome:
        """Data has an `arg` and rows; the rest are events."""
        if frame == b"pong":
            return Control("pong")
        message = json_object(frame)
        event = message.get("event")
        if event is None and "arg" in message and "data" in message:
            return Data(frame)
        if event == "subscribe":
            return Data(frame)
        if event in ("error", "notice"):
            said = f"{message.get('code')} {message.get('msg')}"
            if event == "notice" or str(message.get("code")) in BUSY:
                return Leaving(f"okx says {said}")
            return Refused(f"okx refuses a request: {said}")
        if isinstance(event, str):
            return Control(event)
        raise DataError("a frame without arg or event")

    def lookup(self, symbols: Sequence[str]) -> list[Request]:
        """One request for each kind of instrument."""
        kinds = dict.fromkeys(kind_of(symbol) for symbol in symbols if kind_of(symbol) != "OPTION")
        found = [Request(f"{self.rest}/api/v5/public/instruments?instType={kind}") for kind in kinds]
        families = dict.fromkeys("-".join(s.split("-")[:2]) for s in symbols if kind_of(s) == "OPTION")
        path = f"{self.rest}/api/v5/public/instruments?instType=OPTION&instFamily="
        return [*found, *(Request(path + family) for family in families)]

    def instruments(self, symbols: Sequence[str], bodies: Sequence[bytes]) -> list[Instrument]:
        """From `/public/instruments`."""
        listed: dict[str, Instrument] = {}
        for body in bodies:
            listed.update(listed_in(json_object(body)))
        for symbol in symbols:
            if symbol not in listed:
                raise ConfigError("symbol", symbol, "okx has none", did_you_mean(symbol, listed))
        return [listed[symbol] for symbol in symbols]


OKX = OkxVenue(
    okx.OKX, "wss://ws.okx.com:8443/ws/v5/public", "https://www.okx.com",
    (BOOK, TRADES, QUOTES, LIQUIDATIONS, MARKS),
    Limits(streams_per_frame=50, frames_per_s=3.0, weight_per_min=600, silence_us=30 * US_PER_S,
           resync_us=15 * US_PER_S),
    Heartbeat(15 * US_PER_S, "ping", when_idle=True),
)  # fmt: skip
