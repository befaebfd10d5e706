"""What a new user is likely to do wrong: each mistake is really made, and the message says what, where and what to do.

A message is one line without a traceback, and names the file, argument or line that is meant.  The exit code tells
who is wrong: 2 the caller, 1 the strategy.
"""

from __future__ import annotations

import gzip
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from replay import Replay
from replay.cli import main
from replay.testing import SyntheticMarket

ROOT = Path(__file__).parents[2]

STRATEGIES = """\
import sys
from replay import Strategy

class Good(Strategy):
    lots: int = 1
    edge: float = 0.5

class Plain:
    pass

instance = Good()

class OnTrade(Strategy):
    def on_trade(self, ctx, trade):
        self.act(ctx)

class Zero(OnTrade):
    def act(self, ctx):
        1 / 0

class Endless(OnTrade):
    def act(self, ctx):
        self.act(ctx)

class FloatPrice(OnTrade):
    def act(self, ctx):
        ctx.buy(0, 1, ticks=60000.5)

class FloatLots(OnTrade):
    def act(self, ctx):
        ctx.buy(0, 0.5)

class ByName(OnTrade):
    def act(self, ctx):
        ctx.buy("BTCUSDT", 1)

class WrongIndex(OnTrade):
    def act(self, ctx):
        ctx.book(7)

class WrongName(OnTrade):
    def act(self, ctx):
        ctx.index("binance-usdm:BTCUSD")

class Seconds(Strategy):
    def on_start(self, ctx):
        ctx.every(0.1)

class Misspelt(OnTrade):
    def act(self, ctx):
        ctx.bye(0, 1)

class WrongTerm(OnTrade):
    def act(self, ctx):
        ctx.buy(0, 1, ticks=5, tif="GTX")

class Early(Strategy):
    def on_start(self, ctx):
        ctx.buy(0, 1)

class Imports(OnTrade):
    def act(self, ctx):
        import sys

class Prints(Strategy):
    def on_trade(self, ctx, trade):
        print(trade)

class Exits(OnTrade):
    def act(self, ctx):
        sys.exit(3)

class NegativeLots(OnTrade):
    def act(self, ctx):
        ctx.buy(0, -1)

class UnknownOrder(OnTrade):
    def act(self, ctx):
        ctx.cancel(12345)
"""
BROKEN = {
    "imports.py": "import numpyy\n",
    "syntax.py": "from replay import Strategy\nclass A(Strategy)\n    pass\n",
    "handler.py": "from replay import Strategy\nclass A(Strategy):\n    def on_trades(self, ctx, t):\n        pass\n",
    "few.py": "from replay import Strategy\nclass A(Strategy):\n    def on_trade(self):\n        pass\n",
    "yields.py": "from replay import Strategy\nclass A(Strategy):\n    def on_trade(self, ctx, t):\n        yield 1\n",
    "relative.py": "from . import mine\n",
    "raises.py": "x = 1\nx / 0\n",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording, strategies, and all that is wrong with such things."""
    folder = tmp_path_factory.mktemp("mistakes")
    path = SyntheticMarket("binance-usdm", seed=5, duration_us=2_000_000).write(folder / "day.gz")
    packed, plain = path.read_bytes(), gzip.decompress(path.read_bytes())
    lines = plain.splitlines()
    files = {
        "cut.gz": packed[: len(packed) // 2],
        "corrupt.gz": packed[:20_000] + bytes(500) + packed[20_500:],
        "empty.gz": b"",
        "empty.txt": b"",
        "notes.txt": b"buy low, sell high\n",
        "half.txt": plain[: len(plain) // 2],
        "bom.txt": b"\xef\xbb\xbf" + plain,
        "latin.txt": plain.replace(b"BTCUSDT", b"BTCUSD\xff", 1),
        "micros.txt": b"\n".join(line[:16] + line[19:] for line in lines) + b"\n",
        "seconds.txt": b"\n".join(line[:10] + line[19:] for line in lines) + b"\n",
        "windows.txt": plain.replace(b"\n", b"\r\n"),
        "mine.py": STRATEGIES.encode(),
        "latin.toml": '[strategy]\nclass = "é"\n'.encode("latin-1"),
        "folder/x": b"",
    }
    (folder / "folder").mkdir()
    for name, data in {**files, **{name: text.encode() for name, text in BROKEN.items()}}.items():
        (folder / name).write_bytes(data)
    SyntheticMarket("binance-coinm", seed=5, duration_us=1_000_000).write(folder / "coinm.gz")
    return folder


DAY = "--data day.gz --adapter binance-usdm"
GOOD = "run --strategy mine.py:Good"

MISTAKES = [
    # which file
    (f"{GOOD} --data nothere.gz --adapter binance-usdm", "nothere.gz: no such file"),
    (f"{GOOD} --data ~/day.gz --adapter binance-usdm", "~/day.gz: no such file; a shell replaces ~ only where it"),
    (f"{GOOD} --data folder --adapter binance-usdm", "folder: this is a directory, not a recording; name the files"),
    (f"{GOOD} --data cut.gz --adapter binance-usdm", "cut.gz:1: the gzip data is truncated; download it again"),
    (f"{GOOD} --data corrupt.gz --adapter binance-usdm", "corrupt.gz:1: the gzip data is broken"),
    (f"{GOOD} --data empty.gz --adapter binance-usdm", "empty.gz: the name says gzip but it is empty"),
    (f"{GOOD} --data empty.txt --adapter binance-usdm", "empty.txt: the file is empty"),
    (f"{GOOD} --data notes.txt --adapter binance-usdm", "notes.txt:1: no local time in front of the message; lines"),
    (f"{GOOD} --data half.txt --adapter binance-usdm", "the file is truncated: its final line is incomplete"),
    (f"{GOOD} --data bom.txt --adapter binance-usdm", "bom.txt:1: it begins with a byte order mark; save it"),
    (f"{GOOD} --data latin.txt --adapter binance-usdm", "is not valid UTF-8"),
    (f"{GOOD} --data micros.txt --adapter binance-usdm", "micros.txt:1: local time 17000000"),
    (f"{GOOD} --data seconds.txt --adapter binance-usdm", "is not in nanoseconds since 1970"),
    (f"{GOOD} --data day.gz day.gz --adapter binance-usdm", "--data=['day.gz', 'day.gz']: names a file twice"),
    (f"{GOOD} --data day.gz coinm.gz --adapter binance-usdm", "this is not a binance-usdm recording; read it with the"),
    ("inspect day.gz", "day.gz is no file of a store; for a recording: replay inspect day.gz --coverage"),
    # which adapter
    (f"{GOOD} --data day.gz --adapter binance-usd", "no such adapter; did you mean 'binance-usdm'?"),
    (f"{GOOD} --data day.gz --adapter binance-spot", "day.gz:1: "),
    (f"{GOOD} --data day.gz --adapter tardis-csv", "day.gz:1: this is not a Tardis CSV file"),
    (f"{GOOD} --data day.gz", "--data needs --adapter; who wrote the files"),
    ("verify day.gz", "the following arguments are required: --adapter; see replay verify --help"),
    (f"{GOOD} {DAY} --instrument BTCUSDT", "--instrument=['BTCUSDT']: is for stores"),
    # which store
    (f"{GOOD} nostore", "'nostore': does not exist; check the path, or import something first"),
    (f"{GOOD} folder", "'folder': is a folder, but not of a store"),
    ("run day.gz --strategy mine.py:Good", "day.gz is neither a run.toml nor a store; for a recording write --data"),
    ("ls day.gz", "store='day.gz': is a file; name the folder of a store"),
    ("import nothere.gz --adapter binance-usdm --store new", "'nothere.gz': no such file or folder"),
    ("import day.gz --adapter binance-usdm --store folder", "'folder': is a folder, but not of a store"),
    ("run nothere.toml", "nothere.toml: cannot be read: No such file or directory"),
    ("run latin.toml", "latin.toml: is not UTF-8: byte 20 is 0xe9; save it as UTF-8"),
    # which time
    (f"{GOOD} {DAY} --start 2024-08-01", "--start='2024-08-01': 2024-08-01 00:00:00 has no time zone; write 2024-08"),
    (f"{GOOD} {DAY} --start yesterday", "--start='yesterday': 'yesterday' is not a date and time such as 2024-08"),
    (f"{GOOD} {DAY} --start 2030-01-01T00:00:00Z", "lies after the last event, 2023-11-14T22:13:2"),
    (f"{GOOD} {DAY} --end 2000-01-01T00:00:00Z", "lies before the first event"),
    (f"{GOOD} {DAY} --start 2024-08-02T00:00:00Z --end 2024-08-01T00:00:00Z", "is after end='2024-08-01T00:00:00Z'"),
    (f"{GOOD} {DAY} --start 1700000001", "--start=1700000001: is not in microseconds since 1970; seconds have 10"),
    (f"{GOOD} {DAY} --start 1700000001000000000", "is not in microseconds since 1970; seconds have 10 digits"),
    # which numbers
    (f"{GOOD} {DAY} --latency=-5,5", "--latency entry=-5: must be whole microseconds from 0"),
    (f"{GOOD} {DAY} --latency -5,5", "a value that begins with - is written --name=-1"),
    (f"{GOOD} {DAY} --latency 0.01,0.01", "--latency='0.01,0.01': is not a pair of numbers; for example --latency 1"),
    (f"{GOOD} {DAY} --fees 0.02%,0.05%", "--fees maker='0.02%': is not a number; a rate is a fraction: 0.0002 is"),
    (f"{GOOD} {DAY} --fees 2,5", "--fees maker='2': must lie between -0.1 and 0.1; a rate is a fraction"),
    (f"{GOOD} {DAY} --deposit=-5", "--deposit=-5.0: must be money of at least 0"),
    (f"{GOOD} {DAY} --queue powr:3", "--queue='powr:3': is no queue model; known: "),
    (f"{GOOD} {DAY} --fills=-3", "--fills=-3: must be at least 0; it says how many of the last fills are listed"),
    (f"{GOOD} {DAY} --mode fast", "--mode='fast': is not known; "),
    # which strategy
    (f"run {DAY}", "--strategy is missing; write --strategy my_file.py:MyStrategy"),
    (f"run --strategy mine {DAY}", "--strategy='mine': is neither MODULE:CLASS nor FILE.py:CLASS; for example"),
    (f"run --strategy nofile.py:A {DAY}", "--strategy='nofile.py:A': there is no file nofile.py"),
    (f"run --strategy nomodule:A {DAY}", "there is no module 'nomodule'; it is looked for in "),
    (f"run --strategy mine.py:Goood {DAY}", "mine.py has no Strategy of that name; did you mean 'Good'?"),
    (f"run --strategy mine.py:Plain {DAY}", "Plain is not a Strategy; write class Plain(Strategy)"),
    (f"run --strategy mine.py:instance {DAY}", "is an instance; name its class, Good"),
    (f"run --strategy imports.py:A {DAY}", "ModuleNotFoundError: No module named 'numpyy'; see {0}/imports.py:1"),
    (f"run --strategy syntax.py:A {DAY}", "SyntaxError: expected ':'; see {0}/syntax.py:2"),
    (f"run --strategy handler.py:A {DAY}", "A.on_trades is not a handler and would never be called; did you mean 'o"),
    (
        f"run --strategy few.py:A {DAY}",
        "A.on_trade(self) cannot be called with (self, ctx, trade); write def on_trade(s",
    ),
    (f"run --strategy yields.py:A {DAY}", "A.on_trade would never run: it is a handler with 'yield'; take that word"),
    (f"run --strategy relative.py:A {DAY}", "see {0}/relative.py:1, write `import other` for the file other.py besi"),
    (f"run --strategy raises.py:A {DAY}", "ZeroDivisionError: division by zero; see {0}/raises.py:2"),
    (f"{GOOD} {DAY} --param lotz=1", "--param lotz='1': Good has no such parameter; did you mean 'lots'?"),
    (f"{GOOD} {DAY} --param lots=many", "--param lots='many': must be a whole number"),
    (f"{GOOD} {DAY} --param edge=wide", "--param edge='wide': must be a number"),
    (f"{GOOD} {DAY} --param lots", "--param='lots': is not K=V; for example --param lots=5"),
    (f"{GOOD} {DAY} --save folder", "folder: exists and is not a saved result; choose another folder"),
]

RAISING = [
    ("Zero", "{0}/mine.py:{1}: Zero.on_trade at 2023-", "ZeroDivisionError: division by zero", "1 / 0"),
    ("Endless", "{0}/mine.py:{1}: Endless.on_trade", "RecursionError", "self.act(ctx)"),
    ("FloatPrice", "{0}/mine.py:{1}: ", "ticks=60000.5: must be a whole number; write int(...)", "60000.5"),
    ("FloatLots", "{0}/mine.py:{1}: ", "lots=0.5: must be a whole number", "0.5)"),
    ("ByName", "{0}/mine.py:{1}: ", "is not the index of an instrument of this run; write ctx.index", '"BTCUSDT"'),
    ("WrongIndex", "{0}/mine.py:{1}: ", "instrument=7: is not the index of an instrument of this run; 0 is", "book(7)"),
    ("WrongName", "{0}/mine.py:{1}: ", "is not in this run; did you mean 'binance-usdm:BTCUSDT'?", "index("),
    ("Seconds", "{0}/mine.py:{1}: Seconds.on_start", "interval_us=0.1: must be a whole number; times are", "0.1)"),
    ("Misspelt", "{0}/mine.py:{1}: ", "'Context' object has no attribute 'bye'", "bye"),
    ("WrongTerm", "{0}/mine.py:{1}: ", "tif='GTX': is not a time in force; did you mean", "GTX"),
    ("Exits", "{0}/mine.py:{1}: ", "ends the program with sys.exit; ctx.stop() ends a run", "sys.exit"),
]


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, as the current one."""
    monkeypatch.chdir(made)
    monkeypatch.delenv("REPLAY_DEBUG", raising=False)
    return made


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on standard error: one line, without a traceback."""
    said = capsys.readouterr().err
    assert said.startswith("replay: ") and said.count("\n") == 1 and "Traceback" not in said
    return said


@pytest.mark.parametrize(("line", "said"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_named(line: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in here.iterdir())
    assert main(line.split()) == 2
    assert said.format(here) in only_line(capsys)
    assert sorted(path.name for path in here.iterdir() if path.name != "__pycache__") == [
        name for name in before if name != "__pycache__"
    ], "nothing is left behind"


@pytest.mark.parametrize(("name", "place", "said", "code"), RAISING, ids=[case[0] for case in RAISING])
def test_a_strategy_that_raises_is_named_with_its_line(
    name: str, place: str, said: str, code: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = [
        number for number, text in enumerate(STRATEGIES.splitlines(), 1) if _is_in(name, number) and code in text
    ]
    arguments = ["--data", "day.gz", "--adapter", "binance-usdm", "--mode", "interpreted"]
    assert main(["run", "--strategy", f"mine.py:{name}", *arguments]) == 1
    told = only_line(capsys)
    assert place.format(here, line) in told and said in told


def _is_in(name: str, number: int) -> bool:
    """Whether a line of STRATEGIES belongs to the class `name`."""
    lines = STRATEGIES.splitlines()[:number]
    return [line for line in lines if line.startswith("class ")][-1:] in ([f"class {name}(OnTrade):"],
                                                                          [f"class {name}(Strategy):"])  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NegativeLots", "refused: "),
        ("UnknownOrder", "× unknown-order"),
        ("Good", "digest"),
        ("Early", "rejected by the venue: 1 × book-invalid"),
    ],
)
def test_what_the_venue_would_refuse_is_counted(
    name: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", "day.gz", "--adapter", "binance-usdm", "--mode", "interpreted"]
    assert main(["run", "--strategy", f"mine.py:{name}", *arguments]) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said"),
    [("Imports", "Imports.act, line {}: an import has no machine form"), ("Prints", "line {}: 'print' has no machine")],
)
def test_what_cannot_be_compiled_is_named_with_its_line(
    name: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = [
        number for number, text in enumerate(STRATEGIES.splitlines(), 1)
        if _is_in(name, number) and text.lstrip().startswith(("import", "print"))
    ]  # fmt: skip
    assert main(f"run --strategy mine.py:{name} {DAY} --mode compiled".split()) == 1
    assert said.format(line) in only_line(capsys)


def test_an_unknown_instrument_of_a_store_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert main(["import", "day.gz", "--adapter", "binance-usdm", "--store", "known"]) == 0
        capsys.readouterr()
        assert main(f"{GOOD} known --instrument binance-usdm:BTCUSD".split()) == 2
        told = only_line(capsys)
        assert "--instrument=" in told and "BTCUSD is not in the store; did you mean 'binance-usdm:BTCUSDT'?" in told
        one = Replay("known", instruments="binance-usdm:ETHUSDT")  # type: ignore[arg-type]
        assert [instrument.name for instrument in one.instruments] == ["binance-usdm:ETHUSDT"]
    finally:
        shutil.rmtree(here / "known", ignore_errors=True)


def test_a_terminal_without_our_letters_gets_others(here: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "replay", *f"{GOOD} {DAY}".split()]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"") and b"????????" in done.stdout


def test_windows_line_ends_change_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for name in ("day.gz", "windows.txt"):
        assert main([*GOOD.split(), "--data", name, "--adapter", "binance-usdm"]) == 0
        shown.append(capsys.readouterr().out.partition("Good(")[2])
    assert shown[0] == shown[1] != ""


def test_a_full_disk_leaves_nothing_half_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The strategy lowers the largest size of a file at its end, so that the result cannot be written."""
    (here / "full.py").write_text(
        "import resource\nfrom replay import Strategy\nclass Full(Strategy):\n    def on_stop(self, ctx):\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        code = main(f"run --strategy full.py:Full {DAY} --mode interpreted --save kept".split())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2
    said = only_line(capsys)
    assert "kept: cannot be written: " in said and "check room and rights" in said
    assert not [path.name for path in here.iterdir() if "kept" in path.name]


def test_ctrl_c_in_the_middle(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "slow.py").write_text(
        "import os, signal\nfrom replay import Strategy\nclass Slow(Strategy):\n"
        "    def on_trade(self, ctx, trade):\n        os.kill(os.getpid(), signal.SIGINT)\n"
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins with SIGINT ignored
    try:
        assert main(f"run --strategy slow.py:Slow {DAY} --mode interpreted --save kept".split()) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr() == ("", "replay: interrupted\n")
    assert not [path.name for path in here.iterdir() if "kept" in path.name]


def test_a_cache_that_cannot_be_written_is_told_in_one_line(here: Path) -> None:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "replay", "run", "nothere.toml"], cwd=here, text=True, capture_output=True, timeout=300,
        env={**os.environ, "PYTHONPATH": path, "REPLAY_CACHE_DIR": "/dev/null/cache"}, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    *warned, wrong = done.stderr.splitlines()
    assert wrong.startswith("replay: nothere.toml: cannot be read")
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "1":
        (line,) = warned
        assert line.startswith("replay: cannot keep machine code in /dev/null/cache") and "REPLAY_CACHE_DIR" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(here / "day.gz", here / "secret.gz")
    (here / "secret.gz").chmod(0)
    try:
        assert main([*GOOD.split(), "--data", "secret.gz", "--adapter", "binance-usdm"]) == 2
    finally:
        (here / "secret.gz").unlink()
    assert "secret.gz: cannot be opened (Permission denied)" in only_line(capsys)


def test_no_redis(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "✗ redis server" in shown and "start it (redis-server), or correct the address" in shown


def test_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/bash\n[ "$1" = --version ] && echo Python 3.8.10 && exit\nexit 1\n')
    old.chmod(0o755)
    for tool in ("dirname", "bash"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    done = subprocess.run(
        ["bash", str(ROOT / ".ci" / "setup"), str(tmp_path / "venv")], env={"PATH": str(tmp_path)}, text=True,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "tickreplay needs Python 3.11 or newer" in done.stderr and "which is Python 3.8.10" in done.stderr
    assert "apt install" in done.stderr and not (tmp_path / "venv").exists()
