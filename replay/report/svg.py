"""Charts that stand still, as SVG in HTML: bars, lines over a few steps, distributions, a grid of two parameters.

Colours are the classes of report.css, so that they follow light and dark; a `<title>` holds the figure of each mark.
Everything is drawn 400 units wide, which is about a phone, and scales.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from replay.report.markup import Html, decimals, fixed, number, signed

WIDTH = 400
LEFT = 84


def figure(title: str, note: str, *svg: Html) -> Html:
    """A chart under its title, with a remark on how to read it."""
    return Html(
        f'<figure class="still"><figcaption><b>{escape(title)}</b> <span>{escape(note)}</span></figcaption>'
        f"{''.join(svg)}</figure>"
    )


def _svg(height: float, label: str, *marks: str) -> Html:
    return Html(f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">{"".join(marks)}</svg>')


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _rect(x: float, y: float, width: float, height: float, kind: str, title: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{max(height, 0.5):.1f}" class="{kind}">'
        f"<title>{escape(title)}</title></rect>"
    )


def waterfall(steps: Sequence[tuple[str, float]], unit: str) -> Html:
    """Amounts that add up, each bar beginning where the last one ended, and their sum as the last bar."""
    total = math.fsum(amount for _, amount in steps)
    places = decimals([total, *(amount for _, amount in steps)])
    edges = [0.0]
    for _, amount in steps:
        edges.append(edges[-1] + amount)
    low, high = min(edges), max(edges)
    room = WIDTH - LEFT - 84
    scale = room / (high - low) if high > low else 0.0
    row = 30
    marks = [_line(LEFT - low * scale, 4, LEFT - low * scale, row * (len(steps) + 1), "axis")]
    bars = [(name, start, start + amount, amount) for (name, amount), start in zip(steps, edges)]
    for k, (name, start, end, amount) in enumerate([*bars, ("net", 0.0, total, total)]):
        left, right = sorted((LEFT + (start - low) * scale, LEFT + (end - low) * scale))
        kind = "total" if k == len(steps) else "gain" if amount >= 0 else "loss"
        y = 6 + row * k
        marks += [
            _text(LEFT - 10, y + 15, name, "end" if k < len(steps) else "end strong"),
            _rect(left, y, right - left, 22, kind, f"{name}: {fixed(amount, places, sign=True)} {unit}"),
            _text(right + 6, y + 15, fixed(amount, places, sign=True), "figure"),
        ]
    return _svg(row * (len(steps) + 1) + 8, f"parts of the P&L in {unit}", *marks)


def steps_chart(labels: Sequence[str], lines: Sequence[tuple[str, Sequence[float | None]]], unit: str) -> Html:
    """Lines over a few named steps, numbered c0, c1 … by colour; None: no value."""
    values = [value for _, line in lines for value in line if value is not None]
    if not values:
        return Html("")
    ticks = nice(min([0.0, *values]), max([0.0, *values]), 5)
    low, high = ticks[0], ticks[-1]
    left, right, top, bottom = 50, WIDTH - 12, 10, 180

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    def x(k: int) -> float:
        return left + (right - left) * (k + 0.5) / len(labels)

    marks = []
    for tick in ticks:
        marks += [_line(left, y(tick), right, y(tick), "axis" if tick == 0 else "grid"),
                  _text(left - 6, y(tick) + 4, number(tick, 4), "end")]  # fmt: skip
    marks += [_text(x(k), bottom + 18, label, "middle") for k, label in enumerate(labels)]
    for colour, (name, line) in enumerate(lines):
        points = [(x(k), y(value), value, labels[k]) for k, value in enumerate(line) if value is not None]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b, _, _ in points)
        marks.append(f'<polyline points="{path}" class="line c{colour}"/>')
        marks += [
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" class="dot c{colour}"><title>'
            f"{escape(f'{name} after {label}: {signed(value, 4)} {unit}')}</title></circle>"
            for a, b, value, label in points
        ]
    return _svg(bottom + 28, f"{', '.join(name for name, _ in lines)} in {unit}", *marks)


def legend(names: Sequence[str]) -> Html:
    """Names with the colours of `steps_chart`, as HTML."""
    items = "".join(f'<span><i class="swatch c{k}"></i>{escape(name)}</span>' for k, name in enumerate(names))
    return Html(f'<p class="legend">{items}</p>')


def histogram(values: np.ndarray, labels: Sequence[tuple[float, str]], what: str) -> Html:
    """How often values (> 0) lie where, in bins that grow by the same factor; `labels` are places on that scale."""
    values = values[values > 0]
    if not len(values):
        return Html("")
    least, greatest = math.log10(float(values.min())), math.log10(float(values.max()))
    least, greatest = math.floor(least * 4) / 4, math.floor(greatest * 4) / 4 + 0.25
    bins = min(48, round((greatest - least) * 16))
    counts, edges = np.histogram(np.log10(values), bins=bins, range=(least, greatest))
    top, bottom, left, right = 8, 120, 12, WIDTH - 12
    wide = (right - left) / bins
    tallest = int(counts.max())
    marks = [
        _rect(left + k * wide, bottom - count / tallest * (bottom - top), wide - 1.5,
              count / tallest * (bottom - top), "bar", f"{count:,} {what}")
        for k, count in enumerate(counts.tolist()) if count
    ]  # fmt: skip
    marks.append(_line(left, bottom, right, bottom, "axis"))
    free = float(left)
    for value, label in labels:
        at = left + (math.log10(value) - edges[0]) / (edges[-1] - edges[0]) * (right - left)
        half = 4.0 * len(label)
        if at - half >= free and at + half <= WIDTH:
            marks += [_line(at, bottom, at, bottom + 5, "axis"), _text(at, bottom + 18, label, "middle")]
            free = at + half + 10
    return _svg(bottom + 26, f"distribution of {what}", *marks)


def grid(
    names: tuple[str, str], axes: tuple[Sequence[str], Sequence[str]], values: np.ndarray, unit: str
) -> Html:  # fmt: skip
    """A figure for each pair: rows are the values of the first axis, columns those of the second.

    `values` has shape (rows, columns); colour runs from the worst (orange) over zero to the best (blue).
    """
    rows, columns = values.shape
    left, top = 96, 40
    wide, tall = (WIDTH - left - 4) / columns, 30
    largest = float(np.abs(values).max()) or 1.0
    best = divmod(int(np.argmax(values)), columns)
    down, across = (f"{names[0]} ↓" if names[0] else ""), f"{names[1]} →"
    marks = [_text(4, 14, down, "strong"), _text(WIDTH - 4, 14, across, "end strong")]
    places = decimals(values.ravel().tolist(), 3)
    marks += [_text(left + (c + 0.5) * wide, 32, axes[1][c], "middle") for c in range(columns)]
    for r in range(rows):
        marks.append(_text(left - 8, top + r * tall + 19, axes[0][r], "end"))
        for c in range(columns):
            value = float(values[r, c])
            level = min(4, math.ceil(4 * abs(value) / largest))
            kind = "even" if level == 0 else f"{'up' if value > 0 else 'down'}{level}"
            kind += " best" if (r, c) == best else ""
            title = f"{names[0]} {axes[0][r]}, {names[1]} {axes[1][c]}: {signed(value)} {unit}"
            marks.append(_rect(left + c * wide + 1, top + r * tall + 1, wide - 2, tall - 2, f"cell {kind}", title))
            if wide > 40:
                marks.append(
                    _text(left + (c + 0.5) * wide, top + r * tall + 19, fixed(value, places, sign=True), "middle on")
                )
    return _svg(top + rows * tall + 6, f"net in {unit} by {names[0]} and {names[1]}", *marks)


def nice(low: float, high: float, count: int) -> list[float]:
    """Round numbers, about `count` of them, from at most `low` to at least `high`."""
    if high - low <= 1e-9 * (abs(low) + abs(high)) or high - low < 1e-12:
        high = low + (abs(low) if abs(low) > 1e-9 else 1.0)
    raw = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, max(last, first + 1) + 1)]
