"""Many variants in one pass: the same results as alone, axes, bands, and what is refused."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from replay import (
    ConfigError,
    ConstantLatency,
    FeedLatency,
    Instrument,
    LogNormalLatency,
    MakerTaker,
    OptimisticQueue,
    PowerProbQueue,
    Replay,
    RiskAverseQueue,
    Strategy,
    TableLatency,
)
from replay.context import Book, Context, Order
from replay.events import BUY, EVENT, SELL
from replay.testing import synthetic_events
from tests.strategies.tape import START_US, Tape

INSTRUMENTS = [Instrument("test", name, "linear", Decimal("0.1"), Decimal("0.001")) for name in "AB"]
LATENCY = LogNormalLatency(2_000, 0.5, seed=9)


class Quoter(Strategy):
    """Joins the touch on both sides; reads its order numbers, so that these count too."""

    lots: int = 3
    ids: np.ndarray = np.zeros((2, 2), np.int64)
    sum_of_ids: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        if not book.ready:
            return
        for k in range(2):
            if self.ids[book.instrument, k] == 0:
                ticks = book.bid_ticks if k == 0 else book.ask_ticks
                sent = ctx.send(book.instrument, 1 - 2 * k, self.lots, ticks, tag=2 * book.instrument + k)
                self.ids[book.instrument, k] = max(0, sent)

    def on_order(self, ctx: Context, order: Order) -> None:
        self.sum_of_ids += order.id
        ctx.record("ids", self.sum_of_ids)
        if order.done:
            self.ids[order.instrument, order.tag % 2] = 0


@pytest.fixture(scope="module")
def replay() -> Replay:
    """A market of two instruments with gaps and marks."""
    events = synthetic_events(INSTRUMENTS, seed=21, messages=4_000, gap_every=500)
    return Replay(events, instruments=INSTRUMENTS, latency=LATENCY, queue=PowerProbQueue(3))


@pytest.mark.parametrize("mode", ["interpreted", "compiled"])
def test_a_sweep_gives_the_results_of_single_runs(replay: Replay, mode: str) -> None:
    queues = [RiskAverseQueue(), OptimisticQueue()]
    together = replay.sweep(Quoter, mode, lots=[2, 5], queue=queues, execution=["full", "partial"])
    assert len(together) == 8
    for values, result in together:
        models = {name: values[name] for name in ("queue", "execution")}
        alone = replay.run(Quoter(lots=values["lots"]).under(**models))
        assert alone.digest == result.digest, values
        assert alone.summary_by_instrument == result.summary_by_instrument
        assert alone.settings == result.settings
    digests = {result.digest for _, result in together}
    assert len(digests) > 4, "models and parameters make a difference"


def test_one_value_is_an_axis_of_length_one(replay: Replay) -> None:
    sweep = replay.sweep(Quoter, lots=4, fees=MakerTaker("0.0001", "0.0002"))
    ((values, result),) = sweep
    assert values["lots"] == 4 and result.parameters["lots"] == 4
    assert "0.0002" in result.settings["fees"]["test:A"]
    assert sum(part.fees for part in result.summary_by_instrument) > 0


def test_tables_and_the_best(replay: Replay) -> None:
    sweep = replay.sweep(Quoter, lots=range(1, 5))
    rows = sweep.table()
    assert [row["lots"] for row in rows] == [1, 2, 3, 4]
    values, result = sweep.best()
    assert result.net["USDT"] == max(row["net USDT"] for row in rows)
    assert values["lots"] == rows[[row["digest"] for row in rows].index(result.digest)]["lots"]
    assert len(sweep.summary().splitlines()) == 6
    for row, found in zip(rows, sweep.results):
        metrics = found.metrics()
        assert row["maker share"] == metrics.maker_share and row["turnover USDT"] == metrics.turnover
        assert row["drawdown USDT"] == (metrics.drawdown.money if metrics.drawdown else 0.0)
    with pytest.raises(ConfigError, match="known: USDT"):
        sweep.best("BTC")


def test_unknown_and_empty_axes(replay: Replay) -> None:
    with pytest.raises(ConfigError, match="did you mean 'lots'"):
        replay.sweep(Quoter, lot=[1])
    with pytest.raises(ConfigError, match="has no values"):
        replay.sweep(Quoter, lots=[])
    with pytest.raises(ConfigError, match="did you mean 'queue'"):
        replay.run(Quoter().under(queues=RiskAverseQueue()))
    with pytest.raises(ConfigError, match="not a model of that kind"):
        replay.run(Quoter().under(queue=ConstantLatency()))


def test_a_band_is_nine_runs(replay: Replay) -> None:
    band = replay.band(Quoter, lots=3)
    assert len(band.cases) == 9
    assert band.base.digest == replay.run(Quoter(lots=3)).digest
    low, base, high = band.net()["USDT"]
    assert low <= base <= high and low < high
    assert band.pessimistic.net["USDT"] >= low and band.optimistic.net["USDT"] <= high
    assert f"{low:,.6g} to {high:,.6g} USDT" in band.summary()


class Once(Strategy):
    """Joins the best bid."""

    sent: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        if self.sent == 0:
            self.sent = ctx.buy(0, 1, book.bid_ticks)


def test_kinder_queues_fill_earlier() -> None:
    """We join behind 100 lots; 100 more come, 110 of all cancel; then 5 lots are sold, again and again."""
    tape = Tape()
    tape.book(0, 1_000, 1_001, lots=100)
    tape.level(50_000, BUY, 1_000, 200)
    tape.level(60_000, BUY, 1_000, 90)
    for k in range(30):
        tape.trade(100_000 + 10_000 * k, SELL, 1_000, 5)
    tape.level(900_000, BUY, 999, 7)
    events = np.array(tape.rows, EVENT)
    queues = [OptimisticQueue(), PowerProbQueue(3), RiskAverseQueue()]
    replay = Replay(events, instruments=INSTRUMENTS, latency=ConstantLatency(1_000, 1_000))
    times = [int(result.fills["exch_ts"][0]) for _, result in replay.sweep(Once, queue=queues)]
    assert times[0] < times[1] < times[2]
    assert times[0] == START_US + 100_000 - 1_000, "110 of the 100 ahead are gone: the first print is ours"


@pytest.mark.parametrize(
    ("latency", "doubled"),
    [
        (ConstantLatency(10, 20), ConstantLatency(20, 40)),
        (FeedLatency(1.0, 0.5, 3, 4), FeedLatency(2.0, 1.0, 6, 8)),
        (LogNormalLatency(100, 0.3, 5), LogNormalLatency(200, 0.3, 5)),
        (TableLatency([(0, 10, 30), (100, 0, 140)]), TableLatency([(0, 20, 60), (100, 0, 180)])),
    ],
)
def test_latencies_can_be_scaled(latency: ConstantLatency, doubled: ConstantLatency) -> None:
    assert latency.scaled(2.0) == doubled
    assert latency.scaled(1.0) == latency
