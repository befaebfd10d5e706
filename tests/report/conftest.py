"""One small run with gaps, its data, and pages about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from replay import MakerTaker, PowerProbQueue, Replay, Result
from replay.results import SERIES
from replay.sweep import Band, Sweep
from replay.testing import Faults, SyntheticMarket
from replay.units import US_PER_S
from strategies.market_maker import MarketMaker

EVIL = "</script><img src=x onerror=\"window.hacked = 'image'\"><script>window.hacked = 'script'</script>{{data}}"


@pytest.fixture(scope="session")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """A minute of a market that lost messages; the seed is fixed."""
    market = SyntheticMarket(
        "binance-usdm", seed=11, duration_us=60 * US_PER_S, rate=0.5, funding_interval_us=20 * US_PER_S,
        faults=Faults(drop=0.01, snapshot_after_gap_us=1_000_000),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("report") / "market.gz"
    market.write(path)
    return Replay.from_files(
        path, adapter="binance-usdm", instruments=market.instruments, deposit=10_000, queue=PowerProbQueue(3),
        fees=MakerTaker("0", "0.0005"),
    )  # fmt: skip


@pytest.fixture(scope="session")
def result(replay: Replay) -> Result:
    """A market maker on it, with a recorded series."""
    found = replay.run(MarketMaker())
    assert len(found.fills) > 50 and found.quality.gaps_total > 0
    series = np.zeros(100, SERIES)
    series["ts"] = np.linspace(found.first_us, found.last_us, 100).astype(np.int64)
    series["value"] = np.sin(np.arange(100))
    return replace(found, records={"signal": series})


@pytest.fixture(scope="session")
def evil(result: Result) -> Result:
    """The same under names that want to be run."""
    return replace(
        result, strategy=EVIL, parameters={EVIL: EVIL}, records={EVIL: result.records["signal"]},
        refusals={EVIL: 3}, mode_reason=EVIL, versions={EVIL: EVIL}, data={EVIL: EVIL},
    )  # fmt: skip


@pytest.fixture(scope="session")
def sweep(replay: Replay) -> Sweep:
    """Eight variants on two axes of several values."""
    return replay.sweep(MarketMaker, mode="interpreted", half_spread_ticks=[2, 5, 10, 20], skew_ticks=[0, 20])


@pytest.fixture(scope="session")
def band(replay: Replay) -> Band:
    """The nine cases."""
    return replay.band(MarketMaker, mode="interpreted")


@pytest.fixture(scope="session")
def page(result: Result, replay: Replay, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report with everything in it."""
    path = tmp_path_factory.mktemp("pages") / "report.html"
    result.to_html(path, replay=replay)
    return path
