"""What `replay.verify` makes of a source: figures as decimals, problems, text and JSON."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest

from replay.events import BOOK, CLEAR, EVENT, LAST, QUOTE, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.sources import ArraySource
from replay.testing import synthetic_events
from replay.verify import Touch, Verification, verify

COIN = Instrument("venue", "COIN", "linear", Decimal("0.10"), Decimal("0.001"))
OTHER = Instrument("venue", "OTHER", "linear", Decimal("5"), Decimal("1"))

ROWS = [
    (BOOK, 1, 1000, 2000, 1, SNAPSHOT | CLEAR, 0),
    (BOOK, -1, 1001, 500, 1, SNAPSHOT | LAST, 0),
    (TRADE, 1, 1001, 100, 70, LAST, 0),
    (TRADE, -1, 1000, 2500, 71, LAST, 0),
    (TRADE, -1, 1000, 10, 73, LAST, 0),
    (BOOK, -1, 1001, 400, 2, LAST, 0),
    (QUOTE, 1, 1000, 2000, 2, 0, 0),
    (QUOTE, -1, 1001, 401, 2, LAST, 0),
    (BOOK, 1, 900, 0, 3, 0, 0),
    (BOOK, -1, 1001, 401, 3, LAST, 0),
]


@pytest.fixture
def found() -> Verification:
    """A book with one wrong size, three trades with a hole in their ids; nothing at all about the other instrument."""
    events = np.zeros(len(ROWS), EVENT)
    for at, (event, row) in enumerate(zip(events, ROWS)):
        event["ts"] = event["exch_ts"] = 1_700_000_000_000_000 + at
        for name, value in zip(("kind", "side", "price", "qty", "seq", "flags", "instrument"), row):
            event[name] = value
    source = ArraySource(events, [COIN, OTHER])
    quality = source.quality.of(COIN.name)
    quality.depth_messages, quality.applied, quality.book_state = 3, 2, "live"
    return verify(source)


def test_figures(found: Verification) -> None:
    check = found.instruments["venue:COIN"]
    assert check.touch == Touch(("100", "2"), ("100.1", "0.401"))
    assert check.levels == (1, 1)
    assert (check.deletes, check.absent_deletes, check.crossed) == (1, 1, 0)
    assert (str(check.bbo_exact), str(check.bbo_asof)) == ("0/1", "1/2")
    assert (check.trades.count, check.trades.first_id, check.trades.last_id) == (3, 70, 73)
    assert (check.trades.buy_qty, check.trades.sell_qty, check.trades.id_gaps) == ("0.1", "2.51", 1)
    other = found.instruments["venue:OTHER"]
    assert other.touch == Touch(None, None) and other.trades.first_id is None and other.problems() == []


def test_mismatches_are_shown(found: Verification) -> None:
    (mismatch,) = found.mismatches
    assert (mismatch.instrument, mismatch.u, mismatch.quote_u) == ("venue:COIN", 2, 2)
    assert mismatch.book.ask == ("100.1", "0.4") and mismatch.quote.ask == ("100.1", "0.401")
    text = "\n".join(found.lines())
    assert "100 × 2 | 100.1 × 0.4\n" in text
    assert text.endswith("venue:COIN: book disagrees with 1 of 2 quotes\nthe recording has the faults above")
    assert not found.clean


def test_json_can_be_read_back(found: Verification) -> None:
    again = json.loads(json.dumps(found.as_dict()))
    assert again["instruments"]["venue:COIN"]["final_ask"] == ["100.1", "0.401"]
    assert again["instruments"]["venue:OTHER"]["final_ask"] is None
    assert again["mismatches"][0]["time"] == "2023-11-14T22:13:20.000005Z"


def test_a_synthetic_market_is_clean_and_batches_do_not_matter() -> None:
    instruments = [COIN, OTHER]
    events = synthetic_events(instruments, seed=3, messages=2_000)
    found = verify(ArraySource(events, instruments))
    for check in found.instruments.values():
        assert check.bbo_asof.matched == check.bbo_asof.compared > 100
        assert check.bbo_exact.compared > 0 and check.problems() == []

    class Small(ArraySource):
        """Batches of few rows."""

        def batches(self, rows: int = 7):  # type: ignore[no-untyped-def]
            return super().batches(rows)

    assert verify(Small(events, instruments)).as_dict() == found.as_dict()


def test_a_wrong_level_is_found() -> None:
    events = synthetic_events(1, seed=3, messages=500)
    at = np.flatnonzero((events["kind"] == BOOK) & (events["flags"] & SNAPSHOT == 0) & (events["qty"] > 0))
    events["qty"][at] += 1
    found = verify(ArraySource(events, [COIN]))
    assert found.mismatches_total > 0 and not found.clean


def test_progress_counts_rows() -> None:
    events = synthetic_events(1, seed=3, messages=500)
    rows: list[int] = []
    verify(ArraySource(events, [COIN]), rows.append)
    assert rows[-1] == len(events)
