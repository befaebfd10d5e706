"""How the command ends: one line for what went wrong, the exit code of the exception, never a traceback."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from replay import cli
from replay._version import __version__
from replay.errors import ConfigError, DataError, KernelError, ReplayError, TransportError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | int]:
    """What the one command does: raise or return the first item."""
    behaviour: list[BaseException | int] = []

    def run(arguments: argparse.Namespace) -> int:
        what = behaviour[0]
        if isinstance(what, BaseException):
            raise what
        return what

    parser = argparse.ArgumentParser()
    parser.set_defaults(run=run)
    monkeypatch.setattr(cli, "make_parser", lambda: parser)
    return behaviour


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (DataError("no such file", "x.gz"), 2, "replay: x.gz: no such file\n"),
        (ConfigError("lots", -1, "must be positive"), 2, "replay: lots=-1: must be positive\n"),
        (TransportError("refused", "redis://x"), 3, "replay: redis://x: refused\n"),
        (ReplayError("odd"), 1, "replay: odd\n"),
        (KernelError(3, "book"), 70, "replay: internal error 3 in book; "),
        (KeyboardInterrupt(), 130, "replay: interrupted\n"),
    ],
)
def test_errors_end_as_one_line(
    command: list[BaseException | int],
    error: BaseException,
    code: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command.append(error)
    assert cli.main([]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(text) and err.count("\n") == 1


def test_exit_code_of_the_command(command: list[BaseException | int]) -> None:
    command.append(7)
    assert cli.main([]) == 7


def test_our_own_mistakes_are_not_hidden(command: list[BaseException | int]) -> None:
    command.append(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main([])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"tickreplay {__version__}\n"


def test_a_missing_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_negative_drop_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "x", "--adapter", "binance-spot", "--drop-every", "-1"]) == 2
    assert capsys.readouterr().err == "replay: --drop-every=-1: must not be negative\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    code = (
        "import sys; from replay import cli\n"
        "import argparse; p = argparse.ArgumentParser()\n"
        "p.set_defaults(run=lambda a: print('x' * 1_000_000) or 0)\n"
        "cli.make_parser = lambda: p\n"
        "sys.exit(cli.main([]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0


def test_help_needs_no_numba() -> None:
    code = (
        "import sys; from replay.cli import make_parser; make_parser().format_help()\n"
        "sys.exit(int(bool({'numba', 'numpy'} & set(sys.modules))))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
