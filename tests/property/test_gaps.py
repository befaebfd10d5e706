"""Gap machine, ring and release together against a plain model."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adapters.sequencing import Repair, Sequencer, Timing
from replay.events import BOOK, GAP, GAP_BEFORE, LAST, SNAPSHOT
from replay.instruments import Instrument
from replay.kernel import gaps, scan
from replay.kernel.lexer import LEVEL
from tests.oracles.gaps import GapModel

INSTRUMENT = Instrument("test", "X", "linear", Decimal(1), Decimal(1))
START_NS = 1_700_000_000_000_000_000


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, int, int, int]]:
    """A stream of deltas and snapshots with losses, repeats, overlaps and contradictions."""
    out = []
    last = 100
    for _ in range(draw(st.integers(1, 40))):
        what = draw(st.sampled_from(["delta"] * 6 + ["hole", "repeat", "overlap", "snapshot", "snapshot"]))
        if what == "snapshot":
            out.append(("snapshot", 0, last + draw(st.integers(-6, 4)), 0))
            continue
        if what == "repeat":
            out.append(draw(st.sampled_from([row for row in out if row[0] == "delta"] or [("delta", 1, 2, 0)])))
            continue
        prev = last + (draw(st.integers(1, 3)) if what == "hole" else 0)
        first = prev + 1 - (draw(st.integers(1, 2)) if what == "overlap" else 0)
        last = prev + draw(st.integers(1, 4))
        out.append(("delta", first, last, prev))
    return out


def table(stream: list[tuple[str, int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """The stream as scanner tables, one bid level per message."""
    messages = np.zeros(len(stream), scan.MESSAGE)
    levels = np.zeros(len(stream), LEVEL)
    for i, (kind, first, last, prev) in enumerate(stream):
        levels[i] = (last, 1, 0, 0)
        messages[i] = (START_NS + i * 1_000_000, START_NS // 1000 + i * 1000, first, last, prev, 0, i, 0, 1, 0, i, 0,
                       scan.SNAPSHOT if kind == "snapshot" else scan.DEPTH, 0)  # fmt: skip
    return messages, levels


def events_of(sequencer: Sequencer, stream: list[tuple[str, int, int, int]], rows: int) -> np.ndarray:
    """All rows, taken in batches of `rows`."""
    messages, levels = table(stream)
    parts = [batch.copy() for batch in sequencer.push(messages, len(messages), levels, rows)]
    parts += [batch.copy() for batch in sequencer.flush()]
    return np.concatenate(parts) if parts else np.zeros(0)


def described(events: np.ndarray) -> list[tuple]:
    """Rows in the words of the model."""
    out = []
    for row in events:
        flags = int(row["flags"])
        assert flags & LAST
        if row["kind"] == GAP:
            out.append(("gap", int(row["seq"]), int(row["value"])))
            continue
        assert row["kind"] == BOOK
        assert row["price"] == row["seq"]
        name = "snapshot" if flags & SNAPSHOT else "bridged" if flags & GAP_BEFORE else "delta"
        out.append((name, int(row["seq"])))
    return out


@given(streams(), st.booleans(), st.booleans())
def test_sequencer_does_what_the_model_does(stream: list, futures: bool, bridge: bool) -> None:
    """For any stream the rows, their order and every count equal those of the plain model."""
    model = GapModel(futures, bridge)
    for kind, first, last, prev in stream:
        if kind == "snapshot":
            model.snapshot(last)
        else:
            model.delta((first, last, prev))
    rule = gaps.BINANCE_FUTURES if futures else gaps.BINANCE_SPOT
    sequencer = Sequencer([INSTRUMENT], rule, Timing(), repair=Repair("bridge" if bridge else "wait"))
    assert described(events_of(sequencer, stream, 4096)) == model.out
    sequencer.check()
    q = sequencer.quality.of("test:X")
    assert (q.applied, q.stale, q.duplicates, q.breaks) == (model.applied, model.stale, model.duplicates, model.breaks)
    assert (q.snapshots_refused, q.book_state) == (model.refused, model.state)
    assert sum(q.anomalies.values()) == model.ignored


@given(streams(), st.booleans(), st.integers(1, 7))
def test_rows_do_not_depend_on_the_batch_size(stream: list, futures: bool, rows: int) -> None:
    """Stopping after any few rows and going on gives the same rows."""
    rule = gaps.BINANCE_FUTURES if futures else gaps.BINANCE_SPOT
    whole = events_of(Sequencer([INSTRUMENT], rule, Timing()), stream, 4096)
    parts = events_of(Sequencer([INSTRUMENT], rule, Timing()), stream, rows)
    assert whole.tobytes() == parts.tobytes()


@given(streams(), st.booleans())
def test_times_never_step_back_and_gaps_are_closed_by_snapshots(stream: list, futures: bool) -> None:
    """Rows are in order on both clocks, and each gap of the report ends at the snapshot that follows its row."""
    rule = gaps.BINANCE_FUTURES if futures else gaps.BINANCE_SPOT
    sequencer = Sequencer([INSTRUMENT], rule, Timing())
    events = events_of(sequencer, stream, 4096)
    if len(events):
        assert (np.diff(events["ts"]) >= 0).all()
        assert (np.diff(events["exch_ts"]) >= 0).all()
    opened = [int(row["ts"]) for row in events if row["kind"] == GAP]
    reported = sequencer.quality.gaps
    assert [gap.start_us for gap in reported] == opened
    for gap, row in zip(reported, [i for i, row in enumerate(events) if row["kind"] == GAP]):
        later = events[row + 1 :]
        closing = later[(later["flags"] & SNAPSHOT) > 0]
        assert gap.end_us == (int(closing["ts"][0]) if len(closing) else None)
        assert gap.repair == ("snapshot" if len(closing) else "")
