"""The event record is a contract: its size, offsets and codes are pinned."""

from __future__ import annotations

import numpy as np

from replay import events
from replay.events import EVENT, KIND_NAMES, empty_events

LAYOUT = {
    "ts": (0, "<i8"), "exch_ts": (8, "<i8"), "seq": (16, "<i8"), "price": (24, "<i8"), "qty": (32, "<i8"),
    "value": (40, "<i8"), "instrument": (48, "<i4"), "source": (52, "<i2"), "flags": (54, "<i2"), "kind": (56, "|i1"),
    "side": (57, "|i1"), "pad2": (58, "<i2"), "pad4": (60, "<i4"),
}  # fmt: skip


def test_one_event_is_one_cache_line_with_every_field_in_its_place() -> None:
    assert EVENT.itemsize == 64
    assert EVENT.isalignedstruct
    assert EVENT.fields is not None
    assert {name: (offset, kind.str) for name, (kind, offset, *_) in EVENT.fields.items()} == LAYOUT
    assert sum(EVENT[name].itemsize for name in LAYOUT) == 64, "no hidden padding, which Numba could not type"


def test_codes_are_pinned() -> None:
    """Stored data holds these numbers: append, never renumber."""
    kinds = ["BOOK", "TRADE", "QUOTE", "LIQUIDATION", "MARK", "FUNDING", "GAP", "ORDER"]
    assert [getattr(events, name) for name in kinds] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [KIND_NAMES[getattr(events, name)] for name in kinds] == [name.lower() for name in kinds]
    flags = ["LAST", "SNAPSHOT", "CLEAR", "GAP_BEFORE", "REPAIRED", "BAD_TS", "OFF_TICK"]
    assert [getattr(events, name) for name in flags] == [1, 2, 4, 8, 16, 32, 64]
    assert (events.BUY, events.SELL) == (1, -1)


def test_empty_events_are_zero() -> None:
    rows = empty_events(3)
    assert rows.dtype == EVENT
    assert len(rows) == 3
    assert not np.any(rows.view(np.uint8))
