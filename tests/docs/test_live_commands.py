"""The commands of `docs/guides/live.md` that need a venue or a server, run from top to bottom against local ones.

Only addresses and lengths of time are changed; a command that is not known here fails the test.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from replay.cli import main
from tests.adapters.live_exchange import Exchange
from tests.adapters.relay_server import serving as serving_http
from tests.adapters.test_machine_stream import MESSAGES, Machine
from tests.adapters.test_tardis_raw import Api
from tests.cache.conftest import server
from tests.cache.redis_server import RedisServer
from tests.docs.pages import ROOT, Block, blocks
from tests.faults.dialects import Okx
from tests.faults.venue_server import VenueServer
from tests.faults.venue_server import serving as serving_venue

__all__ = ["server"]

PAGE = ROOT / "docs" / "guides" / "live.md"
OKX_TERMS = ["--instrument", "okx:BTC-USDT-SWAP,tick=0.1,lot=0.001"]


def skipped(kind: str) -> list[Block]:
    """The blocks that do not run where they stand."""
    return [block for block in blocks(PAGE.read_text()) if block.kind == kind and "skip" in block.more]


def commands() -> list[str]:
    """Their command lines."""
    return [line for block in skipped("sh") for line in block.body.splitlines() if line]


class Servers:
    """All that the page needs, here."""

    def __init__(self, stack: ExitStack, redis: RedisServer) -> None:
        self.redis = redis
        self.exchange = stack.enter_context(Exchange())
        self.okx: VenueServer = stack.enter_context(serving_venue(Okx(5)))
        self.machine = stack.enter_context(serving_http(Machine(MESSAGES)))
        self.api = stack.enter_context(serving_http(Api()))

    def here(self, text: str) -> str:
        """With our addresses, for two seconds instead of many."""
        text = text.replace("127.0.0.1:6379", f"127.0.0.1:{self.redis.port}")
        text = re.sub(r"127\.0\.0\.1:800[01]", self.machine.url.removeprefix("http://"), text)
        return re.sub(r"--for \d+", "--for 2", text)

    def arguments(self, line: str) -> list[str]:
        """What a command line is here."""
        program, *words = shlex.split(self.here(line))
        assert program == "replay"
        if words[:2] == ["fetch", "tardis-raw"]:
            return [*words, "--url", f"{self.api.url}/v1"]
        venue = words[3] if words[:2] == ["relay", "live"] else words[1] if words[0] in ("live", "record") else ""
        if not venue:
            return words
        base = f"127.0.0.1:{self.exchange.port}"
        urls = {"binance-usdm": (f"ws://{base}", f"http://{base}"), "okx": (self.okx.url, self.okx.rest_url)}
        sockets, rest = urls[venue]
        known = OKX_TERMS if venue == "okx" else []
        return [*words, *known, "--socket-url", sockets, "--rest-url", rest]


@pytest.fixture
def servers(server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """Running; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        yield Servers(stack, server)


def test_every_command_of_the_page_works(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    for line in commands():
        code = main(servers.arguments(line))
        said = capsys.readouterr()
        assert code == 0, f"{line}\n{said.out}\n{said.err}"
        assert said.out.strip(), f"{line} says nothing"
    assert {path.name for path in Path().iterdir()} >= {"btc", "kept", "okx", "result"}


def test_the_page_names_every_venue_with_a_live_feed() -> None:
    text = PAGE.read_text()
    assert all(f"`{point.name}`" in text for point in entry_points(group="replay.live"))
