"""How the synthetic exchange spells its messages: the three Binance dialects, as bytes.

A dialect knows field order, decimals and which fields exist; it knows nothing of time, loss or order flow.
Times are whole milliseconds.  A REST snapshot, which has no symbol of its own, is wrapped as
`{"stream":"<symbol>@depthSnapshot","data":{…}}` so that a recording of several symbols stays unambiguous.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from replay.events import BUY
from replay.synthetic_flow import Listing
from replay.units import SCALE_DIGITS

TEXT_CACHE_LIMIT = 100_000
"""Formatted numbers that are kept; beyond it the cache starts anew, so memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the venues; times in µs."""

    venue: str
    depth_stream: str
    depth_interval_us: int
    depth_jitter_us: int
    id_stride: int
    futures: bool
    pair: bool


DIALECTS = {
    d.venue: d
    for d in (
        Dialect("binance-usdm", "depth@0ms", 50_000, 4_000, 32, True, False),
        Dialect("binance-coinm", "depth@0ms", 10_000, 2_500, 32, True, True),
        Dialect("binance-spot", "depth@100ms", 100_000, 0, 1, False, False),
    )
}


class Numbers:
    """Integer multiples of a step as decimal text with a fixed number of decimals, remembered."""

    def __init__(self, step: Decimal, digits: int) -> None:
        self.units, self.digits = int(step.scaleb(digits)), digits
        self.known: dict[int, str] = {}

    def __call__(self, count: int) -> str:
        text = self.known.get(count)
        if text is None:
            if len(self.known) >= TEXT_CACHE_LIMIT:
                self.known.clear()
            text = self.known[count] = fixed(count * self.units, self.digits)
        return text


def fixed(number: int, digits: int) -> str:
    """`number / 10**digits` with exactly `digits` decimals."""
    if not digits:
        return str(number)
    sign, whole = ("-", -number) if number < 0 else ("", number)
    return f"{sign}{whole // 10**digits}.{whole % 10**digits:0{digits}d}"


class Wire:
    """Formats the messages of one listing in the dialect of its venue.

    Prices are given in ticks, sizes in lots, times in milliseconds, ids as they are.
    """

    def __init__(self, listing: Listing) -> None:
        self.dialect = DIALECTS[listing.instrument.venue]
        self.symbol = listing.symbol
        self.stream = f'{{"stream":"{listing.symbol.lower()}@'
        self.price = Numbers(listing.instrument.tick, listing.price_digits)
        self.size = Numbers(listing.instrument.lot, listing.size_digits)
        self.price_digits = listing.price_digits
        pair = listing.symbol.partition("_")[0]
        self.ps = f',"ps":"{pair}"' if self.dialect.pair else ""
        self.snapshot_names = f',"symbol":"{listing.symbol}","pair":"{pair}"' if self.dialect.pair else ""

    def levels(self, levels: Iterable[tuple[int, int]]) -> str:
        """`["61800.20","2.507"],…`"""
        price, size = self.price, self.size
        return ",".join([f'["{price(ticks)}","{size(lots)}"]' for ticks, lots in levels])

    def depth(self, event_ms: int, match_ms: int, ids: tuple[int, int, int], bids: str, asks: str) -> bytes:
        """A depthUpdate; `ids` are U, u and pu (spot leaves the last one out)."""
        first, last, previous = ids
        head = f'{self.stream}{self.dialect.depth_stream}","data":{{"e":"depthUpdate","E":{event_ms},'
        if self.dialect.futures:
            names = f'"T":{match_ms},"s":"{self.symbol}"{self.ps},"U":{first},"u":{last},"pu":{previous}'
        else:
            names = f'"s":"{self.symbol}","U":{first},"u":{last}'
        return f'{head}{names},"b":[{bids}],"a":[{asks}]}}}}'.encode()

    def snapshot(self, event_ms: int, match_ms: int, last_id: int, bids: str, asks: str) -> bytes:
        """A wrapped REST answer."""
        times = f',"E":{event_ms},"T":{match_ms}' if self.dialect.futures else ""
        return (
            f'{self.stream}depthSnapshot","data":{{"lastUpdateId":{last_id}{times}{self.snapshot_names},'
            f'"bids":[{bids}],"asks":[{asks}]}}}}'
        ).encode()

    def ticker(self, event_ms: int, match_ms: int, last_id: int, touch: tuple[int, int, int, int]) -> bytes:
        """A bookTicker."""
        bid, bid_lots, ask, ask_lots = touch
        quote = (
            f'"b":"{self.price(bid)}","B":"{self.size(bid_lots)}","a":"{self.price(ask)}","A":"{self.size(ask_lots)}"'
        )
        head = f'{self.stream}bookTicker","data":{{'
        if not self.dialect.futures:
            return f'{head}"u":{last_id},"s":"{self.symbol}",{quote}}}}}'.encode()
        kind = '"e":"bookTicker"'
        names = f'"u":{last_id},{kind}' if self.dialect.pair else f'{kind},"u":{last_id}'
        times = f'"T":{match_ms},"E":{event_ms}'
        return f'{head}{names},"s":"{self.symbol}"{self.ps},{quote},{times}}}}}'.encode()

    def trade(self, event_ms: int, match_ms: int, trade_id: int, side: int, ticks: int, lots: int) -> bytes:
        """A trade; `side` is the taker's."""
        maker = "false" if side == BUY else "true"
        head = f'{self.stream}trade","data":{{"e":"trade","E":{event_ms},'
        body = f'"t":{trade_id},"p":"{self.price(ticks)}","q":"{self.size(lots)}"'
        if self.dialect.futures:
            rest = f'"T":{match_ms},"s":"{self.symbol}",{body},"X":"MARKET","m":{maker}'
        else:
            rest = f'"s":"{self.symbol}",{body},"T":{match_ms},"m":{maker},"M":true'
        return f"{head}{rest}}}}}".encode()

    def liquidation(
        self, event_ms: int, match_ms: int, side: int, prints: list[tuple[int, int]], limit_ticks: int
    ) -> bytes:
        """A forceOrder that was filled by `prints`; `ap` is their mean price, rounded to the nearest tick."""
        total = sum(lots for _, lots in prints)
        mean = (2 * sum(ticks * lots for ticks, lots in prints) + total) // (2 * total)
        return (
            f'{self.stream}forceOrder","data":{{"e":"forceOrder","E":{event_ms},"o":{{"s":"{self.symbol}"{self.ps},'
            f'"S":"{"BUY" if side == BUY else "SELL"}","o":"LIMIT","f":"IOC","q":"{self.size(total)}",'
            f'"p":"{self.price(limit_ticks)}","ap":"{self.price(mean)}","X":"FILLED",'
            f'"l":"{self.size(prints[-1][1])}","z":"{self.size(total)}","T":{match_ms}}}}}}}'
        ).encode()

    def mark(self, event_ms: int, mark_e8: int, index_e8: int, rate_e8: int, settle_ms: int) -> bytes:
        """A markPriceUpdate; prices and rate in units of 1e-8, `settle_ms` the next funding time."""
        second = "P" if self.dialect.pair else "i"
        mark, index, rate = (fixed(number, SCALE_DIGITS) for number in (mark_e8, index_e8, rate_e8))
        return (
            f'{self.stream}markPrice@1s","data":{{"e":"markPriceUpdate","E":{event_ms},"s":"{self.symbol}",'
            f'"p":"{mark}","{second}":"{index}","r":"{rate}","T":{settle_ms}}}}}'
        ).encode()
