"""Single messages: what each means, what is refused, and the decoder of a live connection."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from adapters.base import FetchSnapshot
from adapters.binance import COINM, SPOT, USDM, BinanceAdapter
from adapters.decoders import binance_lines
from adapters.decoders.binance import BinanceDecoder
from adapters.decoders.binance_lines import coin_margined, number, read_line
from adapters.sequencing import Repair, Timing
from replay.errors import ConfigError, DataError
from replay.events import (
    BAD_TS,
    BOOK,
    BUY,
    FUNDING,
    GAP,
    GAP_BEFORE,
    LAST,
    LIQUIDATION,
    MARK,
    OFF_TICK,
    QUOTE,
    REPAIRED,
    SELL,
    SNAPSHOT,
    TRADE,
    empty_events,
)  # fmt: skip
from replay.instruments import Instrument

NS = 1_723_161_256_000_000_000
MS = NS // 1_000_000
BTC = Instrument("binance-usdm", "BTCUSDT", "linear", Decimal("0.1"), Decimal("0.001"))
PRINT = {"e": "trade", "E": 1, "T": 1, "s": "BTCUSDT", "t": 7, "p": "1", "q": "1", "m": True}
TICKER = {"u": 1, "s": "BTCUSDT", "b": "1", "B": "1", "a": "2", "A": "1"}
ETH = Instrument("binance-usdm", "ETHUSDT", "linear", Decimal("0.01"), Decimal("0.001"))
BTC_SPOT = Instrument("binance-spot", "BTCUSDT", "spot", Decimal("0.01"), Decimal("0.00001"))


class Feed:
    """A decoder with a clock that moves 1 ms a message."""

    def __init__(self, market: binance_lines.Market, *instruments: Instrument, repair: str = "wait") -> None:
        self.decoder = BinanceDecoder(market, instruments, repair=Repair(repair))
        self.now = NS
        self.rows: list[np.ndarray] = []

    def __call__(self, message: object) -> np.ndarray:
        """Rows of one message."""
        self.now += 1_000_000
        before = len(self.rows)
        text = message if isinstance(message, bytes) else json.dumps(message, separators=(",", ":")).encode()
        self.decoder.feed(text, self.now, lambda batch: self.rows.append(batch.copy()))
        return np.concatenate(self.rows[before:]) if len(self.rows) > before else empty_events(0)


def depth(first: int, last: int, prev: int, bids: list = (), asks: list = (), symbol: str = "BTCUSDT") -> dict:
    return {"e": "depthUpdate", "E": MS, "T": MS, "s": symbol, "U": first, "u": last, "pu": prev,
            "b": list(bids), "a": list(asks)}  # fmt: skip


def at(text: str) -> str:
    """A line of a recording."""
    return f"{NS} {text}"


def levels(bids: str) -> str:
    """A line with a depth message of these bids."""
    return at(f'{{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":1,"u":2,"pu":0,"b":{bids},"a":[]}}')


def rest(last: int, **more: object) -> dict:
    return {"lastUpdateId": last, "E": MS, "T": MS, "bids": [["100.0", "1"]], "asks": [["100.1", "2"]], **more}


def test_snapshot_then_delta() -> None:
    feed = Feed(binance_lines.USDM, BTC)
    rows = feed(rest(10))
    assert rows["kind"].tolist() == [BOOK, BOOK]
    assert (rows["price"].tolist(), rows["qty"].tolist()) == ([1000, 1001], [1000, 2000])
    assert rows["flags"].tolist() == [SNAPSHOT | 4, SNAPSHOT | LAST]
    rows = feed(depth(9, 12, 8, [["99.9", "0"]], [["100.2", "0.005"]]))
    assert list(zip(rows["side"], rows["price"], rows["qty"], rows["seq"])) == [(1, 999, 0, 12), (-1, 1002, 5, 12)]
    assert rows["flags"].tolist() == [0, LAST]
    empty = feed(depth(13, 13, 12))
    assert (empty["side"].tolist(), empty["seq"].tolist(), empty["flags"].tolist()) == ([0], [13], [LAST])


def test_trades_quotes_marks_and_liquidations() -> None:
    feed = Feed(binance_lines.USDM, BTC)
    trade = {
        "e": "trade",
        "E": MS + 1,
        "T": MS,
        "s": "BTCUSDT",
        "t": 7,
        "p": "100.1",
        "q": "0.25",
        "X": "MARKET",
        "m": True,
    }
    (row,) = feed(trade)
    assert (row["kind"], row["side"], row["price"], row["qty"], row["seq"], row["exch_ts"]) == (
        TRADE, SELL, 1001, 250, 7, MS * 1000,
    )  # fmt: skip
    for off_book in ({"X": "INSURANCE_FUND"}, {"X": "ADL"}, {"X": "NA"}, {"p": "0"}, {"q": "0.000"}):
        assert len(feed(trade | off_book)) == 0
    q = feed.decoder.quality.of("binance-usdm:BTCUSDT")
    assert (q.trades, sum(q.anomalies.values())) == (1, 5)
    rows = feed(
        {"e": "bookTicker", "u": 9, "s": "BTCUSDT", "b": "100.0", "B": "1", "a": "100.1", "A": "2", "T": MS, "E": MS}
    )
    assert rows["kind"].tolist() == [QUOTE, QUOTE]
    assert (rows["side"].tolist(), rows["flags"].tolist(), rows["seq"].tolist()) == ([1, -1], [0, LAST], [9, 9])
    mark = {"e": "markPriceUpdate", "E": MS, "s": "BTCUSDT", "p": "100.06", "r": "-0.00012345", "T": MS + 9000}
    rows = feed({"stream": "btcusdt@markPrice@1s", "data": mark})
    assert rows["kind"].tolist() == [MARK, FUNDING]
    assert (rows["price"].tolist(), rows["value"].tolist()) == ([1001, 0], [10_006_000_000, -12_345])
    assert int(rows["seq"][1]) == (MS + 9000) * 1000
    (row,) = feed(mark | {"r": "", "T": 0})
    assert (row["kind"], row["flags"]) == (MARK, LAST)
    order = {"s": "BTCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "3", "p": "99.0", "ap": "99.5", "X": "FILLED",
             "l": "1", "z": "2", "T": MS}  # fmt: skip
    (row,) = feed({"e": "forceOrder", "E": MS, "o": order})
    assert (row["kind"], row["side"], row["price"], row["qty"]) == (LIQUIDATION, SELL, 990, 2000)
    (row,) = feed({"e": "forceOrder", "E": MS, "o": order | {"S": "BUY"}})
    assert row["side"] == BUY
    assert len(feed({"e": "forceOrder", "E": MS, "o": order | {"X": "NEW"}})) == 0
    assert feed.decoder.quality.ignored["forceOrder not filled"] == 1


def test_conventions_agree_with_tardis(captures: Path) -> None:
    text = gzip.decompress((captures / "raw_to_normalized/pairs.ndjson.gz").read_bytes())
    pairs = [json.loads(line) for line in text.splitlines()]
    names = {
        "binance": binance_lines.SPOT,
        "binance-futures": binance_lines.USDM,
        "binance-delivery": binance_lines.COINM,
    }
    checked = {"trade": 0, "liquidation": 0, "book_ticker": 0}
    for pair in pairs:
        market = names.get(pair["exchange"])
        for expected in pair["normalized"]:
            if market is None or expected["type"] not in checked or "ETCUSDT" in expected["symbol"]:
                continue
            instrument = Instrument("x", expected["symbol"], "spot", Decimal("1e-7"), Decimal("1e-7"))
            rows = Feed(market, instrument)(pair["message"])
            checked[expected["type"]] += 1
            if expected["type"] == "book_ticker":
                got = [float(instrument.price(int(p))) for p in rows["price"]]
                assert got == [expected["bidPrice"], expected["askPrice"]]
                continue
            (row,) = rows
            assert float(instrument.price(int(row["price"]))) == expected["price"]
            assert float(instrument.size(int(row["qty"]))) == expected["amount"]
            assert row["side"] == (BUY if expected["side"] == "buy" else SELL)
    assert checked["liquidation"] == 2
    assert min(checked.values()) >= 2


def test_spot_times_fall_back() -> None:
    feed = Feed(binance_lines.SPOT, BTC_SPOT)
    (row, _) = feed({"u": 1, "s": "BTCUSDT", "b": "1", "B": "1", "a": "2", "A": "1"})
    assert row["exch_ts"] == row["ts"] == feed.now // 1000
    assert len(feed({"e": "depthUpdate", "E": MS, "s": "BTCUSDT", "U": 5, "u": 8, "b": [["1", "1"]], "a": []})) == 0
    rows = feed({"lastUpdateId": 6, "bids": [["1", "2"]], "asks": []})
    assert rows["exch_ts"].tolist() == [MS * 1000] * 2
    assert rows["flags"].tolist() == [SNAPSHOT | 4 | LAST, REPAIRED | LAST]


def test_prices_off_the_grid_are_rounded_flagged_and_counted() -> None:
    feed = Feed(binance_lines.USDM, BTC)
    feed(rest(10))
    (row,) = feed(depth(10, 11, 10, [["99.96", "0.0014"]]))
    assert (row["price"], row["qty"], row["flags"]) == (1000, 1, OFF_TICK | LAST)
    assert feed.decoder.quality.of("binance-usdm:BTCUSDT").off_tick == 2


def test_times_that_step_back_are_clamped_and_counted() -> None:
    feed = Feed(binance_lines.USDM, BTC)
    feed(rest(10))
    late = depth(10, 11, 10, [["99.9", "1"]]) | {"T": MS - 5}
    (row,) = feed(late)
    assert (row["exch_ts"], row["flags"]) == (MS * 1000, BAD_TS | LAST)
    feed.now -= 10_000_000
    (row,) = feed(depth(12, 12, 11, [["99.9", "1"]]))
    assert row["ts"] == feed.rows[-2]["ts"][0]
    assert row["flags"] & BAD_TS
    report = feed.decoder.quality
    assert (report.ts_backsteps, report.of("binance-usdm:BTCUSDT").exch_ts_backsteps) == (1, 1)
    (row,) = feed(depth(13, 13, 12, [["99.9", "1"]]) | {"T": MS - 100_000})
    assert row["exch_ts"] >= row["ts"] - Timing().horizon_us


def test_refetch_asks_once_and_the_answer_repairs() -> None:
    feed = Feed(binance_lines.USDM, BTC, ETH, repair="refetch")
    feed(depth(1, 5, 0))
    assert [c.symbol for c in feed.decoder.commands() if isinstance(c, FetchSnapshot)] == ["BTCUSDT"]
    assert feed.decoder.commands() == []
    feed.decoder.feed_snapshot("BTCUSDT", json.dumps(rest(5)).encode(), feed.now, lambda batch: None)
    feed(depth(6, 8, 5, [["99.9", "1"]]))
    assert feed.decoder.commands() == []
    (gap,) = feed(depth(12, 14, 11, [["99.8", "3"]]))
    assert (gap["kind"], gap["seq"], gap["value"]) == (GAP, 8, 12)
    assert len(feed.decoder.commands()) == 1
    rows: list[np.ndarray] = []
    feed.decoder.feed_snapshot("BTCUSDT", json.dumps(rest(9)).encode(), feed.now, rows.append)
    assert rows == []
    assert feed.decoder.quality.of("binance-usdm:BTCUSDT").snapshots_refused == 1
    assert len(feed.decoder.commands()) == 1
    feed.decoder.feed_snapshot("BTCUSDT", json.dumps(rest(13)).encode(), feed.now, lambda b: rows.append(b.copy()))
    assert rows[0]["seq"].tolist() == [13, 13, 14]
    (listed,) = feed.decoder.quality.gaps
    assert (listed.repair, listed.end_us) == ("refetch", int(rows[0]["ts"][0]))


def test_a_lost_connection_makes_books_invalid_until_the_next_snapshot(write: Callable[..., Path]) -> None:
    feed = Feed(binance_lines.USDM, BTC, ETH)
    feed(rest(10, symbol="BTCUSDT"))
    feed(depth(10, 11, 10, [["99.9", "1"]]))
    lost = {"replay": "disconnected", "symbols": ["ETHUSDT", "BTCUSDT", "NOBODY"]}
    (gap,) = feed(lost)
    assert (gap["kind"], gap["instrument"], gap["seq"], gap["value"]) == (GAP, 0, 11, -1)
    assert len(feed({"replay": "disconnected"})) == 0, "the book is invalid already"
    assert len(feed(depth(20, 21, 19, [["99.8", "1"]]))) == 0
    assert feed(rest(20, symbol="BTCUSDT"))["seq"].tolist() == [20, 20, 21]
    quality = feed.decoder.quality.of("binance-usdm:BTCUSDT")
    assert (quality.breaks, quality.book_state, feed.decoder.quality.gaps_total) == (1, "live", 1)
    feed.decoder.sequencer.check()
    recording = [depth(1, 2, 0), rest(2, symbol="BTCUSDT"), lost, depth(8, 9, 7)]
    source = USDM.open([write(*(f"{NS + i} {json.dumps(each)}" for i, each in enumerate(recording)))])
    assert [instrument.symbol for instrument in source.instruments] == ["BTCUSDT"]
    rows = np.concatenate([batch.copy() for batch in source.batches()])
    assert rows["kind"].tolist() == [BOOK, BOOK, BOOK, GAP]


def test_bridge_applies_on() -> None:
    feed = Feed(binance_lines.USDM, BTC, repair="bridge")
    feed(rest(10))
    feed(depth(10, 11, 10, [["99.9", "1"]]))
    (row,) = feed(depth(15, 16, 14, [["99.8", "1"]]))
    assert row["flags"] == GAP_BEFORE | LAST
    (gap,) = feed.decoder.quality.gaps
    assert (gap.repair, gap.blind_us, gap.last_good_id, gap.next_id) == ("bridge", 0, 11, 15)


def test_one_symbols_gap_leaves_the_others_alone() -> None:
    feed = Feed(binance_lines.USDM, BTC, ETH)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        feed(rest(10, symbol=symbol))
        feed(depth(10, 11, 10, symbol=symbol))
    feed(depth(20, 21, 19, symbol="BTCUSDT"))
    assert len(feed(depth(12, 13, 11, symbol="ETHUSDT"))) == 1
    q = feed.decoder.quality
    assert [q.of(i.name).book_state for i in (BTC, ETH)] == ["stale", "live"]


def test_a_full_ring_drops_the_oldest_and_says_so() -> None:
    feed = Feed(binance_lines.USDM, BTC)
    for i in range(4_100):
        feed(depth(i, i, max(0, i - 1)))
    q = feed.decoder.quality.of("binance-usdm:BTCUSDT")
    assert q.buffer_overflows == 4
    assert len(feed(rest(2))) == 0
    assert len(feed(rest(3))) == 2 + 4_096


def test_messages_that_are_not_market_data_are_ignored_by_name() -> None:
    feed = Feed(binance_lines.USDM, BTC)
    for message in ({"result": None, "id": 1}, {"e": "kline", "s": "BTCUSDT", "k": {"t": 1}}, [1, 2],
                    {"stream": "!ticker@arr", "data": []}, {"stream": "btcusdt@depth20", "data": {"lastUpdateId": 5}},
                    depth(1, 2, 0, symbol="XRPUSDT"), {"foo": 1}):  # fmt: skip
        assert len(feed(message)) == 0
    assert sum(feed.decoder.quality.ignored.values()) == 7
    assert feed.decoder.quality.ignored["kline"] == 1


@pytest.mark.parametrize(
    ("adapter", "message", "right"),
    [
        (SPOT, depth(1, 2, 0), "binance-usdm"),
        (SPOT, depth(1, 2, 0, symbol="BTCUSD_PERP") | {"ps": "BTCUSD"}, "binance-coinm"),
        (USDM, depth(1, 2, 0, symbol="BTCUSD_PERP"), "binance-coinm"),
        (COINM, depth(1, 2, 0), "binance-usdm"),
        (USDM, {"e": "depthUpdate", "E": MS, "s": "BTCUSDT", "U": 1, "u": 2, "b": [], "a": []}, "binance-spot"),
        (USDM, TICKER, "binance-spot"),
        (SPOT, {**TICKER, "e": "bookTicker", "T": 1, "E": 1}, "binance-usdm"),
        (SPOT, {**PRINT, "X": "MARKET"}, "binance-usdm"),
        (USDM, {**PRINT, "M": True}, "binance-spot"),
        (SPOT, rest(5), "binance-usdm"),
    ],
)  # fmt: skip
def test_a_file_of_another_market_names_the_right_adapter(
    adapter: BinanceAdapter, message: dict, right: str, write: Callable[..., Path]
) -> None:
    path = write(at('{"result":null,"id":1}'), f"{NS + 1} {json.dumps(message)}")
    with pytest.raises(DataError, match=right) as caught:
        adapter.open([path])
    assert (caught.value.path, caught.value.line) == (str(path), 2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"e":"trade"}', "no local time"),
        ("1723161256000000000", "broken JSON"),
        ('1723161256000 {"e":"trade"}', "not in nanoseconds"),
        (at('{"e":"trade",'), "broken JSON"),
        (at('{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":1,"pu":0,"b":[],"a":[]}'), "no field 'u'"),
        (at('{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":1,"u":"2","pu":0,"b":[],"a":[]}'), "whole number"),
        (levels('[["1"]]'), "price and a size"),
        (levels('[["x","1"]]'), "decimal string"),
        (levels('[["-1","1"]]'), "negative"),
        (levels('[[1.5,"1"]]'), "decimal string"),
        (at('{"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":1,"p":"1234567890123456789","q":"1","m":true}'), "18 digits"),
        (at('{"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":1,"p":"1","q":"1","m":1}'), "neither true nor false"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(line: str, words: str, write: Callable[..., Path]) -> None:
    good = at('{"e":"trade","E":1,"T":1723161256000,"s":"BTCUSDT","t":1,"p":"1","q":"1","m":true}')
    path = write(good, good, line, good)
    with pytest.raises(DataError, match=words) as caught:
        USDM.open([path])
    assert (caught.value.path, caught.value.line) == (str(path), 3)


def test_rest_answers_without_symbol_need_one_symbol(write: Callable[..., Path]) -> None:
    book = f"{NS} {json.dumps(rest(10))}"
    trade = '%d {"e":"trade","E":1,"T":1723161256000,"s":"%s","t":1,"p":"1","q":"1","m":true}'
    alone = USDM.open([write(book, trade % (NS, "BTCUSDT"), name="one.txt")])
    assert [int(k) for batch in alone.batches() for k in batch["kind"]] == [BOOK, BOOK, TRADE]
    with pytest.raises(DataError, match="names no symbol") as caught:
        USDM.open([write(trade % (NS, "BTCUSDT"), book, trade % (NS, "ETHUSDT"), name="two.txt")])
    assert caught.value.line == 2


def test_agg_trades_count_only_where_there_are_no_trades(write: Callable[..., Path]) -> None:
    agg = at('{"e":"aggTrade","E":1,"a":5,"s":"BTCUSDT","p":"1","q":"2","f":1,"l":2,"T":1723161256000,"m":false}')
    trade = at('{"e":"trade","E":1,"T":1723161256000,"s":"BTCUSDT","t":1,"p":"1","q":"1","m":true}')
    only = USDM.open([write(agg, agg, name="agg.txt")])
    assert [(int(r["seq"]), int(r["side"])) for batch in only.batches() for r in batch] == [(5, BUY)] * 2
    both = USDM.open([write(agg, trade, name="both.txt")])
    assert [int(r["seq"]) for batch in both.batches() for r in batch] == [1]
    q = both.quality.of("binance-usdm:BTCUSDT")
    assert (q.messages, q.trades, sum(q.anomalies.values())) == (2, 1, 1)


def test_given_instruments_keep_their_grid(write: Callable[..., Path]) -> None:
    trade = at('{"e":"trade","E":1,"T":1723161256000,"s":"BTCUSDT","t":1,"p":"100","q":"1","m":true}')
    path = write(trade)
    assert USDM.open([path]).instruments[0].tick == Decimal(100)
    source = USDM.open([path], instruments=[BTC])
    assert source.instruments == (BTC,)
    assert int(next(source.batches())["price"][0]) == 1000
    tiny = Instrument("binance-usdm", "BTCUSDT", "linear", Decimal("1e-18"), Decimal("0.001"))
    with pytest.raises(DataError, match="too large") as caught:
        list(USDM.open([path], instruments=[tiny]).batches())
    assert caught.value.line == 1


def test_wrong_options_are_config_errors(write: Callable[..., Path]) -> None:
    path = write(at('{"result":null,"id":1}'))
    for options in ({"repair": "wiat"}, {"drop_every": -1}, {"speed": 3}):
        with pytest.raises(ConfigError):
            USDM.open([path], **options)
    with pytest.raises(ConfigError):
        USDM.open([])


def test_numbers_are_exact() -> None:
    assert number("61800.20", "price") == (618002, 1)
    assert number("0.00000000", "price") == (0, 0)
    assert number("1e3", "price") == (1000, 0)
    assert number("-0.00012345", "rate") == (-12345, 8)
    for bad in ("", " 1", "1_0", "nan", "0x1", 1.5, None, True, "١"):
        with pytest.raises(DataError):
            number(bad, "price")


def test_symbols_of_markets() -> None:
    known = {"BTCUSD_PERP": True, "BTCUSD_240927": True, "BTCUSDT": False, "BTCUSDT_240927": False}
    assert {symbol: coin_margined(symbol) for symbol in known} == known
    assert coin_margined("BTCBUSD_210129") is None


def test_a_line_is_read_as_written() -> None:
    parsed = read_line(at('{"u":1,"s":"BTCUSDT","b":"1.50","B":"2","a":"3","A":"0.04"}').encode(), binance_lines.SPOT)
    assert (parsed.symbol, parsed.local_ns, parsed.last_id, parsed.bids, parsed.asks) == (
        "BTCUSDT", NS, 1, [(15, 1, 2, 0)], [(3, 0, 4, 2)],
    )  # fmt: skip
