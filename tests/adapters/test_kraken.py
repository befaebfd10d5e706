"""Kraken: what single messages say, checksums, and the capture of 2021 (captures/README.md §3.7)."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Resubscribe
from adapters.decoders.kraken import Book, Kraken
from adapters.decoders.parsed import Parsed
from adapters.kraken import KRAKEN, terms
from replay.errors import DataError
from replay.events import BOOK, CLEAR, GAP, REPAIRED
from replay.instruments import Instrument
from replay.kernel import scan
from replay.verify import verify
from tests.adapters.broken_json import broken
from tests.adapters.recorded import check_any_cutting, events_of, fed, lines_of, paths_of, raw_messages, rebuilt
from tests.oracles.raw_books import kraken

PAIR = "XBT/USD"
XBT = Instrument("kraken", PAIR, "spot", Decimal("0.1"), Decimal("0.00000001"), settle="USD")
TIME = "1561939258.512503"
TIME_US = 1_561_939_258_512_503
ISO = "2026-07-10T00:00:01.123457Z"


def change(side: str, *levels: list[str], **fields: object) -> list[Any]:
    """A change of one side in version 1."""
    return [468, {side: [[*level, TIME] if len(level) == 2 else level for level in levels]} | fields, "book-10", PAIR]


def checksum(asks: dict[str, str], bids: dict[str, str]) -> int:
    """CRC32 of the best ten levels of each side, straight from the rule."""
    text = ""
    for side, falling in ((asks, False), (bids, True)):
        for price in sorted(side, key=Decimal, reverse=falling)[:10]:
            for number in (price, side[price]):
                text += str(int(number.replace(".", "")))
    return crc32(text.encode())


FULL = [468, {"as": [["100.50", "2.00", TIME]], "bs": [["100.40", "1.50", TIME]]}, "book-10", PAIR]
SAMPLES: list[Any] = [
    FULL,
    change("b", ["100.40", "0.00"], ["100.30", "3.00"]),
    [468, {"a": [["100.50", "1.00", TIME]]}, {"b": [["100.40", "1.00", "1561939260.1"]], "c": "7"}, "book-10", PAIR],
    [170, [["100.50", "2.51", TIME, "s", "l", ""], ["100.60", "1", TIME, "b", "m", ""]], "trade", PAIR],
    [325, ["100.40", "100.50", TIME, "0.5", "2.0"], "spread", PAIR],
    [326, {"a": ["100.50", 35, "35.7"], "b": ["100.40", 185, "185.1"]}, "ticker", PAIR],
    {"event": "heartbeat"},
    {"channel": "book", "type": "snapshot", "data": [
        {"symbol": PAIR, "bids": [{"price": 99.9, "qty": 0.5}], "asks": [], "checksum": 1, "timestamp": ISO}]},
    {"channel": "trade", "type": "update", "data": [
        {"symbol": PAIR, "side": "buy", "price": 100.1, "qty": 0.25, "trade_id": 123, "timestamp": ISO}]},
    {"channel": "instrument", "type": "snapshot", "data": {"pairs": [
        {"symbol": PAIR, "price_precision": 1, "qty_precision": 8}]}},
]  # fmt: skip


def read(*messages: Any) -> list[Parsed]:
    """What a fresh connection makes of messages; checksums are not looked at."""
    reader = Kraken()
    return [parsed for each in messages for parsed in reader.read(each, 0)]


def taken(*messages: Any) -> list[tuple[Parsed, bool]]:
    """The same, each message taken: whether its checksum holds."""
    reader = Kraken()
    return [(p, p.check is None or p.check()) for each in messages for p in reader.read(each, 0)]


def test_books_of_version_1() -> None:
    full, update, both = read(*SAMPLES[:3])
    assert (full.kind, full.bids, full.asks) == (scan.RESET, [(1004, 1, 15, 1)], [(1005, 1, 2, 0)])
    assert (full.venue_us, full.last_id, full.symbol) == (TIME_US, -1, PAIR)
    assert (update.kind, update.bids, update.asks) == (scan.DEPTH, [(1004, 1, 0, 0), (1003, 1, 3, 0)], [])
    assert (both.bids, both.asks, both.venue_us) == ([(1004, 1, 1, 0)], [(1005, 1, 1, 0)], 1_561_939_260_100_000)


def test_a_level_told_again_does_not_date_the_message() -> None:
    (again,) = read(change("a", ["7.0", "1.0"], ["8.0", "1.0", "1561939299.9", "r"]))
    assert again.venue_us == TIME_US
    (only,) = read(change("a", ["8.0", "1.0", TIME, "r"]))
    assert only.venue_us == -1


def test_a_side_is_cut_to_its_depth() -> None:
    asks = [[f"{price}.0", "1.0", TIME] for price in range(100, 110)]
    full = [468, {"as": asks, "bs": []}, "book-10", PAIR]
    (_, _), (better, good) = taken(full, change("a", ["99.0", "2.0"], ["98.5", "1.0"]))
    assert good and better.asks == [(99, 0, 2, 0), (985, 1, 1, 0), (109, 0, 0, 0), (108, 0, 0, 0)]


@pytest.mark.parametrize("right", [True, False])
def test_checksums(right: bool) -> None:
    expected = checksum({"100.50": "2.00"}, {"100.30": "3.00"})
    message = change("b", ["100.40", "0.00"], ["100.30", "3.00"], c=str(expected if right else expected + 1))
    (_, first), (_, second), (later, third) = taken(FULL, message, change("b", ["1.00", "1.00"], c="0"))
    assert (first, second) == (True, right)
    assert (later.check is None, third) == ((False, False) if right else (True, True)), "an invalid book waits"


def test_the_checksum_of_version_2_needs_the_decimals() -> None:
    def levels(*rows: str) -> list[dict[str, float]]:
        return [dict(zip(("price", "qty"), map(float, row.split()))) for row in rows]

    asks, bids = {"45285.2": "0.00100000", "45286.4": "1.54571953"}, {"45283.5": "0.10000000", "45283.0": "1.5"}
    row = {
        "symbol": PAIR,
        "asks": levels(*(f"{price} {size}" for price, size in asks.items())),
        "bids": levels(*(f"{price} {size}" for price, size in bids.items())),
        "checksum": checksum(asks, bids | {"45283.0": "1.50000000"}),
        "timestamp": ISO,
    }
    full = {"channel": "book", "type": "snapshot", "data": [row]}
    wrong = {"channel": "book", "type": "snapshot", "data": [row | {"checksum": 5}]}
    assert [good for _, good in taken(SAMPLES[9], full)] == [True, True]
    assert [good for _, good in taken(SAMPLES[9], wrong)] == [True, False]
    assert [good for _, good in taken(wrong)] == [True], "without the decimals nobody can tell"


@pytest.mark.parametrize(("subscribed", "cut"), [(10, True), (25, False), (None, False)])
def test_the_depth_of_version_2_is_that_of_the_subscription(subscribed: int | None, cut: bool) -> None:
    said = {"method": "subscribe", "result": {"channel": "book", "symbol": PAIR, "depth": subscribed}}
    rows = [{"price": price, "qty": 1} for price in range(100, 109)]
    book = {"symbol": PAIR, "asks": rows, "bids": []}
    two = {"symbol": PAIR, "asks": [{"price": 98, "qty": 1}, {"price": 99, "qty": 1}], "bids": []}
    *_, (last, _) = taken(
        said,
        {"channel": "book", "type": "snapshot", "data": [book]},
        {"channel": "book", "type": "update", "data": [two]},
    )
    assert ((108, 0, 0, 0) in last.asks) == cut


def test_trades_and_quotes() -> None:
    sold, bought, spread = read(SAMPLES[3], SAMPLES[4])
    assert (sold.kind, sold.side, sold.last_id, sold.bids) == (scan.TRADE, -1, -1, [(1005, 1, 251, 2)])
    assert (bought.side, bought.bids, bought.venue_us) == (1, [(1006, 1, 1, 0)], TIME_US)
    assert (spread.kind, spread.bids, spread.asks) == (scan.TICKER, [(1004, 1, 5, 1)], [(1005, 1, 2, 0)])
    assert [parsed.kind for parsed in read(SAMPLES[5], SAMPLES[4], SAMPLES[5])] == [
        scan.TICKER, scan.TICKER, scan.OTHER,
    ]  # fmt: skip
    empty = [545, ["0.000000000", "0.000000000", "0.000000", "0.00000000", "0.00000000"], "spread", "LINK/ETH"]
    assert [parsed.kind for parsed in read(empty)] == [scan.OTHER]
    (second,) = read(SAMPLES[8])
    assert (second.side, second.last_id, second.bids) == (1, 123, [(1001, 1, 25, 2)])
    assert [parsed.kind for parsed in read(SAMPLES[8] | {"type": "snapshot"})] == [scan.OTHER]


def test_terms() -> None:
    assert (terms("XMR/XBT").payoff, terms("XMR/XBT").settle, terms(PAIR).settle) == ("spot", "BTC", "USD")
    with pytest.raises(DataError, match="pair"):
        terms("XBTUSD")
    reader = Kraken()
    body = {"error": [], "result": {"XXBTZUSD": {"wsname": PAIR, "pair_decimals": 1, "lot_decimals": 8}, "dark": {}}}
    answer = reader.answer("https://api.kraken.com/0/public/AssetPairs", json.dumps(body).encode())
    assert answer is not None and list(reader.read(json.loads(answer), 0)) == []
    assert reader.stated == {PAIR: XBT}
    assert reader.answer("https://api.kraken.com/0/public/Time", b"{}") is None


@given(text=broken([json.dumps(sample).encode() for sample in SAMPLES]) | st.binary(max_size=40))
def test_whatever_comes_only_data_errors_are_raised(text: bytes) -> None:
    """Arbitrary bytes and damaged messages are refused with a DataError or read; the decoder goes on either way."""
    decoder = KRAKEN.decoder([XBT])
    parts: list[np.ndarray] = []
    book = json.dumps(FULL).encode()
    for n, frame in enumerate((json.dumps(SAMPLES[9]).encode(), book, text, book)):
        try:
            decoder.feed(frame, (1_561_939_259_000 + n) * 10**6, lambda batch: parts.append(batch.copy()))
        except DataError as error:
            assert frame == text and str(error)
    last = parts[-1]
    assert (last["kind"] == BOOK).all() and last["flags"][0] & CLEAR
    assert list(last["price"]) == [1004, 1005]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 3)), max_size=60))
def test_the_copy_of_a_book_is_a_plain_one(changes: list[tuple[bool, int, int]]) -> None:
    """Any changes leave the best ten levels of a dict that is sorted and cut, and tell each cut level as a delete."""
    book = Book(10)
    plain: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for ask, price, size in changes:
        text = (f"{price}.50", f"{size}.000")
        parsed = Parsed(scan.DEPTH)
        book.take(parsed, [] if ask else [text], [text] if ask else [], None)
        side = plain[ask]
        if size:
            side[text[0]] = text[1]
        else:
            side.pop(text[0], None)
        best = sorted(side, key=Decimal, reverse=not ask)
        cut = [Decimal(mantissa).scaleb(-digits) for mantissa, digits, _, _ in parsed.asks + parsed.bids]
        assert cut == [Decimal(price) for price in best[10:]]
        for price in best[10:]:
            del side[price]
        book.check()
        assert book.checksum() == checksum(plain[True], plain[False])


def test_figures_of_the_capture(captures: Path) -> None:
    truth = json.loads((captures / "ground_truth/cryptofeed_captures.json").read_text())["KRAKEN"]
    source = KRAKEN.open(paths_of(captures, "KRAKEN"))
    found = verify(source)
    assert found.clean and {instrument.symbol for instrument in source.instruments} == set(truth)
    for name, check in found.instruments.items():
        expected, q = truth[check.instrument.symbol], source.quality.of(name)
        assert (q.applied, q.depth_messages, q.snapshots, q.breaks) == (expected["n"], expected["n"], 1, 0)
        assert (check.crossed, check.deletes, check.absent_deletes) == (0, expected["del"], 0)
        assert (q.stale, q.off_tick) == (0, 0)
    assert sum(check.deletes for check in found.instruments.values()) == 1_615
    assert source.quality.gaps == []


def test_every_checksum_of_the_capture_holds(captures: Path) -> None:
    reader = Kraken()
    held = parts = 0
    for message in raw_messages(captures, "KRAKEN"):
        for parsed in reader.read(message, 0):
            good = parsed.check is None or parsed.check()
            if parsed.kind == scan.DEPTH:
                assert "c" in message[-3] and parsed.check is not None
                held += good
                parts += len(message) == 5
    assert (held, parts) == (4_269, 1)


def test_books_are_those_of_a_plain_reading(captures: Path) -> None:
    """All levels after every tenth message."""
    source = KRAKEN.open(paths_of(captures, "KRAKEN"))
    oracle = kraken(raw_messages(captures, "KRAKEN"))
    count = 0
    for row, mine in rebuilt(source.instruments, events_of(source)):
        if row["kind"] == BOOK:
            symbol, raw = next(oracle)
            assert (symbol, raw.absent) == (mine.instrument.symbol, 0)
            count += 1
            assert count % 10 or mine.equals(raw)
    assert (count, list(oracle)) == (4_279, [])


def first_failures(messages: list[Any], every: int, start: int) -> dict[str, int]:
    """Ordinal of the first book message of each pair whose checksum fails, when some changes are left out."""
    books: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    failed: dict[str, int] = {}
    ordinal = -1
    for message in messages:
        if not isinstance(message, list) or message[-2] != "book-1000":
            continue
        name, parts = message[-1], message[1:-2]
        if any("as" in part for part in parts):
            books[name] = ({}, {})
        else:
            ordinal += 1
            if ordinal >= start and ordinal % every == 0:
                continue
        for part in parts:
            for key in part.keys() - {"c"}:
                for price, size, *_ in part[key]:
                    books[name]["ab".index(key[0])].pop(price, None)
                    if Decimal(size):
                        books[name]["ab".index(key[0])][price] = size
        said = [int(part["c"]) for part in parts if "c" in part]
        if said and said[0] != checksum(*books[name]):
            failed.setdefault(name, ordinal)
    return failed


@pytest.mark.parametrize(("every", "start"), [(11, 0), (40, 300), (400, 200)])
def test_lost_messages_are_found_by_the_checksum(captures: Path, every: int, start: int) -> None:
    expected = first_failures(raw_messages(captures, "KRAKEN"), every, start)
    source = KRAKEN.open(paths_of(captures, "KRAKEN"), drop_every=every, drop_from=start)
    events = events_of(source)
    gaps = events[events["kind"] == GAP]
    assert {source.instruments[int(row["instrument"])].symbol for row in gaps} == set(expected)
    assert len(gaps) == len(expected) > 0
    for row in gaps:
        after = events[(events["instrument"] == row["instrument"]) & (events["ts"] > row["ts"])]
        assert not (after["kind"] == BOOK).any()
    order = [source.instruments[int(row["instrument"])].symbol for row in gaps]
    assert order == sorted(expected, key=lambda name: expected[name])


def test_a_damaged_message_makes_the_book_invalid_until_the_next_full_one(captures: Path) -> None:
    """The capture twice in a row, one size changed in the first: the full books of the second repair it."""
    source = KRAKEN.open(paths_of(captures, "KRAKEN"))
    lines = lines_of(source)
    shift_ns = 60 * 10**9
    again = [b"%d %s" % (int(ns) + shift_ns, text) for ns, _, text in (line.partition(b" ") for line in lines)]
    at = next(i for i, line in enumerate(lines) if b'"a":[["13.284500","1396.00000000"' in line)
    damaged = lines[at].replace(b"13.284500", b"13.274500").replace(b"1396.", b"1395.")
    decoder = KRAKEN.decoder(source.instruments, timing=source.survey.timing)
    events = fed(decoder, [*lines[:at], damaged, *lines[at + 1 :]])
    waves = next(i for i, each in enumerate(source.instruments) if each.symbol == "WAVES/EUR")
    (gap,) = events[events["kind"] == GAP]
    assert gap["instrument"] == waves
    received_us = (int(lines[at].partition(b" ")[0]) + source.survey.timing.offset_ns) // 1000
    assert int(gap["ts"]) == received_us, "found in the damaged message itself"
    after = events[(events["instrument"] == waves) & (events["ts"] > gap["ts"])]
    assert not (after["kind"] == BOOK).any()
    assert decoder.commands() == [Resubscribe("WAVES/EUR", "the book has no valid state")]
    more = fed(decoder, again)
    repaired = more[(more["instrument"] == waves) & (more["kind"] == BOOK)]
    assert repaired[0]["flags"] & CLEAR and repaired[0]["flags"] & REPAIRED
    assert decoder.quality.of("kraken:WAVES/EUR").book_state == "live"
    (closed,) = decoder.quality.gaps
    assert closed.repair == "snapshot" and decoder.commands() == []
    last = {}
    for row, mine in rebuilt(source.instruments, more):
        if row["kind"] == BOOK:
            last[mine.instrument.symbol] = mine
    final = dict(kraken(raw_messages(captures, "KRAKEN")))
    assert all(last[symbol].equals(raw) for symbol, raw in final.items())


def test_any_cutting_gives_the_same_events(captures: Path, tmp_path: Path) -> None:
    check_any_cutting(KRAKEN, paths_of(captures, "KRAKEN"), tmp_path)
