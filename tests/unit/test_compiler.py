"""From class to machine code: what is taken in, what is refused and in which words, what an error carries."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from replay import CompileError, ConfigError, ConstantLatency, Instrument, Replay, Strategy, StrategyError, Window
from replay.compiler import kernel, plan
from replay.context import Book, Context, Order, Timer, Trade
from replay.kernel.jit import CACHE_DIR
from replay.testing import synthetic_events

INSTRUMENTS = [Instrument("test", "A", "linear", Decimal("0.1"), Decimal("0.001"))]
THRESHOLD = 3
WEIGHTS = np.array([1, 2, 3])


@kernel
def triple(x: int) -> int:
    """A user's own kernel."""
    return 3 * x


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    """A small market."""
    return synthetic_events(INSTRUMENTS, seed=3, messages=2_000)


def both(events: np.ndarray, make: Any, **settings: Any) -> tuple[Any, Any, Strategy, Strategy]:
    """Results and instances of the interpreted and of the compiled run."""
    runs = []
    for mode in ("interpreted", "compiled"):
        strategy = make()
        replay = Replay(events, instruments=INSTRUMENTS, latency=ConstantLatency(5_000, 5_000), **settings)
        runs.append((replay.run(strategy, mode=mode), strategy))
    assert [result.mode for result, _ in runs] == ["interpreted", "compiled"]
    return runs[0][0], runs[1][0], runs[0][1], runs[1][1]


def line_of(cls: type, text: str) -> int:
    """Line of this file on which `text` stands, inside the class."""
    lines = Path(__file__).read_text().splitlines()
    first = next(n for n, words in enumerate(lines) if words.strip().startswith(f"class {cls.__name__}("))
    return next(n for n in range(first, len(lines)) if text in lines[n]) + 1


def refused(events: np.ndarray, strategy: Strategy) -> CompileError:
    """The error that compiling gives."""
    with pytest.raises(CompileError) as caught:
        Replay(events, instruments=INSTRUMENTS).run(strategy, mode="compiled")
    return caught.value


# -------------------------------------------------------------------------------------------------- what is allowed


class Everything(Strategy):
    """All kinds of state, helpers, constants, a user's kernel."""

    SCALE = 7
    shared: ClassVar[int] = 3

    size: int = 2
    ratio: float = 0.5
    active: bool = True
    seen: int = 0
    total: float = 0.0
    counts: np.ndarray = np.zeros((2, 3), np.int64)
    flags: np.ndarray = np.zeros(2, np.bool_)
    recent: Window = Window(16)
    steps: Window = Window(5, int)

    def on_start(self, ctx: Context) -> None:
        ctx.every(50_000, tag=4)
        self.seen = 100

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        self.seen += triple(trade.lots) // self.SCALE + len(WEIGHTS) + int(WEIGHTS[1])
        self.recent.push(trade.price)
        self.steps.push(trade.ticks)
        self.counts[self.row(trade.side), trade.lots % 3] += 1
        self.flags[0] = not self.flags[0]
        if self.recent.full and self.active:
            self.total += self.recent.mean() - self.recent.std() * self.ratio + self.recent[-1] - self.recent[0]
            self.total += self.steps.sum() + self.steps.max() - self.steps.min()
            ctx.record("total", self.total)

    def row(self, side: int, base: int = 0) -> int:
        """A helper with a default."""
        return base + (1 if side > 0 else 0)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        if timer.tag == 4 and self.seen % 2 == 0:
            self.active = not self.active


def test_all_kinds_of_state_end_the_same(events: np.ndarray) -> None:
    a, b, slow, fast = both(events, lambda: Everything(size=5))
    assert a.digest == b.digest
    assert len(a.records["total"]) > 10
    for name in ("size", "ratio", "active", "seen", "total"):
        assert getattr(slow, name) == getattr(fast, name), name
        assert type(getattr(slow, name)) is type(getattr(fast, name)), name
    assert (slow.counts == fast.counts).all() and slow.counts.sum() > 0
    assert (slow.flags == fast.flags).all()
    assert [slow.recent[i] for i in range(16)] == [fast.recent[i] for i in range(16)]
    assert slow.recent.count == fast.recent.count > 16
    fast.recent.check()


class Base(Strategy):
    """Two levels of inheritance with super()."""

    calls: int = 0

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        self.calls += self.weight()

    def weight(self) -> int:
        """Replaced below."""
        return 1


class Middle(Base):
    """Adds."""

    def weight(self) -> int:
        return super().weight() + 10


class Top(Middle):
    """Adds more, and around the handler."""

    def weight(self) -> int:
        return super().weight() + 100

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        self.calls += 1_000_000
        super().on_trade(ctx, trade)


def test_inheritance_and_super(events: np.ndarray) -> None:
    _, _, slow, fast = both(events, Top)
    assert slow.calls == fast.calls
    trades = slow.calls // 1_000_000
    assert trades > 10 and slow.calls == trades * 1_000_111


def test_growing_inside_a_handler(events: np.ndarray) -> None:
    """A handler that sends more orders than there is room for makes the arena move under its feet."""
    a, b, _, _ = both(events, Flood)
    assert a.digest == b.digest
    assert len(a.orders) > 6_000


class Flood(Strategy):
    """Thousands of far orders from one handler."""

    sent: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        if self.sent == 0 and book.ready:
            for k in range(3_000):
                self.sent += ctx.buy(0, 1, book.bid_ticks - 100 - k) > 0


def test_stepping(events: np.ndarray) -> None:
    replay = Replay(events, instruments=INSTRUMENTS, latency=ConstantLatency(5_000, 5_000))
    session = replay.session(Everything(), mode="compiled")
    steps = 0
    while session.step():
        steps += 1
    slow = replay.session(Everything())
    expected = 0
    while slow.step():
        expected += 1
    assert steps == expected > 100
    assert session.results()[0].digest == slow.results()[0].digest


def test_modes_mix_strategies(events: np.ndarray) -> None:
    replay = Replay(events, instruments=INSTRUMENTS, latency=ConstantLatency(5_000, 5_000))
    alone = [replay.run(Everything(ratio=r)).digest for r in (0.25, 0.75)]
    together = replay.run([Everything(ratio=0.25), Flood(), Everything(ratio=0.75)], mode="compiled")
    assert [together[0].digest, together[2].digest] == alone


# -------------------------------------------------------------------------------------------------- what is refused


class NoDefault(Strategy):
    """A variable without a default."""

    lots: int  # nothing


class Text(Strategy):
    """A variable with a type that has no machine form."""

    name: str = "x"


class Wrong(Strategy):
    """A default that is not of its type."""

    lots: int = 1.5  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("cls", "text", "words"),
    [
        (NoDefault, "lots: int", "lots has no default"),
        (Text, "name: str", "name has type str"),
        (Wrong, "lots: int", "lots is annotated int but holds 1.5"),
    ],
)
def test_layout_errors_come_before_compiling(cls: type, text: str, words: str) -> None:
    with pytest.raises(CompileError, match=words) as caught:
        plan(cls())
    assert (caught.value.strategy, caught.value.line) == (cls.__name__, line_of(cls, text))


class Undeclared(Strategy):
    """Uses a variable that is not annotated."""

    def on_book(self, ctx: Context, book: Book) -> None:
        self.counter = 1


class FloatIntoInt(Strategy):
    """Stores a float in an int."""

    mid: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        self.mid = book.mid_ticks


class FloatSum(Strategy):
    """A sum whose last digits depend on the order of additions."""

    values: np.ndarray = np.zeros(20)
    out: float = 0.0

    def on_book(self, ctx: Context, book: Book) -> None:
        self.out = self.values.sum()


class Constant(Strategy):
    """Assigns to a constant."""

    LIMIT = 3

    def on_book(self, ctx: Context, book: Book) -> None:
        self.LIMIT = 4


class WholeArray(Strategy):
    """Replaces an array."""

    values: np.ndarray = np.zeros(3)

    def on_book(self, ctx: Context, book: Book) -> None:
        self.values = np.ones(3)


class ByName(Strategy):
    """Looks an instrument up by its name in a handler."""

    def on_book(self, ctx: Context, book: Book) -> None:
        ctx.book(ctx.index("test:A"))


class Misspelt(Strategy):
    """A time in force that does not exist."""

    def on_book(self, ctx: Context, book: Book) -> None:
        ctx.buy(0, 1, tif="ICO")


class InHelper(Strategy):
    """The mistake is in a helper."""

    def on_book(self, ctx: Context, book: Book) -> None:
        self.helper(book)

    def helper(self, book: Book) -> int:
        """Wrong attribute."""
        return book.bid_tix  # type: ignore[attr-defined, no-any-return]


def test_refusals_name_class_method_line_and_remedy(events: np.ndarray) -> None:
    cases = [
        (Undeclared, "on_book", "self.counter = 1", "self.counter is not known"),
        (FloatIntoInt, "on_book", "self.mid = book", "self.mid is declared int but gets float"),
        (FloatSum, "on_book", "self.out =", "sum of floats"),
        (Constant, "on_book", "self.LIMIT = 4", "self.LIMIT is a constant"),
        (WholeArray, "on_book", "self.values =", r"self.values\[:\]"),
        (ByName, "on_book", "ctx.index", "ctx.index is not there"),
        (InHelper, "helper", "book.bid_tix", "bid_tix"),
    ]
    for cls, method, text, words in cases:
        error = refused(events, cls())
        assert (error.strategy, error.handler, error.line) == (cls.__name__, method, line_of(cls, text)), cls
        assert re.search(words, str(error)), (cls, str(error))


def test_a_refusal_is_not_forgotten_by_the_cache(events: np.ndarray) -> None:
    first, second = refused(events, FloatIntoInt()), refused(events, FloatIntoInt())
    assert str(first) == str(second)


def test_auto_says_which_and_why(events: np.ndarray) -> None:
    replay = Replay(events, instruments=INSTRUMENTS)
    fine, not_fine = replay.run(Everything(), mode="auto"), replay.run(ByName(), mode="auto")
    assert (fine.mode, fine.mode_reason) == ("compiled", "")
    assert not_fine.mode == "interpreted" and "ctx.index" in not_fine.mode_reason
    assert "not compiled: " in not_fine.summary() and "[compiled]" in fine.summary()


def test_unknown_mode(events: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="did you mean 'compiled'"):
        Replay(events, instruments=INSTRUMENTS).run(Everything(), mode="compile")


# ---------------------------------------------------------------------------------------------- errors while running


class OutOfBounds(Strategy):
    """Writes past the end of an array after some trades."""

    values: np.ndarray = np.zeros(4, np.int64)
    at: int = 0
    sent: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        if self.sent == 0 and book.ready:
            self.sent = ctx.buy(0, 1)

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        self.values[self.at] = trade.ticks
        self.at += 1


class Raises(Strategy):
    """Raises by itself."""

    def on_order(self, ctx: Context, order: Order) -> None:
        if order.done:
            raise ValueError("enough")

    def on_book(self, ctx: Context, book: Book) -> None:
        if book.ready:
            ctx.buy(0, 1)


class Divides(Strategy):
    """Divides by zero."""

    zero: int = 0

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        self.zero = 1 // self.zero

    def on_start(self, ctx: Context) -> None:
        ctx.at(ctx.now + 40_000, tag=9)


class Contradicts(Strategy):
    """Terms that contradict each other."""

    def on_book(self, ctx: Context, book: Book) -> None:
        ctx.buy(0, 1, post_only=True)


@pytest.mark.parametrize(
    ("cls", "handler", "cause", "words"),
    [
        (OutOfBounds, "on_trade", IndexError, "out of bounds"),
        (Raises, "on_order", ValueError, "enough"),
        (Divides, "on_timer", ZeroDivisionError, "zero"),
        (Contradicts, "on_book", ConfigError, "needs a limit price"),
        (Misspelt, "on_book", ConfigError, "tif='ICO'"),
    ],
)
def test_an_exception_stops_the_run_with_everything_known(
    events: np.ndarray, cls: type[Strategy], handler: str, cause: type[Exception], words: str
) -> None:
    caught = []
    for mode in ("interpreted", "compiled"):
        with pytest.raises(StrategyError, match=words) as info:
            Replay(events, instruments=INSTRUMENTS, latency=ConstantLatency(5_000, 5_000)).run(cls(), mode=mode)
        caught.append(info.value)
    slow, fast = caught
    assert fast.handler == slow.handler == handler
    assert fast.time_us == slow.time_us
    assert repr(fast.event) == repr(slow.event)
    assert isinstance(fast.__cause__, cause) and isinstance(slow.__cause__, cause)
    assert fast.partial.digest == slow.partial.digest
    assert fast.partial.mode == "compiled"


# ------------------------------------------------------------------------------------------------- digest and cache


def renamed(**names: Any) -> type[Strategy]:
    """A strategy whose handler refers to a global that `names` sets."""
    source = (
        "class Uses(Strategy):\n    out: float = 0.0\n"
        "    def on_trade(self, ctx, trade):\n        self.out += FACTOR * trade.ticks\n"
    )
    space: dict[str, Any] = {"Strategy": Strategy, "__name__": "made", **names}
    exec(source, space)
    return space["Uses"]  # type: ignore[no-any-return]


def test_the_digest_follows_everything_the_code_refers_to() -> None:
    first, again, other = (plan(renamed(FACTOR=f)()).digest for f in (2, 2, 3))
    assert first == again != other
    assert plan(Everything()).digest == plan(Everything(size=9)).digest


def test_a_changed_global_is_seen(events: np.ndarray) -> None:
    _, _, _, two = both(events, renamed(FACTOR=2))
    _, _, _, three = both(events, renamed(FACTOR=3))
    assert math.isclose(three.out / two.out, 1.5)


SCRIPT = """
from decimal import Decimal
from replay import Instrument, Replay
from replay.testing import synthetic_events
from strategies.grid import Grid
instruments = [Instrument("test", "A", "linear", Decimal("0.1"), Decimal("0.001"))]
print(Replay(synthetic_events(instruments, seed=3, messages=500), instruments=instruments)
      .run(Grid(), mode="compiled").digest)
"""


@pytest.fixture
def without_strategies(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A cache with the engine in it (linked from the usual one) and no strategy: its folder, the environment for it."""
    home = tmp_path / "kernels" / CACHE_DIR.name
    home.mkdir(parents=True)
    for path in CACHE_DIR.iterdir():
        if path.name != "strategies":
            (home / path.name).symlink_to(path)
    return home, {**os.environ, "REPLAY_CACHE_DIR": str(tmp_path)}


def started(environment: dict[str, str]) -> subprocess.Popen[str]:
    """A process that compiles and runs a grid."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_two_processes_may_compile_at_the_same_time(without_strategies: tuple[Path, dict[str, str]]) -> None:
    home, environment = without_strategies
    running = [started(environment) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] != ""
    assert len(list((home / "strategies").iterdir())) == 1


def test_a_strategy_killed_while_compiling_compiles_again(without_strategies: tuple[Path, dict[str, str]]) -> None:
    home, environment = without_strategies
    killed = started(environment)
    while killed.poll() is None and not list(home.glob("strategies/*/*/*.nbi")):
        time.sleep(0.02)
    killed.kill()
    killed.communicate(timeout=30)
    assert list(home.glob("strategies/*-*")), "killed in the middle"
    again = started(environment)
    output, errors = again.communicate(timeout=300)
    assert again.returncode == 0 and output, errors
    assert [p for p in (home / "strategies").iterdir() if "-" not in p.name]
