"""The page about one result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.errors import ConfigError
from replay.executions import queue_waits_of
from replay.kernel import codes
from replay.metrics import Metrics
from replay.report.depth import Moment, Reread, heat_map, moments_of, reread
from replay.report.markup import (
    NONE,
    Html,
    moment,
    notes,
    number,
    section,
    share,
    signed,
    span,
    table,
    tiles,
)
from replay.report.page import Page, heat_maps, provenance, time_charts
from replay.report.series import Chart, Charts, Series, blind_spans
from replay.report.svg import figure, histogram, legend, steps_chart, waterfall
from replay.units import US_PER_MIN, US_PER_MS, US_PER_S, us_from_time

if TYPE_CHECKING:
    from replay.engine import Replay, Time
    from replay.results import Result

MOST_CHARTS = 8
"""Instruments that get charts of their own, and recorded series likewise: the ones with most fills or points."""
MOST_MOMENTS = 8
NO_DATA = (
    "The book is not part of a result. Give the data again to see it: result.to_html(path, replay=replay), or "
    "replay report DIR --data FILE… --adapter NAME."
)
TIMES = ((1, "1 µs"), (10, "10 µs"), (100, "100 µs"), (US_PER_MS, "1 ms"), (10 * US_PER_MS, "10 ms"),
         (100 * US_PER_MS, "0.1 s"), (US_PER_S, "1 s"), (10 * US_PER_S, "10 s"), (100 * US_PER_S, "100 s"),
         (60 * US_PER_MIN, "1 h"))  # fmt: skip


def result_page(result: Result, replay: Replay | None = None, moments: Sequence[Time] | None = None) -> Page:
    """See `Result.to_html`."""
    chosen = moments_of(result) if moments is None else [_moment(result, time) for time in moments]
    if moments is not None and replay is None and moments:
        raise ConfigError("moments", moments, "need the data", "give replay= as well")
    again = reread(result, replay, chosen) if replay is not None else None
    heat = [] if again is None else [each for each in (heat_map(c, result) for c in again.columns) if each is not None]
    currencies = list(dict.fromkeys(part.currency for part in result.summary_by_instrument))
    metrics = {currency: result.metrics(currency) for currency in result.currencies}
    charts = charts_of(result, again)
    none = NO_DATA if again is None else "No book was known around these moments." if chosen else "There is no fill."
    body = [
        *(headline(metrics[currency], result) for currency in currencies),
        time_charts(charts),
        section("Where the money came from", *(split(each) for each in metrics.values()), anchor="split"),
        section("After the fills", *(markouts(metrics[currency]) for currency in currencies), anchor="markouts"),
        heat_maps(heat, none),
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


def _moment(result: Result, time: Time) -> Moment:
    try:
        time_us = us_from_time(time)
    except ValueError as error:
        raise ConfigError("moments", time, str(error)) from None
    if not result.first_us <= time_us <= result.last_us:
        raise ConfigError("moments", time, f"lies outside of the run, {moment(result.first_us)} to "
                          f"{moment(result.last_us)}")  # fmt: skip
    fills = result.fills
    nearest = int(fills["instrument"][np.argmin(np.abs(fills["local_ts"] - time_us))]) if len(fills) else 0
    return Moment(time_us, nearest, moment(time_us))


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
        charts.charts.append(Chart(name, "recorded by the strategy", [Series("value", rows["ts"], rows["value"])], blind))
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
    held = Series("inventory", np.concatenate([[result.first_us], fills["exch_ts"], [result.last_us]]),
                  np.concatenate([[0], fills["position"], fills["position"][-1:]]) * float(instrument.lot), "step", 2)  # fmt: skip
    unit = f"{instrument.name}, per unit" if instrument.payoff == "option" else instrument.name
    return [
        Chart("Price and own fills", unit, [price, *marks], blind, note, tall=True),
        Chart("Inventory", f"{instrument.name}, units or contracts", [held], blind),
    ]


# ------------------------------------------------------------------------------------------------------------- parts


def headline(of: Metrics, result: Result) -> Html:
    """The figures that a person looks for first, as HTML."""
    fall = of.drawdown
    recovered = "" if fall is None else "recovered" if fall.recovery_us is not None else "not recovered"
    items = [
        (f"net {of.currency}", signed(of.net), "after fees and funding"),
        ("return", share(of.total_return, 3), f"on {number(of.capital)} {of.currency}" if of.capital else "no deposit"),
        ("largest drawdown", NO_FALL if fall is None else number(-fall.money),
         "" if fall is None else f"{share(fall.fraction, 3)}, {recovered} after {span(fall.duration_us)}"),
        ("fills", f"{of.fills:,}", f"{share(of.maker_share, 0)} as maker"),
        ("turnover", number(of.turnover), of.currency),
        ("round trips", f"{of.trades.count:,}", f"{share(of.trades.win_rate, 0)} won"),
        ("blind", span(of.blind_us), f"{share(of.blind_us / max(1, of.length_us), 1)} of the run"),
    ]  # fmt: skip
    if of.annualised_return is not None:
        items.insert(2, ("Sharpe, a year", number(of.sharpe, 3), f"{share(of.annualised_return)} a year"))
    remarks = list(of.notes)
    if result.liquidations:
        remarks.append(f"{result.liquidations} own positions were liquidated")
    if result.mode_reason:
        remarks.append(f"not compiled: {result.mode_reason}")
    return section(f"At a glance, {of.currency}", tiles(items), notes(remarks))


NO_FALL = "none"


def split(of: Metrics) -> Html:
    """Spread, inventory, fees and funding, which add up to the net, as HTML."""
    parts = of.split
    steps = [("spread", parts.spread), ("inventory", parts.inventory), ("fees", -parts.fees), ("funding", -parts.funding)]
    if not any(amount for _, amount in steps):
        return Html("")
    note = "trading away from the mid, holding from mid to final mark, and what was paid; adds up to the net"
    return figure(f"P&L in {of.currency}", note, waterfall([(n, float(a)) for n, a in steps], of.currency))


def markouts(of: Metrics) -> Html:
    """Edge and drift by role over the horizons, as HTML."""
    horizons = sorted({each.horizon_us for each in of.markouts})
    lines = []
    for role in ("maker", "taker"):
        by_horizon = {each.horizon_us: each for each in of.markouts if each.role == role}
        if by_horizon:
            found = [by_horizon.get(h) for h in horizons]
            lines.append((f"{role} edge", [None if m is None else m.edge_bps for m in found]))
            lines.append((f"{role} drift", [None if m is None else m.drift_bps for m in found]))
    if not lines:
        return Html("")
    note = "edge: later mid against the price; drift: later mid against the mid at the fill (below zero: adverse)"
    chart = steps_chart([span(h) for h in horizons], lines, "bp")
    rows = [(f"{m.role}, after {span(m.horizon_us)}", signed(m.edge_bps, 4), signed(m.drift_bps, 4), f"{m.fills:,}")
            for m in of.markouts]  # fmt: skip
    listed = table(("basis points of value", "edge", "drift", "fills"), rows)
    return Html(figure(f"Markouts, basis points ({of.currency})", note, legend([n for n, _ in lines]), chart) + listed)


def orders(result: Result) -> Html:
    """Queue waits, latencies, causes of fills and refusals, as HTML."""
    log, fills = result.orders, result.fills
    answers = log[(log["answer"] == 1) & (log["exch_ts"] > 0)]
    sent = answers[(answers["req_ts"] > 0) & (answers["request"] != codes.REQUEST_NONE)]
    there, back = sent["exch_ts"] - sent["req_ts"], answers["local_ts"] - answers["exch_ts"]
    waits = queue_waits_of(log, fills)
    pictures = [
        figure(name, note, histogram(values, TIMES, what))
        for name, note, values, what in (
            ("Wait in the queue", f"acceptance to first fill as maker, median {_median(waits)}", waits, "orders"),
            ("Way to the venue", f"request to arrival, median {_median(there)}", there, "requests"),
            ("Way back", f"venue to strategy, median {_median(back)}", back, "answers"),
        )
        if (values > 0).any()
    ]
    causes = np.bincount(fills["cause"], minlength=len(codes.CAUSE_NAMES))
    rows = [(f"filled by {name}", f"{count:,}") for name, count in zip(codes.CAUSE_NAMES, causes.tolist()) if count]
    rows += [(f"refused: {reason}", f"{count:,}") for reason, count in sorted(result.refusals.items())]
    rows += [("open at the end", f"{result.open_orders:,}")] if result.open_orders else []
    front = fills["front"][(fills["maker"] == 1) & (fills["cause"] == codes.CAUSE_QUEUE)]
    if len(front):
        rows.append(("median lots ahead at a fill from the queue", number(float(np.median(front)), 4)))
    listed = table(("orders", "count"), rows) if rows else ""
    return section("Queue and latency", Html(f'<div class="row">{"".join(pictures)}</div>' if pictures else ""),
                   listed, anchor="orders")  # fmt: skip


def _median(values: np.ndarray) -> str:
    return span(float(np.median(values))) if len(values) else "none"


def figures_table(of: dict[str, Metrics]) -> Html:
    """Every metric, a column for each currency, as HTML."""
    columns = [_figures(metrics) for metrics in of.values()]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return table(("figure", *of), rows)


def _figures(of: Metrics) -> dict[str, str]:
    trades, placed, fall = of.trades, of.orders, of.drawdown
    out = {
        "net": signed(of.net), "of it over blind time": signed(of.blind_net), "fees paid": number(of.fees),
        "funding paid": number(of.funding), "fees, part of the P&L before both": share(of.fee_share),
        "funding, likewise": share(of.funding_share), "fees, basis points of turnover": number(of.fees_bps, 4),
        "return": share(of.total_return, 4), "return, a year": share(of.annualised_return),
        "volatility, a year": share(of.volatility), "Sharpe ratio, a year": number(of.sharpe, 4),
        "Sortino ratio, a year": number(of.sortino, 4), "Calmar ratio": number(of.calmar, 4),
        "clean steps of the grid": f"{of.steps:,} of {of.all_steps:,} of {span(of.grid_us)}",
        "largest drawdown": number(fall.money if fall else None), "drawdown begins": moment(fall.peak_us) if fall else NONE,
        "drawdown ends": NONE if fall is None or fall.recovery_us is None else moment(fall.recovery_us),
        "exposure": share(of.exposure), "turnover": number(of.turnover), "turnover / capital": number(of.turnover_ratio, 4),
        "fills": f"{of.fills:,}", "maker share": share(of.maker_share),
        "slippage of taking fills, bp": number(of.slippage_bps, 4), "fills without a known mid": f"{of.fills_without_mid:,}",
        "round trips": f"{trades.count:,}", "won": share(trades.win_rate), "profit factor": number(trades.profit_factor, 4),
        "average win": signed(trades.average_win), "average loss": signed(trades.average_loss),
        "expectancy": signed(trades.expectancy), "holding time, mean": span(trades.holding_mean_us),
        "holding time, median": span(trades.holding_median_us), "holding time, longest": span(trades.holding_max_us),
        "orders accepted": f"{placed.count:,}", "executed share of an order": share(placed.fill_ratio),
        "queue wait, mean": span(placed.queue_wait_mean_us), "queue wait, median": span(placed.queue_wait_median_us),
        "blind time": span(of.blind_us),
    }  # fmt: skip
    return out


def instruments(result: Result) -> Html:
    """A row for each instrument, as HTML."""
    rows = [
        (part.name, f"{part.fills:,}", f"{part.maker_fills:,}", part.size, number(part.mark, 8), signed(part.pnl),
         number(part.fees), number(part.funding), signed(part.net), part.currency, span(part.blind_us), f"{part.gaps:,}")
        for part in result.summary_by_instrument
    ]  # fmt: skip
    head = ("instrument", "fills", "as maker", "position", "mark", "P&L", "fees", "funding", "net", "currency", "blind",
            "gaps")  # fmt: skip
    return table(head, rows)


def quality(result: Result) -> Html:
    """What was wrong with the data, as HTML."""
    report = result.quality
    head = ("instrument", "messages", "depth", "applied", "stale", "duplicate", "trades", "gaps", "off the grid", "book")
    rows = [
        (name, f"{q.messages:,}", f"{q.depth_messages:,}", f"{q.applied:,}", f"{q.stale:,}", f"{q.duplicates:,}",
         f"{q.trades:,}", f"{q.breaks:,}", f"{q.off_tick:,}", q.book_state)
        for name, q in report.instruments.items()
    ]  # fmt: skip
    remarks = [f"clock offset {report.clock_offset_us / US_PER_MS:+.3f} ms, added to local times"]
    remarks += [f"{n:,} × {what} ({name})" for name, q in report.instruments.items()
                for what, n in sorted(q.anomalies.items())]  # fmt: skip
    remarks += [f"ignored: {count:,} × {what}" for what, count in sorted(report.ignored.items())]
    gaps = [
        (moment(gap.start_us), gap.instrument, f"{gap.last_good_id} … {gap.next_id}", gap.repair or "never",
         (span(gap.blind_us), gap.blind_us or 0))
        for gap in report.gaps[:MOST_GAPS]
    ]  # fmt: skip
    more = [f"{report.gaps_total - len(gaps):,} more gaps are in result.json"] if report.gaps_total > len(gaps) else []
    parts = [table(head, rows)] if rows else []
    parts.append(notes(remarks))
    if gaps:
        inside = table(("gap at", "instrument", "ids", "repaired by", "blind"), gaps, sortable=True) + notes(more)
        parts.append(Html(f"<details><summary>{report.gaps_total:,} gaps</summary>{inside}</details>"))
    return section("Quality of the data", *parts, anchor="quality")


MOST_GAPS = 200


def settings(result: Result) -> Html:
    """Settings, parameters, versions and digests, as HTML."""
    data = result.data or {"data": "from memory, no digest"}
    return section(
        "Settings",
        provenance({"strategy": result.strategy, **{f"parameter {n}": v for n, v in result.parameters.items()}}),
        provenance(result.settings),
        Html("<h3>Versions and digests (SHA-256)</h3>"),
        provenance({**result.versions, **data, "result digest": result.digest}),
        anchor="settings",
    )
