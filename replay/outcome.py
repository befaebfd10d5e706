"""What became of one instrument of one strategy, read from the arena at the end of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from replay.instruments import Instrument
from replay.kernel.account import mark_of
from replay.kernel.orders import BOOKS_EACH
from replay.units import SCALE, plain

if TYPE_CHECKING:
    from replay.session import Session


@dataclass(frozen=True, slots=True)
class InstrumentResult:
    """One instrument of one strategy at the end of the run.

    `position` lots at average `entry` price (0 when flat); `pnl` = value of cash and position at `mark`, before `fees`
    and `funding` (paid is positive), split into `realised` and `unrealised`; `net` = pnl - fees - funding; all in
    `currency`.  Fees are owed in `fee_currency`; when that is another one, `net` is before them.  `expired` lots of an
    option were settled with the underlying at `settled_at` (0: not expired, or expired without a mark, which leaves the
    position).  `turnover` is the traded value.  `blind_us` is the time during
    which the book was invalid after it had been valid, `mark_source` feed, mid, kept (last mid or trade) or none.
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


def instrument_result(session: Session, slot_index: int, i: int, fills: np.ndarray) -> InstrumentResult:
    """The result of slot `slot_index`, which trades instrument `i`; `fills` are those of its strategy."""
    arena = session.arena
    instrument = session.instruments[i]
    record, slot = arena["instruments"][i], arena["slots"][slot_index]
    book = arena["books"][i * BOOKS_EACH]
    scaled = int(mark_of(record, book))
    mark = scaled / SCALE
    two_sided = record["venue_valid"] and book["bid_lots"] > 0 and book["ask_lots"] > 0
    source = "feed" if record["mark_fed"] else "mid" if two_sided else "kept" if scaled else "none"
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
