"""A disk that is full: the message says what to do, nothing half-written is listed, the same call completes later."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from replay.errors import DataError
from replay.store import Store
from replay.store.aside import writing_errors
from replay.store.ingest import ingest
from tests.store.tardis_files import write_day

pytest.importorskip("resource", reason="limits of file size are of POSIX")
REPO = Path(__file__).parents[2]
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
from replay.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two days of a symbol, the first much smaller than the second."""
    folder = tmp_path_factory.mktemp("files")
    write_day(folder, "AAA", 0, seed=1, messages=20)
    write_day(folder, "AAA", 1, seed=1, messages=20_000)
    return folder


@pytest.fixture(scope="module")
def whole(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What an import with enough room makes; it has compiled everything that the others need, too."""
    path = tmp_path_factory.mktemp("whole") / "store"
    ingest([files], adapter="tardis-csv", store=path)
    return Store(path)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_fits_is_kept_and_a_rerun_completes(files: Path, whole: Store, tmp_path: Path, jobs: str) -> None:
    sizes = [day.bytes for day in whole.days("venue:AAA")]
    assert sizes[1] > 3 * sizes[0], "a limit between the days"
    store = tmp_path / "store"
    command = ["import", os.fspath(files), "--adapter", "tardis-csv", "--store", os.fspath(store), "--jobs", jobs]
    found = subprocess.run(
        [sys.executable, "-c", CHILD, str(sizes[0] + 10_000), *command],
        cwd=REPO, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert found.returncode == 2, found.stderr
    assert "File too large" in found.stderr and "make room and run again: finished days are kept" in found.stderr
    assert found.stderr.strip().count("\n") == 0, "one line, no traceback"
    assert "1 imported, 1 failed" in found.stdout
    kept = Store(store)
    assert kept.problems() == [] and [day.digest for day in kept.days("venue:AAA")] == [
        whole.days("venue:AAA")[0].digest
    ]
    assert not (store / ".writing").exists()
    outcomes = ingest([files], adapter="tardis-csv", store=store)
    assert [outcome.state for outcome in outcomes] == ["skipped", "imported"]
    assert Store(store).digest() == whole.digest()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_no_space_left_is_told_as_well(tmp_path: Path) -> None:
    """ENOSPC, from a device that is always full, as `writing_errors` tells it."""
    with (
        pytest.raises(DataError, match=r"No space left.*make room and run again"),
        writing_errors(tmp_path),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")
