"""OKX recordings and live feeds: spot, margin, futures, swaps, options and spreads in one adapter.

Symbols are OKX's `instId`, which are unique among all kinds.  Sizes are coins for spot and contracts for the others;
the instrument's `multiplier` is the contract size.  It comes from the recording (an answer of `/public/instruments`,
see `adapters.decoders.okx`), else from the caller, else, for inverse contracts, from a rule: 100 USD for BTC, 10 USD
for the others.
"""

from __future__ import annotations

import re
from decimal import Decimal

from adapters.decoders.okx import OkxMessages
from adapters.venue import Terms, Venue, VenueAdapter
from replay.errors import DataError

SPOT = re.compile(r"[A-Z0-9]+-([A-Z0-9]+)")
CONTRACT = re.compile(r"([A-Z0-9]+)-([A-Z0-9]+)-(?:SWAP|\d{6})")
INVERSE_USD = {"BTC": Decimal(100)}
OTHER_INVERSE_USD = Decimal(10)


def terms(symbol: str) -> Terms:
    """Of spot pairs and inverse contracts, by their names; DataError where the contract size must be told."""
    spot = SPOT.fullmatch(symbol)
    if spot:
        return Terms("spot", spot[1])
    contract = CONTRACT.fullmatch(symbol)
    if contract and contract[2] == "USD":
        return Terms("inverse", contract[1], INVERSE_USD.get(contract[1], OTHER_INVERSE_USD))
    raise DataError(
        "sizes are contracts whose size the recording does not tell",
        hint="give it as an Instrument, or the answer of /api/v5/public/instruments beside it",
    )


OKX = VenueAdapter(
    Venue(
        "okx",
        OkxMessages,
        terms,
        re.compile(r"([\w-]+\.)*(okx|okex)\.com/.*"),
        settings=frozenset(("book", "checksums", "ticker_quotes")),
    )
)
