"""The uncompressed copies: made on demand, never trusted, gone without a trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from replay.sources import ArraySource
from replay.store import Store
from tests.store.conftest import BOTH, MIDNIGHT


def copies(store: Store) -> list[Path]:
    """All copies."""
    return sorted((store.path / ".hot").rglob("*.arrow"))


def read(store: Store) -> bytes:
    """All rows, from the copies."""
    return np.concatenate(list(store.source(hot=True).batches())).tobytes()


def test_copies_are_made_where_they_are_needed(store: Store, market: np.ndarray) -> None:
    assert copies(store) == []
    list(store.source([BOTH[0].name], end_us=MIDNIGHT, channels=["book", "trades"], hot=True).batches())
    assert [path.parent.parent.name for path in copies(store)] == ["channel=book", "channel=trades"]
    assert read(store) == market.tobytes()
    times = {path: path.stat().st_mtime_ns for path in copies(store)}
    assert read(store) == market.tobytes()
    assert {path: path.stat().st_mtime_ns for path in copies(store)} == times, "they are used again"
    assert store.names() == [i.name for i in BOTH], "copies are no instruments"


def test_copies_may_be_damaged_deleted_or_old(store: Store, market: np.ndarray) -> None:
    read(store)
    first, second, third = copies(store)[:3]
    first.unlink()
    second.write_bytes(b"")
    third.write_bytes(third.read_bytes()[:-100])
    assert read(store) == market.tobytes()
    changed = market.copy()
    changed["qty"] += 1
    store.record(ArraySource(changed, BOTH), existing="replace")
    assert read(store) == changed.tobytes()


def test_a_copy_that_is_deleted_while_it_is_read(store: Store, market: np.ndarray) -> None:
    batches = store.source(hot=True).batches(50)
    first = next(batches).copy()
    store.gc(hot=True)
    rest = [batch.copy() for batch in batches]
    assert np.concatenate([first, *rest]).tobytes() == market.tobytes()


def test_gc_deletes_them(store: Store) -> None:
    read(store)
    size = sum(path.stat().st_size for path in copies(store))
    assert store.gc().hot_bytes == 0 and len(copies(store)) > 0
    swept = store.gc(hot=True)
    assert swept.hot_bytes == size > 0 and not (store.path / ".hot").exists()
