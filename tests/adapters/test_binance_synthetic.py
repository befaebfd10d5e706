"""Synthetic recordings with injected faults: every fault is found, every book is whole again at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapters.binance import COINM, SPOT, USDM, BinanceAdapter
from replay.events import BOOK, CLEAR, FUNDING, GAP, LAST, LIQUIDATION, SNAPSHOT, TRADE
from replay.synthetic import Faults, SyntheticMarket


def rebuilt(events: np.ndarray, index: int) -> tuple[dict[tuple[int, int], int], bool]:
    """({(side, ticks): lots}, valid) of an instrument after its last row."""
    book: dict[tuple[int, int], int] = {}
    valid = False
    for row in events[events["instrument"] == index]:
        if row["kind"] == GAP:
            valid = False
        if row["kind"] != BOOK:
            continue
        if row["flags"] & CLEAR:
            book.clear()
        if row["side"]:
            book[int(row["side"]), int(row["price"])] = int(row["qty"])
        if row["flags"] & SNAPSHOT and row["flags"] & LAST:
            valid = True
    return {level: lots for level, lots in book.items() if lots}, valid


@pytest.mark.parametrize("adapter", [SPOT, USDM, COINM], ids=lambda a: a.name)
def test_faults_are_found_and_books_recover(adapter: BinanceAdapter, tmp_path: Path) -> None:
    faults = Faults(drop=0.01, duplicate=0.02, late=0.01, snapshot_after_gap_us=200_000)
    market = SyntheticMarket(adapter.name, seed=11, duration_us=40_000_000, faults=faults, clock_offset_us=-900_000,
                             liquidation_odds=20)  # fmt: skip
    path = market.write(tmp_path / "market.gz")
    source = adapter.open([path], instruments=market.instruments)
    events = np.concatenate([batch.copy() for batch in source.batches()])
    truth, quality = market.truth, source.quality
    assert sum(truth.breaks(i.symbol) for i in market.instruments) > 5
    assert quality.ignored == {}
    assert sum(q.messages for q in quality.instruments.values()) == truth.messages
    assert 0 < quality.clock_offset_us <= 900_000
    checked = 0
    for index, instrument in enumerate(source.instruments):
        q, mine = quality.of(instrument.name), events[events["instrument"] == index]
        assert q.breaks == truth.breaks(instrument.symbol)
        assert (mine["kind"] == TRADE).sum() == truth.trades[instrument.symbol].count
        assert (mine["kind"] == LIQUIDATION).sum() == truth.liquidations[instrument.symbol]
        assert (mine["kind"] == FUNDING).any() == adapter.market.futures
        assert q.off_tick == 0
        book, valid = rebuilt(events, index)
        assert valid == (q.book_state == "live")
        if valid:
            checked += 1
            expected = {
                (side, instrument.ticks(price)): instrument.lots(size)
                for side, name in ((1, "bids"), (-1, "asks"))
                for price, size in truth.books[instrument.symbol][name].items()
            }
            assert book == expected
    assert checked
    closed = [gap for gap in quality.gaps if gap.end_us is not None]
    assert closed
    assert all(gap.repair == "snapshot" and gap.blind_us >= 0 for gap in closed)
