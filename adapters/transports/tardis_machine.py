"""tardis-machine: normalized messages of a day, by HTTP or WebSocket, into a file.

A stream may break off after the server has said that all is well: an HTTP body then lacks its end or ends with the
report of the failure, a WebSocket is closed with another code than 1000.  Either is no file: the day is asked for anew
(the server has no way to go on in the middle, for books begin with a snapshot).  The server fetches with its own key;
none is sent from here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from adapters.decoders.tardis_json import DATA_TYPES, failure_of
from adapters.transports.downloads import TryAgain, is_whole, pack, pause, together
from adapters.transports.tardis import Progress, retry_after_s
from replay.errors import ConfigError, TransportError, did_you_mean

if TYPE_CHECKING:
    import aiohttp

HTTP = "http://127.0.0.1:8000"
FINISHED = 1000


@dataclass(frozen=True, slots=True)
class Settings:
    """How to ask: `http://…` (port 8000) or `ws://…` (port 8001); days at a time, tries, pauses and silence (s)."""

    url: str = HTTP
    concurrency: int = 2
    attempts: int = 5
    wait_s: float = 1.0
    max_wait_s: float = 30.0
    idle_s: float = 300.0

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https", "ws", "wss"):
            raise ConfigError("url", self.url, "is not the address of a tardis-machine", f"for example {HTTP}")


@dataclass(frozen=True, slots=True)
class DataSet:
    """All wanted data types of one exchange, symbol and UTC day."""

    exchange: str
    symbol: str
    data_types: tuple[str, ...]
    day: date

    @property
    def name(self) -> str:
        """Name of the file on disk."""
        symbol = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.symbol)
        return f"machine_{self.exchange}_{'+'.join(self.data_types)}_{self.day:%Y-%m-%d}_{symbol}.ndjson.gz"

    @property
    def options(self) -> str:
        """The query parameter `options`."""
        return json.dumps({
            "exchange": self.exchange, "symbols": [self.symbol], "from": f"{self.day}",
            "to": f"{self.day + timedelta(days=1)}", "dataTypes": list(self.data_types),
            "withDisconnectMessages": True,
        })  # fmt: skip


async def fetch(
    wanted: Sequence[DataSet], folder: Path, *, settings: Settings = Settings(), random: Random | None = None,
    progress: Progress | None = None,
) -> list[Path]:  # fmt: skip
    """Download what is not there yet into `folder`; the paths in the order of `wanted`.

    `random` gives the jitter of pauses.  TransportError when a day cannot be had: the other downloads are stopped.
    """
    import aiohttp

    folder.mkdir(parents=True, exist_ok=True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.idle_s, sock_read=settings.idle_s)
    gate = asyncio.Semaphore(settings.concurrency)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        download = _Download(session, folder, settings, random or Random(0), progress)

        async def one(data_set: DataSet) -> Path:
            async with gate:
                return await download.file(data_set)

        return await together([one(data_set) for data_set in wanted])


class _Download:
    def __init__(
        self, session: aiohttp.ClientSession, folder: Path, settings: Settings, random: Random,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self.session, self.folder, self.settings = session, folder, settings
        self.random, self.progress = random, progress

    async def file(self, data_set: DataSet) -> Path:
        """The file, downloaded, or the one that is there and whole."""
        import stamina

        path = self.folder / data_set.name
        if await asyncio.to_thread(is_whole, path):
            return path
        attempts = stamina.retry_context(on=pause, attempts=self.settings.attempts, timeout=None)
        try:
            async for attempt in attempts:
                with attempt:
                    await self._attempt(data_set, path, attempt.num)
        except TryAgain as error:
            problem = f"{error} ({self.settings.attempts} tries, {data_set.exchange} {data_set.symbol} {data_set.day})"
            raise TransportError(problem, self.settings.url, "try again later") from error
        return path

    async def _attempt(self, data_set: DataSet, path: Path, number: int) -> None:
        import aiohttp

        part = path.with_name(path.name + ".part")
        longest_s = min(self.settings.max_wait_s, self.settings.wait_s * 2 ** (number - 1))
        pause_s = longest_s * self.random.uniform(0.5, 1.0)
        by_socket = urlsplit(self.settings.url).scheme.startswith("ws")
        last = b""
        try:
            with part.open("wb") as stream:
                async for data in self._by_socket(data_set) if by_socket else self._by_http(data_set):
                    stream.write(data)
                    last = (last + data)[-65_536:] if len(data) < 65_536 else data[-65_536:]
                    if self.progress:
                        self.progress(path.name, len(data))
            _check_end(last)
        except TryAgain as error:
            raise TryAgain(str(error), pause_s if error.pause_s is None else error.pause_s) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TryAgain(f"the connection failed ({type(error).__name__})", pause_s) from None
        await asyncio.to_thread(pack, part, path)

    async def _by_http(self, data_set: DataSet) -> AsyncIterator[bytes]:
        url = f"{self.settings.url.rstrip('/')}/replay-normalized"
        async with self.session.get(url, params={"options": data_set.options}) as answer:
            if answer.status != 200:
                said = await answer.content.read(4096)
                raise refusal(answer.status, said, url, answer.headers.get("Retry-After"))
            async for block in answer.content.iter_any():
                yield block

    async def _by_socket(self, data_set: DataSet) -> AsyncIterator[bytes]:
        import aiohttp

        url = f"{self.settings.url.rstrip('/')}/ws-replay-normalized"
        idle_s = aiohttp.ClientWSTimeout(ws_receive=self.settings.idle_s, ws_close=5.0)
        connected = self.session.ws_connect(url, params={"options": data_set.options}, timeout=idle_s, max_msg_size=0)
        async with connected as socket:
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.TEXT:
                    yield frame.data.encode() + b"\n"
            if socket.close_code != FINISHED:
                raise TryAgain(f"the connection was closed with {socket.close_code}")


def _check_end(last: bytes) -> None:
    """TryAgain when `last`, the end of what came, is not the end of a whole stream."""
    if not last.endswith(b"\n"):
        raise TryAgain("the body was cut" if last else "no message came")
    line = last[:-1].rpartition(b"\n")[2]
    if len(line) + 1 == len(last) == 65_536:
        return  # a message longer than what is kept here; the reader will look at it
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise TryAgain("the last line is not JSON") from None
    if not isinstance(message, dict) or "type" not in message:
        raise TryAgain(failure_of(message if isinstance(message, dict) else {"message": message}))


def refusal(status: int, body: bytes, url: str, retry_after: str | None = None) -> Exception:
    """What an answer that is not 200 means: TryAgain, after the time it asks for, or TransportError."""
    said = " ".join(body.decode("utf-8", "replace").split())[:200]
    if status == 429 or status >= 500:
        pause_s = None if retry_after is None else retry_after_s(retry_after, None)
        return TryAgain(f"the server answers {status}: {said}", pause_s)
    hint = "its own API key is wrong or does not cover this day" if status in (401, 403) else "check what was asked for"
    return TransportError(f"the server answers {status}: {said}", url, hint)


class MachineFetcher:
    """tardis-machine for the command `replay fetch` (see `replay.commands.fetch.Fetcher`)."""

    name = "tardis-machine"
    key_variable = ""

    def plan(
        self, exchange: str, data_types: Sequence[str], symbols: Sequence[str], first: date, last: date
    ) -> list[DataSet]:  # fmt: skip
        """The files; ConfigError for a data type that does not exist."""
        for kind in data_types:
            if kind not in DATA_TYPES and not kind.startswith(("quote_", "book_snapshot_")):
                raise ConfigError("--type", kind, "is no normalized data type", did_you_mean(kind, DATA_TYPES))
        days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
        return [DataSet(exchange, symbol, tuple(data_types), day) for day in days for symbol in symbols]

    async def fetch(
        self, wanted: Sequence[DataSet], folder: Path, api_key: str, concurrency: int, url: str, progress: Progress
    ) -> list[Path]:  # fmt: skip
        """See `fetch`; the machine has its own key."""
        from random import SystemRandom

        settings = Settings(url or HTTP, concurrency)
        return await fetch(wanted, folder, settings=settings, random=SystemRandom(), progress=progress)


MACHINE = MachineFetcher()
