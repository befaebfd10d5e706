"""The one way by which a function becomes machine code.

`kernel` is `numba.njit` with the settings that this project relies on, and with a cache that cannot go stale:
Numba's own cache does not notice an edit in another module, nor a change of NUMBA_BOUNDSCHECK, so compiled code is
kept in a folder whose name is a digest of all kernel sources, the versions of Python, Numba, llvmlite and NumPy, and
the mode flags.  Numba writes cache files aside and renames them, so concurrent processes are safe.

Rules for kernels: arguments are scalars, records and arrays; fields are read as `rec["field"]` (the form that works
jitted, bounds-checked and with NUMBA_DISABLE_JIT=1); nothing is allocated, nothing raises; what can go wrong is a
status code.  No fast-math: results are bit-identical on every machine and in every mode.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, overload

import llvmlite
import numba
import numpy as np
from numba.core import ir, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.typed_passes import NopythonRewrites
from numba.core.typing import signature

F = TypeVar("F", bound=Callable[..., Any])

SOURCES = Path(__file__).parent


def source_digest() -> str:
    """Hex digest over everything that machine code of the kernels depends on, besides the CPU (Numba's index)."""
    state = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.py")):
        state.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for name in ("events.py", "units.py"):
        state.update((SOURCES.parent / name).read_bytes())
    versions = (sys.version, numba.__version__, llvmlite.__version__, np.__version__)
    flags = (numba.config.BOUNDSCHECK, numba.config.OPT, numba.config.DISABLE_JIT)
    state.update(repr((versions, flags)).encode())
    return state.hexdigest()[:20]


def cache_root() -> Path:
    """Folder that holds compiled kernels: `REPLAY_CACHE_DIR`, else the user's cache folder."""
    chosen = os.environ.get("REPLAY_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tickreplay"


def usable(folder: Path) -> Path:
    """`folder`, made if need be; when it cannot be written, a copy for this process only, and a RuntimeWarning.

    Numba would turn to `__pycache__` instead, where old machine code outlives an edit of another module.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        own = Path(tempfile.mkdtemp(prefix="tickreplay-"))
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        if folder.is_dir():
            shutil.copytree(folder, own, copy_function=os.symlink, dirs_exist_ok=True)
        warnings.warn(
            f"cannot keep machine code in {folder} ({error.strerror}): what is not there yet is compiled anew in every "
            "process, in about a minute; set REPLAY_CACHE_DIR to a folder that can be written",
            RuntimeWarning, stacklevel=2,
        )  # fmt: skip
        return own
    return folder


CACHE_DIR = cache_root() / "kernels" / source_digest()
if not numba.config.DISABLE_JIT:
    CACHE_DIR = usable(CACHE_DIR)


def jit_is_on() -> bool:
    """Whether kernels are machine code in this process."""
    return not numba.config.DISABLE_JIT


def is_compiled(name: str) -> bool:
    """Whether machine code of the entry kernel `name` lies in the cache (or none is needed)."""
    if numba.config.DISABLE_JIT:
        return True
    return any(CACHE_DIR.glob(f"**/*.{name}-*.nbi"))


@register_pass(mutates_CFG=False, analysis_only=False)
class _CountFromTheFront(FunctionPass):
    """Array indices are unsigned, so none is compared with zero and moved by the length.

    `a[-1]` as the last element costs every access two instructions and keeps the address waiting; without it a book
    takes a third less time.  A negative index is out of bounds here, and found with NUMBA_BOUNDSCHECK=1.
    """

    _name = "replay_count_from_the_front"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        """Change the index type of every access to an array; casting the value is left to the lowering."""
        for block in state.func_ir.blocks.values():
            accesses = [stmt for stmt in block.body if isinstance(stmt, ir.SetItem)]
            accesses += [expr for expr in block.find_exprs(op="getitem")]
            for access in accesses:
                called = state.calltypes[access]
                array, index, *rest = called.args
                if isinstance(array, types.Array) and isinstance(index, types.Integer) and index.signed:
                    del state.calltypes[access]  # a dict in which nothing is overwritten
                    state.calltypes[access] = signature(called.return_type, array, types.uintp, *rest)
        return True


class _KernelCompiler(CompilerBase):
    """Numba's own way to machine code, with that pass once the types are known."""

    def define_pipelines(self) -> list[Any]:
        """One pipeline."""
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.add_pass_after(_CountFromTheFront, NopythonRewrites)
        pipeline.finalize()
        return [pipeline]


def _widened(kind: Any) -> Any:
    """int64 for any signed integer and for a constant, the plain type for other constants."""
    kind = types.unliteral(kind)
    return types.int64 if isinstance(kind, types.Integer) and kind.signed else kind


def _widen_calls(jitted: Any) -> None:
    """Compile a kernel once for all widths and constants with which other kernels call it.

    Numba makes a version for each constant argument and each integer width: 23 of one function of the engine, and
    most of its compile time.
    """
    resolve = jitted.get_call_template
    jitted.get_call_template = lambda args, kws: resolve(
        tuple(_widened(a) for a in args), {name: _widened(a) for name, a in kws.items()}
    )


@overload
def kernel(function: F) -> F: ...
@overload
def kernel(*, entry: bool = True, inline: bool = False, counted: bool = False) -> Callable[[F], F]: ...
def kernel(
    function: F | None = None, *, entry: bool = True, inline: bool = False, counted: bool = False
) -> F | Callable[[F], F]:
    """Compile `function` on first call, without the GIL, cached; the plain function when JIT is switched off.

    `entry=False` is for kernels that only other kernels call: without the wrappers that turn Python objects into
    machine values (twenty arrays for each function that takes the engine's State) the engine compiles several times
    faster, and such a kernel needs no cache file of its own.

    `inline=True` puts the machine code into every kernel that calls it: for short functions called for each event.
    `counted=False` leaves out reference counts of arrays, which a kernel that allocates nothing does not need but
    pays at every call of a helper (on the book: 16 instead of 11 ns a delta).
    """

    def decorate(plain: F) -> F:
        if numba.config.DISABLE_JIT:
            return plain
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(CACHE_DIR)
        try:
            options = {"forceinline": inline, "_nrt": counted}
            if not entry:
                options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
            jitted = numba.njit(
                cache=entry, nogil=True, error_model="numpy", pipeline_class=_KernelCompiler, **options
            )(plain)
            _widen_calls(jitted)
        finally:
            numba.config.CACHE_DIR = before
        return jitted  # type: ignore[no-any-return]

    return decorate if function is None else decorate(function)


def user_kernel(function: F) -> F:
    """Compile a user's own function for use in compiled strategies and models; it works in interpreted ones, too.

    Unlike `kernel` it keeps the meaning that Python gives: an index is checked and may be negative, a division by zero
    raises, arrays may be made, exceptions may be raised.
    """
    if numba.config.DISABLE_JIT:
        return function
    return numba.njit(nogil=True, error_model="python", boundscheck=True)(function)  # type: ignore[no-any-return]
