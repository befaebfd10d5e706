"""From where a store must be read so that everything is known at a later time.

Known is what a replay from the very beginning would know: the book since its last snapshot (whether it is valid or
not), the last quote of each side, the last trade, mark and funding rate.  Files are searched from their ends, row group
by row group, and of the book only those groups whose statistics leave room for the flag of a snapshot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from replay.events import CLEAR, FUNDING, LIQUIDATION, MARK, QUOTE, TRADE
from replay.store.catalog import Catalog, DayFile
from replay.store.columns import times_of
from replay.store.footer import unreadable
from replay.units import INT64_MIN

Marks = frozenset[tuple[int, int]]
SIDES = (1, -1)
MARKS: dict[str, Marks] = {
    "trades": frozenset({(TRADE, 0)}),
    "quotes": frozenset((QUOTE, side) for side in SIDES),
    "liquidations": frozenset({(LIQUIDATION, 0)}),
    "derivatives": frozenset({(MARK, 0), (FUNDING, 0)}),
}
"""(kind, side) of the rows of which the last one is wanted, side 0 where it does not matter; of a book: snapshots."""


def start_of(catalog: Catalog, name: str, channel: str, start_us: int) -> int:
    """`ts` from which one channel of an instrument must be read; INT64_MIN when something was never there before.

    DataError for a damaged file on the way.
    """
    missing, earliest = MARKS.get(channel, frozenset({(0, 0)})), start_us
    paths = catalog.paths(name)
    for number in reversed(paths):
        if channel not in paths[number] or not missing:
            continue
        file = catalog.day(name, number).files[channel]
        if file.footer.first_us < start_us:
            missing, earliest = _search(file, start_us, missing, earliest)
    return INT64_MIN if missing and channel == "book" else earliest


def _search(file: DayFile, start_us: int, missing: Marks, earliest: int) -> tuple[Marks, int]:
    """What is still missing after one file, and the earliest time so far."""
    constants = file.footer.constants
    columns = [name for name in ("ts", "kind", "side", "flags") if name not in constants]
    try:
        with pq.ParquetFile(file.path, pre_buffer=False, page_checksum_verification=True) as parquet:
            for group in reversed(range(parquet.num_row_groups)):
                if not missing:
                    break
                statistics = parquet.metadata.row_group(group).column(0).statistics
                if statistics.min_raw >= start_us or not _may_hold(parquet, group, missing):
                    continue
                table = parquet.read_row_group(group, columns, use_threads=False)
                missing, earliest = _search_rows(table.combine_chunks(), constants, start_us, missing, earliest)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(file.path, error) from None
    return missing, earliest


def _may_hold(parquet: Any, group: int, missing: Marks) -> bool:
    """False only when a row group of a book has no snapshot for sure."""
    if (0, 0) not in missing:
        return True
    row_group = parquet.metadata.row_group(group)
    index = parquet.schema_arrow.get_field_index("flags")
    statistics = row_group.column(index).statistics
    return statistics is None or not statistics.has_min_max or statistics.max >= CLEAR


def _search_rows(
    table: Any, constants: dict[str, int], start_us: int, missing: Marks, earliest: int
) -> tuple[Marks, int]:
    (batch,) = table.to_batches()
    times = times_of(batch)
    count = int(np.searchsorted(times, start_us))
    values = {name: np.full(count, constants.get(name, 0)) for name in ("kind", "side", "flags")}
    for name in set(values) & set(batch.schema.names):
        values[name] = batch.column(name).to_numpy()[:count]
    found = set()
    for kind, side in missing:
        if kind:
            rows = np.flatnonzero((values["kind"] == kind) & ((side == 0) | (values["side"] == side)))
        else:
            rows = np.flatnonzero(values["flags"] & CLEAR)
        if len(rows):
            found.add((kind, side))
            earliest = min(earliest, int(times[rows[-1]]))
    return missing - found, earliest
