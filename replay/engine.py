"""Replay: data and models in, results out.

`Replay` checks and holds what a run is made of; `replay.session` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

import numpy as np

from replay.errors import ConfigError, did_you_mean
from replay.instruments import Instrument
from replay.kernel import codes
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
from replay.sources import BATCH_ROWS, ArraySource, Source, find_adapter
from replay.strategy import Strategy
from replay.units import US_PER_S

T = TypeVar("T")
PerInstrument = Union[T, Mapping[str, T]]  # noqa: UP007 (mypy wants the old spelling of a generic alias)
"""One value for every instrument, or values by instrument name."""

_SELF_TRADE = {"cancel-newest": codes.SELF_CANCEL_NEWEST, "cancel-oldest": codes.SELF_CANCEL_OLDEST,
               "allow": codes.SELF_ALLOW}  # fmt: skip
_EXECUTIONS = {"full": codes.EXECUTION_FULL, "partial": codes.EXECUTION_PARTIAL}
_ON_GAP = {"reject": 0, "hold": 1}

Progress = Callable[[int, int, int], None]
"""Called after each batch with (rows read, simulated time µs, fills so far)."""


def _choice(name: str, value: str, known: Mapping[str, int]) -> int:
    if value not in known:
        raise ConfigError(name, value, "is not known", did_you_mean(str(value), known))
    return known[value]


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
    `warm_up_us` refuses orders for that long.  `sample_us` is the grid of the equity curve.

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
        warm_up_us: int = 0,
        sample_us: int = US_PER_S,
        batch_rows: int = BATCH_ROWS,
        progress: Progress | None = None,
    ) -> None:
        names = [i if isinstance(i, str) else i.name for i in instruments]
        if isinstance(sources, (str, Path)):
            from replay.store import Store

            sources = Store(sources).source(names)
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
        for name, value, low in (
            ("warm_up_us", warm_up_us, 0),
            ("sample_us", sample_us, 1),
            ("batch_rows", batch_rows, 1),
        ):
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
        return cls([source], instruments=instruments, **settings)

    @classmethod
    def from_store(
        cls, path: str | Path, *, instruments: Sequence[str] = (), start_us: int | None = None,
        end_us: int | None = None, channels: Sequence[str] | None = None, hot: bool = False, **settings: Any,
    ) -> Replay:  # fmt: skip
        """A replay of a part of a store (see `replay.store.Store.source`); times are `ts`, `end_us` exclusive."""
        from replay.store import Store

        source = Store(path).source(instruments, start_us, end_us, channels, hot=hot)
        return cls([source], instruments=list(instruments), **settings)

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
                if not isinstance(value, kinds[name]):
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
        session.run()
        return session.results()


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
