"""`replay verify`: check a recording without a strategy."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from replay.commands.data import add_repair_arguments, repair_options
from replay.errors import ConfigError
from replay.terminal import ProgressLine

if TYPE_CHECKING:
    from replay.commands import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = subparsers.add_parser(
        "verify",
        help="check a recording: gaps, rebuilt book against quotes, trades",
        description="Rebuild the book of each instrument, compare it with the venue's own quotes, and report what is "
        "missing or wrong.  Several files of one instrument are one recording.  Exit code 0 when the recording could "
        "be read (with --strict: 1 when a fault was found in it), 2 when a file or argument is wrong.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings, plain or gzip")
    parser.add_argument("--adapter", required=True, metavar="NAME", help="who wrote it: binance-usdm, …")
    add_repair_arguments(parser)
    parser.add_argument("--drop-every", type=int, default=0, metavar="N", help="leave out each N-th depth message")
    parser.add_argument("--drop-from", type=int, default=0, metavar="K", help="… from the K-th on (0-based)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when the recording has faults")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify and print.  Raises ConfigError for wrong arguments and DataError for what cannot be read."""
    for name in ("drop_every", "drop_from"):
        if getattr(arguments, name) < 0:
            raise ConfigError("--" + name.replace("_", "-"), getattr(arguments, name), "must not be negative")

    from dataclasses import replace

    from replay.sources import find_adapter
    from replay.verify import verify

    adapter = find_adapter(arguments.adapter)
    with ProgressLine(sys.stderr) as progress:
        progress.show("reading …")
        drop = {"drop_every": arguments.drop_every, "drop_from": arguments.drop_from}
        source = adapter.open(arguments.files, **drop, **repair_options(arguments))
        found = verify(source, lambda rows: progress.show(f"{rows:,} rows"))
    found = replace(found, files=[str(path) for path in arguments.files], adapter=adapter.name)
    if arguments.json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        print("\n".join(found.lines()))
    return 1 if arguments.strict and not found.clean else 0
