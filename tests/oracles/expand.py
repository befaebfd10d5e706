"""Columns to event records, as slow and obvious as can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from replay.events import LAST, empty_events


def expanded(columns: Mapping[str, Sequence[int]], instrument: int) -> tuple[np.ndarray, list[int], int]:
    """EVENT rows, message numbers, and how many rows there are up to the last that closes a message."""
    events = empty_events(len(columns["ts"]))
    closed = 0
    for i, row in enumerate(events):
        row["instrument"] = instrument
        for name, values in columns.items():
            if name != "message":
                row[name] = values[i]
        if columns["flags"][i] & LAST:
            closed = i + 1
    return events, list(columns["message"]), closed
