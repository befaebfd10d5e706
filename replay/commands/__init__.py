"""The subcommands of `replay`: one module each, with `add_parser(subparsers)` and `run(arguments) -> exit code`.

These modules are imported before the arguments are parsed, so they import nothing heavy at the top: what a command
needs (numba above all) it imports in `run`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
