"""tardis-machine as a stream: what comes is what the file would give, over every kind of broken connection."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from adapters.machine_stream import MachineStream, instrument_of
from adapters.tardis_machine import ADAPTER
from adapters.transports.machine_stream import Settings
from adapters.transports.pump import pumped
from replay.errors import ConfigError, DataError, TransportError
from replay.events import BOOK, CLEAR, GAP, TRADE, empty_events
from replay.instruments import Instrument
from replay.sources import open_stream
from tests.adapters.relay_server import serving

XBT = Instrument("bitmex", "XBTUSD", "inverse", Decimal("0.5"), Decimal("1"))
BTC = Instrument("binance-futures", "BTCUSDT", "linear", Decimal("0.1"), Decimal("0.001"))
SPAN = {"start": "2019-10-23", "stop": "2019-10-24"}


def stamp(second: int) -> dict[str, str]:
    return {
        "timestamp": f"2019-10-23T11:29:{second:02}.469Z",
        "localTimestamp": f"2019-10-23T11:29:{second:02}.669123Z",
    }


def book(second: int, bids: Sequence[Any], asks: Sequence[Any] = (), whole: bool = False) -> dict[str, Any]:
    sides = {name: [{"price": p, "amount": q} for p, q in rows] for name, rows in (("bids", bids), ("asks", asks))}
    named = {"type": "book_change", "symbol": "XBTUSD", "exchange": "bitmex", "isSnapshot": whole}
    return {**named, **sides, **stamp(second)}


def trade(second: int, price: float) -> dict[str, Any]:
    named = {"type": "trade", "symbol": "XBTUSD", "exchange": "bitmex", "id": f"{second}-a", "side": "buy"}
    return {**named, "price": price, "amount": 50, **stamp(second)}


LOST = {"type": "disconnect", "exchange": "bitmex", "localTimestamp": stamp(4)["localTimestamp"]}
MESSAGES = [
    book(1, [(7985, 10)], [(7985.5, 20)], whole=True), trade(2, 7985.5), book(3, [(7984.5, 5)], [(7985.5, 0)]), LOST,
    book(5, [(7980, 5)]), book(6, [(7979, 3)], [(7990, 4)], whole=True), book(7, [(7979, 4)]), trade(8, 7979),
]  # fmt: skip


def line(message: Any) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message).encode()


Step = Any
"""A message; or what happens to the connection: a close code, "cut", "stall", "garbage"."""


class Machine:
    """Each connection plays the next script, the last one for ever: messages, then perhaps a fault."""

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self.scripts = list(scripts)
        self.asked: list[tuple[str, Any]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, json.loads(request.query["options"])))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, web.Response):
            return web.Response(status=script.status, headers=script.headers, body=script.body)
        response = web.WebSocketResponse() if request.path.startswith("/ws") else web.StreamResponse()
        await response.prepare(request)
        for step in script:
            if isinstance(step, (dict, bytes)):
                await self.say(response, line(step))
            elif isinstance(response, web.WebSocketResponse) and isinstance(step, int):
                await response.close(code=step)
                return response
            elif step == "stall":
                while request.transport is not None and not request.transport.is_closing():
                    await asyncio.sleep(0.01)
            elif step == "tail":
                assert not isinstance(response, web.WebSocketResponse)
                await response.write(b'{"type":"tra')
            else:
                assert request.transport is not None
                request.transport.abort()
                return response
        if isinstance(response, web.WebSocketResponse):
            await response.close(code=1000)
        return response

    @staticmethod
    async def say(response: web.StreamResponse, text: bytes) -> None:
        if isinstance(response, web.WebSocketResponse):
            await response.send_str(text.decode())
        else:
            await response.write(text + b"\n")


def stream(machine: Machine, endpoint: str, **changes: Any) -> MachineStream:
    url = machine.url if not endpoint.startswith("ws") else machine.url.replace("http", "ws")
    quick: dict[str, Any] = {"wait_s": 0.005, "max_wait_s": 0.01, "idle_s": 30.0, "attempts": 4}
    quick |= {name: changes.pop(name) for name in list(changes) if name in (*quick, "max_bytes")}
    span = {} if endpoint.startswith("ws-stream") else SPAN
    return MachineStream(Settings(f"{url}/{endpoint}", **quick), [XBT], **{**span, **changes})


def read(source: Any) -> np.ndarray:
    return np.concatenate([empty_events(0), *(batch.copy() for batch in source.batches())])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The events of MESSAGES, read from a file."""
    path = tmp_path_factory.mktemp("machine") / "day.ndjson"
    path.write_bytes(b"".join(line(message) + b"\n" for message in MESSAGES))
    return read(ADAPTER.open([path], instruments=[XBT]))


REPLAYS = ("replay-normalized", "ws-replay-normalized")
FAILED = {"message": "the key is wrong", "url": "https://api.tardis.dev"}
BREAKS: list[list[Step]] = [
    [*MESSAGES[:3], "abort"],
    [*MESSAGES[:7], 1011],
    [*MESSAGES[:3], FAILED],
    [*MESSAGES[:2], b"{garbage"],
    ["abort"],
    [*MESSAGES[:5], 1008],
]


@pytest.mark.parametrize("endpoint", REPLAYS)
def test_a_replay_gives_what_the_file_gives(endpoint: str, whole: np.ndarray) -> None:
    with serving(Machine(MESSAGES)) as machine:
        source = stream(machine, endpoint)
        events = read(source)
    assert events.tobytes() == whole.tobytes()
    assert np.count_nonzero(events["kind"] == GAP) == 1 and source.quality.of("bitmex:XBTUSD").trades == 2
    assert machine.asked == [
        (
            f"/{endpoint}",
            {"exchange": "bitmex", "symbols": ["XBTUSD"], "from": "2019-10-23", "to": "2019-10-24",
             "dataTypes": ["trade", "book_change"], "withDisconnectMessages": True},
        )
    ]  # fmt: skip


@pytest.mark.parametrize("endpoint", REPLAYS)
@pytest.mark.parametrize("number", range(len(BREAKS)))
def test_a_replay_over_broken_connections_is_exact(endpoint: str, number: int, whole: np.ndarray) -> None:
    script = [step for step in BREAKS[number] if endpoint.startswith("ws") or not isinstance(step, int)]
    script += [] if len(script) == len(BREAKS[number]) else ["abort"]
    with serving(Machine(script, script, MESSAGES)) as machine:
        assert read(stream(machine, endpoint)).tobytes() == whole.tobytes()
    assert len(machine.asked) == 3


def test_a_body_without_its_end_is_asked_for_anew(whole: np.ndarray) -> None:
    busy = web.Response(status=429, headers={"Retry-After": "0"})
    with serving(Machine([*MESSAGES[:2], "tail"], web.Response(status=503), busy, MESSAGES)) as machine:
        assert read(stream(machine, "replay-normalized")).tobytes() == whole.tobytes()
    assert len(machine.asked) == 4


@pytest.mark.parametrize("endpoint", REPLAYS)
def test_silence_counts_as_lost(endpoint: str, whole: np.ndarray) -> None:
    with serving(Machine([*MESSAGES[:2], "stall"], MESSAGES)) as machine:
        assert read(stream(machine, endpoint, idle_s=0.5)).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([*MESSAGES[:2], "abort"], r"\(4 tries\)"),
        ([b"x" * 4_000], "a message is longer than 2,000 bytes"),
        (web.Response(status=401, body=b"no key"), "answers 401: .*its own API key is wrong"),
        (web.Response(status=400, body=b"what?"), "answers 400: .*check what was asked for"),
    ],
)
@pytest.mark.parametrize("endpoint", REPLAYS)
def test_what_cannot_be_had_is_told(endpoint: str, script: Any, words: str) -> None:
    with serving(Machine(script)) as machine, pytest.raises(TransportError, match=words):
        read(stream(machine, endpoint, max_bytes=2_000))


@pytest.mark.parametrize(
    ("again", "words"),
    [([*MESSAGES[:2], trade(9, 1)], "replays other messages than before"),
     (MESSAGES[:1], "ended before what had come already")],
)  # fmt: skip
def test_a_replay_that_differs_the_second_time_is_told(again: list[Step], words: str) -> None:
    with serving(Machine([*MESSAGES[:3], "abort"], again)) as machine, pytest.raises(TransportError, match=words):
        read(stream(machine, "replay-normalized"))


def test_a_live_stream_goes_on_with_invalid_books() -> None:
    first, second = [MESSAGES[0], trade(2, 7985.5), 1011], [book(5, [(7980, 5)]), *MESSAGES[5:]]
    with serving(Machine(first, ["abort"], [*second, "stall"])) as machine:
        source = stream(machine, "ws-stream-normalized")
        batches = source.batches()
        events = empty_events(0)
        while np.count_nonzero(events["kind"] == TRADE) < 2:
            events = np.concatenate([events, next(batches).copy()])
        batches.close()
    (gap,) = np.flatnonzero(events["kind"] == GAP)
    whole = np.flatnonzero(events["flags"] & CLEAR)
    assert len(whole) == 2 and whole[0] < gap < whole[1]
    assert not (events["kind"][gap + 1 : whole[1]] == BOOK).any(), "no delta between the loss and the next snapshot"
    assert source.quality.ignored["connection lost"] == 1
    assert [options for _, options in machine.asked] == [
        {"exchange": "bitmex", "symbols": ["XBTUSD"], "dataTypes": ["trade", "book_change"],
         "withDisconnectMessages": True}
    ] * 3  # fmt: skip


def test_messages_that_are_no_events_are_counted() -> None:
    other = {**trade(3, 5), "symbol": "ETHUSD"}
    error = {"type": "error", "exchange": "bitmex", "localTimestamp": stamp(3)["localTimestamp"], "details": "x"}
    with serving(Machine([*MESSAGES[:2], other, error])) as machine:
        source = stream(machine, "replay-normalized")
        assert len(read(source)) == 3
    assert sum(source.quality.ignored.values()) == 2


def raw(second: int, message: Any) -> bytes:
    text = json.dumps(message, separators=(",", ":")).encode()
    return b'{"localTimestamp":"2019-10-23T11:29:%02d.6691237Z","message":%s}' % (second, text)


def venue(number: int, kind: str) -> dict[str, Any]:
    times = {"E": 1571830140000 + number * 1000, "T": 1571830140000 + number * 1000}
    if kind == "depthSnapshot":
        data: dict[str, Any] = {"lastUpdateId": number, **times, "bids": [["7985.0", "1"]], "asks": [["7986.0", "2"]]}
    elif kind == "depth":
        data = {"e": "depthUpdate", **times, "s": "BTCUSDT", "U": number, "u": number, "pu": number - 1,
                "b": [["7985.0", f"{number}"]], "a": []}  # fmt: skip
    else:
        data = {"e": "trade", **times, "s": "BTCUSDT", "t": number, "p": "7985.0", "q": "0.5", "X": "MARKET", "m": True}
    return {"stream": f"btcusdt@{kind}", "data": data}


RAW = [raw(1, venue(1, "depthSnapshot")), raw(2, venue(2, "depth")), raw(3, venue(3, "trade")), b"",
       raw(4, venue(4, "depth")), raw(5, venue(5, "depthSnapshot")), raw(6, venue(6, "depth"))]  # fmt: skip


def test_raw_messages_go_through_the_venues_decoder() -> None:
    with serving(Machine([*RAW[:4], "abort"], RAW)) as machine:
        url = f"machine+{machine.url}/replay?instrument=binance-futures:BTCUSDT:linear:0.1:0.001"
        source = open_stream(url + "&channel=depth&channel=trade&from=2019-10-23&to=2019-10-24")
        events = read(source)
    assert machine.asked[1][1] == {
        "exchange": "binance-futures", "from": "2019-10-23", "to": "2019-10-24", "withDisconnects": True,
        "filters": [{"channel": name, "symbols": ["btcusdt"]} for name in ("depth", "trade")],
    }  # fmt: skip
    kinds = events["kind"].tolist()
    assert kinds.count(GAP) == 1 and kinds.count(TRADE) == 1
    gap = kinds.index(GAP)
    assert not (events["kind"][gap + 1 :][: int(np.argmax(events["flags"][gap + 1 :] & CLEAR))] == BOOK).any()
    assert source.instruments == (BTC,) and events["ts"][0] == 1571830141669123
    assert int(events["qty"][-1]) == 6_000


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("machine+http://h:1/replay-normalized?instrument=a:b", "is not of the form venue:SYMBOL"),
        ("machine+http://h:1/replay-normalized?from=2019-10-23", "needs to know its ticks"),
        ("machine+http://h:1/replay-normalized?instrument=a:b:spot:1:1", "is missing"),
        ("machine+ws://h:1/replay-normalized?instrument=a:b:spot:1:1", "is no stream of a tardis-machine"),
        ("machine+ws://h:1/ws-stream-normalized?instrument=a:b:spot:1:1&from=2019-10-23", "is for replays"),
        ("machine+http://h:1/replay?instrument=a:b:spot:1:1&from=2019-10-23", "is for /replay, which needs it"),
        ("machine+http://h:1/replay?instrument=nowhere:b:spot:1:1&from=2019-10-23&channel=x", "no such adapter"),
        ("machine+http://h:1/replay?colour=red", "known: instrument, type"),
    ],
)
def test_addresses_that_are_wrong(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_stream(url)


def test_terms_in_an_address() -> None:
    assert instrument_of("bitmex:XBTUSD:inverse:0.5:1:1:XBT").settle == "XBT"


def test_a_pump_hands_over_what_comes_and_stops_at_once() -> None:
    closed: list[int] = []
    made: list[int] = []

    async def numbers() -> Any:
        try:
            for i in range(1_000):
                made.append(i)
                yield i
            raise DataError("the end")
        finally:
            closed.append(1)

    seen: list[int] = []
    with pytest.raises(DataError, match="the end"):
        seen.extend(pumped(numbers))
    assert closed == [1]
    made.clear()
    some: Iterator[int] = pumped(numbers, queued=4)
    assert [next(some) for _ in range(3)] == [0, 1, 2]
    some.close()  # type: ignore[attr-defined]
    assert closed == [1, 1] and len(made) <= 9, "it ran ahead of the queue"
    assert not [thread for thread in threading.enumerate() if thread.name == "replay-stream"]


def test_nothing_is_left_open(whole: np.ndarray, recwarn: pytest.WarningsRecorder, tmp_path: Path) -> None:
    before: Callable[[], int] = threading.active_count
    count = before()
    with serving(Machine([*MESSAGES, "stall"])) as machine:
        batches = stream(machine, "ws-replay-normalized").batches()
        next(batches)
        batches.close()
    assert before() == count and not recwarn.list
