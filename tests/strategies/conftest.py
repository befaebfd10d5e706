"""Markets for the example strategies: hand-made, synthetic and real.

`Tape` writes event rows one message at a time, so that a test can say exactly what happens and when.  `synthetic` is a
two-instrument recording with faults, read through the adapter as a user's file would be; `real` is a Binance capture
that is not part of the repository.  `sound` holds for every run of every strategy, whatever the market.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay import ConstantLatency, Instrument, MakerTaker, PowerProbQueue, Replay, Result, Strategy
from replay.events import BOOK, BUY, CLEAR, EVENT, FUNDING, GAP, LAST, LIQUIDATION, MARK, SELL, SNAPSHOT, TRADE
from replay.sources import find_adapter
from replay.testing import Faults, SyntheticMarket
from replay.units import SCALE, US_PER_S

SHARED = Path(__file__).parents[2].parent / "shared"
START_US = 1_700_000_000 * US_PER_S
SECOND = US_PER_S
COIN = Instrument("test", "COIN", "linear", Decimal("0.1"), Decimal("0.001"))
PAIR = (COIN, Instrument("test", "HEDGE", "linear", Decimal("0.1"), Decimal("0.001")))

Runner = Callable[..., Result]


class Tape:
    """Messages of hand-made markets; `at_us` counts from the start, times at the venue are 1 ms earlier."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ...]] = []
        self.seq = 0

    def add(self, at_us: int, instrument: int, *bodies: tuple[int, int, int, int, int, int]) -> None:
        """One message; a body is (kind, side, price, qty, value, flags)."""
        self.seq += 1
        for k, (kind, side, price, qty, value, flags) in enumerate(bodies):
            flags |= LAST if k == len(bodies) - 1 else 0
            at = START_US + at_us
            self.rows.append((at, at - 1_000, self.seq, price, qty, value, instrument, 0, flags, kind, side, 0, 0))

    def book(self, at_us: int, bid: int, ask: int, lots: int = 1_000, other: int = 0, instrument: int = 0) -> None:
        """A snapshot of five levels a side, `lots` on each bid and `other` (default: as many) on each ask."""
        levels = [(BOOK, BUY, bid - k, lots, 0, SNAPSHOT) for k in range(5)]
        levels += [(BOOK, SELL, ask + k, other or lots, 0, SNAPSHOT) for k in range(5)]
        levels[0] = (BOOK, BUY, bid, lots, 0, SNAPSHOT | CLEAR)
        self.add(at_us, instrument, *levels)

    def level(self, at_us: int, side: int, ticks: int, lots: int, instrument: int = 0) -> None:
        """A delta: one level has a new size."""
        self.add(at_us, instrument, (BOOK, side, ticks, lots, 0, 0))

    def trade(self, at_us: int, side: int, ticks: int, lots: int, instrument: int = 0) -> None:
        """A print; `side` is the aggressor's."""
        self.add(at_us, instrument, (TRADE, side, ticks, lots, 0, 0))

    def mark(self, at_us: int, ticks: int, instrument: int = 0) -> None:
        """A mark price on the tick grid."""
        self.add(at_us, instrument, (MARK, 0, ticks, 0, ticks * SCALE // 10, 0))

    def liquidation(self, at_us: int, side: int, ticks: int, lots: int, instrument: int = 0) -> None:
        """A forced order: `side` -1 is a long that must sell."""
        self.add(at_us, instrument, (LIQUIDATION, side, ticks, lots, 0, 0))

    def gap(self, at_us: int, instrument: int = 0) -> None:
        """Messages are lost; the book is invalid until the next `book`."""
        self.add(at_us, instrument, (GAP, 0, 0, 0, self.seq + 10, 0))

    def funding(self, at_us: int, rate_e8: int, settle_us: int, instrument: int = 0) -> None:
        """The rate that will be paid at `settle_us`."""
        self.add(at_us, instrument, (FUNDING, 0, 0, 0, rate_e8, 0))
        self.rows[-1] = (*self.rows[-1][:2], START_US + settle_us, *self.rows[-1][3:])

    def run(self, strategy: Strategy, instruments: tuple[Instrument, ...] = (COIN,), **settings: Any) -> Result:
        """Replay the tape; 5 ms each way unless told otherwise."""
        settings.setdefault("latency", ConstantLatency(entry=5_000, response=5_000))
        events = np.array(sorted(self.rows, key=lambda row: row[0]), EVENT)
        return Replay(events, instruments=instruments, **settings).run(strategy)


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
