"""Binance spot, USD-M and COIN-M recordings as sources of events (see `adapters.recording`)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from adapters.decoders import binance_lines
from adapters.decoders.binance import BinanceDecoder, Reader
from adapters.decoders.binance_lines import MARKETS, Market, wrong_market
from adapters.decoders.parsed import local_time_ns
from adapters.recording import RecordingSource, open_recordings
from adapters.sequencing import Drop
from adapters.survey import found_grid
from replay.errors import DataError
from replay.instruments import Instrument, Payoff

QUOTES = [
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USDP", "USD1", "USDS", "BIDR", "IDRT", "DAI", "PAX", "VAI", "BTC", "ETH",
    "BNB", "XRP", "TRX", "DOGE", "DOT", "SOL", "EUR", "GBP", "TRY", "BRL", "AUD", "RUB", "UAH", "JPY", "PLN", "ARS",
    "MXN", "CZK", "ZAR", "RON", "NGN", "COP", "IDR", "USD",
]  # fmt: skip


class BinanceAdapter:
    """One market of Binance (see `replay.sources.Adapter`, `adapters.survey.Format`)."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.name = market.name
        self.rule = market.rule

    def __repr__(self) -> str:
        return f"BinanceAdapter({self.name!r})"

    def open(
        self,
        paths: Sequence[Path],
        *,
        instruments: Sequence[Instrument] = (),
        drop_every: int = 0,
        drop_from: int = 0,
        **options: Any,
    ) -> RecordingSource:
        """Recordings as a source; options as in `adapters.recording.open_recordings`."""
        return open_recordings(self, paths, instruments, Drop(drop_every, drop_from), options)

    def decoder(self, instruments: Sequence[Instrument], **options: Any) -> BinanceDecoder:
        """The decoder of a live connection; `options` are those of BinanceDecoder."""
        return BinanceDecoder(self.market, instruments, **options)

    def reader(self, symbols: Sequence[str], learn: bool, drop: Drop, lanes: Sequence[int]) -> Reader:
        """The sequencer leaves out what is to be dropped."""
        return Reader(self.market, symbols, learn=learn, drop=drop)

    def check_url(self, url: str) -> None:
        """DataError when `url` is of another market."""
        host = urlsplit(url).hostname or ""
        for market in MARKETS:
            if host in market.hosts and market is not self.market:
                raise wrong_market(f"{host} is the server of another market", self.market, market)

    def answer(self, url: str, body: bytes) -> bytes | None:
        """A depth answer in a frame that carries the symbol of its URL."""
        parts = urlsplit(url)
        if not parts.path.endswith("/depth"):
            return None
        symbol = parse_qs(parts.query).get("symbol", [""])[0]
        if not symbol:
            raise DataError("the URL of a depth answer names no symbol")
        return b'{"stream":"%s@depthSnapshot","data":%s}' % (symbol.lower().encode(), body)

    def stamped(self, line: bytes, symbols: Sequence[str]) -> tuple[int, bytes]:
        """A depth answer that names no symbol gets the recording's only one."""
        prefix, _, text = line.partition(b" ")
        if text.startswith(b'{"lastUpdateId"') and b'"symbol"' not in text:
            symbol = symbols[0].lower().encode()
            line = b'%s {"stream":"%s@depthSnapshot","data":%s}' % (prefix, symbol, text)
        return local_time_ns(prefix), line

    def instrument(self, symbol: str, finding: np.void) -> Instrument:
        """The instrument with the grid that was found."""
        return instrument_of(symbol, self.market, finding)


def instrument_of(symbol: str, market: Market, finding: np.void) -> Instrument:
    """The instrument with the grid that was found; DataError when the numbers have no common grid in 64 bits."""
    tick, lot = found_grid(f"{market.name}:{symbol}", finding)
    payoff: Payoff = "inverse" if market.payoff == "inverse" else "linear" if market.futures else "spot"
    multiplier = Decimal(1)
    if payoff == "inverse":
        settle = symbol.partition("USD_")[0]
        multiplier = Decimal(100 if settle == "BTC" else 10)
    else:
        pair = symbol.partition("_")[0]
        settle = next((quote for quote in QUOTES if pair.endswith(quote)), "USDT")
    return Instrument(market.name, symbol, payoff, tick, lot, multiplier, settle)


SPOT = BinanceAdapter(binance_lines.SPOT)
USDM = BinanceAdapter(binance_lines.USDM)
COINM = BinanceAdapter(binance_lines.COINM)
