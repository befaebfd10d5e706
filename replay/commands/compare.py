"""`replay compare`: do two feeds of the same market tell the same?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from replay.commands import add_command
from replay.errors import ConfigError
from replay.terminal import progress_of

if TYPE_CHECKING:
    from replay.commands import Subparsers
    from replay.sources import Source


EXAMPLE = """\
replay compare store tardis-csv:book.csv.gz,trades.csv.gz --instrument binance-futures:BTCUSDT"""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        subparsers,
        "compare",
        "compare two feeds of the same market",
        "Compare two feeds of the same market: missing, extra and different events, books over time and at "
        "the end.  Exit code 0 when they tell the same, 1 when they differ, 2 when a file or argument is wrong.",
        EXAMPLE,
    )
    where = "folder of a store, or ADAPTER:FILE[,FILE…], for example tardis-csv:book.csv.gz,trades.csv.gz"
    parser.add_argument("a", metavar="A", help=where)
    parser.add_argument("b", metavar="B", help="likewise")
    parser.add_argument("--instrument", default="", metavar="VENUE:SYMBOL", help="of stores: only this one, A's name")
    parser.add_argument("--instrument-b", default="", metavar="VENUE:SYMBOL", help="its name in B (default: the same)")
    parser.add_argument("--samples", type=int, default=200, metavar="N", help="instants at which books are compared")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def opened(text: str, instrument: str = "") -> Source:
    """The source that `text` names; ConfigError when it names none."""
    from replay.sources import find_adapter
    from replay.store import Store

    if Path(text).is_dir():
        return Store(text).source([instrument] if instrument else [])
    adapter, colon, files = text.partition(":")
    if not colon:
        raise ConfigError("feed", text, "is neither a store nor ADAPTER:FILE", "for example binance-usdm:raw.gz")
    if instrument:
        raise ConfigError("--instrument", instrument, "is for stores")
    return find_adapter(adapter).open([Path(name) for name in files.split(",")])


def run(arguments: argparse.Namespace) -> int:
    """Compare and print.  Raises ConfigError for wrong arguments and DataError for what cannot be read."""
    from replay.compare import compare
    from replay.sources import rows_of

    with progress_of(sys.stderr) as progress:
        a = opened(arguments.a, arguments.instrument)
        b = opened(arguments.b, arguments.instrument_b or arguments.instrument)
        if rows_of(a) and rows_of(b):
            progress.start(rows_of(a) + rows_of(b))
        found = compare(a, b, samples=arguments.samples, progress=progress.show)
    print(json.dumps(found.as_dict(), indent=2) if arguments.json else "\n".join(found.lines()))
    return 0 if found.same else 1
