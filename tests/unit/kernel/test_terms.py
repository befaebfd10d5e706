"""What the words of an order mean together."""

from __future__ import annotations

import itertools

from replay.kernel import codes
from replay.kernel.jit import kernel
from replay.kernel.terms import (
    CONTRADICTIONS,
    TIF_CODES,
    TIF_NAMES,
    TRIGGER_CODES,
    TRIGGER_NAMES,
    order_kind,
    order_kind_jitted,
)


@kernel
def jitted(has_ticks, has_stop, has_trail, trail_ticks, tif, post_only, expire_us):
    """The compiled form."""
    return order_kind_jitted(has_ticks, has_stop, has_trail, trail_ticks, tif, post_only, expire_us)


def test_both_forms_agree_on_all_combinations() -> None:
    seen = set()
    for terms in itertools.product(
        (False, True), (False, True), (False, True), (-1, 0, 3), TIF_CODES.values(), (False, True), (0, 9)
    ):
        kind = order_kind(*terms)
        assert jitted(*terms) == kind, terms
        seen.add(kind)
    kinds = {codes.LIMIT, codes.MARKET, codes.STOP_MARKET, codes.STOP_LIMIT, codes.TRAILING_STOP}
    assert seen == kinds | {-k for k in range(1, len(CONTRADICTIONS))}, "a kind or a contradiction is never the answer"


def test_what_is_asked_for_is_what_comes_out() -> None:
    gtc, ioc, gtd = TIF_CODES["GTC"], TIF_CODES["IOC"], TIF_CODES["GTD"]
    assert order_kind(True, False, False, 0, gtc, True, 0) == codes.LIMIT
    assert order_kind(False, False, False, 0, ioc, False, 0) == codes.MARKET
    assert order_kind(False, True, False, 0, gtc, False, 0) == codes.STOP_MARKET
    assert order_kind(True, True, False, 0, gtd, False, 5) == codes.STOP_LIMIT
    assert order_kind(False, False, True, 3, gtc, False, 0) == codes.TRAILING_STOP
    assert CONTRADICTIONS[-order_kind(True, False, False, 0, ioc, True, 0)][0] == "post_only"
    assert CONTRADICTIONS[-order_kind(False, True, True, 3, gtc, False, 0)][0] == "trail_ticks"
    assert CONTRADICTIONS[-order_kind(True, False, False, 0, gtd, False, 0)][0] == "expire_us"


def test_names_stand_in_the_order_of_their_codes() -> None:
    for names, numbers in ((TIF_NAMES, TIF_CODES), (TRIGGER_NAMES, TRIGGER_CODES)):
        assert [numbers[name] for name in names] == list(range(len(names)))
