"""`self` in compiled handlers: a Numba type for each strategy class, and one for windows.

A value of such a type is the address of the state record, which lies in one NumPy array that never moves.  Scalars
are loaded and stored there, arrays and windows are views of it, methods are kernels compiled for this `self`, class
variables without annotation are constants.
"""

from __future__ import annotations

import operator
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import typeof
from numba.core import types
from numba.core.imputils import impl_ret_new_ref
from numba.core.typing import templates
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_builtin,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    overload,
    overload_attribute,
    overload_method,
    register_model,
)
from numba.np import numpy_support

from replay.kernel.native import array_at, peek, poke, refusal


class Field(NamedTuple):
    """Where a state variable lies: Numba type, offset in bytes, shape of an array (empty for scalars)."""

    kind: types.Type
    offset: int
    shape: tuple[int, ...]


class StrategyType(types.Type):
    """`self` of one strategy class with one layout."""

    def __init__(self, name, fields, methods, constants):
        self.fields, self.methods, self.constants = fields, methods, constants
        super().__init__(name=f"Strategy({name})")


class WindowType(types.Type):
    """`replay.Window` with `size` places."""

    def __init__(self, dtype, size):
        self.dtype, self.size = dtype, size
        super().__init__(name=f"Window({dtype}, {size})")

    @property
    def key(self):
        """Types with the same key are the same."""
        return self.dtype, self.size


def _address_model(kind):
    @register_model(kind)
    class Model(models.PrimitiveModel):
        def __init__(self, manager, of):
            super().__init__(manager, of, ir.IntType(64))


_address_model(StrategyType)
_address_model(WindowType)


def field_of(dtype, offset):
    """Field for one member of the state record's NumPy type."""
    if dtype.names is not None:
        data = dtype["data"]
        return Field(WindowType(numpy_support.from_dtype(data.subdtype[0]), data.shape[0]), offset, ())
    base, shape = dtype.subdtype if dtype.subdtype is not None else (dtype, ())
    kind = numpy_support.from_dtype(base)
    return Field(types.Array(kind, len(shape), "C") if shape else kind, offset, shape)


def self_reader(kind):
    """The intrinsic that turns an address into `self`."""

    @intrinsic
    def self_at(typingctx, address):
        return kind(types.int64), lambda context, builder, signature, args: args[0]

    return self_at


# ----------------------------------------------------------------------------------------------------- attributes


@infer_getattr
class StrategyAttributes(templates.AttributeTemplate):
    """Types of `self.name`."""

    key = StrategyType

    def generic_resolve(self, strategy, name):
        """The type of a variable, a method or a constant."""
        if name in strategy.fields:
            return strategy.fields[name].kind
        if name in strategy.methods:
            return _bound(strategy, name)
        if name in strategy.constants:
            return typeof(strategy.constants[name])
        raise refusal(f"self.{name} is not known when compiling; declare it in the class: {name}: int = 0")


def _bound(strategy, name):
    called = types.Dispatcher(strategy.methods[name])
    _lower_method(name)

    class Method(templates.AbstractTemplate):
        key = (StrategyType, name)

        def generic(self, args, kws):
            return called.get_call_type(self.context, (strategy, *args), kws).as_method()

    return types.BoundFunction(Method, strategy)


_lowered = set()


def _lower_method(name):
    """Once for each method name: how `self.name(…)` becomes a call."""
    if name in _lowered:
        return
    _lowered.add(name)

    @lower_builtin((StrategyType, name), StrategyType, types.VarArg(types.Any))
    def call(context, builder, sig, args):
        function = context.get_function(types.Dispatcher(sig.args[0].methods[name]), sig)
        result = function(builder, args)
        for library in getattr(function, "libs", ()):
            context.active_code_library.add_linking_library(library)
        return impl_ret_new_ref(context, builder, sig.return_type, result)


def _place(context, builder, address, field):
    pointer = context.get_data_type(field.kind).as_pointer()
    return builder.inttoptr(builder.add(address, ir.Constant(ir.IntType(64), field.offset)), pointer)


@lower_getattr_generic(StrategyType)
def _get(context, builder, kind, value, name):
    if name in kind.constants:
        constant = kind.constants[name]
        return context.get_constant_generic(builder, typeof(constant), constant)
    field = kind.fields[name]
    address = builder.add(value, ir.Constant(ir.IntType(64), field.offset))
    if isinstance(field.kind, WindowType):
        return address
    if field.shape:
        shape = [context.get_constant(types.intp, n) for n in field.shape]
        return array_at(context, builder, field.kind, address, shape)
    if field.kind == types.boolean:
        byte = builder.load(builder.inttoptr(address, ir.IntType(8).as_pointer()))
        return builder.icmp_unsigned("!=", byte, ir.Constant(ir.IntType(8), 0))
    return builder.load(_place(context, builder, value, field))


@lower_setattr_generic(StrategyType)
def _set(context, builder, sig, args, name):
    kind = sig.args[0]
    target, value = args
    if name not in kind.fields:
        raise refusal(f"self.{name} is a constant of the class; annotate it to make it state")
    field = kind.fields[name]
    if field.shape or isinstance(field.kind, WindowType):
        raise refusal(f"self.{name} cannot be replaced; write self.{name}[:] = ... to change its values")
    if field.kind == types.boolean:
        address = builder.add(target, ir.Constant(ir.IntType(64), field.offset))
        byte = builder.inttoptr(address, ir.IntType(8).as_pointer())
        builder.store(builder.zext(value, ir.IntType(8)), byte)
    else:
        builder.store(value, _place(context, builder, target, field))


# --------------------------------------------------------------------------------------------------------- windows


@intrinsic
def _address(typingctx, window):
    return types.int64(window), lambda context, builder, signature, args: args[0]


@intrinsic
def _data(typingctx, window):
    kind = types.Array(window.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        first = builder.add(args[0], ir.Constant(ir.IntType(64), 8))
        return array_at(context, builder, kind, first, [context.get_constant(types.intp, signature.args[0].size)])

    return kind(window), codegen


@overload_attribute(WindowType, "count")
def _window_count(window):
    return lambda window: peek(_address(window), 0)


@overload_attribute(WindowType, "size")
def _window_size(window):
    return lambda window: len(_data(window))


@overload_attribute(WindowType, "full")
def _window_full(window):
    return lambda window: window.count >= window.size


@overload(len)
def _window_len(window):
    if isinstance(window, WindowType):
        return lambda window: min(window.count, window.size)
    return None


@overload_method(WindowType, "push")
def _window_push(window, value):
    if isinstance(value, types.Float) and isinstance(window.dtype, types.Integer):
        raise refusal("a Window of int takes whole numbers; write int(...)")

    def push(window, value):
        data, count = _data(window), window.count
        data[count % len(data)] = value
        poke(_address(window), 0, count + 1)

    return push


@overload_method(WindowType, "clear")
def _window_clear(window):
    return lambda window: poke(_address(window), 0, 0)


@overload(operator.getitem)
def _window_getitem(window, index):
    if not isinstance(window, WindowType):
        return None

    def get(window, index):
        n = len(window)
        if index < -n or index >= n:
            raise IndexError("window index out of range")
        data = _data(window)
        return data[(window.count - n + (index if index >= 0 else n + index)) % len(data)]

    return get


@overload_method(WindowType, "sum")
def _window_sum(window):
    zero = 0 if isinstance(window.dtype, types.Integer) else 0.0

    def total(window):
        data, n = _data(window), len(window)
        found = zero
        for k in range(window.count - n, window.count):
            found += data[k % len(data)]
        return found

    return total


@overload_method(WindowType, "mean")
def _window_mean(window):
    def mean(window):
        n = len(window)
        return window.sum() / n if n > 0 else np.nan

    return mean


@overload_method(WindowType, "std")
def _window_std(window):
    def std(window):
        data, n = _data(window), len(window)
        if n == 0:
            return np.nan
        middle = window.mean()
        found = 0.0
        for k in range(window.count - n, window.count):
            apart = data[k % len(data)] - middle
            found += apart * apart
        return np.sqrt(found / n)

    return std


def _extreme(name, better):
    @overload_method(WindowType, name)
    def extreme(window):
        def find(window):
            n = len(window)
            if n == 0:
                raise ValueError("the window is empty")
            found = window[0]
            for k in range(1, n):
                if better(window[k], found):
                    found = window[k]
            return found

        return find


_extreme("min", operator.lt)
_extreme("max", operator.gt)
