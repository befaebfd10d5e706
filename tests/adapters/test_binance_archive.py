"""Binance's public archive: every kind of file against plain Python, with and without header, zipped or not."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.binance_archive import ARCHIVE
from replay.errors import ConfigError, DataError
from replay.events import FUNDING, LAST, LIQUIDATION, QUOTE, TRADE
from replay.sources import Source

MS = 1_723_075_200_000
HEADERS = {
    "trades": "id,price,qty,quote_qty,time,is_buyer_maker",
    "aggTrades": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
    "bookTicker": "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time",
    "fundingRate": "calc_time,funding_interval_hours,last_funding_rate",
    "liquidationSnapshot": "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,"
    "last_fill_quantity,accumulated_fill_quantity",
}
PRICE = st.decimals("0.01", 70_000, places=2).map(str)
SIZE = st.decimals("0.001", 100, places=3).map(str)
STEP = st.integers(0, 3000)
WORDS = st.sampled_from(["true", "True", "false", "False"])
Rows = list[tuple[object, ...]]
Expected = list[tuple[object, ...]]


def save(folder: Path, name: str, lines: list[str], how: str) -> Path:
    """The lines as a file of the archive: "zip", "csv" or "csv.gz"."""
    text = "\n".join(lines) + "\n"
    path = folder / f"{name}.{how}"
    if how == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.csv", text)
    else:
        path.write_bytes(gzip.compress(text.encode()) if how == "csv.gz" else text.encode())
    return path


def events_of(source: Source, rows: int = 1000) -> np.ndarray:
    return np.concatenate([batch.copy() for batch in source.batches(rows)])


def decimals(source: Source) -> Expected:
    """(ts, kind, side, seq, price, size) of each event, FUNDING with its rate as price."""
    (instrument,) = source.instruments
    out: Expected = []
    for e in events_of(source):
        price, size = instrument.price(int(e["price"])), instrument.size(int(e["qty"]))
        if e["kind"] == FUNDING:
            price = Decimal(int(e["value"])).scaleb(-8)
        assert e["exch_ts"] == e["ts"]
        out.append((int(e["ts"]), int(e["kind"]), int(e["side"]), int(e["seq"]), price, size))
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@pytest.mark.parametrize("kind", ["trades", "aggTrades"])
@given(
    drawn=st.lists(st.tuples(STEP, PRICE, SIZE, WORDS), min_size=1, max_size=30),
    spot=st.booleans(), header=st.booleans(), micro=st.booleans(), how=st.sampled_from(["zip", "csv", "csv.gz"]),
)  # fmt: skip
def test_trades(folder: Path, kind: str, drawn: Rows, spot: bool, header: bool, micro: bool, how: str) -> None:
    """Trades and aggTrades of both markets come out exactly, whatever the shape of the file."""
    time, lines, expected = MS, [HEADERS[kind] + ",best" * spot] * header, []
    for number, (step, price, size, maker) in enumerate(drawn):
        time += step
        stamp = time * 1000 + 7 if micro else time
        middle = "0" if kind == "trades" else "1,2"
        lines.append(f"{number},{price},{size},{middle},{stamp},{maker}" + ",True" * spot)
        side = -1 if maker.lower() == "true" else 1
        expected.append((time * 1000 + 7 * micro, TRADE, side, number, Decimal(price), Decimal(size)))
    source = ARCHIVE.open([save(folder, f"BTCUSDT-{kind}-2024-08-08", lines, how)])
    assert decimals(source) == expected
    assert source.instruments[0].name == ("binance-spot:BTCUSDT" if spot else "binance-usdm:BTCUSDT")


@given(drawn=st.lists(st.tuples(STEP, PRICE, SIZE, PRICE, SIZE), min_size=1, max_size=30), header=st.booleans())
def test_book_ticker(folder: Path, drawn: Rows, header: bool) -> None:
    """A line is a quote of two rows at the transaction time."""
    time, lines, expected = MS, [HEADERS["bookTicker"]] * header, []
    for number, (step, bid, bid_size, ask, ask_size) in enumerate(drawn):
        time += step
        lines.append(f"{number},{bid},{bid_size},{ask},{ask_size},{time},{time + 3}")
        expected += [
            (time * 1000, QUOTE, side, number, Decimal(price), Decimal(size))
            for side, price, size in ((1, bid, bid_size), (-1, ask, ask_size))
        ]
    source = ARCHIVE.open([save(folder, "BTCUSD_PERP-bookTicker-2024-01-08", lines, "zip")])
    assert decimals(source) == expected
    assert (events_of(source)["flags"][1::2] == LAST).all()
    assert (source.instruments[0].payoff, source.instruments[0].settle) == ("inverse", "BTC")


@given(
    drawn=st.lists(st.tuples(st.integers(0, 999), st.decimals("-0.03", "0.03", places=8)), min_size=1, max_size=30),
    header=st.booleans(),
)  # fmt: skip
def test_funding(folder: Path, drawn: Rows, header: bool) -> None:
    """Rates come out exactly, at the settlement that they were told of a moment late."""
    lines, expected = [HEADERS["fundingRate"]] * header, []
    for number, (late, rate) in enumerate(drawn):
        due = MS + number * 28_800_000
        lines.append(f"{due + late},8,{rate:f}")
        expected.append((due * 1000, FUNDING, 0, due * 1000, rate, 0))
    assert decimals(ARCHIVE.open([save(folder, "BTCUSDT-fundingRate-2024-08", lines, "zip")])) == expected


@given(
    drawn=st.lists(
        st.tuples(STEP, st.sampled_from(["BUY", "SELL"]), PRICE, SIZE, st.sampled_from(["FILLED", "FILLED", "NEW"])),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_liquidations(folder: Path, drawn: Rows) -> None:
    """Each filled order is a forced trade at its price; the others are counted."""
    time, lines, expected = MS, [f"{MS},BUY,LIMIT,IOC,1,1,1,FILLED,1,1"], [(MS * 1000, LIQUIDATION, 1, -1, 1, 1)]
    for step, side, price, size, status in drawn:
        time += step
        lines.append(f"{time},{side},LIMIT,IOC,{size},{price},0,{status},{size},{size if status == 'FILLED' else 0}")
        if status == "FILLED":
            expected.append((time * 1000, LIQUIDATION, 1 if side == "BUY" else -1, -1, Decimal(price), Decimal(size)))
    source = ARCHIVE.open([save(folder, "BTCUSD_PERP-liquidationSnapshot-2024-01-08", lines, "zip")], policy="count")
    assert [(ts, kind, side, seq, price, size) for ts, kind, side, seq, price, size in decimals(source)] == expected
    unfilled = source.quality.ignored["liquidationSnapshot row of an order that was not filled"]
    assert unfilled == len(lines) - len(expected)


def test_funding_settles_when_it_is_told(folder: Path) -> None:
    lines = [HEADERS["fundingRate"], f"{MS + 3},8,0.00012345", f"{MS + 28_800_000},8,-0.0001"]
    path = save(folder, "BTCUSDT-fundingRate-2024-08", lines, "zip")
    us = MS * 1000
    assert decimals(ARCHIVE.open([path])) == [
        (us, FUNDING, 0, us, Decimal("0.00012345"), 0),
        (us + 28_800_000_000, FUNDING, 0, us + 28_800_000_000, Decimal("-0.0001"), 0),
    ]


def test_only_filled_liquidations_count(folder: Path) -> None:
    lines = [
        f"{MS},SELL,LIMIT,IOC,3,100.5,101,FILLED,1,3",
        f"{MS + 1},BUY,LIMIT,IOC,3,100.5,101,NEW,0,0",
        f"{MS + 2},BUY,LIMIT,IOC,5,102.5,101,FILLED,1,5",
    ]
    source = ARCHIVE.open([save(folder, "BTCUSD_PERP-liquidationSnapshot-2024-01-08", lines, "zip")], policy="raise")
    found = [(kind, side, price, size) for _, kind, side, _, price, size in decimals(source)]
    assert found == [(LIQUIDATION, -1, Decimal("100.5"), 3), (LIQUIDATION, 1, Decimal("102.5"), 5)]
    assert source.quality.ignored["liquidationSnapshot row of an order that was not filled"] == 1


def test_days_and_channels_become_one_source(folder: Path) -> None:
    paths = [
        save(folder, "ETHUSDT-trades-2024-08-09", [f"2,2500.5,1,0,{MS + 86_400_000},true"], "zip"),
        save(folder, "ETHUSDT-trades-2024-08-08", [f"1,2500.1,1,0,{MS},true"], "zip"),
        save(folder, "ETHUSDT-bookTicker-2024-08-08", [f"5,2500.1,1,2500.2,2,{MS + 1},{MS + 1}"], "zip"),
    ]
    events = events_of(ARCHIVE.open(paths))
    assert list(events["kind"]) == [TRADE, QUOTE, QUOTE, TRADE]
    other = save(folder, "ETHUSDT-aggTrades-2024-08-08", [f"1,2500.1,1,1,1,{MS},true"], "zip")
    with pytest.raises(DataError, match="two sources of the same channel"):
        ARCHIVE.open([*paths, other])


def test_checksum_beside_the_file_is_verified(tmp_path: Path) -> None:
    path = save(tmp_path, "ETHUSDT-trades-2024-08-08", [f"1,2500.1,1,0,{MS},true"], "zip")
    beside = tmp_path / f"{path.name}.CHECKSUM"
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert len(events_of(ARCHIVE.open([path]))) == 1
    beside.write_text("0" * 64)
    with pytest.raises(DataError, match=r"SHA-256 is not the one in ETHUSDT-trades.*download"):
        ARCHIVE.open([path])


@pytest.mark.parametrize(
    ("name", "lines", "words", "at"),
    [
        ("BTCUSDT-bookDepth-2024-08-08", ["timestamp,percentage,depth,notional"], "not a book", 0),
        ("BTCUSDT-klines-2024-08-08", ["1"], "bars are no events", 0),
        ("BTCUSDT-tradez-2024-08-08", ["1"], "did you mean 'trades'", 0),
        ("trades", ["1"], "not that of an archive file", 0),
        ("BTCUSDT-trades-2024-08-08", ["1,2,3"], "3 columns instead of 6 or 7", 1),
        ("BTCUSDT-trades-2024-08-08", [f"1,2,3,4,{MS},true", "2,3"], "2 fields instead of 6", 2),
        ("BTCUSDT-trades-2024-08-08", [f"1,2,3,4,{MS * 10**6},true"], "neither in milliseconds nor", 1),
        ("BTCUSDT-trades-2024-08-08", [f"1,2,3,4,{MS},maybe"], "unknown side", 1),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, lines: list[str], words: str, at: int) -> None:
    path = save(tmp_path, name, lines, "zip")
    with pytest.raises(DataError, match=words) as caught:
        events_of(ARCHIVE.open([path], policy="raise"))
    assert (caught.value.path, caught.value.line) == (str(path), at)


def test_broken_zips(tmp_path: Path, write: Callable[..., Path]) -> None:
    name = "BTCUSDT-trades-2024-08-08"
    with pytest.raises(DataError, match="no such file"):
        ARCHIVE.open([tmp_path / f"{name}.zip"])
    path = save(tmp_path, name, [f"{i},2,3,4,{MS + i},true" for i in range(20_000)], "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(DataError, match="zip archive is broken"):
        ARCHIVE.open([path])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path.write_bytes(flipped)
    with pytest.raises(DataError, match=r"zip data is broken|not a|fields"):
        events_of(ARCHIVE.open([path]))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("b.csv", "1")
    with pytest.raises(DataError, match="2 files instead of one"):
        ARCHIVE.open([path])


def test_wrong_options(folder: Path) -> None:
    path = save(folder, "ETHUSDT-trades-2024-08-08", [f"1,2500.1,1,0,{MS},true"], "zip")
    with pytest.raises(ConfigError, match="did you mean 'binance-usdm'"):
        ARCHIVE.open([path], market="binance-usd")
    (instrument,) = ARCHIVE.open([path], market="binance-spot").instruments
    assert instrument.payoff == "spot"
