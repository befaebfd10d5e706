"""hftbacktest arrays: what is written comes back, the real program reads it, broken files are named."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.binance import USDM
from adapters.hftbacktest_npz import EXCH, LOCAL, NPZ, RECORD, read_records, write
from replay.errors import ConfigError, DataError
from replay.events import (
    BOOK,
    BUY,
    CLEAR,
    EVENT,
    LAST,
    LIQUIDATION,
    QUOTE,
    SELL,
    SNAPSHOT,
    TRADE,
    empty_events,
)  # fmt: skip
from replay.instruments import Instrument
from replay.sources import ArraySource, Source
from replay.verify import verify

COIN = Instrument("venue", "COIN", "linear", Decimal("0.05"), Decimal("0.001"))
T0 = 1_700_000_000_000_000
SAME = ("ts", "exch_ts", "price", "qty", "kind", "side")


def events_of(source: Source) -> np.ndarray:
    return np.concatenate([batch.copy() for batch in source.batches()])


@st.composite
def tapes(draw: st.DrawFn) -> np.ndarray:
    """A snapshot, then deltas and trades whose venue times are not in order of receipt."""
    sizes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=25))
    rows, ts, exch = [], T0, {BOOK: T0 - 50, TRADE: T0 - 50}
    for number, size in enumerate(sizes):
        kind = BOOK if number == 0 or size else TRADE
        ts += draw(st.integers(1, 30))
        exch[kind] = min(ts, exch[kind] + draw(st.integers(1, 60)))
        flags = SNAPSHOT if number == 0 or (draw(st.integers(0, 7)) == 0 and kind == BOOK) else 0
        for k in range(max(1, size)):
            first = CLEAR if flags and k == 0 else 0
            side = BUY if draw(st.booleans()) else SELL
            price = draw(st.integers(1000, 1010)) * (1 if side == SELL else -1) % 1999
            qty = draw(st.integers(0 if kind == BOOK and not flags else 1, 10**9))
            last = LAST if k == max(1, size) - 1 else 0
            rows.append((ts, exch[kind], -1, price, qty, 0, 0, 0, flags | first | last, kind, side, 0, 0))
    return np.array(rows, EVENT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("npz")


@given(tape=tapes())
def test_round_trip(folder: Path, tape: np.ndarray) -> None:
    """Times, exact prices and sizes, sides, snapshots and messages come back; both clocks' rows are in order."""
    path = folder / "coin_20240808.npz"
    assert write(path, tape, COIN) == {}
    records = np.concatenate(list(read_records(path, 7)))
    for flag, clock in ((EXCH, "exch_ts"), (LOCAL, "local_ts")):
        mine = records[(records["ev"] & flag) > 0]
        assert len(mine) == len(tape) + 2 * (tape["flags"] & CLEAR > 0).sum()
        assert (np.diff(mine[clock]) >= 0).all()
    source = NPZ.open([path], instruments=[COIN], policy="count")
    assert source.instruments == (COIN,)
    back = events_of(source)
    told = back[back["kind"] != 7]  # a snapshot after deltas is a gap to whoever reads the file
    for name in SAME:
        assert (told[name] == tape[name]).all(), name
    for flag in (CLEAR, SNAPSHOT, LAST):
        assert (told["flags"] & flag == tape["flags"] & flag).all()


def test_a_capture_goes_out_and_comes_back(captures: Path, tmp_path: Path) -> None:
    source = USDM.open([captures / "binance_usdm/btcusdt_20240808.gz"])
    events = events_of(source)
    path = tmp_path / "btcusdt_20240808.npz"
    left_out = write(path, events, source.instruments[0])
    assert left_out == {"quote": int((events["kind"] == QUOTE).sum())}
    back = NPZ.open([path])
    (instrument,) = back.instruments
    assert (instrument.name, instrument.tick, instrument.lot) == (
        "hftbacktest:BTCUSDT", source.instruments[0].tick, source.instruments[0].lot,
    )  # fmt: skip
    (mine,), (theirs,) = (verify(s).instruments.values() for s in (back, source))
    assert mine.digest_all == theirs.digest_all
    assert (mine.trades.buy_qty, mine.trades.sell_qty) == (theirs.trades.buy_qty, theirs.trades.sell_qty)
    assert not path.with_name(path.name + ".part").exists()


def hft_touch(path: Path, elapse_us: int) -> tuple[float, float, float, float]:
    """Touch (bid, size, ask, size) of the real hftbacktest after `elapse_us` of the file."""
    hft = pytest.importorskip("hftbacktest", reason="hftbacktest (extra 'bench') is not installed")
    from hftbacktest.data import validate_event_order

    records = np.load(path)["data"]
    assert records.dtype == RECORD == hft.event_dtype
    validate_event_order(records)
    asset = (
        hft.BacktestAsset().data([str(path)]).linear_asset(1.0).constant_order_latency(0, 0).risk_adverse_queue_model()
        .no_partial_fill_exchange().trading_value_fee_model(0, 0).tick_size(0.1).lot_size(0.001)
    )  # fmt: skip
    market = hft.HashMapMarketDepthBacktest([asset])
    assert market.elapse(elapse_us * 1000) in (0, 1)
    depth = market.depth(0)
    touch = (round(depth.best_bid, 1), depth.best_bid_qty, round(depth.best_ask, 1), depth.best_ask_qty)
    market.close()
    return touch


def test_hftbacktest_builds_the_same_book(captures: Path, tmp_path: Path) -> None:
    source = USDM.open([captures / "binance_usdm/btcusdt_20240808.gz"])
    events, (instrument,) = events_of(source), source.instruments
    write(tmp_path / "x.npz", events, instrument)
    elapse_us = int(events["ts"][-1] - events["ts"][0]) + 10**6
    assert hft_touch(tmp_path / "x.npz", elapse_us) == (61659.7, 1.486, 61659.8, 0.981)


def test_hftbacktest_forgets_the_book_at_a_snapshot(tmp_path: Path) -> None:
    tape = empty_events(6)
    tape["ts"] = tape["exch_ts"] = T0 + np.array([0, 0, 10, 20, 20, 30])
    tape["kind"], tape["side"], tape["qty"] = BOOK, [1, -1, 1, 1, -1, 1], [5, 6, 7, 8, 9, 1]
    tape["price"] = [1000, 1010, 1005, 990, 1020, 980]
    tape["flags"] = [SNAPSHOT | CLEAR, SNAPSHOT | LAST, LAST, SNAPSHOT | CLEAR, SNAPSHOT | LAST, LAST]
    write(tmp_path / "x.npz", tape, Instrument("venue", "COIN", "linear", Decimal("0.1"), Decimal("0.001")))
    assert hft_touch(tmp_path / "x.npz", 15) == (100.5, 0.007, 101.0, 0.006)
    assert hft_touch(tmp_path / "x.npz", 10**6) == (99.0, 0.008, 102.0, 0.009)


def test_clocks_in_different_orders_are_written_twice(tmp_path: Path) -> None:
    tape = empty_events(3)
    tape["ts"], tape["exch_ts"] = [T0, T0 + 1, T0 + 2], [T0 - 5, T0 - 9, T0 - 1]
    tape["kind"], tape["side"], tape["qty"], tape["price"], tape["flags"] = TRADE, BUY, 1, [1, 2, 3], LAST
    write(tmp_path / "x.npz", tape, COIN)
    (records,) = read_records(tmp_path / "x.npz")
    local, venue = ((records["ev"] & flag) > 0 for flag in (LOCAL, EXCH))
    assert list(records["px"][local]) == [0.05, 0.1, 0.15]
    assert list(records["px"][venue]) == [0.1, 0.05, 0.15]
    assert len(records) < 6


def test_what_cannot_be_written_is_counted_or_refused(tmp_path: Path) -> None:
    tape = empty_events(3)
    tape["ts"] = tape["exch_ts"] = T0
    tape["kind"], tape["side"], tape["qty"], tape["price"] = [TRADE, LIQUIDATION, TRADE], [1, 1, 0], 1, 1
    assert write(tmp_path / "x.npz", tape, COIN) == {"trade": 1, "liquidation": 1}
    tape["price"] = 2**52
    with pytest.raises(ConfigError, match="more digits than a double holds"):
        write(tmp_path / "y.npz", tape, COIN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npz"]


def test_files_that_are_not_such_arrays(tmp_path: Path) -> None:
    def fails(name: str, words: str, line: int = 0) -> None:
        with pytest.raises(DataError, match=words) as caught:
            NPZ.open([tmp_path / name])
        assert (caught.value.path, caught.value.line) == (str(tmp_path / name), line)

    fails("none.npz", "no such file")
    (tmp_path / "text.npz").write_text("hello")
    fails("text.npz", "not an array")
    np.save(tmp_path / "floats.npy", np.zeros(3))
    fails("floats.npy", "float64 with shape")
    records = np.zeros(5, RECORD)
    records["ev"] = LOCAL | 2
    np.save(tmp_path / "zero.npy", records)
    fails("zero.npy", "local_ts 0 is not in nanoseconds", 1)
    records["local_ts"] = records["exch_ts"] = T0 * 1000
    records["exch_ts"][3] = T0
    np.savez(tmp_path / "micro.npz", data=records)
    fails("micro.npz", "exch_ts 17.* is not in nanoseconds", 4)
    np.save(tmp_path / "cut.npy", records)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-64])
    fails("cut.npy", "truncated", 1)


def test_rows_that_carry_nothing_here_are_counted(tmp_path: Path) -> None:
    records = np.zeros(4, RECORD)
    records["local_ts"] = records["exch_ts"] = T0 * 1000
    records["px"] = records["qty"] = [1.5, np.nan, 1, 1]
    records["ev"] = [LOCAL | EXCH | 2 | 1 << 29, LOCAL | 2 | 1 << 29, 2, LOCAL | 10]
    np.savez(tmp_path / "x.npz", data=records)
    source = NPZ.open([tmp_path / "x.npz"])
    assert len(events_of(source)) == 1
    assert source.quality.ignored == {"row for neither clock": 1, "row of kind 10": 1}
    assert source.quality.of("hftbacktest:X").anomalies == {"price not a positive number, left out": 1}


def test_array_source_of_a_round_trip_is_sound(tmp_path: Path) -> None:
    tape = empty_events(1)
    tape["ts"], tape["exch_ts"], tape["kind"], tape["side"], tape["qty"], tape["price"] = T0, T0, TRADE, 1, 1, 1
    tape["flags"] = LAST
    write(tmp_path / "x.npz", tape, COIN)
    source = NPZ.open([tmp_path / "x.npz"], instruments=[COIN])
    assert ArraySource(events_of(source), source.instruments).horizon_us == source.horizon_us == 0
