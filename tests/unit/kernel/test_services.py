"""The engine's entry kernels by address."""

from __future__ import annotations

import pytest

from replay.kernel.jit import jit_is_on

if not jit_is_on():
    pytest.skip("services are addresses of machine code (NUMBA_DISABLE_JIT)", allow_module_level=True)

from replay.kernel import native
from replay.kernel.services import _SERVICES, addresses


def test_every_service_word_of_the_handle_has_an_address() -> None:
    words = {value for name, value in vars(native).items() if name.startswith("AT_")}
    words -= {native.AT_STRATEGY, native.AT_HANDLER}
    found = addresses()
    assert set(found) == words == set(_SERVICES)
    assert len(set(found.values())) == len(found) and all(found.values())
