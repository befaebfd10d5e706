"""kill -9 at any moment of an import: no half file is listed, and the same call again ends as if undisturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from replay.store import Store
from replay.store.ingest import ingest
from tests.store.tardis_files import write_day

REPO = Path(__file__).parents[2]
SEEDS = range(8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with three days of two symbols."""
    folder = tmp_path_factory.mktemp("files")
    for symbol in ("AAA", "BBB"):
        for day in range(3):
            write_day(folder, symbol, day, seed=1, messages=2_000)
    return folder


def child(folder: str, store: str, jobs: str) -> None:
    """Say that all is loaded, then import."""
    print("ready", flush=True)
    ingest([folder], adapter="tardis-csv", store=store, jobs=int(jobs))


def start(folder: Path, store: Path, jobs: int) -> subprocess.Popen[bytes]:
    """An importing process, at the head of a group of its own, that is about to begin."""
    code = "import sys; from tests.store.test_ingest_kill import child; child(*sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, os.fspath(folder), os.fspath(store), str(jobs)],
        cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    ready = process.stdout.readline()
    assert ready == b"ready\n", process.stderr.read()
    return process


@pytest.fixture(scope="module")
def undisturbed(files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A store that was imported in peace, and how many seconds that took."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    with start(files, store, 1) as process:
        begin = time.perf_counter()
        assert process.wait(60) == 0
        seconds = time.perf_counter() - begin
    return store, seconds


def tree(store: Path) -> dict[Path, bytes]:
    """Every file of a store."""
    return {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait, but not for ever."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def has_members(group: int) -> bool:
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_a_random_moment(files: Path, tmp_path: Path, undisturbed: tuple[Path, float], seed: int) -> None:
    whole, seconds = undisturbed
    chance = random.Random(seed)
    store, jobs = tmp_path / "store", 1 if seed % 4 else 2
    with start(files, store, jobs) as process:
        time.sleep(chance.random() * seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        print(f"seed {seed}: {jobs} jobs, ended with {process.wait(60)}")
    if store.exists():
        found = Store(store)
        print(f"listed: { {name: [day.date for day in found.days(name)] for name in found.names()} }")
        assert all("incomplete" in str(problem) for problem in found.problems())
        found.check()
    outcomes = ingest([files], adapter="tardis-csv", store=store)
    assert {outcome.state for outcome in outcomes} <= {"imported", "skipped"}
    assert Store(store).digest() == Store(whole).digest() and Store(store).problems() == []
    Store(store).gc()
    assert tree(store) == tree(whole)


def test_workers_end_with_the_process_that_wanted_them(
    files: Path, tmp_path: Path, undisturbed: tuple[Path, float]
) -> None:
    """Only the parent is killed: its workers notice and leave nothing half done."""
    whole, _ = undisturbed
    store = tmp_path / "store"
    with start(files, store, 2) as process:
        wait_until(lambda: (store / ".writing").exists() or process.poll() is not None)
        process.kill()
        process.wait(60)
        wait_until(lambda: not has_members(process.pid))
    assert not Store(store).gc().busy
    ingest([files], adapter="tardis-csv", store=store)
    assert tree(store) == tree(whole)


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_leaves_nothing_half_done(
    files: Path, tmp_path: Path, undisturbed: tuple[Path, float], jobs: int
) -> None:
    whole, _ = undisturbed
    store = tmp_path / "store"
    with start(files, store, jobs) as process:
        wait_until(lambda: store.exists() or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGINT), said
    assert not (store / ".writing").exists(), "the interrupted writers cleaned up"
    ingest([files], adapter="tardis-csv", store=store)
    assert tree(store) == tree(whole)
