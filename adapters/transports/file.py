"""Recordings on disk: plain or gzip files as chunks of whole lines, with bounded memory and exact line numbers.

Whether a file is gzip is decided by its first bytes, not by its name.  What cannot be read is a DataError that names
the file and, where there is one, the line.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from isal import igzip, isal_zlib

from replay.errors import DataError
from replay.kernel.lexer import NEWLINE
from replay.kernel.words import count_byte
from replay.sources import count_read

BLOCK_BYTES = 524_288
MAX_LINE_BYTES = 67_108_864
GZIP_MAGIC = b"\x1f\x8b"
BROKEN = cast(tuple[type[Exception], ...], (isal_zlib.error, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, OSError))
Opener = Callable[[Path], IO[bytes]]
open_gzip = cast(Callable[[Path | IO[bytes], str], IO[bytes]], igzip.open)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines, each closed by a newline.

    Line i (0-based) of `data` is line `first_line + i` of `path`, or `origins[i]` where lines of several files were
    merged.  `cut` says that the final newline was missing in the file.
    """

    data: bytes
    path: str = ""
    first_line: int = 1
    origins: tuple[tuple[str, int], ...] = ()
    cut: bool = False

    def where(self, line: int) -> tuple[str, int]:
        """(path, 1-based line) of line `line` of the chunk."""
        return self.origins[line] if self.origins else (self.path, self.first_line + line)


class _Metered(io.FileIO):
    """A file that tells how much of it was read (see `replay.sources.metered`)."""

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        count_read(count)
        return count


def _missing(path: Path) -> DataError:
    hint = "a shell replaces ~ only where it begins a word and is not quoted" if path.parts[:1] == ("~",) else ""
    return DataError("no such file", str(path), hint=hint)


def open_recording(path: Path) -> IO[bytes]:
    """A readable stream of the decompressed bytes; DataError when the file cannot be opened."""
    if path.is_dir():
        raise DataError("this is a directory, not a recording", str(path), hint="name the files in it")
    try:
        raw: IO[bytes] = io.BufferedReader(_Metered(path), BLOCK_BYTES)
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror})", str(path)) from error
    try:
        return _decompressed(raw, path)
    except BaseException:
        raw.close()
        raise


def _decompressed(raw: IO[bytes], path: Path) -> IO[bytes]:
    magic = raw.read(2)
    raw.seek(0)
    if magic == GZIP_MAGIC:
        stream = open_gzip(raw, "rb")
        stream.myfileobj = raw  # type: ignore[attr-defined]  # what it closes with itself
        return stream
    if path.suffix == ".gz":
        what = "it is empty" if not magic else "it does not start as gzip does"
        raise DataError(f"the name says gzip but {what}", str(path), hint="rename it or download it again")
    return raw


def open_member(path: Path) -> IO[bytes]:
    """A readable stream of the only file in a zip archive; DataError when it is not such an archive."""
    try:
        archive = zipfile.ZipFile(path)
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise DataError(f"the archive holds {len(members)} files instead of one", str(path))
        return archive.open(members[0])
    except FileNotFoundError:
        raise _missing(path) from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise DataError(f"the zip archive is broken ({error})", str(path), hint="download it again") from error


def read_chunks(path: Path, block: int = BLOCK_BYTES, opened: Opener = open_recording) -> Iterator[Chunk]:
    """The lines of a file, about `block` bytes at a time; memory is bounded by the block and the longest line."""
    line, tail = 1, b""
    what = "zip" if opened is open_member else "gzip"
    with opened(path) as stream:
        while True:
            try:
                data = stream.read(block)
            except EOFError:
                hint = "download it again; what `replay record` wrote is read by the adapter 'recording'"
                raise DataError(f"the {what} data is truncated", str(path), line, hint) from None
            except BROKEN as error:
                raise DataError(f"the {what} data is broken ({error})", str(path), line, "download it again") from error
            if not data:
                break
            end = data.rfind(b"\n") + 1
            if not end:
                tail += data
                if len(tail) > MAX_LINE_BYTES:
                    raise DataError("a line is longer than 64 MiB; this is not a recording", str(path), line)
                continue
            whole = b"".join((tail, memoryview(data)[:end]))
            tail = data[end:]
            yield Chunk(whole, str(path), line)
            line += count_byte(np.frombuffer(whole, np.uint8), NEWLINE)  # `bytes.count` takes half as long as inflating
    if tail:
        yield Chunk(tail + b"\n", str(path), line, cut=True)


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(1-based line number, line without its newline) of a file."""
    for chunk in read_chunks(path):
        for i, line in enumerate(chunk.data[:-1].split(b"\n")):
            yield chunk.first_line + i, line


def first_line(path: Path) -> bytes:
    """The first line that is not blank; DataError when there is none."""
    for _, line in read_lines(path):
        if line.strip():
            return line
    raise DataError("the file is empty", str(path))


def join_lines(lines: Iterable[tuple[bytes, str, int]], block: int = BLOCK_BYTES) -> Iterator[Chunk]:
    """Chunks from (line without newline, path, line number)."""
    parts: list[bytes] = []
    origins: list[tuple[str, int]] = []
    size = 0
    for line, path, number in lines:
        parts.append(line)
        origins.append((path, number))
        size += len(line) + 1
        if size >= block:
            yield Chunk(b"\n".join(parts) + b"\n", origins=tuple(origins))
            parts, origins, size = [], [], 0
    if parts:
        yield Chunk(b"\n".join(parts) + b"\n", origins=tuple(origins))
