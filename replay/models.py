"""Models of what nobody can know exactly: latency, queues, execution, slippage, fees, margin.

Each is a small immutable value that checks itself on construction (ConfigError) and becomes integer codes and numbers
for the kernels.  They are parameters of `Replay(...)`; a dict `{instrument name: model}` sets one per instrument.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np

from replay.errors import ConfigError
from replay.instruments import Instrument
from replay.kernel import codes
from replay.kernel.hooks import ARGUMENTS, hook_address
from replay.units import SCALE, decimal_from_rate

MAX_LATENCY_US = 3_600_000_000


_RATE_HINT = "a rate is a fraction: 0.0002 is 0.02 %"


def _scaled(name: str, rate: float | str | Decimal, low: str, high: str) -> int:
    try:
        value = decimal_from_rate(rate)
    except ArithmeticError:
        raise ConfigError(name, rate, "is not a number", _RATE_HINT if high == "0.1" else "") from None
    if not value.is_finite() or not Decimal(low) <= value <= Decimal(high):
        raise ConfigError(name, rate, f"must lie between {low} and {high}", _RATE_HINT if high == "0.1" else "")
    scaled = value * SCALE
    if scaled != int(scaled):
        raise ConfigError(name, rate, "has more than 8 decimals")
    return int(scaled)


def _finite(name: str, value: float, low: float, high: float = math.inf) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or not low <= value <= high:
        raise ConfigError(name, value, f"must be a finite number of at least {low}")
    return float(value)


def _whole_us(name: str, value: int, low: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= MAX_LATENCY_US:
        raise ConfigError(name, value, f"must be whole microseconds from {low} to {MAX_LATENCY_US}")
    return int(value)


def _compiles(name: str, function: Callable[..., float]) -> None:
    """ConfigError, with Numba's own words, when `function` cannot be a hook."""
    plain = getattr(function, "py_func", function)
    if not inspect.isfunction(plain) or len(inspect.signature(plain).parameters) != ARGUMENTS:
        raise ConfigError(name, function, f"must be a function of {ARGUMENTS} numbers")
    try:
        hook_address(function)
    except ValueError as error:
        raise ConfigError(name, plain.__name__, f"cannot be compiled: {error}") from None


# ------------------------------------------------------------------------------------------------------------ latency


@dataclass(frozen=True, slots=True)
class ConstantLatency:
    """Every request takes `entry` µs to the venue, every answer `response` µs back."""

    entry: int = 0
    response: int = 0

    def __post_init__(self) -> None:
        _whole_us("ConstantLatency.entry", self.entry)
        _whole_us("ConstantLatency.response", self.response)

    def scaled(self, factor: float) -> ConstantLatency:
        """The same, `factor` times as long."""
        return ConstantLatency(round(self.entry * factor), round(self.response * factor))


@dataclass(frozen=True, slots=True)
class TableLatency:
    """Measured round trips `(request µs, venue µs, answer µs)`, ascending, interpolated linearly.

    The entry latency is looked up by request time, the response by venue time; both ends are held flat.  A venue time
    of 0 or less than the request's marks a rejection: its entry latency is minus the time until the answer.
    """

    trips: tuple[tuple[int, int, int], ...]

    def __init__(self, trips: Sequence[tuple[int, int, int]]) -> None:
        object.__setattr__(self, "trips", tuple((int(a), int(b), int(c)) for a, b, c in trips))
        if not self.trips:
            raise ConfigError("TableLatency.trips", trips, "is empty")
        requests = [trip[0] for trip in self.trips]
        venues = [trip[1] for trip in self.trips if trip[1] >= trip[0]]
        if any(a >= b for a, b in pairwise(requests)) or any(a > b for a, b in pairwise(venues)):
            raise ConfigError("TableLatency.trips", "…", "request and venue times must ascend")
        if not venues:
            raise ConfigError("TableLatency.trips", "…", "has no trip that reached the venue")
        if any(answer < max(request, venue) for request, venue, answer in self.trips):
            raise ConfigError("TableLatency.trips", "…", "an answer comes before its request")

    def scaled(self, factor: float) -> TableLatency:
        """The same trips, each way `factor` times as long; a rejection takes `factor` times as long to come back.

        Raises ConfigError when trips then no longer reach the venue in order.
        """
        trips = []
        for request, venue, answer in self.trips:
            if venue < request:
                trips.append((request, venue, request + round((answer - request) * factor)))
            else:
                arrival = request + round((venue - request) * factor)
                trips.append((request, arrival, arrival + round((answer - venue) * factor)))
        return TableLatency(trips)

    def pairs(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(request, entry latency) of all trips and (venue, response latency) of those that reached the venue."""
        entry = [(r, v - r if v >= r else r - a) for r, v, a in self.trips]
        response = [(v, a - v) for r, v, a in self.trips if v >= r]
        return entry, response


@dataclass(frozen=True, slots=True)
class FeedLatency:
    """A multiple of the instrument's current feed latency (receipt minus venue time), plus constants in µs."""

    entry_multiple: float = 1.0
    response_multiple: float = 1.0
    entry: int = 0
    response: int = 0

    def __post_init__(self) -> None:
        _finite("FeedLatency.entry_multiple", self.entry_multiple, 0.0, 1e6)
        _finite("FeedLatency.response_multiple", self.response_multiple, 0.0, 1e6)
        _whole_us("FeedLatency.entry", self.entry)
        _whole_us("FeedLatency.response", self.response)

    def scaled(self, factor: float) -> FeedLatency:
        """The same, `factor` times as long."""
        return FeedLatency(
            self.entry_multiple * factor, self.response_multiple * factor,
            round(self.entry * factor), round(self.response * factor),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LogNormalLatency:
    """Each way takes `median · exp(sigma · z)` µs, z standard normal from a generator seeded with `seed`."""

    median: int
    sigma: float
    seed: int = 1

    def __post_init__(self) -> None:
        _whole_us("LogNormalLatency.median", self.median, 1)
        _finite("LogNormalLatency.sigma", self.sigma, 0.0, 3.0)
        if not 1 <= self.seed < 2**31 - 1:
            raise ConfigError("LogNormalLatency.seed", self.seed, "must be from 1 to 2147483646")

    def scaled(self, factor: float) -> LogNormalLatency:
        """The same, `factor` times as long."""
        return LogNormalLatency(max(round(self.median * factor), 1), self.sigma, self.seed)


Latency = ConstantLatency | TableLatency | FeedLatency | LogNormalLatency


# -------------------------------------------------------------------------------------------------------------- queue


@dataclass(frozen=True, slots=True)
class RiskAverseQueue:
    """Nobody ahead of us ever cancels: the place only moves by prints and by the level's size."""


@dataclass(frozen=True, slots=True)
class OptimisticQueue:
    """Every cancel is one ahead of us: nobody can move up faster.  With `RiskAverseQueue` it brackets the truth."""


@dataclass(frozen=True, slots=True)
class PowerProbQueue:
    """`variant` 1, 2 or 3 of the power family with exponent `n` (see `replay.kernel.queueing`)."""

    n: float
    variant: int = 3

    def __post_init__(self) -> None:
        _finite("PowerProbQueue.n", self.n, 1e-9, 100.0)
        if self.variant not in (1, 2, 3):
            raise ConfigError("PowerProbQueue.variant", self.variant, "must be 1, 2 or 3")


@dataclass(frozen=True, slots=True)
class LogProbQueue:
    """`variant` 1 or 2 of the logarithmic family."""

    variant: int = 1

    def __post_init__(self) -> None:
        if self.variant not in (1, 2):
            raise ConfigError("LogProbQueue.variant", self.variant, "must be 1 or 2")


@dataclass(frozen=True, slots=True)
class UserQueue:
    """A queue model of your own: `function(front, printed, before, after, lot, parameter) -> new front`.

    Called for each order of a level that changes from `before` to `after` lots, `printed` lots of which were prints
    already taken off `front`; `lot` is the size of a lot.  All are floats; the answer is kept within 0 and `after`, NaN
    counts as `after`.  The function must be one that Numba can compile: numbers and `math`, no objects, no exceptions.
    """

    function: Callable[..., float]
    parameter: float = 0.0

    def __post_init__(self) -> None:
        _compiles("UserQueue.function", self.function)


Queue = RiskAverseQueue | OptimisticQueue | PowerProbQueue | LogProbQueue | UserQueue


# ------------------------------------------------------------------------------------------------- slippage and fees


@dataclass(frozen=True, slots=True)
class NoSlippage:
    """Taking fills get the book's price."""


@dataclass(frozen=True, slots=True)
class BpsSlippage:
    """Taking fills are worse by `bps` basis points of the price, rounded up to the next tick."""

    bps: float

    def __post_init__(self) -> None:
        _finite("BpsSlippage.bps", self.bps, 0.0, 10_000.0)


@dataclass(frozen=True, slots=True)
class SpreadSlippage:
    """Taking fills are worse by `fraction` of the current spread, rounded up to the next tick."""

    fraction: float

    def __post_init__(self) -> None:
        _finite("SpreadSlippage.fraction", self.fraction, 0.0, 1_000.0)


@dataclass(frozen=True, slots=True)
class SquareRootImpact:
    """Taking fills are worse by `y · daily_volatility · sqrt(size / daily_volume)` of the price.

    The square-root law of market impact (Tóth et al. 2011, Phys. Rev. X 1, 021006): y is of order one,
    `daily_volatility` a fraction (0.03), `daily_volume` in the instrument's size unit.
    """

    daily_volatility: float
    daily_volume: float
    y: float = 1.0

    def __post_init__(self) -> None:
        _finite("SquareRootImpact.daily_volatility", self.daily_volatility, 0.0, 10.0)
        _finite("SquareRootImpact.daily_volume", self.daily_volume, 1e-12)
        _finite("SquareRootImpact.y", self.y, 0.0, 100.0)


@dataclass(frozen=True, slots=True)
class UserSlippage:
    """A slippage model of your own: `function(ticks, lots, side, spread_ticks, lot, parameter) -> extra ticks`.

    Called for each taking fill with the book's price and the lots of the whole order; the answer is rounded up to whole
    ticks and always makes the price worse (a negative or undefined one counts as 0).  Compiled by Numba, all floats.
    """

    function: Callable[..., float]
    parameter: float = 0.0

    def __post_init__(self) -> None:
        _compiles("UserSlippage.function", self.function)


Slippage = NoSlippage | BpsSlippage | SpreadSlippage | SquareRootImpact | UserSlippage


@dataclass(frozen=True, slots=True)
class MakerTaker:
    """Rates on notional; a negative rate is a rebate.  At most 8 decimals, between -0.1 and 0.1."""

    maker: float | str | Decimal = 0.0
    taker: float | str | Decimal = 0.0

    def __post_init__(self) -> None:
        _scaled("MakerTaker.maker", self.maker, "-0.1", "0.1")
        _scaled("MakerTaker.taker", self.taker, "-0.1", "0.1")


@dataclass(frozen=True, slots=True)
class TieredFees:
    """Rates by own turnover in this instrument so far: `(turnover in money, maker, taker)` ascending from 0."""

    tiers: tuple[tuple[float, float | str, float | str], ...]

    def __init__(self, tiers: Sequence[tuple[float, float | str, float | str]]) -> None:
        object.__setattr__(self, "tiers", tuple((float(a), b, c) for a, b, c in tiers))
        levels = [tier[0] for tier in self.tiers]
        if not levels or levels[0] != 0 or any(a >= b for a, b in pairwise(levels)):
            raise ConfigError("TieredFees.tiers", tiers, "turnovers must ascend and begin at 0")
        for _, maker, taker in self.tiers:
            _scaled("TieredFees.maker", maker, "-0.1", "0.1")
            _scaled("TieredFees.taker", taker, "-0.1", "0.1")


@dataclass(frozen=True, slots=True)
class PerContractFees:
    """An amount of money for each unit of size (contract, coin)."""

    maker: float | str | Decimal = 0.0
    taker: float | str | Decimal = 0.0

    def __post_init__(self) -> None:
        _scaled("PerContractFees.maker", self.maker, "-1000000", "1000000")
        _scaled("PerContractFees.taker", self.taker, "-1000000", "1000000")


@dataclass(frozen=True, slots=True)
class FlatFees:
    """An amount of money for each fill."""

    per_fill: float | str | Decimal

    def __post_init__(self) -> None:
        _scaled("FlatFees.per_fill", self.per_fill, "0", "1000000")


@dataclass(frozen=True, slots=True)
class UserFees:
    """Fees of your own: `function(maker, price, size, lots, 0.0, 0.0) -> money` in the settlement currency, per fill.

    `maker` is 1.0 or 0.0, `size` in the instrument's unit times its multiplier.  Compiled by Numba, all floats.
    """

    function: Callable[..., float]

    def __post_init__(self) -> None:
        _compiles("UserFees.function", self.function)


@dataclass(frozen=True, slots=True)
class FeesIn:
    """Fees that are owed in another currency than the instrument's own; profit is then before fees.

    Rates are converted at `price`, what one unit of `currency` costs in the settlement currency, fixed for the run
    (a discount token).  Without a price they are taken of the size that was traded instead of its notional, as spot
    venues do that charge the asset itself.  Amounts (per contract, per fill, your own) are amounts of `currency`.
    """

    fees: MakerTaker | TieredFees | PerContractFees | FlatFees | UserFees
    currency: str
    price: str | Decimal | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.fees, (MakerTaker, TieredFees, PerContractFees, FlatFees, UserFees)):
            raise ConfigError("FeesIn.fees", self.fees, "is not a model of fees")
        if not isinstance(self.currency, str) or not self.currency:
            raise ConfigError("FeesIn.currency", self.currency, "must name a currency")
        if self.price is None:
            return
        if not self.rates:
            raise ConfigError("FeesIn.price", self.price, "does nothing", "amounts are in the fee currency already")
        if not isinstance(self.price, (str, Decimal)) or _scaled("FeesIn.price", self.price, "0", "1000000000") == 0:
            raise ConfigError("FeesIn.price", self.price, "must be a positive decimal, as text or Decimal")

    @property
    def rates(self) -> bool:
        """Whether the fees are rates, not amounts."""
        return isinstance(self.fees, (MakerTaker, TieredFees))


Fees = MakerTaker | TieredFees | PerContractFees | FlatFees | UserFees | FeesIn


# ------------------------------------------------------------------------------------------------------------- margin


@dataclass(frozen=True, slots=True)
class Margin:
    """Initial and maintenance margin as fractions of notional at mark; `leverage` 20 is `initial` 0.05.

    A new order that free margin cannot carry is rejected; an account that falls below maintenance at the mark is
    liquidated against the venue book.  Needs a deposit (`Replay(deposit=…)`).
    """

    initial: float | str
    maintenance: float | str
    liquidation_fee: float | str = 0.0

    def __post_init__(self) -> None:
        initial = _scaled("Margin.initial", self.initial, "0.00000001", "10")
        if _scaled("Margin.maintenance", self.maintenance, "0", "10") > initial:
            raise ConfigError("Margin.maintenance", self.maintenance, "is above the initial margin")
        _scaled("Margin.liquidation_fee", self.liquidation_fee, "0", "0.1")


# ------------------------------------------------------------------------------------------------- what kernels read


def write_latency(slot: np.void, model: Latency, tables: list[tuple[int, int]]) -> None:
    """Enter a latency model into a slot record; table rows are appended to `tables`."""
    slot["random"] = 1
    if isinstance(model, ConstantLatency):
        slot["latency_kind"], slot["entry_us"], slot["response_us"] = (
            codes.LATENCY_CONSTANT,
            model.entry,
            model.response,
        )
    elif isinstance(model, TableLatency):
        entry, response = model.pairs()
        slot["latency_kind"] = codes.LATENCY_TABLE
        slot["table0"], slot["table_n"] = len(tables), len(entry)
        slot["answer0"], slot["answer_n"] = len(tables) + len(entry), len(response)
        tables += entry + response
    elif isinstance(model, FeedLatency):
        slot["latency_kind"] = codes.LATENCY_FEED
        slot["latency_a"], slot["latency_b"] = model.entry_multiple, model.response_multiple
        slot["entry_us"], slot["response_us"] = model.entry, model.response
    else:
        slot["latency_kind"], slot["random"] = codes.LATENCY_LOG_NORMAL, model.seed
        slot["latency_a"], slot["latency_b"] = math.log(model.median), model.sigma


def write_queue(slot: np.void, model: Queue) -> None:
    """Enter a queue model into a slot record."""
    slot["queue_n"] = 1.0
    if isinstance(model, RiskAverseQueue):
        slot["queue_kind"] = codes.QUEUE_RISK_AVERSE
    elif isinstance(model, OptimisticQueue):
        slot["queue_kind"], slot["queue_n"] = codes.QUEUE_POWER_3, 0.0  # x^0 = 1: no share of a decrease is behind us
    elif isinstance(model, PowerProbQueue):
        slot["queue_kind"] = (codes.QUEUE_POWER, codes.QUEUE_POWER_2, codes.QUEUE_POWER_3)[model.variant - 1]
        slot["queue_n"] = model.n
    elif isinstance(model, UserQueue):
        slot["queue_kind"], slot["queue_n"] = hook_address(model.function), model.parameter
    else:
        slot["queue_kind"] = (codes.QUEUE_LOG, codes.QUEUE_LOG_2)[model.variant - 1]


def write_slippage(slot: np.void, model: Slippage) -> None:
    """Enter a slippage model into a slot record."""
    if isinstance(model, BpsSlippage):
        slot["slippage_kind"], slot["slippage_a"] = codes.SLIPPAGE_BPS, model.bps
    elif isinstance(model, SpreadSlippage):
        slot["slippage_kind"], slot["slippage_a"] = codes.SLIPPAGE_SPREAD, model.fraction
    elif isinstance(model, SquareRootImpact):
        slot["slippage_kind"] = codes.SLIPPAGE_SQRT
        slot["slippage_a"], slot["slippage_b"], slot["slippage_c"] = model.y, model.daily_volatility, model.daily_volume
    elif isinstance(model, UserSlippage):
        slot["slippage_kind"], slot["slippage_a"] = hook_address(model.function), model.parameter
    else:
        slot["slippage_kind"] = codes.SLIPPAGE_NONE


def fee_currency(model: Fees, instrument: Instrument) -> str:
    """The currency in which the instrument's fees are owed."""
    return model.currency if isinstance(model, FeesIn) else instrument.settle


def fee_on_size(model: Fees) -> bool:
    """Whether rates are taken of the size, in the traded asset."""
    return isinstance(model, FeesIn) and model.rates and model.price is None


def fee_unit(instrument: Instrument, model: Fees) -> Fraction:
    """Exact amount of the fee currency that SCALE units of the integer part of a fee stand for."""
    unit = Fraction(instrument.lot) * Fraction(instrument.multiplier)
    if fee_on_size(model):
        return unit
    price = model.price if isinstance(model, FeesIn) else None
    return unit * Fraction(instrument.tick) / Fraction(price or 1)


def write_fee_unit(record: np.void, instrument: Instrument, model: Fees) -> None:
    """Enter into an instrument record what its fees are taken of and counted in.

    Raises ConfigError when they are to be taken of an inverse contract's size, which is no amount of coin.
    """
    price = model.price if isinstance(model, FeesIn) else None
    record["fee_on_size"], record["fee_factor"] = int(fee_on_size(model)), 1 / float(price or 1)
    if fee_on_size(model) and instrument.payoff == "inverse":
        raise ConfigError(f"{instrument.name}.fees", model, "needs a price", "an inverse contract's size is in quote")
    if fee_on_size(model):
        record["fee_unit"] = float(instrument.lot) * float(instrument.multiplier)
    else:
        notional = float(instrument.lot) * float(instrument.multiplier) * float(instrument.tick)
        record["fee_unit"] = notional * record["fee_factor"]


def write_fees(slot: np.void, model: Fees, tables: list[tuple[int, int]]) -> None:
    """Enter a fee model into a slot record; tier rows are appended to `tables`."""
    if isinstance(model, FeesIn):
        model = model.fees
    if isinstance(model, MakerTaker):
        slot["fee_kind"] = codes.FEE_RATES
        slot["maker"] = _scaled("maker", model.maker, "-0.1", "0.1")
        slot["taker"] = _scaled("taker", model.taker, "-0.1", "0.1")
    elif isinstance(model, TieredFees):
        slot["fee_kind"], slot["tier0"], slot["tier_n"] = codes.FEE_TIERS, len(tables), len(model.tiers)
        tables += [(math.ceil(turnover), _scaled("maker", maker, "-0.1", "0.1")) for turnover, maker, _ in model.tiers]
        tables += [(math.ceil(turnover), _scaled("taker", taker, "-0.1", "0.1")) for turnover, _, taker in model.tiers]
    elif isinstance(model, PerContractFees):
        slot["fee_kind"] = codes.FEE_PER_CONTRACT
        slot["maker"] = _scaled("maker", model.maker, "-1000000", "1000000")
        slot["taker"] = _scaled("taker", model.taker, "-1000000", "1000000")
    elif isinstance(model, UserFees):
        slot["fee_kind"] = hook_address(model.function)
    else:
        slot["fee_kind"] = codes.FEE_FLAT
        slot["flat_scaled"] = _scaled("per_fill", model.per_fill, "0", "1000000")


def write_margin(slot: np.void, model: Margin | None) -> None:
    """Enter margin rates into a slot record; None switches margin off."""
    if model is not None:
        slot["initial_scaled"] = _scaled("initial", model.initial, "0.00000001", "10")
        slot["maintenance_scaled"] = _scaled("maintenance", model.maintenance, "0", "10")
        slot["liquidation_fee"] = _scaled("liquidation_fee", model.liquidation_fee, "0", "0.1")
