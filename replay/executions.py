"""How well it traded: where the P&L came from, what the market did after fills, how orders fared, what was held.

The mid is half the sum of best bid and ask at the venue at the moment of the fill (horizon 0) and some time after
(`MARKOUT_US`), as the engine recorded it in the MARKOUT rows.  A fill without a known mid (its book was invalid or had
an empty side) and a horizon beyond the end of the data are left out and counted, never guessed.

    spread      Σ side · size · (mid - price)                          what trading away from the mid earned
    inventory   Σ side · size · (final mark - mid)                     what holding from mid to mid earned
    P&L         spread + inventory - fees - funding
                A. Menkveld, High Frequency Trading and the New Market Makers, J. of Financial Markets 16, 2013
    edge        side · (mid later - price) / mid at the fill           realised half-spread
    drift       side · (mid later - mid) / mid at the fill             negative: adverse selection
                R. Huang, H. Stoll, Dealer versus Auction Markets, J. of Financial Economics 41, 1996

Averages weigh fills by value.  For inverse contracts prices p stand as -1 / p, which is what pays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from operator import mul
from typing import TYPE_CHECKING

import numpy as np

from replay.instruments import Instrument
from replay.kernel import codes
from replay.kernel.answers import MARKOUT_US
from replay.positions import unit_of, worth

if TYPE_CHECKING:
    from replay.outcome import InstrumentResult

BPS = 1e4


@dataclass(frozen=True, slots=True)
class Split:
    """Where the P&L of one currency came from; exact numbers of money, so that `net` is their sum to the last digit.

    `spread` and `inventory` as in the module; `fees` and `funding` were paid.  A fill without a known mid counts as
    inventory alone.  Linear payoffs are summed in integers, inverse ones in float64; `inventory` is what the P&L at the
    final mark holds besides `spread`.
    """

    spread: Fraction
    inventory: Fraction
    fees: Fraction
    funding: Fraction

    @property
    def net(self) -> Fraction:
        """spread + inventory - fees - funding."""
        return self.spread + self.inventory - self.fees - self.funding


@dataclass(frozen=True, slots=True)
class Markout:
    """The market `horizon_us` after fills as "maker" or "taker": averages over `fills` of them in basis points."""

    role: str
    horizon_us: int
    fills: int
    edge_bps: float
    drift_bps: float


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was held of one instrument, weighted by time over the whole run (fills are known in blind time, too).

    Sizes in units of the asset or contracts: `mean`, `mean_abs`, `deviation` about the mean, `largest_long` >= 0 >=
    `largest_short`; `in_market` share of the time in [0, 1] with a position.
    """

    instrument: str
    mean: float
    mean_abs: float
    deviation: float
    largest_long: float
    largest_short: float
    in_market: float


@dataclass(frozen=True, slots=True)
class Orders:
    """How orders fared that the venue accepted: `count` of them, `fill_ratio` mean executed share in [0, 1].

    Queue waits are of limit orders, from acceptance to the first fill as maker (µs).  None without orders or fills.
    """

    count: int
    fill_ratio: float | None
    queue_wait_mean_us: float | None
    queue_wait_median_us: float | None


def mids_of(markouts: np.ndarray, i: int, count: int, horizon_us: int) -> np.ndarray:
    """Best bid + best ask in ticks `horizon_us` after each of the `count` fills in instrument `i`; 0 unknown."""
    rows = markouts[(markouts["instrument"] == i) & (markouts["horizon_us"] == horizon_us)]
    out = np.zeros(count, np.int64)
    out[rows["fill"] - 1] = rows["mid2"]
    return out


def split_of(
    fills: np.ndarray, markouts: np.ndarray, parts: tuple[InstrumentResult, ...],
    instruments: tuple[Instrument, ...], currency: str,
) -> Split:  # fmt: skip
    """Where the P&L in `currency` came from; fees in another currency stand in the split of that one."""
    spread = pnl = fees = funding = Fraction(0)
    for i, (part, instrument) in enumerate(zip(parts, instruments)):
        if part.fee_currency == currency:
            fees += Fraction(part.fees)
        if part.currency == currency:
            mine = fills[fills["instrument"] == i]
            spread += _spread(mine, mids_of(markouts, i, len(mine), 0), instrument)
            pnl += Fraction(part.pnl)
            funding += Fraction(part.funding)
    return Split(spread, pnl - spread, fees, funding)


def _spread(fills: np.ndarray, mid2: np.ndarray, instrument: Instrument) -> Fraction:
    known = mid2 != 0
    signed, ticks, mid2 = (fills["side"] * fills["lots"])[known], fills["ticks"][known], mid2[known]
    if instrument.payoff == "inverse":
        gained = signed * (worth(instrument, mid2 / 2) - worth(instrument, ticks))
        return Fraction(math.fsum(gained.tolist()) * unit_of(instrument))
    halves = sum(map(mul, signed.tolist(), (mid2 - 2 * ticks).tolist()))
    return Fraction(instrument.tick * instrument.lot * instrument.multiplier) * Fraction(halves, 2)


@dataclass(frozen=True, slots=True)
class _Weighed:
    """Fills of one currency with known mid: maker or not, value, and worth of side · price and side · mids later."""

    maker: np.ndarray
    value: np.ndarray
    price: np.ndarray
    mids: np.ndarray
    """Shape (horizons, fills); NaN unknown."""


def weighed(
    fills: np.ndarray, markouts: np.ndarray, chosen: list[int], instruments: tuple[Instrument, ...]
) -> _Weighed:  # fmt: skip
    """The fills in the `chosen` instruments (indices, of one currency) in money."""
    maker, value, price, mids = [], [], [], []
    for i in chosen:
        mine = fills[fills["instrument"] == i]
        later = [mids_of(markouts, i, len(mine), horizon_us) for horizon_us in MARKOUT_US]
        known = later[0] != 0
        signed = (mine["side"] * mine["lots"])[known] * unit_of(instruments[i])
        each = [np.where(mid2[known] != 0, mid2[known] / 2, np.nan) for mid2 in later]
        maker.append(mine["maker"][known] != 0)
        value.append(np.abs(signed * worth(instruments[i], each[0])))
        price.append(signed * worth(instruments[i], mine["ticks"][known]))
        mids.append(np.array([signed * worth(instruments[i], mid) for mid in each]))
    none = np.zeros((len(MARKOUT_US), 0))
    return _Weighed(
        np.concatenate([np.zeros(0, bool), *maker]), np.concatenate([np.zeros(0), *value]),
        np.concatenate([np.zeros(0), *price]), np.concatenate([none, *mids], axis=1),
    )  # fmt: skip


def slippage_bps_of(of: _Weighed) -> float | None:
    """What taking fills paid above the mid (sold below it) in basis points, half the spread included (None: none)."""
    taken = ~of.maker
    value = float(of.value[taken].sum())
    return BPS * float((of.price - of.mids[0])[taken].sum()) / value if value else None


def markouts_of(of: _Weighed) -> tuple[Markout, ...]:
    """Markouts by role and horizon, without those that no fill has."""
    out = []
    for role, is_role in (("maker", of.maker), ("taker", ~of.maker)):
        for horizon_us, mid in list(zip(MARKOUT_US, of.mids))[1:]:
            known = is_role & ~np.isnan(mid)
            value = float(of.value[known].sum())
            if value:
                edge, drift = (mid - of.price)[known].sum(), (mid - of.mids[0])[known].sum()
                bps = BPS * float(edge) / value, BPS * float(drift) / value
                out.append(Markout(role, horizon_us, int(known.sum()), *bps))
    return tuple(out)


def orders_of(log: np.ndarray, fills: np.ndarray, chosen: list[int]) -> Orders:
    """How the orders in the `chosen` instruments fared; order ids are unique in a strategy."""
    log = log[(log["answer"] == 1) & np.isin(log["instrument"], chosen)]
    fills = fills[np.isin(fills["instrument"], chosen)]
    last = log[len(log) - 1 - np.unique(log["order_id"][::-1], return_index=True)[1]]
    last = last[last["status"] != codes.REJECTED]
    if len(last) == 0:
        return Orders(0, None, None, None)
    executed = np.zeros(int(max(last["order_id"].max(), fills["order_id"].max(initial=0))) + 1, np.int64)
    np.add.at(executed, fills["order_id"], fills["lots"])
    shares = executed[last["order_id"]] / np.maximum(last["lots"], 1)
    waits = queue_waits_of(log, fills)
    mean, median = (float(waits.mean()), float(np.median(waits))) if len(waits) else (None, None)
    return Orders(len(last), float(np.minimum(shares, 1.0).mean()), mean, median)


def queue_waits_of(log: np.ndarray, fills: np.ndarray) -> np.ndarray:
    """Time (µs) of each limit order from acceptance to its first fill as maker; orders without one are left out."""
    log = log[(log["answer"] == 1) & (log["kind"] == codes.LIMIT) & (log["request"] == codes.REQUEST_NEW)]
    live = log[log["status"] == codes.LIVE]
    made = fills[fills["maker"] == 1]
    ids, first = np.unique(made["order_id"], return_index=True)
    _, of_live, of_made = np.intersect1d(live["order_id"], ids, return_indices=True)
    return np.asarray(made["exch_ts"][first][of_made] - live["exch_ts"][of_live])


def inventory_of(
    fills: np.ndarray, i: int, part: InstrumentResult, instrument: Instrument, first_us: int, last_us: int
) -> Inventory:  # fmt: skip
    """What was held of instrument `i`, a step at each fill and at an option's settlement."""
    mine = fills[fills["instrument"] == i]
    ts, moved = mine["exch_ts"], mine["side"] * mine["lots"]
    if part.expired:
        ts, moved = np.append(ts, instrument.expiry_us), np.append(moved, -part.expired)
    held = np.cumsum(np.concatenate([[0], moved]))
    spans = np.diff(np.concatenate([[first_us], ts, [last_us]])).astype(np.float64)
    size = held * float(instrument.lot)
    total = float(spans.sum())
    if total <= 0.0:
        spans, total = np.append(np.zeros(len(size) - 1), 1.0), 1.0
    mean = float((spans * size).sum()) / total
    return Inventory(
        instrument=instrument.name,
        mean=mean,
        mean_abs=float((spans * np.abs(size)).sum()) / total,
        deviation=math.sqrt(float((spans * np.square(size - mean)).sum()) / total),
        largest_long=max(0.0, float(size.max())),
        largest_short=min(0.0, float(size.min())),
        in_market=float(spans[held != 0].sum()) / total,
    )
