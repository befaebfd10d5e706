"""Accounts: position, cash, fees and funding of one strategy in one instrument, seen from venue and from here.

A slot keeps everything twice: what is true at the venue (margin, funding and results use it) and, with the prefix
`l_`, what the strategy has been told so far.  For spot and linear instruments all sums are integers: `cash` is
-Σ side · ticks · lots, fees and funding are exact products (see `exact`).  An inverse contract divides by its price,
so its sums are float64: `cash_f` is +Σ side · lots / ticks (in contracts per tick; buying at a lower price earns).

Money in the settlement currency:
    linear   value = (cash + position · mark) · tick · lot · multiplier
    option   the same, the premium being its price, plus what it was settled for: Σ lots · intrinsic value at expiry
    inverse  value = (cash_f - position / mark) · lot · multiplier / tick          (coin)
    equity = value - fees - funding paid

Fees may be owed in another currency: rates at a fixed price of it (`fee_factor`), or on the traded size instead of
its notional (`fee_on_size`).  The integer part of a fee counts `fee_unit / SCALE` of the fee currency, and equity in
the settlement currency is then before fees.
"""

from __future__ import annotations

from replay.kernel.codes import FEE_FLAT, FEE_PER_CONTRACT, FEE_TIERS, INVERSE, OPTION
from replay.kernel.exact import BASE, carried, product
from replay.kernel.hooks import LAST_CODE, call_hook
from replay.kernel.jit import kernel
from replay.units import SCALE

MOST = 2.0**62
"""What an account can trade in a linear instrument, in ticks · lots."""


@kernel(entry=False)
def book_fill(slot, payoff, side, ticks, lots):
    """Enter one execution into the venue side of the account: 0, or 1 when its sums would not fit 64 bits.

    What has been traded is the largest of them: |cash| and the base of any fee are never more.
    """
    if payoff != INVERSE and abs(float(ticks) * float(lots)) + abs(float(slot["turnover"])) >= MOST:
        return 1
    slot["position"] += side * lots
    slot["volume"] += lots
    slot["fills"] += 1
    if payoff == INVERSE:
        slot["cash_f"] += side * (lots / ticks)
        slot["turnover_f"] += lots / ticks
    else:
        slot["cash"] -= side * ticks * lots
        slot["turnover"] += ticks * lots
    return 0


@kernel(entry=False)
def book_fill_local(slot, payoff, side, ticks, lots):
    """The same for the local side, when the answer has come."""
    slot["l_position"] += side * lots
    slot["l_volume"] += lots
    slot["l_fills"] += 1
    if payoff == INVERSE:
        slot["l_cash_f"] += side * (lots / ticks)
        slot["l_turnover_f"] += lots / ticks
    else:
        slot["l_cash"] -= side * ticks * lots
        slot["l_turnover"] += ticks * lots


@kernel(entry=False)
def fee_rate(slot, tables, maker, turnover_money):
    """Rate in 1/SCALE for a fill; tiers are (turnover in money, maker rate), (turnover, taker rate) table pairs."""
    if slot["fee_kind"] == FEE_TIERS:
        first = slot["tier0"]
        best = 0
        for k in range(slot["tier_n"]):
            if tables[first + k]["key"] <= turnover_money:
                best = k
        return tables[first + best + (0 if maker else slot["tier_n"])]["value"]
    return slot["maker"] if maker else slot["taker"]


@kernel
def fill_fee(slot, tables, inst, maker, ticks, lots):
    """Fee of one fill in the fee currency as (hi, lo, float): exact product for linear payoffs, float64 for inverse.

    The integer part counts ticks · lots / SCALE (lots / SCALE when it is taken of the size); per-contract and flat fees
    are amounts of money per lot or per fill and always go through the float.
    """
    kind = slot["fee_kind"]
    if kind > LAST_CODE:
        size = lots * inst["lot"] * inst["multiplier"]
        return 0, 0, call_hook(kind, float(maker), ticks * inst["tick"], size, float(lots), 0.0, 0.0)
    if kind == FEE_PER_CONTRACT:
        each = slot["maker"] if maker else slot["taker"]
        return 0, 0, each / SCALE * (lots * inst["lot"])
    if kind == FEE_FLAT:
        return 0, 0, slot["flat_scaled"] / SCALE
    if inst["payoff"] == INVERSE:
        unit = inst["lot"] * inst["multiplier"] / inst["tick"]
        rate = fee_rate(slot, tables, maker, slot["turnover_f"] * unit)
        return 0, 0, lots / ticks * unit * (rate / SCALE) * inst["fee_factor"]
    unit = inst["lot"] * inst["multiplier"] * inst["tick"]
    rate = fee_rate(slot, tables, maker, slot["turnover"] * unit)
    hi, lo = product(fee_base(inst, ticks, lots), rate)
    return hi, lo, 0.0


@kernel(entry=False)
def fee_base(inst, ticks, lots):
    """What a rate is taken of, in units of `fee_unit`: the notional, or the size when the asset itself is paid."""
    return lots if inst["fee_on_size"] != 0 else ticks * lots


@kernel(entry=False)
def scaled_money(hi, lo, scale):
    """An exact amount as float64: `(hi · 10^16 + lo) / scale`."""
    return (hi * float(BASE) + lo) / scale


@kernel(entry=False)
def add_fee(slot, hi, lo, f):
    """Charge the venue side."""
    slot["fee_hi"], slot["fee_lo"] = carried(slot["fee_hi"] + hi, slot["fee_lo"] + lo)
    slot["fee_f"] += f


@kernel(entry=False)
def add_fee_local(slot, hi, lo, f):
    """Charge the local side."""
    slot["l_fee_hi"], slot["l_fee_lo"] = carried(slot["l_fee_hi"] + hi, slot["l_fee_lo"] + lo)
    slot["l_fee_f"] += f


@kernel
def funding_due(inst, position, mark, rate):
    """What a position pays at a settlement, as (hi, lo, float): lots · multiplier · mark · rate, longs pay rate > 0.

    Linear: the integer counts lots · SCALE^-2.  Inverse: coin, notional lots · multiplier / mark.
    """
    if inst["payoff"] == INVERSE:
        return 0, 0, position * inst["lot"] * inst["multiplier"] / (mark / SCALE) * (rate / SCALE)
    hi, lo = product(position * rate, mark)
    return hi, lo, 0.0


@kernel
def mark_of(inst, venue_book):
    """Mark price at the venue in 1/SCALE: from the feed, else mid of the venue book, else the last trade; 0 unknown.

    While the book is invalid, `inst["mark"]` keeps its last mid, or the price of a trade since.
    """
    if inst["mark_fed"] != 0:
        return inst["mark"]
    if inst["venue_valid"] != 0 and venue_book["bid_lots"] > 0 and venue_book["ask_lots"] > 0:
        return (venue_book["bid_ticks"] + venue_book["ask_ticks"]) * inst["tick_scaled"] // 2
    if (inst["venue_valid"] == 0 and inst["mark"] != 0) or inst["last_ticks"] == 0:
        return inst["mark"]
    return inst["last_ticks"] * inst["tick_scaled"]


@kernel(entry=False)
def equity_of(slot, inst, mark):
    """Money of the venue side in the settlement currency at `mark` (1/SCALE), funding and fees in it taken off."""
    price_ticks = mark / inst["tick_scaled"]
    fees = fees_in(slot, inst, inst["currency"])
    if inst["payoff"] == INVERSE:
        unit = inst["lot"] * inst["multiplier"] / inst["tick"]
        held = slot["position"] / price_ticks if slot["position"] != 0 else 0.0
        return (slot["cash_f"] - held) * unit - fees - slot["funding_f"]
    unit = inst["lot"] * inst["multiplier"] * inst["tick"]
    value = (slot["cash"] + slot["position"] * price_ticks) * unit
    if inst["payoff"] == OPTION:
        value += scaled_money(slot["settled_hi"], slot["settled_lo"], float(SCALE)) * (inst["lot"] * inst["multiplier"])
    return value - fees - funding_of(slot, inst)


@kernel(entry=False)
def fees_of(slot, inst):
    """Fees of the venue side in the fee currency."""
    return scaled_money(slot["fee_hi"], slot["fee_lo"], float(SCALE)) * inst["fee_unit"] + slot["fee_f"]


@kernel(entry=False)
def fees_in(slot, inst, currency):
    """Fees of the venue side that are owed in `currency`."""
    return fees_of(slot, inst) if inst["fee_currency"] == currency else 0.0


@kernel
def intrinsic_value(inst, price):
    """What one unit of an option is worth at expiry when its underlying costs `price`; both in 1/SCALE."""
    return max(inst["right"] * (price - inst["strike"]), 0)


@kernel(entry=False)
def funding_of(slot, inst):
    """Funding paid (negative: received) by the venue side in the settlement currency."""
    unit = inst["lot"] * inst["multiplier"]
    return scaled_money(slot["funding_hi"], slot["funding_lo"], float(SCALE) * SCALE) * unit + slot["funding_f"]
