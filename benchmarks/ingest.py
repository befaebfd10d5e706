"""Import of Tardis CSV: rows a second against bare inflate, peak memory of import and replay, bytes a row.

A synthetic day is `SECONDS_MADE` random seconds of book changes, told again and again with the second's time put in;
gzip members may be written one after the other, so making it costs little more than compressing.  One day and
five are imported and replayed in processes of their own, which report the peak of their resident memory.  Bare
inflate is the same file read by the same library, and by zlib.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, cast

import numpy as np
from isal import igzip

from benchmarks.engine import NEVER_US, Silent
from benchmarks.harness import Goal, Measurement, peak_mb
from replay.engine import Replay
from replay.store import Store
from replay.store.ingest import ingest

TITLE = "Import of Tardis CSV: rows/s against inflate, peak memory, bytes a row"

ROWS = 10_000_000
"""Rows of a day; REPLAY_INGEST_ROWS=50000000 in the environment for the size that the goals are meant for."""
DAYS = 5
FIRST_S = 1_723_075_200
"""2024-08-08 00:00 UTC."""
DAY_S = 86_400
SECONDS_MADE = 60
MESSAGES = 20
LEVELS = 1_000
PEAK = Goal(400, at_least=False)
GROWTH_LIMIT = 0.08
HEADER = b"exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"
SECOND = b"SSSSSSSSSS"
READ_BYTES = 1 << 20


def second_of_rows(rows: int, chance: np.random.Generator) -> bytes:
    """CSV of one second: `MESSAGES` messages of about rows / MESSAGES levels, times to be put in."""
    cuts = np.sort(chance.choice(np.arange(1, rows), MESSAGES - 1, replace=False))
    at_us = np.sort(chance.choice(999_000, MESSAGES, replace=False)) + 500
    message = np.repeat(at_us, np.diff([0, *cuts, rows]))
    bids = chance.random(rows) < 0.5
    ticks = 600_000 + np.where(bids, -1, 1) * np.minimum(chance.geometric(0.01, rows), 5_000)
    lots = chance.integers(0, 60_000, rows) * (chance.random(rows) > 0.25)
    text = SECOND.decode()
    return "".join(
        f"binance-futures,BTCUSDT,{text}{us // 1000:03d}000,{text}{us:06d},false,{'bid' if bid else 'ask'},"
        f"{price // 10}.{price % 10},{size // 1000}.{size % 1000:03d}\n"
        for us, bid, price, size in zip(message.tolist(), bids.tolist(), ticks.tolist(), lots.tolist())
    ).encode()


def write_day(folder: Path, rows: int, day: int) -> Path:
    """A day of about `rows` book rows that begins with a snapshot."""
    chance = np.random.default_rng(1)
    made = [second_of_rows(max(MESSAGES, rows // DAY_S), chance) for _ in range(SECONDS_MADE)]
    first = FIRST_S + day * DAY_S
    lines = [HEADER]
    for side, sign in (("bid", -1), ("ask", 1)):
        for level in range(1, LEVELS):
            price = 600_000 + sign * level
            row = f"{first}000000,{first}000001,true,{side},{price // 10}.{price % 10},1.5\n"
            lines.append(f"binance-futures,BTCUSDT,{row}".encode())
    date = np.datetime64(first, "s").astype("datetime64[D]")
    path = folder / f"binance-futures_incremental_book_L2_{date}_BTCUSDT.csv.gz"
    with path.open("wb") as file:
        file.write(igzip.compress(b"".join(lines), 1))
        for start in range(0, DAY_S, 100):
            tile = [made[s % SECONDS_MADE].replace(SECOND, b"%d" % (first + s)) for s in range(start, start + 100)]
            file.write(igzip.compress(b"".join(tile), 1))
    return path


def inflate_s(path: Path, opened: Callable[[Path], IO[bytes]]) -> float:
    """Seconds to inflate a file and forget it."""
    begin = time.perf_counter()
    with opened(path) as stream:
        while stream.read(READ_BYTES):
            pass
    return time.perf_counter() - begin


def measure(capture: Path | None) -> list[Measurement]:
    """All figures; `capture` is not used.  AssertionError when rows are missing or memory grows with the days."""
    rows = int(os.environ.get("REPLAY_INGEST_ROWS", ROWS))
    with TemporaryDirectory() as text:
        folder = Path(text)
        files = [write_day(folder, rows, day) for day in range(DAYS)]
        short = folder / "short"
        short.mkdir()
        write_day(short, DAY_S * MESSAGES, 0)
        in_process("import", [os.fspath(short), os.fspath(folder / "warm"), "1"])  # compiles what is not compiled
        speeds, store = import_speeds(folder, files)
        return [*speeds, *peaks(store, rows)]


def import_speeds(folder: Path, files: list[Path]) -> tuple[list[Measurement], Path]:
    """Import of one day, of all by one process and by all cores, and bare inflate; the store with all days."""
    out = []
    for name, opened in (("isal", igzip.open), ("zlib", gzip.open)):
        seconds = inflate_s(files[0], cast(Callable[[Path], IO[bytes]], opened))
        out.append((f"inflate by {name}", seconds))
    one = in_process("import", [os.fspath(files[0]), os.fspath(folder / "one"), "1"])
    five = in_process("import", [os.fspath(folder), os.fspath(folder / "five"), "1"])
    cores = os.cpu_count() or 1
    fast = in_process("import", [os.fspath(folder), os.fspath(folder / "fast"), str(cores)])
    rows = one["rows"]
    assert five["rows"] == fast["rows"] == DAYS * rows, "rows are missing"
    assert Store(folder / "five").digest() == Store(folder / "fast").digest(), "more processes, other events"
    growth = five["mb"] / one["mb"] - 1
    assert growth < GROWTH_LIMIT, f"{DAYS} days take {five['mb']:.0f} MB, one takes {one['mb']:.0f}"
    day = Store(folder / "one").days("binance-futures:BTCUSDT")[0]
    what = f"{rows:,.0f} rows, {files[0].stat().st_size / 1e6:,.0f} MB of gz"
    found = [Measurement(name, what, "rows/s", (rows / seconds,)) for name, seconds in out]
    facts = {f"of {name}": seconds / one["s"] for name, seconds in out} | {"rows/s of CPU": rows / one["cpu_s"]}
    all_facts = {f"of {name}": DAYS * seconds / fast["s"] for name, seconds in out}
    return [
        *found,
        Measurement("import, one process", what, "rows/s", (rows / one["s"],), facts=facts),
        Measurement(f"import, {cores} processes", f"{DAYS} x {what}", "rows/s", (fast["rows"] / fast["s"],),
                    facts=all_facts),
        Measurement("bytes a row", what, "B/row", (day.bytes / day.rows,), goal=Goal(6, at_least=False)),
        Measurement("peak of import, 1 day", what, "MB", (one["mb"],), goal=PEAK),
        Measurement(f"peak of import, {DAYS} days", f"{DAYS} x {what}", "MB", (five["mb"],), goal=PEAK,
                    facts={"of one day": five["mb"] / one["mb"]}),
    ], folder / "five"  # fmt: skip


def peaks(store: Path, rows: int) -> list[Measurement]:
    """Peak memory of a process that replays one day, and of one that replays all."""
    out, found = [], {}
    for days in (1, DAYS):
        run = in_process("replay", [os.fspath(store), str((FIRST_S + days * DAY_S) * 1_000_000)])
        found[days] = run["mb"]
        what = f"{run['rows']:,.0f} rows"
        facts = {"rows/s": run["rows"] / run["s"]}
        out.append(Measurement(f"peak of replay, {days} days", what, "MB", (run["mb"],), goal=PEAK, facts=facts))
        assert run["rows"] >= 0.95 * days * rows, "rows are missing"
    growth = found[DAYS] / found[1] - 1
    assert growth < GROWTH_LIMIT, f"{DAYS} days take {found[DAYS]:.0f} MB, one takes {found[1]:.0f}"
    return out


def in_process(what: str, arguments: list[str]) -> dict[str, float]:
    """A child of this module in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ingest", what, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def import_child(source: str, store: str, jobs: str) -> dict[str, float]:
    """Import files or the files of a folder."""
    sources = sorted(Path(source).glob("*.csv.gz")) if Path(source).is_dir() else [Path(source)]
    begin, cpu = time.perf_counter(), time.process_time()
    outcomes = ingest(sources, adapter="tardis-csv", store=store, jobs=int(jobs))
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    assert all(outcome.state == "imported" for outcome in outcomes), [str(outcome.error) for outcome in outcomes]
    return {"mb": peak_mb(), "rows": sum(outcome.rows for outcome in outcomes), "s": seconds, "cpu_s": cpu}


def replay_child(store: str, end_us: str) -> dict[str, float]:
    """Replay a store up to `end_us`."""
    replay = Replay.from_store(store, end_us=int(end_us), sample_us=NEVER_US)
    begin = time.perf_counter()
    result = replay.run(Silent())
    return {"mb": peak_mb(), "rows": result.rows, "s": time.perf_counter() - begin}


if __name__ == "__main__":
    chosen = {"import": import_child, "replay": replay_child}[sys.argv[1]]
    print(json.dumps(chosen(*sys.argv[2:])))
