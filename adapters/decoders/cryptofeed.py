"""Recordings of the cryptofeed library: several files of one connection, merged by their times.

Lines: `url <-> t` connect, `url <- t: text` sent, `url -> t: body` HTTP answer, `t: text` received,
`configuration: {…}`, blank.  `t` is local time in decimal seconds, turned into ns digit by digit.  What is left is
handed on in the form of the other recordings, `<ns> <json>`; a depth answer is wrapped in a frame that carries the
symbol of its URL.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from adapters.transports.file import Chunk, join_lines, read_lines
from replay.errors import DataError

RECEIVED = re.compile(rb"(\d+(?:\.\d+)?): ")
ANSWER = re.compile(rb"((?:https?|wss?)://\S+) (<->|<-|->) (\d+(?:\.\d+)?)(?:: ?|$)")
CONFIGURATION = b"configuration:"

CheckUrl = Callable[[str], None]
"""Raises DataError for the URL of another venue (path and line are added)."""


def is_cryptofeed(line: bytes) -> bool:
    """Whether a recording that starts with `line` is of this kind."""
    return line.startswith(CONFIGURATION) or bool(ANSWER.match(line) or RECEIVED.match(line))


def nanoseconds(seconds: bytes) -> int:
    """`1633998512.0633569` as 1633998512063356900: exact, digits beyond ns are cut."""
    whole, _, fraction = seconds.partition(b".")
    return int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))


def canonical(line: bytes, check_url: CheckUrl) -> tuple[int, bytes] | None:
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
    check_url(url)
    parts = urlsplit(url)
    if answer[2] != b"->" or not parts.path.endswith("/depth"):
        return None
    symbol = parse_qs(parts.query).get("symbol", [""])[0]
    if not symbol:
        raise DataError("the URL of a depth answer names no symbol")
    ns = nanoseconds(answer[3])
    frame = b'%d {"stream":"%s@depthSnapshot","data":%s}' % (ns, symbol.lower().encode(), line[answer.end() :])
    return ns, frame


def _messages(path: Path, rank: int, check_url: CheckUrl) -> Iterator[tuple[int, int, int, bytes, str]]:
    for number, line in read_lines(path):
        try:
            found = canonical(line, check_url)
        except DataError as error:
            raise DataError(error.problem, str(path), number, error.hint) from None
        if found:
            yield found[0], rank, number, found[1], str(path)


def merged_lines(paths: Sequence[Path], check_url: CheckUrl) -> Iterator[tuple[bytes, str, int]]:
    """(line, path, line number) of all files by time; ties by order of the files, then line."""
    streams = [_messages(path, rank, check_url) for rank, path in enumerate(paths)]
    for _, _, number, line, path in heapq.merge(*streams):
        yield line, path, number


def merged_chunks(paths: Sequence[Path], check_url: CheckUrl) -> Iterator[Chunk]:
    """The same as chunks."""
    return join_lines(merged_lines(paths, check_url))
