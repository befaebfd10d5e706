"""Replay: register, run, step.

`Replay` holds data and models; `run` makes a `Session`, which is a thin shell over the machine in `replay.kernel`:
it feeds batches to the sources' windows, gives the arena room when it asks, drains the logs, and calls the handlers of
the registered strategies.  Everything that decides a result happens in the kernels and in the strategies; the shell
adds no order of its own, so the size of batches and the time at which they arrive change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from replay.context import (
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
    decode_row,
)
from replay.errors import ConfigError, KernelError, ReplayError, StrategyError, did_you_mean
from replay.instruments import Instrument
from replay.kernel import codes
from replay.kernel.advance import advance
from replay.kernel.agenda import PHASE_TIMER, agenda_extend, agenda_push, agenda_reset
from replay.kernel.book import grow_book, make_books
from replay.kernel.exact import whole
from replay.kernel.feed import NO_ROOM, append
from replay.kernel.orders import BOOKS_EACH, RESERVED
from replay.kernel.state import EQUITY, EVENT, FILL, LOG, Arena
from replay.models import (
    ConstantLatency,
    Fees,
    Latency,
    MakerTaker,
    Margin,
    NoSlippage,
    Queue,
    RiskAverseQueue,
    Slippage,
    write_fees,
    write_latency,
    write_margin,
    write_queue,
    write_slippage,
)
from replay.results import Result
from replay.sources import BATCH_ROWS, ArraySource, Source, find_adapter
from replay.strategy import Strategy
from replay.units import INT64_MAX, SCALE, US_PER_S

T = TypeVar("T")
PerInstrument = T | Mapping[str, T]

_PAYOFFS = {"spot": codes.SPOT, "linear": codes.LINEAR, "inverse": codes.INVERSE}
_SELF_TRADE = {"cancel-newest": codes.SELF_CANCEL_NEWEST, "cancel-oldest": codes.SELF_CANCEL_OLDEST,
               "allow": codes.SELF_ALLOW}  # fmt: skip
_EXECUTIONS = {"full": codes.EXECUTION_FULL, "partial": codes.EXECUTION_PARTIAL}
_ON_GAP = {"reject": 0, "hold": 1}

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

Progress = Callable[[int, int, int], None]
"""Called after each batch with (rows read, simulated time µs, fills so far)."""


def _choice(name: str, value: str, known: Mapping[str, int]) -> int:
    if value not in known:
        raise ConfigError(name, value, "is not known", did_you_mean(str(value), known))
    return known[value]


class Replay:
    """Data and models of a replay.

    `sources` are `Source` objects, or EVENT arrays together with `instruments`.  Models apply to every instrument;
    a dict `{"venue:symbol": model}` sets some of them, the others keep the default.  Times are µs.

    latency, queue, slippage, fees, margin: see `replay.models`.  execution "partial" walks the book level by level,
    "full" fills any crossing quantity at the best price; `consume` keeps taken liquidity taken until the venue updates
    the level (default: with "partial").  `self_trade` is "cancel-newest" (default with "partial"), "cancel-oldest" or
    "allow" (default with "full").  `on_gap` rejects or holds new orders while a book is invalid.  `borrow` lets a spot
    account sell what it does not hold.  `deposit` is the account's money for margin, in each settlement currency.
    `warm_up_us` refuses orders for that long.  `sample_us` is the grid of the equity curve.

    Raises ConfigError for anything unknown, contradictory or out of range.
    """

    def __init__(
        self,
        sources: Sequence[Source] | Source | np.ndarray,
        *,
        instruments: Sequence[Instrument] = (),
        latency: PerInstrument[Latency] = ConstantLatency(),  # noqa: B008 (immutable)
        queue: PerInstrument[Queue] = RiskAverseQueue(),  # noqa: B008
        slippage: PerInstrument[Slippage] = NoSlippage(),  # noqa: B008
        fees: PerInstrument[Fees] = MakerTaker(),  # noqa: B008
        margin: PerInstrument[Margin | None] = None,
        execution: PerInstrument[str] = "partial",
        consume: PerInstrument[bool | None] = None,
        self_trade: PerInstrument[str | None] = None,
        on_gap: PerInstrument[str] = "reject",
        borrow: PerInstrument[bool] = False,
        min_notional: PerInstrument[float] = 0.0,
        deposit: float = 0.0,
        warm_up_us: int = 0,
        sample_us: int = US_PER_S,
        batch_rows: int = BATCH_ROWS,
        progress: Progress | None = None,
    ) -> None:
        if isinstance(sources, np.ndarray):
            sources = [ArraySource(sources, instruments)]
        elif isinstance(sources, Source):
            sources = [sources]
        self.sources: tuple[Source, ...] = tuple(sources)
        if not self.sources:
            raise ConfigError("sources", sources, "is empty", "give at least one recording")
        for source in self.sources:
            if not isinstance(source, Source):
                raise ConfigError("sources", source, "is not a Source", "use Replay.from_files for files")
        self.instruments, self.maps = _unified(self.sources)
        self.models: dict[str, list[Any]] = {
            "latency": self._each("latency", latency, ConstantLatency()),
            "queue": self._each("queue", queue, RiskAverseQueue()),
            "slippage": self._each("slippage", slippage, NoSlippage()),
            "fees": self._each("fees", fees, MakerTaker()),
            "margin": self._each("margin", margin, None),
            "execution": self._each("execution", execution, "partial"),
            "consume": self._each("consume", consume, None),
            "self_trade": self._each("self_trade", self_trade, None),
            "on_gap": self._each("on_gap", on_gap, "reject"),
            "borrow": self._each("borrow", borrow, False),
            "min_notional": self._each("min_notional", min_notional, 0.0),
        }
        self.deposit = float(deposit)
        for name, value, low in (("warm_up_us", warm_up_us, 0), ("sample_us", sample_us, 1), ("batch_rows", batch_rows, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ConfigError(name, value, f"must be a whole number of at least {low}")
        self.warm_up_us, self.sample_us, self.batch_rows = warm_up_us, sample_us, batch_rows
        self.progress = progress
        self.slot_template(0)

    @classmethod
    def from_files(
        cls, paths: Sequence[str | Path] | str | Path, *, adapter: str, instruments: Sequence[Instrument] = (),
        **settings: Any,
    ) -> Replay:  # fmt: skip
        """A replay of recordings that the adapter called `adapter` reads (`replay.sources.adapter_names`)."""
        if isinstance(paths, (str, Path)):
            paths = [paths]
        source = find_adapter(adapter).open([Path(path) for path in paths], instruments=instruments)
        return cls([source], **settings)

    def _each(self, name: str, setting: Any, default: Any) -> list[Any]:
        names = [instrument.name for instrument in self.instruments]
        if not isinstance(setting, Mapping):
            values = [setting] * len(names)
        else:
            for key in setting:
                if key not in names:
                    raise ConfigError(name, key, "is not an instrument of this replay", did_you_mean(key, names))
            values = [setting.get(key, default) for key in names]
        kinds = {"latency": Latency, "queue": Queue, "slippage": Slippage, "fees": Fees, "margin": Margin | None}
        if name in kinds:
            for value in values:
                if not isinstance(value, kinds[name]):  # type: ignore[arg-type]
                    raise ConfigError(name, value, "is not a model of that kind", "see replay.models")
        return values

    def slot_template(self, instrument: int, tables: list[tuple[int, int]] | None = None) -> dict[str, Any]:
        """The numeric settings of one instrument, checked; model records are written by `Session`."""
        m = {name: values[instrument] for name, values in self.models.items()}
        execution = _choice("execution", m["execution"], _EXECUTIONS)
        partial = execution == codes.EXECUTION_PARTIAL
        consume = partial if m["consume"] is None else bool(m["consume"])
        if consume and not partial:
            raise ConfigError("consume", True, "does nothing with execution='full'", "leave it out")
        self_trade = m["self_trade"] or ("cancel-newest" if partial else "allow")
        return {
            "execution": execution,
            "consume": int(consume),
            "self_trade": _choice("self_trade", self_trade, _SELF_TRADE),
            "hold": _choice("on_gap", m["on_gap"], _ON_GAP),
            "borrow": int(bool(m["borrow"])),
            "min_notional": float(m["min_notional"]),
        }

    def settings(self) -> dict[str, Any]:
        """Models and numbers as text, for results."""
        per = {
            name: {i.name: repr(v) for i, v in zip(self.instruments, values)} for name, values in self.models.items()
        }
        return {**per, "deposit": self.deposit, "warm_up_us": self.warm_up_us, "sample_us": self.sample_us}

    def session(self, strategies: Strategy | Sequence[Strategy]) -> Session:
        """A run that is stepped by hand: `while session.step(): …`, then `session.results()`."""
        return Session(self, [strategies] if isinstance(strategies, Strategy) else list(strategies))

    def run(self, strategy: Strategy) -> Result:
        """Replay everything through one strategy.  Raises StrategyError (with the partial result) when it raises."""
        return self.run_many([strategy])[0]

    def run_many(self, strategies: Sequence[Strategy]) -> list[Result]:
        """Replay the market once for several strategies, each with its own orders and account."""
        session = self.session(strategies)
        while session.step():
            pass
        return session.results()


def _unified(sources: Sequence[Source]) -> tuple[tuple[Instrument, ...], list[np.ndarray]]:
    """All instruments of a run, and for each source where its own indices point to."""
    found: list[Instrument] = []
    maps = []
    for source in sources:
        where = []
        for instrument in source.instruments:
            same = [i for i, known in enumerate(found) if known.name == instrument.name]
            if not same:
                found.append(instrument)
            elif found[same[0]] != instrument:
                raise ConfigError(
                    "sources", instrument.name, f"has other terms in {source.name}: {instrument} against {found[same[0]]}",
                    "pass instruments= with one definition",
                )  # fmt: skip
            where.append(same[0] if same else len(found) - 1)
        maps.append(np.array(where or [0], np.int64))
    if not found:
        raise ConfigError("sources", [source.name for source in sources], "contain no instrument")
    return tuple(found), maps


class Session:
    """One run: the arena, the sources' iterators and the strategies.  `step` goes to the next callback."""

    def __init__(self, replay: Replay, strategies: list[Strategy]) -> None:
        if not strategies:
            raise ConfigError("strategies", strategies, "is empty", "register at least one Strategy")
        for strategy in strategies:
            if isinstance(strategy, type) or not isinstance(strategy, Strategy):
                raise ConfigError("strategy", strategy, "is not a Strategy instance", "write Replay(...).run(YourStrategy())")
        self.replay = replay
        self.strategies = strategies
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
            bit: [(getattr(s, handler), c, k) for k, (s, c) in enumerate(zip(strategies, self.contexts)) if s.overrides(handler)]
            for handler, bit in _HANDLER_BITS.items()
        }  # fmt: skip

    # ------------------------------------------------------------------------------------------------- the arena

    def _make_arena(self) -> Arena:
        replay, n_i, n_s = self.replay, len(self.instruments), len(self.strategies)
        n_sources = len(replay.sources)
        cap = max(2 * replay.batch_rows, 4096)
        books, cells = make_books(n_i * BOOKS_EACH)
        counts = {
            "run": 1, "sources": n_sources, "instruments": n_i, "strategies": n_s, "slots": n_i * n_s,
            "orders": 1024, "heap": 8192, "items": 8192, "fills": 8192, "log": 8192,
            "equity": 8192 * n_i, "taken": 1024, "tables": 1, "retired": 64, "books": len(books), "cells": len(cells),
            "event": 1, "rows": cap * n_sources, "venue_order": cap * n_sources,
            "local_heap": n_sources, "venue_heap": n_sources, "local_cursors": n_sources, "venue_cursors": n_sources,
        }  # fmt: skip
        arena = Arena(counts)
        arena["books"][:], arena["cells"][:] = books, cells
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
        self._out = {
            name: self.arena.word("run", name)
            for name in ("out_kinds", "out_instrument", "out_strategy", "out_order", "out_log", "out_id", "now")
        }
        self._w_kinds, self._w_strategy = self._out["out_kinds"], self._out["out_strategy"]
        self._event_offset = 8 * self.arena.word("event", "ts")
        self._event = memoryview(self.bytes)[self._event_offset : self._event_offset + EVENT.itemsize]
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
        about_orders = (codes.DO_ANSWER, codes.DO_NEW, codes.DO_CANCEL, codes.DO_MODIFY, codes.DO_TRIGGERED, codes.DO_EXPIRE)
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
        if self._over:
            return False
        if not self._started:
            self._start()
            return True
        while True:
            code = advance(self.bytes)
            if code == codes.CALLBACK:
                self._dispatch()
                return True
            if code == codes.NEED_DATA:
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

    def _dispatch(self) -> None:
        ints = self.ints
        kinds = ints[self._w_kinds]
        if kinds <= codes.ON_GAP:
            row = decode_row(self._event, 0)
            instrument = row[6]
            if kinds == codes.ON_BOOK:
                event: Any = self.books[instrument]
            elif kinds == codes.ON_TRADE:
                event = Trade(row, self._grids[instrument])
            elif kinds == codes.ON_QUOTE:
                inst = self.arena.word("instruments", "quote_bid", instrument)
                event = Quote(row, *ints[inst : inst + 4], self._grids[instrument])
            elif kinds == codes.ON_LIQUIDATION:
                event = Liquidation(row, self._grids[instrument])
            elif kinds == codes.ON_FUNDING:
                event = Funding(row)
            else:
                event = Gap(row)
            for handler, ctx, k in self._bound[kinds]:
                try:
                    handler(ctx, event)
                except Exception as error:
                    self._failed(k, handler.__name__, event, error)
            return
        strategy = ints[self._w_strategy]
        if kinds == codes.ON_TIMER:
            self._deliver(codes.ON_TIMER, strategy, Timer(ints[self._out["out_id"]], ints[self._out["now"]]))
            return
        row = self.arena["log"][ints[self._out["out_log"]]]
        fill = Fill(row, self._grids[int(row["instrument"])])
        if kinds & codes.ON_ORDER:
            self._deliver(codes.ON_ORDER, strategy, Order(self.arena["orders"][ints[self._out["out_order"]]]))
        if kinds & codes.ON_FILL:
            self._deliver(codes.ON_FILL, strategy, fill)

    def _deliver(self, bit: int, strategy: int, event: Any) -> None:
        for handler, ctx, k in self._bound[bit]:
            if k == strategy:
                try:
                    handler(ctx, event)
                except Exception as error:
                    self._failed(k, handler.__name__, event, error)

    def _guard(self, strategy: Strategy, name: str, event: Any, handler: Callable[[Context], None], ctx: Context) -> None:
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
