"""`replay run`: one strategy over recordings, as a file or the arguments say."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.commands import add_command, key_values
from replay.commands.data import add_cache_arguments, add_repair_arguments, relay_key
from replay.errors import ConfigError, StrategyError
from replay.terminal import progress_of

if TYPE_CHECKING:
    from replay.commands import Subparsers
    from replay.engine import Progress as Told
    from replay.results import Result
    from replay.runfile import RunSettings
    from replay.strategy import Strategy
    from replay.terminal import Progress

DESCRIPTION = """\
Replay recordings or a store through a strategy and print the quality of the data, fills, P&L and fees.  What to run is
said by a file run.toml (see RunSettings in docs/reference.md) or by arguments.  With a file, --param, --start, --end,
--mode, --deposit, --speed, --save, --report and --fills stand above what the file says."""

EXAMPLE = """\
replay run run.toml
replay run store --strategy strategies.grid:Grid --save result
replay run --strategy my_file.py:Maker --data day.gz --adapter binance-usdm --param lots=5
replay run result/run.toml      # the saved run again: the same digest"""


KEYS = {
    "strategy": "strategy.class", "param": "strategy.parameters", "data": "data.files", "adapter": "data.adapter",
    "instrument": "data.instruments", "start": "data.start", "end": "data.end", "mode": "run.mode",
    "deposit": "run.deposit", "batch-rows": "run.batch_rows", "latency": "models.latency", "fees": "models.fees",
    "queue": "models.queue", "execution": "models.execution", "slippage-bps": "models.slippage",
    "save": "output.save", "report": "output.report", "fills": "output.fills", "from": "data.stream",
    "repair": "data.repair", "relay": "data.relay", "cache": "data.cache", "prefetch": "data.prefetch",
    "speed": "run.speed",
}  # fmt: skip
"""The key of the settings that each argument stands for."""
ABOVE_FILE = ("param", "start", "end", "mode", "deposit", "batch-rows", "speed", "save", "report", "fills")
MODELS = {"latency": "10000,10000", "fees": "0.0002,0.0005", "queue": "risk-averse"}
"""What holds for runs that are set by arguments."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(subparsers, "run", "run a strategy over recordings or a store", DESCRIPTION, EXAMPLE)
    parser.add_argument(
        "what", nargs="?", type=Path, metavar="RUN.TOML|STORE", help="file with all settings, or folder of a store"
    )
    parser.add_argument("--strategy", metavar="NAME:CLASS", help="MODULE:CLASS or FILE.py:CLASS")
    parser.add_argument("--param", action="append", metavar="K=V", help="a parameter of the strategy; repeatable")
    parser.add_argument("--data", nargs="+", type=Path, metavar="FILE", help="recordings, plain or gzip")
    parser.add_argument("--adapter", metavar="NAME", help="who wrote them: binance-usdm, …")
    parser.add_argument("--from", metavar="ADDRESS", help="a stream: redis://host:6379/0?stream=NAME, …")
    add_repair_arguments(parser)
    add_cache_arguments(parser)
    parser.add_argument(
        "--instrument", action="append", metavar="VENUE:SYMBOL", help="of a store: only this; repeatable"
    )
    parser.add_argument("--start", metavar="TIME", help="µs or ISO with zone, 2024-08-08T23:54:15Z (default: all)")
    parser.add_argument("--end", metavar="TIME", help="likewise: nothing received later is replayed")
    parser.add_argument("--mode", metavar="MODE", help="interpreted, compiled or auto (default auto)")
    parser.add_argument("--deposit", type=float, metavar="MONEY", help="for margin and returns (default 0: no returns)")
    parser.add_argument(
        "--speed", type=float, metavar="N", help="play at N times the pace of the recording; 1: as it was"
    )
    add_model_arguments(parser)
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep the result there, with its run.toml")
    parser.add_argument("--report", type=Path, metavar="FILE", help="make an HTML report of the result")
    parser.add_argument("--fills", type=int, metavar="N", help="list the last N fills (default 10)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The models that a command line can set; all others are set in a file or from Python."""
    parser.add_argument("--latency", metavar="ENTRY,RESPONSE", help="µs (default 10000,10000)")
    parser.add_argument("--fees", metavar="MAKER,TAKER", help="fractions, not percent (default 0.0002,0.0005)")
    parser.add_argument("--queue", metavar="MODEL", help="risk-averse, optimistic, power:N, log (default risk-averse)")
    parser.add_argument("--execution", metavar="MODEL", help="partial or full (default partial)")
    parser.add_argument("--slippage-bps", type=float, metavar="BPS", help="on taking fills (default 0)")
    parser.add_argument("--batch-rows", type=int, help=argparse.SUPPRESS)


def model_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The model arguments as keyword arguments of `Replay`.  Raises ConfigError naming the argument."""
    from replay.runfile import models_by_instrument
    from replay.tables import Table

    given = given_by(arguments, MODELS)
    with _named_as_arguments():
        return models_by_instrument(Table(given["models"], keys=("models",)), Path())[""] | {
            key: value for key, value in given.get("run", {}).items() if key == "batch_rows"
        }


def load_strategy(name: str, parameters: list[str] | None) -> Strategy:
    """The strategy of --strategy with its `k=v` parameters.  ConfigError says which part is wrong."""
    from replay import loading

    return loading.load_strategy("--strategy", name, Path())(**key_values("--param", parameters or []))


def run(arguments: argparse.Namespace) -> int:
    """Run and print.  Raises ConfigError, DataError or StrategyError; 1 when a recorded run came out differently."""
    from replay.sources import rows_of

    settings = settings_of(arguments)
    if settings.relay:
        settings.relay_key = relay_key()
    with progress_of(sys.stderr, settings.files) as progress, _named_as_arguments(), _not_ended(settings):
        result = settings.run(progress_to(progress), lambda replay: progress.start(sum(map(rows_of, replay.sources))))
    differences = settings.differences(result)
    if arguments.json:
        print(json.dumps(result.as_dict(), indent=2, allow_nan=False))
    else:
        print_result(result, settings.fills)
        if settings.paced is not None:
            print(f"paced at {settings.paced.speed:g} × the recording: rows {settings.paced.drift}")
        if settings.recorded.given and not differences:
            print("the digest is the recorded one")
    for difference in differences:
        print(f"replay: {difference}", file=sys.stderr)
    return 1 if differences else 0


@contextmanager
def _not_ended(settings: RunSettings) -> Iterator[None]:
    """StrategyError when user code ends the program."""
    try:
        yield
    except SystemExit as error:
        from replay.loading import place_of

        problem = "ends the program with sys.exit; ctx.stop() ends a run"
        raise StrategyError(
            settings.strategy_class.__name__, "", problem, place=place_of(error.__traceback__)
        ) from error


def settings_of(arguments: argparse.Namespace) -> RunSettings:
    """What the arguments say, and the file that they may name.  Errors name the argument, or the place in the file."""
    from replay.runfile import RunSettings

    what: Path | None = arguments.what
    if what is not None and what.suffix == ".toml":
        return _above_file(RunSettings.from_toml(what), arguments)
    if what is not None and (what / "run.toml").is_file():
        raise ConfigError("", "", f"{what} is a saved result", f"to run it again write replay run {what}/run.toml")
    if what is not None and what.is_file():
        raise ConfigError("", "", f"{what} is neither a run.toml nor a store", f"for a recording write --data {what}")
    if arguments.strategy is None:
        raise ConfigError("", "", "--strategy is missing", "write --strategy my_file.py:MyStrategy, or name a run.toml")
    stream = getattr(arguments, "from")
    if sum(given is not None for given in (what, arguments.data, stream)) != 1:
        problem = "name a run.toml, a store, recordings with --data and --adapter, or a stream with --from"
        raise ConfigError("", "", problem)
    if arguments.data is not None and arguments.adapter is None:
        raise ConfigError("", "", "--data needs --adapter", "who wrote the files, for example --adapter binance-usdm")
    if arguments.data is None and arguments.adapter is not None:
        raise ConfigError("--adapter", arguments.adapter, "is for --data", "a store or stream needs none")
    given = given_by(arguments, MODELS)
    if what is not None:
        given.setdefault("data", {})["store"] = str(what)
    with _named_as_arguments():
        return RunSettings(given)


def _above_file(file: RunSettings, arguments: argparse.Namespace) -> RunSettings:
    """The settings of the file with what the arguments say in their place."""
    from replay.runfile import RunSettings

    for name in KEYS.keys() - set(ABOVE_FILE):
        if (value := _value(arguments, name)) is not None:
            raise ConfigError(f"--{name}", value, "stands in the file", f"change {KEYS[name]} there")
    given = given_by(arguments, {})
    if not given:
        return file
    tables = {key: dict(table) for key, table in file.top.given.items()}
    if given.keys() != {"output"}:
        tables.pop("recorded", None)
    for key, own in given.items():
        parameters = {**tables.get(key, {}).get("parameters", {}), **own.get("parameters", {})}
        tables[key] = {**tables.get(key, {}), **own, **({"parameters": parameters} if parameters else {})}
    for name in ("save", "report"):
        if getattr(arguments, name) is not None:
            tables["output"][name] = str(getattr(arguments, name).absolute())
    with _named_as_arguments():
        return RunSettings(tables, file.folder, name=file.top.name, text=file.top.text)


def _value(arguments: argparse.Namespace, name: str) -> Any:
    """What was given; None for an argument that was not, or that the command does not have."""
    return getattr(arguments, name.replace("-", "_"), None)


def given_by(arguments: argparse.Namespace, models: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The settings that the arguments name, as tables; `models` are texts of model arguments that are not there."""
    tables: dict[str, dict[str, Any]] = {}
    for name, dotted in KEYS.items():
        value = models.get(name) if _value(arguments, name) is None else _value(arguments, name)
        if value is not None:
            table, _, key = dotted.partition(".")
            tables.setdefault(table, {})[key] = _setting(name, value)
    return tables


def _setting(name: str, value: Any) -> Any:
    """What the value of an argument is in the settings.  ConfigError naming the argument."""
    if name == "param":
        return key_values("--param", value)
    if name == "latency":
        entry, response = _pair("--latency", value, int, "10000,10000")
        return {"model": "ConstantLatency", "entry": entry, "response": response}
    if name == "fees":
        maker, taker = _pair("--fees", value, str, "0.0002,0.0005")
        return {"model": "MakerTaker", "maker": maker, "taker": taker}
    if name == "queue":
        return _queue(value)
    if name == "slippage-bps":
        return {"model": "BpsSlippage", "bps": value}
    if name in ("start", "end"):
        return int(value) if value.lstrip("-").isdigit() else value
    if name == "data":
        return [str(path) for path in value]
    return str(value) if isinstance(value, Path) else value


def _queue(text: str) -> dict[str, Any]:
    kind, _, exponent = text.partition(":")
    plain = {"risk-averse": "RiskAverseQueue", "optimistic": "OptimisticQueue", "log": "LogProbQueue"}
    if kind in plain and not exponent:
        return {"model": plain[kind]}
    if kind != "power":
        raise ConfigError("--queue", text, "is no queue model", f"known: {', '.join(plain)}, power:N")
    try:
        return {"model": "PowerProbQueue", "n": float(exponent)}
    except ValueError:
        raise ConfigError("--queue", text, "has no exponent", "write power:3") from None


def _pair(name: str, text: str, kind: type, example: str) -> tuple[Any, Any]:
    try:
        first, second = (kind(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(name, text, "is not a pair of numbers", f"for example {name} {example}") from None
    return first, second


@contextmanager
def _named_as_arguments() -> Iterator[None]:
    """Let errors of settings that came from arguments name these."""
    try:
        yield
    except ConfigError as error:
        for name, dotted in KEYS.items():
            if error.name == dotted or error.name.startswith(dotted + "."):
                rest = error.name.removeprefix(dotted).replace(".", " ", 1)
                raise ConfigError(f"--{name}{rest}", error.value, error.problem, error.hint) from error
        raise


def progress_to(progress: Progress) -> Told:
    """Show rows, simulated time and fills."""
    from replay.units import iso_from_us

    def told(rows: int, time_us: int, fills: int) -> None:
        progress.show(rows, f"{iso_from_us(time_us)[:19]}   {fills:,} fills" if time_us else "")

    return told


def print_result(result: Result, fills: int) -> None:
    """Quality of the data, the last fills and the summary."""
    print("Data")
    for text in result.quality.lines():
        print("  " + text)
    table = result.fills_table()
    if table and fills > 0:
        print(f"\nLast {min(fills, len(table))} of {len(table):,} fills (venue time)")
        for row in table[-fills:]:
            print(
                f"  {row['time']}  {row['instrument']:<24}{row['side']:<5}{row['size']:>10} @ {row['price']:<12}"
                f"{row['role']:<6} by {row['cause']:<8} fee {row['fee']:.6g}"
            )
    print()
    print(result.summary())
