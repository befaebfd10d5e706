"""`replay export`: what goes out comes back, in every format, and mistakes are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from adapters.hftbacktest_npz import DEPTH, DEPTH_SNAPSHOT, LOCAL, PRINT, read_records
from adapters.tardis_csv import CSV
from replay.cli import main
from replay.commands.export import find_exporter
from replay.errors import ConfigError
from replay.events import BOOK, QUOTE, TRADE
from replay.sources import Source
from replay.store import Store
from tests.store.conftest import BOTH, MIDNIGHT

FIELDS = ("ts", "exch_ts", "price", "qty", "side")


def events_of(source: Source) -> np.ndarray:
    return np.concatenate([batch.copy() for batch in source.batches()])


def rows_of(events: np.ndarray, kinds: Sequence[int]) -> list[Any]:
    """The rows of some kinds that say something about a price, in order, without what formats differ in."""
    chosen = events[np.isin(events["kind"], kinds) & (events["side"] != 0)]
    return list(zip(*(chosen[name].tolist() for name in ("kind", *FIELDS))))


@pytest.mark.parametrize("instrument", BOTH, ids=str)
def test_csv_comes_back(written: Path, tmp_path: Path, instrument: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(written), str(tmp_path), "--to", "csv", "--instrument", instrument.name]) == 0
    events = events_of(Store(written).source([instrument.name]))
    back = events_of(CSV.open(sorted(tmp_path.iterdir()), instruments=[instrument], policy="count"))
    for kind in (BOOK, TRADE, QUOTE):
        assert rows_of(back, [kind]) == rows_of(events, [kind])
    out = capsys.readouterr().out
    assert f"{len(events):,} rows of {instrument.name} to {tmp_path}" in out and "× gap" in out


def test_hftbacktest_has_a_file_a_day(written: Path, tmp_path: Path) -> None:
    name = BOTH[0].name
    assert main(["export", str(written), str(tmp_path), "--to", "hftbacktest", "--instrument", name]) == 0
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["A_20231114.npz", "A_20231115.npz"]
    events = events_of(Store(written).source([name]))
    for path, day in zip(files, (events[events["ts"] < MIDNIGHT], events[events["ts"] >= MIDNIGHT])):
        records = np.concatenate(list(read_records(path)))
        kinds = records["ev"] & 0xFF
        for wanted, kind in (([DEPTH, DEPTH_SNAPSHOT], BOOK), ([PRINT], TRADE)):
            chosen = records[np.isin(kinds, wanted) & (records["ev"] & LOCAL > 0)]
            there = [(ns // 1000, price, size) for ns, price, size in chosen[["local_ts", "px", "qty"]].tolist()]
            assert there == [
                (ts, float(price * BOTH[0].tick), float(qty * BOTH[0].lot))
                for _, ts, _, price, qty, _ in rows_of(day, [kind])
            ]


def test_nautilus_has_all_instruments(written: Path, tmp_path: Path) -> None:
    assert main(["export", str(written), str(tmp_path), "--to", "nautilus"]) == 0
    events = events_of(Store(written).source())
    for index, instrument in enumerate(BOTH):
        (path,) = (tmp_path / "data" / "trade_tick" / f"{instrument.symbol.replace('/', '')}.TEST").iterdir()
        trades = events[(events["instrument"] == index) & (events["kind"] == TRADE)]
        assert pq.read_table(path)["ts_init"].to_pylist() == (trades["ts"] * 1000).tolist()


def test_a_range(written: Path, tmp_path: Path) -> None:
    command = ["export", str(written), str(tmp_path), "--to", "nautilus", "--instrument", BOTH[0].name]
    assert main([*command, "--start", "2023-11-15T00:00:00Z"]) == 0
    (path,) = (tmp_path / "data" / "trade_tick").rglob("*.parquet")
    assert path.name.startswith("2023-11-15T00-")
    assert min(pq.read_table(path)["ts_init"].to_pylist()) >= MIDNIGHT * 1000


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--to", "nautilis"], "did you mean 'nautilus'?"),
        (["--to", "csv", "--start", "yesterday"], "is not a date and time"),
        (["--to", "csv", "--instrument", "test:C"], "is not in the store"),
    ],
)
def test_mistakes_are_named(
    written: Path, tmp_path: Path, more: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(written), str(tmp_path / "out"), *more]) == 2
    assert problem in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_formats_are_found_by_name() -> None:
    with pytest.raises(ConfigError, match="no format that is known"):
        find_exporter("excel")
