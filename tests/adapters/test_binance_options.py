"""Binance European options: what single messages say, in the old form and the new one."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.binance_options import OPTIONS
from adapters.decoders.binance_options import BinanceOptionsMessages
from adapters.decoders.parsed import NOTHING, Parsed
from replay.errors import DataError
from replay.events import BOOK, CLEAR, LAST, MARK, QUOTE, TRADE
from replay.instruments import Instrument
from replay.kernel import scan
from tests.adapters.broken_json import broken

SYMBOL = "BTC-251219-89000-C"
AT_MS = 1765983420778


def framed(stream: str, data: object) -> dict[str, Any]:
    """A message of a combined stream."""
    return {"stream": stream, "data": data}


def event(name: str, **fields: object) -> dict[str, Any]:
    """Data of an event."""
    return {"e": name, "E": AT_MS + 5, "T": AT_MS, "s": SYMBOL} | fields


LEVELS: dict[str, Any] = {"u": 7, "pu": 6, "b": [["60", "7.31"]], "a": [["65.5", "8.28"], ["70", "38.88"]]}
TOUCH = {"bo": "3000", "ao": "0.0", "bq": "2.55", "aq": "0", "mp": "3475.25"}
SAMPLES = [
    framed(f"{SYMBOL}@depth100@100ms", event("depth", **LEVELS)),
    framed(f"{SYMBOL.lower()}@depth20@100ms", event("depthUpdate", U=1, **LEVELS)),
    framed(f"{SYMBOL}@trade", event("trade", t="144", p="5", q="0.1", S="-1")),
    framed(f"{SYMBOL.lower()}@optionTrade", event("trade", t=200, p="5", q="0.1", X="MARKET", S="BUY", m=False)),
    framed(f"{SYMBOL.lower()}@bookTicker", event("bookTicker", u=9, b="5.8000", B="38.47", a="6.4000", A="96.37")),
    framed(f"{SYMBOL}@ticker", event("24hrTicker", **TOUCH)),
    framed("btcusdt@optionMarkPrice", [event("markPrice", **TOUCH), event("markPrice", mp="1", s="X-1-2-P")]),
    framed("BTCUSDT@index", {"e": "index", "E": AT_MS, "s": "BTCUSDT", "p": "26963.13461538"}),
    {"id": 1, "result": None},
]  # fmt: skip


def read(message: Any) -> list[Parsed]:
    """What a fresh connection makes of a message."""
    return BinanceOptionsMessages().read(message, 0)


@pytest.mark.parametrize("message", SAMPLES[:2], ids=["old", "new"])
def test_every_book_is_a_full_one(message: dict[str, Any]) -> None:
    (parsed,) = read(message)
    assert (parsed.kind, parsed.symbol, parsed.last_id, parsed.venue_us) == (scan.RESET, SYMBOL, 7, AT_MS * 1000)
    assert (parsed.bids, parsed.asks) == ([(60, 0, 731, 2)], [(655, 1, 828, 2), (70, 0, 3888, 2)])


def test_a_change_of_a_book_is_no_full_book() -> None:
    (parsed,) = read(framed(f"{SYMBOL.lower()}@depth@100ms", event("depthUpdate", U=1, **LEVELS)))
    assert (parsed.kind, parsed.name) == (scan.OTHER, "depthUpdate")


def test_trades_in_both_forms() -> None:
    ((old,), (new,)) = map(read, SAMPLES[2:4])
    assert (old.kind, old.last_id, old.side, old.bids) == (scan.TRADE, 144, -1, [(5, 0, 1, 1)])
    assert (new.kind, new.last_id, new.side, new.bids) == (scan.TRADE, 200, 1, [(5, 0, 1, 1)])
    (off,) = read(framed("x@optionTrade", event("trade", t=1, p="5", q="1", X="BLOCK", S="SELL")))
    assert off.kind == scan.OFF_BOOK


def test_touch_and_mark() -> None:
    (touch,) = read(SAMPLES[4])
    assert (touch.kind, touch.last_id, touch.venue_us) == (scan.TICKER, 9, AT_MS * 1000)
    assert (touch.bids, touch.asks) == ([(58, 1, 3847, 2)], [(64, 1, 9637, 2)])
    ticker, mark = read(SAMPLES[5])
    assert (ticker.kind, ticker.bids, ticker.asks) == (scan.TICKER, [(3000, 0, 255, 2)], [NOTHING])
    assert (mark.kind, mark.bids[0][:2], mark.extra) == (scan.MARK, (347525, 2), 0)
    marks = read(SAMPLES[6])
    assert [(parsed.kind, parsed.symbol) for parsed in marks] == [(scan.MARK, SYMBOL), (scan.MARK, "X-1-2-P")]


def test_a_recording_becomes_events(write: Callable[..., Path]) -> None:
    path = write(*(f"{(AT_MS + 50 + i) * 1_000_000} {json.dumps(message)}" for i, message in enumerate(SAMPLES[1:6])))
    source = OPTIONS.open([path])
    (instrument,) = source.instruments
    assert (instrument.name, instrument.payoff, instrument.settle) == (f"binance-options:{SYMBOL}", "linear", "USDT")
    events = np.concatenate([batch.copy() for batch in source.batches()])
    assert list(events["kind"][events["flags"] & LAST > 0]) == [BOOK, TRADE, TRADE, QUOTE, QUOTE, MARK]
    assert [instrument.price(int(row["price"])) for row in events[events["kind"] == TRADE]] == [5, 5]


@given(text=broken([json.dumps(sample).encode() for sample in SAMPLES]) | st.binary(max_size=40))
def test_whatever_comes_only_data_errors_are_raised(text: bytes) -> None:
    """Arbitrary bytes and damaged messages are refused with a DataError or read; the decoder goes on either way."""
    decoder = OPTIONS.decoder([Instrument("binance-options", SYMBOL, "linear", Decimal("0.5"), Decimal("0.01"))])
    parts: list[np.ndarray] = []
    try:
        decoder.feed(text, AT_MS * 1_000_000, lambda batch: parts.append(batch.copy()))
    except DataError as error:
        assert str(error)
    decoder.feed(json.dumps(SAMPLES[0]).encode(), AT_MS * 1_000_000, lambda batch: parts.append(batch.copy()))
    last = parts[-1]
    assert (last["kind"] == BOOK).all() and last["flags"][0] & CLEAR
    assert list(last["price"]) == [120, 131, 140]
