"""Coinbase Exchange: what single messages say, and the capture of 2021 (captures/README.md §3.7)."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.bitmex import BITMEX
from adapters.coinbase import COINBASE, terms
from adapters.decoders.coinbase import Coinbase
from adapters.decoders.parsed import Parsed
from replay.errors import DataError
from replay.events import BOOK, CLEAR, LAST, QUOTE, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.kernel import scan
from replay.verify import verify
from tests.adapters.broken_json import broken
from tests.adapters.recorded import check_any_cutting, events_of, paths_of, raw_messages, rebuilt
from tests.oracles.raw_books import coinbase

BTC = Instrument("coinbase", "BTC-EUR", "spot", Decimal("0.01"), Decimal("0.00000001"), settle="EUR")


def message(kind: str, **fields: object) -> dict[str, Any]:
    """A message about BTC-EUR."""
    return {"type": kind, "product_id": "BTC-EUR", "time": "2021-04-17T16:43:37.075687Z"} | fields


SAMPLES = [
    {"type": "snapshot", "product_id": "BTC-EUR", "bids": [["9202.50", "1.5"]], "asks": [["9203.00", "0.25"]]},
    message("l2update", changes=[["buy", "9202.70", "0.58667860"], ["sell", "9203.00", "0.00000000"]]),
    message("match", trade_id=216544, side="buy", size="0.97133855", price="9203.00"),
    message("ticker", best_bid="9202.70", best_ask="9203.10", best_bid_size="0.5", best_ask_size="2", trade_id=216544),
    message("last_match", trade_id=216543, side="buy", size="1", price="9203.00"),
    {"type": "subscriptions", "channels": []},
]  # fmt: skip


def read(*messages: dict[str, Any]) -> list[Parsed]:
    """What a fresh connection makes of messages."""
    reader = Coinbase()
    return [parsed for each in messages for parsed in reader.read(each, 0)]


def test_books_and_updates() -> None:
    full, change = read(*SAMPLES[:2])
    assert (full.kind, full.bids, full.asks) == (scan.RESET, [(92025, 1, 15, 1)], [(9203, 0, 25, 2)])
    assert (full.venue_us, full.last_id) == (-1, -1)
    assert (change.kind, change.venue_us) == (scan.DEPTH, 1_618_677_817_075_687)
    assert (change.bids, change.asks) == ([(92027, 1, 5866786, 7)], [(9203, 0, 0, 0)])


def test_an_update_of_the_year_one_has_the_time_of_the_one_before() -> None:
    late = SAMPLES[1] | {"time": "0001-01-01T00:00:00.000000Z"}
    assert [parsed.venue_us for parsed in read(late, SAMPLES[1], late, late)] == [-1] + [1_618_677_817_075_687] * 3


def test_a_level_with_a_broken_size_is_left_out() -> None:
    full, noted = read(SAMPLES[0] | {"bids": [["40533.24", "0.020416"], ["40531.19", "0.-10000"]]})
    assert (full.bids, noted.kind, noted.name) == (
        [(4053324, 2, 20416, 6)], scan.OTHER, "level with a broken size, left out",
    )  # fmt: skip
    with pytest.raises(DataError, match="size"):
        read(SAMPLES[0] | {"bids": [["40533.24", "much"]]})


def test_the_side_of_a_match_is_the_makers() -> None:
    (print_, history) = read(SAMPLES[2], SAMPLES[4])
    assert (print_.kind, print_.side, print_.last_id, print_.bids) == (
        scan.TRADE, -1, 216544, [(9203, 0, 97133855, 8)],
    )  # fmt: skip
    assert history.kind == scan.OTHER


def test_the_first_ticker_after_a_subscription_is_history() -> None:
    kinds = [parsed.kind for parsed in read(SAMPLES[3], SAMPLES[3], SAMPLES[0], SAMPLES[3], SAMPLES[3])]
    assert kinds == [scan.OTHER, scan.TICKER, scan.RESET, scan.OTHER, scan.TICKER]
    unsized = message("ticker", best_bid="9202.70", best_ask="9203.10")
    *_, sized, bare = read(SAMPLES[3], SAMPLES[3], unsized)
    assert (sized.bids, sized.asks) == ([(92027, 1, 5, 1)], [(92031, 1, 2, 0)])
    assert (bare.bids, bare.asks) == ([(92027, 1, 0, 0)], [(92031, 1, 0, 0)])


def test_terms() -> None:
    assert (terms("BTC-EUR").payoff, terms("BTC-EUR").settle) == ("spot", "EUR")
    with pytest.raises(DataError, match="product"):
        terms("BTCEUR")
    reader = Coinbase()
    product = {"id": "BTC-EUR", "quote_currency": "EUR", "quote_increment": "0.01", "base_increment": "0.00000001"}
    answer = reader.answer("https://api.pro.coinbase.com/products", json.dumps([product]).encode())
    assert answer is not None and list(reader.read(json.loads(answer), 0)) == []
    assert reader.stated == {"BTC-EUR": BTC}
    assert reader.answer("https://api.pro.coinbase.com/time", b"{}") is None


@given(text=broken([json.dumps(sample).encode() for sample in SAMPLES]) | st.binary(max_size=40))
def test_whatever_comes_only_data_errors_are_raised(text: bytes) -> None:
    """Arbitrary bytes and damaged messages are refused with a DataError or read; the decoder goes on either way."""
    decoder = COINBASE.decoder([BTC])
    parts: list[np.ndarray] = []
    book = json.dumps(SAMPLES[0]).encode()
    for n, frame in enumerate((book, text, book)):
        try:
            decoder.feed(frame, (1_618_677_817_100 + n) * 10**6, lambda batch: parts.append(batch.copy()))
        except DataError as error:
            assert frame == text and str(error)
    last = parts[-1]
    assert (last["kind"] == BOOK).all() and last["flags"][0] & CLEAR
    assert list(last["price"]) == [920250, 920300]


def test_figures_of_the_capture(captures: Path) -> None:
    truth = json.loads((captures / "ground_truth/cryptofeed_captures.json").read_text())["COINBASE"]
    source = COINBASE.open(paths_of(captures, "COINBASE"))
    found = verify(source)
    assert found.clean and {instrument.symbol for instrument in source.instruments} == set(truth)
    events = events_of(source)
    for index, (name, check) in enumerate(found.instruments.items()):
        expected, q = truth[check.instrument.symbol], source.quality.of(name)
        assert (q.depth_messages, q.applied, q.snapshots, q.stale) == (expected["upd"], expected["upd"], 1, 0)
        assert (check.crossed, check.deletes, check.absent_deletes) == (0, expected["del"], 0)
        assert (check.trades.count, check.trades.id_gaps, q.off_tick) == (expected.get("match", 0), 0, 0)
        mine = events[events["instrument"] == index]
        assert ((mine["flags"] & SNAPSHOT) > 0).sum() == expected["sb"] + expected["sa"]
        assert (mine["kind"] == QUOTE).sum() == 2 * (expected["tk"] - 1)
    assert sum(check.deletes for check in found.instruments.values()) == 2_634
    assert sum(check.quality.applied for check in found.instruments.values()) == 9_719
    assert source.quality.ignored["first ticker, from before the subscription"] == 10


def test_tickers_equal_the_book_in_order_of_arrival(captures: Path) -> None:
    """Prices only: these tickers have no sizes."""
    source = COINBASE.open(paths_of(captures, "COINBASE"))
    events = events_of(source)
    compared = equal = 0
    for end, (row, mine) in zip(np.flatnonzero(events["flags"] & LAST), rebuilt(source.instruments, events)):
        if row["kind"] == QUOTE:
            compared += 1
            equal += [int(events[at]["price"]) for at in (end - 1, end)] == [side[0] for side in mine.touch() if side]
            assert events["qty"][end - 1 : end + 1].sum() == 0
    assert (compared, equal) == (97, 97)


def test_first_tickers_would_not_equal_the_book(captures: Path) -> None:
    messages = raw_messages(captures, "COINBASE")
    seen: set[str] = set()
    differ = 0
    for at, each in enumerate(messages):
        if each["type"] == "ticker" and each["product_id"] not in seen:
            seen.add(each["product_id"])
            raw = dict(coinbase(messages[:at]))[each["product_id"]]
            differ += (max(raw.bids), min(raw.asks)) != (Decimal(each["best_bid"]), Decimal(each["best_ask"]))
    assert (len(seen), differ) == (10, 7)


def test_books_are_those_of_a_plain_reading(captures: Path) -> None:
    """All levels after every tenth message."""
    source = COINBASE.open(paths_of(captures, "COINBASE"))
    oracle = coinbase(raw_messages(captures, "COINBASE"))
    count = 0
    for row, mine in rebuilt(source.instruments, events_of(source)):
        if row["kind"] == BOOK:
            symbol, raw = next(oracle)
            assert symbol == mine.instrument.symbol
            count += 1
            assert count % 10 or mine.equals(raw)
    assert (count, list(oracle)) == (9_729, [])


def test_aggressors_print_at_the_other_side_of_the_book(captures: Path) -> None:
    """A check of the inverted side: the book that stands when a trade arrives still has its price where it was hit."""
    source = COINBASE.open(paths_of(captures, "COINBASE"))
    right = wrong = 0
    for row, mine in rebuilt(source.instruments, events_of(source)):
        if row["kind"] == TRADE:
            (bid, _), (ask, _) = (side or (0, 0) for side in mine.touch())
            nearer_ask = abs(int(row["price"]) - ask) < abs(int(row["price"]) - bid)
            right += nearer_ask == (row["side"] > 0)
            wrong += nearer_ask != (row["side"] > 0)
    assert right + wrong == 97
    assert right > 5 * wrong


def test_lost_messages_leave_no_trace_but_a_wrong_book(captures: Path) -> None:
    found = verify(COINBASE.open(paths_of(captures, "COINBASE"), drop_every=20, drop_from=200))
    assert found.quality.gaps_total == 0
    assert sum(check.absent_deletes for check in found.instruments.values()) > 0
    assert sum(check.crossed for check in found.instruments.values()) > 0
    assert not found.clean


def test_any_cutting_gives_the_same_events(captures: Path, tmp_path: Path) -> None:
    check_any_cutting(COINBASE, paths_of(captures, "COINBASE"), tmp_path)
    with pytest.raises(DataError, match="no server of bitmex"):
        BITMEX.open(paths_of(captures, "COINBASE"))
