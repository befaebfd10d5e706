"""`replay relay`: send events on to others, through whatever an address names.

Publishers are found by the scheme of the address in the entry-point group `replay.publishers`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = subparsers.add_parser(
        "relay",
        help="publish events for several readers",
        description="Publish a store, recordings or another stream, so that one reader of the market feeds many "
        "strategies (`replay run --from ADDRESS`).",
        epilog="example: replay relay publish redis://127.0.0.1:6379/0?stream=btc --store store/",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    publish = actions.add_parser("publish", help="send all events", description="Send all events of one source.")
    publish.add_argument("address", metavar="ADDRESS", help="redis://host:6379/0?stream=NAME")
    publish.add_argument("--store", type=Path, metavar="STORE", help="folder of a store")
    publish.add_argument("--data", nargs="+", default=[], type=Path, metavar="FILE", help="recordings, plain or gzip")
    publish.add_argument("--adapter", metavar="NAME", help="who wrote them: binance-usdm, …")
    publish.add_argument("--from", dest="stream", metavar="ADDRESS", help="another stream")
    publish.add_argument("--keep", type=int, default=10_000, metavar="N", help="entries kept (about; default 10000)")
    publish.add_argument("--rows", type=int, default=4_096, metavar="N", help="rows an entry, at most (default 4096)")
    publish.add_argument(
        "--wait-for", action="append", default=[], metavar="CONSUMER", help="do not run away from it; repeatable"
    )
    publish.add_argument("--ahead", type=int, default=256, metavar="N", help="… by more than N entries (default 256)")
    publish.set_defaults(run=run_publish)
    status = actions.add_parser("status", help="who reads and how far", description="What a stream holds.")
    status.add_argument("address", metavar="ADDRESS", help="redis://host:6379/0?stream=NAME")
    status.set_defaults(run=run_status)


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
    how = {"keep": arguments.keep, "rows": arguments.rows, "wait_for": tuple(arguments.wait_for),
           "ahead": arguments.ahead}  # fmt: skip
    with ProgressLine(sys.stderr) as line:
        lines = publisher.publish(source, arguments.address, lambda rows: line.show(f"{rows:,} rows"), **how)
    print("\n".join(lines))
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
