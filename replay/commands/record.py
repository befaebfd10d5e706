"""`replay record`: keep what a venue sends, raw, until somebody says stop."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from replay.commands import add_command
from replay.errors import ConfigError
from replay.terminal import ProgressLine

if TYPE_CHECKING:
    from replay.commands import Subparsers
    from replay.instruments import Instrument
    from replay.live import LiveSource


DESCRIPTION = """\
Record what a venue sends, as it comes, in compressed files that `--adapter recording` replays. Ctrl-C ends it;
whatever ends it, at most the last second is lost."""

EXAMPLE = """\
replay record bybit BTCUSDT ETHUSDT --out tape
replay verify tape --adapter recording"""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(subparsers, "record", "record live market data", DESCRIPTION, EXAMPLE)
    add_feed_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder; recording into it goes on")
    parser.set_defaults(run=run)


def add_feed_arguments(parser: argparse.ArgumentParser) -> None:
    """What all commands on live data have in common."""
    parser.add_argument("venue", metavar="VENUE", help="binance-spot, binance-usdm, …")
    parser.add_argument("symbol", nargs="+", metavar="SYMBOL", help="as the venue writes it: BTCUSDT")
    parser.add_argument(
        "--channel", action="append", default=[], metavar="NAME",
        help="book, trades, quotes, liquidations, marks; repeatable (default: all that the venue has)",
    )  # fmt: skip
    parser.add_argument(
        "--terms", action="append", default=[], metavar="SYMBOL:TICK:LOT",
        help="tick and lot by hand, instead of asking the venue (linear, or spot where the venue is); repeatable",
    )  # fmt: skip
    parser.add_argument("--for", type=float, dest="seconds", metavar="SECONDS", help="end by itself")
    parser.add_argument("--socket-url", default="", metavar="URL", help="another server of this kind: wss://host")
    parser.add_argument("--rest-url", default="", metavar="URL", help="likewise: https://host")


def open_feed(arguments: argparse.Namespace, order: str, folder: Path | None) -> LiveSource:
    """The feed that the arguments name.  ConfigError for wrong ones, TransportError when the venue does not answer."""
    import time
    from random import SystemRandom

    from replay.live import find_live

    if arguments.seconds is not None and not 0 < arguments.seconds < 1e9:
        raise ConfigError("--for", arguments.seconds, "is no length of time")
    venue = find_live(arguments.venue).at(arguments.socket_url, arguments.rest_url)
    return venue.open(
        arguments.symbol, now_ns=time.time_ns, random=SystemRandom(), channels=arguments.channel,
        instruments=[terms(arguments.venue, text) for text in arguments.terms], order=order, record=folder,
    )  # fmt: skip


def terms(venue: str, text: str) -> Instrument:
    """An instrument from `SYMBOL:TICK:LOT`; ConfigError when it is none."""
    from decimal import Decimal, InvalidOperation

    from replay.instruments import Instrument

    try:
        symbol, tick, lot = text.rsplit(":", 2)
        payoff = "spot" if venue.endswith("spot") else "linear"
        return Instrument(venue, symbol, payoff, Decimal(tick), Decimal(lot))  # type: ignore[arg-type]  # mypy: str
    except (ValueError, InvalidOperation):
        raise ConfigError("--terms", text, "is not SYMBOL:TICK:LOT", "for example BTCUSDT:0.1:0.001") from None


def run(arguments: argparse.Namespace) -> int:
    """Record and print what was wrong with the data.  Raises ConfigError or TransportError."""
    import time

    from replay.live import Status, interrupting
    from replay.units import NS_PER_US, US_PER_S

    source = open_feed(arguments, "arrival", arguments.out)
    began_us = time.time_ns() // NS_PER_US
    end_us = None if arguments.seconds is None else began_us + int(arguments.seconds * US_PER_S)
    reached_us = 0
    try:
        with ProgressLine(sys.stderr) as line, interrupting(source.stop):
            status = Status(line, source, time.time_ns)
            for batch in source.batches():
                reached_us = int(batch["ts"][-1]) if len(batch) else source.reached_us
                status.show(reached_us)
                if end_us is not None and reached_us >= end_us:
                    source.stop()
    finally:
        source.close()
    print(f"recorded {source.health.frames:,} messages into {arguments.out}")
    for text in source.quality.lines():
        print("  " + text)
    return 0
