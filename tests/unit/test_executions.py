"""Markouts, P&L split, order and inventory figures: by hand, and against slow oracles on random runs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from replay import Replay, Result
from replay.executions import (
    Split,
    inventory_of,
    markouts_of,
    mids_of,
    orders_of,
    slippage_bps_of,
    split_of,
    weighed,
)
from replay.kernel import codes
from replay.kernel.answers import MARKOUT_US
from replay.kernel.state import FILL, LOG, MARKOUT
from tests.differential.scenarios import Scenario, scenario, wider
from tests.oracles.split import Mids, split
from tests.unit.test_positions import LINEAR, PART, fills

SEEDS = range(16)


def run(seed: int) -> tuple[Scenario, list[Result]]:
    made = (scenario if seed % 2 else wider)(seed)
    return made, made.session().results()


def marks(*rows: tuple[int, int, int]) -> np.ndarray:
    """Markouts of (fill, horizon µs, mid2)."""
    out = np.zeros(len(rows), MARKOUT)
    out["fill"], out["horizon_us"], out["mid2"] = np.array(rows).reshape(-1, 3).T
    return out


def test_split_and_markouts_by_hand() -> None:
    table = fills((1, 200, 3), (-1, 206, 2))
    table["maker"] = [1, 0]
    noted = marks((1, 0, 402), (1, 100_000, 404), (1, 1_000_000, 398), (2, 0, 414), (2, 100_000, 412))
    # mid 100.5, bought at 100: 0.5 a unit on 0.6 units; mid 103.5, sold at 103: -0.5 on 0.4.
    part = split_of(table, noted, (PART,), (LINEAR,), "USDT")
    assert part.spread == Fraction("0.3") - Fraction("0.2")
    of = weighed(table, noted, [0], (LINEAR,))
    assert slippage_bps_of(of) == pytest.approx(1e4 * 0.5 / 103.5)
    made, made_later, taken = markouts_of(of)
    assert (made.role, made.horizon_us, made.fills, taken.role, taken.fills) == ("maker", 100_000, 1, "taker", 1)
    assert made.edge_bps == pytest.approx(1e4 * 1.0 / 100.5) and made.drift_bps == pytest.approx(1e4 * 0.5 / 100.5)
    assert made_later.drift_bps == pytest.approx(-1e4 * 1.0 / 100.5)
    assert taken.edge_bps == pytest.approx(0.0) and taken.drift_bps == pytest.approx(1e4 * 0.5 / 103.5)


def test_a_fill_without_a_mid_is_inventory() -> None:
    part = split_of(fills((1, 200, 3)), marks((1, 0, 0)), (PART,), (LINEAR,), "USDT")
    assert part.spread == 0
    of = weighed(fills((1, 200, 3)), marks((1, 0, 0)), [0], (LINEAR,))
    assert len(of.value) == 0 and slippage_bps_of(of) is None and markouts_of(of) == ()


def test_no_fills_have_no_figures() -> None:
    none, log = np.zeros(0, FILL), np.zeros(0, LOG)
    assert split_of(none, marks(), (PART,), (LINEAR,), "USDT") == Split(*[Fraction(0)] * 4)
    assert orders_of(log, none, [0]).fill_ratio is None
    held = inventory_of(none, 0, PART, LINEAR, 5, 5)
    assert (held.mean, held.deviation, held.in_market) == (0.0, 0.0, 0.0)


def test_inventory_by_hand() -> None:
    # 0 for 1 s, +3 for 1 s, -2 for 2 s, in lots of 0.1
    table = fills((1, 200, 3), (-1, 200, 5))
    table["exch_ts"] += 1_000_000
    held = inventory_of(table, 0, PART, LINEAR, 0, 4_000_000)
    assert held.mean == pytest.approx(0.1 * (3 - 4) / 4)
    assert held.mean_abs == pytest.approx(0.1 * 7 / 4)
    assert held.deviation == pytest.approx(0.1 * ((0.0625 + 3.25**2 + 2 * 1.75**2) / 4) ** 0.5)
    assert (held.largest_long, held.largest_short) == (pytest.approx(0.3), pytest.approx(-0.2))
    assert held.in_market == pytest.approx(0.75)


def test_orders_by_hand() -> None:
    log = np.zeros(4, LOG)
    log["answer"], log["kind"] = 1, codes.LIMIT
    log["order_id"], log["lots"], log["exch_ts"] = [1, 2, 3, 1], [10, 5, 7, 10], [1_000, 2_000, 2_500, 9_000]
    log["request"] = [codes.REQUEST_NEW] * 3 + [codes.REQUEST_NONE]
    log["status"] = [codes.LIVE, codes.LIVE, codes.REJECTED, codes.PARTLY_FILLED]
    done = fills((1, 200, 4), (1, 200, 1))
    done["order_id"], done["maker"], done["exch_ts"] = 1, 1, [9_000, 9_500]
    of = orders_of(log, done, [0])
    assert (of.count, of.fill_ratio) == (2, pytest.approx((0.5 + 0.0) / 2))
    assert (of.queue_wait_mean_us, of.queue_wait_median_us) == (8_000.0, 8_000.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_mid_after_fills_is_that_of_the_market(seed: int) -> None:
    """Every markout on random runs is the mid of a book rebuilt from the events; only those beyond the end lack."""
    made, results = run(seed)
    events = np.concatenate(made.events)
    seen = 0
    for i in range(len(made.terms)):
        mids = Mids(events[np.argsort(events["ts"], kind="stable")], i)
        busy = set(mids.times)
        for result in results:
            rows = result.markouts[result.markouts["instrument"] == i]
            mine = result.fills[result.fills["instrument"] == i]
            for row in rows.tolist():
                ts, _, _, fill, horizon_us, mid2 = row
                assert ts == mine["exch_ts"][fill - 1] + horizon_us
                if horizon_us or ts not in busy:
                    assert mid2 == mids.at(ts), row
                    seen += 1
            end = int(events["ts"].max())
            for horizon_us in MARKOUT_US:
                late = mine["exch_ts"] + horizon_us > end
                inside = len(mine) - int(late.sum()) * (horizon_us > 0)  # an order under way may trade after the end
                assert (rows["horizon_us"] == horizon_us).sum() == inside
    assert seen > 3


@pytest.mark.parametrize("seed", SEEDS)
def test_the_split_adds_up_and_is_what_the_oracle_says(seed: int) -> None:
    """spread + inventory - fees - funding is the P&L to the last digit; each part is that of exact fractions."""
    _, results = run(seed)
    for result in results:
        for currency in result.currencies:
            part = split_of(result.fills, result.markouts, result.summary_by_instrument, result.instruments, currency)
            assert part.net == part.spread + part.inventory - part.fees - part.funding
            assert float(part.net) == pytest.approx(result.net[currency], rel=1e-12, abs=1e-12)
            spread = inventory = Fraction(0)
            turnover = 1.0
            for i, (done, instrument) in enumerate(zip(result.summary_by_instrument, result.instruments)):
                if done.currency == currency and not done.expired:
                    mine = result.fills[result.fills["instrument"] == i]
                    tick = Fraction(instrument.tick)
                    mids = [Fraction(int(m), 2) * tick if m else None
                            for m in mids_of(result.markouts, i, len(mine), 0)]  # fmt: skip
                    one = split(mine[["side", "ticks", "lots"]].tolist(), mids, Fraction(done.mark), instrument)
                    spread, inventory = spread + one[0], inventory + one[1]
                    turnover += done.turnover
                elif done.currency == currency:
                    return
            assert float(part.spread) == pytest.approx(float(spread), abs=1e-12 * turnover)
            assert float(part.inventory) == pytest.approx(float(inventory), abs=1e-12 * turnover)


def test_markouts_do_not_depend_on_batches_or_company() -> None:
    """The same rows for any batch size, and for a strategy that runs beside others."""
    from tests.unit.test_session import Trades, X, synthetic_events

    events = synthetic_events([X], seed=5, messages=2_000, gap_every=300)
    alone = Replay(events, instruments=[X], batch_rows=64).run(Trades())
    together = Replay(events, instruments=[X]).run([Trades(), Trades()])
    assert len(alone.markouts) > 100
    for result in together:
        assert result.markouts.tobytes() == alone.markouts.tobytes()
        assert result.digest == alone.digest
        assert result.metrics().as_dict() == alone.metrics().as_dict()
