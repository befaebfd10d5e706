"""`replay run`: one strategy over recordings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.commands.data import add_cache_arguments, add_repair_arguments, cache_of, repair_options
from replay.errors import ConfigError
from replay.terminal import ProgressLine

if TYPE_CHECKING:
    from replay.commands import Subparsers
    from replay.engine import Progress, Replay
    from replay.pacing import Paced
    from replay.results import Result
    from replay.sources import Source
    from replay.strategy import Strategy


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = subparsers.add_parser(
        "run",
        help="run a strategy over recordings or a store",
        description="Replay a store, or recordings with --data and --adapter, through a Strategy and print fills, P&L, "
        "fees and the quality of the data.",
    )
    parser.add_argument("store", nargs="?", type=Path, metavar="STORE", help="folder of a store")
    parser.add_argument(
        "--instrument", action="append", default=[], metavar="VENUE:SYMBOL", help="of a store: only this; repeatable"
    )
    parser.add_argument("--strategy", required=True, metavar="MODULE:CLASS", help="strategies.market_maker:MarketMaker")
    parser.add_argument("--data", nargs="+", default=[], type=Path, metavar="FILE", help="recordings, plain or gzip")
    parser.add_argument("--adapter", metavar="NAME", help="who wrote them: binance-usdm, …")
    parser.add_argument("--from", dest="stream", metavar="ADDRESS", help="a stream: redis://host:6379/0?stream=NAME, …")
    parser.add_argument("--param", action="append", default=[], metavar="K=V", help="a parameter of the strategy")
    parser.add_argument("--mode", default="auto", metavar="MODE", help="interpreted, compiled or auto (default auto)")
    add_repair_arguments(parser)
    add_cache_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument("--start", metavar="TIME", help="µs or ISO with zone, 2024-08-08T23:54:15Z (default: all)")
    parser.add_argument("--end", metavar="TIME", help="likewise: nothing received later is replayed")
    parser.add_argument(
        "--speed", type=float, metavar="N", help="play at N times the pace of the recording; 1: as it was"
    )
    parser.add_argument("--fills", type=int, default=10, metavar="N", help="list the last N fills (default 10)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The models that a command line can set; all others are set from Python."""
    parser.add_argument("--latency", default="10000,10000", metavar="ENTRY,RESPONSE", help="µs (default 10000,10000)")
    parser.add_argument("--fees", default="0.0002,0.0005", metavar="MAKER,TAKER", help="rates (default 0.0002,0.0005)")
    parser.add_argument(
        "--queue", default="risk-averse", metavar="MODEL", help="risk-averse, power:N, log (default risk-averse)"
    )
    parser.add_argument("--execution", default="partial", metavar="MODEL", help="partial or full (default partial)")
    parser.add_argument("--slippage-bps", type=float, default=0.0, metavar="BPS", help="on taking fills (default 0)")
    parser.add_argument("--batch-rows", type=int, default=32_768, help=argparse.SUPPRESS)


def model_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The model arguments as keyword arguments of `Replay`.  Raises ConfigError naming the argument."""
    from replay.models import BpsSlippage, ConstantLatency, LogProbQueue, MakerTaker, PowerProbQueue, RiskAverseQueue

    entry, response = _pair("--latency", arguments.latency, int)
    maker, taker = _pair("--fees", arguments.fees, str)
    kind, _, exponent = arguments.queue.partition(":")
    queue: Any
    if kind == "risk-averse" and not exponent:
        queue = RiskAverseQueue()
    elif kind == "log" and not exponent:
        queue = LogProbQueue()
    elif kind == "power":
        try:
            queue = PowerProbQueue(float(exponent))
        except ValueError:
            raise ConfigError("--queue", arguments.queue, "has no exponent", "write power:3") from None
    else:
        raise ConfigError("--queue", arguments.queue, "is no queue model", "known: risk-averse, power:N, log")
    return {
        "latency": ConstantLatency(entry, response),
        "fees": MakerTaker(maker, taker),
        "queue": queue,
        "execution": arguments.execution,
        "slippage": BpsSlippage(arguments.slippage_bps),
        "batch_rows": arguments.batch_rows,
    }


def _pair(name: str, text: str, kind: type) -> tuple[Any, Any]:
    parts = text.split(",")
    try:
        values = tuple(kind(part) for part in parts)
    except ValueError:
        values = ()
    if len(values) != 2:
        raise ConfigError(name, text, "is not a pair of numbers", f"for example {name} 10000,10000")
    return values[0], values[1]


def _time(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else text


def load_strategy(name: str, parameters: list[str]) -> Strategy:
    """The strategy `module:Class` with `k=v` parameters.  ConfigError says which part is wrong."""
    import importlib
    import inspect

    from replay.errors import did_you_mean
    from replay.strategy import Strategy

    module_name, _, class_name = name.partition(":")
    if not module_name or not class_name:
        raise ConfigError("--strategy", name, "is not MODULE:CLASS", "for example strategies.market_maker:MarketMaker")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise ConfigError("--strategy", name, f"there is no module {error.name!r}",
                          "run from the folder that contains it") from None  # fmt: skip
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, Strategy)):
        classes = [
            n for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, Strategy) and c is not Strategy
        ]
        raise ConfigError(
            "--strategy", name, f"{module_name} has no Strategy of that name", did_you_mean(class_name, classes)
        )
    chosen = {}
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if not equals:
            raise ConfigError("--param", parameter, "is not K=V")
        chosen[key] = value
    strategy: Strategy = found(**chosen)
    return strategy


def progress_to(line: ProgressLine) -> Progress:
    """Show rows, simulated time and fills on the line."""
    from replay.units import iso_from_us

    return lambda rows, time_us, fills: line.show(f"{rows:,} rows   {iso_from_us(time_us)[:19]}   {fills:,} fills")


def replay_of(arguments: argparse.Namespace, settings: dict[str, Any]) -> Replay:
    """The replay of the store, recordings or stream that the arguments name; ConfigError unless they name one."""
    from replay.engine import Replay

    if sum((arguments.store is not None, bool(arguments.data), arguments.stream is not None)) != 1:
        raise ConfigError("", "", "name a store, or recordings with --data and --adapter, or a stream with --from")
    if arguments.stream is not None:
        from replay.sources import open_stream

        return Replay([open_stream(arguments.stream)], **settings)
    if arguments.store is None:
        if arguments.adapter is None or arguments.instrument:
            raise ConfigError("--data", "", "needs --adapter, and --instrument is for stores")
        if arguments.cache:
            raise ConfigError("--cache", arguments.cache, "is for stores", "replay import … makes one")
        return Replay.from_files(
            arguments.data, adapter=arguments.adapter, options=repair_options(arguments), **settings
        )
    if arguments.adapter is not None:
        raise ConfigError("--adapter", arguments.adapter, "is for --data", "a store needs none")
    if arguments.repair:
        raise ConfigError("--repair", arguments.repair, "is for --data", "holes of a store were repaired at its import")
    if arguments.cache:
        return Replay([cached_source(arguments)], instruments=arguments.instrument, **settings)
    if arguments.prefetch:
        raise ConfigError("--prefetch", True, "needs --cache", "for example --cache 1G --prefetch")
    return Replay.from_store(arguments.store, instruments=arguments.instrument, **settings)


def cached_source(arguments: argparse.Namespace) -> Source:
    """The store through the cache of the arguments, which is filled first if they say so."""
    from replay.cache import CachedSource
    from replay.store import Store

    source = CachedSource(Store(arguments.store).source(arguments.instrument), cache_of(arguments.cache))
    if arguments.prefetch:
        source.prefetch()
    return source


def run(arguments: argparse.Namespace) -> int:
    """Run and print.  Raises ConfigError, DataError or StrategyError."""
    settings = {**model_settings(arguments), "start": _time(arguments.start), "end": _time(arguments.end)}
    strategy = load_strategy(arguments.strategy, arguments.param)

    with ProgressLine(sys.stderr) as line:
        line.show("reading …")
        replay = replay_of(arguments, {**settings, "progress": progress_to(line)})
        line.clear()
        paced = None if arguments.speed is None else pace(replay, arguments.speed)
        result = replay.run(strategy, mode=arguments.mode)
    if arguments.json:
        print(result.to_json())
    else:
        print_result(result, arguments.fills)
        if paced is not None:
            print(f"paced at {paced.speed:g} × the recording: rows {paced.drift}")
    return 0


def pace(replay: Replay, speed: float) -> Paced:
    """Have the only source of a replay play at `speed`; ConfigError when that is no speed."""
    from replay.pacing import Paced
    from replay.units import INT64_MIN

    (source,) = replay.sources
    paced = Paced(source, speed, start_us=None if replay.start_us == INT64_MIN else replay.start_us)
    replay.sources = (paced,)
    return paced


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
