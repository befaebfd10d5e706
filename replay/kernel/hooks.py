"""Hooks: a user's own model, called from inside the engine.

The engine is one compiled function with one signature; a user's function must not change that, or every strategy would
wait a minute for its own engine.  So a hook is compiled by itself as a C function of six float64 that returns float64,
its address is stored in the slot in the place of the model's code, and the kernels call that address.  With
NUMBA_DISABLE_JIT=1 the "address" is a key of a table of plain functions.

A hook must be a plain function of numbers that Numba can compile: no objects, no exceptions, no state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.core.errors import NumbaError
from numba.extending import intrinsic, overload

ARGUMENTS = 6

LAST_CODE = 1 << 12
"""Model codes are smaller; what is larger is the address of a hook."""

_compiled: dict[Callable[..., float], Any] = {}
_plain: dict[int, Callable[..., float]] = {}


def hook_address(function: Callable[..., float]) -> int:
    """Compile `function` (six floats to a float) and return what `call_hook` needs to call it.

    The machine code lives as long as the process.  Raises ValueError, with Numba's words, when the function cannot be
    compiled.
    """
    plain = getattr(function, "py_func", function)
    if numba.config.DISABLE_JIT:
        _plain[id(plain)] = plain  # which also keeps it alive, so that its id stays its own
        return id(plain)
    if plain not in _compiled:
        signature = types.float64(*[types.float64] * ARGUMENTS)
        try:
            _compiled[plain] = numba.cfunc(signature, error_model="numpy")(plain)
        except NumbaError as error:
            raise ValueError(str(error)) from error
    return int(_compiled[plain].address)


@intrinsic
def _call(typingctx, address, a, b, c, d, e, f):
    """Indirect call of the C function at `address`."""

    def codegen(context, builder, signature, args):
        double = ir.DoubleType()
        function = ir.FunctionType(double, [double] * ARGUMENTS)
        return builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])

    return types.float64(types.int64, *[types.float64] * ARGUMENTS), codegen


def call_hook(address, a, b, c, d, e, f):
    """The hook's answer."""
    return float(_plain[address](a, b, c, d, e, f))


@overload(call_hook)
def _call_jitted(address, a, b, c, d, e, f):
    return lambda address, a, b, c, d, e, f: _call(address, a, b, c, d, e, f)
