"""Hyperliquid: the live protocol.

A stream is the type and the coin (`l2Book:BTC`); each is subscribed to by a frame of its own.  Acknowledgements go to
the decoder too: it leaves out the history that is pushed after them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from adapters import hyperliquid
from adapters.live.protocol import (
    BOOK,
    MARKS,
    QUOTES,
    TRADES,
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

TYPES = {BOOK: "l2Book", TRADES: "trades", QUOTES: "bbo", MARKS: "activeAssetCtx"}
PERPETUAL_DECIMALS, SPOT_DECIMALS = 6, 8
"""Prices have at most so many decimals, less those of the sizes."""


def is_spot(coin: str) -> bool:
    """`@107` and `PURR/USDC` are spot."""
    return coin.startswith("@") or "/" in coin


@dataclass(frozen=True)
class HyperliquidVenue(StreamingVenue):
    """Perpetuals, those of builders (`xyz:SP500`), and spot."""

    def streams(self, symbol: str, channel: str) -> list[str]:
        """One type."""
        return [f"{TYPES[channel]}:{symbol}"]

    def request(self, operation: str, streams: Sequence[str], number: int) -> str:
        """One stream; it has no number."""
        (stream,) = streams
        kind, _, coin = stream.partition(":")
        return json.dumps({"method": operation, "subscription": {"type": kind, "coin": coin}})

    def receive(self, frame: bytes) -> Outcome:
        """All frames name their channel."""
        message = json_object(frame)
        channel = message.get("channel")
        if channel == "error":
            return Refused(f"hyperliquid refuses a request: {message.get('data')}")
        if channel == "pong":
            return Control("pong")
        if isinstance(channel, str):
            return Data(frame)
        raise DataError("a frame without channel")

    def lookup(self, symbols: Sequence[str]) -> list[Request]:
        """One request for each place where the coins are traded."""
        places = dict.fromkeys(_place(symbol) for symbol in symbols)
        return [Request(f"{self.rest}/info", 20, place.encode()) for place in places]

    def instruments(self, symbols: Sequence[str], bodies: Sequence[bytes]) -> list[Instrument]:
        """From `meta` and `spotMeta`: sizes have `szDecimals`, prices a bound on theirs."""
        decimals: dict[str, int] = {}
        try:
            for body in bodies:
                decimals.update(_size_decimals(json_object(body)))
        except (KeyError, TypeError, IndexError) as error:
            raise DataError(f"the list of coins is not what it should be ({error!r})") from None
        found = []
        for symbol in symbols:
            if symbol not in decimals:
                raise ConfigError("symbol", symbol, "hyperliquid has none", "coins are written as there: BTC, kPEPE")
            most = SPOT_DECIMALS if is_spot(symbol) else PERPETUAL_DECIMALS
            tick, lot = (Decimal(1).scaleb(-digits) for digits in (most - decimals[symbol], decimals[symbol]))
            found.append(self.instrument(symbol, tick, lot))
        return found


def _place(symbol: str) -> str:
    """The question whose answer lists a coin."""
    if is_spot(symbol):
        return json.dumps({"type": "spotMeta"})
    dex, colon, _ = symbol.partition(":")
    return json.dumps({"type": "meta", "dex": dex} if colon else {"type": "meta"})


def _size_decimals(answer: dict[str, Any]) -> dict[str, int]:
    """Decimals of sizes by coin; of a pair they are those of its first token."""
    if "tokens" not in answer:
        return {entry["name"]: int(entry["szDecimals"]) for entry in answer["universe"]}
    tokens = {token["index"]: int(token["szDecimals"]) for token in answer["tokens"]}
    return {entry["name"]: tokens[entry["tokens"][0]] for entry in answer["universe"]}


HYPERLIQUID = HyperliquidVenue(
    hyperliquid.HYPERLIQUID, "wss://api.hyperliquid.xyz/ws", "https://api.hyperliquid.xyz",
    (BOOK, TRADES, QUOTES, MARKS), Limits(streams_per_frame=1, streams_per_connection=1_000, frames_per_s=20.0),
    Heartbeat(20 * US_PER_S, '{"method":"ping"}'),
)  # fmt: skip
