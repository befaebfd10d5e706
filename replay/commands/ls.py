"""`replay ls`: what a store holds, one line an instrument."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from replay.commands import add_command

if TYPE_CHECKING:
    from replay.commands import Subparsers


EXAMPLE = """\
replay ls store"""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        subparsers,
        "ls",
        "list the instruments and days of a store",
        "List the complete days of each instrument.  Days that are damaged or incomplete are named on "
        "standard error, and the exit code is then 2.",
        EXAMPLE,
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of a store")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List.  Raises ConfigError when there is no store."""
    from replay.store import Store
    from replay.store.report import listing, store_facts

    facts = store_facts(Store(arguments.store))
    print(json.dumps(facts, indent=2) if arguments.json else "\n".join(listing(facts)))
    for problem in facts["problems"]:
        print(f"replay: {problem}", file=sys.stderr)
    return 2 if facts["problems"] else 0
