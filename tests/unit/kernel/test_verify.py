"""The streaming checks against the slow oracle: any interleaving, any cut into batches, small rings."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.events import BOOK, CLEAR, EVENT, GAP, LAST, QUOTE, SNAPSHOT, TRADE
from replay.kernel.book import grow_book, make_books
from replay.kernel.verify import DELTAS, QUOTES, Checks, check_batch, check_checks, finish, make_checks
from tests.oracles.verify import expected

Row = tuple[int, int, int, int, int, int]
"""kind, side, price, qty, seq, flags"""

sizes = st.sampled_from([0, 1, 1, 2])
prices = st.integers(1, 6)
sides = st.sampled_from([1, -1])


def events_of(rows: list[tuple[int, Row]]) -> np.ndarray:
    """EVENT records from (instrument, row) pairs, one µs apart."""
    events = np.zeros(len(rows), EVENT)
    for event, (at, (instrument, row)) in zip(events, enumerate(rows)):
        event["ts"] = event["exch_ts"] = at
        event["instrument"] = instrument
        for name, value in zip(("kind", "side", "price", "qty", "seq", "flags"), row):
            event[name] = value
    return events


@st.composite
def book_messages(draw: st.DrawFn) -> list[list[Row]]:
    """Snapshots, deltas whose ids do not step back, gaps."""
    messages: list[list[Row]] = []
    u = 0
    for _ in range(draw(st.integers(0, 25))):
        what = draw(st.sampled_from(["delta"] * 8 + ["snapshot", "gap"]))
        levels = draw(st.lists(st.tuples(sides, prices, sizes), max_size=4))
        u += draw(st.integers(0, 3))
        if what == "gap":
            messages.append([(GAP, 0, 0, 0, u, LAST)])
            continue
        flags = SNAPSHOT if what == "snapshot" else 0
        rows = [(BOOK, side, price, qty, u, flags) for side, price, qty in levels] or [(BOOK, 0, 0, 0, u, flags)]
        if flags:
            rows[0] = (*rows[0][:5], flags | CLEAR)
        rows[-1] = (*rows[-1][:5], rows[-1][5] | LAST)
        messages.append(rows)
    return messages


@st.composite
def quote_messages(draw: st.DrawFn) -> list[list[Row]]:
    """Quotes with increasing ids, near those of the book messages."""
    u = 0
    messages = []
    for _ in range(draw(st.integers(0, 25))):
        u += draw(st.integers(1, 3))
        bid, bid_qty, ask, ask_qty = (draw(x) for x in (prices, st.integers(1, 2), prices, st.integers(1, 2)))
        messages.append([(QUOTE, 1, bid, bid_qty, u, 0), (QUOTE, -1, ask, ask_qty, u, LAST)])
    return messages


trade_messages = st.lists(
    st.tuples(sides, prices, st.integers(1, 9), st.integers(1, 20)).map(
        lambda t: [(TRADE, t[0], t[1], t[2], t[3], LAST)]
    ),
    max_size=8,
)


@st.composite
def recordings(draw: st.DrawFn) -> np.ndarray:
    """Two instruments, three channels each, interleaved in any way that keeps each channel's order."""
    channels = [
        (instrument, draw(channel))
        for instrument in (0, 1)
        for channel in (book_messages(), quote_messages(), trade_messages)
    ]
    order = draw(st.permutations([k for k, (_, messages) in enumerate(channels) for _ in messages]))
    readers = [iter(messages) for _, messages in channels]
    return events_of([(channels[k][0], row) for k in order for row in next(readers[k])])


def checked(events: np.ndarray, cuts: list[int], room: int = 1 << 8) -> Checks:
    """The kernels over `events` cut at `cuts`."""
    books, cells = make_books(2, 16)
    checks = make_checks(2, room)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(events)), len(events)]
    for start, stop in pairwise(bounds):
        batch = events[start:stop]
        at = check_batch(batch, 0, books, cells, checks)
        while at < len(batch):
            books, cells = grow_book(books, cells, int(batch[at]["instrument"]))
            at = check_batch(batch, at, books, cells, checks)
        assert check_checks(checks) == 0
    finish(checks)
    assert check_checks(checks) == 0
    return checks


@given(recordings(), st.lists(st.integers(0, 200), max_size=4))
def test_same_as_oracle(events: np.ndarray, cuts: list[int]) -> None:
    """Counts and mismatches equal those of the oracle, whatever the interleaving and the batches."""
    checks = checked(events, cuts)
    for i in (0, 1):
        truth = expected(events, i)
        figures = asdict(truth)
        del figures["mismatches"]
        assert {name: int(checks.counts[i][name]) for name in figures} == figures
        assert checks.counts[i]["overflow"] == checks.counts[i]["out_of_order"] == 0
        logged = [(int(m["book"]["u"]), int(m["quote"]["u"])) for m in checks.log[i][: len(truth.mismatches)]]
        assert logged == truth.mismatches


@given(recordings(), st.integers(1, 4))
def test_small_ring_never_claims_too_much(events: np.ndarray, room: int) -> None:
    """With a ring too small, no more comparisons differ from the truth than `overflow` admits."""
    checks = checked(events, [], room)
    for i in (0, 1):
        truth = expected(events, i)
        count = checks.counts[i]
        assert count["deltas"] == truth.deltas
        if i in settled(events, room):
            for name in ("exact_compared", "exact_matched", "asof_compared", "asof_matched"):
                assert abs(int(count[name]) - getattr(truth, name)) <= count["overflow"], name


def settled(events: np.ndarray, room: int) -> set[int]:
    """Instruments whose first quote came before their ring could fill up with deltas."""
    out = set()
    for i in (0, 1):
        mine = events[events["instrument"] == i]
        first = np.flatnonzero(mine["kind"] == QUOTE)
        before = mine[: first[0]] if len(first) else mine
        if np.count_nonzero((before["kind"] == BOOK) & (before["flags"] & LAST != 0)) <= room:
            out.add(i)
    return out


def snapshot(u: int) -> list[tuple[int, Row]]:
    """A book with 5 × 1 | 7 × 1."""
    return [(0, (BOOK, 1, 5, 1, u, SNAPSHOT | CLEAR)), (0, (BOOK, -1, 7, 1, u, SNAPSHOT | LAST))]


def delta(u: int) -> list[tuple[int, Row]]:
    """A delta that changes nothing."""
    return [(0, (BOOK, 0, 0, 0, u, LAST))]


def quote(u: int, lots: int = 1) -> list[tuple[int, Row]]:
    """A quote of 5 × lots | 7 × 1."""
    return [(0, (QUOTE, 1, 5, lots, u, 0)), (0, (QUOTE, -1, 7, 1, u, LAST))]


def test_a_quote_may_come_late() -> None:
    count = checked(events_of(snapshot(1) + delta(2) + delta(4) + quote(2) + quote(3, 9) + quote(5)), []).counts[0]
    assert (count["exact_compared"], count["exact_matched"]) == (1, 1)
    assert (count["asof_compared"], count["asof_matched"]) == (2, 1)


def test_ids_that_step_back_are_counted_and_not_compared() -> None:
    count = checked(events_of(snapshot(1) + quote(2) + delta(3) + delta(2) + quote(2, 9) + quote(4)), []).counts[0]
    assert count["out_of_order"] == 2
    assert (count["asof_compared"], count["asof_matched"]) == (1, 1)


@pytest.mark.parametrize("what", ["quotes", "deltas"])
def test_a_full_ring_is_counted(what: str) -> None:
    far = [row for u in range(10, 16) for row in (quote(u) if what == "quotes" else delta(u))]
    late = delta(3) if what == "quotes" else quote(12)
    count = checked(events_of(snapshot(1) + quote(2) + far + late), [], room=2).counts[0]
    assert count["overflow"] == (1 if what == "quotes" else 4)


def test_check_finds_broken_rings() -> None:
    checks = checked(events_of(snapshot(1) + quote(2) + quote(3)), [])
    assert checks.counts[0]["holds"] == QUOTES and check_checks(checks) == 0
    checks.ring[0, 1]["u"] = 2
    assert check_checks(checks) == 2
    checks.ring[0, 1]["u"] = 4
    assert check_checks(checks) == 3
    checks.counts[0]["head"] = 1 << 8
    assert check_checks(checks) == 1
    checks.counts[0]["head"] = checks.counts[0]["count"] = checks.counts[0]["holds"] = DELTAS
    checks.counts[0]["asof_matched"] = 1
    assert check_checks(checks) == 4
