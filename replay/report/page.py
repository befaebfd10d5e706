"""One file: template, style, script, text and data put together, and written aside before it takes its name."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from os import fspath
from pathlib import Path
from typing import Any

from replay._version import __version__
from replay.errors import DataError
from replay.report.markup import Html, facts, paragraph, section
from replay.report.series import Charts

_PLACE = re.compile(r"\{\{(\w+)\}\}")

HINT = "Drag to zoom, double-click for all. After a click: wheel, + and −, arrow keys (Shift: the view), 0 for all."
HEAT_HINT = (
    "As the strategy saw it, by local time. Stronger: larger sizes. Thin lines: best bid and ask. Bars: own quotes, "
    "blue to buy, orange to sell. Triangles: own fills, hollow where they took. Shaded: the book was not known."
)


@dataclass(slots=True)
class Page:
    """What stands on a page: `body` is HTML, `charts` and `heat` are drawn by the script where the body has places."""

    title: str
    subtitle: str
    body: list[Html]
    charts: Charts
    heat: list[dict[str, Any]] = field(default_factory=list)

    def html(self) -> str:
        """The whole file."""
        style, script = _asset("report.css"), _asset("report.js")
        data = json.dumps({**self.charts.as_dict(), "heat": self.heat}, allow_nan=False, separators=(",", ":"))
        parts = {
            "title": escape(self.title),
            "subtitle": escape(self.subtitle),
            "version": escape(__version__),
            "style": style,
            "script": script,
            "style_hash": _hash(style),
            "script_hash": _hash(script),
            "body": "\n".join(self.body),
            "data": data.replace("<", "\\u003c"),  # so that no text can end the script element
        }
        return _PLACE.sub(lambda place: parts[place[1]], _asset("page.html"))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file aside and rename it.  DataError when it cannot be written."""
        target = Path(path)
        aside = target.with_name(target.name + ".part")
        try:
            aside.write_text(self.html(), encoding="utf-8")
            aside.replace(target)
        except OSError as error:
            aside.unlink(missing_ok=True)
            problem = f"cannot be written: {os.strerror(error.errno) if error.errno else error}"
            raise DataError(problem, fspath(target), hint="check folder, room and rights") from error


def _asset(name: str) -> str:
    return files("replay.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def time_charts(charts: Charts) -> Html:
    """Places for all charts over time, under the line that says how to move in them, as HTML."""
    if not charts.charts:
        return Html("")
    tools = "".join(
        f'<button type="button" data-do="{do}" aria-label="{name}">{text}</button>'
        for do, name, text in (("in", "zoom in", "+"), ("out", "zoom out", "−"), ("all", "show all", "all"))
    )
    places = []
    for k, chart in enumerate(charts.charts):
        note = f" <small>{escape(chart.note)}</small>" if chart.note else ""
        size = "tall" if chart.tall else ""
        places.append(
            f'<figure class="time {size}" data-chart="{k}"><figcaption><b>{escape(chart.title)}</b>'
            f" <small>{escape(chart.unit)}</small>{note}<span class='legend'></span></figcaption>"
            f'<canvas tabindex="0" role="img" aria-label="{escape(chart.title)} over time"></canvas></figure>'
        )
    note = paragraph(charts.note, "hint") if charts.note else ""
    bar = f'<div class="toolbar" id="tools">{tools}<output id="when"></output></div>'
    return Html(
        f'<section id="time"><h2>Over time</h2>{bar}<p class="hint">{HINT}</p>{"".join(places)}{note}</section>'
    )


def heat_maps(heat: list[dict[str, Any]], otherwise: str) -> Html:
    """Places for the books around moments, or the reason why there are none, as HTML."""
    places = "".join(
        f'<figure class="heat" data-heat="{k}"><figcaption><b>{escape(each["why"])}</b> '
        f"<small>{escape(each['instrument'])}</small> <output></output></figcaption>"
        f'<canvas role="img" aria-label="order book, {escape(each["why"])}"></canvas></figure>'
        for k, each in enumerate(heat)
    )
    hint = f'<p class="hint">{HEAT_HINT}</p>' if heat else f"<p>{escape(otherwise)}</p>"
    return section("Order book around chosen moments", Html(hint + places), anchor="books")


def provenance(pairs: dict[str, Any]) -> Html:
    """Settings as HTML; what is the same for all instruments is said once."""
    return facts((name, _plain(value)) for name, value in pairs.items())


def _plain(value: Any) -> Any:
    if not isinstance(value, dict):
        return "not set" if value is None else value
    if len(set(map(str, value.values()))) == 1 and len(value) > 1:
        value = next(iter(value.values()))
        return "not set" if value in (None, "None") else value
    return Html("<br>".join(f"{escape(str(k))}: {escape(str(v))}" for k, v in value.items())) if value else "none"
