"""One run: a thin shell over the machine in `replay.kernel`.

It feeds batches to the sources' windows, gives the arena room when it asks, drains the logs, and calls the handlers of
the registered strategies.  Everything that decides a result happens in the kernels and in the strategies; the shell
adds no order of its own, so the size of batches and the time at which they arrive change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.arena import enlarge_pools, grow, make_arena, widen
from replay.compiler import Machine, Plan, compile_strategy
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
from replay.errors import CompileError, ConfigError, KernelError, ReplayError, StrategyError, did_you_mean
from replay.kernel import codes
from replay.kernel.advance import advance
from replay.kernel.agenda import PHASE_TIMER, agenda_push
from replay.kernel.exact import whole
from replay.kernel.feed import NO_ROOM, append
from replay.kernel.requests import REASON_WORDS, set_timer
from replay.kernel.state import EQUITY, EVENT, FILL, LOG, MARKOUT, RECORD, record_number
from replay.loading import place_of
from replay.logs import Rows
from replay.models import (
    fee_currency,
    fee_unit,
)
from replay.results import Result
from replay.settings import models_under
from replay.sources import Source, reached_by
from replay.strategy import Strategy
from replay.units import INT64_MAX, SCALE, iso_from_us, plain

if TYPE_CHECKING:
    from replay.engine import Replay

MODES = ("interpreted", "compiled", "auto")

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


def _until(source: Source, rows: int, end_us: int) -> Generator[np.ndarray]:
    """The batches up to the last row that was received at `end_us`; nothing beyond is asked for."""
    for batch in source.batches(rows):
        if len(batch) and batch["ts"][-1] > end_us:
            yield batch[: np.searchsorted(batch["ts"], end_us, "right")]
            yield batch[:0]  # whoever keeps time has come to the end
            return
        yield batch
        if not len(batch) and reached_by(source) > end_us:
            return


class Session:
    """One run: the arena, the sources' iterators and the strategies.  `step` goes to the next callback."""

    def __init__(self, replay: Replay, strategies: list[Strategy], mode: str = "interpreted") -> None:
        if not strategies:
            raise ConfigError("strategies", strategies, "is empty", "register at least one Strategy")
        for k, strategy in enumerate(strategies):
            if isinstance(strategy, type) or not isinstance(strategy, Strategy):
                raise ConfigError(
                    "strategy", strategy, "is not a Strategy instance", "write Replay(...).run(YourStrategy())"
                )
            if strategy._used or any(strategy is other for other in strategies[:k]):
                raise ConfigError(
                    "strategy",
                    type(strategy).__name__,
                    "has been run and holds its state" if strategy._used else "stands in the list twice",
                    "make a new one for each run",
                )
        self.mode, self.mode_reason, compiled = _chosen(mode, strategies)
        for strategy in strategies:
            strategy._used = True
        self.replay = replay
        self.strategies = strategies
        self.parameters = [
            {name: value for name, value in s.parameters().items() if isinstance(value, (bool, int, float, str))}
            for s in strategies
        ]
        self.instruments = replay.instruments
        self.indices = range(len(self.instruments))
        self.models = [models_under(self.instruments, replay.models, s._models) for s in strategies]
        self.grids = [_Grid(instrument) for instrument in self.instruments]
        self._fills, self._log, self._equity, self._records, self._markouts = (
            [Rows(kind) for _ in strategies] for kind in (FILL, LOG, EQUITY, RECORD, MARKOUT)
        )
        self._rows_read = 0
        self._started = self._begun = self._over = False
        self.names: dict[int, str] = {record_number(word): word for plan, _ in compiled for word in plan.words}
        self._machine: Machine | None = None
        self.fee_currencies = [
            fee_currency(fees, instrument) for fees, instrument in zip(replay.models["fees"], self.instruments)
        ]
        settled = [instrument.settle for instrument in self.instruments]
        self.currencies = list(dict.fromkeys([*settled, *self.fee_currencies]))
        self.arena = make_arena(
            self,
            sum(
                bit
                for handler, bit in _HANDLER_BITS.items()
                if any(strategy.overrides(handler) for strategy in strategies)
            ),
        )
        self.bytes = self.arena.bytes
        self.ints = self.arena.ints
        self.books = [Book(self, i, grid) for i, grid in enumerate(self.grids)]
        self.contexts = [Context(self, k) for k in range(len(strategies))]
        if compiled:
            self._machine = Machine(self, compiled)
        self._bind()
        self._iterators: list[Generator[np.ndarray] | None] = [
            _until(source, replay.batch_rows, replay.end_us) for source in replay.sources
        ]
        self._bound = {
            bit: [(getattr(s, handler), self.contexts[k], k) for k, s in enumerate(strategies) if s.overrides(handler)]
            for handler, bit in _HANDLER_BITS.items()
        }  # fmt: skip

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
        if self._machine is not None:
            self._machine.bind()

    def make_room(self, levels: int = 0) -> None:
        """Empty logs and larger pools; keeps every order, item and list as it was.

        `levels`: of the book that the next event may take.
        """
        self._flush()
        if enlarge_pools(self.arena, levels):
            self._bind()

    # ------------------------------------------------------------------------------------------------------ feeding

    def _feed(self, s: int) -> None:
        iterator = self._iterators[s]
        batch = None if iterator is None else next(iterator, None)
        last = 0
        if batch is None:
            batch, last = np.zeros(0, EVENT), 1
            self._iterators[s] = None
        elif not len(batch):
            reached_us = min(reached_by(self.replay.sources[s]), self.replay.end_us)
            clock = self.arena["sources"][s]
            clock["last_ts"] = max(int(clock["last_ts"]), reached_us)
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
            widen(self.arena, len(batch))
            self._bind()
        if last and all(it is None for it in self._iterators):
            self.arena["run"][0]["end_us"] = int(self.arena["sources"]["last_ts"].max())
        if self.replay.progress is not None:
            fills = sum(len(mine) for mine in self._fills) + int(self.arena["run"][0]["fills_n"])
            self.replay.progress(self._rows_read, int(self.arena["run"][0]["now"]), fills)

    def _flush(self) -> None:
        """Hand the rows of the logs out to the strategies whose they are."""
        run = self.arena["run"][0]
        for name, kept in self._tables():
            n = int(run[f"{name}_n"])
            if n:
                rows = self.arena[name][:n]
                if len(kept) == 1:
                    kept[0].add(rows)
                else:
                    owners = rows["strategy"].copy()
                    rows["strategy"] = 0  # a result does not depend on who else took part
                    order = np.argsort(owners, kind="stable")
                    ends = np.cumsum(np.bincount(owners, minlength=len(kept))).tolist()
                    for mine, first, end in zip(kept, [0, *ends], ends):
                        mine.add_some(rows, order[first:end])
            run[f"{name}_n"] = 0

    def _tables(self) -> tuple[tuple[str, list[Rows]], ...]:
        return (
            ("fills", self._fills), ("log", self._log), ("equity", self._equity), ("records", self._records),
            ("markouts", self._markouts),
        )  # fmt: skip

    def _room(self) -> None:
        """Do what NEED_ROOM asks for."""
        if grow(self.arena):
            self._bind()
        else:
            self.make_room(int(self.arena["run"][0]["out_source"]))

    # ------------------------------------------------------------------------------------------------------ running

    def _start(self) -> None:
        self._started = True
        self._load()
        earliest_us = self._earliest()
        arena = self.arena
        run = arena["run"][0]
        if earliest_us == INT64_MAX and self.replay.end_us < INT64_MAX:
            raise ConfigError("end", iso_from_us(self.replay.end_us), "lies before the first event")
        run["now"] = earliest_us if earliest_us < INT64_MAX else 0
        if self.replay.start_us > run["now"]:
            self._skip_to(self.replay.start_us)
            arena = self.arena
            run = arena["run"][0]
        run["warm_until"], run["sample_us"] = run["now"] + self.replay.warm_up_us, self.replay.sample_us
        self.first_us = int(run["now"])
        first = -(-self.first_us // self.replay.sample_us) * self.replay.sample_us
        item = agenda_push(arena["run"], arena["heap"], arena["items"], first, PHASE_TIMER)
        arena["items"][item]["kind"], arena["items"][item]["interval"] = codes.DO_SAMPLE, self.replay.sample_us
        self._begun = True
        for strategy, ctx in zip(self.strategies, self.contexts):
            self._guard(strategy, "on_start", None, strategy.on_start, ctx)
        if self._machine is not None:
            self._machine.take_in()

    def _earliest(self) -> int:
        """The earliest moment of all events, here or at the venue; INT64_MAX when there are none.

        Feeds until nothing that is still to come can lie before it, or it is certain that the run starts later.
        """
        earliest_us, wanted = INT64_MAX, list(range(len(self.replay.sources)))
        while wanted:
            for s in wanted:
                before = int(self.arena["sources"][s]["local_end"])
                self._feed(s)
                source = self.arena["sources"][s]
                rows = self.arena["rows"][int(source["row0"]) + before : int(source["row0"] + source["local_end"])]
                if len(rows):
                    earliest_us = min(earliest_us, int(rows["ts"][0]), int(rows["exch_ts"].min()))
            if earliest_us < self.replay.start_us:
                break
            wanted = [
                s for s, source in enumerate(self.arena["sources"][: len(self.replay.sources)])
                if source["done"] == 0 and int(source["last_ts"]) - int(source["horizon_us"]) < earliest_us
            ]  # fmt: skip
        return earliest_us

    def _load(self) -> None:
        """Have the machine's code ready before any source is asked: a live one would go on meanwhile.

        Nothing changes: there is no row, and `advance` wants data.
        """
        for s, numbers in enumerate(self.replay.maps):
            append(self.bytes, s, np.zeros(0, EVENT), numbers, 0)
        code = advance(self.bytes)
        if self._machine is not None:
            code = self._machine.drive(1)
        if code != codes.NEED_DATA:
            raise KernelError(code, "advance")

    def _skip_to(self, start_us: int) -> None:
        """Replay everything before `start_us` for the books' sake: a timer that no strategy hears ends it.

        The gaps of that time are not the run's.
        """
        arena = self.arena
        wanted = int(arena["run"][0]["wanted"])
        arena["run"][0]["wanted"] = codes.ON_TIMER
        set_timer(self.bytes, 0, start_us - 1, 0, 0)
        while (code := advance(self.bytes)) != codes.CALLBACK:
            if code == codes.NEED_DATA:
                self._feed(int(self.arena["run"][0]["out_source"]))
            elif code == codes.FLUSH:
                self.make_room()
            elif code == codes.NEED_ROOM:
                self._room()
            elif code == codes.DONE:
                break
            else:
                raise KernelError(code, "advance")
        arena = self.arena
        last_us = int(arena["run"][0]["end_us"])
        if last_us < start_us:
            raise ConfigError("start", iso_from_us(start_us), f"lies after the last event, {iso_from_us(last_us)}")
        arena["run"][0]["wanted"], arena["run"][0]["now"] = wanted, start_us
        arena["instruments"]["gaps"] = arena["instruments"]["blind_us"] = 0
        arena["instruments"]["blind_since"] = start_us

    @property
    def begun(self) -> bool:
        """Whether the strategies were started."""
        return self._begun

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
            code = advance(self.bytes) if self._machine is None else self._drive(self._machine, callbacks)
            if code == codes.CALLBACK:
                if self._machine is not None:
                    return True
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

    def _drive(self, machine: Machine, callbacks: int) -> int:
        """`advance` with compiled handlers."""
        try:
            return machine.drive(callbacks)
        except Exception as error:
            k, handler = machine.running
            self._failed(k, handler, self._event_of(handler), error)
            raise  # not reached: `_failed` raises

    def _event_of(self, handler: str) -> Any:
        """What `handler` is given now."""
        bit = _HANDLER_BITS[handler]
        if bit == codes.ON_TIMER:
            return Timer(self.ints[self._w_id], self.ints[self._w_now])
        if bit == codes.ON_ORDER:
            return Order(self.arena["orders"][self.ints[self._w_order]])
        if bit == codes.ON_FILL:
            row = self.arena["answered"][0]
            return Fill(row, self.grids[int(row["instrument"])])
        return self._market_event(bit)

    def _market_event(self, kinds: int) -> Any:
        if kinds == codes.ON_BOOK:
            return self.books[self.ints[self._w_instrument]]
        if kinds == codes.ON_TRADE:
            row = TRADE_ROW.unpack(self._event)
            return Trade(row, self.grids[row[5]])
        if kinds == codes.ON_QUOTE:
            row = QUOTE_ROW.unpack(self._event)
            return Quote(row, TOUCH.unpack(self._quotes[row[3]]), self.grids[row[3]])
        if kinds == codes.ON_LIQUIDATION:
            row = TRADE_ROW.unpack(self._event)
            return Liquidation(row, self.grids[row[5]])
        if kinds == codes.ON_FUNDING:
            return Funding(NOTICE_ROW.unpack(self._event))
        return Gap(NOTICE_ROW.unpack(self._event))

    def _market(self, kinds: int) -> None:
        """Hand a market event to all strategies that want it, in order of registration."""
        event = self._market_event(kinds)
        for handler, ctx, k in self._bound[kinds]:
            try:
                handler(ctx, event)
            except Exception as error:
                self._failed(k, handler.__name__, event, error)

    def _own(self, kinds: int) -> None:
        """Hand a timer or an answer to the strategy whose it is; an order change comes before its fill."""
        strategy = self.ints[self._w_strategy]
        if kinds == codes.ON_TIMER:
            self._deliver(codes.ON_TIMER, strategy, self._event_of("on_timer"))
            return
        fill = self._event_of("on_fill") if kinds & codes.ON_FILL else None
        if kinds & codes.ON_ORDER:
            self._deliver(codes.ON_ORDER, strategy, self._event_of("on_order"))
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
        if self._machine is not None:
            self._machine.hand_back()
        self._flush()
        self._leave_sources()
        partial = self._result(strategy)
        name = type(self.strategies[strategy]).__name__
        if isinstance(error, ReplayError) and not isinstance(error, ConfigError):
            raise error
        problem = f"{type(error).__name__}: {error}"
        time_us = int(self.arena["run"][0]["now"])
        code = getattr(getattr(type(self.strategies[strategy]), handler), "__code__", None)
        place = place_of(error.__traceback__) or (f"{code.co_filename}:{code.co_firstlineno}" if code else "")
        raise StrategyError(name, handler, problem, time_us, event, partial, place) from error

    def _finish(self) -> None:
        self._over = True
        run = self.arena["run"][0]
        run["ended"] = 1
        if run["too_large"]:
            self._leave_sources()
            instrument, time = self.instruments[int(run["too_large"]) - 1], iso_from_us(int(run["now"]))
            raise ConfigError(
                f"{instrument.name}.lot", plain(instrument.lot),
                f"is too small: what was traded by {time}, in ticks times lots, does not fit 64 bits",
                "give the instrument a coarser lot or tick, or send smaller orders",
            )  # fmt: skip
        if self._machine is not None:
            self._machine.hand_back()
        for strategy, ctx in zip(self.strategies, self.contexts):
            self._guard(strategy, "on_stop", None, strategy.on_stop, ctx)
        self._flush()
        self._leave_sources()

    def _leave_sources(self) -> None:
        """Let go of what they hold (files, sockets, threads), here and now: a collector may come in any thread."""
        for iterator in self._iterators:
            if iterator is not None:
                iterator.close()

    def stop(self) -> None:
        """End the run at the next step (`ctx.stop`)."""
        self.arena["run"][0]["stopping"] = 1

    # ------------------------------------------------------------------------------------------------------ results

    def money(self, slot_index: int, mark: float) -> dict[str, float]:
        """Value, fees, funding, equity and turnover of a slot at `mark` (price), as the venue has them.

        Fees are in the fee currency; equity is in the settlement currency, less the fees that are owed in it.
        """
        slot = self.arena["slots"][slot_index]
        i = int(slot["instrument"])
        instrument = self.instruments[i]
        fees = float(slot["fee_f"])
        settled = whole(slot["settled_hi"], slot["settled_lo"])
        funding = float(slot["funding_f"])
        exact_fees = whole(slot["fee_hi"], slot["fee_lo"])
        exact_funding = whole(slot["funding_hi"], slot["funding_lo"])
        unit = instrument.lot * instrument.multiplier
        fees += float(exact_fees * fee_unit(instrument, self.replay.models["fees"][i]) / SCALE)
        funding += float(exact_funding * unit / SCALE**2)
        position = int(slot["position"])
        if instrument.payoff == "inverse":
            held = position / (mark / float(instrument.tick)) if position else 0.0
            value = (float(slot["cash_f"]) - held) * float(unit / instrument.tick)
            turnover = float(slot["turnover_f"]) * float(unit / instrument.tick)
        else:
            cash = float(int(slot["cash"]) * unit * instrument.tick + settled * unit / SCALE)
            value = cash + (position * float(unit) * mark if position else 0.0)
            turnover = float(int(slot["turnover"]) * unit * instrument.tick)
        owed = fees if self.fee_currencies[i] == instrument.settle else 0.0
        return {
            "value": value, "fees": fees, "funding": funding, "equity": value - owed - funding, "turnover": turnover,
        }  # fmt: skip

    def results(self) -> list[Result]:
        """One Result per strategy, in order of registration."""
        if not self._over:
            raise ConfigError("session", "results", "the run is not over", "call step until it returns False")
        return [self._result(k) for k in range(len(self.strategies))]

    def _result(self, k: int) -> Result:
        tables = {name: kept[k].table() for name, kept in self._tables()}
        quality = self.replay.sources[0].quality
        for source in self.replay.sources[1:]:
            quality = quality.merged(source.quality)
        return Result.build(self, k, tables, quality)

    def refusals(self, k: int) -> dict[str, int]:
        """How many requests of strategy `k` were refused here, by reason."""
        counts = self.arena["refusals"][k * REASON_WORDS : (k + 1) * REASON_WORDS]
        return {codes.REASONS[int(i)]: int(counts[i]) for i in np.flatnonzero(counts)}


def _chosen(mode: str, strategies: list[Strategy]) -> tuple[str, str, list[tuple[Plan, Any]]]:
    """The mode of the run, why it is not the wanted one, and the compiled strategies."""
    if mode not in MODES:
        raise ConfigError("mode", mode, "is not known", did_you_mean(str(mode), MODES))
    if mode == "interpreted":
        return mode, "", []
    try:
        return "compiled", "", [compile_strategy(strategy) for strategy in strategies]
    except CompileError as error:
        if mode == "compiled":
            raise
        return "interpreted", str(error), []
