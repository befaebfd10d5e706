"""Results as folders: what is loaded is what was saved, and nothing half-written is left."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from replay import Band, DataError, Instrument, Replay, Result
from replay.testing import synthetic_events
from tests.differential.scenarios import scenario, wider
from tests.unit.test_results import run
from tests.unit.test_sweep import LATENCY, Quoter


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


# --------------------------------------------------------------------------------------------------------------- bands


@pytest.fixture(scope="module")
def band() -> Band:
    terms = [Instrument("test", "A", "linear", Decimal("0.1"), Decimal("0.001"))]
    return Replay(synthetic_events(terms, seed=3, messages=1_000), instruments=terms, latency=LATENCY).band(
        Quoter, mode="interpreted"
    )


def test_a_saved_band_comes_back_whole(band: Band, tmp_path: Path) -> None:
    band.to_parquet(str(tmp_path / "band"))
    loaded = Band.load(tmp_path / "band")
    assert [(case.queue, case.latency_factor) for case in loaded.cases] == [
        (case.queue, case.latency_factor) for case in band.cases
    ]
    for one, other in zip(band.cases, loaded.cases):
        same(one.result, other.result)
    assert (loaded.summary(), loaded.net()) == (band.summary(), band.net())
    same(Result.load(tmp_path / "band" / "risk-averse-2"), band.pessimistic)


def test_a_band_replaces_an_earlier_band_only(band: Band, tmp_path: Path) -> None:
    target = tmp_path / "band"
    run().to_parquet(target)
    with pytest.raises(DataError, match="is not a saved band"):
        band.to_parquet(target)
    shutil.rmtree(target)
    Band(band.cases[3:]).to_parquet(target)
    band.to_parquet(target)
    assert len(Band.load(target).cases) == 9
    assert [path.name for path in tmp_path.iterdir()] == ["band"]
    with pytest.raises(DataError, match="is not a saved result"):
        run().to_parquet(target)


def test_a_band_that_is_not_what_was_saved(band: Band, tmp_path: Path) -> None:
    target = tmp_path / "band"
    for missing in (target, tmp_path):
        with pytest.raises(DataError, match=r"is not a saved band: it has no band\.json"):
            Band.load(missing)
    band.to_parquet(target)
    facts = json.loads((target / "band.json").read_text())

    def rewritten(**changes: object) -> None:
        (target / "band.json").write_text(json.dumps({**facts, **changes}))

    rewritten(format=99)
    with pytest.raises(DataError, match="format 99, this version reads 1"):
        Band.load(target)
    for broken in (
        [],
        facts["cases"][:4],
        facts["cases"][5:],
        [{"folder": 1}],
        "cases",
        [{**facts["cases"][0], "queue": 1}],
    ):
        rewritten(cases=broken)
        with pytest.raises(DataError, match=r"band\.json: is not whole"):
            Band.load(target)
    (target / "band.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        Band.load(target)
    rewritten()
    shutil.rmtree(target / "base-1")
    shutil.copytree(target / "base-2", target / "base-1")
    with pytest.raises(DataError, match="base-1 holds the result of another run"):
        Band.load(target)
    shutil.rmtree(target / "base-1")
    with pytest.raises(DataError, match=r"base-1: is not a saved result"):
        Band.load(target)
