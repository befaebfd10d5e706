"""What a run leaves behind: fills, orders, equity, money, quality, and digests that say whether two runs are the same.

Tables are structured numpy arrays with integer prices and sizes (`FILL`, `LOG`, `EQUITY` of `replay.kernel.state`).
`digest` is a SHA-256 over all of them and the user's recorded values: equal digests mean equal runs, bit for bit.
Money is in the settlement currency of each instrument; nothing is converted between currencies.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from replay._version import __version__
from replay.instruments import Instrument
from replay.kernel import codes
from replay.kernel.account import mark_of
from replay.kernel.orders import BOOKS_EACH
from replay.quality import QualityReport
from replay.units import SCALE, US_PER_S, iso_from_us, plain

if TYPE_CHECKING:
    from replay.session import Session


SERIES = np.dtype([("ts", "<i8"), ("value", "<f8")])
"""A recorded value: time in µs, value."""


@dataclass(frozen=True, slots=True)
class InstrumentResult:
    """One instrument of one strategy at the end of the run.

    `position` lots at average `entry` price (0 when flat); `pnl` = value of cash and position at `mark`, before `fees`
    and `funding` (paid is positive), split into `realised` and `unrealised`; `net` = pnl - fees - funding; all in
    `currency`.  Fees are owed in `fee_currency`; when that is another one, `net` is before them.  `expired` lots of an
    option were settled with the underlying at `settled_at` (0: not expired, or expired without a mark, which leaves the
    position).  `turnover` is the traded value.  `blind_us` is the time during
    which the book was invalid after it had been valid, `mark_source` feed, mid, last or none.
    """

    name: str
    currency: str
    position: int
    size: str
    mark: float
    mark_source: str
    entry: float
    pnl: float
    realised: float
    unrealised: float
    fees: float
    funding: float
    net: float
    turnover: float
    volume: int
    fills: int
    maker_fills: int
    submitted: int
    refused: int
    blind_us: int
    gaps: int
    fee_currency: str
    expired: int
    settled_at: float


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one strategy in one run; `parameters` are its numbers and words as they were at the start."""

    strategy: str
    parameters: dict[str, Any]
    settings: dict[str, Any]
    instruments: tuple[Instrument, ...]
    summary_by_instrument: tuple[InstrumentResult, ...]
    fills: np.ndarray
    orders: np.ndarray
    equity: np.ndarray
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

    @classmethod
    def build(
        cls, session: Session, k: int, tables: dict[str, np.ndarray], quality: QualityReport
    ) -> Result:  # fmt: skip
        """Collect the result of strategy number `k` from a session; `tables` are its rows of the logs."""
        arena = session.arena
        fills, records = tables["fills"], tables["records"]
        n_i = len(session.instruments)
        parts = tuple(_instrument_result(session, k * n_i + i, i, fills) for i in range(n_i))
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
        )  # fmt: skip

    # -------------------------------------------------------------------------------------------------------- sums

    @property
    def digest(self) -> str:
        """SHA-256 over fills, orders, equity and recorded values."""
        state = hashlib.sha256()
        for table in (self.fills, self.orders, self.equity):
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

    # ------------------------------------------------------------------------------------------------------ output

    def as_dict(self) -> dict[str, Any]:
        """Settings, sums, quality and digests, JSON-ready; the tables are left out."""
        from dataclasses import asdict

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
            "fills": len(self.fills),
            "order_changes": len(self.orders),
            "open_orders": self.open_orders,
            "refusals": self.refusals,
            "liquidations": self.liquidations,
            "quality": self.quality.as_dict(),
            "versions": self.versions,
            "digest": self.digest,
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """`as_dict` as JSON text; written aside and renamed when a path is given."""
        text = json.dumps(self.as_dict(), indent=2)
        if path is not None:
            target = Path(path)
            aside = target.with_name(target.name + ".part")
            aside.write_text(text + "\n")
            aside.replace(target)
        return text

    def fills_table(self) -> list[dict[str, Any]]:
        """Fills as dicts with names, exact decimal prices and sizes, and what caused each of them."""
        out = []
        for row in self.fills:
            instrument = self.instruments[int(row["instrument"])]
            out.append(
                {
                    "time": iso_from_us(int(row["exch_ts"])),
                    "seen": iso_from_us(int(row["local_ts"])),
                    "instrument": instrument.name,
                    "order": int(row["order_id"]),
                    "side": "buy" if row["side"] > 0 else "sell",
                    "price": plain(instrument.price(int(row["ticks"]))),
                    "size": plain(instrument.size(int(row["lots"]))),
                    "role": "maker" if row["maker"] else "taker",
                    "cause": codes.CAUSE_NAMES[int(row["cause"])],
                    "cause_id": int(row["cause_seq"]),
                    "queue_front": float(row["front"]),
                    "fee": float(row["fee"]),
                    "fee_currency": self.summary_by_instrument[int(row["instrument"])].fee_currency,
                    "slippage_ticks": int(row["slippage_ticks"]),
                    "position": plain(instrument.size(int(row["position"]))),
                }
            )
        return out

    def summary(self) -> str:
        """A table for the terminal."""
        lines = [
            f"{self.strategy}({', '.join(f'{k}={v}' for k, v in self.parameters.items())})   [{self.mode}]",
            f"{iso_from_us(self.first_us)} to {iso_from_us(self.last_us)}, {self.seconds:,.1f} s simulated, "
            f"{self.rows:,} rows",
            "",
        ]
        head = f"{'instrument':<26}{'fills':>7}{'maker':>7}{'position':>12}{'P&L':>14}{'fees':>12}"
        head += f"{'funding':>12}{'net':>14}"
        lines += [head, "─" * len(head)]
        for part in self.summary_by_instrument:
            maker = f"{100 * part.maker_fills / part.fills:.0f} %" if part.fills else "–"
            digits = 8 if abs(part.net) < 1 and part.net else 2
            lines.append(
                f"{part.name:<26}{part.fills:>7,}{maker:>7}{part.size:>12}{part.pnl:>14,.{digits}f}"
                f"{part.fees:>12,.{digits}f}{part.funding:>12,.{digits}f}{part.net:>14,.{digits}f} {part.currency}"
            )
        lines.append("")
        for part in self.summary_by_instrument:
            if part.position:
                lines.append(f"{part.name}: position valued at {part.mark:,.8g} ({part.mark_source})")
            if part.fee_currency != part.currency:
                lines.append(f"{part.name}: fees are in {part.fee_currency}, net is before them")
            if part.expired:
                lines.append(
                    f"{part.name}: {part.expired:+,} lots settled with the underlying at {part.settled_at:,.8g}"
                )
            if part.blind_us:
                lines.append(f"{part.name}: blind for {part.blind_us / US_PER_S:,.3f} s in {part.gaps} gaps")
        if self.refusals:
            lines.append("refused: " + ", ".join(f"{n:,} × {reason}" for reason, n in sorted(self.refusals.items())))
        if self.open_orders:
            lines.append(f"{self.open_orders:,} orders were open at the end and count as cancelled")
        if self.liquidations:
            lines.append(f"{self.liquidations} liquidations of own positions")
        if self.mode_reason:
            lines.append(f"not compiled: {self.mode_reason}")
        lines.append(f"digest {self.digest[:16]}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def average_entry(fills: np.ndarray, instrument: Instrument) -> float:
    """Average entry price of the position that `fills` leave, 0.0 when flat.

    Fills that add to the position move the average, fills that reduce it do not, a fill that turns it starts anew.
    Linear: the mean price; inverse: the harmonic mean, as the payoff is in 1/price (Binance COIN-M: "average entry").
    """
    inverse = instrument.payoff == "inverse"
    changes = fills["side"] * fills["lots"]
    flat = np.flatnonzero(np.cumsum(changes) == 0)
    first = int(flat[-1]) + 1 if len(flat) else 0  # what came before has left no cost
    position, cost = 0, 0.0
    for signed, ticks in zip(changes[first:].tolist(), fills["ticks"][first:].tolist()):
        each = 1 / ticks if inverse else float(ticks)
        if position * signed >= 0:
            cost += abs(signed) * each
        elif abs(signed) <= abs(position):
            cost *= 1 - abs(signed) / abs(position)
        else:
            cost = (abs(signed) - abs(position)) * each
        position += signed
    if position == 0:
        return 0.0
    average = cost / abs(position)
    return float(instrument.tick) * (1 / average if inverse else average)


def _instrument_result(session: Session, slot_index: int, i: int, fills: np.ndarray) -> InstrumentResult:
    arena = session.arena
    instrument = session.instruments[i]
    record, slot = arena["instruments"][i], arena["slots"][slot_index]
    book = arena["books"][i * BOOKS_EACH]
    scaled = int(mark_of(record, book))
    mark = scaled / SCALE
    two_sided = record["venue_valid"] and book["bid_lots"] > 0 and book["ask_lots"] > 0
    source = "feed" if record["mark_fed"] else "mid" if two_sided else "last" if scaled else "none"
    money = session.money(slot_index, mark)
    mine = fills[fills["instrument"] == i]
    unit = instrument.lot * instrument.multiplier
    entry = average_entry(mine, instrument) if slot["position"] else 0.0
    unrealised = 0.0
    if slot["position"] and instrument.payoff == "inverse":
        unrealised = int(slot["position"]) * float(unit) * (1 / entry - 1 / mark)
    elif slot["position"]:
        unrealised = int(slot["position"]) * float(unit) * (mark - entry)
    blind = int(record["blind_us"])
    if record["venue_seen"] and not record["venue_valid"]:
        blind += int(arena["run"][0]["now"]) - int(record["blind_since"])
    return InstrumentResult(
        name=instrument.name,
        currency=instrument.settle,
        position=int(slot["position"]),
        size=plain(instrument.size(int(slot["position"]))),
        mark=mark,
        mark_source=source,
        entry=entry,
        pnl=money["value"],
        realised=money["value"] - unrealised,
        unrealised=unrealised,
        fees=money["fees"],
        funding=money["funding"],
        net=money["equity"],
        turnover=money["turnover"],
        volume=int(slot["volume"]),
        fills=int(slot["fills"]),
        maker_fills=int(mine["maker"].sum()),
        submitted=int(slot["submitted"]),
        refused=int(slot["refused"]),
        blind_us=blind,
        gaps=int(record["gaps"]),
        fee_currency=session.fee_currencies[i],
        expired=int(slot["expired_lots"]),
        settled_at=int(record["settled_at"]) / SCALE,
    )
