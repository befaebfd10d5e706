"""Recordings of the cryptofeed library: several files of one connection, merged by their times.

Lines: `url <-> t` connect, `url <- t: text` sent, `url -> t: body` HTTP answer, `t: text` received,
`configuration: {…}`, blank.  `t` is local time in decimal seconds, turned into ns digit by digit.  What is left is
handed on in the form of the other recordings, `<ns> <json>`; what an HTTP answer becomes is the venue's business.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from adapters.transports.file import Chunk, join_lines, read_lines
from replay.errors import DataError

RECEIVED = re.compile(rb"(\d+(?:\.\d+)?): ")
ANSWER = re.compile(rb"((?:https?|wss?)://\S+) (<->|<-|->) (\d+(?:\.\d+)?)(?:: ?|$)")
CONFIGURATION = b"configuration:"


class Venue(Protocol):
    """What a venue knows about URLs."""

    def check_url(self, url: str) -> None:
        """DataError (path and line are added) for the URL of another venue."""

    def answer(self, url: str, body: bytes) -> bytes | None:
        """The answer to an HTTP request as a message, None when it carries nothing."""


def is_cryptofeed(line: bytes) -> bool:
    """Whether a recording that starts with `line` is of this kind."""
    return line.startswith(CONFIGURATION) or bool(ANSWER.match(line) or RECEIVED.match(line))


def nanoseconds(seconds: bytes) -> int:
    """`1633998512.0633569` as 1633998512063356900: exact, digits beyond ns are cut."""
    whole, _, fraction = seconds.partition(b".")
    return int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))


def canonical(line: bytes, venue: Venue) -> tuple[int, bytes] | None:
    """(ns, `<ns> <json>`) of a line, None when it carries no market data; DataError when it is not of this kind."""
    received = RECEIVED.match(line)
    if received:
        ns = nanoseconds(received[1])
        return ns, b"%d %s" % (ns, line[received.end() :])
    if not line.strip() or line.startswith(CONFIGURATION):
        return None
    answer = ANSWER.match(line)
    if not answer:
        raise DataError("neither a received message nor an HTTP answer of a cryptofeed recording")
    url = answer[1].decode("ascii", "replace")
    venue.check_url(url)
    if answer[2] != b"->":
        return None
    message = venue.answer(url, line[answer.end() :])
    ns = nanoseconds(answer[3])
    return None if message is None else (ns, b"%d %s" % (ns, message))


def _messages(path: Path, rank: int, venue: Venue) -> Iterator[tuple[int, int, int, bytes, str]]:
    for number, line in read_lines(path):
        try:
            found = canonical(line, venue)
        except DataError as error:
            raise DataError(error.problem, str(path), number, error.hint) from None
        if found:
            yield found[0], rank, number, found[1], str(path)


def merged_lines(paths: Sequence[Path], venue: Venue) -> Iterator[tuple[bytes, str, int]]:
    """(line, path, line number) of all files by time; ties by order of the files, then line."""
    streams = [_messages(path, rank, venue) for rank, path in enumerate(paths)]
    for _, _, number, line, path in heapq.merge(*streams):
        yield line, path, number


def merged_chunks(paths: Sequence[Path], venue: Venue) -> Iterator[Chunk]:
    """The same as chunks."""
    return join_lines(merged_lines(paths, venue))
