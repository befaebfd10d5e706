"""One random trader for two simulators: the engine and its oracle see the same requests, if their views agree.

`Flow` draws its decisions from a seeded generator and from what a `Desk` lets it see; `EngineDesk` and `OracleDesk`
show it the local side of either simulator in the same words.  `Flow.log` holds everything that was seen and done, so
the first difference between two logs is where the simulators part.
"""

from __future__ import annotations

import random
from typing import Any, Protocol

from replay import Context, Strategy
from replay.context import Fill, Gap, Order, Timer, Trade
from replay.kernel import codes
from tests.oracles import venue as oracle

REACH = 6
"""Requests are about the last so many orders, gone ones included."""


class Desk(Protocol):
    """What the trader sees and may do; refusals come back as reasons, accepted requests as "" or an id."""

    @property
    def now(self) -> int: ...
    def touch(self, instrument: int) -> tuple[int, int] | None: ...
    def position(self, instrument: int) -> int: ...
    def order(self, order_id: int) -> tuple[Any, ...] | None: ...
    def send(self, instrument: int, side: int, lots: int, ticks: int | None, terms: dict[str, Any]) -> int | str: ...
    def cancel(self, order_id: int) -> str: ...
    def modify(self, order_id: int, lots: int, ticks: int, stop_ticks: int) -> str: ...


class Flow:
    """The trader: every kind of request, mostly near the touch, often several at one price."""

    def __init__(self, seed: int, instruments: int, busy: float = 0.6) -> None:
        self.random = random.Random(seed)
        self.instruments, self.busy = instruments, busy
        self.ids: list[tuple[int, int]] = []
        self.log: list[tuple[Any, ...]] = []
        self.engine_ids: list[int] | None = None
        """Of several strategies: the engine's ids of our orders, in our own counting from 1."""

    def look(self, desk: Desk, why: str) -> None:
        """Note the view."""
        views = [(desk.touch(i), desk.position(i)) for i in range(self.instruments)]
        self.log.append((desk.now, why, views, [desk.order(order_id) for order_id, _ in self.ids[-REACH:]]))

    def act(self, desk: Desk, why: str) -> None:
        """Look, and perhaps do something."""
        self.look(desk, why)
        while self.random.random() < self.busy:
            self.request(desk)

    def request(self, desk: Desk) -> None:
        """One random request."""
        rng = self.random
        dice = rng.random()
        if dice < 0.55 or not self.ids:
            self.place(desk, rng.randrange(self.instruments))
            return
        order_id, instrument = rng.choice(self.ids[-REACH:])
        if dice < 0.75:
            self.log.append((desk.now, "cancel", order_id, desk.cancel(order_id)))
            return
        known, touch = desk.order(order_id), desk.touch(instrument)
        lots, ticks, stop = rng.randrange(1, 40), (touch or (9_999, 10_000))[rng.randrange(2)], 0
        if known is not None and rng.random() < 0.6:
            ticks = known[2]
        if rng.random() < 0.3:
            ticks += rng.randrange(-3, 4)
        if rng.random() < 0.3:
            stop = ticks + rng.randrange(-3, 4)
        self.log.append((desk.now, "modify", order_id, lots, ticks, stop, desk.modify(order_id, lots, ticks, stop)))

    def place(self, desk: Desk, instrument: int) -> None:
        """A new order of any kind."""
        rng, touch = self.random, desk.touch(instrument)
        bid, ask = touch or (9_999, 10_000)
        side = rng.choice((1, -1))
        own, other = (bid, ask) if side > 0 else (ask, bid)
        kind = rng.choice(("rest",) * 6 + ("take",) * 3 + ("market", "stop-market", "stop-limit", "trailing"))
        ticks: int | None = own - side * rng.choice((-1, 0, 0, 0, 1, 2, 4))
        if kind in ("take", "stop-limit"):
            ticks = other + side * rng.choice((-1, 0, 0, 1, 3))
        terms: dict[str, Any] = {"reduce_only": rng.random() < 0.1}
        if kind == "rest" and rng.random() < 0.5:
            terms["post_only"] = True
        elif kind != "rest" or rng.random() < 0.3:
            terms["tif"] = rng.choice(("GTC", "IOC", "FOK")) if kind == "take" else "GTC"
            if kind in ("rest", "stop-limit", "stop-market") and rng.random() < 0.5:
                terms |= {"tif": "GTD", "expire_us": desk.now + rng.choice((1, 1_000, 20_000, 100_000))}
        if kind in ("stop-market", "stop-limit"):
            terms["stop_ticks"] = other + side * rng.choice((-2, 0, 1, 2, 5))
        if kind == "trailing":
            terms["trail_ticks"] = rng.randrange(1, 8)
        if kind in ("stop-market", "stop-limit", "trailing"):
            terms["trigger"] = rng.choice(("last", "mark", "touch"))
        if kind in ("market", "stop-market", "trailing"):
            ticks = None
        lots = rng.choice((1, 2, 3, 5, 8, 20, 45))
        answer = desk.send(instrument, side, lots, ticks, terms)
        self.log.append((desk.now, "send", instrument, side, lots, ticks, terms, answer))
        if isinstance(answer, int):
            self.ids.append((answer, instrument))


class EngineDesk:
    """The engine's context."""

    def __init__(self, ctx: Context, ids: list[int] | None = None) -> None:
        self.ctx, self.ids = ctx, ids

    def engine_id(self, order_id: int) -> int:
        """The engine counts the orders of all strategies."""
        return order_id if self.ids is None else self.ids[order_id - 1]

    @property
    def now(self) -> int:
        return self.ctx.now

    def touch(self, instrument: int) -> tuple[int, int] | None:
        book = self.ctx.book(instrument)
        return (book.bid_ticks, book.ask_ticks) if book.ready else None

    def position(self, instrument: int) -> int:
        return self.ctx.position(instrument)

    def order(self, order_id: int) -> tuple[Any, ...] | None:
        order = self.ctx.order(self.engine_id(order_id))
        if order is None or order.done:
            return None
        return order_id, order.side, order.ticks, order.lots, order.leaves, order.filled, order.status, order.pending

    def send(self, instrument: int, side: int, lots: int, ticks: int | None, terms: dict[str, Any]) -> int | str:
        answer = self.ctx.send(instrument, side, lots, ticks, **terms)
        if answer <= 0:
            return self.ctx.reason(answer)
        if self.ids is None:
            return int(answer)
        self.ids.append(int(answer))
        return len(self.ids)

    def cancel(self, order_id: int) -> str:
        return self.ctx.reason(self.ctx.cancel(self.engine_id(order_id)))

    def modify(self, order_id: int, lots: int, ticks: int, stop_ticks: int) -> str:
        return self.ctx.reason(self.ctx.modify(self.engine_id(order_id), lots, ticks, stop_ticks))


class OracleDesk:
    """The oracle's local side."""

    def __init__(self, sim: oracle.Simulation) -> None:
        self.sim = sim

    @property
    def now(self) -> int:
        return self.sim.now

    def touch(self, instrument: int) -> tuple[int, int] | None:
        book = self.sim.book(instrument)
        bid, ask = book.best(1), book.best(-1)
        return (bid, ask) if book.valid and bid is not None and ask is not None else None

    def position(self, instrument: int) -> int:
        return self.sim.accounts[instrument].position

    def order(self, order_id: int) -> tuple[Any, ...] | None:
        order = self.sim.orders.get(order_id)
        if order is None or order.over:
            return None
        return (order_id, order.side, order.ticks, order.lots, order.leaves, order.filled, order.status,
                bool(order.pending))  # fmt: skip

    def send(self, instrument: int, side: int, lots: int, ticks: int | None, terms: dict[str, Any]) -> int | str:
        how = dict(terms)
        how["trail"] = how.pop("trail_ticks", 0)
        kind = "limit" if ticks is not None else "market"
        if how["trail"]:
            kind = "trailing-stop"
        elif "stop_ticks" in how:
            kind = "stop-" + kind
        order_id = self.sim.submit(instrument, side, lots, ticks or 0, kind=kind, **how)
        return order_id or self.sim.refused[-1][2]

    def cancel(self, order_id: int) -> str:
        return self.sim.cancel(order_id)

    def modify(self, order_id: int, lots: int, ticks: int, stop_ticks: int) -> str:
        return self.sim.modify(order_id, lots, ticks, stop_ticks)


class EngineTrader(Strategy):
    """`Flow` as a strategy of the engine; acts every `step_us`, and after fills and some prints."""

    flow: Flow | None = None
    step_us: int = 5_000

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.step_us)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        self.flow.act(EngineDesk(ctx, self.flow.engine_ids), "timer")

    def on_fill(self, ctx: Context, fill: Fill) -> None:
        self.flow.act(EngineDesk(ctx, self.flow.engine_ids), "fill")

    def on_order(self, ctx: Context, order: Order) -> None:
        self.flow.look(EngineDesk(ctx, self.flow.engine_ids), "order")

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        if trade.lots % 5 == 0:
            self.flow.act(EngineDesk(ctx, self.flow.engine_ids), "trade")

    def on_gap(self, ctx: Context, gap: Gap) -> None:
        self.flow.act(EngineDesk(ctx, self.flow.engine_ids), "gap")


class OracleTrader(oracle.Driver):
    """`Flow` as a driver of the oracle."""

    def __init__(self, flow: Flow, step_us: int, first_us: int) -> None:
        self.flow, self.step_us, self.first_us = flow, step_us, first_us

    def on_start(self, sim: oracle.Simulation) -> None:
        sim.timer(-(-self.first_us // self.step_us) * self.step_us, None, self.step_us)

    def on_timer(self, sim: oracle.Simulation, tag: Any) -> None:
        self.flow.act(OracleDesk(sim), "timer")

    def on_fill(self, sim: oracle.Simulation, report: oracle.Report) -> None:
        self.flow.act(OracleDesk(sim), "fill")

    def on_order(self, sim: oracle.Simulation, report: oracle.Report) -> None:
        self.flow.look(OracleDesk(sim), "order")

    def on_event(self, sim: oracle.Simulation, event: oracle.Event) -> None:
        if isinstance(event, oracle.Gap) or (isinstance(event, oracle.Trade) and event.lots % 5 == 0):
            self.flow.act(OracleDesk(sim), "gap" if isinstance(event, oracle.Gap) else "trade")


STATUS = codes.STATUS_NAMES
REQUEST = {codes.REQUEST_NONE: "", codes.REQUEST_NEW: "new", codes.REQUEST_CANCEL: "cancel",
           codes.REQUEST_MODIFY: "modify"}  # fmt: skip
