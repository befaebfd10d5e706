"""What comes out of a store is what was written: every event, in its order, whatever is asked for at once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.context import Book, Context, Gap, Quote, Trade
from replay.engine import Replay
from replay.errors import ConfigError, DataError
from replay.events import BOOK, EVENT, LAST, empty_events
from replay.instruments import Instrument
from replay.sources import ArraySource, Source
from replay.store import CHANNELS, Store
from replay.store.layout import CHANNEL_OF
from replay.store.source import common_terms
from replay.strategy import Strategy
from replay.units import US_PER_DAY, US_PER_MIN
from tests.store.conftest import BOTH, MIDNIGHT


def events_of(source: Source, rows: int = 32_768) -> np.ndarray:
    """All rows."""
    return np.concatenate([empty_events(0), *(batch.copy() for batch in source.batches(rows))])


def kept(market: np.ndarray, mask: np.ndarray) -> bytes:
    """The chosen rows as bytes."""
    return market[mask].tobytes()


class Listener(Strategy):
    """Trades a little and listens to everything, so that the order of callbacks decides its result."""

    seen: int = 0

    def on_book(self, ctx: Context, book: Book) -> None:
        self.seen += 1
        if self.seen % 50 == 0 and book.valid:
            ctx.buy(book.instrument, 1 + self.seen % 3)

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        self.seen += 1

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        self.seen += 1
        if self.seen % 70 == 0:
            ctx.sell(trade.instrument, 1)

    def on_gap(self, ctx: Context, gap: Gap) -> None:
        self.seen += 7


@pytest.mark.parametrize("hot", [False, True])
def test_a_recording_comes_back_bit_by_bit(store: Store, market: np.ndarray, hot: bool) -> None:
    source = store.source(hot=hot)
    assert isinstance(source, Source)
    assert source.instruments == BOTH
    assert events_of(source).tobytes() == market.tobytes()
    assert events_of(source, 100).tobytes() == market.tobytes(), "a second pass, other batches"
    assert source.horizon_us == ArraySource(market, BOTH).horizon_us


def test_results_are_equal(written: Path, market: np.ndarray) -> None:
    names = [instrument.name for instrument in BOTH]
    original = Replay(market, instruments=BOTH, borrow=True).run(Listener())
    assert len(original.fills) > 10
    for again in (Replay(written, instruments=names, borrow=True), Replay(str(written), borrow=True),
                  Replay.from_store(written, borrow=True)):  # fmt: skip
        result = again.run(Listener())
        assert (result.digest, result.rows) == (original.digest, original.rows)


@given(st.data())
@settings(max_examples=40)
def test_any_part_is_that_part_of_the_recording(written: Path, market: np.ndarray, data: st.DataObject) -> None:
    """Any range of time, choice of instruments and channels gives exactly the rows that a mask gives."""
    first, last = int(market["ts"][0]), int(market["ts"][-1])
    start = data.draw(st.integers(first - US_PER_MIN, last), "start")
    end = data.draw(st.integers(max(start, first) + 1, last + US_PER_MIN), "end")
    channels = data.draw(st.sets(st.sampled_from(CHANNELS), min_size=1), "channels")
    chosen = data.draw(st.permutations([0, 1]).map(lambda p: p[: 1 + (start % 2)]), "instruments")
    source = Store(written).source(
        [BOTH[i].name for i in chosen], start, end, sorted(channels), hot=data.draw(st.booleans())
    )
    channel = np.array([CHANNEL_OF[int(kind)] in channels for kind in market["kind"]])
    mask = (market["ts"] >= start) & (market["ts"] < end) & channel & np.isin(market["instrument"], chosen)
    expected = market[mask].copy()
    expected["instrument"] = np.argsort(chosen)[expected["instrument"]] if len(chosen) == 2 else 0
    found = events_of(source, data.draw(st.integers(1, 5_000), "rows"))
    assert found.tobytes() == expected.tobytes()


@st.composite
def recordings(draw: st.DrawFn) -> np.ndarray:
    """Messages of one instrument with any values that an int64 in a book can have, with many ties, over three days."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=40))
    rows = empty_events(sum(sizes))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    limits = {
        "exch_ts": (0, 2**50), "seq": (-(2**63), 2**63 - 1), "price": (-(10**15), 10**15), "qty": (0, 10**15),
        "value": (-(2**63), 2**63 - 1), "flags": (0, 128), "side": (-1, 2),
    }  # fmt: skip
    for name, (low, high) in limits.items():
        rows[name] = random.integers(low, high, len(rows))
    steps = random.choice([0, 0, 1, US_PER_DAY // 16], len(sizes))
    rows["ts"] = np.repeat(MIDNIGHT + np.cumsum(steps), sizes)
    rows["kind"] = random.choice(sorted(CHANNEL_OF), len(rows))
    rows["flags"] &= ~LAST
    rows["flags"][np.cumsum(sizes) - 1] |= LAST
    return rows


@given(recordings(), st.integers(1, 50))
@settings(max_examples=30)
def test_whatever_is_written_comes_back(events: np.ndarray, rows: int) -> None:
    """Any values, ties and cuts into batches: the bytes that come back are those that went in."""
    with TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        with store.writer(BOTH[0]) as writer:
            for batch in ArraySource(events, BOTH[:1]).batches(rows):
                writer.write(batch)
        store.check()
        assert events_of(store.source()).tobytes() == events.tobytes()
        assert events_of(store.source(hot=True), rows).tobytes() == events.tobytes()


def test_messages_of_two_recordings_are_never_torn_apart(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for index, instrument in enumerate(BOTH):
        events = empty_events(60_000)
        events["ts"] = np.repeat(MIDNIGHT + np.arange(10_000) // 50, 6)
        events["kind"], events["seq"] = BOOK, np.arange(len(events))
        events["flags"][5::6] = LAST
        with store.writer(instrument) as writer:
            writer.write(events[: len(events) - 600 * index])
    found = events_of(store.source())
    assert len(found) == 119_400
    ends = (found["flags"] & LAST) != 0
    assert (np.diff(found["instrument"])[~ends[:-1]] == 0).all()
    assert (np.diff(found["ts"]) >= 0).all()
    for index in (0, 1):
        assert (np.diff(found["seq"][found["instrument"] == index]) == 1).all()


def test_the_quality_of_a_range_is_that_of_its_days(written: Path, market: np.ndarray) -> None:
    whole = Store(written).source()
    gaps = whole.quality.gaps
    assert whole.quality.gaps_total == len(gaps) == int((market["kind"] == 7).sum()) > 20
    assert [gap.start_us for gap in gaps] == market["ts"][market["kind"] == 7].tolist()
    assert sum(gap.end_us is None for gap in gaps) <= len(BOTH), "at most the last gap of each never ended"
    counts = whole.quality.of(BOTH[0].name)
    mine = market[market["instrument"] == 0]
    assert counts.messages == int(((mine["flags"] & LAST) > 0).sum())
    assert counts.trades == int((mine["kind"] == 2).sum())
    assert Store(written).source(end_us=MIDNIGHT).quality.gaps_total < whole.quality.gaps_total


def test_days_with_other_steps_share_a_grid(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    coarse, fine = BOTH[0], replace(BOTH[0], tick=Decimal("0.02"), lot=Decimal("0.0005"))
    for day, instrument in enumerate((coarse, fine)):
        events = empty_events(1)
        events["ts"], events["kind"], events["flags"] = MIDNIGHT + day * US_PER_DAY, BOOK, LAST
        events["price"], events["qty"] = 100, 7
        with store.writer(instrument) as writer:
            writer.write(events)
    for hot in (False, True):
        source = store.source(hot=hot)
        assert (source.instruments[0].tick, source.instruments[0].lot) == (Decimal("0.01"), Decimal("0.0005"))
        found = events_of(source)
        assert found["price"].tolist() == [500, 200] and found["qty"].tolist() == [14, 7]


def test_other_terms_are_refused() -> None:
    assert common_terms([BOTH[0], BOTH[0]]) == BOTH[0]
    with pytest.raises(DataError, match="terms of test:A change"):
        common_terms([BOTH[0], replace(BOTH[0], settle="USDC")])


def test_wrong_questions_are_refused(written: Path, tmp_path: Path) -> None:
    store = Store(written)
    with pytest.raises(ConfigError, match="did you mean 'test:A'"):
        store.source(["test:AA"])
    with pytest.raises(ConfigError, match="no day there; the store holds 2023-11-14T23:4"):
        store.source(start_us=MIDNIGHT + 5 * US_PER_DAY)
    with pytest.raises(ConfigError, match="not after"):
        store.source(start_us=MIDNIGHT, end_us=MIDNIGHT)
    with pytest.raises(ConfigError, match="did you mean 'trades'"):
        store.source(channels=["trade"])
    with pytest.raises(ConfigError, match="list of channels"):
        store.source(channels=[])
    with pytest.raises(ConfigError, match="rows"):
        next(store.source().batches(0))
    with pytest.raises(ConfigError, match="does not exist"):
        Replay(tmp_path / "nowhere")


def test_an_option_and_a_start_inside_the_day(tmp_path: Path, market: np.ndarray, written: Path) -> None:
    option = Instrument(
        "test", "O", "option", Decimal("0.5"), Decimal("0.1"), right="call", strike=Decimal("60000.5"),
        expiry_us=MIDNIGHT + US_PER_DAY, underlying=BOTH[0].name,
    )  # fmt: skip
    store = Store(tmp_path / "store")
    with store.writer(option) as writer:
        writer.write(market[market["instrument"] == 0])
    assert store.source().instruments == (option,)
    start = MIDNIGHT + 20 * US_PER_MIN
    piece = Replay.from_store(written, start_us=MIDNIGHT, start=start, borrow=True).run(Listener())
    after = market[market["ts"] >= MIDNIGHT]
    assert piece.digest == Replay(after, instruments=BOTH, start=start, borrow=True).run(Listener()).digest


def test_layout_of_an_event() -> None:
    """Interleaving reads the first word of a row as its time."""
    assert EVENT.fields is not None and EVENT.fields["ts"][1] == 0 and EVENT.itemsize == 64


def test_an_instrument_without_a_name_of_its_own(tmp_path: Path) -> None:
    odd = Instrument("v=1/..", "%41 ü:\n", "spot", Decimal("1E+2"), Decimal("1E-8"))
    events = empty_events(3)
    events["ts"], events["kind"], events["flags"], events["price"] = MIDNIGHT, BOOK, LAST, [-5, 0, 5]
    store = Store(tmp_path / "store")
    with store.writer(odd) as writer:
        writer.write(events)
    assert store.names() == [odd.name]
    assert store.source([odd.name]).instruments == (odd,)
    assert events_of(store.source()).tobytes() == events.tobytes()


def test_a_result_names_the_days_that_it_read(tmp_path: Path, market: np.ndarray) -> None:
    store = Store(tmp_path / "digests")
    store.record(ArraySource(market, BOTH))
    result = Replay(str(store.path), sample_us=2**60).run(Listener())
    days = {f"{name} {day.date}": day.digest for name in store.names() for day in store.days(name)}
    assert result.data == days and len(days) >= 2
