"""Hyperliquid: what single messages say, and the capture of 2025 (captures/README.md §3.7)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.decoders.hyperliquid import BACKLOG, HyperliquidMessages
from adapters.decoders.parsed import NOTHING, Parsed
from adapters.hyperliquid import HYPERLIQUID, terms
from adapters.recording import RecordingSource
from replay.errors import DataError
from replay.events import BOOK, CLEAR, FUNDING, LAST, MARK, QUOTE, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.kernel import scan
from replay.units import US_PER_HOUR
from tests.adapters.broken_json import broken
from tests.oracles.raw_books import exact, hyperliquid

NOON_NS = 1_737_979_200_000_000_000


def level(price: str, size: str) -> dict[str, Any]:
    """A price level."""
    return {"px": price, "sz": size, "n": 1}


def book(bids: list[Any], asks: list[Any], time: int = 1737979200000) -> dict[str, Any]:
    """An l2Book message."""
    return {"channel": "l2Book", "data": {"coin": "BTC", "time": time, "levels": [bids, asks]}}


def trades(*tids: int, coin: str = "BTC", side: str = "B") -> dict[str, Any]:
    """A trades message."""
    each = {"coin": coin, "side": side, "px": "105051.0", "sz": "0.03482", "time": 1737979200000, "hash": "0x0"}
    return {"channel": "trades", "data": [{**each, "tid": tid} for tid in tids]}


def subscribed(kind: str) -> dict[str, Any]:
    """What the server answers to a subscription."""
    subscription = {"type": kind, "coin": "BTC"}
    return {"channel": "subscriptionResponse", "data": {"method": "subscribe", "subscription": subscription}}


CONTEXT = {"channel": "activeAssetCtx", "data": {"coin": "BTC", "ctx": {"funding": "-0.00004863", "markPx": "0.19963"}}}
SAMPLES = [
    book([level("100.5", "20.0")], [level("101.0", "0.1")]),
    trades(1, 2),
    subscribed("trades"),
    {"channel": "bbo", "data": {"coin": "BTC", "time": 1737979200000, "bbo": [level("100.5", "20.0"), None]}},
    CONTEXT,
    {"channel": "pong"},
]  # fmt: skip


def read(*messages: dict[str, Any], received_ns: int = NOON_NS) -> list[Parsed]:
    """What a fresh connection makes of messages."""
    reader = HyperliquidMessages()
    return [parsed for message in messages for parsed in reader.read(message, received_ns)]


def test_every_book_is_a_full_one() -> None:
    first, empty = read(SAMPLES[0], book([], []))
    assert (first.kind, first.symbol, first.last_id, first.venue_us) == (scan.RESET, "BTC", -1, 1737979200000_000)
    assert (first.bids, first.asks) == ([(1005, 1, 20, 0)], [(101, 0, 1, 1)])
    assert (empty.kind, empty.bids, empty.asks) == (scan.RESET, [], [])


def test_the_first_trades_of_a_subscription_are_history() -> None:
    found = read(trades(1, 2), trades(3), trades(4, coin="ETH"), subscribed("l2Book"), trades(5), subscribed("trades"),
                 trades(6), trades(7, side="A"))  # fmt: skip
    kinds = [BACKLOG if parsed.name == BACKLOG else parsed.last_id for parsed in found if parsed.symbol]
    assert kinds == [BACKLOG, BACKLOG, 3, BACKLOG, 5, BACKLOG, 7]
    assert [parsed.side for parsed in found if parsed.kind == scan.TRADE] == [1, 1, -1]


@pytest.mark.parametrize(
    ("sides", "bid", "ask"),
    [
        ([level("1.5", "2"), level("1.6", "3")], (15, 1, 2, 0), (16, 1, 3, 0)),
        ([None, level("1.6", "3")], NOTHING, (16, 1, 3, 0)),
        ([level("1.5", "2")], (15, 1, 2, 0), NOTHING),
        ([], NOTHING, NOTHING),
    ],
)
def test_best_quotes(sides: list[Any], bid: tuple[int, ...], ask: tuple[int, ...]) -> None:
    (parsed,) = read({"channel": "bbo", "data": {"coin": "@107", "time": 1737979200000, "bbo": sides}})
    assert (parsed.kind, parsed.symbol, parsed.bids, parsed.asks) == (scan.TICKER, "@107", [bid], [ask])


@pytest.mark.parametrize(("after_ns", "hours"), [(0, 1), (1, 1), (3_599_999_999_999, 1), (3_600_000_000_000, 2)])
def test_funding_is_paid_when_the_hour_of_receipt_ends(after_ns: int, hours: int) -> None:
    (parsed,) = read(CONTEXT, received_ns=NOON_NS + after_ns)
    assert (parsed.kind, parsed.venue_us, parsed.bids) == (scan.MARK, -1, [(19963, 5, -4863, 8)])
    assert parsed.extra == NOON_NS // 1000 + hours * US_PER_HOUR


@given(text=broken([json.dumps(sample).encode() for sample in SAMPLES]) | st.binary(max_size=40))
def test_whatever_comes_only_data_errors_are_raised(text: bytes) -> None:
    """Arbitrary bytes and damaged messages are refused with a DataError or read; the decoder goes on either way."""
    decoder = HYPERLIQUID.decoder([Instrument("hyperliquid", "BTC", "linear", Decimal("0.1"), Decimal("0.00001"))])
    parts: list[np.ndarray] = []
    try:
        decoder.feed(text, NOON_NS, lambda batch: parts.append(batch.copy()))
    except DataError as error:
        assert str(error)
    decoder.feed(json.dumps(SAMPLES[0]).encode(), NOON_NS, lambda batch: parts.append(batch.copy()))
    last = parts[-1]
    assert (last["kind"] == BOOK).all() and last["flags"][0] & CLEAR
    assert list(last["price"]) == [1005, 1010]


def path_of(captures: Path) -> Path:
    """The capture."""
    return captures / "hyperliquid/btcusd_20250126.gz"


def events_of(source: RecordingSource, rows: int = 32_768) -> np.ndarray:
    """All rows."""
    return np.concatenate([batch.copy() for batch in source.batches(rows)])


def raw_lines(captures: Path) -> list[tuple[int, bytes]]:
    """(local ns, message) of each line."""
    lines = gzip.decompress(path_of(captures).read_bytes()).splitlines()
    return [(int(line.partition(b" ")[0]), line.partition(b" ")[2]) for line in lines]


def books_of(events: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of each book."""
    rows = events[events["kind"] == BOOK]
    yield from np.split(rows, np.flatnonzero(rows["flags"] & CLEAR)[1:])


def test_figures_of_the_books(captures: Path) -> None:
    source = HYPERLIQUID.open([path_of(captures)])
    (instrument,) = source.instruments
    assert (instrument.name, instrument.payoff, instrument.settle) == ("hyperliquid:BTC", "linear", "USDC")
    events = events_of(source)
    books = list(books_of(events))
    q = source.quality.of(instrument.name)
    assert (q.snapshots, q.depth_messages, q.breaks, q.trades, q.off_tick) == (46, 0, 0, 34, 0)
    assert len(books) == 46
    for rows in books:
        bids, asks = rows[rows["side"] == 1], rows[rows["side"] == -1]
        assert (len(bids), len(asks)) == (20, 20)
        assert bids["price"].max() < asks["price"].min()
        assert (rows["flags"] & SNAPSHOT > 0).all() and (rows["seq"] == -1).all()
    for name in ("exch_ts", "side", "price", "qty"):
        assert (books[0][name] == books[1][name]).all(), "the first book comes twice"
    steps_ms = np.diff([int(rows["exch_ts"][0]) for rows in books])[1:] // 1000
    assert (steps_ms.min(), steps_ms.max()) == (477, 708)
    assert source.survey.timing.offset_ns == 0
    lags_ms = [float(rows["ts"][0] - rows["exch_ts"][0]) / 1000 for rows in books]
    assert [round(lag) for lag in np.quantile(lags_ms, (0, 0.5, 1), method="higher")] == [352, 475, 774]


def test_figures_of_the_trades(captures: Path) -> None:
    source = HYPERLIQUID.open([path_of(captures)])
    events = events_of(source)
    prints = events[events["kind"] == TRADE]
    assert source.quality.ignored == {BACKLOG: 30}
    lags_ms = (prints["ts"] - prints["exch_ts"]) / 1000
    assert (len(prints), round(lags_ms.min()), round(lags_ms.max())) == (34, 263, 514)
    touch = {1: 0, -1: 0}
    agreed = 0
    for row in events:
        if row["flags"] & CLEAR:
            touch = {1: -1, -1: 2**62}
        if row["kind"] == BOOK:
            best = max if row["side"] == 1 else min
            touch[int(row["side"])] = best(touch[int(row["side"])], int(row["price"]))
        elif row["side"] == 1:
            agreed += int(row["price"]) >= touch[-1]
        else:
            agreed += int(row["price"]) <= touch[1]
    assert agreed == 34

    everything = HyperliquidMessages()
    everything.begun.add("BTC")
    found = [parsed for ns, text in raw_lines(captures) for parsed in everything.read(json.loads(text), ns)]
    told = [parsed for parsed in found if parsed.kind == scan.TRADE]
    assert len({parsed.last_id for parsed in told}) == len(told) == 64
    first_ns = next(ns for ns, text in raw_lines(captures) if b'"trades"' in text)
    ages_s = [first_ns / 1e9 - parsed.venue_us / 1e6 for parsed in told[:30]]
    assert (int(min(ages_s)), int(max(ages_s))) == (4, 49), "the first push is history"
    assert [sum(parsed.side == side for parsed in told) for side in (1, -1)] == [23, 41]
    total = sum(Decimal(size).scaleb(-digits) for parsed in told for _, _, size, digits in parsed.bids)
    assert total == Decimal("0.92773")
    assert all(a.venue_us <= b.venue_us for a, b in pairwise(p for p in found if p.kind == scan.RESET))


def test_books_are_those_of_a_plain_reading(captures: Path) -> None:
    source = HYPERLIQUID.open([path_of(captures)])
    (instrument,) = source.instruments
    oracle = list(hyperliquid(exact(text) for _, text in raw_lines(captures)))
    books = list(books_of(events_of(source)))
    assert len(oracle) == len(books)
    for (_, plain), rows in zip(oracle, books):
        for side, levels in ((1, plain.bids), (-1, plain.asks)):
            mine = rows[rows["side"] == side]
            assert {instrument.price(int(r["price"])): instrument.size(int(r["qty"])) for r in mine} == levels
        assert (rows["exch_ts"] == plain.time_ms * 1000).all()


def test_any_cutting_gives_the_same_events(captures: Path) -> None:
    source = HYPERLIQUID.open([path_of(captures)])
    whole = events_of(source).tobytes()
    for rows in (1, 41, 1000):
        assert events_of(source, rows).tobytes() == whole
    decoder = HYPERLIQUID.decoder(source.instruments, timing=source.survey.timing)
    parts: list[np.ndarray] = []
    for received_ns, text in raw_lines(captures):
        decoder.feed(text, received_ns, lambda batch: parts.append(batch.copy()))
    assert np.concatenate(parts).tobytes() == whole


def test_mark_funding_and_quotes_become_events() -> None:
    decoder = HYPERLIQUID.decoder([Instrument("hyperliquid", "BTC", "linear", Decimal("0.1"), Decimal("0.1"))])
    parts: list[np.ndarray] = []
    for message in SAMPLES[3:5]:
        decoder.feed(json.dumps(message).encode(), NOON_NS, lambda batch: parts.append(batch.copy()))
    events = np.concatenate(parts)
    assert list(events["kind"]) == [QUOTE, QUOTE, MARK, FUNDING]
    assert list(events["price"]) == [1005, 0, 2, 0]
    assert list(events["value"]) == [0, 0, 19_963_000, -4_863]
    assert list(events["flags"] & LAST) == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("symbol", "payoff"), [("BTC", "linear"), ("xyz:SP500", "linear"), ("@107", "spot"), ("PURR/USDC", "spot")]
)
def test_terms_by_name(symbol: str, payoff: str) -> None:
    assert (terms(symbol).payoff, terms(symbol).settle) == (payoff, "USDC")
