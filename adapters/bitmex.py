"""BitMEX as sources of events (see `adapters.venue`, `adapters.decoders.bitmex`).

Sizes are contracts.  What a contract pays is said by the table `instrument` or by the list of instruments that
cryptofeed keeps; without either only the contracts on bitcoin in USD (`XBTUSD`, `XBTU21`: inverse, 1 USD, in BTC) are
known by their names, and others must be given as Instruments.
"""

from __future__ import annotations

import re

from adapters.decoders.bitmex import Bitmex
from adapters.venue import Terms, Venue, VenueAdapter
from replay.errors import DataError

BITCOIN = re.compile(r"XBT(USD|[FGHJKMNQUVXZ]\d\d)", re.ASCII)
"""The perpetual, and futures by month and year."""


def terms(symbol: str) -> Terms:
    """What a contract pays, by its name."""
    if BITCOIN.fullmatch(symbol):
        return Terms("inverse", "BTC")
    raise DataError(
        "its name does not tell what a contract is worth",
        hint="record the table 'instrument', or give it as an Instrument",
    )


BITMEX = VenueAdapter(Venue("bitmex", Bitmex, terms, re.compile(r"([a-z]+\.)?bitmex\.com/.*")))
