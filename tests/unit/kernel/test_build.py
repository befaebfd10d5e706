"""What is compiled and then refused because it would not do what Python does, and what is let through."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay.kernel.jit import jit_is_on

if not jit_is_on():
    pytest.skip("strategies are built by the compiler (NUMBA_DISABLE_JIT)", allow_module_level=True)

import numba

from replay.kernel.build import OTHERWISE, REORDERED, UFUNCS, BuildError, _refuse_what_would_differ, build
from replay.kernel.semantics import HandlerCompiler, as_python

ARGUMENTS = (0.5, 3, np.linspace(0.1, 0.9, 9), np.arange(9))

REFUSED = {
    "np.exp(x)": "math.exp",
    "np.log10(a)": r"math\.log10",
    "np.tanh(a)": r"math\.tanh",
    "np.arctan2(a, a)": r"math\.atan2",
    "np.power(x, 2.0)": r"\*\*",
    "np.mod(a, 0.3)": "use %",
    "np.exp(a * 2 + 1) - 3": r"math\.exp",
    "np.histogram(a, 5)": "loop",
    "b.std()": "Window or a loop",
    "np.var(a)": "Window or a loop",
    "a.mean()": "order of its own",
    "a.sum()": "order of its own",
    "np.sum(a)": "order of its own",
    "sum([x, 0.1])": "use a loop",
    "sum((x, 0.1))": "use a loop",
    "np.random.random()": "random numbers",
    "np.random.normal(0.0, 1.0)": "random numbers",
    "random.random()": "random numbers",
    "np.zeros(3, np.int32)[0] + 1": "int32",
    "a.astype(np.float32)": "float32",
    "np.uint64(n)": "uint64",
    "~(x > 0)": "write not",
    "[k for k in {n, 3, 1}]": "order of a set",
    "{n, 3, 1}.pop()": "order of a set",
}
COMPILE_REFUSES = {
    "round(x, 2)": "round to decimals",
    "math.hypot(x, x)": r"math\.sqrt",
    "math.gamma(x)": "on_start",
    "a ** 2": r"\*\* of arrays",
}
ALLOWED = (
    "x ** 2 + n ** 3", "math.exp(x) + math.floor(x) + round(x) + int(x)", "b.sum() + b.mean() + np.sum(b)",
    "np.sort(a)[3] + np.median(a) + a.max() + a.argmin()", "np.cumsum(a)", "np.abs(a) * 2 - np.sqrt(a) / 3",
    "sum([n, 2, 3])", "sum(a)", "3 in {n, 2}", "np.where(a > x, 1.0, 0.0)", "n // 3 + n % 4 - (n << 2)", "np.floor(a)",
    "(a > 0.5) & ~(a > 0.7)", "[k for k in range(n)]", "f'{n}'", "np.sum(a > 0.5)", "min(x, n) + max(x, 1.0, 2.0)",
)  # fmt: skip


def compiled(expression: str) -> Any:
    """A function of (x: float, n: int, a: array of float, b: array of int), compiled as a method is."""
    space: dict[str, Any] = {"np": np, "math": math, "random": random}
    exec(compile(f"def method(x, n, a, b):\n    y = {expression}\n    return y", "<made>", "exec"), space)
    options = {"error_model": "python", "boundscheck": True, "pipeline_class": HandlerCompiler}
    function = numba.njit(**options)(as_python(space["method"]))
    function.compile(tuple(numba.typeof(argument) for argument in ARGUMENTS))
    return function, space["method"]


@pytest.mark.parametrize("expression", REFUSED)
def test_what_would_differ_is_refused_with_a_remedy(expression: str) -> None:
    function, _ = compiled(expression)
    with pytest.raises(BuildError, match=REFUSED[expression]) as caught:
        _refuse_what_would_differ(function, None)
    assert (caught.value.method, caught.value.line) == ("method", 2)


@pytest.mark.parametrize("expression", COMPILE_REFUSES)
def test_what_has_no_equal_does_not_compile(expression: str) -> None:
    with pytest.raises(numba.core.errors.TypingError, match=COMPILE_REFUSES[expression]):
        compiled(expression)


@pytest.mark.parametrize("expression", ALLOWED)
def test_what_is_let_through_is_the_same(expression: str) -> None:
    function, python = compiled(expression)
    _refuse_what_would_differ(function, None)
    np.testing.assert_array_equal(function(*ARGUMENTS), python(*ARGUMENTS))


def test_every_name_in_the_tables_is_numpys() -> None:
    """A misspelt name would refuse nothing."""
    aliases = {"trapz", "trapezoid"}  # one of them, by version
    for name in {*REORDERED, *OTHERWISE} - aliases:
        assert callable(getattr(np, name)), name
    for name in UFUNCS:
        assert isinstance(getattr(np, name), np.ufunc), name


def test_what_was_built_is_loaded_and_what_was_refused_is_not_kept(tmp_path: Path) -> None:
    layout = np.dtype([("total", "<f8"), ("count", "<i8")], align=True)

    def on_timer(self: Any, ctx: Any, timer: Any) -> None:
        self.total += timer.tag

    def on_gap(self: Any, ctx: Any, gap: Any) -> None:
        self.count = gap.next_id / 2

    folder = tmp_path / "kept"
    built = build("Made 1", layout, {"on_timer": on_timer}, {}, ("on_timer",), folder)
    assert set(built.addresses) == {"on_timer"} and built.addresses["on_timer"] > 0
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}
    assert len(files) == 2
    again = build("Made 1", layout, {"on_timer": on_timer}, {}, ("on_timer",), folder)
    assert again.entries[0].stats.cache_hits and not again.entries[0].stats.cache_misses
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")} == files
    with pytest.raises(BuildError, match=r"self\.count is declared int but gets float"):
        build("Made 2", layout, {"on_gap": on_gap}, {}, ("on_gap",), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
