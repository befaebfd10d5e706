"""`replay record`: keep what a venue sends, raw, until somebody says stop."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from replay.commands import add_command
from replay.commands.ingest import instrument_from
from replay.errors import ConfigError
from replay.terminal import ProgressLine

if TYPE_CHECKING:
    from replay.commands import Subparsers
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
        "--instrument", action="append", default=[], metavar="NAME,K=V…",
        help="terms by hand instead of asking the venue, venue:SYMBOL,tick=0.1,lot=0.001[,payoff=…,multiplier=…,"
        "settle=…]; repeatable",
    )  # fmt: skip
    parser.add_argument("--for", type=float, dest="seconds", metavar="SECONDS", help="end by itself")
    parser.add_argument("--socket-url", default="", metavar="URL", help="another server of this kind: wss://host")
    parser.add_argument("--rest-url", default="", metavar="URL", help="likewise: https://host")


def add_order_argument(parser: argparse.ArgumentParser) -> None:
    """How events of the venue's clock and of ours are put in one order."""
    parser.add_argument(
        "--order", default="arrival", metavar="ORDER",
        help="arrival, or reorder:US to hold events for so long and put them in the order of the venue's clock",
    )  # fmt: skip


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
        instruments=[instrument_from(text) for text in arguments.instrument], order=order, record=folder,
    )  # fmt: skip


def end_of(arguments: argparse.Namespace, now_ns: int) -> int | None:
    """When (µs, Unix time) a feed that begins now ends by itself; None for never."""
    from replay.units import NS_PER_US, US_PER_S

    return None if arguments.seconds is None else now_ns // NS_PER_US + int(arguments.seconds * US_PER_S)


def run(arguments: argparse.Namespace) -> int:
    """Record and print what was wrong with the data.  Raises ConfigError or TransportError."""
    import time

    from replay.live import Status, interrupting

    source = open_feed(arguments, "arrival", arguments.out)
    end_us = end_of(arguments, time.time_ns())
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
