"""Download of Tardis data sets against a real local server that misbehaves in every way that it may."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from replay.cli import make_parser
from replay.commands.fetch import download
from replay.errors import ConfigError, ReplayError, TransportError

web = pytest.importorskip("aiohttp.web", reason="aiohttp is not installed")
pytest.importorskip("stamina", reason="stamina is not installed")

from adapters.transports.tardis import (  # noqa: E402
    TARDIS,
    DataSet,
    Settings,
    data_sets,
    fetch,
    is_whole,
    retry_after_s,
)  # fmt: skip

FREE = date(2024, 8, 1)
TRADES = DataSet("binance-futures", "trades", "btcusdt", FREE)
BODY = gzip.compress(bytes(range(256)) * 4000 + b"end", mtime=0)
Answer = Callable[[Any], Any]


class Server:
    """Serves BODY at every path, with ETag and Range; `script` are faults that come first."""

    def __init__(self, script: Sequence[Answer] = (), key: str = "") -> None:
        self.script, self.key = list(script), key
        self.requests: list[Any] = []
        self.active = self.most_active = 0
        self.body, self.etag = BODY, '"v1"'

    async def answer(self, request: Any) -> Any:
        self.requests.append(request)
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            if self.script:
                return await self.script.pop(0)(request)
            return await self.good(request)
        finally:
            self.active -= 1

    async def good(self, request: Any) -> Any:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.Response(status=401)
        headers = {"ETag": self.etag}
        asked = request.headers.get("Range")
        if asked and request.headers.get("If-Range") == self.etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(self.body):
                return web.Response(status=416)
            headers["Content-Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
            return web.Response(status=206, body=self.body[start:], headers=headers)
        return web.Response(body=self.body, headers=headers)

    def run(self, work: Callable[[Settings], Any], **settings: Any) -> Any:
        """Serve while `work` runs."""

        async def main() -> Any:
            app = web.Application()
            app.router.add_get("/{path:.*}", self.answer)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            defaults = {"attempts": 4, "wait_s": 0.01, "max_wait_s": 0.05, "idle_s": 5.0}
            try:
                return await work(Settings(f"http://127.0.0.1:{port}/v1", **{**defaults, **settings}))
            finally:
                await runner.cleanup()

        return asyncio.run(main())

    def fetch(
        self, folder: Path, wanted: Sequence[DataSet] = (TRADES,), api_key: str = "", **settings: Any
    ) -> list[Path]:
        return self.run(lambda s: fetch(wanted, folder, api_key=api_key, settings=s), **settings)


def status(code: int, **headers: str) -> Answer:
    async def answer(_: Any) -> Any:
        return web.Response(status=code, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


def cut(after: int, etag: str = '"v1"') -> Answer:
    """A body of which only the first bytes come."""

    async def answer(request: Any) -> Any:
        response = web.StreamResponse(headers={"Content-Length": str(len(BODY)), "ETag": etag})
        await response.prepare(request)
        await response.write(BODY[:after])
        request.transport.close()
        return response

    return answer


async def silent(request: Any) -> Any:
    """Sends a few bytes, then nothing."""
    response = web.StreamResponse(headers={"Content-Length": str(len(BODY)), "ETag": '"v1"'})
    await response.prepare(request)
    await response.write(BODY[:100])
    await asyncio.sleep(1)
    return response


def test_a_file_arrives_whole_and_once(tmp_path: Path) -> None:
    server = Server()
    (path,) = server.fetch(tmp_path)
    assert path.name == "binance-futures_trades_2024-08-01_BTCUSDT.csv.gz"
    assert path.read_bytes() == BODY
    assert server.requests[0].path == "/v1/binance-futures/trades/2024/08/01/BTCUSDT.csv.gz"
    assert hashlib.sha256(BODY).hexdigest() in (tmp_path / f"{path.name}.sha256").read_text()
    assert len(list(tmp_path.iterdir())) == 2
    server.fetch(tmp_path)
    assert len(server.requests) == 1
    path.write_bytes(b"damaged")
    assert not is_whole(path)
    server.fetch(tmp_path)
    assert path.read_bytes() == BODY


def test_faults_that_pass(tmp_path: Path) -> None:
    server = Server([status(500), cut(1000), status(429, Retry_After="0"), status(503)])
    (path,) = server.fetch(tmp_path, attempts=6)
    assert path.read_bytes() == BODY
    assert [request.headers.get("Range") for request in server.requests] == [None, None, *["bytes=1000-"] * 3]


def test_a_silent_server_is_left(tmp_path: Path) -> None:
    server = Server([silent])
    (path,) = server.fetch(tmp_path, idle_s=0.2)
    assert path.read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_download_goes_on_in_the_next_call(tmp_path: Path) -> None:
    server = Server([cut(2000), status(500), status(500), status(500)])
    with pytest.raises(TransportError, match=r"answers 500 \(4 tries\)"):
        server.fetch(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".etag", ".part"]
    (path,) = server.fetch(tmp_path)
    assert server.requests[-1].headers["Range"] == "bytes=2000-"
    assert path.read_bytes() == BODY


def test_a_file_that_changed_in_between_is_read_anew(tmp_path: Path) -> None:
    server = Server([cut(2000, etag='"old"')])
    (path,) = server.fetch(tmp_path)
    assert server.requests[1].headers["If-Range"] == '"old"'
    assert path.read_bytes() == BODY


def test_the_wrong_part_is_not_taken(tmp_path: Path) -> None:
    async def wrong(_: Any) -> Any:
        return web.Response(status=206, body=b"x", headers={"Content-Range": "bytes 0-0/9"})

    server = Server([cut(2000), wrong, status(416)])
    (path,) = server.fetch(tmp_path)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (400, "does not understand.*check exchange"),
        (401, "refuses the key.*check TARDIS_API_KEY"),
        (403, "plan of this key"),
        (404, "no such data set.*06:00 UTC"),
        (418, "answers 418"),
    ],
)
def test_final_answers_say_what_to_do(tmp_path: Path, code: int, words: str) -> None:
    server = Server([status(code)] * 3)
    with pytest.raises(TransportError, match=words) as caught:
        server.fetch(tmp_path, api_key="SECRET")
    assert len(server.requests) == 1
    assert "SECRET" not in repr(caught.value) + str(caught.value)
    assert caught.value.peer.endswith("BTCUSDT.csv.gz")


def test_the_key_opens_other_days(tmp_path: Path) -> None:
    later = DataSet("binance-futures", "trades", "BTCUSDT", date(2024, 8, 2))
    server = Server(key="K")
    with pytest.raises(ConfigError, match=r"only the first day of each month is free; set TARDIS_API_KEY"):
        server.fetch(tmp_path, [later])
    assert server.requests == []
    with pytest.raises(TransportError, match="set TARDIS_API_KEY"):
        server.fetch(tmp_path)
    (path,) = server.fetch(tmp_path, [later], api_key="K")
    assert path.exists()


def test_no_more_files_at_a_time_than_allowed(tmp_path: Path) -> None:
    async def slow(request: Any) -> Any:
        await asyncio.sleep(0.02)
        return await server.good(request)

    wanted = data_sets("deribit", ["trades", "quotes"], ["A/B", "c:d"], FREE, FREE)
    server = Server([slow] * 4)
    paths = server.fetch(tmp_path, wanted, concurrency=2)
    assert server.most_active == 2
    assert [path.name for path in paths] == [data_set.name for data_set in wanted]
    assert wanted[0].path == "deribit/trades/2024/08/01/A-B.csv.gz"


def test_one_refusal_stops_the_rest(tmp_path: Path) -> None:
    server = Server([status(404), silent, silent])
    wanted = data_sets("deribit", ["trades"], ["A", "B", "C"], FREE, FREE)
    with pytest.raises(TransportError, match="404"):
        server.fetch(tmp_path, wanted, concurrency=3)
    assert not list(tmp_path.glob("*.gz"))


def test_what_is_no_gzip_is_not_kept(tmp_path: Path) -> None:
    async def page(_: Any) -> Any:
        return web.Response(text="<html>")

    with pytest.raises(TransportError, match="not intact gzip"):
        Server([page]).fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_retry_after() -> None:
    assert retry_after_s("7", None) == 7
    assert retry_after_s(None, None) == retry_after_s("soon", None) == 60
    assert retry_after_s("Thu, 01 Jan 1970 00:01:40 GMT", lambda: 70.0) == 30
    assert retry_after_s("Thu, 01 Jan 1970 00:01:40 GMT", lambda: 700.0) == 0


class Terminal(io.StringIO):
    """A standard error that shows progress."""

    def isatty(self) -> bool:
        return True


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TARDIS_API_KEY", "K")
    seen: list[Any] = []

    class Local(type(TARDIS)):  # type: ignore[misc]
        async def fetch(
            self, wanted: Any, folder: Path, api_key: str, concurrency: int, url: str, progress: Any
        ) -> Any:
            seen.append((len(wanted), api_key, concurrency, url))
            progress("x", 5_000_000)
            return [folder / data_set.name for data_set in wanted]

    text = (
        "fetch tardis --exchange binance --type trades --type quotes --symbol ETHUSDT --from 2024-08-01 --to 2024-08-02"
    )
    arguments = make_parser().parse_args([*text.split(), "--to", "2024-08-02", "--out", str(tmp_path)])
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    ticks = iter([10.0, 12.0])
    assert download(Local(), arguments, lambda: next(ticks)) == 0
    assert "5.0 MB   2.5 MB/s   x" in terminal.getvalue()
    assert seen == [(4, "K", 4, "")]
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "binance_trades_2024-08-01_ETHUSDT.csv.gz")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--to 2024-07-01", "before --from"),
        ("--concurrency 0", "at least 1"),
        ("--type tradez", "did you mean 'trades'"),
    ],
)
def test_wrong_arguments(more: str, words: str) -> None:
    text = f"fetch tardis --exchange x --type trades --symbol y --from 2024-08-01 {more}"
    with pytest.raises(ReplayError, match=words):
        download(TARDIS, make_parser().parse_args(text.split()), time.monotonic)
    with pytest.raises(ReplayError, match="is not a day such as"):
        make_parser().parse_args(
            ["fetch", "tardis", "--exchange", "x", "--type", "t", "--symbol", "y", "--from", "yesterday"]
        )
