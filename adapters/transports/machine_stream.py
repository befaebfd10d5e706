"""tardis-machine as a stream: messages as they come, by HTTP or WebSocket, over broken connections.

A replay that breaks off is asked for anew and what was handed out before is left out, for the server says the same
again; if it does not, that is an error.  A live stream cannot be repeated: None stands where messages were lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from adapters.transports.downloads import TryAgain
from adapters.transports.tardis_machine import FINISHED, HTTP, refusal
from replay.errors import ConfigError, TransportError

if TYPE_CHECKING:
    import aiohttp

MAX_MESSAGE_BYTES = 16_777_216
TOO_LONG = 1009
ENDPOINTS = {
    "replay": ("http", "https"), "replay-normalized": ("http", "https"),
    "ws-replay-normalized": ("ws", "wss"), "ws-stream-normalized": ("ws", "wss"),
}  # fmt: skip

Read = Callable[[bytes], Any]
"""A line as a message; TryAgain when it is the report of a failure or broken."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where and how to ask: the address with its endpoint, failures in a row before it is given up, first and longest
    pause (s), silence that counts as lost (s), the largest message (bytes)."""

    url: str
    attempts: int = 10
    wait_s: float = 0.5
    max_wait_s: float = 30.0
    idle_s: float = 60.0
    max_bytes: int = MAX_MESSAGE_BYTES

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        schemes = ENDPOINTS.get(self.endpoint)
        if schemes is None or parts.scheme not in schemes:
            examples = f"{HTTP}/replay-normalized, ws://127.0.0.1:8001/ws-stream-normalized"
            raise ConfigError("url", self.url, "is no stream of a tardis-machine", f"for example {examples}")

    @property
    def endpoint(self) -> str:
        """The last part of the path."""
        return urlsplit(self.url).path.rpartition("/")[2]

    @property
    def live(self) -> bool:
        """Whether what was lost cannot be had again."""
        return self.endpoint.startswith("ws-stream")


async def messages(settings: Settings, options: str, read: Read, random: Random) -> AsyncIterator[Any]:
    """What `read` makes of each line or frame; None where a live stream lost messages.

    `options` is the query parameter (JSON); `random` gives the jitter of pauses.  TransportError when the server
    refuses, sends what is too long, fails too often in a row, or replays differently.
    """
    import aiohttp

    given, failures, last = 0, 0, None
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.idle_s, sock_read=settings.idle_s)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            seen = 0
            try:
                async for line in _lines(session, settings, options):
                    message = read(line)
                    seen, failures = seen + 1, 0 if settings.live or seen >= given else failures
                    if settings.live or seen > given:
                        given, last = given + 1, message
                        yield message
                    elif seen == given and message != last:
                        raise TransportError("replays other messages than before", settings.url, "begin anew")
                if not settings.live:
                    if seen < given:
                        raise TryAgain("the replay ended before what had come already")
                    return
                problem, pause_s = "the stream ended", None
            except TryAgain as error:
                problem, pause_s = str(error), error.pause_s
            except (aiohttp.ClientError, TimeoutError) as error:
                problem, pause_s = f"the connection failed ({type(error).__name__})", None
            failures += 1
            if failures >= settings.attempts:
                raise TransportError(f"{problem} ({failures} tries)", settings.url, "try again later")
            if settings.live and seen:
                yield None
            backoff_s = min(settings.max_wait_s, settings.wait_s * 2 ** (failures - 1))
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0) if pause_s is None else pause_s)


async def _lines(session: aiohttp.ClientSession, settings: Settings, options: str) -> AsyncIterator[bytes]:
    by_socket = urlsplit(settings.url).scheme.startswith("ws")
    async for line in (_by_socket if by_socket else _by_http)(session, settings, options):
        yield line


async def _by_http(session: aiohttp.ClientSession, settings: Settings, options: str) -> AsyncIterator[bytes]:
    async with session.get(settings.url, params={"options": options}) as answer:
        if answer.status != 200:
            said = await answer.content.read(4096)
            raise refusal(answer.status, said, settings.url, answer.headers.get("Retry-After"))
        tail = b""
        async for block in answer.content.iter_any():
            *lines, tail = (tail + block).split(b"\n")
            for line in lines:
                if len(line) > settings.max_bytes:
                    raise _too_long(settings)
                yield line
            if len(tail) > settings.max_bytes:
                raise _too_long(settings)
        if tail:
            raise TryAgain("the body was cut")


async def _by_socket(session: aiohttp.ClientSession, settings: Settings, options: str) -> AsyncIterator[bytes]:
    import aiohttp

    idle_s = aiohttp.ClientWSTimeout(ws_receive=settings.idle_s, ws_close=5.0)
    try:
        connected = await session.ws_connect(
            settings.url, params={"options": options}, timeout=idle_s, max_msg_size=settings.max_bytes
        )
    except aiohttp.WSServerHandshakeError as error:
        asked = error.headers.get("Retry-After") if error.headers else None
        raise refusal(error.status, error.message.encode(), settings.url, asked) from None
    async with connected as socket:
        async for frame in socket:
            if frame.type is aiohttp.WSMsgType.TEXT:
                yield frame.data.encode()
        if socket.close_code == TOO_LONG:
            raise _too_long(settings)
        if socket.close_code != FINISHED:
            raise TryAgain(f"the connection was closed with {socket.close_code}")


def _too_long(settings: Settings) -> TransportError:
    return TransportError(f"a message is longer than {settings.max_bytes:,} bytes", settings.url)
