"""Tardis' raw HTTP API: a venue's own messages, minute by minute, into a file a day that its adapter reads.

The server cuts a day into minutes by local time and hands out as many at once as it suggests.  Each answer is kept in
`NAME.slices/`, whole or not at all, with its SHA-256; the next call asks for the minutes that are missing.  When all
1440 are here their lines become a recording, `<local ns> <json>`, which gets its name and SHA-256, and the slices go.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.decoders.tardis_raw import recorded
from adapters.transports.downloads import TryAgain, is_whole, pack, pause, sha256_of, together
from adapters.transports.file import read_chunks
from adapters.transports.tardis import BLOCK_BYTES, KEY_VARIABLE, Progress, Settings, check_key, refused
from replay.errors import ConfigError, DataError, TransportError
from replay.units import US_PER_S

if TYPE_CHECKING:
    import aiohttp

URL = "https://api.tardis.dev/v1"
SETTINGS = Settings(url=URL)
MINUTES = 1440
Slice = tuple[int, int]
"""(first minute, minutes)"""


@dataclass(frozen=True, slots=True)
class DataSet:
    """These channels of one symbol and UTC day; both by the venue's own names."""

    exchange: str
    channels: tuple[str, ...]
    symbol: str
    day: date

    @property
    def name(self) -> str:
        """Name of the file on disk."""
        plain = "".join(c if c.isalnum() or c in "-_.+" else "-" for c in f"{'+'.join(self.channels)}_{self.symbol}")
        return f"raw_{self.exchange}_{self.day:%Y-%m-%d}_{plain}.ndjson.gz"

    @property
    def start_ns(self) -> int:
        """Midnight that begins the day, ns since 1970."""
        moment = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
        return int(moment.timestamp()) * US_PER_S * 1000

    def query(self, first: int, minutes: int) -> dict[str, str]:
        """Parameters that ask for these minutes."""
        filters = [{"channel": channel, "symbols": [self.symbol]} for channel in sorted(set(self.channels))]
        return {"from": f"{self.day}T00:00:00.000Z", "offset": str(first), "sliceSize": str(minutes),
                "filters": json.dumps(filters, separators=(",", ":"))}  # fmt: skip


async def fetch(
    wanted: Sequence[DataSet], folder: Path, *, api_key: str = "", settings: Settings = SETTINGS,
    now_s: Callable[[], float] | None = None, progress: Progress | None = None,
) -> list[Path]:  # fmt: skip
    """Download what is not there yet into `folder`, day after day; the paths in the order of `wanted`.

    `settings.concurrency` answers at a time; errors as in `adapters.transports.tardis.fetch`.
    """
    import aiohttp

    check_key([(data_set.name, data_set.day) for data_set in wanted], api_key)
    folder.mkdir(parents=True, exist_ok=True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.idle_s, sock_read=settings.idle_s)
    headers = {"Accept-Encoding": "gzip"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    paths = []
    async with aiohttp.ClientSession(timeout=timeout, headers=headers, auto_decompress=False) as session:
        for data_set in wanted:
            path = folder / data_set.name
            if not await asyncio.to_thread(is_whole, path):
                await _Day(session, data_set, path, settings, bool(api_key), now_s, progress).run()
            paths.append(path)
    return paths


class _Day:
    """One file on its way."""

    def __init__(
        self, session: aiohttp.ClientSession, data_set: DataSet, path: Path, settings: Settings, with_key: bool,
        now_s: Callable[[], float] | None, progress: Progress | None,
    ) -> None:  # fmt: skip
        self.session, self.data_set, self.path, self.settings = session, data_set, path, settings
        self.with_key, self.now_s, self.progress = with_key, now_s, progress
        self.slices = path.with_name(path.name + ".slices")
        self.url = f"{settings.url.rstrip('/')}/data-feeds/{data_set.exchange}"
        self.suggested = 1
        self.gate = asyncio.Semaphore(settings.concurrency)

    async def run(self) -> None:
        """Fetch the missing minutes, then write the file."""
        self.slices.mkdir(exist_ok=True)
        missing = holes(await asyncio.to_thread(self._kept))
        if missing:  # may we have both ends, and how much is handed out at once?
            last = missing[-1][0] + missing[-1][1] - 1
            for minute in dict.fromkeys((last, missing[0][0])):
                await self._slice((minute, 1))
            missing = holes(await asyncio.to_thread(self._kept))
        parts = [part for hole in missing for part in cut(hole, self.suggested)]
        await together([self._part(part) for part in parts])
        await asyncio.to_thread(self._join)

    def _kept(self) -> list[Slice]:
        """The slices that are here and whole."""
        found = (path for path in sorted(self.slices.glob("*.slice")) if is_whole(path))
        return [(int(first), int(minutes)) for first, _, minutes in (path.stem.partition("-") for path in found)]

    async def _part(self, part: Slice) -> None:
        """All minutes of `part`, in as many answers as the server makes of it."""
        first, left = part
        async with self.gate:
            while left:
                came = await self._slice((first, left))
                first, left = first + came, left - came

    async def _slice(self, asked: Slice) -> int:
        """One answer, tried until it is whole; its minutes."""
        import stamina

        attempts = stamina.retry_context(
            on=pause, attempts=self.settings.attempts, timeout=None, wait_initial=self.settings.wait_s,
            wait_max=self.settings.max_wait_s, wait_jitter=self.settings.wait_s,
        )  # fmt: skip
        try:
            async for attempt in attempts:
                with attempt:
                    return await self._attempt(asked)
        except TryAgain as error:
            problem = f"{error} ({self.settings.attempts} tries, minute {asked[0]} of {self.data_set.day})"
            raise TransportError(problem, self.url, "try again later") from error
        raise AssertionError("stamina ends with an answer or an error")

    async def _attempt(self, asked: Slice) -> int:
        import aiohttp

        part = self.slices / f"{asked[0]:04}.part"
        try:
            async with self.session.get(self.url, params=self.data_set.query(*asked)) as answer:
                if answer.status == 400 and b"ISO 8601" in await answer.content.read(4096):
                    raise TryAgain("the server does not understand its own times (400)")  # it does so now and then
                failure = refused(answer.status, answer.headers.get("Retry-After"), self.with_key, self.now_s, self.url)
                if failure is not None:
                    raise failure
                came = self._minutes(answer.headers, asked)
                with part.open("wb") as stream:
                    async for block in answer.content.iter_chunked(BLOCK_BYTES):
                        stream.write(block)
                        if self.progress:
                            self.progress(self.path.name, len(block))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TryAgain(f"the connection failed ({type(error).__name__}: {error})") from error
        await asyncio.to_thread(self._keep, part, (asked[0], came))
        return came

    def _minutes(self, headers: Mapping[str, str], asked: Slice) -> int:
        """Minutes in an answer; notes how many the server would give."""
        came, suggested = (headers.get(name, "1") for name in ("x-slice-size", "x-suggested-slice-size"))
        if not (came.isdigit() and suggested.isdigit() and 1 <= int(came) <= asked[1]):
            raise TransportError(f"{came!r} minutes came where {asked[1]} were asked for", self.url)
        self.suggested = max(self.suggested, int(suggested))
        return int(came)

    def _keep(self, part: Path, what: Slice) -> None:
        """Give a slice its name; TryAgain when it is cut."""
        try:
            if any(chunk.cut for chunk in read_chunks(part)):
                raise TryAgain("the body was cut")
        except DataError as error:
            raise TryAgain(f"what came is broken: {error.problem}") from None
        path = self.slices / f"{what[0]:04}-{what[1]:04}.slice"
        path.with_name(path.name + ".sha256").write_text(f"{sha256_of(part)}  {path.name}\n")
        part.replace(path)

    def _join(self) -> None:
        """All slices as one recording."""
        kept = sorted(self._kept())
        if holes(kept):
            raise TransportError("a slice has been changed on disk meanwhile", self.url, "fetch again")
        part = self.path.with_name(self.path.name + ".part")
        before_ns = self.data_set.start_ns
        with part.open("wb") as out:
            for first, minutes in kept:
                for line in _lines(self.slices / f"{first:04}-{minutes:04}.slice", before_ns):
                    out.write(line + b"\n")
                    before_ns = int(line.partition(b" ")[0])
        pack(part, self.path)
        shutil.rmtree(self.slices)


def _lines(path: Path, before_ns: int) -> Iterator[bytes]:
    lines = (line for chunk in read_chunks(path) for line in chunk.data[:-1].split(b"\n"))
    try:
        yield from recorded(lines, before_ns)
    except DataError as error:
        raise DataError(error.problem, error.path or str(path), error.line, error.hint) from None


def holes(kept: Sequence[Slice]) -> list[Slice]:
    """The minutes of a day that no slice holds."""
    out, at = [], 0
    for first, minutes in [*sorted(kept), (MINUTES, 0)]:
        if first > at:
            out.append((at, first - at))
        at = max(at, first + minutes)
    return out


def cut(hole: Slice, size: int) -> list[Slice]:
    """A hole in parts of at most `size` minutes."""
    first, minutes = hole
    return [(at, min(size, first + minutes - at)) for at in range(first, first + minutes, size)]


class RawFetcher:
    """Raw messages for the command `replay fetch` (see `replay.commands.fetch.Fetcher`)."""

    name = "tardis-raw"
    key_variable = KEY_VARIABLE

    def plan(
        self, exchange: str, data_types: Sequence[str], symbols: Sequence[str], first: date, last: date
    ) -> list[DataSet]:  # fmt: skip
        """The files; the types are the venue's channels, so the server judges them."""
        if not exchange.replace("-", "").isalnum():
            raise ConfigError("--exchange", exchange, "is no exchange of Tardis")
        days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
        return [DataSet(exchange, tuple(data_types), symbol, day) for day in days for symbol in symbols]

    async def fetch(
        self, wanted: Sequence[DataSet], folder: Path, api_key: str, concurrency: int, url: str, progress: Progress
    ) -> list[Path]:  # fmt: skip
        """See `fetch`."""
        import time

        settings = replace(SETTINGS, url=url or URL, concurrency=concurrency)
        return await fetch(
            wanted, folder, api_key=api_key, settings=settings, now_s=time.time, progress=progress
        )  # fmt: skip


RAW = RawFetcher()
