"""`replay fetch`: download data sets.

Providers are found by name in the entry-point group `replay.fetchers`.  The key comes from the environment, so that
it stands in no command line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from replay.commands import add_command
from replay.errors import ConfigError, did_you_mean
from replay.terminal import ProgressLine

if TYPE_CHECKING:
    from replay.commands import Subparsers

FETCHER_GROUP = "replay.fetchers"


class Fetcher(Protocol):
    """What an entry point of the group `replay.fetchers` names; `key_variable` holds its key."""

    name: str
    key_variable: str

    def plan(
        self, exchange: str, data_types: Sequence[str], symbols: Sequence[str], first: date, last: date
    ) -> Sequence[Any]:
        """The files of these days, both included; ConfigError for what does not exist."""

    async def fetch(
        self, wanted: Sequence[Any], folder: Path, api_key: str, concurrency: int, url: str,
        progress: Callable[[str, int], None],
    ) -> list[Path]:  # fmt: skip
        """Download what is not there yet; TransportError when a file cannot be had."""


EXAMPLE = """\
TARDIS_API_KEY=… replay fetch tardis --exchange binance-futures --type trades --symbol BTCUSDT --from 2024-08-01"""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        subparsers,
        "fetch",
        "download data sets",
        "Download data sets, several at a time; what is there already is kept, what was cut goes on. "
        "Exit code 0 when all files are there, 2 for a wrong argument, 3 when the server has not done its part.",
        EXAMPLE,
    )
    parser.add_argument(
        "provider", metavar="PROVIDER", help="who has the data: tardis, tardis-raw, tardis-machine, relay"
    )
    parser.add_argument("--exchange", required=True, help="binance-futures, …")
    parser.add_argument("--type", required=True, action="append", metavar="TYPE", help="trades, …; may be repeated")
    parser.add_argument("--symbol", required=True, action="append", metavar="SYMBOL", help="may be repeated")
    parser.add_argument("--from", required=True, type=day, dest="first", metavar="DAY", help="first day, YYYY-MM-DD")
    parser.add_argument("--to", type=day, dest="last", metavar="DAY", help="last day (default: the first)")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="folder (default: this one)")
    parser.add_argument("--concurrency", type=int, default=4, metavar="N", help="files at a time (default 4)")
    parser.add_argument("--url", default="", help="another server")
    parser.add_argument("--json", action="store_true", help="print the paths as JSON")
    parser.set_defaults(run=run)


def day(text: str) -> date:
    """A date; argparse's error when it is none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2024-08-01") from None


def find_fetcher(name: str) -> Fetcher:
    """The provider called `name`; ConfigError with the nearest name when there is none."""
    from importlib.metadata import entry_points

    points = {point.name: point for point in entry_points(group=FETCHER_GROUP)}
    if name not in points:
        raise ConfigError("provider", name, "is not known", did_you_mean(name, points))
    fetcher: Fetcher = points[name].load()
    return fetcher


def run(arguments: argparse.Namespace) -> int:
    """Download and list.  Raises ConfigError for wrong arguments and TransportError for what the server did."""
    return download(find_fetcher(arguments.provider), arguments, time.monotonic)


def download(fetcher: Fetcher, arguments: argparse.Namespace, clock: Callable[[], float]) -> int:
    """Download by `fetcher` what the arguments ask for; `clock` tells seconds for the rate."""
    import asyncio

    last = arguments.last or arguments.first
    if last < arguments.first:
        raise ConfigError("--to", str(last), "is before --from")
    if arguments.concurrency < 1:
        raise ConfigError("--concurrency", arguments.concurrency, "must be at least 1")
    wanted = fetcher.plan(arguments.exchange, arguments.type, arguments.symbol, arguments.first, last)
    key = os.environ.get(fetcher.key_variable, "")
    came, begin = 0, clock()
    with ProgressLine(sys.stderr) as line:

        def progress(name: str, count: int) -> None:
            nonlocal came
            came += count
            seconds = max(clock() - begin, 1e-3)
            line.show(f"{came / 1e6:,.1f} MB   {came / seconds / 1e6:,.1f} MB/s   {name}")

        work = fetcher.fetch(wanted, arguments.out, key, arguments.concurrency, arguments.url, progress)
        paths = asyncio.run(work)
    print(json.dumps({"files": [str(path) for path in paths]}) if arguments.json else "\n".join(map(str, paths)))
    return 0
