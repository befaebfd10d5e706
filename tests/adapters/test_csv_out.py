"""CSV out: a real capture and any events come back through the adapter `tardis-csv` as they were."""

from __future__ import annotations

import csv
import gzip
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.binance import USDM
from adapters.csv_out import CsvWriter, decimals, write
from adapters.tardis_csv import CSV
from replay.errors import ConfigError
from replay.events import BOOK, BUY, CLEAR, EVENT, FUNDING, GAP, LAST, LIQUIDATION, MARK, QUOTE, SELL, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.sources import Source

COIN = Instrument("venue", "COIN", "linear", Decimal("0.05"), Decimal("0.001"))
T0 = 1_700_000_000_000_000


def events_of(source: Source) -> np.ndarray:
    return np.concatenate([batch.copy() for batch in source.batches()])


@given(
    numbers=st.lists(st.integers(-(2**60), 2**60), max_size=20),
    unit=st.sampled_from([Decimal("0.000001"), Decimal(5), Decimal("0.5"), Decimal(1)]),
)
def test_decimals_are_exact(numbers: list[int], unit: Decimal) -> None:
    """Every element equals count times unit; what does not fit 64 bits is refused."""
    counts = np.array(numbers, np.int64)
    mantissa = int(unit.scaleb(6)) // 10 ** (6 + int(unit.as_tuple().exponent))
    if numbers and max(map(abs, numbers)) * mantissa >= 2**63:
        with pytest.raises(ConfigError, match="does not fit 64 bits"):
            decimals(counts, unit)
        return
    assert decimals(counts, unit).to_pylist() == [number * unit for number in numbers]


def test_a_capture_goes_out_and_comes_back(captures: Path, tmp_path: Path) -> None:
    source = USDM.open([captures / "binance_usdm/btcusdt_20240808.gz"])
    (instrument,) = source.instruments
    events = events_of(source)
    assert write(tmp_path, source.batches(5_000), source.instruments) == {}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"binance-usdm_{kind}_BTCUSDT.csv.gz" for kind in ("incremental_book_L2", "quotes", "trades")]
    back = CSV.open(sorted(tmp_path.iterdir()), instruments=[instrument])
    assert back.instruments == source.instruments
    again = events_of(back)
    for kind in (BOOK, TRADE, QUOTE):
        mine, theirs = (rows[rows["kind"] == kind] for rows in (again, events))
        for name in ("ts", "exch_ts", "price", "qty", "side"):
            assert (mine[name] == theirs[name]).all(), (kind, name)
    for name in ("seq", "flags"):
        assert (again[name][again["kind"] == TRADE] == events[name][events["kind"] == TRADE]).all()


@st.composite
def tapes(draw: st.DrawFn) -> np.ndarray:
    """Messages of all kinds at increasing times, a snapshot first."""
    rows = [(T0, T0, -1, 100, 5, 0, 0, 0, SNAPSHOT | CLEAR | LAST, BOOK, BUY, 0, 0)]
    for k in range(draw(st.integers(1, 20))):
        ts = T0 + 10 * (k + 1)
        kind = draw(st.sampled_from([BOOK, TRADE, QUOTE, LIQUIDATION, MARK, FUNDING]))
        price, qty, side = draw(st.integers(1, 99)), draw(st.integers(1, 10**12)), draw(st.sampled_from([BUY, SELL]))
        head = (ts, ts - draw(st.integers(0, 9)))
        if kind == QUOTE:
            empty = draw(st.booleans())
            rows.append((*head, -1, 0 if empty else price, 0 if empty else qty, 0, 0, 0, 0, QUOTE, BUY, 0, 0))
            rows.append((*head, -1, price + 1, qty, 0, 0, 0, LAST, QUOTE, SELL, 0, 0))
        elif kind in (MARK, FUNDING):
            value = draw(st.integers(1, 10**12))
            if kind == MARK:
                rows.append((*head, -1, (2 * value + 5_000_000) // 10_000_000, 0, value, 0, 0, 0, MARK, 0, 0, 0))
            rows.append((*head, ts + 99, 0, 0, -value, 0, 0, LAST, FUNDING, 0, 0, 0))
        else:
            seq = -1 if kind == BOOK else k
            rows.append((*head, seq, price if side == BUY else price + 200, qty, 0, 0, 0, LAST, kind, side, 0, 0))
    return np.array(rows, EVENT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv")


@given(tape=tapes())
def test_every_kind_comes_back(folder: Path, tape: np.ndarray) -> None:
    """All fields of all kinds survive the way out and in."""
    for path in folder.iterdir():
        path.unlink()
    assert write(folder, [tape], [COIN]) == {}
    back = events_of(CSV.open(sorted(folder.iterdir()), instruments=[COIN], policy="count"))
    for name in EVENT.names or ():
        assert (back[name] == tape[name]).all(), name


def test_text_is_what_tardis_writes(tmp_path: Path) -> None:
    tape = np.zeros(2, EVENT)
    tape["ts"], tape["exch_ts"], tape["kind"], tape["flags"] = T0 + 5, T0, TRADE, LAST
    tape["seq"], tape["side"], tape["price"], tape["qty"] = [7, -1], [SELL, 0], 1231, 1500
    write(tmp_path, [tape], [COIN])
    lines = gzip.decompress((tmp_path / "venue_trades_COIN.csv.gz").read_bytes()).decode().splitlines()
    assert lines == [
        "exchange,symbol,timestamp,local_timestamp,id,side,price,amount",
        f"venue,COIN,{T0},{T0 + 5},7,sell,61.55,1.500",
        f"venue,COIN,{T0},{T0 + 5},,unknown,61.55,1.500",
    ]
    assert next(csv.DictReader(lines))["price"] == "61.55"


def test_what_csv_cannot_say_is_counted(tmp_path: Path) -> None:
    tape = np.zeros(2, EVENT)
    tape["ts"] = tape["exch_ts"] = T0
    tape["kind"], tape["flags"] = [GAP, BOOK], LAST
    assert write(tmp_path, [tape], [COIN]) == {"gap": 1, "book message without levels": 1}
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    tape = np.zeros(1, EVENT)
    tape["ts"], tape["kind"], tape["flags"], tape["qty"] = T0, TRADE, LAST, 1
    with pytest.raises(RuntimeError), CsvWriter(tmp_path, [COIN]) as writer:
        writer.write(tape)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
