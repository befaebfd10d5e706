"""Reading a source in tests: all rows, the rows of a live decoder, books after each message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from adapters.recording import RecordingSource
from adapters.venue import VenueDecoder
from replay.events import BOOK, CLEAR, LAST, empty_events
from tests.oracles.book import OracleBook


def events_of(source: RecordingSource, rows: int = 32_768) -> np.ndarray:
    """All rows."""
    return np.concatenate([empty_events(0), *(batch.copy() for batch in source.batches(rows))])


def fed(decoder: VenueDecoder, lines: Iterable[bytes]) -> np.ndarray:
    """All rows of a live decoder that gets lines `<ns> <json>` one by one."""
    parts = [empty_events(0)]
    for line in lines:
        received, _, message = line.partition(b" ")
        decoder.feed(message, int(received), lambda batch: parts.append(batch.copy()))
    return np.concatenate(parts)


def lines_of(source: RecordingSource) -> list[bytes]:
    """The lines of a source, in order of receipt."""
    return [line for chunk in source.chunks() for line in chunk.data.splitlines()]


def after_each(source: Any, events: np.ndarray) -> Iterator[tuple[str, np.ndarray, OracleBook]]:
    """(symbol, rows of the message, book after it) of each book message."""
    books = [OracleBook() for _ in source.instruments]
    rows = events[events["kind"] == BOOK]
    starts = np.flatnonzero(np.r_[True, (rows["flags"][:-1] & LAST) > 0]) if len(rows) else []
    for start, stop in zip(starts, [*starts[1:], len(rows)]):
        message = rows[start:stop]
        instrument = int(message[0]["instrument"])
        book = books[instrument]
        if message[0]["flags"] & CLEAR:
            book.clear()
        for row in message[message["side"] != 0]:
            book.set(int(row["side"]), int(row["price"]), int(row["qty"]))
        yield source.instruments[instrument].symbol, message, book


def levels_of(book: OracleBook, instrument: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """({price: size} of bids, of asks) as decimals."""
    bids, asks = (
        {instrument.price(ticks): instrument.size(lots) for ticks, lots in book.levels(side)} for side in (1, -1)
    )
    return bids, asks
