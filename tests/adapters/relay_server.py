"""A relay on loopback, in a thread: all of its calls over rows that a test gives, with faults that a test scripts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from aiohttp import web

KEY = "SECRET-TOKEN-0451"
Row = dict[str, Any]
Fault = Callable[[web.Request], Any]


class RelayServer:
    """`rows` in order of time (ms); `page` rows a page, each page starts with the last `repeat` rows of the one before.

    `script` are faults, each used once, before the first good answer; `cursor_lives` says how many times one cursor
    generation may be used before the server forgets all cursors (0: for ever).
    """

    def __init__(self, rows: list[Row] | None = None, page: int = 10) -> None:
        self.rows, self.page, self.repeat, self.cursor_lives = rows or [], page, 0, 0
        self.script: list[Fault | None] = []
        self.key = KEY
        self.requests: list[tuple[str, Any]] = []
        self.active = self.most_active = self.generation = self.uses = 0
        self.delay_s = 0.0
        self.fill: Callable[[int, int], Any] = lambda first, last: None
        self.gaps: list[Row] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        values = dict(request.query) if request.method == "GET" else await request.json()
        self.requests.append((request.path, values))
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await asyncio.sleep(self.delay_s)
            fault = self.script.pop(0) if self.script else None
            if fault is not None:
                response: web.StreamResponse = await fault(request)
                return response
            if request.headers.get("Authorization") != f"Bearer {self.key}":
                return web.Response(status=401, text=f"bad key {request.headers.get('Authorization')}")
            return self.good(request.path, values)
        finally:
            self.active -= 1

    def good(self, path: str, values: Row) -> web.Response:
        if path == "/tardis/trades":
            if "query" in values:
                query = values["query"]
                return web.json_response({"trades": self.between(query["start_ms"], query["end_ms"])})
            return self.by_cursor(values)
        if path.startswith("/markets/"):
            return web.json_response({"trades": self.between(values["start"], values["end"])[: int(values["limit"])]})
        if path == "/trades":
            found = self.between(values["startTime"], values["endTime"])
            return web.json_response({"data": found[: int(values["limit"])]})
        if path == "/orderbook-snapshots":
            return web.json_response({"data": self.between(values["startTime"], values["endTime"])[: self.page]})
        if path == "/backtest/tardis/stream":
            return web.json_response({"events": self.between(values["start"], values["end"])})
        if path == "/backtest/fill-gaps":
            filled = self.fill(values["start_sequence"], values["end_sequence"])
            return web.json_response({"filled_snapshot": filled})
        if path == "/tardis/coverage":
            return web.json_response({"gaps": self.gaps})
        return web.Response(status=404)

    def between(self, start: Any, end: Any) -> list[Row]:
        return [row for row in self.rows if int(start) <= row["timestamp"] <= int(end)]  # the end included, on purpose

    def by_cursor(self, values: Row) -> web.Response:
        found = self.between(values["start_time"], values["end_time"])
        at = 0
        if "cursor" in values:
            generation, at = map(int, values["cursor"].split("-"))
            self.uses += 1
            if self.cursor_lives and self.uses > self.cursor_lives:
                self.generation, self.uses = self.generation + 1, 0
            if generation != self.generation:
                return web.Response(status=410, text="unknown cursor")
        stop = at + self.page
        more = stop < len(found)
        cursor = f"{self.generation}-{stop}" if more else None
        page = found[max(0, at - self.repeat) : stop]
        return web.json_response({"trades": page[::-1], "has_more": more, "next_cursor": cursor})


class Served(Protocol):
    """What `serving` can serve."""

    url: str

    async def answer(self, request: web.Request) -> web.StreamResponse: ...


S = TypeVar("S", bound=Served)


@contextmanager
def serving(server: S) -> Iterator[S]:
    """The server, reachable at its `url`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="relay-server")
    thread.start()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def status(code: int, text: str = "", **headers: str) -> Fault:
    """A fault that is an answer."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(
            status=code, text=text, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """Half a body, then the connection is closed."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"trades":[')
    assert request.transport is not None
    request.transport.close()
    return response


async def silent(request: web.Request) -> web.StreamResponse:
    """Sends a few bytes, then nothing for a while."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"trades":[')
    await asyncio.sleep(1)
    return response


def json_answer(value: Any) -> Fault:
    """Any JSON with status 200."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(value)

    return answer
