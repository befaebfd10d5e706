"""Live feeds: messages per second from the socket to events, and how long after its receipt a callback is made.

A server in a process of its own plays a USD-M market over loopback.  Checked first: every trade that was sent is seen
once, in order, and no book had a gap.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from random import Random

import numpy as np
from aiohttp import web

from adapters.live.binance import USDM
from adapters.live.protocol import BOOK, TRADES
from adapters.live.source import LiveAdapter, LiveSource, Pace
from benchmarks.harness import Measurement
from replay.context import Context, Trade
from replay.engine import Replay
from replay.events import GAP
from replay.events import TRADE as TRADE_ROW
from replay.instruments import Instrument
from replay.strategy import Strategy

TITLE = "Live feed"

PAIRS, TIMED, PAUSE_S = 40_000, 3_000, 0.001
BTC = Instrument("binance-usdm", "BTCUSDT", "linear", Decimal("0.1"), Decimal("0.001"))
DEPTH = (
    '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":%d,"T":%d,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,'
    '"b":[["61800.1","%d.000"],["61799.0","1.000"]],"a":[["61800.2","2.000"]]}}'
)
PRINT = (
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":%d,"T":%d,"s":"BTCUSDT","t":%d,"p":"61800.1","q":"0.002",'
    '"X":"MARKET","m":true}}'
)
SNAPSHOT = {"lastUpdateId": 0, "E": 1, "T": 1, "bids": [["61800.1", "1.000"]], "asks": [["61800.2", "1.000"]]}


def play(port: multiprocessing.queues.Queue[int], pairs: int, pause_s: float) -> None:
    """A server for one client: `pairs` of a delta and a print, with pauses between them."""

    async def stream(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        for i in range(1, pairs + 1):
            now_ms = time.time_ns() // 1_000_000
            await socket.send_str(DEPTH % (now_ms, now_ms, i, i, i - 1, i % 9 + 1))
            await socket.send_str(PRINT % (now_ms, now_ms, i))
            if pause_s:
                await asyncio.sleep(pause_s)
        await socket.receive()
        return socket

    async def depth(request: web.Request) -> web.Response:
        return web.json_response(text=json.dumps(SNAPSHOT))

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/public/stream", stream)
        app.router.add_get("/fapi/v1/depth", depth)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())


@contextmanager
def feed(pairs: int, pause_s: float) -> Iterator[LiveSource]:
    """A live source of such a server."""
    spawn = multiprocessing.get_context("spawn")
    port = spawn.Queue()
    server = spawn.Process(target=play, args=(port, pairs, pause_s), daemon=True)
    server.start()
    base = f"127.0.0.1:{port.get(timeout=60)}"
    venue = LiveAdapter(USDM.at(f"ws://{base}", f"http://{base}"))
    source = venue.open(
        ["BTCUSDT"], now_ns=time.time_ns, random=Random(1), channels=[BOOK, TRADES], instruments=[BTC],
        pace=Pace(max_rows=10_000_000, max_lag_us=10**12),
    )  # fmt: skip
    try:
        yield source
    finally:
        source.close()
        server.kill()
        server.join()


def drained() -> float:
    """Messages per second, read as fast as they come."""
    prints: list[np.ndarray] = []
    began_s, seen = 0.0, 0
    with feed(PAIRS, 0.0) as source:
        for batch in source.batches():
            began_s = began_s or time.perf_counter()
            prints.append(batch["seq"][batch["kind"] == TRADE_ROW].copy())
            assert not (batch["kind"] == GAP).any(), "the book has a gap"
            seen += len(prints[-1])
            if seen == PAIRS:
                break
        took_s = time.perf_counter() - began_s
    assert (np.concatenate(prints) == np.arange(1, PAIRS + 1)).all(), "prints are missing or out of order"
    return 2 * PAIRS / took_s


class Stopwatch(Strategy):
    """Notes how long after its receipt each print is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.late_us: list[int] = []

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        """Look at the clock."""
        self.late_us.append(time.time_ns() // 1_000 - ctx.now)
        if len(self.late_us) == TIMED:
            ctx.stop()


def callbacks() -> np.ndarray:
    """µs from receipt to callback, one message a millisecond."""
    watch = Stopwatch()
    with feed(TIMED + 100, PAUSE_S) as source:
        Replay([source]).run(watch)
    return np.array(watch.late_us[TIMED // 10 :])


def measure(capture: object) -> list[Measurement]:
    """The figures; there is no need of a recording."""
    late_us = callbacks()
    rates = tuple(drained() / 1e3 for _ in range(3))
    middle, tail = (float(np.percentile(late_us, q)) for q in (50, 99))
    return [
        Measurement("socket to events", "USD-M, 1 symbol, depth and trades", "k messages/s", rates, "loopback"),
        Measurement("receipt to callback, median", "1,000 pairs/s, interpreted", "µs", (middle,), "loopback"),
        Measurement("receipt to callback, 99 %", "1,000 pairs/s, interpreted", "µs", (tail,), "loopback"),
    ]
