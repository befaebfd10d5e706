"""Instruments: the grid on which prices and sizes are integers, and how a position pays.

`tick` and `lot` are the smallest steps of price and size.  Inside the engine a price is `ticks = price / tick` and a
size is `lots = size / lot`, both exact.  Three payoffs exist:

* linear: `lots · lot · multiplier · (exit − entry)` in the quote currency (USD-margined futures);
* inverse: `lots · lot · multiplier · (1/entry − 1/exit)` in the base currency, where `multiplier` is the contract's
  fixed quote value (COIN-M: 100 USD for BTC, 10 USD for the others);
* spot: as linear, but what is sold must be held.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Literal

from replay.errors import ConfigError, DataError
from replay.units import plain

Payoff = Literal["spot", "linear", "inverse"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One traded thing at one venue.

    `settle` is the currency in which profit, fees and funding are paid.  Raises ConfigError when tick, lot or
    multiplier is not a positive finite decimal or the payoff is unknown.
    """

    venue: str
    symbol: str
    payoff: Payoff
    tick: Decimal
    lot: Decimal
    multiplier: Decimal = Decimal(1)
    settle: str = "USDT"

    def __post_init__(self) -> None:
        for name in ("tick", "lot", "multiplier"):
            value = getattr(self, name)
            if not isinstance(value, Decimal) or not value.is_finite() or value <= 0:
                raise ConfigError(f"{self.name}.{name}", value, "must be a positive Decimal")
        if self.payoff not in ("spot", "linear", "inverse"):
            raise ConfigError(f"{self.name}.payoff", self.payoff, "must be spot, linear or inverse")

    @property
    def name(self) -> str:
        """`venue:symbol`, unique in a run."""
        return f"{self.venue}:{self.symbol}"

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
