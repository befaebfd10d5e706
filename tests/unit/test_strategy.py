"""Strategies: handlers and parameters, and the mistakes that are caught when a class is made."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import pytest

from replay import Context, Instrument, Replay
from replay.context import Trade
from replay.errors import ConfigError
from replay.strategy import HANDLERS, Strategy
from replay.testing import synthetic_events


class Base(Strategy):
    lots: int = 3
    width: float = 0.5
    loud: bool = False
    name: str = "x"
    seen: list[int] = []
    _hidden: int = 1
    CONSTANT = 5

    def on_trade(self, ctx: Any, trade: Any) -> None:
        self.seen.append(1)


class Derived(Base):
    extra: int = 7

    def on_book(self, ctx: Any, book: Any) -> None:
        self.extra += 1


def test_parameters_come_from_annotations() -> None:
    assert list(Base.parameter_types()) == ["lots", "width", "loud", "name", "seen"]
    assert set(Derived.parameter_types()) == {"extra", "lots", "width", "loud", "name", "seen"}
    strategy = Derived(lots=9, width=2)
    assert strategy.parameters() == {"extra": 7, "lots": 9, "width": 2.0, "loud": False, "name": "x", "seen": []}
    assert Base.lots == 3, "the class is untouched"


def test_overriding_is_subscribing() -> None:
    assert [name for name in HANDLERS if Derived().overrides(name)] == ["on_book", "on_trade"]
    assert not any(Strategy().overrides(name) for name in HANDLERS)


def test_mutable_state_is_not_shared() -> None:
    one, two = Base(), Base()
    one.on_trade(None, None)
    assert (one.seen, two.seen, Base.seen) == ([1], [], [])


def test_a_misspelt_handler_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(ConfigError, match=r"Wrong\.on_trades is not a handler.*did you mean 'on_trade'"):
        type("Wrong", (Strategy,), {"on_trades": lambda self, ctx, trade: None})


@pytest.mark.parametrize("name", ["lot", "_hidden", "CONSTANT", "on_trade"])
def test_unknown_parameters_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no such parameter"):
        Base(**{name: 1})
    with pytest.raises(ConfigError, match="did you mean 'lots'"):
        Base(lot=1)


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [("lots", 4, 4), ("lots", "4", 4), ("lots", 4.0, 4), ("width", "0.25", 0.25), ("width", 1, 1.0),
     ("loud", True, True), ("loud", "yes", True), ("loud", "0", False), ("name", "y", "y"), ("seen", [3], [3])],
)  # fmt: skip
def test_values_that_fit_are_converted(name: str, given: Any, kept: Any) -> None:
    value = getattr(Base(**{name: given}), name)
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("name", "given"),
    [("lots", 4.5), ("lots", "4.5"), ("lots", True), ("lots", None), ("lots", float("nan")), ("lots", float("inf")),
     ("width", "wide"), ("width", None), ("loud", 1), ("loud", "maybe"), ("name", 3)],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused(name: str, given: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Base(**{name: given})
    assert caught.value.name == f"Base.{name}"


def test_class_constants_are_no_parameters() -> None:
    class Tidy(Strategy):
        known: ClassVar[int] = 3
        lots: int = 1

    assert Tidy(lots=2).parameters()["lots"] == 2


def test_a_parameter_of_any_type_takes_anything() -> None:
    class Loose(Strategy):
        thing: Any = None

    assert Loose(thing="x").thing == "x"


def test_instances_share_nothing_that_is_changed_in_place() -> None:
    class Base(Strategy):
        seen = []
        noted: list = []
        table = np.zeros(2)

    class Derived(Base):
        table = None

        def __init__(self) -> None:
            self.own = 1

    for made in (Base, Derived):
        first, second = made(), made()
        first.seen.append(1)
        first.noted.append(1)
        assert second.seen == second.noted == made.seen == []
    assert Base().table is not Base.table and Derived().table is None


def test_two_strategies_of_a_run_have_lists_of_their_own() -> None:
    class Counting(Strategy):
        seen = []

        def on_trade(self, ctx: Context, trade: Trade) -> None:
            self.seen.append(trade.ticks)
            ctx.record("seen", float(len(self.seen)))

    instruments = [Instrument("test", "A", "linear", Decimal("0.1"), Decimal("0.001"))]
    replay = Replay(synthetic_events(instruments, messages=500), instruments=instruments)
    alone = replay.run(Counting())
    assert len(alone.records["seen"]) > 10
    assert [result.digest for result in replay.run([Counting(), Counting()])] == [alone.digest, alone.digest]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def on_trade(self, trade): pass", "write def on_trade(self, ctx, trade)"),
        ("def on_start(self): pass", "write def on_start(self, ctx)"),
        ("def on_fill(self, ctx, fill, more): pass", "cannot be called with (self, ctx, fill)"),
        ("def on_trade(self, ctx, trade): yield 1", "would never run: it is a handler with 'yield'"),
        ("async def on_trade(self, ctx, trade): pass", "would never run: it is a handler with 'async'"),
    ],
)
def test_a_handler_that_could_not_be_called_is_refused(source: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        exec(f"class Wrong(Strategy):\n    {source}", {"Strategy": Strategy})


def test_a_handler_may_take_more_than_it_needs() -> None:
    class Wide(Strategy):
        def on_trade(self, *arguments: object) -> None: ...
        def on_fill(self, ctx: Context, fill: object, again: bool = False) -> None: ...

    assert Wide().overrides("on_trade")
