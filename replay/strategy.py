"""What a user subclasses.

A strategy is a class with handlers and typed class variables.  Overriding a handler subscribes to it; the engine runs
in compiled code until the next event that somebody subscribed to.  Class variables with an annotation are parameters
(given to the constructor) and state (assigned in handlers).  A method whose name begins with `on_` and is no handler
is a mistake and refused when the class is made, as is a handler that cannot take what it is called with.

Every instance has lists, dicts, sets, arrays and windows of its own, with an annotation or without: two strategies of
one run share nothing.
"""

from __future__ import annotations

import copy
import inspect
from collections import deque
from collections.abc import Mapping
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, Self, get_type_hints

from replay.errors import ConfigError, did_you_mean
from replay.window import Window

if TYPE_CHECKING:
    from replay.context import Book, Context, Fill, Funding, Gap, Liquidation, Order, Quote, Timer, Trade

HANDLERS = (
    "on_start",
    "on_stop",
    "on_book",
    "on_quote",
    "on_trade",
    "on_liquidation",
    "on_funding",
    "on_timer",
    "on_order",
    "on_fill",
    "on_gap",
)

_HELD = (list, dict, set, bytearray, deque, Window)
"""What a class variable may hold that handlers change in place."""


class Strategy:
    """Subclass, override handlers, run with `Replay(...).run(YourStrategy(parameter=value))`.

    Raises ConfigError for an unknown parameter, or a value that does not fit its annotation.
    """

    _models: Mapping[str, Any] = MappingProxyType({})
    """Models of this instance alone, see `under`."""

    _used = False
    """Whether a run has begun with this instance: its state is that run's."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in vars(cls).items():
            if name.startswith("on_") and name not in HANDLERS:
                raise ConfigError(
                    "", None, f"{cls.__name__}.{name} is not a handler and would never be called",
                    did_you_mean(name, HANDLERS),
                )  # fmt: skip
            if name in HANDLERS and isinstance(value, FunctionType):
                _check_arguments(cls, value)

    def __new__(cls, *args: Any, **parameters: Any) -> Self:
        """An instance with copies of what its class variables hold; here, as `__init__` may be the user's."""
        made = super().__new__(cls)
        for owner in reversed(cls.__mro__[: cls.__mro__.index(Strategy)]):
            for name, value in vars(owner).items():
                if isinstance(value, _HELD) or hasattr(type(value), "__array__"):
                    if not name.startswith("__"):
                        made.__dict__[name] = copy.deepcopy(value)
                else:
                    made.__dict__.pop(name, None)
        return made

    def __init__(self, **parameters: Any) -> None:
        known = self.parameter_types()
        for name, value in parameters.items():
            if name not in known:
                raise ConfigError(
                    f"{type(self).__name__}({name})", value, "no such parameter", did_you_mean(name, known)
                )
        for name, kind in known.items():
            if name in parameters:
                setattr(self, name, _fitted(f"{type(self).__name__}.{name}", parameters[name], kind))

    def under(self, **models: Any) -> Self:
        """Run this instance with models of its own: `Maker(lots=5).under(queue=RiskAverseQueue())`.

        The names are those of `Replay`'s models (latency, queue, slippage, fees, margin, execution, consume,
        self_trade, on_gap, borrow, min_notional); what is not named is as the Replay says.  Checked by the run.
        """
        self._models = {**self._models, **models}
        return self

    @classmethod
    def parameter_types(cls) -> dict[str, Any]:
        """Name and annotation of every parameter or state variable, base classes first."""
        hints = get_type_hints(cls, include_extras=False)
        return {name: kind for name, kind in hints.items() if not name.startswith("_") and hasattr(cls, name)}

    def parameters(self) -> dict[str, Any]:
        """The current values of all annotated variables."""
        return {name: getattr(self, name) for name in self.parameter_types()}

    def on_start(self, ctx: Context) -> None:
        """Called once, before the first event; plan timers here."""

    def on_stop(self, ctx: Context) -> None:
        """Called once, after the last event; requests are refused by then."""

    def on_book(self, ctx: Context, book: Book) -> None:
        """A book message has been applied; `book` is the live local book of its instrument."""

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        """The venue's own best bid and ask message."""

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        """A print."""

    def on_liquidation(self, ctx: Context, liquidation: Liquidation) -> None:
        """A forced order of somebody else; its prints come in the trade feed."""

    def on_funding(self, ctx: Context, funding: Funding) -> None:
        """The current funding rate and the time of the next settlement."""

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        """A timer planned with `ctx.every` or `ctx.at`."""

    def on_order(self, ctx: Context, order: Order) -> None:
        """An answer of the venue to one of our orders, fills included."""

    def on_fill(self, ctx: Context, fill: Fill) -> None:
        """One of our orders traded; called after `on_order` for the same answer."""

    def on_gap(self, ctx: Context, gap: Gap) -> None:
        """Messages were lost: the book of the instrument is invalid until the next snapshot."""

    def overrides(self, handler: str) -> bool:
        """Whether the class defines `handler` itself."""
        return getattr(type(self), handler) is not getattr(Strategy, handler)


def _check_arguments(cls: type, handler: FunctionType) -> None:
    """ConfigError when a handler of a class cannot take what it is called with."""
    expected = list(inspect.signature(getattr(Strategy, handler.__name__)).parameters)
    signature = inspect.signature(handler)
    if inspect.isgeneratorfunction(handler) or inspect.iscoroutinefunction(handler):
        word = "async" if inspect.iscoroutinefunction(handler) else "yield"
        name = f"{cls.__name__}.{handler.__name__}"
        raise ConfigError("", None, f"{name} would never run: it is a handler with {word!r}", "take that word out")
    try:
        signature.bind(*expected)
    except TypeError:
        arguments = ", ".join(expected)
        raise ConfigError(
            "", None, f"{cls.__name__}.{handler.__name__}{signature} cannot be called with ({arguments})",
            f"write def {handler.__name__}({arguments})",
        ) from None  # fmt: skip


def _fitted(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind`, when that loses nothing."""
    if kind is Any:
        return value
    if kind is bool:
        if isinstance(value, bool):
            return value
        if value in ("true", "false", "1", "0", "yes", "no"):
            return value in ("true", "1", "yes")
    elif kind is int:
        if isinstance(value, bool):
            raise ConfigError(name, value, "must be a whole number")
        try:
            whole = int(value)
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(name, value, "must be a whole number") from None
        if isinstance(value, str) or whole == value:
            return whole
    elif kind is float:
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ConfigError(name, value, "must be a number") from None
    elif not isinstance(kind, type) or isinstance(value, kind):
        return value
    raise ConfigError(name, value, f"must be of type {getattr(kind, '__name__', kind)}")
