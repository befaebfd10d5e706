"""Binance European options as sources of events (see `adapters.venue`, `adapters.decoders.binance_options`).

A symbol such as `BTC-251219-89000-C` pays as linear, in USDT, one coin a contract.  An option that is to expire needs
its terms from the caller, as an Instrument with payoff "option".
"""

from __future__ import annotations

import re

from adapters.decoders.binance_options import BinanceOptionsMessages
from adapters.venue import Terms, Venue, VenueAdapter


def terms(symbol: str) -> Terms:
    """What an option pays."""
    return Terms("linear", "USDT")


SERVERS = re.compile(r"(nbstream|vstream|eapi|fstream)\.binance\.com/.*")
OPTIONS = VenueAdapter(Venue("binance-options", BinanceOptionsMessages, terms, SERVERS))
