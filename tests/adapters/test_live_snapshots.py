"""HTTP beside a live feed: the budget, Retry-After, and answers that are none, against a server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest
from aiohttp import web

from adapters.live.protocol import Request
from adapters.transports.snapshots import Http
from adapters.transports.websocket import Surroundings
from replay.errors import TransportError


class World:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s, self.slept = 0.0, []

    def surroundings(self) -> Surroundings:
        """As the client takes them."""
        return Surroundings(lambda: int(self.now_s * 1e9), self.sleep, Random(0))

    async def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.slept.append(seconds)
        self.now_s += seconds


def with_server(
    answer: Callable[[web.Request], Awaitable[web.Response]], ask: Callable[[str, Http], Awaitable[None]], world: World
) -> None:  # fmt: skip
    """Run `ask` with a client of 600 weight a minute and the address of a server that gives `answer`."""

    async def run() -> None:
        app = web.Application()
        app.router.add_route("*", "/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with Http(600, world.surroundings(), 30.0) as http:
                await ask(f"http://127.0.0.1:{runner.addresses[0][1]}/", http)
        finally:
            await runner.cleanup()

    asyncio.run(run())


def test_requests_stay_within_the_weight_per_minute() -> None:
    world = World()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"fine")

    async def ask(url: str, http: Http) -> None:
        for _ in range(20):
            assert await http.ask(Request(url, weight=100)) == b"fine"

    with_server(answer, ask, world)
    assert world.now_s == pytest.approx((20 * 100 - 600) / 10, rel=1e-6)


@pytest.mark.parametrize("status", [418, 429])
def test_a_venue_that_wants_to_be_left_alone_is(status: int) -> None:
    world = World()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "7"}, text="slow down")

    async def ask(url: str, http: Http) -> None:
        with pytest.raises(TransportError, match=f"answers {status}: slow down"):
            await http.ask(Request(url))

    with_server(answer, ask, world)
    assert world.slept == [7.0]


def test_bodies_are_posted_and_a_server_that_is_not_there_is_told() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        return web.Response(body=request.method.encode() + b" " + await request.read())

    async def ask(url: str, http: Http) -> None:
        assert await http.ask(Request(url, body=b'{"type":"meta"}')) == b'POST {"type":"meta"}'
        with pytest.raises(TransportError, match="the request failed"):
            await http.ask(Request("http://127.0.0.1:1/"))

    with_server(answer, ask, World())
