"""Writing aside: a folder of one's own under `.writing/`, held by a lock that the system drops when the process dies.

A slot that nobody holds is a leftover of a killed process: the next writer takes it over and empties it, and
`sweep` deletes it.  Files leave a slot by `os.replace` only, when they are complete.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from os import fspath
from pathlib import Path

from replay.errors import DataError
from replay.store.layout import WRITING

LOCK = "lock"


class Slot:
    """An empty folder `path` that belongs to this process until `release`, or the end of a `with` block."""

    def __init__(self, store: Path) -> None:
        numbers = count()
        lock = None
        while lock is None:
            self.path = store / WRITING / str(next(numbers))
            self.path.mkdir(parents=True, exist_ok=True)
            lock = _locked(self.path)
        self._lock = lock
        _empty(self.path)

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Delete the folder and what is left in it."""
        shutil.rmtree(self.path)
        os.close(self._lock)
        _remove_if_empty(self.path.parent)


def sweep(store: Path) -> tuple[int, bool]:
    """Delete the slots of dead processes.  Returns (bytes freed, whether a living process is writing)."""
    freed, busy = 0, False
    parent = store / WRITING
    for path in sorted(parent.iterdir()) if parent.is_dir() else []:
        lock = _locked(path)
        if lock is None:
            busy = True
            continue
        freed += sum(file.stat().st_size for file in path.iterdir())
        shutil.rmtree(path)
        os.close(lock)
    _remove_if_empty(parent)
    return freed, busy


@contextmanager
def writing_errors(path: Path) -> Iterator[None]:
    """What the system refuses while a file of the store is written, as a DataError with what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise DataError(
            f"cannot be written: {os.strerror(error.errno) if error.errno else error}", fspath(path),
            hint="make room and run again: finished days are kept" if full else "check the folder's rights",
        ) from error  # fmt: skip


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock, None when another process holds it or the folder has gone."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), (folder / LOCK).stat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass  # held by another process, or swept between the two calls
    os.close(lock)
    return None


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != LOCK:
            path.unlink()


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
