"""The shell around the machine: stepping, growing, ending."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from replay import ConfigError, ConstantLatency, Context, Instrument, Replay, Result, Strategy
from replay.context import Book, Timer, Trade
from replay.events import BOOK, CLEAR, LAST, SNAPSHOT, empty_events
from replay.kernel.agenda import agenda_check
from replay.kernel.book import book_check
from replay.sources import ArraySource
from replay.testing import synthetic_events
from replay.units import US_PER_S, iso_from_us

X = Instrument("test", "X", "linear", Decimal("0.1"), Decimal("0.001"))


class Counts(Strategy):
    trades: int = 0

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        self.trades += 1


class Floods(Strategy):
    """Rests a few hundred orders at each turn, far from the touch, and cancels half of them later."""

    turn: int = 0

    def on_start(self, ctx: Context) -> None:
        ctx.every(200_000)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        self.turn += 1
        book = ctx.book(0)
        if not book.ready:
            return
        if self.turn == 6:
            for order in ctx.orders(0)[::2]:
                ctx.cancel(order.id)
        elif self.turn < 6:
            for k in range(300):
                ctx.buy(0, 1, ticks=book.bid_ticks - 200 - k % 150, post_only=True)
                ctx.sell(0, 1, ticks=book.ask_ticks + 200 + k % 150, post_only=True)
        else:
            ctx.send(0, 1 if self.turn % 2 else -1, 5)


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    return synthetic_events([X], seed=21, messages=1_500)


def test_stepping_by_hand_is_the_same_run(events: np.ndarray) -> None:
    replay = Replay(events, instruments=[X])
    strategy = Counts()
    session = replay.session(strategy)
    with pytest.raises(ConfigError, match="the run is not over"):
        session.results()
    steps = 0
    while session.step():
        steps += 1
        assert strategy.trades == steps - 1  # the first step is the start
    assert strategy.trades > 50
    assert not session.step()
    assert session.results()[0].digest == replay.run(Counts()).digest


def test_thousands_of_orders_make_the_arena_grow_and_change_nothing_else(events: np.ndarray) -> None:
    replay = Replay(events, instruments=[X], batch_rows=64)
    session = replay.session(Floods())
    before = len(session.arena["orders"])
    session.run()
    result = session.results()[0]
    arena = session.arena
    assert len(arena["orders"]) > before
    assert agenda_check(arena["run"], arena["heap"], arena["items"]) == 0
    assert all(book_check(arena["books"], arena["cells"], b) == 0 for b in range(4))
    part = result.summary_by_instrument[0]
    assert part.submitted > 2_400
    answers = result.orders[result.orders["answer"] == 1]
    over = np.unique(answers["order_id"][answers["status"] >= 3])
    assert int((answers["status"] == 4).sum()) > 1_000
    assert result.open_orders == part.submitted - len(over) > 1_000
    assert result.digest == Replay(events, instruments=[X]).run(Floods()).digest


class Sweeps(Strategy):
    """Buys the whole ask side at once."""

    lots: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        if self.lots == 0:
            self.lots = len(book.depth(-1, 100_000)[0])
            ctx.buy(0, self.lots)


@pytest.mark.parametrize("consume", [True, False])
def test_an_order_may_take_thousands_of_levels(consume: bool) -> None:
    """Pools and logs get room for a fill a level before the order is judged."""
    levels = 9_000
    rows = empty_events(levels + 2)
    rows["kind"], rows["qty"] = BOOK, 1
    rows["flags"][:-1], rows["flags"][0], rows["flags"][-2:] = SNAPSHOT, SNAPSHOT | CLEAR, (SNAPSHOT | LAST, LAST)
    rows["side"], rows["side"][0], rows["side"][-1] = -1, 1, 0
    rows["price"] = 1_000 + np.arange(levels + 2)
    rows["ts"][-1] = rows["exch_ts"][-1] = US_PER_S
    latency = ConstantLatency(entry=1_000, response=1_000)
    replay = Replay(rows, instruments=[X], execution="partial", consume=consume, latency=latency)
    fills = replay.run(Sweeps()).fills
    assert fills["ticks"].tolist() == list(range(1_001, 1_001 + levels))
    assert set(fills["lots"].tolist()) == {1}


def test_a_small_window_grows_for_a_late_message(events: np.ndarray) -> None:
    late = events.copy()
    late["exch_ts"] = np.maximum(late["exch_ts"] - 400_000, 0)
    wide = Replay(late, instruments=[X], batch_rows=8)
    assert wide.sources[0].horizon_us > 400_000
    assert wide.run(Counts()).digest == Replay(late, instruments=[X]).run(Counts()).digest


def test_a_run_needs_a_strategy_instance(events: np.ndarray) -> None:
    replay = Replay(events, instruments=[X])
    with pytest.raises(ConfigError, match="register at least one"):
        replay.session([])
    with pytest.raises(ConfigError, match="is not a Strategy instance"):
        replay.run(Counts)  # type: ignore[arg-type]


def test_an_instance_cannot_take_part_twice(events: np.ndarray) -> None:
    replay, one = Replay(events, instruments=[X]), Counts()
    with pytest.raises(ConfigError, match="twice"):
        replay.run([one, Counts(), one])
    assert replay.run(one).digest, "the refused run has not used it up"


def test_progress_counts_every_row(events: np.ndarray) -> None:
    calls: list[tuple[int, int, int]] = []
    Replay(events, instruments=[X], batch_rows=256, progress=lambda *facts: calls.append(facts)).run(Counts())
    assert calls[-1][0] == len(events)
    assert [c[0] for c in calls] == sorted(c[0] for c in calls)


class Trades(Strategy):
    """From `from_us` on: two orders at each touch every 20 ms of the clock, a market order now and then."""

    from_us: int = 0
    started_us: int = 0
    seen: int = 0
    book_at_start: tuple[int, ...] = ()

    def on_start(self, ctx: Context) -> None:
        self.started_us = ctx.now
        book = ctx.book()
        if book.ready:
            self.book_at_start = (book.bid_ticks, book.bid_lots, book.ask_ticks, book.ask_lots)
        ctx.every(20_000)

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        self.seen += 1

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        book = ctx.book()
        if ctx.now < self.from_us or not book.ready:
            return
        ctx.cancel_all()
        ctx.buy(0, 3, book.bid_ticks, post_only=True)
        ctx.sell(0, 3, book.ask_ticks, post_only=True)
        if ctx.now % 100_000 == 0:
            ctx.send(0, 1 if ctx.position() <= 0 else -1, 2)


class Hoards(Strategy):
    """Buys more than there is money for in the world."""

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        ctx.buy(0, 1 << 40)


@pytest.mark.parametrize("mode", ["interpreted", "compiled"])
def test_sums_that_would_not_fit_end_the_run(events: np.ndarray, mode: str) -> None:
    """Orders so large that what was traded overflows give an error, and no money that is not true."""
    fine = Instrument("sim", "X", "linear", X.tick, X.lot / 10**6)
    with pytest.raises(ConfigError, match=r"X\.lot.*does not fit 64 bits.*smaller orders"):
        Replay(events, instruments=[fine], execution="full").run(Hoards(), mode=mode)


def trading(events: np.ndarray, strategy: Strategy, **settings: object) -> Result:
    replay = Replay(events, instruments=[X], latency=ConstantLatency(900, 700), sample_us=100_000, **settings)  # type: ignore[arg-type]
    return replay.run(strategy)


@pytest.fixture(scope="module")
def gappy() -> np.ndarray:
    return synthetic_events([X], seed=5, messages=2_000, gap_every=300, derivatives=True)


@pytest.mark.parametrize("batch_rows", [50, 32_768])
def test_a_run_from_the_middle_trades_like_one_that_waited(gappy: np.ndarray, batch_rows: int) -> None:
    """Books, queues and marks are the same, so the fills are; before the start there is nothing at all."""
    start = int(gappy["ts"][len(gappy) // 2]) // 20_000 * 20_000
    waited = trading(gappy, Trades(from_us=start))
    strategy = Trades()
    result = trading(gappy, strategy, start=start, batch_rows=batch_rows)
    assert len(result.fills) > 30
    assert result.fills.tobytes() == waited.fills.tobytes()
    assert result.orders.tobytes() == waited.orders.tobytes()
    assert strategy.started_us == result.first_us == start
    assert result.equity.tobytes() == waited.equity[waited.equity["ts"] >= start].tobytes()
    before = gappy[gappy["ts"] < start]
    assert 0 < strategy.seen == int((gappy["kind"] == 2).sum() - (before["kind"] == 2).sum())
    assert result.last_us == waited.last_us
    assert result.summary_by_instrument[0].gaps < waited.summary_by_instrument[0].gaps
    assert result.summary_by_instrument[0].blind_us < waited.summary_by_instrument[0].blind_us


def test_on_start_sees_the_book_and_not_the_event_of_that_moment(events: np.ndarray) -> None:
    first = int(np.flatnonzero((events["kind"] == 1) & (events["flags"] & 3 == 1))[300])
    start = int(events["ts"][first])
    strategy = Trades(from_us=2**62)
    trading(events, strategy, start=start)
    session = Replay(events[events["ts"] < start], instruments=[X]).session(Trades(from_us=2**62))
    session.run()
    book = session.books[0]
    assert strategy.book_at_start == (book.bid_ticks, book.bid_lots, book.ask_ticks, book.ask_lots)


@pytest.mark.parametrize("batch_rows", [50, 32_768])
def test_an_end_is_where_the_recording_stops(gappy: np.ndarray, batch_rows: int) -> None:
    end = int(gappy["ts"][len(gappy) // 2])
    cut = trading(gappy[gappy["ts"] <= end], Trades())
    ended = trading(gappy, Trades(), end=iso_from_us(end), batch_rows=batch_rows)
    assert ended.digest == cut.digest
    assert ended.last_us == cut.last_us and ended.rows == cut.rows == int((gappy["ts"] <= end).sum())


def test_a_piece_of_two_sources_and_its_warm_up(gappy: np.ndarray) -> None:
    start, end = int(gappy["ts"][700]), int(gappy["ts"][-700])
    books = gappy["kind"] == 1
    apart = [ArraySource(gappy[books], [X], "books"), ArraySource(gappy[~books], [X], "others")]
    settings = {"start": start, "end": end, "warm_up_us": US_PER_S // 10}
    two = Replay(apart, latency=ConstantLatency(900, 700), sample_us=100_000, **settings).run(Trades())  # type: ignore[arg-type]
    one = trading(gappy, Trades(), **settings)
    assert two.fills.tobytes() == one.fills.tobytes() and len(two.fills) > 10
    assert two.refusals["warm-up"] > 0
    assert two.orders["local_ts"].min() >= start + US_PER_S // 10
    assert two.settings["start_us"] == start and two.settings["end_us"] == end


def test_a_start_before_the_recording_is_its_beginning(events: np.ndarray) -> None:
    assert trading(events, Trades(), start=0, end="2500-01-01T00:00Z").digest == trading(events, Trades()).digest


def test_times_that_make_no_piece(events: np.ndarray) -> None:
    first, last = int(events["ts"][0]), int(events["ts"][-1])
    with pytest.raises(ConfigError, match=r"start=.*has no time zone; write 2024-08-08T00:00:00Z"):
        Replay(events, instruments=[X], start="2024-08-08")
    with pytest.raises(ConfigError, match=r"end=.*is not a date"):
        Replay(events, instruments=[X], end="later")
    with pytest.raises(ConfigError, match="is after end="):
        Replay(events, instruments=[X], start=last, end=first)
    for start in (last + 1, last + 2, "2400-01-01T00:00Z"):
        with pytest.raises(ConfigError, match=f"lies after the last event, {iso_from_us(last)}"):
            trading(events, Trades(), start=start)
    with pytest.raises(ConfigError, match="lies before the first event"):
        trading(events, Trades(), end=first - 1)
