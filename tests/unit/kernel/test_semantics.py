"""Numbers in handlers: every function gives Python's bits and Python's errors, or is refused."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from replay.kernel.jit import jit_is_on

if not jit_is_on():
    pytest.skip("compares Python with machine code (NUMBA_DISABLE_JIT)", allow_module_level=True)

import numba

from replay.kernel.semantics import HandlerCompiler, as_python

SEED = 5
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 1e300, -1e300, 1e-300, 1e17, math.nan, math.inf, -math.inf]


def floats() -> list[float]:
    """Edges, and random numbers around 0 and around 1."""
    source = random.Random(SEED)
    print("seed", SEED)
    return EDGES + [source.uniform(-30, 30) for _ in range(3_000)] + [source.uniform(-1, 1) for _ in range(500)]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """As a method of a strategy is compiled."""
    options = {"error_model": "python", "boundscheck": True, "pipeline_class": HandlerCompiler}
    return numba.njit(**options)(as_python(function))  # type: ignore[no-any-return]


def outcome(function: Callable[..., Any], *arguments: float) -> Any:
    """Bits of the answer, or the kind of error."""
    try:
        answer = function(*arguments)
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        return type(error)
    if isinstance(answer, float):
        return "nan" if math.isnan(answer) else struct.pack("<d", answer)
    return answer


def powers(x: float) -> float:
    y = x
    y **= 3
    return x**2 + x**-1 * y + pow(x, 4)


def whole_powers(n: int) -> int:
    return n**3 + 2**n


def constant_base(x: float) -> float:
    return 2.0**x


def math_pow(x: float) -> float:
    return math.pow(x, 2) + math.pow(2, x)


def whole(x: float) -> int:
    return math.floor(x) + 2 * math.ceil(x) + 3 * math.trunc(x) + 5 * int(x) + 7 * round(x)


FUNCTIONS = [getattr(math, name) for name in (
    "sqrt", "log", "log2", "log10", "log1p", "exp", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin",
    "acos", "atan", "acosh", "asinh", "atanh",
)]  # fmt: skip


@pytest.mark.parametrize("function", [powers, constant_base, math_pow])
def test_powers(function: Callable[[float], float]) -> None:
    fast = compiled(function)
    for x in floats():
        assert outcome(fast, x) == outcome(function, x), x


def test_powers_of_whole_numbers() -> None:
    fast = compiled(whole_powers)
    for n in range(60):
        assert fast(n) == whole_powers(n)
    with pytest.raises(ValueError, match=r"float\(x\)"):
        fast(-1)


def test_functions_of_math() -> None:
    for name in [function.__name__ for function in FUNCTIONS]:
        space: dict[str, Any] = {"math": math}
        exec(f"def one(x):\n    return math.{name}(x)", space)
        fast = compiled(space["one"])
        for x in floats():
            assert outcome(fast, x) == outcome(space["one"], x), (name, x)


def test_whole_numbers_of_floats() -> None:
    fast = compiled(whole)
    for x in floats():
        expected = OverflowError if 2**63 <= abs(x) < math.inf else outcome(whole, x)
        assert outcome(fast, x) == expected, x
