"""The arena of a run: what it holds before the first event, and how it grows.

All functions work on the arena alone; whoever holds views of it has to take them again afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from replay.errors import ConfigError
from replay.instruments import Instrument
from replay.kernel import codes
from replay.kernel.agenda import PHASE_VENUE, agenda_extend, agenda_push, agenda_reset
from replay.kernel.book import book_cells, book_levels, book_set, grow_book, open_books
from replay.kernel.by_order import rehash
from replay.kernel.orders import BOOKS_EACH, LEVELS_EACH, RESERVED
from replay.kernel.requests import REASON_WORDS
from replay.kernel.state import EVENT, Arena
from replay.models import write_fee_unit, write_fees, write_latency, write_margin, write_queue, write_slippage
from replay.settings import slot_settings
from replay.units import INT64_MAX, SCALE

if TYPE_CHECKING:
    from replay.session import Session

ORDERS_EACH = 16
"""Live orders of a strategy for which there is room at first."""

RECORDS = 4096
"""Recorded values for which there is room between two flushes."""

_PAYOFFS = {"spot": codes.SPOT, "linear": codes.LINEAR, "inverse": codes.INVERSE, "option": codes.OPTION}


def make_arena(session: Session, wanted: int) -> Arena:
    """The arena of a run before its first event; `wanted` has the bits of the handlers that anybody overrides."""
    replay, n_i, n_s = session.replay, len(session.instruments), len(session.strategies)
    n_sources = len(replay.sources)
    cap = max(2 * replay.batch_rows, 4096)
    levels = LEVELS_EACH * n_i
    live = ORDERS_EACH * n_s
    need = _pool(live)
    counts = {
        "run": 1, "sources": n_sources, "instruments": n_i, "strategies": n_s, "slots": n_i * n_s,
        "orders": max(1024, 1 << (4 * live + 7).bit_length()), "heap": 2 * need, "items": 2 * need,
        "fills": 2 * need, "log": max(8192, 1024 * n_s), "equity": 2 * len(session.currencies) * (need + n_s),
        "taken": 1024, "tables": 1, "retired": 64,
        "books": len(levels), "cells": book_cells(levels),
        "event": 1, "rows": cap * n_sources, "venue_order": cap * n_sources,
        "local_heap": n_sources, "venue_heap": n_sources, "local_cursors": n_sources, "venue_cursors": n_sources,
        "answered": 1, "refusals": REASON_WORDS * n_s, "records": RECORDS,
        "markouts": 2 * need, "market_orders": 2,
    }  # fmt: skip
    arena = Arena(counts)
    open_books(arena["books"], arena["cells"], levels)
    tables: list[tuple[int, int]] = []
    for i, (record, instrument) in enumerate(zip(arena["instruments"], session.instruments)):
        _write_terms(session, record, i, instrument)
    for k in range(n_s):
        strategy = arena["strategies"][k]
        strategy["first_slot"], strategy["deposit"], strategy["next_number"] = k * n_i, replay.deposit, 1
        for i in range(n_i):
            slot = arena["slots"][k * n_i + i]
            slot["strategy"], slot["instrument"], slot["own_head"], slot["print_mark"] = k, i, -1, -1
            models = session.models[k]
            for name, value in slot_settings(models, i).items():
                slot[name] = value
            write_latency(slot, models["latency"][i], tables)
            write_queue(slot, models["queue"][i])
            write_slippage(slot, models["slippage"][i])
            write_fees(slot, models["fees"][i], tables)
            write_margin(slot, models["margin"][i])
    run = arena["run"][0]
    run["sources"], run["instruments"], run["strategies"] = n_sources, n_i, n_s
    run["end_us"], run["currencies"] = INT64_MAX - 1, len(session.currencies)
    run["margin_used"] = int(any(m is not None for models in session.models for m in models["margin"]))
    run["wanted"] = wanted
    for s, source in enumerate(replay.sources):
        record = arena["sources"][s]
        record["row0"] = record["order0"] = s * cap
        record["row_cap"], record["horizon_us"] = cap, source.horizon_us
        record["last_ts"] = -(2**62)
    if tables:
        arena.resize(tables=np.array(tables, arena["tables"].dtype))
    free = arena["taken"]
    free["next"] = np.arange(1, len(free) + 1)
    free["next"][-1] = -1
    agenda_reset(arena["run"], arena["items"])
    for i, instrument in enumerate(session.instruments):
        if instrument.payoff == "option":
            item = agenda_push(arena["run"], arena["heap"], arena["items"], instrument.expiry_us, PHASE_VENUE)
            arena["items"][item]["kind"], arena["items"][item]["order"] = codes.DO_EXPIRY, i
    return arena


def _write_terms(session: Session, record: np.void, i: int, instrument: Instrument) -> None:
    record["payoff"] = _PAYOFFS[instrument.payoff]
    record["tick"], record["lot"] = float(instrument.tick), float(instrument.lot)
    record["multiplier"] = float(instrument.multiplier)
    record["tick_scaled"] = _scaled(instrument, "tick")
    record["ticks_each"], record["lots_each"] = session.grids[i].ticks_each, session.grids[i].lots_each
    record["currency"] = session.currencies.index(instrument.settle)
    record["fee_currency"] = session.currencies.index(session.fee_currencies[i])
    write_fee_unit(record, instrument, session.replay.models["fees"][i])
    if instrument.payoff == "option":
        record["right"] = 1 if instrument.right == "call" else -1
        record["strike"] = _scaled(instrument, "strike")
        record["underlying"] = [other.name for other in session.instruments].index(instrument.underlying)
    record["watch_head"] = -1


def _scaled(instrument: Instrument, name: str) -> int:
    scaled = getattr(instrument, name) * SCALE
    if scaled != int(scaled):
        raise ConfigError(f"{instrument.name}.{name}", getattr(instrument, name), "is finer than 1e-8")
    return int(scaled)


def _pool(live_orders: int) -> int:
    """Items, fills and rows of the log to have free with so many live orders: ample for any one event."""
    return 16 * (live_orders + 2) + 4096


def enlarge_pools(arena: Arena, levels: int) -> bool:
    """Larger pools and logs where they are needed; the logs are empty.  `levels` of the book may the next event take.

    Returns whether the arena moved.
    """
    run = arena["run"][0]
    live = int(run["live_orders"])
    crowded = 4 * (live + 2) > len(arena["orders"])
    if crowded:
        _rehash(arena, 2 * len(arena["orders"]))
        run = arena["run"][0]
    need = _pool(live) + 4 * levels
    items, free = len(arena["items"]), int(run["free_items"])
    pool = items if free >= need else 2 * (items - free + need)
    wanted = {
        "items": pool, "heap": pool, "fills": need, "log": need, "records": RECORDS, "markouts": need,
        "equity": int(run["currencies"]) * (need + int(run["strategies"])),
    }  # fmt: skip
    larger: dict[str, int | np.ndarray] = {name: n for name, n in wanted.items() if n > len(arena[name])}
    if larger:
        arena.resize(**larger)
        agenda_extend(arena["run"], arena["items"], items)
    return crowded or bool(larger)


def _rehash(arena: Arena, size: int) -> None:
    """Move all orders to a table of `size` places; every link follows."""
    old = arena["orders"].copy()
    new = np.zeros(size, old.dtype)
    where = np.full(len(old) + 1, -1, np.int64)
    probe = 0
    for i in np.flatnonzero(old["id"] > 0):
        step = 0
        while new[(old[i]["id"] + step) & (size - 1)]["id"] != 0:
            step += 1
        at = int((old[i]["id"] + step) & (size - 1))
        new[at], where[i], probe = old[i], at, max(probe, step)
    live = new["id"] > 0
    for link in ("next", "prev", "next_watch", "prev_watch", "own_next", "own_prev"):
        new[link][live] = where[new[link][live]]
    arena["run"][0]["max_probe"] = probe
    arena["slots"]["own_head"] = where[arena["slots"]["own_head"]]
    arena["instruments"]["watch_head"] = where[arena["instruments"]["watch_head"]]
    retired = int(arena["run"][0]["retired_n"])
    arena["retired"][:retired] = where[arena["retired"][:retired]]
    in_agenda = arena["heap"]["item"][: int(arena["run"][0]["heap_n"])]
    kinds = arena["items"]["kind"][in_agenda]
    about_orders = (
        codes.DO_ANSWER,
        codes.DO_NEW,
        codes.DO_CANCEL,
        codes.DO_MODIFY,
        codes.DO_TRIGGERED,
        codes.DO_EXPIRE,
    )
    moved = in_agenda[np.isin(kinds, about_orders)]
    arena["items"]["order"][moved] = where[arena["items"]["order"][moved]]
    _move_heads(arena, where)
    arena.resize(orders=new)


def _move_heads(arena: Arena, where: np.ndarray) -> None:
    for i in range(len(arena["instruments"])):
        b = i * BOOKS_EACH + 2
        for side in (1, -1):
            ticks, heads = book_levels(arena["books"], arena["cells"], b, side, None)
            for price, head in zip(ticks, heads):
                if head != RESERVED:
                    book_set(arena["books"], arena["cells"], b, side, int(price), int(where[head - 1]) + 1)


def widen(arena: Arena, rows: int) -> None:
    """Larger windows for all sources (they lie in one section), with room for a batch of `rows`."""
    sources = arena["sources"]
    cap = int(sources["row_cap"][0])
    wider = 2 * max(cap, rows)
    n = len(sources)
    new_rows, new_order = np.zeros(wider * n, EVENT), np.zeros(wider * n, np.int64)
    for k in range(n):
        new_rows[k * wider : k * wider + cap] = arena["rows"][k * cap : (k + 1) * cap]
        new_order[k * wider : k * wider + cap] = arena["venue_order"][k * cap : (k + 1) * cap]
    sources["row0"] = sources["order0"] = np.arange(n) * wider
    sources["row_cap"] = wider
    arena.resize(rows=new_rows, venue_order=new_order)


def grow(arena: Arena) -> bool:
    """Make the section larger that `advance` has found too small; False when that is the pools of the orders."""
    run = arena["run"][0]
    what = int(run["out_room"])
    if what == codes.ROOM_BOOK:
        books, cells = grow_book(arena["books"], arena["cells"], int(run["out_source"]))
        if len(cells) == len(arena["cells"]):
            arena["books"][:], arena["cells"][:] = books, cells
        else:
            arena.resize(books=books, cells=cells)
        return True
    if what == codes.ROOM_TAKEN:
        old = len(arena["taken"])
        arena.resize(taken=2 * old)
        taken = arena["taken"]
        taken["next"][old:] = np.arange(old + 1, 2 * old + 1)
        taken["next"][-1] = arena["run"][0]["free_taken"]
        arena["run"][0]["free_taken"] = old
        return True
    if what == codes.ROOM_MARKET_ORDERS:
        before = arena["market_orders"].copy()
        arena.resize(market_orders=np.zeros(4 * len(before), before.dtype))
        rehash(before, arena["market_orders"])
        return True
    return False
