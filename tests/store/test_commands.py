"""`replay ls`, `replay inspect` and `replay gc`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from replay.cli import main
from replay.events import GAP
from replay.store import Store
from replay.store.layout import file_path
from tests.store.conftest import BOTH, MIDNIGHT

DAY = MIDNIGHT // (86_400 * 10**6)


def test_ls(written: Path, market: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", str(written)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 3 and err == ""
    rows = int((market["instrument"] == 0).sum())
    assert (
        lines[0].startswith("test:A") and "2 days  2023-11-14 … 2023-11-15" in lines[0] and f"{rows:,} rows" in lines[0]
    )
    assert lines[2] == f"digest {Store(written).digest()}"
    assert main(["ls", str(written), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert sum(day["rows"] for days in facts["instruments"].values() for day in days) == len(market)
    assert facts["problems"] == []


def test_inspect_a_store(written: Path, market: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(written), "--json", "--check", "--instrument", BOTH[1].name]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert list(facts["instruments"]) == [BOTH[1].name]
    days = facts["instruments"][BOTH[1].name]
    mine = market[market["instrument"] == 1]
    assert sum(day["gaps"] for day in days) == int((mine["kind"] == GAP).sum())
    assert 0 < days[1]["blind_us"] < days[1]["last_us"] - days[1]["first_us"]
    assert days[1]["first_us"] == int(mine["ts"][mine["ts"] >= MIDNIGHT][0])
    span = (days[1]["last_us"] - days[1]["first_us"]) / 1e6
    assert days[1]["channels"]["book"]["rows_per_s"] == pytest.approx(days[1]["channels"]["book"]["rows"] / span)
    assert main(["inspect", str(written)]) == 0
    out = capsys.readouterr().out
    assert out.count("2023-11-15  00:0") == 2 and "gap at 2023-11-1" in out and "blind" in out
    assert main(["inspect", str(written), "--instrument", "test:B"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_inspect_a_file(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written / file_path(BOTH[0].name, "trades", DAY)
    assert main(["inspect", str(path), "--check"]) == 0
    out = capsys.readouterr().out
    assert "test:A trades 2023-11-15" in out and "tick 0.05" in out and "digest" in out
    assert main(["inspect", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["channel"], facts["bytes"]) == ("trades", path.stat().st_size)


def test_damage_ends_with_2(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    path = store.path / file_path(BOTH[0].name, "book", DAY)
    os.truncate(path, 100)
    assert main(["ls", str(store.path)]) == 2
    out, err = capsys.readouterr()
    assert "1 days" in out and str(path) in err and err.count("\n") == 1
    assert main(["inspect", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    assert main(["inspect", str(store.path)]) == 2


def test_gc(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (store.path / file_path(BOTH[0].name, "book", DAY)).unlink()
    list(store.source([BOTH[1].name], hot=True).batches())
    leftover = store.path / ".writing" / "0"
    leftover.mkdir(parents=True)
    (leftover / "book.part").write_bytes(bytes(2_000_000))
    assert main(["gc", str(store.path), "--hot"]) == 0
    out = capsys.readouterr().out
    assert "2.0 MB of leftovers, 1 incomplete days deleted" in out and "test:A 2023-11-15" in out and "copies" in out
    assert not leftover.exists()
    assert main(["gc", str(store.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"leftover_bytes": 0, "incomplete": [], "hot_bytes": 0, "busy": False}


def test_where_there_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("ls", "inspect", "gc"):
        assert main([command, str(tmp_path / "nowhere")]) == 2
        assert "does not exist; check the path" in capsys.readouterr().err
    assert main(["ls", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "the store is empty\n"
