"""Books and prices read again: as an independent look at the same rows says, only from the same data."""

from __future__ import annotations

import base64
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay import ConfigError, Instrument, Replay, Result, Strategy
from replay.events import BOOK, CLEAR, GAP, LAST, SNAPSHOT, TRADE
from replay.report import depth
from replay.sources import ArraySource
from replay.testing import synthetic_events
from replay.units import US_PER_S

COINS = [Instrument("test", name, "linear", Decimal("0.1"), Decimal("0.001")) for name in "AB"]


class Joiner(Strategy):
    """Rests at the touch of the second instrument."""

    def on_book(self, ctx: Any, book: Any) -> None:
        if book.instrument == 1 and book.ready and not self.sent:
            ctx.buy(1, 2, book.bid_ticks, post_only=True)
            self.sent = 1

    sent: int = 0


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    """Two markets with gaps, about 40 s."""
    return synthetic_events(COINS, seed=4, messages=20_000, gap_every=60, mean_step_us=4_000)


@pytest.fixture(scope="module")
def replay_of(events: np.ndarray) -> Replay:
    return Replay(events, instruments=COINS)


@pytest.fixture(scope="module")
def found(replay_of: Replay) -> Result:
    done = replay_of.run(Joiner())
    assert len(done.fills) > 0
    return done


def book_at(events: np.ndarray, i: int, time_us: int) -> dict[tuple[int, int], int] | None:
    """(side, ticks) to lots of what was received up to a time, the slow and obvious way; None while not valid."""
    levels: dict[tuple[int, int], int] = {}
    valid = False
    for row in events[(events["instrument"] == i) & (events["ts"] <= time_us)]:
        if row["kind"] == GAP:
            valid = False
        if row["kind"] != BOOK or not (valid or row["flags"] & SNAPSHOT):
            continue
        if row["flags"] & CLEAR:
            levels.clear()
        if row["side"]:
            levels[int(row["side"]), int(row["price"])] = int(row["qty"])
        if row["flags"] & SNAPSHOT and row["flags"] & LAST:
            valid = True
    return {key: lots for key, lots in levels.items() if lots} if valid else None


@pytest.mark.parametrize("batch_rows", [37, 100_000])
def test_columns_are_the_books_of_their_times(found: Result, events: np.ndarray, batch_rows: int) -> None:
    middle = (found.first_us + found.last_us) // 2
    columns = [depth.Columns.around(depth.Moment(middle + k * 900_000, i, "x")) for k, i in enumerate((1, 0, 1))]
    reader = depth._Reader(2, [0, 1], columns)
    for batch in ArraySource(events, COINS).batches(batch_rows):
        reader.feed(batch)
    reader.finish()
    unknown = 0
    for each in columns:
        assert len(each.books) == len(each.times) == depth.COLUMNS
        for time_us, book in list(zip(each.times.tolist(), each.books))[::16]:
            expected = book_at(events, each.moment.instrument, time_us)
            unknown += expected is None
            if book is None:
                assert expected is None or len({side for side, _ in expected}) < 2
                continue
            assert expected == {
                (side, ticks): lots for side, k in ((1, 0), (-1, 2))
                for ticks, lots in zip(book[k].tolist(), book[k + 1].tolist())
            }  # fmt: skip
    assert unknown > 0, "some columns lie in a gap"


def test_a_heat_map_holds_all_lots_in_its_range(found: Result, replay_of: Replay, events: np.ndarray) -> None:
    time_us = found.first_us + 10 * US_PER_S
    (columns,) = depth.reread(found, replay_of, [depth.Moment(time_us, 1, "why")]).columns
    heat = depth.heat_map(columns, found)
    assert heat is not None and (heat["why"], heat["instrument"]) == ("why", "test:B")
    lots = np.frombuffer(base64.b64decode(heat["lots"]), "<f4").reshape(depth.ROWS, depth.COLUMNS)
    for k in range(0, depth.COLUMNS, 24):
        book = book_at(events, 1, int(columns.times[k]))
        if book is None:
            assert np.isnan(lots[:, k]).all() and heat["touch"][k] is None
            continue
        top = heat["low"] + depth.ROWS * heat["each"]
        assert lots[:, k].sum() == sum(n for (_, ticks), n in book.items() if heat["low"] <= ticks < top)
        bid, ask = max(t for s, t in book if s > 0), min(t for s, t in book if s < 0)
        assert heat["touch"][k] == [bid, ask] and heat["low"] <= bid < ask < top
    assert all(0 <= a <= b <= heat["span"] for a, b, _, _ in heat["quotes"])


def test_own_quotes_last_from_one_answer_to_the_next(found: Result) -> None:
    rows = found.orders[(found.orders["answer"] == 1)]
    first, last = found.first_us, found.last_us
    quotes = depth._quotes(found, 1, first, last + 1)
    assert quotes[0][0] == int(rows["local_ts"][0]) - first and quotes[0][2:] == [int(rows["ticks"][0]), 1]
    ended = rows["local_ts"][1] if len(rows) > 1 else last
    assert quotes[0][1] == int(ended) - first
    assert depth._quotes(found, 0, first, last) == []


def test_prices_are_the_trades(found: Result, replay_of: Replay, events: np.ndarray) -> None:
    again = depth.reread(found, replay_of, [])
    traded = set(found.fills["instrument"].tolist())
    assert set(again.trades) == traded
    for i in traded:
        rows = events[(events["kind"] == TRADE) & (events["instrument"] == i)]
        rows = rows[np.argsort(rows["exch_ts"], kind="stable")]
        rows = rows[(rows["exch_ts"] >= found.first_us) & (rows["exch_ts"] <= found.last_us)]
        ts, ticks = again.trades[i]
        assert ts.tolist() == rows["exch_ts"].tolist() and ticks.tolist() == rows["price"].tolist()


def test_many_trades_are_thinned_without_losing_an_extreme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "_MANY", 1_000)
    monkeypatch.setattr(depth, "MOST_BUCKETS", 50)
    seed = 8
    print(f"seed {seed}")
    rows = np.column_stack([np.arange(20_000) * 10, np.random.default_rng(seed).integers(0, 10**6, 20_000)])
    parts: list[np.ndarray] = []
    for start in range(0, len(rows), 130):
        parts = depth._appended(parts, rows[start : start + 130])
        assert sum(map(len, parts)) < 1_000
    ts, ticks = depth._path(parts)
    assert len(ts) <= 200 and (ticks.min(), ticks.max()) == (rows[:, 1].min(), rows[:, 1].max())
    assert (np.diff(ts) >= 0).all() and (ts[0], ts[-1]) == (0, rows[-1, 0])


def refusal(result: Result, replay: Replay) -> str:
    """Why `replay` is said to read other data than those of the result; "" when it is not."""
    try:
        depth.check_same_data(result, replay)
    except ConfigError as error:
        return error.problem
    return ""


def test_other_data_are_refused(result: Result, replay: Replay, replay_of: Replay) -> None:
    assert refusal(result, replay) == ""
    assert refusal(result, replay_of) == "lacks binance-usdm:BTCUSDT"
    other = replace(result, data={"f": "0" * 64})
    assert refusal(other, replay) == "is other data, by SHA-256, than the result was made from"
    assert refusal(replace(result, data={}), replay) == ""


def test_moments_lie_in_the_run_apart_and_have_a_reason(result: Result, found: Result) -> None:
    moments = depth.moments_of(result)
    assert 1 <= len(moments) <= 3 and len({moment.why for moment in moments}) == len(moments)
    half = depth.WINDOW_US // 2
    for moment in moments:
        assert result.first_us + half <= moment.time_us <= result.last_us - half and moment.instrument == 0
    times = sorted(moment.time_us for moment in moments)
    assert all(b - a > half for a, b in pairwise(times))
    assert depth.moments_of(replace(result, fills=result.fills[:0])) == []


def test_a_run_without_books_has_no_heat_map(found: Result) -> None:
    columns = depth.Columns.around(depth.Moment(found.first_us, 0, "x"))
    columns.books = [None] * depth.COLUMNS
    assert depth.heat_map(columns, found) is None


def test_pages_name_moments_by_time(result: Result, replay: Replay, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    result.to_html(path, replay=replay, moments=[result.first_us + 30 * US_PER_S, "2023-11-14T22:13:40Z"])
    text = path.read_text()
    assert "<b>2023-11-14 22:13:40.000 UTC</b>" in text and text.count('class="heat"') == 2
