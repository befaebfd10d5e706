"""The pages about several results: a comparison, a sweep, a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.curve import MIN_ANNUALISED_US
from replay.errors import ConfigError
from replay.metrics import Metrics
from replay.report.markup import (
    Html,
    decimals,
    facts,
    fixed,
    moment,
    number,
    paragraph,
    section,
    share,
    signed,
    span,
    table,
    tiles,
)  # fmt: skip
from replay.report.page import Page, provenance, time_charts
from replay.report.series import Chart, Charts, Series, blind_spans
from replay.report.svg import figure, grid

if TYPE_CHECKING:
    from replay.curve import Curve
    from replay.results import Result
    from replay.sweep import Band, Sweep

MOST_COLOURED = 6
MOST_FAINT = 120
COLUMNS = ("net", "return", "largest drawdown", "Sharpe", "fills", "maker", "turnover", "spread", "inventory", "fees",
           "funding", "won", "blind")  # fmt: skip


def comparison_page(results: Mapping[str, Result], currency: str | None = None) -> Page:
    """Results by name: a table that can be sorted, and their equity over each other.

    Raises ConfigError for no results and when the currency has to be named.
    """
    if not results:
        raise ConfigError("results", [], "is empty", "give at least one")
    chosen = common_currency(list(results.values()), currency)
    differing = _differing(list(results.values()))
    columns = {name: [result.parameters.get(name) for result in results.values()] for name in differing}
    names = list(results)
    return _page(f"{len(names)} results", names, list(results.values()), chosen, columns, names, [])


def sweep_page(sweep: Sweep, currency: str | None = None) -> Page:
    """A sweep: the same, with its axes as columns, and a map of the first two axes that have several values."""
    results = list(sweep.results)
    chosen = common_currency(results, currency)
    variants = list(product(*sweep.axes.values()))
    columns = {name: [values[k] for values in variants] for k, name in enumerate(sweep.axes)}
    wide = [name for name, values in sweep.axes.items() if len(values) > 1]
    names = [", ".join(f"{name} {columns[name][k]}" for name in wide) or "the only one" for k in range(len(results))]
    net = np.array([result.net.get(chosen, 0.0) for result in results])
    numbers = [(f"{k + 1}", k) for k in range(len(results))]
    pictures = _map(sweep, wide, net, chosen)
    return _page(f"Sweep of {results[0].strategy}", names, results, chosen, columns, numbers, pictures)


def common_currency(results: Sequence[Result], currency: str | None) -> str:
    """The currency to compare in; ConfigError when it has to be named or a result lacks it."""
    settled = [dict.fromkeys(part.currency for part in result.summary_by_instrument) for result in results]
    known = [name for name in settled[0] if all(name in each for each in settled)]
    if currency is None and len(known) == 1:
        return known[0]
    if currency not in known:
        hint = f"name one of {', '.join(known)}" if known else "compare results with a settlement currency in common"
        raise ConfigError("currency", currency, "is not a settlement currency of all results", hint)
    return currency


def _differing(results: list[Result]) -> list[str]:
    """Parameters that are not the same in all results."""
    names = dict.fromkeys(name for result in results for name in result.parameters)
    return [name for name in names if len({repr(result.parameters.get(name)) for result in results}) > 1]


def _page(
    title: str, names: list[str], results: list[Result], currency: str, columns: dict[str, list[Any]],
    rows_named: list[Any], pictures: list[Html],
) -> Page:  # fmt: skip
    """The table, the overlay and what they have in common."""
    metrics = [result.metrics(currency) for result in results]
    order = sorted(range(len(results)), key=lambda k: -metrics[k].net)
    best = metrics[order[0]]
    defined, figures = _figures(metrics)
    head = ["result", *columns, *defined]
    rows = [[rows_named[k], *(_cell(values[k]) for values in columns.values()), *figures[k]] for k in order]
    charts = overlay([names[k] for k in order], [results[k] for k in order], currency)
    lead = tiles([
        ("results", f"{len(results):,}", ", ".join(dict.fromkeys(result.strategy for result in results))),
        (f"best net {currency}", signed(best.net), names[order[0]]),
        (f"worst net {currency}", signed(metrics[order[-1]].net), names[order[-1]]),
        ("earned", f"{sum(m.net > 0 for m in metrics):,}", f"of {len(results):,} end above zero"),
    ])  # fmt: skip
    first, last = min(r.first_us for r in results), max(r.last_us for r in results)
    body = [
        section("At a glance", lead),
        section("By parameters", *pictures, anchor="map"),
        time_charts(charts),
        section("All results", paragraph(f"Money in {currency}. Click a heading to sort.", "hint"),
                table(head, rows, sortable=True), anchor="results"),
        section("Settings", provenance(results[order[0]].settings), provenance(results[order[0]].versions)),
    ]  # fmt: skip
    return Page(title, f"{moment(first)} to {moment(last)}, {span(last - first)}", body, charts)


def _cell(value: Any) -> Any:
    return (number(value), value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _figures(all_of: Sequence[Metrics]) -> tuple[list[str], list[list[Any]]]:
    """Those of `COLUMNS` that have a value, and the cells of each row: what to show and what to sort by."""
    year = [of.length_us >= MIN_ANNUALISED_US for of in all_of]  # a yearly ratio of minutes is no figure
    falls = [0.0 if of.drawdown is None else -of.drawdown.money for of in all_of]
    amounts = {
        "net": [of.net for of in all_of], "largest drawdown": falls,
        **{name: [float(sign * getattr(of.split, name)) for of in all_of]
           for name, sign in (("spread", 1), ("inventory", 1), ("fees", -1), ("funding", -1))},
    }  # fmt: skip
    places = decimals([value for values in amounts.values() for value in values])
    keys: dict[str, Sequence[float | None]] = {
        **amounts, "return": [of.total_return for of in all_of],
        "Sharpe": [of.sharpe if long else None for of, long in zip(all_of, year)],
        "fills": [of.fills for of in all_of], "maker": [of.maker_share for of in all_of],
        "turnover": [of.turnover for of in all_of], "won": [of.trades.win_rate for of in all_of],
        "blind": [of.blind_us for of in all_of],
    }  # fmt: skip
    texts = {
        **{name: [fixed(value, places, sign=True) for value in values] for name, values in amounts.items()},
        "return": [share(value, 3) for value in keys["return"]], "Sharpe": [number(v, 3) for v in keys["Sharpe"]],
        "fills": [fixed(value, 0) for value in keys["fills"]], "maker": [share(value, 0) for value in keys["maker"]],
        "turnover": [fixed(value, decimals(keys["turnover"])) for value in keys["turnover"]],
        "won": [share(value, 0) for value in keys["won"]], "blind": [span(value) for value in keys["blind"]],
    }  # fmt: skip
    defined = [name for name in COLUMNS if any(key is not None for key in keys[name])]
    rows = zip(*(zip(texts[name], keys[name]) for name in defined))
    return defined, [[(text, "" if key is None else key) for text, key in row] for row in rows]


def overlay(names: list[str], results: list[Result], currency: str) -> Charts:
    """Equity of all in one chart: the first few, which are the best, in colour, of the rest an even choice behind."""
    charts = Charts(min(r.first_us for r in results), max(r.last_us for r in results))
    rest = range(MOST_COLOURED, len(results))
    faint = [rest[k] for k in np.unique(np.linspace(0, len(rest) - 1, MOST_FAINT).astype(int))] if rest else []
    curves = {k: results[k].curve(currency) for k in [*range(min(MOST_COLOURED, len(results))), *faint]}
    lines = [Series("", curves[k].ts, curves[k].value, "faint") for k in faint]
    lines += [Series(names[k], curves[k].ts, curves[k].value, "line", k) for k in curves if k < MOST_COLOURED]
    left_out = len(results) - len(curves)
    note = f"the best {MOST_COLOURED} in colour" if rest else ""
    note += f", {left_out:,} left out" if left_out else ""
    charts.charts.append(Chart("Equity", f"P&L in {currency}", lines, blind_spans(curves[0]), note, tall=True))
    return charts


def _map(sweep: Sweep, wide: list[str], net: np.ndarray, currency: str) -> list[Html]:
    """The best net for each pair of values of the two first axes (of the one: a single column)."""
    if not wide:
        return []
    shape = tuple(len(values) for values in sweep.axes.values())
    axes = list(sweep.axes)
    chosen = [axes.index(name) for name in wide[:2]]
    values = net.reshape(shape).max(axis=tuple(k for k in range(len(axes)) if k not in chosen))
    labels = [[str(value) for value in sweep.axes[axes[k]]] for k in chosen]
    if len(chosen) == 1:
        values, labels, names = values.reshape(1, -1), [[f"net {currency}"], labels[0]], ("", wide[0])
    else:
        names = (wide[0], wide[1])
    note = "" if len(wide) <= 2 else f"the best over {', '.join(wide[2:])}"
    return [figure(f"Net in {currency}", note, grid(names, (labels[0], labels[1]), values, currency))]


# --------------------------------------------------------------------------------------------------------------- band


def band_page(band: Band, currency: str | None = None) -> Page:
    """A band: its verdict in a sentence, equity from the least to the greatest case at each time, and every case."""
    results = [case.result for case in band.cases]
    chosen = common_currency(results, currency)
    base = band.base
    low, configured, high = band.net()[chosen]
    curves = [result.curve(chosen) for result in results]
    ts, least, greatest = envelope(curves)
    charts = Charts(base.first_us, base.last_us)
    own, worst = base.curve(chosen), band.pessimistic.curve(chosen)
    charts.charts.append(
        Chart("Equity", f"P&L in {chosen}", [
            Series("least", ts, least, "low", 0), Series("greatest", ts, greatest, "high", 0),
            Series("as configured", own.ts, own.value, "line", 0),
            Series("harshest", worst.ts, worst.value, "line", 1),
        ], blind_spans(own), "shaded between the least and the greatest of all cases", tall=True)
    )  # fmt: skip
    names = [f"{case.queue} queue, latency × {case.latency_factor:g}" for case in band.cases]
    defined, figures = _figures([result.metrics(chosen) for result in results])
    rows = [[name, *cells] for name, cells in zip(names, figures)]
    queues, factors = (list(dict.fromkeys(getattr(case, name) for case in band.cases))
                       for name in ("queue", "latency_factor"))  # fmt: skip
    net = np.array([[_net(band, queue, factor, chosen) for factor in factors] for queue in queues])
    picture = grid(("queue", "latency"), (queues, [f"× {factor:g}" for factor in factors]), net, chosen)
    lead = tiles([
        (f"as configured, {chosen}", signed(configured), f"{len(base.fills):,} fills"),
        ("harshest", signed(band.pessimistic.net.get(chosen, 0.0)), "nobody ahead cancels, longest latency"),
        ("kindest", signed(band.optimistic.net.get(chosen, 0.0)), "everybody ahead cancels first, shortest latency"),
        ("least to greatest", f"{signed(low, 4)} … {signed(high, 4)}", f"of {len(results)} cases"),
    ])  # fmt: skip
    body = [
        section("What is left", paragraph(band.verdict(chosen), "verdict"), lead),
        time_charts(charts),
        section("By queue and latency", figure(f"Net in {chosen}", "", picture), anchor="map"),
        section("All cases", table(["assumption", *defined], rows, sortable=True), anchor="results"),
        section("Settings", facts([("strategy", base.strategy), *base.parameters.items()]), provenance(base.settings)),
    ]
    subtitle = f"{moment(base.first_us)} to {moment(base.last_us)}, {span(base.last_us - base.first_us)}"
    return Page(f"Band of {base.strategy}", subtitle, body, charts)


def _net(band: Band, queue: str, factor: float, currency: str) -> float:
    case = next(case for case in band.cases if (case.queue, case.latency_factor) == (queue, factor))
    return case.result.net.get(currency, 0.0)


def envelope(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All times (µs) at which any curve has a point, and the least and greatest value of all curves at each.

    A curve holds its value until its next point, and is 0 before its first.
    """
    ts = np.unique(np.concatenate([curve.ts for curve in curves]))
    least, greatest = np.full(len(ts), np.inf), np.full(len(ts), -np.inf)
    for curve in curves:
        at = np.searchsorted(curve.ts, ts, side="right") - 1
        value = np.where(at >= 0, curve.value[np.maximum(at, 0)], 0.0)
        np.minimum(least, value, out=least)
        np.maximum(greatest, value, out=greatest)
    return ts, least, greatest
