"""Real recordings through the store: the same events and the same results as from the raw files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from replay.engine import Replay
from replay.events import BOOK, GAP, ORDER
from replay.sources import find_adapter
from replay.store import SourceFile, Store
from replay.testing import Faults, SyntheticMarket
from replay.units import US_PER_S
from tests.store.test_source import Listener, events_of

SHARED = Path(__file__).parents[2].parent / "shared" / "captures"
needs_captures = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the recorded captures in {SHARED}")


def same(paths: list[Path], adapter: str, store: Store, **options: int) -> np.ndarray:
    """Record `paths`, compare events, figures and results with a replay of the raw files; the events."""
    source = find_adapter(adapter).open(paths, **options)
    events = events_of(source)
    store.record(find_adapter(adapter).open(paths, **options), source_files=paths)
    again = Store(store.path)
    again.check()
    names = [instrument.name for instrument in source.instruments]
    stored = again.source(names)
    assert stored.instruments == source.instruments
    assert events_of(stored).tobytes() == events.tobytes()
    for index, name in enumerate(names):
        mine, theirs = stored.quality.of(name), source.quality.of(name)
        for count in ("trades", "snapshots", "off_tick", "stale", "applied", "duplicates", "anomalies", "book_state"):
            assert getattr(mine, count) == getattr(theirs, count), count
        assert mine.breaks == ((events["kind"] == GAP) & (events["instrument"] == index)).sum()
    assert sorted(map(str, stored.quality.gaps)) == sorted(map(str, source.quality.gaps))
    assert again.days(names[0])[0].source_files == tuple(SourceFile.of(path) for path in paths)
    original = Replay(source, borrow=True).run(Listener())
    assert len(original.fills) > 10
    for hot in (False, True):
        assert Replay(again.source(names, hot=hot), borrow=True).run(Listener()).digest == original.digest
    return events


def test_a_synthetic_recording_with_faults(tmp_path: Path) -> None:
    market = SyntheticMarket(
        "binance-usdm", duration_us=12 * US_PER_S, faults=Faults(drop=0.02, late=0.02, duplicate=0.05)
    )
    events = same([market.write(tmp_path / "made.gz")], "binance-usdm", Store(tmp_path / "store"))
    assert (events["kind"] == GAP).sum() == len(market.truth.of_kind("drop", "late")) > 0


@needs_captures
def test_a_capture_with_a_gap(tmp_path: Path) -> None:
    """The book never comes back after the lost message: the gap stays open in the store as it does in the raw file."""
    path = SHARED / "binance_spot" / "ethusdt_20240808.gz"
    store = Store(tmp_path / "store")
    events = same([path], "binance-spot", store, drop_every=500, drop_from=2_000)
    assert (events["kind"] == GAP).sum() == 1
    days = store.days("binance-spot:ETHUSDT")
    assert [day.date for day in days] == ["2024-08-08", "2024-08-09"], "the recording runs over midnight"
    book = [day.files["book"] for day in days if "book" in day.files]
    rows = sum(file.footer.rows for file in book)
    assert sum(file.bytes for file in book) / rows < 6
    assert rows == int(((events["kind"] == BOOK) | (events["kind"] == GAP)).sum())


@needs_captures
def test_a_capture_of_several_instruments(tmp_path: Path) -> None:
    paths = sorted((SHARED / "cryptofeed").glob("BINANCE_FUTURES.*gz"))
    events = same(paths, "binance-usdm", Store(tmp_path / "store"))
    assert len(np.unique(events["instrument"])) > 1


@needs_captures
def test_a_recording_of_orders(tmp_path: Path) -> None:
    """Orders lie in a channel of their own and come back between prints and levels as they were."""
    store = Store(tmp_path / "store")
    folder = SHARED / "coinbase_l3"
    events = same([folder / "messages.json.gz", folder / "beginning_level_3.json.gz"], "coinbase-l3", store)
    (day,) = store.days("coinbase:BTC-USD")
    assert day.files["orders"].footer.rows == (events["kind"] == ORDER).sum() > 80_000
