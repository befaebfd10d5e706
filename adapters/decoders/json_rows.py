"""JSON values as the fields of ROWs (`replay.kernel.assemble`): exact numbers, and tables of what was read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adapters.base import Cell
from adapters.decoders.csv_table import MISSING, NUMBER, read_cell
from replay.errors import DataError
from replay.kernel.assemble import ROW

Fields = tuple[int, ...]
"""local_us, venue_us, seq, ident, price, size, price_digits, size_digits, kind, side, bits"""
COLUMNS = ("local_us", "venue_us", "seq", "ident", "price", "size", "price_digits", "size_digits", "kind", "side",
           "bits", "line", "owner")  # fmt: skip
TABLE_ROWS = 16_384


def cell(value: object) -> Cell:
    """A JSON number or decimal text as (value, digits), exact: a JSON number is the shortest decimal for it."""
    if value is None:
        return 0, MISSING
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise DataError(f"{value!r} is not a number")
    return read_cell(value if isinstance(value, str) else repr(value), NUMBER)


def table(rows: Sequence[Fields]) -> np.ndarray:
    """Fields, each with its line and owner at the end, as ROWs."""
    out = np.zeros(len(rows), ROW)
    for name, column in zip(COLUMNS, np.array(rows, np.int64).T):
        out[name] = column
    return out
