"""What a run leaves behind: fills, orders, equity, money, quality, and digests that say whether two runs are the same.

Tables are structured numpy arrays with integer prices and sizes (`FILL`, `LOG`, `EQUITY`, `MARKOUT` of
`replay.kernel.state`).  `digest` is a SHA-256 over all of them and the user's recorded values: equal digests mean equal
runs, bit for bit.  Money is in the settlement currency of each instrument; nothing is converted between currencies.
What the figures mean stands in `replay.metrics`, how a result is kept in `replay.saving`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from replay._version import __version__
from replay.curve import Curve
from replay.errors import ConfigError, did_you_mean
from replay.frames import arrow_table, fills_table, optional
from replay.instruments import Instrument
from replay.kernel import codes
from replay.metrics import Metrics, metrics_of
from replay.outcome import InstrumentResult, instrument_result
from replay.positions import positions_of
from replay.quality import QualityReport
from replay.sources import digests_of
from replay.summary import html, text
from replay.units import US_PER_S

if TYPE_CHECKING:
    from replay.engine import Replay, Time
    from replay.session import Session


SERIES = np.dtype([("ts", "<i8"), ("value", "<f8")])
"""A recorded value: time in µs, value."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one strategy in one run; `parameters` are its numbers and words as they were at the start.

    `data` names what was replayed: SHA-256 by file, or by day of a store (nothing for events from memory).
    """

    strategy: str
    parameters: dict[str, Any]
    settings: dict[str, Any]
    instruments: tuple[Instrument, ...]
    summary_by_instrument: tuple[InstrumentResult, ...]
    fills: np.ndarray
    orders: np.ndarray
    equity: np.ndarray
    markouts: np.ndarray
    records: dict[str, np.ndarray]
    quality: QualityReport
    refusals: dict[str, int]
    first_us: int
    last_us: int
    rows: int
    liquidations: int
    open_orders: int
    mode: str = "interpreted"
    mode_reason: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)

    @classmethod
    def build(
        cls, session: Session, k: int, tables: dict[str, np.ndarray], quality: QualityReport
    ) -> Result:  # fmt: skip
        """Collect the result of strategy number `k` from a session; `tables` are its rows of the logs."""
        arena = session.arena
        fills, records = tables["fills"], tables["records"]
        n_i = len(session.instruments)
        parts = tuple(instrument_result(session, k * n_i + i, i, fills) for i in range(n_i))
        strategy = session.strategies[k]
        run = arena["run"][0]
        import numba

        return cls(
            strategy=type(strategy).__name__,
            parameters=session.parameters[k],
            settings=session.replay.settings(session.models[k]),
            instruments=session.instruments,
            summary_by_instrument=parts,
            fills=fills,
            orders=tables["log"],
            equity=tables["equity"],
            markouts=tables["markouts"],
            records={
                session.names[number]: records[["ts", "value"]][records["name"] == number].astype(SERIES)
                for number in dict.fromkeys(records["name"].tolist())
            },
            quality=quality,
            refusals=session.refusals(k),
            first_us=session.first_us,
            last_us=int(run["now"]),
            rows=int(run["steps_local"]),
            liquidations=int(arena["strategies"][k]["liquidations"]),
            open_orders=int(arena["slots"]["live"][k * n_i : (k + 1) * n_i].sum()),
            mode=session.mode,
            mode_reason=session.mode_reason,
            versions={
                "tickreplay": __version__, "python": sys.version.split()[0],
                "numpy": np.__version__, "numba": numba.__version__,
            },
            data={name: digest for source in session.replay.sources for name, digest in digests_of(source).items()},
        )  # fmt: skip

    # -------------------------------------------------------------------------------------------------------- sums

    @property
    def rejections(self) -> dict[str, int]:
        """How many orders the venue rejected, by reason; `refusals` are requests that never left."""
        reasons = self.orders["reason"][self.orders["status"] == codes.REJECTED]
        return {codes.REASONS[int(i)]: int(n) for i, n in zip(*np.unique(reasons, return_counts=True))}

    @property
    def digest(self) -> str:
        """SHA-256 over fills, orders, equity, markouts and recorded values."""
        state = hashlib.sha256()
        for table in (self.fills, self.orders, self.equity, self.markouts):
            state.update(np.ascontiguousarray(table).tobytes())
        for name in sorted(self.records):
            state.update(name.encode() + b"\0" + self.records[name].tobytes())
        return state.hexdigest()

    @property
    def net(self) -> dict[str, float]:
        """Net profit by currency."""
        out: dict[str, float] = {}
        for part in self.summary_by_instrument:
            out[part.currency] = out.get(part.currency, 0.0) + part.net
            if part.fee_currency != part.currency:
                out[part.fee_currency] = out.get(part.fee_currency, 0.0) - part.fees
        return out

    @property
    def seconds(self) -> float:
        """Simulated length of the run."""
        return (self.last_us - self.first_us) / US_PER_S

    @property
    def currencies(self) -> tuple[str, ...]:
        """Currencies of settlement, then those in which only fees are paid; `equity["currency"]` counts along them."""
        parts = self.summary_by_instrument
        return tuple(dict.fromkeys([*(p.currency for p in parts), *(p.fee_currency for p in parts)]))

    # ----------------------------------------------------------------------------------------------------- figures

    @property
    def positions(self) -> np.ndarray:
        """Positions from flat to flat, see `replay.positions.POSITION`."""
        return positions_of(self.fills, self.summary_by_instrument, self.instruments)

    def curve(self, currency: str | None = None) -> Curve:
        """P&L over time in `currency` (the only one, when there is one)."""
        chosen = self._currency(currency)
        rows = self.equity[self.equity["currency"] == self.currencies.index(chosen)]
        net = self.net.get(chosen, 0.0)
        return Curve.build(rows, self.first_us, self.last_us, net, int(self.settings["sample_us"]))

    def metrics(self, currency: str | None = None, deposit: float | None = None) -> Metrics:
        """The figures of the run in `currency` (the only settlement currency, when there is one).

        Returns refer to `deposit` (by default that of the Replay); without one there are none.  Raises ConfigError for
        an unknown currency or when one has to be named, and for a deposit that is not positive.
        """
        return metrics_of(self, self._currency(currency), deposit)

    def _currency(self, currency: str | None) -> str:
        settled = dict.fromkeys(part.currency for part in self.summary_by_instrument)
        if currency is None and len(settled) == 1:
            return next(iter(settled))
        if currency not in self.currencies:
            hint = did_you_mean(str(currency), self.currencies) if currency else ""
            raise ConfigError(
                "currency", currency, "is not one of the result",
                hint or f"name one of {', '.join(self.currencies)}",
            )  # fmt: skip
        return currency

    # ------------------------------------------------------------------------------------------------------ output

    def as_dict(self) -> dict[str, Any]:
        """Settings, sums, metrics, quality and digests, JSON-ready; the tables are left out."""
        return {
            "strategy": self.strategy,
            "parameters": self.parameters,
            "mode": self.mode,
            "mode_reason": self.mode_reason,
            "settings": self.settings,
            "first_us": self.first_us,
            "last_us": self.last_us,
            "rows": self.rows,
            "instruments": {part.name: asdict(part) for part in self.summary_by_instrument},
            "net": self.net,
            "metrics": {currency: self.metrics(currency).as_dict() for currency in self.currencies},
            "fills": len(self.fills),
            "order_changes": len(self.orders),
            "open_orders": self.open_orders,
            "refusals": self.refusals,
            "liquidations": self.liquidations,
            "quality": self.quality.as_dict(),
            "versions": self.versions,
            "data": self.data,
            "digest": self.digest,
        }

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """`as_dict` as JSON text; written aside and renamed when a path is given."""
        text = json.dumps(self.as_dict(), indent=2, allow_nan=False)
        if path is not None:
            target = Path(path)
            aside = target.with_name(target.name + ".part")
            aside.write_text(text + "\n")
            aside.replace(target)
        return text

    def to_html(
        self, path: str | PathLike[str], *, replay: Replay | None = None, moments: Sequence[Time] | None = None
    ) -> None:
        """A report as one HTML file that opens offline (see `replay.report`); written aside and renamed.

        A result holds no market data.  With `replay`, the data that it was made from, they are read once more: the
        path of the price, and the order book around `moments` (times within the run; by default some that are worth
        a look).  Raises ConfigError for other data and for moments outside of the run, DataError when the file cannot
        be written.
        """
        from replay.report.single import result_page

        result_page(self, replay, moments).write(path)

    def to_parquet(self, folder: str | PathLike[str]) -> None:
        """Save everything: Parquet tables and result.json.  The folder is new or an earlier result, which goes.

        Written beside it and renamed when complete.  Raises DataError when it is something else or cannot be written.
        """
        from replay.saving import save

        save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Result:
        """A result as `to_parquet` saved it, with the same digest.  DataError when it is not that."""
        from replay.saving import load

        return load(Path(folder))

    def to_arrow(self, table: str = "fills") -> Any:
        """A table as pyarrow.Table: fills, orders, equity, markouts, positions or records (see `replay.frames`)."""
        return arrow_table(self, table)

    def to_pandas(self, table: str = "fills") -> Any:
        """The same as pandas.DataFrame.  ConfigError when pandas is missing."""
        optional("pandas")
        return arrow_table(self, table).to_pandas()

    def to_polars(self, table: str = "fills") -> Any:
        """The same as polars.DataFrame.  ConfigError when polars is missing."""
        return optional("polars").from_arrow(arrow_table(self, table))

    def fills_table(self) -> list[dict[str, Any]]:
        """Fills as dicts with names, exact decimal prices and sizes, and what caused each of them."""
        return fills_table(self)

    def summary(self) -> str:
        """A table for the terminal."""
        return text(self)

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        """The summary for a notebook."""
        return html(self)
