"""`replay report`: an HTML file about one saved result, or one that compares several."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.errors import ConfigError
from replay.terminal import ProgressLine

if TYPE_CHECKING:
    from replay.commands import Subparsers
    from replay.engine import Replay
    from replay.results import Result


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = subparsers.add_parser(
        "report",
        help="make an HTML report of saved results",
        description="Make one HTML file that opens offline: about one saved result, or comparing several.  With the "
        "data that was replayed (--data and --adapter, or --store) the report of one result also shows the path of the "
        "price and the order book around chosen moments.",
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="DIR", help="folder of a saved result")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default report.html")
    parser.add_argument("--data", nargs="+", default=[], type=Path, metavar="FILE", help="the recordings replayed")
    parser.add_argument("--adapter", metavar="NAME", help="who wrote them: binance-usdm, …")
    parser.add_argument("--store", type=Path, metavar="STORE", help="or the store")
    parser.add_argument("--moment", action="append", metavar="TIME", help="µs or ISO with zone, to see the book at")
    parser.add_argument("--currency", metavar="NAME", help="to compare several results in")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Load, write, say where.  Raises ConfigError and DataError."""
    from replay.results import Result

    results = [Result.load(folder) for folder in arguments.results]
    if len(results) > 1:
        _compare(arguments, results)
    else:
        if arguments.currency is not None:
            raise ConfigError("--currency", arguments.currency, "is for several results", "leave it out")
        with ProgressLine(sys.stderr) as line:
            replay = _replay(arguments, results[0])
            if replay is not None:
                line.show("reading the data again …")
            moments = [_time(text) for text in arguments.moment] if arguments.moment else None
            results[0].to_html(arguments.out, replay=replay, moments=moments)
    print(arguments.out)
    return 0


def _compare(arguments: argparse.Namespace, results: list[Result]) -> None:
    from replay.report.several import comparison_page

    for name in ("data", "adapter", "store", "moment"):
        if getattr(arguments, name):
            raise ConfigError(f"--{name}", getattr(arguments, name), "is for one result", "leave it out")
    folders = [folder.resolve() for folder in arguments.results]
    if len(set(folders)) < len(folders):
        raise ConfigError("results", [str(folder) for folder in arguments.results], "name a folder twice")
    short = [folder.name for folder in folders]
    names = short if len(set(short)) == len(short) else [str(folder) for folder in folders]
    comparison_page(dict(zip(names, results)), arguments.currency).write(arguments.out)


def _replay(arguments: argparse.Namespace, result: Result) -> Replay | None:
    """The data that the arguments name, None when they name none."""
    from replay.engine import Replay

    if arguments.store is not None:
        if arguments.data or arguments.adapter:
            raise ConfigError("--store", arguments.store, "excludes --data and --adapter")
        given: dict[str, Any] = {"instruments": [instrument.name for instrument in result.instruments]}
        return Replay.from_store(arguments.store, **given)
    if bool(arguments.data) != bool(arguments.adapter):
        raise ConfigError("--data", arguments.data, "and --adapter go together")
    if not arguments.data:
        return None
    return Replay.from_files(arguments.data, adapter=arguments.adapter, instruments=result.instruments)


def _time(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text
