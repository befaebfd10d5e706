"""CSV tables as columns of exact integers: the fast lexer, helped by the `csv` module and Decimal.

What a file holds is told by a `Layout`: the names of its columns and the kind of each.  A header line, where there is
one, decides the order; columns that the layout does not know are skipped.  A number is value · 10^−digits.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from adapters.transports.file import Chunk
from replay.errors import DataError
from replay.kernel import lexer
from replay.kernel import table as kernel
from replay.kernel.table import EMPTY, HASHED, IDENT, MISSING, NUMBER, SKIP, WHOLE, WORD

TABLE_ROWS = 16_384
PLAIN_WHOLE = re.compile(r"\d{1,19}", re.ASCII)
PLAIN_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
NO_NUMBER = frozenset(("nan", "-nan", "inf", "-inf", "+inf", "infinity", "-infinity", "null", "none"))

__all__ = ["EMPTY", "HASHED", "IDENT", "MISSING", "NUMBER", "SKIP", "WHOLE", "WORD", "CsvReader", "Layout", "Names"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns by name with their kinds, in the order in which `CsvReader.values` holds them.

    `lead` are the columns that name the instrument; they come first in the file, in this order.
    """

    columns: Mapping[str, int]
    lead: tuple[str, ...] = ()

    def plan(self, header: Sequence[str]) -> np.ndarray:
        """Kind of each column of a file; DataError (without a place) when a column is missing or out of order."""
        if tuple(header[: len(self.lead)]) != self.lead:
            raise DataError(f"the first columns are {', '.join(header[:4])}, not {', '.join(self.lead)}")
        for name in self.columns:
            if name not in header:
                raise DataError(f"there is no column {name!r}", hint=f"columns: {', '.join(header)}")
        found = [name for name in header if name in self.columns]
        if found != list(self.columns):
            raise DataError(f"the columns stand in the order {', '.join(found)}", hint="expected " + ", ".join(self))
        return np.array([self.columns.get(name, SKIP) for name in header], np.int64)

    def __iter__(self) -> Iterator[str]:
        return iter((*self.lead, *self.columns))


class Names:
    """Names of instruments and their indices, as Python and as the lexer know them."""

    def __init__(self, names: Sequence[bytes] = ()) -> None:
        self.list: list[bytes] = []
        self.index: dict[bytes, int] = {}
        self.heads = np.full(64, -1, np.int32)
        self.bytes = np.zeros((16, kernel.NAME_BYTES), np.uint8)
        for name in names:
            self.add(name)

    def add(self, name: bytes) -> int:
        """Index of `name`, which is added when it is new; DataError when it is too long."""
        if name in self.index:
            return self.index[name]
        if len(name) >= kernel.NAME_BYTES:
            raise DataError(f"the name {name[:40]!r}… of an instrument is longer than {kernel.NAME_BYTES - 1} bytes")
        index = self.index[name] = len(self.list)
        self.list.append(name)
        if index >= len(self.bytes):
            self.bytes = np.vstack([self.bytes, np.zeros_like(self.bytes)])
        self.bytes[index, 0] = len(name)
        self.bytes[index, 1 : 1 + len(name)] = np.frombuffer(name, np.uint8)
        if 4 * len(self.list) > len(self.heads):
            self.heads = np.full(4 * len(self.heads), -1, np.int32)
            for known in range(index):
                self._enter(known)
        self._enter(index)
        return index

    def _enter(self, index: int) -> None:
        raw = np.frombuffer(self.list[index], np.uint8)
        mask = len(self.heads) - 1
        at = int(kernel.text_hash(raw, 0, len(raw))) & mask
        while self.heads[at] >= 0:
            at = (at + 1) & mask
        self.heads[at] = index


class CsvReader:
    """Chunks of lines to columns.

    `values[k, i]`, `digits[k, i]`: row i of the k-th column of the layout; `lines[i]` its 0-based line in the chunk,
    `owners[i]` the index of its name in `names`.  `plan` is the kind of each column of the file (see `Layout.plan`).
    """

    def __init__(self, plan: np.ndarray, lead: int, names: Names, rows: int = TABLE_ROWS, *, fast: bool = True) -> None:
        self.plan, self.lead, self.names, self.fast = plan, lead, names, fast
        self.kinds = [int(kind) for kind in plan[lead:] if kind != SKIP]
        self.values = np.zeros((len(self.kinds), rows), np.int64)
        self.digits = np.zeros((len(self.kinds), rows), np.int8)
        self.lines = np.zeros(rows, np.int64)
        self.owners = np.zeros(rows, np.int32)
        self.sizes = np.zeros(2 * len(plan), np.int64)
        self.cursor = np.zeros(1, kernel.CURSOR)

    def tables(self, chunk: Chunk, skip_lines: int = 0) -> Iterator[int]:
        """Fill the columns, part by part; yields the number of rows each time.

        The first `skip_lines` lines are left out.  DataError with file and line for what cannot be read.
        """
        buffer = np.frombuffer(chunk.data, np.uint8)
        cursor = self.cursor[0]
        cursor["pos"], cursor["line"], cursor["rows"] = 0, skip_lines, 0
        cursor["lead"], cursor["name_at"] = self.lead, -1
        for _ in range(skip_lines):
            cursor["pos"] = chunk.data.index(b"\n", int(cursor["pos"])) + 1
        while True:
            status = self._scan(buffer)
            if status == kernel.SLOW:
                self._slow_line(chunk, cursor)
            elif status == kernel.NEW_NAME:
                start = int(cursor["pos"])
                line = chunk.data[start : chunk.data.index(b"\n", start)]
                self.names.add(b",".join(line.split(b",")[: self.lead]))
            else:
                if cursor["rows"]:
                    yield int(cursor["rows"])
                if status == kernel.DONE:
                    return
                cursor["rows"] = 0

    def _scan(self, buffer: np.ndarray) -> int:
        cursor = self.cursor[0]
        if not self.fast and cursor["pos"] < len(buffer):
            return kernel.FULL if cursor["rows"] >= len(self.lines) else kernel.SLOW
        status: int = kernel.scan_table(
            buffer, len(buffer), self.plan, self.names.heads, self.names.bytes, self.values, self.digits, self.lines,
            self.owners, self.sizes, cursor,
        )  # fmt: skip
        return status

    def _slow_line(self, chunk: Chunk, cursor: np.void) -> None:
        start = int(cursor["pos"])
        end = chunk.data.index(b"\n", start)
        line = chunk.data[start:end].removesuffix(b"\r")
        try:
            if line.strip():
                self._put(line, cursor)
        except DataError as error:
            path, number = chunk.where(int(cursor["line"]))
            cut = chunk.cut and end + 1 == len(chunk.data)
            problem = f"the file is truncated: {error.problem} in its final line" if cut else error.problem
            raise DataError(problem, path, number, error.hint) from None
        cursor["pos"] = end + 1
        cursor["line"] += 1
        cursor["name_at"] = -1

    def _put(self, line: bytes, cursor: np.void) -> None:
        try:
            (cells,) = csv.reader([line.decode("utf-8")], strict=True)
        except (UnicodeDecodeError, csv.Error, ValueError) as error:
            raise DataError(f"not a line of CSV ({error})") from None
        if len(cells) != len(self.plan):
            raise DataError(f"{len(cells)} fields instead of {len(self.plan)}")
        name = ",".join(cells[: self.lead]).encode()
        if self.lead and (len(name) >= kernel.NAME_BYTES or not all(cells[: self.lead])):
            raise DataError("the instrument has no name, or one that is too long")
        row = int(cursor["rows"])
        k = 0
        for cell, kind in zip(cells[self.lead :], self.plan[self.lead :]):
            if kind != SKIP:
                self.values[k, row], self.digits[k, row] = read_cell(cell, int(kind))
                k += 1
        self.lines[row] = cursor["line"]
        self.owners[row] = self.names.add(name) if self.lead else 0
        cursor["rows"] += 1


def _is_whole(text: str) -> bool:
    return bool(PLAIN_WHOLE.fullmatch(text)) and int(text) < kernel.LARGEST_WHOLE


def read_cell(text: str, kind: int) -> tuple[int, int]:
    """(value, digits) of one field, exactly; DataError (without a place) when it is not of its kind."""
    if kind == WORD:
        raw = text.encode()
        return int.from_bytes(raw[:7], "little"), len(raw)
    if not text:
        return 0, EMPTY
    if kind == IDENT:
        raw = text.encode()
        if _is_whole(text) and (text[0] != "0" or text == "0"):
            return int(text), 0
        return int(kernel.text_hash(np.frombuffer(raw, np.uint8), 0, len(raw))), HASHED
    if text.lower() in NO_NUMBER:
        return 0, MISSING
    if kind == WHOLE:
        if not _is_whole(text):
            raise DataError(f"{text[:40]!r} is not a whole number of up to 18 digits")
        return int(text), 0
    if not PLAIN_NUMBER.fullmatch(text):
        raise DataError(f"{text[:40]!r} is not a number")
    sign, figures, exponent = Decimal(text).normalize().as_tuple()
    assert isinstance(exponent, int)
    whole = int("".join(map(str, figures)))
    if not whole:
        return 0, 0
    if exponent > 0:
        if exponent > kernel.MAX_DIGITS:
            raise DataError(f"{text[:40]!r} has more than 18 digits")
        whole, exponent = whole * 10**exponent, 0
    if whole >= lexer.MAX_MANTISSA or -exponent > kernel.MAX_DIGITS:
        raise DataError(f"{text[:40]!r} has more than 18 digits")
    return (-whole if sign else whole), -exponent
