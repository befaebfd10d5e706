"""Coinbase Exchange as sources of events (see `adapters.venue`, `adapters.decoders.coinbase`).

Everything is spot.  Ticks and lots are those of the list of products that cryptofeed keeps, else what the data shows.
Recordings of the channel `full`, order by order, are read by `adapters.coinbase_l3`.
"""

from __future__ import annotations

import re

from adapters.decoders.coinbase import Coinbase
from adapters.venue import Terms, Venue, VenueAdapter
from replay.errors import DataError


def terms(symbol: str) -> Terms:
    """What a product (`BTC-USD`) pays, by its name."""
    base, _, quote = symbol.partition("-")
    if not base or not quote:
        raise DataError("its name is not that of a product, such as BTC-USD", hint="give it as an Instrument")
    return Terms("spot", quote)


SERVERS = re.compile(r"(ws-feed|api)(\.pro|\.exchange|-public)?(\.sandbox)?\.(coinbase|gdax)\.com(/.*)?")
COINBASE = VenueAdapter(Venue("coinbase", Coinbase, terms, SERVERS))
