"""The figures of a run in one currency, from the tables of its Result.

`metrics_of` puts together what `replay.curve` (equity, risk and return), `replay.positions` (round trips) and
`replay.executions` (markouts, P&L split, orders, inventory) say; each formula and its source stands there.  A figure
that is not defined is None and `notes` says why where that is not obvious: there is no NaN and no infinity.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.curve import MIN_ANNUALISED_US, Curve, Drawdown
from replay.errors import ConfigError
from replay.executions import (
    BPS,
    Inventory,
    Markout,
    Orders,
    Split,
    inventory_of,
    markouts_of,
    orders_of,
    slippage_bps_of,
    split_of,
    weighed,
)
from replay.positions import Trades, trades_of
from replay.units import US_PER_S

if TYPE_CHECKING:
    from replay.results import Result


@dataclass(frozen=True, slots=True)
class Metrics:
    """The figures of one strategy in `currency`; money is in it, times are µs, shares and returns are fractions.

    capital             what returns refer to, None when nobody said (then neither do they exist)
    length_us           length of the run
    blind_us            time during which a book of a traded instrument was invalid
    net                 P&L after fees and funding at the final mark, blind time included
    blind_net           the part of `net` that came over changes that touch blind time
    total_return        net / capital; annualised_return as a yearly rate (365 days), None for less than a day
    volatility, sharpe, sortino     a year, over `steps` clean of `all_steps` steps of `grid_us`
    calmar              annualised_return / drawdown.fraction
    drawdown            the largest, None when the curve never falls
    exposure            share of the clean time with a position
    turnover            traded value; turnover_ratio = turnover / capital
    maker_share         share of the `fills` that were made, not taken
    fees, funding       paid (negative: received); fees_bps of turnover where both are in this currency
    fee_share, funding_share    fees, funding / |P&L before both|
    slippage_bps        what taking fills paid against the mid, half the spread included
    fills_without_mid   fills of which the mid is not known: not in slippage, markouts and `split.spread`
    split, trades, orders, markouts, inventory   see their classes
    """

    currency: str
    capital: float | None
    length_us: int
    blind_us: int
    net: float
    blind_net: float
    total_return: float | None
    annualised_return: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    steps: int
    all_steps: int
    grid_us: int
    drawdown: Drawdown | None
    exposure: float | None
    turnover: float
    turnover_ratio: float | None
    fills: int
    maker_share: float | None
    fees: float
    funding: float
    fees_bps: float | None
    fee_share: float | None
    funding_share: float | None
    slippage_bps: float | None
    fills_without_mid: int
    split: Split
    trades: Trades
    orders: Orders
    markouts: tuple[Markout, ...]
    inventory: tuple[Inventory, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; the exact numbers of the split become floats."""
        plain: dict[str, Any] = _plain(self)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Split):
        return {name: float(getattr(value, name)) for name in ("spread", "inventory", "fees", "funding", "net")}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def capital_of(result: Result, deposit: float | None) -> float | None:
    """`deposit`, else that of the run; None when there is none.  ConfigError unless positive."""
    if deposit is None:
        given = float(result.settings["deposit"])
        return given if given > 0.0 else None
    if not 0.0 < deposit < float("inf"):
        raise ConfigError("deposit", deposit, "must be a positive amount of money")
    return float(deposit)


def metrics_of(result: Result, currency: str, deposit: float | None = None) -> Metrics:
    """See `Result.metrics`; `currency` is one of `result.currencies`."""
    capital = capital_of(result, deposit)
    parts, instruments = result.summary_by_instrument, result.instruments
    chosen = [i for i, part in enumerate(parts) if part.currency == currency]
    mine = [parts[i] for i in chosen]
    fills = result.fills[np.isin(result.fills["instrument"], chosen)]
    positions = result.positions
    positions = positions[np.isin(positions["instrument"], chosen)]
    less_fees = np.array([part.fee_currency == currency for part in parts], bool)[positions["instrument"]]
    curve = result.curve(currency)
    risk, drawdown, annualised = curve.risk(capital), curve.drawdown(capital), curve.annualised(capital)
    split = split_of(result.fills, result.markouts, parts, instruments, currency)
    of = weighed(result.fills, result.markouts, chosen, instruments)
    turnover = sum((part.turnover for part in mine), 0.0)
    before = abs(split.spread + split.inventory)
    own_fees = float(sum((Fraction(part.fees) for part in mine if part.fee_currency == currency), Fraction(0)))
    return Metrics(
        currency=currency,
        capital=capital,
        length_us=result.last_us - result.first_us,
        blind_us=curve.blind_us,
        net=curve.net,
        blind_net=curve.blind_net,
        total_return=None if capital is None else curve.net / capital,
        annualised_return=annualised,
        volatility=risk.volatility,
        sharpe=risk.sharpe,
        sortino=risk.sortino,
        calmar=annualised / drawdown.fraction
        if annualised is not None and drawdown is not None and drawdown.fraction
        else None,
        steps=risk.steps,
        all_steps=risk.all_steps,
        grid_us=curve.grid_us,
        drawdown=drawdown,
        exposure=curve.exposure,
        turnover=turnover,
        turnover_ratio=None if capital is None else turnover / capital,
        fills=len(fills),
        maker_share=float((fills["maker"] != 0).mean()) if len(fills) else None,
        fees=float(split.fees),
        funding=float(split.funding),
        fees_bps=BPS * own_fees / turnover if turnover else None,
        fee_share=float(split.fees / before) if before else None,
        funding_share=float(split.funding / before) if before else None,
        slippage_bps=slippage_bps_of(of),
        fills_without_mid=len(fills) - len(of.value),
        split=split,
        trades=trades_of(positions, less_fees),
        orders=orders_of(result.orders, result.fills, chosen),
        markouts=markouts_of(of),
        inventory=tuple(
            inventory_of(result.fills, i, parts[i], instruments[i], result.first_us, result.last_us) for i in chosen
        ),
        notes=tuple(_notes(result, chosen, curve, capital)),
    )


def _notes(result: Result, chosen: list[int], curve: Curve, capital: float | None) -> list[str]:
    """What a reader has to know before he believes the figures."""
    notes = []
    length_us = result.last_us - result.first_us
    if capital is None:
        notes.append("no capital base, so no returns: give Replay(deposit=…) or metrics(deposit=…)")
    elif length_us < MIN_ANNUALISED_US:
        notes.append("shorter than a day: returns are not annualised")
    if capital is not None and bool((capital + curve.value <= 0.0).any()):
        notes.append("the capital was lost on the way: steps that begin with nothing have no return")
    if curve.blind_us:
        notes.append(f"{curve.blind_us / US_PER_S:,.3f} s blind: P&L over it counts in net, not in ratios and drawdown")
    for i in chosen:
        part = result.summary_by_instrument[i]
        if part.fee_currency != part.currency and part.fills:
            notes.append(f"fees of {part.name} are in {part.fee_currency} and not taken off here")
    return notes
