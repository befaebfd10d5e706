"""Bybit: what single messages say, the captures of v2 and v5 (captures/README.md §3.7), losses."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Resubscribe
from adapters.bybit import DERIVATIVES, OPTIONS, SPOT, category
from adapters.decoders.bybit import BybitMessages
from adapters.decoders.parsed import NOTHING, Parsed
from adapters.venue import VenueAdapter
from replay.errors import DataError
from replay.events import BOOK, CLEAR, FUNDING, GAP, LAST, MARK, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.kernel import scan
from tests.adapters.broken_json import broken
from tests.adapters.reading import after_each, events_of, fed, levels_of, lines_of
from tests.oracles.bybit_okx_books import bybit, bybit_v2
from tests.oracles.raw_books import exact

BTC = Instrument("bybit", "BTCUSDT", "linear", Decimal("0.1"), Decimal("0.001"))
START_MS = 1_733_011_200_000
DELTA_US = 1_733_011_200_500_000


def book(kind: str, u: int, bids: Any = (), asks: Any = (), depth: str = "50", **more: Any) -> dict[str, Any]:
    """orderbook.<depth>.BTCUSDT"""
    data = {"s": "BTCUSDT", "b": list(bids), "a": list(asks), "u": u, "seq": 7}
    return {"topic": f"orderbook.{depth}.BTCUSDT", "type": kind, "ts": START_MS + 510, "cts": START_MS + 500,
            "data": data, **more}  # fmt: skip


def trade(**fields: Any) -> dict[str, Any]:
    """One print."""
    return {"T": START_MS, "s": "BTCUSDT", "S": "Buy", "v": "0.4", "p": "94.5", "i": "uuid-1", "BT": False} | fields


def trades(*prints: dict[str, Any]) -> dict[str, Any]:
    """publicTrade.BTCUSDT"""
    return {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": START_MS, "data": list(prints)}


def ticker(kind: str, **data: Any) -> dict[str, Any]:
    """tickers.BTCUSDT"""
    return {"topic": "tickers.BTCUSDT", "type": kind, "ts": START_MS, "data": {"symbol": "BTCUSDT", **data}}


def liquidation(side: str) -> dict[str, Any]:
    """allLiquidation.BTCUSDT"""
    row = {"T": START_MS, "s": "BTCUSDT", "S": side, "v": "2", "p": "0.5"}
    return {"topic": "allLiquidation.BTCUSDT", "type": "snapshot", "ts": START_MS, "data": [row]}


def single_liquidation(side: str) -> dict[str, Any]:
    """liquidation.BTCUSDT"""
    data = {"updatedTime": START_MS, "symbol": "BTCUSDT", "side": side, "size": "2", "price": "0.5"}
    return {"topic": "liquidation.BTCUSDT", "type": "snapshot", "ts": START_MS, "data": data}


SAMPLES = [
    book("snapshot", 5, [["100.5", "2"]], [["100.6", "1"], ["100.7", "3"]]),
    book("delta", 6, [["100.5", "0"]]),
    book("snapshot", 9, [["100.5", "2"]], [["100.6", "1"]], depth="1"),
    book("delta", 10, [["100.5", "0"], ["100.4", "7"]], depth="1"),
    trades(trade(), trade(S="Sell", i="77", BT=True)),
    liquidation("Sell"),
    single_liquidation("Buy"),
    ticker("snapshot", markPrice="100.55", fundingRate="0.0001", nextFundingTime=str(START_MS)),
    ticker("delta", bidPrice="1", bidSize="2", askPrice="0", askSize="0"),
    {"topic": "orderBookL2_25.BTCUSDT", "type": "delta", "cross_seq": "8", "timestamp_e6": "1733011200000000",
     "data": {"delete": [], "update": [{"price": "9.5", "id": "95", "side": "Sell", "size": 1.5}], "insert": []}},
    {"topic": "orderBookL2_25.BTCUSDT", "type": "snapshot", "cross_seq": 7, "timestamp_e6": 1733011200000000,
     "data": {"order_book": [{"price": "9.5", "id": "95", "side": "Sell", "size": 1}]}},
    {"topic": "trade.BTCUSDT", "data": [{"symbol": "BTCUSDT", "price": 9.5, "size": 1, "side": "Buy", "trade_id": "x",
                                         "timestamp": "2019-11-06T12:50:52.000Z"}]},
    {"topic": "instrument_info.100ms.BTCUSDT", "type": "snapshot", "timestamp_e6": 1733011200000000,
     "data": {"symbol": "BTCUSDT", "mark_price_e4": 95000, "funding_rate_e6": "-93",
              "next_funding_time": "2019-11-06T16:00:00Z"}},
    {"topic": "depth", "params": {"symbol": "BTCUSDT"}, "data": {"t": START_MS, "b": [["1", "2"]], "a": [["3", "4"]]}},
    {"topic": "trade", "params": {"symbol": "BTCUSDT"}, "data": {"v": "5", "t": START_MS, "p": "1", "q": "2",
                                                                 "m": True}},
    {"success": True, "ret_msg": "subscribe", "op": "subscribe"},
]  # fmt: skip


def read(*messages: dict[str, Any]) -> list[Parsed]:
    """What a fresh connection makes of messages."""
    state = BybitMessages()
    return [parsed for message in messages for parsed in state.read(message, 0)]


def test_books_and_their_links() -> None:
    full, change, again, restart = read(
        book("snapshot", 5, [["100.5", "2"]]), book("delta", 6, [], [["100.60", "0.000"]]), book("snapshot", 4),
        book("delta", 1, [["100", "1"]]),
    )  # fmt: skip
    assert (full.kind, full.last_id, full.prev_id, full.venue_us) == (scan.RESET, 5, -1, DELTA_US)
    assert (change.kind, change.first_id, change.last_id, change.prev_id) == (scan.DEPTH, 6, 6, 5)
    assert (full.bids, full.asks, change.bids, change.asks) == ([(1005, 1, 2, 0)], [], [], [(1006, 1, 0, 0)])
    assert (again.kind, again.last_id) == (scan.RESET, 4)
    assert (restart.kind, restart.last_id) == (scan.RESET, 1), "the venue's service began anew"
    early = book("snapshot", 5)
    del early["cts"]
    assert read(early)[0].venue_us == DELTA_US + 10_000


def test_only_the_first_depth_of_a_symbol_is_its_book() -> None:
    first, other, top = read(book("snapshot", 5), book("snapshot", 8, depth="200"), book("snapshot", 9, depth="1"))
    assert (first.kind, other.kind, top.kind) == (scan.RESET, scan.OTHER, scan.TICKER)
    assert other.name == "orderbook.200 beside orderbook.50"
    chosen = BybitMessages(book="200")
    messages = (book("snapshot", 5), book("snapshot", 8, depth="200"), book("delta", 6))
    kinds = [parsed.kind for message in messages for parsed in chosen.read(message, 0)]
    assert kinds == [scan.OTHER, scan.RESET, scan.OTHER]


def test_the_touch_is_remembered_side_by_side() -> None:
    messages = [
        book("snapshot", 5, [["10", "2"]], [["11", "3"]], depth="1"),
        book("delta", 6, [["10", "4"]], depth="1"),
        book("delta", 7, [["10", "0"], ["9", "1"]], [["8.5", "1"], ["11", "0"]], depth="1"),
        book("delta", 8, [["9", "0"]], depth="1"),
        book("snapshot", 8, [], [["12", "1"]], depth="1"),
    ]
    quotes = [(parsed.bids[0][::2], parsed.asks[0][::2]) for parsed in read(*messages)]
    assert quotes == [
        ((10, 2), (11, 3)), ((10, 4), (11, 3)), ((9, 1), (85, 1)), ((0, 0), (85, 1)), ((0, 0), (12, 1)),
    ]  # fmt: skip


def test_prints_and_block_trades() -> None:
    one, block = read(trades(trade(), trade(S="Sell", i="2290000000050703789", BT=True)))
    assert (one.kind, one.side, one.last_id, one.bids) == (scan.TRADE, 1, -1, [(945, 1, 4, 1)])
    assert (block.kind, block.side, block.last_id) == (scan.OFF_BOOK, -1, 2290000000050703789)


@pytest.mark.parametrize("message", [liquidation, single_liquidation])
def test_a_liquidated_long_is_a_forced_sale(message: Any) -> None:
    assert [read(message(side))[0].side for side in ("Buy", "Sell")] == [-1, 1]
    assert [parsed.kind for parsed in read(liquidation("Buy"), single_liquidation("Buy"))] == [scan.FORCE, scan.OTHER]


def test_a_ticker_tells_what_changed() -> None:
    messages = [
        ticker("snapshot", markPrice="100.5", fundingRate="0.0001", nextFundingTime="1733011300000", lastPrice="1"),
        ticker("delta", lastPrice="2"),
        ticker("delta", markPrice="101"),
        ticker("delta", fundingRate="-0.0002"),
        ticker("snapshot", markPrice="102", fundingRate="", nextFundingTime=""),
    ]
    both, nothing, mark, rate, dated = read(*messages)
    due_us = 1_733_011_300_000_000
    assert (both.kind, both.bids, both.extra) == (scan.MARK, [(1005, 1, 1, 4)], due_us)
    assert nothing.kind == scan.OTHER
    assert (mark.kind, mark.bids, mark.extra) == (scan.MARK, [(101, 0, 0, 0)], 0)
    assert (rate.kind, rate.bids, rate.extra) == (scan.FUND, [(0, 0, -2, 4)], due_us)
    assert (dated.kind, dated.bids, dated.extra) == (scan.MARK, [(102, 0, 0, 0)], 0)
    mark, touch = read(ticker("snapshot", markPrice="1.5", bidPrice="0.1", bidSize="5", askPrice="0", askSize="0"))
    assert (touch.kind, touch.bids, touch.asks) == (scan.TICKER, [(1, 1, 5, 0)], [NOTHING])


def test_funding_becomes_rows() -> None:
    decoder = DERIVATIVES.decoder([BTC])
    parts: list[np.ndarray] = []
    for message in (ticker("snapshot", markPrice="100.56", fundingRate="0.0001", nextFundingTime="1733011300000"),
                    ticker("delta", fundingRate="-0.0002")):  # fmt: skip
        decoder.feed(json.dumps(message).encode(), START_MS * 1_000_000, lambda batch: parts.append(batch.copy()))
    rows = np.concatenate(parts)
    assert rows["kind"].tolist() == [MARK, FUNDING, FUNDING]
    assert rows["value"].tolist() == [10_056_000_000, 10_000, -20_000]
    assert [bool(flag & LAST) for flag in rows["flags"]] == [False, True, True]
    assert rows["price"][0] == 1006, "the mark in ticks is rounded"


@pytest.mark.parametrize(
    ("adapter", "symbol", "payoff", "settle"),
    [
        (DERIVATIVES, "BTCUSD", "inverse", "BTC"), (DERIVATIVES, "ETHUSDU21", "inverse", "ETH"),
        (DERIVATIVES, "1000PEPEUSDT", "linear", "USDT"), (DERIVATIVES, "BTCPERP", "linear", "USDC"),
        (DERIVATIVES, "BTC-27DEC24", "linear", "USDC"), (DERIVATIVES, "BTCUSDT-26DEC25", "linear", "USDT"),
        (SPOT, "BTCUSDC", "spot", "USDC"), (SPOT, "BITBTC", "spot", "BTC"),
        (OPTIONS, "BTC-28APR23-29500-C", "linear", "USDC"), (OPTIONS, "BTC-28APR23-29500-P-USDT", "linear", "USDT"),
    ],
)  # fmt: skip
def test_terms_by_name(adapter: VenueAdapter, symbol: str, payoff: str, settle: str) -> None:
    terms = adapter.venue.terms(symbol)
    assert (terms.payoff, terms.settle, terms.multiplier) == (payoff, settle, 1)
    if adapter is DERIVATIVES:
        assert category(symbol) == payoff


def test_names_that_tell_nothing() -> None:
    for adapter, symbol in ((DERIVATIVES, "HELLO"), (OPTIONS, "BTCUSDT")):
        with pytest.raises(DataError, match="name"):
            adapter.venue.terms(symbol)


def test_servers() -> None:
    for url in ("wss://stream.bybit.com/v5/public/linear", "wss://stream.bytick.com/realtime_public",
                "https://api.bybit.com/v2/public/symbols"):  # fmt: skip
        DERIVATIVES.check_url(url)
    for url in ("wss://stream.bybit.com/v5/public/spot", "wss://ws.okx.com:8443/ws/v5/public"):
        with pytest.raises(DataError, match="no server of bybit"):
            DERIVATIVES.check_url(url)


@given(text=broken([json.dumps(sample).encode() for sample in SAMPLES]) | st.binary(max_size=40))
def test_whatever_comes_only_data_errors_are_raised(text: bytes) -> None:
    """Arbitrary bytes and damaged messages are refused with a DataError or read; the decoder goes on either way."""
    decoder = DERIVATIVES.decoder([BTC])
    parts: list[np.ndarray] = []

    def feed(data: bytes, ms: int) -> None:
        decoder.feed(data, (START_MS + 600 + ms) * 1_000_000, lambda batch: parts.append(batch.copy()))

    start = json.dumps(SAMPLES[0]).encode()
    feed(start, 0)
    try:
        feed(text, 1)
    except DataError as error:
        assert str(error)
    feed(start, 2)
    assert (parts[-1]["kind"] == BOOK).all() and parts[-1]["flags"][0] & CLEAR
    assert parts[-1]["price"].tolist() == [1005, 1006, 1007]
    decoder.sequencer.check()


@given(data=st.data())
def test_losses_are_found_exactly_and_full_books_end_them(data: st.DataObject) -> None:
    """Whatever is lost of a stream with full books in it, gaps and books are those of a plain count."""
    u, stream, expected = 10, [], []
    book_id, valid = -1, False
    for _ in range(data.draw(st.integers(1, 25))):
        full = data.draw(st.integers(0, 4)) == 0
        u = data.draw(st.integers(1, 30)) if full else u + 1
        kept = data.draw(st.integers(0, 5)) > 0
        if not kept:
            continue
        stream.append(book("snapshot" if full else "delta", u, [[str(u), "1"]]))
        if full or u == 1:
            book_id, valid = u, True
            expected.append(("full", u))
        elif valid and u == book_id + 1:
            book_id = u
            expected.append(("change", u))
        elif valid and u > book_id:
            valid = False
            expected.append(("gap", book_id))
    decoder = DERIVATIVES.decoder([BTC])
    parts: list[np.ndarray] = []
    asked = 0
    for n, message in enumerate(stream):
        received_ns = (START_MS + 600 + n) * 1_000_000
        decoder.feed(json.dumps(message).encode(), received_ns, lambda batch: parts.append(batch.copy()))
        asked += decoder.commands() == [Resubscribe("BTCUSDT", "the book has no valid state")]
    rows = np.concatenate(parts) if parts else np.zeros(0, decoder.sequencer.out.dtype)
    names = {(BOOK, True): "full", (BOOK, False): "change", (GAP, False): "gap"}
    told = [(names[int(row["kind"]), bool(row["flags"] & SNAPSHOT)], int(row["seq"])) for row in rows]
    assert told == expected
    early = bool(stream) and stream[0]["type"] == "delta" and stream[0]["data"]["u"] != 1
    assert asked == sum(what == "gap" for what, _ in expected) + early
    assert decoder.quality.gaps_total == sum(what == "gap" for what, _ in expected)


def v2_files(captures: Path) -> list[Path]:
    """The capture of 2021."""
    return sorted((captures / "cryptofeed").glob("BYBIT.*gz"))


def test_figures_of_v2(captures: Path) -> None:
    source = DERIVATIVES.open(v2_files(captures))
    events = events_of(source)
    truth = json.loads((captures / "ground_truth/cryptofeed_captures.json").read_text())["BYBIT_v2"]
    assert {instrument.symbol for instrument in source.instruments} == truth.keys()
    oracle = bybit_v2(exact(line.partition(b" ")[2]) for line in lines_of(source))
    instruments = {instrument.symbol: instrument for instrument in source.instruments}
    before: dict[str, set[tuple[int, int]]] = defaultdict(set)
    latest: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for symbol, message, rebuilt in after_each(source, events):
        name, plain, _ = next(oracle)
        assert (symbol, int(message[0]["seq"])) == (name, plain.number)
        assert levels_of(rebuilt, instruments[symbol]) == (plain.bids, plain.asks)
        levels = {(side, ticks) for side in (1, -1) for ticks, _ in rebuilt.levels(side)}
        counts["crossed"] += rebuilt.levels(1, 1)[0][0] >= rebuilt.levels(-1, 1)[0][0]
        counts["not 25 + 25"] += [len(rebuilt.levels(side)) for side in (1, -1)] != [25, 25]
        if not message[0]["flags"] & SNAPSHOT:
            counts["deltas"] += 1
            counts["cross_seq + 1"] += int(message[0]["seq"]) == latest[symbol] + 1
            counts["cross_seq back"] += int(message[0]["seq"]) <= latest[symbol]
            for row in message:
                there = (int(row["side"]), int(row["price"])) in before[symbol]
                counts["delete" if row["qty"] == 0 else "update" if there else "insert"] += 1
                counts["absent deletes"] += row["qty"] == 0 and not there
        before[symbol], latest[symbol] = levels, int(message[0]["seq"])
    assert list(oracle) == []
    assert +counts == {"deltas": 4268, "delete": 4316, "update": 13_862, "insert": 4316, "cross_seq + 1": 815}
    assert sum(book.absent for _, book, _ in bybit_v2(exact(line.partition(b" ")[2]) for line in lines_of(source))) == 0
    assert (events["kind"] == TRADE).sum() == 251
    for index, instrument in enumerate(source.instruments):
        prints = events[(events["instrument"] == index) & (events["kind"] == TRADE)]
        expected = truth[instrument.symbol]
        assert [(prints["side"] == side).sum() for side in (1, -1)] == [expected.get("Buy", 0), expected.get("Sell", 0)]
        assert source.quality.of(instrument.name).depth_messages == expected["delta"]
    assert source.quality.gaps == [] and source.quality.ignored == {"answer to a request": 20}
    assert {i.symbol: i.payoff for i in source.instruments if i.payoff == "inverse"}.keys() == {"EOSUSD", "BTCUSD"}


def test_any_cutting_gives_the_same_events(captures: Path) -> None:
    source = DERIVATIVES.open(v2_files(captures))
    whole = events_of(source)
    for rows in (37, 1000):
        assert events_of(source, rows).tobytes() == whole.tobytes()
    decoder = DERIVATIVES.decoder(source.instruments, timing=source.survey.timing)
    assert fed(decoder, lines_of(source)).tobytes() == whole.tobytes()
    assert decoder.commands() == []
    decoder.sequencer.check()


def v5_file(captures: Path) -> Path:
    """Five seconds of the 500-level book of 2024, without local times."""
    return captures / "bybit_v5/2024-12-01_XRPUSDT_ob500.data.gz"


def test_figures_of_v5(captures: Path) -> None:
    source = DERIVATIVES.open([v5_file(captures)])
    events = events_of(source)
    (xrp,) = source.instruments
    oracle = bybit(exact(line) for line in lines_of(source))
    deletes = absent = 0
    before: set[tuple[int, int]] = set()
    numbers = []
    for (_, message, rebuilt), (_, plain, _) in zip(after_each(source, events), oracle, strict=True):
        assert levels_of(rebuilt, xrp) == (plain.bids, plain.asks)
        assert (int(message[0]["seq"]), int(message[0]["exch_ts"])) == (plain.number, plain.time_ms * 1000)
        assert [len(rebuilt.levels(side)) for side in (1, -1)] == [500, 500]
        assert rebuilt.levels(1, 1)[0][0] < rebuilt.levels(-1, 1)[0][0]
        numbers.append(int(message[0]["seq"]))
        gone = [(int(row["side"]), int(row["price"])) for row in message if row["qty"] == 0]
        deletes += len(gone)
        absent += sum(level not in before for level in gone)
        before = {(side, ticks) for side in (1, -1) for ticks, _ in rebuilt.levels(side)}
    assert np.diff(numbers).tolist() == [1] * 49
    assert (deletes, absent) == (18, 0)
    bids, asks = levels_of(rebuilt, xrp)
    best = max(bids), bids[max(bids)], min(asks), asks[min(asks)]
    assert best == (Decimal("1.9537"), 10_605, Decimal("1.9538"), 6702)
    lags = events["ts"] - events["exch_ts"]
    assert (lags.min(), lags.max(), source.horizon_us) == (2_000, 102_000, 102_000)


@pytest.mark.parametrize("every", [2, 5, 10, 25])
def test_lost_messages_of_v5_are_found(captures: Path, every: int) -> None:
    source = DERIVATIVES.open([v5_file(captures)], drop_every=every, drop_from=3)
    events = events_of(source)
    lost = [ordinal for ordinal in range(3, 49) if ordinal % every == 0]
    expected = sum(ordinal < 48 for ordinal in lost)  # behind the last one nothing comes that could tell
    (q,) = source.quality.instruments.values()
    assert (q.breaks, q.depth_messages, q.applied) == (expected, 49 - len(lost), lost[0])
    (gap,) = events[events["kind"] == GAP]
    first_u = json.loads(gzip.decompress(v5_file(captures).read_bytes()).partition(b"\n")[0])["data"]["u"]
    assert (gap["seq"], gap["value"]) == (first_u + lost[0], first_u + lost[0] + 2)
    assert not (events[np.argmax(events["kind"] == GAP) :]["kind"] == BOOK).any()
