"""The engine's entry kernels, compiled for the types with which machine code calls them."""

from __future__ import annotations

from functools import cache

from numba.core import types

from replay.kernel import native
from replay.kernel.advance import advance
from replay.kernel.local_view import local_depth, local_mark_ticks, local_money
from replay.kernel.native import ARENA_TYPE, address_of
from replay.kernel.requests import cancel, cancel_all, modify, record_value, set_timer, submit

_I, _F, _A = types.int64, types.float64, types.Array(types.int64, 1, "C")

_SERVICES = {
    native.AT_ADVANCE: (advance, _I, ()),
    native.AT_SUBMIT: (submit, _I, (_I,) * 13),
    native.AT_CANCEL: (cancel, _I, (_I, _I)),
    native.AT_CANCEL_ALL: (cancel_all, _I, (_I, _I)),
    native.AT_MODIFY: (modify, _I, (_I,) * 5),
    native.AT_SET_TIMER: (set_timer, _I, (_I,) * 4),
    native.AT_MONEY: (local_money, _F, (_I, _I)),
    native.AT_MARK: (local_mark_ticks, _F, (_I,)),
    native.AT_DEPTH: (local_depth, _I, (_I, _I, _A, _A)),
    native.AT_RECORD: (record_value, _I, (_I, _I, _F)),
}


@cache
def addresses() -> dict[int, int]:
    """Address of each service by its word of the handle."""
    return {
        word: address_of(kernel, result(ARENA_TYPE, *arguments))
        for word, (kernel, result, arguments) in _SERVICES.items()
    }
