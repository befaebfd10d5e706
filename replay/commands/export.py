"""`replay export`: a store as files of other programs.

Formats are found by name in the entry-point group `replay.exporters`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from replay.errors import ConfigError, did_you_mean
from replay.terminal import ProgressLine

if TYPE_CHECKING:
    import numpy as np

    from replay.commands import Subparsers
    from replay.instruments import Instrument

EXPORTER_GROUP = "replay.exporters"


class Exporter(Protocol):
    """What an entry point of the group `replay.exporters` names."""

    def __call__(
        self, folder: Path, batches: Iterable[np.ndarray], instruments: Sequence[Instrument]
    ) -> Counter[str]:  # fmt: skip
        """Write EVENT batches of whole messages into `folder`, aside and then renamed; what was left out, by kind."""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = subparsers.add_parser(
        "export",
        help="write a store as files of other programs",
        description="Write the events of a store as Tardis-like CSV (csv), event arrays of hftbacktest (hftbacktest) "
        "or a NautilusTrader catalog (nautilus), exactly.  What a format cannot say is left out and counted.",
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of a store")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the files go; made if missing")
    parser.add_argument("--to", required=True, metavar="FORMAT", help="csv, hftbacktest, nautilus")
    parser.add_argument(
        "--instrument", action="append", default=[], metavar="VENUE:SYMBOL", help="only this; may be repeated"
    )
    parser.add_argument("--start", metavar="TIME", help="µs or ISO with zone, 2024-08-08T23:54:15Z (default: all)")
    parser.add_argument("--end", metavar="TIME", help="likewise: nothing received at or after it is written")
    parser.set_defaults(run=run)


def find_exporter(name: str) -> Exporter:
    """The format called `name`; ConfigError with the nearest name when there is none."""
    from importlib.metadata import entry_points

    points = {point.name: point for point in entry_points(group=EXPORTER_GROUP)}
    if name not in points:
        raise ConfigError("--to", name, "is no format that is known", did_you_mean(name, points))
    exporter: Exporter = points[name].load()
    return exporter


def time_us(name: str, text: str | None) -> int | None:
    """µs of an argument, None when it was not given; ConfigError when it is no time."""
    from replay.units import us_from_time

    try:
        return None if text is None else us_from_time(int(text) if text.lstrip("-").isdigit() else text)
    except ValueError as error:
        raise ConfigError(name, text, str(error)) from None


def run(arguments: argparse.Namespace) -> int:
    """Write and say what was left out.  Raises ConfigError for wrong arguments, DataError for a damaged store."""
    from replay.store import Store

    exporter = find_exporter(arguments.to)
    start_us, end_us = time_us("--start", arguments.start), time_us("--end", arguments.end)
    source = Store(arguments.store).source(arguments.instrument, start_us, end_us)
    rows = 0
    with ProgressLine(sys.stderr) as line:

        def counted() -> Iterator[np.ndarray]:
            nonlocal rows
            for batch in source.batches():
                rows += len(batch)
                line.show(f"{rows:,} rows")
                yield batch

        left_out = exporter(arguments.folder, counted(), source.instruments)
    print(f"{rows:,} rows of {', '.join(i.name for i in source.instruments)} to {arguments.folder}")
    for kind, count in sorted(left_out.items()):
        print(f"left out: {count:,} × {kind}")
    return 0
