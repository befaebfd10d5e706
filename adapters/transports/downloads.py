"""What the downloads of all servers share: failures that may pass, work side by side, and files that are whole."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import shutil
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class TryAgain(Exception):
    """An attempt failed in a way that may pass; the next may start after `pause_s` (None: as the caller backs off)."""

    def __init__(self, problem: str, pause_s: float | None = None) -> None:
        super().__init__(problem)
        self.pause_s = pause_s


def pause(error: Exception) -> bool | float:
    """For stamina: whether to try again, or after how many seconds."""
    if not isinstance(error, TryAgain):
        return False
    return True if error.pause_s is None else error.pause_s


async def together(work: Sequence[Awaitable[T]]) -> list[T]:
    """All results in order; the first error stops the others."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_whole(path: Path) -> bool:
    """Whether a file is there and is what its `.sha256` says."""
    said = path.with_name(path.name + ".sha256")
    return path.exists() and said.exists() and said.read_text().split()[:1] == [sha256_of(path)]


def pack(part: Path, path: Path) -> None:
    """Compress `part` (the same bytes give the same file), note the SHA-256 of that, and give it the name `path`."""
    packed = path.with_name(path.name + ".packed")
    with part.open("rb") as rows, packed.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, 0) as out:
        shutil.copyfileobj(rows, out)
    path.with_name(path.name + ".sha256").write_text(f"{sha256_of(packed)}  {path.name}\n")
    packed.replace(path)
    part.unlink()
