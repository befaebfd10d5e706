"""Instruments: the grid on which prices and sizes are integers, and how a position pays.

`tick` and `lot` are the smallest steps of price and size.  Inside the engine a price is `ticks = price / tick` and a
size is `lots = size / lot`, both exact.  Four payoffs exist:

* linear: `lots · lot · multiplier · (exit − entry)` in the quote currency (USD-margined futures);
* inverse: `lots · lot · multiplier · (1/entry − 1/exit)` in the base currency, where `multiplier` is the contract's
  fixed quote value (COIN-M: 100 USD for BTC, 10 USD for the others);
* spot: as linear, but what is sold must be held;
* option: as linear while it lives, its price being the premium, paid in the settlement currency.  At `expiry_us`
  (venue time) it is settled in cash at its intrinsic value, `max(0, S − strike)` for a call and `max(0, strike − S)`
  for a put, S the mark of the instrument `underlying` at that moment; orders that are still there expire.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Literal

from replay.errors import ConfigError, DataError
from replay.units import plain

Payoff = Literal["spot", "linear", "inverse", "option"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One traded thing at one venue.

    `settle` is the currency in which profit, fees and funding are paid.  The last four fields are an option's terms:
    `underlying` is the name (`venue:symbol`) of another instrument of the run.  Raises ConfigError when tick, lot or
    multiplier is not a positive finite decimal, the payoff is unknown, an option lacks terms or another one has them.
    """

    venue: str
    symbol: str
    payoff: Payoff
    tick: Decimal
    lot: Decimal
    multiplier: Decimal = Decimal(1)
    settle: str = "USDT"
    right: Literal["", "call", "put"] = ""
    strike: Decimal = Decimal(0)
    expiry_us: int = 0
    underlying: str = ""

    def __post_init__(self) -> None:
        for name in ("tick", "lot", "multiplier"):
            self._positive(name, getattr(self, name))
        if self.payoff not in ("spot", "linear", "inverse", "option"):
            raise ConfigError(f"{self.name}.payoff", self.payoff, "must be spot, linear, inverse or option")
        if self.payoff == "option":
            self._check_option()
        elif self.right or self.strike or self.expiry_us or self.underlying:
            raise ConfigError(f"{self.name}.payoff", self.payoff, "has terms of an option", "say payoff='option'")

    def _positive(self, name: str, value: Any) -> None:
        if not isinstance(value, Decimal) or not value.is_finite() or value <= 0:
            raise ConfigError(f"{self.name}.{name}", value, "must be a positive Decimal")

    def _check_option(self) -> None:
        self._positive("strike", self.strike)
        if self.right not in ("call", "put"):
            raise ConfigError(f"{self.name}.right", self.right, "must be call or put")
        if isinstance(self.expiry_us, bool) or not isinstance(self.expiry_us, int) or self.expiry_us <= 0:
            raise ConfigError(f"{self.name}.expiry_us", self.expiry_us, "must be whole microseconds since the epoch")
        if self.underlying in ("", self.name):
            raise ConfigError(f"{self.name}.underlying", self.underlying, "must name another instrument, venue:symbol")

    @property
    def name(self) -> str:
        """`venue:symbol`, unique in a run."""
        return f"{self.venue}:{self.symbol}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; decimals as plain text."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: plain(value) if isinstance(value, Decimal) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Instrument:
        """The instrument of which `as_dict` made `values`.  TypeError, ArithmeticError for anything else."""
        decimals = {field.name for field in fields(cls) if field.type == "Decimal"}
        exact: dict[str, Any] = {name: Decimal(v) if name in decimals else v for name, v in values.items()}
        return cls(**exact)

    def ticks(self, price: Decimal | str) -> int:
        """Price as whole ticks; DataError when it does not lie on the grid."""
        return _whole(self, price, self.tick, "price", "tick")

    def lots(self, size: Decimal | str) -> int:
        """Size as whole lots; DataError when it does not lie on the grid."""
        return _whole(self, size, self.lot, "size", "lot")

    def price(self, ticks: int) -> Decimal:
        """Exact price of `ticks`."""
        return ticks * self.tick

    def size(self, lots: int) -> Decimal:
        """Exact size of `lots`."""
        return lots * self.lot


def _whole(instrument: Instrument, value: Decimal | str, step: Decimal, what: str, unit: str) -> int:
    try:
        steps = Fraction(Decimal(value)) / Fraction(step)
    except (InvalidOperation, ValueError, OverflowError):  # not a number, NaN, infinite
        raise DataError(f"{instrument.name}: {what} {value!r} is not a number") from None
    if steps.denominator != 1:
        raise DataError(f"{instrument.name}: {what} {value} is not a multiple of the {unit} {plain(step)}")
    return int(steps)
