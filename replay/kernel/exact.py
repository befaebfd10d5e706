"""Exact sums of products that do not fit 64 bits: fees and funding to the last digit.

An amount is the integer `hi · 10^16 + lo` with `0 <= lo < 10^16`, kept in two int64.  A fee is the product
`(ticks · lots) · rate`, a funding payment `(lots · rate) · mark`, with rate and mark in units of 10^-8; both are added
limb by limb in base 10^8, so nothing is rounded before a person reads it.
"""

from __future__ import annotations

from replay.kernel.jit import kernel

LIMB = 10**8
BASE = 10**16


@kernel
def product(a, b):
    """`a · b` as (hi, lo).  |a|, |b| < 2^62 with |a / 10^8| · |b / 10^8| < 2^62."""
    negative = (a < 0) != (b < 0)
    a = abs(a)
    b = abs(b)
    a1, a0 = a // LIMB, a % LIMB
    b1, b0 = b // LIMB, b % LIMB
    low = a0 * b0
    middle = a1 * b0
    other = a0 * b1
    hi = a1 * b1 + middle // LIMB + other // LIMB
    lo = low + (middle % LIMB) * LIMB + (other % LIMB) * LIMB
    hi += lo // BASE
    lo = lo % BASE
    if negative:
        hi = -hi
        if lo > 0:
            lo = BASE - lo
            hi -= 1
    return hi, lo


@kernel
def carried(hi, lo):
    """The same amount with `0 <= lo < 10^16`."""
    return hi + lo // BASE, lo % BASE


def whole(hi: int, lo: int) -> int:
    """The amount as one Python integer."""
    return int(hi) * BASE + int(lo)
