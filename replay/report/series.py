"""Data for the charts that zoom: points as base64 of little-endian float64, thinned where there are too many.

Times are µs after the start of the page, values as they are.  A page holds at most about `POINTS` points, shared out
evenly among its series; a series that has more keeps the first, least, greatest and last point of each stretch of time,
so it draws the same until a stretch is wider than a pixel, and no extreme is lost at any zoom.  At 16 bytes a point,
4/3 of that in base64, the points of a page take less than 9 MB.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from replay.curve import Curve
from replay.kernel.decimate import KEPT_EACH, kept

POINTS = 400_000
MOST_BUCKETS = 16_384
MOST_SPANS = 4_000


def packed(values: np.ndarray, kind: str = "<f8") -> str:
    """Numbers as base64 of little-endian float64, or of another `kind`."""
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()


@dataclass(slots=True)
class Series:
    """Points (`ts` µs never stepping back, `value`) under a `name`, drawn as `style` in colour number `colour`.

    Styles: "line", "step" (a value holds until the next), "faint" (a line behind the others without a readout), "low"
    and "high" (the edges of a band), and marks: "buy-maker", "buy-taker", "sell-maker", "sell-taker".
    """

    name: str
    ts: np.ndarray
    value: np.ndarray
    style: str = "line"
    colour: int = 0

    def as_dict(self, first_us: int, buckets: int) -> dict[str, Any]:
        """JSON-ready, of at most 4 `buckets` points; `of` says of how many when some were left out."""
        finite = np.isfinite(self.value)
        ts, value = self.ts[finite], np.asarray(self.value[finite], np.float64)
        chosen = kept(ts, value, buckets)
        out = {"name": self.name, "style": self.style, "colour": self.colour,
               "t": packed(ts[chosen] - first_us), "v": packed(value[chosen])}  # fmt: skip
        return out if len(chosen) == len(ts) else {**out, "of": len(ts)}


@dataclass(slots=True)
class Chart:
    """Series over time under one scale; `unit` is what its values are counted in."""

    title: str
    unit: str
    series: list[Series]
    spans: np.ndarray
    """Shape (n, 2): stretches (µs) that are shaded because the book was not known."""
    note: str = ""
    tall: bool = False
    places: int | None = None
    """Decimals of the values at the cursor; chosen by their range when None."""


@dataclass(slots=True)
class Charts:
    """The charts of a page, which share one axis of time from `first_us` to `last_us`."""

    first_us: int
    last_us: int
    charts: list[Chart] = field(default_factory=list)
    note: str = ""
    """What is left out."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        count = sum(len(chart.series) for chart in self.charts)
        buckets = max(16, min(MOST_BUCKETS, POINTS // KEPT_EACH // max(1, count)))
        return {
            "first": self.first_us,
            "last": self.last_us,
            "charts": [
                {
                    "title": chart.title,
                    "unit": chart.unit,
                    "places": chart.places,
                    "spans": packed((merged(chart.spans, MOST_SPANS) - self.first_us).ravel()),
                    "series": [series.as_dict(self.first_us, buckets) for series in chart.series],
                }
                for chart in self.charts
            ],
        }


def blind_spans(curve: Curve) -> np.ndarray:
    """Stretches (µs) in which the curve cannot be trusted, shape (n, 2)."""
    doubtful = np.concatenate([[0], (~curve.valid).astype(np.int64), [0]])
    turns = np.diff(doubtful)
    starts, ends = np.flatnonzero(turns == 1), np.flatnonzero(turns == -1)
    return np.column_stack([curve.ts[starts], curve.ts[np.minimum(ends, len(curve.ts) - 1)]])


def merged(spans: np.ndarray, most: int) -> np.ndarray:
    """At most `most` spans that cover all of `spans` (ascending, disjoint): the narrowest pauses are closed."""
    if len(spans) <= most:
        return spans
    pauses = spans[1:, 0] - spans[:-1, 1]
    stay = np.sort(np.argsort(pauses, kind="stable")[len(pauses) - most + 1 :])
    return np.column_stack([np.append(spans[0, 0], spans[stay + 1, 0]), np.append(spans[stay, 1], spans[-1, 1])])
