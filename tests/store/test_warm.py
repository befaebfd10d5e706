"""A replay of a store from some time on: as from the very beginning, but only what is needed is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from replay.cli import main
from replay.engine import Replay
from replay.events import BOOK, CLEAR
from replay.store import Store
from replay.store import draft as draft_module
from replay.units import INT64_MIN
from tests.store.conftest import BOTH
from tests.store.test_source import Listener

NAMES = [instrument.name for instrument in BOTH]


@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.8, 0.999])
@pytest.mark.parametrize("hot", [False, True])
def test_the_result_is_that_of_reading_everything(written: Path, market: np.ndarray, part: float, hot: bool) -> None:
    start = int(market["ts"][int(part * len(market))])
    store = Store(written)
    whole = Replay([store.source(NAMES)], start=start, borrow=True).run(Listener())
    warm = Replay([store.source(NAMES, start, hot=hot, warm=True)], start=start, borrow=True).run(Listener())
    assert warm.digest == whole.digest
    assert part < 0.3 or warm.rows < whole.rows
    assert Replay(written, instruments=NAMES, start=start, borrow=True).run(Listener()).rows == warm.rows
    assert Replay.from_store(written, instruments=NAMES, start=start, borrow=True).run(Listener()).rows == warm.rows


@pytest.mark.parametrize("group", [1, 7, 131_072])
def test_books_begin_with_their_last_snapshot(
    tmp_path: Path, source: object, market: np.ndarray, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the rows are cut into row groups."""
    monkeypatch.setattr(draft_module, "ROW_GROUP_ROWS", group)
    some = market[: 400 if group == 1 else len(market)]
    some = some[: int(np.flatnonzero(some["flags"] & 1)[-1]) + 1]
    from replay.sources import ArraySource

    store = Store(tmp_path / "store")
    store.record(ArraySource(some, BOTH))
    for row in range(1, len(some), max(1, len(some) // 25)):
        start = int(some["ts"][row])
        starts = store.source(NAMES, start, warm=True).starts
        for index, name in enumerate(NAMES):
            before = some[(some["instrument"] == index) & (some["ts"] < start) & (some["kind"] == BOOK)]
            snapshots = before["ts"][(before["flags"] & CLEAR) != 0]
            assert starts[name, "book"] == (int(snapshots[-1]) if len(snapshots) else INT64_MIN)


def test_run_of_a_store(written: Path, market: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    start = int(market["ts"][len(market) // 2])
    command = ["run", str(written), "--strategy", "strategies.vwap_momentum:VwapMomentum", "--json"]
    assert main([*command, "--instrument", NAMES[0], "--start", str(start)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [i for i in facts["quality"]["instruments"]] == NAMES[:1]
    for extra, message in (
        (["--instrument", "test:B"], "did you mean"),
        (["--adapter", "tardis-csv"], "a store or stream needs none"),
        (["--data", "x"], "name a run.toml, a store, recordings"),
    ):
        assert main([*command, *extra]) == 2
        assert message in capsys.readouterr().err
    assert main(["run", "--strategy", "strategies.vwap_momentum:VwapMomentum"]) == 2
    assert "name a run.toml, a store, recordings" in capsys.readouterr().err
