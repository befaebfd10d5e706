"""The queue between a live feed and a run: what conflation may and may not leave out."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.live.backlog import Backlog, conflate
from replay.events import BOOK, CLEAR, GAP, LAST, LIQUIDATION, QUOTE, SNAPSHOT, TRADE, empty_events


def message(kind: int, ts: int, instrument: int, rows: list[tuple[int, int, int]], flags: int = 0) -> np.ndarray:
    """A message of (price, qty, side) rows."""
    out = empty_events(len(rows))
    out["kind"], out["ts"], out["exch_ts"], out["seq"], out["instrument"] = kind, ts, ts - 1, ts, instrument
    for i, row in enumerate(rows):
        out["price"][i], out["qty"][i], out["side"][i] = row
    out["flags"] = flags
    if flags & SNAPSHOT:
        out["flags"][0] |= CLEAR
    out["flags"][-1] |= LAST
    return out


def books(rows: np.ndarray) -> dict[int, tuple[dict[tuple[int, int], int], bool]]:
    """The books that rows lead to, and whether each is valid, starting from valid books with one level a side."""
    out = {i: ({(1, 10): 7, (-1, 20): 7}, True) for i in range(3)}
    for row in rows:
        levels, valid = out[int(row["instrument"])]
        if row["kind"] == GAP:
            valid = False
        elif row["kind"] == BOOK:
            if row["flags"] & CLEAR:
                levels = {}
            if row["side"]:
                levels = {**levels, (int(row["side"]), int(row["price"])): int(row["qty"])}
                levels = {key: size for key, size in levels.items() if size}
            valid = valid or bool(row["flags"] & SNAPSHOT and row["flags"] & LAST)
        out[int(row["instrument"])] = levels, valid
    return out


LEVELS = st.lists(st.tuples(st.integers(8, 22), st.integers(0, 3), st.sampled_from((1, -1))), min_size=1, max_size=4)
MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(("delta", "delta", "delta", "empty", "snapshot", "gap", "trade", "quote", "liquidation")),
        st.integers(0, 2), LEVELS,
    ),
    min_size=1, max_size=40,
)  # fmt: skip


def build(drawn: list[tuple[str, int, list[tuple[int, int, int]]]]) -> np.ndarray:
    """Rows as a sequencer makes them: after a gap nothing but a snapshot changes the book."""
    parts, broken = [], set()
    for ts, (what, i, levels) in enumerate(drawn, 1_000):
        if what in ("delta", "empty") and i in broken:
            continue
        if what == "gap":
            broken.add(i)
        if what == "snapshot":
            broken.discard(i)
            levels = [(price, size + 1, side) for price, size, side in levels]
        kind = {"trade": TRADE, "quote": QUOTE, "gap": GAP, "liquidation": LIQUIDATION}.get(what, BOOK)
        rows = {"empty": [(0, 0, 0)], "gap": [(0, 0, 0)], "quote": [(1, 1, 1), (2, 1, -1)]}.get(what, levels)
        if kind in (TRADE, LIQUIDATION):
            rows = rows[:1]
        parts.append(message(kind, ts, i, rows, SNAPSHOT if what == "snapshot" else 0))
    return np.concatenate(parts) if parts else empty_events(0)


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_conflated_rows_lead_to_the_same_books_and_keep_everything_else(drawn) -> None:
    """Books and validity come out equal; trades, liquidations and gaps stay as they are; times never step back."""
    rows = build(drawn)
    if not len(rows):
        return
    before = rows.copy()
    fewer, merged = conflate(rows)
    assert rows.tobytes() == before.tobytes()
    assert books(fewer) == books(rows)
    others = [(part["kind"] != BOOK) & (part["kind"] != QUOTE) for part in (rows, fewer)]
    assert fewer[others[1]].tobytes() == rows[others[0]].tobytes()
    assert (np.diff(fewer["ts"]) >= 0).all()
    ended = (fewer["flags"] & LAST) != 0
    assert ended[-1]
    for i in range(3):
        for kind in (BOOK, QUOTE):
            mine = (fewer["kind"] == kind) & (fewer["instrument"] == i)
            assert np.count_nonzero(ended & mine) <= 1
        quotes = [part[(part["kind"] == QUOTE) & (part["instrument"] == i)][-2:] for part in (rows, fewer)]
        assert quotes[0].tobytes() == quotes[1].tobytes()
    kept = np.count_nonzero(ended)
    assert kept + merged.total() == np.count_nonzero(rows["flags"] & LAST)


def deltas(count: int, first_ts: int = 0, step_us: int = 1) -> list[np.ndarray]:
    """One-level book messages."""
    return [message(BOOK, first_ts + k * step_us, 0, [(k % 50, 1 + k, 1)]) for k in range(count)]


def test_nothing_is_conflated_while_the_run_keeps_up() -> None:
    backlog = Backlog(max_rows=100_000, max_lag_us=1_000_000)
    sent = deltas(5_000)
    backlog.put(sent)
    backlog.close()
    got = []
    while (taken := backlog.take(64)) is not None:
        got.append(taken[0])
    assert np.concatenate(got).tobytes() == np.concatenate(sent).tobytes()
    assert not backlog.events


def test_a_slow_run_gets_the_latest_book_and_every_trade() -> None:
    backlog = Backlog(max_rows=100_000, max_lag_us=1_000)
    trades = [message(TRADE, 20 * k, 0, [(5, 1, 1)]) for k in range(500)]
    everything = sorted([*deltas(10_000), *trades], key=lambda rows: rows["ts"][0])
    for part in everything:
        backlog.put([part])
    backlog.close()
    got = []
    while (taken := backlog.take(512)) is not None:
        got.append(taken[0])
    rows = np.concatenate(got)
    assert np.count_nonzero(rows["kind"] == TRADE) == len(trades)
    assert books(rows) == books(np.concatenate(everything))
    left = np.count_nonzero(rows["kind"] == BOOK)
    assert left < 5_000
    assert backlog.events["book messages conflated"] > 5_000


def test_trades_that_fill_the_queue_are_kept_and_it_says_that_it_is_full() -> None:
    backlog = Backlog(max_rows=2_000, max_lag_us=1_000_000)
    backlog.put([message(TRADE, k, 0, [(5, 1, 1)]) for k in range(3_000)])
    assert backlog.full
    assert backlog.rows == 3_000
    while backlog.full:
        backlog.take(500)
    assert backlog.rows == 2_000


def test_times_are_told_only_when_nothing_waits_and_each_once() -> None:
    backlog = Backlog(10, 10)
    backlog.put(deltas(1))
    backlog.reach(5_000)
    assert len(backlog.take(10)[0]) == 1
    rows, reached_ns = backlog.take(10)
    assert (len(rows), reached_ns) == (0, 5_000)
    backlog.close()
    assert backlog.take(10) is None


def test_a_waiting_reader_is_woken() -> None:
    backlog, got = Backlog(10, 10), []
    reader = threading.Thread(target=lambda: got.append(backlog.take(10)))
    reader.start()
    backlog.put(deltas(1))
    reader.join(30)
    assert len(got[0][0]) == 1
