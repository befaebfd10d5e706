"""The parts of the page about one result that stand still; each is HTML, and nothing where there is nothing to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from replay.curve import MIN_ANNUALISED_US
from replay.executions import queue_waits_of
from replay.kernel import codes
from replay.metrics import Metrics
from replay.report.markup import NONE, Html, moment, notes, number, section, share, signed, span, table, tiles
from replay.report.page import provenance
from replay.report.svg import figure, histogram, legend, steps_chart, waterfall
from replay.units import US_PER_MS

if TYPE_CHECKING:
    from replay.results import Result

TIMES = tuple((factor * 10**power, span(factor * 10**power)) for power in range(10) for factor in (1, 2, 5))
"""Places on the scale of a distribution of times, µs."""

MOST_GAPS = 200
"""Gaps that are listed one by one."""


def headline(of: Metrics, result: Result) -> Html:
    """The figures that a person looks for first, as HTML."""
    fall = of.drawdown
    recovered = "" if fall is None else "recovered" if fall.recovery_us is not None else "not recovered"
    items = [
        (f"net {of.currency}", signed(of.net), "after fees and funding"),
        ("return", share(of.total_return, 3), f"on {number(of.capital)} {of.currency}" if of.capital else "no deposit"),
        ("largest drawdown", "none" if fall is None else number(-fall.money),
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


def money(of: Metrics) -> Html:
    """P&L split and markouts beside each other, as HTML."""
    parts = split(of) + markouts(of)
    return Html(f'<div class="row">{parts}</div>' if parts else "")


def split(of: Metrics) -> Html:
    """Spread, inventory, fees and funding, which add up to the net, as HTML."""
    amounts = (of.split.spread, of.split.inventory, -of.split.fees, -of.split.funding)
    steps = [(name, float(amount)) for name, amount in zip(("spread", "inventory", "fees", "funding"), amounts)]
    if not any(amounts):
        return Html("")
    note = "spread: trading away from the mid; inventory: holding from there on"
    return figure(f"P&L in {of.currency}", note, waterfall(steps, of.currency))


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
    note = "edge: later mid against the price; drift: against the mid at the fill"
    chart = steps_chart([span(h) for h in horizons], lines, "bp")
    rows = [(f"{m.role}, after {span(m.horizon_us)}", signed(m.edge_bps, 4), signed(m.drift_bps, 4), f"{m.fills:,}")
            for m in of.markouts]  # fmt: skip
    listed = table(("basis points of value", "edge", "drift", "fills"), rows)
    details = Html(f"<details><summary>as a table</summary>{listed}</details>")
    return figure("After the fills, basis points", note, legend([name for name, _ in lines]), chart, details)


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
    rows += [(f"rejected: {reason}", f"{count:,}") for reason, count in sorted(result.rejections.items())]
    rows += [("open at the end", f"{result.open_orders:,}")] if result.open_orders else []
    listed = table(("orders", "count"), rows) if rows else ""
    return section("Queue and latency", Html(f'<div class="row">{"".join(pictures)}</div>' if pictures else ""),
                   listed, anchor="orders")  # fmt: skip


def _median(values: np.ndarray) -> str:
    return span(float(np.median(values))) if len(values) else "none"


def figures_table(of: dict[str, Metrics]) -> Html:
    """Every metric in three tables, a column for each currency, as HTML."""
    columns = [_figures(metrics) for metrics in of.values()]
    tables = []
    for group in columns[0]:
        rows = [(name, *(column[group][name] for column in columns)) for name in columns[0][group]]
        tables.append(table((group, *of), rows))
    return Html(f'<div class="row">{"".join(tables)}</div>')


def _figures(of: Metrics) -> dict[str, dict[str, str]]:
    trades, placed, fall = of.trades, of.orders, of.drawdown
    long = of.length_us >= MIN_ANNUALISED_US  # a yearly ratio of minutes is no figure
    profit = {
        "net": signed(of.net), "of it over blind time": signed(of.blind_net),
        "return": share(of.total_return, 4), "return, a year": share(of.annualised_return),
        "volatility, a year": share(of.volatility if long else None),
        "Sharpe ratio, a year": number(of.sharpe if long else None, 4),
        "Sortino ratio, a year": number(of.sortino if long else None, 4),
        "Calmar ratio": number(of.calmar if long else None, 4),
        "clean steps of the grid": f"{of.steps:,} of {of.all_steps:,} of {span(of.grid_us)}",
        "largest drawdown": number(fall.money if fall else None),
        "drawdown begins": moment(fall.peak_us) if fall else NONE,
        "drawdown ends": NONE if fall is None or fall.recovery_us is None else moment(fall.recovery_us),
        "exposure": share(of.exposure), "blind time": span(of.blind_us),
    }  # fmt: skip
    trading = {
        "round trips": f"{trades.count:,}", "won": share(trades.win_rate),
        "profit factor": number(trades.profit_factor, 4), "expectancy": signed(trades.expectancy, 4),
        "average win": signed(trades.average_win, 4), "average loss": signed(trades.average_loss, 4),
        "holding time, mean": span(trades.holding_mean_us), "holding time, median": span(trades.holding_median_us),
        "holding time, longest": span(trades.holding_max_us),
        "turnover": number(of.turnover), "turnover / capital": number(of.turnover_ratio, 4),
    }  # fmt: skip
    costs = {
        "fills": f"{of.fills:,}", "maker share": share(of.maker_share),
        "fills without a known mid": f"{of.fills_without_mid:,}",
        "slippage of taking fills, bp": number(of.slippage_bps, 4),
        "fees paid": number(of.fees), "fees, bp of turnover": number(of.fees_bps, 4),
        "fees, part of P&L before": share(of.fee_share), "funding paid": number(of.funding),
        "funding, likewise": share(of.funding_share), "orders accepted": f"{placed.count:,}",
        "executed share of an order": share(placed.fill_ratio),
        "queue wait, mean": span(placed.queue_wait_mean_us), "queue wait, median": span(placed.queue_wait_median_us),
    }  # fmt: skip
    return {"profit and risk": profit, "round trips": trading, "execution and costs": costs}


def instruments(result: Result) -> Html:
    """A row for each instrument, as HTML."""
    rows = [
        (part.name, f"{part.fills:,}", f"{part.maker_fills:,}", part.size, number(part.mark, 8), signed(part.pnl),
         number(part.fees), number(part.funding), signed(part.net), part.currency, span(part.blind_us),
         f"{part.gaps:,}")
        for part in result.summary_by_instrument
    ]  # fmt: skip
    head = ("instrument", "fills", "as maker", "position", "mark", "P&L", "fees", "funding", "net", "currency", "blind",
            "gaps")  # fmt: skip
    return table(head, rows)


def quality(result: Result) -> Html:
    """What was wrong with the data, as HTML."""
    report = result.quality
    head = ("instrument", "messages", "depth", "applied", "stale", "duplicate", "trades", "gaps", "off grid", "book")
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
