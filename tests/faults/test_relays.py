"""Relays over a network that breaks: the result is exact, or books are invalid, recover and the loss is counted.

Every relay is read through a proxy that drops, half-closes, stalls and garbles the first connections at places drawn
from a seed.  Afterwards no thread, task or socket may be left.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from aiohttp import web

from adapters.decoders.relay import SHAPES, Pager
from adapters.machine_stream import MachineStream
from adapters.redis_relay import Publishing, RedisSource, publish
from adapters.tardis_machine import ADAPTER
from adapters.transports.machine_stream import Settings
from adapters.transports.redis_streams import Address, Link
from adapters.transports.relay import Relay
from adapters.transports.relay import Settings as RelaySettings
from replay.events import CLEAR, GAP, REPAIRED, empty_events
from replay.instruments import Instrument
from replay.sources import ArraySource
from replay.testing import synthetic_events
from tests.adapters.relay_server import KEY, RelayServer, serving, status
from tests.cache.redis_server import RedisServer
from tests.faults.proxy import Fault, proxied

SEEDS = (1, 2)
KINDS = ("drop", "half", "stall", "garbage")
PATIENCE_S = 60.0
XBT = Instrument("bitmex", "XBTUSD", "inverse", Decimal("0.5"), Decimal("1"))
SOME = (Instrument("test", "A", "linear", Decimal("0.05"), Decimal("0.001")),)


def sockets() -> int:
    """Sockets that this process has open (Linux; elsewhere 0)."""
    folder = Path("/proc/self/fd")
    found = 0
    for each in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # that of the listing itself
            found += str(each.readlink()).startswith("socket:")
    return found


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No thread and no socket more than before."""
    threads, open_before = set(threading.enumerate()), sockets()
    yield
    until = time.monotonic() + PATIENCE_S
    while (set(threading.enumerate()) - threads or sockets() > open_before) and time.monotonic() < until:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - threads and sockets() <= open_before


def faults(kind: str, seed: int, size: int, connections: int = 2) -> list[Fault]:
    """The first connections break somewhere in `size` bytes."""
    drawn = random.Random(seed * 1_000 + KINDS.index(kind))
    return [Fault(kind, drawn.randrange(400, size)) for _ in range(connections)]


def joined(source: Any) -> np.ndarray:
    return np.concatenate([empty_events(0), *(batch.copy() for batch in source.batches())])


# ------------------------------------------------------------------------------------------------- tardis-machine


def normalized() -> list[dict[str, Any]]:
    """Three hundred messages of one book, with trades and a lost connection."""
    drawn, out = random.Random(5), []
    for i in range(300):
        at = f"2019-10-23T11:{i // 60:02}:{i % 60:02}.669123Z"
        named = {"symbol": "XBTUSD", "exchange": "bitmex", "timestamp": at, "localTimestamp": at}
        if i == 150:
            out.append({"type": "disconnect", "exchange": "bitmex", "localTimestamp": at})
        elif i % 7 == 3:
            out.append({"type": "trade", **named, "id": f"{i}-x", "price": 100.5, "amount": i, "side": "sell"})
        else:
            bids = [{"price": drawn.randrange(150, 200) / 2, "amount": drawn.randrange(9)} for _ in range(3)]
            asks = [{"price": drawn.randrange(202, 250) / 2, "amount": drawn.randrange(9)} for _ in range(3)]
            whole = i in (0, 155)
            out.append({"type": "book_change", **named, "isSnapshot": whole, "bids": bids, "asks": asks})
    return out


NORMALIZED = [json.dumps(message).encode() + b"\n" for message in normalized()]
SIZE = sum(map(len, NORMALIZED))


class Machine:
    """Replays NORMALIZED; the script answers first."""

    def __init__(self, *script: Callable[[web.Request], Any]) -> None:
        self.script, self.url = list(script), ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.script:
            fault: web.StreamResponse = await self.script.pop(0)(request)
            return fault
        if not request.path.startswith("/ws"):
            response = web.StreamResponse()
            await response.prepare(request)
            for line in NORMALIZED:
                await response.write(line)
            return response
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for line in NORMALIZED:
            await socket.send_str(line[:-1].decode())
        await socket.close(code=1000)
        return socket


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The events of NORMALIZED, by way of a file."""
    path = tmp_path_factory.mktemp("machine") / "day.ndjson"
    path.write_bytes(b"".join(NORMALIZED))
    return joined(ADAPTER.open([path], instruments=[XBT])).tobytes()


def machine_source(port: int, scheme: str) -> MachineStream:
    endpoint = "ws-replay-normalized" if scheme == "ws" else "replay-normalized"
    settings = Settings(f"{scheme}://127.0.0.1:{port}/{endpoint}", attempts=30, wait_s=0.01, max_wait_s=0.1, idle_s=0.5)
    return MachineStream(settings, [XBT], start="2019-10-23", stop="2019-10-24")


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


@pytest.mark.parametrize("scheme", ["http", "ws"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_machine_over_a_broken_network(scheme: str, kind: str, seed: int, told: bytes) -> None:
    with serving(Machine()) as machine, proxied(port_of(machine.url), faults(kind, seed, SIZE), seed) as proxy:
        assert joined(machine_source(proxy.port, scheme)).tobytes() == told
        assert proxy.suffered >= 1


@pytest.mark.parametrize("code", [1001, 1006, 1008, 1011, 1012, 1013])
def test_a_machine_that_closes(code: int, told: bytes) -> None:
    async def close(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(NORMALIZED[0][:-1].decode())
        await socket.close(code=code)
        return socket

    with serving(Machine(close, close)) as machine:
        assert joined(machine_source(port_of(machine.url), "ws")).tobytes() == told


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_a_machine_that_is_busy(scheme: str, told: bytes) -> None:
    busy = [status(429, Retry_After="0"), status(503), status(500)]
    with serving(Machine(*busy)) as machine:
        assert joined(machine_source(port_of(machine.url), scheme)).tobytes() == told


# ----------------------------------------------------------------------------------------------------- REST relay


ROWS = [
    {"id": f"{i}", "timestamp": 1_723_161_256_000 + 10 * i, "price": f"{61_800 + i % 7}", "amount": "1", "side": "buy"}
    for i in range(300)
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_rest_relay_over_a_broken_network(kind: str, seed: int) -> None:
    server = RelayServer(ROWS, page=50)
    server.script = [None, status(429, Retry_After="0"), status(502)]
    start_us = 1_723_161_256_000_000

    async def rows(port: int) -> list[Any]:
        settings = RelaySettings(
            f"http://127.0.0.1:{port}", rate_per_s=1e6, attempts=30, wait_s=0.01, max_wait_s=0.1, idle_s=0.5
        )
        async with Relay(settings, KEY) as relay:
            return await relay.rows(Pager(SHAPES["trades"], "binance", "BTCUSDT", start_us, start_us + 3_600_000_000))

    with serving(server), proxied(port_of(server.url), faults(kind, seed, 5_000, 4), seed) as proxy:
        found = asyncio.run(rows(proxy.port))
        assert proxy.suffered >= 1
    assert [row["id"] for row in found] == [row["id"] for row in ROWS]


# ---------------------------------------------------------------------------------------------------------- Redis


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that keeps everything on disk."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start(*DURABLE)
    yield server
    server.stop()


DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
EVENTS = synthetic_events(SOME, messages=4_000)
HOW = Publishing(rows=50, keyframe_rows=500)


def at(port: int, name: str) -> Address:
    return Address.of(f"redis://127.0.0.1:{port}/0?stream={name}")


def link(address: Address) -> Link:
    return Link(address, PATIENCE_S, timeout_s=1.0)


def held(events: np.ndarray) -> dict[tuple[int, int], int]:
    """The book at the end; AssertionError when it is invalid."""
    book: dict[tuple[int, int], int] | None = None
    for row in events[(events["kind"] == GAP) | (events["kind"] == 1)]:
        if row["kind"] == GAP:
            book = None
        elif row["flags"] & CLEAR:
            book = {}
        if book is not None and row["side"]:
            book[int(row["side"]), int(row["price"])] = int(row["qty"])
    assert book is not None
    return {key: lots for key, lots in book.items() if lots}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_redis_consumer_over_a_broken_network(redis: RedisServer, kind: str, seed: int) -> None:
    name = f"in-{kind}-{seed}"
    publish(ArraySource(EVENTS, SOME), at(redis.port, name), HOW)
    with proxied(redis.port, faults(kind, seed, 100_000), seed) as proxy:
        address = at(proxy.port, name)
        source = RedisSource(address, link=link(address))
        events = joined(source)
        assert proxy.suffered >= 1
    if kind != "garbage":
        assert events.tobytes() == EVENTS.tobytes()
    came = events[(events["kind"] != GAP) & (events["flags"] & REPAIRED == 0)]
    assert len(came) + source.rows_lost == len(EVENTS)
    assert held(events) == held(EVENTS)
    assert all(gap.end_us is not None for gap in source.quality.gaps)


@pytest.mark.parametrize("kind", ["drop", "half", "stall"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_redis_publisher_over_a_broken_network(redis: RedisServer, kind: str, seed: int) -> None:
    name = f"out-{kind}-{seed}"
    with proxied(redis.port, faults(kind, seed, 3_000, 4), seed) as proxy:
        address = at(proxy.port, name)
        own = link(address)
        done = publish(ArraySource(EVENTS, SOME), address, HOW, link=own)
        own.close()
        assert proxy.suffered >= 1 and done.outages >= 1
    assert joined(RedisSource(at(redis.port, name))).tobytes() == EVENTS.tobytes()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_redis_that_is_killed(redis: RedisServer, seed: int) -> None:
    drawn = random.Random(seed)
    kills = {drawn.randrange(5, 150) for _ in range(3)}
    address = at(redis.port, f"killed-{seed}")

    class Killing:
        name, instruments, horizon_us, quality = "killing", SOME, 10_000, ArraySource(EVENTS, SOME).quality

        def batches(self, rows: int) -> Iterator[np.ndarray]:
            for i, batch in enumerate(ArraySource(EVENTS, SOME).batches(50)):
                if i in kills:
                    redis.stop()
                    redis.start(*DURABLE)
                yield batch

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: joined(RedisSource(address, link=link(address))))
        own = link(address)
        publish(Killing(), address, HOW, link=own)
        own.close()
        assert reading.result(PATIENCE_S).tobytes() == EVENTS.tobytes()
