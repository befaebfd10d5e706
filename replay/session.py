"""One run: a thin shell over the machine in `replay.kernel`.

It feeds batches to the sources' windows, gives the arena room when it asks, drains the logs, and calls the handlers of
the registered strategies.  Everything that decides a result happens in the kernels and in the strategies; the shell
adds no order of its own, so the size of batches and the time at which they arrive change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.context import (
    NOTICE_ROW,
    QUOTE_ROW,
    TOUCH,
    TRADE_ROW,
    Book,
    Context,
    Fill,
    Funding,
    Gap,
    Liquidation,
    Order,
    Quote,
    Timer,
    Trade,
    _Grid,
)
from replay.errors import ConfigError, KernelError, ReplayError, StrategyError
from replay.kernel import codes
from replay.kernel.advance import advance
from replay.kernel.agenda import PHASE_TIMER, agenda_extend, agenda_push, agenda_reset
from replay.kernel.book import grow_book, open_books, side_cells
from replay.kernel.exact import whole
from replay.kernel.feed import NO_ROOM, append
from replay.kernel.orders import BOOKS_EACH, RESERVED
from replay.kernel.state import EQUITY, EVENT, FILL, LOG, Arena
from replay.models import (
    write_fees,
    write_latency,
    write_margin,
    write_queue,
    write_slippage,
)
from replay.results import Result
from replay.strategy import Strategy
from replay.units import INT64_MAX, SCALE

if TYPE_CHECKING:
    from replay.engine import Replay

_PAYOFFS = {"spot": codes.SPOT, "linear": codes.LINEAR, "inverse": codes.INVERSE}
_HANDLER_BITS = {
    "on_book": codes.ON_BOOK,
    "on_quote": codes.ON_QUOTE,
    "on_trade": codes.ON_TRADE,
    "on_liquidation": codes.ON_LIQUIDATION,
    "on_funding": codes.ON_FUNDING,
    "on_gap": codes.ON_GAP,
    "on_timer": codes.ON_TIMER,
    "on_order": codes.ON_ORDER,
    "on_fill": codes.ON_FILL,
}


class Session:
    """One run: the arena, the sources' iterators and the strategies.  `step` goes to the next callback."""

    def __init__(self, replay: Replay, strategies: list[Strategy]) -> None:
        if not strategies:
            raise ConfigError("strategies", strategies, "is empty", "register at least one Strategy")
        for strategy in strategies:
            if isinstance(strategy, type) or not isinstance(strategy, Strategy):
                raise ConfigError(
                    "strategy", strategy, "is not a Strategy instance", "write Replay(...).run(YourStrategy())"
                )
            if strategy._used:
                raise ConfigError(
                    "strategy",
                    type(strategy).__name__,
                    "has been run and holds its state",
                    "make a new one for each run",
                )
            strategy._used = True
        self.replay = replay
        self.strategies = strategies
        self.parameters = [
            {name: value for name, value in s.parameters().items() if isinstance(value, (bool, int, float, str))}
            for s in strategies
        ]
        self.instruments = replay.instruments
        self._grids = [_Grid(instrument) for instrument in self.instruments]
        self._fills: list[np.ndarray] = []
        self._log: list[np.ndarray] = []
        self._equity: list[np.ndarray] = []
        self._rows_read = 0
        self._started = self._over = False
        self.refusals: dict[str, int] = {}
        self.arena = self._make_arena()
        self.bytes = self.arena.bytes
        self.ints = self.arena.ints
        self.books = [Book(self, i, grid) for i, grid in enumerate(self._grids)]
        self.contexts = [Context(self, k) for k in range(len(strategies))]
        self._bind()
        self._iterators: list[Iterator[np.ndarray] | None] = [s.batches(replay.batch_rows) for s in replay.sources]
        self._bound = {
            bit: [(getattr(s, handler), self.contexts[k], k) for k, s in enumerate(strategies) if s.overrides(handler)]
            for handler, bit in _HANDLER_BITS.items()
        }  # fmt: skip

    # ------------------------------------------------------------------------------------------------- the arena

    def _make_arena(self) -> Arena:
        replay, n_i, n_s = self.replay, len(self.instruments), len(self.strategies)
        n_sources = len(replay.sources)
        cap = max(2 * replay.batch_rows, 4096)
        n_books = n_i * BOOKS_EACH
        counts = {
            "run": 1, "sources": n_sources, "instruments": n_i, "strategies": n_s, "slots": n_i * n_s,
            "orders": 1024, "heap": 8192, "items": 8192, "fills": 8192, "log": 8192,
            "equity": 8192 * n_i, "taken": 1024, "tables": 1, "retired": 64,
            "books": n_books, "cells": 2 * n_books * side_cells(),
            "event": 1, "rows": cap * n_sources, "venue_order": cap * n_sources,
            "local_heap": n_sources, "venue_heap": n_sources, "local_cursors": n_sources, "venue_cursors": n_sources,
        }  # fmt: skip
        arena = Arena(counts)
        open_books(arena["books"], arena["cells"])
        tables: list[tuple[int, int]] = []
        currencies = list(dict.fromkeys(i.settle for i in self.instruments))
        for record, instrument in zip(arena["instruments"], self.instruments):
            record["payoff"] = _PAYOFFS[instrument.payoff]
            record["tick"], record["lot"] = float(instrument.tick), float(instrument.lot)
            record["multiplier"] = float(instrument.multiplier)
            scaled = instrument.tick * SCALE
            if scaled != int(scaled):
                raise ConfigError(f"{instrument.name}.tick", instrument.tick, "is finer than 1e-8")
            record["tick_scaled"] = int(scaled)
            record["currency"] = currencies.index(instrument.settle)
            record["watch_head"] = -1
        for k in range(n_s):
            strategy = arena["strategies"][k]
            strategy["first_slot"], strategy["deposit"] = k * n_i, replay.deposit
            for i in range(n_i):
                slot = arena["slots"][k * n_i + i]
                slot["strategy"], slot["instrument"], slot["own_head"], slot["print_mark"] = k, i, -1, -1
                for name, value in replay.slot_template(i).items():
                    slot[name] = value
                write_latency(slot, replay.models["latency"][i], tables)
                write_queue(slot, replay.models["queue"][i])
                write_slippage(slot, replay.models["slippage"][i])
                write_fees(slot, replay.models["fees"][i], tables)
                write_margin(slot, replay.models["margin"][i])
        run = arena["run"][0]
        run["sources"], run["instruments"], run["strategies"], run["next_id"] = n_sources, n_i, n_s, 1
        run["sample_us"], run["end_us"] = replay.sample_us, INT64_MAX - 1
        run["margin_used"] = int(any(m is not None for m in replay.models["margin"]))
        run["wanted"] = sum(
            bit for handler, bit in _HANDLER_BITS.items() if any(s.overrides(handler) for s in self.strategies)
        )
        for s, source in enumerate(replay.sources):
            record = arena["sources"][s]
            record["row0"] = record["order0"] = s * cap
            record["row_cap"], record["horizon_us"] = cap, source.horizon_us
            record["last_ts"] = -(2**62)
        if tables:
            arena.resize(tables=np.array(tables, arena["tables"].dtype))
        free = arena["taken"]
        free["next"] = np.arange(1, len(free) + 1)
        free["next"][-1] = -1
        agenda_reset(arena["run"], arena["items"])
        return arena

    def _bind(self) -> None:
        """The arena moved: find everything in it again."""
        self.bytes, self.ints = self.arena.bytes, self.arena.ints
        word = self.arena.word
        self._w_kinds, self._w_strategy = word("run", "out_kinds"), word("run", "out_strategy")
        self._w_instrument, self._w_order = word("run", "out_instrument"), word("run", "out_order")
        self._w_log, self._w_id, self._w_now = word("run", "out_log"), word("run", "out_id"), word("run", "now")
        offset = 8 * word("event", "ts")
        memory = memoryview(self.bytes)  # type: ignore[arg-type]
        self._event = memory[offset : offset + EVENT.itemsize]
        starts = [8 * word("instruments", "quote_bid", i) for i in range(len(self.instruments))]
        self._quotes = [memory[start : start + TOUCH.size] for start in starts]
        for thing in (*getattr(self, "books", ()), *getattr(self, "contexts", ())):
            thing.bind()

    def make_room(self) -> None:
        """Empty logs and larger pools; keeps every order, item and list as it was."""
        self._flush()
        arena = self.arena
        run = arena["run"][0]
        live = int(run["live_orders"])
        if 4 * (live + 2) > len(arena["orders"]):
            self._rehash(2 * len(arena["orders"]))
        need = 16 * (live + 2) + 4096
        items = len(arena["items"])
        used = items - int(run["free_items"])
        wanted = max(items, 2 * (used + need))
        n_i = len(self.instruments)
        arena.resize(
            items=wanted, heap=wanted, fills=max(len(arena["fills"]), need), log=max(len(arena["log"]), 4096),
            equity=max(len(arena["equity"]), 2 * n_i * (need + len(self.strategies))),
        )  # fmt: skip
        agenda_extend(arena["run"], arena["items"], items)
        self._bind()

    def _rehash(self, size: int) -> None:
        """Move all orders to a table of `size` places; every link follows."""
        arena = self.arena
        old = arena["orders"].copy()
        new = np.zeros(size, old.dtype)
        where = np.full(len(old) + 1, -1, np.int64)
        probe = 0
        for i in np.flatnonzero(old["id"] > 0):
            step = 0
            while new[(old[i]["id"] + step) & (size - 1)]["id"] != 0:
                step += 1
            at = int((old[i]["id"] + step) & (size - 1))
            new[at], where[i], probe = old[i], at, max(probe, step)
        live = new["id"] > 0
        for link in ("next", "prev", "next_watch", "prev_watch", "own_next", "own_prev"):
            new[link][live] = where[new[link][live]]
        arena["run"][0]["max_probe"] = probe
        arena["slots"]["own_head"] = where[arena["slots"]["own_head"]]
        arena["instruments"]["watch_head"] = where[arena["instruments"]["watch_head"]]
        retired = int(arena["run"][0]["retired_n"])
        arena["retired"][:retired] = where[arena["retired"][:retired]]
        in_agenda = arena["heap"]["item"][: int(arena["run"][0]["heap_n"])]
        kinds = arena["items"]["kind"][in_agenda]
        about_orders = (
            codes.DO_ANSWER,
            codes.DO_NEW,
            codes.DO_CANCEL,
            codes.DO_MODIFY,
            codes.DO_TRIGGERED,
            codes.DO_EXPIRE,
        )
        moved = in_agenda[np.isin(kinds, about_orders)]
        arena["items"]["order"][moved] = where[arena["items"]["order"][moved]]
        self._move_heads(where)
        arena.resize(orders=new)
        self._bind()

    def _move_heads(self, where: np.ndarray) -> None:
        from replay.kernel.book import book_levels, book_set

        arena = self.arena
        for i in range(len(self.instruments)):
            b = i * BOOKS_EACH + 2
            for side in (1, -1):
                ticks, heads = book_levels(arena["books"], arena["cells"], b, side, None)
                for price, head in zip(ticks, heads):
                    if head != RESERVED:
                        book_set(arena["books"], arena["cells"], b, side, int(price), int(where[head - 1]) + 1)

    # ------------------------------------------------------------------------------------------------------ feeding

    def _feed(self, s: int) -> None:
        iterator = self._iterators[s]
        batch = None if iterator is None else next(iterator, None)
        last = 0
        if batch is None:
            batch, last = np.zeros(0, EVENT), 1
            self._iterators[s] = None
        self._rows_read += len(batch)
        batch = np.ascontiguousarray(batch).view(EVENT)  # a file's dtype can compare equal and still lack `aligned`
        if not batch.flags.writeable:
            batch = batch.copy()
        while True:
            code = append(self.bytes, s, batch, self.replay.maps[s], last)
            if code == 0:
                break
            if code != NO_ROOM:
                raise KernelError(code, "append", f"source {self.replay.sources[s].name} is out of order")
            self._widen(s, len(batch))
        if last and all(it is None for it in self._iterators):
            self.arena["run"][0]["end_us"] = int(self.arena["sources"]["last_ts"].max())
        if self.replay.progress is not None:
            fills = sum(len(f) for f in self._fills) + int(self.arena["run"][0]["fills_n"])
            self.replay.progress(self._rows_read, int(self.arena["run"][0]["now"]), fills)

    def _widen(self, s: int, rows: int) -> None:
        """A larger window for source `s` (and, as all lie in one section, the same for the others)."""
        arena = self.arena
        sources = arena["sources"]
        cap = int(sources["row_cap"][0])
        wider = 2 * max(cap, rows)
        n = len(sources)
        new_rows, new_order = np.zeros(wider * n, EVENT), np.zeros(wider * n, np.int64)
        for k in range(n):
            new_rows[k * wider : k * wider + cap] = arena["rows"][k * cap : (k + 1) * cap]
            new_order[k * wider : k * wider + cap] = arena["venue_order"][k * cap : (k + 1) * cap]
        sources["row0"] = sources["order0"] = np.arange(n) * wider
        sources["row_cap"] = wider
        arena.resize(rows=new_rows, venue_order=new_order)
        self._bind()

    def _flush(self) -> None:
        run = self.arena["run"][0]
        for name, kept in (("fills", self._fills), ("log", self._log), ("equity", self._equity)):
            n = int(run[f"{name}_n"])
            if n:
                kept.append(self.arena[name][:n].copy())
            run[f"{name}_n"] = 0

    def _room(self) -> None:
        run = self.arena["run"][0]
        what = int(run["out_room"])
        if what == codes.ROOM_BOOK:
            books, cells = grow_book(self.arena["books"], self.arena["cells"], int(run["out_source"]))
            if len(cells) == len(self.arena["cells"]):
                self.arena["books"][:], self.arena["cells"][:] = books, cells
                return
            self.arena.resize(books=books, cells=cells)
        elif what == codes.ROOM_TAKEN:
            old = len(self.arena["taken"])
            self.arena.resize(taken=2 * old)
            taken = self.arena["taken"]
            taken["next"][old:] = np.arange(old + 1, 2 * old + 1)
            taken["next"][-1] = self.arena["run"][0]["free_taken"]
            self.arena["run"][0]["free_taken"] = old
        else:
            self.make_room()
        self._bind()

    # ------------------------------------------------------------------------------------------------------ running

    def _start(self) -> None:
        self._started = True
        for s in range(len(self.replay.sources)):
            self._feed(s)
        arena = self.arena
        heads = []
        for s in range(len(self.replay.sources)):
            record = arena["sources"][s]
            if record["local_end"] > 0:
                window = arena["rows"][int(record["row0"]) : int(record["row0"] + record["local_end"])]
                heads += [int(window["ts"][0]), int(window["exch_ts"].min())]
        run = arena["run"][0]
        run["now"] = min(heads, default=0)
        run["warm_until"] = run["now"] + self.replay.warm_up_us
        self.first_us = int(run["now"])
        first = -(-self.first_us // self.replay.sample_us) * self.replay.sample_us
        item = agenda_push(arena["run"], arena["heap"], arena["items"], first, PHASE_TIMER)
        arena["items"][item]["kind"] = codes.DO_SAMPLE
        for strategy, ctx in zip(self.strategies, self.contexts):
            self._guard(strategy, "on_start", None, strategy.on_start, ctx)

    def step(self) -> bool:
        """Go on to the next callback and make it; False when the run is over."""
        return self._go(1)

    def run(self) -> None:
        """Go on to the end."""
        while self._go(1_000_000):
            pass

    def _go(self, callbacks: int) -> bool:
        if self._over:
            return False
        if not self._started:
            self._start()
            return True
        while True:
            code = advance(self.bytes)
            if code == codes.CALLBACK:
                kinds = self.ints[self._w_kinds]
                if kinds <= codes.ON_GAP:
                    self._market(kinds)
                else:
                    self._own(kinds)
                callbacks -= 1
                if callbacks == 0:
                    return True
            elif code == codes.NEED_DATA:
                self._feed(int(self.arena["run"][0]["out_source"]))
            elif code == codes.FLUSH:
                self.make_room()
            elif code == codes.NEED_ROOM:
                self._room()
            elif code == codes.DONE:
                self._finish()
                return False
            else:
                raise KernelError(code, "advance")

    def _market(self, kinds: int) -> None:
        """Hand a market event to all strategies that want it, in order of registration."""
        event: Any
        if kinds == codes.ON_BOOK:
            event = self.books[self.ints[self._w_instrument]]
        else:
            if kinds == codes.ON_TRADE:
                row = TRADE_ROW.unpack(self._event)
                event = Trade(row, self._grids[row[5]])
            elif kinds == codes.ON_QUOTE:
                row = QUOTE_ROW.unpack(self._event)
                event = Quote(row, TOUCH.unpack(self._quotes[row[3]]), self._grids[row[3]])
            elif kinds == codes.ON_LIQUIDATION:
                row = TRADE_ROW.unpack(self._event)
                event = Liquidation(row, self._grids[row[5]])
            elif kinds == codes.ON_FUNDING:
                event = Funding(NOTICE_ROW.unpack(self._event))
            else:
                event = Gap(NOTICE_ROW.unpack(self._event))
        for handler, ctx, k in self._bound[kinds]:
            try:
                handler(ctx, event)
            except Exception as error:
                self._failed(k, handler.__name__, event, error)

    def _own(self, kinds: int) -> None:
        """Hand a timer or an answer to the strategy whose it is; an order change comes before its fill."""
        ints = self.ints
        strategy = ints[self._w_strategy]
        if kinds == codes.ON_TIMER:
            self._deliver(codes.ON_TIMER, strategy, Timer(ints[self._w_id], ints[self._w_now]))
            return
        row = self.arena["log"][ints[self._w_log]]
        fill = Fill(row, self._grids[int(row["instrument"])]) if kinds & codes.ON_FILL else None
        if kinds & codes.ON_ORDER:
            self._deliver(codes.ON_ORDER, strategy, Order(self.arena["orders"][ints[self._w_order]]))
        if fill is not None:
            self._deliver(codes.ON_FILL, strategy, fill)

    def _deliver(self, bit: int, strategy: int, event: Any) -> None:
        for handler, ctx, k in self._bound[bit]:
            if k == strategy:
                try:
                    handler(ctx, event)
                except Exception as error:
                    self._failed(k, handler.__name__, event, error)

    def _guard(
        self, strategy: Strategy, name: str, event: Any, handler: Callable[[Context], None], ctx: Context
    ) -> None:
        try:
            handler(ctx)
        except Exception as error:
            self._failed(self.strategies.index(strategy), name, event, error)

    def _failed(self, strategy: int, handler: str, event: Any, error: Exception) -> None:
        self._over = True
        self._flush()
        partial = self._result(strategy)
        name = type(self.strategies[strategy]).__name__
        if isinstance(error, ReplayError) and not isinstance(error, ConfigError):
            raise error
        problem = f"{type(error).__name__}: {error}"
        time_us = int(self.arena["run"][0]["now"])
        raise StrategyError(name, handler, problem, time_us, event, partial) from error

    def _finish(self) -> None:
        self._over = True
        run = self.arena["run"][0]
        run["ended"] = 1
        for strategy, ctx in zip(self.strategies, self.contexts):
            self._guard(strategy, "on_stop", None, strategy.on_stop, ctx)
        self._flush()

    def stop(self) -> None:
        """End the run at the next step (`ctx.stop`)."""
        self.arena["run"][0]["stopping"] = 1

    def noted(self, answer: int) -> int:
        """Count a refusal by its reason."""
        if answer < 0:
            reason = codes.REASONS[-answer]
            self.refusals[reason] = self.refusals.get(reason, 0) + 1
        return answer

    # ------------------------------------------------------------------------------------------------------ results

    def money(self, slot_index: int, prefix: str, mark: float) -> dict[str, float]:
        """Value, fees, funding and equity of a slot at `mark` (price), venue side (`prefix` "") or local ("l_")."""
        slot = self.arena["slots"][slot_index]
        instrument = self.instruments[int(slot["instrument"])]
        fees = float(slot[f"{prefix}fee_f"])
        funding = float(slot[f"{prefix}funding_f"])
        exact_fees = whole(slot[f"{prefix}fee_hi"], slot[f"{prefix}fee_lo"])
        exact_funding = whole(slot[f"{prefix}funding_hi"], slot[f"{prefix}funding_lo"])
        unit = instrument.lot * instrument.multiplier
        fees += float(exact_fees * unit * instrument.tick / SCALE)
        funding += float(exact_funding * unit / SCALE**2)
        position = int(slot[f"{prefix}position"])
        if instrument.payoff == "inverse":
            held = position / (mark / float(instrument.tick)) if position else 0.0
            value = (float(slot[f"{prefix}cash_f"]) - held) * float(unit / instrument.tick)
        else:
            cash = float(int(slot[f"{prefix}cash"]) * unit * instrument.tick)
            value = cash + (position * float(unit) * mark if position else 0.0)
        return {"value": value, "fees": fees, "funding": funding, "equity": value - fees - funding}

    def results(self) -> list[Result]:
        """One Result per strategy, in order of registration."""
        if not self._over:
            raise ConfigError("session", "results", "the run is not over", "call step until it returns False")
        return [self._result(k) for k in range(len(self.strategies))]

    def _result(self, k: int) -> Result:
        fills = np.concatenate([np.zeros(0, FILL), *self._fills])
        log = np.concatenate([np.zeros(0, LOG), *self._log])
        equity = np.concatenate([np.zeros(0, EQUITY), *self._equity])
        quality = self.replay.sources[0].quality
        for source in self.replay.sources[1:]:
            quality = quality.merged(source.quality)
        return Result.build(self, k, fills[fills["strategy"] == k], log[log["strategy"] == k],
                            equity[equity["strategy"] == k], quality)  # fmt: skip
