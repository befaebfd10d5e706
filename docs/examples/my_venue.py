"""A venue of your own, in a package of your own: recordings, verification, live decoding and gaps come with it.

Say that your exchange, ACME, sends JSON like this, and that you recorded lines of `<local time in ns> <message>`:

    {"ch":"book","sym":"BTC-USD","t":1723161255308,"seq":7,"bids":[["61800.5","2"]],"asks":[["61801.0","1"]]}
    {"ch":"delta","sym":"BTC-USD","t":1723161255408,"seq":8,"bids":[["61800.5","0"]],"asks":[]}
    {"ch":"trade","sym":"BTC-USD","t":1723161255409,"id":99,"side":"buy","px":"61801.0","qty":"1"}

Tell the installer of your package where the adapter is (`setup.cfg`; in `pyproject.toml` it is
`[project.entry-points."replay.adapters"]`):

    [options.entry_points]
    replay.adapters =
        acme = my_venue:ACME

After `pip install` of your package, `replay verify day.txt.gz --adapter acme` and
`replay run --data day.txt.gz --adapter acme --strategy my_strategies:Quoter` know it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from adapters.decoders.parsed import Parsed, get, level, levels, other, side_of, symbol_of, time_us, whole
from adapters.venue import Messages, Terms, Venue, VenueAdapter
from replay.events import BUY, SELL
from replay.kernel import scan

SIDES = {"buy": BUY, "sell": SELL}
"""ACME names the side of the taker."""


class Acme(Messages):
    """One connection, or one recording: JSON in, what it says out."""

    def read(self, message: Any, received_ns: int) -> Iterable[Parsed]:
        """The events in a message; the helpers raise DataError when a field is missing or is not what it should be."""
        if not isinstance(message, dict) or message.get("ch") not in ("book", "delta", "trade"):
            return [other("message of another channel")]  # counted, and shown in the report
        symbol, at_us = symbol_of(message, "sym"), time_us(message, "t")
        if message["ch"] == "trade":
            side, size = side_of(message, "side", SIDES), level(get(message, "px"), get(message, "qty"))
            return [Parsed(scan.TRADE, symbol, venue_us=at_us, last_id=whole(message, "id"), side=side, bids=[size])]
        number, bids, asks = whole(message, "seq"), levels(message, "bids"), levels(message, "asks")
        if message["ch"] == "book":  # a full book
            return [Parsed(scan.RESET, symbol, venue_us=at_us, last_id=number, bids=bids, asks=asks)]
        return [  # ACME numbers without holes, so a delta must follow the one before; if not, that is a gap
            Parsed(scan.DEPTH, symbol, venue_us=at_us, first_id=number, last_id=number, prev_id=number - 1,
                   bids=bids, asks=asks)
        ]  # fmt: skip


def terms(symbol: str) -> Terms:
    """What an instrument pays: BTC-USD is spot, and profit is in USD.  Ticks and lots are found in the recording."""
    return Terms("spot", symbol.rpartition("-")[2])


ACME = VenueAdapter(Venue("acme", Acme, terms, re.compile(r"stream\.acme\.example/.*")))
