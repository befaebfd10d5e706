"""NautilusTrader catalogs: the documented columns, exact numbers, and the real program builds the same book."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.binance import USDM
from adapters.nautilus_out import CLEARED, F_LAST, F_SNAPSHOT, fixed, write
from replay.errors import ConfigError
from replay.events import BOOK, BUY, CLEAR, EVENT, GAP, LAST, QUOTE, SELL, SNAPSHOT, TRADE
from replay.instruments import Instrument
from tests.adapters.test_csv_out import COIN, T0, events_of, tapes
from tests.oracles.book import OracleBook

ID = "COIN.VENUE"
NUMBER = pa.binary(16)
COLUMNS = {
    "order_book_delta": {
        "action": pa.uint8(), "side": pa.uint8(), "price": NUMBER, "size": NUMBER, "order_id": pa.uint64(),
        "flags": pa.uint8(), "sequence": pa.uint64(), "ts_event": pa.uint64(), "ts_init": pa.uint64(),
    },
    "trade_tick": {
        "price": NUMBER, "size": NUMBER, "aggressor_side": pa.uint8(), "trade_id": pa.string(),
        "ts_event": pa.uint64(), "ts_init": pa.uint64(),
    },
    "quote_tick": {
        "bid_price": NUMBER, "ask_price": NUMBER, "bid_size": NUMBER, "ask_size": NUMBER,
        "ts_event": pa.uint64(), "ts_init": pa.uint64(),
    },
}  # fmt: skip
"""What nautilus_trader 1.221 writes itself."""


def read(folder: Path, kind: str, name: str = ID) -> list[dict[str, Any]]:
    """The rows of a type; none when there is no file."""
    found = list((folder / "data" / kind / name).glob("*.parquet"))
    assert len(found) <= 1
    return pq.read_table(found[0]).to_pylist() if found else []


def number(raw: bytes) -> Fraction:
    """A price or size as Nautilus keeps it."""
    return Fraction(int.from_bytes(raw, "little", signed=True), 10**16)


@given(
    counts=st.lists(st.integers(-(2**62), 2**62), max_size=10),
    unit=st.sampled_from([Decimal("0.0000000000000001"), Decimal("0.05"), Decimal(25), Decimal("1e-17")]),
)
def test_numbers_are_exact(counts: list[int], unit: Decimal) -> None:
    """Every number equals count times unit, or is refused."""
    values = [count * Fraction(unit) for count in counts]
    if unit < Decimal("1e-16") or any(abs(value) > 17_014_118_346_046 for value in values):
        with pytest.raises(ConfigError, match="does not fit"):
            fixed(np.array(counts, np.int64), unit, "price")
        return
    assert [number(raw) for raw in fixed(np.array(counts, np.int64), unit, "price").to_pylist()] == values


@given(tape=tapes())
def test_every_event_that_nautilus_knows_is_there(tmp_path_factory: pytest.TempPathFactory, tape: np.ndarray) -> None:
    """Row for row the events of the tape, said in Nautilus's words; the others are counted."""
    folder = tmp_path_factory.mktemp("catalog")
    lost = write(folder, [tape[:1], tape[1:]], [COIN])
    tick, lot = Fraction(COIN.tick), Fraction(COIN.lot)
    deltas = read(folder, "order_book_delta")
    assert (deltas[0]["action"], deltas[0]["flags"], deltas[0]["side"]) == (CLEARED, F_SNAPSHOT, 0)
    books = tape[tape["kind"] == BOOK]
    assert len(deltas) == len(books) + 1
    for row, event in zip(deltas[1:], books):
        said = (row["side"], number(row["price"]), number(row["size"]), row["ts_event"], row["ts_init"])
        side = 1 if event["side"] == BUY else 2
        price, size = int(event["price"]) * tick, int(event["qty"]) * lot
        assert said == (side, price, size, event["exch_ts"] * 1000, event["ts"] * 1000)
        assert (row["flags"] & F_LAST > 0) == (event["flags"] & LAST > 0)
        assert (row["flags"] & F_SNAPSHOT > 0) == (event["flags"] & SNAPSHOT > 0)
    trades = read(folder, "trade_tick")
    assert [(int(r["trade_id"]), number(r["price"]), r["aggressor_side"]) for r in trades] == [
        (int(e["seq"]), int(e["price"]) * tick, 1 if e["side"] == BUY else 2) for e in tape[tape["kind"] == TRADE]
    ]
    messages = tape[tape["kind"] == QUOTE].reshape(-1, 2)
    both = [(bid, ask) for bid, ask in messages if bid["qty"]]
    assert [(number(r["bid_price"]), number(r["ask_size"])) for r in read(folder, "quote_tick")] == [
        (int(bid["price"]) * tick, int(ask["qty"]) * lot) for bid, ask in both
    ]
    assert lost["quote"] == len(messages) - len(both)


def test_layout_and_schema(tmp_path: Path) -> None:
    tape = np.zeros(4, EVENT)
    tape["ts"], tape["exch_ts"], tape["flags"] = T0 + np.array([1, 1, 2, 3]), T0, [0, LAST, LAST, LAST]
    tape["kind"], tape["side"], tape["price"], tape["qty"] = [QUOTE, QUOTE, TRADE, BOOK], [BUY, SELL, 0, SELL], 9, 5
    tape["seq"] = -1
    write(tmp_path, [tape], [COIN], {COIN.name: "COIN/X-PERP.VENUE"})
    for kind, columns in COLUMNS.items():
        (path,) = (tmp_path / "data" / kind).rglob("*.parquet")
        schema = pq.read_schema(path)
        assert {field.name: field.type for field in schema} == columns and not any(field.nullable for field in schema)
        assert schema.metadata == {
            b"instrument_id": b"COIN/X-PERP.VENUE", b"price_precision": b"2", b"size_precision": b"3",
        }  # fmt: skip
        ts = {"quote_tick": 1, "trade_tick": 2, "order_book_delta": 3}[kind]
        stamp = f"2023-11-14T22-13-20-00000{ts}000Z"
        assert path.relative_to(tmp_path).as_posix() == f"data/{kind}/COINX-PERP.VENUE/{stamp}_{stamp}.parquet"
    assert read(tmp_path, "trade_tick", "COINX-PERP.VENUE")[0]["trade_id"] == str((T0 + 2) * 1000)


def test_an_empty_snapshot_clears_and_gaps_are_counted(tmp_path: Path) -> None:
    tape = np.zeros(3, EVENT)
    tape["ts"] = tape["exch_ts"] = T0
    tape["kind"], tape["flags"] = [GAP, BOOK, BOOK], [LAST, LAST, LAST | SNAPSHOT | CLEAR]
    assert write(tmp_path, [tape], [COIN]) == {"gap": 1, "book": 1}
    (row,) = read(tmp_path, "order_book_delta")
    assert (row["action"], row["flags"]) == (CLEARED, F_SNAPSHOT | F_LAST)


def test_a_failure_leaves_no_file_and_data_is_not_mixed(tmp_path: Path) -> None:
    tape = np.zeros(1, EVENT)
    tape["ts"] = tape["exch_ts"] = T0
    tape["kind"], tape["flags"], tape["qty"], tape["price"] = TRADE, LAST, 1, 1
    huge = tape.copy()
    huge["price"] = 2**62
    with pytest.raises(ConfigError, match="does not fit"):
        write(tmp_path, [tape, huge], [COIN])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    write(tmp_path, [tape], [COIN])
    with pytest.raises(ConfigError, match="has data already"):
        write(tmp_path, [tape], [COIN])
    assert len(read(tmp_path, "trade_tick")) == 1


def test_nautilus_reads_it_and_builds_the_same_book(captures: Path, tmp_path: Path) -> None:
    pytest.importorskip("nautilus_trader", reason="nautilus_trader is not installed")
    from nautilus_trader.model.book import OrderBook
    from nautilus_trader.model.enums import BookType
    from nautilus_trader.model.identifiers import InstrumentId
    from nautilus_trader.persistence.catalog import ParquetDataCatalog

    source = USDM.open([captures / "binance_usdm/btcusdt_20240808.gz"])
    (instrument,) = source.instruments
    events = events_of(source)
    write(tmp_path, source.batches(5_000), source.instruments)
    name = f"BTCUSDT.{instrument.venue.upper()}"
    catalog = ParquetDataCatalog(str(tmp_path))
    book, ours = OrderBook(InstrumentId.from_str(name), BookType.L2_MBP), OracleBook()
    for delta in catalog.order_book_deltas(instrument_ids=[name]):
        book.apply_delta(delta)
    for event in events[events["kind"] == BOOK]:
        if event["flags"] & CLEAR:
            ours.clear()
        if event["side"]:
            ours.set(int(event["side"]), int(event["price"]), int(event["qty"]))
    assert _nautilus_side(book.bids(), instrument) == dict(ours.levels(BUY))
    assert _nautilus_side(book.asks(), instrument) == dict(ours.levels(SELL))
    trades = catalog.trade_ticks(instrument_ids=[name])
    tape = events[events["kind"] == TRADE]
    assert [(t.price.as_decimal(), t.size.as_decimal(), t.ts_init) for t in trades] == [
        (int(e["price"]) * instrument.tick, int(e["qty"]) * instrument.lot, int(e["ts"]) * 1000) for e in tape
    ]
    quotes = catalog.quote_ticks(instrument_ids=[name])
    asks = events[(events["kind"] == QUOTE) & (events["side"] == SELL)]
    assert [q.ask_price.as_decimal() for q in quotes] == [int(price) * instrument.tick for price in asks["price"]]


def _nautilus_side(levels: Any, instrument: Instrument) -> dict[int, int]:
    """{ticks: lots} of one side."""
    return {
        int(level.price.as_decimal() / instrument.tick): int(Decimal(str(level.size())) / instrument.lot)
        for level in levels
    }
