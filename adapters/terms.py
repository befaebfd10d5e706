"""What an instrument of a downloaded data set pays, as far as the names of venue and symbol tell.

Spot venues and linear and inverse contracts are told apart by these rules:

* a venue of `SPOT` trades spot;
* a contract whose symbol has USD as its quote (not USDT, USDC, …) is inverse, as Deribit's futures are; any other is
  linear, options on a coin in that coin;
* Binance COIN-M contracts are worth 100 USD for BTC and 10 USD for the others, all other inverse ones 1 USD.

A venue of `IN_CONTRACTS` counts sizes in contracts whose worth the data does not tell: the caller must give it.
"""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np

from replay.errors import DataError
from replay.instruments import Instrument, Payoff
from replay.units import plain

SPOT = frozenset((
    "binance", "binance-us", "binance-jersey", "binance-spot", "bitfinex", "bitflyer", "bitstamp", "bybit-spot",
    "coinbase", "coinbase-international", "crypto-com", "ftx-us", "gate-io", "gemini", "huobi", "kraken", "kucoin",
    "okcoin", "okex", "poloniex", "upbit", "bitget",
))  # fmt: skip
IN_CONTRACTS = frozenset((
    "okex-futures", "okex-swap", "huobi-dm", "huobi-dm-swap", "huobi-dm-linear-swap", "gate-io-futures",
    "kucoin-futures",
))  # fmt: skip
COIN_M = frozenset(("binance-delivery", "binance-coinm"))
STABLE = re.compile(r"(USDT|USDC|BUSD|FDUSD|TUSD)$")
MONEY = re.compile(r"(?:^|.)(USD|EUR|GBP|BTC|ETH)$")
USD_QUOTE = re.compile(r"^(?:[PF]I_)?([A-Z0-9]+?)[-_/]?USD(?![A-Z])")
DERIBIT_FUTURE = re.compile(r"^([A-Z]+)-")
OPTION = re.compile(r"-[CP]$")
COINS = {"XBT": "BTC"}


def inferred(exchange: str, symbol: str, finding: np.void) -> Instrument:
    """The instrument with the grid that was found (`replay.kernel.outline.FINDING`) and terms by its name.

    DataError when its numbers have no common grid within 64 bits.
    """
    name = f"{exchange}:{symbol}"
    if finding["price_step"] < 0 or finding["size_step"] < 0:
        raise DataError(
            f"{name}: prices or sizes have no common step within 64 bits", hint="give its tick and lot as an Instrument"
        )
    payoff, multiplier, settle = _terms(exchange, symbol)
    tick = step(int(finding["price_step"]), int(finding["price_digits"]))
    lot = step(int(finding["size_step"]), int(finding["size_digits"]))
    return Instrument(exchange, symbol, payoff, tick, lot, multiplier, settle)


def step(mantissa: int, digits: int) -> Decimal:
    """A positive decimal step; 1 when nothing was seen."""
    return Decimal(plain(Decimal(mantissa or 1).scaleb(-digits if mantissa else 0)))


def quote_of(symbol: str) -> str:
    """The currency that prices are in: a stable coin anywhere, else money behind the first name, else USD."""
    names = re.split(r"[-_/]", symbol)
    found = next(filter(None, map(STABLE.search, names)), None)
    found = found or MONEY.search(names[1] if len(names) > 1 else names[0])
    return found[1] if found else "USD"


def _terms(exchange: str, symbol: str) -> tuple[Payoff, Decimal, str]:
    quote = quote_of(symbol)
    if exchange in SPOT:
        return "spot", Decimal(1), quote
    inverse = DERIBIT_FUTURE.match(symbol) if exchange == "deribit" else USD_QUOTE.match(symbol)
    if inverse and OPTION.search(symbol):
        return "linear", Decimal(1), inverse[1]
    if not inverse:
        return "linear", Decimal(1), quote
    coin = COINS.get(inverse[1], inverse[1])
    worth = (100 if coin == "BTC" else 10) if exchange in COIN_M else 1
    return "inverse", Decimal(worth), coin
