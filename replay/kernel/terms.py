"""What the words of an order mean together: one function for both modes of a strategy.

`order_kind` is plain Python, as the interpreted context calls it for each order and a call into machine code would
cost more than it saves; `order_kind_jitted` is the same function for compiled strategies.
"""

from __future__ import annotations

from replay.kernel.codes import (
    FOK,
    GTC,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    STOP_LIMIT,
    STOP_MARKET,
    TRAILING_STOP,
    TRIGGER_LAST,
    TRIGGER_MARK,
    TRIGGER_TOUCH,
)
from replay.kernel.jit import kernel

TIF_CODES = {"GTC": GTC, "IOC": IOC, "FOK": FOK, "GTD": GTD}
TRIGGER_CODES = {"last": TRIGGER_LAST, "mark": TRIGGER_MARK, "touch": TRIGGER_TOUCH}
TIF_NAMES, TRIGGER_NAMES = tuple(TIF_CODES), tuple(TRIGGER_CODES)
"""In the order of their codes."""

CONTRADICTIONS = (
    ("", ""),
    ("post_only", "needs a limit price and GTC or GTD"),
    ("trail_ticks", "must be positive and stand without ticks and stop_ticks"),
    ("expire_us", "goes with tif='GTD', and GTD needs it"),
)
"""Setting and problem behind each negative answer of `order_kind`."""


def order_kind(has_ticks, has_stop, has_trail, trail_ticks, tif, post_only, expire_us):
    """Kind of the order (LIMIT …), or minus the index of a contradiction."""
    if post_only and (not has_ticks or tif == IOC or tif == FOK):
        return -1
    if has_trail and (trail_ticks <= 0 or has_ticks or has_stop):
        return -2
    if (tif == GTD) != (expire_us > 0):
        return -3
    if has_trail:
        return TRAILING_STOP
    if has_stop:
        return STOP_LIMIT if has_ticks else STOP_MARKET
    return LIMIT if has_ticks else MARKET


order_kind_jitted = kernel(entry=False)(order_kind)
