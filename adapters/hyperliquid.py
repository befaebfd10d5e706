"""Hyperliquid recordings and connections as sources of events (see `adapters.venue`, `adapters.decoders.hyperliquid`).

Symbols are the venue's coins, as they are written there: `BTC`, `kPEPE` and `xyz:SP500` are perpetuals, linear and in
USDC; `@107` and `PURR/USDC` are spot.  Sizes are coins.
"""

from __future__ import annotations

import re

from adapters.decoders.hyperliquid import HyperliquidMessages
from adapters.venue import Terms, Venue, VenueAdapter


def terms(symbol: str) -> Terms:
    """What an instrument pays, by its name."""
    spot = symbol.startswith("@") or "/" in symbol
    return Terms("spot" if spot else "linear", "USDC")


HYPERLIQUID = VenueAdapter(
    Venue("hyperliquid", HyperliquidMessages, terms, re.compile(r"api\.hyperliquid(-testnet)?\.xyz/.*")),
)
