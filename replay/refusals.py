"""What compiled handlers may not contain, found in their source before anything compiles.

Numba refuses most of this itself, in words about bytecode; some of it (`print`, `finally`) compiles and then does not
do what Python does.  Only what handlers can reach is looked at: a helper of `on_start` may do anything.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from replay.context import Context
from replay.errors import CompileError, did_you_mean

_INSTEAD = "use it in on_start or on_stop, or run interpreted"
_TERMS = ("buy", "sell")
"""Methods of `ctx` that hand their keywords on to `send`."""


def refuse(cls: type, methods: dict[str, Callable[..., Any]], handlers: Iterable[str]) -> None:
    """CompileError for the first thing in the source of a handler, or of what it calls, that has no machine form."""
    for name in _reached(methods, handlers):
        function = methods[name]
        try:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError):
            continue  # no source: Numba has the word
        if not isinstance(tree.body[0], ast.FunctionDef):
            continue  # a lambda
        for node in ast.walk(tree.body[0]):
            problem = _problem(node, function)
            if problem:
                line = first + getattr(node, "lineno", 1) - 1
                raise CompileError(cls.__name__, function.__name__, problem, line)


def _reached(methods: dict[str, Callable[..., Any]], handlers: Iterable[str]) -> Iterator[str]:
    """Names of the methods that run when one of `handlers` does."""
    waiting, seen = list(handlers), set(handlers)
    while waiting:
        name = waiting.pop(0)
        yield name
        for called in methods[name].__code__.co_names:
            if called in methods and called not in seen:
                seen.add(called)
                waiting.append(called)


def _problem(node: ast.AST, function: Callable[..., Any]) -> str:
    """What is wrong with one node; "" when nothing is."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return "an import has no machine form; import at the top of the file"
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return f"`with` has no machine form; {_INSTEAD}"
    if isinstance(node, ast.Global):
        return f"`global {', '.join(node.names)}` has no machine form; keep it in an annotated class variable"
    if isinstance(node, ast.Try):
        if node.finalbody:
            return "`finally` has no machine form; write what is in it behind the `try`"
        if any(handler.type is not None and ast.unparse(handler.type) != "Exception" for handler in node.handlers):
            return "only `except Exception` has a machine form; ask with `if` before, or run interpreted"
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return _unknown(node.id, function)
    if isinstance(node, ast.Call):
        return _wrong_call(node, function)
    return ""


def _unknown(name: str, function: Callable[..., Any]) -> str:
    """`print`, and names that are nowhere."""
    code = function.__code__
    if name not in code.co_names or name in code.co_varnames + code.co_freevars + code.co_cellvars:
        return ""
    if name in function.__globals__:
        return ""
    if name == "print":
        return f"'print' has no machine form; {_INSTEAD}"
    return "" if hasattr(builtins, name) else f"name {name!r} is not defined"


def _wrong_call(node: ast.Call, function: Callable[..., Any]) -> str:
    """What `ctx.method(…)` is called with and does not take."""
    called = node.func
    if not (isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)):
        return ""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    if called.value.id != "ctx" or "ctx" not in names or any(isinstance(given, ast.Starred) for given in node.args):
        return ""
    method = vars(Context).get(called.attr)  # no static one: it takes no `self`
    keywords = [keyword.arg for keyword in node.keywords]
    if not inspect.isfunction(method) or None in keywords:
        return ""
    signature = inspect.signature(method)
    known = [name for name in signature.parameters if name not in ("self", "terms")]
    if called.attr in _TERMS:
        known += [p.name for p in inspect.signature(Context.send).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for keyword in keywords:
        if keyword not in known:
            return f"ctx.{called.attr} has no argument {keyword!r}; {did_you_mean(str(keyword), known)}"
    try:
        signature.bind(None, *node.args, **{str(name): None for name in keywords})
    except TypeError as error:
        return f"ctx.{called.attr}: {error}"
    return ""
