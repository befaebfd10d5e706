"""First look at the rows of a data set: the grid of its numbers, how its clocks compare, when it begins and ends."""

from __future__ import annotations

import numpy as np

from replay.events import BOOK, FUNDING, GAP, MARK, TRADE
from replay.kernel.jit import kernel
from replay.kernel.survey import NO_LAG, fold

FINDING = np.dtype(
    [
        ("price_step", "<i8"),  # 0: nothing seen; −1: no common grid in 64 bits
        ("price_digits", "<i8"),
        ("size_step", "<i8"),
        ("size_digits", "<i8"),
        ("rows", "<i8"),
        ("least_lag", "<i8"),  # of books and trades: local − venue, µs; NO_LAG: none
        ("max_lag", "<i8"),  # latest local time so far − venue, µs; −NO_LAG: none
        ("first_us", "<i8"),
        ("last_us", "<i8"),  # latest
    ]
)


def new_findings(count: int) -> np.ndarray:
    """Blank findings."""
    out = np.zeros(count, FINDING)
    out["least_lag"] = NO_LAG
    out["max_lag"] = -NO_LAG
    return out


@kernel
def outline(rows, count, findings, highest_us):
    """Fold ROWs into the findings of their owners; the latest local time so far comes and goes."""
    for i in range(count):
        row = rows[i]
        finding = findings[row["owner"]]
        kind = row["kind"]
        local_us = row["local_us"]
        if local_us > highest_us:
            highest_us = local_us
        if finding["rows"] == 0:
            finding["first_us"] = local_us
            finding["last_us"] = local_us
        if local_us > finding["last_us"]:
            finding["last_us"] = local_us
        finding["rows"] += 1
        if row["venue_us"] >= 0:
            if kind == BOOK or kind == TRADE:
                finding["least_lag"] = min(finding["least_lag"], local_us - row["venue_us"])
            finding["max_lag"] = max(finding["max_lag"], highest_us - row["venue_us"])
        if kind == MARK or kind == FUNDING or kind == GAP:
            continue
        if row["price_digits"] >= 0:
            finding["price_step"], finding["price_digits"] = fold(
                finding["price_step"], finding["price_digits"], row["price"], row["price_digits"]
            )
        if row["size_digits"] >= 0:
            finding["size_step"], finding["size_digits"] = fold(
                finding["size_step"], finding["size_digits"], row["size"], row["size_digits"]
            )
    return highest_us


def absorb(into: np.void, other: np.void) -> None:
    """Fold the finding `other` into `into`."""
    for step, digits in (("price_step", "price_digits"), ("size_step", "size_digits")):
        if other[step] < 0 or into[step] < 0:
            into[step] = -1
        elif other[step]:
            into[step], into[digits] = fold(into[step], into[digits], other[step], other[digits])
    for name, choose in (("least_lag", min), ("max_lag", max), ("last_us", max)):
        into[name] = choose(into[name], other[name])
    into["first_us"] = min(into["first_us"], other["first_us"]) if into["rows"] else other["first_us"]
    into["rows"] += other["rows"]
