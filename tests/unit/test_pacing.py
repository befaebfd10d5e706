"""Time dilation: rows come when they are due, and the run has the digest of one that was not paced."""

from __future__ import annotations

import math
import threading
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay import ConfigError, Instrument, Replay, Strategy
from replay.events import LAST
from replay.pacing import Paced
from replay.sources import ArraySource
from replay.testing import synthetic_events


class Clock:
    """Seconds that pass only while somebody sleeps, and `cost_s` whenever somebody looks."""

    def __init__(self, cost_s: float = 0.0) -> None:
        self.now_s, self.cost_s = 1_000.0, cost_s
        self.slept = 0

    def __call__(self) -> float:
        self.now_s += self.cost_s
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        assert seconds >= 0
        self.slept += 1
        self.now_s += seconds + 1e-6


class Clocked(Strategy):
    """Trades at timers and writes down when."""

    side: int = 1

    def on_start(self, ctx) -> None:
        """Twenty times a second."""
        ctx.every(50_000)

    def on_timer(self, ctx, timer) -> None:
        """Back and forth."""
        ctx.record("timer", ctx.now)
        if self.side > 0:
            ctx.buy(0, 1)
        else:
            ctx.sell(0, 1)
        self.side = -self.side


@pytest.fixture(scope="module")
def market() -> ArraySource:
    """Some seconds of a synthetic market."""
    instrument = Instrument("test", "A", "linear", Decimal("0.1"), Decimal("0.001"))
    return ArraySource(synthetic_events([instrument], seed=5, messages=2_000), [instrument])


def paced(source: ArraySource, speed: float, clock: Clock, **options) -> Paced:
    """On the clock."""
    return Paced(source, speed, clock=clock, sleep=clock.sleep, **options)


@pytest.mark.parametrize("speed", [0.5, 1.0, 60.0, math.inf])
def test_a_paced_run_has_the_digest_of_one_that_is_not(market: ArraySource, speed: float) -> None:
    clock = Clock(1e-7)
    source = paced(market, speed, clock)
    result = Replay([source]).run(Clocked())
    assert result.digest == Replay([market]).run(Clocked()).digest
    ts = market.events["ts"]
    took_s, length_s = clock.now_s - 1_000.0, (ts[-1] - ts[0]) / 1e6
    if math.isinf(speed):
        assert clock.slept == 0
    else:
        assert took_s == pytest.approx(length_s / speed, rel=0.01)
        assert source.drift.count > 0
        assert source.drift.max_us < 1_500


def test_time_that_the_source_tells_is_told_too(market: ArraySource) -> None:
    class Longer(ArraySource):
        """Goes on for a second after the last row."""

        reached_us = 0

        def batches(self, rows=1_000):
            """An empty one at the end."""
            yield from super().batches(rows)
            self.reached_us = int(self.events["ts"][-1]) + 1_000_000
            yield self.events[:0]

    longer = Longer(market.events, market.instruments)
    plain = Replay([longer]).run(Clocked())
    assert plain.digest != Replay([market]).run(Clocked()).digest
    assert Replay([paced(longer, 2.0, Clock(1e-7))]).run(Clocked()).digest == plain.digest


@settings(max_examples=12, deadline=None)
@given(speed=st.sampled_from((0.3, 1.0, 7.0)), rows=st.sampled_from((1, 100, 5_000)), start=st.integers(0, 3_000_000))
def test_every_row_comes_once_in_order_and_never_early(market: ArraySource, speed, rows, start) -> None:
    """Whatever the speed, the batches and the start: no row is handed out before it is due."""
    clock, got = Clock(), []
    first_us = int(market.events["ts"][0])
    source = paced(market, speed, clock, start_us=first_us + start)
    began_s = None
    for batch in source.batches(rows):
        began_s = clock.now_s if began_s is None else began_s
        passed_us = first_us + start + (clock.now_s - 1_000.0) * speed * 1e6
        if len(batch):
            assert batch["flags"][-1] & LAST
            assert batch["ts"][-1] - source.horizon_us <= max(passed_us, first_us + start) + 1
            got.append(batch.copy())
        else:
            assert source.reached_us <= market.events["ts"][-1]
    assert np.concatenate(got).tobytes() == market.events.tobytes()


def test_a_slow_reader_is_told_as_drift(market: ArraySource) -> None:
    clock = Clock()
    source = paced(market, 1.0, clock)
    for batch in source.batches(100):
        clock.now_s += 0.02 * (len(batch) > 0)
    assert source.drift.max_us >= 19_000


def test_pause_stands_still_and_steps_go_on_by_hand(market: ArraySource) -> None:
    clock = Clock()
    source = paced(market, 1.0, clock)
    batches = source.batches(50)
    next(batches)
    source.pause()
    stood_us = source.now_us
    clock.now_s += 100.0
    assert source.now_us == stood_us
    source.step(250_000)
    assert source.now_us == stood_us + 250_000
    source.resume()
    clock.now_s += 1.0
    assert source.now_us == stood_us + 1_250_000
    with pytest.raises(ConfigError, match="needs a pause"):
        source.step(1)


def test_a_paused_run_waits_for_another_thread(market: ArraySource) -> None:
    source = Paced(market, math.inf)
    rows = 0
    for batch in source.batches(100):
        rows += len(batch)
        if rows == 1_000 or (rows > 1_000 and rows < 1_200):
            source.pause()
            threading.Timer(0.05, source.resume).start()
    assert rows == len(market.events)


@pytest.mark.parametrize("speed", [0, -1.0, math.nan, "fast"])
def test_what_is_no_speed_is_refused(market: ArraySource, speed: object) -> None:
    with pytest.raises(ConfigError, match="positive number"):
        Paced(market, speed)
