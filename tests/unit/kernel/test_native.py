"""The handle, memory behind addresses, and calls by address."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from numba.core import types

from replay.kernel import codes, native
from replay.kernel.jit import jit_is_on, kernel
from replay.kernel.native import address_of, arena_of, call_at, peek, poke

compiled = pytest.mark.skipif(not jit_is_on(), reason="addresses are for machine code (NUMBA_DISABLE_JIT)")

WORDS = {name: value for name, value in vars(native).items() if name.isupper() and isinstance(value, int)}


def test_the_words_of_a_handle_do_not_overlap() -> None:
    single = {name: word for name, word in WORDS.items() if name not in ("STRATEGY0", "STRATEGY_WORDS", "STATE_WORD")}
    assert len(set(single.values())) == len(single) and max(single.values()) < native.STRATEGY0
    assert len(native.HANDLER_WORDS) <= native.STATE_WORD < native.STRATEGY_WORDS


def test_handlers_stand_in_the_order_of_their_bits() -> None:
    for word, handler in enumerate(native.HANDLER_WORDS):
        assert getattr(codes, handler.upper()) == 1 << word


@kernel
def first_byte(handle: int) -> int:
    return arena_of(handle)[0]  # type: ignore[no-any-return]


@kernel
def swap(address: int, a: int, b: int) -> int:
    old = peek(address, a)
    poke(address, a, peek(address, b))
    poke(address, b, old)
    return old  # type: ignore[no-any-return]


@numba.njit(error_model="python")
def quotient(a: int, b: int) -> int:
    return a // b


@numba.njit
def through(address: int, a: int, b: int) -> int:
    return call_at(address, (a, b)) + 1  # type: ignore[no-any-return]


@compiled
def test_words_are_read_and_written() -> None:
    words = np.arange(5)
    assert swap(words.ctypes.data, 1, 3) == 1
    assert words.tolist() == [0, 3, 2, 1, 4]


@compiled
def test_the_arena_is_found_where_it_is_now() -> None:
    handle = np.zeros(native.STRATEGY0, np.int64)
    for value in (7, 9):
        arena = np.full(64, value, np.uint8)
        handle[native.ARENA], handle[native.ARENA_BYTES] = arena.ctypes.data, len(arena)
        assert first_byte(handle.ctypes.data) == value


@compiled
def test_a_call_by_address_brings_back_the_answer_or_the_exception() -> None:
    address = address_of(quotient, types.int64(types.int64, types.int64))
    assert through(address, 17, 5) == 4
    with pytest.raises(ZeroDivisionError):
        through(address, 17, 0)
    assert through(address, -17, 5) == -3, "and works again"


@compiled
def test_a_wrong_signature_is_noticed() -> None:
    with pytest.raises(TypeError, match="returns int64, not float64"):
        address_of(quotient, types.float64(types.int64, types.int64))
