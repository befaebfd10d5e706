"""JSON importers against plain Python and Decimal: any messages of tardis-machine, any downloads of a relay."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.decoders import relay as relay_rows
from adapters.relay import ADAPTER as RELAY
from adapters.tardis_machine import ADAPTER as MACHINE
from adapters.transports.relay import FORMAT
from replay.errors import DataError
from replay.events import BOOK, BUY, CLEAR, FUNDING, LAST, LIQUIDATION, MARK, SELL, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.kernel import assemble
from replay.sources import Source
from replay.units import iso_from_us
from tests.adapters.test_tardis_csv import COINS, COUNTED, KINDS, T0, tuples
from tests.oracles.tardis import Oracle, Stop

Row = dict[str, str]
Json = dict[str, Any]
TYPES = {
    "incremental_book_L2": "book_change", "trades": "trade", "liquidations": "liquidation",
    "book_ticker": "book_ticker", "derivative_ticker": "derivative_ticker", "options_chain": "option_summary",
    "book_snapshot_5": "book_snapshot",
}  # fmt: skip
KEYS = {
    "trades": {"id": "id", "side": "side", "price": "price", "amount": "amount"},
    "book_ticker": {
        "ask_amount": "askAmount", "ask_price": "askPrice", "bid_price": "bidPrice", "bid_amount": "bidAmount",
    },
    "derivative_ticker": {
        "funding_timestamp": "fundingTimestamp", "funding_rate": "fundingRate", "mark_price": "markPrice",
    },
    "options_chain": {
        "bid_price": "bestBidPrice", "bid_amount": "bestBidAmount", "ask_price": "bestAskPrice",
        "ask_amount": "bestAskAmount", "mark_price": "markPrice",
    },
}  # fmt: skip
KEYS["liquidations"] = KEYS["trades"]
TEXTS = ("id", "side")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where generated files go."""
    return tmp_path_factory.mktemp("importers")


def events_of(source: Source, rows: int = 32_768) -> np.ndarray:
    batches = [batch.copy() for batch in source.batches(rows)]
    return np.concatenate(batches) if batches else np.zeros(0, assemble.ROW)


def said(row: Row, data_type: str, **fields: Any) -> Json:
    """A message at the times of a row."""
    message = {"type": TYPES[data_type], "exchange": row["exchange"], "symbol": row["symbol"], **fields}
    message["timestamp"] = iso_from_us(int(row["timestamp"]))
    return {**message, "localTimestamp": iso_from_us(int(row["local_timestamp"]))}


def level(price: str, amount: str) -> Json:
    return {"price": json.loads(price) if price else None, "amount": json.loads(amount) if amount else None}


def messages_of(rows: list[Row], data_type: str) -> Iterator[Json]:
    """What tardis-machine says where Tardis's CSV has these rows."""
    if data_type == "incremental_book_L2":
        for _, group in groupby(rows, message_of):
            levels = list(group)
            sides = {
                name: [level(row["price"], row["amount"]) for row in levels if row["side"] == side]
                for name, side in (("bids", "bid"), ("asks", "ask"))
            }
            yield said(levels[0], data_type, isSnapshot=levels[0]["is_snapshot"] == "true", **sides)
        return
    for row in rows:
        if data_type == "book_snapshot_5":
            sides = {
                name: [level(row[f"{name}[{i}].price"], row[f"{name}[{i}].amount"]) for i in range(5)]
                for name in ("asks", "bids")
            }
            yield said(row, data_type, name="book_snapshot_5", depth=5, interval=0, **sides)
            continue
        fields: Json = {}
        for column, key in KEYS[data_type].items():
            if row[column]:
                fields[key] = row[column] if column in TEXTS else json.loads(row[column])
        if "fundingTimestamp" in fields:
            fields["fundingTimestamp"] = iso_from_us(fields["fundingTimestamp"])
        yield said(row, data_type, **fields)


def message_of(row: Row) -> tuple[str, ...]:
    """What the rows of one message have in common."""
    snapshot = row["is_snapshot"] == "true"
    return (row["local_timestamp"], row["is_snapshot"], "" if snapshot else row["timestamp"])


def as_messages_tell(rows: list[Row], data_type: str) -> list[Row]:
    """Rows that JSON can say: no "nan", no unknown side, no level twice; of each book message the bids first."""
    for row in rows:
        for name, cell in row.items():
            row[name] = "" if cell == "nan" else cell
    if data_type == "book_snapshot_5":  # a level without a price is one that is not there
        for row in rows:
            for name in ("asks", "bids"):
                for i in range(5):
                    if not row[f"{name}[{i}].price"]:
                        row[f"{name}[{i}].amount"] = ""
        return rows
    if data_type != "incremental_book_L2":
        return rows
    out = []
    for _, group in groupby([row for row in rows if row["side"] != "?"], message_of):
        levels = list({(row["side"], row["price"]): row for row in group}.values())
        for row in levels:
            row["timestamp"] = levels[0]["timestamp"]
        out += sorted(levels, key=lambda row: row["side"] != "bid")
    return out


@pytest.mark.parametrize("data_type", TYPES)
@settings(max_examples=60)
@given(data=st.data())
def test_machine_messages_read_as_the_oracle_says(folder: Path, data_type: str, data: st.DataObject) -> None:
    """Events and counts of messages equal what plain Python makes of the same rows as CSV."""
    header, drawn = KINDS[data_type]
    rows = as_messages_tell(list(csv.DictReader([header, *data.draw(drawn)])), data_type)
    messages = list(messages_of(rows, data_type))
    path = folder / f"{data_type}.json"
    path.write_text("".join(json.dumps(message) + "\n" for message in messages))
    policy = data.draw(st.sampled_from(["repair", "count", "raise"]))
    said_nothing = data_type == "derivative_ticker" and not any(
        row["mark_price"] or row["funding_rate"] for row in rows
    )
    if not rows or said_nothing:
        with pytest.raises(DataError):
            MACHINE.open([path], instruments=[COINS], policy=policy)
        return
    source = MACHINE.open([path], instruments=[COINS], policy=policy)
    oracle = Oracle(COINS.tick, COINS.lot, source.offset_us, source.horizon_us, policy)
    text = "\n".join([header, *(",".join(row.values()) for row in rows)]) + "\n"
    try:
        expected = oracle.read(text, data_type.replace("book_snapshot", "machine_snapshot"))
    except Stop:
        with pytest.raises(DataError) as caught:
            events_of(source)
        assert caught.value.path == str(path) and caught.value.line
        return
    assert tuples(events_of(source, data.draw(st.sampled_from([1, 3, 1000])))) == expected
    quality = source.quality.of(COINS.name)
    for what, code in COUNTED.items():
        assert quality.anomalies[assemble.ANOMALIES[code]] == oracle.wrong[what], what


# ----------------------------------------------------------------------------------------------------------- a relay

TICKS = st.integers(1, 10**9)
LOTS = st.integers(1, 10**6)
MARKET = Instrument("binance-futures", "BTCUSDT", "linear", Decimal("0.01"), Decimal("0.001"))
SIDES = {
    BUY: [{"side": "buy"}, {"side": "BUY"}, {"side": "taker_buy"}, {"is_buyer_maker": False}, {"m": False}],
    SELL: [{"side": "sell"}, {"side": "Sell"}, {"side": "taker_sell"}, {"isBuyerMaker": True}],
    0: [{"side": "unknown"}, {}],
}


def decimal_text(count: int, step: Decimal) -> str:
    return f"{count * step:f}"


@st.composite
def prints(draw: st.DrawFn) -> tuple[Json, tuple[Any, ...]]:
    """(fields of a trade or liquidation under any of their names, (id, side, price, size))."""
    ticks, lots, side = draw(TICKS), draw(LOTS), draw(st.sampled_from([BUY, SELL, 0]))
    ident = draw(st.one_of(st.none(), st.integers(0, 10**15)))
    row = {
        draw(st.sampled_from(relay_rows.PRICES)): decimal_text(ticks, MARKET.tick),
        draw(st.sampled_from(relay_rows.SIZES)): decimal_text(lots, MARKET.lot),
        **draw(st.sampled_from(SIDES[side])),
    }
    if ident is not None:
        row[draw(st.sampled_from(relay_rows.IDENTS))] = draw(st.sampled_from([ident, str(ident)]))
    return row, (-1 if ident is None else ident, ticks, lots, 0, side)


@st.composite
def books(draw: st.DrawFn) -> tuple[Json, list[tuple[Any, ...]]]:
    """(a whole book in one of the two ways of writing levels, its levels as (sequence, ticks, lots, 0, side))."""
    middle, sequence = draw(st.integers(100, 10**8)), draw(st.integers(0, 10**12))
    row: Json = {"sequence": sequence}
    levels = []
    for name, side in (("bids", BUY), ("asks", SELL)):
        away = sorted(draw(st.sets(st.integers(1, 50), min_size=1, max_size=4)))
        drawn = [(middle - side * step, draw(LOTS)) for step in away]
        levels += [(sequence, ticks, lots, 0, side) for ticks, lots in drawn]
        texts = [(decimal_text(ticks, MARKET.tick), decimal_text(lots, MARKET.lot)) for ticks, lots in drawn]
        row[name] = [{"price": p, "size": q} for p, q in texts] if draw(st.booleans()) else [[p, q] for p, q in texts]
    return row, levels


def marked(price: int, rate: int, due_ms: int) -> tuple[Json, list[tuple[Any, ...]]]:
    """(fields of a funding event with a mark price, the two rows that it becomes); numbers in 1e-8."""
    row = {"mark_price": decimal_text(price, Decimal("1e-8")), "funding_rate": decimal_text(rate, Decimal("1e-8"))}
    ticks = (2 * price + 10**6) // (2 * 10**6)
    return {**row, "next_funding_time": due_ms}, [(-1, ticks, 0, price, 0), (due_ms * 1000, 0, 0, rate, 0)]


FUNDINGS = st.builds(marked, st.integers(1, 10**14), st.integers(-(10**6), 10**6), st.just(T0 // 1000 + 5))


@pytest.mark.parametrize("kind", ["trades", "books", "events"])
@settings(max_examples=40)
@given(data=st.data())
def test_relay_rows_read_as_decimals_say(folder: Path, kind: str, data: st.DataObject) -> None:
    """Whatever names a relay uses for the fields, the numbers come out exactly and in order."""
    ms, lines, expected = T0 // 1000, [], []
    for _ in range(data.draw(st.integers(1, 15))):
        ms += data.draw(st.integers(1, 500))
        choice = {"trades": "trade", "books": "orderbook"}.get(kind)
        choice = choice or data.draw(st.sampled_from(["trade", "liquidation", "orderbook", "funding"]))
        if choice in ("trade", "liquidation"):
            fields, one = data.draw(prints())
            rows, codes, flags = [one], [TRADE if choice == "trade" else LIQUIDATION], 0
        elif choice == "orderbook":
            fields, rows = data.draw(books())
            codes, flags = [BOOK] * len(rows), SNAPSHOT
        else:
            fields, rows = data.draw(FUNDINGS)
            codes, flags = [MARK, FUNDING], 0
        row = fields if kind != "events" else {"type": choice, "data": fields}
        lines.append({**row, data.draw(st.sampled_from(relay_rows.TIMES)): data.draw(st.sampled_from([ms, str(ms)]))})
        for number, (seq, ticks, lots, value, side) in enumerate(rows):
            first = CLEAR if flags and number == 0 else 0
            last = LAST if number == len(rows) - 1 else 0
            expected.append((ms * 1000, ms * 1000, seq, ticks, lots, value, flags | first | last, codes[number], side))
    header = {"relay": FORMAT, "kind": kind, "exchange": MARKET.venue, "symbol": MARKET.symbol, "unit_us": 1000}
    path = folder / f"relay-{kind}.json"
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *lines)))
    source = RELAY.open([path], instruments=[MARKET], policy="count")
    found = tuples(events_of(source, data.draw(st.sampled_from([1, 3, 1000]))))
    gaps = [event for event in found if event[7] not in (BOOK, TRADE, LIQUIDATION, MARK, FUNDING)]
    assert found == expected and not gaps
