"""What a store holds: its folders, read once for each instrument, and the footers of the days that somebody asks for.

The folders are the catalog: there is no index that could disagree with them.  A day counts only when each of its
files names the same set of files and is one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import fspath
from pathlib import Path
from typing import Any

from sortedcontainers import SortedDict

from replay.errors import DataError
from replay.instruments import Instrument
from replay.store import layout
from replay.store.footer import DayQuality, Footer, SourceFile, combined_digest, read_footer


class IncompleteDay(DataError):
    """A day whose files do not belong together: a writer was killed while it put them in place."""


@dataclass(frozen=True, slots=True)
class DayFile:
    """One channel of a day: the Parquet file, its size in bytes and what its footer says."""

    path: Path
    bytes: int
    footer: Footer


@dataclass(frozen=True, slots=True)
class Day:
    """One complete UTC day of one instrument; `files` by channel, in the order of `layout.CHANNELS`, at least one."""

    files: dict[str, DayFile]

    @property
    def footers(self) -> list[Footer]:
        """What the files say."""
        return [file.footer for file in self.files.values()]

    @property
    def instrument(self) -> Instrument:
        """Terms as they were written."""
        return self.footers[0].instrument

    @property
    def number(self) -> int:
        """UTC days since the epoch."""
        return self.footers[0].day

    @property
    def date(self) -> str:
        """`2024-08-08`."""
        return layout.date_of(self.number)

    @property
    def rows(self) -> int:
        """Events of all channels."""
        return sum(footer.rows for footer in self.footers)

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return sum(file.bytes for file in self.files.values())

    @property
    def first_us(self) -> int:
        """`ts` of the first event."""
        return min(footer.first_us for footer in self.footers)

    @property
    def last_us(self) -> int:
        """`ts` of the last event."""
        return max(footer.last_us for footer in self.footers)

    @property
    def digest(self) -> str:
        """SHA-256 in hex of the events and their order; not of the encoding."""
        return combined_digest(self.footers[0].siblings.items())

    @property
    def source_files(self) -> tuple[SourceFile, ...]:
        """The files from which the day was imported."""
        return self.footers[0].source_files

    @property
    def origin(self) -> str:
        """The import that wrote the day, "" for other writers."""
        return self.footers[0].origin

    @property
    def quality(self) -> DayQuality:
        """What was wrong with the day."""
        return self.footers[0].quality


class Catalog:
    """Paths of a store's files by instrument and day, in order of time; scanned when first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._scanned: dict[str, Any] = {}

    def names(self) -> list[str]:
        """`venue:symbol` of every instrument that has a folder, sorted."""
        found = []
        for venue, venue_path in _folders(self.root, "venue"):
            found += [f"{venue}:{symbol}" for symbol, _ in _folders(venue_path, "instrument")]
        return sorted(found)

    def paths(self, name: str) -> Any:
        """SortedDict from day number to {channel: path} of all files of an instrument, complete or not."""
        if name not in self._scanned:
            days = SortedDict()
            top = self.root / layout.instrument_folder(name)
            known = {channel: top / layout.folder("channel", channel) for channel in layout.CHANNELS}
            for channel, channel_path in known.items():
                for text, date_path in _folders(channel_path, "date"):
                    path = date_path / layout.FILE_NAME
                    if path.exists():
                        days.setdefault(_day(text, date_path), {})[channel] = path
            self._scanned[name] = days
        return self._scanned[name]

    def forget(self, name: str) -> None:
        """Look at the folders of an instrument again next time."""
        self._scanned.pop(name, None)

    def day(self, name: str, number: int) -> Day:
        """One day that is there.  DataError when a file cannot be read or the day is incomplete."""
        files = {}
        for channel, path in self.paths(name)[number].items():
            try:
                size = path.stat().st_size
            except OSError as error:
                raise DataError(f"cannot be read: {error.strerror}", fspath(path)) from None
            files[channel] = DayFile(path, size, read_footer(path))
        for channel, file in files.items():
            footer = file.footer
            if (footer.instrument.name, footer.channel, footer.day) != (name, channel, number):
                raise DataError(
                    f"belongs to {footer.instrument.name} {footer.channel} {layout.date_of(footer.day)}",
                    fspath(file.path), hint="move it back",
                )  # fmt: skip
        digests = {channel: file.footer.digest for channel, file in files.items()}
        if any(file.footer.siblings != digests for file in files.values()):
            raise IncompleteDay(
                f"{name} {layout.date_of(number)} is incomplete: its files do not belong together",
                fspath(self.root), hint="import the day again, or remove it with: replay gc",
            )  # fmt: skip
        return Day(files)

    def days(self, name: str) -> Iterator[Day | DataError]:
        """All days of an instrument in order of time; in place of a broken or incomplete one, what is wrong with it."""
        for number in self.paths(name):
            try:
                yield self.day(name, number)
            except DataError as error:
                yield error

    def between(self, name: str, start_us: int | None, end_us: int | None) -> list[Day]:
        """The days that touch [start_us, end_us).  DataError when one of them is broken or incomplete."""
        first = None if start_us is None else layout.day_number(start_us)
        last = None if end_us is None else layout.day_number(end_us - 1)
        return [self.day(name, number) for number in self.paths(name).irange(first, last)]


def _folders(path: Path, key: str) -> Iterator[tuple[str, Path]]:
    """(value, path) of the folders `key=value` in `path`; none when it does not exist."""
    if not path.is_dir():
        return
    for child in sorted(path.iterdir()):
        value = layout.value_of(child.name, key)
        if value is not None and child.is_dir():
            yield value, child


def _day(text: str, path: Path) -> int:
    try:
        return layout.day_of(text)
    except ValueError:
        raise DataError("is not named after a date", fspath(path), hint="move it out of the store") from None
