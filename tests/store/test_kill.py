"""kill -9 at any moment: only whole days are listed, and a second run ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from replay.errors import DataError
from replay.sources import ArraySource
from replay.store import Store
from replay.testing import synthetic_events
from replay.units import US_PER_DAY
from tests.store.conftest import BOTH, MIDNIGHT

REPO = Path(__file__).parents[2]
SEEDS = range(8)


def events() -> np.ndarray:
    """Three days of two instruments."""
    made = synthetic_events(BOTH, messages=2_000, gap_every=30, start_us=MIDNIGHT, mean_step_us=200_000_000)
    assert made["ts"][-1] - made["ts"][0] > 2 * US_PER_DAY
    return made


def child(path: str, existing: str) -> None:
    """Say that all is loaded, then write."""
    source = ArraySource(events(), BOTH)
    print("ready", flush=True)
    Store(path).record(source, existing=existing)  # type: ignore[arg-type]


def start(path: Path, existing: str) -> subprocess.Popen[bytes]:
    """A writing process that is about to begin."""
    code = "import sys; from tests.store.test_kill import child; child(*sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, os.fspath(path), existing], cwd=REPO, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        ready = process.stdout.readline()
    assert ready == b"ready\n", "the child failed before it wrote"
    return process


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, float]:
    """A store that was written in peace, and how many seconds that took."""
    path = tmp_path_factory.mktemp("undisturbed") / "store"
    with start(path, "error") as process:
        begin = time.perf_counter()
        assert process.wait(60) == 0
    return Store(path), time.perf_counter() - begin


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_a_random_moment(tmp_path: Path, undisturbed: tuple[Store, float], seed: int) -> None:
    whole, seconds = undisturbed
    path = tmp_path / "store"
    chance = random.Random(seed)
    existing = chance.choice(["skip", "replace"])
    if existing == "replace":  # over an older store, so that old and new files could mix
        old = events()
        old["qty"] += 1
        Store(path).record(ArraySource(old, BOTH))
    with start(path, existing) as process:
        time.sleep(0.9 * chance.random() * seconds)
        process.kill()
        print(f"seed {seed}: {existing}, ended with {process.wait(60)}")
    found = Store(path)
    if path.exists():
        for name in found.names():
            for day in found.days(name):
                assert list(day.files) and day.rows > 0
        found.check()
    Store(path).record(ArraySource(events(), BOTH), existing=existing)  # type: ignore[arg-type]
    again = Store(path)
    assert again.problems() == []
    again.check()
    assert again.digest() == whole.digest()
    again.gc()
    assert {p.relative_to(path) for p in path.rglob("*")} == {p.relative_to(whole.path) for p in whole.path.rglob("*")}


@pytest.mark.parametrize("moves", range(1, 12, 3))
def test_killed_between_two_renames(tmp_path: Path, undisturbed: tuple[Store, float], moves: int) -> None:
    """The process ends itself at the n-th rename, over an older store whose files have other events."""
    whole, _ = undisturbed
    path = tmp_path / "store"
    old = events()
    old["qty"] += 1
    Store(path).record(ArraySource(old, BOTH))
    code = (
        "import os, sys, itertools, pathlib\n"
        "from tests.store.test_kill import child\n"
        "count, move = itertools.count(), pathlib.Path.replace\n"
        f"pathlib.Path.replace = lambda *a: os.kill(os.getpid(), 9) if next(count) == {moves} else move(*a)\n"
        "child(sys.argv[1], 'replace')"
    )
    done = subprocess.run([sys.executable, "-c", code, os.fspath(path)], cwd=REPO, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    found = Store(path)
    listed = sum(len(found.days(name)) for name in found.names())
    problems = found.problems()
    assert listed + len(problems) == sum(len(whole.days(name)) for name in whole.names())
    assert len(problems) <= 1
    if problems:
        assert "is incomplete" in str(problems[0]) and "replay gc" in str(problems[0])
        with pytest.raises(DataError, match="is incomplete"):
            found.source()
    swept = found.gc()
    assert len(swept.incomplete) == len(problems) and swept.leftover_bytes > 0 and not swept.busy
    assert Store(path).problems() == []
    Store(path).record(ArraySource(events(), BOTH), existing="replace")
    assert Store(path).digest() == whole.digest()
