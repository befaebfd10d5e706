"""A REST relay: calls with retries, limits and a key, and downloads that go on where they were broken off.

Tried again with growing, jittered pauses: lost connections, silence, cut or broken bodies, 5xx, and 429 after the
time that the relay asks for, which holds back every other call too.  Final: 400, 401, 403, 404 and whatever else.  All
calls only read, so each may be repeated.  Redirects are not followed, for the key goes to nobody else; it stands in a
header and in no message, and what a relay says in an error is shown without it.

A download writes the rows of one day to `NAME.part`, page after page, with where it stands in `NAME.part.state`; the
next call goes on from there.  When all is here the rows are compressed, the SHA-256 is written to `NAME.sha256`, and
the file gets its name.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from adapters.base import Filled
from adapters.decoders.relay import (
    COVERAGE,
    FILL_GAPS,
    SHAPES,
    Json,
    Pager,
    Request,
    Shape,
    filled_of,
    gaps_of,
)
from adapters.transports.downloads import TryAgain, is_whole, pack, pause, together
from adapters.transports.tardis import Progress, retry_after_s
from replay.errors import ConfigError, DataError, TransportError, did_you_mean
from replay.units import US_PER_DAY, US_PER_S

if TYPE_CHECKING:
    import aiohttp

KEY_VARIABLE = "REPLAY_RELAY_KEY"
PATIENCE_S = 600.0
"""A relay that wants a longer pause is left."""
LOST_CURSOR = (400, 404, 410, 422)
FORMAT = 1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where and how to ask: calls at a time to one host, calls a second, tries per call, first and longest pause (s),
    silence that counts as lost (s), and the largest answer (bytes)."""

    url: str
    concurrency: int = 100
    rate_per_s: float = 10.0
    attempts: int = 10
    wait_s: float = 0.5
    max_wait_s: float = 60.0
    idle_s: float = 30.0
    max_answer_bytes: int = 268_435_456

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError("url", self.url, "is not the address of a relay", "for example https://host/v1")
        for name in ("concurrency", "rate_per_s", "attempts", "wait_s", "max_wait_s", "idle_s", "max_answer_bytes"):
            if getattr(self, name) <= 0:
                raise ConfigError(name, getattr(self, name), "must be positive")


class _CursorLost(Exception):
    """The relay refused a request that named a cursor."""


class _Gate:
    """Lets calls through at a steady rate; `hold` closes it for a while."""

    def __init__(self, rate_per_s: float, clock: Callable[[], float]) -> None:
        self.step_s, self.clock, self.next_s = 1 / rate_per_s, clock, clock()

    async def passed(self) -> None:
        """Wait for one's turn."""
        at_s = max(self.clock(), self.next_s)
        self.next_s = at_s + self.step_s
        await asyncio.sleep(at_s - self.clock())

    def hold(self, pause_s: float) -> None:
        """Nobody goes for `pause_s`."""
        self.next_s = max(self.next_s, self.clock() + pause_s)


class Relay:
    """`async with Relay(settings, api_key) as relay`: calls to one relay.

    `random` gives the jitter of the pauses, `now_s` the Unix time for a Retry-After that is a date.  Calls raise
    TransportError for what the relay did and DataError for an answer that cannot be right.
    """

    def __init__(
        self, settings: Settings, api_key: str = "", *, random: Random | None = None,
        now_s: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.random, self.now_s = settings, random or Random(0), now_s
        self._key = api_key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Relay:
        import aiohttp

        idle_s = self.settings.idle_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=self.settings.concurrency),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=idle_s, sock_read=idle_s),
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
        )
        self._gate = _Gate(self.settings.rate_per_s, asyncio.get_running_loop().time)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    # ---------------------------------------------------------------------------------------------------- the calls

    async def next_page(self, pager: Pager) -> list[Json]:
        """Ask for the next page of `pager`; its new rows."""
        try:
            answer = await self.ask(pager.request)
        except _CursorLost:
            self._judge(pager.lose_cursor, pager.request)
            return []
        return self._judge(lambda: pager.take(answer), pager.request)

    async def rows(self, pager: Pager) -> list[Json]:
        """All rows that `pager` has yet to give, in memory; for long stretches use `download`."""
        out: list[Json] = []
        while not pager.done:
            out += await self.next_page(pager)
        return out

    async def coverage(self, exchange: str, symbol: str, start_us: int, end_us: int) -> list[tuple[int, int]]:
        """(start, end) µs of the holes that the relay admits in [start_us, end_us)."""
        request = COVERAGE.request(exchange, symbol, start_us, end_us)
        answer = await self.ask(request)
        return self._judge(lambda: gaps_of(answer), request)

    async def fill_gap(self, exchange: str, symbol: str, first_id: int, last_id: int) -> Filled:
        """A full book for a hole of the missing ids first_id to last_id; DataError when the relay has none."""
        values = {"exchange": exchange, "symbol": symbol, "start_sequence": first_id, "end_sequence": last_id}
        return filled_of(await self.ask(Request("POST", FILL_GAPS, values)), last_id)

    def _judge(self, work: Callable[[], T], request: Request) -> T:
        """Do `work`; a DataError names the address."""
        try:
            return work()
        except DataError as error:
            raise DataError(error.problem, self._address(request), hint=error.hint) from None

    async def ask(self, request: Request) -> Any:
        """The JSON of one answer."""
        import stamina

        attempts = stamina.retry_context(on=pause, attempts=self.settings.attempts, timeout=None)
        try:
            async for attempt in attempts:
                with attempt:
                    await self._gate.passed()
                    return await self._attempt(request, attempt.num)
        except TryAgain as error:
            address = self._address(request)
            raise TransportError(f"{error} ({self.settings.attempts} tries)", address, "try again later") from error
        raise AssertionError("stamina ends with an answer or an error")

    def _address(self, request: Request) -> str:
        return self.settings.url.rstrip("/") + request.path

    async def _attempt(self, request: Request, number: int) -> Any:
        import aiohttp

        assert self._session is not None, "use `async with`"
        backoff_s = min(self.settings.max_wait_s, self.settings.wait_s * 2 ** (number - 1))
        pause_s = backoff_s * self.random.uniform(0.5, 1.0)
        values: dict[str, Any] = {"params" if request.method == "GET" else "json": request.values}
        address = self._address(request)
        try:
            async with self._session.request(request.method, address, allow_redirects=False, **values) as answer:
                body = await self._body(answer, address)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TryAgain(f"the connection failed ({type(error).__name__})", pause_s) from None
        if answer.status == 200:
            try:
                return orjson.loads(body)
            except orjson.JSONDecodeError:
                raise TryAgain("the answer is not JSON, or was cut", pause_s) from None
        raise self._refusal(request, answer.status, answer.headers.get("Retry-After"), body, pause_s)

    async def _body(self, answer: aiohttp.ClientResponse, address: str) -> bytes:
        parts, size = [], 0
        async for part in answer.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > self.settings.max_answer_bytes:
                raise TransportError(
                    f"an answer is longer than {self.settings.max_answer_bytes} bytes", address,
                    "ask for shorter stretches",
                )  # fmt: skip
        return b"".join(parts)

    def _refusal(
        self, request: Request, status: int, retry_after: str | None, body: bytes, pause_s: float
    ) -> Exception:  # fmt: skip
        """What an answer that is not 200 means."""
        address = self._address(request)
        if status == 429:
            asked_s = _asked_pause_s(retry_after, body, self.now_s)
            pause_s = pause_s if asked_s is None else asked_s
            if pause_s > PATIENCE_S:
                return TransportError(f"the relay asks for a pause of {pause_s:.0f} s (429)", address, "come back then")
            self._gate.hold(pause_s)
            return TryAgain("the relay answers 429, too many requests", pause_s)
        if status >= 500:
            return TryAgain(f"the relay answers {status}", pause_s)
        if request.cursor and status in LOST_CURSOR:
            return _CursorLost()
        said = self._said(body)
        what, hint = {
            400: ("does not understand the request (400)", "check the exchange, the symbol and the shape's names"),
            401: ("refuses the key (401)", f"{'check' if self._key else 'set'} {KEY_VARIABLE}"),
            403: ("says that the key does not cover this (403)", "choose other data or another plan"),
            404: ("has nothing there (404)", "check the address, the exchange and the symbol"),
        }.get(status, (f"answers {status}", ""))
        return TransportError(f"the relay {what}{said}", address, hint)

    def _said(self, body: bytes) -> str:
        """The beginning of an error's text, without the key."""
        text = " ".join(body[:4096].decode("utf-8", "replace").split())
        if self._key:
            text = text.replace(self._key, "…")
        return f": {text[:200]}" if text else ""


def _asked_pause_s(header: str | None, body: bytes, now_s: Callable[[], float] | None) -> float | None:
    """The pause that a 429 names in its header or in its JSON body, s."""
    if header is not None:
        return retry_after_s(header, now_s)
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    asked = said.get("retry_after") if isinstance(said, dict) else None
    return max(0.0, float(asked)) if isinstance(asked, (int, float)) else None


# -------------------------------------------------------------------------------------------------------- downloads


@dataclass(frozen=True, slots=True)
class DataSet:
    """The rows of one UTC day, shape and market."""

    shape: Shape
    exchange: str
    symbol: str
    day: date

    @property
    def name(self) -> str:
        """Name of the file on disk."""
        symbol = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.symbol)
        return f"relay_{self.exchange}_{self.shape.name}_{self.day:%Y-%m-%d}_{symbol}.ndjson.gz"

    def pager(self) -> Pager:
        """From midnight to midnight."""
        start_us = int(datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC).timestamp()) * US_PER_S
        return Pager(self.shape, self.exchange, self.symbol, start_us, start_us + US_PER_DAY)

    def header(self) -> bytes:
        """First line of the file."""
        said = {"relay": FORMAT, "kind": self.shape.kind, "exchange": self.exchange, "symbol": self.symbol,
                "unit_us": self.shape.unit_us, "shape": self.shape.name, "day": f"{self.day}"}  # fmt: skip
        return orjson.dumps(said) + b"\n"


def data_sets(
    exchanges: Sequence[str], shapes: Sequence[Shape], symbols: Sequence[str], first: date, last: date
) -> list[DataSet]:  # fmt: skip
    """All of them, day by day, both days included."""
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    return [DataSet(s, e, symbol, day) for day in days for e in exchanges for s in shapes for symbol in symbols]


async def download(
    relay: Relay, wanted: Sequence[DataSet], folder: Path, *, files: int = 4, progress: Progress | None = None
) -> list[Path]:  # fmt: skip
    """Download what is not there yet into `folder`, `files` at a time; the paths in the order of `wanted`.

    Raises what the calls raise: the other downloads are stopped, and all go on in the next call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gate = asyncio.Semaphore(files)

    async def one(data_set: DataSet) -> Path:
        async with gate:
            return await _Download(relay, data_set, folder / data_set.name, progress).run()

    return await together([one(data_set) for data_set in wanted])


class _Download:
    """One file on its way."""

    def __init__(self, relay: Relay, data_set: DataSet, path: Path, progress: Progress | None) -> None:
        self.relay, self.data_set, self.path, self.progress = relay, data_set, path, progress
        self.part = path.with_name(path.name + ".part")
        self.kept = path.with_name(path.name + ".part.state")

    async def run(self) -> Path:
        """The file, downloaded, or the one that is there and whole."""
        if await asyncio.to_thread(is_whole, self.path):
            return self.path
        pager = self.data_set.pager()
        size = await asyncio.to_thread(self._resume, pager)
        with self.part.open("r+b") as stream:
            stream.seek(size)
            while not pager.done:
                rows = await self.relay.next_page(pager)
                page = b"".join(orjson.dumps(row) + b"\n" for row in rows)
                stream.write(page)
                stream.flush()
                self._keep(pager.state, stream.tell())
                if self.progress:
                    self.progress(self.path.name, len(page))
        await asyncio.to_thread(pack, self.part, self.path)
        self.kept.unlink()
        return self.path

    def _resume(self, pager: Pager) -> int:
        """Bytes of `part` that hold; those behind them are cut off.  A part of other terms is begun anew."""
        header = self.data_set.header()
        if self.part.exists() and self.kept.exists():
            kept = json.loads(self.kept.read_text())
            size = int(kept["bytes"])
            with self.part.open("r+b") as stream:
                if stream.readline() == header and self.part.stat().st_size >= size:
                    stream.truncate(size)
                    pager.restore(kept["pager"], map(orjson.loads, stream))
                    return size
        self.part.write_bytes(header)
        return len(header)

    def _keep(self, state: Json, size: int) -> None:
        aside = self.kept.with_name(self.kept.name + ".new")
        aside.write_text(json.dumps({"bytes": size, "pager": state}))
        aside.replace(self.kept)


class RelayFetcher:
    """A relay for the command `replay fetch` (see `replay.commands.fetch.Fetcher`); exchanges parted by commas."""

    name = "relay"
    key_variable = KEY_VARIABLE

    def plan(
        self, exchange: str, data_types: Sequence[str], symbols: Sequence[str], first: date, last: date
    ) -> list[DataSet]:  # fmt: skip
        """The files; ConfigError for a data type that does not exist."""
        for kind in data_types:
            if kind not in SHAPES:
                raise ConfigError("--type", kind, "is not a data type of relays", did_you_mean(kind, SHAPES))
        return data_sets(exchange.split(","), [SHAPES[kind] for kind in data_types], symbols, first, last)

    async def fetch(
        self, wanted: Sequence[DataSet], folder: Path, api_key: str, concurrency: int, url: str, progress: Progress
    ) -> list[Path]:  # fmt: skip
        """See `download`; ConfigError without the address of a relay."""
        import time
        from random import SystemRandom

        if not url:
            raise ConfigError("--url", url, "is missing", "a relay has no usual address: name yours")
        async with Relay(Settings(url), api_key, random=SystemRandom(), now_s=time.time) as relay:
            return await download(relay, wanted, folder, files=concurrency, progress=progress)


RELAY = RelayFetcher()
