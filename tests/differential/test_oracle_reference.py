"""The venue oracle against the recorded fills of an independent simulator (`../shared/reference/fills`).

The drivers are written from the README there.  Every order row must come out: visible time, status, price, executed
quantity and venue time, matched by (time of the last request, side, price); and the account and touch at each action.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.oracles.venue import (
    BookMessage,
    Constant,
    Driver,
    Event,
    Fees,
    LocalOrder,
    Market,
    Queue,
    Report,
    Simulation,
    Trade,
)

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
FILLS = SHARED / "reference" / "fills"
CAPTURE = SHARED / "captures" / "binance_usdm" / "btcusdt_20240808.gz"
OFFSET_NS = 1_272_156_851
CASES = [
    "i_bbo_risk", "i_bbo_power_n2", "i_bbo_power3_n3", "i_bbo_log", "i_bbo_log2", "i_bbo_risk_lat100_3",
    "iv_join_risk", "iv_join_power_n2", "iii_touchgrid_risk", "iii_touchgrid_power_n2",
    "ii_taker_GTC", "ii_taker_IOC", "ii_taker_FOK", "ii_taker_MARKET",
]  # fmt: skip
QUEUE_KINDS = {"risk": "risk-averse", "power": "power", "power2": "power-2", "power3": "power-3",
               "log": "log", "log2": "log-2"}  # fmt: skip
STATUS = {"pending": 0, "live": 1, "expired": 2, "rejected": 2, "filled": 3, "cancelled": 4, "partly-filled": 5}

Played = Callable[[str], "tuple[Recorder, Simulation]"]
MONEY = Fraction(1, 10**6)

Row = tuple[int, int, int, int, int, int, int, int, int, int]
"""visible µs, last request µs, side, status, request, price ticks, executed lots, executed ticks, venue µs, maker."""


def scaled(text: str, digits: int) -> int:
    """A decimal string of at most `digits` decimals times 10^digits."""
    whole, _, decimals = text.partition(".")
    assert not decimals[digits:].strip("0")
    return int(whole + decimals[:digits].ljust(digits, "0"))


def levels_of(message: dict[str, Any], bids: str, asks: str) -> tuple[tuple[int, int, int], ...]:
    sides = ((1, message[bids]), (-1, message[asks]))
    return tuple((side, scaled(p, 1), scaled(q, 3)) for side, levels in sides for p, q in levels)


def capture_events() -> list[Event]:
    """Trades, and depth from the REST snapshot on; deltas received before it are released at its receipt."""
    events: list[Event] = []
    early: list[dict[str, Any]] = []
    synced = False
    last_id = 0
    with gzip.open(CAPTURE, "rb") as lines:
        for line in lines:
            local, _, body = line.partition(b" ")
            ts, message = (int(local) + OFFSET_NS) // 1000, orjson.loads(body)
            if "lastUpdateId" in message:
                last_id, synced = message["lastUpdateId"], True
                book = levels_of(message, "bids", "asks")
                events.append(BookMessage(0, ts, message["T"] * 1000, book, snapshot=True))
                deltas = early
            elif message["data"]["e"] == "trade":
                print_ = message["data"]
                side = -1 if print_["m"] else 1
                ticks, lots = scaled(print_["p"], 1), scaled(print_["q"], 3)
                events.append(Trade(0, ts, print_["T"] * 1000, side, ticks, lots))
                continue
            elif message["data"]["e"] == "depthUpdate":
                deltas = [message["data"]]
            else:
                continue
            if not synced:
                early += deltas
                continue
            for delta in deltas:
                if delta["u"] < last_id:
                    continue
                assert delta["pu"] == last_id or delta["U"] <= last_id, "the capture has no hole"
                last_id = delta["u"]
                events.append(BookMessage(0, ts, delta["T"] * 1000, levels_of(delta, "b", "a")))
    return events


class Recorder(Driver):
    """Acts every step, epoch-aligned; notes every visible order change and the account before each action."""

    def __init__(self, case: str, settings: dict[str, Any]) -> None:
        self.case, self.settings = case, settings
        self.step_us, self.start_us = settings["step_ns"] // 1000, settings["start_ns"] // 1000
        self.lots = round(settings["qty"] * 1000)
        self.rows: list[Row] = []
        self.series: list[tuple[Any, ...]] = []
        self.known: dict[int, LocalOrder] = {}

    def on_start(self, sim: Simulation) -> None:
        assert self.start_us % self.step_us == 0
        sim.timer(self.start_us, None, self.step_us)

    def on_order(self, sim: Simulation, report: Report) -> None:
        order = sim.orders[report.order_id]
        if report.reason == "unknown-order":
            return
        self.rows.append(
            (sim.now, order.sent_us, order.side, STATUS[report.status], 0, report.ticks, report.exec_lots,
             report.exec_ticks, report.venue_us, int(report.maker))
        )  # fmt: skip

    def on_timer(self, sim: Simulation, tag: Any) -> None:
        self.known = {k: order for k, order in self.known.items() if not order.over}
        book = sim.book(0)
        bid, ask = book.best(1), book.best(-1)
        assert bid is not None and ask is not None
        account = sim.accounts[0]
        self.series.append(
            (sim.now, bid, ask, book.lots(1, bid), book.lots(-1, ask), account.position, account.fills,
             account.volume, account.cash, account.fees, account.turnover)
        )  # fmt: skip
        kind = self.case.split("_")[0]
        {"i": self.both_sides, "iv": self.join, "iii": self.grid, "ii": self.take}[kind](sim, bid, ask)

    def place(self, sim: Simulation, side: int, ticks: int, lots: int, **how: Any) -> None:
        order_id = sim.submit(0, side, lots, ticks, **how)
        assert order_id
        self.known[order_id] = sim.orders[order_id]
        self.rows.append((sim.now, sim.now, side, 0, 1, ticks, 0, 0, 0, 0))

    def withdraw(self, sim: Simulation, order: LocalOrder) -> None:
        if sim.cancel(order.id) == "":
            self.rows.append((sim.now, sim.now, order.side, 1, 4, order.ticks, 0, 0, order.venue_us, 0))

    def idle(self) -> list[LocalOrder]:
        """Live orders without a request under way."""
        return [order for order in self.known.values() if order.status == "live" and not order.pending]

    def both_sides(self, sim: Simulation, bid: int, ask: int) -> None:
        for order in self.idle():
            self.withdraw(sim, order)
        self.place(sim, 1, bid, self.lots, post_only=True)
        self.place(sim, -1, ask, self.lots, post_only=True)

    def join(self, sim: Simulation, bid: int, ask: int) -> None:
        touch = {1: bid, -1: ask}
        for order in self.idle():
            if abs(order.ticks - touch[order.side]) > self.settings["p1"]:
                self.withdraw(sim, order)
        for side in (1, -1):
            if not any(order.side == side for order in self.known.values()):
                self.place(sim, side, touch[side], self.lots, post_only=True)

    def grid(self, sim: Simulation, bid: int, ask: int) -> None:
        step, half, mid = int(self.settings["p1"]), Fraction(self.settings["p2"]), Fraction(bid + ask, 2)
        inner = {1: math.floor((mid - half) / step) * step, -1: math.ceil((mid + half) / step) * step}
        wanted = {side: [inner[side] - side * k * step for k in range(5)] for side in (1, -1)}
        for order in self.idle():
            if order.ticks not in wanted[order.side]:
                self.withdraw(sim, order)
        have = {(order.side, order.ticks) for order in self.known.values()}
        position = sim.accounts[0].position
        for side in (1, -1):
            for ticks in wanted[side]:
                if side * position < 1000 and (side, ticks) not in have:
                    self.place(sim, side, ticks, self.lots, post_only=True)

    def take(self, sim: Simulation, bid: int, ask: int) -> None:
        side = 1 if (sim.now // self.step_us) % 2 == 0 else -1
        touch = ask if side > 0 else bid
        lots = sim.book(0).lots(-side, touch) + self.lots
        tif = self.case.rsplit("_", 1)[1]
        limit = touch + side * 20
        if tif == "MARKET":
            self.place(sim, side, limit, lots, kind="market", tif="IOC")
        else:
            self.place(sim, side, limit, lots, tif=tif)


def table(name: str) -> list[dict[str, str]]:
    with gzip.open(FILLS / name, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


def reference_rows(case: str) -> list[Row]:
    return [
        (int(row["local_ts"]) // 1000, int(row["req_ts"]) // 1000, int(row["side"]), int(row["status"]),
         int(row["req"]), int(row["price_tick"]), round(float(row["exec_qty"]) * 1000), int(row["exec_price_tick"]),
         int(row["exch_ts"]) // 1000, int(row["maker"]))
        for row in table(f"{case}_orders.csv.gz")
    ]  # fmt: skip


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    if not FILLS.exists() or not CAPTURE.exists():
        pytest.skip(f"{SHARED} with the reference fills and captures is not here")
    return json.loads((FILLS / "summary.json").read_text())


@pytest.fixture(scope="module")
def events(summary: dict[str, Any]) -> list[Event]:
    return capture_events()


def market_of(settings: dict[str, Any]) -> Market:
    kind, _, n = settings["queue"].partition("_n")
    entry, response = settings["latency"]
    return Market(
        tick=Fraction(str(settings["tick"])),
        lot=Fraction(str(settings["lot"])),
        latency=Constant(entry // 1000, response // 1000),
        queue=Queue(QUEUE_KINDS[kind], float(n or 1)),
        fees=Fees(Fraction(str(settings["maker_fee"])), Fraction(str(settings["taker_fee"]))),
        execution="full",
        self_trade="allow",
    )


def test_the_capture_is_whole(events: list[Event]) -> None:
    books = sum(isinstance(event, BookMessage) for event in events)
    assert (books, len(events) - books) == (6548, 21_313)


@pytest.fixture(scope="module")
def played(events: list[Event], summary: dict[str, Any]) -> Callable[[str], tuple[Recorder, Simulation]]:
    """Runs a case once and remembers it."""
    done: dict[str, tuple[Recorder, Simulation]] = {}

    def play(case: str) -> tuple[Recorder, Simulation]:
        if case not in done:
            driver = Recorder(case, summary[case])
            done[case] = driver, Simulation(events, [market_of(summary[case])], driver).run()
        return done[case]

    return play


@pytest.mark.parametrize("case", CASES)
def test_every_row_of_the_reference(case: str, played: Played, summary: dict[str, Any]) -> None:
    driver, sim = played(case)
    sim.check()
    ours, theirs = Counter(driver.rows), Counter(reference_rows(case))
    assert len(driver.rows) == summary[case]["rows_orders"]
    assert sorted((theirs - ours).elements())[:5] == []
    assert sorted((ours - theirs).elements())[:5] == []


@pytest.mark.parametrize("case", CASES)
def test_touch_and_account_at_each_action(case: str, played: Played) -> None:
    driver, _ = played(case)
    series = table(f"{case}_series.csv.gz")
    assert len(driver.series) == len(series)
    for ours, row in zip(driver.series, series):
        now, bid, ask, bid_lots, ask_lots, position, fills, volume, *money = ours
        assert now == int(row["local_ts"]) // 1000
        assert (bid, ask) == (int(row["best_bid_tick"]), int(row["best_ask_tick"]))
        names = ("best_bid_qty", "best_ask_qty", "position", "volume")
        assert [bid_lots, ask_lots, position, volume] == [round(float(row[name]) * 1000) for name in names]
        assert fills == int(row["num_trades"])
        for mine, name in zip(money, ("balance", "fee", "value")):
            assert abs(mine - Fraction(row[name])) < MONEY, (name, now)


@pytest.mark.parametrize("case", CASES)
def test_the_final_account(case: str, played: Played, summary: dict[str, Any]) -> None:
    account, final = played(case)[1].accounts[0], summary[case]["final"]
    assert (account.position, account.volume) == (round(final["position"] * 1000), round(final["volume"] * 1000))
    assert account.fills == final["num_trades"]
    assert abs(account.cash - Fraction(final["balance"])) < MONEY
    assert abs(account.fees - Fraction(final["fee"])) < MONEY


def test_cancel_newest_is_not_what_the_reference_does(events: list[Event], summary: dict[str, Any]) -> None:
    """The default self-trade policy refuses one ask of the touch grid that the reference lets rest."""
    case = "iii_touchgrid_risk"
    market = replace(market_of(summary[case]), self_trade="cancel-newest")
    sim = Simulation(events, [market], Recorder(case, summary[case])).run()
    refused = [(now, report.ticks) for now, report in sim.seen if report.reason == "self-trade"]
    assert refused == [(1723161519820000, 616409)]
