"""What a strategy is told and may ask: names, units, refusals, errors."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from replay import (
    ConfigError,
    ConstantLatency,
    Context,
    Instrument,
    MakerTaker,
    Replay,
    Result,
    Strategy,
    StrategyError,
)
from replay.context import Book, Fill, Quote, Timer, Trade
from replay.events import BOOK, LAST, QUOTE, SNAPSHOT, TRADE
from replay.testing import synthetic_events

X = Instrument("test", "X", "linear", Decimal("0.1"), Decimal("0.001"))
Y = Instrument("test", "Y", "linear", Decimal("0.01"), Decimal(1))


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    return synthetic_events([X, Y], seed=9, messages=800)


def run(events: np.ndarray, at_timer: Callable[[Context], Any], times: int = 1) -> tuple[Result, list[Any]]:
    """Call `at_timer` at the first `times` ticks of a 100 ms timer once the first book is ready."""
    answers: list[Any] = []

    class Asks(Strategy):
        def on_start(self, ctx: Context) -> None:
            ctx.every(100_000)

        def on_timer(self, ctx: Context, timer: Timer) -> None:
            if ctx.book(0).ready and len(answers) < times:
                answers.append(at_timer(ctx))

    result = Replay(events, instruments=[X, Y]).run(Asks())
    assert len(answers) == times
    return result, answers


def test_events_carry_what_the_rows_say(events: np.ndarray) -> None:
    seen: dict[str, list[Any]] = {"trade": [], "quote": [], "book": []}

    class Notes(Strategy):
        def on_trade(self, ctx: Context, trade: Trade) -> None:
            seen["trade"].append(
                (trade.ts, trade.exch_ts, trade.seq, trade.ticks, trade.lots, trade.instrument, trade.side)
            )
            tick, lot = (X.tick, X.lot) if trade.instrument == 0 else (Y.tick, Y.lot)
            assert trade.price == float(trade.ticks * tick)
            assert trade.size == float(trade.lots * lot)
            assert ctx.now == trade.ts

        def on_quote(self, ctx: Context, quote: Quote) -> None:
            seen["quote"].append((quote.seq, quote.instrument, quote.bid_ticks, quote.bid_lots, quote.ask_ticks))

        def on_book(self, ctx: Context, book: Book) -> None:
            seen["book"].append(book.instrument)

    Replay(events, instruments=[X, Y]).run(Notes())
    trades = events[events["kind"] == TRADE]
    fields = ["ts", "exch_ts", "seq", "price", "qty", "instrument", "side"]
    assert seen["trade"] == [tuple(int(row[f]) for f in fields) for row in trades]
    asks = events[(events["kind"] == QUOTE) & (events["side"] < 0)]
    bids = events[(events["kind"] == QUOTE) & (events["side"] > 0)]
    assert seen["quote"] == [
        (int(a["seq"]), int(a["instrument"]), int(b["price"]), int(b["qty"]), int(a["price"]))
        for a, b in zip(asks, bids)
    ]
    ends = events[(events["kind"] == BOOK) & (events["flags"] & LAST != 0)]
    assert seen["book"] == ends["instrument"].tolist()
    assert (ends["flags"] & SNAPSHOT != 0).sum() >= 2


def test_timers_lie_on_whole_multiples_of_their_interval(events: np.ndarray) -> None:
    _, times = run(events, lambda ctx: ctx.now, times=5)
    assert all(time % 100_000 == 0 for time in times)
    assert np.diff(times).tolist() == [100_000] * 4


def test_depth_is_best_first_and_agrees_with_the_touch(events: np.ndarray) -> None:
    def look(ctx: Context) -> None:
        book = ctx.book(0)
        ticks, lots = book.depth(1, 4)
        assert len(ticks) == 4 and (np.diff(ticks) < 0).all() and (lots > 0).all()
        assert (ticks[0], lots[0]) == (book.bid_ticks, book.bid_lots)
        assert book.depth(-1, 1)[0][0] == book.ask_ticks
        assert book.mid == pytest.approx((book.bid_ticks + book.ask_ticks) / 20)
        assert book.spread_ticks == book.ask_ticks - book.bid_ticks

    run(events, look)


def test_orders_are_listed_until_they_are_over(events: np.ndarray) -> None:
    far = 500

    def act(ctx: Context) -> list[tuple[int, str, bool]]:
        if not ctx.orders(0):
            ctx.buy(0, 2, ticks=ctx.book(0).bid_ticks - far, tag=5)
        else:
            assert ctx.orders(0)[0].tag == 5
            ctx.cancel(ctx.orders(0)[0].id)
        return [(order.id, order.status, order.pending) for order in ctx.orders()]

    _, answers = run(events, act, times=3)
    assert answers[0] == [(1, "pending", True)]
    assert answers[1] == [(1, "live", True)]
    assert answers[2] == [(2, "pending", True)]


def test_refusals_have_names_and_are_counted(events: np.ndarray) -> None:
    def act(ctx: Context) -> list[str]:
        order = ctx.buy(0, 1, ticks=ctx.book(0).bid_ticks - 50)
        codes = [ctx.buy(0, 0), ctx.cancel(order), ctx.cancel(10_000), ctx.modify(77, 1, 1)]
        return [ctx.reason(code) for code in codes]

    result, answers = run(events, act)
    assert answers == [["off-lot", "pending", "unknown-order", "unknown-order"]]
    assert result.refusals == {"off-lot": 1, "pending": 1, "unknown-order": 2}


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"tif": "GTX", "ticks": 5}, "is not a time in force"),
        ({"post_only": True}, "needs a limit price"),
        ({"post_only": True, "ticks": 5, "tif": "IOC"}, "needs a limit price"),
        ({"ticks": 5, "expire_us": 3}, "goes with tif='GTD'"),
        ({"ticks": 5, "tif": "GTD"}, "GTD needs it"),
        ({"stop_ticks": 5, "trigger": "lost"}, "did you mean 'last'"),
        ({"trail_ticks": 0}, "must be positive"),
    ],
)
def test_contradicting_terms_stop_the_run(events: np.ndarray, terms: dict[str, Any], message: str) -> None:
    with pytest.raises(StrategyError, match=message) as caught:
        run(events, lambda ctx: ctx.buy(0, 1, **terms))
    assert isinstance(caught.value.__cause__, ConfigError)


def test_instruments_are_found_by_name(events: np.ndarray) -> None:
    _, answers = run(events, lambda ctx: (ctx.index("test:Y"), ctx.instruments[1].symbol))
    assert answers == [(1, "Y")]
    with pytest.raises(StrategyError, match="did you mean 'test:X'"):
        run(events, lambda ctx: ctx.index("test:XX"))


def test_recorded_values_come_back_with_their_times(events: np.ndarray) -> None:
    result, _ = run(events, lambda ctx: ctx.record("mid", ctx.book(0).mid), times=3)
    assert len(result.records["mid"]) == 3
    assert (np.diff(result.records["mid"]["ts"]) == 100_000).all()


def test_stop_ends_the_run(events: np.ndarray) -> None:
    result, _ = run(events, lambda ctx: ctx.stop())
    assert result.last_us < int(events["ts"][-1])
    assert result.rows < len(events)


@pytest.mark.parametrize("payoff", ["linear", "inverse"])
def test_money_that_we_have_heard_of(payoff: Any) -> None:
    """Cash, fees and turnover of two market orders, told by the fills that the strategy saw."""
    instrument = Instrument("test", "X", payoff, Decimal("0.1"), Decimal(1), Decimal(10))
    market = synthetic_events([instrument], seed=9, messages=800)
    told = {"cash": 0.0, "turnover": 0.0}

    class Trades(Strategy):
        def on_start(self, ctx: Context) -> None:
            ctx.every(100_000)

        def on_timer(self, ctx: Context, timer: Timer) -> None:
            if ctx.book().ready:
                ctx.send(0, 1 if ctx.position() <= 0 else -1, 2)
            assert ctx.cash() == pytest.approx(told["cash"]) and ctx.turnover() == pytest.approx(told["turnover"])
            assert ctx.fees() == pytest.approx(0.001 * told["turnover"])

        def on_fill(self, ctx: Context, fill: Fill) -> None:
            value = fill.lots * 10 * (fill.price if payoff == "linear" else 1 / fill.price)
            told["turnover"] += value
            told["cash"] += -fill.side * value if payoff == "linear" else fill.side * value

    latency = ConstantLatency(1_000, 1_000)
    Replay(market, instruments=[instrument], latency=latency, fees=MakerTaker(0, "0.001")).run(Trades())
    assert told["turnover"] > 0
