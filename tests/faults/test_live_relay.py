"""`replay relay live`: a venue on loopback, published through a real Redis while messages and connections are lost.

What the readers get is held against the recording that the same command keeps: it has to be the same bytes.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from adapters.live.source import LiveAdapter, Pace
from adapters.redis_relay import RedisSource
from adapters.transports.redis_streams import Address, Link
from replay.cli import main
from replay.errors import TransportError
from replay.events import GAP
from tests.cache.redis_server import RedisServer
from tests.faults.dialects import BinanceUsdm, Bybit, Dialect, Okx
from tests.faults.test_recordings import replayed
from tests.faults.test_venues import venue_at
from tests.faults.venue_server import VenueServer, serving
from tests.faults.watcher import PATIENCE_S, Watcher, until

VENUES = (BinanceUsdm, Bybit, Okx)
three_venues = pytest.mark.parametrize("dialect", VENUES, ids=lambda d: d.name)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


class Hurried:
    """A venue of the command line with the short waits of the other tests of faults."""

    def __init__(self, name: str) -> None:
        self.name = name

    def at(self, sockets: str, rest: str) -> LiveAdapter:
        """Pointed at a server."""
        return LiveAdapter(venue_at(self.name, sockets, rest))


class Terminal(io.StringIO):
    """A standard error that shows a status line."""

    def isatty(self) -> bool:
        return True


class Stream(RedisSource):
    """A reader that ends when the stream does."""

    def stop(self) -> None:
        """The publisher decides."""


def reader(url: str) -> Watcher:
    """Follows a stream, keeping its books; waits for its publisher."""
    address = Address.of(url)
    return Watcher(Stream(address, start=address.options["start"], link=Link(address, PATIENCE_S)))  # type: ignore[arg-type]


def command(server: VenueServer, url: str, *more: str) -> list[str]:
    """`replay relay live` for all symbols of the server."""
    dialect = server.dialect
    terms = [
        f"--instrument={i.name},tick={i.tick},lot={i.lot},payoff={i.payoff},settle={i.settle}"
        for i in dialect.instruments
    ]
    urls = ["--socket-url", server.url, "--rest-url", server.rest_url]
    return ["relay", "live", url, dialect.name, *dialect.symbols, *terms, *urls, *more]


def run_beside(
    server: VenueServer, arguments: list[str], work: Callable[[Callable[[], None]], None]
) -> int:  # fmt: skip
    """Run a command here and `work` in a thread, which gets a function that presses Ctrl-C once; the exit code.

    Both have let go of the server then.
    """
    ended = threading.Event()

    def interrupt() -> None:
        if not ended.is_set():
            ended.set()
            os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work, interrupt)
        try:
            code = main(arguments)
        finally:
            ended.set()
        done.result(PATIENCE_S)
    end = time.monotonic() + PATIENCE_S
    while server.connections:
        assert time.monotonic() < end, "a connection is left open"
        time.sleep(0.01)
    return code


def settle(server: VenueServer, *watchers: Watcher) -> None:
    """Until all readers hold the books of the venue; the market moves meanwhile, so that what is missing is seen."""

    def settled() -> bool:
        if server.subscribed and all(watcher.agrees(server.dialect) for watcher in watchers):
            return True
        if server.subscribed:
            for symbol in server.dialect.symbols:
                server.delta(symbol)
            time.sleep(0.05)
        return False

    until(settled, watchers[0], "that the readers' books agree")


@three_venues
def test_readers_of_a_troubled_feed_get_what_was_recorded(
    dialect: type[Dialect], redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Gaps reach the readers while the feed runs, books come back, and Ctrl-C ends feed and readers."""
    monkeypatch.setattr("adapters.live.source.Pace", lambda: Pace(max_lag_us=3_600_000_000))  # nothing is conflated
    monkeypatch.setattr("replay.live.find_live", Hurried)
    terminal, before = Terminal(), set(threading.enumerate())
    monkeypatch.setattr(sys, "stderr", terminal)
    url = f"{redis.url}?stream={dialect.name}"
    first, second = dialect.symbols
    readers: list[Watcher] = []
    gaps: list[dict[str, int]] = []

    def trouble(interrupt: Callable[[], None]) -> None:
        with ExitStack() as stack:
            stack.callback(interrupt)
            early = stack.enter_context(reader(f"{url}&start=begin"))
            settle(server, early)
            server.play(200)
            server.delta(first, copies=0)
            settle(server, early)
            gaps.append(dict(early.gaps))
            server.close(1012)
            until(lambda: early.gaps[second] > gaps[0].get(second, 0), early, "the gap of a lost connection")
            settle(server, early)
            gaps.append(dict(early.gaps))
            late = stack.enter_context(reader(f"{url}&start=now"))
            readers.extend((early, late))
            settle(server, early, late)
            until(lambda: "messages/s" in terminal.getvalue(), early, "a status line")
            interrupt()

    with serving(dialect(7)) as server:
        options = ["--record", str(tmp_path / "kept"), "--full-books-every", "50"]
        assert run_beside(server, command(server, url, *options), trouble) == 0
    early, late = readers
    assert gaps[0] == {first: 1}, "a lost message is a gap of its own book alone"
    assert set(gaps[1]) == {first, second}
    kept, sent = replayed(tmp_path / "kept"), np.concatenate(early.rows)
    assert sent.tobytes() == kept.tobytes()
    assert np.count_nonzero(sent["kind"] == GAP) == sum(early.gaps.values())
    tail = np.concatenate(late.rows)
    assert 0 < len(tail) < len(sent) and (tail["kind"][:2] == GAP).all()
    said = capsys.readouterr().out
    assert f"{len(sent):,} rows in" in said and "gaps" in said
    assert " rows" in terminal.getvalue() and "gaps" in terminal.getvalue()
    assert set(threading.enumerate()) <= before, "a thread is left"


def test_readers_are_told_when_the_venue_refuses(redis: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{redis.url}?stream=refused"
    told: list[BaseException | None] = []

    def refuse(interrupt: Callable[[], None]) -> None:
        watcher = reader(f"{url}&start=begin")
        try:
            with pytest.raises(TransportError, match=r"the publisher failed: .*Invalid request"), watcher:
                settle(server, watcher)
                server.extra('{"error":{"code":2,"msg":"Invalid request"},"id":9}')
        finally:
            told.append(watcher.error)
            interrupt()

    with serving(BinanceUsdm(7)) as server:
        assert run_beside(server, command(server, url), refuse) == 3
    assert isinstance(told[0], TransportError)
    assert "Invalid request" in capsys.readouterr().err


def test_it_ends_by_itself(redis: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{redis.url}?stream=timed"

    windows: list[int] = []

    def play(interrupt: Callable[[], None]) -> None:
        with reader(f"{url}&start=begin") as watcher:
            windows.append(watcher.source.horizon_us)
            settle(server, watcher)

    with serving(Bybit(7)) as server:
        began = time.monotonic()
        assert run_beside(server, command(server, url, "--for", "1", "--order", "reorder:5000"), play) == 0
        assert time.monotonic() - began >= 1.0
    assert windows == [5_000]
    assert "rows in" in capsys.readouterr().out


def test_a_wrong_address_is_told_before_the_venue_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Bybit(7)) as server:
        assert main(command(server, "redi://127.0.0.1?stream=a")) == 2
        assert not server.counts
    assert "did you mean 'redis'" in capsys.readouterr().err
