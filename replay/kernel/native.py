"""What compiled strategies stand on: the handle, memory behind addresses, and calls by address.

The arena moves when it grows, also in the middle of a handler that sends many orders.  So compiled code never keeps
the arena: it keeps the address of the *handle*, a small array of int64 that stays where it is for the whole run, and
looks up from there what it needs at that moment.

    handle[ARENA], handle[ARENA_BYTES]     where the arena is now
    handle[AT_ADVANCE] …                   addresses of the engine's entry kernels
    handle[GROW]                           C function of Python: make room in the arena; 0 when that failed
    handle[AT_STRATEGY], handle[AT_HANDLER]  who runs, for the error message
    handle[STRATEGY0 + STRATEGY_WORDS · k + h]   address of handler h of strategy k, 0 when it has none; the last
                                           word of a strategy is the address of its state

Entry kernels and handlers are compiled by themselves and called by address: a strategy costs only its own compile
time, the engine is compiled once, and both keep cache files of their own.  The calls use Numba's own convention, so
an exception in a handler travels through the engine to Python as it was raised.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numba.np import arrayobj

from replay.kernel.jit import kernel
from replay.kernel.state import _INDEX, SECTIONS, _section

ARENA = 0
ARENA_BYTES = 1
AT_ADVANCE = 2
AT_SUBMIT = 3
AT_CANCEL = 4
AT_CANCEL_ALL = 5
AT_MODIFY = 6
AT_SET_TIMER = 7
AT_MONEY = 8
AT_DEPTH = 9
AT_RECORD = 10
AT_MARK = 11
GROW = 12
AT_STRATEGY = 13
AT_HANDLER = 14
STRATEGY0 = 16
STRATEGY_WORDS = 10
STATE_WORD = 9
HANDLER_WORDS = (
    "on_book", "on_quote", "on_trade", "on_liquidation", "on_funding", "on_gap", "on_timer", "on_order", "on_fill",
)  # fmt: skip
"""Handlers in the order of their bits in `codes` (ON_BOOK is bit 0) and of their words in the handle."""

MARK = "cannot be compiled: "
"""Begins our own words in Numba's error messages."""

ARENA_TYPE = types.Array(types.uint8, 1, "C")


def refusal(problem):
    """The error to raise while compiling, for something that the user has to change."""
    return TypingError(MARK + problem)


@intrinsic
def peek(typingctx, address, index):
    """Word `index` behind `address`."""

    def codegen(context, builder, signature, args):
        words = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load(builder.gep(words, [args[1]]))

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def poke(typingctx, address, index, value):
    """Set word `index` behind `address`."""

    def codegen(context, builder, signature, args):
        words = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store(args[2], builder.gep(words, [args[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


def array_at(context, builder, kind, address, shape):
    """LLVM value of an array of Numba type `kind` over foreign memory; it holds no reference to it."""
    array = arrayobj.make_array(kind)(context, builder)
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [size]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    data = builder.inttoptr(address, array.data.type)
    arrayobj.populate_array(array, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return array._getvalue()


@intrinsic
def bytes_at(typingctx, address, count):
    """`count` bytes from `address` on, as an array of uint8."""

    def codegen(context, builder, signature, args):
        return array_at(context, builder, ARENA_TYPE, args[0], [args[1]])

    return ARENA_TYPE(types.int64, types.int64), codegen


@kernel(entry=False, inline=True, counted=True)
def arena_of(handle):
    """The arena of a run, where it is now."""
    return bytes_at(peek(handle, ARENA), peek(handle, ARENA_BYTES))


def section_reader(name):
    """A kernel that gives section `name` of a run's arena as an array of records."""
    index, dtype = 2 * _INDEX[name], SECTIONS[name]

    @kernel(entry=False, inline=True, counted=True)
    def records(handle):
        base = peek(handle, ARENA)
        return _section(arena_of(handle), peek(base, index), peek(base, index + 1), dtype)

    return records


def _caller(result):
    @intrinsic
    def call(typingctx, address, arguments):
        """Call the kernel at `address`, which takes what the tuple `arguments` holds."""

        def codegen(context, builder, signature, args):
            kinds = list(signature.args[1].types)
            values = cgutils.unpack_tuple(builder, args[1], len(kinds))
            pointer = context.call_conv.get_function_type(result, kinds).as_pointer()
            target = builder.inttoptr(args[0], pointer)
            status, value = context.call_conv.call_function(builder, target, result, kinds, values)
            with cgutils.if_unlikely(builder, status.is_error):
                context.call_conv.return_status_propagate(builder, status)
            return value

        return result(types.int64, arguments), codegen

    return call


call_at = _caller(types.int64)
call_float_at = _caller(types.float64)


@intrinsic
def call_python(typingctx, address):
    """Call a C function without arguments that returns int64."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(64)
        return builder.call(builder.inttoptr(args[0], ir.FunctionType(word, []).as_pointer()), [])

    return types.int64(types.int64), codegen


def address_of(dispatcher, signature):
    """Compile (or load) one version of a kernel and return the address of its machine code."""
    if signature.args not in dispatcher.overloads:
        dispatcher.compile(signature)
    result = dispatcher.overloads[signature.args]
    if result.signature.return_type != signature.return_type:
        raise TypeError(f"{dispatcher.__name__} returns {result.signature.return_type}, not {signature.return_type}")
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
