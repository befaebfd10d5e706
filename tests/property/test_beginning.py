"""Where a run begins does not depend on how its input is cut into batches.

In order of receipt the first message need not be the first at the venue: what is received up to the horizon later may
have happened before.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.live.order import Order
from replay import Context, Instrument, Replay, Result, Strategy
from replay.context import Book, Timer
from replay.events import LAST
from replay.sources import ArraySource
from replay.testing import synthetic_events

X = Instrument("test", "X", "linear", Decimal("0.1"), Decimal("0.001"))
MARKET = synthetic_events([X], seed=4, messages=60)
FIRST_US, LAST_US = int(MARKET["ts"][0]), int(MARKET["ts"][-1])
UNCUT = 10_000
LATENCIES = st.lists(st.integers(0, 300_000), min_size=6, max_size=6)


class Quoter(Strategy):
    """Trades a little, and notes what it sees at its start."""

    def on_start(self, ctx: Context) -> None:
        ctx.every(50_000)
        ctx.record("started", ctx.now)
        ctx.record("bid", ctx.book(0).bid_ticks if ctx.book(0).ready else -1)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        if ctx.book(0).ready:
            ctx.cancel_all(0)
            ctx.buy(0, 1, ticks=ctx.book(0).ask_ticks)

    def on_book(self, ctx: Context, book: Book) -> None:
        ctx.record("books", float(ctx.now))


def feed(latencies: list[int], window_us: int, instrument: Instrument) -> ArraySource:
    """The market as a live feed with these latencies, one message after the other, hands it out."""
    events = MARKET.copy()
    message = np.concatenate([[0], np.cumsum(events["flags"][:-1] & LAST > 0)])
    events["exch_ts"] = events["ts"] - np.array(latencies)[message % len(latencies)]
    Order(window_us).apply(events)
    source = ArraySource(events, [instrument])
    source.horizon_us = window_us
    return source


def run(sources: list[ArraySource], rows: int, start: int | None) -> Result:
    return Replay(sources, start=start, batch_rows=rows).run(Quoter())


@settings(max_examples=60, deadline=None)
@given(
    latencies=st.lists(LATENCIES, min_size=1, max_size=2), window_us=st.sampled_from([1, 20_000, 250_000]),
    rows=st.sampled_from([1, 2, 3, 7, 40]), start=st.none() | st.integers(FIRST_US - 300_000, LAST_US),
)  # fmt: skip
@example(latencies=[[100, 90_000, 0, 0, 0, 0]], window_us=250_000, rows=1, start=None)
@example(latencies=[[100, 90_000, 0, 0, 0, 0]], window_us=250_000, rows=1, start=FIRST_US - 50_000)
def test_cutting_does_not_move_the_beginning(
    latencies: list[list[int]], window_us: int, rows: int, start: int | None
) -> None:
    """With any latencies, window and start, small batches give the run that one large batch gives."""
    markets = [Instrument("test", name, "linear", X.tick, X.lot) for name in "AB"]
    sources = [feed(mine, window_us, market) for mine, market in zip(latencies, markets)]
    whole, cut = run(sources, UNCUT, start), run(sources, rows, start)
    earliest = min(int(source.events["exch_ts"].min()) for source in sources)
    assert whole.first_us == max(earliest, start or 0)
    assert cut.first_us == whole.first_us
    assert cut.digest == whole.digest
    assert (cut.last_us, cut.summary()) == (whole.last_us, whole.summary())
