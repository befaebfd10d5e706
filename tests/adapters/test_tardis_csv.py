"""Tardis CSV: the rules of feeds.md §1, against a slow exact oracle, the derived files and the raw captures."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.binance import SPOT, USDM
from adapters.tardis_csv import CSV, TardisSource
from replay import Context, Replay, Strategy
from replay.errors import ConfigError, DataError
from replay.events import BOOK, CLEAR, FUNDING, GAP, GAP_BEFORE, LAST, LIQUIDATION, MARK, QUOTE, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.kernel import assemble
from replay.verify import verify
from tests.oracles.tardis import Oracle, Stop

L2 = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"
PRINTS = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
TOUCH = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount"
TICKER = (
    "exchange,symbol,timestamp,local_timestamp,funding_timestamp,funding_rate,predicted_funding_rate,open_interest,"
    "last_price,index_price,mark_price"
)
T0 = 1_700_000_000_000_000
COINS = Instrument("venue", "COIN", "linear", Decimal("0.1"), Decimal("0.5"))
FIELDS = ("ts", "exch_ts", "seq", "price", "qty", "value", "flags", "kind", "side")
COUNTED = {
    "off order": assemble.OFF_ORDER, "price": assemble.BAD_PRICE, "size": assemble.BAD_SIZE,
    "side": assemble.UNKNOWN_SIDE, "repeated": assemble.REPEATED, "crossed": assemble.CROSSED,
}  # fmt: skip


def events_of(source: TardisSource, rows: int = 32_768) -> np.ndarray:
    """All rows."""
    batches = [batch.copy() for batch in source.batches(rows)]
    assert all(batch["flags"][-1] & LAST for batch in batches)
    return np.concatenate(batches) if batches else np.zeros(0, assemble.ROW)


def tuples(events: np.ndarray) -> list[tuple[int, ...]]:
    return list(zip(*(events[name].tolist() for name in FIELDS))) if len(events) else []


def line(*cells: object, at: int = 0, lag: int = 10) -> str:
    return ",".join(("venue", "COIN", str(T0 + at - lag), str(T0 + at), *map(str, cells)))


PRICES = st.integers(10, 16).map(lambda tenths: f"{tenths // 10}.{tenths % 10}")
SIZES = st.sampled_from(["0", "0.5", "1", "2.50", "3e0"])
WRONG = st.sampled_from(["nan", "", "0", "-1", "1.23"])


def mostly(good: st.SearchStrategy[str], bad: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """`bad` in one of sixteen."""
    return st.integers(0, 15).flatmap(lambda draw: bad if draw == 0 else good)


def timed(cells: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[list[str]]:
    """Lines whose times go on, stand still, and sometimes step back."""
    steps = st.sampled_from([0, 0, 0, 1, 1, 5, 40, -3])
    lags = st.sampled_from([10, 10, 10, 10, 11, 3, -2, 60])
    rows = st.lists(st.tuples(steps, lags, cells), min_size=1, max_size=60)

    def lines(drawn: list[tuple[int, int, tuple[str, ...]]]) -> list[str]:
        at, out = 1000, []
        for step, lag, fields in drawn:
            at += step
            out.append(line(*fields, at=at, lag=lag))
        return out

    return rows.map(lines)


BOOK_ROWS = timed(
    st.tuples(
        st.sampled_from(["false", "false", "false", "false", "true"]),
        mostly(st.sampled_from(["bid", "ask"]), st.just("?")), mostly(PRICES, WRONG), mostly(SIZES, WRONG),
    )
)  # fmt: skip
PRINT_ROWS = timed(
    st.tuples(
        st.sampled_from(["", "7", "8", "9", "a-b", "a-c", "007", "1234567890123456789", "12345678901234567890"]),
        mostly(st.sampled_from(["buy", "sell"]), st.just("unknown")), mostly(PRICES, WRONG), mostly(SIZES, WRONG),
    )
)  # fmt: skip
QUOTE_ROWS = timed(
    st.tuples(*[mostly(SIZES, WRONG), mostly(PRICES, WRONG), mostly(PRICES, WRONG), mostly(SIZES, WRONG)])
)
TICKER_ROWS = timed(
    st.tuples(
        st.sampled_from(["", str(T0 + 5)]), st.sampled_from(["", "0.0001", "-0.00000000123", "0"]), st.just(""),
        st.just("5"), st.just(""), st.just(""), mostly(PRICES, WRONG),
    )
)  # fmt: skip
OPTIONS = (
    "exchange,symbol,timestamp,local_timestamp,type,strike_price,expiration,open_interest,last_price,bid_price,"
    "bid_amount,bid_iv,ask_price,ask_amount,ask_iv,mark_price,mark_iv,underlying_index,underlying_price,delta,gamma,"
    "vega,theta,rho"
)
PRICE, SIZE = mostly(PRICES, WRONG), mostly(SIZES, WRONG)
OPTION_ROWS = timed(
    st.tuples(
        st.sampled_from(["put", "call"]), st.just("9875"), st.just("1591689600000000"), SIZE, PRICE, PRICE, SIZE,
        st.just("55.91"), PRICE, SIZE, st.just(""), PRICE, st.just("62.89"), st.just("SYN.BTC-9JUN20"), PRICE,
        *[st.sampled_from(["", "-0.61752", "5e-7"])] * 5,
    )
)  # fmt: skip


def snapshot_kind(depth: int) -> tuple[str, st.SearchStrategy[list[str]]]:
    """Header and rows of book_snapshot_N: asks above 13, bids below; levels may be missing, all asks, too."""
    names = [f"{side}[{i}].{what}" for i in range(depth) for side in ("asks", "bids") for what in ("price", "amount")]
    lines = st.integers(0, 2**32).map(lambda seed: _snapshot_cells(depth, random.Random(seed)))
    return ",".join(("exchange,symbol,timestamp,local_timestamp", *names)), timed(lines)


def _snapshot_cells(depth: int, dice: random.Random) -> tuple[str, ...]:
    there = {"asks": dice.choice((0, 1, depth - 1, depth, depth)), "bids": dice.choice((1, depth - 1, depth, depth))}
    cells: list[str] = []
    for i in range(depth):
        for side, sign in (("asks", 1), ("bids", -1)):
            tenths = 130 + sign * (i + dice.choice((1, 1, 1, 0, -2)))
            price, size = f"{tenths / 10}", dice.choice(("0.5", "1", "2.50", "3e0"))
            if dice.randrange(40) == 0:
                price, size = dice.choice((("nan", size), (price, "-1"), (price, ""), (price, "0"), ("1.23", size)))
            cells += (price, size) if i < there[side] else ("", "")
    return tuple(cells)


KINDS = {
    "quotes": (TOUCH, QUOTE_ROWS), "options_chain": (OPTIONS, OPTION_ROWS), "book_snapshot_5": snapshot_kind(5),
    "book_snapshot_25": snapshot_kind(25),
    "incremental_book_L2": (L2, BOOK_ROWS), "trades": (PRINTS, PRINT_ROWS), "liquidations": (PRINTS, PRINT_ROWS),
    "book_ticker": (TOUCH, QUOTE_ROWS), "derivative_ticker": (TICKER, TICKER_ROWS),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where generated files go."""
    return tmp_path_factory.mktemp("tardis")


@pytest.mark.parametrize("data_type", KINDS)
@given(data=st.data())
def test_any_file_reads_as_the_oracle_says(folder: Path, data_type: str, data: st.DataObject) -> None:
    """Events and counts equal those of plain Python with `csv` and Decimal, whatever the batches and the policy."""
    header, rows = KINDS[data_type]
    lines = data.draw(rows)
    policy = data.draw(st.sampled_from(["repair", "count", "raise"]))
    path = folder / f"venue_{data_type}_x.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    source = CSV.open([path], instruments=[COINS], policy=policy)
    terms = (COINS.tick, COINS.lot, source.offset_us, source.horizon_us, policy)
    oracle = Oracle(*terms)
    try:
        expected = oracle.read(path.read_text(), data_type)
    except Stop as stop:
        with pytest.raises(DataError) as caught:
            events_of(source)
        assert caught.value.path == str(path)
        if "crossed" not in oracle.wrong:  # crossed books are looked for behind the rows, so another may come first
            assert caught.value.line == stop.args[0]
        return
    events = events_of(source, data.draw(st.sampled_from([1, 3, 1000])))
    assert tuples(events) == expected
    quality = source.quality.of(COINS.name)
    for what, code in COUNTED.items():
        assert quality.anomalies[assemble.ANOMALIES[code]] == oracle.wrong[what], what
    assert (quality.breaks, source.quality.gaps_total) == (oracle.gaps, oracle.gaps)


@given(prices=st.lists(st.decimals("0.0001", 10_000, places=4), min_size=1, max_size=20))
def test_the_grid_is_the_greatest_common_step(folder: Path, prices: list[Decimal]) -> None:
    """Tick and lot are the largest steps of which all prices and sizes are multiples."""
    path = folder / "grid_trades.csv"
    path.write_text("\n".join([PRINTS, *(line("", "buy", p, p * 3, at=i) for i, p in enumerate(prices))]))
    (instrument,) = CSV.open([path]).instruments
    whole = [int(p * 10_000) for p in prices]
    assert instrument.tick == Decimal(int(np.gcd.reduce(whole))) / 10_000
    assert instrument.lot == 3 * instrument.tick


@pytest.mark.parametrize("rows", [97, 32_768])
def test_spot_file_rebuilds_the_raw_capture(captures: Path, rows: int) -> None:
    derived = captures / "derived_tardis"
    source = CSV.open(
        [
            derived / f"binance_{what}_2024-08-08_ETHUSDT.csv.gz"
            for what in ("trades", "incremental_book_L2", "book_ticker")
        ]
    )
    events = events_of(source, rows)
    quality = source.quality.of("binance:ETHUSDT")
    assert (quality.applied, quality.stale, quality.trades) == (3_432, 2, 6_106)
    assert quality.anomalies["book row before the first snapshot, left out"] == 12
    assert (events["flags"] & SNAPSHOT > 0).sum() == 2_000
    assert ((events["kind"] == BOOK) & (events["flags"] & SNAPSHOT == 0)).sum() == 106_802
    assert (events["kind"] == QUOTE).sum() == 2 * 24_077
    assert (np.diff(events["ts"]) >= 0).all()
    raw = events_of(SPOT.open([captures / "binance_spot/ethusdt_20240808.gz"]))
    for name in ("price", "qty", "side", "seq"):
        mine, theirs = (rows[rows["kind"] == TRADE][name] for rows in (events, raw))
        assert (mine == theirs).all()


def test_final_books_and_clocks_equal_those_of_the_raw_captures(captures: Path) -> None:
    derived = captures / "derived_tardis"
    spot = verify(CSV.open([derived / "binance_incremental_book_L2_2024-08-08_ETHUSDT.csv.gz"]))
    raw = verify(SPOT.open([captures / "binance_spot/ethusdt_20240808.gz"]))
    mine, theirs = spot.instruments["binance:ETHUSDT"], raw.instruments["binance-spot:ETHUSDT"]
    assert mine.digest_all == theirs.digest_all
    assert mine.digest_top50 == "5ee694cb5cc18dd3e7d051e7d5671a8b13610829596820301ae4ca0497692a35"
    assert (mine.deletes, mine.absent_deletes, mine.crossed) == (theirs.deletes, theirs.absent_deletes, 0)
    assert abs(spot.quality.clock_offset_us - raw.quality.clock_offset_us) < 1
    future = verify(CSV.open(sorted(derived.glob("binance-futures_*"))))
    (check,) = future.instruments.values()
    assert check.digest_top50 == "28b40bd9b79a4bea51cebc16abeb2f0fb6cc08e302b0574f371608eaede19ff2"
    assert (check.touch.bid, check.touch.ask) == (("61739.7", "5.647"), ("61739.8", "1.391"))
    assert (check.quality.applied, check.trades.count, check.trades.id_gaps) == (2_285, 4_315, 0)
    assert future.clean


def test_book_snapshots_show_the_top_of_the_rebuilt_book(captures: Path) -> None:
    derived = captures / "derived_tardis"
    top = verify(CSV.open([derived / "binance_book_snapshot_5_2024-08-08_ETHUSDT.csv.gz"])).instruments
    full = verify(CSV.open([derived / "binance_incremental_book_L2_2024-08-08_ETHUSDT.csv.gz"])).instruments
    assert top["binance:ETHUSDT"].touch == full["binance:ETHUSDT"].touch
    assert top["binance:ETHUSDT"].quality.snapshots == 2_967


def test_a_given_instrument_names_the_venue(captures: Path) -> None:
    raw = USDM.open([captures / "binance_usdm/btcusdt_20240808.gz"])
    files = sorted((captures / "derived_tardis").glob("binance-futures_*"))
    source = CSV.open(files, instruments=raw.instruments)
    assert source.instruments == raw.instruments
    (inferred,) = CSV.open(files).instruments
    assert (inferred.tick, inferred.lot, inferred.payoff) == (Decimal("0.1"), Decimal("0.001"), "linear")


def test_real_samples_of_other_venues(captures: Path) -> None:
    samples = captures / "tardis"
    bitmex = CSV.open([samples / "bitmex_trades_XBTUSD.csv.gz"])
    (instrument,) = bitmex.instruments
    assert (instrument.payoff, instrument.settle) == ("inverse", "BTC")
    assert str(instrument.tick) == "8531.5"  # no other price occurs
    events = events_of(bitmex)
    assert (events["kind"] == TRADE).all()
    assert (events["seq"] == -1).all()
    assert bitmex.quality.of("bitmex:XBTUSD").duplicates == 0
    deribit = CSV.open([samples / "deribit_incremental_book_L2_BTC-PERPETUAL.csv.gz"])
    events = events_of(deribit)
    assert list(events["flags"] & (CLEAR | LAST)) == [CLEAR, *([0] * 13), LAST]
    huobi = CSV.open([samples / "huobi-dm-swap_quotes_BTC-USD.csv.gz"])
    assert len(events_of(huobi)) == 20
    assert any("pass instruments=" in what for what in huobi.quality.ignored)
    deep = CSV.open([samples / "binance-futures_book_snapshot_25_BTCUSDT.csv.gz"])
    assert len(events_of(deep)) == 500


def test_edited_samples(captures: Path) -> None:
    edited = captures / "tardis/edited"
    source = CSV.open([edited / "deltas_with_snapshot.csv.gz"])
    events = events_of(source)
    assert (events["flags"] & CLEAR > 0).sum() == 2
    (gap,) = source.quality.gaps
    assert gap.blind_us == int(events["ts"][events["kind"] == GAP][0] * -1 + gap.end_us)
    chain = CSV.open([edited / "options_chain.csv.gz"])
    rows = events_of(chain)
    assert {QUOTE, MARK} == set(rows["kind"].tolist())
    assert len(chain.instruments) > 1
    assert {instrument.settle for instrument in chain.instruments} <= {"BTC", "ETH"}
    ticker = events_of(CSV.open([edited / "derivative_ticker_1.csv.gz"]))
    assert list(ticker["kind"]) == [MARK, FUNDING] * 2
    assert list(ticker["value"]) == [950_025_000_000, 10_000, 950_075_000_000, 15_000]


@pytest.mark.parametrize("name", ["deltas_1", "trades_1"])
def test_nanoseconds_are_an_error(captures: Path, name: str) -> None:
    path = captures / f"tardis/edited/{name}.csv.gz"
    with pytest.raises(DataError, match=r"local_timestamp 15\d+ is in nanoseconds, not in microseconds") as caught:
        CSV.open([path])
    assert (caught.value.path, caught.value.line) == (str(path), 2)


@pytest.mark.parametrize(("divide", "unit"), [(1000, "milliseconds"), (10**6, "seconds")])
def test_other_units_are_an_error(write: Callable[..., Path], divide: int, unit: str) -> None:
    good = line("1", "buy", 1, 1)
    bad = f"venue,COIN,{T0},{T0 // divide},2,buy,1,1"
    path = write(PRINTS, good, bad, name="trades.csv")
    with pytest.raises(DataError, match=f"is in {unit}") as caught:
        CSV.open([path])
    assert caught.value.line == 3


def test_reconnect_is_a_gap_and_the_book_starts_anew(write: Callable[..., Path]) -> None:
    path = write(
        L2,
        line("true", "bid", "1.0", 5, at=0),
        line("true", "ask", "1.2", 5, at=0),
        line("false", "bid", "1.1", 5, at=50),
        line("true", "ask", "1.3", 7, at=900),
    )
    source = CSV.open([path], instruments=[COINS])
    events = events_of(source)
    offset = source.offset_us
    assert list(events["kind"]) == [BOOK, BOOK, BOOK, GAP, BOOK]
    assert list(events["ts"] - T0 - offset) == [0, 0, 50, 50, 900]
    assert int(events["flags"][4]) == SNAPSHOT | CLEAR | GAP_BEFORE | LAST
    (gap,) = source.quality.gaps
    assert (gap.start_us, gap.end_us, gap.repair) == (T0 + offset + 50, T0 + offset + 900, "snapshot")


def test_days_of_one_instrument_are_one_lane_in_order_of_time(write: Callable[..., Path]) -> None:
    late = write(PRINTS, line(2, "buy", 1, 1, at=100), name="a_trades.csv")
    early = write(PRINTS, line(1, "buy", 1, 1, at=0), name="b_trades.csv")
    assert list(events_of(CSV.open([late, early]))["seq"]) == [1, 2]
    again = write(PRINTS, line(1, "buy", 1, 1, at=50), line(3, "buy", 1, 1, at=150), name="c_trades.csv")
    with pytest.raises(DataError, match="overlap"):
        CSV.open([late, early, again])


def test_equal_times_go_by_channel_whatever_the_order_of_files(write: Callable[..., Path]) -> None:
    paths = [
        write(TOUCH, line(1, 2, 1, 1), name="x_quotes.csv"),
        write(L2, line("true", "bid", 1, 1), name="x_l2.csv"),
        write(PRINTS, line("", "buy", 1, 1), name="x_trades.csv"),
        write(PRINTS, line("", "sell", 1, 1), name="x_liquidations.csv"),
        write(TICKER, line(T0, "0.1", "", "", "", "", "1.5"), name="x_ticker.csv"),
    ]
    forward, backward = (events_of(CSV.open(order)) for order in (paths, paths[::-1]))
    assert forward.tobytes() == backward.tobytes()
    assert list(forward["kind"]) == [TRADE, LIQUIDATION, MARK, FUNDING, BOOK, QUOTE, QUOTE]


def test_one_channel_twice_is_an_error(write: Callable[..., Path]) -> None:
    quotes = write(TOUCH, line(1, 2, 1, 1), name="x_quotes.csv")
    ticker = write(TOUCH, line(1, 2, 1, 1), name="x_book_ticker.csv")
    with pytest.raises(DataError, match=r"holds book_ticker of venue:COIN.*leave one"):
        CSV.open([quotes, ticker])


@pytest.mark.parametrize(
    ("lines", "words", "at"),
    [
        (["hello,world"], "not a Tardis CSV file", 1),
        ([L2], "no rows", 0),
        ([L2, line("yes", "bid", 1, 1)], "neither true nor false", 2),
        ([L2, line("true", "bid", 1)], "7 fields instead of 8", 2),
        ([L2, line("true", "bid", 1, 1), "venue,COIN,17"], "truncated", 3),
        ([L2, line("true", "bid", "1x", 1)], "'1x' is not a number", 2),
        ([L2, line("true", "bid", "1e30", 1)], "more than 18 digits", 2),
        ([L2, f"venue,COIN,{T0},,true,bid,1,1"], "local_timestamp is empty", 2),
        ([L2.replace("amount", "quantity"), line("true", "bid", 1, 1)], "no column 'amount'", 1),
        (["exchange,symbol,timestamp,local_timestamp,side", line("buy")], "no Tardis data type", 1),
    ],
)
def test_what_cannot_be_read(write: Callable[..., Path], lines: list[str], words: str, at: int) -> None:
    path = write(*lines, name="x_trades.csv", end="")
    with pytest.raises(DataError, match=words) as caught:
        CSV.open([path])
    assert (caught.value.path, caught.value.line) == (str(path), at)


def test_numbers_beyond_64_bits_are_an_error(write: Callable[..., Path]) -> None:
    small = Instrument("venue", "COIN", "linear", Decimal("0.000000001"), Decimal(1))
    path = write(PRINTS, line("", "buy", "99999999999999999", 1), name="x_trades.csv")
    with pytest.raises(DataError, match="too large") as caught:
        events_of(CSV.open([path], instruments=[small]))
    assert caught.value.line == 2


def test_a_cut_download_names_the_line(tmp_path: Path) -> None:
    lines = [line(i, "buy", 1, 1, at=i) for i in range(50_000)]
    whole = gzip.compress("\n".join([PRINTS, *lines, ""]).encode())
    path = tmp_path / "x_trades.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated") as caught:
        CSV.open([path])
    assert caught.value.line > 1


def test_twins_need_a_telling_name(write: Callable[..., Path]) -> None:
    path = write(PRINTS, line("", "buy", 1, 1), name="x.csv")
    with pytest.raises(DataError, match=r"trades and liquidations have the same columns.*data_type"):
        CSV.open([path])
    (event,) = events_of(CSV.open([path], data_type="liquidations"))
    assert int(event["kind"]) == LIQUIDATION


def test_wrong_options(write: Callable[..., Path]) -> None:
    path = write(PRINTS, line("", "buy", 1, 1), name="x_trades.csv")
    with pytest.raises(ConfigError, match="did you mean 'policy'"):
        CSV.open([path], polcy="repair")
    with pytest.raises(ConfigError, match="no such policy"):
        CSV.open([path], policy="mend")
    with pytest.raises(ConfigError, match="without message ids"):
        CSV.open([path], drop_every=5)
    with pytest.raises(ConfigError, match="no file"):
        CSV.open([])


def test_a_strategy_runs_on_files_of_several_channels(captures: Path) -> None:
    class Counting(Strategy):
        def on_start(self, ctx: Context) -> None:
            self.seen = {"book": 0, "trade": 0, "quote": 0}

        def on_book(self, ctx: Context, book: object) -> None:
            self.seen["book"] += 1

        def on_trade(self, ctx: Context, trade: object) -> None:
            self.seen["trade"] += 1

        def on_quote(self, ctx: Context, quote: object) -> None:
            self.seen["quote"] += 1

    strategy = Counting()
    Replay(CSV.open(sorted((captures / "derived_tardis").glob("binance-futures_*")))).run(strategy)
    assert strategy.seen == {"book": 2_286, "trade": 4_315, "quote": 22_435}
