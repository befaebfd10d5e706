"""`replay report`: an HTML file about one saved result or band, or one that compares several results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.commands import add_command
from replay.errors import ConfigError
from replay.terminal import ProgressLine

if TYPE_CHECKING:
    from replay.commands import Subparsers
    from replay.engine import Replay
    from replay.results import Result


DESCRIPTION = """\
Make one HTML file that opens offline: about one saved result or band, or comparing several results. With the data that
was replayed (--data and --adapter, or --store) the report of one result also shows the path of the price and the order
book around chosen moments."""

EXAMPLE = """\
replay report result --out report.html
replay report result-a result-b --out comparison.html"""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(subparsers, "report", "make an HTML report of saved results", DESCRIPTION, EXAMPLE)
    parser.add_argument("results", nargs="+", type=Path, metavar="DIR", help="folder of a saved result or band")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default report.html")
    parser.add_argument("--data", nargs="+", default=[], type=Path, metavar="FILE", help="the recordings replayed")
    parser.add_argument("--adapter", metavar="NAME", help="who wrote them: binance-usdm, …")
    parser.add_argument("--store", type=Path, metavar="STORE", help="or the store")
    parser.add_argument("--moment", action="append", metavar="TIME", help="µs or ISO with zone, to see the book at")
    parser.add_argument("--currency", metavar="NAME", help="of a band or several results: to compare them in")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Load, write, say where.  Raises ConfigError and DataError."""
    from replay.results import Result
    from replay.saving import BAND

    bands = [folder for folder in arguments.results if (folder / BAND).is_file()]
    if bands:
        _band(arguments, bands[0])
    elif len(arguments.results) > 1:
        _compare(arguments, [Result.load(folder) for folder in arguments.results])
    else:
        if arguments.currency is not None:
            raise ConfigError("--currency", arguments.currency, "is for several results or a band", "leave it out")
        (result,) = (Result.load(folder) for folder in arguments.results)
        with ProgressLine(sys.stderr) as line:
            replay = _replay(arguments, result)
            if replay is not None:
                line.show("reading the data again …")
            moments = [_time(text) for text in arguments.moment] if arguments.moment else None
            result.to_html(arguments.out, replay=replay, moments=moments)
    print(arguments.out)
    return 0


def _for_one_result(arguments: argparse.Namespace) -> None:
    """ConfigError for arguments that only the report of one result has a use for."""
    for name in ("data", "adapter", "store", "moment"):
        if getattr(arguments, name):
            raise ConfigError(f"--{name}", getattr(arguments, name), "is for one result", "leave it out")


def _band(arguments: argparse.Namespace, folder: Path) -> None:
    from replay.sweep import Band

    if len(arguments.results) > 1:
        raise ConfigError("results", str(folder), "is a band, which has a report of its own", "name it alone")
    _for_one_result(arguments)
    Band.load(folder).to_html(arguments.out, currency=arguments.currency)


def _compare(arguments: argparse.Namespace, results: list[Result]) -> None:
    from replay.report.several import comparison_page

    _for_one_result(arguments)
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
