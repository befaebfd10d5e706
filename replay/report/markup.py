"""Words and numbers as HTML.  Functions that return HTML say so; all other text is escaped here, and only here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from replay.units import US_PER_DAY, US_PER_HOUR, US_PER_MIN, US_PER_MS, US_PER_S, iso_from_us

NONE = "–"
"""What stands for a figure that is not defined."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def safe(value: Any) -> str:
    """`value` as HTML: itself when it is HTML, escaped when it is anything else."""
    return value if isinstance(value, Html) else escape(str(value))


def number(value: float | None, digits: int = 6) -> str:
    """`1,234.57`: `digits` significant figures, no exponent for ordinary sizes; a dash for None."""
    if value is None or not math.isfinite(value):
        return NONE if value is None else str(value)
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if not -7 < exponent < 15:
        return f"{value:.{digits - 1}e}"
    text = f"{value:,.{max(0, digits - 1 - exponent)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def signed(value: float | None, digits: int = 6) -> str:
    """The same with a plus sign."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 else text


def decimals(values: Iterable[float | None], digits: int = 5) -> int:
    """How many decimals give the largest of the values `digits` significant figures (none below the point: 0)."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    return min(10, max(0, digits - 1 - math.floor(math.log10(largest)))) if largest else 0


def fixed(value: float | None, places: int, sign: bool = False) -> str:
    """With so many decimals, for figures that stand under each other."""
    if value is None:
        return NONE
    text = f"{value:{'+' if sign else ''},.{places}f}"
    return (text if any(c in text for c in "123456789") else text.lstrip("+-")).replace("-", "−")


def share(value: float | None, digits: int = 2) -> str:
    """A fraction in percent."""
    return NONE if value is None else f"{fixed(100 * value, digits)} %"


def span(us: float | None) -> str:
    """A length of time in the unit that suits it."""
    if us is None:
        return NONE
    for unit, name in ((US_PER_DAY, "d"), (US_PER_HOUR, "h"), (US_PER_MIN, "min"), (US_PER_S, "s"), (US_PER_MS, "ms")):
        if abs(us) >= unit:
            return f"{number(us / unit, 4)} {name}"
    return f"{number(us, 4)} µs"


def moment(us: int) -> str:
    """`2024-08-08 23:54:15.030 UTC`."""
    text = iso_from_us(us)
    return f"{text[:10]} {text[11:23]} UTC"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, sortable: bool = False) -> Html:
    """A table as HTML; the first column is the name of the row.

    A cell is text, HTML, or (text, number): what to show and what to sort by.
    """
    kind = "sortable" if sortable else ""
    heads = "".join(f'<th scope="col">{_head(name, sortable)}</th>' for name in head)
    body = "".join(f"<tr>{_cell(row[0], 'th')}{''.join(_cell(cell, 'td') for cell in row[1:])}</tr>" for row in rows)
    return Html(
        f'<div class="scroll" tabindex="0"><table class="{kind}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _head(name: str, sortable: bool) -> str:
    return f'<button type="button">{escape(name)}</button>' if sortable else escape(name)


def _cell(cell: Any, tag: str) -> str:
    scope = ' scope="row"' if tag == "th" else ""
    if isinstance(cell, tuple):
        text, key = cell
        return f'<{tag}{scope} data-key="{escape(str(key))}">{safe(text)}</{tag}>'
    return f"<{tag}{scope}>{safe(cell)}</{tag}>"


def facts(pairs: Iterable[tuple[str, Any]]) -> Html:
    """Names and what they are, as HTML."""
    return Html(
        '<dl class="facts">'
        + "".join(f"<div><dt>{escape(name)}</dt><dd>{safe(value)}</dd></div>" for name, value in pairs)
        + "</dl>"
    )


def tiles(items: Iterable[tuple[str, str, str]]) -> Html:
    """Large figures, (name, figure, remark), as HTML."""
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(figure)}</dd><dd class='remark'>{escape(remark)}</dd></div>"
        for name, figure, remark in items
    )
    return Html(f'<dl class="tiles">{"".join(cells)}</dl>')


def notes(lines: Iterable[str]) -> Html:
    """A list of remarks as HTML, nothing when there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return Html(f'<ul class="notes">{items}</ul>' if items else "")


def paragraph(text: str, kind: str = "") -> Html:
    """A paragraph as HTML."""
    return Html(f'<p class="{kind}">{escape(text)}</p>')


def section(title: str, *parts: str, anchor: str = "") -> Html:
    """A part of the page under a heading, as HTML; `parts` are HTML, nothing at all when they are empty."""
    inside = "".join(parts)
    name = f' id="{escape(anchor)}"' if anchor else ""
    return Html(f"<section{name}><h2>{escape(title)}</h2>{inside}</section>" if inside else "")
