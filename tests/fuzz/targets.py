"""What is fuzzed, and what must hold for any bytes.

An input stands for a recording: frames of a live connection or lines of a file.  For each adapter:

* only DataError leaves it (a live decoder then goes on with the next frame);
* the events do not depend on the size of batches, and neither does the error;
* rows are bounded by the length of the input, times never step back, the last message is closed.

Seeds are short messages of the captures, and synthetic ones which are there without the captures, too.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from adapters.base import Decoder
from adapters.binance import COINM, SPOT, USDM, BinanceAdapter
from adapters.binance_archive import ARCHIVE
from adapters.binance_options import OPTIONS
from adapters.bitmex import BITMEX
from adapters.bybit import DERIVATIVES as BYBIT
from adapters.bybit import OPTIONS as BYBIT_OPTIONS
from adapters.bybit import SPOT as BYBIT_SPOT
from adapters.coinbase import COINBASE
from adapters.coinbase_l3 import L3
from adapters.decoders.binance import BinanceDecoder
from adapters.deribit import DERIBIT
from adapters.hyperliquid import HYPERLIQUID
from adapters.kraken import KRAKEN
from adapters.okx import OKX
from adapters.relay import ADAPTER as RELAY
from adapters.tardis_csv import CSV
from adapters.tardis_machine import ADAPTER as MACHINE
from adapters.venue import VenueAdapter
from replay.errors import DataError
from replay.events import LAST
from replay.instruments import Instrument

START_NS = 1_784_000_000_000_000_000
STEP_NS = 10**9
MAX_FRAMES = 64
LONGEST = 4_000
"""Bytes of a seed."""
SPARE_ROWS = 4_096
"""Rows beyond one per byte: a full book of Kraken that is cut to its depth."""
GRID = Decimal("1e-8")

Live = BinanceAdapter | VenueAdapter


@dataclass(frozen=True)
class Target:
    """An adapter; `exchanges` name its messages in the captures, `file` what its recordings are called."""

    adapter: Any
    exchanges: tuple[str, ...] = ()
    samples: tuple[Any, ...] = ()
    symbols: tuple[str, ...] = ()
    file: str = ""
    texts: tuple[bytes, ...] = ()
    globs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The adapter's."""
        return str(self.adapter.name)

    def check(self, data: bytes, folder: Path) -> None:
        """Whatever must hold for an input; AssertionError, or what else should not have left the adapter."""
        if not self.file:
            check_live(self.adapter, self.symbols, data)
            data = b"".join(b"%d %s\n" % (START_NS + i * STEP_NS, frame) for i, frame in enumerate(frames_of(data)))
        path = folder / (self.file or "recording.txt")
        path.write_bytes(data)
        check_file(self.adapter, path, len(data))

    def seeds(self, captures: Path) -> list[bytes]:
        """Inputs to begin with."""
        found = [b"\n".join(json.dumps(sample).encode() for sample in self.samples), *self.texts]
        if captures.is_dir():
            found += list(captured(captures, self.exchanges))
            for pattern in self.globs:
                for path in sorted(captures.glob(pattern)):
                    with gzip.open(path) as stream:
                        found.append(stream.read(LONGEST))
        return [seed for seed in found if seed]


def frames_of(data: bytes) -> list[bytes]:
    """The frames of an input."""
    return data.split(b"\n")[:MAX_FRAMES]


def captured(captures: Path, exchanges: Iterable[str]) -> Iterator[bytes]:
    """The short messages of each case, one a line."""
    cases: dict[tuple[str, int], list[bytes]] = defaultdict(list)
    for line in gzip.decompress((captures / "raw_to_normalized/pairs.ndjson.gz").read_bytes()).splitlines():
        pair = json.loads(line)
        text = json.dumps(pair["message"]).encode()
        if pair["exchange"] in exchanges and len(text) < LONGEST // 2:
            cases[pair["exchange"], pair["case"]].append(text)
    for texts in cases.values():
        taken: list[bytes] = []
        for text in texts:
            if sum(map(len, taken)) + len(text) > LONGEST:
                yield b"\n".join(taken)
                taken = []
            taken.append(text)
        yield b"\n".join(taken)


def check_live(adapter: Live, symbols: tuple[str, ...], data: bytes) -> None:
    """Frame by frame."""
    instruments = [Instrument(adapter.name, symbol, "linear", GRID, GRID) for symbol in symbols]
    decoder: Decoder
    if isinstance(adapter, BinanceAdapter):
        decoder = BinanceDecoder(adapter.market, instruments)
    else:
        decoder = adapter.decoder(instruments)
    parts: list[np.ndarray] = []
    for i, frame in enumerate(frames_of(data)):
        try:
            decoder.feed(frame, START_NS + i * STEP_NS, lambda batch: parts.append(batch.copy()))
        except DataError as error:
            assert str(error)
        decoder.commands()
    assert decoder.quality.as_dict()
    if parts:
        check_events(np.concatenate(parts), len(data))


def check_file(adapter: Any, path: Path, size: int) -> None:
    """As a recording, in batches of any size."""
    try:
        source = adapter.open([path])
    except DataError as error:
        assert str(error)
        return
    outcomes = []
    for rows in (1, 32_768):
        parts: list[np.ndarray] = []
        problem = ""
        try:
            for batch in source.batches(rows):
                parts.append(batch.copy())
        except DataError as error:
            problem = str(error)
        events = np.concatenate(parts) if parts else np.zeros(0, np.uint8)
        outcomes.append((problem, events.tobytes() if not problem else b""))
        if parts:
            check_events(events, size)
    assert outcomes[0] == outcomes[1], "the size of batches changes what is read"


def check_events(events: np.ndarray, size: int) -> None:
    """What holds for the rows of any source."""
    assert len(events) <= size + SPARE_ROWS, f"{len(events)} rows out of {size} bytes"
    assert (np.diff(events["ts"]) >= 0).all(), "time steps back"
    assert events["flags"][-1] & LAST, "the last message is not closed"
    assert (events["exch_ts"] <= events["ts"]).all(), "a venue time after its receipt"


SPOT_SAMPLES = (
    {"lastUpdateId": 5, "symbol": "BTCUSDT", "bids": [["7.1", "2"]], "asks": [["7.2", "1"]]},
    {"e": "depthUpdate", "E": 1723161255000, "s": "BTCUSDT", "U": 6, "u": 7, "b": [["7.0", "0.5"]],
     "a": [["7.2", "0"]]},
    {"u": 7, "s": "BTCUSDT", "b": "7.1", "B": "2", "a": "7.3", "A": "4"},
    {"e": "trade", "E": 1723161255001, "s": "BTCUSDT", "t": 9, "p": "7.2", "q": "1", "T": 1723161255000, "m": False,
     "M": True},
)  # fmt: skip
FUTURE_SAMPLES = (
    {"lastUpdateId": 5, "E": 1723161255000, "T": 1723161255000, "symbol": "{}", "bids": [["7.1", "2"]],
     "asks": [["7.2", "1"]]},
    {"e": "depthUpdate", "E": 1723161255000, "T": 1723161255000, "s": "{}", "U": 5, "u": 7, "pu": 5,
     "b": [["7.0", "0.5"]], "a": [["7.2", "0"]]},
    {"e": "markPriceUpdate", "E": 1723161255000, "s": "{}", "p": "7.15", "r": "0.0001", "T": 1723161600000},
    {"e": "forceOrder", "E": 1723161255000, "o": {"s": "{}", "S": "SELL", "q": "1", "p": "7", "X": "FILLED", "z": "1",
     "T": 1723161255000}},
)  # fmt: skip


def named(samples: tuple[Any, ...], symbol: str) -> tuple[Any, ...]:
    """Samples with a symbol."""
    return tuple(json.loads(json.dumps(sample).replace("{}", symbol)) for sample in samples)


TIME = "2021-04-17T16:43:37.075687Z"
TARGETS = {
    target.name: target
    for target in (
        Target(SPOT, ("binance",), SPOT_SAMPLES, ("BTCUSDT", "ETHUSDT")),
        Target(USDM, ("binance-futures",), named(FUTURE_SAMPLES, "BTCUSDT"), ("BTCUSDT", "ETHUSDT")),
        Target(COINM, ("binance-delivery",), named(FUTURE_SAMPLES, "BTCUSD_PERP"), ("BTCUSD_PERP", "ETHUSD_PERP")),
        Target(OPTIONS, ("binance-european-options",), (), ("BTC-251226-95000-C", "BTC-251219-89000-C")),
        Target(BYBIT, ("bybit",), (
            {"topic": "orderbook.50.BTCUSDT", "type": "snapshot", "ts": 1733011200691,
             "data": {"s": "BTCUSDT", "b": [["7.1", "2"]], "a": [["7.2", "1"]], "u": 5, "seq": 9},
             "cts": 1733011200690},
            {"topic": "orderbook.50.BTCUSDT", "type": "delta", "ts": 1733011200791,
             "data": {"s": "BTCUSDT", "b": [["7.1", "0"]], "a": [], "u": 6, "seq": 10}, "cts": 1733011200790},
        ), ("BTCUSDT", "BTCUSD")),
        Target(BYBIT_SPOT, ("bybit-spot",), (), ("BTCUSDT",)),
        Target(BYBIT_OPTIONS, ("bybit-options",), (), ("BTC-30DEC22-18000-C",)),
        Target(OKX, ("okex", "okex-futures", "okex-swap", "okex-options", "okex-spreads"), (
            {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": "snapshot", "data": [
                {"asks": [["7.2", "1", "0", "1"]], "bids": [["7.1", "2", "0", "1"]], "ts": "1652459224000",
                 "checksum": 0, "prevSeqId": -1, "seqId": 5}]},
        ), ("BTC-USDT", "BTC-USD-SWAP")),
        Target(DERIBIT, ("deribit",), (
            {"method": "subscription", "params": {"channel": "book.BTC-PERPETUAL.raw", "data": {
                "type": "snapshot", "timestamp": 1626993724318, "instrument_name": "BTC-PERPETUAL", "change_id": 5,
                "bids": [["new", 7.1, 20.0]], "asks": [["new", 7.2, 10.0]]}}},
            {"method": "subscription", "params": {"channel": "book.BTC-PERPETUAL.raw", "data": {
                "type": "change", "timestamp": 1626993724418, "instrument_name": "BTC-PERPETUAL", "change_id": 6,
                "prev_change_id": 5, "bids": [["delete", 7.1, 0.0]], "asks": []}}},
        ), ("BTC-PERPETUAL",)),
        Target(HYPERLIQUID, ("hyperliquid",), (
            {"channel": "l2Book", "data": {"coin": "BTC", "levels": [[{"n": 5, "px": "7.1", "sz": "3"}],
             [{"n": 1, "px": "7.2", "sz": "6"}]], "time": 1737918843542}},
        ), ("BTC",)),
        Target(BITMEX, ("bitmex",), (
            {"table": "orderBookL2", "action": "partial", "filter": {"symbol": "XBTUSD"}, "data": [
                {"symbol": "XBTUSD", "id": 1, "side": "Sell", "size": 7, "price": 100.5}]},
            {"table": "orderBookL2", "action": "update", "data": [
                {"symbol": "XBTUSD", "id": 1, "side": "Sell", "size": 8}]},
        ), ("XBTUSD", "ETHUSD")),
        Target(COINBASE, ("coinbase",), (
            {"type": "snapshot", "product_id": "BTC-EUR", "bids": [["7.1", "1.5"]], "asks": [["7.2", "0.25"]]},
            {"type": "l2update", "product_id": "BTC-EUR", "time": TIME, "changes": [["buy", "7.1", "0"]]},
        ), ("BTC-EUR", "BTC-USD")),
        Target(KRAKEN, ("kraken",), (
            [468, {"as": [["7.2", "2.00", "1561939258.5"]], "bs": [["7.1", "1.50", "1561939258.5"]]}, "book-10",
             "XBT/USD"],
            [468, {"b": [["7.1", "0.00", "1561939259.5"]], "c": "7"}, "book-10", "XBT/USD"],
        ), ("XBT/USD", "BTC/USD")),
        Target(CSV, file="data.csv", globs=("tardis/*.csv.gz", "tardis/edited/*.csv.gz"), texts=(
            b"exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
            b"bitmex,XBTUSD,1583020803145000,1583020803307160,x,sell,8531.5,2152\n",
        )),
        Target(MACHINE, file="data.ndjson", globs=("tardis/*.ndjson.gz",), texts=(
            b'{"type":"trade","symbol":"XBTUSD","exchange":"bitmex","id":"x","price":7996,"amount":50,"side":"sell",'
            b'"timestamp":"2019-10-23T10:32:49.669Z","localTimestamp":"2019-10-23T10:32:49.740Z"}\n',
        )),
        Target(L3, file="data.json", texts=(
            b'[{"type":"open","sequence":7,"product_id":"BTC-USD","time":"2018-07-13T20:47:11.025000Z","order_id":"a",'
            b'"side":"buy","price":"7.1","remaining_size":"2"},{"type":"match","sequence":8,"product_id":"BTC-USD",'
            b'"time":"2018-07-13T20:47:12Z","trade_id":3,"maker_order_id":"a","side":"buy","price":"7.1","size":"1"}]',
        )),
        Target(ARCHIVE, file="BTCUSDT-trades-2024-08-08.csv", texts=(
            b"id,price,qty,quote_qty,time,is_buyer_maker\n1,7.1,2,14.2,1723075200000,true\n",
        )),
        Target(RELAY, file="data.relay", texts=(
            b'{"relay":1,"kind":"trades","exchange":"binance","symbol":"BTCUSDT","unit_us":1000}\n'
            b'{"timestamp":1723161600000,"price":"7.1","amount":"2","side":"buy","id":"5"}\n',
        )),
    )
}  # fmt: skip
