"""Live feeds against a small exchange on loopback: books, gaps, losses, refusals, and what the recording says after."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from adapters.capture import ADAPTER
from adapters.live.protocol import Limits
from adapters.live.source import LiveAdapter, LiveSource, Pace
from adapters.transports.websocket import Settings
from replay import Replay, Strategy, session
from replay.errors import ConfigError, TransportError
from replay.events import BOOK, GAP, SNAPSHOT, TRADE
from replay.kernel.advance import advance
from tests.adapters.live_exchange import Exchange

LIMIT_S = 60.0
PATIENT = Pace(max_rows=100_000_000, max_lag_us=3_600_000_000)
"""Conflates nothing, however slow the machine is."""
QUICK = Settings(first_wait_s=0.01, max_wait_s=0.05, spread_s=0.01, close_s=0.2)

PATIENT = Pace(max_rows=10_000_000, max_lag_us=10**12)
"""Nothing is conflated, however slow the machine is."""


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """Two symbols that move every few ms; afterwards no thread of ours is left."""
    with Exchange() as running:
        yield running
    assert [thread.name for thread in threading.enumerate() if thread.name.endswith(" live")] == []


def open_live(exchange: Exchange, *symbols: str, **options) -> LiveSource:
    """A source of symbols of the exchange."""
    venue = options.pop("venue", exchange.venue)
    options = {"settings": QUICK, "pace": PATIENT, **options}
    return LiveAdapter(venue).open(
        symbols or tuple(exchange.listings), now_ns=time.time_ns, random=Random(3), **options
    )


def read_until(source: LiveSource, *steps: Callable[[np.ndarray], bool]) -> np.ndarray:
    """All rows until each of `steps` in turn has said True of the rows so far; the source is then stopped."""
    parts: list[np.ndarray] = []
    left = list(steps)
    deadline = time.monotonic() + LIMIT_S
    for batch in source.batches():
        parts.append(batch.copy())
        if left and left[0](np.concatenate(parts)):
            left.pop(0)
        if not left:
            source.stop()
        assert time.monotonic() < deadline, (left, source.health, source.quality.lines())
    assert not left
    return np.concatenate(parts)


def snapshots_of(instrument: int, count: int) -> Callable[[np.ndarray], bool]:
    """Whether that many full books of an instrument have come, and a delta after the last."""

    def reached(rows: np.ndarray) -> bool:
        mine = rows[(rows["instrument"] == instrument) & (rows["kind"] == BOOK)]
        full = (mine["flags"] & SNAPSHOT) != 0
        begins = full & ~np.roll(full, 1) if len(full) else full
        return np.count_nonzero(begins) >= count and not full[-1]

    return reached


def then(what: Callable[[], None]) -> Callable[[np.ndarray], bool]:
    """Do something once, at this step."""

    def step(rows: np.ndarray) -> bool:
        what()
        return True

    return step


def book_of(rows: np.ndarray, instrument: int) -> tuple[int, dict[int, int], dict[int, int]]:
    """(last id, bids, asks) that the rows lead to; no delta before the first full book."""
    sides: dict[int, dict[int, int]] = {1: {}, -1: {}}
    last_id = 0
    for row in rows[(rows["instrument"] == instrument) & (rows["kind"] == BOOK)]:
        if row["flags"] & SNAPSHOT and row["seq"] != last_id:
            sides = {1: {}, -1: {}}
        last_id = int(row["seq"])
        if row["side"]:
            sides[int(row["side"])][int(row["price"])] = int(row["qty"])
    return last_id, sides[1], sides[-1]


def replayed(folder: Path) -> np.ndarray:
    """The events of a recording."""
    return np.concatenate([batch.copy() for batch in ADAPTER.open([folder]).batches()])


def freeze(exchange: Exchange) -> Callable[[np.ndarray], bool]:
    """Stop the market; True once the rows have its last update of every symbol."""

    def reached(rows: np.ndarray) -> bool:
        exchange.frozen = True
        books = (rows["kind"] == BOOK) & (rows["side"] != 0)
        return exchange.still and all(
            listing.last_id in rows["seq"][books & (rows["instrument"] == i)]
            for i, listing in enumerate(exchange.listings.values())
        )

    return reached


def moved_on(exchange: Exchange) -> Callable[[np.ndarray], bool]:
    """Every book has gone on for a while: holes of before have been noticed."""
    ids: list[int] = []

    def reached(rows: np.ndarray) -> bool:
        ids.append(exchange.ids + 200)
        books = rows[rows["kind"] == BOOK]
        return all((books["seq"][books["instrument"] == i] > ids[0]).any() for i in range(len(exchange.listings)))

    return reached


def assert_exact(exchange: Exchange, rows: np.ndarray) -> None:
    """The books of `rows` are those of the exchange."""
    for i, listing in enumerate(exchange.listings.values()):
        assert book_of(rows, i) == (listing.last_id, listing.bids, listing.asks)


def test_books_are_exact_and_the_recording_gives_the_same_events(exchange: Exchange, tmp_path: Path) -> None:
    source = open_live(exchange, record=tmp_path)
    rows = read_until(source, snapshots_of(0, 1), snapshots_of(1, 1), freeze(exchange))
    assert_exact(exchange, rows)
    assert source.quality.gaps_total == 0
    assert set(exchange.subscribed) == {
        f"{symbol}@{stream}" for symbol in ("btcusdt", "ethusdt")
        for stream in ("depth@100ms", "trade", "bookTicker", "forceOrder", "markPrice@1s")
    }  # fmt: skip
    assert replayed(tmp_path).tobytes() == rows.tobytes()


def test_a_hole_in_one_book_is_repaired_and_leaves_the_other_alone(exchange: Exchange, tmp_path: Path) -> None:
    source = open_live(exchange, record=tmp_path)

    def drop() -> None:
        exchange.drop_depth["ETHUSDT"] = 1

    rows = read_until(
        source, snapshots_of(0, 1), snapshots_of(1, 1), then(drop), snapshots_of(1, 2), freeze(exchange)
    )  # fmt: skip
    assert_exact(exchange, rows)
    gaps = rows[rows["kind"] == GAP]
    assert gaps["instrument"].tolist() == [1]
    assert [(gap.instrument, gap.repair) for gap in source.quality.gaps] == [("binance-usdm:ETHUSDT", "refetch")]
    assert exchange.snapshots == 3
    assert replayed(tmp_path).tobytes() == rows.tobytes()


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012, 4000])
def test_lost_connections_make_all_their_books_invalid_until_they_are_back(
    exchange: Exchange, tmp_path: Path, code: int
) -> None:  # fmt: skip
    source = open_live(exchange, record=tmp_path)
    rows = read_until(
        source, snapshots_of(0, 1), snapshots_of(1, 1), then(lambda: exchange.close_sockets(code)),
        snapshots_of(0, 2), snapshots_of(1, 2), freeze(exchange),
    )  # fmt: skip
    assert_exact(exchange, rows)
    assert sorted(rows["instrument"][rows["kind"] == GAP].tolist()) == [0, 1]
    assert source.quality.gaps_total == 2
    assert source.health.open == 0
    assert exchange.connects == 4
    assert replayed(tmp_path).tobytes() == rows.tobytes()


def test_many_losses_leak_no_socket_and_no_task(exchange: Exchange) -> None:
    source = open_live(exchange)
    counts: list[tuple[int, int]] = []

    def lose(rows: np.ndarray) -> bool:
        """Close everything whenever both sockets are open and all books are there again."""
        live = all(quality.book_state == "live" for quality in source.quality.instruments.values())
        if source.health.open == 2 and live and exchange.connects == 2 * (len(counts) + 1):
            loop, _ = source._running
            counts.append((len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks(loop))))
            exchange.close_sockets()
        return len(counts) == 25

    read_until(source, lose)
    assert source.quality.gaps_total >= 2 * 24
    for early, late in zip(counts[2], counts[-1]):
        assert late <= early + 2


def test_refused_connections_and_snapshots_are_asked_for_again(exchange: Exchange) -> None:
    exchange.connect_refusals, exchange.rest_refusals = 3, 2
    source = open_live(exchange, instruments=listed(exchange))
    rows = read_until(source, snapshots_of(0, 1), snapshots_of(1, 1), freeze(exchange))
    assert_exact(exchange, rows)
    live = source.quality.live
    assert live["connection lost: the server answers 429"] == 3
    assert sum(count for what, count in live.items() if what.startswith("snapshot failed")) == 2


def listed(exchange: Exchange):
    """The instruments, looked up before anything is refused."""
    return open_live(exchange).instruments


def test_a_silent_connection_is_given_up(exchange: Exchange) -> None:
    hasty = replace(exchange.venue, limits=Limits(frames_per_s=1_000.0, weight_per_min=100_000, silence_us=400_000))
    source = open_live(exchange, venue=hasty, channels=["book", "trades"])

    def hush() -> None:
        exchange.quiet = True

    def speak(rows: np.ndarray) -> bool:
        lost = "connection lost: silent for 0.4 s" in source.health.events
        exchange.quiet = not lost
        return lost

    rows = read_until(source, snapshots_of(0, 1), then(hush), speak, snapshots_of(0, 2), freeze(exchange))
    assert_exact(exchange, rows)


def test_garbage_is_counted_and_changes_nothing_else(exchange: Exchange, tmp_path: Path) -> None:
    source = open_live(exchange, record=tmp_path)
    bad = ['{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate"}}', "nonsense", "[]", '{"stream":1']

    def spoil() -> None:
        exchange.garbage = list(bad)

    rows = read_until(
        source, snapshots_of(0, 1), snapshots_of(1, 1), then(spoil),
        lambda rows: sum(n for what, n in source.health.events.items() if what.startswith("broken")) >= len(bad),
        moved_on(exchange), freeze(exchange),
    )  # fmt: skip
    assert_exact(exchange, rows)
    assert replayed(tmp_path).tobytes() == rows.tobytes()


def test_what_the_venue_does_not_have_is_the_callers_mistake(exchange: Exchange) -> None:
    with pytest.raises(ConfigError, match="did you mean 'BTCUSDT'"):
        open_live(exchange, "BTCUSD")
    with pytest.raises(ConfigError, match="is empty"):
        LiveAdapter(exchange.venue).open([], now_ns=time.time_ns, random=Random(0))
    with pytest.raises(ConfigError, match="is no order"):
        open_live(exchange, order="reorder")


def test_a_refused_request_ends_the_batches_with_an_error(exchange: Exchange) -> None:
    source = open_live(exchange)

    def refuse() -> None:
        exchange.garbage = ['{"error":{"code":2,"msg":"Invalid request"},"id":9}']

    with pytest.raises(TransportError, match="Invalid request"):
        read_until(source, snapshots_of(0, 1), then(refuse), lambda rows: False)


def test_too_many_failures_end_the_feed_when_that_is_wanted(exchange: Exchange) -> None:
    terms = listed(exchange)
    exchange.connect_refusals = 1_000
    source = open_live(exchange, instruments=terms, settings=replace(QUICK, attempts=3))
    with pytest.raises(TransportError, match="3 failures in a row"):
        read_until(source)


def test_batches_can_be_read_once_and_closing_early_leaves_nothing(exchange: Exchange) -> None:
    source = open_live(exchange)
    batches = source.batches()
    assert len(next(batches))
    batches.close()
    assert source.health.open == 0
    with pytest.raises(ConfigError, match="only once"):
        next(source.batches())
    never = open_live(exchange)
    never.close()
    gc.collect()


def test_batches_that_are_forgotten_may_be_collected_in_the_thread_of_the_feed(exchange: Exchange) -> None:
    source = open_live(exchange)
    batches = source.batches()
    next(batches)
    inside, deliver = threading.Event(), source.feed.deliver

    async def collecting(rows: list[np.ndarray]) -> None:
        batches.close()
        inside.set()
        await deliver(rows)

    source.feed.deliver = collecting
    assert inside.wait(LIMIT_S)
    source.close()


def test_a_run_that_ends_early_leaves_the_feed(exchange: Exchange) -> None:
    source = open_live(exchange)
    Replay([source]).run(Trader(enough=1))
    assert source.health.open == 0
    assert not [thread for thread in threading.enumerate() if thread.name == source.name]


class Trader(Strategy):
    """Crosses the spread at a timer, back and forth, and writes down when each timer fired."""

    bought: int = 0
    timers: int = 0
    fills: int = 0
    enough: int = 1_000_000

    def on_start(self, ctx) -> None:
        """Ten times a second."""
        ctx.every(100_000)

    def on_timer(self, ctx, timer) -> None:
        """Buy, then sell, both at the market."""
        self.timers += 1
        ctx.record("timer", ctx.now)
        if ctx.book(0).valid:
            if self.bought:
                ctx.sell(0, 2)
            else:
                ctx.buy(0, 2)
            self.bought = 1 - self.bought

    def on_fill(self, ctx, fill) -> None:
        """Stop when there are enough."""
        self.fills += 1
        if self.fills == self.enough:
            ctx.stop()


@pytest.mark.parametrize("order", ["arrival", "reorder:50000"])
def test_a_paper_run_and_the_replay_of_its_recording_are_one(exchange: Exchange, tmp_path: Path, order: str) -> None:
    source = open_live(exchange, record=tmp_path, order=order, pace=PATIENT)
    start_us = time.time_ns() // 1_000 + 1_500_000
    try:
        live = Replay([source], start=start_us).run(Trader(enough=6))
    finally:
        source.close()
    again = Replay([ADAPTER.open([tmp_path])], start=start_us).run(Trader(enough=6))
    assert len(live.fills) == 6
    assert live.digest == again.digest


def test_a_paper_run_ends_at_its_time_and_so_does_the_replay_of_its_recording(
    exchange: Exchange, tmp_path: Path
) -> None:  # fmt: skip
    source = open_live(exchange, record=tmp_path, pace=PATIENT)
    start_us = time.time_ns() // 1_000 + 1_000_000
    bounds = {"start": start_us, "end": start_us + 700_000}
    try:
        live = Replay([source], **bounds).run(Trader())
    finally:
        source.close()
    again = Replay([ADAPTER.open([tmp_path])], **bounds).run(Trader())
    assert live.records["timer"]["ts"][-1] == bounds["end"] // 100_000 * 100_000
    assert live.digest == again.digest


def test_the_engine_is_ready_before_the_feed_begins(exchange: Exchange, monkeypatch) -> None:
    """Else whatever comes while machine code is made would have to be conflated."""
    source, steps = open_live(exchange), []

    def advancing(arena) -> int:
        steps.append(source.health.frames)
        return advance(arena)

    class Once(Strategy):
        """Ends at once."""

        def on_start(self, ctx) -> None:
            """End."""
            steps.append(source.health.frames)
            ctx.stop()

    monkeypatch.setattr(session, "advance", advancing)
    Replay([source]).run(Once())
    source.close()
    assert steps[0] == 0 < steps[1]


def test_wall_clock_timers_fire_though_the_market_is_quiet(exchange: Exchange, tmp_path: Path) -> None:
    source = open_live(exchange, record=tmp_path, channels=["book", "trades"])

    class Waiter(Trader):
        """Quiets the market and ends after some timers."""

        def on_timer(self, ctx, timer) -> None:
            """Count, nothing else."""
            self.timers += 1
            exchange.quiet = True
            ctx.record("timer", ctx.now)
            if self.timers == 8:
                ctx.stop()

    strategy = Waiter()
    result = Replay([source]).run(strategy)
    source.close()
    times = result.records["timer"]["ts"]
    assert strategy.timers == 8
    assert (np.diff(times) == 100_000).all()


def test_a_slow_strategy_gets_conflated_books_and_every_trade(exchange: Exchange, tmp_path: Path) -> None:
    exchange.step_s = 0.0005
    source = open_live(exchange, pace=Pace(max_lag_us=100_000), record=tmp_path)

    class Slow(Strategy):
        """Takes longer over a book than the market over the next."""

        trades: int = 0

        def on_book(self, ctx, book) -> None:
            """Think."""
            time.sleep(0.004)

        def on_trade(self, ctx, trade) -> None:
            """Count."""
            self.trades += 1
            if source.backlog.events["book messages conflated"] > 100 and not exchange.frozen:
                exchange.frozen = True
                source.stop()

    strategy = Slow()
    result = Replay([source]).run(strategy)
    assert result.quality.live["book messages conflated"] > 100
    recorded = replayed(tmp_path)
    assert strategy.trades == np.count_nonzero(recorded["kind"] == TRADE)
