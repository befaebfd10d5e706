"""The command `replay`.

Each subcommand is a module of `replay.commands`.  Whatever goes wrong ends as one line on standard error and an exit
code, never as a traceback: 2 for a wrong argument or file, 3 for a server, 1 for a strategy that raised, 70 for a bug
of ours, 130 for Ctrl-C.  With `--json` that line is `{"error": {"kind": …, "message": …, "exit_code": …}}`.  The
traceback of a bug is written to a file that is named; with REPLAY_DEBUG=1 every traceback is printed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from replay._version import __version__
from replay.commands import (
    compare,
    completion,
    demo,
    doctor,
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
from replay.errors import ConfigError, ReplayError, did_you_mean

EXIT_WRONG = 2
EXIT_BUG = 70
EXIT_INTERRUPTED = 130

OVERVIEW = """\
begin:
  replay demo                                           a synthetic market, an example strategy, the result
  replay verify FILE… --adapter binance-usdm            is a recording whole?
  replay run --strategy my_file.py:MyStrategy --data FILE… --adapter binance-usdm --save result
  replay run result/run.toml                            the same run again
  replay doctor                                         is everything here that is needed?

`replay COMMAND --help` tells more.  Exit codes: 0 done, 1 the strategy raised or --strict found faults,
2 a file or argument is wrong, 3 a server failed, 70 a bug of ours, 130 interrupted.
"""


class Parser(argparse.ArgumentParser):
    """Tells mistakes as ConfigError, with the nearest option or word."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As the base class, but nothing may be left over."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            hint = did_you_mean(unknown[0], options) if unknown[0].startswith("-") else f"see {self.prog} --help"
            raise self._wrong(f"what is {unknown[0]!r}?", hint)
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            self.error(f"there is no {action.metavar or action.dest} {value!r}; {did_you_mean(value, action.choices)}")

    def error(self, message: str) -> NoReturn:
        """Raise it."""
        hint = "" if ";" in message else f"see {self.prog} --help"
        if message.endswith("expected one argument"):
            hint = "a value that begins with - is written --name=-1"
        raise self._wrong(message, hint)

    def _wrong(self, problem: str, hint: str) -> ConfigError:
        command = self.prog.partition(" ")[2]
        return ConfigError("", None, f"{command}: {problem}" if command else problem, hint)


def make_parser() -> Parser:
    """The arguments of `replay` and of all its commands."""
    parser = Parser(
        prog="replay",
        description="Replay recorded crypto markets tick by tick: verify recordings, run strategies.",
        epilog=OVERVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tickreplay {__version__}")
    parser.set_defaults(run=_overview)
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands")
    for command in (
        demo, fetch, record, live, ingest, run, verify, report, ls, inspect, compare, export, relay, gc, doctor,
        completion,
    ):  # fmt: skip
        command.add_parser(subparsers)
    return parser


def _overview(arguments: argparse.Namespace) -> int:
    make_parser().print_help()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` default to those of the process.  Returns the exit code.

    argparse itself ends the process (SystemExit 0) for --help and --version.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no ─ shows ?
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            chosen = make_parser().parse_args(given)
            code: int = chosen.run(chosen)
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        # The reader of our output has left (`replay … | head`): nobody to tell, and the flush at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        message, exit_code = _told(error)
        if os.environ.get("REPLAY_DEBUG"):
            traceback.print_exc()
        if "--json" in given:
            message = json.dumps({"error": {"kind": type(error).__name__, "message": message, "exit_code": exit_code}})
        else:
            message = f"replay: {message}"
        print(message, file=sys.stderr)
        return exit_code


def _told(error: BaseException) -> tuple[str, int]:
    """One line for a person, and the exit code."""
    if isinstance(error, ReplayError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", EXIT_INTERRUPTED
    if isinstance(error, MemoryError):
        return "there is not enough memory; replay fewer instruments or a shorter time at once", EXIT_WRONG
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, EXIT_WRONG
    with tempfile.NamedTemporaryFile("w", prefix="tickreplay-", suffix=".txt", delete=False) as file:
        traceback.print_exception(error, file=file)
    problem = f"{type(error).__name__}: {error}".replace("\n", " ")
    return f"{problem}; this is a bug of tickreplay, please report it with {file.name}", EXIT_BUG


def _warn(message: Warning | str, *where: Any) -> None:
    """A warning as one line, without the place in our code."""
    print(f"replay: {message}", file=sys.stderr)
