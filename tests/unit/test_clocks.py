"""The lower envelope of clock differences, against brute force and against clocks that drift in a known way."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.clocks import LeastLags, supporting_line
from replay.units import US_PER_MIN, US_PER_S


@given(st.dictionaries(st.integers(0, 200), st.integers(-50, 50), min_size=2, max_size=12))
def test_the_line_is_the_highest_below_all_points(found: dict[int, int]) -> None:
    """No line through two points that lies above no point is higher at the mean time."""
    points = sorted(found.items())
    at = sum(time for time, _ in points) / len(points)
    value, slope = supporting_line(points, at)
    assert all(lag >= value + slope * (time - at) - 1e-6 for time, lag in points)
    best = -1e9
    for (t0, lag0), (t1, lag1) in combinations(points, 2):
        line = (lag1 - lag0) / (t1 - t0)
        if all(lag >= lag0 + line * (time - t0) - 1e-9 for time, lag in points):
            best = max(best, lag0 + line * (at - t0))
    assert value == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("ppm", [-40.0, 0.0, 5.0])
def test_a_drifting_clock_is_followed(ppm: float) -> None:
    """Offset and drift come out although messages are late by anything from 0 on, in any cut of the rows."""
    chance = np.random.default_rng(3)
    exch = np.sort(chance.integers(0, 36 * US_PER_MIN, 60_000))
    late = 7_000 + exch * ppm / 1e6 + chance.exponential(2_000, len(exch))
    ts = exch + np.round(late).astype(np.int64)
    order = np.argsort(ts, kind="stable")
    ts, exch = ts[order], exch[order]
    whole, cut = LeastLags(), LeastLags()
    whole.push(ts, exch)
    for at in range(0, len(ts), 777):
        cut.push(ts[at : at + 777], exch[at : at + 777])
    pieces = whole.envelope()
    assert cut.envelope() == pieces and len(pieces) == 4
    for piece in pieces:
        assert piece.offset_us == pytest.approx(7_000 + piece.time_us * ppm / 1e6, abs=60)
        assert piece.drift_ppm == pytest.approx(ppm, abs=0.5)
        for time_us in (piece.start_us, piece.end_us):
            assert piece.offset_at(time_us) == pytest.approx(7_000 + time_us * ppm / 1e6, abs=300)


def test_few_points_tell_no_drift_and_a_short_rest_joins() -> None:
    lags = LeastLags()
    lags.push(np.array([5, 2 * US_PER_S]), np.array([0, 2 * US_PER_S - 50]))
    (piece,) = lags.envelope()
    assert (piece.offset_us, piece.drift_ppm) == (5.0, 0.0)
    times = np.arange(0, 14 * US_PER_MIN, US_PER_S)
    lags = LeastLags()
    lags.push(times, times - 3)
    (piece,) = lags.envelope()
    assert (piece.start_us, piece.end_us, piece.offset_us) == (0, int(times[-1]), 3.0)
    assert LeastLags().envelope() == []
