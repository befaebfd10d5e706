"""Markets for the example strategies: hand-made, synthetic and real.

`tape` is an empty hand-made market (see `tape.py`).  `synthetic` is a two-instrument recording with faults, read
through the adapter as a user's file would be; `real` is a Binance capture that is not part of the repository.  `sound`
holds for every run of every strategy, whatever the market.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay import ConstantLatency, MakerTaker, PowerProbQueue, Replay, Result, Strategy
from replay.sources import find_adapter
from replay.testing import Faults, SyntheticMarket
from replay.units import US_PER_S
from tests.strategies.tape import Tape

SHARED = Path(__file__).parents[2].parent / "shared"

Runner = Callable[..., Result]


@pytest.fixture
def tape() -> Tape:
    """An empty tape."""
    return Tape()


def _models() -> dict[str, Any]:
    return {
        "latency": ConstantLatency(entry=10_000, response=10_000),
        "queue": PowerProbQueue(3),
        "fees": MakerTaker(maker="-0.00002", taker="0.0004"),
    }


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[SyntheticMarket, Path]:
    """75 s of two instruments with lost, late and repeated messages, liquidations and settlements."""
    market = SyntheticMarket(
        "binance-usdm",
        seed=11,
        duration_us=75 * US_PER_S,
        faults=Faults(drop=0.004, duplicate=0.002, late=0.002),
        funding_interval_us=20 * US_PER_S,
        liquidation_odds=10,
    )
    path = tmp_path_factory.mktemp("strategies") / "market.gz"
    market.write(path)
    return market, path


@pytest.fixture
def synthetic(recording: tuple[SyntheticMarket, Path]) -> Runner:
    """Runs a strategy on the synthetic recording."""
    market, path = recording

    def run(strategy: Strategy, **settings: Any) -> Result:
        source = find_adapter("binance-usdm").open([path], instruments=market.instruments)
        return Replay(source, **{**_models(), **settings}).run(strategy)

    return run


@pytest.fixture
def real() -> Runner:
    """Runs a strategy on the real BTCUSDT capture; skips where it is not."""
    path = SHARED / "captures" / "binance_usdm" / "btcusdt_20240808.gz"
    if not path.is_file():
        pytest.skip(f"no capture at {path}")

    def run(strategy: Strategy, **settings: Any) -> Result:
        source = find_adapter("binance-usdm").open([path])
        return Replay(source, **{**_models(), **settings}).run(strategy)

    return run


@pytest.fixture
def sound() -> Callable[[Result, int], None]:
    """Checks a result: it traded, fills add up to the position, and never pass `limit_lots` either way."""

    def check(result: Result, limit_lots: int) -> None:
        fills = result.fills
        assert len(fills) > 0, "the strategy never traded"
        for i, part in enumerate(result.summary_by_instrument):
            mine = fills[fills["instrument"] == i]
            path = np.cumsum(mine["side"].astype(np.int64) * mine["lots"])
            assert part.position == (path[-1] if len(path) else 0)
            np.testing.assert_array_equal(mine["position"], path)
            assert np.abs(path).max(initial=0) <= limit_lots
            assert part.fills == len(mine)
        assert result.refusals.get("unknown-order", 0) == 0, "a request on an order that was over"
        assert result.refusals.get("pending", 0) == 0, "a request on an order that was waiting for an answer"

    return check
