"""The event store: size on disk, writing, replay from it against replay from memory, windows, peak memory.

The tape is the capture repeated until it is long enough, moved to the start of a UTC day.  Replays have a strategy
without handlers, so what is timed is the engine with nothing to wait for but its data; memory and store take turns,
with a warm page cache.  Peak memory is that of a process of its own which replays one day, then five.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.engine import NEVER_US, Silent, Tape, tape
from benchmarks.harness import Measurement
from benchmarks.memory import peak_mb
from replay.engine import Replay
from replay.events import empty_events
from replay.sources import ArraySource, Source
from replay.store import Store
from replay.units import US_PER_DAY, US_PER_MIN

TITLE = "Event store: bytes a row, write, replay, window, peak memory"

ROWS = 4_000_000
ROUNDS = 5
DAYS = 5
WINDOW_US = 5 * US_PER_MIN
GROWTH_LIMIT = 0.05
"""Five days may take this much more memory than one: room for the allocator's noise."""


def measure(capture: Path | None) -> list[Measurement]:
    """All figures.  AssertionError when the store does not give back what was written, or memory grows."""
    made = at_midnight(tape(capture, ROWS))
    with TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        out = [*written(store, made), *replayed(store, made), *windows(store, made)]
        return [*out, *peaks(store, made)]


def at_midnight(made: Tape) -> Tape:
    """The tape, moved so that it begins a minute after a UTC midnight."""
    first = int(made.events["ts"][0])
    later = (first // US_PER_DAY + 1) * US_PER_DAY + US_PER_MIN - first
    for name in ("ts", "exch_ts"):
        made.events[name] += later
    assert made.events["ts"][-1] // US_PER_DAY == made.events["ts"][0] // US_PER_DAY, "the tape is longer than a day"
    return made


def written(store: Store, made: Tape) -> list[Measurement]:
    """Rows a second of writing, and bytes a row of what was written."""
    source = ArraySource(made.events, made.instruments)
    runs = []
    for _ in range(3):
        start = time.perf_counter()
        store.record(source, existing="replace")
        runs.append(len(made.events) / (time.perf_counter() - start))
    store.check()
    back = np.concatenate([empty_events(0), *store.source().batches()])
    assert back.tobytes() == made.events.tobytes(), "other events came back"
    days = [day for name in store.names() for day in store.days(name)]
    per = {}
    for channel in ("book", "trades", "quotes"):
        files = [day.files[channel] for day in days if channel in day.files]
        per[channel] = sum(file.bytes for file in files) / max(1, sum(file.footer.rows for file in files))
    facts = {"trades": per["trades"], "quotes": per["quotes"]}
    return [
        Measurement("bytes a row, book", made.name, "B/row", (per["book"],), facts=facts),
        Measurement("write", made.name, "rows/s", tuple(runs), "digests, encoding, sync and renames included"),
    ]


def rate(source: Source) -> float:
    """Rows a second of one replay."""
    session = Replay([source], sample_us=NEVER_US).session(Silent())
    start = time.perf_counter()
    session.run()
    seconds = time.perf_counter() - start
    return session.results()[0].rows / seconds


def replayed(store: Store, made: Tape) -> list[Measurement]:
    """Replay from memory, from Parquet and from the uncompressed copies, in turn."""
    makers: dict[str, Callable[[], Source]] = {
        "replay from memory": lambda: ArraySource(made.events, made.instruments),
        "replay from the store": lambda: store.source(),
        "replay from copies": lambda: store.source(hot=True),
    }
    digests = {Replay([make()], sample_us=NEVER_US).run(Silent()).digest for make in makers.values()}
    assert len(digests) == 1, "the results differ"
    runs = {name: [] for name in makers}  # type: dict[str, list[float]]
    for _ in range(ROUNDS):
        for name, make in makers.items():
            runs[name].append(rate(make()))
    memory = runs["replay from memory"]
    out = []
    for name, found in runs.items():
        ratios = [mine / base for mine, base in zip(found, memory)]
        facts = {} if found is memory else {"of memory": float(np.median(ratios)), "best": max(ratios)}
        out.append(Measurement(name, made.name, "rows/s", tuple(found), facts=facts))
    return out


def windows(store: Store, made: Tape) -> list[Measurement]:
    """From opening the folder to the first batch of five minutes in the middle of the day."""
    middle = int(made.events["ts"][len(made.events) // 2])
    expected = np.count_nonzero((made.events["ts"] >= middle) & (made.events["ts"] < middle + WINDOW_US))
    out = []
    for name, hot in (("open 5 minutes", False), ("open 5 minutes of copies", True)):
        opened, whole = [], []
        for _ in range(2 * ROUNDS):
            start = time.perf_counter()
            batches = Store(store.path).source([], middle, middle + WINDOW_US, hot=hot).batches()
            rows = len(next(batches))
            opened.append(1e3 * (time.perf_counter() - start))
            rows += sum(len(batch) for batch in batches)
            whole.append(1e3 * (time.perf_counter() - start))
            assert rows == expected, "rows of the window are missing"
        facts = {"ms for all": float(np.median(whole))}
        out.append(Measurement(name, f"{expected:,} of {len(made.events):,} rows", "ms", tuple(opened), facts=facts))
    return out


def peaks(store: Store, made: Tape) -> list[Measurement]:
    """Peak memory of a process that replays one day, and of one that replays five."""
    events = made.events.copy()
    for _ in range(1, DAYS):
        for name in ("ts", "exch_ts"):
            events[name] += US_PER_DAY
        store.record(ArraySource(events, made.instruments))
    found = {}
    out = []
    for days in (1, DAYS):
        end_us = (int(made.events["ts"][0]) // US_PER_DAY + days) * US_PER_DAY
        runs = [in_process(store.path, end_us) for _ in range(2)]
        assert all(run["rows"] == days * len(made.events) for run in runs), "rows are missing"
        found[days] = min(run["mb"] for run in runs)
        facts = {"of one day": found[days] / found[1]} if days > 1 else {}
        what = f"{days} x {len(made.events):,} rows"
        out.append(Measurement(f"peak of {days} days", what, "MB", tuple(run["mb"] for run in runs), facts=facts))
    growth = found[DAYS] / found[1] - 1
    assert growth < GROWTH_LIMIT, f"{DAYS} days take {found[DAYS]:.0f} MB, one takes {found[1]:.0f}"
    return out


def in_process(path: Path, end_us: int) -> dict[str, float]:
    """`child` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.store", os.fspath(path), str(end_us)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def child(path: str, end_us: str) -> None:
    """Replay the store up to `end_us` and print what it took, as JSON."""
    result = Replay.from_store(path, end_us=int(end_us), sample_us=NEVER_US).run(Silent())
    print(json.dumps({"mb": peak_mb(), "rows": result.rows}))


if __name__ == "__main__":
    child(*sys.argv[1:])
