"""Equity over time, and what is said about risk and return from it.

The curve is P&L in one currency (0 at the start): a point on the fixed grid of the run, at every fill and settlement,
where a book became invalid or valid again, and at both ends of the run.  A point is valid when every book that the
account depends on is.  A change between two points counts as clean when both are valid; all others touch blind time.

Blind time is excluded: P&L over it stays in the total and is told apart (`blind_net`), but its changes enter neither
volatility nor ratios, and drawdowns are measured on the curve with those changes cut out and the ends joined; their
durations count clean time only.

With `capital` a return is the change of equity over one step of the grid divided by the equity before it (equity =
capital + P&L); without it ratios are taken of the changes in money, which is the same for constant capital.  A year has
365 days, the riskless rate is 0.  What is not defined is None, never NaN: fewer than two steps, no variation, no loss,
no drawdown.  A step that begins with no equity left has no return and is left out.

    volatility   s · √(steps a year), s the sample standard deviation of returns
    Sharpe       mean / s · √(steps a year)         W. F. Sharpe, The Sharpe Ratio, J. of Portfolio Management 21, 1994
    Sortino      mean / √mean(min(r, 0)²) · √(steps a year)
                                     F. Sortino, R. van der Meer, Downside Risk, J. of Portfolio Management 17, 1991
    drawdown     largest fall below an earlier peak M. Magdon-Ismail, A. Atiya, Maximum Drawdown, Risk 17, 2004
    annualised   (final equity / capital)^(year / length) - 1
    Calmar       annualised return / largest drawdown as a fraction              T. W. Young, Calmar Ratio, Futures 1991
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from replay.units import US_PER_DAY

US_PER_YEAR = 365 * US_PER_DAY
MIN_ANNUALISED_US = US_PER_DAY
"""A shorter run is not extrapolated to a year."""
_NOISE = 1e-12
"""A deviation smaller than this part of the largest value is rounding, not variation."""


@dataclass(frozen=True, slots=True)
class Drawdown:
    """The largest fall of the curve below an earlier peak, in `money` and at most as `fraction` of the peak.

    `peak_us` and `trough_us` are where the fall in money begins and ends, `recovery_us` where the peak was reached
    again (None: never).  `duration_us` is the clean time from the peak to there, or to the end.  `fraction` is None
    without capital; its own peak may be another one.
    """

    money: float
    fraction: float | None
    peak_us: int
    trough_us: int
    recovery_us: int | None
    duration_us: int


@dataclass(frozen=True, slots=True)
class Risk:
    """Ratios of returns over the steps of the grid; `steps` clean ones of `all_steps`.  See the module for each."""

    volatility: float | None
    sharpe: float | None
    sortino: float | None
    steps: int
    all_steps: int


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of the P&L of one currency: time (µs, strictly growing), money, whether it can be trusted, position held.

    `grid_us` is the step of the fixed grid, at whose multiples there are points.
    """

    ts: np.ndarray
    value: np.ndarray
    valid: np.ndarray
    held: np.ndarray
    grid_us: int

    @classmethod
    def build(cls, rows: np.ndarray, first_us: int, last_us: int, net: float, grid_us: int) -> Curve:
        """From the EQUITY rows of one currency and the final `net`; of rows with equal times the last one counts."""
        rows = rows[(rows["ts"] >= first_us) & (rows["ts"] <= last_us)]
        ends = (bool(rows["valid"][-1]), bool(rows["position"][-1])) if len(rows) else (True, False)
        ts = np.concatenate([[first_us], rows["ts"], [last_us]])
        value = np.concatenate([[0.0], rows["value"], [net]])
        valid = np.concatenate([[True], rows["valid"] != 0, [ends[0]]])
        held = np.concatenate([[False], rows["position"] != 0, [ends[1]]])
        last = np.append(ts[1:] != ts[:-1], True)
        return cls(ts[last], value[last], valid[last], held[last], grid_us)

    @property
    def clean(self) -> np.ndarray:
        """For each change between neighbouring points, whether it touches no blind time."""
        both: np.ndarray = self.valid[:-1] & self.valid[1:]
        return both

    @property
    def net(self) -> float:
        """P&L at the end, blind time included."""
        return float(self.value[-1])

    @property
    def blind_net(self) -> float:
        """The part of the P&L that came over changes that touch blind time."""
        return float(np.diff(self.value)[~self.clean].sum())

    @property
    def blind_us(self) -> int:
        """Time during which a book that the account depends on was invalid."""
        return int(np.diff(self.ts)[~self.valid[:-1]].sum())

    @property
    def exposure(self) -> float | None:
        """Share of the clean time with a position; None when there is no clean time."""
        spans = np.diff(self.ts)
        total = int(spans[self.clean].sum())
        return int(spans[self.clean & self.held[:-1]].sum()) / total if total else None

    def path(self, capital: float = 0.0) -> np.ndarray:
        """`capital` plus the P&L of clean changes alone, at every point."""
        blind = np.where(self.clean, 0.0, np.diff(self.value))
        return np.asarray(capital + self.value - np.concatenate([[0.0], np.cumsum(blind)]))

    def steps(self, capital: float | None) -> tuple[np.ndarray, int]:
        """Returns (changes in money without capital) over the clean steps of the grid, and how many steps there are."""
        at = np.flatnonzero(self.ts % self.grid_us == 0)
        doubtful = np.concatenate([[0], np.cumsum(~self.valid)])
        before, after = at[:-1], at[1:]
        whole = self.ts[after] - self.ts[before] == self.grid_us
        usable = whole & (doubtful[after + 1] == doubtful[before])
        change = self.value[after] - self.value[before]
        if capital is None:
            return change[usable], int(whole.sum())
        equity = capital + self.value[before]
        usable &= equity > 0.0
        return change[usable] / equity[usable], int(whole.sum())

    def risk(self, capital: float | None) -> Risk:
        """Volatility, Sharpe and Sortino ratio; volatility needs capital."""
        returns, all_steps = self.steps(capital)
        if len(returns) < 2:
            return Risk(None, None, None, len(returns), all_steps)
        year = math.sqrt(US_PER_YEAR / self.grid_us)
        mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
        downside = math.sqrt(float(np.square(np.minimum(returns, 0.0)).mean()))
        least = _NOISE * float(np.abs(returns).max())
        return Risk(
            volatility=None if capital is None else deviation * year,
            sharpe=mean / deviation * year if deviation > least else None,
            sortino=mean / downside * year if downside > least else None,
            steps=len(returns),
            all_steps=all_steps,
        )

    def drawdown(self, capital: float | None) -> Drawdown | None:
        """The largest drawdown, None when the curve never falls."""
        path = self.path(capital or 0.0)
        peaks = np.maximum.accumulate(path)
        falls = peaks - path
        trough = int(np.argmax(falls))
        if falls[trough] <= 0.0:
            return None
        peak = int(np.flatnonzero(path[: trough + 1] == peaks[trough])[-1])
        after = np.flatnonzero(path[trough:] >= peaks[trough])
        end = trough + int(after[0]) if len(after) else len(path) - 1
        spans = np.where(self.clean, np.diff(self.ts), 0)
        return Drawdown(
            money=float(falls[trough]),
            fraction=None if capital is None else float((falls / peaks).max()),
            peak_us=int(self.ts[peak]),
            trough_us=int(self.ts[trough]),
            recovery_us=int(self.ts[end]) if len(after) else None,
            duration_us=int(spans[peak:end].sum()),
        )

    def annualised(self, capital: float | None) -> float | None:
        """Return on `capital` as a yearly rate; -1.0 when nothing is left.

        None without capital, for less than a day, and where the figure would not fit a float.
        """
        length_us = int(self.ts[-1] - self.ts[0])
        if capital is None or length_us < MIN_ANNUALISED_US:
            return None
        left = (capital + self.net) / capital
        if left <= 0.0:
            return -1.0
        try:
            return math.expm1(math.log(left) * US_PER_YEAR / length_us)
        except OverflowError:
            return None
