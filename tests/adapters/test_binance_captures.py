"""Binance adapters on real captures, against the figures measured by others (captures/README.md §3)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.binance import COINM, SPOT, USDM, BinanceAdapter
from adapters.decoders.binance import BinanceDecoder, Reader
from adapters.recording import RecordingSource
from adapters.sequencing import Sequencer
from adapters.transports.file import read_chunks, read_lines
from replay.events import BAD_TS, BOOK, CLEAR, GAP, LAST, QUOTE, REPAIRED, SNAPSHOT, TRADE

ADAPTERS = {"binance_usdm": USDM, "binance_coinm": COINM, "binance_spot": SPOT}

FIGURES = [
    ("binance_usdm/btcusdt_20240808.gz", 93_954, 6_551, 6_547, 4, 21_313, (5266583935, 5266605247)),
    ("binance_usdm/ethusdt_20240808.gz", 74_655, 6_586, 6_581, 5, 14_076, (4308068523, 4308082598)),
    ("binance_coinm/btcusd_perp_20240808.gz", 48_270, 26_847, 26_824, 23, 2_286, (849714402, 849716687)),
    ("binance_spot/btcusdt_20240808.gz", 41_249, 3_451, 3_449, 2, 9_757, (3735683259, 3735693015)),
    ("binance_spot/ethusdt_20240808.gz", 33_618, 3_434, 3_432, 2, 6_106, (1520538925, 1520545030)),
]
VENUES = [("BINANCE", SPOT), ("BINANCE_FUTURES", USDM), ("BINANCE_DELIVERY", COINM)]


def adapter_of(name: str) -> BinanceAdapter:
    return ADAPTERS[name.partition("/")[0]]


def events_of(source: RecordingSource, rows: int = 32_768) -> np.ndarray:
    """All rows."""
    return np.concatenate([batch.copy() for batch in source.batches(rows)])


@pytest.mark.parametrize("figures", FIGURES, ids=lambda f: f[0])
def test_figures_of_a_capture(captures: Path, figures: tuple) -> None:
    name, messages, depth, applied, stale, trades, ids = figures
    source = adapter_of(name).open([captures / name])
    events = events_of(source)
    (instrument,) = source.instruments
    q = source.quality.of(instrument.name)
    assert (q.messages, q.depth_messages, q.applied, q.stale, q.breaks) == (messages, depth, applied, stale, 0)
    assert (q.trades, q.snapshots, q.duplicates, q.off_tick, q.book_state) == (trades, 1, 0, 0, "live")
    assert source.quality.ts_backsteps == 0
    assert source.quality.gaps == []
    prints = events[events["kind"] == TRADE]
    assert (int(prints["seq"][0]), int(prints["seq"][-1]), len(prints)) == (*ids, trades)
    assert (np.diff(prints["seq"]) == 1).all()
    assert (events["kind"] == QUOTE).sum() == 2 * (messages - depth - trades - 1)
    books = events[(events["kind"] == BOOK) & ((events["flags"] & LAST) > 0)]
    assert len(books) == applied + 1


@pytest.mark.parametrize("name", [f[0] for f in FIGURES])
def test_rows_keep_the_promises_of_a_source(captures: Path, name: str) -> None:
    source = adapter_of(name).open([captures / name])
    events = events_of(source)
    assert (np.diff(events["ts"]) >= 0).all()
    assert (events["exch_ts"] >= events["ts"] - source.horizon_us).all()
    assert (events["exch_ts"] <= events["ts"]).all()
    for kind in (BOOK, TRADE, QUOTE):
        assert (np.diff(events["exch_ts"][events["kind"] == kind]) >= 0).all()
    ends = (events["flags"] & LAST) > 0
    assert ends[-1]
    inner = ~ends[:-1]
    for field in ("ts", "exch_ts", "seq", "kind", "instrument"):
        assert (events[field][:-1][inner] == events[field][1:][inner]).all()
    first = np.flatnonzero(events["flags"] & SNAPSHOT)
    assert (np.diff(first) == 1).all()
    assert list(np.flatnonzero(events["flags"] & CLEAR)) == [first[0]]
    released = events[(events["flags"] & REPAIRED) > 0]
    assert (released["ts"] == events["ts"][first[0]]).all()
    assert (events["flags"] & BAD_TS > 0).sum() < 20


def test_clock_offset_of_usdm_btcusdt_is_exact(captures: Path) -> None:
    source = USDM.open([captures / "binance_usdm/btcusdt_20240808.gz"])
    assert source.survey.timing.offset_ns == 1_272_156_851
    assert source.quality.clock_offset_us == 1_272_156.851
    first = next(source.batches(1))
    assert int(first["ts"][0]) == (1723161255088169167 + 1_272_156_851) // 1000
    (instrument,) = source.instruments
    assert (str(instrument.tick), str(instrument.lot), instrument.payoff) == ("0.1", "0.001", "linear")


def test_coinm_contract(captures: Path) -> None:
    (instrument,) = COINM.open([captures / "binance_coinm/btcusd_perp_20240808.gz"]).instruments
    assert (str(instrument.tick), str(instrument.lot), str(instrument.multiplier)) == ("0.1", "1", "100")
    assert (instrument.payoff, instrument.settle, instrument.name) == ("inverse", "BTC", "binance-coinm:BTCUSD_PERP")


@pytest.mark.parametrize("name", [f[0] for f in FIGURES])
@pytest.mark.parametrize("every", [500, 100])
def test_lost_messages_are_found(captures: Path, name: str, every: int) -> None:
    truth = json.loads((captures / "ground_truth/fault_injection.json").read_text())
    expected = truth[name][f"drop i>=200 and i%{every}==0"]
    source = adapter_of(name).open([captures / name], drop_every=every, drop_from=200)
    events = events_of(source)
    q = source.quality.of(source.instruments[0].name)
    assert q.breaks == expected["breaks"]
    assert q.book_state == "stale"
    (gap,) = source.quality.gaps
    (row,) = events[events["kind"] == GAP]
    assert (gap.last_good_id, gap.next_id, gap.end_us) == (int(row["seq"]), int(row["value"]), None)
    assert not (events["kind"][events["ts"] > gap.start_us] == BOOK).any()


@pytest.mark.parametrize(("venue", "adapter"), VENUES)
def test_cryptofeed_captures(captures: Path, venue: str, adapter: BinanceAdapter) -> None:
    truth = json.loads((captures / "ground_truth/cryptofeed_captures.json").read_text())[venue]
    paths = sorted((captures / "cryptofeed").glob(f"{venue}.*gz"))
    source = adapter.open(paths)
    events = events_of(source)
    assert {instrument.symbol for instrument in source.instruments} == set(truth)
    for index, instrument in enumerate(source.instruments):
        q, expected = source.quality.of(instrument.name), truth[instrument.symbol]
        assert (q.depth_messages, q.breaks, q.stale, q.applied) == (
            expected["depth_messages"], expected["continuity_breaks"], expected["stale_dropped"], expected["applied"],
        )  # fmt: skip
        mine = events[events["instrument"] == index]
        snapshot = mine[(mine["flags"] & SNAPSHOT) > 0]
        assert int(snapshot["seq"][0]) == expected["snapshot_lastUpdateId"]
        assert int((snapshot["side"] == 1).sum()) == expected["snapshot_bids"]
        assert int((mine["kind"] == QUOTE).sum()) == 2 * expected["book_ticker_messages"]
    assert source.quality.ignored["kline"] > 0
    without_metadata = adapter.open([path for path in paths if path.name != f"{venue}.0.gz"])
    assert events_of(without_metadata).tobytes() == events.tobytes()


def test_two_files_at_once_are_each_their_own_recording(captures: Path) -> None:
    names = [f[0] for f in FIGURES if f[0].startswith("binance_usdm")]
    together = USDM.open([captures / name for name in names], drop_every=500, drop_from=200)
    events = events_of(together)
    assert (np.diff(events["ts"]) >= 0).all()
    alone = [events_of(USDM.open([captures / name], drop_every=500, drop_from=200)) for name in names]
    for index, (instrument, rows) in enumerate(zip(together.instruments, alone)):
        mine = events[events["instrument"] == index]
        assert together.quality.of(instrument.name).breaks == 13
        assert len(mine) == len(rows)
        for field in ("seq", "price", "qty", "kind", "side"):
            assert (mine[field] == rows[field]).all()


def test_batch_size_does_not_change_the_rows(captures: Path) -> None:
    source = SPOT.open([captures / "binance_spot/ethusdt_20240808.gz"])
    whole = events_of(source).tobytes()
    for rows in (1, 97, 1_000_000):
        assert events_of(source, rows).tobytes() == whole
    assert max(len(batch) for batch in source.batches(5000)) <= 5000


def test_a_recording_cut_in_two_files_reads_as_one(captures: Path, tmp_path: Path) -> None:
    path = captures / "binance_spot/ethusdt_20240808.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    early, late = tmp_path / "b_early.txt", tmp_path / "a_late.gz"
    early.write_bytes(b"".join(lines[:20_000]))
    late.write_bytes(gzip.compress(b"".join(lines[20_000:])))
    whole = events_of(SPOT.open([path]))
    assert events_of(SPOT.open([late, early])).tobytes() == whole.tobytes()


def test_a_repeated_depth_line_changes_nothing_but_its_count(captures: Path, tmp_path: Path) -> None:
    path = captures / "binance_usdm/ethusdt_20240808.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    repeated = []
    for i, line in enumerate(lines):
        repeated.append(line)
        if i % 7 == 0 and b"depthUpdate" in line:
            repeated.append(line)
    copy = tmp_path / "repeated.txt"
    copy.write_bytes(b"".join(repeated))
    source = USDM.open([copy])
    assert events_of(source).tobytes() == events_of(USDM.open([path])).tobytes()
    q = source.quality.of("binance-usdm:ETHUSDT")
    assert (q.duplicates, q.breaks) == (len(repeated) - len(lines), 0)
    assert q.duplicates > 100


@pytest.mark.parametrize("name", ["binance_usdm/btcusdt_20240808.gz", "binance_spot/ethusdt_20240808.gz"])
@given(data=st.data())
@settings(max_examples=5)
def test_any_chunking_gives_the_same_events(captures: Path, name: str, data: st.DataObject) -> None:
    """A recording read in blocks of any size, and fed to the live decoder line by line, gives the same rows."""
    adapter = adapter_of(name)
    source = adapter.open([captures / name])
    whole = events_of(source)
    block = data.draw(st.integers(10_000, 400_000))
    reader = Reader(adapter.market, [instrument.symbol for instrument in source.instruments])
    sequencer = Sequencer(source.instruments, adapter.market.rule, source.survey.timing)
    parts = []
    for chunk in read_chunks(captures / name, block):
        for count in reader.tables(chunk):
            parts += [batch.copy() for batch in sequencer.push(reader.messages, count, reader.levels, 999)]
    parts += [batch.copy() for batch in sequencer.flush()]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    decoder = BinanceDecoder(adapter.market, source.instruments, timing=source.survey.timing)
    lines = data.draw(st.integers(100, 2_000))
    fed: list[np.ndarray] = []
    for number, line in read_lines(captures / name):
        if number > lines:
            break
        received, _, message = line.partition(b" ")
        decoder.feed(message, int(received), lambda batch: fed.append(batch.copy()))
    live = np.concatenate(fed)
    assert live.tobytes() == whole[: len(live)].tobytes()
    assert len(live) >= lines // 2
