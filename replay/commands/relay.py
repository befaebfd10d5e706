"""`replay relay`: send events on to others, through whatever an address names; recorded ones, or those of a live feed.

Publishers are found by the scheme of the address in the entry-point group `replay.publishers`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from replay.commands import add_command
from replay.commands.record import add_feed_arguments, add_order_argument, end_of, open_feed
from replay.errors import ConfigError, did_you_mean
from replay.terminal import ProgressLine

if TYPE_CHECKING:
    from replay.commands import Subparsers
    from replay.sources import Source

PUBLISHER_GROUP = "replay.publishers"


class Publisher(Protocol):
    """What an entry point of the group `replay.publishers` names."""

    def publish(self, source: Source, url: str, progress: Callable[[int], None], **how: Any) -> list[str]:
        """Send all events of `source`, telling the number of rows so far; what was sent, as lines."""

    def status(self, url: str) -> list[str]:
        """What is there and who reads it, as lines."""


DESCRIPTION = """\
Publish a store, recordings, another stream or what a venue sends now, so that one reader of the market feeds many
strategies (`replay run --from ADDRESS`)."""

DESCRIPTION_LIVE = """\
Publish what a venue sends, as it comes, gaps included. Ctrl-C ends it, and tells the readers that it is the end."""

EXAMPLE = """\
replay relay publish "redis://127.0.0.1:6379/0?stream=btc" --store store
replay relay live "redis://127.0.0.1:6379/0?stream=btc" bybit BTCUSDT --record tape
replay run --from "redis://127.0.0.1:6379/0?stream=btc" --strategy my_file.py:Maker"""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(subparsers, "relay", "publish events for several readers", DESCRIPTION, EXAMPLE)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    publish = actions.add_parser("publish", help="send all events", description="Send all events of one source.")
    publish.add_argument("address", metavar="ADDRESS", help="redis://host:6379/0?stream=NAME")
    publish.add_argument("--store", type=Path, metavar="STORE", help="folder of a store")
    publish.add_argument("--data", nargs="+", default=[], type=Path, metavar="FILE", help="recordings, plain or gzip")
    publish.add_argument("--adapter", metavar="NAME", help="who wrote them: binance-usdm, …")
    publish.add_argument("--from", dest="stream", metavar="ADDRESS", help="another stream")
    _add_publishing_arguments(publish, 500_000)
    publish.set_defaults(run=run_publish)
    live = actions.add_parser("live", help="send what a venue sends now", description=DESCRIPTION_LIVE)
    live.add_argument("address", metavar="ADDRESS", help="redis://host:6379/0?stream=NAME")
    add_feed_arguments(live)
    add_order_argument(live)
    live.add_argument("--record", type=Path, metavar="DIR", help="keep what comes, too; it replays as what was sent")
    _add_publishing_arguments(live, 20_000)
    live.set_defaults(run=run_live)
    status = actions.add_parser("status", help="who reads and how far", description="What a stream holds.")
    status.add_argument("address", metavar="ADDRESS", help="redis://host:6379/0?stream=NAME")
    status.set_defaults(run=run_status)


def _add_publishing_arguments(parser: argparse.ArgumentParser, full_books_every: int) -> None:
    parser.add_argument("--keep", type=int, default=10_000, metavar="N", help="entries kept (about; default 10000)")
    parser.add_argument("--rows", type=int, default=4_096, metavar="N", help="rows an entry, at most (default 4096)")
    parser.add_argument(
        "--full-books-every", type=int, default=full_books_every, metavar="N",
        help=f"rows between full books, with which late readers begin (default {full_books_every})",
    )  # fmt: skip
    parser.add_argument(
        "--wait-for", action="append", default=[], metavar="CONSUMER", help="do not run away from it; repeatable"
    )
    parser.add_argument("--ahead", type=int, default=256, metavar="N", help="… by more than N entries (default 256)")


def _how(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `Publisher.publish` is told beside source and address."""
    return {"keep": arguments.keep, "rows": arguments.rows, "wait_for": tuple(arguments.wait_for),
            "ahead": arguments.ahead, "keyframe_rows": arguments.full_books_every}  # fmt: skip


def find_publisher(url: str) -> Publisher:
    """Who publishes to such an address; ConfigError when nobody does."""
    from importlib.metadata import entry_points

    points = {point.name: point for point in entry_points(group=PUBLISHER_GROUP)}
    scheme = url.partition(":")[0]
    if scheme not in points:
        raise ConfigError("address", scheme, "is a scheme that nobody publishes to", did_you_mean(scheme, points))
    publisher: Publisher = points[scheme].load()
    return publisher


def run_publish(arguments: argparse.Namespace) -> int:
    """Publish and say what was sent.  Raises ConfigError, DataError and TransportError."""
    publisher = find_publisher(arguments.address)
    source = _source(arguments)
    with ProgressLine(sys.stderr) as line:
        lines = publisher.publish(
            source, arguments.address, lambda rows: line.show(f"{rows:,} rows"), **_how(arguments)
        )
    print("\n".join(lines))
    return 0


def run_live(arguments: argparse.Namespace) -> int:
    """Publish until Ctrl-C or the end of `--for`; say what was sent and what was wrong with the data.

    Raises ConfigError and TransportError: of the venue, which the readers are told, or of who takes the events.
    """
    import time

    from replay.live import Status, interrupting

    publisher = find_publisher(arguments.address)
    source = open_feed(arguments, arguments.order, arguments.record)
    end_us = end_of(arguments, time.time_ns())
    try:
        with ProgressLine(sys.stderr) as line, interrupting(source.stop):
            status = Status(line, source, time.time_ns)

            def progress(rows: int) -> None:
                status.show(source.reached_us, f"   {rows:,} rows")
                if end_us is not None and source.reached_us >= end_us:
                    source.stop()

            lines = publisher.publish(source, arguments.address, progress, **_how(arguments))
    finally:
        source.close()
    print("\n".join([*lines, *("  " + text for text in source.quality.lines())]))
    return 0


def run_status(arguments: argparse.Namespace) -> int:
    """Print what the stream holds."""
    print("\n".join(find_publisher(arguments.address).status(arguments.address)))
    return 0


def _source(arguments: argparse.Namespace) -> Source:
    from replay.sources import find_adapter, open_stream

    if sum((arguments.store is not None, bool(arguments.data), arguments.stream is not None)) != 1:
        raise ConfigError("", "", "name one of --store, --data with --adapter, --from")
    if arguments.data:
        if arguments.adapter is None:
            raise ConfigError("--data", "", "needs --adapter")
        return find_adapter(arguments.adapter).open(arguments.data)
    if arguments.stream is not None:
        return open_stream(arguments.stream)
    from replay.store import Store

    return Store(arguments.store).source()
