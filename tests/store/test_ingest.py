"""Importing: what belongs together, what is skipped, what is refused, and that processes change nothing."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from adapters.binance_archive import ARCHIVE
from adapters.tardis_csv import CSV
from replay.cli import main
from replay.errors import ConfigError, DataError
from replay.events import BAD_TS
from replay.sources import find_adapter
from replay.store import Store
from replay.store.ingest import MIDNIGHT as KEPT
from replay.store.ingest import expand, ingest
from replay.store.layout import IMPORTS
from replay.units import US_PER_DAY
from tests.store.conftest import MIDNIGHT
from tests.store.tardis_files import write_day
from tests.store.test_source import events_of


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Folder with two days of two symbols."""
    folder = tmp_path / "files"
    folder.mkdir()
    for symbol in ("AAA", "BBB"):
        for day in range(2):
            write_day(folder, symbol, day, seed=1)
    return folder


def test_files_of_an_instrument_and_day_become_one_day(files: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    outcomes = ingest([files], adapter="tardis-csv", store=tmp_path / "store", progress=lambda *now: seen.append(now))
    assert [outcome.state for outcome in outcomes] == ["imported"] * 4
    assert all(len(outcome.paths) == 2 and len(outcome.days) == 1 for outcome in outcomes)
    store = Store(tmp_path / "store")
    store.check()
    assert store.names() == ["venue:AAA", "venue:BBB"]
    for name in store.names():
        days = store.days(name)
        assert [list(day.files) for day in days] == [["book", "trades"]] * 2
        for day, part in zip(days, [outcome for outcome in outcomes if outcome.days[0].instrument == name]):
            assert [file.name for file in day.source_files] == [Path(path).name for path in part.paths]
            source = find_adapter("tardis-csv").open([Path(path) for path in part.paths])
            stored = store.source([name], day.number * US_PER_DAY, (day.number + 1) * US_PER_DAY)
            assert events_of(stored).tobytes() == events_of(source).tobytes()
            assert day.rows == part.rows
    rows, read, total = seen[-1]
    assert rows == sum(outcome.rows for outcome in outcomes) and read == total
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(seen))


def test_several_processes_make_the_same_store(files: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    ingest([files], adapter="tardis-csv", store=one)
    outcomes = ingest([files], adapter="tardis-csv", store=two, jobs=2, progress=lambda rows, read, total: None)
    assert [outcome.state for outcome in outcomes] == ["imported"] * 4
    trees = [{p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()} for root in (one, two)]
    assert trees[0] == trees[1] and len(trees[0]) == 8 + 4


def test_what_is_finished_is_skipped_until_it_is_gone(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "store"
    first = ingest([files], adapter="tardis-csv", store=path)
    digest = Store(path).digest()
    again = ingest([files], adapter="tardis-csv", store=path)
    assert [outcome.state for outcome in again] == ["skipped"] * 4
    assert [outcome.days for outcome in again] == [outcome.days for outcome in first]
    Store(path).days("venue:BBB")[1].files["trades"].path.unlink()
    next((path / IMPORTS).iterdir()).write_text("{")  # a damaged note is none
    mended = ingest([files], adapter="tardis-csv", store=path)
    assert [outcome.state for outcome in mended].count("imported") in (1, 2)
    assert Store(path).digest() == digest
    write_day(files, "AAA", 2, seed=1)
    more = ingest([files], adapter="tardis-csv", store=path)
    assert sorted(outcome.state for outcome in more) == ["imported"] + ["skipped"] * 4


def test_a_day_from_other_files_is_not_overwritten(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "store"
    ingest([files], adapter="tardis-csv", store=path)
    digest = Store(path).digest()
    changed = write_day(files, "AAA", 0, seed=2)
    outcomes = ingest([files], adapter="tardis-csv", store=path)
    (failed,) = [outcome for outcome in outcomes if outcome.state == "failed"]
    assert isinstance(failed.error, ConfigError) and failed.paths == tuple(map(str, changed))
    assert "is in the store already, from venue_incremental" in str(failed.error) and "--replace" in str(failed.error)
    assert Store(path).digest() == digest
    replaced = ingest([files], adapter="tardis-csv", store=path, replace=True)
    assert all(outcome.state == "imported" for outcome in replaced)
    assert Store(path).digest() != digest
    other = ingest(changed, adapter="tardis-csv", store=path, options={"policy": "count"})
    assert other[0].state == "failed", "other options make other days"


def test_a_file_of_two_days(tmp_path: Path) -> None:
    """Files that run over midnight stay in one part, and become two days."""
    folder = tmp_path / "files"
    folder.mkdir()
    texts = [gzip.decompress(write_day(folder, "AAA", day, seed=1)[0].read_bytes()) for day in range(2)]
    joined = tmp_path / "both_incremental_book_L2.csv"
    joined.write_bytes(texts[0] + texts[1].split(b"\n", 1)[1])
    (outcome,) = ingest([joined], adapter="tardis-csv", store=tmp_path / "store")
    assert [day.date for day in outcome.days] == ["2023-11-15", "2023-11-16"]
    source = find_adapter("tardis-csv").open([joined])
    assert events_of(Store(tmp_path / "store").source()).tobytes() == events_of(source).tobytes()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_corrected_clock_moves_no_row_into_the_next_day(tmp_path: Path, jobs: int) -> None:
    """The recorder's clock is 20 ms slow: without care the last row of a day would collide with the next day."""
    paths = [path for day in range(3) for path in write_day(tmp_path, "AAA", day, seed=1, lag_us=-20_000)]
    outcomes = ingest(paths, adapter="tardis-csv", store=tmp_path / "store", jobs=jobs)
    assert [len(outcome.days) for outcome in outcomes] == [1, 1, 1]
    store = Store(tmp_path / "store")
    raw = sum(events_of(find_adapter("tardis-csv").open(paths[k : k + 2])).size for k in (0, 2, 4))
    stored = events_of(store.source())
    assert len(stored) == raw
    for day in store.days("venue:AAA"):
        end = (day.number + 1) * US_PER_DAY
        last = stored[(stored["ts"] == end - 1)]
        assert len(last) and (last["flags"] & BAD_TS).all() and (last["exch_ts"] == end - 1).all()
        assert day.quality.counts.anomalies[KEPT] == len(last) == day.quality.counts.exch_ts_backsteps
    assert (np.diff(stored["ts"]) >= 0).all()


def test_a_clock_that_is_very_wrong_needs_the_files_together(tmp_path: Path) -> None:
    """Two seconds are not squeezed into the last microsecond: the rows go to the next day, which is then taken."""
    paths = [path for day in range(2) for path in write_day(tmp_path, "AAA", day, seed=1, lag_us=-2_000_000)]
    apart = ingest(paths, adapter="tardis-csv", store=tmp_path / "apart")
    assert [outcome.state for outcome in apart] == ["imported", "failed"]
    assert "is in the store already" in str(apart[1].error)
    (whole,) = ingest(paths, adapter="tardis-csv", store=tmp_path / "store", together=True)
    assert [day.date for day in whole.days] == ["2023-11-15", "2023-11-16", "2023-11-17"]
    source = find_adapter("tardis-csv").open(paths)
    assert events_of(Store(tmp_path / "store").source()).tobytes() == events_of(source).tobytes()


def test_parts_of_tardis_files(tmp_path: Path) -> None:
    alone = write_day(tmp_path, "AAA", 0, seed=1)
    other = write_day(tmp_path, "BBB", 0, seed=1)
    later = write_day(tmp_path, "AAA", 1, seed=1)
    parts = CSV.parts([*alone, *other, *later])
    assert [part.paths for part in parts] == [tuple(alone), tuple(other), tuple(later)]
    assert [part.end_us for part in parts] == [MIDNIGHT + US_PER_DAY, MIDNIGHT + US_PER_DAY, MIDNIGHT + 2 * US_PER_DAY]
    mixed = tmp_path / "venue_trades_PERPETUALS.csv"
    mixed.write_bytes(
        gzip.decompress(alone[1].read_bytes()) + gzip.decompress(other[1].read_bytes()).split(b"\n")[1] + b"\n"
    )
    grouped = CSV.parts([alone[0], mixed, *later, other[0]])
    assert [part.paths for part in grouped] == [(alone[0], mixed, other[0]), tuple(later)]
    assert grouped[0].end_us == MIDNIGHT + US_PER_DAY


def test_parts_of_archive_files() -> None:
    names = ["A-trades-2024-08-01.zip", "B-trades-2024-08-01.zip", "A-bookTicker-2024-08-01.zip",
             "A-trades-2024-08-02.zip", "B-fundingRate-2024-08.zip", "B-trades-2024-08-02.zip"]  # fmt: skip
    parts = ARCHIVE.parts([Path(name) for name in names])
    assert [[names.index(str(path)) for path in part.paths] for part in parts] == [[0, 2], [1, 4, 5], [3]]
    assert {part.end_us for part in parts} == {None}


def test_a_broken_file_does_not_stop_the_others(files: Path, tmp_path: Path) -> None:
    broken = sorted(files.glob("*L2*AAA*"))[0]
    broken.write_bytes(gzip.compress(gzip.decompress(broken.read_bytes())[:-20]))
    outcomes = ingest([files], adapter="tardis-csv", store=tmp_path / "store", jobs=2)
    assert [outcome.state for outcome in outcomes].count("failed") == 1
    (failed,) = [outcome for outcome in outcomes if outcome.error]
    assert (
        isinstance(failed.error, DataError)
        and failed.error.path == str(broken)
        and "truncated" in str(failed.error)
        and failed.error.line > 400
    )
    store = Store(tmp_path / "store")
    assert [len(store.days(name)) for name in store.names()] == [1, 2]
    assert not (store.path / ".writing").exists()


def test_sources(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    for name in ("a/2.csv", "a/1.csv", "a/.hidden", "a/1.zip.CHECKSUM", "a/deep/3.csv", "a/4.part"):
        (tmp_path / name).touch()
    names = [str(path.relative_to(tmp_path)) for path in expand([tmp_path / "a" / "2.csv", tmp_path / "a"])]
    assert names == ["a/2.csv", "a/1.csv", "a/deep/3.csv"]
    assert expand([str(tmp_path / "a" / "*.csv")]) == [tmp_path / "a" / "1.csv", tmp_path / "a" / "2.csv"]
    (tmp_path / "empty").mkdir()
    for wrong, what in (("no", "no such file"), ("*.csv", "matches no file"), ("empty", "no file in it")):
        with pytest.raises(ConfigError, match=what):
            expand([tmp_path / wrong])
    with pytest.raises(ConfigError, match="no file was named"):
        expand([])


def test_the_command(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "store")
    command = ["import", str(files), "--adapter", "tardis-csv", "--store", store, "--jobs", "1"]
    terms = ["--instrument", "venue:AAA,tick=0.5,lot=0.25,payoff=inverse,multiplier=100,settle=BTC"]
    assert main([*command, *terms, "--json", "--policy", "count"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and [part["state"] for part in json.loads(out)["parts"]] == ["imported"] * 4
    (instrument,) = {day.instrument for day in Store(store).days("venue:AAA")}
    assert (str(instrument.tick), str(instrument.multiplier), instrument.payoff) == ("0.5", "100", "inverse")
    assert main([*command, *terms, "--policy", "count"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.splitlines()[-1] == "0 rows; parts: 4 skipped"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--adapter", "tardis-cvs"], "did you mean 'tardis-csv'?"),
        (["--instrument", "AAA,tick=1"], "does not begin with venue:SYMBOL"),
        (["--instrument", "v:AAA,tick=1"], "has no lot"),
        (["--instrument", "v:AAA,tikc=1"], "did you mean 'tick'?"),
        (["--instrument", "v:AAA,tick=x,lot=1"], "must be decimal numbers"),
        (["--option", "polcy=count"], "did you mean 'policy'?"),
        (["--option", "policy"], "is not K=V"),
        (["--jobs", "-1"], "must be at least 1"),
    ],
)
def test_wrong_arguments(
    files: Path, tmp_path: Path, extra: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(iter(files.iterdir()))
    assert main(["import", str(path), "--adapter", "tardis-csv", "--store", str(tmp_path / "store"), *extra]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_a_wrong_time_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "venue_trades_AAA.csv"
    path.write_text(
        "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
        f"venue,AAA,{MIDNIGHT * 1000},{MIDNIGHT * 1000},1,buy,1,1\n"
    )
    assert main(["import", str(path), "--adapter", "tardis-csv", "--store", str(tmp_path / "store")]) == 2
    assert f"{path}:2: local_timestamp {MIDNIGHT * 1000} is in nanoseconds" in capsys.readouterr().err
