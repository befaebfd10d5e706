"""`replay completion`: a script with which a shell completes commands, options, adapters and files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from replay.commands import add_command

if TYPE_CHECKING:
    from replay.commands import Subparsers

EXAMPLE = """\
replay completion bash > ~/.local/share/bash-completion/completions/replay
replay completion zsh > ~/.zfunc/_replay
replay completion fish > ~/.config/fish/completions/replay.fish"""

FOLDERS = ("DIR", "STORE")


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    description = "Print a script for a shell.  Make it again when adapters were installed."
    parser = add_command(subparsers, "completion", "print a script for completion in a shell", description, EXAMPLE)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="your shell")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from replay.cli import make_parser

    parser = make_parser()
    _describe(parser)
    print(shtab.complete(parser, arguments.shell))
    return 0


def _describe(parser: argparse.ArgumentParser) -> None:
    """Say of every argument what its values are: adapters, folders or files."""
    from pathlib import Path

    import shtab

    from replay.sources import adapter_names

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                _describe(subparser)
        elif action.dest == "adapter":
            action.choices = adapter_names()
        elif action.metavar in FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.type is Path or action.metavar == "SOURCE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
