"""`replay demo`: a synthetic market with faults, an example market maker, the whole way from bytes to P&L."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from replay.commands import add_command
from replay.errors import ConfigError
from replay.terminal import Progress, ProgressLine

if TYPE_CHECKING:
    from replay.commands import Subparsers

STRATEGY = "strategies.market_maker:MarketMaker"
ADAPTER = "binance-usdm"


EXAMPLE = """\
replay demo
replay demo --minutes 30 --seed 3 --keep market.gz"""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        subparsers,
        "demo",
        "replay a few minutes of a synthetic market with injected gaps",
        "Make a recording of a synthetic market in which messages are lost, repeated and late, replay it "
        "through an example market maker, and show what was found and earned.",
        EXAMPLE,
    )
    parser.add_argument("--minutes", type=float, default=4.0, help="length of the recording (default 4)")
    parser.add_argument("--seed", type=int, default=7, help="of the market and of its faults (default 7)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the recording there (.gz: compressed)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make, replay, print."""
    if not 0 < arguments.minutes <= 24 * 60:
        raise ConfigError("--minutes", arguments.minutes, "must lie between 0 and 1440")
    if arguments.keep is not None:
        return _demo(arguments, arguments.keep)
    with tempfile.TemporaryDirectory(prefix="tickreplay-") as folder:
        return _demo(arguments, Path(folder) / "demo.gz")


def _demo(arguments: argparse.Namespace, path: Path) -> int:
    from replay.commands.run import load_strategy, print_result, progress_to
    from replay.engine import Replay
    from replay.models import ConstantLatency, MakerTaker, PowerProbQueue
    from replay.sources import adapter_names
    from replay.testing import Faults, SyntheticMarket
    from replay.units import US_PER_MIN

    def say(text: str) -> None:
        print(text, file=sys.stderr if arguments.json else sys.stdout, flush=True)

    market = SyntheticMarket(
        ADAPTER,
        seed=arguments.seed,
        duration_us=int(arguments.minutes * US_PER_MIN),
        faults=Faults(drop=0.001, duplicate=0.001, late=0.0005),
        clock_offset_us=-40_000,
        funding_interval_us=2 * US_PER_MIN,
    )
    names = " and ".join(instrument.symbol for instrument in market.instruments)
    say(f"1. A synthetic exchange records {arguments.minutes:g} min of {names} (seed {arguments.seed}) …")
    with ProgressLine(sys.stderr) as line:
        line.show("recording …")
        market.write(path)
        counts = {kind: len(market.truth.of_kind(kind)) for kind in ("drop", "duplicate", "late")}
        say(
            f"   {market.truth.messages:,} messages; {counts['drop']} lost, {counts['late']} late and "
            f"{counts['duplicate']} repeated on purpose; the recorder's clock is 40 ms behind"
        )
        say(f"2. Replay through {STRATEGY} …")
        line.clear()
        replay = Replay.from_files(
            path,
            adapter=ADAPTER,
            instruments=market.instruments,
            latency=ConstantLatency(entry=10_000, response=10_000),
            queue=PowerProbQueue(3),
            fees=MakerTaker(maker="0.00002", taker="0.0005"),
            progress=progress_to(Progress(line)),
        )
        result = replay.run(load_strategy(STRATEGY, []))
    if arguments.json:
        print(result.to_json())
        return 0
    injected = counts["drop"] + counts["late"]
    repaired = sum(1 for gap in result.quality.gaps if gap.repair)
    print(f"3. Gaps: {injected} injected, {result.quality.gaps_total} found, {repaired} repaired by a later snapshot\n")
    print_result(result, 8)
    print(
        "\nOn your own data:\n"
        "  replay verify FILE… --adapter binance-usdm\n"
        f"  replay run --strategy {STRATEGY} --data FILE… --adapter binance-usdm --save result\n"
        "  replay run result/run.toml\n"
        f"Adapters: {', '.join(adapter_names())}."
    )
    return 0
