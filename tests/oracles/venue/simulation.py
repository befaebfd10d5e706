"""The run: one heap of everything that will happen, the local side, and what a driver may do."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from tests.oracles.venue.account import Account
from tests.oracles.venue.book import Book
from tests.oracles.venue.events import BookMessage, Event, Funding, Gap, Mark, Trade
from tests.oracles.venue.matching import Venue
from tests.oracles.venue.models import Market
from tests.oracles.venue.orders import OVER, LocalOrder, Order, Report

LOCAL_DATA, ANSWER, VENUE_DATA, REQUEST, TIMER = range(5)


class Driver:
    """What a strategy of the oracle may override."""

    def on_start(self, sim: Simulation) -> None: ...
    def on_event(self, sim: Simulation, event: Event) -> None: ...
    def on_timer(self, sim: Simulation, tag: Any) -> None: ...
    def on_order(self, sim: Simulation, report: Report) -> None: ...
    def on_fill(self, sim: Simulation, report: Report) -> None: ...
    def on_settlement(self, sim: Simulation, instrument: int, paid: Fraction) -> None: ...


class Simulation:
    """One strategy, several instruments.

    After `run()`: `seen` (visible µs, Report), `reports` (as they left the venues), `venues`, `accounts`.
    """

    def __init__(self, events: Sequence[Event], markets: Sequence[Market], driver: Driver, trade_from: int = 0) -> None:
        self.driver, self.markets, self.trade_from = driver, markets, trade_from
        self.now = 0
        self.last_market_us = max((max(e.ts, e.exch_ts) for e in events), default=0)
        self.books = [Book() for _ in markets]
        self.accounts = [Account(market) for market in markets]
        self.orders: dict[int, LocalOrder] = {}
        self.at_venue: dict[int, Order] = {}
        self.feed_us = [0 for _ in markets]
        self.last_arrival = [0 for _ in markets]
        self.last_answer = [0 for _ in markets]
        self.rates: dict[tuple[int, int], int] = {}
        self.seen: list[tuple[int, Report]] = []
        self.reports: list[Report] = []
        self.refused: list[tuple[int, int, str]] = []
        self.settled: list[tuple[int, int, Fraction]] = []
        self.counter = 0
        self.liquidations = 0
        self.latencies = [market.latency.begun() for market in markets]
        self.heap: list[tuple[Any, ...]] = []
        self.venues = [self.open_venue(k) for k in range(len(markets))]
        for ordinal, event in enumerate(events):
            is_book = isinstance(event, BookMessage)
            local = (event.ts, LOCAL_DATA, event.rank, 0, 0, ordinal, "local", event)
            venue = (event.exch_ts, VENUE_DATA, event.ts, is_book, event.rank, ordinal, "venue", event)
            self.heap += [local, venue]
        heapq.heapify(self.heap)
        for k, market in enumerate(markets):
            if market.payoff == "option" and market.expiry_us <= self.last_market_us:
                self.plan(market.expiry_us, VENUE_DATA, "expiry", k)

    def open_venue(self, k: int) -> Venue:
        return Venue(
            self.markets[k],
            lambda report: self.answer(k, report),
            lambda order, request: self.plan(self.now, REQUEST, "judge", (order, request)),
            lambda: self.free_margin(k),
            lambda: self.look_at_margin(k),
            lambda: self.venues[self.markets[k].underlying].mark(),
        )

    # -------------------------------------------------------------------------------------------- agenda

    def plan(self, time: int, phase: int, what: str, thing: Any) -> None:
        """Put something on the agenda; equal times and phases keep the order in which they were planned."""
        assert time >= self.now, "nothing happens before now"
        self.counter += 1
        heapq.heappush(self.heap, (time, phase, float("inf"), 0, 0, self.counter, what, thing))

    def run(self) -> Simulation:
        """Until nothing is left; timers beyond the last market event never fire, open orders are cancelled."""
        self.driver.on_start(self)
        while self.heap:
            time, _, _, _, _, _, what, thing = heapq.heappop(self.heap)
            assert time >= self.now
            self.now = time
            getattr(self, "do_" + what)(thing)
        for venue in self.venues:
            venue.close()
        return self

    # ------------------------------------------------------------------------------------ what happens

    def do_local(self, event: Event) -> None:
        """Phase 0: the strategy's view moves."""
        book = self.books[event.instrument]
        self.feed_us[event.instrument] = max(event.ts - event.exch_ts, 0)
        if isinstance(event, BookMessage) and (book.valid or event.snapshot):
            book.apply(event.levels, event.snapshot)
        elif isinstance(event, Gap):
            book.valid = False
        self.driver.on_event(self, event)

    def do_venue(self, event: Event) -> None:
        """Phase 2: the matching view moves."""
        venue = self.venues[event.instrument]
        venue.now = self.now
        if isinstance(event, BookMessage):
            venue.on_book(event)
        elif isinstance(event, Trade):
            venue.on_trade(event)
        elif isinstance(event, Mark):
            venue.on_mark(event.value)
        elif isinstance(event, Gap):
            venue.on_gap()
        elif isinstance(event, Funding) and event.next_us >= self.now:
            key = (event.instrument, event.next_us)
            if key not in self.rates and event.next_us <= self.last_market_us:
                self.plan(event.next_us, VENUE_DATA, "settle", key)
            self.rates[key] = event.rate

    def do_settle(self, key: tuple[int, int]) -> None:
        """A funding settlement, after the venue data of its µs; we learn of it after the current feed latency."""
        instrument = key[0]
        account, mark = self.venues[instrument].account, self.venues[instrument].mark()
        if mark is None or account.position == 0:
            return
        due = account.funding_due(mark, self.rates[key])
        account.funding += due
        self.settled.append((self.now, instrument, due))
        self.plan(self.now + self.feed_us[instrument], ANSWER, "settlement_seen", (instrument, due))

    def do_settlement_seen(self, what: tuple[int, Fraction]) -> None:
        self.accounts[what[0]].funding += what[1]
        self.driver.on_settlement(self, *what)

    def do_expiry(self, k: int) -> None:
        """An option expires, after the venue data of its µs; without a mark of its underlying positions stay."""
        venue = self.venues[k]
        venue.now = self.now
        venue.expire_all()
        price = venue.underlying_mark()
        if price is None or venue.account.position == 0:
            return
        lots, paid = venue.account.expire(price)
        self.plan(self.now + self.feed_us[k], ANSWER, "expiry_seen", (k, lots, paid))

    def do_expiry_seen(self, what: tuple[int, int, Fraction]) -> None:
        self.accounts[what[0]].settle(*what[1:])

    def do_request(self, what: tuple[Any, ...]) -> None:
        """Phase 3: a request reaches the venue."""
        name, order, *terms = what
        venue = self.venues[order.instrument]
        venue.now = self.now
        if name == "new":
            if order.tif == "GTD" and self.now < order.expire_us <= self.last_market_us:
                self.plan(order.expire_us, REQUEST, "expire", order)
            venue.accept(order, "new")
        elif name == "cancel":
            venue.cancel(order)
        else:
            venue.modify(order, *terms)

    def do_judge(self, what: tuple[Order, str]) -> None:
        """Phase 3: a triggered or released order is judged."""
        venue = self.venues[what[0].instrument]
        venue.now = self.now
        venue.accept(*what)

    def do_expire(self, order: Order) -> None:
        self.venues[order.instrument].now = self.now
        self.venues[order.instrument].expire(order)

    def do_timer(self, what: tuple[Any, int]) -> None:
        tag, every_us = what
        if every_us:
            self.timer(self.now + every_us, tag, every_us)
        self.driver.on_timer(self, tag)

    def answer(self, k: int, report: Report) -> None:
        """Send a report home: FIFO."""
        self.reports.append(report)
        travel = self.latencies[k].response(report.venue_us, self.feed_us[k])
        self.last_answer[k] = max(self.last_answer[k], self.now + travel)
        self.plan(self.last_answer[k], ANSWER, "answer", report)

    def do_answer(self, report: Report) -> None:
        """Phase 1: the only way in which local order state changes."""
        order = self.orders[report.order_id]
        if report.request:
            assert order.pending == report.request, "exactly one answer for each request"
            order.pending = ""
        order.status, order.ticks, order.lots = report.status, report.ticks, report.lots
        order.leaves, order.filled = report.leaves, report.filled
        order.venue_us = report.venue_us
        if order.over and self.venues[order.instrument].liquidating == order.id:
            self.venues[order.instrument].liquidating = 0
        if report.exec_lots:
            self.accounts[order.instrument].fill(order.side, report.exec_ticks, report.exec_lots, report.fee)
        self.seen.append((self.now, report))
        self.driver.on_order(self, report)
        if report.exec_lots:
            self.driver.on_fill(self, report)

    # ------------------------------------------------------------------------------- what a driver may do

    def book(self, instrument: int) -> Book:
        """The local book."""
        return self.books[instrument]

    def timer(self, at_us: int, tag: Any = None, every_us: int = 0) -> None:
        """Call `on_timer` at `at_us`, and then every `every_us`, not beyond the last market event."""
        if at_us <= self.last_market_us:
            self.plan(at_us, TIMER, "timer", (tag, every_us))

    def refuse(self, order_id: int, reason: str) -> str:
        self.refused.append((self.now, order_id, reason))
        return reason

    def send(self, name: str, order: Order, *terms: int) -> None:
        """A request leaves; a negative entry latency means that the venue rejects it."""
        k, local = order.instrument, self.orders[order.id]
        local.pending, local.sent_us = name, self.now
        travel = self.latencies[k].entry(self.now, self.feed_us[k])
        if travel < 0:
            status = "rejected" if name == "new" else local.status
            refused = replace(
                Report(order.id, 0, status, name, order.ticks, order.lots, order.leaves, order.filled),
                reason="venue-rejected",
            )
            if name == "new":
                order.status = "rejected"
            self.last_answer[k] = max(self.last_answer[k], self.now - travel)
            self.plan(self.last_answer[k], ANSWER, "venue_rejection", refused)
            return
        self.last_arrival[k] = max(self.last_arrival[k], self.now + travel)
        self.plan(self.last_arrival[k], REQUEST, "request", (name, order, *terms))

    def do_venue_rejection(self, report: Report) -> None:
        """The order stays as we know it now, whatever it was when the request left; a new one is over."""
        local = self.orders[report.order_id]
        if report.request == "new":
            self.do_answer(report)
        else:
            self.do_answer(
                replace(report, status=local.status, ticks=local.ticks, lots=local.lots,
                        leaves=local.leaves, filled=local.filled)
            )  # fmt: skip

    def submit(self, instrument: int, side: int, lots: int, ticks: int = 0, **how: Any) -> int:
        """Send an order; its id, or 0 when it is refused here (the reason is the last of `refused`)."""
        order_id: int = how.pop("id", len(self.at_venue) + 1)
        reason = ""
        if order_id in self.at_venue:
            reason = "duplicate-id"
        elif lots <= 0:
            reason = "off-lot"
        elif self.now < self.trade_from:
            reason = "warm-up"
        elif self.now > self.last_market_us:
            reason = "run-ended"
        if reason:
            self.refuse(order_id, reason)
            return 0
        order = Order(order_id, instrument, side, lots, ticks, leaves=lots, **how)
        self.at_venue[order_id] = order
        self.orders[order_id] = LocalOrder(order_id, instrument, side, ticks, lots, lots)
        self.send("new", order)
        return order_id

    def cancel(self, order_id: int) -> str:
        """Ask for a cancel; "" or the reason why it was refused here."""
        return self.change("cancel", order_id)

    def modify(self, order_id: int, lots: int, ticks: int, stop_ticks: int = 0) -> str:
        """Ask for a new total size, price and (not 0) stop; "" or the reason why it was refused here."""
        if lots <= 0:
            return self.refuse(order_id, "off-lot")
        return self.change("modify", order_id, lots, ticks, stop_ticks)

    def change(self, name: str, order_id: int, *terms: int) -> str:
        local = self.orders.get(order_id)
        if local is None or local.over:
            return self.refuse(order_id, "unknown-order")
        if local.pending:
            return self.refuse(order_id, "pending")
        order = self.at_venue[order_id]
        if name == "modify" and terms[2] and order.stop_ticks is None and not order.trail:
            return self.refuse(order_id, "off-tick")
        self.send(name, order, *terms)
        return ""

    # ------------------------------------------------------------------------------------------- margin

    def free_margin(self, k: int, maintenance: bool = False) -> Fraction:
        """Deposit and equity in the currency of instrument `k` less the margin of all that settles in it.

        Initial margin of the worst case of position and orders, or maintenance margin of the positions.  What has no
        mark does not count.
        """
        currency = self.markets[k].currency
        free = self.markets[k].deposit or Fraction(0)
        for venue in self.venues:
            if venue.market.currency != currency:
                free -= venue.account.fees_in(currency)
                continue
            mark = venue.mark()
            if mark is None:
                continue
            at = mark / venue.market.tick
            bound = venue.margin(venue.account.position, at, venue.market.maintenance)
            free += venue.account.equity(mark) - (bound if maintenance else venue.worst_margin(at))
        return free

    def look_at_margin(self, k: int) -> None:
        """Below maintenance the position is closed by a market order of the simulation, in phase 3 of this µs."""
        venue = self.venues[k]
        position = venue.account.position
        if not venue.market.maintenance or not position or venue.liquidating:
            return
        if self.free_margin(k, maintenance=True) >= 0:
            return
        number, side, lots = len(self.at_venue) + 1, -1 if position > 0 else 1, abs(position)
        order = Order(number, k, side, lots, kind="market", tif="IOC", leaves=lots, forced=True)
        self.at_venue[number] = order
        self.orders[number] = LocalOrder(number, k, side, 0, lots, lots, sent_us=self.now)
        venue.liquidating = number
        self.liquidations += 1
        self.plan(self.now, REQUEST, "request", ("new", order))

    def check(self) -> None:
        """What must hold at any moment, on both sides."""
        for k, venue in enumerate(self.venues):
            venue.check()
            orders = [order for order in self.at_venue.values() if order.instrument == k]
            filled = sum(order.side * order.filled for order in orders)
            assert venue.account.position + venue.account.expired == filled
            assert all(0 <= order.filled + order.leaves <= order.lots or order.status in OVER for order in orders)
            venue.account.check(venue.mark() or venue.market.tick)
