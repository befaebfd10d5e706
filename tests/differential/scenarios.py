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
    BpsSlippage,
    ConstantLatency,
    FeedLatency,
    FeesIn,
    FlatFees,
    Instrument,
    LogNormalLatency,
    LogProbQueue,
    MakerTaker,
    Margin,
    NoSlippage,
    PerContractFees,
    PowerProbQueue,
    Replay,
    RiskAverseQueue,
    SpreadSlippage,
    SquareRootImpact,
    TableLatency,
    TieredFees,
    UserFees,
    UserQueue,
    UserSlippage,
)
from replay.events import BOOK, FUNDING, GAP, LAST, LIQUIDATION, MARK, QUOTE, SNAPSHOT, TRADE
from replay.session import Session
from replay.sources import ArraySource
from replay.testing import synthetic_events
from replay.units import SCALE
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


def own_front(front: float, printed: float, before: float, after: float, lot: float, part: float) -> float:
    """A queue of one's own: a fixed part of what was cancelled stood ahead."""
    return front - part * (before - after - printed)


def own_slippage(ticks: float, lots: float, side: float, spread: float, lot: float, each: float) -> float:
    """Slippage of one's own: by lots, more for buyers; no number for one lot."""
    return each * (lots - 1.0) + side if lots > 1.0 else float("nan")


def own_fee(maker: float, price: float, size: float, lots: float, a: float, b: float) -> float:
    """A fee of one's own: a little for each lot, more for takers."""
    return lots * (2.0 - maker) * 1e-6


MORE_QUEUES = [*QUEUES, (UserQueue(own_front, 0.4), oracle.Queue("own", 0.4, own_front))]
MORE_LATENCIES: list[tuple[Any, oracle.Latency]] = [
    (LogNormalLatency(4_000, 0.8, 17), oracle.LogNormal(4_000, 0.8, 17)), LATENCIES[1],
    (LogNormalLatency(300, 2.0, 5), oracle.LogNormal(300, 2.0, 5)), LATENCIES[4],
]  # fmt: skip
MORE_FEES: list[tuple[Any, oracle.Fees]] = [
    (FeesIn(FEES[0][0], "TOKEN", "3.7"), replace(FEES[0][1], currency="TOKEN", price=Fraction("3.7"))),
    (FeesIn(FEES[1][0], "ASSET"), replace(FEES[1][1], currency="ASSET", on_size=True)),
    (UserFees(own_fee), oracle.Fees(kind="own", function=own_fee)),
    (FeesIn(FEES[2][0], "C0", "0.5"), replace(FEES[2][1], currency="C0", price=Fraction(1, 2))),
    (FeesIn(FEES[4][0], "TOKEN"), replace(FEES[4][1], currency="TOKEN")),
    FEES[1],
]
SLIPPAGES: list[tuple[Any, oracle.Slippage]] = [
    (NoSlippage(), oracle.Slippage()),
    (BpsSlippage(1.5), oracle.Slippage("bps", 1.5)),
    (SpreadSlippage(0.7), oracle.Slippage("spread", 0.7)),
    (SquareRootImpact(0.02, 100.0, 1.1), oracle.Slippage("square-root", 1.1, 0.02, 100.0)),
    (UserSlippage(own_slippage, 0.3), oracle.Slippage("own", 0.3, function=own_slippage)),
]


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
    traders: int = 1
    engine_flows: list[Flow] = field(init=False)
    oracle_flows: list[Flow] = field(init=False)

    def __post_init__(self) -> None:
        self.engine_flows, self.oracle_flows = (
            [Flow(self.seed + 1_000 * k, len(self.terms), self.busy) for k in range(self.traders)] for _ in range(2)
        )
        if self.traders > 1:
            for flow in self.engine_flows:
                flow.engine_ids = []

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
        session = replay.session([EngineTrader(flow=flow, step_us=self.step_us) for flow in self.engine_flows])
        while session.step():
            pass
        return session

    def simulation(self, trader: int = 0) -> oracle.Simulation:
        """The oracle of one trader, at its end: strategies side by side do not see each other."""
        events = oracle_events(self.events)
        first_us = min(min(event.ts, event.exch_ts) for event in events)
        driver = OracleTrader(self.oracle_flows[trader], self.step_us, first_us)
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


SHARED = "C0"
"""Currency in which the instruments of a wider scenario settle together."""


def wider_terms(rng: random.Random, k: int, seed: int, kind: str, margined: bool, option: bool) -> Terms:
    """Settings of instrument `k` from the models that `scenario` leaves out; `kind` is its payoff.

    All instruments of a scenario have one grid, so that each of them can use up a deposit that is held in common.
    """
    base = terms_of(rng, k, seed, False)
    multiplier = Decimal(100) if kind == "inverse" else Decimal(1)
    tick, lot = (Decimal("0.1"), Decimal("0.5"), Decimal("0.01"))[seed % 3], Decimal(1)
    instrument = Instrument("sim", f"I{k}", kind, tick, lot, multiplier, SHARED)  # type: ignore[arg-type]
    market = replace(base.market, payoff=kind, tick=Fraction(tick), lot=Fraction(lot), multiplier=Fraction(multiplier),
                     currency=SHARED)  # fmt: skip
    if option and k == 0:
        strike = 10_000 * tick + rng.choice((-30, 0, 20)) * tick
        right = rng.choice(("call", "put"))
        expiry_us = START_US + rng.choice((60_000, 120_000))
        instrument = Instrument("sim", "I0", "option", tick, lot, multiplier, SHARED, right, strike, expiry_us,  # type: ignore[arg-type]
                                "sim:I1")  # fmt: skip
        market = replace(
            market, payoff="option", right=right, strike=Fraction(strike), expiry_us=expiry_us, underlying=1
        )
    queue, oracle_queue = MORE_QUEUES[(seed + 3 * k) % len(MORE_QUEUES)]
    latency, oracle_latency = MORE_LATENCIES[(seed // 2 + k) % len(MORE_LATENCIES)]
    fees, oracle_fees = MORE_FEES[(seed // 2 + k) % len(MORE_FEES)]
    if kind == "inverse" and oracle_fees.on_size:
        fees, oracle_fees = MORE_FEES[0]
    slippage, oracle_slippage = SLIPPAGES[(seed + 2 * k) % len(SLIPPAGES)]
    margin = Margin("0.1", "0.1", "0.002") if margined else None
    engine = {**base.engine, "queue": queue, "latency": latency, "fees": fees, "slippage": slippage, "margin": margin}
    rates = (Fraction("0.1"), Fraction("0.1"), Fraction("0.002")) if margined else (Fraction(0),) * 3
    market = replace(
        market, queue=oracle_queue, latency=oracle_latency, fees=oracle_fees, slippage=oracle_slippage,
        initial=rates[0], maintenance=rates[1], liquidation_fee=rates[2],
        min_notional=Fraction(0), borrowing=True,
    )  # fmt: skip
    engine |= {"min_notional": 0.0, "borrow": True}
    return Terms(instrument, engine, market)


def wandering_marks(events: np.ndarray, tick_scaled: int, period_us: int) -> None:
    """Every other print that is a message of its own becomes a mark, and marks wander by a percent.

    Or nobody would be liquidated.
    """
    ends = (events["flags"] & LAST) != 0
    alone = ends & np.roll(ends, 1)
    prints = np.flatnonzero(alone & (events["kind"] == TRADE))[::2]
    events["kind"][prints], events["side"][prints] = MARK, 0
    events["value"][prints] = events["price"][prints] * tick_scaled
    marks = events["kind"] == MARK
    wave = 1 + 0.01 * np.sin((events["exch_ts"][marks] - START_US) / period_us)
    events["value"][marks] = (events["value"][marks] * wave).astype(np.int64)


def wider(seed: int, messages: int = 700) -> Scenario:
    """Slippage, log-normal latency, models of one's own, fees in other currencies, options, pooled margin with
    liquidations, several strategies; everything from one seed."""
    rng = random.Random(seed * 104_729 + 7)
    kind = ("linear", "inverse", "spot")[seed % 3]
    option, margined = kind == "linear" and seed % 4 < 2, seed % 2 == 0
    traders = 1 if margined else 2 + seed % 4 // 2
    count = 2 if option else 1 + seed // 2 % 2
    terms = [wider_terms(rng, k, seed, kind, margined, option) for k in range(count)]
    deposit = 0.0
    if margined:
        part = terms[-1].instrument
        price = 10_000 * part.tick
        notional = part.lot * part.multiplier / price if kind == "inverse" else part.lot * part.multiplier * price
        deposit = round(float(notional) * rng.choice((0.503, 0.803, 2.008, 4.52)) * (20 if option else 1), 9)
        terms = [replace(t, market=replace(t.market, deposit=Fraction(deposit))) for t in terms]
    mean_step_us = rng.choice((400, 2_000))
    events = synthetic_events(
        [part.instrument for part in terms], seed, messages * count,
        feed_latency_us=rng.choice(((0, 0), (500, 5_000), (0, 30_000))), gap_every=rng.choice((0, 25)),
        start_us=START_US, mean_step_us=mean_step_us, levels=rng.choice((3, 8)), derivatives=seed % 5 != 0,
    )  # fmt: skip
    if margined and seed % 5:
        wandering_marks(events, int(terms[0].market.tick * SCALE), 20 * mean_step_us)
    return Scenario(
        seed, [events], terms, deposit, 0, mean_step_us * rng.choice((1, 2, 5)), rng.choice((0.3, 0.6)), traders
    )
