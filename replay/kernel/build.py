"""From the methods of a strategy to addresses of machine code.

Each handler gets an entry, a function of three numbers (handle, address of the state, number of the strategy) that
makes `self`, `ctx` and the event and calls the user's method.  The entry is what Numba caches, in a folder of the
strategy's own, with everything that it calls inside it; so a strategy that was compiled once only has to be loaded.

User code keeps the meaning that it has in Python: indices are checked, a division by zero raises, exceptions travel.
What Numba would quietly do otherwise is refused: storing a float in an `int` variable, and sums of floats that NumPy
adds in another order.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import numba
from numba.core import ir, types
from numba.core.errors import NumbaError

from replay.kernel.jit import _widen_calls, user_kernel
from replay.kernel.native import MARK, address_of
from replay.kernel.seen import EVENTS, context_of
from replay.kernel.strategy_type import StrategyType, field_of, self_reader

ENTRY = types.int64(types.int64, types.int64, types.int64)
REORDERED = {"sum", "mean", "std", "var", "dot", "vdot", "inner", "average", "nansum", "nanmean", "nanstd", "nanvar"}
"""NumPy functions whose last digits depend on the order of additions."""


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
    name to value.  Raises BuildError.
    """
    jitted = {}
    for method, function in methods.items():
        jitted[method] = user_kernel(function)
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
                elif isinstance(statement, ir.Assign) and isinstance(statement.value, ir.Expr):
                    if statement.value.op == "call":
                        _check_call(statement.value, notes, method)


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


def _check_call(call, notes, method) -> None:
    function = notes.typemap[call.func.name]
    key = getattr(function, "typing_key", None)
    if isinstance(function, types.BoundFunction) and isinstance(function.this, types.Array):
        name, arguments = key[-1] if isinstance(key, tuple) else str(key).rpartition(".")[2], (function.this,)
    elif getattr(key, "__module__", "").startswith("numpy"):
        name, arguments = key.__name__, notes.calltypes[call].args
    else:
        return
    floats = any(isinstance(a, types.Array) and isinstance(a.dtype, types.Float) for a in arguments)
    if name in REORDERED and floats:
        raise BuildError(
            f"NumPy's {name} of floats adds in an order of its own, so the last digits would differ; "
            "use a Window or a loop",
            method.py_func.__qualname__, call.loc.line,
        )  # fmt: skip


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
    return kept[0] if kept else text
