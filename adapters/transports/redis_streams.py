"""Events through a Redis stream: addresses, entries, and a connection that outlives restarts of the server.

The stream NAME holds one session of a publisher after the other.  Entry ids are the publisher's own: `SESSION-n`, n
counting from 1, so sending an entry twice cannot double it and a missing n is a loss.  An entry is one field whose name
says what it is, beside `r`, the number of rows of the session before it:

    b    events, a block of `replay.cache.block` whose numbers are the instruments
    k    a keyframe: snapshots of all valid books, for those who join here; no part of the events
    end  JSON: the stream is complete (`quality`), or its publisher has `failed`

The key NAME:about is JSON: format, session, name, instruments, horizon.  The hash NAME:consumers holds the id that each
named consumer has finished.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np

from replay.cache.block import Block, decoded, encoded
from replay.errors import ConfigError, DataError, TransportError
from replay.instruments import Instrument

if TYPE_CHECKING:
    from redis import Redis

FORMAT = 1
SCHEMES = ("redis", "rediss", "unix")
OURS = ("stream", "start", "consumer", "idle")
BLOCK_MS = 500
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 1.0
EVENTS, KEYFRAME, END = b"b", b"k", b"end"
T = TypeVar("T")
EntryId = tuple[int, int]
"""(session, n)"""


@dataclass(frozen=True, slots=True)
class Address:
    """`redis://host:6379/0?stream=NAME`; `options` are start, consumer and idle, for who reads."""

    url: str
    stream: str
    options: Mapping[str, str]

    @classmethod
    def of(cls, text: str) -> Address:
        """Taken apart; ConfigError for what is none.  What is not ours in the query is for the Redis client."""
        parts = urlsplit(text)
        if parts.scheme not in SCHEMES:
            raise ConfigError("address", text.rpartition("@")[2], "is not a Redis", "redis://host:6379/0?stream=NAME")
        query = dict(parse_qsl(parts.query))
        ours = {name: query.pop(name) for name in OURS if name in query}
        stream = ours.pop("stream", "")
        if not stream:
            raise ConfigError("address", text.rpartition("@")[2], "names no stream", "redis://host:6379/0?stream=NAME")
        return cls(parts._replace(query=urlencode(query)).geturl(), stream, ours)

    @property
    def about(self) -> str:
        """Key of the description."""
        return f"{self.stream}:about"

    @property
    def consumers(self) -> str:
        """Key of the consumers' positions."""
        return f"{self.stream}:consumers"

    def __str__(self) -> str:
        return f"{self.url.rpartition('@')[2].partition('?')[0]} stream {self.stream}"


class Link:
    """A client of one Redis that waits out its absence.

    A server that is away, loading, full, unable to write, silent for `timeout_s` or that talks nonsense is tried again
    with growing pauses for `patience_s`; then it is a TransportError.  `clock` and `sleep` are in seconds.
    """

    def __init__(
        self, address: Address, patience_s: float = 60.0, *, timeout_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        if patience_s < 0:
            raise ConfigError("patience_s", patience_s, "must not be negative")
        if timeout_s * 1000 < 2 * BLOCK_MS:
            raise ConfigError("timeout_s", timeout_s, f"must be at least {BLOCK_MS / 500:g}", "a read may wait")
        self.address, self.patience_s, self.timeout_s = address, patience_s, timeout_s
        self.clock, self.sleep = clock, sleep
        self.outages = 0
        self._client: Redis | None = None

    def ask(self, work: Callable[[Redis], T]) -> T:
        """What `work` gives, once the server can do it; `work` may be begun several times."""
        from redis import ConnectionError, ResponseError, TimeoutError
        from redis.exceptions import AuthenticationError, InvalidResponse, OutOfMemoryError

        begun, pause_s = self.clock(), SHORTEST_PAUSE_S
        while True:
            try:
                return work(self._connected())
            except AuthenticationError as error:
                raise TransportError(f"refuses the password ({error})", str(self.address)) from error
            except (ConnectionError, TimeoutError, InvalidResponse, OutOfMemoryError) as error:
                failure: Exception = error
            except ResponseError as error:
                if not str(error).startswith("MISCONF"):  # cannot write to its disk, for now
                    raise TransportError(f"says: {error}", str(self.address)) from error
                failure = error
            self.outages += pause_s == SHORTEST_PAUSE_S
            self.close()  # what was half said must not be taken for the next answer
            if self.clock() - begun >= self.patience_s:
                what, hint = "does not answer", "is it running?"
                if isinstance(failure, OutOfMemoryError):
                    what, hint = "is full", "raise its maxmemory or keep fewer entries"
                raise TransportError(f"{what} ({failure})", str(self.address), hint) from failure
            self.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    def _connected(self) -> Redis:
        if self._client is None:
            from redis import Redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry

            limits: dict[str, Any] = {"socket_timeout": self.timeout_s, "socket_connect_timeout": self.timeout_s}
            self._client = Redis.from_url(self.address.url, retry=Retry(NoBackoff(), 0), **limits)
        return self._client

    def close(self) -> None:
        """Give up the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None


@dataclass(frozen=True, slots=True)
class About:
    """What a consumer must know before the first entry."""

    session: int
    name: str
    instruments: tuple[Instrument, ...]
    horizon_us: int

    def text(self) -> str:
        """JSON."""
        terms = [instrument.as_dict() for instrument in self.instruments]
        return json.dumps({"format": FORMAT, "session": self.session, "name": self.name, "instruments": terms,
                           "horizon_us": self.horizon_us})  # fmt: skip

    @classmethod
    def of(cls, text: bytes, address: Address) -> About:
        """The reverse of `text`; DataError for another version or what is none."""
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                raise DataError("the stream is of another version", str(address), hint="update tickreplay on one side")
            terms = values.pop("instruments")
            return cls(instruments=tuple(Instrument.from_dict(each) for each in terms), **values)
        except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError) as error:
            raise DataError(f"its description is damaged ({error!r})", str(address)) from None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `events` is None when the bytes are damaged, `end` is set on the final one."""

    id: EntryId
    rows_before: int
    kind: bytes
    events: np.ndarray | None = None
    end: Mapping[str, Any] | None = None


def fields_of(kind: bytes, rows_before: int, body: np.ndarray | Mapping[str, Any]) -> dict[bytes, Any]:
    """The fields of an entry with EVENT rows, or with the JSON of an end."""
    if isinstance(body, np.ndarray):
        return {b"r": rows_before, kind: encoded(Block(body, body["instrument"].astype(np.int64)))}
    return {b"r": rows_before, kind: json.dumps(body)}


def entry_of(name: EntryId, fields: Mapping[bytes, bytes], instruments: int) -> Entry:
    """The reverse; rows of an instrument beyond `instruments` are damage."""
    try:
        rows_before = int(fields[b"r"])
        if END in fields:
            return Entry(name, rows_before, END, end=json.loads(fields[END]))
        kind = KEYFRAME if KEYFRAME in fields else EVENTS
        block = decoded(fields[kind])
    except (KeyError, ValueError):
        return Entry(name, -1, EVENTS)
    if block is None or (len(block.numbers) and not 0 <= block.numbers.min() <= block.numbers.max() < instruments):
        return Entry(name, rows_before, kind)
    block.events["instrument"] = block.numbers
    return Entry(name, rows_before, kind, block.events)


def id_of(text: bytes | str) -> EntryId:
    """`SESSION-n` as numbers; ConfigError when it is none."""
    said = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    session, _, number = said.partition("-")
    if not session.isdigit() or not number.isdigit():
        raise ConfigError("start", said, "is no id of an entry", "begin, now, resume, or an id such as 1723161256322-7")
    return int(session), int(number)


def text_of(name: EntryId) -> str:
    """The id as Redis writes it."""
    return f"{name[0]}-{name[1]}"


def read_entries(
    link: Link, after: EntryId, count: int, block_ms: int = BLOCK_MS
) -> Sequence[tuple[EntryId, Mapping[bytes, bytes]]]:
    """Ids and fields of up to `count` entries after an id, waiting for `block_ms` when there is none yet."""
    stream = link.address.stream

    def work(client: Redis) -> list[tuple[EntryId, Mapping[bytes, bytes]]]:
        from redis.exceptions import InvalidResponse

        answer: Any = client.xread({stream: text_of(after)}, count, block_ms)
        try:
            return [(id_of(name), fields) for _, entries in answer or () for name, fields in entries]
        except (ConfigError, TypeError, ValueError) as error:
            raise InvalidResponse(f"no entries: {error}") from None

    return link.ask(work)


def read_about(link: Link) -> About | None:
    """The description, None while nobody has published."""
    text: Any = link.ask(lambda client: client.get(link.address.about))
    return None if text is None else About.of(text, link.address)
