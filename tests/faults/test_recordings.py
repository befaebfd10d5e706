"""Recordings of every venue under faults: what is replayed is what the live run saw, byte for byte.

Also when the recording process is killed: what is on disk is then the beginning of what it saw.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import numpy as np

from adapters.capture import ADAPTER, About, Blocks, Recorder
from adapters.live.source import LiveSource, Pace
from adapters.sequencing import Timing
from adapters.transports.websocket import Surroundings
from replay.events import EVENT, GAP
from tests.faults.dialects import DIALECTS, Dialect
from tests.faults.test_venues import GARBAGE, QUICK, SPOILT, every_venue, lose_connection, session, venue_at
from tests.faults.venue_server import Connection, VenueServer, serving

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
ROWS = "rows.bin"


def replayed(folder: Path) -> np.ndarray:
    """The events of a recording."""
    return np.concatenate([batch.copy() for batch in ADAPTER.open([folder]).batches()])


@every_venue
def test_a_recording_of_a_troubled_feed_replays_as_it_was(dialect: type[Dialect], tmp_path: Path) -> None:
    with session(dialect, record=tmp_path) as run:
        run.server.play(30)
        run.server.delta(run.first, copies=0)
        run.server.delta(run.first, copies=2)
        run.settle(nudge=True)
        run.server.instead(run.first, SPOILT["half"])
        for message in GARBAGE:
            run.server.extra(message)
        run.settle(nudge=True)
        lose_connection(run, lambda: run.server.close(1012))
        lose_connection(run, lambda: run.server.each(Connection.cut_frame))
    rows = np.concatenate(run.watcher.rows)
    assert np.count_nonzero(rows["kind"] == GAP) >= 4
    assert replayed(tmp_path).tobytes() == rows.tobytes()


def record_until_killed(name: str, sockets: str, rest: str, folder: str) -> None:
    """In a process of its own: record, and write each row that is handed out to a file at once."""
    (dialect,) = (each for each in DIALECTS if each.name == name)
    instruments = dialect(0).instruments
    recorder = Recorder(Path(folder), About(name, tuple(instruments), Timing()), Blocks(flush_bytes=2_000))
    source = LiveSource(
        venue_at(name, sockets, rest), instruments, surroundings=Surroundings(time.time_ns, asyncio.sleep, Random(5)),
        recorder=recorder, settings=QUICK, pace=Pace(max_lag_us=3_600_000_000),
    )  # fmt: skip
    with (Path(folder) / ROWS).open("wb", buffering=0) as file:
        for batch in source.batches():
            file.write(batch.tobytes())


def kill_while_recording(server: VenueServer, folder: Path, random: Random) -> None:
    """A process records the server, which moves and breaks connections; SIGKILL ends it at a random moment."""
    code = "import sys; from tests.faults.test_recordings import record_until_killed as go; go(*sys.argv[1:])"
    arguments = [server.dialect.name, server.url, server.rest_url, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment) as victim:
        try:
            end = time.monotonic() + PATIENCE_S
            rows, lines = folder / ROWS, random.randrange(300, 1_500)
            while not rows.exists() or rows.stat().st_size < lines * EVENT.itemsize:
                assert victim.poll() is None and time.monotonic() < end, "nothing is recorded"
                server.play(20)
                if random.random() < 0.02:
                    server.close(1012)
                time.sleep(0.005)
            time.sleep(random.uniform(0.0, 0.01))
        finally:
            victim.kill()


@every_venue
def test_a_killed_recording_is_the_beginning_of_what_was_seen(dialect: type[Dialect], tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    with serving(dialect(seed)) as server:
        kill_while_recording(server, tmp_path, Random(seed))
    seen = (tmp_path / ROWS).read_bytes()
    kept = replayed(tmp_path).tobytes()
    common = min(len(seen), len(kept))
    assert common > 100 * EVENT.itemsize
    assert kept[:common] == seen[:common]
