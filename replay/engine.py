"""Replay: data and models in, results out.

`Replay` checks and holds what a run is made of; `replay.session` runs it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, Union, overload

import numpy as np

from replay.errors import ConfigError
from replay.instruments import Instrument
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
)
from replay.results import Result
from replay.session import Session
from replay.settings import Models, described, models_for
from replay.sources import BATCH_ROWS, ArraySource, Source, find_adapter
from replay.strategy import Strategy
from replay.sweep import Band, Sweep, band, sweep
from replay.terminal import say_when_compiling
from replay.units import INT64_MAX, INT64_MIN, US_PER_S, iso_from_us, us_from_time

T = TypeVar("T")
PerInstrument = Union[T, Mapping[str, T]]  # noqa: UP007 (mypy wants the old spelling of a generic alias)
"""One value for every instrument, or values by instrument name."""

Time = int | str | datetime
"""Whole µs since the epoch, ISO text with a zone (`2024-08-08T23:54:15Z`), or a datetime with one."""

Progress = Callable[[int, int, int], None]
"""Called after each batch with (rows read, simulated time µs, fills so far)."""


def _moment(name: str, time: Time) -> int:
    try:
        us = us_from_time(time)
        iso_from_us(us)
    except (ValueError, OverflowError) as error:
        hint = "whole numbers are microseconds since 1970" if isinstance(time, int) else ""
        raise ConfigError(name, time, str(error), hint) from None
    return us


class Replay:
    """Data and models of a replay.

    `sources` are `Source` objects, the path of a store (`instruments` then chooses by name, all by default; see
    `from_store`), or one EVENT array together with its `instruments`.  Handlers and `ctx` number the
    instruments in the order of `instruments`, then as the sources name them.  Models apply to every instrument;
    a dict `{"venue:symbol": model}` sets some of them, the others keep the default.  Times are µs.

    latency, queue, slippage, fees, margin: see `replay.models`.  execution "partial" walks the book level by level,
    "full" fills any crossing quantity at the best price; `consume` keeps taken liquidity taken until the venue updates
    the level (default: with "partial").  `self_trade` is "cancel-newest" (default with "partial"), "cancel-oldest" or
    "allow" (default with "full").  `on_gap` rejects or holds new orders while a book is invalid.  `borrow` lets a spot
    account sell what it does not hold.  `deposit` is the account's money for margin, in each settlement currency.
    `start` and `end` cut a piece out of a recording: what was received before `start` only rebuilds the books (no
    handler, no sample of equity; of a store only what that needs is read), `on_start` is called at `start` and sees
    them; what was received after `end` is not read.  None means the recording's own first and last event.
    `warm_up_us` refuses orders for that long from there.
    `sample_us` is the grid of the equity curve.

    Raises ConfigError for anything unknown, contradictory or out of range.
    """

    def __init__(
        self,
        sources: Sequence[Source] | Source | np.ndarray | str | Path,
        *,
        instruments: Sequence[Instrument | str] = (),
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
        start: Time | None = None,
        end: Time | None = None,
        warm_up_us: int = 0,
        sample_us: int = US_PER_S,
        batch_rows: int = BATCH_ROWS,
        progress: Progress | None = None,
    ) -> None:
        if isinstance(instruments, (str, Instrument)):
            instruments = [instruments]
        names = [i if isinstance(i, str) else i.name for i in instruments]
        if isinstance(sources, (str, Path)):
            from replay.store import Store

            start_us = None if start is None else _moment("start", start)
            sources = Store(sources).source(names, start_us, warm=True)
        if isinstance(sources, np.ndarray):
            sources = [ArraySource(sources, [i for i in instruments if not isinstance(i, str)])]
        elif isinstance(sources, Source):
            sources = [sources]
        self.sources: tuple[Source, ...] = tuple(sources)
        if not self.sources:
            raise ConfigError("sources", sources, "is empty", "give at least one recording")
        for source in self.sources:
            if not isinstance(source, Source):
                raise ConfigError("sources", source, "is not a Source", "use Replay.from_files for files")
        self.instruments, self.maps = _unified(self.sources, names)
        self.models = models_for(
            self.instruments,
            {
                "latency": latency, "queue": queue, "slippage": slippage, "fees": fees, "margin": margin,
                "execution": execution, "consume": consume, "self_trade": self_trade, "on_gap": on_gap,
                "borrow": borrow, "min_notional": min_notional,
            },
        )  # fmt: skip
        for option in self.instruments:
            if option.underlying and option.underlying not in [other.name for other in self.instruments]:
                raise ConfigError(
                    f"{option.name}.underlying",
                    option.underlying,
                    "is not in this run",
                    "add its recording: its mark settles",
                )
        if not (math.isfinite(deposit) and deposit >= 0):
            raise ConfigError("deposit", deposit, "must be money of at least 0", "without any there are no returns")
        self.deposit = float(deposit)
        for name, value, low in (
            ("warm_up_us", warm_up_us, 0),
            ("sample_us", sample_us, 1),
            ("batch_rows", batch_rows, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ConfigError(name, value, f"must be a whole number of at least {low}")
        self.warm_up_us, self.sample_us, self.batch_rows = warm_up_us, sample_us, batch_rows
        self.start_us = INT64_MIN if start is None else _moment("start", start)
        self.end_us = INT64_MAX if end is None else _moment("end", end)
        if self.start_us > self.end_us:
            raise ConfigError("start", start, f"is after end={end!r}")
        self.progress = progress

    @classmethod
    def from_files(
        cls, paths: Sequence[str | Path] | str | Path, *, adapter: str, instruments: Sequence[Instrument] = (),
        options: Mapping[str, Any] | None = None, **settings: Any,
    ) -> Replay:  # fmt: skip
        """A replay of recordings that the adapter called `adapter` reads (`replay.sources.adapter_names`).

        `options` are the adapter's own, `repair` for example.
        """
        if isinstance(paths, (str, Path)):
            paths = [paths]
        source = find_adapter(adapter).open([Path(path) for path in paths], instruments=instruments, **(options or {}))
        return cls([source], instruments=instruments, **settings)

    @classmethod
    def from_store(
        cls, path: str | Path, *, instruments: Sequence[str] = (), start_us: int | None = None,
        end_us: int | None = None, channels: Sequence[str] | None = None, hot: bool = False, **settings: Any,
    ) -> Replay:  # fmt: skip
        """A replay of a part of a store (see `replay.store.Store.source`).

        Only rows with `ts` in [start_us, end_us) are read: a book is valid after the first snapshot there.  With the
        setting `start`, a later time, they rebuild the books first; without `start_us` what comes before `start` is
        read from the last snapshots on.
        """
        from replay.store import Store

        warm = start_us is None and settings.get("start") is not None
        from_us = _moment("start", settings["start"]) if warm else start_us
        source = Store(path).source(instruments, from_us, end_us, channels, hot=hot, warm=warm)
        return cls([source], instruments=list(instruments), **settings)

    def settings(self, models: Models) -> dict[str, Any]:
        """Models and numbers as text, for results."""
        piece = {"start_us": self.start_us, "end_us": self.end_us}
        bounds = {name: None if abs(us) >= INT64_MAX else us for name, us in piece.items()}
        per = described(self.instruments, models)
        return {**per, **bounds, "deposit": self.deposit, "warm_up_us": self.warm_up_us, "sample_us": self.sample_us}

    def session(self, strategies: Strategy | Sequence[Strategy], mode: str = "interpreted") -> Session:
        """A run that is stepped by hand: `while session.step(): …`, then `session.results()`."""
        say_when_compiling(sys.stderr)
        return Session(self, list(strategies) if isinstance(strategies, Sequence) else [strategies], mode)

    @overload
    def run(self, strategies: Strategy, mode: str = "interpreted") -> Result: ...
    @overload
    def run(self, strategies: Sequence[Strategy], mode: str = "interpreted") -> list[Result]: ...
    def run(self, strategies: Strategy | Sequence[Strategy], mode: str = "interpreted") -> Result | list[Result]:
        """Replay everything, once, through one strategy or several: a Result, or a list in their order.

        Several strategies do not see each other: each has its own orders, queue places and account, and its result
        is the one that it would have alone.

        `mode` "interpreted" calls the handlers in Python, "compiled" turns them into machine code first (CompileError
        when that cannot be done), "auto" compiles when it can and says in `Result.mode_reason` why not.  Both give
        the same bits.

        Raises StrategyError, with the partial result, when a handler raises.
        """
        session = self.session(strategies, mode)
        session.run()
        results = session.results()
        return results[0] if isinstance(strategies, Strategy) else results

    def sweep(self, strategy: type[Strategy], mode: str = "auto", **axes: Any) -> Sweep:
        """One pass with a variant for each combination: `replay.sweep(Maker, half_spread=range(1, 11), lots=[1, 5])`.

        An axis is a parameter of the strategy or a model (`queue=[RiskAverseQueue(), PowerProbQueue(3)]`), with
        values or one value.  Raises ConfigError for an unknown axis.
        """
        return sweep(self, strategy, mode, axes)

    def band(self, strategy: type[Strategy], mode: str = "auto", **parameters: Any) -> Band:
        """One pass under nine assumptions: everybody ahead of us cancels first, the queue model of this Replay, nobody
        ahead ever cancels; each with half, once and twice the latency.  `parameters` are the strategy's.

        How far the profits of the nine lie apart says how much of a result is assumption.
        """
        return band(self, strategy, mode, parameters)


def _unified(sources: Sequence[Source], first: list[str]) -> tuple[tuple[Instrument, ...], list[np.ndarray]]:
    """All instruments of a run, those named in `first` in front, and for each source where its indices point to."""
    found: dict[str, Instrument] = {}
    for source in sources:
        for instrument in source.instruments:
            known = found.setdefault(instrument.name, instrument)
            if known != instrument:
                raise ConfigError(
                    "sources", instrument.name, f"has other terms in {source.name}: {instrument}, {known}",
                    "pass instruments= with one definition",
                )  # fmt: skip
    if not found:
        raise ConfigError("sources", [source.name for source in sources], "contain no instrument")
    names = [name for name in dict.fromkeys(first) if name in found]
    names += [name for name in found if name not in names]
    maps = [np.array([names.index(i.name) for i in source.instruments] or [0], np.int64) for source in sources]
    return tuple(found[name] for name in names), maps
