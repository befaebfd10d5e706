"""Aligning two streams: nothing is lost, batches do not matter, and edits are found where they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.alignment import ALIGNED, MOST_WAITING, WINDOW, Aligner, mixed


def rows(values: Sequence[int], times: Sequence[int] | None = None) -> np.ndarray:
    """Rows whose key is a value and whose ident is a time (by default the place)."""
    out = np.zeros(len(values), ALIGNED)
    out["price"] = values
    out["exch_ts"] = out["ts"] = np.arange(len(values)) if times is None else times
    out["key"], out["ident"] = mixed([out["price"]]), mixed([out["exch_ts"]])
    return out


def aligned(a: np.ndarray, b: np.ndarray, step: int = 10**9) -> Aligner:
    """Both sequences, handed over in turn."""
    aligner = Aligner()
    for at in range(0, max(len(a), len(b)), step):
        aligner.push(0, a[at : at + step])
        aligner.push(1, b[at : at + step])
    aligner.finish(-(2**62), 2**62)
    return aligner


def counts(aligner: Aligner) -> tuple[int, int, int, int]:
    return aligner.matched, aligner.missing, aligner.extra, aligner.different


VALUES = st.lists(st.integers(0, 4), max_size=60)


@given(VALUES, VALUES, st.integers(1, 20))
def test_no_row_is_lost_and_batches_do_not_matter(a: list[int], b: list[int], step: int) -> None:
    """Every row is matched, different or alone, however the sequences are cut."""
    whole = aligned(rows(a), rows(b))
    matched, missing, extra, different = counts(whole)
    assert matched + missing + different == len(a)
    assert matched + extra + different == len(b)
    assert counts(aligned(rows(a), rows(b), step)) == counts(whole)


@given(st.integers(0, 2**32 - 1))
def test_edits_are_found(seed: int) -> None:
    """Rows that were removed, added and changed far from each other are told as just that."""
    chance = np.random.default_rng(seed)
    values = chance.permutation(1_000)
    places = (100 * np.arange(1, 10) + chance.integers(0, 50, 9)).tolist()
    what = chance.choice(["missing", "extra", "different"], 9).tolist()
    a, b, times_a, times_b = [], [], [], []
    for place, value in enumerate(values.tolist()):
        kind = what[places.index(place)] if place in places else ""
        if kind != "extra":
            a.append(value)
            times_a.append(place)
        if kind != "missing":
            b.append(value + 5_000 if kind == "different" else value)
            times_b.append(place)
    found = aligned(rows(a, times_a), rows(b, times_b))
    assert counts(found)[1:] == tuple(what.count(kind) for kind in ("missing", "extra", "different"))
    shown = sorted((int(row["exch_ts"]), kind) for kind, row in found.examples)
    assert shown == sorted(zip(places, what))


def test_what_lies_outside_of_the_other_recording_is_forgiven_at_the_edges_only() -> None:
    values = list(range(100))
    a, b = rows(values), rows(values[10:95], values[10:95])
    for start, end, left in ((10, 94, 0), (5, 94, 5), (10, 97, 3)):
        found = Aligner()
        found.push(0, a)
        found.push(1, b)
        found.finish(start, end)
        assert counts(found) == (85, left, 0, 0)
    middle = aligned(a, np.concatenate([b[:40], b[50:]]))
    assert counts(middle) == (75, 25, 0, 0)


@pytest.mark.parametrize("hole", [10, WINDOW - 1, 3 * WINDOW])
def test_holes_near_and_far(hole: int) -> None:
    """A hole within the window is found exactly; a longer one costs the rows that are given up."""
    values = np.arange(10 * WINDOW)
    holed = np.delete(values, slice(5_000, 5_000 + hole))
    found = aligned(rows(values), rows(holed, holed))
    matched, missing, extra, different = counts(found)
    assert matched + missing + different == len(values)
    if hole < WINDOW:
        assert (missing, extra, different) == (hole, 0, 0)
    else:
        assert missing >= hole and matched >= 0


def test_waiting_rows_are_bounded() -> None:
    """A sequence without a partner is given up piece by piece."""
    aligner = Aligner()
    block = rows(list(range(50_000)))
    for _ in range(20):
        aligner.push(0, block)
        assert len(aligner.sides[0]) <= MOST_WAITING
    aligner.finish(-(2**62), 2**62)
    assert counts(aligner) == (0, 1_000_000, 0, 0)


def test_times_between_the_two() -> None:
    values = list(range(50))
    later = rows(values)
    later["ts"] += 7
    later["ts"][3] += 1
    found = aligned(rows(values), later)
    assert found.later_us == {"ts": [7, 7 * 50 + 1, 8], "exch_ts": [0, 0, 0]}
