"""How the command ends: one line for what went wrong, the exit code of the exception, never a traceback."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

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


def test_our_own_mistakes_are_kept_for_the_report(
    command: list[BaseException | int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("REPLAY_DEBUG", raising=False)
    command.append(RuntimeError("a bug"))
    assert cli.main([]) == 70
    (file,) = tmp_path.iterdir()
    said = capsys.readouterr().err
    assert said == f"replay: RuntimeError: a bug; this is a bug of tickreplay, please report it with {file}\n"
    assert "Traceback" in file.read_text() and "test_cli.py" in file.read_text()
    monkeypatch.setenv("REPLAY_DEBUG", "1")
    assert cli.main([]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(13, "Permission denied", "x.gz"), "replay: x.gz: Permission denied\n"),
        (OSError(28, "No space left on device"), "replay: No space left on device\n"),
        (MemoryError(), "replay: there is not enough memory; "),
    ],
)
def test_what_the_machine_refuses_is_no_bug(
    command: list[BaseException | int], error: BaseException, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command.append(error)
    assert cli.main([]) == 2
    assert capsys.readouterr().err.startswith(text)


def test_errors_of_a_program_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["ls", "/no/such/store", "--json"], ["verify", "--json"]):
        assert cli.main(arguments) == 2
        out, err = capsys.readouterr()
        told = json.loads(err)["error"]
        assert out == "" and err.count("\n") == 1
        assert told["kind"] == "ConfigError" and told["exit_code"] == 2 and told["message"]


def test_warnings_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def warned(arguments: argparse.Namespace) -> int:
        warnings.simplefilter("default")
        warnings.warn("mind the gap", RuntimeWarning, stacklevel=1)
        return 0

    parser = argparse.ArgumentParser()
    parser.set_defaults(run=warned)
    monkeypatch.setattr(cli, "make_parser", lambda: parser)
    assert cli.main([]) == 0
    assert capsys.readouterr().err == "replay: mind the gap\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"tickreplay {__version__}\n"


def test_without_a_command_there_is_an_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    for word in ("replay demo", "replay run result/run.toml", "Exit codes", "verify", "doctor"):
        assert word in shown


def test_every_command_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    commands = re.findall(r"^    (\w+)(?: |$)", capsys.readouterr().out, re.M)
    assert {"demo", "run", "verify", "import", "completion"} <= set(commands)
    for name in commands:
        with pytest.raises(SystemExit):
            cli.main([name, "--help"])
        shown = capsys.readouterr().out
        assert "example:\n  " in shown and f"replay {name}" in shown.partition("example:")[2]
        assert max(map(len, shown.partition("example:")[0].splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verfy"], "replay: there is no COMMAND 'verfy'; did you mean 'verify'?\n"),
        (["ls", "store", "--jsn"], "replay: ls: what is '--jsn'?; did you mean '--json'?\n"),
        (
            ["verify", "x"],
            "replay: verify: the following arguments are required: --adapter; see replay verify --help\n",
        ),
        (["run", "--fills", "ten"], "replay: run: argument --fills: invalid int value: 'ten'; see replay run --help\n"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == said


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
