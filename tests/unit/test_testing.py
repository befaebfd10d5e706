"""The synthetic market is checked by readers that are slow and obvious: dicts, Decimals, one message at a time."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay import events as ev
from replay.errors import ConfigError
from replay.synthetic_flow import OrderFlow
from replay.testing import LISTINGS, Faults, Listing, SyntheticMarket, synthetic_events
from replay.units import SCALE, US_PER_S

VENUES = ("binance-usdm", "binance-coinm", "binance-spot")
SEED = 20_261_121
START_US = 1_700_000_000_000_000


class Reader:
    """A recorder's view of one symbol: joins snapshot and deltas by the venue's rule, counts breaks."""

    def __init__(self, futures: bool) -> None:
        self.futures, self.live, self.joined, self.book_id = futures, False, False, 0
        self.books: dict[str, dict[Decimal, Decimal]] = {"b": {}, "a": {}}
        self.buffer: list[dict[str, Any]] = []
        self.breaks = self.stale = self.buffered_first = 0
        self.touches: list[tuple[int, tuple[Decimal, ...]]] = []

    def snapshot(self, data: dict[str, Any]) -> None:
        self.buffered_first = self.buffered_first or len(self.buffer)
        self.book_id = data["lastUpdateId"]
        self.books = {"b": _levels(data["bids"]), "a": _levels(data["asks"])}
        self.live = True
        waiting, self.buffer = self.buffer, []
        self.joined = False
        for message in waiting:
            self.delta(message)

    def delta(self, data: dict[str, Any]) -> None:
        if not self.live:
            self.buffer.append(data)
            return
        if data["u"] <= self.book_id:
            self.stale += 1
            return
        bridges = data["U"] <= self.book_id + 1
        follows = data.get("pu") == self.book_id if self.futures else bridges
        if not self.joined:
            follows = follows or bridges
        self.joined = True
        if not follows:
            self.breaks += 1
            self.live, self.buffer = False, [data]
            return
        for name in ("b", "a"):
            for price, size in data[name]:
                self.books[name].pop(Decimal(price), None)
                if Decimal(size):
                    self.books[name][Decimal(price)] = Decimal(size)
        self.book_id = data["u"]
        self.touches.append((data["u"], self.touch()))

    def touch(self) -> tuple[Decimal, ...]:
        bid, ask = max(self.books["b"]), min(self.books["a"])
        return bid, self.books["b"][bid], ask, self.books["a"][ask]


def _levels(rows: list[list[str]]) -> dict[Decimal, Decimal]:
    return {Decimal(price): Decimal(size) for price, size in rows}


def _parsed(market: SyntheticMarket) -> list[tuple[int, str, str, dict[str, Any]]]:
    """(local ns, symbol, stream, data) of each message."""
    out = []
    for local_ns, payload in market.messages():
        frame = json.loads(payload)
        symbol, _, name = frame["stream"].partition("@")
        assert json.dumps(frame, separators=(",", ":")).encode() == payload, "JSON is not compact"
        out.append((local_ns, symbol.upper(), name.partition("@")[0], frame["data"]))
    return out


def _read(market: SyntheticMarket) -> dict[str, Reader]:
    readers = {i.symbol: Reader(market.venue != "binance-spot") for i in market.instruments}
    for _, symbol, name, data in _parsed(market):
        if name == "depth":
            readers[symbol].delta(data)
        elif name == "depthSnapshot":
            readers[symbol].snapshot(data)
    return readers


@pytest.fixture(scope="module", params=VENUES)
def clean(request: pytest.FixtureRequest) -> SyntheticMarket:
    print("seed", SEED)
    return SyntheticMarket(
        request.param,
        seed=SEED,
        duration_us=12 * US_PER_S,
        funding_interval_us=5 * US_PER_S,
        liquidation_odds=20,
    )


@pytest.fixture(scope="module")
def messages(clean: SyntheticMarket) -> list[tuple[int, str, str, dict[str, Any]]]:
    return _parsed(clean)


def test_clean_stream_has_no_break_and_ends_with_the_true_book(clean):
    for symbol, reader in _read(clean).items():
        assert reader.breaks == 0 and reader.live
        assert reader.buffered_first >= 3
        truth = clean.truth.books[symbol]
        assert reader.books["b"] == truth["bids"] and reader.books["a"] == truth["asks"]
        assert max(truth["bids"]) < min(truth["asks"])


def test_touch_after_each_delta_is_the_book_ticker_with_the_largest_id_not_above(clean, messages):
    readers = _read(clean)
    for symbol, reader in readers.items():
        tickers = {
            data["u"]: tuple(Decimal(data[key]) for key in "bBaA")
            for _, owner, name, data in messages
            if name == "bookTicker" and owner == symbol
        }
        ids = sorted(tickers)
        compared = 0
        for update_id, touch in reader.touches:
            at = int(np.searchsorted(ids, update_id, side="right"))
            if at:
                compared += 1
                assert tickers[ids[at - 1]] == touch
            assert touch[0] < touch[2]
        assert compared > 0.9 * len(reader.touches) > 50


def test_book_tickers_differ_from_their_predecessor_and_ids_grow(messages):
    last: dict[str, tuple[int, tuple[str, ...]]] = {}
    for _, symbol, name, data in messages:
        if name != "bookTicker":
            continue
        quote = tuple(data[key] for key in "bBaA")
        if symbol in last:
            assert data["u"] > last[symbol][0] and quote != last[symbol][1]
        last[symbol] = data["u"], quote


def test_trades_have_consecutive_ids_and_add_up_to_the_truth(clean, messages):
    for instrument in clean.instruments:
        trades = [d for _, s, name, d in messages if name == "trade" and s == instrument.symbol]
        totals = clean.truth.trades[instrument.symbol]
        assert [t["t"] for t in trades] == list(range(totals.first_id, totals.last_id + 1))
        assert len(trades) == totals.count > 20
        assert sum(Decimal(t["q"]) for t in trades if not t["m"]) == totals.buy_qty
        assert sum(Decimal(t["q"]) for t in trades if t["m"]) == totals.sell_qty
        assert all(instrument.lots(t["q"]) > 0 and instrument.ticks(t["p"]) > 0 for t in trades)


@pytest.mark.parametrize("venue", VENUES)
def test_an_order_takes_exactly_what_the_book_held_and_keeps_its_promises(venue):
    flow = OrderFlow(next(iter(LISTINGS[venue].values())), SEED, 1.0, 32)
    orders = walks = 0
    for step in range(6_000):
        bids, asks, last_id = dict(flow.bids), dict(flow.asks), flow.last_id
        touch = flow.touch()
        side, prints = flow.order()
        assert flow.last_id >= last_id
        if step % 40 == 0:
            flow.drift()
            flow.far_activity()
            flow.check()
            continue
        if not prints:
            assert (flow.touch() == touch) or flow.last_id > last_id
            continue
        orders += 1
        before, after = (asks, flow.asks) if side == ev.BUY else (bids, flow.bids)
        assert prints[0][0] == (touch[2] if side == ev.BUY else touch[0])
        assert [p for p, _ in prints] == sorted((p for p, _ in prints), reverse=side == ev.SELL)
        taken: Counter[int] = Counter()
        for price, lots in prints:
            assert lots > 0
            taken[price] += lots
        assert {p: q - taken[p] for p, q in before.items() if q > taken[p]} == after
        assert all(p in (prints[-1][0],) or taken[p] == before[p] for p in taken), "left a better level behind"
        walks += len(taken) > 1
    assert orders > 300 and walks > 10


def test_trades_print_at_or_through_the_quote_that_held_before_them(messages):
    """Venue order is by match time; only trades in a millisecond of their own can be judged from outside."""
    for symbol in {s for _, s, _, _ in messages}:
        quotes = [d for _, s, n, d in messages if n == "bookTicker" and s == symbol and "T" in d]
        trades = [d for _, s, n, d in messages if n == "trade" and s == symbol]
        judged = 0
        times = np.array([d["T"] for d in quotes])
        for trade in trades if quotes else []:
            at = int(np.searchsorted(times, trade["T"]))
            if at == 0 or (at < len(times) and np.count_nonzero(times == trade["T"]) != 1):
                continue
            judged += 1
            quote = quotes[at - 1]
            if trade["m"]:
                assert Decimal(trade["p"]) <= Decimal(quote["b"])
            else:
                assert Decimal(trade["p"]) >= Decimal(quote["a"])
        assert judged > 10 or not quotes


def test_local_times_grow_latency_is_positive_and_venue_times_do_not_step_back(clean, messages):
    least, _ = clean.feed_latency_us
    seen: dict[tuple[str, str], int] = defaultdict(int)
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(messages))
    overtaken, newest = 0, 0
    for local_ns, symbol, name, data in messages:
        if "E" not in data:
            continue
        assert data["E"] >= seen[symbol, name]
        assert name == "markPrice" or data.get("T", 0) <= data["E"]
        seen[symbol, name] = data["E"]
        assert local_ns - data["E"] * 1_000_000 >= least * 1_000
        overtaken += data["E"] < newest
        newest = max(newest, data["E"])
    assert overtaken > 0, "streams never overtake each other"


def test_marks_announce_funding_and_liquidations_are_rare_enough(clean, messages):
    for instrument in clean.instruments:
        marks = [d for _, s, n, d in messages if n == "markPrice" and s == instrument.symbol]
        forced = [d for _, s, n, d in messages if n == "forceOrder" and s == instrument.symbol]
        settled = clean.truth.funding[instrument.symbol]
        assert len(forced) == clean.truth.liquidations[instrument.symbol]
        if clean.venue == "binance-spot":
            assert not marks and not forced and not settled
            continue
        assert forced and all(b["E"] - a["E"] >= 999 for a, b in itertools.pairwise(forced))
        assert all(Decimal(d["o"]["q"]) == Decimal(d["o"]["z"]) > 0 for d in forced)
        assert [us for us, _ in settled] == [START_US + k * 5 * US_PER_S for k in (1, 2)]
        for us, rate in settled:
            published = [d["r"] for d in marks if d["T"] * 1000 == us]
            assert Decimal(published[-1]) == rate
        for mark in marks:
            assert len(mark["p"].partition(".")[2]) == 8
            assert abs(Decimal(mark["p"]) / LISTINGS[clean.venue][instrument.symbol].price - 1) < Decimal("0.01")


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(
    "faults",
    [Faults(drop=0.02), Faults(late=0.02), Faults(duplicate=0.05), Faults(drop=0.01, duplicate=0.02, late=0.01)],
    ids=["drop", "late", "duplicate", "all"],
)
def test_each_injected_fault_is_seen_and_healed(venue, faults):
    market = SyntheticMarket(venue, seed=SEED, duration_us=25 * US_PER_S, faults=faults)
    truth, readers = market.truth, _read(market)
    for symbol, reader in readers.items():
        assert reader.breaks == truth.breaks(symbol)
        assert reader.live and reader.books["b"] == truth.books[symbol]["bids"]
        assert reader.books["a"] == truth.books[symbol]["asks"]
        assert truth.snapshots[symbol] == 1 + reader.breaks
    assert truth.faults
    arrived = Counter((s, d["u"]) for _, s, n, d in _parsed(market) if n == "depth")
    sent = sum(truth.sent_depth.values())
    assert len(arrived) == sent - len(truth.of_kind("drop"))
    assert {k for k, n in arrived.items() if n == 2} == {(f.symbol, f.last_id) for f in truth.of_kind("duplicate")}
    assert not any((f.symbol, f.last_id) in arrived for f in truth.of_kind("drop"))


def test_late_messages_arrive_after_their_successor_and_the_market_is_the_same_without_faults():
    calm = SyntheticMarket("binance-usdm", seed=SEED, duration_us=15 * US_PER_S)
    market = SyntheticMarket("binance-usdm", seed=SEED, duration_us=15 * US_PER_S, faults=Faults(late=0.03))
    assert market.truth.books == calm.truth.books and market.truth.trades == calm.truth.trades
    order = [(s, d["u"]) for _, s, n, d in _parsed(market) if n == "depth"]
    right = [(s, d["u"]) for _, s, n, d in _parsed(calm) if n == "depth"]
    for symbol in market.truth.books:
        mine = [u for s, u in order if s == symbol]
        theirs = [u for s, u in right if s == symbol]
        for fault in (f for f in market.truth.of_kind("late") if f.symbol == symbol):
            assert theirs[fault.ordinal] == fault.last_id
            assert mine[fault.ordinal : fault.ordinal + 2] == [theirs[fault.ordinal + 1], fault.last_id]
        assert sorted(mine) == theirs
    assert market.truth.of_kind("late")


def test_statistics_are_those_of_a_busy_market():
    market = SyntheticMarket("binance-usdm", ["BTCUSDT"], seed=SEED, duration_us=30 * US_PER_S)
    messages = _parsed(market)
    count = Counter(name for _, _, name, _ in messages)
    assert 150 < len(messages) / 30 < 500
    assert count["bookTicker"] > count["trade"] > count["depth"] > 15 * 30
    levels = [len(d["b"]) + len(d["a"]) for _, _, n, d in messages if n == "depth"]
    assert 20 < np.median(levels) < 80
    spreads = [(Decimal(d["a"]) - Decimal(d["b"])) / Decimal("0.1") for _, _, n, d in messages if n == "bookTicker"]
    assert 0.1 < np.mean([s == 1 for s in spreads]) < 0.9
    book: set[tuple[str, str]] | None = None
    deletes = absent = 0
    for _, _, name, data in messages:
        if name == "depthSnapshot":
            book = {("b", p) for p, _ in data["bids"]} | {("a", p) for p, _ in data["asks"]}
        if name == "depth" and book is not None:
            for side in "ba":
                for price, size in data[side]:
                    if Decimal(size):
                        book.add((side, price))
                        continue
                    deletes, absent = deletes + 1, absent + ((side, price) not in book)
                    book.discard((side, price))
    assert 0.13 < absent / deletes < 0.32


def test_files_hold_the_messages_and_are_put_in_place_whole(tmp_path):
    market = SyntheticMarket("binance-coinm", seed=SEED, duration_us=3 * US_PER_S)
    lines = b"".join(b"%d %b\n" % message for message in market.messages())
    assert market.write(tmp_path / "plain.txt").read_bytes() == lines
    packed = market.write(tmp_path / "packed.gz")
    assert gzip.decompress(packed.read_bytes()) == lines
    again = packed.read_bytes()
    assert market.write(tmp_path / "other.gz").read_bytes() == again, "name or time leaked into the file"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.gz", "packed.gz", "plain.txt"]
    assert market.truth.messages == lines.count(b"\n")


def test_clock_offset_moves_receive_times_only():
    true = SyntheticMarket(seed=SEED, duration_us=2 * US_PER_S)
    behind = SyntheticMarket(seed=SEED, duration_us=2 * US_PER_S, clock_offset_us=-1_270_000)
    assert [(ns - 1_270_000_000, p) for ns, p in true.messages()] == list(behind.messages())


def test_same_bytes_in_another_process_with_another_hash_seed():
    code = (
        "import hashlib; from replay.testing import *\n"
        "h = hashlib.sha256()\n"
        "m = SyntheticMarket(seed=5, duration_us=4_000_000, faults=Faults(drop=.02, late=.02, duplicate=.02))\n"
        "for ns, p in m.messages(): h.update(b'%d %b' % (ns, p))\n"
        "h.update(synthetic_events(2, 5, 500, gap_every=7).tobytes()); print(h.hexdigest())"
    )
    digests = set()
    for hash_seed in ("0", "4711"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        digests.add(run.stdout.strip())
    assert len(digests) == 1 and len(digests.pop()) == hashlib.sha256().digest_size * 2
    one, two = (b"".join(p for _, p in SyntheticMarket(seed=s, duration_us=US_PER_S).messages()) for s in (1, 2))
    assert one != two


def test_memory_is_bounded_because_messages_come_while_the_market_runs():
    market = SyntheticMarket(duration_us=10**15)
    head = list(itertools.islice(market.messages(), 100))
    assert len(head) == 100


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"venue": "binance-usd"}, "venue"),
        ({"instruments": ["BTCUSD"]}, "instruments"),
        ({"instruments": ["BTCUSDT", "BTCUSDT"]}, "instruments"),
        ({"instruments": [LISTINGS["binance-spot"]["BTCUSDT"]]}, "instruments"),
        ({"duration_us": 5}, "duration_us"),
        ({"rate": 0.0}, "rate"),
        ({"feed_latency_us": (5, 4)}, "feed_latency_us"),
        ({"funding_interval_us": 1}, "funding_interval_us"),
        ({"start_us": 1_700_000_000_000_001}, "start_us"),
    ],
)
def test_wrong_settings_are_refused_by_name(options, name):
    with pytest.raises(ConfigError) as caught:
        SyntheticMarket(**options)
    assert caught.value.name == name


def test_faults_and_listings_refuse_nonsense():
    for bad in ({"drop": -0.1}, {"late": 2.0}, {"drop": 0.6, "late": 0.6}, {"snapshot_after_gap_us": -1}):
        with pytest.raises(ConfigError):
            Faults(**bad)
    good = LISTINGS["binance-usdm"]["BTCUSDT"]
    for bad in ({"price_digits": 0}, {"size_digits": 2}, {"price": Decimal("100")}, {"orders_per_s": 0}):
        fields = {n: getattr(good, n) for n in ("instrument", "price", "price_digits", "size_digits")}
        with pytest.raises(ConfigError):
            Listing(**{**fields, **bad})


def _check_events(rows: np.ndarray, count: int, latency_us: tuple[int, int]) -> Counter[str]:
    """AssertionError when rows break a rule of events.py; returns what was seen."""
    seen: Counter[str] = Counter()
    assert rows.dtype == ev.EVENT and np.all(np.diff(rows["ts"]) >= 0)
    late = rows["ts"] - rows["exch_ts"]
    assert late.min() >= latency_us[0] and np.all(rows["instrument"] < count)
    books: dict[int, dict[int, dict[int, int]] | None] = dict.fromkeys(range(count))
    exch: dict[tuple[int, int], int] = defaultdict(int)
    channel_of = {ev.GAP: ev.BOOK, ev.FUNDING: ev.MARK, ev.LIQUIDATION: ev.MARK}
    ends = np.flatnonzero(rows["flags"] & ev.LAST) + 1
    assert ends[-1] == len(rows)
    quotes: dict[int, dict[int, tuple[int, ...]]] = defaultdict(dict)
    ends_of: dict[int, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    for start, stop in zip([0, *ends[:-1]], ends):
        message = rows[start:stop]
        index, kind = int(message[0]["instrument"]), int(message[0]["kind"])
        assert len(np.unique(message[["ts", "exch_ts", "instrument"]])) == 1
        channel = index, channel_of.get(kind, kind)
        assert message[0]["exch_ts"] >= exch[channel]
        exch[channel] = int(message[0]["exch_ts"])
        seen[ev.KIND_NAMES[kind]] += 1
        if kind == ev.GAP:
            assert books[index] is not None and message[0]["value"] > message[0]["seq"] + 1
            books[index] = None
        elif kind == ev.QUOTE:
            assert message["side"].tolist() == [1, -1]
            assert message[0]["price"] < message[1]["price"] and message["qty"].min() > 0
            quotes[index][int(message[0]["seq"])] = _touch_of(message)
        elif kind == ev.TRADE:
            assert message["qty"].min() > 0 and len(set(message["side"].tolist())) == 1
        elif kind == ev.BOOK:
            _apply(books, index, message)
            book = books[index]
            assert book is not None
            bid, ask = max(book[1]), min(book[-1])
            assert bid < ask
            ends_of[index].append((int(message[-1]["seq"]), (bid, book[1][bid], ask, book[-1][ask])))
    for index, states in ends_of.items():
        for seq, touch in states:
            known = [u for u in quotes[index] if u <= seq]
            seen["compared"] += bool(known)
            assert not known or quotes[index][max(known)] == touch
    return seen


def _touch_of(message: np.ndarray) -> tuple[int, ...]:
    return tuple(int(message[row][name]) for row in (0, 1) for name in ("price", "qty"))


def _apply(books: dict[int, Any], index: int, message: np.ndarray) -> None:
    snapshot = bool(message[0]["flags"] & ev.SNAPSHOT)
    assert bool(message[0]["flags"] & ev.CLEAR) == snapshot
    assert np.all((message["flags"] & ev.SNAPSHOT != 0) == snapshot)
    assert not np.any(message["flags"][1:] & ev.CLEAR)
    if snapshot:
        books[index] = {1: {}, -1: {}}
    assert books[index] is not None, "a delta without a valid book"
    for row in message:
        if row["side"]:
            book = books[index][int(row["side"])]
            book.pop(int(row["price"]), None)
            if row["qty"]:
                book[int(row["price"])] = int(row["qty"])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    count=st.integers(1, 4),
    seed=st.integers(0, 2**32),
    messages=st.integers(4, 400),
    gap_every=st.sampled_from([0, 2, 3, 10]),
    levels=st.integers(2, 12),
    latency=st.sampled_from([(0, 0), (500, 5_000), (0, 100_000)]),
)
def test_synthetic_events_keep_the_rules(count, seed, messages, gap_every, levels, latency):
    """Any small market is a valid sequence of event records whose books, quotes and gaps agree."""
    rows = synthetic_events(count, seed, messages, gap_every=gap_every, levels=levels, feed_latency_us=latency)
    seen = _check_events(rows, count, latency)
    assert gap_every or not seen["gap"]
    assert messages <= np.count_nonzero(rows["flags"] & ev.LAST) <= messages + count


def test_synthetic_events_hold_every_kind_and_are_repeatable():
    instruments = [listing.instrument for listing in LISTINGS["binance-usdm"].values()]
    rows = synthetic_events(instruments, SEED, 6_000, gap_every=20)
    seen = _check_events(rows, len(instruments), (500, 5_000))
    assert all(seen[name] for name in ("book", "trade", "quote", "gap", "liquidation", "mark", "compared"))
    assert np.count_nonzero(rows["kind"] == ev.FUNDING) > 3
    marks = rows[rows["kind"] == ev.MARK]
    tick_scaled = np.array([int(instrument.tick * SCALE) for instrument in instruments])[marks["instrument"]]
    assert np.all(marks["value"] // tick_scaled == marks["price"])
    assert rows.tobytes() == synthetic_events(instruments, SEED, 6_000, gap_every=20).tobytes()
    bare = synthetic_events(1, SEED, 500, derivatives=False)
    assert set(np.unique(bare["kind"]).tolist()) <= {ev.BOOK, ev.TRADE, ev.QUOTE}


@pytest.mark.parametrize(
    "options",
    [{"instruments": 0}, {"messages": 0}, {"gap_every": 1}, {"feed_latency_us": (3, 2)}, {"levels": 1}],
)
def test_synthetic_events_refuse_nonsense(options):
    with pytest.raises(ConfigError):
        synthetic_events(**options)


def test_a_market_leaves_nothing_behind_when_it_cannot_write(tmp_path: Path):
    market = SyntheticMarket(duration_us=US_PER_S)
    with pytest.raises(IsADirectoryError):
        market.write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not tmp_path.with_name(tmp_path.name + ".part").exists()
