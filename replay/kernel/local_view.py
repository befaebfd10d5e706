"""What a strategy may read of its own affairs, as kernels: the mark and the money it knows of, its orders, depth."""

from __future__ import annotations

from replay.kernel.account import scaled_money
from replay.kernel.book import book_depth
from replay.kernel.codes import INVERSE
from replay.kernel.jit import kernel
from replay.kernel.orders import BOOKS_EACH, find_order, order_key
from replay.kernel.state import open_state
from replay.units import SCALE


@kernel
def local_mark_ticks(arena, instrument):
    """Latest mark that the strategy has heard, else the local mid, else the last print, in ticks; NaN for none."""
    st = open_state(arena)
    inst = st.instruments[instrument]
    if inst["mark_local"] != 0:
        return inst["mark_local"] / inst["tick_scaled"]
    book = st.books[instrument * BOOKS_EACH + 1]
    if inst["local_valid"] != 0 and book["bid_lots"] > 0 and book["ask_lots"] > 0:
        return (book["bid_ticks"] + book["ask_ticks"]) / 2
    if inst["last_local"] != 0:
        return float(inst["last_local"])
    return float("nan")


EQUITY, CASH, FEES, TURNOVER = range(4)


@kernel
def local_money(arena, slot_index, what):
    """Money as the strategy knows it: EQUITY, CASH and TURNOVER in the settlement currency, FEES in theirs.

    Cash is what fills moved (sales less purchases, and what options were settled for); equity is cash and position at
    the local mark, less funding and the fees that are owed in the settlement currency.
    """
    st = open_state(arena)
    slot = st.slots[slot_index]
    inst = st.instruments[slot["instrument"]]
    unit = inst["lot"] * inst["multiplier"]
    fees = scaled_money(slot["l_fee_hi"], slot["l_fee_lo"], float(SCALE)) * inst["fee_unit"] + slot["l_fee_f"]
    inverse = inst["payoff"] == INVERSE
    if what == FEES:
        return fees
    if what == TURNOVER:
        return slot["l_turnover_f"] * (unit / inst["tick"]) if inverse else slot["l_turnover"] * (unit * inst["tick"])
    settled = scaled_money(slot["l_settled_hi"], slot["l_settled_lo"], float(SCALE)) * unit
    if what == CASH:
        return slot["l_cash_f"] * (unit / inst["tick"]) if inverse else slot["l_cash"] * (unit * inst["tick"]) + settled
    position = slot["l_position"]
    price_ticks = local_mark_ticks(arena, slot["instrument"]) if position != 0 else 1.0
    owed = fees if inst["fee_currency"] == inst["currency"] else 0.0
    scale = float(SCALE) * SCALE
    funding = scaled_money(slot["l_funding_hi"], slot["l_funding_lo"], scale) * unit + slot["l_funding_f"]
    if inverse:
        value = (slot["l_cash_f"] - position / price_ticks) * (unit / inst["tick"])
    else:
        value = (slot["l_cash"] + position * price_ticks) * (unit * inst["tick"]) + settled
    return value - owed - funding


@kernel
def own_order_at(arena, strategy, order_id):
    """Place of an order of the strategy that is not forgotten, or -1."""
    st = open_state(arena)
    return find_order(st.run, st.orders, order_key(st.run, strategy, order_id)) if order_id > 0 else -1


@kernel
def local_depth(arena, instrument, side, ticks, lots):
    """Fill `ticks` and `lots` with the local book's levels of `side`, best first; returns how many."""
    st = open_state(arena)
    return book_depth(st.books, st.cells, instrument * BOOKS_EACH + 1, side, ticks, lots)
