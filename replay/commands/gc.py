"""`replay gc`: delete what killed writers left in a store."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from replay.commands import add_command

if TYPE_CHECKING:
    from replay.commands import Subparsers


EXAMPLE = """\
replay gc store --hot"""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        subparsers,
        "gc",
        "delete leftovers of killed imports from a store",
        "Delete temporaries of processes that died while they wrote, and days of which only some files "
        "were put in place.  Running writers are left alone.",
        EXAMPLE,
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of a store")
    parser.add_argument("--hot", action="store_true", help="also delete the uncompressed copies")
    parser.add_argument("--json", action="store_true", help="print what was deleted as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Delete and say what.  Raises ConfigError when there is no store."""
    from replay.store import Store

    swept = Store(arguments.store).gc(hot=arguments.hot)
    if arguments.json:
        print(json.dumps(asdict(swept), indent=2))
        return 0
    print(f"{swept.leftover_bytes / 1e6:,.1f} MB of leftovers, {len(swept.incomplete)} incomplete days deleted")
    for name in swept.incomplete:
        print(f"  {name}")
    if arguments.hot:
        print(f"{swept.hot_bytes / 1e6:,.1f} MB of uncompressed copies deleted")
    if swept.busy:
        print("somebody is writing: incomplete days were left alone")
    return 0
