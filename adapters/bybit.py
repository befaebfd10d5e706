"""Bybit recordings and live feeds: derivatives (linear and inverse, whose symbols differ), spot, options.

Symbols are Bybit's: `BTCUSDT` is the perpetual under `bybit` and the pair under `bybit-spot`.  Sizes: linear and
options in coins, inverse in USD (a contract is worth one).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from adapters.decoders.bybit import BybitMessages
from adapters.terms import quote_of
from adapters.venue import Terms, Venue, VenueAdapter
from replay.errors import DataError

DATE = r"-\d{1,2}[A-Z]{3}\d\d"
INVERSE = re.compile(r"([A-Z0-9]+?)USD([FGHJKMNQUVXZ]\d\d)?")
LINEAR = {"USDT": re.compile(rf"[A-Z0-9]+USDT({DATE})?"), "USDC": re.compile(rf"[A-Z0-9]+(PERP|{DATE})")}
OPTION = re.compile(rf"[A-Z0-9]+{DATE}-[\d.]+-[CP](-USDT)?")


def derivative_terms(symbol: str) -> Terms:
    """Of linear and inverse contracts, by their names; DataError for any other."""
    inverse = INVERSE.fullmatch(symbol)
    if inverse:
        return Terms("inverse", inverse[1])
    for settle, pattern in LINEAR.items():
        if pattern.fullmatch(symbol):
            return Terms("linear", settle)
    raise DataError("the name does not tell what it pays", hint="give it as an Instrument")


def category(symbol: str) -> str:
    """ "linear" or "inverse": which of the servers of v5 a derivative is on; DataError when its name does not tell."""
    return derivative_terms(symbol).payoff


def spot_terms(symbol: str) -> Terms:
    """Of a pair."""
    return Terms("spot", quote_of(symbol))


def option_terms(symbol: str) -> Terms:
    """Of an option, as a premium that is bought and sold; give it as an Instrument to have it settled at its expiry."""
    option = OPTION.fullmatch(symbol)
    if not option:
        raise DataError("the name is not that of an option", hint="give it as an Instrument")
    return Terms("linear", "USDT" if option[1] else "USDC")


def servers(paths: str) -> re.Pattern[str]:
    """Hosts, and which paths of them."""
    return re.compile(rf"(stream|api)[\w-]*\.(bybit|bytick)\.com/({paths})")


def adapter(name: str, terms: Callable[[str], Terms], paths: str) -> VenueAdapter:
    """One of Bybit's markets."""
    return VenueAdapter(Venue(name, BybitMessages, terms, servers(paths), settings=frozenset(("book",))))


DERIVATIVES = adapter("bybit", derivative_terms, r"v5/(public/(linear|inverse)|market/.*)|realtime.*|v2/.*")
SPOT = adapter("bybit-spot", spot_terms, r"v5/(public/spot|market/.*)|spot/.*")
OPTIONS = adapter("bybit-options", option_terms, r"v5/(public/option|market/.*)")
