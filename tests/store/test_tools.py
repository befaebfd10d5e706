"""Other programs open the files and see times, exact prices and the folders' columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from replay.events import BOOK, LAST, TRADE, empty_events
from replay.sources import ArraySource
from replay.store import Store
from replay.store.layout import folder
from tests.store.conftest import BOTH, MIDNIGHT

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def trades(market: np.ndarray) -> list[tuple[datetime, Decimal, Decimal, int]]:
    """Time, price, size and side of all prints of the second instrument."""
    mine = market[(market["kind"] == TRADE) & (market["instrument"] == 1)]
    assert len(mine) > 100
    return [
        (EPOCH + timedelta(microseconds=int(r["ts"])), BOTH[1].price(int(r["price"])), BOTH[1].size(int(r["qty"])),
         int(r["side"]))
        for r in mine
    ]  # fmt: skip


def test_polars(written: Path, trades: list[Any]) -> None:
    pl = pytest.importorskip("polars")
    files = written / "venue=test" / folder("instrument", BOTH[1].symbol)
    table = (
        pl.scan_parquet(files, hive_partitioning=True)
        .filter(pl.col("channel") == "trades")
        .select("ts", "price", "qty", "side")
        .collect()
    )
    assert table.schema["ts"] == pl.Datetime("us", "UTC")
    assert sorted(table.rows()) == sorted(trades)


def test_duckdb(written: Path, trades: list[Any], market: np.ndarray) -> None:
    duckdb = pytest.importorskip("duckdb")
    # Instruments have their own scales; without union_by_name DuckDB would round to that of the first file.
    files = f"read_parquet('{written}/**/*.parquet', hive_partitioning=true, union_by_name=true)"
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        rows = connection.execute(
            f"select epoch_us(ts), price, qty, side from {files} where channel = 'trades' and instrument = ?",
            [BOTH[1].symbol],
        ).fetchall()
        count, price, qty = connection.execute(f"select count(*), sum(price), sum(qty) from {files}").fetchone()
    found = [(EPOCH + timedelta(microseconds=us), price, qty, side) for us, price, qty, side in rows]
    assert sorted(found) == sorted(trades)
    assert count == len(market)
    for total, name, step in ((price, "price", "tick"), (qty, "qty", "lot")):
        steps = [int(market[name][market["instrument"] == i].sum()) for i in (0, 1)]
        assert total == sum(n * getattr(instrument, step) for n, instrument in zip(steps, BOTH))


def test_pandas(written: Path, trades: list[Any]) -> None:
    pd = pytest.importorskip("pandas")
    files = written / "venue=test" / folder("instrument", BOTH[1].symbol)
    mine = pd.read_parquet(files, filters=[("channel", "==", "trades")])
    assert str(mine["ts"].dt.tz) == "UTC"
    found = list(zip(mine["ts"].dt.to_pydatetime(), mine["price"], mine["qty"], mine["side"]))
    assert sorted(found) == sorted(trades)


def test_columns(written: Path, market: np.ndarray) -> None:
    path = next((written / "venue=test/instrument=A/channel=book").rglob("*.parquet"))
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    assert schema.field("ts").type == pa.timestamp("us", tz="UTC")
    assert schema.field("price").type == pa.decimal128(18, 2) and schema.field("qty").type == pa.decimal128(18, 3)
    assert all(field.metadata[b"doc"] and not field.nullable for field in schema)
    file.close()
    assert (market["kind"] == BOOK).any()


@pytest.mark.parametrize(("rows", "times"), [(1, "DELTA_BINARY_PACKED"), (4, "RLE_DICTIONARY")])
def test_encodings_go_by_the_length_of_messages(tmp_path: Path, rows: int, times: str) -> None:
    events = empty_events(1_000)
    events["ts"] = MIDNIGHT + np.arange(len(events)) // rows
    events["kind"], events["price"] = BOOK, np.arange(len(events))
    events["flags"][rows - 1 :: rows] = LAST
    store = Store(tmp_path / "store")
    with store.writer(BOTH[0]) as writer:
        writer.write(events)
    (path,) = store.path.rglob("*.parquet")
    group = pq.read_metadata(path).row_group(0)
    found = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert times in found["ts"].encodings and "BYTE_STREAM_SPLIT" in found["price"].encodings
    assert found["price"].physical_type == "INT64" and found["ts"].compression == "LZ4"


def test_files_in_other_encodings_are_read(tmp_path: Path, market: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"compression": "zstd", "use_dictionary": True, "store_decimal_as_integer": True}
    monkeypatch.setattr("replay.store.draft.encoded", lambda first: settings)
    store = Store(tmp_path / "store")
    store.record(ArraySource(market, BOTH))
    store.check()
    assert np.concatenate(list(store.source().batches())).tobytes() == market.tobytes()
