"""What compiled handlers may not contain is named before anything compiles."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from replay.compiler import compile_strategy, plan
from replay.errors import CompileError
from replay.refusals import refuse
from replay.strategy import Strategy

SOURCE = """\
from replay import Strategy

class Given(Strategy):
    n: int = 0

    def on_start(self, ctx):
        self.help()

    def on_trade(self, ctx, trade):
        {}

    def act(self, ctx):
        import sys

    def help(self):
        print("only on_start comes here")
"""


def made(folder: Path, body: str) -> Strategy:
    """A strategy with this body of `on_trade`, on line 10 of a file."""
    path = folder / "given.py"
    path.write_text(SOURCE.format(body.replace("\n", "\n        ")))
    spec = importlib.util.spec_from_file_location("given", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    strategy: Strategy = module.Given()
    return strategy


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("import sys", "on_trade, line 10: an import has no machine form; import at the top of the file"),
        ("from math import sqrt", "line 10: an import"),
        ("with open('x') as file: self.n = 1", "line 10: `with` has no machine form"),
        ("global count; count = 1", "line 10: `global count` has no machine form"),
        ("try: self.n = 1\nfinally: self.n = 2", "line 10: `finally` has no machine form"),
        ("try: self.n = 1\nexcept ValueError: self.n = 2", "line 10: only `except Exception`"),
        ("print(trade)", "line 10: 'print' has no machine form"),
        ("self.n = 1\nself.n = foo", "line 11: name 'foo' is not defined"),
        ("ctx.buy(0, 1, tick=5)", "line 10: ctx.buy has no argument 'tick'; did you mean 'ticks'?"),
        ("ctx.sell(0)", "line 10: ctx.sell: missing a required argument: 'lots'"),
        ("self.act(ctx)", "act, line 13: an import"),
    ],
)
def test_what_has_no_machine_form_is_refused(tmp_path: Path, body: str, told: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_strategy(made(tmp_path, body))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        "self.n = max(len([x for x in (1, 2)]), 3)",
        "ctx.buy(0, 1, ticks=trade.ticks, post_only=True, tag=3)",
        "try: self.n = 1 // self.n\nexcept Exception: self.n = 5",
        "self.n = int(ctx.reason(-7) == 'off-lot')",
        "self.n = True if __name__ else False",
    ],
)
def test_what_compiles_is_let_through(tmp_path: Path, body: str) -> None:
    strategy = made(tmp_path, body)
    way = plan(strategy)
    refuse(type(strategy), way.methods, way.handlers)


def test_code_without_a_source_is_refused_in_numbas_words() -> None:
    space: dict[str, type[Strategy]] = {"Strategy": Strategy}
    exec("class Given(Strategy):\n    def on_trade(self, ctx, trade):\n        import sys", space)
    with pytest.raises(CompileError, match="unsupported opcode"):
        compile_strategy(space["Given"]())
