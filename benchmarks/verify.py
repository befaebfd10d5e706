"""Verification of a recording that is already decoded: book, join with quotes and trades in one pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.harness import Measurement, seconds
from replay.instruments import Instrument
from replay.kernel import verify as kernel
from replay.kernel.book import grow_book, make_books
from replay.sources import ArraySource, find_adapter
from replay.verify import verify

TITLE = "Rebuild books and compare them with the quotes, from events in memory"


def loaded(capture: Path | None) -> tuple[np.ndarray, tuple[Instrument, ...], str]:
    """Events of the capture, or of a synthetic market when there is none; with their instruments and a name."""
    if capture is None:
        from decimal import Decimal

        from replay.testing import synthetic_events

        instruments = (Instrument("synthetic", "A", "linear", Decimal(1), Decimal(1)),)
        return synthetic_events(instruments, messages=200_000), instruments, "synthetic market"
    source = find_adapter("binance-usdm").open([capture])
    return np.concatenate([batch.copy() for batch in source.batches()]), source.instruments, capture.name


def measure(capture: Path | None) -> list[Measurement]:
    """Nanoseconds a row, after the same pass has found every touch right."""
    events, instruments, name = loaded(capture)
    found = verify(ArraySource(events, instruments))
    compared = sum(check.bbo_asof.compared for check in found.instruments.values())
    assert compared > 0 and found.mismatches_total == 0, f"{found.mismatches_total} of {compared} touches are wrong"
    books, cells = make_books(len(instruments))

    def once() -> None:
        nonlocal books, cells
        checks = kernel.make_checks(len(instruments))
        at = kernel.check_batch(events, 0, books, cells, checks)
        while at < len(events):
            books, cells = grow_book(books, cells, int(events[at]["instrument"]))
            at = kernel.check_batch(events, at, books, cells, checks)
        kernel.finish(checks)

    once()
    samples = tuple(1e9 * s / len(events) for s in seconds(once))
    return [Measurement("check", f"{name}, {len(events):,} rows, {compared:,} touches", "ns/row", samples)]
