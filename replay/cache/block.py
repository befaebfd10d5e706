"""A block: the events of one instrument and stretch of time, and how it becomes bytes.

    header      magic, version, rows, size of the columns, CRC-32 of what follows
    columns     compressed: the fields of EVENT that a store keeps and the message numbers, one after the other;
                times and ids as differences, which are small

Bytes that are not exactly this (another version, cut, damaged) are no block: `decoded` says None, and the caller reads
the rows elsewhere.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from replay.events import EVENT, empty_events

VERSION = 1
"""To be raised with every change of EVENT or of the layout."""
MAGIC = b"tkrb"
HEADER = struct.Struct("<4sIQQI")
CODEC = "lz4"
DIFFERENCES = ("ts", "exch_ts", "seq", "numbers")
FIELDS = ("ts", "exch_ts", "seq", "price", "qty", "value", "flags", "kind", "side")
WIDTH = sum(EVENT[name].itemsize for name in FIELDS) + 8


@dataclass(frozen=True, slots=True)
class Block:
    """EVENT rows of one instrument (its index is 0) in order, and the int64 number of each row's message.

    Whole messages, closed by LAST; `numbers` are those of the store (see `replay.store.columns`).
    """

    events: np.ndarray
    numbers: np.ndarray

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        return self.events.nbytes + self.numbers.nbytes + 256

    def check(self) -> None:
        """AssertionError when it is not what it should be."""
        assert self.events.dtype == EVENT and self.numbers.dtype == np.int64, "wrong types"
        assert len(self.events) == len(self.numbers), "rows and numbers differ in length"
        assert not self.events["instrument"].any(), "a block is of one instrument"
        assert (np.diff(self.events["ts"]) >= 0).all(), "times step back"


def encoded(block: Block) -> bytes:
    """The block as bytes."""
    parts = []
    for name in (*FIELDS, "numbers"):
        column = block.numbers if name == "numbers" else np.ascontiguousarray(block.events[name])
        if name in DIFFERENCES:
            column = np.diff(column, prepend=np.int64(0))  # wraps around as int64 does, and back
        parts.append(column.tobytes())
    plain = b"".join(parts)
    packed = bytes(memoryview(pa.compress(plain, CODEC)))
    return HEADER.pack(MAGIC, VERSION, len(block.events), len(plain), zlib.crc32(packed)) + packed


def decoded(data: bytes) -> Block | None:
    """The block, or None when the bytes are none of this version or damaged."""
    if len(data) < HEADER.size:
        return None
    magic, version, rows, size, checksum = HEADER.unpack_from(data)
    packed = memoryview(data)[HEADER.size :]
    if (magic, version) != (MAGIC, VERSION) or size != rows * WIDTH or checksum != zlib.crc32(packed):
        return None
    plain = pa.decompress(packed, size, CODEC) if size else b""
    events, at = empty_events(rows), 0
    numbers = np.empty(0, np.int64)
    for name in (*FIELDS, "numbers"):
        kind = np.dtype(np.int64) if name == "numbers" else EVENT[name]
        column = np.frombuffer(plain, kind, rows, at)
        at += rows * kind.itemsize
        if name in DIFFERENCES:
            column = np.cumsum(column)
        if name == "numbers":
            numbers = column
        else:
            events[name] = column
    return Block(events, numbers)
