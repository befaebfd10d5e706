"""The documented example of a venue of one's own: installed beside us, found by name, and right about a recording."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[2]
EXAMPLE = REPO / "docs" / "examples" / "my_venue.py"
START_MS = 1_723_161_255_000
STRATEGY = """
from replay import Strategy

class Seen(Strategy):
    trades: int = 0

    def on_trade(self, ctx, trade):
        self.trades += 1

    def on_stop(self, ctx):
        print("bid", ctx.book(0).bid_ticks, "trades", self.trades)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder of packages that holds the example, as an installer leaves it."""
    site = tmp_path / "site"
    facts = site / "my_venue-1.0.dist-info"
    facts.mkdir(parents=True)
    shutil.copy(EXAMPLE, site)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-venue\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[replay.adapters]\nacme = my_venue:ACME\n")
    return site


def replay(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own that also sees the package."""
    paths = os.pathsep.join([str(REPO), str(installed)])
    environment = {**os.environ, "PYTHONPATH": paths}
    line = [sys.executable, "-m", "replay", *arguments]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)


def recording(folder: Path) -> Path:
    """A book, deltas of which the sixth is missing, a new book, trades."""
    lines = []

    def say(i: int, **message: Any) -> None:
        at_ms = START_MS + 100 * i
        lines.append(f"{at_ms * 1_000_000 + 5_000_000} {json.dumps({'sym': 'BTC-USD', 't': at_ms, **message})}")

    say(0, ch="book", seq=1, bids=[["61800.5", "2"]], asks=[["61801.0", "1"]])
    for i in range(2, 10):
        if i != 6:
            say(i, ch="delta", seq=i, bids=[["61800.5", f"{i}.5"]], asks=[])
    say(10, ch="book", seq=10, bids=[["61799.5", "3"]], asks=[["61801.0", "1"]])
    say(11, ch="trade", id=99, side="buy", px="61801.0", qty="0.5")
    say(12, ch="trade", id=100, side="sell", px="61799.5", qty="1")
    say(13, ch="hello")
    path = folder / "day.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_example_is_found_and_right(installed: Path, tmp_path: Path) -> None:
    path = recording(tmp_path)
    done = replay(installed, tmp_path, "verify", str(path), "--adapter", "acme", "--json")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)["quality"]["instruments"]["acme:BTC-USD"]
    assert (counts["snapshots"], counts["breaks"], counts["trades"], counts["book_state"]) == (2, 1, 2, "live")
    (tmp_path / "mine.py").write_text(STRATEGY)
    line = ["run", "--data", str(path), "--adapter", "acme", "--strategy", "mine:Seen", "--mode", "interpreted"]
    done = replay(installed, tmp_path, *line)
    assert done.returncode == 0, done.stderr
    assert "bid 123599 trades 2" in done.stdout


def test_without_the_package_the_name_is_not_known(tmp_path: Path) -> None:
    done = replay(tmp_path, tmp_path, "verify", str(recording(tmp_path)), "--adapter", "acme")
    assert done.returncode == 2 and "no such adapter" in done.stderr


def test_the_example_stays_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 70
