"""`replay live`: a strategy on live market data, on paper: no order leaves the machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.commands import add_command
from replay.commands.record import add_feed_arguments, add_order_argument, open_feed
from replay.commands.run import add_model_arguments, load_strategy, model_settings, print_result
from replay.errors import ConfigError, TransportError
from replay.terminal import ProgressLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replay.commands import Subparsers
    from replay.context import Context
    from replay.instruments import Instrument
    from replay.live import LiveSource
    from replay.results import Result
    from replay.session import Session


DESCRIPTION = """\
Run a Strategy on what a venue sends now. Fills are simulated here; no order leaves the machine. Timers follow the
wall clock. Ctrl-C ends the run: positions stay as they are, the result is printed."""

EXAMPLE = """\
replay live binance-usdm BTCUSDT --strategy strategies.market_maker:MarketMaker --for 600
replay live okx BTC-USDT-SWAP --strategy my_file.py:Maker --record tape --save result"""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(subparsers, "live", "run a strategy on live market data, on paper", DESCRIPTION, EXAMPLE)
    add_feed_arguments(parser)
    parser.add_argument("--strategy", required=True, metavar="MODULE:CLASS", help="strategies.market_maker:MarketMaker")
    parser.add_argument("--param", action="append", default=[], metavar="K=V", help="a parameter of the strategy")
    parser.add_argument("--mode", default="auto", metavar="MODE", help="interpreted, compiled or auto (default auto)")
    add_order_argument(parser)
    parser.add_argument(
        "--warm-up", type=float, default=3.0, metavar="SECONDS", help="books are filled before the start (default 3)"
    )
    parser.add_argument("--record", type=Path, metavar="DIR", help="keep what comes; it replays as this run")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write the result (Parquet and result.json)")
    add_model_arguments(parser)
    parser.add_argument("--fills", type=int, default=10, metavar="N", help="list the last N fills (default 10)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run, print and save.  Raises ConfigError, TransportError or StrategyError."""
    if not 0 < arguments.warm_up < 3_600:
        raise ConfigError("--warm-up", arguments.warm_up, "must be a number of seconds, up to an hour")
    settings = model_settings(arguments)
    load_strategy(arguments.strategy, arguments.param)
    source = open_feed(arguments, arguments.order, arguments.record)
    try:
        result, trouble = paper_run(source, arguments, settings)
    finally:
        source.close()
    if arguments.save:
        result.to_parquet(arguments.save)
    if arguments.json:
        print(result.to_json())
    else:
        print_result(result, arguments.fills)
    if trouble is not None:
        raise trouble
    return 0


def paper_run(
    source: LiveSource, arguments: argparse.Namespace, settings: dict[str, Any]
) -> tuple[Result, TransportError | None]:
    """(result, what ended the run before its time, if anything)."""
    import time

    from replay.engine import Replay
    from replay.live import Status, interrupting
    from replay.units import NS_PER_US, US_PER_S

    strategy = load_strategy(arguments.strategy, arguments.param)
    make_ready(source.instruments, load_strategy(arguments.strategy, arguments.param), arguments.mode)
    start_us = time.time_ns() // NS_PER_US + int(arguments.warm_up * US_PER_S)
    end_us = None if arguments.seconds is None else start_us + int(arguments.seconds * US_PER_S)
    with ProgressLine(sys.stderr) as line, interrupting(source.stop):
        status = Status(line, source, time.time_ns)

        def progress(rows: int, time_us: int, fills: int) -> None:
            status.show(time_us, f"   {fills:,} fills")

        replay = Replay([source], start=start_us, end=end_us, progress=progress, **settings)
        return to_the_end(replay.session(strategy, arguments.mode), start_us)


def to_the_end(session: Session, start_us: int) -> tuple[Result, TransportError | None]:
    """Run a session; when the feed fails, what it has done so far is its result."""
    trouble = None
    try:
        session.run()
    except TransportError as error:
        trouble = error
        if not session.begun:
            raise
        session.run()
    except ConfigError as error:
        if error.name != "start":
            raise
        raise ConfigError("", "", "stopped before the run began", "let it fill its books (--warm-up)") from None
    return session.results()[0], trouble


def make_ready(instruments: Sequence[Instrument], strategy: Any, mode: str) -> None:
    """Have all machine code at hand: a market that does not wait is a bad time to compile."""
    from replay.engine import Replay
    from replay.events import BOOK, CLEAR, LAST, SNAPSHOT, empty_events
    from replay.sources import ArraySource
    from replay.strategy import Strategy

    class Rehearsal(Strategy):
        """Asks for everything once."""

        def on_start(self, ctx: Context) -> None:
            """Whether it is granted does not matter."""
            order = ctx.buy(0, 1, 1)
            ctx.modify(order, 1, 1)
            ctx.cancel(order)
            ctx.cancel_all(0)
            ctx.at(1)
            ctx.record("ready", 1.0)

    rows = empty_events(1)
    rows["ts"] = rows["exch_ts"] = 1
    rows["kind"], rows["flags"] = BOOK, SNAPSHOT | CLEAR | LAST
    nothing = Replay([ArraySource(rows, instruments)])
    nothing.run(Rehearsal())
    nothing.session(strategy, mode)
