"""Deribit: what single messages say, and the capture of 2021 (captures/README.md §3.7)."""

from __future__ import annotations

import gzip
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.base import Resubscribe
from adapters.decoders.deribit import DeribitMessages, instruments, terms
from adapters.decoders.parsed import NOTHING, Parsed
from adapters.deribit import DERIBIT
from adapters.hyperliquid import HYPERLIQUID
from adapters.recording import RecordingSource
from adapters.sequencing import Timing
from adapters.venue import VenueDecoder
from replay.errors import DataError
from replay.events import BAD_TS, BOOK, CLEAR, GAP, LAST, MARK, QUOTE
from replay.instruments import Instrument
from replay.kernel import scan
from tests.adapters.broken_json import broken
from tests.oracles.book import OracleBook
from tests.oracles.raw_books import deribit, exact

PERPETUAL = "BTC-PERPETUAL"


def framed(channel: str, data: object) -> dict[str, Any]:
    """A notification of a subscription."""
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


def book(change_id: int, previous: int | None = None, **fields: object) -> dict[str, Any]:
    """Data of a book channel."""
    data: dict[str, Any] = {"timestamp": 1626993724318, "instrument_name": PERPETUAL, "change_id": change_id}
    if previous is not None:
        data["prev_change_id"] = previous
    return data | {"bids": [["new", 100.5, 20.0]], "asks": [["delete", 101.0, 0.0]]} | fields


def trade(**fields: object) -> dict[str, Any]:
    """One print."""
    return {
        "trade_seq": 7, "trade_id": "66460463", "timestamp": 1584058044032, "price": 4469.5, "direction": "sell",
        "instrument_name": PERPETUAL, "amount": 1120.0,
    } | fields  # fmt: skip


def ticker(**fields: object) -> dict[str, Any]:
    """Data of a ticker channel."""
    return {
        "timestamp": 1564617604229, "instrument_name": PERPETUAL, "mark_price": 10094.1, "best_bid_price": 10095.0,
        "best_bid_amount": 7000.0, "best_ask_price": None, "best_ask_amount": 0.0,
    } | fields  # fmt: skip


LISTED = {"instrument_name": PERPETUAL, "tick_size": 0.5, "contract_size": 10.0, "min_trade_amount": 10}
SAMPLES = [
    framed("book.BTC-PERPETUAL.raw", book(5, type="snapshot")),
    framed("book.BTC-PERPETUAL.raw", book(6, 5, type="change")),
    framed("book.BTC-PERPETUAL.none.10.100ms", book(6, bids=[[100.5, 20.0]], asks=[])),
    framed("trades.BTC-PERPETUAL.raw", [trade(liquidation="M"), trade(trade_seq=8, block_trade_id="B-1")]),
    framed("ticker.BTC-PERPETUAL.raw", ticker(current_funding=0.0001)),
    framed("quote.BTC-PERPETUAL", ticker()),
    {"replay": "instruments", "answer": {"result": [LISTED]}},
    {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}},
    {"jsonrpc": "2.0", "id": 3, "result": ["book.BTC-PERPETUAL.raw"]},
]  # fmt: skip


def read(*messages: dict[str, Any]) -> list[Parsed]:
    """What a fresh connection makes of messages."""
    reader = DeribitMessages()
    return [parsed for message in messages for parsed in reader.read(message, 0)]


@pytest.mark.parametrize(
    ("data", "full"),
    [
        (book(5, 4, type="snapshot"), True),
        (book(5), True),
        (book(5, 0, type="change"), True),
        (book(5, 4, type="change"), False),
        (book(5, 4), False),
    ],
)
def test_full_books_and_changes(data: dict[str, Any], full: bool) -> None:
    (parsed,) = read(framed("book.BTC-PERPETUAL.raw", data))
    assert (parsed.kind, parsed.last_id, parsed.prev_id) == ((scan.RESET, 5, -1) if full else (scan.DEPTH, 5, 4))
    assert (parsed.symbol, parsed.venue_us) == (PERPETUAL, 1626993724318_000)
    assert (parsed.bids, parsed.asks) == ([(1005, 1, 20, 0)], [(101, 0, 0, 0)])


def test_only_one_book_channel_of_an_instrument_is_read() -> None:
    raw, grouped = framed("book.BTC-PERPETUAL.raw", book(5)), framed("book.BTC-PERPETUAL.5.10.100ms", book(6))
    other = framed("book.ETH-PERPETUAL.5.10.100ms", book(6, instrument_name="ETH-PERPETUAL"))
    assert [parsed.kind for parsed in read(raw, grouped, other)] == [scan.RESET, scan.OTHER, scan.RESET]
    chosen = DeribitMessages(book="5.10.100ms")
    kinds = [parsed.kind for message in (raw, grouped, other) for parsed in chosen.read(message, 0)]
    assert kinds == [scan.OTHER, scan.RESET, scan.RESET]
    assert chosen.read(raw, 0)[0].name == "book raw beside 5.10.100ms"


@pytest.mark.parametrize(
    ("said", "forced"), [(None, []), ("T", [-1]), ("M", [1]), ("MT", [-1, 1])], ids=["none", "T", "M", "MT"]
)
def test_liquidations_take_the_side_of_who_was_forced(said: str | None, forced: list[int]) -> None:
    first, *rest = read(framed("trades.BTC-PERPETUAL.raw", [trade(liquidation=said)]))
    assert (first.kind, first.side, first.last_id, first.bids) == (scan.TRADE, -1, 7, [(44695, 1, 1120, 0)])
    assert [(parsed.kind, parsed.side) for parsed in rest] == [(scan.FORCE, side) for side in forced]


def test_block_trades_are_off_the_book() -> None:
    (parsed,) = read(framed("trades.BTC-PERPETUAL.raw", [trade(block_trade_id="BLOCK-1")]))
    assert parsed.kind == scan.OFF_BOOK


def test_tickers_and_quotes() -> None:
    touch, mark, funding = read(framed("ticker.BTC-PERPETUAL.raw", ticker(current_funding=0.0001)))
    assert (touch.kind, touch.bids, touch.asks) == (scan.TICKER, [(10095, 0, 7000, 0)], [NOTHING])
    assert (mark.kind, mark.bids[0][:2], mark.extra) == (scan.MARK, (100941, 1), 0)
    assert (funding.kind, "funding" in funding.name) == (scan.OTHER, True)
    assert [parsed.kind for parsed in read(framed("ticker.BTC-PERPETUAL.raw", ticker(mark_price=0)))] == [scan.TICKER]


@pytest.mark.parametrize(
    ("symbol", "single"),
    [
        ("BTC-PERPETUAL", True), ("BTC_USDC-PERPETUAL", True), ("BTC-24SEP21", True), ("BTC_USDC", True),
        ("BTC-9JUN20-9875-P", True), ("MATIC_USDC-9MAR24-1d02-C", True), ("BTC-FS-30SEP22_PERP", False),
        ("BTC-STRD-30SEP22-20000", False), ("BTC-ICOND-30DEC22-10000_12000_25000_30000", False),
    ],
)  # fmt: skip
def test_combinations_are_left_out(symbol: str, single: bool) -> None:
    kinds = [
        parsed.kind
        for message in (
            framed("book.x.raw", book(5, instrument_name=symbol)),
            framed("quote.x", ticker(instrument_name=symbol, mark_price=None, best_bid_price=1 if single else -7.5)),
            framed("trades.x.raw", [trade(instrument_name=symbol)]),
        )
        for parsed in read(message)
    ]
    assert kinds == ([scan.RESET, scan.TICKER, scan.TRADE] if single else [scan.OTHER] * 3)


def test_listed_instruments_have_the_ticks_and_lots_of_the_venue() -> None:
    answer = {"result": [LISTED, LISTED | {"instrument_name": "BTC-FS-30SEP22_PERP"}]}
    (listed,) = instruments(answer).values()
    assert listed == Instrument("deribit", PERPETUAL, "inverse", Decimal("0.5"), Decimal(10), settle="BTC")
    for wrong in ({"tick_size": 0}, {"tick_size": "-1"}, {"contract_size": None}, {"instrument_name": 7}):
        with pytest.raises(DataError):
            instruments({"result": [LISTED | wrong]})


def test_numbers_are_the_decimals_that_were_written() -> None:
    levels = [["new", 0.0005, 1e-8], ["change", 61800.2, 123456789012345.0], ["new", 8.477e-05, 0.1]]
    (parsed,) = read(json.loads(json.dumps(framed("book.BTC-PERPETUAL.raw", book(5, bids=levels)))))
    assert parsed.bids == [(5, 4, 1, 8), (618002, 1, 123456789012345, 0), (8477, 8, 1, 1)]


@example(text=json.dumps(framed("trades.BTC-PERPETUAL.raw", [trade(liquidation=[])])).encode())
@example(text=json.dumps(framed("ticker.BTC-PERPETUAL.raw", ticker(mark_price=46116860185.0))).encode())
@given(text=broken([json.dumps(sample).encode() for sample in SAMPLES]) | st.binary(max_size=40))
def test_whatever_comes_only_data_errors_are_raised(text: bytes) -> None:
    """Arbitrary bytes and damaged messages are refused with a DataError or read; the decoder goes on either way."""
    decoder = DERIBIT.decoder([Instrument("deribit", PERPETUAL, "inverse", Decimal("0.5"), Decimal(1))])
    parts: list[np.ndarray] = []
    decoder.feed(json.dumps(SAMPLES[0]).encode(), 1626993724318_000_000, lambda batch: parts.append(batch.copy()))
    try:
        decoder.feed(text, 1626993724418_000_000, lambda batch: parts.append(batch.copy()))
    except DataError as error:
        assert str(error)
    decoder.feed(json.dumps(SAMPLES[0]).encode(), 1626993724518_000_000, lambda batch: parts.append(batch.copy()))
    last = parts[-1]
    assert (last["kind"] == BOOK).all() and last["flags"][0] & CLEAR
    assert list(last["price"]) == [201, 202]


def paths_of(captures: Path) -> list[Path]:
    """The files of the capture."""
    return sorted((captures / "cryptofeed").glob("DERIBIT.*gz"))


def events_of(source: RecordingSource, rows: int = 32_768) -> np.ndarray:
    """All rows."""
    return np.concatenate([batch.copy() for batch in source.batches(rows)])


def fed(decoder: VenueDecoder, source: RecordingSource) -> np.ndarray:
    """All rows of a live decoder that gets the messages of `source` one by one."""
    parts: list[np.ndarray] = []
    for chunk in source.chunks():
        for line in chunk.data.splitlines():
            received, _, message = line.partition(b" ")
            decoder.feed(message, int(received), lambda batch: parts.append(batch.copy()))
    return np.concatenate(parts)


def raw_messages(captures: Path) -> list[Any]:
    """What was received, in order, by the oracle's reader."""
    lines = gzip.decompress((captures / "cryptofeed/DERIBIT.ws.1.0.gz").read_bytes()).splitlines()
    return [exact(line.partition(b": ")[2]) for line in lines if line[:1].isdigit()]


def message_ends(events: np.ndarray, kind: int) -> np.ndarray:
    """Index of the last row of each message of a kind."""
    return np.flatnonzero((events["kind"] == kind) & (events["flags"] & LAST > 0))


def rebuilt(source: RecordingSource, events: np.ndarray) -> Iterator[tuple[str, np.void, OracleBook]]:
    """(symbol, last row, book) after each book message."""
    books = [OracleBook() for _ in source.instruments]
    for row in events[events["kind"] == BOOK]:
        book = books[int(row["instrument"])]
        if row["flags"] & CLEAR:
            book.clear()
        if row["side"]:
            book.set(int(row["side"]), int(row["price"]), int(row["qty"]))
        if row["flags"] & LAST:
            yield source.instruments[int(row["instrument"])].symbol, row, book


def touch_of(book: OracleBook) -> tuple[int, ...]:
    """Best bid, its size, best ask, its size in ticks and lots; zeros for an empty side."""
    return tuple(number for side in (1, -1) for number in (book.levels(side, 1) or [(0, 0)])[0])


def test_figures_of_the_capture(captures: Path) -> None:
    truth = json.loads((captures / "ground_truth/cryptofeed_captures.json").read_text())["DERIBIT"]
    source = DERIBIT.open(paths_of(captures))
    events = events_of(source)
    assert {instrument.symbol for instrument in source.instruments} == set(truth)
    for index, instrument in enumerate(source.instruments):
        q, expected = source.quality.of(instrument.name), truth[instrument.symbol]
        mine = events[events["instrument"] == index]
        assert (q.snapshots, q.breaks, q.applied) == (expected["snapshot"], 0, q.depth_messages)
        assert (q.stale, q.duplicates, q.off_tick, q.book_state) == (0, 0, 0, "live")
        assert len(message_ends(mine, QUOTE)) == len(message_ends(mine, MARK)) == expected["tk"]
        lot = Decimal("0.1") if instrument.symbol.startswith("BTC") else Decimal(1)
        assert (instrument.payoff, instrument.settle) == ("linear", instrument.symbol[:3])
        assert (instrument.tick, instrument.lot) == (Decimal("0.0005"), lot), "as the venue lists it"
    assert sum(source.quality.of(instrument.name).depth_messages for instrument in source.instruments) == 36
    assert source.quality.gaps == []
    early = events[events["flags"] & BAD_TS > 0]  # one ticker outran the fastest book message
    assert (len(early), set(early["kind"])) == (3, {QUOTE, MARK})


def test_quotes_equal_the_book_by_time_of_the_venue_and_not_by_arrival(captures: Path) -> None:
    """With the receiver's clock a second ahead, so that no venue time is clamped."""
    source = DERIBIT.open(paths_of(captures))
    decoder = DERIBIT.decoder(source.instruments, timing=Timing(1_000_000_000, 10_000_000))
    events = fed(decoder, source)
    times: dict[str, list[int]] = defaultdict(list)
    arrivals: dict[str, list[int]] = defaultdict(list)
    touches: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for symbol, row, book in rebuilt(source, events):
        times[symbol].append(int(row["exch_ts"]))
        arrivals[symbol].append(int(row["ts"]))
        touches[symbol].append(touch_of(book))
    found = {"by time": [0, 0], "by arrival": [0, 0]}
    early = together = 0
    for at in message_ends(events, QUOTE):
        bid, ask = events[at - 1], events[at]
        symbol = source.instruments[int(bid["instrument"])].symbol
        quote = tuple(int(row[name]) for row in (bid, ask) for name in ("price", "qty"))
        for how, clock, now in (("by time", times, "exch_ts"), ("by arrival", arrivals, "ts")):
            before = bisect_right(clock[symbol], int(bid[now]))
            if before:
                found[how][0] += 1
                found[how][1] += quote == touches[symbol][before - 1]
        same = [arrival for time, arrival in zip(times[symbol], arrivals[symbol]) if time == bid["exch_ts"]]
        together += len(same) > 0
        early += len(same) > 0 and int(bid["ts"]) < same[0]
    assert found == {"by time": [89, 89], "by arrival": [79, 47]}
    assert (early, together) == (36, 37)


def test_books_are_those_of_a_plain_reading(captures: Path) -> None:
    source = DERIBIT.open(paths_of(captures))
    instruments = {instrument.symbol: instrument for instrument in source.instruments}
    oracle = deribit(raw_messages(captures))
    count = 0
    for symbol, row, book in rebuilt(source, events_of(source)):
        name, plain = next(oracle)
        instrument = instruments[symbol]
        assert (symbol, int(row["seq"]), int(row["exch_ts"])) == (name, plain.number, plain.time_ms * 1000)
        for side, levels in ((1, plain.bids), (-1, plain.asks)):
            mine = {instrument.price(ticks): instrument.size(lots) for ticks, lots in book.levels(side)}
            assert mine == levels
        assert plain.absent == 0
        count += 1
    assert (count, list(oracle)) == (46, [])


@pytest.mark.parametrize("every", [2, 3, 5, 7])
@pytest.mark.parametrize("start", [0, 4])
def test_lost_messages_are_found(captures: Path, every: int, start: int) -> None:
    changes = [
        message["params"]["data"]
        for message in raw_messages(captures)
        if message.get("params", {}).get("channel", "").startswith("book.")
    ]
    stands: dict[str, int] = {}
    breaks: dict[str, int] = defaultdict(int)
    ordinal = 0
    for data in changes:
        name = data["instrument_name"]
        if data["type"] == "change":
            ordinal += 1
            if ordinal - 1 >= start and (ordinal - 1) % every == 0:
                continue
            breaks[name] += data["prev_change_id"] != stands[name]
        stands[name] = data["change_id"]
    source = DERIBIT.open(paths_of(captures), drop_every=every, drop_from=start)
    events = events_of(source)
    assert {i.symbol: source.quality.of(i.name).breaks for i in source.instruments} == {
        i.symbol: breaks[i.symbol] for i in source.instruments
    }
    assert sum(breaks.values()) > 0
    broken_names = {source.instruments[int(i)].symbol for i in np.unique(events["instrument"][events["kind"] == GAP])}
    assert broken_names == {name for name, times in breaks.items() if times}
    for row in events[events["kind"] == GAP]:
        later = events[(events["instrument"] == row["instrument"]) & (events["ts"] > row["ts"])]
        assert not (later["kind"] == BOOK).any()


def test_a_full_book_ends_a_gap() -> None:
    decoder = DERIBIT.decoder([Instrument("deribit", PERPETUAL, "inverse", Decimal("0.5"), Decimal(1))])
    parts: list[np.ndarray] = []
    for n, data in enumerate([book(5, type="snapshot"), book(9, 8, type="change"), book(10, 9, type="change")]):
        message = json.dumps(framed("book.BTC-PERPETUAL.raw", data)).encode()
        decoder.feed(message, (1626993724320 + n) * 1_000_000, lambda batch: parts.append(batch.copy()))
    assert decoder.commands() == [Resubscribe(PERPETUAL, "the book has no valid state")]
    assert decoder.commands() == []
    message = json.dumps(framed("book.BTC-PERPETUAL.raw", book(12, type="snapshot"))).encode()
    decoder.feed(message, 1626993724330 * 1_000_000, lambda batch: parts.append(batch.copy()))
    events = np.concatenate(parts)
    assert list(events["kind"][events["kind"] != BOOK]) == [GAP]
    assert list(events["seq"][events["flags"] & LAST > 0]) == [5, 5, 12]
    (gap,) = decoder.quality.gaps
    assert (gap.last_good_id, gap.next_id, gap.repair) == (5, 9, "snapshot")


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "drop", "repeat", "resubscribe"]),
        st.sampled_from(["bids", "asks"]),
        st.integers(1, 6),
        st.integers(0, 3),
    ),
    max_size=30,
)


@given(changes=CHANGES)
def test_every_hole_is_found_and_every_valid_book_is_right(changes: list[tuple[str, str, int, int]]) -> None:
    """Whatever is lost, repeated or subscribed anew: a gap where a change is missing, else the venue's book."""
    decoder = DERIBIT.decoder([Instrument("deribit", PERPETUAL, "inverse", Decimal("0.5"), Decimal(1))])
    venue: dict[str, dict[float, float]] = {"bids": {}, "asks": {}}
    seen, mine = OracleBook(), {"valid": False, "gaps": 0}

    def take(batch: np.ndarray) -> None:
        for row in batch:
            if row["kind"] == GAP:
                mine.update(valid=False, gaps=mine["gaps"] + 1)
            if row["flags"] & CLEAR:
                seen.clear()
                mine["valid"] = True
            if row["kind"] == BOOK and row["side"]:
                seen.set(int(row["side"]), int(row["price"]), int(row["qty"]))

    stands, change_id, valid, gaps = -1, 100, False, 0
    for n, (what, side, step, size) in enumerate([("resubscribe", "bids", 1, 1), *changes]):
        price = step * 0.5 + (10 if side == "asks" else 0)
        before, change_id = change_id, change_id + step
        action = "delete" if size == 0 else "change" if price in venue[side] else "new"
        venue[side][price] = float(size)
        venue[side] = {price: size for price, size in venue[side].items() if size}
        full = what == "resubscribe"
        levels = {key: [["new", *level] for level in venue[key].items()] for key in venue}
        changed: dict[str, Any] = {"bids": [], "asks": []} | {side: [[action, price, float(size)]]}
        data = book(change_id, before, type="snapshot" if full else "change", **(levels if full else changed))
        if what != "drop":
            if full:
                valid = True
            elif valid and stands != before:
                valid, gaps = False, gaps + 1
            stands = change_id
            text = json.dumps(framed("book.BTC-PERPETUAL.raw", data)).encode()
            for _ in range(2 if what == "repeat" else 1):
                decoder.feed(text, (1626993725000 + n) * 1_000_000, take)
        assert mine == {"valid": valid, "gaps": gaps}
        if valid and stands == change_id:
            for key, code in (("bids", 1), ("asks", -1)):
                assert {ticks * 0.5: float(lots) for ticks, lots in seen.levels(code)} == venue[key]
    assert bool(decoder.commands()) is not valid


def test_any_cutting_gives_the_same_events(captures: Path) -> None:
    source = DERIBIT.open(paths_of(captures))
    whole = events_of(source).tobytes()
    for rows in (1, 7, 100):
        assert events_of(source, rows).tobytes() == whole
    decoder = DERIBIT.decoder(source.instruments, timing=source.survey.timing)
    assert fed(decoder, source).tobytes() == whole
    assert decoder.commands() == []


def test_a_recording_in_lines_is_the_same_as_one_of_cryptofeed(captures: Path, tmp_path: Path) -> None:
    source = DERIBIT.open(paths_of(captures))
    copy = tmp_path / "deribit.txt"
    copy.write_bytes(b"".join(chunk.data for chunk in source.chunks()))
    assert events_of(DERIBIT.open([copy])).tobytes() == events_of(source).tobytes()
    with pytest.raises(DataError, match="no server of hyperliquid"):
        HYPERLIQUID.open(paths_of(captures))


@pytest.mark.parametrize(
    ("symbol", "payoff", "settle"),
    [
        ("BTC-PERPETUAL", "inverse", "BTC"), ("ETH-24SEP21", "inverse", "ETH"), ("BTC-24SEP21-8000-P", "linear", "BTC"),
        ("SOL_USDC-PERPETUAL", "linear", "USDC"), ("XRP_USDC-30JUN23-0d5-C", "linear", "USDC"),
        ("BTC_USDC", "spot", "USDC"),
    ],
)  # fmt: skip
def test_terms_by_name(symbol: str, payoff: str, settle: str) -> None:
    assert (terms(symbol).payoff, terms(symbol).settle, terms(symbol).multiplier) == (payoff, settle, 1)
