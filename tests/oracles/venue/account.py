"""Position and money of one strategy in one instrument, in exact fractions.

`cash` is what the fills alone moved: linear and spot −Σ side·notional, inverse +Σ side·lots·lot·multiplier/price
(buying contracts cheap earns coin).  Fees and funding are kept apart.  Worth of the position at a mark m:
linear and option position·m, inverse −position/m (times lot and multiplier); equity = cash + worth + settled − funding
less the fees that are owed in the currency of settlement.  `settled` is what expired options paid.
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
    settled: Fraction = Fraction(0)
    expired: int = 0
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
        fees, size = self.market.fees, lots * self.market.lot
        if fees.function is not None:
            size *= self.market.multiplier
            return Fraction(
                fees.function(float(maker), float(ticks * self.market.tick), float(size), float(lots), 0.0, 0.0)
            )
        if fees.on_size:
            size *= self.market.multiplier
        return fees.of(maker, self.value(ticks, lots), size, self.turnover)

    def liquidation_fee(self, ticks: int, lots: int) -> Fraction:
        """What closing by force costs on top, in the fee currency."""
        size = lots * self.market.lot * self.market.multiplier
        return self.market.fees.rated(self.value(ticks, lots), size, self.market.liquidation_fee)

    def expire(self, price: Fraction) -> tuple[int, Fraction]:
        """The position becomes its intrinsic value with the underlying at `price`: (lots, money)."""
        lots = self.position
        paid = lots * self.market.lot * self.market.multiplier * self.market.intrinsic(price)
        self.settle(lots, paid)
        return lots, paid

    def settle(self, lots: int, paid: Fraction) -> None:
        """Take `lots` out of the position for `paid`."""
        self.settled += paid
        self.expired += lots
        self.position -= lots
        if self.position == 0:
            self.realised += paid - self.cost
            self.cost = Fraction(0)

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
        return self.cash + self.settled + self.worth(mark) - self.fees_in(self.market.currency) - self.funding

    def fees_in(self, currency: str) -> Fraction:
        """Fees that are owed in `currency`."""
        return self.fees if self.market.fee_currency == currency else Fraction(0)

    def unrealised(self, mark: Fraction) -> Fraction:
        """Worth of the position over what it cost."""
        return self.worth(mark) - self.sign * self.cost

    def check(self, mark: Fraction) -> None:
        """Realised and unrealised profit add up to the cash and the worth, exactly."""
        assert self.realised + self.unrealised(mark) == self.cash + self.settled + self.worth(mark)
        assert (self.position == 0) == (self.cost == 0)
