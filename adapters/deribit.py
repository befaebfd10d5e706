"""Deribit recordings and connections as sources of events (see `adapters.venue`, `adapters.decoders.deribit`).

| symbol | pays | size |
|---|---|---|
| `BTC-PERPETUAL`, `BTC-24SEP21` | inverse, in the coin | USD |
| `SOL_USDC-PERPETUAL` | linear, in USDC | coins |
| `BTC-24SEP21-8000-P` | as linear, in the coin that its price is in | coins |
| `XRP_USDC-30JUN23-0d5-C` | as linear, in USDC | coins |
| `BTC_USDC` | spot | coins |

Ticks and lots come from the recording where it has the answer of `public/get_instruments` (cryptofeed files do), else
from what its numbers have in common.  An option that is to expire needs its terms from the caller, as an Instrument
with payoff "option".
"""

from __future__ import annotations

import re

from adapters.decoders.deribit import DeribitMessages, terms
from adapters.venue import Venue, VenueAdapter

SERVERS = re.compile(r"([a-z]+\.)?deribit\.com/.*")
DERIBIT = VenueAdapter(Venue("deribit", DeribitMessages, terms, SERVERS, settings=frozenset(("book",))))
