"""The live protocols of Bybit, OKX, Deribit and Hyperliquid, and a lost book that comes back by subscribing again."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random

import numpy as np
import pytest
from aiohttp import WSMsgType, web
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.capture import ADAPTER
from adapters.live.binance import USDM
from adapters.live.bybit import BYBIT, BYBIT_SPOT
from adapters.live.deribit import DERIBIT
from adapters.live.hyperliquid import HYPERLIQUID
from adapters.live.okx import OKX
from adapters.live.protocol import BOOK, LIQUIDATIONS, MARKS, TRADES, Answer, Control, Data, Leaving, Limits, Refused
from adapters.live.source import LiveAdapter, Pace
from adapters.transports.websocket import Settings
from replay.errors import ConfigError, DataError
from replay.events import BOOK as BOOK_ROW
from replay.events import GAP, SNAPSHOT, TRADE
from replay.instruments import Instrument
from tests.adapters.live_exchange import abandon

SYMBOLS = {
    BYBIT: ["BTCUSDT", "BTCUSD"], BYBIT_SPOT: ["BTCUSDT"], OKX: ["BTC-USDT", "BTC-USDT-SWAP"],
    DERIBIT: ["BTC-PERPETUAL", "BTC-24SEP21-8000-P"], HYPERLIQUID: ["BTC", "@107"],
}  # fmt: skip
VENUES = list(SYMBOLS)


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
def test_streams_are_asked_for_once_and_books_are_among_them(venue) -> None:
    connections = venue.connections(SYMBOLS[venue], venue.channels)
    streams = [stream for connection in connections for stream in connection.streams]
    assert sorted(streams) == sorted(set(streams))
    assert sorted(s for connection in connections for s in connection.books) == sorted(SYMBOLS[venue])
    for connection in connections:
        for symbol in connection.books:
            assert venue.book_stream(symbol) in connection.streams
    frames = venue.subscribe(streams, 1)
    back = venue.unsubscribe(streams, 1)
    assert all(json.loads(text) for text in frames + back)
    assert len(frames) == len(back)
    assert set(frames).isdisjoint(back)
    assert venue.snapshot(SYMBOLS[venue][0]) is None


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
def test_garbage_is_a_data_error_and_nothing_else(venue) -> None:
    for garbage in (b"", b"nonsense", b"[1]", b"{}", b"\xff\xfe", b'"text"', b"1"):
        with pytest.raises(DataError):
            venue.receive(garbage)


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
def test_other_base_addresses_keep_the_paths(venue) -> None:
    moved = venue.at("ws://127.0.0.1:1", "http://127.0.0.1:2")
    for here, there in zip(
        venue.connections(SYMBOLS[venue], venue.channels), moved.connections(SYMBOLS[venue], venue.channels)
    ):
        assert there.url.startswith("ws://127.0.0.1:1/")
        assert there.url.split("/", 3)[3:] == here.url.split("/", 3)[3:]
        assert there.streams == here.streams
    assert all(request.url.startswith("http://127.0.0.1:2/") for request in moved.lookup(SYMBOLS[venue]))


def test_bybit_has_a_path_for_each_category_and_few_topics_a_frame_for_spot() -> None:
    linear, inverse = BYBIT.connections(["BTCUSDT", "BTCUSD"], (BOOK,))
    assert linear.url.endswith("/v5/public/linear")
    assert inverse.url.endswith("/v5/public/inverse")
    frames = [json.loads(text) for text in BYBIT_SPOT.subscribe([f"publicTrade.S{k}" for k in range(25)], 7)]
    assert [len(frame["args"]) for frame in frames] == [10, 10, 5]
    assert [frame["req_id"] for frame in frames] == ["7", "8", "9"]
    with pytest.raises(ConfigError, match="does not tell what it pays"):
        BYBIT.connections(["what"], (BOOK,))


@pytest.mark.parametrize(
    ("venue", "frame", "kind"),
    [
        (BYBIT, b'{"topic":"tickers.BTCUSD","data":{}}', Data),
        (BYBIT, b'{"success":true,"ret_msg":"pong","op":"ping"}', Control),
        (BYBIT, b'{"op":"pong","args":["1"]}', Control),
        (BYBIT, b'{"success":false,"ret_msg":"error:handler not found","op":"subscribe"}', Refused),
        (OKX, b"pong", Control),
        (OKX, b'{"arg":{"channel":"books","instId":"A"},"data":[]}', Data),
        (OKX, b'{"event":"subscribe","arg":{"channel":"trades","instId":"A"}}', Data),
        (OKX, b'{"event":"error","code":"60018","msg":"Wrong URL or channel"}', Refused),
        (OKX, b'{"event":"error","code":"60014","msg":"Requests too frequent"}', Leaving),
        (OKX, b'{"event":"notice","code":"64008","msg":"will soon be closed"}', Leaving),
        (OKX, b'{"event":"channel-conn-count","connCount":"1"}', Control),
        (DERIBIT, b'{"jsonrpc":"2.0","method":"subscription","params":{}}', Data),
        (DERIBIT, b'{"method":"heartbeat","params":{"type":"test_request"}}', Answer),
        (DERIBIT, b'{"method":"heartbeat","params":{"type":"heartbeat"}}', Control),
        (DERIBIT, b'{"id":3,"result":["book.BTC-PERPETUAL.100ms"]}', Control),
        (DERIBIT, b'{"id":3,"result":[]}', Refused),
        (DERIBIT, b'{"id":3,"error":{"code":10028,"message":"too_many_requests"}}', Leaving),
        (DERIBIT, b'{"id":3,"error":{"code":-32602,"message":"Invalid params"}}', Refused),
        (HYPERLIQUID, b'{"channel":"l2Book","data":{}}', Data),
        (HYPERLIQUID, b'{"channel":"subscriptionResponse","data":{}}', Data),
        (HYPERLIQUID, b'{"channel":"pong"}', Control),
        (HYPERLIQUID, b'{"channel":"error","data":"Invalid subscription"}', Refused),
    ],
)
def test_frames_are_told_apart(venue, frame: bytes, kind: type) -> None:
    outcome = venue.receive(frame)
    assert type(outcome) is kind
    if kind is Data:
        assert outcome == Data(frame)


def test_okx_names_what_each_channel_is_of_and_leaves_out_what_a_symbol_lacks() -> None:
    (connection,) = OKX.connections(["BTC-USDT", "BTC-USDT-SWAP", "ETH-USDT-SWAP"], (TRADES, LIQUIDATIONS, MARKS, BOOK))
    assert connection.streams.count("liquidation-orders:SWAP") == 1
    assert not [s for s in connection.streams if s.startswith(("mark-price:BTC-USDT ", "funding-rate:BTC-USDT "))]
    arguments = [argument for text in OKX.subscribe(connection.streams, 1) for argument in json.loads(text)["args"]]
    assert {"channel": "liquidation-orders", "instType": "SWAP"} in arguments
    assert {"channel": "books", "instId": "BTC-USDT"} in arguments
    assert {"channel": "mark-price", "instId": "BTC-USDT"} not in arguments


def body(value: object) -> bytes:
    """As a server sends it."""
    return json.dumps(value).encode()


def test_terms_are_looked_up() -> None:
    listed = {"symbol": "BTCUSDT", "priceFilter": {"tickSize": "0.10"}, "lotSizeFilter": {"qtyStep": "0.001"}}
    (btc,) = BYBIT.instruments(["BTCUSDT"], [body({"retMsg": "OK", "result": {"list": [listed]}})])
    assert btc == Instrument("bybit", "BTCUSDT", "linear", Decimal("0.1"), Decimal("0.001"), settle="USDT")
    swap = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "tickSz": "0.1", "lotSz": "0.01", "ctVal": "0.01",
            "ctMult": "1", "ctType": "linear", "settleCcy": "USDT"}  # fmt: skip
    (okx,) = OKX.instruments(["BTC-USDT-SWAP"], [body({"code": "0", "data": [swap]})])
    assert (okx.payoff, okx.lot, okx.multiplier) == ("linear", Decimal("0.01"), Decimal("0.01"))
    result = {"instrument_name": "BTC-PERPETUAL", "tick_size": 0.5, "min_trade_amount": 10.0}
    (perpetual,) = DERIBIT.instruments(["BTC-PERPETUAL"], [body({"result": result})])
    assert perpetual == Instrument("deribit", "BTC-PERPETUAL", "inverse", Decimal("0.5"), Decimal("1E+1"), settle="BTC")
    perps = {"universe": [{"name": "BTC", "szDecimals": 5}]}
    spots = {"tokens": [{"index": 0, "szDecimals": 8}, {"index": 150, "szDecimals": 2}],
             "universe": [{"name": "@107", "tokens": [150, 0]}]}  # fmt: skip
    coin, pair = HYPERLIQUID.instruments(["BTC", "@107"], [body(perps), body(spots)])
    assert (coin.tick, coin.lot, coin.payoff) == (Decimal("0.1"), Decimal("0.00001"), "linear")
    assert (pair.tick, pair.lot, pair.payoff) == (Decimal("0.000001"), Decimal("0.01"), "spot")


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
def test_symbols_that_are_not_there_are_the_callers_mistake(venue) -> None:
    symbol = {"okx": "NO-USDT", "deribit": "NO-PERPETUAL"}.get(venue.name, "NOUSDT")
    empty = {"result": {"list": []}, "retMsg": "params error", "data": [], "universe": []}
    with pytest.raises(ConfigError, match="none"):
        venue.instruments([symbol], [body(empty)])


class BybitServer:
    """One symbol: a snapshot for each subscription to its book, then deltas; some are dropped on demand."""

    def __init__(self) -> None:
        self.sockets: dict[web.WebSocketResponse, set[str]] = {}
        self.transports: set[asyncio.BaseTransport] = set()
        self.asked: list[str] = []
        self.last_id, self.drop, self.frozen, self.still = 1, 0, False, False
        self.bids, self.asks = {"99.0": "1.0"}, {"101.0": "1.0"}

    def __enter__(self) -> BybitServer:
        self.loop, ready = asyncio.new_event_loop(), threading.Event()
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self._serve(ready)), daemon=True)
        self.thread.start()
        assert ready.wait(30)
        return self

    def __exit__(self, *error: object) -> None:
        self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join(30)
        self.loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self.stopping = asyncio.Event()
        app = web.Application()
        app.router.add_get("/v5/public/linear", self._socket)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        moving = asyncio.ensure_future(self._move())
        ready.set()
        await self.stopping.wait()
        moving.cancel()
        await abandon(runner, self.transports)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        self.transports.add(request.transport)
        await socket.prepare(request)
        topics = self.sockets[socket] = set()
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            asked = json.loads(frame.data)
            self.asked.append(asked["op"])
            await socket.send_json({"success": True, "ret_msg": asked["op"], "op": asked["op"]})
            if asked["op"] == "subscribe":
                if "orderbook.50.XUSDT" in asked["args"]:
                    await socket.send_json(self._book("snapshot", self.bids, self.asks))
                topics.update(asked["args"])
            elif asked["op"] == "unsubscribe":
                topics.difference_update(asked["args"])
        del self.sockets[socket]
        return socket

    def _book(self, kind: str, bids: dict[str, str], asks: dict[str, str]) -> dict:
        now_ms = time.time_ns() // 1_000_000 - 1
        data = {"s": "XUSDT", "b": list(bids.items()), "a": list(asks.items()), "u": self.last_id, "seq": self.last_id}
        return {"topic": "orderbook.50.XUSDT", "type": kind, "ts": now_ms, "data": data, "cts": now_ms}

    async def _move(self) -> None:
        random = Random(9)
        while True:
            await asyncio.sleep(0.002)
            self.still = self.frozen
            if self.still:
                continue
            self.last_id += 1
            change = {f"{random.randint(90, 99)}.0": f"{random.randint(1, 9)}.0"}
            self.bids.update(change)
            if self.drop:
                self.drop -= 1
                continue
            for socket, topics in list(self.sockets.items()):
                if "orderbook.50.XUSDT" in topics and not socket.closed:
                    await socket.send_json(self._book("delta", change, {}))


@pytest.fixture
def bybit() -> Iterator[BybitServer]:
    """Running."""
    with BybitServer() as server:
        yield server


def test_a_hole_makes_bybit_send_the_book_again(bybit: BybitServer, tmp_path: Path) -> None:
    limits = Limits(frames_per_s=1_000.0, resync_us=20_000_000)
    here = replace(BYBIT.at(f"ws://127.0.0.1:{bybit.port}", ""), limits=limits)
    terms = [Instrument("bybit", "XUSDT", "linear", Decimal("0.1"), Decimal("0.1"))]
    source = LiveAdapter(here).open(
        ["XUSDT"], now_ns=time.time_ns, random=Random(1), channels=[BOOK, TRADES], instruments=terms, record=tmp_path,
        settings=Settings(spread_s=0.0), pace=Pace(max_lag_us=10**12),
    )  # fmt: skip
    rows, dropped = np.zeros(0), False
    parts, deadline = [], time.monotonic() + 60
    for batch in source.batches():
        parts.append(batch.copy())
        rows = np.concatenate(parts)
        assert time.monotonic() < deadline, source.health
        full = np.unique(rows["seq"][(rows["flags"] & SNAPSHOT) != 0])
        if len(full) == 1 and len(rows) > 20 and not dropped:
            bybit.drop, dropped = 1, True
        if len(full) == 2 and rows["seq"][-1] > full[1]:
            bybit.frozen = True
        if bybit.still and bybit.last_id in rows["seq"]:
            source.stop()
    assert bybit.asked == ["subscribe", "unsubscribe", "subscribe"]
    assert np.count_nonzero(rows["kind"] == GAP) == 1
    assert not (rows["kind"] == TRADE).any()
    book: dict[int, int] = {}
    for row in rows[(rows["kind"] == BOOK_ROW) & (rows["side"] == 1)]:
        book[int(row["price"])] = int(row["qty"])
    assert book == {int(float(price) * 10): int(float(size) * 10) for price, size in bybit.bids.items()}
    again = np.concatenate([batch.copy() for batch in ADAPTER.open([tmp_path]).batches()])
    assert again.tobytes() == rows.tobytes()


WORDS = st.sampled_from([
    "topic", "op", "success", "ret_msg", "event", "arg", "data", "code", "msg", "method", "params", "type", "result",
    "error", "id", "channel", "stream", "e", "list", "symbol", "symbols", "universe", "tokens", "name", "szDecimals",
    "index", "filters", "filterType", "lotSizeFilter", "priceFilter", "instrument_name", "tick_size", "instId",
])  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
"""Values made of the words that the protocols look at."""


@pytest.mark.parametrize("venue", [*VENUES, USDM], ids=lambda venue: venue.name)
@settings(max_examples=60, deadline=None)
@given(frame=st.binary(max_size=30) | JSON.map(body))
def test_any_frame_has_a_meaning_or_is_a_data_error(venue, frame: bytes) -> None:
    """Nothing but an outcome or a DataError comes out of `receive`, whatever goes in."""
    try:
        outcome = venue.receive(frame)
    except DataError:
        return
    assert isinstance(outcome, (Data, Control, Answer, Leaving, Refused))


@pytest.mark.parametrize("venue", [*VENUES, USDM], ids=lambda venue: venue.name)
@settings(max_examples=60, deadline=None)
@given(answer=st.binary(max_size=30) | JSON.map(body))
def test_any_answer_about_terms_is_read_or_refused(venue, answer: bytes) -> None:
    """Nothing but instruments, a ConfigError or a DataError comes out of `instruments`."""
    symbol = SYMBOLS.get(venue, ["BTCUSDT"])[0]
    try:
        found = venue.instruments([symbol], [answer])
    except (ConfigError, DataError):
        return
    assert [(each.venue, each.symbol) for each in found] == [(venue.name, symbol)]
