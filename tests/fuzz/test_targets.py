"""The rules of the fuzzer on its seeds, and on what it has found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CAPTURES = Path(__file__).parents[2].parent / "shared" / "captures"
FOUND = [
    ("bitmex", b'{"table":[["1","2"]],"action":"update","data":[]}'),
    ("bitmex", b'{"table":"instrument","action":"partial","data":[{"symbol":"X","tickSize":1,"lotSize":1,'
               b'"multiplier":1,"isInverse":false,"settlCurrency":[],"markPrice":1}]}'),
    ("coinbase", b'{"type":"l2update","product_id":"BTC-EUR","time":"2021-04-17T16:43:37Z","changes":[[[],"7","0"]]}'),
    ("deribit", b'{"method":"subscription","params":{"channel":"trades.X.raw","data":[{"trade_seq":7,"price":4469.5,'
                b'"timestamp":1584058044032,"direction":"sell","instrument_name":"BTC-PERPETUAL","amount":1,'
                b'"liquidation":{}}]}}'),
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
