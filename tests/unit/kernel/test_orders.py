"""The order pool and its lists against plain Python lists, and as the strategy's requests drive them."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from replay.engine import Replay
from replay.events import empty_events
from replay.instruments import Instrument
from replay.kernel import codes, orders, requests
from replay.kernel.book import book_levels
from replay.kernel.jit import kernel
from replay.kernel.state import Arena, open_state
from replay.sources import ArraySource
from replay.strategy import Strategy

TWO = [Instrument("test", name, "linear", Decimal(1), Decimal(1)) for name in "XY"]
POOL = 32


@kernel
def add(arena, slot, instrument, side, ticks):
    """A new order of that slot; its place, or -1."""
    state = open_state(arena)
    at = orders.new_order(state.run, state.strategies, state.orders, state.slots[slot]["strategy"])
    if at >= 0:
        order = state.orders[at]
        order["slot"], order["instrument"], order["side"], order["ticks"] = slot, instrument, side, ticks
        orders.own_order(state.orders, state.slots, at)
    return at


@kernel
def find(arena, order_id):
    """Place of an order."""
    state = open_state(arena)
    return orders.find_order(state.run, state.orders, order_id)


@kernel
def rest(arena, at):
    """The order rests."""
    state = open_state(arena)
    orders.rest_order(state.books, state.cells, state.orders, state.slots, at)


@kernel
def unrest(arena, at):
    """It no longer does."""
    state = open_state(arena)
    orders.unrest_order(state.books, state.cells, state.orders, state.slots, at)


@kernel
def watch(arena, at):
    """The order waits for its trigger."""
    state = open_state(arena)
    orders.watch_order(state.orders, state.instruments, at, codes.WATCHING)


@kernel
def unwatch(arena, at):
    """It no longer does."""
    state = open_state(arena)
    orders.unwatch_order(state.orders, state.instruments, at)


@kernel
def forget(arena, at):
    """The order is over."""
    state = open_state(arena)
    orders.forget_order(state.run, state.orders, state.slots, at)


@kernel
def reserve(arena, b, side, ticks):
    """Room for a list at a price."""
    state = open_state(arena)
    return orders.reserve_price(state.books, state.cells, b, side, ticks)


@kernel
def release(arena, b, side, ticks):
    """Not used after all."""
    state = open_state(arena)
    orders.release_price(state.books, state.cells, b, side, ticks)


@kernel
def head(arena, b, side, ticks):
    """First place at a price."""
    state = open_state(arena)
    return orders.list_head(state.books, state.cells, b, side, ticks)


def arena_of(pool: int = POOL) -> Arena:
    arena = Replay(ArraySource(empty_events(0), TWO), batch_rows=64).session([Strategy(), Strategy()]).arena
    arena.resize(orders=pool)
    return arena


def key(strategy: int, number: int) -> int:
    """Id under which the run of these two strategies keeps order `number` of one of them."""
    return 2 * number + strategy


def circle(arena: Arena, first: int, following: str, before: str) -> list[int]:
    """Ids along a circular list from its head, both links checked."""
    table = arena["orders"]
    out: list[int] = []
    at = first
    while at >= 0 and len(out) <= len(table):
        out.append(int(table[at]["id"]))
        assert table[table[at][following]][before] == at
        at = int(table[at][following])
        if at == first:
            return out
    assert not out, "the list does not come back to its head"
    return out


class OrdersMachine(RuleBasedStateMachine):
    """Orders of two strategies in two instruments come, rest or wait, and go, in any order."""

    @initialize()
    def begin(self) -> None:
        self.arena = arena_of()
        self.next_number = [1, 1]
        self.own: dict[int, list[int]] = {slot: [] for slot in range(4)}
        self.resting: dict[tuple[int, int, int], list[int]] = {}
        self.waiting: dict[int, list[int]] = {0: [], 1: []}
        self.facts: dict[int, tuple[int, int, int]] = {}

    def idle(self) -> list[int]:
        busy = {i for ids in (*self.resting.values(), *self.waiting.values()) for i in ids}
        return [i for i in self.facts if i not in busy]

    @rule(slot=st.integers(0, 3), side=st.sampled_from([1, -1]), ticks=st.integers(98, 102))
    def add(self, slot: int, side: int, ticks: int) -> None:
        at = add(self.arena.bytes, slot, slot % 2, side, ticks)
        if 2 * (len(self.facts) + 1) > POOL:
            assert at == -1
            return
        strategy = slot // 2
        order, order_id = self.arena["orders"][at], key(strategy, self.next_number[strategy])
        assert (order["id"], order["number"]) == (order_id, self.next_number[strategy])
        self.own[slot].append(order_id)
        self.facts[order_id] = (slot % 2, side, ticks)
        self.next_number[strategy] += 1

    @rule(strategy=st.integers(0, 1), burn=st.integers(1, 40))
    def skip_numbers(self, strategy: int, burn: int) -> None:
        """As if many orders of a strategy had come and gone."""
        self.next_number[strategy] += burn
        self.arena["strategies"][strategy]["next_number"] += burn

    @precondition(lambda self: self.idle())
    @rule(data=st.data(), wait=st.booleans())
    def settle(self, data: st.DataObject, wait: bool) -> None:
        order_id = data.draw(st.sampled_from(self.idle()))
        at = find(self.arena.bytes, order_id)
        if wait:
            watch(self.arena.bytes, at)
            self.waiting[self.facts[order_id][0]].append(order_id)
        else:
            rest(self.arena.bytes, at)
            self.resting.setdefault(self.facts[order_id], []).append(order_id)

    @precondition(lambda self: any(self.resting.values()))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ids = data.draw(st.sampled_from([ids for ids in self.resting.values() if ids]))
        order_id = data.draw(st.sampled_from(ids))
        unrest(self.arena.bytes, find(self.arena.bytes, order_id))
        ids.remove(order_id)

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def stop_waiting(self, data: st.DataObject) -> None:
        ids = data.draw(st.sampled_from([ids for ids in self.waiting.values() if ids]))
        order_id = data.draw(st.sampled_from(ids))
        unwatch(self.arena.bytes, find(self.arena.bytes, order_id))
        ids.remove(order_id)

    @precondition(lambda self: self.idle())
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        order_id = data.draw(st.sampled_from(self.idle()))
        forget(self.arena.bytes, find(self.arena.bytes, order_id))
        del self.facts[order_id]
        next(ids for ids in self.own.values() if order_id in ids).remove(order_id)
        assert find(self.arena.bytes, order_id) == -1

    @invariant()
    def lists_agree(self) -> None:
        if not hasattr(self, "arena"):
            return
        arena = self.arena
        table = arena["orders"]
        assert sorted(table["id"][table["id"] > 0]) == sorted(self.facts)
        assert arena["run"][0]["live_orders"] == len(self.facts)
        for order_id in self.facts:
            assert table[find(arena.bytes, order_id)]["id"] == order_id
        for strategy, number in enumerate(self.next_number):
            assert find(arena.bytes, key(strategy, number)) == -1
        for slot, ids in self.own.items():
            assert circle(arena, int(arena["slots"][slot]["own_head"]), "own_next", "own_prev") == ids
        for instrument, ids in self.waiting.items():
            assert circle(arena, int(arena["instruments"][instrument]["watch_head"]), "next_watch", "prev_watch") == ids
        for instrument in (0, 1):
            for side in (1, -1):
                b = instrument * orders.BOOKS_EACH + 2
                ticks, heads = book_levels(arena["books"], arena["cells"], b, side, None)
                expected = {t: ids for (i, s, t), ids in self.resting.items() if (i, s) == (instrument, side) and ids}
                found = {int(t): circle(arena, int(h) - 1, "next", "prev") for t, h in zip(ticks, heads)}
                assert found == expected
        assert arena["slots"]["resting"].sum() == sum(map(len, self.resting.values()))


TestOrders = OrdersMachine.TestCase
TestOrders.settings = settings(stateful_step_count=40)


def test_a_new_order_inherits_nothing() -> None:
    arena = arena_of(2)
    at = add(arena.bytes, 0, 0, 1, 100)
    for name in ("front", "filled", "reason", "pending", "in_flight", "trail", "expire_us", "l_filled", "flags"):
        arena["orders"][at][name] = 9
    forget(arena.bytes, at)
    arena["strategies"][0]["next_number"] += 1
    again = add(arena.bytes, 0, 0, -1, 7)
    assert again == at
    order = arena["orders"][again]
    for name in ("front", "filled", "reason", "pending", "in_flight", "trail", "expire_us", "l_filled", "flags"):
        assert order[name] == 0, name
    assert order["venue_state"] == codes.ABSENT
    assert (order["next"], order["prev"], order["next_watch"], order["prev_watch"]) == (-1, -1, -1, -1)


def test_a_reserved_price_holds_no_order_and_can_be_released() -> None:
    arena = arena_of()
    assert reserve(arena.bytes, 2, 1, 100) == 0
    assert head(arena.bytes, 2, 1, 100) == -1
    assert arena["books"][2]["bid_ticks"] == 100
    release(arena.bytes, 2, 1, 100)
    assert arena["books"][2]["bids"] == 0
    at = add(arena.bytes, 0, 0, 1, 100)
    assert reserve(arena.bytes, 2, 1, 100) == 0
    rest(arena.bytes, at)
    assert head(arena.bytes, 2, 1, 100) == at
    assert reserve(arena.bytes, 2, 1, 100) == 0
    release(arena.bytes, 2, 1, 100)
    assert head(arena.bytes, 2, 1, 100) == at, "releasing a price in use changes nothing"


def submit(arena: Arena, strategy: int, lots: int = 3, ticks: int = 100) -> int:
    return requests.submit(arena.bytes, strategy, 1, 1, codes.LIMIT, codes.GTC, 0, lots, ticks, 0, 0, 0, 0, 5)


def test_submitted_orders_are_owned_and_found() -> None:
    arena = arena_of()
    assert [submit(arena, 0), submit(arena, 1), submit(arena, 0)] == [1, 1, 2], "each strategy counts its own"
    assert circle(arena, int(arena["slots"][1]["own_head"]), "own_next", "own_prev") == [key(0, 1), key(0, 2)]
    assert circle(arena, int(arena["slots"][3]["own_head"]), "own_next", "own_prev") == [key(1, 1)]
    order = arena["orders"][find(arena.bytes, key(0, 2))]
    assert (order["instrument"], order["l_leaves"], order["tag"], order["status"]) == (1, 3, 5, codes.PENDING)
    assert arena["run"][0]["heap_n"] == 3


def test_requests_that_make_no_sense_are_refused_here() -> None:
    arena = arena_of()
    assert submit(arena, 0, lots=0) == -codes.R_OFF_LOT
    assert submit(arena, 0, lots=requests.MAX_LOTS + 1) == -codes.R_OFF_LOT
    assert submit(arena, 0, ticks=requests.MAX_PRICE_TICKS + 1) == -codes.R_OFF_TICK
    assert submit(arena, 0, lots=1 << 40, ticks=1 << 21) == -codes.R_OFF_LOT
    assert arena["slots"][1]["refused"] == 4
    order_id = submit(arena, 0)
    assert order_id == 1
    assert requests.cancel(arena.bytes, 0, order_id) == -codes.R_PENDING
    assert requests.cancel(arena.bytes, 1, order_id) == -codes.R_UNKNOWN_ORDER, "another strategy's order"
    assert requests.cancel(arena.bytes, 0, 77) == -codes.R_UNKNOWN_ORDER
    assert requests.cancel(arena.bytes, 0, 0) == -codes.R_UNKNOWN_ORDER
    order = arena["orders"][find(arena.bytes, key(0, order_id))]
    order["pending"], order["status"] = codes.REQUEST_NONE, codes.LIVE
    assert requests.cancel(arena.bytes, 0, order_id) == 0
    assert requests.cancel(arena.bytes, 0, order_id) == -codes.R_PENDING
    order["pending"], order["status"] = codes.REQUEST_NONE, codes.FILLED
    assert requests.cancel(arena.bytes, 0, order_id) == -codes.R_UNKNOWN_ORDER, "it is over"


@pytest.mark.parametrize("name", ["warm_until", "ended"])
def test_no_orders_while_warming_up_or_after_the_end(name: str) -> None:
    arena = arena_of()
    arena["run"][0][name] = 1
    assert submit(arena, 0) == -(codes.R_WARM_UP if name == "warm_until" else codes.R_ENDED)
    assert arena["run"][0]["heap_n"] == 0


def test_a_full_pool_asks_for_room_and_keeps_everything() -> None:
    arena = arena_of(8)
    assert [submit(arena, 0) for _ in range(4)] == [1, 2, 3, 4]
    before = arena.bytes.tobytes()
    assert submit(arena, 0) == requests.NEED_ROOM_CODE
    assert arena.bytes.tobytes() == before


def test_requests_are_first_in_first_out_under_a_table_that_gets_faster() -> None:
    """A later request never overtakes an earlier one, though its own latency is shorter."""
    arena = arena_of()
    arena["slots"][1]["entry_us"] = 500
    submit(arena, 0)
    arena["slots"][1]["entry_us"] = 10
    arena["run"][0]["now"] = 100
    submit(arena, 0)
    due = np.sort(arena["heap"][:2]["time"])
    assert due.tolist() == [500, 500]
