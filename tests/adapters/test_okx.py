"""OKX: what single messages say, the capture of 2022 (captures/README.md §3.7), checksums, losses."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Resubscribe
from adapters.decoders.okx import OkxMessages, SumBook
from adapters.decoders.parsed import NOTHING, Parsed
from adapters.okx import OKX, terms
from adapters.recording import RecordingSource
from replay.errors import ConfigError, DataError
from replay.events import BAD_TS, BOOK, CLEAR, GAP, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.kernel import scan
from tests.adapters.broken_json import broken
from tests.adapters.reading import after_each, events_of, fed, levels_of, lines_of
from tests.oracles.bybit_okx_books import checksum, okx
from tests.oracles.raw_books import exact

SWAP = Instrument("okx", "BTC-USDT-SWAP", "linear", Decimal("0.1"), Decimal(1), Decimal("0.01"))
START_MS = 1_700_000_000_000


def message(channel: str, *data: Any, symbol: str = SWAP.symbol, **more: Any) -> dict[str, Any]:
    """A push of a channel."""
    return {"arg": {"channel": channel, "instId": symbol}, "data": list(data), **more}


def book(
    action: str, last_id: int | None = None, prev_id: int = -1, bids: Any = (), asks: Any = (), **more: Any
) -> dict[str, Any]:  # fmt: skip
    """books; levels as (price, size)."""
    sides = {"bids": [[*each, "0", "1"] for each in bids], "asks": [[*each, "0", "1"] for each in asks]}
    ids = {} if last_id is None else {"seqId": last_id, "prevSeqId": prev_id}
    return message("books", {**sides, "ts": str(START_MS), **ids, **more}, action=action)


def trade(number: int, channel: str = "trades") -> dict[str, Any]:
    """One print."""
    row = {"instId": SWAP.symbol, "tradeId": str(number), "px": "100.5", "sz": "3", "side": "sell", "ts": str(START_MS)}
    return message(channel, row)


def subscribed(channel: str, **what: str) -> dict[str, Any]:
    """The answer to a subscription."""
    return {"event": "subscribe", "arg": {"channel": channel, **(what or {"instId": SWAP.symbol})}}


LIQUIDATION = {
    "arg": {"channel": "liquidation-orders", "instType": "SWAP"},
    "data": [{"instId": SWAP.symbol, "instType": "SWAP", "details": [
        {"bkPx": "0.55205", "posSide": "short", "side": "buy", "sz": "39", "ts": str(START_MS)},
        {"bkPx": "0.6", "posSide": "long", "side": "sell", "sz": "1", "ts": str(START_MS)}]}],
}  # fmt: skip
OLD = {"instrument_id": SWAP.symbol, "timestamp": "2019-08-01T00:00:08.806Z"}
SAMPLES = [
    book("snapshot", 10, -1, [("100.5", "2")], [("100.6", "1"), ("100.7", "3")]),
    book("update", 15, 10, [("100.5", "0")], checksum=0),
    book("update", None, -1, [("100.5", "0")], checksum=77),
    message("books5", {"bids": [["1", "2", "0", "1"]], "asks": [], "ts": str(START_MS), "seqId": 7}),
    message("bbo-tbt", {"bids": [["1", "2", "0", "1"]], "asks": [], "ts": str(START_MS)}),
    trade(5), LIQUIDATION, subscribed("trades"),
    message("mark-price", {"instId": SWAP.symbol, "markPx": "100.5", "ts": str(START_MS)}),
    message("funding-rate", {"instId": SWAP.symbol, "fundingRate": "-0.0001", "fundingTime": str(START_MS)}),
    message("tickers", {"instId": SWAP.symbol, "bidPx": "1", "bidSz": "", "askPx": "2", "askSz": "1", "ts": "5"}),
    {"table": "swap/depth", "action": "partial", "data": [{**OLD, "asks": [[4084.57, 38, 0, 3]], "bids": []}]},
    {"table": "swap/depth_l2_tbt", "action": "update",
     "data": [{**OLD, "asks": [], "bids": [["2.5", "1", "0", "1"]], "checksum": 5}]},
    {"table": "swap/trade", "data": [{**OLD, "price": "328.7", "side": "sell", "size": "1", "trade_id": "42"}]},
    {"table": "swap/liquidation", "data": [{"size": "8", "price": "3.5", "created_at": "2020-12-18T00:30:58Z",
                                            "type": "3", "instrument_id": SWAP.symbol}]},
    {"table": "option/summary", "data": [{**OLD, "best_bid": "", "best_ask": "1", "best_ask_size": "2",
                                          "mark_price": "0.5"}]},
    {"table": "swap/funding_rate", "data": [{"funding_rate": "0.1", "funding_time": "2019-08-01T04:00:00.000Z",
                                             "instrument_id": SWAP.symbol}]},
    {"replay": "instruments", "answer": {"data": [{"instId": SWAP.symbol, "instType": "SWAP", "ctType": "linear",
     "ctVal": "0.01", "ctMult": "1", "settleCcy": "USDT", "tickSz": "0.1", "lotSz": "1"}]}},
]  # fmt: skip


def read(*messages: dict[str, Any], **settings: Any) -> list[Parsed]:
    """What a fresh connection makes of messages."""
    state = OkxMessages(**settings)
    return [parsed for each in messages for parsed in state.read(each, 0)]


def test_books_and_their_links() -> None:
    full, change, quiet, anew, empty = read(
        book("snapshot", 10, -1, [("100.50", "2")]), book("update", 15, 10, [], [("100.6", "0")]),
        book("update", 15, 15), book("update", 3, 15, [("100", "1")]), book("update", 5, 3),
    )  # fmt: skip
    assert (full.kind, full.last_id, full.prev_id, full.venue_us) == (scan.RESET, 10, -1, START_MS * 1000)
    assert (change.kind, change.last_id, change.prev_id, change.asks) == (scan.DEPTH, 15, 10, [(1006, 1, 0, 0)])
    assert (quiet.kind, quiet.name) == (scan.OTHER, "book update without levels")
    assert (anew.kind, anew.last_id, anew.prev_id) == (scan.DEPTH, 3, 15)
    assert (empty.kind, empty.last_id, empty.bids) == (scan.DEPTH, 5, []), "it moves the chain"
    assert [parsed.check is None for parsed in (full, change, anew)] == [True] * 3


def test_a_chain_that_begins_anew_holds_and_a_broken_one_asks_for_a_book() -> None:
    decoder = OKX.decoder([SWAP])
    parts: list[np.ndarray] = []
    wishes = []
    for each in (book("snapshot", 10, -1, [("100", "1")]), book("update", 15, 10, [("100", "2")]),
                 book("update", 3, 15, [("100", "3")]), book("update", 9, 8, [("100", "4")]),
                 book("update", 11, 9, [("100", "5")]), book("snapshot", 20, -1, [("100", "6")])):  # fmt: skip
        decoder.feed(json.dumps(each).encode(), START_MS * 1_000_000, lambda batch: parts.append(batch.copy()))
        wishes.append(decoder.commands())
    rows = np.concatenate(parts)
    assert rows["kind"].tolist() == [BOOK, BOOK, BOOK, GAP, BOOK]
    assert rows["seq"].tolist() == [10, 15, 3, 3, 20]
    assert wishes == [[], [], [], [Resubscribe(SWAP.symbol, "the book has no valid state")], [], []]
    decoder.sequencer.check()


def test_only_the_first_channel_of_a_symbol_is_its_book() -> None:
    other = message("books5", {"bids": [], "asks": [], "ts": str(START_MS)})
    first, second = read(book("snapshot", 10), other)
    assert (first.kind, second.kind, second.name) == (scan.RESET, scan.OTHER, "books5 beside books")
    assert [parsed.kind for parsed in read(other, book("snapshot", 10), book="books")] == [scan.OTHER, scan.RESET]


def test_what_happened_before_the_subscription_is_left_out() -> None:
    kinds = [parsed.kind for parsed in read(trade(1), subscribed("trades"), trade(1), trade(2))]
    assert kinds == [scan.TRADE, scan.OTHER, scan.OTHER, scan.TRADE]
    kinds = [p.kind for p in read(subscribed("liquidation-orders", instType="SWAP"), LIQUIDATION, LIQUIDATION)]
    assert kinds == [scan.OTHER, scan.OTHER, scan.FORCE, scan.FORCE]


def test_prints_liquidations_marks_and_funding() -> None:
    one, ignored = read(trade(148266905), trade(1, "trades-all"))
    assert (one.side, one.last_id, one.bids, ignored.kind) == (-1, 148266905, [(1005, 1, 3, 0)], scan.OTHER)
    short, long = read(LIQUIDATION)
    assert [(short.side, short.bids), (long.side, long.bids)] == [(1, [(55205, 5, 39, 0)]), (-1, [(6, 1, 1, 0)])]
    row = {"instId": SWAP.symbol, "fundingRate": "-0.0001", "fundingTime": str(START_MS), "ts": str(START_MS - 5)}
    (funding,) = read(message("funding-rate", row))
    assert (funding.kind, funding.bids, funding.extra, funding.venue_us) == (
        scan.FUND, [(0, 0, -1, 4)], START_MS * 1000, (START_MS - 5) * 1000,
    )  # fmt: skip
    (mark,) = read(message("mark-price", {"instId": SWAP.symbol, "markPx": "2.5", "ts": "0"}))
    assert (mark.kind, mark.bids, mark.extra, mark.venue_us) == (scan.MARK, [(25, 1, 0, 0)], 0, -1)


def test_quotes_come_from_the_tickers_only_when_asked_for() -> None:
    ticker = message(
        "tickers", {"instId": SWAP.symbol, "bidPx": "1", "bidSz": "", "askPx": "2", "askSz": "1", "ts": "5"}
    )
    assert [parsed.kind for parsed in read(ticker)] == [scan.OTHER]
    (quote,) = read(ticker, ticker_quotes=True)
    assert (quote.kind, quote.bids, quote.asks) == (scan.TICKER, [NOTHING], [(2, 0, 1, 0)])
    (touch,) = read(message("bbo-tbt", {"bids": [["1", "2", "0", "1"]], "asks": [], "ts": str(START_MS)}))
    assert (touch.kind, touch.bids, touch.asks) == (scan.TICKER, [(1, 0, 2, 0)], [NOTHING])


def test_spreads_below_zero_are_left_out() -> None:
    def touch(price: str) -> Any:
        data = {"bids": [[price, "4", "1"]], "asks": [["170.5", "2", "1"]], "ts": str(START_MS)}
        return {"arg": {"channel": "sprd-bbo-tbt", "sprdId": "A-USD-SWAP_A-USD-231229"}, "data": [data]}

    fine, below = read(touch("168"), touch("-3"))
    assert (fine.kind, fine.symbol) == (scan.TICKER, "A-USD-SWAP_A-USD-231229")
    assert (below.kind, below.name) == (scan.OTHER, "spread at a negative price")


@pytest.mark.parametrize(
    ("symbol", "payoff", "settle", "size"),
    [
        ("BTC-USDT", "spot", "USDT", 1), ("ETH-BTC", "spot", "BTC", 1), ("BTC-USD-SWAP", "inverse", "BTC", 100),
        ("UNI-USD-220527", "inverse", "UNI", 10),
    ],
)  # fmt: skip
def test_terms_by_name(symbol: str, payoff: str, settle: str, size: int) -> None:
    assert (terms(symbol).payoff, terms(symbol).settle, terms(symbol).multiplier) == (payoff, settle, size)


@pytest.mark.parametrize("symbol", ["BTC-USDT-SWAP", "BTC-USD-220514-22000-C", "BTC-USD_UM_XPERP-310404", "A_B"])
def test_contract_sizes_must_be_told(symbol: str) -> None:
    with pytest.raises(DataError, match="public/instruments"):
        terms(symbol)


def test_a_recording_may_tell_contract_sizes(write: Any) -> None:
    lines = [f"{(START_MS + i) * 1_000_000} {json.dumps(each)}" for i, each in enumerate([SAMPLES[-1], SAMPLES[0]])]
    assert OKX.open([write(*lines)]).instruments == (SWAP,)
    with pytest.raises(DataError, match="okx:BTC-USDT-SWAP: sizes are contracts"):
        OKX.open([write(lines[1], name="without")])
    assert OKX.open([write(lines[1], name="given")], instruments=[SWAP]).instruments == (SWAP,)
    broken_answer = lines[0].replace('"tickSz": "0.1"', '"tickSz": "zero"')
    with pytest.raises(DataError, match="is not understood") as caught:
        OKX.open([write(broken_answer, name="broken")])
    assert caught.value.line == 1
    with pytest.raises(ConfigError, match="checksums"):
        OKX.open([write(lines[1], name="option")], checksums="sometimes")


@given(text=broken([json.dumps(sample).encode() for sample in SAMPLES]) | st.binary(max_size=40))
def test_whatever_comes_only_data_errors_are_raised(text: bytes) -> None:
    """Arbitrary bytes and damaged messages are refused with a DataError or read; the decoder goes on either way."""
    decoder = OKX.decoder([SWAP], checksums="always", ticker_quotes=True)
    parts: list[np.ndarray] = []

    def feed(data: bytes, ms: int) -> None:
        decoder.feed(data, (START_MS + ms) * 1_000_000, lambda batch: parts.append(batch.copy()))

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


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(1, 40), st.integers(0, 3), st.sampled_from(["", "0", "00"])), max_size=90
    )
)
def test_checksums_are_those_of_a_sorted_list(changes: list[tuple[bool, int, int, str]]) -> None:
    """Text as received, also when a level is written in another way than when it came; short and empty sides."""
    book, texts = SumBook(), [{}, {}]
    for is_bid, price, size, zeros in changes:
        row = [f"{price}.5{zeros}", f"{size}"]
        book.apply({"bids": [row] if is_bid else [], "asks": [] if is_bid else [row]})
        side = texts[0] if is_bid else texts[1]
        for same in [text for text in side if Decimal(text) == Decimal(row[0])]:
            del side[same]
        if size:
            side[row[0]] = row[1]
    assert book.checksum() == checksum(*texts)


def test_a_chain_that_begins_anew_inside_a_gap_is_kept_in_order() -> None:
    """What was kept aside before cannot be put in order with it, and is forgotten."""
    decoder = OKX.decoder([SWAP])
    for each in (book("snapshot", 10), book("update", 20, 18), book("update", 3, 20, [("1", "2")])):
        decoder.feed(json.dumps(each).encode(), START_MS * 1_000_000, lambda batch: None)
        decoder.sequencer.check()
    assert decoder.sequencer.feeds["kept"].tolist() == [1]


@pytest.fixture(scope="module")
def capture(captures: Path) -> RecordingSource:
    """The capture of 2022, without ids."""
    return OKX.open(sorted((captures / "cryptofeed").glob("OKX.*gz")))


@pytest.fixture(scope="module")
def lines(capture: RecordingSource) -> list[bytes]:
    """Its lines."""
    return lines_of(capture)


def is_book(line: bytes) -> bool:
    """Whether a line holds a book message with levels."""
    return b'"channel":"books"' in line and b'"action"' in line


def test_figures_of_the_capture(captures: Path, capture: RecordingSource, lines: list[bytes]) -> None:
    truth = json.loads((captures / "ground_truth/cryptofeed_captures.json").read_text())["OKX"]
    instruments = {instrument.symbol: instrument for instrument in capture.instruments}
    events = events_of(capture)
    oracle = okx(exact(line.partition(b" ")[2]) for line in lines if is_book(line))
    counts: Counter[str] = Counter()
    before: dict[str, set[tuple[int, int]]] = {}
    for symbol, rows, rebuilt in after_each(capture, events):
        name, plain, holds = next(oracle)
        counts["messages"] += 1
        counts["checksum holds"] += holds
        assert symbol == name and levels_of(rebuilt, instruments[symbol]) == (plain.bids, plain.asks)
        assert int(rows[0]["exch_ts"]) == plain.time_ms * 1000
        counts["crossed"] += rebuilt.levels(1, 1)[0][0] >= rebuilt.levels(-1, 1)[0][0]
        if not rows[0]["flags"] & SNAPSHOT:
            gone = [(int(row["side"]), int(row["price"])) for row in rows if row["qty"] == 0]
            counts["deletes"] += len(gone)
            counts["absent deletes"] += sum(level not in before[symbol] for level in gone)
        before[symbol] = {(side, ticks) for side in (1, -1) for ticks, _ in rebuilt.levels(side)}
    assert list(oracle) == []
    assert +counts == {"messages": 290, "checksum holds": 290, "deletes": 3236, "absent deletes": 953}
    names = Counter(symbol for symbol, _, _ in after_each(capture, events))
    assert names == {symbol: expected["n"] for symbol, expected in truth.items()}
    assert not (events["flags"] & BAD_TS).any(), "venue times never go back"
    for index, instrument in enumerate(capture.instruments):
        prints = events[(events["kind"] == TRADE) & (events["instrument"] == index)]
        assert len(prints) + 1 == truth[instrument.symbol]["trades"], "the first push repeats the last trade"
        assert (np.diff(prints["seq"]) == 1).all()
    assert capture.quality.ignored["trades of before the subscription"] == 3
    assert capture.quality.gaps == []
    assert [(i.symbol, i.payoff, i.multiplier) for i in capture.instruments] == [
        ("BTC-USD-220527", "inverse", 100), ("UNI-USD-SWAP", "inverse", 10), ("BTC-USDT", "spot", 1),
    ]  # fmt: skip


def test_any_cutting_gives_the_same_events(capture: RecordingSource, lines: list[bytes]) -> None:
    whole = events_of(capture)
    for rows in (37, 1000):
        assert events_of(capture, rows).tobytes() == whole.tobytes()
    decoder = OKX.decoder(capture.instruments, timing=capture.survey.timing)
    assert fed(decoder, lines).tobytes() == whole.tobytes()
    assert decoder.commands() == []


@pytest.mark.parametrize("seed", range(6))
def test_lost_messages_are_found_when_the_venues_checksum_differs(
    capture: RecordingSource, lines: list[bytes], seed: int
) -> None:
    """One message of each instrument is lost: its gap is where the plain book's checksum fails first, if anywhere."""
    chosen = np.random.default_rng(seed)
    updates = [i for i, line in enumerate(lines) if is_book(line) and b'"update"' in line]
    kept = [line for i, line in enumerate(lines) if i not in set(chosen.choice(updates, 3, replace=False).tolist())]
    expected: dict[str, int] = {}
    for symbol, plain, holds in okx(exact(line.partition(b" ")[2]) for line in kept if is_book(line)):
        if not holds:
            expected.setdefault(symbol, plain.time_ms * 1000)
    decoder = OKX.decoder(capture.instruments, timing=capture.survey.timing)
    events = fed(decoder, kept)
    found = events[events["kind"] == GAP]
    symbols = [capture.instruments[int(row["instrument"])].symbol for row in found]
    assert dict(zip(symbols, found["exch_ts"].tolist(), strict=True)) == expected
    assert {command.symbol for command in decoder.commands()} == expected.keys()
    for row in found:
        later = events[(events["instrument"] == row["instrument"]) & (events["ts"] > row["ts"])]
        assert not (later["kind"] == BOOK).any()


def test_a_corrupted_message_is_found_by_its_own_checksum(capture: RecordingSource, lines: list[bytes]) -> None:
    at = next(i for i, line in enumerate(lines) if is_book(line) and b'"update"' in line and b"BTC-USDT" in line)
    text = json.loads(lines[at].partition(b" ")[2])
    text["data"][0]["checksum"] ^= 1
    wrong = lines[at].partition(b" ")[0] + b" " + json.dumps(text).encode()
    decoder = OKX.decoder(capture.instruments, timing=capture.survey.timing)
    events = fed(decoder, [*lines[:at], wrong, *lines[at + 1 :]])
    (gap,) = events[events["kind"] == GAP]
    assert len(decoder.commands()) == 1
    later = [line for line in lines[at + 1 :] if is_book(line) and b"BTC-USDT" in line]
    assert len(fed(decoder, later)) == 0
    assert decoder.commands() == [], "it was asked for already"
    assert (gap["ts"], gap["seq"], gap["value"]) == (int(wrong.partition(b" ")[0]) // 1000, -1, -1)
    never = OKX.decoder(capture.instruments, timing=capture.survey.timing, checksums="never")
    assert not (fed(never, [*lines[:at], wrong, *lines[at + 1 :]])["kind"] == GAP).any()
    zero = wrong.replace(str(text["data"][0]["checksum"]).encode(), b"0")
    decoder = OKX.decoder(capture.instruments, timing=capture.survey.timing)
    assert not (fed(decoder, [*lines[:at], zero, *lines[at + 1 :]])["kind"] == GAP).any(), "0 is not provided"
