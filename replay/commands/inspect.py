"""`replay inspect`: coverage, rates, gaps, digests and sizes of a store, or everything about one file of it.

With `--coverage` every event is read, of a store or of recordings (see `replay.coverage`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from replay.commands import add_command
from replay.errors import ConfigError, did_you_mean
from replay.terminal import progress_of

if TYPE_CHECKING:
    from replay.commands import Subparsers


EXAMPLE = """\
replay inspect store --coverage
replay inspect day.gz --coverage --adapter binance-usdm"""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        subparsers,
        "inspect",
        "show coverage, gaps and rates of a store, or the footer of a file",
        "Show each day of each instrument: from when to when, rows a second of each channel, gaps, size "
        "and digest; for one file of a store what its footer says.",
        EXAMPLE,
    )
    parser.add_argument("path", type=Path, metavar="STORE|FILE", help="folder of a store, or one of its files")
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="with --adapter: more recordings")
    parser.add_argument(
        "--coverage", action="store_true", help="read all events: gaps, crossed spells, clocks, latency"
    )
    parser.add_argument("--adapter", default="", metavar="NAME", help="with --coverage: who wrote the recordings")
    parser.add_argument("--instrument", default="", metavar="VENUE:SYMBOL", help="only this one")
    parser.add_argument("--check", action="store_true", help="read all events and compare them with the digests")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show.  Raises ConfigError for what is no store, DataError for a damaged file."""
    if arguments.coverage:
        return _coverage(arguments)
    if arguments.adapter or arguments.files:
        raise ConfigError("--adapter", arguments.adapter, "is for --coverage")
    return _file(arguments) if arguments.path.is_file() else _store(arguments)


def _coverage(arguments: argparse.Namespace) -> int:
    from replay.coverage import cover
    from replay.sources import Source, find_adapter, rows_of
    from replay.store import Store

    source: Source
    with progress_of(sys.stderr, [arguments.path, *arguments.files]) as progress:
        if arguments.adapter:
            source = find_adapter(arguments.adapter).open([arguments.path, *arguments.files])
        else:
            source = Store(arguments.path).source([arguments.instrument] if arguments.instrument else [])
        progress.start(rows_of(source))
        found = cover(source, progress=progress.show)
    if arguments.json:
        facts = {name: coverage.as_dict() for name, coverage in found.items()}
        print(json.dumps({"clock_offset_us": source.quality.clock_offset_us, "instruments": facts}, indent=2))
    else:
        print(f"clock offset {source.quality.clock_offset_us / 1e3:+.3f} ms, added to local times while reading")
        print("\n".join(text for name, coverage in found.items() for text in coverage.lines(name)))
    return 0


def _file(arguments: argparse.Namespace) -> int:
    from replay.store.catalog import DayFile
    from replay.store.check import check_file
    from replay.store.footer import read_footer
    from replay.store.report import file_facts, file_lines

    path: Path = arguments.path
    if path.suffix != ".parquet":
        raise ConfigError(
            "",
            None,
            f"{path} is no file of a store",
            f"for a recording: replay inspect {path} --coverage --adapter NAME",
        )
    file = DayFile(path, path.stat().st_size, read_footer(path))
    if arguments.check:
        check_file(file)
    print(json.dumps(file_facts(file), indent=2) if arguments.json else "\n".join(file_lines(file)))
    return 0


def _store(arguments: argparse.Namespace) -> int:
    from replay.store import Store
    from replay.store.report import day_lines, gap_lines, store_facts

    store = Store(arguments.path)
    if arguments.instrument and arguments.instrument not in store.names():
        raise ConfigError(
            "--instrument",
            arguments.instrument,
            "is not in the store",
            did_you_mean(arguments.instrument, store.names()),
        )
    if arguments.check:
        store.check()
    facts = store_facts(store, arguments.instrument)
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, days in facts["instruments"].items():
            print("\n".join(day_lines(name, days)))
            for day in store.days(name):
                print("\n".join(gap_lines(day)), end="\n" if day.quality.gaps else "")
    for problem in facts["problems"]:
        print(f"replay: {problem}", file=sys.stderr)
    return 2 if facts["problems"] else 0
