"""Tardis' raw HTTP API against a local server that misbehaves, and what its days are as recordings."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from adapters.binance import USDM
from adapters.decoders.tardis_raw import machine_line, ns_of, recorded, venue_of
from adapters.transports.downloads import TryAgain
from adapters.transports.tardis import Settings
from adapters.transports.tardis_raw import MINUTES, DataSet, cut, fetch, holes
from replay.cli import main
from replay.errors import ConfigError, DataError, TransportError
from replay.events import GAP, TRADE, empty_events
from replay.sources import adapter_names
from tests.adapters.relay_server import serving

FREE = date(2024, 8, 1)
WANTED = DataSet("binance-futures", ("depth", "depthSnapshot", "trade"), "btcusdt", FREE)
MIDNIGHT_MS = int(datetime(2024, 8, 1, tzinfo=UTC).timestamp()) * 1000
SUGGESTED = 400


def said(minute: int, number: int, kind: str) -> bytes:
    """One line of the API."""
    ms = MIDNIGHT_MS + minute * 60_000 + number
    times = {"E": ms, "T": ms}
    if kind == "depthSnapshot":
        data: dict[str, Any] = {"lastUpdateId": minute, **times, "bids": [["61800.0", "1"]], "asks": [["61800.1", "2"]]}
    elif kind == "depth":
        data = {"e": "depthUpdate", **times, "s": "BTCUSDT", "U": minute, "u": minute, "pu": minute - 1,
                "b": [["61800.0", f"{minute}"]], "a": []}  # fmt: skip
    else:
        data = {
            "e": "trade",
            **times,
            "s": "BTCUSDT",
            "t": minute,
            "p": "61800.0",
            "q": "0.5",
            "X": "MARKET",
            "m": True,
        }
    text = json.dumps({"stream": f"btcusdt@{kind}", "data": data}, separators=(",", ":"))
    stamp = datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}4567Z"
    return f"{stamp} {text}\n".encode()


def minute_of(minute: int) -> bytes:
    """A day: snapshot, a delta each minute, a lost connection at 600, a snapshot at 610, trades every 50 minutes."""
    lines = [said(minute, 1, "depthSnapshot")] if minute in (1, 610) else []
    lines += [said(minute, 2, "depth")] if minute > 1 and minute != 610 else []
    lines += [said(minute, 3, "trade")] if minute % 50 == 49 else []
    return b"".join([*lines, b"\n\n" if minute == 600 else b""])


Fault = Callable[[web.Request], Any]


class Api:
    """Serves the day in slices of at most `most` minutes; `script` are faults, used once each from request `at` on."""

    def __init__(self, *script: Fault, at: int = 0, key: str = "", most: int = SUGGESTED) -> None:
        self.script, self.at, self.key, self.most = list(script), at, key, most
        self.asked: list[tuple[int, int]] = []
        self.filters: set[str] = set()
        self.active = self.most_active = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        first, size = int(request.query["offset"]), int(request.query["sliceSize"])
        self.asked.append((first, size))
        self.filters.add(request.query["filters"])
        assert request.path == "/v1/data-feeds/binance-futures" and request.query["from"] == "2024-08-01T00:00:00.000Z"
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await asyncio.sleep(0.005)
            if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
                return web.Response(status=401)
            if self.script and len(self.asked) > self.at:
                fault: web.StreamResponse = await self.script.pop(0)(request)
                return fault
            return self.good(first, size)
        finally:
            self.active -= 1

    def good(self, first: int, size: int) -> web.Response:
        size = min(size, self.most)
        body = gzip.compress(b"".join(minute_of(minute) for minute in range(first, first + size)), 1)
        headers = {"Content-Encoding": "gzip", "x-slice-size": f"{size}", "x-suggested-slice-size": f"{SUGGESTED}"}
        return web.Response(body=body, headers=headers)

    def fetch(self, folder: Path, *wanted: DataSet, api_key: str = "", **changes: Any) -> list[Path]:
        quick = {"attempts": 3, "wait_s": 0.01, "max_wait_s": 0.02, "idle_s": 30.0, "concurrency": 2}
        settings = Settings(url=f"{self.url}/v1", **{**quick, **changes})
        return asyncio.run(fetch(wanted or [WANTED], folder, api_key=api_key, settings=settings))


def status(code: int, text: str = "", **headers: str) -> Fault:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=code, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


def body(data: bytes, encoding: str = "gzip", size: str = "1") -> Fault:
    async def answer(_: web.Request) -> web.Response:
        headers = {"x-slice-size": size} | ({"Content-Encoding": encoding} if encoding else {})
        return web.Response(body=data, headers=headers)

    return answer


async def half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"2024")
    assert request.transport is not None
    request.transport.abort()
    return response


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The recording of the day, made by hand."""
    out, ns = [], 0
    for minute in range(MINUTES):
        for line in minute_of(minute).splitlines():
            if line:
                ns = ns_of(line[:28])
                out.append(b"%d %s\n" % (ns, line[29:]))
            elif not out[-1].endswith(b'ed"}\n'):
                out.append(b'%d {"replay":"disconnected"}\n' % ns)
    return b"".join(out)


def test_a_day_becomes_a_recording(tmp_path: Path, day: bytes) -> None:
    with serving(Api()) as api:
        (path,) = api.fetch(tmp_path)
        assert api.fetch(tmp_path) == [path]
    assert gzip.decompress(path.read_bytes()) == day
    assert api.asked[:2] == [(1439, 1), (0, 1)] and sum(size for _, size in api.asked) == MINUTES
    assert max(size for _, size in api.asked) == SUGGESTED and api.most_active <= 2
    assert api.filters == {
        '[{"channel":"depth","symbols":["btcusdt"]},{"channel":"depthSnapshot","symbols":["btcusdt"]},'
        '{"channel":"trade","symbols":["btcusdt"]}]'
    }
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, path.name + ".sha256"]


def test_the_recording_is_what_the_venues_adapter_reads(tmp_path: Path) -> None:
    with serving(Api()) as api:
        paths = api.fetch(tmp_path)
    source = USDM.open(paths)
    events = np.concatenate([empty_events(0), *(batch.copy() for batch in source.batches())])
    assert np.count_nonzero(events["kind"] == TRADE) == 28
    assert np.count_nonzero(events["kind"] == GAP) == 1
    counts = source.quality.of("binance-usdm:BTCUSDT")
    assert counts.snapshots == 2 and counts.book_state == "live"


GOOD = gzip.compress(minute_of(1439))
FAULTS = [
    status(500), status(503), status(429, Retry_After="0"), half, body(b""" {"no":"time"}"""[:5]),
    body(GOOD[:-9]), body(GOOD[:20] + b"\0\0" + GOOD[22:]), body(minute_of(1439)[:-7], ""),
    status(400, "must be in ISO 8601 format"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(FAULTS)))
@pytest.mark.parametrize("at", [0, 3])
def test_what_may_pass_is_tried_again(tmp_path: Path, number: int, at: int, day: bytes) -> None:
    with serving(Api(FAULTS[number], at=at)) as api:
        (path,) = api.fetch(tmp_path)
    assert gzip.decompress(path.read_bytes()) == day


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(400), r"does not understand the request \(400\)"),
        (status(401), r"refuses the key \(401\)"),
        (status(403), r"does not cover the file \(403\)"),
        (status(404), r"no such data set \(404\)"),
        (body(GOOD, size="2"), "'2' minutes came where 1 were asked for"),
        (body(GOOD, size="-1"), "'-1' minutes came"),
    ],
)
def test_what_will_not_pass_is_told(tmp_path: Path, fault: Fault, words: str) -> None:
    with serving(Api(fault)) as api, pytest.raises(TransportError, match=words):
        api.fetch(tmp_path)
    assert len(api.asked) == 1 and not list(tmp_path.glob("*.gz"))


def test_what_is_here_is_not_asked_for_again(tmp_path: Path, day: bytes) -> None:
    with serving(Api(status(404), at=4)) as api:
        with pytest.raises(TransportError, match="404"):
            api.fetch(tmp_path, concurrency=1)
        before = len(api.asked)
        kept = {int(each.name[:4]) for each in tmp_path.glob("*/*.slice")}
        (path,) = api.fetch(tmp_path)
    assert gzip.decompress(path.read_bytes()) == day
    assert len(kept) >= 4 and not kept & {first for first, _ in api.asked[before:]}
    assert len(api.asked) < 2 * before


def test_a_slice_that_was_changed_is_asked_for_again(tmp_path: Path, day: bytes) -> None:
    with serving(Api(status(404), at=4)) as api:
        with pytest.raises(TransportError):
            api.fetch(tmp_path, concurrency=1)
        spoilt = sorted(tmp_path.glob("*/*.slice"))[0]
        spoilt.write_bytes(spoilt.read_bytes() + b"\n")
        (path,) = api.fetch(tmp_path)
    assert gzip.decompress(path.read_bytes()) == day


def test_smaller_slices_than_asked_for_are_all_right(tmp_path: Path, day: bytes) -> None:
    with serving(Api(most=170)) as api:
        (path,) = api.fetch(tmp_path)
    assert gzip.decompress(path.read_bytes()) == day


def test_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set TARDIS_API_KEY"):
        Api().fetch(tmp_path, DataSet("binance-futures", ("trade",), "btcusdt", date(2024, 8, 2)))
    with serving(Api(key="secret")) as api:
        assert api.fetch(tmp_path, api_key="secret")
        with pytest.raises(TransportError, match="check TARDIS_API_KEY") as told:
            api.fetch(tmp_path / "other", api_key="wrong-secret")
    assert "wrong-secret" not in str(told.value)


def test_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.delenv("TARDIS_API_KEY", raising=False)
    wanted = ["--exchange", "binance-futures", "--symbol", "btcusdt", "--from", "2024-08-01", "--out", str(tmp_path)]
    for channel in WANTED.channels:
        wanted += ["--type", channel]
    with serving(Api()) as api:
        assert main(["fetch", "tardis-raw", *wanted, "--url", f"{api.url}/v1"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.name == "raw_binance-futures_2024-08-01_depth+depthSnapshot+trade_btcusdt.ndjson.gz"
    assert main(["verify", str(path), "--adapter", "binance-usdm", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "binance-usdm:BTCUSDT" in json.dumps(found)


@given(st.lists(st.tuples(st.integers(0, MINUTES - 1), st.integers(1, 200)), max_size=12), st.integers(1, 300))
def test_holes_and_slices_cover_the_day_once(kept: Sequence[tuple[int, int]], size: int) -> None:
    """Every minute is in a kept slice or in exactly one part of a hole, and no part is too large."""
    kept = [(first, min(minutes, MINUTES - first)) for first, minutes in kept]
    held = {minute for first, minutes in kept for minute in range(first, first + minutes)}
    parts = [part for hole in holes(kept) for part in cut(hole, size)]
    asked = [minute for first, minutes in parts for minute in range(first, first + minutes)]
    assert len(asked) == len(set(asked)) and set(asked) | held == set(range(MINUTES)) and not set(asked) & held
    assert all(minutes <= size for _, minutes in parts)


@pytest.mark.parametrize(
    "text", [b"2019-05-01T00:00:00.123456Z", b"2019-05-01T00:00:00.123456xZ", b"", b"2019-13-01T00:00:00.1234567Z"]
)
def test_times_that_are_none(text: bytes) -> None:
    with pytest.raises(DataError, match="no time with 7 digits"):
        ns_of(text)


def test_lines_of_a_slice_and_of_a_machine() -> None:
    assert ns_of(b"2019-05-01T00:00:00.1234567Z") == 1556668800123456700
    lines = [b"", b"", b"2019-05-01T00:00:00.1234567Z [1]", b""]
    lost = b'{"replay":"disconnected"}'
    assert list(recorded(lines, 5)) == [b"5 " + lost, b"1556668800123456700 [1]", b"1556668800123456700 " + lost]
    with pytest.raises(DataError, match="is not a time and a message"):
        list(recorded([b"2019-05-01T00:00:00.1234567Z nothing"], 0))
    line = b'{"localTimestamp":"2019-05-01T00:00:00.1234567Z","message":{"a":1.50}}'
    assert machine_line(line) == (1556668800123456700, b'{"a":1.50}')
    for broken in (b'{"message":"no key"}', line[:-1] + b"]", line.replace(b"T", b"x", 1)):
        with pytest.raises(TryAgain):
            machine_line(broken)


def test_names_of_tardis_lead_to_adapters() -> None:
    names = ("binance", "binance-futures", "binance-delivery", "bybit", "okex-swap", "deribit", "hyperliquid")
    assert {venue_of(name) for name in names} <= set(adapter_names())
