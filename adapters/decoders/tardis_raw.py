"""Raw messages as Tardis hands them out, and as our own recordings hold them: `<local ns> <json>`.

    slices of the HTTP API      `2019-05-01T00:00:00.1234567Z {…}`; an empty line says that the recorder lost its
                                connection; several in a row say it once
    /replay of tardis-machine   `{"localTimestamp":"…","message":{…}}`, and empty lines likewise

The loss becomes the line `{"replay":"disconnected"}`, which every venue's decoder understands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from adapters.transports.downloads import TryAgain
from replay.errors import DataError
from replay.units import us_from_time

DISCONNECTED = b'{"replay":"disconnected"}'
STAMP_BYTES = 28
OPENING, MIDDLE = b'{"localTimestamp":"', b'","message":'

VENUES = {
    "binance": "binance-spot", "binance-us": "binance-spot", "binance-futures": "binance-usdm",
    "binance-delivery": "binance-coinm", "binance-european-options": "binance-options",
    "bybit": "bybit", "bybit-spot": "bybit", "bybit-options": "bybit",
    "okex": "okx", "okex-futures": "okx", "okex-swap": "okx", "okex-options": "okx",
}  # fmt: skip
"""Adapters of exchanges that Tardis calls by another name."""


def venue_of(exchange: str) -> str:
    """Name of the adapter for an exchange of Tardis."""
    return VENUES.get(exchange, exchange)


def ns_of(stamp: bytes) -> int:
    """ns since 1970 of `2019-05-01T00:00:00.1234567Z`; DataError when it is no such time."""
    text = stamp.decode("ascii", "replace")
    try:
        if len(text) != STAMP_BYTES or text[-1] != "Z" or not text[-2].isdigit():
            raise ValueError
        return us_from_time(text[:-2] + "Z") * 1000 + int(text[-2]) * 100
    except ValueError:
        raise DataError(f"{text!r} is no time with 7 digits of a second") from None


def recorded(lines: Iterable[bytes], before_ns: int) -> Iterator[bytes]:
    """Lines of a slice as lines of a recording; a loss gets the time of the line before it, first `before_ns`.

    DataError (without a place) for a line that is none.
    """
    lost = False
    for line in lines:
        if not line:
            if not lost:
                yield b"%d %s" % (before_ns, DISCONNECTED)
            lost = True
            continue
        if line[STAMP_BYTES : STAMP_BYTES + 2] != b" {" and line[STAMP_BYTES : STAMP_BYTES + 2] != b" [":
            raise DataError("a line is not a time and a message")
        before_ns, lost = ns_of(line[:STAMP_BYTES]), False
        yield b"%d %s" % (before_ns, line[STAMP_BYTES + 1 :])


def machine_line(line: bytes) -> tuple[int, bytes]:
    """(local ns, message) of a line of /replay; (0, DISCONNECTED) of an empty one; TryAgain for a failure's report."""
    if not line:
        return 0, DISCONNECTED
    stamp, middle, message = line[len(OPENING) :].partition(MIDDLE)
    if not line.startswith(OPENING) or not middle or not message.endswith(b"}"):
        raise TryAgain(f"the server failed in the middle: {line[:200].decode('utf-8', 'replace')}")
    try:
        return ns_of(stamp), message[:-1]
    except DataError as error:
        raise TryAgain(error.problem) from None
