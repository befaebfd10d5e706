"""Position and money of one strategy in one instrument, in exact fractions.

`cash` is what the fills alone moved: linear and spot −Σ side·notional, inverse +Σ side·lots·lot·multiplier/price
(buying contracts cheap earns coin).  Fees and funding are kept apart.  Worth of the position at a mark m:
linear position·m, inverse −position/m (times lot and multiplier); equity = cash + worth − fees − funding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from tests.oracles.venue.models import Market

SCALE = 10**8


@dataclass
class Account:
    """One instrument's account; two exist, one at the venue and one as the strategy has been told."""

    market: Market
    position: int = 0
    cash: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)
    funding: Fraction = Fraction(0)
    turnover: Fraction = Fraction(0)
    volume: int = 0
    fills: int = 0
    realised: Fraction = Fraction(0)
    cost: Fraction = field(default=Fraction(0))
    """Signed Σ of entry values of the open position: average entry = cost / position (harmonic for inverse)."""

    def value(self, ticks: Fraction | int, lots: int) -> Fraction:
        """Money in the settlement currency of `lots` at a price of `ticks`: the notional."""
        size = lots * self.market.lot * self.market.multiplier
        price = Fraction(ticks) * self.market.tick
        return size / price if self.market.payoff == "inverse" else size * price

    @property
    def sign(self) -> int:
        """+1 when a higher value is what a long wants (linear), −1 for inverse."""
        return -1 if self.market.payoff == "inverse" else 1

    def fee(self, maker: bool, ticks: int, lots: int) -> Fraction:
        """Fee of the next fill."""
        return self.market.fees.of(maker, self.value(ticks, lots), lots * self.market.lot, self.turnover)

    def fill(self, side: int, ticks: int, lots: int, fee: Fraction) -> None:
        """Enter one execution."""
        value = self.value(ticks, lots)
        closing = min(lots, max(0, -side * self.position))
        if closing:
            released = self.cost * Fraction(closing, abs(self.position))
            self.realised += self.sign * (-side * self.value(ticks, closing) - released)
            self.cost -= released
        self.cost += side * self.value(ticks, lots - closing)
        self.position += side * lots
        self.cash -= self.sign * side * value
        self.turnover += value
        self.volume += lots
        self.fills += 1
        self.fees += fee

    def funding_due(self, mark: Fraction, rate: int) -> Fraction:
        """What the position pays at a settlement; `mark` a price, `rate` in 1e-8; longs pay positive rates."""
        return (
            self.value(mark / self.market.tick, self.position) * Fraction(rate, SCALE) if self.position else Fraction(0)
        )

    def worth(self, mark: Fraction) -> Fraction:
        """Value of the open position at a mark price."""
        return self.sign * self.value(mark / self.market.tick, self.position) if self.position else Fraction(0)

    def equity(self, mark: Fraction) -> Fraction:
        """What would be left if the position were closed at the mark without a fee."""
        return self.cash + self.worth(mark) - self.fees - self.funding

    def unrealised(self, mark: Fraction) -> Fraction:
        """Worth of the position over what it cost."""
        return self.worth(mark) - self.sign * self.cost

    def check(self, mark: Fraction) -> None:
        """Realised and unrealised profit add up to the cash and the worth, exactly."""
        assert self.realised + self.unrealised(mark) == self.cash + self.worth(mark)
        assert (self.position == 0) == (self.cost == 0)
