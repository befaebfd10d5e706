"""Download of Tardis data sets: several files at a time, resumable, each verified before it gets its name.

A file arrives as `NAME.part` (with its ETag in `NAME.part.etag`); what is there already is not asked for again when
the server still has the same file.  When all bytes are here the gzip stream is read to its end, which checks its
length and CRC, its SHA-256 is written to `NAME.sha256`, and the file is renamed.  A file whose SHA-256 still holds is
not downloaded again.

Tried again, with growing pauses: lost connections, cut bodies, silence, 5xx, and 429 after the time that the server
asks for.  Final: 400, 401, 403, 404, and a complete body that is no gzip.  The key goes into the request's header and
nowhere else.
"""

from __future__ import annotations

import asyncio
import email.utils
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from adapters.transports.downloads import TryAgain, is_whole, pause, sha256_of, together
from adapters.transports.file import BROKEN, GZIP_MAGIC, open_gzip
from replay.errors import ConfigError, TransportError

if TYPE_CHECKING:
    import aiohttp

URL = "https://datasets.tardis.dev/v1"
KEY_VARIABLE = "TARDIS_API_KEY"
BLOCK_BYTES = 262_144
BUSY_S = 60.0
"""Pause after a 429 that names none."""

Progress = Callable[[str, int], None]
"""Called with the name of a file and the number of bytes that just came."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One file of the server: a UTC day of one data type and symbol."""

    exchange: str
    data_type: str
    symbol: str
    day: date

    @property
    def path(self) -> str:
        """Its place below the server's URL."""
        symbol = quote(self.symbol.upper().replace("/", "-").replace(":", "-"), safe="")
        return f"{self.exchange}/{self.data_type}/{self.day:%Y/%m/%d}/{symbol}.csv.gz"

    @property
    def name(self) -> str:
        """Name of the file on disk, which the adapter `tardis-csv` understands."""
        symbol = self.symbol.upper().replace("/", "-").replace(":", "-")
        return f"{self.exchange}_{self.data_type}_{self.day:%Y-%m-%d}_{symbol}.csv.gz"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to ask: files at a time, tries per file, first and longest pause (s), silence that counts as lost (s)."""

    url: str = URL
    concurrency: int = 4
    attempts: int = 30
    wait_s: float = 1.0
    max_wait_s: float = 120.0
    idle_s: float = 60.0


def data_sets(
    exchange: str, data_types: Sequence[str], symbols: Sequence[str], first: date, last: date
) -> list[DataSet]:  # fmt: skip
    """All files of these types and symbols, day by day, both days included."""
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    return [DataSet(exchange, kind, symbol, day) for day in days for kind in data_types for symbol in symbols]


async def fetch(
    wanted: Sequence[DataSet],
    folder: Path,
    *,
    api_key: str = "",
    settings: Settings = Settings(),
    now_s: Callable[[], float] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Download what is not there yet into `folder`; the paths in the order of `wanted`.

    `now_s` tells the Unix time, for a Retry-After that is a date.  Raises ConfigError when a key is needed and none was
    given, and TransportError when a file cannot be had: the other downloads are stopped and go on in the next call.
    """
    import aiohttp

    check_key([(data_set.name, data_set.day) for data_set in wanted], api_key)
    folder.mkdir(parents=True, exist_ok=True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.idle_s, sock_read=settings.idle_s)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    gate = asyncio.Semaphore(settings.concurrency)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers, auto_decompress=False) as session:
        download = _Download(session, folder, settings, bool(api_key), now_s, progress)

        async def one(data_set: DataSet) -> Path:
            async with gate:
                return await download.file(data_set)

        return await together([one(data_set) for data_set in wanted])


class _Download:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        folder: Path,
        settings: Settings,
        with_key: bool,
        now_s: Callable[[], float] | None,
        progress: Progress | None,
    ) -> None:
        self.session, self.folder, self.settings = session, folder, settings
        self.with_key, self.now_s, self.progress = with_key, now_s, progress

    async def file(self, data_set: DataSet) -> Path:
        """The file, downloaded and verified, or the one that is there and whole."""
        import stamina

        path = self.folder / data_set.name
        if await asyncio.to_thread(is_whole, path):
            return path
        url = f"{self.settings.url}/{data_set.path}"
        attempts = stamina.retry_context(
            on=pause, attempts=self.settings.attempts, timeout=None, wait_initial=self.settings.wait_s,
            wait_max=self.settings.max_wait_s, wait_jitter=self.settings.wait_s,
        )  # fmt: skip
        try:
            async for attempt in attempts:
                with attempt:
                    await self._attempt(url, path)
        except TryAgain as error:
            raise TransportError(f"{error} ({self.settings.attempts} tries)", url, "try again later") from error
        return path

    async def _attempt(self, url: str, path: Path) -> None:
        import aiohttp

        part, tag = _aside(path, ".part"), _aside(path, ".part.etag")
        have = part.stat().st_size if part.exists() and tag.exists() else 0
        headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text()} if have else {}
        try:
            async with self.session.get(url, headers=headers) as answer:
                failure = refused(answer.status, answer.headers.get("Retry-After"), self.with_key, self.now_s, url)
                if failure is not None:
                    raise failure
                if answer.status == 416:  # what is here is all there is, or of another file
                    part.unlink()
                    raise TryAgain("the server has no such part of the file")
                if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                    raise TryAgain("the server sent another part of the file than was asked for")
                if answer.status != 206:
                    part.unlink(missing_ok=True)
                    tag.write_text(answer.headers.get("ETag", ""))
                    if not answer.headers.get("ETag"):
                        tag.unlink()
                with part.open("ab") as stream:
                    async for block in answer.content.iter_chunked(BLOCK_BYTES):
                        stream.write(block)
                        if self.progress:
                            self.progress(path.name, len(block))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TryAgain(f"the connection failed ({type(error).__name__}: {error})") from error
        await asyncio.to_thread(_complete, part, tag, path, url)


def check_key(wanted: Sequence[tuple[str, date]], api_key: str) -> None:
    """ConfigError when a key is needed for one of the (name, day) and none was given."""
    for name, day in wanted:
        if not api_key and day.day != 1:
            raise ConfigError(
                "api_key", "", f"is needed for {name}: only the first day of each month is free",
                f"set {KEY_VARIABLE}",
            )  # fmt: skip


def refused(
    status: int, retry_after: str | None, with_key: bool, now_s: Callable[[], float] | None, url: str
) -> Exception | None:  # fmt: skip
    """What a status of Tardis means: None (go on), TryAgain, or TransportError."""
    if status in (200, 206, 416):
        return None
    if status == 429:
        return TryAgain("the server answers 429, too many requests", retry_after_s(retry_after, now_s))
    if status >= 500:
        return TryAgain(f"the server answers {status}")
    key = f"check {KEY_VARIABLE}" if with_key else f"set {KEY_VARIABLE}"
    what, hint = {
        400: ("does not understand the request (400)", "check exchange, data type, symbol and day"),
        401: ("refuses the key (401)", key),
        403: ("says that the plan of this key does not cover the file (403)", "choose other data or another plan"),
        404: ("has no such data set (404)", "check exchange, data type and symbol; a day is ready at 06:00 UTC"),
    }.get(status, (f"answers {status}", ""))
    return TransportError(f"the server {what}", url, hint)


def retry_after_s(header: str | None, now_s: Callable[[], float] | None) -> float:
    """Seconds to wait by a Retry-After header (seconds or a date); BUSY_S when it says nothing that helps."""
    if header is None:
        return BUSY_S
    if header.strip().isdigit():
        return float(header)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return BUSY_S
    return max(0.0, moment.timestamp() - now_s()) if now_s else BUSY_S


def _aside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _complete(part: Path, tag: Path, path: Path, url: str) -> None:
    """Verify a download and give it its name; TryAgain when it is cut, TransportError when it is no gzip."""
    try:
        with part.open("rb") as start:
            if not GZIP_MAGIC.startswith(start.read(2)):
                raise gzip.BadGzipFile("it does not start as gzip does")
        with open_gzip(part, "rb") as stream:
            while stream.read(BLOCK_BYTES):
                pass
    except EOFError:
        raise TryAgain("the body was cut") from None
    except BROKEN as error:
        part.unlink()
        tag.unlink(missing_ok=True)
        raise TransportError(f"what came is not intact gzip ({error})", url, "try again") from error
    _aside(path, ".sha256").write_text(f"{sha256_of(part)}  {path.name}\n")
    part.replace(path)
    tag.unlink(missing_ok=True)


class TardisFetcher:
    """Tardis for the command `replay fetch` (see `replay.commands.fetch.Fetcher`)."""

    name = "tardis"
    key_variable = KEY_VARIABLE

    def plan(
        self, exchange: str, data_types: Sequence[str], symbols: Sequence[str], first: date, last: date
    ) -> list[DataSet]:  # fmt: skip
        """The files; ConfigError for a data type that does not exist."""
        from adapters.decoders.tardis_csv import DATA_TYPES
        from replay.errors import did_you_mean

        for kind in data_types:
            if kind not in DATA_TYPES:
                raise ConfigError("--type", kind, "is not a data type", did_you_mean(kind, DATA_TYPES))
        return data_sets(exchange, data_types, symbols, first, last)

    async def fetch(
        self, wanted: Sequence[DataSet], folder: Path, api_key: str, concurrency: int, url: str, progress: Progress
    ) -> list[Path]:  # fmt: skip
        """See `fetch`."""
        import time

        settings = Settings(url=url or URL, concurrency=concurrency)
        return await fetch(
            wanted, folder, api_key=api_key, settings=settings, now_s=time.time, progress=progress
        )  # fmt: skip


TARDIS = TardisFetcher()
