"""Filing rows against NumPy and plain Python: numbers, faults, counts, channels, columns."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.events import BAD_TS, BOOK, CLEAR, EVENT, GAP, LAST, OFF_TICK, SNAPSHOT, TRADE
from replay.kernel import filing

CHANNEL_OF = np.full(128, -1)
CHANNEL_OF[[BOOK, GAP, TRADE]] = 0, 0, 1

ROW = st.tuples(
    st.integers(0, 2),  # step of ts
    st.sampled_from([BOOK, BOOK, TRADE, GAP]),
    st.sets(st.sampled_from([LAST, SNAPSHOT, CLEAR, OFF_TICK, BAD_TS])).map(sum),
    st.integers(-(2**40), 2**40),
    st.integers(0, 1),
)
ROWS = st.lists(ROW, min_size=1, max_size=30)


def events_of(rows: list[tuple[int, ...]]) -> np.ndarray:
    """EVENT rows, every field filled."""
    events = np.zeros(len(rows), EVENT)
    events["pad2"] = events["pad4"] = events["source"] = 7
    steps, events["kind"], events["flags"], events["price"], events["instrument"] = map(list, zip(*rows))
    events["ts"] = np.cumsum(steps)
    events["exch_ts"] = events["ts"] - events["price"] % 5
    events["qty"], events["seq"], events["value"] = -events["price"], events["price"] + 1, events["price"] // 3
    events["side"] = np.sign(events["price"])
    return events


@given(rows=ROWS, first=st.integers(0, 9))
def test_numbers(rows: list[tuple[int, ...]], first: int) -> None:
    """A row's number is `first` and as many as messages ended before it."""
    events = events_of(rows)
    numbers = np.empty(len(events), np.int64)
    after, low, high = filing.number(events, first, numbers)
    ends = [bool(flags & LAST) for flags in events["flags"].tolist()]
    assert numbers.tolist() == [first + sum(ends[:i]) for i in range(len(ends))]
    assert after == first + sum(ends)
    assert (low, high) == (events["instrument"].min(), events["instrument"].max())


@given(rows=ROWS, back=st.none() | st.integers(0, 29), last_us=st.integers(0, 2), wrong=st.none() | st.integers(0, 29))
def test_check(rows: list[tuple[int, ...]], back: int | None, last_us: int, wrong: int | None) -> None:
    """The fault with the smallest code of all that are there."""
    events = events_of(rows)
    numbers = np.empty(len(events), np.int64)
    filing.number(events, 0, numbers)
    if back is not None:
        events["ts"][back % len(rows)] -= 1
    if wrong is not None:
        numbers[wrong % len(rows)] += 1
    ts, ends, owners = events["ts"].tolist(), (events["flags"] & LAST).tolist(), events["instrument"].tolist()
    pairs = range(1, len(rows))
    faults = {
        filing.BACKSTEP: ts[0] < last_us or any(ts[i] < ts[i - 1] for i in pairs),
        filing.OPEN_END: not ends[-1],
        filing.MIXED_TIMES: any(not ends[i - 1] and ts[i] != ts[i - 1] for i in pairs),
        filing.MIXED_INSTRUMENTS: len(set(owners)) > 1,
        filing.MISNUMBERED: any(
            numbers[i] <= numbers[i - 1] if ends[i - 1] else numbers[i] != numbers[i - 1] for i in pairs
        ),
    }
    expected = min((code for code, there in faults.items() if there), default=filing.SOUND)
    assert filing.check(events, numbers, last_us) == expected


@given(rows=ROWS)
def test_tally(rows: list[tuple[int, ...]]) -> None:
    """Counts are those of NumPy; the first row of a message decides its channel; an unknown kind there is found."""
    events = events_of(rows)
    channels, counts, per_channel = np.full(len(rows), 9, np.int8), np.zeros(7, np.int64), np.zeros(2, np.int64)
    assert filing.tally(events, CHANNEL_OF, channels, counts, per_channel) == -1
    kinds, flags = events["kind"], events["flags"]
    ends = (flags & LAST) != 0
    books = (kinds == BOOK) & ends
    snapshot = (flags & SNAPSHOT) != 0
    expected = {
        filing.MESSAGES: ends,
        filing.DEPTH: books & ~snapshot,
        filing.TRADES: kinds == TRADE,
        filing.SNAPSHOTS: flags & CLEAR,
        filing.OFF_GRID: flags & OFF_TICK,
        filing.BAD_TIMES: flags & BAD_TS,
        filing.NOTED: (kinds == GAP) | (books & snapshot),
    }
    assert counts.tolist() == [np.count_nonzero(expected[code]) for code in range(7)]
    firsts = np.append(0, np.flatnonzero(ends[:-1]) + 1)
    of_row = [CHANNEL_OF[kinds[firsts[firsts <= i][-1]]] for i in range(len(rows))]
    assert channels.tolist() == of_row
    assert per_channel.tolist() == [of_row.count(0), of_row.count(1)]
    for unknown in (0, -3):
        events["kind"][firsts[-1]] = unknown
        assert filing.tally(events, CHANNEL_OF, channels, counts, per_channel) == firsts[-1]


@given(rows=ROWS, room=st.integers(1, 7), group=st.integers(1, 40), factors=st.tuples(*[st.sampled_from([1, 5])] * 2))
def test_take(rows: list[tuple[int, ...]], room: int, group: int, factors: tuple[int, int]) -> None:
    """Records, columns and facts of a channel, whatever the room."""
    events = events_of(rows)
    numbers, channels = np.arange(len(rows)), (np.arange(len(rows)) % 3 == 0).astype(np.int8)
    columns = {name: np.zeros((group, *filing.COLUMNS[name].shape), filing.COLUMNS[name].base)
               for name in filing.COLUMNS.names or ()}  # fmt: skip
    records, facts = np.zeros(room, EVENT), filing.new_facts()
    at, start, found = 0, 0, []
    while start < len(rows) and at < group:
        start, taken = filing.take(
            events, numbers, channels, start, 1, at, *factors, facts[0], records, *columns.values()
        )
        found.append(records[:taken].copy())
        at += taken
    own = np.flatnonzero(channels)[:group]
    expected = events[own].copy()
    for field in ("instrument", "source", "pad2", "pad4"):
        expected[field] = 0
    assert np.concatenate(found).tobytes() == expected.tobytes()
    assert at == len(own) == facts["rows"][0]
    for name, values in columns.items():
        if name in ("price", "qty"):
            whole = [int(low) % 2**64 + 2**64 * int(high) for low, high in values[:at]]
            assert whole == [int(v) * factors[name == "qty"] for v in expected[name]]
        else:
            assert values[:at].tolist() == (numbers[own] if name == "message" else expected[name]).tolist()
    assert facts["low"][0].tolist() == [expected[name].min() for name in filing.WATCHED]
    assert facts["high"][0].tolist() == [expected[name].max() for name in filing.WATCHED]
    assert facts["latency_us"][0] == max(0, *(expected["ts"] - expected["exch_ts"]).tolist())
    assert facts["messages"][0] == np.count_nonzero(expected["flags"] & LAST)
