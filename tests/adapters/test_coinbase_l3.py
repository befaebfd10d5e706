"""Coinbase level 3: the real recording against the exchange's own end book, and any messages against plain sums."""

from __future__ import annotations

import gzip
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.coinbase_l3 import L3, Follower, Snapshot, order_number
from replay.errors import ConfigError, DataError
from replay.events import BOOK, CLEAR, GAP, LAST, ORDER, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.sources import Source
from replay.verify import verify

COIN = Instrument("coinbase", "BTC-USD", "spot", Decimal("0.01"), Decimal("0.00000001"), settle="USD")
Message = dict[str, Any]


def events_of(source: Source) -> np.ndarray:
    return np.concatenate([batch.copy() for batch in source.batches()])


def rebuilt(events: np.ndarray) -> dict[tuple[int, int], int]:
    """(side, ticks) to lots after all events, in plain Python."""
    levels: dict[tuple[int, int], int] = {}
    for event in events[events["kind"] == BOOK]:
        if event["flags"] & CLEAR:
            levels.clear()
        levels[int(event["side"]), int(event["price"])] = int(event["qty"])
    return {level: lots for level, lots in levels.items() if lots}


def orders_after(events: np.ndarray) -> dict[int, tuple[int, int, int]]:
    """Number to (side, ticks, lots) of the orders after all events, in plain Python."""
    orders: dict[int, tuple[int, int, int]] = {}
    begins = True
    for event in events[events["kind"] == ORDER]:
        if begins and event["flags"] & SNAPSHOT:
            orders.clear()
        begins = bool(event["flags"] & LAST)
        orders[int(event["value"])] = (int(event["side"]), int(event["price"]), int(event["qty"]))
    return {number: order for number, order in orders.items() if order[2]}


def orders_of(document: Message) -> dict[int, tuple[int, int, int]]:
    """The same of a REST order book."""
    return {
        order_number(name): (side, COIN.ticks(price), COIN.lots(size))
        for key, side in (("bids", 1), ("asks", -1)) for price, size, name in document[key]
    }  # fmt: skip


def levels_of(document: Message) -> dict[tuple[int, int], int]:
    """The same of a REST order book."""
    sums: Counter[tuple[int, int]] = Counter()
    for key, side in (("bids", 1), ("asks", -1)):
        for price, size, _ in document[key]:
            sums[side, COIN.ticks(price)] += COIN.lots(size)
    return dict(sums)


def test_the_recording_ends_in_the_exchanges_own_book(captures: Path) -> None:
    folder = captures / "coinbase_l3"
    source = L3.open([folder / "messages.json.gz", folder / "beginning_level_3.json.gz"])
    (instrument,) = source.instruments
    assert (instrument.name, str(instrument.tick), instrument.lot) == ("coinbase:BTC-USD", "0.01", COIN.lot)
    events = events_of(source)
    ending = orjson.loads(gzip.decompress((folder / "ending_level_3.json.gz").read_bytes()))
    expected = levels_of(ending)
    assert rebuilt(events) == expected
    assert len(expected) == 27_695
    assert orders_after(events) == orders_of(ending)
    assert len(orders_of(ending)) == len(ending["bids"]) + len(ending["asks"]) == 66_833, "no two share a number"
    assert int(events["seq"][events["kind"] == BOOK][-1]) <= ending["sequence"]
    prints = events[events["kind"] == TRADE]
    assert (len(prints), f"{instrument.size(int(prints['qty'].sum())):.1f}") == (501, "52.4")
    assert (np.diff(prints["seq"]) == 1).all()
    assert source.quality.gaps == []


def test_levels_alone(captures: Path) -> None:
    """Without the orders the other rows are the same."""
    folder = captures / "coinbase_l3"
    paths = [folder / "messages.json.gz", folder / "beginning_level_3.json.gz"]
    whole, levels = (events_of(L3.open(paths, orders=orders)) for orders in (True, False))
    assert (whole["kind"] == ORDER).sum() > 80_000
    assert levels.tobytes() == whole[whole["kind"] != ORDER].tobytes()
    with pytest.raises(ConfigError, match="neither True nor False"):
        L3.open(paths, orders="no")


def test_a_later_book_is_compared(captures: Path) -> None:
    folder = captures / "coinbase_l3"
    source = L3.open(sorted(folder.glob("*.json.gz")))
    found = verify(source)
    assert found.clean
    assert source.quality.ignored == {"order book compared": 1}
    (check,) = found.instruments.values()
    assert check.levels == (6_629, 21_066)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Message], Message]:
    """Messages that an exchange could send after a book, with their sequences."""
    live: dict[str, list[Any]] = {}
    first = {"sequence": 100, "bids": [], "asks": []}
    for number in range(draw(st.integers(1, 5))):
        side = draw(st.sampled_from(["buy", "sell"]))
        price, size = f"{draw(st.integers(1, 9))}.50", draw(st.integers(1, 9))
        first["bids" if side == "buy" else "asks"].append([price, f"{size}", f"first{number}"])
        live[f"first{number}"] = [side, price, Decimal(size)]
    messages = []
    for sequence in range(101, 101 + draw(st.integers(1, 40))):
        kind = draw(st.sampled_from(["received", "open", "open", "match", "done", "change"]))
        common = {"sequence": sequence, "product_id": "BTC-USD", "time": f"2018-07-13T20:47:11.{sequence:06d}Z"}
        if kind in ("received", "open") or not live:
            order = [
                draw(st.sampled_from(["buy", "sell"])),
                f"{draw(st.integers(1, 9))}.5",
                Decimal(draw(st.integers(1, 9))),
            ]
            message = {**common, "order_id": f"o{sequence}", "side": order[0], "price": order[1]}
            if kind == "received":
                messages.append({**message, "type": "received", "size": str(order[2])})
                continue
            live[f"o{sequence}"] = order
            messages.append({**message, "type": "open", "remaining_size": str(order[2])})
            continue
        name = draw(st.sampled_from(sorted(live)))
        side, price, size = live[name]
        message = {**common, "type": kind, "side": side, "price": price}
        if kind == "match":
            taken = min(size, Decimal(draw(st.integers(1, 9))) / 2)
            live[name][2] -= taken
            messages.append({**message, "maker_order_id": name, "trade_id": sequence, "size": str(taken)})
        elif kind == "change":
            live[name][2] = size / 2
            messages.append({**message, "order_id": name, "new_size": str(size / 2)})
            if draw(st.booleans()):
                live[name][1] = messages[-1]["new_price"] = f"{draw(st.integers(1, 9))}.25"
        else:
            messages.append({**message, "order_id": name, "remaining_size": str(size)})
        if kind == "done" or not live[name][2]:
            del live[name]
    last: Message = {"sequence": messages[-1]["sequence"], "bids": [], "asks": []}
    for name, (side, price, size) in live.items():
        last["bids" if side == "buy" else "asks"].append([price, str(size), name])
    return messages, {"first": first, "last": last}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coinbase")


def save(folder: Path, **documents: Any) -> list[Path]:
    for name, document in documents.items():
        (folder / f"{name}.json").write_bytes(orjson.dumps(document))
    return [folder / f"{name}.json" for name in documents]


@given(recording=recordings())
def test_levels_are_the_sums_of_their_orders(folder: Path, recording: tuple[list[Message], Message]) -> None:
    """Whatever happens to orders, the level-2 book ends as the sums of the exchange's own orders."""
    messages, books = recording
    paths = save(folder, messages=messages, **books)
    source = L3.open(paths, instruments=[COIN], policy="count")
    events = events_of(source)
    assert rebuilt(events) == levels_of(books["last"])
    assert orders_after(events) == orders_of(books["last"])
    notes = source.quality.ignored
    assert notes.pop("order book compared", 1) == 1
    assert notes == {}
    assert (events["kind"] == TRADE).sum() == sum(message["type"] == "match" for message in messages)


@given(recording=recordings(), lost=st.integers(1, 39))
def test_a_lost_message_is_a_gap_until_the_next_book(
    folder: Path, recording: tuple[list[Message], Message], lost: int
) -> None:
    """With one message left out there is one GAP row, and no book row after it but those of a later book."""
    messages, books = recording
    if not 0 < lost < len(messages) - 1:
        return
    final = {**messages[-1], "sequence": messages[-1]["sequence"] + 1, "type": "received"}
    paths = save(folder, messages=[*messages[:lost], *messages[lost + 1 :], final], **books)
    source = L3.open(paths, instruments=[COIN], policy="count")
    events = events_of(source)
    (at,) = np.flatnonzero(events["kind"] == GAP)
    assert (int(events["seq"][at]), int(events["value"][at])) == (100 + lost, 102 + lost)
    books_after = events[at:][events["kind"][at:] == BOOK]
    assert (books_after["flags"] & SNAPSHOT > 0).all()
    assert source.quality.gaps_total == 1
    if levels_of(books["last"]):
        assert rebuilt(events) == levels_of(books["last"])
        assert orders_after(events) == orders_of(books["last"])
        assert source.quality.gaps[0].end_us is not None


def test_a_wrong_later_book_is_counted_and_loaded(folder: Path) -> None:
    time = "2018-07-13T20:47:11.000001Z"
    opened = {"type": "open", "product_id": "BTC-USD", "side": "buy", "price": "5", "remaining_size": "1", "time": time}
    messages = [{**opened, "sequence": k, "order_id": f"o{k}"} for k in (11, 12, 13)]
    first = {"sequence": 10, "bids": [["4", "1", "x"]], "asks": []}
    second = {"sequence": 12, "bids": [["5", "3", "o11"]], "asks": []}
    source = L3.open(save(folder, messages=messages, first=first, second=second), instruments=[COIN])
    events = events_of(source)
    assert source.quality.ignored["order that differs from a later order book"] == 4
    assert rebuilt(events) == {(1, 500): 4 * 10**8}
    assert (events["flags"] & CLEAR > 0).sum() == 2
    kinds = events["kind"].tolist()
    assert kinds == [ORDER, BOOK] * 3 + [GAP] + [ORDER, BOOK] * 2, "the gap comes before the new orders"
    assert orders_after(events) == {order_number("o11"): (1, 500, 3 * 10**8), order_number("o13"): (1, 500, 10**8)}


def test_an_order_that_is_opened_twice_is_counted(folder: Path) -> None:
    common = {"product_id": "BTC-USD", "side": "buy", "price": "5", "time": "2018-07-13T20:47:11.000001Z"}
    opened = [{**common, "type": "open", "sequence": k, "order_id": "o", "remaining_size": str(k)} for k in (11, 12)]
    source = L3.open(save(folder, messages=opened, first={"sequence": 10, "bids": [], "asks": []}), instruments=[COIN])
    assert orders_after(events_of(source)) == {order_number("o"): (1, 500, 12 * 10**8)}
    assert source.quality.ignored == {"order opened twice": 1}


@pytest.mark.parametrize(
    ("messages", "words", "line"),
    [
        ([], "0 products", 0),
        ([{"product_id": "A-B", "sequence": 1, "time": "x"}], "broken message.*isoformat", 1),
        ([{"product_id": "A-B", "sequence": 1, "time": "2018-07-13T20:47:11"}], "has no zone", 1),
        ([{"product_id": "A-B"}, {"product_id": "A-C"}], "2 products", 0),
    ],
)
def test_broken_recordings(tmp_path: Path, messages: list[Message], words: str, line: int) -> None:
    paths = save(tmp_path, messages=messages, book={"sequence": 0, "bids": [], "asks": []})
    with pytest.raises(DataError, match=words) as caught:
        L3.open(paths)
    assert (caught.value.path, caught.value.line) == (str(paths[0]), line)


def test_broken_files(tmp_path: Path) -> None:
    for document, words in ((5, "neither"), ({"bids": []}, "not a level-3 order book"), ({}, "not a level-3")):
        with pytest.raises(DataError, match=words):
            L3.open(save(tmp_path, x=document))
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DataError, match="broken JSON"):
        L3.open([tmp_path / "x.json"])
    with pytest.raises(DataError, match="0 lists of messages"):
        L3.open(save(tmp_path, x={"sequence": 1, "bids": [], "asks": []}))


def test_the_order_book_checks_itself() -> None:
    follower = Follower([Snapshot(Path("x"), 1, {7: (1, 5, 7)})], Counter())
    list(follower.rows([{"type": "received", "sequence": 2, "time": "2018-07-13T20:47:11Z"}], Path("x")))
    follower.book.check()
    follower.book.levels[1, 5] = 8
    with pytest.raises(AssertionError, match="sums"):
        follower.book.check()
