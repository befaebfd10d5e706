"""The engine's state: one byte array, the arena, cut into typed sections.

The arena begins with a table of (offset in bytes, count of records), one pair a section in the order of `State`;
the sections follow, each aligned to 64 bytes.  One array means one argument for every kernel call (a call with ten
arrays costs 0.75 µs before it does anything, this one 0.12 µs), and a checkpoint is its bytes.  `open_state` gives
kernels the sections as arrays; `Arena` gives them to Python and makes a larger arena when a section is too small.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numba.np import arrayobj

from replay.events import EVENT
from replay.kernel.book import BOOK
from replay.kernel.jit import kernel
from replay.kernel.merge import CURSOR


def _record(*fields: str) -> np.dtype:
    """Aligned record from `name` (int64) and `name:f` (float64) fields."""
    return np.dtype([(f.removesuffix(":f"), "<f8" if f.endswith(":f") else "<i8") for f in fields], align=True)


RUN = _record(
    # where the run is
    "now", "steps_local", "steps_venue", "sequence", "stopping", "warm_until",
    # what there is
    "sources", "instruments", "strategies", "wanted", "heap_n", "free_item", "free_items", "live_orders",
    "max_probe", "fills_n", "log_n", "equity_n", "free_taken", "taken_n", "sample_us", "retired_n",
    "end_us", "margin_used", "ended", "currencies",
    # why advance returned
    "out_kinds", "out_instrument", "out_strategy", "out_order", "out_log", "out_id", "out_room",
    "out_source", "records_n", "markouts_n",
    # order-by-order feeds
    "market_orders_n",
    # 1 + index of an instrument whose sums of money would not fit 64 bits any more
    "too_large",
)  # fmt: skip

SOURCE = _record(
    "row0", "row_cap", "order0", "local_pos", "local_end", "venue_pos", "venue_end", "venue_n",
    "done", "last_ts", "horizon_us", "late",
)  # fmt: skip

INSTRUMENT = _record(
    "payoff", "tick:f", "lot:f", "multiplier:f", "tick_scaled", "currency",
    "fee_currency", "fee_on_size", "fee_unit:f", "fee_factor:f",
    "right", "strike", "underlying", "expired", "settled_at",
    "venue_valid", "local_valid", "venue_seen", "mark", "mark_local", "mark_fed", "last_ticks",
    "last_local", "rate", "rate_before", "rate_local", "next_funding", "next_funding_local", "funding_booked",
    "watch_head", "feed_us", "quote_bid", "quote_bid_lots", "quote_ask", "quote_ask_lots",
    "blind_since", "blind_us", "gaps", "cause_seq", "ticks_each:f", "lots_each:f", "by_order",
)  # fmt: skip

STRATEGY = _record("next_number", "first_slot", "deposit:f", "liquidations")

SLOT = _record(
    "strategy", "instrument",
    "latency_kind", "entry_us", "response_us", "latency_a:f", "latency_b:f", "table0", "table_n", "answer0",
    "answer_n", "random",
    "queue_kind", "queue_n:f", "execution", "consume", "hold", "self_trade",
    "slippage_kind", "slippage_a:f", "slippage_b:f", "slippage_c:f",
    "fee_kind", "maker", "taker", "flat_scaled", "tier0", "tier_n",
    "initial_scaled", "maintenance_scaled", "liquidation_fee", "borrow", "min_notional:f",
    "last_arrival", "last_answer", "live", "resting", "print_mark", "print_taken", "own_head", "liquidating",
    "position", "cash", "cash_f:f", "fee_hi", "fee_lo", "fee_f:f", "funding_hi", "funding_lo", "funding_f:f",
    "turnover", "turnover_f:f", "volume", "fills", "settled_hi", "settled_lo", "expired_lots",
    "l_position", "l_cash", "l_cash_f:f", "l_fee_hi", "l_fee_lo", "l_fee_f:f", "l_funding_hi", "l_funding_lo",
    "l_funding_f:f", "l_turnover", "l_turnover_f:f", "l_volume", "l_fills",
    "l_settled_hi", "l_settled_lo",
    "submitted", "refused", "rejected", "cancelled", "expired",
)  # fmt: skip

ORDER = _record(
    "id", "slot", "instrument", "side", "kind", "tif", "flags", "ticks", "stop_ticks", "trigger", "lots", "leaves",
    "filled", "venue_state", "status", "pending", "front:f", "printed:f", "req_ts", "exch_ts", "expire_us",
    "next", "prev", "next_watch", "prev_watch", "l_ticks", "l_lots", "l_leaves", "l_filled", "reason", "trail",
    "tag", "accepted_ts", "in_flight", "pending_request", "own_next", "own_prev", "number",
    "queued",
)  # fmt: skip

NODE = _record("time", "key", "item")

ITEM = _record(
    "kind", "next", "strategy", "slot", "order", "id", "status", "ticks", "lots", "leaves", "filled", "exec_lots",
    "exec_ticks", "exch_ts", "reason", "maker", "fill", "interval", "request", "fee_f:f", "amount_hi",
    "amount_lo", "amount_f:f", "fee_hi", "fee_lo",
)  # fmt: skip

FILL = _record(
    "order_id", "strategy", "instrument", "exch_ts", "local_ts", "ticks", "lots", "side", "maker", "front:f",
    "cause", "cause_seq", "fee:f", "slippage_ticks", "position",
)  # fmt: skip

LOG = _record(
    "local_ts", "strategy", "instrument", "order_id", "side", "status", "request", "ticks", "lots", "leaves",
    "filled", "exec_lots", "exec_ticks", "exch_ts", "req_ts", "tif", "kind", "maker", "reason", "fee:f", "answer",
)  # fmt: skip

EQUITY = _record("ts", "strategy", "currency", "value:f", "position", "fees:f", "funding:f", "valid")

RECORD = _record("ts", "strategy", "name", "value:f")

MARKOUT = _record("ts", "strategy", "instrument", "fill", "horizon_us", "mid2")


def record_number(name):
    """The number under which a series of the user's is kept in RECORD rows: the same in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


TAKEN = _record("slot", "ticks", "lots", "next")

PAIR = _record("key", "value")

MARKET_ORDER = _record("number", "instrument", "side", "ticks", "lots", "arrived", "named")

SECTIONS: dict[str, np.dtype] = {
    "run": RUN,
    "sources": SOURCE,
    "instruments": INSTRUMENT,
    "strategies": STRATEGY,
    "slots": SLOT,
    "orders": ORDER,
    "heap": NODE,
    "items": ITEM,
    "fills": FILL,
    "log": LOG,
    "equity": EQUITY,
    "taken": TAKEN,
    "tables": PAIR,
    "retired": np.dtype("<i8"),
    "books": BOOK,
    "cells": np.dtype("<i8"),
    "event": EVENT,
    "rows": EVENT,
    "venue_order": np.dtype("<i8"),
    "local_heap": np.dtype("<i8"),
    "venue_heap": np.dtype("<i8"),
    "local_cursors": CURSOR,
    "venue_cursors": CURSOR,
    "answered": LOG,
    "refusals": np.dtype("<i8"),
    "records": RECORD,
    "markouts": MARKOUT,
    "market_orders": MARKET_ORDER,
}
"""Sections in arena order: name and record type."""

_INDEX = {name: i for i, name in enumerate(SECTIONS)}
_HEADER_BYTES = 1024
_ALIGN = 64


class State(NamedTuple):
    """The sections as arrays; one instance is made at the top of each kernel call and costs nothing."""

    run: Any
    sources: Any
    instruments: Any
    strategies: Any
    slots: Any
    orders: Any
    heap: Any
    items: Any
    fills: Any
    log: Any
    equity: Any
    taken: Any
    tables: Any
    retired: Any
    books: Any
    cells: Any
    event: Any
    rows: Any
    venue_order: Any
    local_heap: Any
    venue_heap: Any
    local_cursors: Any
    venue_cursors: Any
    answered: Any
    refusals: Any
    records: Any
    markouts: Any
    market_orders: Any


@intrinsic
def _section(typingctx, arena, offset, count, dtype):
    """An array over part of `arena` that holds no reference to it (reference counts would cost 50 ns a section)."""
    item = dtype.dtype
    result = types.Array(item, 1, "C")

    def codegen(context, builder, signature, args):
        base = arrayobj.make_array(signature.args[0])(context, builder, args[0])
        data = builder.gep(base.data, [args[1]])
        array = arrayobj.make_array(signature.return_type)(context, builder)
        size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(item)))
        arrayobj.populate_array(
            array,
            data=builder.bitcast(data, array.data.type),
            shape=[args[2]],
            strides=[size],
            itemsize=size,
            meminfo=None,
        )
        return array._getvalue()

    return result(arena, types.int64, types.int64, dtype), codegen


def _section_plain(arena, offset, count, dtype):
    """`count` records of `dtype` that begin `offset` bytes into `arena`, as an array over the same memory."""
    return arena[offset : offset + count * dtype.itemsize].view(dtype)


section = _section_plain if numba.config.DISABLE_JIT else _section


INT64 = np.dtype("<i8")


@kernel(entry=False)
def open_state(arena):
    """The sections of `arena` (uint8) as a State.  The caller keeps `arena` alive."""
    at = section(arena, 0, 128, INT64)
    return State(
        section(arena, at[0], at[1], RUN),
        section(arena, at[2], at[3], SOURCE),
        section(arena, at[4], at[5], INSTRUMENT),
        section(arena, at[6], at[7], STRATEGY),
        section(arena, at[8], at[9], SLOT),
        section(arena, at[10], at[11], ORDER),
        section(arena, at[12], at[13], NODE),
        section(arena, at[14], at[15], ITEM),
        section(arena, at[16], at[17], FILL),
        section(arena, at[18], at[19], LOG),
        section(arena, at[20], at[21], EQUITY),
        section(arena, at[22], at[23], TAKEN),
        section(arena, at[24], at[25], PAIR),
        section(arena, at[26], at[27], INT64),
        section(arena, at[28], at[29], BOOK),
        section(arena, at[30], at[31], INT64),
        section(arena, at[32], at[33], EVENT),
        section(arena, at[34], at[35], EVENT),
        section(arena, at[36], at[37], INT64),
        section(arena, at[38], at[39], INT64),
        section(arena, at[40], at[41], INT64),
        section(arena, at[42], at[43], CURSOR),
        section(arena, at[44], at[45], CURSOR),
        section(arena, at[46], at[47], LOG),
        section(arena, at[48], at[49], INT64),
        section(arena, at[50], at[51], RECORD),
        section(arena, at[52], at[53], MARKOUT),
        section(arena, at[54], at[55], MARKET_ORDER),
    )


class Arena:
    """The arena as Python sees it: numpy views by section name, and a larger copy on request.

    `counts` gives the records of each section.  `bytes` is the array for kernels; `ints` the same memory as a
    memoryview of int64, which reads a field in 30 ns where numpy takes 100.
    """

    def __init__(self, counts: dict[str, int]) -> None:
        if set(counts) != set(SECTIONS):
            raise ValueError(f"counts for {sorted(set(SECTIONS) ^ set(counts))} missing or unknown")
        self._counts = dict(counts)
        self._allocate()

    def _allocate(self) -> None:
        offset = _HEADER_BYTES
        table = []
        for name, dtype in SECTIONS.items():
            table += [offset, self._counts[name]]
            offset += -(-self._counts[name] * dtype.itemsize // _ALIGN) * _ALIGN
        raw = np.zeros(offset + _ALIGN, np.uint8)
        start = -raw.ctypes.data % _ALIGN
        self.bytes: np.ndarray = raw[start : start + offset]
        self.bytes[: 8 * len(table)].view("<i8")[:] = table
        self.ints = memoryview(self.bytes).cast("q")  # type: ignore[arg-type]

    def __getitem__(self, name: str) -> np.ndarray:
        """The section as a numpy array over the arena's memory."""
        i = _INDEX[name]
        offset, count = self.bytes[16 * i : 16 * i + 16].view("<i8")
        dtype = SECTIONS[name]
        return self.bytes[offset : offset + count * dtype.itemsize].view(dtype)

    def word(self, name: str, field: str, index: int = 0) -> int:
        """Position in `ints` of one field of one record (all fields are 8 bytes wide)."""
        offset = int(self.bytes[16 * _INDEX[name] : 16 * _INDEX[name] + 8].view("<i8")[0])
        dtype = SECTIONS[name]
        fields = dtype.fields
        assert fields is not None
        return (offset + index * dtype.itemsize + fields[field][1]) // 8

    def resize(self, **contents: int | np.ndarray) -> None:
        """Give sections a new count of records (keeping what fits) or new content; all others keep theirs."""
        old = {name: self[name] for name in SECTIONS}
        for name, content in contents.items():
            if isinstance(content, np.ndarray):
                old[name] = content
                self._counts[name] = len(content)
            else:
                self._counts[name] = content
        self._allocate()
        for name, values in old.items():
            kept = min(len(values), self._counts[name])
            self[name][:kept] = values[:kept]


__all__ = ["EVENT", "SECTIONS", "Arena", "State", "open_state", "section"]
