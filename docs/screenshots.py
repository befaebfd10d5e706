"""Makes the pictures of docs/images: `make screenshots`.

The market is synthetic (a seed, so always the same), with lost messages, half an hour long; the strategies are those of
`strategies/`.  Needs Chromium."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from replay import LogNormalLatency, MakerTaker, PowerProbQueue, Replay
from replay.testing import Faults, SyntheticMarket
from replay.units import US_PER_MIN
from strategies.grid import Grid
from strategies.market_maker import MarketMaker
from tests.report.chromium import Chromium, chromium, find_chromium

IMAGES = Path(__file__).parent / "images"
PICTURES = (
    ("report-light", "report", False, 1180, 1240, "header"),
    ("report-dark", "report", True, 1180, 1240, "header"),
    ("books", "report", False, 1180, 960, "#books"),
    ("comparison", "comparison", False, 1180, 1240, "header"),
    ("band", "band", False, 1180, 1240, "header"),
    ("phone", "report", False, 390, 844, "header"),
)
"""Name, page, dark, width, height, and what is at the top."""


def market_replay(folder: Path) -> Replay:
    """A recording with gaps, and the models of a maker who pays no fee."""
    market = SyntheticMarket(
        "binance-usdm", seed=11, duration_us=30 * US_PER_MIN, rate=0.5, funding_interval_us=10 * US_PER_MIN,
        faults=Faults(drop=0.001, duplicate=0.001, late=0.0005, snapshot_after_gap_us=1_500_000),
    )  # fmt: skip
    market.write(folder / "market.gz")
    return Replay.from_files(
        folder / "market.gz", adapter="binance-usdm", instruments=market.instruments, deposit=10_000,
        latency=LogNormalLatency(8_000, 0.4, seed=3), queue=PowerProbQueue(3), fees=MakerTaker("0", "0.0005"),
    )  # fmt: skip


def write_pages(folder: Path) -> None:
    """report.html, comparison.html and band.html."""
    replay = market_replay(folder)
    replay.run(Grid(), mode="compiled").to_html(folder / "report.html", replay=replay)
    sweep = replay.sweep(MarketMaker, half_spread_ticks=[2, 5, 10, 15, 20], skew_ticks=[0, 5, 10, 20, 40])
    sweep.to_html(folder / "comparison.html")
    replay.band(MarketMaker, half_spread_ticks=2, skew_ticks=0).to_html(folder / "band.html")


def photograph(browser: Chromium, pages: Path) -> None:
    """All pictures of the pages; PICTURES says which."""
    for name, page, dark, width, height, part in PICTURES:
        browser.size(width, height, mobile=width < 500)
        browser.dark(dark)
        browser.open(pages / f"{page}.html")
        browser.evaluate(f"document.querySelector('{part}').scrollIntoView()")
        browser.settle()
        browser.photograph(IMAGES / f"{name}.png")


def main() -> int:
    """Write the pictures; 1 without a browser."""
    program = find_chromium()
    if program is None:
        print("no Chromium on PATH: apt-get install chromium", file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium(program) as browser:
        write_pages(Path(folder))
        photograph(browser, Path(folder))
    for path in sorted(IMAGES.glob("*.png")):
        print(f"{path}  {path.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
