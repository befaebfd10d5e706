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


@kernel
def local_equity(arena, slot_index):
    """Profit so far in the settlement currency at the local mark, less funding and the fees that are owed in it, as
    the strategy knows it.
    """
    st = open_state(arena)
    slot = st.slots[slot_index]
    inst = st.instruments[slot["instrument"]]
    position = slot["l_position"]
    price_ticks = local_mark_ticks(arena, slot["instrument"]) if position != 0 else 1.0
    unit = inst["lot"] * inst["multiplier"]
    fees = scaled_money(slot["l_fee_hi"], slot["l_fee_lo"], float(SCALE)) * inst["fee_unit"] + slot["l_fee_f"]
    owed = fees if inst["fee_currency"] == inst["currency"] else 0.0
    scale = float(SCALE) * SCALE
    funding = scaled_money(slot["l_funding_hi"], slot["l_funding_lo"], scale) * unit + slot["l_funding_f"]
    if inst["payoff"] == INVERSE:
        value = (slot["l_cash_f"] - position / price_ticks) * (unit / inst["tick"])
    else:
        value = (slot["l_cash"] + position * price_ticks) * (unit * inst["tick"])
        value += scaled_money(slot["l_settled_hi"], slot["l_settled_lo"], float(SCALE)) * unit
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
