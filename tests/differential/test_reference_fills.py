"""The engine against the recorded fills of an independent simulator (`../shared/reference/fills`).

Every order row must come out, sent requests included: visible time, time of the last request, side, status, request,
price, executed quantity and price, venue time, maker.  Every series row too: touch, position, cash, fee, trades.  What
the strategy has been told by an action time is what stands in `Result.orders` up to it, so the money of the series is
summed from there.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay import (
    ConstantLatency,
    Instrument,
    LogProbQueue,
    MakerTaker,
    PowerProbQueue,
    Replay,
    Result,
    RiskAverseQueue,
)
from replay.kernel import codes
from replay.sources import find_adapter
from tests.differential.reference_strategies import Bbo, Grid, Join, Taker, Timed

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
FILLS = SHARED / "reference" / "fills"
CAPTURE = SHARED / "captures" / "binance_usdm" / "btcusdt_20240808.gz"
CASES = [
    "i_bbo_risk", "i_bbo_power_n2", "i_bbo_power3_n3", "i_bbo_log", "i_bbo_log2", "i_bbo_risk_lat100_3",
    "iv_join_risk", "iv_join_power_n2", "iii_touchgrid_risk", "iii_touchgrid_power_n2",
    "ii_taker_GTC", "ii_taker_IOC", "ii_taker_FOK", "ii_taker_MARKET",
]  # fmt: skip
STRATEGIES: dict[str, type[Timed]] = {"i": Bbo, "ii": Taker, "iii": Grid, "iv": Join}
STATUS = {codes.PENDING: 0, codes.LIVE: 1, codes.EXPIRED: 2, codes.REJECTED: 2, codes.FILLED: 3, codes.CANCELLED: 4}
REQUEST = {codes.REQUEST_NEW: 1, codes.REQUEST_CANCEL: 4}
MONEY = 1e-6
LOTS_EACH = 1_000

Row = tuple[int, int, int, int, int, int, int, int, int, int]
"""visible µs, last request µs, side, status, request, price ticks, executed lots, executed ticks, venue µs, maker."""
Played = Callable[[str], Result]


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    if not FILLS.exists() or not CAPTURE.exists():
        pytest.skip(f"{SHARED} with the reference fills and captures is not here")
    return json.loads((FILLS / "summary.json").read_text())


@pytest.fixture(scope="module")
def capture(summary: dict[str, Any]) -> tuple[np.ndarray, tuple[Instrument, ...]]:
    source = find_adapter("binance-usdm").open([CAPTURE])
    return np.concatenate([batch.copy() for batch in source.batches()]), source.instruments


def queue_of(name: str) -> RiskAverseQueue | PowerProbQueue | LogProbQueue:
    kind, _, n = name.partition("_n")
    if kind == "risk":
        return RiskAverseQueue()
    if kind.startswith("log"):
        return LogProbQueue(2 if kind == "log2" else 1)
    return PowerProbQueue(float(n), {"power": 1, "power2": 2, "power3": 3}[kind])


def strategy_of(case: str, settings: dict[str, Any]) -> Timed:
    kind = case.split("_")[0]
    terms = {
        "step_us": settings["step_ns"] // 1000,
        "start_us": settings["start_ns"] // 1000,
        "lots": round(settings["qty"] * LOTS_EACH),
        "p1": int(settings["p1"]),
        "p2": float(settings["p2"]),
    }
    if kind == "ii":
        terms["tif"] = case.rsplit("_", 1)[1]
    return STRATEGIES[kind](**terms)


@pytest.fixture(scope="module")
def played(capture: tuple[np.ndarray, tuple[Instrument, ...]], summary: dict[str, Any]) -> Played:
    """Runs a case once and remembers it."""
    done: dict[str, Result] = {}
    events, instruments = capture

    def play(case: str) -> Result:
        if case not in done:
            settings = summary[case]
            entry_ns, response_ns = settings["latency"]
            done[case] = Replay(
                events,
                instruments=instruments,
                latency=ConstantLatency(entry_ns // 1000, response_ns // 1000),
                queue=queue_of(settings["queue"]),
                fees=MakerTaker(settings["maker_fee"], settings["taker_fee"]),
                execution="full",
            ).run(strategy_of(case, settings))
        return done[case]

    return play


def table(name: str) -> list[dict[str, str]]:
    with gzip.open(FILLS / name, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


def reference_rows(case: str) -> list[Row]:
    market = case.endswith("MARKET")
    return [
        (int(row["local_ts"]) // 1000, int(row["req_ts"]) // 1000, int(row["side"]), int(row["status"]),
         int(row["req"]), 0 if market else int(row["price_tick"]), round(float(row["exec_qty"]) * LOTS_EACH),
         int(row["exec_price_tick"]), int(row["exch_ts"]) // 1000, int(row["maker"]))
        for row in table(f"{case}_orders.csv.gz")
    ]  # fmt: skip


def our_rows(orders: np.ndarray) -> list[Row]:
    """Our log in the files' terms: an unknown-order answer changes nothing that the strategy can see."""
    names = ("local_ts", "req_ts", "side", "status", "request", "ticks", "exec_lots", "exec_ticks", "exch_ts", "maker")
    rows = []
    for row in orders:
        if row["answer"] and row["reason"] == codes.R_UNKNOWN_ORDER:
            continue
        values = [int(row[name]) for name in names]
        values[3] = STATUS[values[3]]
        values[4] = 0 if row["answer"] else REQUEST[values[4]]
        rows.append(tuple(values))
    return rows  # type: ignore[return-value]


@pytest.mark.parametrize("case", CASES)
def test_every_row_of_the_reference(case: str, played: Played, summary: dict[str, Any]) -> None:
    rows = our_rows(played(case).orders)
    ours, theirs = Counter(rows), Counter(reference_rows(case))
    assert sorted((theirs - ours).elements())[:5] == []
    assert sorted((ours - theirs).elements())[:5] == []
    assert len(rows) == summary[case]["rows_orders"]


@pytest.mark.parametrize("case", CASES)
def test_touch_and_account_at_each_action(case: str, played: Played) -> None:
    result = played(case)
    instrument = result.instruments[0]
    unit = float(instrument.tick * instrument.lot * instrument.multiplier)
    fills = result.orders[result.orders["exec_lots"] > 0]
    cash = np.concatenate([[0], np.cumsum(-fills["side"] * fills["exec_lots"] * fills["exec_ticks"])]) * unit
    volume = np.concatenate([[0], np.cumsum(fills["exec_lots"])])
    turnover = np.concatenate([[0], np.cumsum(fills["exec_lots"] * fills["exec_ticks"])]) * unit
    fees = np.concatenate([[0.0], np.cumsum(fills["fee"])])
    series = table(f"{case}_series.csv.gz")
    times = result.records["position"]["ts"]
    assert times.tolist() == [int(row["local_ts"]) // 1000 for row in series]
    for name, column, each in (
        ("bid", "best_bid_tick", 1), ("ask", "best_ask_tick", 1), ("bid_lots", "best_bid_qty", LOTS_EACH),
        ("ask_lots", "best_ask_qty", LOTS_EACH), ("position", "position", LOTS_EACH),
    ):  # fmt: skip
        assert result.records[name]["value"].tolist() == [round(float(row[column]) * each) for row in series], name
    heard = np.searchsorted(fills["local_ts"], times, side="right")
    assert heard.tolist() == [int(row["num_trades"]) for row in series]
    assert volume[heard].tolist() == [round(float(row["volume"]) * LOTS_EACH) for row in series]
    for ours, column in ((cash, "balance"), (fees, "fee"), (turnover, "value")):
        theirs = np.array([float(row[column]) for row in series])
        assert np.abs(ours[heard] - theirs).max() < MONEY, column


@pytest.mark.parametrize("case", CASES)
def test_the_final_account(case: str, played: Played, summary: dict[str, Any]) -> None:
    result, final = played(case), summary[case]["final"]
    ours = result.summary_by_instrument[0]
    fills = result.fills
    assert (ours.position, ours.volume) == (round(final["position"] * 1000), round(final["volume"] * LOTS_EACH))
    assert (ours.fills, len(fills)) == (final["num_trades"], final["num_trades"])
    assert ours.fees == pytest.approx(final["fee"], abs=MONEY)
    balance = -float((fills["side"] * fills["lots"] * fills["ticks"]).sum()) / (10 * LOTS_EACH)
    assert balance == pytest.approx(final["balance"], abs=MONEY)
    assert ours.pnl == pytest.approx(final["balance"] + ours.position / LOTS_EACH * ours.mark, abs=MONEY)


def test_cancel_newest_is_not_what_the_reference_does(
    capture: tuple[np.ndarray, tuple[Instrument, ...]], summary: dict[str, Any]
) -> None:
    """One own ask of the touch grid meets an own bid; the reference lets both rest, "cancel-newest" refuses it."""
    case, (events, instruments) = "iii_touchgrid_risk", capture
    result = Replay(
        events, instruments=instruments, latency=ConstantLatency(10_000, 10_000), execution="full",
        self_trade="cancel-newest",
    ).run(strategy_of(case, summary[case]))  # fmt: skip
    refused = result.orders[result.orders["reason"] == codes.R_SELF_TRADE]
    assert [(int(row["local_ts"]), int(row["ticks"])) for row in refused] == [(1723161519820000, 616409)]
