"""The engine against its slow twin (`tests/oracles/venue`), order by order, on random flow over all models.

Compared: everything that the trader saw and was told (its log), each answer (local time, status, request, price, lots,
leaves, filled, execution, venue time, maker, reason), each fill's cause and queue front, and both sides of the final
accounts: integers exactly, fees and funding of linear payoffs exactly as fractions, the rest to 1e-9.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from replay import ConstantLatency, MakerTaker, PowerProbQueue
from replay.kernel import codes
from replay.kernel.exact import whole
from replay.models import fee_unit
from replay.session import Session
from replay.sources import find_adapter
from replay.units import SCALE
from tests.differential.random_flow import REQUEST, STATUS
from tests.differential.scenarios import (
    FEES,
    LATENCIES,
    MORE_FEES,
    MORE_LATENCIES,
    MORE_QUEUES,
    QUEUES,
    SLIPPAGES,
    Scenario,
    Terms,
    scenario,
    wider,
)
from tests.oracles import venue as oracle

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
CAPTURE = SHARED / "captures" / "binance_usdm" / "btcusdt_20240808.gz"
INTERPRETED = bool(numba.config.DISABLE_JIT)
SEEDS = range(20 if INTERPRETED else 70)
WIDER = range(12 if INTERPRETED else 48)
NEAR = 1e-9
ANSWER = ("local_ts", "order_id", "status", "request", "ticks", "lots", "leaves", "filled", "exec_lots", "exec_ticks",
          "exch_ts", "maker", "reason")  # fmt: skip


def engine_answers(session: Session, trader: int = 0, ids: list[int] | None = None) -> list[tuple[Any, ...]]:
    """Answers to one strategy; `ids` are the engine's ids of its orders, when it counts them with those of others."""
    orders = session.results()[trader].orders.copy()
    if ids is not None:
        orders["order_id"] = [ids.index(order_id) + 1 for order_id in orders["order_id"]]
    rows = [[row[name] for name in ANSWER] for row in orders[orders["answer"] == 1]]
    return [
        (int(ts), int(order), STATUS[status], REQUEST[request], *map(int, numbers), codes.REASONS[reason])
        for ts, order, status, request, *numbers, reason in rows
    ]


def oracle_answers(sim: oracle.Simulation) -> list[tuple[Any, ...]]:
    return [
        (ts, r.order_id, r.status, r.request, r.ticks, r.lots, r.leaves, r.filled, r.exec_lots, r.exec_ticks,
         r.venue_us, int(r.maker), r.reason)
        for ts, r in sim.seen
    ]  # fmt: skip


def first_difference(ours: list[Any], theirs: list[Any], what: str) -> str:
    """A readable account of where two lists part; "" when they do not."""
    for k, (one, other) in enumerate(zip(ours, theirs)):
        if one != other:
            before = "".join(f"\n  before {line}" for line in ours[max(0, k - 3) : k])
            return f"{what} {k}:{before}\n  engine {one}\n  oracle {other}"
    if len(ours) != len(theirs):
        longer = ours if len(ours) > len(theirs) else theirs
        return f"{what}: engine {len(ours)}, oracle {len(theirs)}; then {longer[min(len(ours), len(theirs))]}"
    return ""


def account_of(session: Session, k: int, prefix: str) -> tuple[int, int, int, Fraction | float, Any, Any]:
    """position, volume, fills, cash, fees, funding of the engine in money; Fractions where the engine is exact."""
    slot, instrument = session.arena["slots"][k], session.instruments[k % len(session.instruments)]
    model = session.replay.models["fees"][k % len(session.instruments)]
    unit = Fraction(instrument.lot * instrument.multiplier)
    tick = Fraction(instrument.tick)
    position, volume, fills = (int(slot[prefix + name]) for name in ("position", "volume", "fills"))
    if instrument.payoff == "inverse":
        cash: Fraction | float = float(slot[prefix + "cash_f"]) * float(unit / tick)
    else:
        cash = int(slot[prefix + "cash"]) * unit * tick
    fees = whole(slot[prefix + "fee_hi"], slot[prefix + "fee_lo"]) * fee_unit(instrument, model) / SCALE
    funding = whole(slot[prefix + "funding_hi"], slot[prefix + "funding_lo"]) * unit / SCALE**2
    loose = float(slot[prefix + "fee_f"]), float(slot[prefix + "funding_f"])
    return (
        position,
        volume,
        fills,
        cash,
        fees + loose[0] if loose[0] else fees,
        funding + loose[1] if loose[1] else funding,
    )


def check_account(session: Session, k: int, prefix: str, theirs: oracle.Account) -> None:
    """`k` is the slot: strategies times instruments."""
    slot, instrument = session.arena["slots"][k], theirs.market
    settled = whole(slot[prefix + "settled_hi"], slot[prefix + "settled_lo"]) * instrument.lot * instrument.multiplier
    assert settled / SCALE == theirs.settled
    position, volume, fills, cash, fees, funding = account_of(session, k, prefix)
    assert (position, volume, fills) == (theirs.position, theirs.volume, theirs.fills)
    for ours, exact in ((cash, theirs.cash), (fees, theirs.fees), (funding, theirs.funding)):
        if isinstance(ours, Fraction):
            assert ours == exact
        else:
            assert ours == pytest.approx(float(exact), rel=NEAR, abs=NEAR)


def compare(case: Scenario) -> tuple[Session, list[oracle.Simulation]]:
    """Run both and demand equality for every trader."""
    session = case.session()
    sims = [case.simulation(trader) for trader in range(case.traders)]
    for trader, sim in enumerate(sims):
        sim.check()
        flow, twin = case.engine_flows[trader], case.oracle_flows[trader]
        problem = first_difference(engine_answers(session, trader, flow.engine_ids), oracle_answers(sim), "answer")
        problem += "\n" + first_difference(flow.log, twin.log, "log line")
        assert problem == "\n", f"seed {case.seed}, trader {trader}\n{[part.engine for part in case.terms]}\n{problem}"
        fills = session.results()[trader].fills
        told = [r for r in sorted(sim.reports, key=lambda r: r.venue_us) if r.exec_lots]
        assert [codes.CAUSE_NAMES[row["cause"]] for row in fills] == [r.cause for r in told]
        assert fills["front"].tolist() == pytest.approx([r.front for r in told], rel=NEAR, abs=NEAR)
        assert fills["slippage_ticks"].tolist() == [r.slippage for r in told]
        assert fills["fee"].tolist() == pytest.approx([float(r.fee) for r in told], rel=NEAR, abs=NEAR)
        assert session.results()[trader].liquidations == sim.liquidations
        for k in range(len(case.terms)):
            check_account(session, trader * len(case.terms) + k, "", sim.venues[k].account)
            check_account(session, trader * len(case.terms) + k, "l_", sim.accounts[k])
    return session, sims


@pytest.mark.parametrize("seed", SEEDS)
def test_engine_and_oracle_agree(seed: int) -> None:
    session, _ = compare(scenario(seed, 250 if INTERPRETED else 500))
    assert len(session.results()[0].orders) > 50, "the flow must be worth comparing"


@pytest.mark.parametrize("seed", WIDER)
def test_engine_and_oracle_agree_on_all_other_models(seed: int) -> None:
    session, _ = compare(wider(seed, 200 if INTERPRETED else 400))
    assert len(session.results()[0].orders) > 50, "the flow must be worth comparing"


@pytest.mark.skipif(INTERPRETED, reason="few seeds run without the compiler")
def test_the_wider_scenarios_use_every_other_model() -> None:
    cases = [wider(seed, 400) for seed in WIDER]
    parts = [terms for case in cases for terms in case.terms]
    for name, models in (
        ("queue", MORE_QUEUES),
        ("latency", MORE_LATENCIES),
        ("fees", MORE_FEES),
        ("slippage", SLIPPAGES),
    ):
        assert all(any(terms.engine[name] == model for terms in parts) for model, _ in models), name
    assert {terms.instrument.payoff for terms in parts} == {"linear", "inverse", "spot", "option"}
    assert {terms.instrument.right for terms in parts} == {"", "call", "put"}
    assert {case.traders for case in cases} == {1, 2, 3}
    assert any(len(case.terms) == 2 and case.terms[0].engine["margin"] for case in cases), "margin must be pooled"
    sims = [case.simulation() for case in cases]
    assert sum(sim.liquidations for sim in sims) >= 8
    assert sum(account.expired != 0 for sim in sims for account in sim.accounts) > 3


@pytest.mark.skipif(INTERPRETED, reason="few seeds run without the compiler")
def test_the_scenarios_use_every_model() -> None:
    parts = [(case, terms) for case in map(scenario, SEEDS) for terms in case.terms]
    for name, models in (("queue", QUEUES), ("latency", LATENCIES), ("fees", FEES)):
        assert all(any(terms.engine[name] == model for _, terms in parts) for model, _ in models), name
    for name, values in (
        ("execution", {"partial", "full"}), ("consume", {True, False}), ("on_gap", {"reject", "hold"}),
        ("self_trade", {"cancel-newest", "cancel-oldest", "allow"}), ("borrow", {True, False}),
    ):  # fmt: skip
        assert {terms.engine[name] for _, terms in parts} == values
    assert {terms.instrument.payoff for _, terms in parts} == {"linear", "inverse", "spot"}
    assert any(terms.engine["margin"] for _, terms in parts) and any(terms.engine["min_notional"] for _, terms in parts)
    assert {len(case.events) for case, _ in parts} == {1, 2}


@pytest.mark.skipif(INTERPRETED, reason="a capture takes minutes without the compiler")
@pytest.mark.parametrize("execution", ["partial", "full"])
def test_agreement_on_a_real_capture(execution: str) -> None:
    """The first 40 s of a recorded BTCUSDT market, acted on twice a second, after fills and on some prints."""
    if not CAPTURE.exists():
        pytest.skip(f"{CAPTURE} is not here")
    source = find_adapter("binance-usdm").open([CAPTURE])
    events = np.concatenate([batch.copy() for batch in source.batches()])
    events = events[events["ts"] < events["ts"][0] + 40_000_000]
    instrument = source.instruments[0]
    fees = MakerTaker("0.0002", "0.0005")
    models = {
        "latency": ConstantLatency(9_000, 4_000), "queue": PowerProbQueue(2.0, 1), "fees": fees,
        "execution": execution, "consume": execution == "partial", "self_trade": "cancel-newest",
        "on_gap": "reject", "borrow": False, "min_notional": 0.0, "margin": None,
    }  # fmt: skip
    market = oracle.Market(
        Fraction(instrument.tick), Fraction(instrument.lot), Fraction(instrument.multiplier), instrument.payoff,
        oracle.Constant(9_000, 4_000), oracle.Queue("power", 2.0), oracle.Fees(Fraction("0.0002"), Fraction("0.0005")),
        execution, execution == "partial",
    )  # fmt: skip
    last = int(np.flatnonzero(events["flags"] & 1)[-1]) + 1
    case = Scenario(5, [events[:last]], [Terms(instrument, models, market)], 0.0, 0, 500_000, 0.5)
    session, _ = compare(case)
    assert len(session.results()[0].fills) > 100
