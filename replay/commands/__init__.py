"""The subcommands of `replay`: one module each, with `add_parser(subparsers)` and `run(arguments) -> exit code`.

These modules are imported before the arguments are parsed, so they import nothing heavy at the top: what a command
needs (numba above all) it imports in `run`.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from replay.errors import ConfigError

if TYPE_CHECKING:
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def add_command(
    subparsers: Subparsers, name: str, summary: str, description: str, example: str
) -> argparse.ArgumentParser:  # fmt: skip
    """The parser of one command; its help ends with the lines of `example`."""
    lines = "\n".join(f"  {line}" for line in example.splitlines())
    return subparsers.add_parser(
        name, help=summary, description=textwrap.fill(description, 78), epilog=f"example:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def key_values(name: str, texts: Iterable[str]) -> dict[str, str]:
    """`K=V` texts as a dict; ConfigError naming the argument."""
    out = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(name, text, "is not K=V", f"for example {name} lots=5")
        out[key] = value
    return out
