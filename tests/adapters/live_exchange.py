"""A small USD-M exchange on loopback for tests of the live shell: moving books, REST snapshots, faults on command.

It runs in a thread of its own and stops with its `with` block.  Book, quotes and trades go to every socket that
subscribed to them; ids are those of a real one (U, u, pu; joint for all symbols).
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field, replace
from random import Random
from types import TracebackType

from aiohttp import WSMsgType, web

from adapters.live.binance import USDM, BinanceVenue
from adapters.live.protocol import BOOK, LIQUIDATIONS, MARKS, QUOTES, TRADES, Limits


@dataclass
class Listing:
    """One symbol: books in ticks of 0.1 and lots of 0.001."""

    bids: dict[int, int] = field(default_factory=lambda: {1_000 - k: 5 + k for k in range(20)})
    asks: dict[int, int] = field(default_factory=lambda: {1_001 + k: 5 + k for k in range(20)})
    last_id: int = 100
    trade_id: int = 0


class Exchange:
    """`symbols` move every `step_s`.  The counters of faults may be set from any thread."""

    def __init__(
        self, symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT"), *, seed: int = 1, step_s: float = 0.002
    ) -> None:
        self.listings = {symbol: Listing() for symbol in symbols}
        self.random, self.step_s = Random(seed), step_s
        self.ids = 100
        self.drop_depth: dict[str, int] = dict.fromkeys(symbols, 0)
        self.rest_refusals = self.connect_refusals = 0
        self.quiet = self.frozen = self.still = False
        self.subscribed: list[str] = []
        self.sockets: dict[web.WebSocketResponse, set[str]] = {}
        self.connects = self.snapshots = 0
        self.transports: set[asyncio.BaseTransport] = set()
        self.trades_sent: list[int] = []
        self.garbage: list[str] = []

    @property
    def venue(self) -> BinanceVenue:
        """USD-M, here."""
        base = f"127.0.0.1:{self.port}"
        return replace(
            USDM,
            sockets=(((BOOK, TRADES, QUOTES), f"ws://{base}/public"), ((LIQUIDATIONS, MARKS), f"ws://{base}/market")),
            rest=f"http://{base}",
            limits=Limits(frames_per_s=1_000.0, weight_per_min=100_000),
        )

    def close_sockets(self, code: int = 1001) -> None:
        """Close all connections."""
        self._call(lambda: [asyncio.ensure_future(socket.close(code=code)) for socket in list(self.sockets)])

    def __enter__(self) -> Exchange:
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self.stopping.set)
        self.thread.join(30)
        assert not self.thread.is_alive()

    def _call(self, what) -> None:
        self.loop.call_soon_threadsafe(what)

    def _run(self, ready: threading.Event) -> None:
        self.loop.run_until_complete(self._serve(ready))
        self.loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self.stopping = asyncio.Event()
        app = web.Application()
        app.router.add_get("/{path}/stream", self._socket)
        app.router.add_get("/fapi/v1/depth", self._depth)
        app.router.add_get("/fapi/v1/exchangeInfo", self._info)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        moving = asyncio.ensure_future(self._move())
        await self.stopping.wait()
        moving.cancel()
        await abandon(runner, self.transports)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.connects += 1
        if self.connect_refusals:
            self.connect_refusals -= 1
            return web.Response(status=429, headers={"Retry-After": "0"})
        socket = web.WebSocketResponse()
        self.transports.add(request.transport)
        await socket.prepare(request)
        self.sockets[socket] = set()
        try:
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    asked = json.loads(frame.data)
                    streams = set(asked["params"])
                    self.subscribed += sorted(streams)
                    mine = self.sockets[socket]
                    mine.update(streams) if asked["method"] == "SUBSCRIBE" else mine.difference_update(streams)
                    await socket.send_json({"result": None, "id": asked["id"]})
        finally:
            del self.sockets[socket]
        return socket

    async def _depth(self, request: web.Request) -> web.Response:
        self.snapshots += 1
        if self.rest_refusals:
            self.rest_refusals -= 1
            return web.Response(status=429, headers={"Retry-After": "0"})
        listing = self.listings[request.query["symbol"]]
        now_ms = time.time_ns() // 1_000_000
        sides = {"bids": _texts(listing.bids.items()), "asks": _texts(listing.asks.items())}
        return web.json_response({"lastUpdateId": listing.last_id, "E": now_ms, "T": now_ms - 1, **sides})

    async def _info(self, request: web.Request) -> web.Response:
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001"},
        ]
        return web.json_response(
            {"symbols": [{"symbol": name, "marginAsset": "USDT", "filters": filters} for name in self.listings]}
        )

    async def _move(self) -> None:
        while True:
            await asyncio.sleep(self.step_s)
            self.still = self.frozen
            if self.still:
                continue
            for symbol, listing in self.listings.items():
                await self._step(symbol, listing)

    async def _step(self, symbol: str, listing: Listing) -> None:
        now_ms = time.time_ns() // 1_000_000 - 1
        stream, previous = symbol.lower(), listing.last_id
        self.ids += self.random.randint(1, 5)
        listing.last_id = self.ids
        changes = {}
        for name, side in (("b", listing.bids), ("a", listing.asks)):
            price = self.random.choice(list(side))
            side[price] = self.random.randint(1, 50)
            changes[name] = _texts([(price, side[price])])
        depth = {"e": "depthUpdate", "E": now_ms, "T": now_ms, "s": symbol, "U": previous + 1, "u": self.ids,
                 "pu": previous, **changes}  # fmt: skip
        if self.drop_depth[symbol]:
            self.drop_depth[symbol] -= 1
        else:
            await self._send(f"{stream}@depth@100ms", depth)
        bid, ask = max(listing.bids), min(listing.asks)
        touch = _texts([(bid, listing.bids[bid]), (ask, listing.asks[ask])])
        await self._send(f"{stream}@bookTicker", {
            "e": "bookTicker", "u": self.ids, "s": symbol, "b": touch[0][0], "B": touch[0][1], "a": touch[1][0],
            "A": touch[1][1], "T": now_ms, "E": now_ms,
        })  # fmt: skip
        listing.trade_id += 1
        (price, size), buys = (touch[1], True) if self.random.random() < 0.5 else (touch[0], False)
        self.trades_sent.append(listing.trade_id)
        await self._send(f"{stream}@trade", {
            "e": "trade", "E": now_ms, "T": now_ms, "s": symbol, "t": listing.trade_id, "p": price, "q": size,
            "X": "MARKET", "m": not buys,
        })  # fmt: skip

    async def _send(self, stream: str, data: dict) -> None:
        if self.quiet:
            return
        text = json.dumps({"stream": stream, "data": data}, separators=(",", ":"))
        if self.garbage:
            text = self.garbage.pop()
        for socket, streams in list(self.sockets.items()):
            if stream in streams and not socket.closed:
                try:
                    await socket.send_str(text)
                except ConnectionError:
                    continue  # it is just being closed


async def abandon(runner: web.AppRunner, transports: set[asyncio.BaseTransport]) -> None:
    """End a server; sockets with unsent data are not waited for."""
    for transport in transports:
        transport.abort()
    await runner.cleanup()
    for _ in range(3):
        await asyncio.sleep(0)  # the loop closes what was aborted


def _texts(levels) -> list[list[str]]:
    return [[f"{ticks // 10}.{ticks % 10}", f"{lots // 1000}.{lots % 1000:03d}"] for ticks, lots in levels]
