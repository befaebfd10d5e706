"""Many runs in one pass: parameter sweeps, and bands over what nobody can know.

The market is replayed once and every variant has its own orders, queue places and account (see `Replay.run`).  An axis
of a sweep is a parameter of the strategy or a model of the run; a band varies the two things that history does not
tell, the place in the queue and the latency, from the kindest to the harshest assumption.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from itertools import product
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.errors import ConfigError, did_you_mean
from replay.models import OptimisticQueue, RiskAverseQueue
from replay.results import Result
from replay.settings import DEFAULTS
from replay.strategy import Strategy

if TYPE_CHECKING:
    from replay.engine import Replay

LATENCY_FACTORS = (0.5, 1.0, 2.0)
"""How much shorter and longer than configured a band takes the latency to be."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Results of all combinations of `axes` (name to values), the last axis running fastest."""

    axes: dict[str, tuple[Any, ...]]
    results: tuple[Result, ...]

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Result]]:
        """(values on the axes, result) of each variant."""
        for values, result in zip(product(*self.axes.values()), self.results):
            yield dict(zip(self.axes, values)), result

    def __len__(self) -> int:
        return len(self.results)

    def table(self) -> list[dict[str, Any]]:
        """One row a variant: its values on the axes, fills, orders, money by currency, digest.

        Money is net profit, and for currencies of settlement the largest drawdown (0.0: none) and the turnover;
        `maker share` is None without fills.  All other figures: `result.metrics()`.
        """
        return [
            {
                **values,
                "fills": len(result.fills),
                "submitted": sum(part.submitted for part in result.summary_by_instrument),
                "maker share": float((result.fills["maker"] != 0).mean()) if len(result.fills) else None,
                **{f"net {currency}": net for currency, net in result.net.items()},
                **_risk(result),
                "digest": result.digest,
            }
            for values, result in self
        ]

    def best(self, currency: str | None = None) -> tuple[dict[str, Any], Result]:
        """The variant with the highest net profit in `currency` (the only one, when there is one); the first of equals.

        Raises ConfigError when the currency has to be named.
        """
        known = sorted({name for result in self.results for name in result.net})
        if currency is None and len(known) == 1:
            currency = known[0]
        if currency not in known:
            raise ConfigError("currency", currency, "is not one of the results", f"known: {', '.join(known)}")
        chosen = currency
        return max(self, key=lambda variant: variant[1].net.get(chosen, 0.0))

    def summary(self) -> str:
        """A table for the terminal."""
        rows = [{name: _short(value) for name, value in row.items() if name != "digest"} for row in self.table()]
        widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
        head = "  ".join(f"{name:>{width}}" for name, width in widths.items())
        lines = ["  ".join(f"{row[name]:>{width}}" for name, width in widths.items()) for row in rows]
        return "\n".join([head, "─" * len(head), *lines])

    def __str__(self) -> str:
        return self.summary()

    def to_html(self, path: str | PathLike[str], *, currency: str | None = None) -> None:
        """One HTML file that compares the variants in `currency` (the only one, when there is one).

        Raises ConfigError when the currency has to be named and DataError when the file cannot be written.
        """
        from replay.report.several import sweep_page

        sweep_page(self, currency).write(path)

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        return f"<pre>{escape(self.summary())}</pre>"


def _risk(result: Result) -> dict[str, float]:
    """Largest drawdown and turnover in each currency of settlement."""
    out = {}
    for currency in dict.fromkeys(part.currency for part in result.summary_by_instrument):
        fall = result.curve(currency).drawdown(None)
        mine = (part.turnover for part in result.summary_by_instrument if part.currency == currency)
        out[f"drawdown {currency}"] = 0.0 if fall is None else fall.money
        out[f"turnover {currency}"] = sum(mine, 0.0)
    return out


def _short(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Case:
    """One assumption of a band: "optimistic", "base" or "risk-averse" `queue`, latency times `latency_factor`."""

    queue: str
    latency_factor: float
    result: Result


@dataclass(frozen=True, slots=True)
class Band:
    """One strategy under kind to harsh assumptions on queue and latency, and as configured (`base`)."""

    cases: tuple[Case, ...]

    @property
    def base(self) -> Result:
        """The run as configured."""
        return next(c.result for c in self.cases if c.queue == "base" and c.latency_factor == 1.0)

    @property
    def pessimistic(self) -> Result:
        """The harshest assumptions: nobody ahead cancels, the longest latency."""
        longest = max(c.latency_factor for c in self.cases)
        return next(c.result for c in self.cases if c.queue == "risk-averse" and c.latency_factor == longest)

    @property
    def optimistic(self) -> Result:
        """The kindest assumptions: everybody ahead cancels first, the shortest latency."""
        shortest = min(c.latency_factor for c in self.cases)
        return next(c.result for c in self.cases if c.queue == "optimistic" and c.latency_factor == shortest)

    def net(self) -> dict[str, tuple[float, float, float]]:
        """(least, configured, greatest) net profit over all cases, by currency."""
        return {
            currency: (
                min(c.result.net[currency] for c in self.cases), base,
                max(c.result.net[currency] for c in self.cases),
            )
            for currency, base in self.base.net.items()
        }  # fmt: skip

    def verdict(self, currency: str) -> str:
        """One plain sentence: how much of the configured profit in `currency` the harshest assumptions leave."""
        base, worst = self.base.net[currency], self.pessimistic.net.get(currency, 0.0)
        if base <= 0.0:
            return f"There is no profit to begin with: {base:,.6g} {currency} as configured."
        if worst <= 0.0:
            return f"Nothing of the profit of {base:,.6g} {currency} is left under the harshest assumptions."
        part = f"{100 * worst / base:.0f} % of the profit of {base:,.6g} {currency}"
        return f"{part} is left under the harshest assumptions: {worst:,.6g} {currency}."

    def to_html(self, path: str | PathLike[str], *, currency: str | None = None) -> None:
        """One HTML file about the band in `currency` (the only one, when there is one).

        Raises ConfigError when the currency has to be named and DataError when the file cannot be written.
        """
        from replay.report.several import band_page

        band_page(self, currency).write(path)

    def to_parquet(self, folder: str | PathLike[str]) -> None:
        """Save all cases, each as `Result.to_parquet` does, in a folder of its own, and band.json, which says which is
        which.  The folder is new or an earlier band, which goes.

        Written beside it and renamed when complete.  Raises DataError when it is something else or cannot be written.
        """
        from replay.saving import save_band

        save_band(self, Path(folder))

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Band:
        """A band as `to_parquet` saved it, each case with the same digest.  DataError when it is not that."""
        from replay.saving import load_band

        return load_band(Path(folder))

    def summary(self) -> str:
        """The range for each currency and what is left of a profit, then every case."""
        lines = []
        for currency, (low, base, high) in self.net().items():
            lines.append(f"net {low:,.6g} to {high:,.6g} {currency}, {base:,.6g} as configured")
            if base > 0.0:
                lines.append(self.verdict(currency))
        lines += ["", f"{'queue':<14}{'latency':>8}{'fills':>9}  net"]
        for case in self.cases:
            money = ", ".join(f"{value:,.6g} {currency}" for currency, value in case.result.net.items())
            lines.append(f"{case.queue:<14}{case.latency_factor:>7g}×{len(case.result.fills):>9,}  {money}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        """The summary for a notebook."""
        return f"<pre>{escape(self.summary())}</pre>"


def sweep(replay: Replay, make: type[Strategy], mode: str, axes: Mapping[str, Any]) -> Sweep:
    """See `Replay.sweep`."""
    parameters = make.parameter_types()
    for name in axes:
        if name not in parameters and name not in DEFAULTS:
            known = [*parameters, *DEFAULTS]
            raise ConfigError(f"sweep({name})", axes[name], f"is no parameter of {make.__name__} and no model",
                              did_you_mean(name, known))  # fmt: skip
    values = {name: _values(value) for name, value in axes.items()}
    for name, given in values.items():
        if not given:
            raise ConfigError(f"sweep({name})", axes[name], "has no values")
    strategies = []
    for chosen in product(*values.values()):
        settings = dict(zip(values, chosen))
        own = {name: value for name, value in settings.items() if name in parameters}
        strategies.append(make(**own).under(**{name: v for name, v in settings.items() if name not in parameters}))
    return Sweep(values, tuple(replay.run(strategies, mode=mode)))


def _values(given: Any) -> tuple[Any, ...]:
    if isinstance(given, Iterable) and not isinstance(given, (str, Mapping)):
        return tuple(given)
    return (given,)


def band(replay: Replay, make: type[Strategy], mode: str, parameters: Mapping[str, Any]) -> Band:
    """See `Replay.band`."""
    names = [instrument.name for instrument in replay.instruments]
    queues: dict[str, Any] = {
        "optimistic": OptimisticQueue(),
        "base": dict(zip(names, replay.models["queue"])),
        "risk-averse": RiskAverseQueue(),
    }
    cases, strategies = [], []
    for queue, model in queues.items():
        for factor in LATENCY_FACTORS:
            latency = {name: given.scaled(factor) for name, given in zip(names, replay.models["latency"])}
            strategies.append(make(**parameters).under(queue=model, latency=latency))
            cases.append((queue, factor))
    results = replay.run(strategies, mode=mode)
    return Band(tuple(Case(queue, factor, result) for (queue, factor), result in zip(cases, results)))
