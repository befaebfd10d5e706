"""The cryptofeed captures of a venue: our events, and the raw messages for an oracle."""

from __future__ import annotations

import gzip
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapters.recording import RecordingSource
from adapters.venue import VenueAdapter, VenueDecoder
from replay.events import BOOK, CLEAR, LAST
from replay.instruments import Instrument
from tests.oracles.book import OracleBook
from tests.oracles.raw_books import RawBook, exact

Touch = tuple[tuple[int, int] | None, tuple[int, int] | None]
"""Best bid and ask as (ticks, lots)."""


def paths_of(captures: Path, venue: str) -> list[Path]:
    """The files of a capture."""
    return sorted((captures / "cryptofeed").glob(f"{venue}.*gz"))


def raw_messages(captures: Path, venue: str) -> list[Any]:
    """What was received over all connections, in order, by the oracles' reader."""
    return [message for _, message in timed_messages(captures, venue)]


def timed_messages(captures: Path, venue: str) -> list[tuple[int, Any]]:
    """The same with the µs of its receipt."""
    streams = []
    for path in paths_of(captures, venue):
        if ".ws." in path.name:
            lines = gzip.decompress(path.read_bytes()).splitlines()
            streams.append([line.partition(b": ") for line in lines if line[:1].isdigit()])
    found = []
    for time, _, text in heapq.merge(*streams, key=lambda parts: ns_of(parts[0])):
        found.append((ns_of(time) // 1000, exact(text)))
    return found


def ns_of(seconds: bytes) -> int:
    """Decimal seconds as ns, digit by digit."""
    whole, _, fraction = seconds.partition(b".")
    return int(whole) * 10**9 + int(fraction[:9].ljust(9, b"0"))


def lines_of(source: RecordingSource) -> list[bytes]:
    """The recording as lines `<local ns> <json>`."""
    return [line for chunk in source.chunks() for line in chunk.data.splitlines()]


def events_of(source: RecordingSource, rows: int = 32_768) -> np.ndarray:
    """All rows."""
    return np.concatenate([batch.copy() for batch in source.batches(rows)])


def fed(decoder: VenueDecoder, lines: list[bytes]) -> np.ndarray:
    """All rows of a live decoder that gets the messages of a recording one by one."""
    parts: list[np.ndarray] = []
    for line in lines:
        received, _, message = line.partition(b" ")
        decoder.feed(message, int(received), lambda batch: parts.append(batch.copy()))
    return np.concatenate(parts)


@dataclass
class Rebuilt:
    """A book that follows BOOK rows."""

    instrument: Instrument
    book: OracleBook

    def touch(self) -> Touch:
        """Best bid and ask."""
        bid, ask = (next(iter(self.book.levels(side, 1)), None) for side in (1, -1))
        return bid, ask

    def equals(self, raw: RawBook) -> bool:
        """Whether all levels are those of an oracle."""
        mine = [
            {self.instrument.price(ticks): self.instrument.size(lots) for ticks, lots in self.book.levels(side)}
            for side in (1, -1)
        ]
        return mine == [raw.bids, raw.asks]


def rebuilt(instruments: tuple[Instrument, ...], events: np.ndarray) -> Iterator[tuple[np.void, Rebuilt]]:
    """(row, book of its instrument) for the last row of every message, of any kind."""
    books = [Rebuilt(instrument, OracleBook()) for instrument in instruments]
    for row in events:
        mine = books[int(row["instrument"])]
        if row["kind"] == BOOK:
            if row["flags"] & CLEAR:
                mine.book.clear()
            if row["side"]:
                mine.book.set(int(row["side"]), int(row["price"]), int(row["qty"]))
        if row["flags"] & LAST:
            yield row, mine


def check_any_cutting(adapter: VenueAdapter, paths: list[Path], tmp_path: Path) -> None:
    """Batch sizes, a live decoder and a file of plain lines give the same events."""
    source = adapter.open(paths)
    whole = events_of(source).tobytes()
    for rows in (1, 100):
        assert events_of(source, rows).tobytes() == whole
    lines = lines_of(source)
    decoder = adapter.decoder(source.instruments, timing=source.survey.timing)
    assert fed(decoder, lines).tobytes() == whole
    assert decoder.commands() == []
    assert decoder.quality.gaps == source.quality.gaps == []
    copy = tmp_path / "lines.txt"
    copy.write_bytes(b"\n".join(lines) + b"\n")
    assert events_of(adapter.open([copy], instruments=source.instruments)).tobytes() == whole
