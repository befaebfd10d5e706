"""The command `replay`.

Each subcommand is a module of `replay.commands`.  Mistakes of the caller end as one line on standard error and the
exit code of the exception, never as a traceback: 2 for a wrong argument or file, 3 for a server, 1 for a strategy
that raised, 70 for a bug of ours.  Ctrl-C ends with 130.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from replay._version import __version__
from replay.commands import (
    compare,
    demo,
    export,
    fetch,
    gc,
    ingest,
    inspect,
    live,
    ls,
    record,
    relay,
    report,
    run,
    verify,
)
from replay.errors import ReplayError

EXIT_INTERRUPTED = 130


def make_parser() -> argparse.ArgumentParser:
    """The arguments of `replay` and of all its commands."""
    parser = argparse.ArgumentParser(
        prog="replay", description="Replay recorded crypto markets tick by tick: verify recordings, run strategies."
    )
    parser.add_argument("--version", action="version", version=f"tickreplay {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (demo, fetch, record, live, ingest, run, verify, ls, inspect, compare, export, relay, report, gc):
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` default to those of the process.  Returns the exit code.

    argparse itself ends the process (SystemExit 2) for arguments that it does not understand.
    """
    chosen = make_parser().parse_args(arguments)
    try:
        code: int = chosen.run(chosen)
        sys.stdout.flush()
    except ReplayError as error:
        print(f"replay: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("replay: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`replay … | head`): nobody to tell, and the flush at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
