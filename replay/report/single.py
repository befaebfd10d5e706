"""The page about one result."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.errors import ConfigError
from replay.report.depth import Moment, Reread, heat_map, moments_of, nearest_instrument, reread
from replay.report.markup import moment, section, span
from replay.report.page import Page, heat_maps, time_charts
from replay.report.parts import figures_table, headline, instruments, money, orders, quality, settings
from replay.report.series import Chart, Charts, Series, blind_spans
from replay.units import us_from_time

if TYPE_CHECKING:
    from replay.engine import Replay, Time
    from replay.results import Result

MOST_CHARTS = 8
"""Instruments that get charts of their own, and recorded series likewise: the ones with most fills or points."""
NO_DATA = (
    "The book is not part of a result. Give the data again to see it: result.to_html(path, replay=replay), or "
    "replay report DIR --data FILE… --adapter NAME."
)


def result_page(result: Result, replay: Replay | None = None, moments: Sequence[Time] | None = None) -> Page:
    """See `Result.to_html`."""
    again, heat, otherwise = _read_again(result, replay, moments)
    currencies = list(dict.fromkeys(part.currency for part in result.summary_by_instrument))
    metrics = {currency: result.metrics(currency) for currency in result.currencies}
    charts = charts_of(result, again)
    body = [
        *(headline(metrics[currency], result) for currency in currencies),
        time_charts(charts),
        section("Where the money came from", *(money(each) for each in metrics.values()), anchor="money"),
        heat_maps(heat, otherwise),
        orders(result),
        section("All figures", figures_table(metrics), anchor="figures"),
        section("Instruments", instruments(result)),
        quality(result),
        settings(result),
    ]
    parameters = ", ".join(f"{name} = {value}" for name, value in result.parameters.items())
    length = f"{moment(result.first_us)} to {moment(result.last_us)}, {span(result.last_us - result.first_us)}"
    subtitle = f"{length} · {parameters or 'no parameters'} · {result.mode}"
    return Page(result.strategy, subtitle, body, charts, heat)


def _read_again(
    result: Result, replay: Replay | None, moments: Sequence[Time] | None
) -> tuple[Reread | None, list[dict[str, Any]], str]:
    """What the data say when they are there, the heat maps, and why there are none."""
    if replay is None:
        if moments:
            raise ConfigError("moments", moments, "need the data", "give replay= as well")
        return None, [], NO_DATA
    chosen = moments_of(result) if moments is None else [_moment(result, time) for time in moments]
    again = reread(result, replay, chosen)
    maps = (heat_map(columns, result) for columns in again.columns)
    otherwise = "No book was known around these moments." if chosen else "There is no fill to look at."
    return again, [each for each in maps if each is not None], otherwise


def _moment(result: Result, time: Time) -> Moment:
    try:
        time_us = us_from_time(time)
    except ValueError as error:
        raise ConfigError("moments", time, str(error)) from None
    if not result.first_us <= time_us <= result.last_us:
        raise ConfigError("moments", time, f"lies outside of the run, {moment(result.first_us)} to "
                          f"{moment(result.last_us)}")  # fmt: skip
    return Moment(time_us, nearest_instrument(result.fills, time_us), moment(time_us))


# --------------------------------------------------------------------------------------------------------- over time


def charts_of(result: Result, again: Reread | None) -> Charts:
    """Equity and drawdown by currency; price with fills and inventory by instrument; what the strategy recorded."""
    charts = Charts(result.first_us, result.last_us)
    blind = np.zeros((0, 2), np.int64)
    for currency in dict.fromkeys(part.currency for part in result.summary_by_instrument):
        curve = result.curve(currency)
        mine = blind_spans(curve)
        blind = mine if len(mine) > len(blind) else blind
        path = curve.path()
        charts.charts += [
            Chart("Equity", f"P&L in {currency}", [Series("P&L", curve.ts, curve.value)], mine,
                  "blind time is shaded" if len(mine) else "", tall=True),
            Chart("Drawdown", f"{currency} below the peak, blind time cut out",
                  [Series("drawdown", curve.ts, path - np.maximum.accumulate(path), "area", 1)], mine),
        ]  # fmt: skip
    counts = np.bincount(result.fills["instrument"], minlength=len(result.instruments))
    busiest = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    for i in busiest[:MOST_CHARTS]:
        charts.charts += instrument_charts(result, i, again, blind)
    for name in sorted(result.records, key=lambda name: -len(result.records[name]))[:MOST_CHARTS]:
        rows = result.records[name]
        series = Series("value", rows["ts"], rows["value"])
        charts.charts.append(Chart(name, "recorded by the strategy", [series], blind))
    if len(busiest) > MOST_CHARTS:
        charts.note += f"{len(busiest) - MOST_CHARTS:,} instruments with fewer fills are left out. "
    if len(result.records) > MOST_CHARTS:
        charts.note += f"{len(result.records) - MOST_CHARTS:,} recorded series with fewer points are left out."
    return charts


def instrument_charts(result: Result, i: int, again: Reread | None, blind: np.ndarray) -> list[Chart]:
    """Price with fills, and inventory, of instrument `i`, by venue time."""
    instrument = result.instruments[i]
    tick = float(instrument.tick)
    fills = result.fills[result.fills["instrument"] == i]
    if again is not None and len(again.trades[i][0]):
        ts, ticks = again.trades[i]
        price, note = Series("last trade", ts, ticks * tick, "line", 7), ""
    else:
        rows = result.markouts[(result.markouts["instrument"] == i) & (result.markouts["mid2"] > 0)]
        rows = rows[np.argsort(rows["ts"], kind="stable")]
        price = Series("mid", rows["ts"], rows["mid2"] * (tick / 2), "line", 7)
        note = "the mid is known at fills and up to a minute after them"
    marks = [
        Series(f"{word} ({role})", mine["exch_ts"], mine["ticks"] * tick, f"{word}-{role}", 0 if side > 0 else 1)
        for word, side in (("buy", 1), ("sell", -1))
        for role, maker in (("maker", 1), ("taker", 0))
        if len(mine := fills[(fills["side"] == side) & (fills["maker"] == maker)])
    ]
    times = np.concatenate([[result.first_us], fills["exch_ts"], [result.last_us]])
    lots = np.concatenate([[0], fills["position"], fills["position"][-1:]])
    held = Series("inventory", times, lots * float(instrument.lot), "step", 2)
    unit = f"{instrument.name}, per unit" if instrument.payoff == "option" else instrument.name
    return [
        Chart("Price and own fills", unit, [price, *marks], blind, note, tall=True, places=_places(instrument.tick)),
        Chart("Inventory", f"{instrument.name}, units or contracts", [held], blind, places=_places(instrument.lot)),
    ]


def _places(step: Decimal) -> int:
    """Decimals of the multiples of a tick or lot."""
    return max(0, -int(step.normalize().as_tuple().exponent))
