"""From the methods of a strategy to addresses of machine code.

Each handler gets an entry, a function of three numbers (handle, address of the state, number of the strategy) that
makes `self`, `ctx` and the event and calls the user's method.  The entry is what Numba caches, in a folder of the
strategy's own, with everything that it calls inside it; so a strategy that was compiled once only has to be loaded.

User code keeps the meaning that it has in Python: indices are checked, a division by zero raises, exceptions travel,
numbers are as in `semantics`.  What Numba would quietly do otherwise is refused (`_refuse_what_would_differ`): storing
a float in an `int` variable, NumPy functions with other last digits, small integers, the order of sets, random numbers.
"""

from __future__ import annotations

import operator
import random
import re
import shutil
import tempfile
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import ir, types
from numba.core.errors import NumbaError

from replay.kernel.jit import _widen_calls
from replay.kernel.native import MARK, address_of
from replay.kernel.seen import EVENTS, ContextType, context_of
from replay.kernel.semantics import HandlerCompiler, as_python
from replay.kernel.strategy_type import StrategyType, field_of, self_reader

ENTRY = types.int64(types.int64, types.int64, types.int64)
REORDERED = {
    "sum", "mean", "dot", "vdot", "inner", "matmul", "average", "nansum", "nanmean", "convolve", "correlate", "cov",
    "corrcoef", "trapz", "trapezoid",
}  # fmt: skip
"""NumPy functions of floats whose last digits depend on the order of additions."""

OTHERWISE = {
    **dict.fromkeys(("std", "var", "nanstd", "nanvar"), "a Window or a loop"),
    **dict.fromkeys(("percentile", "quantile", "nanpercentile", "nanquantile"), "np.sort and an index"),
    **dict.fromkeys(("histogram", "logspace"), "a loop"),
}
"""NumPy functions that Numba computes by another formula, for any numbers, and what to use instead."""

UFUNCS = {
    **{name: f"math.{name}" for name in (
        "exp", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh",
    )},
    **{f"arc{name}": f"math.a{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")},
    **dict.fromkeys(("power", "float_power"), "**"), "exp2": "2.0 ** x", "hypot": "math.sqrt(x * x + y * y)",
    **dict.fromkeys(("mod", "remainder"), "%"), "floor_divide": "//",
    **dict.fromkeys(("logaddexp", "logaddexp2"), "math.log"),
}  # fmt: skip
"""NumPy's own versions of functions, with other last digits than the C library's, and what to use for each number."""


class BuildError(Exception):
    """`problem`, in `method` (qualified name, "" unknown), at `line` of its file (0 unknown)."""

    def __init__(self, problem: str, method: str = "", line: int = 0) -> None:
        super().__init__(problem)
        self.problem, self.method, self.line = problem, method, line


class Built(NamedTuple):
    """Machine code of one class with one layout: handler name to address; the entries, which keep it alive."""

    addresses: dict[str, int]
    entries: tuple[Any, ...]


def entry(handle, address, strategy):
    """What the driver calls; the names are filled in for each handler."""
    method(self_at(address), context_of(handle, strategy), event(handle))  # noqa: F821
    return 0


def build(name, layout, methods, constants, handlers, folder: Path) -> Built:
    """Compile the `handlers` of a strategy, or load them from `folder`.

    `name` names class and version, `layout` is the NumPy type of its state, `methods` name to function, `constants`
    name to value.  The folder appears when all is compiled and nothing is refused; a process that is killed leaves one
    with a longer name behind, which nobody reads.  Raises BuildError.
    """
    parts = name, layout, methods, constants, handlers
    if folder.is_dir():
        return _built(*parts, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    aside.chmod(0o755)
    try:
        built = _built(*parts, aside)
        if not folder.is_dir():
            aside.rename(folder)
    except OSError:
        if not folder.is_dir():  # unless another process was first
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return built


def _built(name, layout, methods, constants, handlers, folder: Path) -> Built:
    jitted = {}
    for method, function in methods.items():
        options = {"nogil": True, "error_model": "python", "boundscheck": True, "pipeline_class": HandlerCompiler}
        jitted[method] = numba.njit(**options)(as_python(function))
        _widen_calls(jitted[method])
    fields = {field: field_of(*layout.fields[field][:2]) for field in layout.names or ()}
    kind = StrategyType(name, fields, jitted, constants)
    self_at = self_reader(kind)
    addresses, entries = {}, []
    for handler in handlers:
        names = {"method": jitted[handler], "self_at": self_at, "context_of": context_of, "event": EVENTS[handler]}
        function = FunctionType(entry.__code__, names | {"__name__": __name__}, handler)
        function.__qualname__ = f"{name.partition(' ')[0]}.{handler}"
        made = _cached(function, folder)
        try:
            addresses[handler] = address_of(made, ENTRY)
            for method in jitted.values():
                _refuse_what_would_differ(method, kind)
        except BuildError:
            shutil.rmtree(folder, ignore_errors=True)  # the entry is there already, and the next run would load it
            raise
        except NumbaError as error:
            raise _explained(error, methods) from error
        entries.append(made)
    return Built(addresses, tuple(entries))


def _cached(function, folder):
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        return numba.njit(cache=True, nogil=True, error_model="python")(function)
    finally:
        numba.config.CACHE_DIR = before


def _refuse_what_would_differ(method, kind) -> None:
    """BuildError for code that compiles but would not do what Python does."""
    for compiled in method.overloads.values():
        notes = compiled.type_annotation
        for block in notes.blocks.values():
            for statement in block.body:
                if isinstance(statement, ir.SetAttr) and notes.typemap[statement.target.name] == kind:
                    _check_store(statement, notes, kind, method)
                elif isinstance(statement, ir.Assign):
                    problem = _narrow(notes.typemap[statement.target.name])
                    if isinstance(statement.value, ir.Expr):
                        check = _CHECKS.get(statement.value.op)
                        problem = problem or (check(statement.value, notes) if check else "")
                    if problem:
                        raise BuildError(problem, method.py_func.__qualname__, statement.loc.line)


def _check_store(statement, notes, kind, method) -> None:
    where = method.py_func.__qualname__, statement.loc.line
    field = kind.fields[statement.attr]
    value = types.unliteral(notes.typemap[statement.value.name])
    whole = isinstance(value, types.Integer)
    fits = value == field.kind or (whole and not isinstance(field.kind, types.Boolean))
    fits = fits or (isinstance(value, types.Boolean) and isinstance(field.kind, types.Integer))
    if not fits:
        raise BuildError(f"self.{statement.attr} is declared {_plain(field.kind)} but gets {_plain(value)}", *where)


def _plain(kind) -> str:
    if isinstance(kind, types.Integer):
        return "int"
    return {types.Float: "float", types.Boolean: "bool"}.get(type(kind), str(kind))


def _narrow(kind) -> str:
    """What is wrong with values of that type."""
    element = kind.dtype if isinstance(kind, types.Array) else kind
    if isinstance(element, (types.Integer, types.Float)) and types.unliteral(element) not in (
        types.int64, types.float64,
    ):  # fmt: skip
        return f"Python and compiled code calculate differently with {element}; use np.int64 or np.float64"
    return ""


def _check_call(call, notes) -> str:
    """What is wrong with calling that function."""
    function = notes.typemap[call.func.name]
    key = getattr(function, "typing_key", None)
    arguments = notes.calltypes[call].args
    if isinstance(getattr(key, "__self__", None), (random.Random, np.random.RandomState, np.random.Generator)):
        return "random numbers would be others; draw them in on_start into an array"
    if isinstance(function, types.BoundFunction) and function.this == ContextType:
        name = str(key).rpartition(".")[2]
        most = _BY_PLACE.get(name, len(call.args))
        return f"ctx.{name} takes all terms after ticks by name" if len(call.args) > most else ""
    if isinstance(function, types.BoundFunction) and isinstance(function.this, (types.Array, types.Set)):
        name, arguments = key[-1] if isinstance(key, tuple) else str(key).rpartition(".")[2], (function.this,)
        if isinstance(function.this, types.Set):
            return _ANY_ORDER if name == "pop" else ""
    elif key is sum:
        return "the sum of a list of floats depends on the version of Python; use a loop" if any(
            isinstance(a, (types.List, types.BaseTuple)) and _has_floats(a) for a in arguments
        ) else ""  # fmt: skip
    elif isinstance(key, np.ufunc) or getattr(key, "__module__", "").startswith("numpy"):
        name = key.__name__
    else:
        return ""
    if isinstance(key, np.ufunc):
        return _own_digits(key)
    if name in OTHERWISE:
        return f"NumPy's {name} has other last digits than compiled code; use {OTHERWISE[name]}"
    if name in REORDERED and any(isinstance(a, types.Array) and _has_floats(a) for a in arguments):
        return (
            f"NumPy's {name} of floats adds in an order of its own, so the last digits would differ; "
            "use a Window or a loop"
        )
    return ""


def _own_digits(ufunc) -> str:
    name = ufunc.__name__
    if name not in UFUNCS:
        return ""
    return f"NumPy's {name} has other last digits than compiled code; use {UFUNCS[name]}, number by number"


def _check_arrays(expression, notes) -> str:
    """Several operations on arrays that Numba has made one loop of: nested (function, arguments)."""
    waiting = [expression.expr]
    while waiting:
        function, arguments = waiting.pop()
        problem = _own_digits(function) if isinstance(function, np.ufunc) else ""
        if problem:
            return problem
        waiting += [argument for argument in arguments if isinstance(argument, tuple)]
    return ""


def _has_floats(kind) -> bool:
    return any(isinstance(k, types.Float) for k in (kind.types if isinstance(kind, types.BaseTuple) else (kind.dtype,)))


_BY_PLACE = {"send": 4, "buy": 3, "sell": 3}
"""How many arguments these methods take without their names."""

_ANY_ORDER = "the order of a set would be another; use a list or an array"


def _check_loop(expression, notes) -> str:
    return _ANY_ORDER if isinstance(notes.typemap[expression.value.name], types.Set) else ""


def _check_unary(expression, notes) -> str:
    truth = isinstance(notes.typemap[expression.value.name], types.Boolean)
    return "~ of a bool is -1 or -2 in Python; write not" if truth and expression.fn is operator.invert else ""


def _check_binary(expression, notes) -> str:
    if expression.fn in (operator.matmul, operator.imatmul):
        return "@ adds in an order of its own, so the last digits would differ; use a loop"
    return ""


_CHECKS = {
    "call": _check_call, "getiter": _check_loop, "unary": _check_unary, "binop": _check_binary,
    "inplace_binop": _check_binary, "arrayexpr": _check_arrays,
}  # fmt: skip
"""What to look at by kind of expression."""


def _explained(error, methods) -> BuildError:
    """Numba's error as one line, with the method and the line that are to blame."""
    spans = {}
    for function in methods.values():
        code = function.__code__
        lines = [line for _, _, line in code.co_lines() if line]
        spans[function.__qualname__] = (code.co_filename, min(lines, default=0), max(lines, default=0))
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    for path, number in _places(text):
        for name, (filename, first, last) in spans.items():
            if first <= number <= last and Path(filename).name == Path(path).name:
                return BuildError(_first_words(text), name, number)
    return BuildError(_first_words(text))


def _places(text):
    """(file, line) pairs of Numba's message, the innermost first."""
    for found in re.finditer(r'File "([^"]+)", line (\d+)| at (\S+) \((\d+)\)', text):
        yield found[1] or found[3], int(found[2] or found[4])


def _first_words(text) -> str:
    """What Numba's message says to the author of a strategy: our own words when there are some."""
    ours = re.search(re.escape(MARK) + "(.*)", text)
    if ours:
        return ours[1]
    noise = ("Failed in nopython mode", "During: ", "File ", "- Resolution failure", "Overload ", "Rejected as", "^",
             "There are ", "raised from", "- Of which", "This error may have", ">>>", "<source")  # fmt: skip
    kept = [words for words in map(str.strip, text.splitlines()) if words and not words.startswith(noise)]
    return _in_plain_words(kept[0], text) if kept else text


def _in_plain_words(words, text) -> str:
    """Numba's two most frequent complaints in plain words."""
    unknown = re.match(r"Untyped global name '(\w+)'", words)
    if unknown:
        return f"{unknown[1]!r} has no machine form; use it in on_start or on_stop, or run interpreted"
    used = re.search(r"No implementation of function .* found for signature:\s+>>> (.+)", text)
    if used:
        return f"{used[1].strip()} has no machine form; convert the values, or run interpreted"
    return words
