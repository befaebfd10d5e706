"""Every venue under every fault: books end exact, or are invalid and come back; what was injected is what is found.

The market, the faults and the moment of each fault are the test's; only the network between is real.  Nothing here
depends on how fast anything is: the tests wait for states.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection

from adapters.capture import About, Recorder
from adapters.live.source import LiveAdapter, LiveSource, Pace, warm_up
from adapters.sequencing import Timing
from adapters.transports.websocket import Settings, Surroundings
from tests.faults.dialects import DIALECTS, BinanceUsdm, Dialect
from tests.faults.venue_server import Connection, VenueServer, serving
from tests.faults.watcher import Watcher, until

HURRY = {"frames_per_s": 10_000.0, "weight_per_min": 1_000_000, "silence_us": 1_500_000, "resync_us": 300_000}
QUICK = Settings(
    first_wait_s=0.01, max_wait_s=0.05, open_s=10.0, close_s=0.2, ping_s=20.0, max_message_bytes=1_000_000, spread_s=0.0
)
CLOSE_CODES = (1000, 1001, 1008, 1011, 1012, 1013, 4000)


def venue_at(name: str, sockets: str, rest: str) -> Any:
    """The client's side of the venue, pointed at a server and in a hurry."""
    adapter = next(p for p in entry_points(group="replay.live") if p.name == name).load()
    found = adapter.venue.at(sockets, rest)
    beat = replace(found.heartbeat, every_us=found.heartbeat.every_us and 200_000)
    return replace(found, limits=replace(found.limits, **HURRY), heartbeat=beat)


@dataclass
class Session:
    """A server, a client and who watches."""

    server: VenueServer
    source: LiveSource
    watcher: Watcher

    @property
    def first(self) -> str:
        """The symbol that faults are for."""
        return self.server.dialect.symbols[0]

    def breaks(self) -> dict[str, int]:
        """Holes that the gap machines saw, by symbol."""
        quality = self.source.quality
        return {i.symbol: quality.of(i.name).breaks for i in self.source.instruments}

    def settle(self, nudge: bool = False) -> None:
        """Until all books are valid and exact; `nudge`: the market moves meanwhile, so that what is missing is seen."""

        def settled() -> bool:
            if self.watcher.agrees(self.server.dialect):
                return True
            if nudge and self.server.subscribed:
                for symbol in self.server.dialect.symbols:
                    self.server.delta(symbol)
                time.sleep(0.05)
            return False

        until(settled, self.watcher, "that the books agree")


@contextmanager
def session(dialect: type[Dialect], record: Path | None = None, **changes: Any) -> Iterator[Session]:
    """A client that is in step with its venue; `record` is a folder for what it receives."""
    seed = 11
    print(f"seed {seed}")
    before = set(threading.enumerate())
    with serving(dialect(seed)) as server:
        venue = venue_at(server.dialect.name, server.url, server.rest_url)
        about = About(venue.name, tuple(server.dialect.instruments), Timing())
        world = Surroundings(time.time_ns, asyncio.sleep, Random(seed))
        warm_up(venue, server.dialect.instruments)
        source = LiveSource(
            venue,
            server.dialect.instruments,
            surroundings=world,
            recorder=Recorder(record, about) if record else None,
            settings=replace(QUICK, **changes),
            pace=Pace(max_lag_us=3_600_000_000),
        )
        with Watcher(source) as watcher:
            until(lambda: server.subscribed, watcher, "the subscription")
            made = Session(server, source, watcher)
            server.play(5)
            made.settle(nudge=True)
            yield made
            made.settle(nudge=True)
        assert source.health.open == 0, "a socket is left open"
        until(lambda: not server.connections, watcher, "the end of all connections")
    gc.collect()
    assert set(threading.enumerate()) <= before, "a thread is left"
    rows = np.concatenate(watcher.rows)
    assert (np.diff(rows["ts"]) >= 0).all(), "time steps back"


every_venue = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
gap_venues = pytest.mark.parametrize("dialect", [d for d in DIALECTS if d.has_gaps], ids=lambda d: d.name)


@every_venue
def test_without_faults_everything_arrives(dialect: type[Dialect]) -> None:
    with session(dialect) as run:
        connects = run.server.counts["connects"]
        prints = {symbol: len(sizes) for symbol, sizes in run.watcher.prints.items()}
        books = {symbol: book.prints for symbol, book in run.server.dialect.market.books.items()}
        run.server.play(400)
        run.settle()
        made = {symbol: book.prints - books[symbol] for symbol, book in run.server.dialect.market.books.items()}
        until(
            lambda: all(len(run.watcher.prints[s]) - prints[s] == made[s] for s in made),
            run.watcher,
            "that all prints come",
        )
        assert not any(run.breaks().values()) and run.server.counts["connects"] == connects


@gap_venues
def test_lost_messages_are_found_one_by_one(dialect: type[Dialect]) -> None:
    with session(dialect) as run:
        lost = 3
        for _ in range(lost):
            run.server.play(20)
            run.server.delta(run.first, copies=0)
            run.server.delta(run.first)
            run.settle(nudge=True)
        other = run.server.dialect.symbols[1]
        assert run.breaks() == {run.first: lost, other: 0}
        assert run.watcher.gaps[run.first] == lost and run.watcher.gaps[other] == 0, "only that book was lost"


@every_venue
def test_repeated_messages_change_nothing(dialect: type[Dialect]) -> None:
    with session(dialect) as run:
        for _ in range(5):
            run.server.play(10)
            run.server.delta(run.first, copies=3)
        run.settle()
        assert not any(run.breaks().values()) and not run.watcher.gaps


@gap_venues
def test_swapped_messages_are_a_hole(dialect: type[Dialect]) -> None:
    with session(dialect) as run:
        run.server.play(20)
        run.server.swapped(run.first)
        run.settle(nudge=True)
        assert run.breaks()[run.first] == 1 and run.watcher.gaps[run.first] == 1


SPOILT: dict[str, Callable[[str], str | bytes]] = {
    "half": lambda message: message[: len(message) // 2],
    "empty": lambda message: "",
    "binary": lambda message: b"\x00\xff\xfe" + message.encode(),
    "price": lambda message: message.replace('"6', '"x', 1).replace('"change",', '"change","x",', 1),
    "list": lambda message: "[" * 2_000,
}


@every_venue
@pytest.mark.parametrize("way", SPOILT)
def test_corrupt_messages_are_counted_and_what_they_held_is_missed(dialect: type[Dialect], way: str) -> None:
    with session(dialect) as run:
        run.server.play(20)
        run.server.instead(run.first, SPOILT[way])
        run.server.delta(run.first)
        run.settle(nudge=True)
        if dialect.has_gaps:
            assert run.breaks()[run.first] == 1
        broken = {key: n for key, n in run.source.quality.live.items() if key.startswith("broken message")}
        assert sum(broken.values()) == 1, run.source.quality.live


GARBAGE = ("{}", "[]", "null", "0", '"text"', '{"data":null}', '{"e":1}', "\x00", b"\xff\xfe", "{" * 1_000, "not JSON")


@every_venue
def test_garbage_in_between_harms_nothing(dialect: type[Dialect]) -> None:
    with session(dialect) as run:
        for message in GARBAGE:
            run.server.extra(message)
            run.server.play(5)
        run.settle()
        assert not any(run.breaks().values())


def lose_connection(run: Session, act: Callable[[], None]) -> set[str]:
    """Do what ends the connection, and wait until the client is back with exact books.

    Returns the symbols whose books were told to be invalid meanwhile.
    """
    connects, gaps = run.server.counts["connects"], run.watcher.gaps.copy()
    run.server.play(20)
    act()
    until(lambda: run.server.counts["connects"] > connects, run.watcher, "a new connection")
    until(lambda: run.server.subscribed, run.watcher, "the subscription")
    run.settle(nudge=True)
    assert any(key.startswith("connection lost") for key in run.source.quality.live)
    return set(run.watcher.gaps - gaps)


@every_venue
def test_closed_with_every_code(dialect: type[Dialect]) -> None:
    with session(dialect) as run:
        for code in CLOSE_CODES:
            told = lose_connection(run, lambda code=code: run.server.close(code))  # type: ignore[misc]
            assert told == set(dialect.symbols)


@every_venue
@pytest.mark.parametrize("way", ["abort", "cut frame", "oversized", "stall"])
def test_connections_that_break_in_other_ways(dialect: type[Dialect], way: str) -> None:
    with session(dialect) as run:
        act: dict[str, Callable[[], None]] = {
            "abort": lambda: run.server.each(Connection.abort),
            "cut frame": lambda: run.server.each(Connection.cut_frame),
            "oversized": lambda: run.server.extra("x" * 1_100_000),
            "stall": lambda: run.server.stalled(),
        }
        assert lose_connection(run, act[way]) == set(dialect.symbols)


@every_venue
def test_refused_connections_are_tried_again(dialect: type[Dialect]) -> None:
    with session(dialect) as run:
        run.server.refuse_connects, run.server.refusal = 4, 503
        assert lose_connection(run, lambda: run.server.close(1001)) == set(dialect.symbols)
        until(lambda: run.server.counts["refused"] == 4, run.watcher, "four refusals")
        assert (
            run.server.refuse_connects == 0 and run.source.quality.live["connection lost: the server answers 503"] == 4
        )


@every_venue
def test_too_many_requests_waits_as_long_as_the_venue_says(dialect: type[Dialect]) -> None:
    with session(dialect) as run:
        refused = run.server.refuse_connects = len(run.server.connections)
        run.server.refusal, run.server.retry_after = 429, "1"
        began = time.monotonic()
        assert lose_connection(run, lambda: run.server.close(1001)) == set(dialect.symbols)
        assert time.monotonic() - began >= 0.9 and run.server.counts["refused"] == refused


@pytest.mark.parametrize("dialect", [d for d in DIALECTS if d.fetches_snapshots], ids=lambda d: d.name)
@pytest.mark.parametrize("status", [429, 418, 500, 404])
def test_refused_snapshots_are_asked_for_again(dialect: type[Dialect], status: int) -> None:
    with session(dialect) as run:
        run.server.refuse_rest, run.server.refusal = 2, status
        run.server.retry_after = "1" if status in (429, 418) else ""
        run.server.delta(run.first, copies=0)
        run.settle(nudge=True)
        assert run.server.counts["rest refused"] == 2 and run.breaks()[run.first] == 1


@every_venue
def test_a_delayed_stream_is_only_late(dialect: type[Dialect]) -> None:
    with session(dialect) as run:
        connects = run.server.counts["connects"]
        for _ in range(3):
            run.server.play(30)
            time.sleep(0.3)
        run.settle()
        assert not any(run.breaks().values()) and run.server.counts["connects"] == connects


@every_venue
def test_heartbeats_are_sent_and_missed(dialect: type[Dialect]) -> None:
    """What the venue wants to hear, it hears; when it does not answer and says nothing else, it is dead."""
    with session(dialect) as run:

        def beats() -> int:
            return sum(connection.client.heartbeats for connection in run.server.connections)

        if run.source.venue.heartbeat.every_us:
            until(lambda: beats() >= 2, run.watcher, "heartbeats")
        if dialect.name == "deribit":
            before = beats()
            run.server.extra('{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}')
            until(lambda: beats() > before, run.watcher, "an answer")
        run.server.answers_heartbeats = False
        connects, gaps = run.server.counts["connects"], run.watcher.gaps.copy()
        until(lambda: run.server.counts["connects"] > connects, run.watcher, "that silence is noticed")
        run.server.answers_heartbeats = True
        until(lambda: run.server.subscribed, run.watcher, "the subscription")
        run.settle(nudge=True)
        assert set(run.watcher.gaps - gaps) == set(dialect.symbols)
        assert any(key.startswith("connection lost: silent for") for key in run.source.quality.live)


@every_venue
def test_hours_of_trouble_leak_nothing(dialect: type[Dialect]) -> None:
    """A hundred reconnects: as many tasks, sockets and threads at the end as after the first."""
    with session(dialect) as run:
        lose_connection(run, lambda: run.server.close(1001))
        threads, sockets = threading.active_count(), open_sockets()
        for number in range(40):
            run.server.play(3)
            run.server.each(Connection.abort) if number % 2 else run.server.close(1012)
            connects = run.server.counts["connects"]
            until(lambda n=connects: run.server.counts["connects"] > n, run.watcher, "a new connection")  # type: ignore[misc]
        run.settle(nudge=True)
        assert threading.active_count() == threads
        until(lambda: open_sockets() <= sockets, run.watcher, "that sockets are closed")


def test_a_farewell_that_is_cut_short_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sockets are refused and wait for the venue to say goodbye, which it does not, when the run ends."""
    waiting: list[ClientConnection] = []

    async def wait(socket: ClientConnection, code: int = 1000, reason: str = "") -> None:
        waiting.append(socket)
        await asyncio.Event().wait()

    with serving(BinanceUsdm(11)) as server:
        venue = LiveAdapter(venue_at(server.dialect.name, server.url, server.rest_url))
        known = {"now_ns": time.time_ns, "random": Random(11), "instruments": server.dialect.instruments}
        with Watcher(venue.open(server.dialect.symbols, **known)) as watcher:
            until(lambda: server.subscribed and len(server.connections) == 2, watcher, "the subscription")
            monkeypatch.setattr(ClientConnection, "close", wait)
            server.extra('{"error":{"code":2,"msg":"Invalid request"},"id":9}')
            until(lambda: len(waiting) == 2, watcher, "that both sockets wait")
        until(lambda: not server.connections, watcher, "the end of all connections")
        assert [socket.transport.is_closing() for socket in waiting] == [True, True]


def open_sockets() -> int:
    """How many sockets this process has open."""
    links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return sum("socket:" in str(link.resolve()) for link in links)
