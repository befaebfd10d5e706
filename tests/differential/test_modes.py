"""Both modes of a strategy are one strategy: the same bits in orders, fills, equity, records, state and errors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from replay import (
    BpsSlippage,
    CompileError,
    ConstantLatency,
    FeedLatency,
    Instrument,
    LogNormalLatency,
    LogProbQueue,
    MakerTaker,
    Margin,
    PowerProbQueue,
    Replay,
    Result,
    RiskAverseQueue,
    Strategy,
    StrategyError,
    Window,
)
from replay.context import Book, Context, Fill, Funding, Gap, Liquidation, Order, Quote, Timer, Trade
from replay.kernel.jit import jit_is_on
from replay.testing import synthetic_events
from strategies.funding_carry import FundingCarry
from strategies.grid import Grid
from strategies.imbalance import Imbalance
from strategies.liquidation_fade import LiquidationFade
from strategies.market_maker import MarketMaker
from strategies.vwap_momentum import VwapMomentum
from tests.differential.generated import generated, source

pytestmark = pytest.mark.skipif(not jit_is_on(), reason="compiled strategies need the compiler (NUMBA_DISABLE_JIT)")

INSTRUMENTS = [
    Instrument("test", "A", "linear", Decimal("0.1"), Decimal("0.001")),
    Instrument("test", "B", "inverse", Decimal("0.25"), Decimal("100")),
]
MODELS: list[dict[str, Any]] = [
    {"latency": ConstantLatency(2_000, 1_000), "fees": MakerTaker("-0.0001", "0.0005")},
    {"latency": LogNormalLatency(4_000, 0.5), "queue": PowerProbQueue(3), "execution": "full"},
    {"latency": FeedLatency(1.5, 0.5, 100, 0), "queue": LogProbQueue(), "slippage": BpsSlippage(2), "batch_rows": 97},
    {"queue": RiskAverseQueue(), "margin": Margin(0.1, 0.05), "deposit": 40_000.0, "on_gap": "hold"},
]


def market(seed: int, messages: int = 2_500) -> np.ndarray:
    """Two instruments, with a gap now and then."""
    return synthetic_events(INSTRUMENTS, seed=seed, messages=messages, gap_every=[0, 40, 90][seed % 3])


def outcome(strategy: Strategy, events: np.ndarray, models: dict[str, Any], mode: str) -> tuple[Any, ...]:
    """Everything that must be the same in both modes."""
    error = ""
    try:
        result: Result = Replay(events, instruments=INSTRUMENTS, **models).run(strategy, mode=mode)
    except CompileError:
        raise
    except StrategyError as stopped:
        result, error = stopped.partial, f"{stopped} {stopped.event!r}"
    assert result.mode == mode
    records = {name: len(values) for name, values in result.records.items()}
    state = {name: portable(value) for name, value in strategy.parameters().items()}
    counts = (len(result.orders), len(result.fills), records, result.refusals)
    return error, counts, state, result.digest


def portable(value: Any) -> Any:
    """A variable as something that `==` compares bit by bit."""
    if isinstance(value, Window):
        return value.count, value._data.tobytes()
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    return value.hex() if isinstance(value, float) else value


def same(make: Any, events: np.ndarray, models: dict[str, Any], hint: str) -> tuple[Any, ...]:
    """Run both modes; returns what came out."""
    print(hint)
    slow, fast = (outcome(make(), events, models, mode) for mode in ("interpreted", "compiled"))
    for name, a, b in zip(("error", "counts", "state", "digest"), slow, fast):
        assert a == b, f"{name} differs, see the output"
    return slow


EXAMPLES: list[tuple[type[Strategy], dict[str, Any]]] = [
    (Grid, {"step_ticks": 3, "refresh_us": 20_000}),
    (MarketMaker, {"half_spread_ticks": 1, "refresh_us": 10_000, "instrument": 1}),
    (Imbalance, {"enter": 0.2, "leave": 0.05}),
    (LiquidationFade, {"trigger_lots": 20, "hold_us": 200_000, "check_us": 20_000}),
    (FundingCarry, {"enter_rate": 0.00001, "leave_rate": 0.000005, "check_us": 50_000, "hedge": 1, "hedge_lots": 3}),
    (VwapMomentum, {"bar_us": 50_000, "window_bars": 5, "momentum_bars": 2, "entry_bps": 0.1, "target_bps": 0.5}),
]


@pytest.mark.parametrize(("cls", "parameters"), EXAMPLES, ids=[cls.__name__ for cls, _ in EXAMPLES])
def test_example_strategies(cls: type[Strategy], parameters: dict[str, Any]) -> None:
    traded = 0
    for seed, models in enumerate(MODELS):
        hint = f"{cls.__name__}, market {seed}, models {models}"
        error, (orders, fills, _, _), _, _ = same(lambda: cls(**parameters), market(seed), models, hint)
        assert error == ""
        traded += fills if orders else 0
    assert traded > 0, "no market made it trade"


@pytest.mark.parametrize("seed", range(8))
def test_generated_strategies(seed: int) -> None:
    cls, sent = generated(seed), 0
    for k, models in enumerate(MODELS):
        market_seed = 10 * seed + k
        hint = f"strategy {seed}, market {market_seed}, models {models}\n{source(seed)}"
        sent += same(cls, market(market_seed, 1_200), models, hint)[1][0]
    assert sent > 20, "the strategy does nothing worth comparing"


def test_generated_strategies_use_everything() -> None:
    """Between them the generated sources name every request, every term and every handler."""
    text = "".join(source(seed) for seed in range(8))
    words = [f"ctx.{name}(" for name in ("buy", "sell", "send", "cancel", "cancel_all", "modify", "order", "orders")]
    words += [f"ctx.{name}(" for name in ("record", "equity", "position", "mark", "at", "reason", "book")]
    words += ["tif='IOC'", "tif='FOK'", "tif='GTD'", "post_only", "reduce_only", "stop_ticks=", "trail_ticks="]
    words += ["trigger='mark'", "trigger='touch'", "None", "depth(", "super()", "on_gap", "on_funding", "on_fill"]
    assert [word for word in words if word not in text] == []


# ---------------------------------------------------------------------------------- every name of ctx and the events

EVENTS: dict[str, tuple[type, str]] = {
    "on_book": (Book, "book"), "on_quote": (Quote, "quote"), "on_trade": (Trade, "trade"),
    "on_liquidation": (Liquidation, "forced"), "on_funding": (Funding, "funding"), "on_timer": (Timer, "timer"),
    "on_order": (Order, "order"), "on_fill": (Fill, "fill"), "on_gap": (Gap, "gap"),
}  # fmt: skip
INTERNAL = {"bind", "grid"}
PYTHON_ONLY = {"instruments", "index"}
CALLS = {
    "now": "ctx.now - 1_700_000_000_000_000",
    "book": "ctx.book(1).bid_ticks + ctx.book().ask_ticks",
    "position": "ctx.position() + 1000 * ctx.position(1)",
    "mark": "ctx.mark() + ctx.mark(1)",
    "equity": "ctx.equity() * 3.0 + ctx.equity(1)",
    "cash": "ctx.cash() * 3.0 + ctx.cash(1)",
    "fees": "ctx.fees() * 3.0 + ctx.fees(1)",
    "turnover": "ctx.turnover() * 3.0 + ctx.turnover(1)",
    "order": "self.known(ctx)",
    "orders": "len(ctx.orders()) + 100 * len(ctx.orders(1)) + 10_000 * len(ctx.orders(instrument=0))",
    "buy": "ctx.buy(0, 2, ctx.book().bid_ticks, tag=3) if self.n % 9 == 0 else 0",
    "sell": "ctx.sell(1, 1, ctx.book(1).ask_ticks) if self.n % 9 == 0 else 0",
    "send": "ctx.send(0, -1, 1, None, reduce_only=True) if self.n % 9 == 0 else 0",
    "cancel": "ctx.cancel(self.n % 97)",
    "cancel_all": "ctx.cancel_all() + ctx.cancel_all(1)",
    "modify": "ctx.modify(self.n % 31, 3, ctx.book().bid_ticks)",
    "every": "self.nothing(ctx.every(70_001, tag=5)) if self.n % 97 == 0 else 0",
    "at": "self.nothing(ctx.at(ctx.now + 1_000, 6)) if self.n % 5 == 0 else 0",
    "record": "self.nothing(ctx.record('own', 1.5))",
    "reason": "self.word(ctx.reason(-(self.n % 9)))",
    "stop": "self.nothing(ctx.stop()) if self.n > 4_000 else 0",
}
READER = """
class ReadsEverything(Strategy):
    n: int = 0

    def on_start(self, ctx):
        ctx.every(20_000, tag=1)

    def word(self, text):
        found = len(text)
        for letter in text:
            found = (found * 31 + ord(letter)) % 1_000_003
        return found

    def nothing(self, answer):
        return 1 if answer is None else 0

    def known(self, ctx):
        order = ctx.order(self.n % 41)
        return -1 if order is None else order.id

"""


def public(cls: type) -> set[str]:
    """Names of a class that a strategy may use."""
    return {name for name in dir(cls) if not name.startswith("_")} - INTERNAL


def reader() -> type[Strategy]:
    """A strategy that records every public attribute of all events, and calls every method of `ctx`."""
    lines = []
    for handler, (cls, word) in EVENTS.items():
        lines += [f"    def {handler}(self, ctx, e):", "        self.n += 1"]
        for name in sorted(public(cls)):
            value = f"self.word(e.{name})" if name in ("status", "reason") else f"e.{name}"
            if name == "depth":
                lines += ["        for side in (1, -1):", "            ticks, lots = e.depth(side, levels=4)"]
                lines += ["            for k in range(len(ticks)):"]
                lines += [f"                ctx.record('{word}.depth', ticks[k] * side + lots[k])"]
            else:
                lines.append(f"        ctx.record('{word}.{name}', {value})")
        if handler in ("on_timer", "on_order"):
            lines.append("        self.call(ctx)")
    lines += [
        "    def call(self, ctx):",
        *(f"        ctx.record('ctx.{name}', {call})" for name, call in CALLS.items()),
    ]
    space: dict[str, Any] = {"__name__": "generated", "Strategy": Strategy}
    exec(compile(READER + "\n".join(lines), "<reads everything>", "exec", dont_inherit=True), space)
    return space["ReadsEverything"]  # type: ignore[no-any-return]


def test_every_name_has_the_same_value_in_both_modes() -> None:
    """A name that a Python class has and its compiled form has not does not compile here."""
    assert public(Context) - PYTHON_ONLY == set(CALLS), "a method of Context has no call in this test"
    cls = reader()
    names: set[str] = set()
    for seed, models in enumerate(MODELS[:2]):
        events = synthetic_events(INSTRUMENTS, seed=seed, messages=1_500, gap_every=12)
        runs = [
            Replay(events, instruments=INSTRUMENTS, **models).run(cls(), mode=m) for m in ("interpreted", "compiled")
        ]
        slow, fast = (result.records for result in runs)
        assert set(slow) == set(fast)
        for name in slow:
            assert slow[name].tobytes() == fast[name].tobytes(), name
        assert runs[0].digest == runs[1].digest
        names |= set(slow)
    wanted = {f"{word}.{name}" for cls, word in EVENTS.values() for name in public(cls)}
    wanted |= {f"ctx.{name}" for name in CALLS} | {"own"}
    assert (wanted - names, names - wanted) == (set(), set()), "never read, or read without being a name"


def test_python_only_names_say_where_they_belong() -> None:
    for name in sorted(PYTHON_ONLY):
        space: dict[str, Any] = {"__name__": "generated", "Strategy": Strategy}
        text = f"class Asks(Strategy):\n    def on_book(self, ctx, book):\n        ctx.{name}\n"
        exec(compile(text, f"<asks {name}>", "exec", dont_inherit=True), space)
        with pytest.raises(CompileError, match=f"ctx.{name} is not there in compiled handlers; use it in on_start"):
            Replay(market(1, 100), instruments=INSTRUMENTS).run(space["Asks"](), mode="compiled")
