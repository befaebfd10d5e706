"""A relay that misbehaves in every way that it may: the client ends with the exact data or a clear error."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.decoders.relay import SHAPES, Pager, Shape
from adapters.relay import ADAPTER, relay_source
from adapters.transports.relay import (
    RELAY,
    DataSet,
    Relay,
    Settings,
    data_sets,
    download,
)
from replay.cli import make_parser
from replay.commands.fetch import download as fetch_command
from replay.commands.fetch import find_fetcher
from replay.errors import ConfigError, DataError, ReplayError, TransportError
from replay.events import BOOK, CLEAR, FUNDING, LAST, LIQUIDATION, MARK, SNAPSHOT, TRADE
from replay.sources import find_adapter
from tests.adapters.relay_server import (
    KEY,
    Fault,
    RelayServer,
    cut,
    json_answer,
    serving,
    silent,
    snapshot,
    status,
)

DAY = date(2024, 8, 9)
START_MS = 1_723_161_600_000
"""2024-08-09 00:00 UTC."""
MARKET = ("binance-futures", "BTCUSDT")
QUICK: dict[str, Any] = {"attempts": 4, "wait_s": 0.01, "max_wait_s": 0.05, "idle_s": 5.0, "rate_per_s": 10_000.0}
SEED = 5


def trades(count: int, seed: int = SEED, step_ms: int = 700) -> list[dict[str, Any]]:
    """Trades with ids, several to a millisecond."""
    dice = random.Random(seed)
    at, out = START_MS, []
    for number in range(count):
        at += dice.choice((0, 0, 1, step_ms))
        out.append({
            "id": str(900 + number), "timestamp": at, "price": f"{61_000 + dice.randrange(100) / 10:.2f}",
            "amount": f"{dice.randrange(1, 999) / 1000:.3f}", "side": dice.choice(("buy", "sell")),
        })  # fmt: skip
    return out


@pytest.fixture
def server() -> Iterator[RelayServer]:
    """A relay with 57 trades, ten a page."""
    with serving(RelayServer(trades(57))) as made:
        yield made


def settings(server: RelayServer, **changes: Any) -> Settings:
    return Settings(server.url, **{**QUICK, **changes})


def asked(server: RelayServer, work: Callable[[Relay], Any], key: str = KEY, **changes: Any) -> Any:
    """What `work` returns with a client of the server."""

    async def main() -> Any:
        async with Relay(settings(server, **changes), key, random=random.Random(SEED), now_s=lambda: 0.0) as relay:
            return await work(relay)

    return asyncio.run(main())


def pager(shape: Shape | str = "trades", hours: int = 1) -> Pager:
    shape = SHAPES[shape] if isinstance(shape, str) else shape
    return Pager(shape, *MARKET, START_MS * 1000, (START_MS + 3_600_000 * hours) * 1000)


def all_rows(server: RelayServer, shape: Shape | str = "trades", **changes: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asked(server, lambda relay: relay.rows(pager(shape)), **changes)
    return found


def test_pages_follow_cursors(server: RelayServer) -> None:
    assert all_rows(server) == server.rows
    assert len(server.requests) == 6
    path, first = server.requests[0]
    assert path == "/tardis/trades"
    assert first == {
        "exchange": "binance-futures", "symbol": "BTCUSDT", "limit": "10000",
        "start_time": str(START_MS), "end_time": str(START_MS + 3_600_000),
    }  # fmt: skip
    assert server.requests[1][1]["cursor"] == "0-10"


@pytest.mark.parametrize(
    "shape",
    [
        "query_trades",
        replace(SHAPES["market_trades"], limit=15),
        replace(SHAPES["option_trades"], limit=15),
        "book_snapshots",
        replace(SHAPES["stream"], chunk_us=3_000_000),
    ],
    ids=lambda shape: shape if isinstance(shape, str) else shape.name,
)
def test_every_shape_gives_the_exact_rows(server: RelayServer, shape: Shape | str) -> None:
    assert all_rows(server, shape) == server.rows
    name = shape if isinstance(shape, str) else shape.name
    path, values = server.requests[0]
    expected = {
        "query_trades": {"query"}, "market_trades": {"start", "end", "limit"},
        "option_trades": {"exchange", "symbol", "startTime", "endTime", "limit", "category"},
        "book_snapshots": {"exchange", "symbol", "startTime", "endTime", "depth"},
        "stream": {"exchange", "symbol", "start", "end", "include"},
    }  # fmt: skip
    assert set(values) == expected[name]
    if name == "market_trades":
        assert path == "/markets/binance-futures/BTCUSDT/trades"


def test_books_at_times_come_a_hundred_a_call(server: RelayServer) -> None:
    times = range(START_MS * 1000, (START_MS + 3_600_000) * 1000, 10_000_000)
    rows = all_rows(server, replace(SHAPES["books_at"], chunk_us=10_000_000))
    assert rows == [snapshot(us) for us in times] and len(rows) == 360
    asked = [values for path, values in server.requests if path == "/backtest/fetch"]
    assert [len(values["timestamps"]) for values in asked] == [100, 100, 100, 60]
    assert sorted(us for values in asked for us in values["timestamps"]) == list(times)
    assert set(asked[0]) == {"exchange", "symbol", "timestamps", "source"} and asked[0]["source"] == "tardis"


def test_books_at_times_become_a_recording(server: RelayServer, tmp_path: Path) -> None:
    shape = replace(SHAPES["books_at"], chunk_us=1_800_000_000)
    wanted = data_sets(["binance-futures"], [shape], ["BTCUSDT"], DAY, DAY)
    source = relay_source(settings(server), wanted, tmp_path, api_key=KEY)
    events = np.concatenate([batch.copy() for batch in source.batches()])
    assert (events["kind"] == BOOK).all() and ((events["flags"] & CLEAR) > 0).sum() == 48
    assert events["seq"][::2].tolist() == [START_MS + 1_800_000 * i for i in range(48)]


@pytest.mark.parametrize(
    "fault",
    [
        status(429, Retry_After="0"), status(429, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"), status(429),
        status(429, '{"error":"slow down","retry_after":0.01}'), status(500), status(503), cut, silent,
        status(200, '{"trades":[{"id":"9'),
    ],
    ids=["429", "429-date", "429-bare", "429-body", "500", "503", "cut", "silent", "cut-json"],
)  # fmt: skip
@pytest.mark.parametrize("at", [0, 3])
def test_faults_that_pass(server: RelayServer, fault: Fault, at: int) -> None:
    server.script = [None] * at + [fault, fault]
    assert all_rows(server, idle_s=0.2) == server.rows
    assert len(server.requests) == 8


def test_retry_after_is_kept_by_every_call(server: RelayServer) -> None:
    server.script = [status(429, Retry_After="1")]
    times: list[float] = []

    async def work(relay: Relay) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()

        async def one() -> None:
            await relay.rows(pager())
            times.append(clock() - began)

        first = asyncio.ensure_future(one())
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await asyncio.gather(first, one())

    asked(server, work)
    assert min(times) >= 0.9


def test_a_relay_that_wants_too_long_a_pause_is_left(server: RelayServer) -> None:
    server.script = [status(429, Retry_After="86400")]
    with pytest.raises(TransportError, match=r"a pause of 86400 s.*come back then"):
        all_rows(server)


def test_tries_end(server: RelayServer) -> None:
    server.script = [status(500)] * 4
    with pytest.raises(TransportError, match=r"/tardis/trades: the relay answers 500 \(4 tries\)"):
        all_rows(server)


def test_repeated_and_forgotten(server: RelayServer) -> None:
    server.repeat, server.cursor_lives = 4, 2
    assert all_rows(server) == server.rows
    assert server.generation >= 1


def test_a_relay_that_forgets_each_cursor(server: RelayServer) -> None:
    server.script = [None, status(410), None, status(410)]
    server.rows = [{**row, "timestamp": START_MS + 5} for row in server.rows]
    with pytest.raises(DataError, match="forgets each cursor at once"):
        all_rows(server)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([{"trades": [], "has_more": True, "next_cursor": "a"}], "after a page without rows"),
        ([{"trades": trades(1), "has_more": True}], "names no next_cursor"),
        ([{"trades": trades(1), "has_more": True, "next_cursor": "a"}] * 2, "go round for ever"),
        ([{"trades": trades(1), "has_more": True, "next_cursor": c} for c in "aba"], "go round for ever"),
        ([{"data": []}], "holds no list 'trades'"),
        ([[]], "holds no list 'trades'"),
        ([{"trades": [{"price": "1"}]}], "None is not a time"),
        ([{"trades": [{"timestamp": START_MS * 1000}]}], "not in units of 1000 µs; set the shape's unit_us"),
        ([{"trades": trades(9)[5:], "has_more": True, "next_cursor": "a"}, {"trades": trades(1)}], "back in time"),
    ],
)
def test_pages_that_cannot_be_right(server: RelayServer, answers: Sequence[Any], words: str) -> None:
    server.script = [json_answer(answer) for answer in answers]
    with pytest.raises(DataError, match=words) as caught:
        all_rows(server)
    assert caught.value.path.endswith("/tardis/trades")


@pytest.mark.parametrize("shape", ["market_trades", "option_trades"])
def test_more_rows_of_one_time_than_a_page_holds(server: RelayServer, shape: str) -> None:
    server.rows = [{**row, "timestamp": START_MS + 5} for row in server.rows]
    with pytest.raises(DataError, match="at least 9 rows have one time; raise the shape's limit"):
        all_rows(server, replace(SHAPES[shape], limit=9))


@pytest.mark.parametrize(
    ("code", "words"),
    [(400, "does not understand"), (401, "refuses the key.*check REPLAY_RELAY_KEY"), (403, "does not cover"),
     (404, "has nothing there"), (302, "answers 302"), (418, "answers 418")],
)  # fmt: skip
def test_final_answers_are_asked_once_and_show_no_key(
    server: RelayServer, caplog: pytest.LogCaptureFixture, code: int, words: str
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script = [status(500), status(code, f"your key {KEY} is\nno good", Location=f"{server.url}/elsewhere")]
    with pytest.raises(TransportError, match=words) as caught:
        all_rows(server)
    assert len(server.requests) == 2
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    told += "".join(repr(record.__dict__) for record in caplog.records)
    assert "is no good" in told and KEY not in told


def test_without_a_key_it_says_which_variable_to_set(server: RelayServer) -> None:
    with pytest.raises(TransportError, match="set REPLAY_RELAY_KEY"):
        asked(server, lambda relay: relay.rows(pager()), key="")


def test_an_answer_may_be_too_long(server: RelayServer) -> None:
    with pytest.raises(TransportError, match="longer than 100 bytes"):
        all_rows(server, max_answer_bytes=100)


def test_no_more_calls_at_a_time_than_allowed(server: RelayServer) -> None:
    server.delay_s = 0.01

    async def many(relay: Relay) -> list[Any]:
        return list(await asyncio.gather(*(relay.rows(pager()) for _ in range(12))))

    assert asked(server, many, concurrency=5) == [server.rows] * 12
    assert server.most_active == 5


def test_calls_keep_to_the_rate(server: RelayServer) -> None:
    async def timed(relay: Relay) -> float:
        clock = asyncio.get_running_loop().time
        began = clock()
        await relay.rows(pager())
        return clock() - began

    assert asked(server, timed, rate_per_s=25.0) >= 5 / 25


def test_coverage(server: RelayServer) -> None:
    server.gaps = [{"start": START_MS, "end": START_MS + 60, "duration": 60}]
    call = lambda relay: relay.coverage(*MARKET, START_MS * 1000, START_MS * 1000 + 10**9)  # noqa: E731
    assert asked(server, call) == [(START_MS * 1000, (START_MS + 60) * 1000)]
    server.gaps = [{"start": START_MS, "end": START_MS - 1}]
    with pytest.raises(DataError, match="before it starts"):
        asked(server, call)


def test_fill_gaps(server: RelayServer) -> None:
    book = {"sequence": 9, "bids": [["1.5", "2"]], "asks": [{"price": 1.6, "size": 3}]}
    server.fill = lambda first, last: book
    call = lambda relay: relay.fill_gap(*MARKET, 5, 9)  # noqa: E731
    filled = asked(server, call)
    assert (filled.sequence, filled.bids, filled.asks) == (9, (((15, 1), (2, 0)),), (((16, 1), (3, 0)),))
    assert server.requests[-1][1]["start_sequence"] == 5
    for change, words in (
        ({"sequence": 8}, "older"), ({"sequence": None}, "no sequence"), ({"bids": []}, "empty on a side"),
        ({"asks": [["1.50", "1"]]}, "crossed"), ({"bids": [["0", "1"]]}, "without price or size"),
        ({"bids": None}, "no list of bids"), ({"bids": [7]}, "not a price and a size"),
    ):  # fmt: skip
        server.fill = lambda first, last, made={**book, **change}: made
        with pytest.raises(DataError, match=words):
            asked(server, call)
    server.fill = lambda first, last: None
    with pytest.raises(DataError, match="no snapshot for the gap"):
        asked(server, call)


@given(
    steps=st.lists(st.integers(0, 3), max_size=60),
    page=st.integers(1, 12),
    repeat=st.integers(0, 30),
    named=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_pager_gives_each_row_once(steps: list[int], page: int, repeat: int, named: bool, seed: int) -> None:
    """Whatever pages overlap and however they are shuffled, each distinct row comes once, in order of time."""
    dice = random.Random(seed)
    at, rows = START_MS, []
    for number, step in enumerate(steps):
        at += step
        rows.append({"timestamp": at, "price": number, **({"id": number} if named else {})})
    walk = pager()
    walk.start_us += 1000
    walk.end_us = (START_MS + 50) * 1000
    out, stop = [], 0
    while not walk.done:
        start, stop = max(0, stop - repeat), min(stop + page, len(rows))
        answer = rows[start:stop]
        dice.shuffle(answer)
        more = stop < len(rows)
        out += walk.take({"trades": answer, "has_more": more, "next_cursor": str(stop)})
    inside = [row for row in rows if START_MS < row["timestamp"] < START_MS + 50]
    key = lambda row: row["price"]  # noqa: E731
    assert sorted(out, key=key) == inside
    if not repeat:
        assert out == inside or not named
    assert [row["timestamp"] for row in out] == sorted(row["timestamp"] for row in out)


def test_equal_rows_without_id_are_different_trades_within_a_page() -> None:
    row = {"timestamp": START_MS, "price": "1"}
    walk = pager()
    assert walk.take({"trades": [row, row], "has_more": True, "next_cursor": "a"}) == [row, row]
    assert walk.take({"trades": [row, row, row], "has_more": True, "next_cursor": "b"}) == [row]
    named = {**row, "id": 0}
    assert walk.take({"trades": [named, named], "has_more": False}) == [named]


# -------------------------------------------------------------------------------------------------------- downloads


def fetched(server: RelayServer, folder: Path, wanted: Sequence[DataSet], key: str = KEY, **changes: Any) -> list[Path]:
    paths: list[Path] = asked(server, lambda relay: download(relay, wanted, folder), key, **changes)
    return paths


TRADES = DataSet(SHAPES["trades"], *MARKET, DAY)


def test_a_download_goes_on_after_a_new_key(server: RelayServer, tmp_path: Path) -> None:
    (expected,) = fetched(server, tmp_path / "at once", [TRADES])
    server.script = [None, None, status(401)]
    with pytest.raises(TransportError, match="401"):
        fetched(server, tmp_path, [TRADES])
    assert not (tmp_path / TRADES.name).exists()
    before, server.key = len(server.requests), "another"
    (path,) = fetched(server, tmp_path, [TRADES], key="another")
    assert len(server.requests) - before == 4
    assert path.read_bytes() == expected.read_bytes()
    assert sorted(each.suffix for each in tmp_path.iterdir() if each.is_file()) == [".gz", ".sha256"]
    fetched(server, tmp_path, [TRADES], key="another")
    assert len(server.requests) - before == 4


@pytest.mark.parametrize("damage", ["longer", "shorter", "other", "no state"])
def test_what_a_killed_download_left_does_no_harm(server: RelayServer, tmp_path: Path, damage: str) -> None:
    server.script = [None, None, status(401)]
    with pytest.raises(TransportError):
        fetched(server, tmp_path, [TRADES])
    part, state = tmp_path / f"{TRADES.name}.part", tmp_path / f"{TRADES.name}.part.state"
    data = part.read_bytes()
    part.write_bytes({"longer": data + b'{"id', "shorter": data[:-9], "other": b"{}\n" + data}.get(damage, data))
    if damage == "no state":
        state.unlink()
    (path,) = fetched(server, tmp_path, [TRADES])
    source = ADAPTER.open([path])
    assert np.concatenate(list(source.batches()))["seq"].tolist() == [int(row["id"]) for row in server.rows]


def test_several_exchanges_and_symbols_at_once(server: RelayServer, tmp_path: Path) -> None:
    wanted = data_sets(["binance", "bybit"], [SHAPES["trades"]], ["BTCUSDT", "ETH/USDT"], DAY, date(2024, 8, 10))
    paths = fetched(server, tmp_path, wanted)
    assert [path.name for path in paths] == [data_set.name for data_set in wanted]
    assert len(set(paths)) == 8
    assert paths[1].name == "relay_binance_trades_2024-08-09_ETH-USDT.ndjson.gz"
    assert {values["symbol"] for _, values in server.requests} == {"BTCUSDT", "ETH/USDT"}


def test_the_command(
    server: RelayServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPLAY_RELAY_KEY", KEY)
    text = f"fetch relay --exchange a,b --type trades --symbol BTCUSDT --from {DAY} --out {tmp_path}"
    arguments = make_parser().parse_args(text.split())
    with pytest.raises(ConfigError, match="--url"):
        fetch_command(RELAY, arguments, time.monotonic)
    arguments.url = server.url
    assert fetch_command(RELAY, arguments, time.monotonic) == 0
    listed = capsys.readouterr().out.split()
    assert [Path(line).name.split("_")[1] for line in listed] == ["a", "b"]
    assert len(ADAPTER.open([Path(line) for line in listed]).instruments) == 2
    with pytest.raises(ConfigError, match="did you mean 'trades'"):
        RELAY.plan("a", ["tradez"], ["B"], DAY, DAY)


def test_it_is_found_by_name() -> None:
    try:
        found = (find_adapter("relay"), find_fetcher("relay"))
    except ConfigError:
        pytest.skip("the installed package is older than its entry points: run make again")
    assert found == (ADAPTER, RELAY)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"url": "host"}, "not the address of a relay"), ({"concurrency": 0}, "concurrency=0: must be positive")],
)
def test_wrong_settings(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Settings(**{"url": "http://x", **change})


# ----------------------------------------------------------------------------------------------------------- events


def test_trades_become_events(server: RelayServer, tmp_path: Path) -> None:
    server.repeat, server.script = 3, [None, status(500), cut]
    source = relay_source(settings(server), [TRADES], tmp_path, api_key=KEY, random=random.Random(SEED))
    events = np.concatenate([batch.copy() for batch in source.batches(7)])
    (instrument,) = source.instruments
    assert (instrument.name, str(instrument.lot)) == ("binance-futures:BTCUSDT", "0.001")
    assert set(events["kind"]) == {TRADE}
    told = [
        (e["ts"] // 1000, e["seq"], str(instrument.price(int(e["price"]))), instrument.size(int(e["qty"])), e["side"])
        for e in events
    ]
    expected = [
        (r["timestamp"], int(r["id"]), str(instrument.price(instrument.ticks(r["price"]))),
         instrument.size(instrument.lots(r["amount"])), 1 if r["side"] == "buy" else -1)
        for r in server.rows
    ]  # fmt: skip
    assert told == expected
    assert (events["flags"] == LAST).all()


def test_a_stream_becomes_events(server: RelayServer, tmp_path: Path) -> None:
    book = {"bids": [[1.5, 2], [1.4, 1]], "asks": [["1.6", "3"]], "sequence": 7}
    said = [
        ("orderbook", book),
        ("trade", {"id": 3, "price": 1.6, "volume": "1", "is_buyer_maker": False}),
        ("orderbook", {"bids": [], "asks": [["1.6", "0"], ["1.7", "1"]], "sequence": 8, "is_snapshot": False}),
        ("liquidation", {"price": "1.5", "qty": "2", "side": "Sell"}),
        ("funding", {"rate": "0.0001", "next_funding_time": START_MS + 9, "mark_price": 1.55}),
        ("heartbeat", {}),
    ]
    server.rows = [{"timestamp": START_MS + i, "type": kind, "data": data} for i, (kind, data) in enumerate(said)]
    source = relay_source(settings(server), [DataSet(SHAPES["stream"], *MARKET, DAY)], tmp_path, api_key=KEY)
    events = np.concatenate(list(source.batches()))
    assert events["kind"].tolist() == [BOOK] * 3 + [TRADE] + [BOOK] * 2 + [LIQUIDATION, MARK, FUNDING]
    assert events["seq"].tolist()[:6] == [7, 7, 7, 3, 8, 8]
    assert events["flags"].tolist()[:3] == [SNAPSHOT | CLEAR, SNAPSHOT, SNAPSHOT | LAST]
    assert events["flags"].tolist()[4:6] == [0, LAST]
    assert (events["side"][3], events["side"][6]) == (1, -1)
    assert (events["value"][-1], events["seq"][-1]) == (10_000, (START_MS + 9) * 1000)
    assert source.quality.ignored == {"event of type heartbeat": 1}


def test_book_snapshots_become_whole_books(server: RelayServer, tmp_path: Path) -> None:
    server.rows = [
        {"timestamp": START_MS + i, "bids": [{"price": 10 + i, "size": 1}], "asks": [{"price": 99, "size": 2}]}
        for i in range(25)
    ]
    source = relay_source(settings(server), [DataSet(SHAPES["book_snapshots"], *MARKET, DAY)], tmp_path, api_key=KEY)
    events = np.concatenate(list(source.batches()))
    assert len(events) == 50
    assert (events["flags"][::2] == SNAPSHOT | CLEAR).all()
    assert events["price"][::2].tolist() == list(range(10, 35))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["{}"], "1: this is no download of a relay"),
        (["no json"], "1: this is no download of a relay"),
        (['{"relay":9,"kind":"trades","exchange":"a","symbol":"b","unit_us":1}'], "format 9"),
        ([TRADES.header().decode().strip()], "has no rows"),
        ([TRADES.header().decode().strip(), '{"timestamp":'], ":2: broken JSON"),
        ([TRADES.header().decode().strip(), '{"timestamp":1723161600000,"price":"x"}'], ":2: 'x' is not a number"),
        ([TRADES.header().decode().strip(), '{"timestamp":1723161600000,"price":true}'], ":2: True is not a number"),
        ([TRADES.header().decode().strip(), '{"timestamp":"soon"}'], ":2: 'soon' is not a time"),
    ],
)
def test_broken_files_name_the_line(write: Callable[..., Path], lines: list[str], words: str) -> None:
    with pytest.raises(ReplayError, match=words):
        ADAPTER.open([write(*lines)])
