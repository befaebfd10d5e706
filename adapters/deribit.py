"""Deribit recordings and connections as sources of events (see `adapters.venue`, `adapters.decoders.deribit`).

| symbol | pays | size |
|---|---|---|
| `BTC-PERPETUAL`, `BTC-24SEP21` | inverse, in the coin | USD |
| `SOL_USDC-PERPETUAL` | linear, in USDC | coins |
| `BTC-24SEP21-8000-P` | as linear, in the coin that its price is in | coins |
| `XRP_USDC-30JUN23-0d5-C` | as linear, in USDC | coins |
| `BTC_USDC` | spot | coins |

An option that is to expire needs its terms from the caller, as an Instrument with payoff "option".
"""

from __future__ import annotations

import re

from adapters.decoders.deribit import DeribitMessages
from adapters.venue import Terms, Venue, VenueAdapter


def terms(symbol: str) -> Terms:
    """What an instrument pays, by its name."""
    pair, dated, rest = symbol.partition("-")
    coin, _, quote = pair.partition("_")
    if not dated:
        return Terms("spot", quote or coin)
    if quote or rest.endswith(("-C", "-P")):
        return Terms("linear", quote or coin)
    return Terms("inverse", coin)


DERIBIT = VenueAdapter(Venue("deribit", DeribitMessages, terms, re.compile(r"([a-z]+\.)?deribit\.com/.*")))
