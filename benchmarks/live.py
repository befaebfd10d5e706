"""Live data: from socket to callback, and messages a second from socket to engine, against a bare loop.

A server in a process of its own speaks through a real WebSocket on loopback.  Latency: prints that carry the moment of
their sending (the monotonic clock is one for all processes), one every 2 ms, until the strategy's `on_trade` has run.
Throughput: a full book, then changes and prints as fast as they are taken, until the engine has taken the last one.
The bare loop is `websockets` and `orjson.loads`, nothing else, with the same server in the same run.

Checked first: everything arrives, in order, and the book is the one of the decoder and the engine without a network.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import orjson
from websockets.asyncio.client import connect

from adapters.live import venues
from adapters.live.source import LiveAdapter, LiveSource, Pace
from adapters.sequencing import Repair, Timing
from benchmarks.harness import Measurement
from benchmarks.venues import START_MS, bybit_frames, deribit_frames, hyperliquid_frames, okx_frames, traffic
from replay import Context, Replay, Strategy
from replay.context import Trade
from replay.instruments import Instrument
from replay.sources import ArraySource

TITLE = "Live data: socket to callback, socket to engine"

PRINTS, SKIPPED, EVERY_S = 3_000, 500, 0.002
ROUNDS = 3
WHOLE = Pace(max_rows=1 << 30, max_lag_us=1 << 50)
"""Nothing is conflated: every message is to be counted."""


@dataclass(frozen=True, slots=True)
class Case:
    """A venue, what is listened to, and what its server sends; `rest` makes the answer to any GET, if there is one."""

    adapter: LiveAdapter
    symbol: str
    frames: Callable[[], Iterator[Any]]
    rest: Callable[[], Any] | None = None

    @property
    def instrument(self) -> Instrument:
        """With the steps of `benchmarks.venues`."""
        return Instrument(self.adapter.name, self.symbol, "linear", Decimal("0.1"), Decimal("0.001"))


def binance_frames() -> Iterator[Any]:
    """depth and trade; update ids count from 1."""
    for number, sides in traffic():
        ms = START_MS + number
        if sides is None:
            yield printed(number, ms)
            continue
        before = number - (number > 0 and number % 10 == 0)
        data = {"e": "depthUpdate", "E": ms, "T": ms, "s": "BTCUSDT", "U": before + 1, "u": number + 1, "pu": before}
        yield {"stream": "btcusdt@depth@100ms", "data": {**data, "b": sides[0], "a": sides[1]}}


def binance_book() -> Any:
    """What REST answers: the book after the first message."""
    _, sides = next(traffic())
    assert sides is not None
    return {"lastUpdateId": 1, "E": START_MS, "T": START_MS, "bids": sides[0], "asks": sides[1]}


def printed(number: int, ms: int) -> dict[str, Any]:
    """A print of Binance."""
    data = {"e": "trade", "E": ms, "T": ms, "s": "BTCUSDT", "t": number, "p": "60000.1", "q": "0.4", "X": "MARKET"}
    return {"stream": "btcusdt@trade", "data": {**data, "m": False}}


CASES = {
    "Binance USD-M": Case(venues.BINANCE_USDM, "BTCUSDT", binance_frames, binance_book),
    "Bybit v5": Case(venues.BYBIT, "BTCUSDT", bybit_frames),
    "OKX v5": Case(venues.OKX, "BTC-USDT", okx_frames),
    "Deribit": Case(venues.DERIBIT, "BTC-PERPETUAL", deribit_frames),
    "Hyperliquid": Case(venues.HYPERLIQUID, "BTC", hyperliquid_frames),
}


def measure(capture: Path | None) -> list[Measurement]:
    """All figures; `capture` is not used."""
    return [*latencies(), *(throughput(name) for name in CASES)]


# ------------------------------------------------------------------------------------------------------------ latency


class Stamps(Strategy):
    """Keeps the number of each print: the moment of its sending, ns."""

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        """One number."""
        ctx.record("sent", trade.seq)


def latencies() -> list[Measurement]:
    """µs from sending to the end of the callback, by mode, and to the parsed message of the bare loop."""
    case, workload = CASES["Binance USD-M"], f"{PRINTS - SKIPPED:,} prints, one every {EVERY_S * 1e3:g} ms"
    with serving("stamped") as port:
        found = {"bare loop": [asyncio.run(bare_delays(port)) for _ in range(ROUNDS)]}
        for mode in ("interpreted", "compiled"):
            found[f"on_trade, {mode}"] = [strategy_delays(case, port, mode) for _ in range(ROUNDS)]
    return [
        Measurement(
            name, workload, "µs", tuple(float(np.median(each)) for each in rounds), "median, from socket",
            {"p99 µs": float(np.median([np.percentile(each, 99) for each in rounds]))},
        )
        for name, rounds in found.items()
    ]  # fmt: skip


async def bare_delays(port: int) -> np.ndarray:
    """Of the prints after the first ones, µs."""
    delays = []
    async with connect(f"ws://127.0.0.1:{port}/", compression=None) as socket:
        await socket.send("{}")
        for _ in range(PRINTS):
            message = orjson.loads(await socket.recv(decode=False))
            delays.append((time.perf_counter_ns() - message["data"]["t"]) / 1e3)
    return np.array(delays[SKIPPED:])


def strategy_delays(case: Case, port: int, mode: str) -> np.ndarray:
    """Likewise, when the callback has returned; AssertionError unless all came."""
    source = opened(case, port, ["trades"])
    session = Replay([source]).session(Stamps(), mode)
    reached_ns = []
    session.step()  # on_start
    while len(reached_ns) < PRINTS and session.step():
        reached_ns.append(time.perf_counter_ns())
    source.stop()
    session.run()
    sent_ns = session.results()[0].records["sent"]["value"]
    assert len(reached_ns) == len(sent_ns) == PRINTS, "prints are missing"
    assert (np.diff(sent_ns) > 0).all(), "prints are out of order"
    return ((np.array(reached_ns) - sent_ns) / 1e3)[SKIPPED:]


# --------------------------------------------------------------------------------------------------------- throughput


class Ends(Strategy):
    """Looks at the book once, at the end."""

    def on_stop(self, ctx: Context) -> None:
        """The best 20 levels of both sides."""
        self.book = [levels.tolist() for side in (1, -1) for levels in ctx.book(0).depth(side, 20)]


def throughput(name: str) -> Measurement:
    """Thousand messages a second into the engine, and the ratio to the bare loop, in turn."""
    case = CASES[name]
    frames = [orjson.dumps(frame) for frame in case.frames()]
    right = book_without_network(case, frames)
    bare, ours = [], []
    with serving(name) as port:
        for _ in range(ROUNDS):
            bare.append(len(frames) / asyncio.run(bare_seconds(port, len(frames))) / 1e3)
            seconds, book = engine_seconds(case, port, len(frames))
            assert book == right, f"{name}: another book"
            ours.append(len(frames) / seconds / 1e3)
    share = float(np.median(ours) / np.median(bare))
    facts = {"bare k messages/s": float(np.median(bare)), "share of bare": share}
    workload = f"{len(frames):,} messages"
    return Measurement(f"{name} to engine", workload, "k messages/s", tuple(ours), "one socket, one symbol", facts)


def book_without_network(case: Case, frames: Sequence[bytes]) -> Any:
    """The book at the end, by decoder and engine alone."""
    venue, instrument, parts = case.adapter.venue, case.instrument, []
    decoder = venue.decoder([instrument], Timing(), Repair("refetch"))
    first = [] if case.rest is None else [venue.snapshot_message(case.symbol, orjson.dumps(case.rest()))]
    for n, frame in enumerate([*frames[:1], *first, *frames[1:]]):
        decoder.feed(frame, (START_MS + n) * 1_000_000, lambda batch: parts.append(batch.copy()))
    strategy = Ends()
    Replay([ArraySource(np.concatenate(parts), [instrument])]).run(strategy)
    return strategy.book


async def bare_seconds(port: int, count: int) -> float:
    """From the first message to the last."""
    async with connect(f"ws://127.0.0.1:{port}/", compression=None) as socket:
        await socket.send("{}")
        orjson.loads(await socket.recv(decode=False))
        start = time.perf_counter()
        for _ in range(count - 1):
            orjson.loads(await socket.recv(decode=False))
        return time.perf_counter() - start


def engine_seconds(case: Case, port: int, count: int) -> tuple[float, Any]:
    """(from the first row in the engine to the last, the book at the end); AssertionError after a gap or a loss."""
    source, strategy = opened(case, port, ["book", "trades"]), Ends()
    times: list[float] = []

    def progress(rows: int, time_us: int, fills: int) -> None:
        if source.health.frames < count or source.backlog.rows:
            times.append(time.perf_counter())
        else:
            source.stop()

    Replay([source], progress=progress).run(strategy)
    assert source.health.frames == count, f"{source.health.frames} of {count} messages"
    assert not source.quality.gaps_total and not source.backlog.events, source.quality.lines()
    return times[-1] - times[0], strategy.book


def opened(case: Case, port: int, channels: Sequence[str]) -> LiveSource:
    """A client of the server."""
    base = f"127.0.0.1:{port}"
    return case.adapter.at(f"ws://{base}", f"http://{base}").open(
        [case.symbol],
        now_ns=time.time_ns,
        random=Random(1),
        channels=channels,
        instruments=[case.instrument],
        pace=WHOLE,
    )


# ------------------------------------------------------------------------------------------------------------- server


@contextmanager
def serving(what: str) -> Iterator[int]:
    """Port of a server in a process of its own that ends with the block."""
    command = [sys.executable, "-m", "benchmarks.live", what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.stdin.close()


async def serve(what: str) -> None:
    """Print the port; serve until the standard input ends."""
    from aiohttp import web

    case = CASES.get(what)
    texts = [] if case is None else [orjson.dumps(frame).decode() for frame in case.frames()]
    asked = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            assert case is not None and case.rest is not None
            asked.set()
            return web.json_response(case.rest())
        asked.clear()
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        bare = await socket.receive_str() == "{}"
        speaking = asyncio.ensure_future(flood(socket, bare) if texts else stamp(socket))
        async for _ in socket:
            pass  # requests and heartbeats
        speaking.cancel()
        return socket

    async def flood(socket: web.WebSocketResponse, bare: bool) -> None:
        await socket.send_str(texts[0])
        if case is not None and case.rest is not None and not bare:
            await asked.wait()
        for text in texts[1:]:
            await socket.send_str(text)

    async def stamp(socket: web.WebSocketResponse) -> None:
        for _ in range(PRINTS):
            await asyncio.sleep(EVERY_S)
            message = printed(time.perf_counter_ns(), START_MS)
            await socket.send_str(orjson.dumps(message).decode())

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
