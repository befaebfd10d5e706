"""The venue of one instrument: its book, our orders in it, and the account as the venue keeps it.

Everything here happens on the venue clock, in the order of simulation.md section 1; `emit(report)` sends an answer,
`judge_later(order, request)` asks for the order to be judged in phase 3 of the same µs (triggered stops, orders that
were held during a gap).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from tests.oracles.venue.account import SCALE, Account
from tests.oracles.venue.book import Book
from tests.oracles.venue.events import BookMessage, Trade
from tests.oracles.venue.models import Market, half_away
from tests.oracles.venue.orders import OVER, Order, Report

STOPS = ("stop-market", "stop-limit", "trailing-stop")


class Venue:
    """One instrument at the venue, for one strategy."""

    def __init__(
        self,
        market: Market,
        emit: Callable[[Report], None],
        judge_later: Callable[[Order, str], None],
        free_margin: Callable[[], Fraction],
        mark_moved: Callable[[], None],
        underlying_mark: Callable[[], Fraction | None],
    ) -> None:
        assert not (market.execution == "full" and market.consumes), "full takes nothing from the book"
        self.market = market
        self.emit, self.judge_later, self.free_margin, self.mark_moved = emit, judge_later, free_margin, mark_moved
        self.underlying_mark = underlying_mark
        self.book = Book()
        self.account = Account(market)
        self.resting: dict[int, Order] = {}
        self.watching: dict[int, Order] = {}
        self.held: dict[int, tuple[Order, str]] = {}
        self.due: dict[int, tuple[Order, str]] = {}
        self.taken: dict[tuple[int, int], int] = {}
        self.last_ticks: int | None = None
        self.fed_mark: int | None = None
        self.kept_mark: Fraction | None = None
        self.expired = False
        self.liquidating = 0
        self.now = 0

    # ------------------------------------------------------------------------------------------ prices

    def mark(self) -> Fraction | None:
        """Mark price: from the feed, else the mid of a valid book, else that when it was lost or a later trade."""
        if self.fed_mark is not None:
            return Fraction(self.fed_mark, SCALE)
        bid, ask = self.book.best(1), self.book.best(-1)
        if self.book.valid and bid is not None and ask is not None:
            return Fraction(bid + ask, 2) * self.market.tick
        if not self.book.valid and self.kept_mark is not None:
            return self.kept_mark
        return self.kept_mark if self.last_ticks is None else self.last_ticks * self.market.tick

    def available(self, side: int, ticks: int) -> int:
        """Lots of a market level less what we took of it."""
        return self.book.lots(side, ticks) - self.taken.get((side, ticks), 0)

    def best_for_us(self, side: int) -> int | None:
        """Best price of a market side at which something is left."""
        best = self.book.best(side)
        if best is None or self.available(side, best) > 0:
            return best
        left = [ticks for ticks in self.book.levels[side] if self.available(side, ticks) > 0]
        return None if not left else (max(left) if side > 0 else min(left))

    # ------------------------------------------------------------------------------------ reports and fills

    def report(self, order: Order, request: str, reason: str = "", **execution: object) -> None:
        self.emit(
            Report(
                order.id, self.now, order.status, request, order.ticks, order.lots, order.leaves, order.filled,
                reason, **execution,  # type: ignore[arg-type]
            )
        )  # fmt: skip

    def end(self, order: Order, status: str, request: str, reason: str = "") -> None:
        """The order is over."""
        self.resting.pop(order.id, None)
        for waiting in (self.watching, self.held, self.due):
            waiting.pop(order.id, None)
        order.status = status
        self.report(order, request, reason)

    def reducible(self, side: int) -> int:
        """Lots that an order of `side` can take off the position."""
        return max(0, -side * self.account.position)

    def cut_to_position(self, order: Order) -> None:
        """A reduce-only order is no larger than what it can close."""
        cut = max(0, order.leaves - self.reducible(order.side))
        order.lots -= cut
        order.leaves -= cut

    def execute(
        self,
        order: Order,
        lots: int,
        ticks: int,
        maker: bool,
        cause: str,
        request: str,
        front: float,
        slippage: int = 0,
    ) -> None:
        """Book `lots` of the order at `ticks`, `slippage` of them for the worse."""
        fee = self.account.fee(maker, ticks, lots)
        if order.forced:
            fee += self.account.liquidation_fee(ticks, lots)
        self.account.fill(order.side, ticks, lots, fee)
        order.filled += lots
        order.leaves -= lots
        order.status = "filled" if order.leaves == 0 else "partly-filled"
        if order.leaves == 0:
            self.resting.pop(order.id, None)
        self.report(
            order, request, exec_lots=lots, exec_ticks=ticks, maker=maker, cause=cause, front=front,
            slippage=slippage, fee=fee,
        )  # fmt: skip

    def fill_resting(self, order: Order, lots: int, cause: str, front: float) -> None:
        """A resting order trades as maker at its own price; a reduce-only one is cut to the position first."""
        if order.reduce_only:
            self.cut_to_position(order)
            lots = min(lots, order.leaves)
            if lots == 0:
                self.end(order, "expired", "", "reduce-only")
                return
        self.execute(order, lots, order.ticks, True, cause, "", front)

    # ----------------------------------------------------------------------------------------- market events

    def by_priority(self, side: int) -> list[Order]:
        """Own resting orders of a side: best price first, at one price in order of acceptance."""
        mine = [order for order in self.resting.values() if order.side == side]
        return sorted(mine, key=lambda order: -side * order.ticks)

    def on_book(self, message: BookMessage) -> None:
        """Apply a message, move the queues, fill what the opposite best has reached, look at the stops."""
        was_valid = self.book.valid
        if not was_valid and not message.snapshot:
            return
        before = {order.id: self.book.lots(order.side, order.ticks) for order in self.resting.values()}
        self.book.apply(message.levels, message.snapshot)
        if message.snapshot:
            self.taken.clear()
        named = {(side, ticks) for side, ticks, _ in message.levels}
        for side, ticks in named:
            self.taken.pop((side, ticks), None)
        for order in self.resting.values():
            after = self.book.lots(order.side, order.ticks)
            if message.snapshot:
                order.front, order.printed = min(order.front, float(after)), 0
            elif (order.side, order.ticks) in named:
                self.move_queue(order, before[order.id], after)
        for side in (-1, 1):
            for order in self.by_priority(side):
                best = self.best_for_us(-side)
                if best is not None and (order.ticks - best) * side >= 0:
                    self.fill_resting(order, order.leaves, "touch", order.front)
        for order, request in list(self.held.values()):
            self.postpone(order, request)
        self.held.clear()
        self.watch()
        self.mid_moved()

    def mid_moved(self) -> None:
        """The mark may have, unless the feed tells it."""
        if self.fed_mark is None:
            self.mark_moved()

    def postpone(self, order: Order, request: str) -> None:
        """Have the order judged in phase 3 of this µs."""
        self.due[order.id] = (order, request)
        self.judge_later(order, request)

    def move_queue(self, order: Order, before: int, after: int) -> None:
        queue, lot = self.market.queue, float(self.market.lot)
        order.front = queue.moved(order.front, order.printed, before, after, lot, self.market.partial)
        order.printed = 0

    def on_trade(self, trade: Trade) -> None:
        """Rules 2 and 3 of section 5; they hold while the book is invalid, too."""
        gone = 0
        for order in self.by_priority(-trade.side):
            beyond = (trade.ticks - order.ticks) * trade.side
            if beyond > 0:
                self.fill_resting(order, order.leaves, "through", order.front)
            elif beyond == 0:
                front = order.front
                order.printed += trade.lots
                if not self.market.partial:
                    order.front -= trade.lots
                    if half_away(-order.front) > 0:
                        self.fill_resting(order, order.leaves, "queue", front)
                    continue
                order.front = max(order.front - trade.lots, 0.0)
                excess = math.floor(trade.lots - front + 1e-9) - gone
                if excess > 0:
                    had = order.filled
                    self.fill_resting(order, min(excess, order.leaves), "queue", front)
                    gone += order.filled - had
        self.last_ticks = trade.ticks
        if not self.book.valid:
            self.kept_mark = trade.ticks * self.market.tick
        self.watch()
        self.mid_moved()

    def on_mark(self, value: int) -> None:
        self.fed_mark = value
        self.watch()
        self.mark_moved()

    def on_gap(self) -> None:
        """The book is worth nothing; a mark that was its mid stays until something is traded."""
        if self.book.valid:
            self.kept_mark = self.mark()
        self.book.valid = False
        self.watch()

    # ------------------------------------------------------------------------------------------------ stops

    def watched(self, order: Order) -> Fraction | None:
        """What a stop compares with its price, in ticks."""
        if order.trigger == "last":
            return None if self.last_ticks is None else Fraction(self.last_ticks)
        if order.trigger == "mark":
            mark = self.mark()
            return None if mark is None else mark / self.market.tick
        best = self.book.best(-order.side) if self.book.valid else None
        return None if best is None else Fraction(best)

    def watch(self) -> None:
        """Trail and trigger, stops on the mark last; what triggers is judged in phase 3 of this µs."""
        for order in sorted(self.watching.values(), key=lambda order: order.trigger == "mark"):
            level = self.watched(order)
            if level is None:
                continue
            if order.kind == "trailing-stop":
                follow = math.ceil(level) + order.trail if order.side > 0 else math.floor(level) - order.trail
                if order.stop_ticks is None or (order.stop_ticks - follow) * order.side > 0:
                    order.stop_ticks = follow
            assert order.stop_ticks is not None
            if (level - order.stop_ticks) * order.side >= 0:
                del self.watching[order.id]
                order.kind = "limit" if order.kind == "stop-limit" else "market"
                self.postpone(order, "")

    # --------------------------------------------------------------------------------------------- requests

    def accept(self, order: Order, request: str) -> None:
        """Judge a new, modified, triggered or released order."""
        self.due.pop(order.id, None)
        if order.status in OVER:
            return
        if self.expired or (order.tif == "GTD" and self.now >= order.expire_us):
            self.end(order, "expired", request, "expired")
            return
        if order.kind in STOPS:
            order.status = "live"
            self.watching[order.id] = order
            self.report(order, request)
            self.watch()
            return
        if not self.book.valid:
            if self.market.on_gap == "hold":
                self.held[order.id] = (order, request)
            else:
                self.end(order, "rejected", request, "book-invalid")
            return
        reason = self.refusal(order)
        if reason:
            self.end(order, "rejected", request, reason)
            return
        self.match(order, request)

    def refusal(self, order: Order) -> str:
        """Why the venue will not have the order: minimum notional, reduce-only, holdings, margin, post-only."""
        if order.forced:
            return ""
        opposite = self.best_for_us(-order.side)
        mark = self.mark()
        price = None if mark is None else mark / self.market.tick
        if order.kind == "limit":
            price = Fraction(order.ticks)
        if price is not None:
            quote = order.leaves * self.market.lot * self.market.multiplier
            if self.market.payoff != "inverse":
                quote *= price * self.market.tick
            if quote < self.market.min_notional:
                return "below-min-notional"
        if order.reduce_only:
            if self.reducible(order.side) == 0:
                return "reduce-only"
            self.cut_to_position(order)
        if self.market.payoff == "spot" and not self.market.borrowing and order.side < 0:
            promised = sum(other.leaves for other in self.resting.values() if other.side < 0)
            if self.account.position - promised < order.leaves:
                return "insufficient-margin"
        if self.market.deposit is not None and price is not None and not self.affordable(order, price):
            return "insufficient-margin"
        if order.post_only and opposite is not None and (order.ticks - opposite) * order.side >= 0:
            return "post-only-would-cross"
        return ""

    def worst_positions(self, side: int = 0, more: int = 0) -> tuple[int, int]:
        """The longest and the shortest position that open orders can lead to, with `more` lots added on `side`."""
        bought = self.account.position + sum(o.leaves for o in self.resting.values() if o.side > 0)
        sold = self.account.position - sum(o.leaves for o in self.resting.values() if o.side < 0)
        return bought + (more if side > 0 else 0), sold - (more if side < 0 else 0)

    def margin(self, lots: int, at: Fraction, rate: Fraction) -> Fraction:
        """What a position needs: a fraction of its notional; a held option its mark, an owed one of its underlying."""
        if self.market.payoff != "option":
            return self.account.value(at, abs(lots)) * rate
        if lots >= 0:
            return self.account.value(at, lots)
        price = self.underlying_mark() or Fraction(0)
        return -lots * self.market.lot * self.market.multiplier * price * rate

    def worst_margin(self, at: Fraction, side: int = 0, more: int = 0) -> Fraction:
        """Initial margin of the dearer of the two worst positions."""
        return max(self.margin(lots, at, self.market.initial) for lots in self.worst_positions(side, more))

    def affordable(self, order: Order, price: Fraction) -> bool:
        """Whether the free margin carries what the order adds to the worst case, at the mark."""
        mark = self.mark()
        at = price if mark is None else mark / self.market.tick
        added = self.worst_margin(at, order.side, order.leaves) - self.worst_margin(at)
        return added <= 0 or added <= self.free_margin()

    def match(self, order: Order, request: str) -> None:
        """Section 4: execute what crosses, rest or expire the rest; own orders first have their say."""
        plan = self.plan(order)
        fillable = sum(lots for _, lots in plan)
        if order.tif == "FOK" and fillable < order.leaves:
            self.end(order, "expired", request, "no-liquidity")
            return
        rests = order.kind == "limit" and order.tif in ("GTC", "GTD")
        blocked = self.own_in_the_way(order, plan, rests and fillable < order.leaves)
        stopped = False
        if blocked and self.market.self_trade == "cancel-oldest":
            for other in blocked:
                self.end(other, "cancelled", "", "self-trade")
        elif blocked:
            stopped = True
            nearest = min((other.ticks for other in blocked), key=lambda ticks: ticks * order.side)
            plan = [(ticks, lots) for ticks, lots in plan if (nearest - ticks) * order.side > 0]
            if order.tif == "FOK":
                plan = []
        total = order.leaves
        for ticks, lots in plan:
            if self.market.consumes:
                key = (-order.side, ticks)
                self.taken[key] = self.taken.get(key, 0) + lots
            worse = self.market.slippage.extra(ticks, total, order.side, self.spread(), float(self.market.lot))
            self.execute(order, lots, ticks + order.side * worse, False, "take", request, 0.0, worse)
            request = ""
        if order.leaves == 0:
            return
        if stopped:
            self.end(order, "cancelled" if plan else "rejected", request, "self-trade")
        elif rests:
            self.rest(order, request, answered=bool(plan))
        else:
            self.end(order, "expired", request, "no-liquidity")

    def spread(self) -> int:
        """Of the venue's book; 0 when a side is empty."""
        bid, ask = self.book.best(1), self.book.best(-1)
        return 0 if bid is None or ask is None else ask - bid

    def plan(self, order: Order) -> list[tuple[int, int]]:
        """(ticks, lots) that the order would execute against the venue's book, best first."""
        best = self.best_for_us(-order.side)
        if best is None or (order.kind == "limit" and (order.ticks - best) * order.side < 0):
            return []
        if not self.market.partial:
            return [(best, order.leaves)]
        plan, left = [], order.leaves
        for ticks in sorted(self.book.levels[-order.side], key=lambda ticks: ticks * order.side):
            if left == 0 or (order.kind == "limit" and (order.ticks - ticks) * order.side < 0):
                break
            lots = min(left, self.available(-order.side, ticks))
            if lots > 0:
                plan.append((ticks, lots))
                left -= lots
        return plan

    def own_in_the_way(self, order: Order, plan: list[tuple[int, int]], rests: bool) -> list[Order]:
        """Own resting orders that the order would meet: at or before its worst execution, or its limit if it rests."""
        if self.market.self_trade == "allow" or order.forced:
            return []
        if rests:
            reach = order.ticks
        elif plan:
            reach = plan[-1][0]
        else:
            return []
        return [o for o in self.by_priority(-order.side) if (reach - o.ticks) * order.side >= 0]

    def rest(self, order: Order, request: str, answered: bool) -> None:
        """Last in the queue of its level."""
        order.front, order.printed = float(self.book.lots(order.side, order.ticks)), 0
        order.status = "partly-filled" if order.filled else "live"
        self.resting[order.id] = order
        if not answered:
            self.report(order, request)

    def waiting(self, order_id: int) -> tuple[Order, str] | None:
        """An order that waits to be judged, with the request that its judgement will answer."""
        return self.held.get(order_id) or self.due.get(order_id)

    def find(self, order_id: int) -> Order | None:
        """The order, if it is alive at the venue."""
        waiting = self.waiting(order_id)
        return self.resting.get(order_id) or self.watching.get(order_id) or (waiting[0] if waiting else None)

    def cancel(self, order: Order) -> None:
        """A cancel request arrives."""
        if self.find(order.id) is None:
            self.report(order, "cancel", "unknown-order")
            return
        self.end(order, "cancelled", "cancel")

    def modify(self, order: Order, lots: int, ticks: int, stop_ticks: int) -> None:
        """A modify request arrives: `lots` is the new total size, `stop_ticks` a new stop (0: as it is)."""
        if self.find(order.id) is None:
            self.report(order, "modify", "unknown-order")
            return
        if order.kind not in ("limit", "stop-limit"):
            ticks = order.ticks
        leaves = lots - order.filled
        keeps = ticks == order.ticks and leaves <= order.leaves
        order.lots, order.leaves = max(lots, order.filled), max(leaves, 0)
        if leaves <= 0:
            self.end(order, "cancelled", "modify")
            return
        order.ticks = ticks
        if keeps or order.id not in self.resting:
            self.report(order, "modify")
            if stop_ticks and order.id in self.watching:
                order.stop_ticks = stop_ticks
                self.watch()
            return
        self.resting.pop(order.id)
        self.accept(order, "modify")

    def expire(self, order: Order) -> None:
        """The time of a GTD order has come."""
        waiting = self.waiting(order.id)
        if self.find(order.id) is not None:
            self.end(order, "expired", waiting[1] if waiting else "", "expired")

    def expire_all(self) -> None:
        """The option is over: its orders end, bids and then asks from the best on, then those that wait."""
        self.expired = True
        for order in (*self.by_priority(1), *self.by_priority(-1)):
            self.end(order, "expired", "", "expired")
        waiting = [(order, "") for order in self.watching.values()] + list(self.held.values())
        for order, request in waiting:
            self.end(order, "expired", request, "expired")

    def close(self) -> None:
        """The run is over: open orders are cancelled, nobody is told."""
        waiting = [order for order, _ in (*self.held.values(), *self.due.values())]
        for order in (*self.resting.values(), *self.watching.values(), *waiting):
            order.status = "cancelled"
        for orders in (self.resting, self.watching, self.held, self.due):
            orders.clear()

    def check(self) -> None:
        """0 <= front <= level under "partial"; what rests is alive and whole."""
        self.book.check()
        for order in self.resting.values():
            assert 0 < order.leaves <= order.lots - order.filled
            assert order.status in ("live", "partly-filled")
            if self.market.partial and self.book.valid:
                assert 0.0 <= order.front <= self.book.lots(order.side, order.ticks)
