"""Live market data over WebSocket: the shell around a venue's protocol and its decoder.

One task a socket: connect, subscribe, read, watch for silence; when it ends, wait (exponential, with jitter, never less
than the server's Retry-After) and begin again.  Every frame is stamped with the time of its receipt; stamps never step
back.  The loss of a socket is a message too, `{"replay":"disconnected","symbols":[…]}` with the symbols whose books it
carried: the decoder makes their books invalid, the recorder keeps it.  A book that the decoder wants anew is fetched by
HTTP, while its deltas are kept, or subscribed again; other books are left alone.

Messages are decoded, recorded and handed on one at a time, in the order of their stamps.  Whoever takes them may wait:
then nothing is read, and the venue notices in the end.  A message that cannot be decoded is counted and left out; what
it held is missing to the decoder, which finds the hole.  Clock, sleep and chance come from outside.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

import numpy as np
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from adapters.base import Decoder, FetchSnapshot, Resubscribe
from adapters.live.protocol import Answer, Connection, Data, Leaving, Refused, Venue
from adapters.transports.snapshots import Http
from adapters.transports.tardis import retry_after_s
from replay.errors import ConfigError, DataError, TransportError
from replay.units import NS_PER_US, US_PER_S

NS_PER_S = NS_PER_US * US_PER_S
RESYNC_LOOKS = 20
"""How often it is looked whether a book is back before it is asked for again."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the shell takes from the world: Unix time in ns, sleep in seconds, chance."""

    now_ns: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]
    random: Random


@dataclass(frozen=True, slots=True)
class Settings:
    """Waits between connections (s; a socket that lived for `stable_s` begins with `first_wait_s` again), give up after
    `attempts` failures in a row (0: never), limits of opening and closing (s), of a message (bytes), WebSocket pings
    of ours (s), and the spread of snapshot requests (s).
    """

    first_wait_s: float = 0.5
    max_wait_s: float = 60.0
    stable_s: float = 30.0
    attempts: int = 0
    open_s: float = 10.0
    close_s: float = 1.0
    ping_s: float = 20.0
    max_message_bytes: int = 16_777_216
    spread_s: float = 0.1


@dataclass(slots=True)
class Health:
    """What happened so far: `frames` and `bytes` received, sockets `open` now, the latest stamp and `problem`, and how
    often what happened.
    """

    frames: int = 0
    bytes: int = 0
    open: int = 0
    last_ns: int = 0
    problem: str = ""
    events: Counter[str] = field(default_factory=Counter)


class Tape(Protocol):
    """Keeps messages as they came (see `adapters.capture.Recorder`)."""

    def write(self, received_ns: int, message: bytes) -> None:
        """One message without newlines."""


Deliver = Callable[[list[np.ndarray]], Awaitable[None]]
"""Takes the batches that one message gave; it may wait."""


class Lost(Exception):
    """A socket is gone; the next may come after `wait_s` at the earliest."""

    def __init__(self, problem: str, wait_s: float = 0.0) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


@dataclass(slots=True)
class Line:
    """One open socket."""

    connection: Connection
    socket: ClientConnection
    tasks: asyncio.TaskGroup
    heard_ns: int
    sent_ns: int = 0
    number: int = 1
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    resyncing: set[str] = field(default_factory=set)


class Feed:
    """All sockets of one venue, one decoder.  `run` ends only by cancellation or with what is beyond repair.

    Another thread that looks at the decoder holds `decoding`.
    """

    def __init__(
        self,
        venue: Venue,
        decoder: Decoder,
        connections: Sequence[Connection],
        deliver: Deliver,
        *,
        surroundings: Surroundings,
        settings: Settings | None = None,
        tape: Tape | None = None,
    ) -> None:
        self.venue, self.decoder, self.connections, self.deliver = venue, decoder, tuple(connections), deliver
        self.world, self.settings, self.tape = surroundings, settings or Settings(), tape
        self.health = Health()
        self.decoding = threading.Lock()
        self._taking = asyncio.Lock()
        self._lines: dict[str, Line] = {}
        self._http: Http | None = None

    def stamp(self) -> int:
        """The time now, ns; never before an earlier stamp."""
        self.health.last_ns = max(self.health.last_ns, self.world.now_ns())
        return self.health.last_ns

    async def run(self) -> None:
        """Keep all connections.  TransportError when the venue refuses what we ask, or after too many failures."""
        limit = self.venue.limits.weight_per_min
        try:
            async with Http(limit, self.world, self.settings.open_s) as self._http, asyncio.TaskGroup() as group:
                for connection in self.connections:
                    group.create_task(self._keep(connection))
        except ExceptionGroup as group_error:
            raise _first(group_error) from None

    async def _keep(self, connection: Connection) -> None:
        failures = 0
        while True:
            began_ns = self.stamp()
            try:
                await self._once(connection)
            except Lost as error:
                lost = error
            self.health.problem = f"{connection.url}: {lost}"
            self.health.events[f"connection lost: {lost}"] += 1
            stable = self.stamp() - began_ns > self.settings.stable_s * NS_PER_S
            failures = 1 if stable else failures + 1
            if failures == self.settings.attempts:
                raise TransportError(f"{lost} ({failures} failures in a row)", connection.url, "try again later")
            longest_s = min(self.settings.max_wait_s, self.settings.first_wait_s * 2 ** min(failures - 1, 30))
            await self.world.sleep(max(lost.wait_s, longest_s * self.world.random.uniform(0.5, 1.0)))

    async def _once(self, connection: Connection) -> None:
        """From connecting to the loss of the socket, which is the only way out."""
        chosen = self.settings
        try:
            opened = connect(
                connection.url, max_size=chosen.max_message_bytes, open_timeout=chosen.open_s, proxy=None,
                close_timeout=chosen.close_s, ping_interval=chosen.ping_s, ping_timeout=chosen.ping_s, compression=None,
            )  # fmt: skip
            socket = await opened
            try:
                await self._talk(connection, socket)
            finally:
                try:
                    await socket.close()
                finally:
                    socket.transport.abort()  # no more than that when the farewell is cut short
        except InvalidURI as error:
            raise ConfigError("url", connection.url, str(error)) from None
        except InvalidStatus as error:
            said = error.response.headers.get("Retry-After")
            wait_s = retry_after_s(said, lambda: self.stamp() / NS_PER_S) if said else 0.0
            raise Lost(f"the server answers {error.response.status_code}", wait_s) from None
        except (OSError, TimeoutError, WebSocketException) as error:
            raise Lost(_what(error)) from None

    async def _talk(self, connection: Connection, socket: ClientConnection) -> None:
        self.health.open += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                line = Line(connection, socket, tasks, self.stamp())
                self._lines.update(dict.fromkeys(connection.books, line))
                tasks.create_task(self._subscribe(line))
                tasks.create_task(self._watch(line))
                while True:
                    await self._frame(line, await socket.recv(decode=False))
        except ExceptionGroup as group:
            await self._lose(connection)
            raise _first(group) from None
        finally:
            self.health.open -= 1
            for symbol in connection.books:
                self._lines.pop(symbol, None)

    async def _frame(self, line: Line, frame: bytes) -> None:
        received_ns = line.heard_ns = self.stamp()
        self.health.frames += 1
        self.health.bytes += len(frame)
        try:
            outcome = self.venue.receive(frame)
        except DataError as error:
            self.health.events[f"broken message: {error.problem}"] += 1
            return
        match outcome:
            case Data(message):
                await self._take(message, received_ns)
            case Answer(text):
                await self._send(line, text)
            case Leaving(reason):
                raise Lost(reason)
            case Refused(problem):
                raise TransportError(problem, line.connection.url, "check the symbols and channels")

    async def _take(self, message: bytes, received_ns: int) -> None:
        """Decode, record and hand on; then do what the decoder wishes."""
        message = message.replace(b"\n", b" ")
        batches: list[np.ndarray] = []
        async with self._taking:
            try:
                with self.decoding:
                    self.decoder.feed(message, received_ns, lambda batch: batches.append(batch.copy()))
            except DataError as error:
                self.health.events[f"broken message: {error.problem}"] += 1
                if batches:  # a part of it was good, and nobody can say what the recording would give
                    raise Lost("half of a message is broken") from None
                return
            if self.tape is not None:
                self.tape.write(received_ns, message)
            if batches:
                await self.deliver(batches)
        for command in self.decoder.commands():
            if isinstance(command, (FetchSnapshot, Resubscribe)):
                line = self._lines.get(command.symbol)
                if line is not None and command.symbol not in line.resyncing:
                    line.resyncing.add(command.symbol)
                    line.tasks.create_task(self._resync(line, command.symbol))

    async def pulse(self, reach: Callable[[int], None]) -> None:
        """Call `reach(ns)` when all that was received before has been handed on."""
        now_ns = self.stamp()
        async with self._taking:
            reach(now_ns)

    async def _lose(self, connection: Connection) -> None:
        """Tell decoder and recorder that the books of a socket are lost."""
        for symbol in connection.books:
            self._lines.pop(symbol, None)
        if connection.books:
            note = orjson.dumps({"replay": "disconnected", "symbols": connection.books})
            await self._take(note, self.stamp())

    async def _subscribe(self, line: Line) -> None:
        for text in self.venue.opening():
            await self._send(line, text)
        await self._request(line, self.venue.subscribe(line.connection.streams, line.number))

    async def _request(self, line: Line, texts: Sequence[str]) -> None:
        line.number += len(texts)
        for text in texts:
            await self._send(line, text)

    async def _send(self, line: Line, text: str) -> None:
        """One frame, not sooner after the last one than the venue allows."""
        async with line.sending:
            due_ns = line.sent_ns + int(NS_PER_S / self.venue.limits.frames_per_s)
            wait_ns = due_ns - self.stamp()
            if line.sent_ns and wait_ns > 0:
                await self.world.sleep(wait_ns / NS_PER_S)
            line.sent_ns = self.stamp()
            await line.socket.send(text)

    async def _watch(self, line: Line) -> None:
        """Send heartbeats; Lost when nothing was heard for too long."""
        beat, silence_us = self.venue.heartbeat, self.venue.limits.silence_us
        step_us = min(silence_us, beat.every_us or silence_us) // 4
        beaten_ns = line.heard_ns
        while True:
            await self.world.sleep(step_us / US_PER_S)
            now_ns = self.stamp()
            if now_ns - line.heard_ns > silence_us * NS_PER_US:
                raise Lost(f"silent for {silence_us / US_PER_S:g} s")
            since_ns = max(beaten_ns, line.heard_ns) if beat.when_idle else beaten_ns
            if beat.every_us and now_ns - since_ns + step_us * NS_PER_US > beat.every_us * NS_PER_US:
                beaten_ns = now_ns
                await self._send(line, beat.text)

    async def _resync(self, line: Line, symbol: str) -> None:
        """Bring the book of `symbol` back."""
        await self.world.sleep(self.world.random.uniform(0.0, self.settings.spread_s))
        if self.venue.snapshot(symbol) is None:
            await self._resubscribe(line, symbol)
        else:
            await self._fetch(line, symbol)

    async def _fetch(self, line: Line, symbol: str) -> None:
        """Until a snapshot was taken; whether it joins is for the decoder to say, which else asks again."""
        request = self.venue.snapshot(symbol)
        assert request is not None and self._http is not None
        failures = 0
        while True:
            try:
                message = self.venue.snapshot_message(symbol, await self._http.ask(request))
                break
            except (DataError, TransportError) as error:
                failures += 1
                self.health.events[f"snapshot failed: {error}"] += 1
                longest_s = min(self.settings.max_wait_s, self.settings.first_wait_s * 2 ** min(failures - 1, 30))
                await self.world.sleep(longest_s * self.world.random.uniform(0.5, 1.0))
        self.health.events["snapshots fetched"] += 1
        line.resyncing.discard(symbol)
        await self._take(message, self.stamp())

    async def _resubscribe(self, line: Line, symbol: str) -> None:
        """Until the book is there again."""
        stream = [self.venue.book_stream(symbol)]
        name = next(i.name for i in self.decoder.instruments if i.symbol == symbol)
        step_s = self.venue.limits.resync_us / US_PER_S / RESYNC_LOOKS
        while not self._is_live(name):
            self.health.events["books subscribed again"] += 1
            await self._request(line, self.venue.unsubscribe(stream, line.number))
            await self._request(line, self.venue.subscribe(stream, line.number))
            for _ in range(RESYNC_LOOKS):
                await self.world.sleep(step_s)
                if self._is_live(name):
                    break
        line.resyncing.discard(symbol)

    def _is_live(self, instrument: str) -> bool:
        with self.decoding:
            return self.decoder.quality.of(instrument).book_state == "live"


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """The error of a group that decides: one beyond repair before the loss of a socket."""
    errors = [_first(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in errors if not isinstance(error, (Lost, WebSocketException))), errors[0])


def _what(error: Exception) -> str:
    """A problem in a few words, the same for the same problem."""
    if isinstance(error, ConnectionClosed):
        return f"closed with {error.rcvd.code}" if error.rcvd else "broken off"
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
