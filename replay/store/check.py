"""Proof that the files of a day still hold the events that were written: their digests, computed anew."""

from __future__ import annotations

import hashlib
from os import fspath

import numpy as np

from replay.errors import DataError
from replay.store.catalog import Day, DayFile
from replay.store.columns import ROW_GROUP_ROWS, Grid, events_of
from replay.store.lanes import parquet_batches
from replay.units import INT64_MAX, INT64_MIN


def check_day(day: Day) -> None:
    """Read every file of a day.  DataError naming the first whose events are not those that were written."""
    for file in day.files.values():
        check_file(file)


def check_file(file: DayFile) -> None:
    """Read one file.  DataError when its events are not those that were written."""
    if events_digest(file) != file.footer.digest:
        raise DataError(
            "holds other events than were written: the digest differs", fspath(file.path),
            hint="delete it and import the day again",
        )  # fmt: skip


def events_digest(file: DayFile) -> str:
    """The digest of the events in a file (see `digest_of`), from its rows."""
    footer = file.footer
    grid = Grid.of(footer.instrument, footer.instrument, decimals=True)
    rows_hash, numbers_hash = hashlib.sha256(), hashlib.sha256()
    for batch in parquet_batches(file.path, footer, INT64_MIN, INT64_MAX, ROW_GROUP_ROWS):
        rows, numbers = events_of(batch, footer.constants, grid)
        rows_hash.update(rows.view(np.uint8).data)
        numbers_hash.update(np.ascontiguousarray(numbers).view(np.uint8).data)
    return digest_of(rows_hash.digest(), numbers_hash.digest())


def digest_of(rows: bytes, numbers: bytes) -> str:
    """One digest in hex of the SHA-256 of all rows, as 64-byte records, and of all message numbers."""
    return hashlib.sha256(rows + numbers).hexdigest()
