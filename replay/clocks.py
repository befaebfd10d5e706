"""The recorder's clock against the venue's, over time, from the times of receipt alone.

A message is received after it was made, so `ts - exch_ts` is the offset of the clocks plus a way that is never
shorter than the fastest one.  The offset shows in the lower envelope: in each piece of time the straight line below all
points that lies nearest to them on average.  That line is the edge of the lower convex hull over the points' mean time,
because a line below all points has its mean distance at that time.  Its slope is the drift of the clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from replay.units import US_PER_MIN, US_PER_S

BIN_US = US_PER_S
PIECE_US = 10 * US_PER_MIN
LEAST_POINTS = 10
"""Seconds with messages without which a piece tells no drift."""
Point = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ClockPiece:
    """One piece of the envelope: `offset_us` at `time_us`, the mean time of its points, and how it changes.

    The offset is local time minus venue time, with the fastest way in it; `drift_ppm` is µs a second.
    """

    start_us: int
    end_us: int
    time_us: int
    offset_us: float
    drift_ppm: float

    def offset_at(self, time_us: int) -> float:
        """The offset on the line of this piece, µs."""
        return self.offset_us + self.drift_ppm * (time_us - self.time_us) / 1e6


class LeastLags:
    """The least `ts - exch_ts` of each second, where it is first."""

    def __init__(self) -> None:
        self.found: dict[int, Point] = {}

    def push(self, ts: np.ndarray, exch_ts: np.ndarray) -> None:
        """Take rows, `ts` ascending."""
        lags, bins = ts - exch_ts, ts // BIN_US
        order = np.lexsort((lags, bins))
        least = order[np.flatnonzero(np.append(1, np.diff(bins)))]
        for which, time, lag in zip(bins[least].tolist(), ts[least].tolist(), lags[least].tolist()):
            if which not in self.found or lag < self.found[which][1]:
                self.found[which] = time, lag

    def envelope(self, piece_us: int = PIECE_US) -> list[ClockPiece]:
        """The lower envelope in pieces of `piece_us` from the first point on; a rest of less than half is joined."""
        pieces: list[list[Point]] = []
        for point in sorted(self.found.values()):
            if not pieces or point[0] - pieces[-1][0][0] >= piece_us:
                pieces.append([])
            pieces[-1].append(point)
        if len(pieces) > 1 and pieces[-1][-1][0] - pieces[-1][0][0] < piece_us // 2:
            rest = pieces.pop()
            pieces[-1] += rest
        return [_piece(points) for points in pieces]


def _piece(points: list[Point]) -> ClockPiece:
    mean = sum(time for time, _ in points) / len(points)
    offset, slope = supporting_line(points, mean)
    if len(points) < LEAST_POINTS:
        offset, slope = float(min(lag for _, lag in points)), 0.0
    return ClockPiece(points[0][0], points[-1][0], round(mean), offset, slope * 1e6)


def supporting_line(points: Sequence[Point], at: float) -> tuple[float, float]:
    """(value at `at`, slope) of the highest line there that is above no point; times ascend, `at` is between them."""
    hull: list[Point] = []
    for point in points:
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    if len(hull) == 1:
        return float(hull[0][1]), 0.0
    k = next(k for k in range(1, len(hull)) if hull[k][0] >= at or k == len(hull) - 1)
    (t0, lag0), (t1, lag1) = hull[k - 1], hull[k]
    slope = (lag1 - lag0) / (t1 - t0)
    return lag0 + slope * (at - t0), slope


def _turns_down(a: Point, b: Point, c: Point) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])
