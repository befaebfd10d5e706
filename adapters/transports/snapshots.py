"""HTTP requests beside a live feed: within the venue's weight per minute, and patient when it says so.

A venue that answers 429 or 418 wants to be left alone for Retry-After; all requests wait then, not only the one that
was refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol

import aiohttp

from adapters.live.protocol import Request
from adapters.transports.tardis import retry_after_s
from replay.errors import TransportError

NS_PER_S = 1_000_000_000
LEAVE_ALONE = (418, 429)
MAX_BODY_BYTES = 67_108_864


class World(Protocol):
    """The part of `adapters.transports.websocket.Surroundings` that is needed here."""

    @property
    def now_ns(self) -> Callable[[], int]:
        """Unix time, ns."""

    @property
    def sleep(self) -> Callable[[float], Awaitable[None]]:
        """Seconds."""


class Http:
    """A client with a budget of `weight_per_min`, which refills steadily; `timeout_s` bounds each request."""

    def __init__(self, weight_per_min: int, world: World, timeout_s: float) -> None:
        self.rate, self.world, self.timeout_s = weight_per_min / 60.0, world, timeout_s
        self.most = self.left = float(weight_per_min)
        self.counted_ns = world.now_ns()
        self.gate = asyncio.Lock()
        self.session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Http:
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self.timeout_s))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.session is not None
        await self.session.close()

    async def ask(self, request: Request) -> bytes:
        """The body of the answer; TransportError when there is none."""
        async with self.gate:
            await self._wait_for(request.weight)
            status, said, body = await self._send(request)
            if status in LEAVE_ALONE:
                await self.world.sleep(retry_after_s(said, lambda: self.world.now_ns() / NS_PER_S))
        if status != 200:
            text = " ".join(body.decode("utf-8", "replace").split())[:200]
            raise TransportError(f"the server answers {status}: {text}", request.url)
        return body

    async def _wait_for(self, weight: int) -> None:
        """Until the budget has `weight`, which is then spent."""
        while True:
            now_ns = self.world.now_ns()
            self.left = min(self.most, self.left + max(0, now_ns - self.counted_ns) / NS_PER_S * self.rate)
            self.counted_ns = now_ns
            if self.left >= min(weight, self.most):
                self.left -= weight
                return
            await self.world.sleep((weight - self.left) / self.rate)

    async def _send(self, request: Request) -> tuple[int, str | None, bytes]:
        assert self.session is not None
        method = "POST" if request.body else "GET"
        headers = {"Content-Type": "application/json"} if request.body else {}
        sent = self.session.request(method, request.url, data=request.body or None, headers=headers)
        try:
            async with sent as answer:
                body = await answer.content.read(MAX_BODY_BYTES)
                while not answer.content.at_eof():
                    more = await answer.content.read(MAX_BODY_BYTES)
                    body += more
                    if len(body) > MAX_BODY_BYTES:
                        raise TransportError("the answer is longer than 64 MiB", request.url)
                return answer.status, answer.headers.get("Retry-After"), body
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TransportError(f"the request failed ({type(error).__name__})", request.url) from error
