"""Positions from flat to flat: the round trips that win rate, profit factor and holding times are about.

A position opens with the fill that leaves zero and closes with the one that returns to it; a fill that turns the
position does both and its lots and fee are shared out between the two.  An option that was settled closes at its
expiry at the intrinsic value.  What is still open at the end is valued at the final mark.  P&L is before fees and
funding and in the settlement currency, and the P&L of all positions of an instrument adds up to that of the instrument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from replay.instruments import Instrument

if TYPE_CHECKING:
    from replay.outcome import InstrumentResult

POSITION = np.dtype(
    [
        ("instrument", "<i8"), ("side", "<i8"), ("opened_us", "<i8"), ("closed_us", "<i8"), ("lots", "<i8"),
        ("fills", "<i8"), ("entry", "<f8"), ("exit", "<f8"), ("pnl", "<f8"), ("fees", "<f8"),
    ]
)  # fmt: skip
"""One position: side 1 long, -1 short; `closed_us` 0 while open; `lots` the largest it was; `entry` and `exit` average
prices (exit 0.0: nothing was closed); `pnl` before `fees`, in the settlement currency; `fees` in the fee currency."""


@dataclass(frozen=True, slots=True)
class Trades:
    """Statistics of closed positions; money after fees where these are in the same currency, before funding.

    `win_rate` share in [0, 1] of positions that earned; `profit_factor` money won / money lost; `average_win` > 0,
    `average_loss` < 0 and `expectancy` money a position; holding times µs.  None where nothing was won, lost, closed.
    """

    count: int
    win_rate: float | None
    profit_factor: float | None
    average_win: float | None
    average_loss: float | None
    expectancy: float | None
    holding_mean_us: float | None
    holding_median_us: float | None
    holding_max_us: int | None


def unit_of(instrument: Instrument) -> float:
    """Money of one lot whose price (inverse: 1 / price), counted in ticks, moves by one."""
    size = instrument.lot * instrument.multiplier
    return float(size / instrument.tick if instrument.payoff == "inverse" else size * instrument.tick)


def worth(instrument: Instrument, ticks: np.ndarray) -> np.ndarray:
    """What a lot is worth at prices in ticks (> 0), in units of `unit_of`: the price, inverse -1 / price."""
    return -1.0 / ticks if instrument.payoff == "inverse" else np.asarray(ticks, np.float64)


def positions_of(
    fills: np.ndarray, parts: tuple[InstrumentResult, ...], instruments: tuple[Instrument, ...]
) -> np.ndarray:  # fmt: skip
    """All positions as POSITION records, in order of opening (then of instrument)."""
    tables = [
        _of_instrument(fills[fills["instrument"] == i], i, part, instrument)
        for i, (part, instrument) in enumerate(zip(parts, instruments))
    ]
    table = np.concatenate([np.zeros(0, POSITION), *tables])
    return table[np.argsort(table["opened_us"], kind="stable")]


def _of_instrument(fills: np.ndarray, i: int, part: InstrumentResult, instrument: Instrument) -> np.ndarray:
    if len(fills) == 0:
        return np.zeros(0, POSITION)
    signed, after, source = _split_turns(fills)
    ticks, ts = fills["ticks"][source], fills["exch_ts"][source]
    fees = fills["fee"][source] * (np.abs(signed) / fills["lots"][source])
    starts = np.concatenate([[0], np.flatnonzero(after == 0) + 1])
    starts = starts[starts < len(signed)]
    ends = np.append(starts[1:], len(signed)) - 1
    out = np.zeros(len(starts), POSITION)
    out["instrument"], out["side"] = i, np.sign(signed[starts])
    out["opened_us"], out["fills"] = ts[starts], ends - starts + 1
    out["closed_us"] = np.where(after[ends] == 0, ts[ends], 0)
    out["lots"] = np.maximum.reduceat(np.abs(after), starts)
    out["fees"] = np.add.reduceat(fees, starts)
    left = after[ends]
    opens = signed * np.repeat(out["side"], out["fills"]) > 0
    out["entry"] = _average(instrument, signed, ticks, starts, opens)
    out["exit"] = _average(instrument, signed, ticks, starts, ~opens)
    first = ticks[starts]
    tick = float(instrument.tick)
    final = part.mark / tick
    if part.expired:
        over = part.settled_at - float(instrument.strike)
        final = max(0.0, over if instrument.right == "call" else -over) / tick
        out["closed_us"][-1], out["exit"][-1] = instrument.expiry_us, final * tick
    if instrument.payoff == "inverse":
        gained = np.add.reduceat(signed / ticks, starts) - (left / final if final else 0.0 * left)
    else:
        gained = left * (final - first) - np.add.reduceat(signed * (ticks - np.repeat(first, out["fills"])), starts)
    out["pnl"] = gained * unit_of(instrument)
    return out


def _split_turns(fills: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(signed lots, position after, index of the fill) with fills that turn the position cut in two at zero."""
    signed = fills["side"] * fills["lots"]
    after = np.cumsum(signed)
    before = after - signed
    turns = np.sign(before) * np.sign(after) < 0
    source = np.repeat(np.arange(len(fills)), 1 + turns)
    first = np.flatnonzero(turns) + np.arange(int(turns.sum()))
    signed, whole = signed[source], after[source]
    signed[first], whole[first] = -before[turns], 0
    signed[first + 1] = after[turns]
    return signed, whole, source


def _average(
    instrument: Instrument, signed: np.ndarray, ticks: np.ndarray, starts: np.ndarray, chosen: np.ndarray
) -> np.ndarray:  # fmt: skip
    """Average price of the chosen fills of each position (inverse: harmonic), 0.0 where there are none."""
    lots = np.where(chosen, np.abs(signed), 0)
    total = np.add.reduceat(lots, starts)
    value = np.abs(np.add.reduceat(lots * worth(instrument, ticks), starts))
    some = total > 0
    out = np.zeros(len(starts))
    ratio = value[some] / total[some]
    out[some] = (1 / ratio if instrument.payoff == "inverse" else ratio) * float(instrument.tick)
    return out


def trades_of(positions: np.ndarray, less_fees: np.ndarray) -> Trades:
    """Statistics of the closed ones of `positions`; `less_fees` says for each whether fees come off its P&L."""
    closed = positions["closed_us"] != 0
    mine = positions[closed]
    if len(mine) == 0:
        return Trades(0, None, None, None, None, None, None, None, None)
    money = mine["pnl"] - np.where(less_fees[closed], mine["fees"], 0.0)
    won, lost = money[money > 0.0], money[money < 0.0]
    held = mine["closed_us"] - mine["opened_us"]
    return Trades(
        count=len(mine),
        win_rate=len(won) / len(mine),
        profit_factor=float(won.sum() / -lost.sum()) if len(lost) else None,
        average_win=float(won.mean()) if len(won) else None,
        average_loss=float(lost.mean()) if len(lost) else None,
        expectancy=float(money.mean()),
        holding_mean_us=float(held.mean()),
        holding_median_us=float(np.median(held)),
        holding_max_us=int(held.max()),
    )
