"""The live protocol of Binance: pure values, no server."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from adapters.live.binance import COINM, SPOT, USDM
from adapters.live.protocol import BOOK, CHANNELS, MARKS, Control, Data, Leaving, Limits, Refused, check_channels
from replay.errors import ConfigError, DataError

VENUES = (SPOT, USDM, COINM)


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
def test_every_channel_of_every_symbol_is_asked_for_once_and_within_the_limits(venue) -> None:
    few = replace(venue, limits=Limits(streams_per_connection=3, streams_per_frame=2))
    symbols = ["AAAUSDT", "BBBUSDT", "CCCUSDT"]
    connections = few.connections(symbols, few.channels)
    streams = [stream for connection in connections for stream in connection.streams]
    assert sorted(streams) == sorted(set(streams))
    assert len(streams) == len(symbols) * len(few.channels)
    assert all(len(connection.streams) <= 3 for connection in connections)
    assert sorted(symbol for connection in connections for symbol in connection.books) == symbols
    for connection in connections:
        assert {few.book_stream(symbol) for symbol in connection.books} <= set(connection.streams)
        frames = [json.loads(text) for text in few.subscribe(connection.streams, 5)]
        assert [stream for frame in frames for stream in frame["params"]] == list(connection.streams)
        assert max(len(frame["params"]) for frame in frames) <= 2
        assert [frame["id"] for frame in frames] == list(range(5, 5 + len(frames)))
        assert {frame["method"] for frame in frames} == {"SUBSCRIBE"}


def test_usdm_asks_for_marks_and_liquidations_over_another_path() -> None:
    public, market = USDM.connections(["BTCUSDT"], USDM.channels)
    assert public.url.endswith("/public/stream")
    assert public.books == ("BTCUSDT",)
    assert market.url.endswith("/market/stream")
    assert market.books == ()
    assert market.streams == ("btcusdt@forceOrder", "btcusdt@markPrice@1s")


def test_other_base_addresses_keep_the_paths() -> None:
    moved = USDM.at("ws://127.0.0.1:1234", "http://127.0.0.1:99")
    assert [c.url for c in moved.connections(["A"], (BOOK, MARKS))] == [
        "ws://127.0.0.1:1234/public/stream", "ws://127.0.0.1:1234/market/stream",
    ]  # fmt: skip
    assert moved.snapshot("A").url == "http://127.0.0.1:99/fapi/v1/depth?symbol=A&limit=1000"
    assert USDM.at("", "") == USDM
    with pytest.raises(ConfigError, match="no base address"):
        USDM.at("ws://127.0.0.1/stream", "")


def test_frames_are_told_apart() -> None:
    data = b'{"stream":"btcusdt@trade","data":{}}'
    assert USDM.receive(data) == Data(data)
    assert USDM.receive(b'{"data":{},"stream":"btcusdt@trade"}') == Data(b'{"data":{},"stream":"btcusdt@trade"}')
    assert isinstance(USDM.receive(b'{"result":null,"id":1}'), Control)
    assert isinstance(USDM.receive(b'{"error":{"code":2,"msg":"Invalid request"},"id":1}'), Refused)
    assert isinstance(USDM.receive(b'{"code":3,"msg":"Invalid JSON"}'), Refused)
    assert isinstance(SPOT.receive(b'{"stream":"!serverShutdown","data":{"e":"serverShutdown"}}'), Leaving)
    assert isinstance(SPOT.receive(b'{"e":"serverShutdown","E":1}'), Leaving)
    for garbage in (b"", b"nonsense", b"[1]", b"{}", b"\xff\xfe", b'"text"'):
        with pytest.raises(DataError):
            USDM.receive(garbage)


def test_a_snapshot_answer_becomes_a_line_that_names_its_symbol() -> None:
    body = b'{"lastUpdateId": 7,\n "bids": [["1.0","2"]], "asks": []}'
    message = SPOT.snapshot_message("BTCUSDT", body)
    assert b"\n" not in message
    assert json.loads(message) == {"stream": "btcusdt@depthSnapshot", "data": json.loads(body)}
    with pytest.raises(DataError, match="no book"):
        SPOT.snapshot_message("BTCUSDT", b'{"code":-1121,"msg":"Invalid symbol."}')


def test_terms_come_from_exchange_info() -> None:
    filters = [{"filterType": "PRICE_FILTER", "tickSize": "0.10"}, {"filterType": "LOT_SIZE", "stepSize": "1"}]
    body = json.dumps({"symbols": [{
        "symbol": "BTCUSD_PERP", "marginAsset": "BTC", "quoteAsset": "USD", "contractSize": 100, "filters": filters,
    }]}).encode()  # fmt: skip
    (perp,) = COINM.instruments(["BTCUSD_PERP"], [body])
    assert (perp.name, perp.payoff, perp.tick, perp.lot) == ("binance-coinm:BTCUSD_PERP", "inverse", Decimal("0.1"), 1)
    assert (perp.multiplier, perp.settle) == (100, "BTC")
    with pytest.raises(ConfigError, match="did you mean 'BTCUSD_PERP'"):
        COINM.instruments(["BTCUSD_PERF"], [body])
    for broken in (b"{}", b'{"symbols":[{"symbol":"X","filters":[]}]}', b"[]"):
        with pytest.raises(DataError):
            COINM.instruments(["X"], [broken])


def test_unknown_channels_are_refused_and_none_means_all() -> None:
    assert check_channels(SPOT, []) == SPOT.channels
    assert set(check_channels(USDM, [])) == set(CHANNELS)
    with pytest.raises(ConfigError, match="binance-spot has none"):
        check_channels(SPOT, ["marks"])
