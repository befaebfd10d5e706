"""Queue, latency, slippage and fee models, as the specification says them (simulation.md, sections 2 to 6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise


def divide(a: float, b: float) -> float:
    """IEEE division: x/0 is infinite, 0/0 is no number."""
    if b != 0:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def log1p(x: float) -> float:
    """ln(1 + x) with IEEE answers at and below −1."""
    if 1.0 + x > 0:
        return math.log(1.0 + x)
    return -math.inf if 1.0 + x == 0 else math.nan


def power(x: float, n: float) -> float:
    """x^n; no number for a fractional power of a negative."""
    if x < 0 and n != int(n):
        return math.nan
    return math.pow(x, n)


def half_away(x: float) -> int:
    """The nearest integer, halves away from zero."""
    whole = math.floor(abs(x) + 0.5)
    return whole if x >= 0 else -whole


QUEUES = ("risk-averse", "power", "power-2", "power-3", "log", "log-2", "own")


@dataclass(frozen=True)
class Queue:
    """`kind` is one of QUEUES, `n` the exponent of the power models, `function` a model of one's own."""

    kind: str = "risk-averse"
    n: float = 1.0
    function: Callable[..., float] | None = None

    def share_behind(self, front: float, behind: float, lot: float) -> float:
        """P: how much of a decrease happened behind us.  Logarithms see sizes (lots × lot), not lots."""
        if self.kind == "power":
            return divide(power(behind, self.n), power(behind, self.n) + power(front, self.n))
        if self.kind == "power-2":
            return divide(power(behind, self.n), power(behind + front, self.n))
        if self.kind == "power-3":
            return 1.0 - power(divide(front, front + behind), self.n)
        if self.kind == "log":
            return divide(log1p(behind * lot), log1p(behind * lot) + log1p(front * lot))
        return divide(log1p(behind * lot), log1p((behind + front) * lot))

    def moved(self, front: float, printed: int, before: int, after: int, lot: float, bounded: bool) -> float:
        """The front after a level change; `bounded` ("partial") keeps 0 <= front <= after."""
        if self.kind == "risk-averse":
            return min(front, float(after))
        if self.function is not None:
            own = self.function(front, float(printed), float(before), float(after), lot, self.n)
            return float(after) if math.isnan(own) else min(max(own, 0.0), float(after))
        cancelled = before - after - printed
        if cancelled < 0:
            return min(front, float(after))
        behind = before - front
        share = self.share_behind(front, behind, lot)
        if math.isinf(share):
            share = 1.0
        new = front - (1.0 - share) * cancelled + min(behind - share * cancelled, 0.0)
        if math.isnan(new):
            return float(after)
        if bounded:
            new = max(new, 0.0)
        return min(new, float(after))


@dataclass(frozen=True)
class Constant:
    """The same travel times for ever, µs; a negative entry means that the venue rejects everything."""

    entry_us: int = 0
    response_us: int = 0

    def begun(self) -> Constant:
        return self

    def entry(self, now: int, feed_us: int) -> int:
        return self.entry_us

    def response(self, venue_us: int, feed_us: int) -> int:
        return self.response_us


@dataclass(frozen=True)
class Table:
    """Measured round trips (request, venue, answer), µs, in order of time.

    A venue time before the request's marks a rejection: its entry latency is minus the time until the answer.
    """

    trips: tuple[tuple[int, int, int], ...]

    def begun(self) -> Table:
        return self

    def entry(self, now: int, feed_us: int) -> int:
        points = [(sent, venue - sent if venue >= sent else sent - answer) for sent, venue, answer in self.trips]
        return interpolated(points, now)

    def response(self, venue_us: int, feed_us: int) -> int:
        return interpolated([(venue, answer - venue) for sent, venue, answer in self.trips if venue >= sent], venue_us)


def interpolated(points: list[tuple[int, int]], at: int) -> int:
    """Linear between points, floored to whole µs, flat beyond the ends."""
    if at <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= at < x1:
            return math.floor(y0 + Fraction((y1 - y0) * (at - x0), x1 - x0))
    return points[-1][1]


@dataclass(frozen=True)
class FeedProportional:
    """Fixed part plus a multiple of the receipt delay of the last event that we received from the instrument."""

    entry_us: int = 0
    response_us: int = 0
    entry_factor: float = 1.0
    response_factor: float = 1.0

    def begun(self) -> FeedProportional:
        return self

    def entry(self, now: int, feed_us: int) -> int:
        return self.entry_us + int(self.entry_factor * feed_us)

    def response(self, venue_us: int, feed_us: int) -> int:
        return self.response_us + int(self.response_factor * feed_us)


@dataclass
class LogNormal:
    """`median · exp(sigma · z)` µs each way, cut to whole µs; both ways of one instrument draw from one generator.

    Each uniform number takes two steps of x → 48271·x mod (2^31 − 1), high part first; z by Box and Muller.
    """

    median: int
    sigma: float
    seed: int

    def begun(self) -> LogNormal:
        """The generator at its seed."""
        return LogNormal(self.median, self.sigma, self.seed)

    def uniform(self) -> float:
        prime = 2**31 - 1
        high = 48_271 * self.seed % prime
        self.seed = 48_271 * high % prime
        return (high * float(prime) + self.seed) / float(prime**2)

    def entry(self, now: int, feed_us: int) -> int:
        radius = math.sqrt(-2.0 * math.log(self.uniform()))
        z = radius * math.cos(2.0 * math.pi * self.uniform())
        return int(math.exp(math.log(self.median) + self.sigma * z))

    response = entry


Latency = Constant | Table | FeedProportional | LogNormal


@dataclass(frozen=True)
class Slippage:
    """What a taking fill pays on top, before it is rounded up to whole ticks.

    `kind` "none", "bps" (a of the price in 1e-4), "spread" (a of the spread), "square-root" (a·b·sqrt(size / c) of the
    price) or "own" (`function(ticks, lots, side, spread, lot, a)`).
    """

    kind: str = "none"
    a: float = 0.0
    b: float = 0.0
    c: float = 0.0
    function: Callable[..., float] | None = None

    def extra(self, ticks: int, lots: int, side: int, spread: int, lot: float) -> int:
        """Whole ticks for the worse; a sale still gets one tick."""
        if self.kind == "bps":
            worse = ticks * self.a * 1e-4
        elif self.kind == "spread":
            worse = spread * self.a
        elif self.kind == "square-root":
            worse = ticks * self.a * self.b * math.sqrt(lots * lot / self.c)
        elif self.function is not None:
            worse = self.function(float(ticks), float(lots), float(side), float(spread), lot, self.a)
            worse = worse if 0.0 <= worse < 1e15 else 0.0
        else:
            worse = 0.0
        whole = math.ceil(worse - 1e-9)
        return max(0, min(whole, ticks - 1) if side < 0 else whole)


@dataclass(frozen=True)
class Fees:
    """`kind`: "rates" (of notional), "tiers" (turnover from, maker, taker), "per-contract", "flat" (per fill), "own".

    `currency` "" is that of settlement.  Rates are converted at `price`, or taken of the size when `on_size`.
    """

    maker: Fraction = Fraction(0)
    taker: Fraction = Fraction(0)
    kind: str = "rates"
    tiers: tuple[tuple[Fraction, Fraction, Fraction], ...] = ()
    currency: str = ""
    price: Fraction = Fraction(1)
    on_size: bool = False
    function: Callable[..., float] | None = None

    def of(self, maker: bool, notional: Fraction, size: Fraction, turnover: Fraction) -> Fraction:
        """Fee of one fill in the fee currency; `turnover` is what was traded before it."""
        each = self.maker if maker else self.taker
        if self.kind == "tiers":
            reached = [tier for tier in self.tiers if tier[0] <= turnover] or [self.tiers[0]]
            each = reached[-1][1] if maker else reached[-1][2]
        if self.kind in ("rates", "tiers"):
            return self.rated(notional, size, each)
        return {"per-contract": size * each, "flat": each}[self.kind]

    def rated(self, notional: Fraction, size: Fraction, rate: Fraction) -> Fraction:
        """A rate of the notional at the price of the fee currency, or of the size."""
        return (size if self.on_size else notional / self.price) * rate


@dataclass(frozen=True)
class Market:
    """Everything that is set for one instrument.

    `consume` None means: on with "partial".  `initial`, `maintenance` and `liquidation_fee` are rates; no `deposit`
    means that margin is not checked; instruments of one `currency` share it.  `min_notional` is in the quote currency.
    An option has `right`, `strike`, `expiry_us` and the index of its `underlying`.
    """

    tick: Fraction = Fraction(1, 10)
    lot: Fraction = Fraction(1, 1000)
    multiplier: Fraction = Fraction(1)
    payoff: str = "linear"
    latency: Latency = field(default_factory=Constant)
    queue: Queue = field(default_factory=Queue)
    fees: Fees = field(default_factory=Fees)
    execution: str = "partial"
    consume: bool | None = None
    self_trade: str = "cancel-newest"
    on_gap: str = "reject"
    min_notional: Fraction = Fraction(0)
    borrowing: bool = False
    deposit: Fraction | None = None
    initial: Fraction = Fraction(0)
    maintenance: Fraction = Fraction(0)
    liquidation_fee: Fraction = Fraction(0)
    slippage: Slippage = field(default_factory=Slippage)
    currency: str = "USDT"
    right: str = ""
    strike: Fraction = Fraction(0)
    expiry_us: int = 0
    underlying: int = 0

    @property
    def consumes(self) -> bool:
        """Whether liquidity that we took stays taken."""
        return self.execution == "partial" if self.consume is None else self.consume

    @property
    def fee_currency(self) -> str:
        return self.fees.currency or self.currency

    def intrinsic(self, price: Fraction) -> Fraction:
        """Worth of one unit of an option at expiry."""
        return max(Fraction(0), price - self.strike if self.right == "call" else self.strike - price)

    @property
    def partial(self) -> bool:
        return self.execution == "partial"
