"""Where things lie in a store.

    STORE/venue=binance-usdm/instrument=BTCUSDT/channel=book/date=2024-08-08/data.parquet
    STORE/.writing/N/      what a running writer has not completed yet, with a lock that dies with the process
    STORE/.imports/KEY.json  which days a finished import wrote (see `replay.store.ingest`); may be deleted
    STORE/.hot/…           uncompressed copies of some files for faster reading; may be deleted at any time

One Parquet file holds one channel of one instrument and UTC day (by `ts`, the local time of receipt).  The folder
names are percent-encoded, as every reader of hive-style folders expects.  A channel holds whole messages: the kind of
a message's first row decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from replay.errors import ConfigError, did_you_mean
from replay.events import BOOK, FUNDING, GAP, LIQUIDATION, MARK, ORDER, QUOTE, TRADE
from replay.units import US_PER_DAY

CHANNEL_OF = {
    BOOK: "book", GAP: "book", TRADE: "trades", QUOTE: "quotes", LIQUIDATION: "liquidations",
    MARK: "derivatives", FUNDING: "derivatives", ORDER: "orders",
}  # fmt: skip
"""Channel of each kind of event.  Gaps belong to the book: without them it would be believed where it is wrong."""

CHANNELS = tuple(dict.fromkeys(CHANNEL_OF.values()))

FILE_NAME = "data.parquet"
HOT_NAME = "data.arrow"
WRITING = ".writing"
HOT = ".hot"
IMPORTS = ".imports"
OWN = (WRITING, HOT, IMPORTS)
"""Folders beside those of the venues."""

_EPOCH = date(1970, 1, 1)


def day_number(time_us: int) -> int:
    """UTC days since the epoch; day d covers [d, d + 1) × US_PER_DAY."""
    return time_us // US_PER_DAY


def day_slices(times_us: np.ndarray) -> Iterator[tuple[int, slice]]:
    """(day number, where it lies) of each day in an ascending, non-empty array of times."""
    start = 0
    while start < len(times_us):
        day = day_number(int(times_us[start]))
        stop = int(np.searchsorted(times_us, (day + 1) * US_PER_DAY))
        yield day, slice(start, stop)
        start = stop


def date_of(day: int) -> str:
    """`2024-08-08` of a day number."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def day_of(text: str) -> int:
    """Day number of `2024-08-08`; ValueError when it is no date."""
    return (datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date() - _EPOCH).days


def folder(key: str, value: str) -> str:
    """`key=value`, with everything in the value that a file system or URL could misread percent-encoded."""
    return f"{key}={quote(value, safe='')}"


def value_of(name: str, key: str) -> str | None:
    """The value in a folder name `key=value`, None when it is another folder."""
    head, equals, tail = name.partition("=")
    return unquote(tail) if equals and head == key else None


def instrument_folder(name: str) -> Path:
    """Relative folder of `venue:symbol`.  ConfigError when that is not what it is."""
    venue, colon, symbol = name.partition(":")
    if not (venue and colon and symbol):
        raise ConfigError("instrument", name, "is not venue:SYMBOL", "for example binance-usdm:BTCUSDT")
    return Path(folder("venue", venue), folder("instrument", symbol))


def file_path(instrument: str, channel: str, day: int) -> Path:
    """Relative path of the Parquet file of one channel of one day."""
    return instrument_folder(instrument) / folder("channel", channel) / folder("date", date_of(day)) / FILE_NAME


def hot_path(path: Path) -> Path:
    """Relative path of the uncompressed copy of the file at relative `path`."""
    return Path(HOT) / path.with_name(HOT_NAME)


def checked_channels(channels: object) -> tuple[str, ...]:
    """Channels in the order of `CHANNELS`; None means all.  ConfigError for an unknown or empty choice."""
    if channels is None:
        return CHANNELS
    if isinstance(channels, str) or not isinstance(channels, (list, tuple, set, frozenset)) or not channels:
        raise ConfigError("channels", channels, "is not a list of channels", f"known: {', '.join(CHANNELS)}")
    for channel in channels:
        if channel not in CHANNELS:
            raise ConfigError("channels", channel, "is no channel", did_you_mean(str(channel), CHANNELS))
    return tuple(channel for channel in CHANNELS if channel in channels)
