"""tardis-machine, by HTTP and WebSocket, against a local server that breaks off in every way; what messages mean."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from adapters.decoders.csv_table import Names
from adapters.decoders.tardis_json import Reader
from adapters.tardis_machine import ADAPTER
from adapters.transports.tardis_machine import MACHINE, DataSet, Settings, fetch
from replay.errors import ConfigError, DataError, ReplayError, TransportError
from replay.events import BOOK, CLEAR, FUNDING, GAP, GAP_BEFORE, LAST, LIQUIDATION, MARK, QUOTE, SNAPSHOT, TRADE
from replay.units import us_from_time

DAY = date(2019, 10, 23)
WANTED = DataSet("bitmex", "XBTUSD", ("trade", "book_change"), DAY)
FAILED = {"message": "the key is wrong", "url": "https://api.tardis.dev"}


def at(second: int) -> dict[str, str]:
    return {
        "timestamp": f"2019-10-23T11:29:{second:02}.469Z",
        "localTimestamp": f"2019-10-23T11:29:{second:02}.669123Z",
    }


def said(kind: str, second: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "symbol": "XBTUSD", "exchange": "bitmex", **fields, **at(second)}


def book(second: int, bids: Sequence[Any] = (), asks: Sequence[Any] = (), whole: bool = False) -> dict[str, Any]:
    sides = {name: [{"price": p, "amount": q} for p, q in levels] for name, levels in (("bids", bids), ("asks", asks))}
    return said("book_change", second, isSnapshot=whole, **sides)


def lost(second: int, **fields: Any) -> dict[str, Any]:
    return {"type": "disconnect", "exchange": "bitmex", "localTimestamp": at(second)["localTimestamp"], **fields}


MESSAGES = [
    book(1, [(7985, 10)], [(7985.5, 20)], whole=True),
    said("trade", 2, id="282a0445-0e3a-abeb", price=7985.5, amount=50, side="buy"),
    book(3, [(7984.5, 5)], [(7985.5, 0), (7986, 7)]),
    lost(4),
    book(5, [(7980, 5)]),
    book(6, [(7979, 3)], [(7990, 4)], whole=True),
    book(7, [(7979, 4)]),
]


def lines(messages: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


class Machine:
    """Serves MESSAGES on both ways; `script` are faults that come first."""

    def __init__(self, script: Sequence[Callable[[web.Request], Any]] = ()) -> None:
        self.script = list(script)
        self.requests: list[Any] = []

    async def http(self, request: web.Request) -> Any:
        self.requests.append(json.loads(request.query["options"]))
        if self.script:
            return await self.script.pop(0)(request)
        return web.Response(body=lines(MESSAGES), content_type="application/x-json-stream")

    async def socket(self, request: web.Request) -> Any:
        self.requests.append(json.loads(request.query["options"]))
        if self.script:
            return await self.script.pop(0)(request)
        return await spoken(request, MESSAGES, 1000)

    def fetch(self, folder: Path, scheme: str, wanted: Sequence[DataSet] = (WANTED,), **changes: Any) -> list[Path]:
        async def main() -> list[Path]:
            app = web.Application()
            app.router.add_get("/replay-normalized", self.http)
            app.router.add_get("/ws-replay-normalized", self.socket)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
            quick = {"attempts": 3, "wait_s": 0.01, "max_wait_s": 0.02, "idle_s": 5.0}
            try:
                return await fetch(wanted, folder, settings=Settings(url, **{**quick, **changes}))
            finally:
                await runner.cleanup()

        return asyncio.run(main())


async def spoken(request: web.Request, messages: Sequence[Any], code: int) -> web.WebSocketResponse:
    """One text frame a message, then the end."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    for message in messages:
        await socket.send_str(json.dumps(message))
    await socket.close(code=code, message=b"so it is")
    return socket


def closing(code: int) -> Callable[[web.Request], Any]:
    return lambda request: spoken(request, MESSAGES[:3], code)


def body(data: bytes, status: int = 200) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=data, status=status)

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """A chunked body without its end."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(lines(MESSAGES[:2]))
    assert request.transport is not None
    request.transport.close()
    return response


async def silent(request: web.Request) -> Any:
    response = web.StreamResponse()
    await response.prepare(request)
    await asyncio.sleep(0.6)
    return response


def events_of(paths: Sequence[Path], **options: Any) -> tuple[np.ndarray, Any]:
    source = ADAPTER.open(paths, **options)
    return np.concatenate([batch.copy() for batch in source.batches()]), source


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_a_day_arrives_once(tmp_path: Path, scheme: str) -> None:
    server = Machine()
    (path,) = server.fetch(tmp_path, scheme)
    events, _ = events_of([path])
    assert events["kind"].tolist() == [BOOK, BOOK, TRADE, BOOK, BOOK, BOOK, GAP, BOOK, BOOK, BOOK]
    assert server.requests == [{
        "exchange": "bitmex", "symbols": ["XBTUSD"], "from": "2019-10-23", "to": "2019-10-24",
        "dataTypes": ["trade", "book_change"], "withDisconnectMessages": True,
    }]  # fmt: skip
    server.fetch(tmp_path, scheme)
    assert len(server.requests) == 1
    assert sorted(each.suffix for each in tmp_path.iterdir()) == [".gz", ".sha256"]


FAULTS = {
    "http": [body(lines([*MESSAGES[:2], FAILED])), body(lines(MESSAGES)[:-1]), body(b""), cut, silent,
             body(b"oh no", 500), body(b"slow", 429), body(lines(MESSAGES) + b"{\n")],
    "ws": [closing(1011), closing(1008), body(b"no", 500), silent],
}  # fmt: skip


@pytest.mark.parametrize(("scheme", "number"), [(s, n) for s, faults in FAULTS.items() for n in range(len(faults))])
def test_what_broke_off_is_asked_for_anew(tmp_path: Path, scheme: str, number: int) -> None:
    (whole,) = Machine().fetch(tmp_path / "whole", scheme)
    server = Machine([FAULTS[scheme][number]])
    (path,) = server.fetch(tmp_path, scheme, idle_s=0.2)
    assert len(server.requests) == 2
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([body(b"no such thing", 400)], r"answers 400: no such thing; check what"),
        ([body(b'{"message":"bad"}', 401)], "its own API key"),
        ([body(lines([MESSAGES[0], FAILED]))] * 3, r"failed in the middle: the key is wrong \(3 tries, bitmex XBTUSD"),
    ],
)
def test_failures_that_stay(tmp_path: Path, script: Sequence[Any], words: str) -> None:
    with pytest.raises(TransportError, match=words):
        Machine(script).fetch(tmp_path, "http")
    assert not list(tmp_path.glob("*.gz"))


def test_a_disconnect_makes_the_book_invalid(write: Callable[..., Path]) -> None:
    events, source = events_of([write(*lines(MESSAGES).decode().splitlines())])
    (gap,) = np.flatnonzero(events["kind"] == GAP)
    snapshot = events[gap + 1]
    assert events["ts"][gap] == us_from_time(at(4)["localTimestamp"]) + int(source.quality.clock_offset_us)
    assert snapshot["flags"] & CLEAR and snapshot["flags"] & GAP_BEFORE and snapshot["flags"] & SNAPSHOT
    assert source.instruments[0].price(int(snapshot["price"])) == 7979
    q = source.quality.of("bitmex:XBTUSD")
    assert (q.breaks, q.snapshots, q.book_state) == (1, 2, "live")
    assert q.anomalies["book row before the first snapshot, left out"] == 1
    (listed,) = source.quality.gaps
    assert listed.blind_us == 2_000_000


def test_a_disconnect_may_name_its_symbols(write: Callable[..., Path]) -> None:
    other = [{**message, "symbol": "ETHUSD"} for message in (MESSAGES[0], book(2, [(7984, 1)], whole=False))]
    ends = [lost(4, symbols=["ETHUSD"]), {**lost(5), "exchange": "deribit"}, lost(6), lost(7)]
    events, source = events_of([write(*lines([MESSAGES[0], *other, *ends]).decode().splitlines())])
    gaps = events[events["kind"] == GAP]
    names = [source.instruments[i].symbol for i in gaps["instrument"]]
    assert names == ["ETHUSD", "XBTUSD"]
    assert [source.quality.of(f"bitmex:{name}").book_state for name in names] == ["stale", "stale"]


def test_other_messages(write: Callable[..., Path]) -> None:
    messages = [
        said("liquidation", 1, id="5", price=0.02456, amount=2846, side="sell"),
        said("book_ticker", 2, bidPrice=0.97925, bidAmount=4144.6, askPrice=0.97934),
        said("derivative_ticker", 3, markPrice=0.5, fundingRate=-0.00001568,
             fundingTimestamp="2019-10-23T16:00:00.000Z"),
        said("derivative_ticker", 4, lastPrice=7987.5, fundingRate=0.1),
        said("book_snapshot", 5, name="quote_1s", depth=1, interval=1000,
             bids=[{"price": 0.9, "amount": 2}], asks=[{}]),
        said("option_summary", 6, bestBidPrice=0.4, bestBidAmount=1, markPrice=0.45, markIV=70),
        said("trade_bar", 7, open=1),
        said("trade", 8, price=0.5, amount=1, side="unknown"),
    ]  # fmt: skip
    events, source = events_of([write(*lines(messages).decode().splitlines())])
    assert events["kind"].tolist() == [
        LIQUIDATION, QUOTE, QUOTE, MARK, FUNDING, QUOTE, QUOTE, QUOTE, QUOTE, MARK, TRADE
    ]  # fmt: skip
    assert (events["flags"] & LAST).tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1]
    assert events["side"].tolist() == [-1, 1, -1, 0, 0, 1, -1, 1, -1, 0, 0]
    assert events["value"][4] == -1568
    assert events["seq"][4] == us_from_time("2019-10-23T16:00:00Z")
    assert events["qty"][2] == 0 == events["qty"][6]
    assert source.quality.ignored["message of type trade_bar"] == 1
    assert source.quality.ignored["funding rate without funding time, left out"] == 1


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([MESSAGES[0], FAILED], ":2: the server failed in the middle: the key is wrong"),
        ([MESSAGES[0], 7], ":2: 7 is no message"),
        ([{**MESSAGES[0], "localTimestamp": None}], "localTimestamp is None"),
        ([{**MESSAGES[0], "localTimestamp": "soon"}], "localTimestamp: 'soon' is not a date"),
        ([{**MESSAGES[0], "bids": None}], "no lists of bids and asks"),
        ([MESSAGES[0], said("book_snapshot", 2, bids=[], asks=[])], "book_snapshot beside book_change"),
    ],
)
def test_what_cannot_be_right(write: Callable[..., Path], messages: Sequence[Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        ADAPTER.open([write(*lines(messages).decode().splitlines())])


def test_the_plan_and_the_settings() -> None:
    planned = MACHINE.plan("bitmex", ["trade", "quote_10ms"], ["A/B", "C"], DAY, date(2019, 10, 24))
    assert planned[0].name == "machine_bitmex_trade+quote_10ms_2019-10-23_A-B.ndjson.gz"
    assert planned[3].name == "machine_bitmex_trade+quote_10ms_2019-10-24_C.ndjson.gz"
    assert len(planned) == 4
    with pytest.raises(ReplayError, match="did you mean 'trade'"):
        MACHINE.plan("bitmex", ["trades"], ["A"], DAY, DAY)
    with pytest.raises(ConfigError, match="address of a tardis-machine"):
        Settings("localhost:8000")


def test_messages_of_every_venue(captures: Path) -> None:
    with gzip.open(captures / "raw_to_normalized" / "pairs.ndjson.gz", "rt") as pairs:
        messages = [message for pair in pairs for message in json.loads(pair)["normalized"]]
    kinds: Counter[str] = Counter()
    for message in messages:
        notes: Counter[str] = Counter()
        rows = list(Reader(Names(), notes).rows(message, 1))
        kinds[message["type"]] += 1
        if message["type"] in ("trade", "liquidation"):
            (row,) = rows
            assert Decimal(row[4]).scaleb(-row[6]) == Decimal(repr(message["price"]))
            assert Decimal(row[5]).scaleb(-row[7]) == Decimal(repr(message["amount"]))
            assert row[9] == {"buy": 1, "sell": -1, "unknown": 0}[message["side"]]
        if message["type"] == "book_change":
            levels = [(1, level) for level in message["bids"]] + [(-1, level) for level in message["asks"]]
            assert [(row[9], Decimal(row[4]).scaleb(-row[6]), Decimal(row[5]).scaleb(-row[7])) for row in rows] == [
                (side, Decimal(repr(level["price"])), Decimal(repr(level["amount"]))) for side, level in levels
            ]
        assert not [note for note in notes if note.startswith("message of type")]
    assert {"trade", "book_change", "derivative_ticker", "liquidation", "option_summary", "book_ticker"} <= set(kinds)
