"""A result at a glance: the table for the terminal and its form for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from html import escape
from typing import TYPE_CHECKING

from replay.curve import MIN_ANNUALISED_US
from replay.metrics import Metrics
from replay.units import US_PER_S, iso_from_us

if TYPE_CHECKING:
    from replay.results import Result


def text(result: Result) -> str:
    """See `Result.summary`."""
    lines = [
        f"{result.strategy}({', '.join(f'{k}={v}' for k, v in result.parameters.items())})   [{result.mode}]",
        f"{iso_from_us(result.first_us)} to {iso_from_us(result.last_us)}, {result.seconds:,.1f} s simulated, "
        f"{result.rows:,} rows",
        "",
    ]
    wide = max([25, *(len(part.name) for part in result.summary_by_instrument)])
    head = _row("instrument", wide, ("fills", "maker", "position", "P&L", "fees", "funding", "net"))
    lines += [head, "─" * len(head)]
    for part in result.summary_by_instrument:
        maker = f"{100 * part.maker_fills / part.fills:.0f} %" if part.fills else "–"
        digits = 8 if abs(part.net) < 1 and part.net else 2
        money = (f"{amount:,.{digits}f}" for amount in (part.pnl, part.fees, part.funding, part.net))
        lines.append(f"{_row(part.name, wide, (f'{part.fills:,}', maker, part.size, *money))} {part.currency}")
    lines.append("")
    for currency in dict.fromkeys(part.currency for part in result.summary_by_instrument):
        lines += headline(result.metrics(currency))
    for part in result.summary_by_instrument:
        if part.position:
            lines.append(f"{part.name}: position valued at {part.mark:,.8g} ({part.mark_source})")
        if part.fee_currency != part.currency:
            lines.append(f"{part.name}: fees are in {part.fee_currency}, net is before them")
        if part.expired:
            lines.append(f"{part.name}: {part.expired:+,} lots settled with the underlying at {part.settled_at:,.8g}")
        if part.blind_us:
            gaps = f"{part.gaps} gap{'' if part.gaps == 1 else 's'}"
            lines.append(f"{part.name}: blind for {part.blind_us / US_PER_S:,.3f} s in {gaps}")
    for name, counts in (("refused", result.refusals), ("rejected by the venue", result.rejections)):
        if counts:
            lines.append(f"{name}: " + ", ".join(f"{n:,} × {reason}" for reason, n in sorted(counts.items())))
    if result.open_orders:
        were = (
            "order was open at the end and counts"
            if result.open_orders == 1
            else "orders were open at the end and count"
        )
        lines.append(f"{result.open_orders:,} {were} as cancelled")
    if result.liquidations:
        lines.append(f"{result.liquidations} liquidations of own positions")
    if result.mode_reason:
        lines.append(f"not compiled: {result.mode_reason}")
    lines.append(f"digest {result.digest[:16]}")
    return "\n".join(lines)


WIDTHS = (7, 6, 11, 13, 11, 11, 13)
"""Of the columns behind the name; what is wider moves the rest, but never touches its neighbour."""


def _row(name: str, wide: int, cells: Iterable[str]) -> str:
    return f"{name:<{wide}}" + "".join(f" {cell:>{width}}" for cell, width in zip(cells, WIDTHS))


def headline(metrics: Metrics) -> list[str]:
    """What was earned, at what risk and with what, in a few lines."""
    of, split = metrics.currency, metrics.split
    risk = [f"return {metrics.total_return:+.4%}"] if metrics.total_return is not None else []
    if metrics.annualised_return is not None:
        risk.append(f"{metrics.annualised_return:+.2%} a year")
    if metrics.length_us >= MIN_ANNUALISED_US:  # a yearly ratio of minutes is no headline
        ratios = (("Sharpe", metrics.sharpe), ("Sortino", metrics.sortino), ("Calmar", metrics.calmar))
        risk += [f"{name} {value:.2f}" for name, value in ratios if value is not None]
    if metrics.drawdown is not None:
        fall, after_s = metrics.drawdown, metrics.drawdown.duration_us / US_PER_S
        share = "" if fall.fraction is None else f" ({fall.fraction:.4%})"
        again = "not recovered" if fall.recovery_us is None else "recovered"
        risk.append(f"largest drawdown {fall.money:,.6g}{share}, {again} after {after_s:,.1f} s")
    lines = [f"{of}: " + ", ".join(risk)] if risk else []
    if metrics.fills:
        lines.append(
            f"{of}: spread {_money(split.spread)}, inventory {_money(split.inventory)}, fees {_money(-split.fees)}, "
            f"funding {_money(-split.funding)}; turnover {metrics.turnover:,.2f}"
        )
    trades = metrics.trades
    if trades.win_rate is not None and trades.holding_mean_us is not None:
        factor = "" if trades.profit_factor is None else f", profit factor {trades.profit_factor:.2f}"
        lines.append(
            f"{of}: {trades.count:,} round trips, {trades.win_rate:.0%} won{factor}, "
            f"held {trades.holding_mean_us / US_PER_S:,.1f} s on average"
        )
    if metrics.blind_us:
        lines.append(f"{of}: {metrics.blind_net:+,.6g} of it over {metrics.blind_us / US_PER_S:,.3f} s blind, "
                     "which is in no ratio and no drawdown")  # fmt: skip
    return lines


def _money(amount: Fraction | float) -> str:
    return f"{float(amount):+,.6g}"


def html(result: Result) -> str:
    """The summary as HTML, everything in it escaped."""
    return f"<pre>{escape(text(result))}</pre>"
