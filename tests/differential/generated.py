"""Random strategies as source text: the same seed, the same class.

`generated(seed)` draws state, helper methods, handlers and in them actions of every kind that `ctx` offers: orders
with all terms, changes, cancels, timers, records, reads.  Decisions come from a generator of the strategy's own (its
state, so that it must come out the same in both modes) and from what it sees.
"""

from __future__ import annotations

import linecache
import math
import random
from typing import Any

import numpy as np

from replay import Strategy, Window

HANDLERS = {
    "on_book": "book", "on_quote": "quote", "on_trade": "trade", "on_liquidation": "forced", "on_funding": "funding",
    "on_timer": "timer", "on_order": "order", "on_fill": "fill", "on_gap": "gap",
}  # fmt: skip

HEAD = '''
class {name}({base}):
    """Made from seed {seed}."""

    STEP = {step}
    NAMES = (3, 5, 8)

    chance: int = {chance}
    seed: int = {seed}
    count: int = 0
    total: float = 0.0
    flag: bool = False
    last: int = 0
    ids: np.ndarray = np.zeros(8, np.int64)
    table: np.ndarray = np.zeros((2, 4))
    prices: Window = Window({places})
    steps: Window = Window({places} + 2, int)

    def dice(self, sides: int) -> int:
        """The next random number below `sides`."""
        self.seed = (self.seed * 1103515245 + 12345) % 2147483648
        return self.seed // 65536 % sides

    def keep(self, ctx, answer: int, weight: float = 1.0) -> bool:
        """Note the answer to a request."""
        if answer > 0:
            self.ids[self.count % 8] = self.last = answer
        self.count += 1
        self.table[self.count % 2, self.dice(4)] += answer * weight
        if ctx.reason(answer) == "off-lot" or (ctx.reason(answer) == "" and answer < 0):
            ctx.record("refused", answer)
        return answer > 0

    def lots(self) -> int:
        """A size, seldom a wrong one."""
        return self.dice(12) if self.dice(20) == 0 else 1 + self.dice(9)
'''

DERIVED = '''
class Derived{seed}({name}):
    """Another one on top."""

    extra: float = 0.25

    def lots(self) -> int:
        return super().lots() + 1

    def keep(self, ctx, answer: int, weight: float = 1.0) -> bool:
        self.extra += 0.5 if super().keep(ctx, answer, weight=weight + self.extra) else -0.125
        return answer > 0
'''


class _Writer:
    """Draws statements; `i` below is an instrument, `o` an order, `b` a book."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *choices: str) -> str:
        return self.random.choice(choices)

    def price(self) -> str:
        """Ticks near the touch."""
        side = self.one("bid", "ask")
        return f"b.{side}_ticks {self.one('+', '-')} {self.one('self.dice(4)', 'self.STEP', '0', '12')}"

    def terms(self) -> str:
        """Everything behind instrument and lots of an order."""
        expiry = f"expire_us=ctx.now + {self.random.randrange(1, 80_000)}"
        limit = self.one(
            "{p}", "ticks={p}", "{p}, post_only=True", "{p}, tif='IOC'", "{p}, tif='FOK'",
            "{p}, tif='GTD', " + expiry, "{p}, reduce_only=self.flag", "{p}, tif='GTC' if self.flag else 'IOC'",
            "{p}, post_only=self.dice(2) == 0, tag=self.count % 5", "{p} if self.flag else None",
        )  # fmt: skip
        stop = self.one(
            "stop_ticks={p}", "{p}, stop_ticks={q}", "trail_ticks=1 + self.dice(5)", "None, stop_ticks={p}",
            "stop_ticks={p}, trigger='mark'", "trail_ticks=3, trigger='touch'", "{p}, stop_ticks={q}, trigger='touch'",
            "trail_ticks=2, trigger='mark', reduce_only=True", "stop_ticks={p}, tif='GTD', " + expiry,
        )  # fmt: skip
        market = self.one("reduce_only=True", "tag=7", "None", "tif='IOC'", "ticks=None, reduce_only=self.flag")
        chosen = self.random.choices((limit, stop, market), (6, 3, 1))[0]
        return chosen.format(p=self.price(), q=self.price())

    def send(self) -> str:
        """One order."""
        i, terms = self.one("i", "0", "1", "instrument=i"), self.terms()
        if i.startswith("instrument"):
            terms = terms if "=" in terms.split(",")[0] and "==" not in terms.split(",")[0] else f"ticks={self.price()}"
            return f"self.keep(ctx, ctx.{self.one('buy', 'sell')}(instrument=i, lots=self.lots(), {terms}))"
        if self.random.random() < 0.5:
            return f"self.keep(ctx, ctx.{self.one('buy', 'sell')}({i}, self.lots(), {terms}))"
        return f"self.keep(ctx, ctx.send({i}, {self.one('1', '-1', '1 if self.flag else -1')}, self.lots(), {terms}))"

    def change(self) -> str:
        """A request about an order, or about several."""
        some = self.one("self.last", "self.ids[self.dice(8)]", "self.dice(40)")
        return self.one(
            f"self.keep(ctx, -ctx.cancel({some}), 0.5)",
            f"self.keep(ctx, -ctx.modify({some}, self.lots(), {self.price()}), 0.25)",
            f"self.keep(ctx, -ctx.modify({some}, self.lots(), {self.price()}, stop_ticks={self.price()}), 2.0)",
            "self.total += ctx.cancel_all(i)",
            "self.total += ctx.cancel_all()",
            "for o in ctx.orders(i):\n    if not o.pending and self.dice(3) == 0:\n        ctx.cancel(o.id)",
            f"o = ctx.order({some})\nif o is not None and not o.done and o.status != 'pending':\n"
            f"    self.keep(ctx, ctx.modify(o.id, o.lots + 1, o.ticks + {self.one('0', '1', '-1')}))",
        )

    def look(self) -> str:
        """Reads."""
        return self.one(
            "ctx.record('equity', ctx.equity(i))",
            "self.total += ctx.position(i) * 0.5 + ctx.position()",
            "mark = ctx.mark(i)\nif mark == mark:\n    self.prices.push(mark)",
            "ctx.record('mark', ctx.mark(i))",
            "ticks, lots = b.depth(self.one_or_other(), 3)\nfor k in range(len(ticks)):\n"
            "    self.total += ticks[k] * 0.001 + lots[k]",
            "self.steps.push(b.spread_ticks)\nself.total += self.steps.sum() / len(self.steps)",
            "self.prices.push(b.mid)",
            "if self.prices.full:\n    ctx.record('deviation', self.prices.std() + self.prices[-1] - self.prices[0])",
            "if len(self.prices) > 0:\n    ctx.record('range', self.prices.max() - self.prices.min())",
            "ctx.record('open', len(ctx.orders()))",
            "self.total += math.exp(-abs(self.total) / 1e6) + math.floor(self.total) % 7 + self.total ** 2 % 3.0",
            "self.total += round(self.total * 0.37) // -3 + (-self.count) // 4 + (-self.count) % 5 + len(self.NAMES)",
            "self.table[:, 1] = self.table[:, 0] * 0.5 + np.abs(self.table[:, 2])",
            "self.flag = not self.flag",
            "ctx.at(ctx.now + 1 + self.dice(9000), tag=self.dice(3))",
            "self.total += sum([o.leaves for o in ctx.orders(i)])",
            "if self.dice(50) == 0:\n    self.prices.clear()",
            "if ctx.book(1 - i).valid and ctx.book(1 - i).ready:\n    self.total += ctx.book(1 - i).bid_lots",
        )

    def event(self, name: str) -> str:
        """Reads of the event itself."""
        traded = ("self.prices.push(e.price)", "self.total += e.size * e.side", "self.steps.push(e.ticks)")
        own = (
            "self.last = e.id",
            "self.flag = e.status == 'live' or e.reason == ''",
            "self.total += e.filled",
            "self.count += e.tag",
        )
        return self.one(*{
            "book": ("self.total += e.ask_lots - e.bid_lots", "self.steps.push(e.spread_ticks)"),
            "quote": ("self.total += e.ask - e.bid", "self.prices.push(e.bid)", "self.steps.push(e.seq)"),
            "trade": traded, "forced": traded, "gap": ("self.total += e.next_id - e.last_good_id",),
            "funding": ("ctx.record('rate', e.rate)", "self.total += (e.next_us - e.ts) / 1e6"),
            "timer": ("self.count += e.tag", "ctx.record('timer', e.time_us - ctx.now + e.tag)"),
            "order": (*(own[:1] + own[2:]), "ctx.record('done', e.done)"),
            "fill": ("self.total += e.fee", "ctx.record('fill', e.price if e.maker else -e.price)"),
        }[name])  # fmt: skip

    def handler(self, name: str) -> list[str]:
        """A whole handler."""
        about = HANDLERS[name]
        here = "0" if about == "timer" else "e.instrument"
        lines = [f"def {name}(self, ctx, e):", f"    i = {self.one(here, here, '1')}", "    b = ctx.book(i)"]
        for _ in range(self.random.randrange(1, 3)):
            lines += [f"    {line}" for line in self.event(about).split("\n")]
        lines += ["    if not b.ready or self.dice(self.chance) > 0:", "        return"]
        for _ in range(self.random.randrange(2, 5)):
            kind = self.random.choices((self.send, self.change, self.look), (4, 3, 3))[0]
            if self.random.random() < 0.4:
                lines.append(f"    if self.dice({self.random.randrange(2, 5)}) == 0:")
                lines += [f"        {line}" for line in kind().split("\n")]
            else:
                lines += [f"    {line}" for line in kind().split("\n")]
        return lines

    def source(self, seed: int) -> str:
        """The module."""
        name = f"Generated{seed}"
        text = HEAD.format(
            name=name, base="Strategy", seed=seed + 1, step=self.random.randrange(1, 9),
            chance=self.random.randrange(4, 20), places=self.random.randrange(1, 30),
        )  # fmt: skip
        every = self.random.randrange(5_000, 60_000)
        lines = ["def one_or_other(self):", "    return 1 if self.flag else -1"]
        lines += ["def on_start(self, ctx):", f"    ctx.every({every}, tag=1)", "    self.count = len(ctx.instruments)"]
        lines += ["def on_stop(self, ctx):", "    ctx.record('end', self.total)"]
        wanted = self.random.sample(sorted(HANDLERS), self.random.randrange(3, 7))
        for handler in sorted({*wanted, self.one("on_book", "on_trade", "on_timer", "on_quote")}):
            lines += self.handler(handler)
        text += "\n".join(f"    {line}" for line in lines) + "\n"
        return text + (DERIVED.format(seed=seed, name=name) if seed % 2 else "")


def source(seed: int) -> str:
    """Source text of one strategy."""
    return _Writer(seed).source(seed)


def generated(seed: int) -> type[Strategy]:
    """The class.  Its file has a name of its own that does not exist, so that machine code of it can be kept."""
    text, filename = source(seed), f"<generated {seed}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)  # where super() looks
    space: dict[str, Any] = {"__name__": "generated", "Strategy": Strategy, "Window": Window, "np": np, "math": math}
    exec(compile(text, filename, "exec", dont_inherit=True), space)
    return space[f"Derived{seed}" if seed % 2 else f"Generated{seed}"]  # type: ignore[no-any-return]
