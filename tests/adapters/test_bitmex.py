"""BitMEX: what single messages say, and the capture of 2021 (captures/README.md §3.7)."""

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
from adapters.bitmex import BITMEX, terms
from adapters.decoders.bitmex import Bitmex
from adapters.decoders.parsed import NOTHING, Parsed
from adapters.kraken import KRAKEN
from replay.errors import DataError
from replay.events import BOOK, CLEAR, GAP, LAST, QUOTE, REPAIRED
from replay.instruments import Instrument
from replay.kernel import scan
from replay.verify import verify
from tests.adapters.broken_json import broken
from tests.adapters.recorded import (
    check_any_cutting,
    events_of,
    lines_of,
    paths_of,
    raw_messages,
    rebuilt,
    timed_messages,
)
from tests.oracles.raw_books import bitmex

XBT = Instrument("bitmex", "XBTUSD", "inverse", Decimal("0.5"), Decimal(1), settle="BTC")


def table(name: str, action: str, *rows: dict[str, Any], **fields: object) -> dict[str, Any]:
    """A message of a table."""
    return {"table": name, "action": action, "data": [{"symbol": "XBTUSD"} | row for row in rows]} | fields


def sell(ident: int, **fields: object) -> dict[str, Any]:
    """One ask."""
    return {"id": ident, "side": "Sell"} | fields


BOOK_OF_TWO = table(
    "orderBookL2", "partial", sell(1, size=7, price=100.5), {"id": 2, "side": "Buy", "size": 9, "price": 99}
)
LISTED = {
    "symbol": "ETHUSD", "tickSize": 0.05, "lotSize": 1, "multiplier": 100, "isInverse": False, "settlCurrency": "XBt",
}  # fmt: skip
SAMPLES = [
    BOOK_OF_TWO,
    table("orderBookL2", "update", sell(1, size=8)),
    table("orderBookL2", "insert", sell(3, size=8, price=101, timestamp="2022-02-14T08:06:54.742Z")),
    table("orderBookL2", "delete", sell(1)),
    table("quote", "insert", {"timestamp": "2021-07-22T22:36:09.757Z", "bidSize": 1, "bidPrice": 99, "askPrice": None,
                              "askSize": None}),
    table("trade", "insert", {"timestamp": "2021-07-22T22:35:59.790Z", "side": "Buy", "size": 1000, "price": 32175}),
    table("liquidation", "insert", {"orderID": "x", "side": "Buy", "price": 10106, "leavesQty": 9214}),
    table("instrument", "partial", LISTED | {"markPrice": 267.1, "fundingRate": 0.0001,
                                             "fundingTimestamp": "2021-07-23T04:00:00.000Z"}),
    {"info": "Welcome"},
]  # fmt: skip


def read(*messages: dict[str, Any]) -> list[Parsed]:
    """What a fresh connection makes of messages."""
    reader = Bitmex()
    return [parsed for message in messages for parsed in reader.read(message, 0)]


def test_levels_are_found_by_id() -> None:
    full, update, insert, delete = read(*SAMPLES[:4])
    assert (full.kind, full.bids, full.asks, full.venue_us) == (scan.RESET, [(99, 0, 9, 0)], [(1005, 1, 7, 0)], -1)
    assert (update.kind, update.asks, update.bids) == (scan.DEPTH, [(1005, 1, 8, 0)], [])
    assert (insert.asks, insert.venue_us) == ([(101, 0, 8, 0)], 1_644_826_014_742_000)
    assert delete.asks == [(1005, 1, 0, 0)]
    assert (full.last_id, update.last_id, update.prev_id) == (-1, -1, -1)


def test_one_message_may_hold_rows_of_one_level_and_of_several_books() -> None:
    (_, twice) = read(BOOK_OF_TWO, table("orderBookL2", "insert", sell(5, size=1, price=7), sell(5, size=2, price=7)))
    assert twice.asks == [(7, 0, 1, 0), (7, 0, 2, 0)]
    rows = [sell(1, size=1, price=5), sell(2, size=1, price=6) | {"symbol": "EOSM19"}]
    assert [parsed.symbol for parsed in read(table("orderBookL2", "partial", *rows))] == ["XBTUSD", "EOSM19"]
    (empty,) = read(table("orderBookL2", "partial", filter={"symbol": "XBTZ21"}))
    assert (empty.kind, empty.symbol, empty.bids, empty.asks) == (scan.RESET, "XBTZ21", [], [])


def test_a_change_before_the_partial_is_left_out_and_one_of_an_unknown_level_is_a_loss() -> None:
    change = table("orderBookL2", "update", sell(77, size=8))
    assert [parsed.kind for parsed in read(change)] == [scan.OTHER]
    kinds = [parsed.kind for parsed in read(BOOK_OF_TWO, change, change, BOOK_OF_TWO, SAMPLES[1])]
    assert kinds == [scan.RESET, scan.LOST, scan.OTHER, scan.RESET, scan.DEPTH]
    deleted = [parsed.kind for parsed in read(BOOK_OF_TWO, SAMPLES[3], SAMPLES[1])]
    assert deleted == [scan.RESET, scan.DEPTH, scan.LOST]


def test_a_broken_message_changes_nothing() -> None:
    reader = Bitmex()
    list(reader.read(BOOK_OF_TWO, 0))
    for bad in (sell(4, size=1), sell(4, size=-1, price=7), {"id": 4, "side": "", "size": 1, "price": 7}):
        with pytest.raises(DataError):
            reader.read(table("orderBookL2", "insert", sell(3, size=1, price=8), bad), 0)
    assert reader.prices == {"XBTUSD": {1: (1005, 1), 2: (99, 0)}}


def test_prints_quotes_and_liquidations() -> None:
    quote, print_, forced = read(*SAMPLES[4:7])
    assert (quote.kind, quote.bids, quote.asks) == (scan.TICKER, [(99, 0, 1, 0)], [NOTHING])
    assert (print_.kind, print_.side, print_.last_id, print_.bids) == (scan.TRADE, 1, -1, [(32175, 0, 1000, 0)])
    assert print_.venue_us == 1_626_993_359_790_000
    assert (forced.kind, forced.side, forced.bids, forced.venue_us) == (scan.FORCE, 1, [(10106, 0, 9214, 0)], -1)
    history = [table(name, "partial", SAMPLES[at]["data"][0]) for name, at in (("quote", 4), ("trade", 5))]
    assert [parsed.kind for parsed in read(*history)] == [scan.OTHER] * 2
    index = table("trade", "insert", {"symbol": ".BXBT", "side": None, "size": 0, "price": 1})
    assert [parsed.kind for parsed in read(index)] == [scan.OTHER]
    odd = table("trade", "insert", SAMPLES[5]["data"][0] | {"trdType": "Settlement"})
    assert [parsed.kind for parsed in read(odd)] == [scan.OFF_BOOK]


def test_mark_and_funding_are_remembered() -> None:
    later = {"symbol": "ETHUSD", "timestamp": "2021-07-22T22:36:09.000Z"}
    full, same, moved, paid = read(
        SAMPLES[7],
        table("instrument", "update", later | {"openInterest": 5}),
        table("instrument", "update", later | {"markPrice": 268}),
        table("instrument", "update", {"fundingRate": -0.0003, "fundingTimestamp": "2021-07-23T12:00:00.000Z"}),
    )
    next_us = 1_627_012_800_000_000
    assert (full.kind, full.bids, full.extra, full.venue_us) == (scan.MARK, [(2671, 1, 1, 4)], next_us, -1)
    assert same.kind == scan.OTHER
    assert (moved.bids, moved.extra, moved.venue_us) == ([(268, 0, 1, 4)], next_us, 1_626_993_369_000_000)
    assert (paid.kind, paid.bids, paid.extra) == (scan.FUND, [(0, 0, -3, 4)], 1_627_041_600_000_000)


@pytest.mark.parametrize(
    ("fields", "payoff", "worth"),
    [
        ({"symbol": "ETHUSD"}, "linear", "0.000001"),
        ({"symbol": "XRPU21", "multiplier": 100_000_000}, "linear", "1"),
        ({"symbol": "XBTUSD", "multiplier": -100_000_000, "isInverse": True, "lotSize": 100}, "inverse", "1"),
        ({"symbol": "XBTUSDT", "multiplier": 1, "settlCurrency": "USDt"}, "linear", "0.000001"),
    ],
)
def test_the_recording_states_what_a_contract_pays(fields: dict[str, Any], payoff: str, worth: str) -> None:
    reader = Bitmex()
    reader.read({"table": "instrument", "action": "listed", "data": [LISTED | fields]}, 0)
    (found,) = reader.stated.values()
    assert (found.name, found.payoff, found.multiplier) == (f"bitmex:{fields['symbol']}", payoff, Decimal(worth))
    assert (found.tick, found.lot) == (Decimal("0.05"), Decimal(fields.get("lotSize", 1)))
    assert found.settle == ("USDT" if "settlCurrency" in fields else "BTC")


def test_only_bitcoin_contracts_are_known_by_their_names() -> None:
    for symbol in ("XBTUSD", "XBTU21"):
        assert (terms(symbol).payoff, terms(symbol).settle, terms(symbol).multiplier) == ("inverse", "BTC", 1)
    for symbol in ("ETHUSD", "XBTUSDT", "XRPU21", "XBT7D_U105"):
        with pytest.raises(DataError, match="contract is worth"):
            terms(symbol)


@given(text=broken([json.dumps(sample).encode() for sample in SAMPLES]) | st.binary(max_size=40))
def test_whatever_comes_only_data_errors_are_raised(text: bytes) -> None:
    """Arbitrary bytes and damaged messages are refused with a DataError or read; the decoder goes on either way."""
    decoder = BITMEX.decoder([XBT])
    parts: list[np.ndarray] = []
    for n, frame in enumerate((json.dumps(BOOK_OF_TWO).encode(), text, json.dumps(BOOK_OF_TWO).encode())):
        try:
            decoder.feed(frame, (1_626_993_370_000 + n) * 10**6, lambda batch: parts.append(batch.copy()))
        except DataError as error:
            assert frame == text and str(error)
    last = parts[-1]
    assert (last["kind"] == BOOK).all() and last["flags"][0] & CLEAR
    assert list(last["price"]) == [198, 201]


def test_figures_of_the_capture(captures: Path) -> None:
    truth = json.loads((captures / "ground_truth/cryptofeed_captures.json").read_text())["BITMEX"]
    source = BITMEX.open(paths_of(captures, "BITMEX"))
    found = verify(source)
    assert found.clean and {instrument.symbol for instrument in source.instruments} == set(truth)
    for name, check in found.instruments.items():
        expected = truth[check.instrument.symbol]
        q = source.quality.of(name)
        assert (q.snapshots, q.breaks, q.stale, q.off_tick) == (1, 0, 0, 0)
        assert check.deletes == expected.get("delete", 0)
        assert (check.crossed, check.absent_deletes) == (0, 0)
    rows = Counter(row["kind"] for row in events_of(source))
    changed = sum(sum(each.get(what, 0) for what in ("update", "insert", "delete")) for each in truth.values())
    partial = sum(each["partial"] for each in truth.values())
    assert changed == 2_033 + 554 and rows[BOOK] == partial + changed
    assert rows[QUOTE] == 2 * sum(each.get("quotes", 0) for each in truth.values())


def test_quotes_equal_the_book_in_order_of_arrival(captures: Path) -> None:
    """The last quote of each of the 83 messages."""
    source = BITMEX.open(paths_of(captures, "BITMEX"))
    events = events_of(source)
    latest: dict[tuple[int, int], tuple[Any, Any]] = {}
    ends = np.flatnonzero(events["flags"] & LAST)
    for end, (row, mine) in zip(ends, rebuilt(source.instruments, events)):
        if row["kind"] == QUOTE:
            quote = tuple((int(events[at]["price"]), int(events[at]["qty"])) for at in (end - 1, end))
            latest[int(row["ts"]), int(row["instrument"])] = quote, mine.touch()
    assert len(latest) == 83
    assert sum(quote == touch for quote, touch in latest.values()) == 83


def test_books_are_those_of_a_plain_reading(captures: Path) -> None:
    """All levels after every message, but of the large book only after every hundredth."""
    source = BITMEX.open(paths_of(captures, "BITMEX"))
    oracle = bitmex(raw_messages(captures, "BITMEX"))
    count = 0
    for row, mine in rebuilt(source.instruments, events_of(source)):
        if row["kind"] != BOOK:
            continue
        symbol, raw = next(oracle)
        assert (symbol, raw.absent) == (mine.instrument.symbol, 0)
        count += 1
        if symbol != "XBTUSD" or count % 100 == 0:
            assert mine.equals(raw)
    assert (count, list(oracle)) == (1_979, [])


@pytest.mark.parametrize("every", [7, 50])
def test_lost_lines_are_found_where_a_level_is_missing(captures: Path, tmp_path: Path, every: int) -> None:
    whole = BITMEX.open(paths_of(captures, "BITMEX"))
    lines = lines_of(whole)
    kept = [line for i, line in enumerate(lines) if i < 100 or i % every or b'"insert"' not in line]
    path = tmp_path / "lost.txt"
    path.write_bytes(b"\n".join(kept) + b"\n")
    expected: dict[str, int] = {}
    levels: dict[str, set[int]] = {}
    for line in kept:
        received, _, text = line.partition(b" ")
        message = json.loads(text)
        if message.get("table") != "orderBookL2" or message["action"] not in ("partial", "insert", "update", "delete"):
            continue
        for row in message["data"]:
            known = levels.setdefault(row["symbol"], set())
            if message["action"] in ("update", "delete") and row["id"] not in known:
                expected.setdefault(row["symbol"], int(received) // 1000)
            (known.discard if message["action"] == "delete" else known.add)(row["id"])
    assert expected, "no loss that could be seen"
    source = BITMEX.open([path], instruments=whole.instruments)
    events = events_of(source)
    gaps = events[events["kind"] == GAP]
    offset_us = source.survey.timing.offset_ns // 1000
    found = {source.instruments[int(row["instrument"])].symbol: int(row["ts"]) - offset_us for row in gaps}
    assert found == pytest.approx(expected, abs=1)
    for row in gaps:
        after = events[(events["instrument"] == row["instrument"]) & (events["ts"] > row["ts"])]
        assert not (after["kind"] == BOOK).any()


def test_a_loss_is_repaired_by_the_next_partial() -> None:
    decoder = BITMEX.decoder([XBT])
    parts: list[np.ndarray] = []
    frames = [BOOK_OF_TWO, table("orderBookL2", "update", sell(77, size=8)), SAMPLES[1]]
    for n, frame in enumerate(frames):
        decoder.feed(json.dumps(frame).encode(), (1_626_993_370_000 + n) * 10**6, lambda b: parts.append(b.copy()))
    assert decoder.commands() == [Resubscribe("XBTUSD", "the book has no valid state")]
    assert decoder.commands() == []
    decoder.feed(json.dumps(BOOK_OF_TWO).encode(), 1_626_993_371_000 * 10**6, lambda b: parts.append(b.copy()))
    events = np.concatenate(parts)
    assert list(events["kind"]) == [BOOK, BOOK, GAP, BOOK, BOOK]
    assert (events["flags"][3:] & REPAIRED).all()
    (gap,) = decoder.quality.gaps
    assert (gap.repair, gap.last_good_id, gap.next_id) == ("snapshot", -1, -1)


def test_any_cutting_gives_the_same_events(captures: Path, tmp_path: Path) -> None:
    check_any_cutting(BITMEX, paths_of(captures, "BITMEX"), tmp_path)
    with pytest.raises(DataError, match="no server of kraken"):
        KRAKEN.open(paths_of(captures, "BITMEX"))


def test_times_of_receipt_are_those_of_the_file(captures: Path) -> None:
    source = BITMEX.open(paths_of(captures, "BITMEX"))
    events = events_of(source)
    received = [us for us, message in timed_messages(captures, "BITMEX") if message.get("table") == "orderBookL2"]
    ends = events[(events["kind"] == BOOK) & (events["flags"] & LAST > 0)]
    offset_us = source.survey.timing.offset_ns / 1000
    assert np.abs(ends["ts"] - np.array(received) - offset_us).max() <= 1
