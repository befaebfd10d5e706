"""The rules of the fuzzer on its seeds, and on what it has found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CAPTURES = Path(__file__).parents[2].parent / "shared" / "captures"
FOUND = [
    ("bitmex", b'{"table":[["1","2"]],"action":"update","data":[]}'),
    ("bitmex", b'{"table":"instrument","action":"partial","data":[{"symbol":"X","tickSize":1,"lotSize":1,"multiplier":'
               b'1,"isInverse":false,"settlCurrency":[],"markPrice":1}]}'),
    ("coinbase", b'{"type":"l2update","product_id":"BTC-EUR","time":"2021-04-17T16:43:37Z",'
                 b'"changes":[[[],"7.1","0"]]}'),
    ("deribit", b'{"method":"subscription","params":{"channel":"trades.X.raw","data":[{"trade_seq":7,"price":4469.5,'
                b'"timestamp":1584058044032,"direction":"sell","instrument_name":"BTC-PERPETUAL","amount":1,'
                b'"liquidation":{}}]}}'),
    ("binance-spot", b'{"e":[["1","2"]],"s":"BTCUSDT"}'),
    ("binance-usdm", b'{"e":{},"s":"BTCUSDT"}'),
    ("tardis-csv", b"exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
                   b"b\xff,XBTUSD,1583020803145000,1583020803307160,x,sell,8531.5,2152\n"),
    ("tardis-machine", b'{"type":"trade","symbol":"A,B","exchange":"bitmex","price":7996,"amount":50,"side":"sell",'
                       b'"timestamp":"2019-10-23T10:32:49.669Z","localTimestamp":"2019-10-23T10:32:49.740Z"}\n'),
    ("coinbase-l3", b'[{"type":"match","sequence":18446744073709551616,"product_id":"BTC-USD",'
                    b'"time":"2018-07-13T20:47:12Z","trade_id":3,"side":"buy","price":"7.1","size":"1"}]'),
    ("coinbase-l3", b'[{"type":"open","sequence":7,"product_id":"' + b"B" * 200 + b'"}]'),
]  # fmt: skip
"""Adapter and input, shortened by hand: each once let something else than a DataError out."""


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_hold(name: str, tmp_path: Path) -> None:
    seeds = TARGETS[name].seeds(CAPTURES)
    if not seeds:
        pytest.skip(f"no captures in {CAPTURES}, and no synthetic messages of {name}")
    for seed in seeds:
        TARGETS[name].check(seed, tmp_path)


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_holds(name: str, data: bytes, tmp_path: Path) -> None:
    TARGETS[name].check(data, tmp_path)
