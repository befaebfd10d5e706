"""The engine without orders: both clocks, both books, and what a call of a Python handler costs on top.

Events lie in memory, so decoding is not timed; the engine's copy of each batch into its window is.  The runs of one
round differ only in which handlers the strategy has, and follow each other, so a callback's cost is the difference of
two runs of the same round.  Beside it stands the cost of a bare call `handler(ctx, event)` in a Python loop: what
nobody can go below.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.harness import Measurement
from replay.context import Book, Context, Quote, Trade
from replay.engine import Replay
from replay.events import BOOK, BUY, CLEAR, FUNDING, LAST, QUOTE, SELL, TRADE
from replay.instruments import Instrument
from replay.session import Session
from replay.sources import ArraySource, find_adapter
from replay.strategy import Strategy
from replay.testing import SyntheticMarket
from replay.units import US_PER_DAY, US_PER_S

TITLE = "Engine without orders, and the cost of a callback"

ROWS = 2_000_000
ROUNDS = 5
NEVER_US = 1_000 * US_PER_DAY
"""A step of the equity curve that no recording reaches."""


@dataclass(frozen=True, slots=True)
class Tape:
    """Events of a recording, repeated in time; `once` is the number of rows of one repetition."""

    name: str
    events: np.ndarray
    once: int
    instruments: tuple[Instrument, ...]

    def replay(self, **settings: object) -> Replay:
        """A replay of the tape without samples of the equity curve."""
        source = ArraySource(self.events, self.instruments)
        return Replay(source, sample_us=NEVER_US, **settings)  # type: ignore[arg-type]


def tape(capture: Path | None, rows: int = ROWS) -> Tape:
    """At least `rows` events of `capture` (Binance USD-M), or of a synthetic market when there is none."""
    if capture is None:
        with TemporaryDirectory() as folder:
            path = SyntheticMarket("binance-usdm", duration_us=30 * US_PER_S).write(Path(folder) / "made.gz")
            return tiled("synthetic market", path, rows)
    return tiled(capture.name, capture, rows)


def tiled(name: str, path: Path, rows: int) -> Tape:
    """The recording's events end to end as often as needed, each repetition later by the whole span."""
    source = find_adapter("binance-usdm").open([path])
    once = np.concatenate([batch.copy() for batch in source.batches()])
    first = min(int(once["ts"][0]), int(once["exch_ts"].min()))
    span = max(int(once["ts"][-1]), int(once["exch_ts"].max())) - first + US_PER_S
    repeats = -(-rows // len(once))
    events = np.tile(once, repeats)
    later = np.repeat(np.arange(repeats) * span, len(once))
    events["ts"] += later
    events["exch_ts"] += later
    settlements = events["kind"] == FUNDING
    events["seq"][settlements] += later[settlements]
    return Tape(f"{name} {repeats} times, {len(events):,} rows", events, len(once), source.instruments)


class Silent(Strategy):
    """No handler at all."""


class OnBook(Strategy):
    """Counts book messages."""

    calls: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        self.calls += 1


class OnTrade(Strategy):
    """Counts prints."""

    calls: int = 0

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        self.calls += 1


class OnMessage(Strategy):
    """Counts every message of the market: books, quotes, prints."""

    calls: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        self.calls += 1

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        self.calls += 1

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        self.calls += 1


def run(session: Session) -> float:
    """Wall seconds of a session that has not begun, to its end."""
    start = time.perf_counter()
    session.run()
    return time.perf_counter() - start


def expected_calls(events: np.ndarray) -> dict[type[Strategy], int]:
    """How often each strategy must be called."""
    last = (events["flags"] & LAST) != 0
    books = int(np.count_nonzero(last & (events["kind"] == BOOK)))
    quotes = int(np.count_nonzero(last & (events["kind"] == QUOTE)))
    trades = int(np.count_nonzero(events["kind"] == TRADE))
    return {OnBook: books, OnTrade: trades, OnMessage: books + quotes + trades}


def rebuilt(events: np.ndarray, instrument: int) -> dict[int, dict[int, int]]:
    """The final book of one instrument by two dicts: {side: {ticks: lots}}."""
    rows = events[(events["kind"] == BOOK) & (events["instrument"] == instrument)]
    begins = np.flatnonzero(rows["flags"] & CLEAR)
    rows = rows[int(begins[-1]) if len(begins) else 0 :]
    book: dict[int, dict[int, int]] = {BUY: {}, SELL: {}}
    for side, ticks, lots in zip(rows["side"].tolist(), rows["price"].tolist(), rows["qty"].tolist()):
        if side and lots:
            book[side][ticks] = lots
        elif side:
            book[side].pop(ticks, None)
    return book


def check(tape: Tape) -> None:
    """AssertionError unless every message is called for once, and the local books end up as dicts say."""
    last_time = tape.events[-tape.once :]  # a recording begins with a snapshot, so nothing before it matters
    for kind, calls in expected_calls(tape.events).items():
        strategy = kind()
        session = tape.replay().session(strategy)
        run(session)
        found = strategy.parameters()["calls"]
        assert found == calls, f"{kind.__name__}: called {found} times, not {calls}"
        assert session.results()[0].rows == len(tape.events), "rows are missing"
        for i, instrument in enumerate(tape.instruments):
            check_book(session.contexts[0].book(i), rebuilt(last_time, i), instrument)


def check_book(book: Book, expected: dict[int, dict[int, int]], instrument: Instrument) -> None:
    """AssertionError unless the book's levels are exactly the expected ones, best first."""
    for side in (BUY, SELL):
        ticks, lots = book.depth(side, len(expected[side]) + 1)
        found = list(zip(ticks.tolist(), lots.tolist()))
        wanted = sorted(expected[side].items(), key=lambda level: -side * level[0])
        assert found == wanted, f"{instrument.name}: side {side:+d} of the local book is wrong"


def bare_call_ns(calls: int = 1_000_000) -> float:
    """Nanoseconds of one call of a bound handler with two arguments in a loop that does nothing else."""
    strategy = OnTrade()
    handler, ctx, event = strategy.on_trade, object(), object()
    start = time.perf_counter()
    for _ in range(calls):
        handler(ctx, event)  # type: ignore[arg-type]
    return 1e9 * (time.perf_counter() - start) / calls


def measure(capture: Path | None) -> list[Measurement]:
    """Events a second without callbacks and with each set of handlers; then nanoseconds a callback."""
    data = tape(capture)
    check(data)
    kinds: Sequence[type[Strategy]] = (Silent, OnBook, OnTrade, OnMessage)
    spent: dict[type[Strategy], list[float]] = {kind: [] for kind in kinds}
    bare = []
    for _ in range(ROUNDS):
        for kind in kinds:
            spent[kind].append(run(data.replay().session(kind())))
        bare.append(bare_call_ns())
    rows = len(data.events)
    names = {Silent: "no handler", OnBook: "on_book", OnTrade: "on_trade", OnMessage: "every message"}
    calls: dict[type[Strategy], int] = {Silent: 0}
    calls.update(expected_calls(data.events))
    out = [
        Measurement(names[kind], data.name, "M rows/s", tuple(rows / s / 1e6 for s in spent[kind]),
                    facts={"callbacks": calls[kind], "ns/row": 1e9 * float(np.median(spent[kind])) / rows})
        for kind in kinds
    ]  # fmt: skip
    out.append(Measurement("bare Python call", "1,000,000 calls", "ns/call", tuple(bare)))
    for kind in kinds[1:]:
        each = tuple(1e9 * (a - b) / calls[kind] for a, b in zip(spent[kind], spent[Silent]))
        facts = {"bare calls": float(np.median(each)) / float(np.median(bare))}
        what = f"{calls[kind]:,} callbacks"
        out.append(Measurement(f"a callback, {names[kind]}", what, "ns/callback", each, facts=facts))
    return out
