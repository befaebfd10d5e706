"""Results as folders: what is loaded is what was saved, and nothing half-written is left."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from replay import DataError, Result
from tests.differential.scenarios import scenario, wider
from tests.unit.test_results import run


def same(one: Result, other: Result) -> None:
    assert other.digest == one.digest
    for field in fields(Result):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), field.name
        elif field.name == "records":
            assert list(a) == list(b) and all(a[name].tobytes() == b[name].tobytes() for name in a)
        else:
            assert a == b, field.name


@pytest.mark.parametrize("seed", range(6))
def test_a_saved_result_comes_back_whole(seed: int, tmp_path: Path) -> None:
    results = (scenario if seed % 2 else wider)(seed).session().results()
    for k, result in enumerate([*results, run()]):
        result.to_parquet(tmp_path / str(k))
        loaded = Result.load(tmp_path / str(k))
        same(result, loaded)
        assert loaded.as_dict() == result.as_dict()
        assert loaded.summary() == result.summary()


def test_the_folder_replaces_an_earlier_result_only(tmp_path: Path) -> None:
    target = tmp_path / "a" / "result"
    run().to_parquet(target)
    first = Result.load(target)
    other = run(lots=4)
    other.to_parquet(str(target))
    assert Result.load(target).digest == other.digest != first.digest
    assert [path.name for path in target.parent.iterdir()] == ["result"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match="is not a saved result"):
        other.to_parquet(tmp_path / "mine")
    assert (tmp_path / "mine" / "precious.txt").read_text() == "mine"


def test_a_failed_write_leaves_the_earlier_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "result"
    run().to_parquet(target)
    write = pq.write_table

    def full(table: object, where: Path, **options: object) -> None:
        if where.name == "positions.parquet":
            raise OSError(28, "No space left on device")
        write(table, where, **options)

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(DataError, match="No space left"):
        run(lots=4).to_parquet(target)
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
    assert Result.load(target).digest == run().digest


def test_leftovers_of_a_killed_writer_do_not_matter(tmp_path: Path) -> None:
    for word in ("part", "old"):
        (tmp_path / f".result.{word}").mkdir()
        (tmp_path / f".result.{word}" / "half.parquet").write_bytes(b"half")
    run().to_parquet(tmp_path / "result")
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_files_that_are_not_what_was_saved(tmp_path: Path) -> None:
    target = tmp_path / "result"
    with pytest.raises(DataError, match=r"no result\.json"):
        Result.load(target)
    run().to_parquet(target)
    facts = json.loads((target / "result.json").read_text())

    def rewritten(**changes: object) -> None:
        (target / "result.json").write_text(json.dumps({**facts, **changes}))

    rewritten(format=99)
    with pytest.raises(DataError, match="format 99, this version reads 1"):
        Result.load(target)
    rewritten(digest="0" * 64)
    with pytest.raises(DataError, match="the digest differs"):
        Result.load(target)
    rewritten(quality={})
    with pytest.raises(DataError, match="is not whole: 'instruments'"):
        Result.load(target)
    (target / "result.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        Result.load(target)
    rewritten()
    (target / "fills.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"fills\.parquet: cannot be read"):
        Result.load(target)
    (target / "fills.parquet").unlink()
    with pytest.raises(DataError, match=r"fills\.parquet: cannot be read"):
        Result.load(target)


def test_other_tools_read_the_tables(tmp_path: Path) -> None:
    result = run()
    result.to_parquet(tmp_path / "result")
    table = pq.read_table(tmp_path / "result" / "fills.parquet")
    assert table["price"].to_pylist() == [100.5, 110.0]
    assert table["symbol"].to_pylist() == ["test:COINUSD"] * 2
