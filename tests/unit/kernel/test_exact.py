"""Exact products at the edges of their range."""

from __future__ import annotations

import pytest

from replay.kernel.exact import BASE, LIMB, carried, product, whole


@pytest.mark.parametrize(
    ("a", "b"),
    [(0, 0), (0, -5), (-5, 0), (1, -1), (LIMB, LIMB), (LIMB - 1, LIMB + 1), (-LIMB, LIMB), (2**62 - 1, 1),
     (2**62 - 1, LIMB - 1), (1 - 2**62, 1 - LIMB), (2**47, -(2**47)), (10**16, 10**16 - 1)],
)  # fmt: skip
def test_products(a: int, b: int) -> None:
    hi, lo = product(a, b)
    assert 0 <= lo < BASE
    assert whole(hi, lo) == a * b


@pytest.mark.parametrize(("hi", "lo"), [(0, 0), (0, BASE), (0, -1), (3, 2 * BASE - 1), (-1, -BASE), (5, -BASE - 1)])
def test_carrying_keeps_the_amount(hi: int, lo: int) -> None:
    carried_hi, carried_lo = carried(hi, lo)
    assert 0 <= carried_lo < BASE
    assert whole(carried_hi, carried_lo) == whole(hi, lo)
