"""Folders of running writers: never shared, never lost, swept when their process is gone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from replay.errors import DataError
from replay.store.aside import Slot, sweep, writing_errors

REPO = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from replay.store.aside import Slot
slot = Slot(Path(sys.argv[1]))
(slot.path / "book.part").write_bytes(bytes(1000))
print(slot.path.name, flush=True)
sys.stdin.read()
"""


def test_slots_are_not_shared_and_vanish(tmp_path: Path) -> None:
    slots = [Slot(tmp_path) for _ in range(3)]
    assert len({slot.path for slot in slots}) == 3
    (slots[0].path / "book.part").write_bytes(bytes(10))
    assert sweep(tmp_path) == (0, True)
    assert (slots[0].path / "book.part").exists(), "its owner lives"
    for slot in slots:
        slot.release()
    assert list(tmp_path.iterdir()) == []
    assert sweep(tmp_path) == (0, False)


def test_what_a_killed_process_left(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, os.fspath(tmp_path)]
    with subprocess.Popen(command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "0\n"
        mine = Slot(tmp_path)
        assert mine.path.name == "1", "the first belongs to a living process"
        mine.release()
        holder.kill()
    left = tmp_path / ".writing" / "0" / "book.part"
    assert left.stat().st_size == 1000
    again = Slot(tmp_path)
    assert again.path == left.parent and not left.exists(), "taken over and emptied"
    again.release()
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(500))
    assert sweep(tmp_path) == (500, False) and list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_says_what_to_do(tmp_path: Path) -> None:
    for code, hint in ((errno.ENOSPC, "make room and run again"), (errno.EACCES, "check the folder's rights")):
        with pytest.raises(DataError, match=hint) as caught, writing_errors(tmp_path):
            raise OSError(code, os.strerror(code))
        assert caught.value.path == str(tmp_path) and isinstance(caught.value.__cause__, OSError)
