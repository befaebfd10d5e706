"""First look at a recording: what grid its numbers lie on and how its clocks compare.

`survey` folds a table of scanned messages into one FINDING per symbol; row 0 collects snapshots that name no symbol.
The grid of prices is the greatest common divisor of all prices, taken at the finest decimals that occur; sizes
likewise.  Lags are local minus venue time in ns.  Everything is exact integer arithmetic.
"""

from __future__ import annotations

import numpy as np

from replay.kernel.jit import kernel
from replay.kernel.scan import AGG_TRADE, DEPTH, FUND, LOST, MARK, OFF_BOOK, OTHER, RESET, SNAPSHOT, TICKER, TRADE

NO_LAG = 2**62

FINDING = np.dtype(
    [
        ("price_step", "<i8"),
        ("price_digits", "<i8"),
        ("size_step", "<i8"),
        ("size_digits", "<i8"),
        ("messages", "<i8"),
        ("depth", "<i8"),
        ("trades", "<i8"),
        ("agg_trades", "<i8"),
        ("snapshots", "<i8"),
        ("depth_lag", "<i8"),  # smallest
        ("trade_lag", "<i8"),
        ("agg_lag", "<i8"),
        ("max_lag", "<i8"),  # largest, −NO_LAG: none
        ("depth_us", "<i8"),  # venue time of the latest depth message, −1: none
        ("first_ns", "<i8"),
    ]
)

STEP_LIMIT = 2**62


@kernel
def fold(step, digits, mantissa, decimals):
    """(step, digits) after one more number; step −1 when the common grid does not fit 64 bits."""
    if mantissa < 0:
        mantissa = -mantissa
    if mantissa == 0 or step < 0:
        return step, digits
    while digits < decimals:
        if step >= STEP_LIMIT // 10:
            return -1, digits
        step *= 10
        digits += 1
    if step == 1 and decimals == digits:
        return step, digits
    while decimals < digits:
        if mantissa >= STEP_LIMIT // 10:
            return -1, digits
        mantissa *= 10
        decimals += 1
    while mantissa != 0:
        step, mantissa = mantissa, step % mantissa if step else 0
    return step, digits


@kernel
def fold_levels(levels, start, count, finding):
    """Prices and sizes of levels [start, start + count) into the grids of `finding`."""
    price_step, price_digits = finding["price_step"], finding["price_digits"]
    size_step, size_digits = finding["size_step"], finding["size_digits"]
    for i in range(start, start + count):
        level = levels[i]
        price_step, price_digits = fold(price_step, price_digits, level["price"], level["price_digits"])
        size_step, size_digits = fold(size_step, size_digits, level["size"], level["size_digits"])
    finding["price_step"] = price_step
    finding["price_digits"] = price_digits
    finding["size_step"] = size_step
    finding["size_digits"] = size_digits


@kernel
def fold_times(message, highest_ns, finding):
    """Lags of one message; `highest_ns` is the latest local time so far."""
    kind = message["kind"]
    venue_us = message["venue_us"]
    if kind == SNAPSHOT and venue_us < 0:
        venue_us = finding["depth_us"]
    if venue_us < 0:
        return
    lag = message["local_ns"] - venue_us * 1000
    if kind in (DEPTH, RESET):
        finding["depth_lag"] = min(finding["depth_lag"], lag)
        finding["depth_us"] = max(finding["depth_us"], venue_us)
    elif kind in (TRADE, OFF_BOOK):
        finding["trade_lag"] = min(finding["trade_lag"], lag)
    elif kind == AGG_TRADE:
        finding["agg_lag"] = min(finding["agg_lag"], lag)
    finding["max_lag"] = max(finding["max_lag"], highest_ns - venue_us * 1000)


@kernel
def survey(messages, count, levels, findings, highest_ns):
    """Fold `count` messages; symbol i goes to findings[i + 1].  Returns the latest local time so far."""
    for i in range(count):
        message = messages[i]
        finding = findings[message["symbol"] + 1]
        kind = message["kind"]
        highest_ns = max(highest_ns, message["local_ns"])
        if finding["messages"] == 0:
            finding["first_ns"] = message["local_ns"]
        finding["messages"] += 1
        if kind in (OTHER, LOST):
            continue
        if kind == DEPTH:
            finding["depth"] += 1
        elif kind == TRADE:
            finding["trades"] += 1
        elif kind == AGG_TRADE:
            finding["agg_trades"] += 1
        elif kind in (SNAPSHOT, RESET):
            finding["snapshots"] += 1
        if kind not in (MARK, FUND, OFF_BOOK):
            fold_levels(levels, message["bid_start"], message["bids"], finding)
            fold_levels(levels, message["ask_start"], message["asks"], finding)
        if kind != TICKER or message["venue_us"] >= 0:
            fold_times(message, highest_ns, finding)
    return highest_ns
