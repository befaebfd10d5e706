"""Kraken spot as sources of events (see `adapters.venue`, `adapters.decoders.kraken`).

Symbols are as the venue writes them: `XBT/USD` in version 1 of its protocol, `BTC/USD` in version 2.  Ticks and lots
are those of the list of pairs that cryptofeed keeps, else what the data shows.
"""

from __future__ import annotations

import re

from adapters.decoders.kraken import COINS, Kraken
from adapters.venue import Terms, Venue, VenueAdapter
from replay.errors import DataError


def terms(symbol: str) -> Terms:
    """What a pair pays, by its name."""
    base, _, quote = symbol.partition("/")
    if not base or not quote:
        raise DataError("its name is not that of a pair, such as XBT/USD", hint="give it as an Instrument")
    return Terms("spot", COINS.get(quote, quote))


KRAKEN = VenueAdapter(Venue("kraken", Kraken, terms, re.compile(r"(beta-)?(ws|api)(-auth)?\.kraken\.com(/.*)?")))
