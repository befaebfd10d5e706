"""The venue oracle judged by itself: hand-made cases with an outcome that the specification fixes, and random flow."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from tests.oracles.venue import (
    QUEUES,
    BookMessage,
    Constant,
    Driver,
    Event,
    FeedProportional,
    Fees,
    Funding,
    Gap,
    Mark,
    Market,
    Queue,
    Report,
    Simulation,
    Table,
    Trade,
)

START = 1_000_000


class Script(Driver):
    """Runs `(time, method, arguments…)` lines."""

    def __init__(self, *lines: tuple[Any, ...]) -> None:
        self.lines = lines
        self.answers: list[Any] = []

    def on_start(self, sim: Simulation) -> None:
        for line in self.lines:
            sim.timer(START + line[0], line)

    def on_timer(self, sim: Simulation, tag: Any) -> None:
        arguments = [value for value in tag[2:] if not isinstance(value, dict)]
        options = next((value for value in tag[2:] if isinstance(value, dict)), {})
        self.answers.append(getattr(sim, tag[1])(*arguments, **options))


def book(at: int, *levels: tuple[int, int, int], snapshot: bool = False, lag: int = 0) -> BookMessage:
    return BookMessage(0, START + at + lag, START + at, levels, snapshot)


def first_book(at: int = 0) -> BookMessage:
    return book(at, (1, 100, 10), (1, 99, 20), (-1, 101, 5), (-1, 102, 7), snapshot=True)


def trade(at: int, side: int, ticks: int, lots: int) -> Trade:
    return Trade(0, START + at, START + at, side, ticks, lots)


def play(events: list[Event], *lines: tuple[Any, ...], **settings: Any) -> Simulation:
    """Run a script on one instrument; a harmless last mark keeps the timers alive."""
    last = Mark(0, START + 10_000, START + 10_000, 10 * 10**8)
    settings.setdefault("tick", Fraction(1, 10))
    sim = Simulation([*events, last], [Market(**settings)], Script(*lines)).run()
    sim.check()
    return sim


def told(sim: Simulation) -> list[tuple[Any, ...]]:
    """(order, status, request, exec lots, exec ticks, reason) in the order in which it was seen."""
    return [(r.order_id, r.status, r.request, r.exec_lots, r.exec_ticks, r.reason) for _, r in sim.seen]


def test_a_market_order_walks_the_book_and_the_rest_expires() -> None:
    sim = play([first_book()], (10, "submit", 0, 1, 20, {"kind": "market"}))
    assert told(sim) == [
        (1, "partly-filled", "new", 5, 101, ""),
        (1, "partly-filled", "", 7, 102, ""),
        (1, "expired", "", 0, 0, "no-liquidity"),
    ]
    assert sim.venues[0].account.position == 12


def test_taken_liquidity_stays_taken_until_the_level_is_updated() -> None:
    lines = [(at, "submit", 0, 1, 4, 101, {"tif": "IOC"}) for at in (10, 20, 40)]
    sim = play([first_book(), book(30, (-1, 101, 3))], *lines)
    assert [r.filled for _, r in sim.seen if r.status in ("filled", "expired")] == [4, 1, 3]


def test_one_print_is_one_quantity_at_one_price() -> None:
    sim = play(
        [first_book(), trade(50, -1, 100, 13)],
        (10, "submit", 0, 1, 2, 100),
        (11, "submit", 0, 1, 2, 100),
    )
    fills = [(r.order_id, r.exec_lots) for _, r in sim.seen if r.exec_lots]
    assert fills == [(1, 2), (2, 1)]


def test_full_gives_every_order_the_whole_print() -> None:
    sim = play(
        [first_book(), trade(50, -1, 100, 11)],
        (10, "submit", 0, 1, 2, 100),
        (11, "submit", 0, 1, 2, 100),
        execution="full",
    )
    assert [(r.order_id, r.exec_lots) for _, r in sim.seen if r.exec_lots] == [(1, 2), (2, 2)]


def test_a_decrease_keeps_the_place_and_an_increase_loses_it() -> None:
    lines = (
        (10, "submit", 0, 1, 5, 100),
        (11, "submit", 0, 1, 5, 100),
        (20, "modify", 1, 3, 100),
        (21, "modify", 2, 9, 100),
    )
    sim = play([first_book(), trade(15, -1, 100, 8), trade(30, -1, 100, 4)], *lines)
    assert [(r.order_id, r.exec_lots) for _, r in sim.seen if r.exec_lots] == [(1, 2)]
    assert sim.at_venue[2].front == 6.0


def test_an_increase_after_a_partial_fill_executes_the_new_remainder() -> None:
    sim = play(
        [first_book(), trade(15, -1, 100, 12), trade(30, -1, 99, 1)],
        (10, "submit", 0, 1, 5, 100),
        (20, "modify", 1, 9, 100),
    )
    assert [r.exec_lots for _, r in sim.seen if r.exec_lots] == [2, 7]
    assert sim.at_venue[1].filled == 9


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ({"ticks": 101, "post_only": True}, "rejected", "post-only-would-cross"),
        ({"ticks": 102, "tif": "FOK", "lots": 13}, "expired", "no-liquidity"),
        ({"ticks": 100, "tif": "IOC"}, "expired", "no-liquidity"),
        ({"ticks": 100, "reduce_only": True}, "rejected", "reduce-only"),
        ({"ticks": 100, "tif": "GTD", "expire_us": START + 5}, "expired", "expired"),
        ({"ticks": 100, "tif": "GTD", "expire_us": START + 500}, "expired", "expired"),
    ],
)
def test_how_an_order_ends_unfilled(how: dict[str, Any], status: str, reason: str) -> None:
    lots = how.pop("lots", 2)
    sim = play([first_book()], (10, "submit", 0, 1, lots, how))
    assert (sim.seen[-1][1].status, sim.seen[-1][1].reason, sim.seen[-1][1].filled) == (status, reason, 0)


def test_self_trade_policies() -> None:
    lines = ((10, "submit", 0, -1, 2, 102), (20, "submit", 0, 1, 9, 102))
    newest = play([first_book()], *lines)
    assert told(newest)[1:] == [(2, "partly-filled", "new", 5, 101, ""), (2, "cancelled", "", 0, 0, "self-trade")]
    oldest = play([first_book()], *lines, self_trade="cancel-oldest")
    assert (1, "cancelled", "", 0, 0, "self-trade") in told(oldest)
    assert oldest.at_venue[2].filled == 9
    allowed = play([first_book()], *lines, self_trade="allow")
    assert (allowed.at_venue[2].filled, allowed.at_venue[1].filled) == (9, 0)


@pytest.mark.parametrize(("policy", "outcome"), [("reject", "rejected"), ("hold", "filled")])
def test_an_order_in_a_gap(policy: str, outcome: str) -> None:
    gap = Gap(0, START + 5, START + 5)
    again = book(30, (1, 100, 1), (-1, 101, 9), snapshot=True)
    sim = play([first_book(), gap, again], (10, "submit", 0, 1, 4, 101), on_gap=policy)
    assert [r.status for _, r in sim.seen] == [outcome]
    assert sim.seen[0][1].request == "new"


def test_a_resting_order_survives_a_gap_with_a_shorter_queue() -> None:
    gap = Gap(0, START + 20, START + 20)
    again = book(40, (1, 100, 3), (-1, 101, 9), snapshot=True)
    events = [first_book(), gap, trade(30, -1, 100, 4), book(35, (-1, 100, 5)), again, trade(50, -1, 100, 4)]
    sim = play(events, (10, "submit", 0, 1, 4, 100))
    assert [(r.exec_lots, r.front) for _, r in sim.seen if r.exec_lots] == [(1, 3.0)]


def test_stops_and_trailing_stops() -> None:
    lines = (
        (10, "submit", 0, 1, 1, {"kind": "stop-market", "stop_ticks": 103}),
        (11, "submit", 0, -1, 1, {"kind": "trailing-stop", "trail": 2}),
        (12, "submit", 0, -1, 1, 100, {"kind": "stop-limit", "stop_ticks": 9, "trigger": "mark"}),
    )
    prints = [trade(at, 1, ticks, 1) for at, ticks in ((20, 101), (30, 103), (40, 102), (50, 101))]
    sim = play([first_book(), *prints], *lines)
    fills = [(r.venue_us - START, r.order_id, r.exec_ticks) for _, r in sim.seen if r.exec_lots]
    assert fills == [(30, 1, 101), (50, 2, 100)]
    assert sim.at_venue[3].filled == 0


def test_table_latency_interpolates_and_negative_entry_rejects() -> None:
    trips = ((START, START + 100, START + 150), (START + 1000, START + 1300, START + 1400))
    sim = play([first_book()], (500, "submit", 0, 1, 1, 99), latency=Table(trips))
    assert [(now - START, r.venue_us - START) for now, r in sim.seen] == [(700 + 75, 700)]
    refused = play([first_book()], (500, "submit", 0, 1, 1, 99), latency=Constant(-70, 5))
    assert [(now - START, r.status, r.reason) for now, r in refused.seen] == [(570, "rejected", "venue-rejected")]


def test_requests_do_not_overtake() -> None:
    trips = ((START, START + 900, START + 900), (START + 10, START + 12, START + 12))
    lines = ((0, "submit", 0, 1, 1, 99), (10, "submit", 0, 1, 1, 98))
    sim = play([first_book()], *lines, latency=Table(trips))
    assert [(r.order_id, r.venue_us - START) for _, r in sim.seen] == [(1, 900), (2, 900)]


def test_funding_is_paid_to_the_last_digit() -> None:
    rate, mark = 12_345, 6_180_012_345_678
    events = [
        first_book(),
        Mark(0, START + 1, START + 1, mark),
        Funding(0, START + 2, START + 2, rate, START + 5_000),
    ]
    sim = play(events, (10, "submit", 0, 1, 5, 101), lot=Fraction(1, 1000))
    assert sim.settled == [(START + 5_000, 0, Fraction(5 * mark * rate, 1000 * 10**16))]
    assert sim.accounts[0].funding == sim.settled[0][2]


def test_inverse_profit_is_the_published_formula() -> None:
    events = [first_book(), book(100, (1, 100, 0), (1, 99, 0), (-1, 101, 0), (1, 120, 9), (-1, 121, 9))]
    sim = play(
        events,
        (10, "submit", 0, 1, 5, 101),
        (200, "submit", 0, -1, 5, 120),
        payoff="inverse",
        multiplier=Fraction(100),
        lot=Fraction(1),
    )
    account = sim.venues[0].account
    assert account.position == 0
    assert account.realised == account.cash == 5 * 100 * (1 / Fraction("10.1") - 1 / Fraction(12))


def test_spot_cannot_sell_what_it_does_not_hold() -> None:
    lines = ((10, "submit", 0, -1, 1, 100), (20, "submit", 0, 1, 3, 101), (30, "submit", 0, -1, 4, 105))
    assert [r.reason for _, r in play([first_book()], *lines, payoff="spot").seen] == [
        "insufficient-margin", "", "insufficient-margin",
    ]  # fmt: skip


class Noise(Driver):
    """Random requests at random moments."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def on_start(self, sim: Simulation) -> None:
        for at in range(0, 60_000, 37):
            sim.timer(START + at)

    def on_timer(self, sim: Simulation, tag: Any) -> None:
        sim.check()
        rng = self.random
        kind = rng.choice(["limit"] * 6 + ["market", "stop-market", "stop-limit", "trailing-stop"])
        open_ids = [order.id for order in sim.orders.values() if not order.over]
        dice = rng.random()
        if dice < 0.45 or not open_ids:
            how: dict[str, Any] = {"kind": kind, "post_only": kind == "limit" and rng.random() < 0.3}
            how["tif"] = rng.choice(["GTC", "GTC", "IOC", "FOK", "GTD"])
            if how["post_only"]:
                how["tif"] = "GTC"
            how |= {"expire_us": sim.now + rng.randrange(2_000), "reduce_only": rng.random() < 0.1}
            how |= {"stop_ticks": rng.randrange(95, 106), "trail": rng.randrange(1, 4)}
            how["trigger"] = rng.choice(["last", "mark", "touch"])
            sim.submit(rng.randrange(2), rng.choice([1, -1]), rng.randrange(1, 12), rng.randrange(95, 106), **how)
        elif dice < 0.7:
            sim.cancel(rng.choice(open_ids))
        else:
            sim.modify(rng.choice(open_ids), rng.randrange(1, 14), rng.randrange(95, 106))


def random_events(rng: random.Random, instrument: int) -> list[Event]:
    """A wandering book, always uncrossed, with prints, gaps, marks and funding."""
    middle, exch, events = 100, START, []
    shadow: dict[tuple[int, int], int] = {}
    for step in range(900):
        exch += rng.randrange(0, 130)
        ts = exch + rng.randrange(0, 60)
        dice = rng.random()
        middle += rng.choice([-1, 0, 0, 0, 0, 1]) if 96 < middle < 104 else (1 if middle <= 96 else -1)
        if step == 0 or dice < 0.02:
            shadow = {(s, middle - s * k): rng.randrange(1, 20) for s in (1, -1) for k in range(1, 6)}
            levels = tuple((s, t, lots) for (s, t), lots in shadow.items())
            events.append(BookMessage(instrument, ts, exch, levels, True, instrument))
        elif dice < 0.05:
            events.append(rng.choice([Gap(instrument, ts, exch, instrument),
                                      Mark(instrument, ts, exch, middle * 10**7 + rng.randrange(10**6), instrument),
                                      Funding(instrument, ts, exch, rng.randrange(-9999, 9999),
                                              exch // 5000 * 5000 + 5000, instrument)]))  # fmt: skip
        elif dice < 0.4:
            side = rng.choice([1, -1])
            events.append(Trade(instrument, ts, exch, side, middle + side * rng.choice([0, 1, 1, 2]),
                                rng.randrange(1, 25), instrument))  # fmt: skip
        else:
            gone = {(s, t): 0 for s, t in shadow if (middle - t) * s <= 0}
            moved = {(s, middle - s * rng.randrange(1, 6)): rng.randrange(0, 20) for s in (1, -1)}
            changes = gone | moved
            shadow = {key: lots for key, lots in (shadow | changes).items() if lots}
            levels = tuple((s, t, lots) for (s, t), lots in changes.items())
            events.append(BookMessage(instrument, ts, exch, levels, False, instrument))
    return events


LATENCIES = [Constant(), Constant(120, 45), FeedProportional(5, 5, 1.5, 0.5)]


@pytest.mark.parametrize("execution", ["full", "partial"])
@pytest.mark.parametrize("queue", QUEUES)
def test_conservation_on_random_flow(queue: str, execution: str) -> None:
    """Whatever is asked of the venue, every request is answered once and every lot and coin is accounted for."""
    for seed in range(3):
        rng = random.Random(f"{queue} {execution} {seed}")
        events: list[Event] = sorted(random_events(rng, 0) + random_events(rng, 1), key=lambda e: (e.ts, e.rank))
        common: dict[str, Any] = {
            "queue": Queue(queue, rng.choice([1.0, 2.0, 3.5])),
            "execution": execution,
            "latency": LATENCIES[seed],
            "on_gap": rng.choice(["hold", "reject"]),
            "self_trade": rng.choice(["cancel-newest", "cancel-oldest", "allow"]),
            "fees": Fees(Fraction(-1, 10_000), Fraction(5, 10_000)),
        }
        markets = [Market(**common), Market(**common, payoff="inverse", multiplier=Fraction(10), lot=Fraction(1))]
        sim = Simulation(events, markets, Noise(seed)).run()
        sim.check()
        assert sum(r.exec_lots > 0 for _, r in sim.seen) > 60
        assert_conserved(sim, execution, events)


def assert_conserved(sim: Simulation, execution: str, events: list[Event]) -> None:
    asked = Counter(sim.orders.keys())
    answered = Counter(r.order_id for _, r in sim.seen if r.request == "new")
    unanswered = [order for order in sim.orders.values() if order.pending]
    held = sum(order.pending == "new" for order in unanswered)
    assert sum(asked.values()) == sum(answered.values()) + held
    assert max(answered.values()) == 1
    assert not unanswered or all(market.on_gap == "hold" for market in sim.markets)
    for k, venue in enumerate(sim.venues):
        assert venue.account == sim.accounts[k], "what we were told is what happened, once all answers are in"
        reports = [r for _, r in sim.seen if sim.orders[r.order_id].instrument == k]
        assert venue.account.volume == sum(r.exec_lots for r in reports)
        assert venue.account.fees == sum(r.fee for r in reports)
        if execution == "partial":
            assert_prints_suffice(k, reports, sim, events)
    assert all(r.venue_us <= now for now, r in sim.seen)


def assert_prints_suffice(k: int, reports: list[Report], sim: Simulation, events: list[Event]) -> None:
    """At one price and venue time, executions in the queue never exceed what was printed there."""
    printed: Counter[tuple[int, int, int]] = Counter()
    for event in events:
        if isinstance(event, Trade) and event.instrument == k:
            printed[event.exch_ts, -event.side, event.ticks] += event.lots
    got: Counter[tuple[int, int, int]] = Counter()
    for r in reports:
        if r.cause == "queue":
            got[r.venue_us, sim.orders[r.order_id].side, r.exec_ticks] += r.exec_lots
    assert all(lots <= printed[key] for key, lots in got.items())
