"""Option summaries: every cell of the files is in the store, exactly, and other programs read it."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.options import MACHINE
from replay.cli import main
from replay.errors import ConfigError, DataError
from replay.store import OptionDay, Store, option_days
from replay.store.ingest import Outcome, ingest
from replay.store.options import SCHEMA
from replay.units import iso_from_us
from tests.store.test_captures import SHARED, needs_captures

HEADER = ["exchange", "symbol", "timestamp", "local_timestamp", *MACHINE]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T0 = 1_591_574_400_000_000
DAY = 86_400_000_000
MARKET = [field.name for field in SCHEMA if pa.types.is_decimal(field.type)]
MODEL = [field.name for field in SCHEMA if pa.types.is_floating(field.type)]
Table = list[dict[str, str]]

numbers = st.decimals(-(10**9), 10**12, places=8, allow_nan=False).map(lambda number: f"{number:f}")
doubles = st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr)


@st.composite
def chains(draw: st.DrawFn) -> Table:
    """Rows of an options_chain of two options: times that do not step back, cells that may be empty."""
    out = []
    local = T0
    for number in range(draw(st.integers(1, 12))):
        local += draw(st.integers(0, 10**6))
        row = dict.fromkeys(HEADER, "")
        row.update(exchange="deribit", symbol=draw(st.sampled_from(["BTC-1-P", "BTC-2-C"])), local_timestamp=str(local))
        row["timestamp"] = draw(st.sampled_from(["", str(local - 5)]))
        for name in MARKET:
            row[name] = draw(st.one_of(st.just(""), numbers))
        for name in MODEL:
            row[name] = draw(st.one_of(st.just(""), doubles))
        # What becomes events must be a price: an empty or good touch.
        for name in ("bid_price", "bid_amount", "ask_price", "ask_amount", "mark_price"):
            row[name] = str(Decimal(draw(st.integers(1, 10**6))) / 1000)
        row["type"], row["underlying_index"] = "put", draw(st.sampled_from(["SYN.BTC-1", ""]))
        row["expiration"] = str(T0 + 30 * DAY)
        row["strike_price"] = str(1000 + number)
        out.append(row)
    return out


def write_csv(folder: Path, rows: Table, name: str = "deribit_options_chain_2020-06-08_OPTIONS.csv.gz") -> Path:
    text = io.StringIO()
    table = csv.DictWriter(text, HEADER, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    return folder / name


def write_json(folder: Path, rows: Table) -> Path:
    lines = []
    for row in rows:
        message: dict[str, Any] = {"type": "option_summary", "symbol": row["symbol"], "exchange": row["exchange"]}
        message["localTimestamp"] = iso_from_us(int(row["local_timestamp"]))
        if row["timestamp"]:
            message["timestamp"] = iso_from_us(int(row["timestamp"]))
        for name, key in MACHINE.items():
            if row[name]:
                message[key] = row[name] if name in ("type", "underlying_index") else json.loads(row[name])
        message["expirationDate"] = iso_from_us(int(row["expiration"]))
        lines.append(json.dumps(message))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "machine.json"
    path.write_text("\n".join(lines) + "\n")
    return path


def expected(row: dict[str, str], float_decimals: bool = False) -> dict[str, Any]:
    """What a row must be, the slow way; `float_decimals`: its numbers went through JSON."""

    def time(text: str) -> datetime:
        return EPOCH + timedelta(microseconds=int(text))

    out: dict[str, Any] = {"symbol": row["symbol"], "ts": time(row["local_timestamp"])}
    out["exch_ts"] = time(row["timestamp"] or row["local_timestamp"])
    out["expiration"] = time(row["expiration"])
    for name in ("type", "underlying_index"):
        out[name] = row[name] or None
    for name in MARKET:
        out[name] = (Decimal(repr(float(row[name]))) if float_decimals else Decimal(row[name])) if row[name] else None
    for name in MODEL:
        out[name] = float(row[name]) if row[name] else None
    return out


def imported(files: list[Path], store: Path, adapter: str = "tardis-csv") -> list[Outcome]:
    outcomes = ingest(files, adapter=adapter, store=store)
    for outcome in outcomes:
        if outcome.error:
            raise outcome.error
    return outcomes


def days_of(store: Path) -> list[OptionDay]:
    found = list(option_days(store))
    assert all(isinstance(day, OptionDay) for day in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize(("adapter", "make"), [("tardis-csv", write_csv), ("tardis-machine", write_json)])
@settings(max_examples=25)
@given(rows=chains())
def test_every_cell_is_kept(
    tmp_path_factory: pytest.TempPathFactory, adapter: str, make: Callable[[Path, Table], Path], rows: Table
) -> None:
    """The table of a file equals one that the csv module, Decimal and float make."""
    folder = tmp_path_factory.mktemp("options")
    imported([make(folder / "in", rows)], folder / "store", adapter)
    (day,) = days_of(folder / "store")
    assert (day.venue, day.date, day.rows) == ("deribit", "2020-06-08", len(rows))
    table = pq.read_table(day.path, partitioning=None)
    assert table.to_pylist() == [expected(row, adapter == "tardis-machine") for row in rows]


def row_at(local_us: int, **cells: str) -> dict[str, str]:
    row = dict.fromkeys(HEADER, "")
    row.update(exchange="deribit", symbol="BTC-1-P", timestamp=str(local_us), local_timestamp=str(local_us))
    row.update(type="put", strike_price="9875", expiration=str(T0 + DAY), bid_price="0.02", bid_amount="1")
    row.update(ask_price="0.03", ask_amount="2.5", mark_price="0.025", **cells)
    return row


@needs_captures
def test_the_real_sample(tmp_path: Path) -> None:
    path = SHARED / "tardis/edited/options_chain.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    imported([path], tmp_path / "store")
    kept = [
        row for day in days_of(tmp_path / "store") for row in pq.read_table(day.path, partitioning=None).to_pylist()
    ]
    assert kept == [expected(row) for row in rows]


def test_polars_and_duckdb_read_the_folders(tmp_path: Path) -> None:
    polars, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    imported(
        [write_csv(tmp_path, [row_at(T0 + i, delta=f"-0.{i + 1}", mark_iv="62.5") for i in range(5)])], tmp_path / "s"
    )
    pattern = str(tmp_path / "s/venue=*/instrument=OPTIONS/channel=options/*/*.parquet")
    frame = polars.read_parquet(pattern, hive_partitioning=True)
    assert frame["delta"].to_list() == [-0.1, -0.2, -0.3, -0.4, -0.5] and set(frame["venue"]) == {"deribit"}
    assert frame["mark_price"].to_list() == [Decimal("0.025")] * 5
    found = duckdb.sql(f"select sum(ask_amount), max(mark_iv), any_value(symbol), min(strike_price) from '{pattern}'")
    assert found.fetchall() == [(Decimal("12.5"), 62.5, "BTC-1-P", Decimal(9875))]


def test_days_are_apart_and_a_rerun_skips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_json(tmp_path, [row_at(T0 + DAY - 1), row_at(T0 + DAY)])
    store = tmp_path / "store"
    assert [o.state for o in imported([path], store, "tardis-machine")] == ["imported"]
    assert [(day.date, day.rows) for day in days_of(store)] == [("2020-06-08", 1), ("2020-06-09", 1)]
    assert not (store / ".writing").exists() and Store(store).names() == ["deribit:BTC-1-P"]
    assert main(["ls", str(store)]) == 0
    assert "option summaries of deribit  2 days  2 rows" in capsys.readouterr().out
    assert [o.state for o in imported([path], store, "tardis-machine")] == ["skipped"]
    days_of(store)[0].path.unlink()
    assert [o.state for o in imported([path], store, "tardis-machine")] == ["imported"]
    assert len(days_of(store)) == 2


def test_another_file_of_the_day_is_not_lost_silently(tmp_path: Path) -> None:
    store = tmp_path / "store"
    imported([write_csv(tmp_path / "a", [row_at(T0)])], store)
    other = write_csv(tmp_path / "b", [{**row_at(T0), "symbol": "BTC-2-C"}])
    with pytest.raises(ConfigError, match="option summaries of deribit 2020-06-08 are in the store"):
        imported([other], store)
    assert not (store / ".writing").exists()
    assert [pq.read_table(day.path)["symbol"].to_pylist() for day in days_of(store)] == [["BTC-1-P"]]
    ingest([other], adapter="tardis-csv", store=store, replace=True)
    assert [pq.read_table(day.path)["symbol"].to_pylist() for day in days_of(store)] == [["BTC-2-C"]]


def test_broken_cells_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=r"option chain cannot be read.*\n?.*'five'"):
        imported([write_csv(tmp_path, [row_at(T0, delta="five")])], tmp_path / "store")
    store = tmp_path / "other"
    imported([write_csv(tmp_path, [row_at(T0)])], store)
    (day,) = days_of(store)
    day.path.write_bytes(day.path.read_bytes()[:100])
    assert main(["ls", str(store)]) == 2
    assert str(day.path) in capsys.readouterr().err
