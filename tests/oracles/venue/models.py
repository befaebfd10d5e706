"""Queue, latency and fee models, written down as the specification says them (simulation.md sections 2, 5, 6)."""

from __future__ import annotations

import math
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


QUEUES = ("risk-averse", "power", "power-2", "power-3", "log", "log-2")


@dataclass(frozen=True)
class Queue:
    """`kind` is one of QUEUES, `n` the exponent of the power models."""

    kind: str = "risk-averse"
    n: float = 1.0

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

    def entry(self, now: int, feed_us: int) -> int:
        return self.entry_us + int(self.entry_factor * feed_us)

    def response(self, venue_us: int, feed_us: int) -> int:
        return self.response_us + int(self.response_factor * feed_us)


Latency = Constant | Table | FeedProportional


@dataclass(frozen=True)
class Fees:
    """`kind`: "rates" (of notional), "tiers" (turnover from, maker, taker), "per-contract", "flat" (per fill)."""

    maker: Fraction = Fraction(0)
    taker: Fraction = Fraction(0)
    kind: str = "rates"
    tiers: tuple[tuple[Fraction, Fraction, Fraction], ...] = ()

    def of(self, maker: bool, notional: Fraction, size: Fraction, turnover: Fraction) -> Fraction:
        """Fee of one fill in the settlement currency; `turnover` is what was traded before it."""
        if self.kind == "tiers":
            reached = [tier for tier in self.tiers if tier[0] <= turnover] or [self.tiers[0]]
            return notional * (reached[-1][1] if maker else reached[-1][2])
        each = self.maker if maker else self.taker
        return {"rates": notional * each, "per-contract": size * each, "flat": each}[self.kind]


@dataclass(frozen=True)
class Market:
    """Everything that is set for one instrument.

    `consume` None means: on with "partial".  `initial` is the initial margin rate; no `deposit` means that margin is
    not checked.  `min_notional` is in the quote currency.
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

    @property
    def consumes(self) -> bool:
        """Whether liquidity that we took stays taken."""
        return self.execution == "partial" if self.consume is None else self.consume

    @property
    def partial(self) -> bool:
        return self.execution == "partial"
