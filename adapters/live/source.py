"""A live feed as a source of events: a thread with the sockets on one side, batches for the engine on the other.

Between them lies a bounded queue (`adapters.live.backlog`).  Every `pulse_us` the source says up to when it is
complete, so that timers fire and orders are filled while no message comes.  What was recorded on the way replays as the
same events (`adapters.capture`), unless books had to be conflated because the run was too slow; `quality` counts that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from adapters.capture import STARTED, About, Recorder
from adapters.live.backlog import Backlog
from adapters.live.order import Order
from adapters.live.protocol import Venue, check_channels
from adapters.sequencing import Repair, Timing
from adapters.transports.downloads import together
from adapters.transports.snapshots import Http
from adapters.transports.websocket import Feed, Health, Settings, Surroundings
from replay.errors import ConfigError
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.sources import BATCH_ROWS
from replay.units import NS_PER_US, US_PER_DAY, US_PER_S, us_from_ns

LIVE_ROWS = 512
"""Rows that are handed out at once: what the engine holds can no longer be conflated."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often time passes without messages (µs), and when the run counts as too slow (rows, µs behind)."""

    pulse_us: int = 5_000
    max_rows: int = 262_144
    max_lag_us: int = US_PER_S


class LiveSource:
    """One venue, live (see `replay.sources.Source`).  `batches` can be called once; `close` ends it from any thread."""

    def __init__(
        self,
        venue: Venue,
        instruments: Sequence[Instrument],
        *,
        surroundings: Surroundings,
        channels: Sequence[str] = (),
        order: Order = Order(),  # noqa: B008 (immutable)
        recorder: Recorder | None = None,
        settings: Settings | None = None,
        pace: Pace | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.venue, self.instruments, self.order = venue, tuple(instruments), order
        self.name = f"{venue.name} live"
        self.horizon_us = order.window_us
        self.pace, self.timing = pace or Pace(), timing or Timing()
        self.world, self.recorder = surroundings, recorder
        self.backlog = Backlog(self.pace.max_rows, self.pace.max_lag_us)
        self.reached_us = 0
        self.late = 0
        symbols = [instrument.symbol for instrument in self.instruments]
        self.feed = Feed(
            venue,
            venue.decoder(self.instruments, self.timing, Repair("refetch")),
            venue.connections(symbols, check_channels(venue, channels)),
            self._deliver,
            surroundings=surroundings,
            settings=settings,
            tape=recorder,
        )
        self._thread: threading.Thread | None = None
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._guard = threading.RLock()  # a signal handler may come in between
        self._stopped = False
        self._error: BaseException | None = None

    @property
    def quality(self) -> QualityReport:
        """Counts so far; final when the batches have ended."""
        with self.feed.decoding:
            report = self.feed.decoder.quality
        report.live = self.feed.health.events + self.backlog.events
        if self.late:
            report.live["rows too late for the window, moved"] = self.late
        return report

    @property
    def health(self) -> Health:
        """What the sockets do."""
        return self.feed.health

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Batches as they come, the first one with rows; empty ones move `reached_us`.

        TransportError when the venue refuses what was asked for.
        """
        if self._thread is not None:
            raise ConfigError("source", self.name, "is live and can be read only once")
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
        self._thread.start()
        begun = False
        try:
            while (taken := self.backlog.take(min(rows, LIVE_ROWS))) is not None:
                batch, reached_ns = taken
                if len(batch):
                    self.late += self.order.apply(batch)
                    self.reached_us = int(batch["ts"][-1])
                    begun = True
                else:
                    self.reached_us = max(self.reached_us, us_from_ns(reached_ns + self.timing.offset_ns))
                if begun:
                    yield batch
            if self._error is not None:
                raise self._error
        finally:
            self.close()

    def stop(self) -> None:
        """Let the batches end soon; from any thread or signal handler."""
        with self._guard:
            if self._running is not None and not self._stopped:
                loop, task = self._running
                loop.call_soon_threadsafe(task.cancel)
            self._stopped = True

    def close(self) -> None:
        """Stop and wait until sockets, thread and recording are closed.

        Batches that somebody forgot are closed by Python's collector, perhaps in that very thread: nobody waits then.
        """
        self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            pass  # by `stop`
        except BaseException as error:
            self._error = error  # raised where the batches are read
        finally:
            self.backlog.close()

    async def _main(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with self._guard:
            self._running = loop, task
            stopped = self._stopped
        try:
            if not stopped:
                await together([self.feed.run(), self._pulse()])
        finally:
            with self._guard:
                self._running = None
            ended_ns = self.feed.stamp()
            if self.recorder is not None:
                self.recorder.close(ended_ns)
            self.backlog.reach(ended_ns)

    async def _pulse(self) -> None:
        while True:
            await self.world.sleep(self.pace.pulse_us / US_PER_S)
            await self.feed.pulse(self._reach)

    def _reach(self, now_ns: int) -> None:
        self.backlog.reach(now_ns)
        if self.recorder is not None:
            self.recorder.tick(now_ns)

    async def _deliver(self, batches: list[np.ndarray]) -> None:
        self.backlog.put(batches)
        while self.backlog.full:
            self.feed.health.events["waited for the run"] += 1
            await self.world.sleep(self.pace.pulse_us / US_PER_S)


async def look_up(venue: Venue, symbols: Sequence[str], world: Surroundings, timeout_s: float) -> list[Instrument]:
    """Terms of `symbols` from the venue.  ConfigError for one that it does not have, TransportError without answer."""
    async with Http(venue.limits.weight_per_min, world, timeout_s) as http:
        bodies = [await http.ask(request) for request in venue.lookup(symbols)]
    return venue.instruments(symbols, bodies)


def warm_up(venue: Venue, instruments: Sequence[Instrument]) -> None:
    """Have the decoder's machine code ready before the first message comes."""
    venue.decoder(instruments, Timing(), Repair("refetch")).feed(STARTED, NS_PER_US * US_PER_DAY * 365 * 40, _nobody)


def _nobody(batch: np.ndarray) -> None:
    """Takes events to nowhere."""


class LiveAdapter:
    """A venue on the command line: what an entry point of the group `replay.live` names."""

    def __init__(self, venue: Venue) -> None:
        self.venue, self.name = venue, venue.name

    def __repr__(self) -> str:
        return f"LiveAdapter({self.name!r})"

    def at(self, sockets: str, rest: str) -> LiveAdapter:
        """The same venue at other base addresses; "" keeps the usual ones."""
        return LiveAdapter(self.venue.at(sockets, rest))

    def open(
        self,
        symbols: Sequence[str],
        *,
        now_ns: Callable[[], int],
        random: Random,
        channels: Sequence[str] = (),
        instruments: Sequence[Instrument] = (),
        order: str = "arrival",
        record: Path | None = None,
        settings: Settings | None = None,
        pace: Pace | None = None,
    ) -> LiveSource:
        """A live source of `symbols`; terms that `instruments` does not give are asked for at the venue.

        `now_ns` tells Unix time, `random` gives jitter; `record` is a folder in which everything is kept.
        ConfigError for an unknown symbol, channel or order, TransportError when the venue does not answer.
        """
        if not symbols:
            raise ConfigError("symbols", symbols, "is empty", f"name symbols of {self.name}")
        world, chosen = Surroundings(now_ns, asyncio.sleep, random), settings or Settings()
        given = {each.symbol: each for each in instruments if each.venue == self.name}
        unknown = [symbol for symbol in dict.fromkeys(symbols) if symbol not in given]
        if unknown:
            found = asyncio.run(look_up(self.venue, unknown, world, chosen.open_s))
            given.update((each.symbol, each) for each in found)
        terms = [given[symbol] for symbol in dict.fromkeys(symbols)]
        ordered, timing = Order.parse(order), Timing()
        warm_up(self.venue, terms)
        recorder = Recorder(record, About(self.name, tuple(terms), timing, str(ordered))) if record else None
        return LiveSource(
            self.venue, terms, surroundings=world, channels=channels, order=ordered, recorder=recorder,
            settings=settings, pace=pace, timing=timing,
        )  # fmt: skip
