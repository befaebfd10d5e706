"""Peak memory of a whole run, from raw file to result, and that it does not grow with the file.

Each run is a process of its own, which reports the peak of its resident memory.  A first run over a tiny recording
gives what interpreter, libraries and kernels take.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Measurement, peak_mb
from replay.context import Book, Context
from replay.engine import Replay
from replay.strategy import Strategy
from replay.testing import SyntheticMarket
from replay.units import US_PER_S

TITLE = "Peak memory while a recording streams through a replay"

ADAPTER = "binance-usdm"
SECONDS = {"tiny": 1, "1x": 40, "4x": 160}
GROWTH_LIMIT = 0.05
"""The larger run may take this much more than the smaller one: room for the allocator's noise."""


class Watcher(Strategy):
    """Counts book messages."""

    calls: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        self.calls += 1


def child(path: Path) -> None:
    """Replay the recording and print what it took, as JSON."""
    strategy = Watcher()
    result = Replay.from_files(path, adapter=ADAPTER).run(strategy)
    print(json.dumps({"mb": peak_mb(), "rows": result.rows, "calls": strategy.calls}))


def in_process(path: Path) -> dict[str, float]:
    """`child` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", os.fspath(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def measure(capture: Path | None) -> list[Measurement]:
    """Peak MB for each length; the recordings are always made here, `capture` is not used.

    AssertionError when rows are missing, or when the longer run takes more memory.
    """
    out: list[Measurement] = []
    peaks: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        for name, length in SECONDS.items():
            market = SyntheticMarket(ADAPTER, duration_us=length * US_PER_S)
            path = market.write(Path(folder) / f"{name}.gz")
            if not out:
                in_process(path)  # compiles the kernels if need be, which takes memory of its own
            runs = [in_process(path) for _ in range(2)]
            found = runs[0]
            assert all(run["rows"] == found["rows"] for run in runs), "two runs saw different numbers of rows"
            assert found["calls"] > 0, "no book message arrived"
            peaks[name] = min(run["mb"] for run in runs)
            what = (
                f"{path.stat().st_size / 1e6:.1f} MB of gz, {found['rows']:,} rows, {market.truth.messages:,} messages"
            )
            facts = {"of 1x": peaks[name] / peaks["1x"]} if name == "4x" else {}
            out.append(Measurement(f"{name} recording", what, "MB", tuple(run["mb"] for run in runs), facts=facts))
    growth = peaks["4x"] / peaks["1x"] - 1
    assert growth < GROWTH_LIMIT, f"four times the recording takes {growth:.0%} more memory"
    return out


if __name__ == "__main__":
    child(Path(sys.argv[1]))
