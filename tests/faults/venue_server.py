"""A venue on loopback that plays a small market in its own protocol, and breaks it on command.

WebSocket and REST share one port.  Nothing happens by itself: the test says `play(n)` and the market moves n steps,
each sent to every connection that subscribed to it.  Faults are commands too, so what was injected is known exactly.
The server runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from aiohttp import WSMsgType, web

from tests.faults.dialects import Client, Dialect
from tests.faults.market import Change

Result = TypeVar("Result")


class Connection:
    """One open WebSocket."""

    def __init__(self, client: Client, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.client, self.socket, self.request = client, socket, request
        self.deaf = False

    async def send(self, message: str | bytes) -> None:
        """Send a frame; a connection that is gone is not an error here."""
        try:
            if isinstance(message, bytes):
                await self.socket.send_bytes(message)
            else:
                await self.socket.send_str(message)
        except (ConnectionError, RuntimeError):
            pass

    def abort(self) -> None:
        """Cut the TCP connection."""
        if self.request.transport is not None:
            self.request.transport.abort()

    def cut_frame(self) -> None:
        """The head of a frame and half of what it announces, then nothing more."""
        if self.request.transport is not None:
            self.request.transport.write(b"\x81\x7e\x02\x00" + b'{"half":' + b"x" * 100)
            self.abort()


class VenueServer:
    """Serves a `Dialect`; see the module."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.connections: list[Connection] = []
        self.counts: Counter[str] = Counter()
        self.refuse_connects = self.refuse_rest = 0
        self.refusal, self.retry_after = 503, ""
        self.answers_heartbeats = True
        self.url = self.rest_url = ""
        self.loop = asyncio.new_event_loop()

    # Commands, from any thread

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the server's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def play(self, steps: int) -> None:
        """Move the market on and tell everybody."""
        self.do(self._play(steps))

    def change(self, change: Callable[[], Change]) -> None:
        """Make one change and tell everybody."""
        self.do(self._tell(change))

    def delta(self, symbol: str, copies: int = 1) -> None:
        """A change of one book, told `copies` times (0: lost)."""

        async def work() -> None:
            change = self.dialect.market.delta(symbol)
            for _ in range(copies):
                await self._send(change)

        self.do(work())

    def swapped(self, symbol: str) -> None:
        """Two changes of a book, told in the wrong order."""

        async def work() -> None:
            first = [
                (connection, *spelled) for connection, *spelled in self._spelled(self.dialect.market.delta(symbol))
            ]
            await self._send(self.dialect.market.delta(symbol))
            for connection, message in first:
                await connection.send(message)

        self.do(work())

    def instead(self, symbol: str, spoil: Callable[[str], str | bytes]) -> None:
        """A change of a book whose message is spoilt on the way."""

        async def work() -> None:
            for connection, message in self._spelled(self.dialect.market.delta(symbol)):
                await connection.send(spoil(message))

        self.do(work())

    def extra(self, message: str | bytes) -> None:
        """A frame that nobody asked for."""

        async def work() -> None:
            for connection in self.connections:
                await connection.send(message)

        self.do(work())

    def each(self, act: Callable[[Connection], Any]) -> None:
        """Do something to every connection (may return a coroutine)."""

        async def work() -> None:
            for connection in list(self.connections):
                outcome = act(connection)
                if outcome is not None:
                    await outcome

        self.do(work())

    def close(self, code: int) -> None:
        """Close every connection with a code."""
        self.each(lambda connection: connection.socket.close(code=code, message=b"as the test wants it"))

    def stalled(self, deaf: bool = True) -> None:
        """Open connections stay open and get nothing any more."""
        self.each(lambda connection: setattr(connection, "deaf", deaf))

    @property
    def subscribed(self) -> bool:
        """Whether the books of all symbols are listened to."""
        return self.dialect.books_wanted([connection.client for connection in self.connections if not connection.deaf])

    # Inside the loop

    async def _play(self, steps: int) -> None:
        for _ in range(steps):
            await self._tell(self.dialect.market.step)

    async def _tell(self, change: Callable[[], Change]) -> None:
        await self._send(change())
        await asyncio.sleep(0)

    def _spelled(self, change: Change) -> Iterator[tuple[Connection, str]]:
        if not isinstance(change, self.dialect.carries):
            return
        for connection in list(self.connections):
            if connection.deaf:
                continue
            for topic in connection.client.topics:
                if self.dialect.on_topic(change, topic, connection.client):
                    self.counts[type(change).__name__] += 1
                    yield connection, self.dialect.spell(change, topic)

    async def _send(self, change: Change) -> None:
        for connection, message in list(self._spelled(change)):
            await connection.send(message)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A WebSocket or a GET."""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return self._rest(request)
        self.counts["connects"] += 1
        if self.refuse_connects:
            self.refuse_connects -= 1
            self.counts["refused"] += 1
            return self._refused()
        socket = web.WebSocketResponse(autoping=True, compress=False)
        await socket.prepare(request)
        connection = Connection(Client(request.path), socket, request)
        self.dialect.opened(connection.client, request.query)
        self.connections.append(connection)
        try:
            async for frame in socket:
                if frame.type is WSMsgType.TEXT and not connection.deaf:
                    await self._hear(connection, frame.data)
        finally:
            self.connections.remove(connection)
        return socket

    async def _hear(self, connection: Connection, frame: str) -> None:
        client = connection.client
        before, beats = list(client.topics), client.heartbeats
        answers = self.dialect.heard(client, frame)
        if client.heartbeats > beats and not self.answers_heartbeats:
            return
        for answer in answers:
            await connection.send(answer)
        for topic in client.topics:
            if topic in before:
                before.remove(topic)
                continue
            self.counts["subscribed"] += 1
            first = self.dialect.snapshot(client, topic)
            if first is not None:
                await connection.send(first)

    def _refused(self) -> web.Response:
        headers = {"Retry-After": self.retry_after} if self.retry_after else {}
        return web.Response(status=self.refusal, text="not now", headers=headers)

    def _rest(self, request: web.Request) -> web.Response:
        self.counts["rest"] += 1
        if self.refuse_rest:
            self.refuse_rest -= 1
            self.counts["rest refused"] += 1
            return self._refused()
        answer = self.dialect.rest(request.path, request.query)
        return web.Response(status=404) if answer is None else web.json_response(answer)


@contextmanager
def serving(dialect: Dialect) -> Iterator[VenueServer]:
    """The server, reachable at its `url` (ws) and `rest_url` (http) until the block ends."""
    server = VenueServer(dialect)
    thread = threading.Thread(target=server.loop.run_forever, name=f"{dialect.name}-server")
    thread.start()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = server.do(start())
    port = runner.addresses[0][1]
    server.url, server.rest_url = f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        server.each(Connection.abort)
        server.do(runner.cleanup())
        server.loop.call_soon_threadsafe(server.loop.stop)
        thread.join(10)
        server.loop.close()
