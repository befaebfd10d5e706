"""A small market of two instruments over two UTC days, and stores that hold it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from replay.instruments import Instrument
from replay.sources import ArraySource
from replay.store import Store
from replay.testing import synthetic_events
from replay.units import US_PER_DAY, US_PER_HOUR

MIDNIGHT = 19_676 * US_PER_DAY
"""2023-11-15 00:00 UTC."""

BOTH = (
    Instrument("test", "A", "linear", Decimal("0.05"), Decimal("0.001")),
    Instrument("test", "B/C D", "inverse", Decimal("10"), Decimal("1"), Decimal("100"), "BTC"),
)


@pytest.fixture(scope="session")
def market() -> np.ndarray:
    """Events with gaps, from 20 minutes before midnight to some minutes after it."""
    start = MIDNIGHT - US_PER_HOUR // 3
    events = synthetic_events(BOTH, messages=3_000, gap_every=40, start_us=start, mean_step_us=2_000_000)
    assert events["ts"][0] < MIDNIGHT < events["ts"][-1]
    events.flags.writeable = False
    return events


@pytest.fixture
def source(market: np.ndarray) -> ArraySource:
    """The market as a source."""
    return ArraySource(market, BOTH, "market")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, market: np.ndarray) -> Path:
    """Folder of a store with the market; not to be changed."""
    path = tmp_path_factory.mktemp("store") / "store"
    Store(path).record(ArraySource(market, BOTH))
    return path


@pytest.fixture
def store(tmp_path: Path, source: ArraySource) -> Store:
    """A store with the market, of one's own."""
    store = Store(tmp_path / "store")
    store.record(source)
    return store
