"""What leaves the venue: answers, fills, and samples of equity and of the mid after fills.

An answer carries the order's state at the moment when it was sent; the strategy learns of it `response` later, never
before an earlier answer.
"""

from __future__ import annotations

from replay.kernel.account import (
    add_fee,
    book_fill,
    equity_of,
    fee_base,
    fees_in,
    fill_fee,
    funding_of,
    mark_of,
    scaled_money,
)
from replay.kernel.agenda import PHASE_ANSWER, PHASE_TIMER, agenda_push
from replay.kernel.codes import DO_ANSWER, DO_MARKOUT, FILLED, GONE, INVERSE, PARTLY_FILLED, R_NONE, SYSTEM
from replay.kernel.exact import carried, product
from replay.kernel.jit import kernel
from replay.kernel.latency import response_us
from replay.kernel.orders import BOOKS_EACH
from replay.kernel.state import open_state
from replay.units import SCALE

MARKOUT_US = (0, 100_000, 1_000_000, 10_000_000, 60_000_000)
"""How long after a fill the mid is looked at (µs)."""


@kernel(entry=False)
def answer(arena, at, status, request, reason):
    """Send the order's state as it is now back to the strategy; returns the agenda item for the caller to complete."""
    st = open_state(arena)
    run, order = st.run, st.orders[at]
    slot = st.slots[order["slot"]]
    inst = st.instruments[order["instrument"]]
    now = run[0]["now"]
    due = now + response_us(slot, st.tables, now, inst["feed_us"])
    if due < slot["last_answer"]:
        due = slot["last_answer"]
    slot["last_answer"] = due
    index = agenda_push(run, st.heap, st.items, due, PHASE_ANSWER)
    item = st.items[index]
    item["kind"] = DO_ANSWER
    item["strategy"] = slot["strategy"]
    item["slot"] = order["slot"]
    item["order"] = at
    item["id"] = order["id"]
    item["status"] = status
    item["ticks"] = order["ticks"]
    item["lots"] = order["lots"]
    item["leaves"] = order["leaves"]
    item["filled"] = order["filled"]
    item["exec_lots"] = 0
    item["exec_ticks"] = 0
    item["exch_ts"] = now
    item["reason"] = reason
    item["maker"] = 0
    item["fill"] = -1
    item["request"] = request
    order["in_flight"] += 1
    return due, index


@kernel(entry=False)
def finish(arena, at, status, request, reason):
    """The order is over at the venue; its answer says how."""
    st = open_state(arena)
    order = st.orders[at]
    order["venue_state"] = GONE
    st.slots[order["slot"]]["live"] -= 1
    answer(arena, at, status, request, reason)


@kernel(entry=False)
def liquidation_fee(slot, inst, ticks, lots):
    """What the venue charges on top for closing a position by force, as (hi, lo, float) like `fill_fee`."""
    if inst["payoff"] == INVERSE:
        unit = inst["lot"] * inst["multiplier"] / inst["tick"]
        return 0, 0, lots / ticks * unit * (slot["liquidation_fee"] / SCALE) * inst["fee_factor"]
    hi, lo = product(fee_base(inst, ticks, lots), slot["liquidation_fee"])
    return hi, lo, 0.0


@kernel(entry=False)
def execute(arena, at, lots, ticks, slippage_ticks, maker, request, cause):
    """`lots` of the order trade at `ticks` (slippage included); books the venue side and sends the answer."""
    st = open_state(arena)
    run, order = st.run, st.orders[at]
    slot = st.slots[order["slot"]]
    inst = st.instruments[order["instrument"]]
    order["leaves"] -= lots
    order["filled"] += lots
    hi, lo, f = fill_fee(slot, st.tables, inst, maker, ticks, lots)
    if order["flags"] & SYSTEM:
        more_hi, more_lo, more_f = liquidation_fee(slot, inst, ticks, lots)
        hi, lo = carried(hi + more_hi, lo + more_lo)
        f += more_f
    if book_fill(slot, inst["payoff"], order["side"], ticks, lots) != 0:
        run[0]["too_large"] = order["instrument"] + 1
        run[0]["stopping"] = 1
    add_fee(slot, hi, lo, f)
    status = FILLED if order["leaves"] == 0 else PARTLY_FILLED
    if status == FILLED:
        order["venue_state"] = GONE
        slot["live"] -= 1
    due, index = answer(arena, at, status, request, R_NONE)
    item = st.items[index]
    item["exec_lots"] = lots
    item["exec_ticks"] = ticks
    item["maker"] = maker
    item["fee_hi"], item["fee_lo"], item["fee_f"] = hi, lo, f
    n = run[0]["fills_n"]
    run[0]["fills_n"] = n + 1
    item["fill"] = n
    fill = st.fills[n]
    fill["order_id"] = order["number"]
    fill["strategy"] = slot["strategy"]
    fill["instrument"] = order["instrument"]
    fill["exch_ts"] = run[0]["now"]
    fill["local_ts"] = due
    fill["ticks"] = ticks
    fill["lots"] = lots
    fill["side"] = order["side"]
    fill["maker"] = maker
    fill["front"] = order["front"]
    fill["cause"] = cause
    fill["cause_seq"] = inst["cause_seq"]
    fill["fee"] = scaled_money(hi, lo, float(SCALE)) * inst["fee_unit"] + f
    fill["slippage_ticks"] = slippage_ticks
    fill["position"] = slot["position"]
    sample_equity(arena, slot["strategy"])
    note_markout(arena, slot["strategy"], order["instrument"], slot["fills"], 0)


@kernel(entry=False)
def note_markout(arena, strategy, instrument, number, step):
    """The mid at the venue now, at horizon `step` after fill `number` (from 1) of the strategy in the instrument.

    `mid2` is best bid + best ask in ticks, 0 while the book is invalid or has an empty side.  Plans the next horizon;
    what lies beyond the end of the data never comes.
    """
    st = open_state(arena)
    run = st.run
    book = st.books[instrument * BOOKS_EACH]
    known = st.instruments[instrument]["venue_valid"] != 0 and book["bid_lots"] > 0 and book["ask_lots"] > 0
    row = st.markouts[run[0]["markouts_n"]]
    run[0]["markouts_n"] += 1
    row["ts"] = run[0]["now"]
    row["strategy"] = strategy
    row["instrument"] = instrument
    row["fill"] = number
    row["horizon_us"] = MARKOUT_US[step]
    row["mid2"] = book["bid_ticks"] + book["ask_ticks"] if known else 0
    if step + 1 == len(MARKOUT_US):
        return
    due = run[0]["now"] + MARKOUT_US[step + 1] - MARKOUT_US[step]
    item = st.items[agenda_push(run, st.heap, st.items, due, PHASE_TIMER)]
    item["kind"] = DO_MARKOUT
    item["strategy"] = strategy
    item["order"] = instrument
    item["fill"] = number
    item["interval"] = step + 1


@kernel(entry=False)
def sample_equity(arena, strategy):
    """One equity row for each currency of the run: those of settlement, then those in which only fees are paid."""
    st = open_state(arena)
    first = st.strategies[strategy]["first_slot"]
    for currency in range(st.run[0]["currencies"]):
        sample_currency(arena, strategy, first, st.run[0]["instruments"], currency)


@kernel(entry=False)
def sample_currency(arena, strategy, first, count, currency):
    """Equity of the strategy over all instruments that settle or charge in `currency`, at the venue's marks."""
    st = open_state(arena)
    value = 0.0
    fees = 0.0
    funding = 0.0
    valid = 1
    position = 0
    for j in range(count):
        inst = st.instruments[j]
        slot = st.slots[first + j]
        if slot["fills"] == 0 and slot["position"] == 0:
            continue
        owed = fees_in(slot, inst, currency)
        fees += owed
        if inst["currency"] != currency:
            value -= owed
            continue
        mark = mark_of(inst, st.books[j * BOOKS_EACH])
        if mark == 0:
            valid = 0
            mark = inst["tick_scaled"]
        if inst["venue_valid"] == 0:
            valid = 0
        value += equity_of(slot, inst, mark)
        funding += funding_of(slot, inst)
        position += abs(slot["position"])
    n = st.run[0]["equity_n"]
    st.run[0]["equity_n"] = n + 1
    row = st.equity[n]
    row["ts"] = st.run[0]["now"]
    row["strategy"] = strategy
    row["currency"] = currency
    row["value"] = value
    row["position"] = position
    row["fees"] = fees
    row["funding"] = funding
    row["valid"] = valid
