"""hftbacktest 2.4.4: the same tape and strategies on its ROIVector or HashMap depth, `njit` or plain Python.

Each EVENT row becomes one of its rows, or two where the order of receipt is not the venue's (its own tool decides).
Times are ns: µs times 1000.  For `watch` messages that share a µs are put 1 ns apart, so that both engines wake for
each of them.  The range of interest of the ROIVector is half to one and a half times the first price; it does not keep
levels outside.  A loop that takes its objects holds pointers into its library, so Numba cannot cache it (it says so
when asked with `cache=True`): every process compiles it again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hftbacktest import (
    BUY_EVENT,
    DEPTH_EVENT,
    GTX,
    LIMIT,
    SELL_EVENT,
    TRADE_EVENT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
    ROIVectorMarketDepthBacktest,
)
from hftbacktest.data.validation import correct_event_order
from hftbacktest.order import FILLED, NEW
from hftbacktest.types import event_dtype
from numba import njit

from benchmarks.contenders import Make, Settings
from benchmarks.tape import Tape
from replay.events import BOOK, LAST, TRADE
from replay.units import NS_PER_US, US_PER_MS

FOREVER_NS = 10**18
LATENCY_NS = 10 * US_PER_MS * NS_PER_US
BACKENDS = {"roi": ROIVectorMarketDepthBacktest, "hashmap": HashMapMarketDepthBacktest}
MAX_FILLS = 1_000_000
FED = 2
"""What `wait_next_feed` returns for market data."""


class Data:
    """A tape in the peer's own rows, one array an instrument; `converted` names a file that holds them already."""

    def __init__(self, tape: Tape, settings: Settings) -> None:
        self.instruments = tape.instruments
        own = [tape.events[tape.events["instrument"] == i] for i in range(len(tape.instruments))]
        if "converted" in settings:
            self.arrays = [np.load(settings["converted"])]
        else:
            self.arrays = [rows(e, i, settings.get("distinct", False)) for e, i in zip(own, tape.instruments)]
        self.opening_ticks = [int(events["price"][0]) for events in own]


def load(tape: Tape, settings: Settings) -> Data:
    """The tape as arrays of its rows."""
    return Data(tape, settings)


def rows(events: np.ndarray, instrument: Any, distinct: bool) -> np.ndarray:
    """EVENT rows of one instrument as rows of the peer, in the order of both clocks."""
    data = np.zeros(len(events), event_dtype)
    kinds = {BOOK: DEPTH_EVENT, TRADE: TRADE_EVENT}
    data["ev"] = np.where(events["kind"] == BOOK, kinds[BOOK], kinds[TRADE])
    data["ev"] |= np.where(events["side"] > 0, BUY_EVENT, SELL_EVENT).astype(np.uint64)
    data["exch_ts"] = events["exch_ts"] * NS_PER_US
    data["local_ts"] = events["ts"] * NS_PER_US
    data["px"] = events["price"] * float(instrument.tick)
    data["qty"] = events["qty"] * float(instrument.lot)
    if distinct:
        data["local_ts"] += nth_of_time(events)
    by_venue = np.lexsort((events["kind"] == BOOK, data["local_ts"], data["exch_ts"]))
    by_receipt = np.arange(len(events))
    return correct_event_order(data, np.append(by_venue, 0), np.append(by_receipt, 0))  # it reads one index too far


def nth_of_time(events: np.ndarray) -> np.ndarray:
    """How many messages with the same `ts` came before the one of each row."""
    ends = (events["flags"] & LAST) != 0
    message = np.cumsum(ends) - ends
    first_row = np.searchsorted(events["ts"], events["ts"], side="left")
    return message - message[first_row]


def backtest(data: Data, settings: Settings) -> Any:
    """The venue of `ours.replay_of`, on the depth that `backend` names."""
    assets = []
    for array, instrument, ticks in zip(data.arrays, data.instruments, data.opening_ticks):
        tick, lot = float(instrument.tick), float(instrument.lot)
        asset = BacktestAsset().data(array).linear_asset(1.0).constant_order_latency(LATENCY_NS, LATENCY_NS)
        asset = (
            asset.power_prob_queue_model3(3) if settings.get("queue") == "power3" else asset.risk_adverse_queue_model()
        )
        asset = asset.no_partial_fill_exchange().trading_value_fee_model(0.0002, 0.0005).tick_size(tick).lot_size(lot)
        if settings["backend"] == "roi":
            asset = asset.roi_lb(ticks // 2 * tick).roi_ub(ticks * 3 // 2 * tick)
        assets.append(asset)
    return BACKENDS[settings["backend"]](assets)


class Played:
    """One backtest; `answer` leaves it open for reading."""

    def __init__(self, data: Data, settings: Settings) -> None:
        self.data, self.settings = data, settings
        self.test = backtest(data, settings)


@njit
def to_the_end(test):  # type: ignore[no-untyped-def]
    """Replay everything without a strategy."""
    return test.elapse(FOREVER_NS)


class Noop(Played):
    """No strategy; answers with the touch of every depth."""

    def go(self) -> None:
        to_the_end(self.test)

    def answer(self) -> dict[str, Any]:
        out = []
        for k, instrument in enumerate(self.data.instruments):
            depth = self.test.depth(k)
            bid, ask, lot = int(depth.best_bid_tick), int(depth.best_ask_tick), float(instrument.lot)
            sizes = depth.bid_qty_at_tick(bid), depth.ask_qty_at_tick(ask)  # `best_bid_qty` gives the price
            out.append([bid, round(sizes[0] / lot), ask, round(sizes[1] / lot)])
        return {"touch": out}


def watch(test):  # type: ignore[no-untyped-def]
    """Wake at every message and read the touch: (wakes, sum of bid and ask ticks); the last comes with the end."""
    calls = 0
    total = 0
    code = FED
    while code == FED:
        code = test.wait_next_feed(False, FOREVER_NS)
        depth = test.depth(0)
        calls += 1
        total += depth.best_bid_tick + depth.best_ask_tick
    return calls, total


watch_compiled = njit(watch)


class Watched(Played):
    """The strategy loop over `wait_next_feed`, compiled or in plain Python (`plain`)."""

    def go(self) -> None:
        self.found = (watch if self.settings.get("plain") else watch_compiled)(self.test)

    def answer(self) -> dict[str, Any]:
        return {"calls": int(self.found[0]), "total_ticks": int(self.found[1])}


@njit
def make_grid(test, start_ns, step_ns, levels, spacing, half_spread, lots, limit_lots, tick, lot, fills):  # type: ignore[no-untyped-def]
    """The grid maker of `ours`; fills are written to `fills` (venue ns, side, ticks, lots) as they are heard of."""
    n = 0
    next_id = 1
    there = np.zeros((2, levels), np.bool_)
    leaving = np.zeros(64, np.uint64)
    test.elapse(0)
    now = test.current_timestamp
    first = max(start_ns, -(-now // step_ns) * step_ns)
    code = test.elapse(first - now)
    while code == 0:
        depth = test.depth(0)
        doubled = depth.best_bid_tick + depth.best_ask_tick
        bid = (doubled - 2 * half_spread) // (2 * spacing) * spacing
        ask = -(-(doubled + 2 * half_spread) // (2 * spacing)) * spacing
        there[:] = False
        gone = 0
        values = test.orders(0).values()
        while values.has_next():
            order = values.get()
            if order.status == FILLED:
                fills[n, 0] = order.exch_timestamp
                fills[n, 1] = order.side
                fills[n, 2] = order.exec_price_tick
                fills[n, 3] = round(order.exec_qty / lot)
                n += 1
            elif order.status <= NEW:
                side = order.side
                behind = side * ((bid if side > 0 else ask) - order.price_tick)
                if 0 <= behind < levels * spacing:
                    there[0 if side > 0 else 1, behind // spacing] = True
                elif order.cancellable:
                    leaving[gone] = order.order_id
                    gone += 1
        for i in range(gone):
            test.cancel(0, leaving[i], False)
        test.clear_inactive_orders(0)
        position = round(test.position(0) / lot)
        for k in range(levels):
            if position < limit_lots and not there[0, k]:
                test.submit_buy_order(0, next_id, (bid - k * spacing) * tick, lots * lot, GTX, LIMIT, False)
                next_id += 1
        for k in range(levels):
            if position > -limit_lots and not there[1, k]:
                test.submit_sell_order(0, next_id, (ask + k * spacing) * tick, lots * lot, GTX, LIMIT, False)
                next_id += 1
        code = test.elapse(step_ns)
    return n


class Grid(Played):
    """The grid maker; answers with its fills (venue time µs, side, ticks, lots) that it had heard of by `until_us`."""

    def __init__(self, data: Data, settings: Settings) -> None:
        super().__init__(data, settings)
        self.fills = np.zeros((MAX_FILLS, 4), np.int64)
        self.n = 0

    def go(self) -> None:
        s, grid, i = self.settings, self.settings["grid"], self.data.instruments[0]
        self.n = make_grid(
            self.test, s["start_us"] * NS_PER_US, grid["step_us"] * NS_PER_US, grid["levels"], grid["spacing_ticks"],
            grid["half_spread_ticks"], grid["lots"], grid["limit_lots"], float(i.tick), float(i.lot), self.fills,
        )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        fills = self.fills[: self.n]
        fills = fills[fills[:, 0] + LATENCY_NS <= self.settings["until_us"] * NS_PER_US]
        return {"fills": sorted([int(f[0]) // NS_PER_US, *map(int, f[1:])] for f in fills)}


RUNS: dict[str, Make] = {"noop": Noop, "watch": Watched, "grid": Grid}
