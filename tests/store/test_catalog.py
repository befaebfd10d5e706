"""What is on the disk may be damaged, moved or foreign: it is named, never read as if nothing were wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from replay.errors import ConfigError, DataError
from replay.store import Store
from replay.store.layout import file_path, folder, value_of
from tests.store.conftest import BOTH, MIDNIGHT

NAME = BOTH[0].name
DAY = MIDNIGHT // (86_400 * 10**6)


def book_of(store: Store) -> Path:
    """The book of the second day."""
    return store.path / file_path(NAME, "book", DAY)


def truncated(path: Path) -> None:
    """Half of the file."""
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    """Nothing left."""
    os.truncate(path, 0)


def foreign(path: Path) -> None:
    """A Parquet file of somebody else."""
    pq.write_table(pa.table({"x": [1]}), path)


def of_the_future(path: Path) -> None:
    """A file of a version to come."""
    table = pa.table({"x": [1]}).replace_schema_metadata({"tickreplay": '{"schema": 99}'})
    pq.write_table(table, path)


def mad(path: Path) -> None:
    """A footer that is no JSON."""
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({"tickreplay": "{"}), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "cut short or damaged"),
        (emptied, "cut short or damaged"),
        (foreign, "not one of a store"),
        (of_the_future, "version 99"),
        (mad, "footer is damaged"),
    ],
)
def test_a_damaged_file_is_named(store: Store, damage: Callable[[Path], None], message: str) -> None:
    path = book_of(store)
    damage(path)
    again = Store(store.path)
    assert [day.date for day in again.days(NAME)] == ["2023-11-14"]
    (problem,) = again.problems()
    assert message in str(problem) and problem.path == str(path)
    with pytest.raises(DataError, match=message) as caught:
        again.source()
    assert caught.value.path == str(path)
    assert len(list(again.source(end_us=MIDNIGHT).batches())) > 0, "other days can be used"
    assert again.gc().incomplete == [] and path.exists(), "only a person deletes a damaged file"


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.6])
def test_one_wrong_bit_is_found_while_reading(store: Store, part: float) -> None:
    path = book_of(store)
    metadata = pq.read_metadata(path)
    group = metadata.row_group(0)
    size = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
    data = bytearray(path.read_bytes())
    data[4 + int(part * size)] ^= 4
    path.write_bytes(data)
    with pytest.raises(DataError, match="cut short or damaged") as caught:
        list(Store(store.path).source().batches())
    assert caught.value.path == str(path)
    with pytest.raises(DataError, match=r"data\.parquet"):
        store.check()


def test_a_file_that_is_replaced_after_the_store_was_opened(store: Store) -> None:
    source = store.source()
    path = book_of(store)
    shutil.copy(store.path / file_path(NAME, "book", DAY - 1), path)
    with pytest.raises(DataError, match="was replaced while it was in use"):
        list(source.batches())


def test_a_day_without_one_of_its_files_is_incomplete(store: Store) -> None:
    (store.path / file_path(NAME, "trades", DAY)).unlink()
    again = Store(store.path)
    (problem,) = again.problems()
    assert "test:A 2023-11-15 is incomplete" in str(problem)
    swept = again.gc()
    assert swept.incomplete == ["test:A 2023-11-15"] and again.problems() == []
    assert [day.date for day in again.days(NAME)] == ["2023-11-14"]


def test_a_file_in_the_wrong_place(store: Store) -> None:
    book_of(store).rename(store.path / file_path(NAME, "quotes", DAY))
    (problem,) = Store(store.path).problems()
    assert "belongs to test:A book 2023-11-15" in str(problem)
    odd = book_of(store).parent.with_name("date=yesterday")
    odd.mkdir()
    (odd / "data.parquet").touch()
    with pytest.raises(DataError, match="not named after a date"):
        Store(store.path).days(NAME)


def test_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "photos").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="is a file"):
        Store(tmp_path / "file")
    with pytest.raises(ConfigError, match="not of a store"):
        Store(tmp_path / "folder")
    for name in ("empty", "new"):
        store = Store(tmp_path / name)
        assert store.days("v:S") == []
    assert Store(tmp_path / "empty").names() == []
    with pytest.raises(ConfigError, match="does not exist"):
        Store(tmp_path / "new").names()
    with pytest.raises(ConfigError, match="venue:SYMBOL"):
        Store(tmp_path / "empty").days("BTCUSDT")


def test_names_of_folders() -> None:
    assert folder("instrument", "BTC/USDT:x y") == "instrument=BTC%2FUSDT%3Ax%20y"
    assert value_of("instrument=BTC%2FUSDT%3Ax%20y", "instrument") == "BTC/USDT:x y"
    assert value_of("venue=a", "instrument") is None and value_of("venue", "venue") is None
