"""Order flow of one synthetic instrument: a book in ticks and lots, and random orders that change it.

A hidden fair value (in 1/256 tick) walks at random and is pulled towards a slower anchor.  Orders lean
towards it: the further the mid lies below, the more buyers add, sellers cancel and takers buy.  So prices
move, a large order pushes them away, and they come back: a maker at the touch is paid by the noise and hurt
by the walk.

The book keeps these promises: it is never crossed or locked, no side runs empty, a side has at most
MAX_LEVELS levels (hence one REST snapshot shows all of it), and a market order takes exactly what its prints
say, best level first.

Everything is integer arithmetic over `getrandbits`; logarithms go through `decimal`, which rounds the same on
every machine.  So a seed gives the same market everywhere.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from replay.errors import ConfigError, did_you_mean
from replay.events import BUY, SELL
from replay.instruments import Instrument, Payoff
from replay.units import SCALE_DIGITS

FAIR_BITS = 8
"""The fair value is counted in 2**-FAIR_BITS ticks."""

MIN_LEVELS = 64
MAX_LEVELS = 900
FAIR_STEP_US = 50_000
MARKET_ODDS = 22
CANCEL_ODDS = 118


@dataclass(frozen=True, slots=True)
class Listing:
    """An instrument that the synthetic exchange lists, and how lively it is.

    `price` is where it starts; `price_digits` and `size_digits` are the decimals that the venue prints.
    Rates are per second of venue time at rate 1; `size_lots` is the largest usual order; `depth_ticks` is how
    far behind the touch levels come and go; `far_levels` how many of them a depth message carries on average;
    `step_fair` is the typical move of the fair value in 50 ms, in 1/256 tick.
    """

    instrument: Instrument
    price: Decimal
    price_digits: int
    size_digits: int
    orders_per_s: int = 250
    far_levels: int = 36
    size_lots: int = 4_000
    depth_ticks: int = 1_000
    step_fair: int = 500

    def __post_init__(self) -> None:
        for name, low in (("orders_per_s", 1), ("far_levels", 0), ("size_lots", 8), ("depth_ticks", 200)):
            if getattr(self, name) < low:
                raise ConfigError(f"Listing.{name}", getattr(self, name), f"must be at least {low}")
        for name, step in (("price_digits", self.instrument.tick), ("size_digits", self.instrument.lot)):
            digits = getattr(self, name)
            if not 0 <= digits <= SCALE_DIGITS or step.scaleb(digits) % 1:
                raise ConfigError(f"Listing.{name}", digits, f"must be 0 to {SCALE_DIGITS} and show steps of {step}")
        if self.instrument.ticks(self.price) < 2 * self.depth_ticks:
            raise ConfigError("Listing.price", self.price, "must be at least 2 depth_ticks above zero")

    @property
    def symbol(self) -> str:
        """The venue's symbol."""
        return self.instrument.symbol


def _listing(venue: str, symbol: str, tick: str, lot: str, price: str, digits: tuple[int, int], **rest: int) -> Listing:
    payoff: Payoff = "linear"
    multiplier, settle = 1, "USDT"
    if venue == "binance-spot":
        payoff = "spot"
    elif venue == "binance-coinm":
        payoff, settle = "inverse", symbol[:3]
        multiplier = 100 if settle == "BTC" else 10
    instrument = Instrument(venue, symbol, payoff, Decimal(tick), Decimal(lot), Decimal(multiplier), settle)
    return Listing(instrument, Decimal(price), *digits, **rest)


_USDM, _COINM, _SPOT = "binance-usdm", "binance-coinm", "binance-spot"
LISTINGS: dict[str, dict[str, Listing]] = {
    _USDM: {
        "BTCUSDT": _listing(_USDM, "BTCUSDT", "0.1", "0.001", "61800", (2, 3)),
        "ETHUSDT": _listing(
            _USDM,
            "ETHUSDT",
            "0.01",
            "0.001",
            "2680",
            (2, 3),
            orders_per_s=200,
            size_lots=40_000,
            step_fair=300,
        ),
        "SOLUSDT": _listing(
            _USDM, "SOLUSDT", "0.01", "1", "155", (4, 0), orders_per_s=120, size_lots=900, step_fair=100
        ),
    },
    _COINM: {
        "BTCUSD_PERP": _listing(
            _COINM, "BTCUSD_PERP", "0.1", "1", "61800", (1, 0), orders_per_s=80, far_levels=4, size_lots=900
        ),
        "ETHUSD_PERP": _listing(
            _COINM,
            "ETHUSD_PERP",
            "0.01",
            "1",
            "2680",
            (2, 0),
            orders_per_s=60,
            far_levels=4,
            size_lots=900,
            step_fair=300,
        ),
    },
    _SPOT: {
        "BTCUSDT": _listing(_SPOT, "BTCUSDT", "0.01", "0.00001", "61800", (8, 8), orders_per_s=110, size_lots=90_000),
        "ETHUSDT": _listing(
            _SPOT,
            "ETHUSDT",
            "0.01",
            "0.0001",
            "2680",
            (8, 8),
            orders_per_s=90,
            size_lots=90_000,
            step_fair=300,
        ),
    },
}
"""Ready-made listings by venue and symbol, with the grids and the liveliness of the real ones in 2024."""


def find_listing(venue: str, symbol: str) -> Listing:
    """The ready-made listing; ConfigError with the nearest name when there is none."""
    if venue not in LISTINGS:
        raise ConfigError("venue", venue, "no such synthetic venue", did_you_mean(venue, LISTINGS))
    if symbol not in LISTINGS[venue]:
        hint = did_you_mean(symbol, LISTINGS[venue]) + "; or pass a Listing of your own"
        raise ConfigError("instruments", symbol, f"{venue} has no ready-made listing of that name", hint)
    return LISTINGS[venue][symbol]


def stream(seed: int, *names: str) -> random.Random:
    """An independent random stream for this seed and purpose."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return random.Random(int.from_bytes(digest[:16], "big"))


@lru_cache(maxsize=1)
def gap_table() -> tuple[int, ...]:
    """1024 waiting times with mean near 2**16: half of them short (a burst), half exponential and long."""
    short = [200 + 6 * i for i in range(512)]
    rest = (1024 * 65_536 - sum(short)) // 512
    long = [int(-((Decimal(2 * i + 1) / 1024).ln()) * rest) for i in range(512)]
    return tuple(short + long)


class OrderFlow:
    """The book of one instrument and the orders that arrive at it.

    Prices are ticks, sizes lots.  `dirty_bids` and `dirty_asks` hold the levels that changed since
    `clear_dirty`; `first_id` is the first update id since then (0: none), `last_id` the newest one.
    """

    def __init__(self, listing: Listing, seed: int, rate: float, id_stride: int) -> None:
        self.listing = listing
        self.bits = stream(seed, listing.instrument.name, "flow").getrandbits
        self.gaps = gap_table()
        self.mean_gap_us = max(1, round(1_000_000 / (listing.orders_per_s * rate)))
        self.far_levels = round(listing.far_levels * min(rate, 1.0))
        self.id_stride = id_stride
        start = listing.instrument.ticks(listing.price)
        self.fair = self.anchor = start << FAIR_BITS
        self.bid, self.ask = start, start + 1
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.sizes = tuple(1 + (i + 1) ** 3 * listing.size_lots // 256**3 for i in range(256))
        self.dirty_bids: dict[int, None] = {}
        self.dirty_asks: dict[int, None] = {}
        self.last_id = 5_000_000_000_000 + self.bits(24)
        self.first_id = 0
        self._seed_book()

    def _seed_book(self) -> None:
        self.bids[self.bid] = self.size() * 2
        self.asks[self.ask] = self.size() * 2
        for offset in range(1, self.listing.depth_ticks):
            if self.bits(1):
                self.bids[self.bid - offset] = self.size()
            if self.bits(1):
                self.asks[self.ask + offset] = self.size()

    def check(self) -> None:
        """AssertionError when the book broke one of its promises."""
        assert self.bid == max(self.bids) and self.ask == min(self.asks), "best prices are wrong"
        assert self.bid < self.ask, "crossed"
        assert min(self.bids.values()) > 0 and min(self.asks.values()) > 0, "a level without size"
        for side in (self.bids, self.asks):
            assert MIN_LEVELS <= len(side) <= 1_000, f"{len(side)} levels"

    def size(self) -> int:
        """A random order size: small ones are common, one in 64 is eight times larger than usual."""
        r = self.bits(14)
        lots = self.sizes[r & 255]
        return lots if r >> 8 else lots << 3

    def wait_us(self) -> int:
        """Time until the next order."""
        return 1 + (self.mean_gap_us * self.gaps[self.bits(10)] >> 16)

    def touch(self) -> tuple[int, int, int, int]:
        """Bid, its size, ask, its size."""
        return self.bid, self.bids[self.bid], self.ask, self.asks[self.ask]

    def clear_dirty(self) -> None:
        """A depth message was sent: start the next one."""
        self.dirty_bids.clear()
        self.dirty_asks.clear()
        self.first_id = 0

    def drift(self) -> None:
        """Move the fair value by one step of 50 ms."""
        r = self.bits(32)
        noise = (r & 255) + (r >> 8 & 255) + (r >> 16 & 255) + (r >> 24) - 510  # sd 148
        self.anchor += noise * self.listing.step_fair // 600
        noise = self.bits(8) + self.bits(8) - 255  # sd 104
        self.fair += noise * self.listing.step_fair // 104 + (self.anchor - self.fair >> 5)
        floor = self.listing.depth_ticks * 3 // 2 << FAIR_BITS
        self.anchor, self.fair = max(self.anchor, floor), max(self.fair, floor)

    def order(self) -> tuple[int, list[tuple[int, int]]]:
        """One order arrives.

        Returns (taker side, prints): prints are (price, lots) in the order of matching, and empty with side 0
        when the order was a limit order or a cancellation.
        """
        r = self.bits(32)
        lean = 128 + ((self.fair - (self.bid + self.ask << FAIR_BITS - 1)) >> 4)
        side = BUY if r & 255 < min(max(lean, 12), 244) else SELL
        action = r >> 8 & 255
        if action < MARKET_ODDS:
            size = self.size()
            if r >> 16 & 7 == 0:
                size <<= 2
            return side, self.take(side, size)
        if action < CANCEL_ODDS:
            self._cancel(-side, r >> 16)
        else:
            self._add(side, r >> 16)
        return 0, []

    def set_level(self, side: int, price: int, lots: int) -> None:
        """Give a level its new size (0 removes it), count an update id and keep the best price right."""
        self.last_id += 1 + (self.bits(5) if self.id_stride > 1 else 0)
        if not self.first_id:
            self.first_id = self.last_id
        if side == BUY:
            book = self.bids
            self.dirty_bids[price] = None
            if lots:
                book[price] = lots
                self.bid = max(self.bid, price)
                return
            book.pop(price, None)
            while self.bid not in book:
                self.bid -= 1
        else:
            book = self.asks
            self.dirty_asks[price] = None
            if lots:
                book[price] = lots
                self.ask = min(self.ask, price)
                return
            book.pop(price, None)
            while self.ask not in book:
                self.ask += 1

    def take(self, side: int, lots: int) -> list[tuple[int, int]]:
        """A market order: walks the other side, maker order by maker order; what is left expires."""
        prints: list[tuple[int, int]] = []
        book = self.asks if side == BUY else self.bids
        while lots and len(book) > MIN_LEVELS:
            price = self.ask if side == BUY else self.bid
            resting = book[price]
            taken = min(lots, resting)
            lots -= taken
            left = taken
            while left:
                maker = min(left, self.size() if len(prints) < 40 else left)
                prints.append((price, maker))
                left -= maker
            self.set_level(-side, price, resting - taken)
        return prints

    def _add(self, side: int, r: int) -> None:
        """A limit order: inside the spread as far as the fair value allows, at the touch, or behind it."""
        where = r & 15
        fair = self.fair >> FAIR_BITS
        best = self.bid if side == BUY else self.ask
        room = min(fair, self.ask - 1) - self.bid if side == BUY else self.ask - max(fair + 1, self.bid + 1)
        if room > 0 and where < 9:
            price = best + side * (1 + (r >> 4 & 255) * room // 256)
        elif where < 13:
            price = best
        else:
            price = best - side * (1 + (r >> 4 & 15))
        book = self.bids if side == BUY else self.asks
        if len(book) < MAX_LEVELS or price in book:
            self.set_level(side, price, book.get(price, 0) + self.size())

    def _cancel(self, side: int, r: int) -> None:
        """Part of a level goes away, or all of it when it lies on the wrong side of the fair value."""
        book = self.bids if side == BUY else self.asks
        if len(book) <= MIN_LEVELS:
            return
        fair = self.fair >> FAIR_BITS
        best = self.bid if side == BUY else self.ask
        price = best
        if r & 3 == 0:
            price = best - side * (1 + (r >> 4 & 15))
        resting = book.get(price, 0)
        if not resting:
            return
        wrong = best > fair if side == BUY else best <= fair
        gone = resting if wrong else (resting * (1 + (r >> 8 & 3)) >> 3) + self.size() // 2
        self.set_level(side, price, max(0, resting - gone))

    def far_activity(self) -> None:
        """Levels behind the touch come, change and go, some of them too briefly for any depth message."""
        bits, depth = self.bits, self.listing.depth_ticks
        for _ in range(self.far_levels * (32 + bits(6)) >> 6):
            r = bits(32)
            offset = 2 + ((r >> 8 & 4095) ** 2 * (depth - 2) >> 24)
            side = BUY if r & 1 else SELL
            book = self.bids if r & 1 else self.asks
            price = self.bid - offset if r & 1 else self.ask + offset
            kind = r >> 1 & 7
            if price in book:
                if kind >= 4:
                    self.set_level(side, price, self.size())
                elif len(book) > MIN_LEVELS:
                    self.set_level(side, price, 0)
            elif kind >= 4:
                if len(book) < MAX_LEVELS:
                    self.set_level(side, price, self.size())
            elif kind == 0:
                self.set_level(side, price, 0)
        for side, book in ((BUY, self.bids), (SELL, self.asks)):
            if len(book) > MAX_LEVELS - 20:
                for price in sorted(book, reverse=side == SELL)[:100]:
                    self.set_level(side, price, 0)
