"""Random settings for both simulators: one `Scenario` is one market and one set of models.

`scenario(seed)` draws everything; the models come round in turn, so that a few dozen seeds use all of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from replay import (
    ConstantLatency,
    FeedLatency,
    FlatFees,
    Instrument,
    LogProbQueue,
    MakerTaker,
    Margin,
    PerContractFees,
    PowerProbQueue,
    Replay,
    RiskAverseQueue,
    TableLatency,
    TieredFees,
)
from replay.events import BOOK, FUNDING, GAP, LAST, LIQUIDATION, MARK, QUOTE, SNAPSHOT, TRADE
from replay.session import Session
from replay.sources import ArraySource
from replay.testing import synthetic_events
from tests.differential.random_flow import EngineTrader, Flow, OracleTrader
from tests.oracles import venue as oracle

START_US = 1_700_000_000 * 1_000_000
QUEUES: list[tuple[Any, oracle.Queue]] = [
    (RiskAverseQueue(), oracle.Queue()),
    (PowerProbQueue(2.0, 1), oracle.Queue("power", 2.0)),
    (PowerProbQueue(0.5, 2), oracle.Queue("power-2", 0.5)),
    (PowerProbQueue(3.0, 3), oracle.Queue("power-3", 3.0)),
    (LogProbQueue(1), oracle.Queue("log")),
    (LogProbQueue(2), oracle.Queue("log-2")),
    (PowerProbQueue(1.5, 1), oracle.Queue("power", 1.5)),
]
TRIPS = (
    (START_US, START_US + 2_000, START_US + 5_000),
    (START_US + 300_000, START_US + 320_000, START_US + 321_000),
    (START_US + 500_000, START_US + 499_000, START_US + 530_000),
    (START_US + 600_000, START_US + 601_000, START_US + 640_000),
    (START_US + 900_000, START_US + 912_000, START_US + 912_000),
)
LATENCIES: list[tuple[Any, oracle.Latency]] = [
    (ConstantLatency(0, 0), oracle.Constant(0, 0)),
    (ConstantLatency(7_000, 900), oracle.Constant(7_000, 900)),
    (ConstantLatency(300, 12_000), oracle.Constant(300, 12_000)),
    (TableLatency(TRIPS), oracle.Table(TRIPS)),
    (FeedLatency(1.5, 0.5, 100, 0), oracle.FeedProportional(100, 0, 1.5, 0.5)),
]
TIERS = ((0, "0.0002", "0.0005"), (5_000, "0.0001", "0.0004"), (50_000, "-0.00005", "0.0003"))
EXACT_TIERS = tuple((Fraction(turnover), Fraction(maker), Fraction(taker)) for turnover, maker, taker in TIERS)
FEES: list[tuple[Any, oracle.Fees]] = [
    (MakerTaker("-0.00005", "0.0004"), oracle.Fees(Fraction("-0.00005"), Fraction("0.0004"))),
    (MakerTaker("0.0002", "0.0005"), oracle.Fees(Fraction("0.0002"), Fraction("0.0005"))),
    (TieredFees(TIERS), oracle.Fees(kind="tiers", tiers=EXACT_TIERS)),
    (PerContractFees("0.25", "0.5"), oracle.Fees(Fraction("0.25"), Fraction("0.5"), "per-contract")),
    (FlatFees("0.125"), oracle.Fees(Fraction("0.125"), Fraction("0.125"), "flat")),
]  # fmt: skip


@dataclass(frozen=True)
class Terms:
    """Settings of one instrument, in both languages."""

    instrument: Instrument
    engine: dict[str, Any]
    market: oracle.Market


@dataclass
class Scenario:
    """A market, its models and a trader."""

    seed: int
    events: list[np.ndarray]
    terms: list[Terms]
    deposit: float
    warm_up_us: int
    step_us: int
    busy: float
    engine_flow: Flow = field(init=False)
    oracle_flow: Flow = field(init=False)

    def __post_init__(self) -> None:
        self.engine_flow = Flow(self.seed, len(self.terms), self.busy)
        self.oracle_flow = Flow(self.seed, len(self.terms), self.busy)

    def session(self) -> Session:
        """The engine, at its end."""
        instruments = [terms.instrument for terms in self.terms]
        models = {
            name: {terms.instrument.name: terms.engine[name] for terms in self.terms} for name in self.terms[0].engine
        }
        replay = Replay(
            [ArraySource(events, instruments, f"source {k}") for k, events in enumerate(self.events)],
            deposit=self.deposit, warm_up_us=self.warm_up_us, sample_us=10_000_000, batch_rows=257, **models,
        )  # fmt: skip
        session = replay.session(EngineTrader(flow=self.engine_flow, step_us=self.step_us))
        while session.step():
            pass
        return session

    def simulation(self) -> oracle.Simulation:
        """The oracle, at its end."""
        events = oracle_events(self.events)
        first_us = min(min(event.ts, event.exch_ts) for event in events)
        driver = OracleTrader(self.oracle_flow, self.step_us, first_us)
        markets = [terms.market for terms in self.terms]
        return oracle.Simulation(events, markets, driver, first_us + self.warm_up_us).run()


def oracle_events(sources: Sequence[np.ndarray]) -> list[oracle.Event]:
    """Event records of several sources in the oracle's words."""
    out: list[oracle.Event] = []
    for rank, events in enumerate(sources):
        levels: list[tuple[int, int, int]] = []
        for row in events.tolist():
            ts, exch_ts, seq, price, qty, value, instrument, _, flags, kind, side = row[:11]
            where = (instrument, ts, exch_ts)
            if kind == BOOK:
                if side:
                    levels.append((side, price, qty))
                if flags & LAST:
                    out.append(oracle.BookMessage(*where, tuple(levels), bool(flags & SNAPSHOT), rank))
                    levels = []
            elif kind == TRADE:
                out.append(oracle.Trade(*where, side, price, qty, rank))
            elif kind == MARK:
                out.append(oracle.Mark(*where, value, rank))
            elif kind == FUNDING:
                out.append(oracle.Funding(*where, value, seq, rank))
            elif kind == GAP:
                out.append(oracle.Gap(*where, rank))
            else:
                assert kind in (QUOTE, LIQUIDATION)
                out.append(oracle.Notice(*where, rank))
    return out


def terms_of(rng: random.Random, k: int, seed: int, margined: bool) -> Terms:
    """Settings of instrument `k`; the models take turns with the seed."""
    payoff = ("linear", "inverse", "spot", "linear")[(seed + k) % 4]
    multiplier = Decimal(100) if payoff == "inverse" else Decimal(1)
    lot = rng.choice((Decimal("0.001"), Decimal("0.01"), Decimal(1)))
    lot = Decimal(1) if payoff == "inverse" else lot
    tick = rng.choice((Decimal("0.1"), Decimal("0.5"), Decimal("0.01")))
    instrument = Instrument("sim", f"I{k}", payoff, tick, lot, multiplier, f"C{k}")  # type: ignore[arg-type]
    queue, oracle_queue = QUEUES[(seed + 3 * k) % len(QUEUES)]
    latency, oracle_latency = LATENCIES[(seed // 2 + k) % len(LATENCIES)]
    fees, oracle_fees = FEES[(seed + k) % len(FEES)]
    execution = rng.choice(("partial", "partial", "full"))
    consume = execution == "partial" and rng.random() < 0.7
    self_trade = rng.choice(("cancel-newest", "cancel-oldest", "allow"))
    on_gap = rng.choice(("reject", "hold"))
    borrow = payoff != "spot" or rng.random() < 0.5
    notional = 10_000 * tick * lot if payoff != "inverse" else lot * multiplier
    min_notional = Decimal("2.37") * notional if rng.random() < 0.3 else Decimal(0)
    initial = "0.1" if margined else None
    engine = {
        "latency": latency, "queue": queue, "fees": fees, "execution": execution, "consume": consume,
        "self_trade": self_trade, "on_gap": on_gap, "borrow": borrow, "min_notional": float(min_notional),
        "margin": Margin(initial, 0) if initial else None,
    }  # fmt: skip
    market = oracle.Market(
        Fraction(tick), Fraction(lot), Fraction(multiplier), payoff, oracle_latency, oracle_queue, oracle_fees,
        execution, consume, self_trade, on_gap, Fraction(min_notional), borrow,
        deposit=None, initial=Fraction(initial or 0),
    )  # fmt: skip
    return Terms(instrument, engine, market)


def scenario(seed: int, messages: int = 700) -> Scenario:
    """Everything from one seed."""
    rng = random.Random(seed * 7_919 + 1)
    count = 1 + seed % 2
    margined = count == 1 and seed % 3 == 0
    terms = [terms_of(rng, k, seed, margined) for k in range(count)]
    deposit = 0.0
    if margined:
        part = terms[0]
        unit = part.instrument.lot * part.instrument.multiplier
        price = 10_000 * part.instrument.tick
        notional = unit / price if part.instrument.payoff == "inverse" else unit * price
        deposit = round(float(notional) * 4.3, 9)
        market = part.market
        terms = [Terms(part.instrument, part.engine, replace(market, deposit=Fraction(deposit)))]
    mean_step_us = rng.choice((400, 2_000))
    events = synthetic_events(
        [part.instrument for part in terms], seed, messages * count,
        feed_latency_us=rng.choice(((0, 0), (500, 5_000), (0, 30_000))), gap_every=rng.choice((0, 7, 25)),
        start_us=START_US, mean_step_us=mean_step_us, levels=rng.choice((3, 8)),
        derivatives=rng.random() < 0.7,
    )  # fmt: skip
    sources = [events]
    if rng.random() < 0.5:
        apart = np.isin(events["kind"], (TRADE, QUOTE)) if count == 1 else events["instrument"] == 0
        sources = [events[apart], events[~apart]]
    return Scenario(seed, sources, terms, deposit, rng.choice((0, 0, 20_000)), mean_step_us * rng.choice((1, 2, 5)),
                    rng.choice((0.3, 0.6)))  # fmt: skip
