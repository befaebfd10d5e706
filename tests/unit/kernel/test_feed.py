"""Windows of sources: order on both sides, any cut into batches, refusals."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.engine import Replay
from replay.events import BOOK, FUNDING, GAP, LAST, LIQUIDATION, MARK, QUOTE, TRADE, empty_events
from replay.instruments import Instrument
from replay.kernel.feed import NO_ROOM, OUT_OF_ORDER, append
from replay.kernel.merge import NEVER, merge_check
from replay.kernel.state import Arena
from replay.sources import ArraySource
from replay.strategy import Strategy

ONE = Instrument("test", "X", "linear", Decimal(1), Decimal(1))
HORIZON = 50
MAP = np.array([0], np.int64)


def arena_of(sources: int = 1, horizon_us: int = HORIZON, row_cap: int = 0) -> Arena:
    """An engine's arena with empty windows."""
    nothing = [ArraySource(empty_events(0), [ONE], f"s{k}") for k in range(sources)]
    arena = Replay(nothing, batch_rows=64).session(Strategy()).arena
    arena["sources"]["horizon_us"] = horizon_us
    if row_cap:
        arena["sources"]["row_cap"] = row_cap
    return arena


def events(rows: list[tuple[int, int, int]]) -> np.ndarray:
    """One-row messages from (ts, exch_ts, kind)."""
    out = empty_events(len(rows))
    out["flags"] = LAST
    out["seq"] = np.arange(len(rows))
    out["ts"], out["exch_ts"], out["kind"] = np.array(rows, np.int64).reshape(-1, 3).T
    return out


def venue_sorted(rows: np.ndarray) -> list[int]:
    """Ids of the messages that matter to the venue, in its order."""
    kept = [r for r in rows if r["kind"] not in (QUOTE, LIQUIDATION)]
    return [int(r["seq"]) for r in sorted(kept, key=lambda r: (r["exch_ts"], r["ts"], r["kind"] == BOOK))]


def pass_over(arena: Arena, s: int, local: int, venue: int) -> tuple[list[int], list[int]]:
    """Move the cursors of source `s` by up to so many messages; ids of what they passed."""
    record = arena["sources"][s]
    seen, matched = [], []
    while local and record["local_pos"] < record["local_end"]:
        seen.append(int(arena["rows"][record["row0"] + record["local_pos"]]["seq"]))
        record["local_pos"] += 1
        local -= 1
    while venue and record["venue_pos"] < record["venue_end"]:
        row = arena["venue_order"][record["order0"] + record["venue_pos"]]
        matched.append(int(arena["rows"][record["row0"] + row]["seq"]))
        record["venue_pos"] += 1
        venue -= 1
    return seen, matched


KINDS = st.sampled_from([BOOK, TRADE, QUOTE, LIQUIDATION, MARK, FUNDING, GAP])
STREAMS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, HORIZON), KINDS), max_size=60)


@given(STREAMS, st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=9))
def test_any_cut_gives_both_orders(stream: list, steps: list[tuple[int, int, int]]) -> None:
    """Receipt order here, venue order there, whatever the batches and however far the cursors are in between."""
    ts = np.cumsum([1_000, *[step for step, _, _ in stream]])[1:]
    data = events([(int(t), int(t) - late, kind) for t, (_, late, kind) in zip(ts, stream)])
    arena, at, step = arena_of(), 0, 0
    local: list[int] = []
    venue: list[int] = []
    while at < len(data):
        rows, here, there = steps[step % len(steps)]
        rows = max(rows, 1)
        assert append(arena.bytes, 0, data[at : at + rows].copy(), MAP, 0) == 0
        at, step = at + rows, step + 1
        seen, matched = pass_over(arena, 0, here, there)
        local, venue = local + seen, venue + matched
    assert append(arena.bytes, 0, empty_events(0), MAP, 1) == 0
    seen, matched = pass_over(arena, 0, len(data), len(data))
    assert local + seen == list(range(len(data)))
    assert venue + matched == venue_sorted(data)


def test_equal_venue_times_put_the_earlier_receipt_and_then_trades_first() -> None:
    arena = arena_of()
    data = events([(100, 90, BOOK), (101, 90, BOOK), (101, 90, TRADE), (102, 89, BOOK)])
    assert append(arena.bytes, 0, data, MAP, 1) == 0
    assert pass_over(arena, 0, 0, 9)[1] == [3, 0, 2, 1]


def test_what_a_later_row_could_precede_is_not_released() -> None:
    arena = arena_of()
    data = events([(100, 60, TRADE), (120, 70, TRADE), (120, 119, TRADE)])
    assert append(arena.bytes, 0, data, MAP, 0) == 0
    # A row still to come may carry a venue time of 70 = 120 - HORIZON; 60 is final, an equal 70 is not.
    assert pass_over(arena, 0, 0, 9)[1] == [0]
    assert append(arena.bytes, 0, events([(120, 70, BOOK)]), MAP, 1) == 0
    assert arena["sources"][0]["venue_end"] - arena["sources"][0]["venue_pos"] == 3


def test_only_the_first_row_of_a_message_is_listed() -> None:
    arena = arena_of()
    data = events([(100, 95, BOOK)] * 3 + [(101, 94, TRADE)])
    data["flags"][:2] = 0
    assert append(arena.bytes, 0, data, MAP, 1) == 0
    assert pass_over(arena, 0, 0, 9)[1] == [3, 0]


def test_rows_are_labelled_with_source_and_instrument() -> None:
    arena = arena_of(2)
    data = events([(100, 95, TRADE)])
    assert append(arena.bytes, 1, data, np.array([7], np.int64), 0) == 0
    row = arena["rows"][arena["sources"][1]["row0"]]
    assert (row["source"], row["instrument"]) == (1, 7)
    assert data["source"][0] == 0


def test_cursor_keys() -> None:
    arena = arena_of(2)
    assert append(arena.bytes, 1, events([(100, 95, BOOK), (160, 159, TRADE)]), MAP, 0) == 0
    local, venue = arena["local_cursors"], arena["venue_cursors"]
    assert local[1].tolist() == (100, 1, 0)
    assert venue[1].tolist() == (95, 100, 1 << 32 | 1)
    pass_over(arena, 1, 2, 2)
    assert append(arena.bytes, 1, empty_events(0), MAP, 0) == 0
    # The window of this side is used up: nothing can come before the last receipt, or before the horizon.
    assert local[1]["time"] == 160
    assert venue[1].tolist() == (160 - HORIZON, 0, 1)
    assert append(arena.bytes, 1, empty_events(0), MAP, 1) == 0
    assert local[1]["time"] == NEVER
    assert venue[1].tolist() == (159, 160, 1)
    pass_over(arena, 1, 9, 9)
    assert append(arena.bytes, 1, empty_events(0), MAP, 1) == 0
    assert venue[1]["time"] == NEVER
    for cursors, heap in ((local, "local_heap"), (venue, "venue_heap")):
        assert merge_check(cursors, arena[heap], 2) == 0


def test_a_full_window_changes_nothing() -> None:
    arena = arena_of(row_cap=4)
    assert append(arena.bytes, 0, events([(100, 95, TRADE)] * 3), MAP, 0) == 0
    before = arena.bytes.tobytes()
    assert append(arena.bytes, 0, events([(101, 96, TRADE)] * 2), MAP, 0) == NO_ROOM
    assert arena.bytes.tobytes() == before
    pass_over(arena, 0, 3, 0)
    assert append(arena.bytes, 0, events([(101, 96, TRADE)] * 2), MAP, 0) == NO_ROOM, "the venue side still needs them"


@pytest.mark.parametrize("bad", [(99, 95), (100, 49)])
def test_a_broken_promise_is_told(bad: tuple[int, int]) -> None:
    arena = arena_of()
    assert append(arena.bytes, 0, events([(100, 50, TRADE)]), MAP, 0) == 0
    assert append(arena.bytes, 0, events([(*bad, TRADE)]), MAP, 0) == OUT_OF_ORDER
