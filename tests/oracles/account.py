"""Books, fees and funding of one instrument in exact fractions of the settlement currency.

A linear position is worth `lots · lot · multiplier · price`, an inverse one `lots · lot · multiplier / price` coin.
Long funding is paid on that notional at the mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Terms:
    """Tick, lot and contract size of an instrument."""

    inverse: bool
    tick: Fraction
    lot: Fraction
    multiplier: Fraction

    def notional(self, lots: int, price: Fraction) -> Fraction:
        """Money in the settlement currency of `lots` at `price`."""
        size = lots * self.lot * self.multiplier
        return size / price if self.inverse else size * price


@dataclass
class Account:
    """Sums over fills: `cash` is what the fills alone moved (coin for inverse), `fees` and `funding` were paid."""

    terms: Terms
    position: int = 0
    cash: Fraction = Fraction(0)
    turnover: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)
    funding: Fraction = Fraction(0)
    volume: int = 0
    fills: int = 0

    def fill(self, side: int, ticks: int, lots: int, rate: Fraction) -> None:
        """One execution and its fee at `rate` of the notional."""
        value = self.terms.notional(lots, ticks * self.terms.tick)
        self.position += side * lots
        self.cash += side * value if self.terms.inverse else -side * value
        self.turnover += value
        self.fees += value * rate
        self.volume += lots
        self.fills += 1

    def settle(self, mark: Fraction, rate: Fraction) -> None:
        """One funding settlement."""
        self.funding += self.terms.notional(self.position, mark) * rate

    def equity(self, mark: Fraction) -> Fraction:
        """Value of cash and position at `mark` after fees and funding."""
        held = self.terms.notional(self.position, mark)
        return self.cash + (-held if self.terms.inverse else held) - self.fees - self.funding
