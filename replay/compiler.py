"""Compiled strategies: from a class to machine code.

    class        `plan`: annotated variables become a layout (one record), methods are collected along the base
                 classes, a digest is taken over all code and constants that they can reach
    machine code `replay.kernel.build`: one entry for each handler, cached on disk under that digest
    run          `Machine`: the handle, the state records, and the way back into Python when the arena must grow

`on_start` and `on_stop` stay Python in both modes: they run once, and may do what compiled code cannot (look up
instruments by name, open files, print).  Between them the variables live in the record and return to the instance
at the end.

What cannot be compiled is a CompileError.  Before anything compiles it tells of variables with a type that has no
machine form, without a default, or that hold something else than their annotation says, and of what `refusals` finds.
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_origin, get_type_hints

import numpy as np

from replay.errors import CompileError
from replay.refusals import refuse
from replay.strategy import HANDLERS, Strategy
from replay.terminal import say_when_compiling
from replay.window import Window

if TYPE_CHECKING:
    from replay.session import Session

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function of your own for use in strategies: numbers and arrays in, numbers and arrays out.

    Called from a compiled strategy it becomes part of it; interpreted strategies call it, too, and get the same bits.
    """
    from replay.kernel.jit import user_kernel

    return user_kernel(function)


COMPILED = tuple(name for name in HANDLERS if name not in ("on_start", "on_stop"))
"""Handlers that become machine code."""

_SCALARS = {int: np.dtype("<i8"), float: np.dtype("<f8"), bool: np.dtype("?")}
_ELEMENTS = tuple(_SCALARS.values())
"""Types of arrays: the others Python and compiled code calculate with differently."""
_CONSTANTS = (int, float, bool, str, tuple)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compiled: `layout` of the state, functions by name, constants, handlers, and the digest of it all.

    `words` are all string constants that the code can reach, where the names of recorded values are found.
    """

    name: str
    layout: np.dtype
    methods: dict[str, Callable[..., Any]]
    constants: dict[str, Any]
    handlers: tuple[str, ...]
    digest: str
    words: frozenset[str]


def plan(strategy: Strategy) -> Plan:
    """How `strategy` would be compiled.  Raises CompileError naming the class variable that stands in the way."""
    cls = type(strategy)
    layout = np.dtype([_field(strategy, name, kind) for name, kind in _annotated(cls).items()], align=True)
    methods: dict[str, Callable[..., Any]] = {}
    constants: dict[str, Any] = {}
    for owner in cls.__mro__:
        if owner in (Strategy, object):
            continue
        for name, value in vars(owner).items():
            if name in methods or name in constants or name in (layout.names or ()):
                continue
            if isinstance(value, FunctionType) and name not in ("on_start", "on_stop", "__init__"):
                methods |= _with_bases(name, value, owner, cls)
            elif isinstance(value, _CONSTANTS) and not name.startswith("_"):
                constants[name] = value
    handlers = tuple(name for name in COMPILED if name in methods)
    reach = _Reach()
    for name in sorted(methods):
        reach.code(methods[name])
    reach.add(repr((cls.__module__, cls.__qualname__, layout, sorted(constants.items()))))
    digest = reach.state.hexdigest()[:20]
    return Plan(f"{cls.__qualname__} {digest}", layout, methods, constants, handlers, digest, frozenset(reach.words))


@cache
def _hints(cls: type) -> dict[str, Any]:
    """Types of all annotations of a class; finding them takes longer than a short run."""
    return get_type_hints(cls)


def _annotated(cls: type) -> dict[str, Any]:
    """Name and type of all annotated variables, base classes first."""
    found: dict[str, Any] = {}
    hints = _hints(cls)
    for owner in reversed(cls.__mro__):
        for name in vars(owner).get("__annotations__", {}):
            if owner not in (Strategy, object) and get_origin(hints[name]) is not ClassVar and hints[name] != ClassVar:
                found[name] = hints[name]
    return found


def _field(strategy: Strategy, name: str, kind: Any) -> tuple[Any, ...]:
    """The member of the state record for one variable."""
    cls = type(strategy)
    value = getattr(strategy, name, None)
    if value is None:
        raise _wrong(cls, name, "has no default; give it one, as in `count: int = 0`")
    if kind in _SCALARS:
        given = bool if isinstance(value, np.bool_) else int if isinstance(value, np.integer) else type(value)
        if not (given is kind or (kind is float and given in (int, np.float64)) or (kind is int and given is bool)):
            raise _wrong(cls, name, f"is annotated {kind.__name__} but holds {value!r}")
        return name, _SCALARS[kind]
    if isinstance(value, Window) and kind is Window:
        return name, np.dtype([("count", "<i8"), ("data", value._data.dtype, (value.size,))])
    if isinstance(value, np.ndarray) and (kind is np.ndarray or get_origin(kind) is np.ndarray):
        if value.dtype not in _ELEMENTS or value.ndim == 0 or value.size == 0:
            shown = f"is an array of {value.dtype} with shape {value.shape}"
            raise _wrong(cls, name, f"{shown}; use int64, float64 or bool, in any shape with places")
        return name, value.dtype, value.shape
    shown = getattr(kind, "__name__", str(kind))
    raise _wrong(cls, name, f"has type {shown}; compiled strategies hold int, float, bool, np.ndarray and Window")


def _wrong(cls: type, name: str, problem: str) -> CompileError:
    return CompileError(cls.__name__, "", f"{name} {problem}", _line_of(cls, name))


def _line_of(cls: type, name: str) -> int:
    """Line on which the class (or a base) annotates `name`; 0 when the source is not there."""
    for owner in cls.__mro__:
        if name not in vars(owner).get("__annotations__", {}):
            continue
        try:
            lines, first = inspect.getsourcelines(owner)
        except (OSError, TypeError):
            return 0
        for node in ast.walk(ast.parse(textwrap.dedent("".join(lines)))):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
                return first + node.lineno - 1
    return 0


# ------------------------------------------------------------------------------------------------ super().method()


def _with_bases(name: str, function: FunctionType, owner: type, cls: type) -> dict[str, Callable[..., Any]]:
    """`function`, and the methods that it calls through super(), under names of their own."""
    if "__class__" not in function.__code__.co_freevars:
        return {name: function}
    rewritten, wanted = _without_super(function, owner)
    found: dict[str, Callable[..., Any]] = {name: rewritten}
    following = cls.__mro__[cls.__mro__.index(owner) + 1 :]
    for called in wanted:
        for base in following:
            if called in vars(base) and base is not Strategy:
                found |= _with_bases(_super_name(owner, called), vars(base)[called], base, cls)
                break
        else:
            line = function.__code__.co_firstlineno
            raise CompileError(cls.__name__, name, f"super().{called}(...) has nothing to call", line)
    return found


def _super_name(owner: type, method: str) -> str:
    return f"super_of_{owner.__name__}_{method}"


def _without_super(function: FunctionType, owner: type) -> tuple[FunctionType, set[str]]:
    """The same function with `self.super_of_X_m(…)` in the place of `super().m(…)`, and the names m."""
    try:
        lines, first = inspect.getsourcelines(function)
    except OSError:
        line = function.__code__.co_firstlineno
        problem = "super() needs the source of the class in a file"
        raise CompileError(owner.__name__, function.__name__, problem, line) from None
    tree = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(tree, first - 1)
    wanted: set[str] = set()
    first_argument = function.__code__.co_varnames[0]

    class Rewrite(ast.NodeTransformer):
        def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
            self.generic_visit(node)
            value = node.value
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "super":
                wanted.add(node.attr)
                self_name = ast.copy_location(ast.Name(first_argument, ast.Load()), node)
                return ast.copy_location(ast.Attribute(self_name, _super_name(owner, node.attr), node.ctx), node)
            return node

    tree = Rewrite().visit(tree)
    tree.body[0].decorator_list = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
    module = compile(tree, function.__code__.co_filename, "exec")
    code = next(c for c in module.co_consts if isinstance(c, CodeType))
    made = FunctionType(code, function.__globals__, function.__name__, function.__defaults__)
    made.__qualname__ = function.__qualname__
    return made, wanted


# ---------------------------------------------------------------------------------------------------- the digest


class _Reach:
    """A digest over code and everything that it refers to: constants, globals, other functions."""

    def __init__(self) -> None:
        self.state = hashlib.sha256()
        self.words: set[str] = set()
        self._seen: set[int] = set()

    def add(self, text: str) -> None:
        self.state.update(text.encode() + b"\0")

    def code(self, function: Any) -> None:
        """One function with its defaults and closure."""
        plain = getattr(function, "py_func", function)
        if id(plain) in self._seen:
            return
        self._seen.add(id(plain))
        self.add(plain.__qualname__)
        self._bytes(plain.__code__)
        self.add(repr(plain.__defaults__))
        for name, cell in zip(plain.__code__.co_freevars, plain.__closure__ or ()):
            self._value(name, cell.cell_contents)
        for name in sorted(set(_names(plain.__code__))):
            if name in plain.__globals__:
                self._value(name, plain.__globals__[name])

    def _bytes(self, code: CodeType) -> None:
        self.state.update(code.co_code)
        self.add(repr((code.co_names, code.co_varnames, code.co_firstlineno, code.co_filename)))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._bytes(constant)
            else:
                self.add(repr(constant))
                if isinstance(constant, str):
                    self.words.add(constant)

    def _value(self, name: str, value: Any) -> None:
        self.add(name)
        if isinstance(value, ModuleType):
            self.add(value.__name__)
        elif isinstance(value, FunctionType) or hasattr(value, "py_func"):
            self.code(value)
        elif isinstance(value, np.ndarray):
            self.add(repr((value.dtype, value.shape)))
            self.state.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, type):
            self.add(f"{value.__module__}.{value.__qualname__}")
        else:
            self.add(repr(value))
            if isinstance(value, str):
                self.words.add(value)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


# ------------------------------------------------------------------------------------------------- the running code


_built: dict[str, Any] = {}
"""What this process has compiled or loaded, by digest."""


def compile_strategy(strategy: Strategy) -> tuple[Plan, Any]:
    """The plan and the machine code (`replay.kernel.build.Built`) of a strategy; loads what was compiled before.

    Raises CompileError with class, method and line.
    """
    from numba.core.errors import UnsupportedBytecodeError

    from replay.kernel.build import BuildError, build
    from replay.kernel.jit import CACHE_DIR, jit_is_on

    cls = type(strategy)
    if not jit_is_on():
        raise CompileError(cls.__name__, "", "NUMBA_DISABLE_JIT switches the compiler off; unset it", 0)
    made = plan(strategy)
    if made.digest in _built:
        return made, _built[made.digest]
    refuse(cls, made.methods, made.handlers)
    folder = CACHE_DIR / "strategies" / made.digest
    try:
        _built[made.digest] = build(made.name, made.layout, made.methods, made.constants, made.handlers, folder)
        return made, _built[made.digest]
    except BuildError as error:
        method = error.method.rpartition(".")[2]
        raise CompileError(cls.__name__, method, error.problem, error.line) from error
    except UnsupportedBytecodeError as error:  # of code without a source; it is no NumbaError
        raise CompileError(cls.__name__, "", f"{error} Run interpreted.", 0) from error


class Machine:
    """The compiled side of one session: handle, state records, services.

    `drive(callbacks)` runs the engine with the compiled handlers and returns a code of `advance`.
    """

    def __init__(self, session: Session, compiled: list[tuple[Plan, Any]]) -> None:
        from replay.kernel import native
        from replay.kernel.services import addresses

        say_when_compiling(sys.stderr, "the engine of compiled strategies", "drive")
        self._session, self._compiled = session, compiled
        self._records = [np.zeros(1, made.layout) for made, _ in compiled]
        words = native.STRATEGY0 + native.STRATEGY_WORDS * len(compiled)
        self.handle = np.zeros(words, np.int64)
        self._failure: BaseException | None = None
        self._grow = ctypes.CFUNCTYPE(ctypes.c_int64)(self._make_room)
        self.handle[native.GROW] = ctypes.cast(self._grow, ctypes.c_void_p).value or 0
        for word, address in addresses().items():
            self.handle[word] = address
        for k, (_, built) in enumerate(compiled):
            first = native.STRATEGY0 + native.STRATEGY_WORDS * k
            for handler, address in built.addresses.items():
                self.handle[first + native.HANDLER_WORDS.index(handler)] = address
            self.handle[first + native.STATE_WORD] = self._records[k].ctypes.data
        self._native = native
        self.bind()

    def bind(self) -> None:
        """The arena moved."""
        arena = self._session.arena.bytes
        self.handle[self._native.ARENA], self.handle[self._native.ARENA_BYTES] = arena.ctypes.data, len(arena)

    def drive(self, callbacks: int) -> int:
        """Go on for at most that many callbacks.  Raises what a handler, or growing the arena, raised."""
        from replay.kernel.driver import drive

        try:
            return int(drive(self.handle.ctypes.data, callbacks))
        except MemoryError:
            if self._failure is not None:
                raise self._failure from None
            raise

    def _make_room(self) -> int:
        try:
            self._session.make_room()
        except BaseException as error:  # it must not cross the machine code: kept, and raised by `drive`
            self._failure = error
            return 0
        return 1

    @property
    def running(self) -> tuple[int, str]:
        """Number of the strategy and name of the handler that ran last."""
        word = int(self.handle[self._native.AT_HANDLER])
        return int(self.handle[self._native.AT_STRATEGY]), self._native.HANDLER_WORDS[word]

    def take_in(self) -> None:
        """Copy the variables of the instances into the records."""
        for strategy, record, (made, _) in zip(self._session.strategies, self._records, self._compiled):
            for name in made.layout.names or ():
                value = getattr(strategy, name)
                if isinstance(value, Window):
                    record[name]["count"], record[name]["data"] = value.count, value._data
                else:
                    _field_fits(strategy, name, value, made)
                    record[name] = value

    def hand_back(self) -> None:
        """Copy the records back into the instances."""
        for strategy, record, (made, _) in zip(self._session.strategies, self._records, self._compiled):
            for name in made.layout.names or ():
                value = getattr(strategy, name)
                if isinstance(value, Window):
                    value.count = int(record[name]["count"][0])
                    value._data[:] = record[name]["data"][0]
                elif isinstance(value, np.ndarray):
                    value[...] = record[name][0]
                else:
                    setattr(strategy, name, record[name][0].item())


def _field_fits(strategy: Strategy, name: str, value: Any, made: Plan) -> None:
    """CompileError when `on_start` has changed what a variable is."""
    cls: type = type(strategy)
    kind = _hints(cls)[name]
    if np.dtype([_field(strategy, name, kind)], align=True)[name] != made.layout[name]:
        raise CompileError(type(strategy).__name__, "on_start", f"{name} has another shape or type than at first")
