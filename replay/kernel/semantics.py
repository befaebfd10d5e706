"""Numbers in compiled handlers as Python has them.

Numba differs from Python in three things that a strategy would meet without noticing: `x ** 2` becomes x * x (another
last digit in one case of 1200), functions of `math` return NaN or inf where Python raises, and `int`, `round`, `floor`
of NaN is -2**63.  So handlers are compiled with names of their own in the place of those (`as_python`) and with a pass
that turns `**` into a call of `power`.  What cannot be made equal is refused here or by `replay.kernel.build`.

Every function takes what its namesake takes, raises what it raises, and returns the same bits; whole numbers have
64 bits.
"""

from __future__ import annotations

import builtins
import math
import operator
from types import FunctionType, ModuleType

import llvmlite.binding
from numba.core import ir, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.ir_utils import build_definitions
from numba.core.untyped_passes import IRProcessing
from numba.extending import overload

from replay.kernel.jit import kernel
from replay.kernel.native import refusal

_DOMAIN = ("sqrt", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "acosh", "atanh")
_RANGE = ("exp", "expm1", "sinh", "cosh")
"""Functions whose infinite answer to a finite number is an OverflowError; of the others, a ValueError."""

_OWN_FORMULA = {
    "hypot": "math.sqrt(x * x + y * y)",
    "gamma": "on_start, which is Python",
    "lgamma": "on_start, which is Python",
}
"""Functions that CPython computes by itself, and what to use instead."""

llvmlite.binding.add_symbol("replay_pow", llvmlite.binding.address_of_symbol("pow"))
_pow = types.ExternalFunction("replay_pow", types.float64(types.float64, types.float64))
"""pow of the C library, as Python calls it, by a name that LLVM does not know: it would simplify pow(x, 2)."""


def _with_errors(name):
    function, overflows = getattr(math, name), name in _RANGE

    @kernel(entry=False)
    def checked(x):
        answer = function(x)
        if math.isnan(answer) and not math.isnan(x):
            raise ValueError("math domain error")
        if math.isinf(answer) and not math.isinf(x):
            if overflows:
                raise OverflowError("math range error")
            raise ValueError("math domain error")
        return answer

    return checked


def _whole(name, function):
    """`function`, which makes whole numbers, with an error for what has none."""

    def plain(x):
        return function(x)

    @overload(plain)
    def typed(x):
        if not isinstance(x, types.Float):
            return (lambda x: int(x)) if isinstance(x, (types.Integer, types.Boolean)) else None

        def checked(x):
            if math.isnan(x):
                raise ValueError("cannot convert float NaN to integer")
            if not abs(x) < 9223372036854775808.0:
                raise OverflowError("a whole number of compiled code has 64 bits")
            return int(function(x))

        return checked

    plain.__name__ = name
    return plain


def _round(x, ndigits=None):
    """`round`."""


@overload(_round)
def _round_typed(x, ndigits=None):
    if not isinstance(ndigits, (types.Omitted, types.NoneType)) and ndigits is not None:
        raise refusal("round to decimals ends in other digits than Python's; write round(x * 100) / 100")
    whole = _whole("round", builtins.round)
    return lambda x, ndigits=None: whole(x)


def power(x, y):
    """`x ** y`."""


@overload(power)
def _power_typed(x, y):
    numbers = (types.Integer, types.Float, types.Boolean)
    if not isinstance(x, numbers) or not isinstance(y, numbers):
        raise refusal("** of arrays ends in other digits than NumPy's; multiply, or use a loop")
    if isinstance(x, types.Float) or isinstance(y, types.Float):
        return lambda x, y: _float_power(float(x), float(y))
    return lambda x, y: _int_power(int(x), int(y))


@kernel(entry=False)
def _float_power(x, y):
    if x == 0.0 and y < 0.0:
        raise ZeroDivisionError("0.0 cannot be raised to a negative power")
    answer = _pow(x, y)
    if math.isfinite(x) and math.isfinite(y):
        if math.isnan(answer):
            raise ValueError("a negative number raised to a fraction is complex")
        if math.isinf(answer):
            raise OverflowError("the power is too large")
    return answer


@kernel(entry=False)
def _int_power(x, y):
    if y < 0:
        raise ValueError("a whole number raised to a negative one is a float; write float(x) ** y")
    answer = 1
    while y > 0:
        if y & 1:
            answer *= x
        x *= x
        y >>= 1
    return answer


def _math_pow(x, y):
    """`math.pow`."""


@overload(_math_pow)
def _math_pow_typed(x, y):
    return lambda x, y: _float_power(float(x), float(y))


def _refused(name, remedy):
    def plain(*arguments):
        """Stands in compiled handlers alone, which are refused when they call it."""

    @overload(plain)
    def typed(*arguments):
        raise refusal(f"{name} ends in other digits than Python's; use {remedy}")

    return plain


_MATH = {name: _with_errors(name) for name in (*_DOMAIN, *_RANGE)}
_MATH |= {name: _whole(name, getattr(math, name)) for name in ("floor", "ceil", "trunc")}
_MATH |= {name: _refused(f"math.{name}", remedy) for name, remedy in _OWN_FORMULA.items()}
_MATH["pow"] = _math_pow
_BUILTINS = {"int": _whole("int", int), "round": _round, "pow": power}

_module = ModuleType("math")
_module.__dict__.update({**vars(math), **_MATH})
_BY_ID = {id(math): _module, **{id(getattr(math, name)): value for name, value in _MATH.items()}}


def as_python(function):
    """The same function, with `math`, `int`, `round` and `pow` that do in machine code what they do in Python.

    It says that it comes from this module: Numba imports the module of a function that it loads from its cache, and
    the user's may be a notebook or a file read by path.
    """
    names = {name: _BY_ID.get(id(value), value) for name, value in function.__globals__.items()}
    made = FunctionType(
        function.__code__, _BUILTINS | names, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__, made.__qualname__, made.__module__ = function.__kwdefaults__, function.__qualname__, __name__
    return made


@register_pass(mutates_CFG=False, analysis_only=False)
class _PowerPass(FunctionPass):
    """Turns `x ** y` into `power(x, y)`."""

    _name = "replay_power"

    def __init__(self):
        super().__init__()

    def run_pass(self, state):
        changed = False
        for block in state.func_ir.blocks.values():
            body = []
            for statement in block.body:
                value = getattr(statement, "value", None)
                if isinstance(value, ir.Expr) and _is_power(value):
                    target = ir.Var(block.scope, f"{statement.target.name}_power", statement.loc)
                    body.append(ir.Assign(ir.Global("power", power, statement.loc), target, statement.loc))
                    statement.value = ir.Expr.call(target, (value.lhs, value.rhs), (), statement.loc)
                    changed = True
                body.append(statement)
            block.body = body
        if changed:
            state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        return changed


def _is_power(value):
    if value.op == "binop":
        return value.fn is operator.pow
    return value.op == "inplace_binop" and value.immutable_fn is operator.pow


class HandlerCompiler(CompilerBase):
    """Numba's compiler with that pass."""

    def define_pipelines(self):
        """The usual stages, and ours once the source is understood."""
        stages = DefaultPassBuilder.define_nopython_pipeline(self.state)
        stages.add_pass_after(_PowerPass, IRProcessing)
        stages.finalize()
        return [stages]
