"""Messages a second that each venue's live decoder takes, one by one as a socket hands them over, on one core.

The traffic is made here: one full book of 50 levels a side, then nine changes of four levels to one print; Hyperliquid
tells the best 20 levels a side each time.  The answer is checked first: no gap, all prints (but Hyperliquid's first,
which counts as history), and the same bytes from a file of the same messages.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from adapters.bybit import DERIVATIVES as BYBIT
from adapters.decoders.okx import SumBook
from adapters.deribit import DERIBIT
from adapters.hyperliquid import HYPERLIQUID
from adapters.okx import OKX
from adapters.venue import VenueAdapter
from benchmarks.harness import Measurement, seconds
from replay.events import LAST, TRADE
from replay.instruments import Instrument

TITLE = "Messages of a venue to events, live"

MESSAGES = 20_000
START_MS = 1_733_011_200_000
SEED = 20_241_201
Levels = list[list[str]]
Sides = tuple[Levels, Levels]


def measure(capture: Path | None) -> list[Measurement]:
    """One line a venue and way of numbering; `capture` is not used."""
    venues: list[tuple[str, VenueAdapter, str, Callable[[], Iterator[Any]]]] = [
        ("Bybit v5", BYBIT, "BTCUSDT", bybit_frames),
        ("OKX v5, ids", OKX, "BTC-USDT", okx_frames),
        ("OKX v5, checksums", OKX, "BTC-USDT", summed_frames),
        ("Deribit", DERIBIT, "BTC-PERPETUAL", deribit_frames),
        ("Hyperliquid", HYPERLIQUID, "BTC", hyperliquid_frames),
    ]
    return [timed(name, adapter, symbol, list(map(orjson.dumps, made()))) for name, adapter, symbol, made in venues]


def timed(name: str, adapter: VenueAdapter, symbol: str, frames: list[bytes]) -> Measurement:
    """Check, then time, one decoder."""
    instrument = Instrument(adapter.name, symbol, "linear", Decimal("0.1"), Decimal("0.001"))

    def live() -> bytes:
        decoder, parts = adapter.decoder([instrument]), []
        for n, frame in enumerate(frames):
            decoder.feed(frame, (START_MS + n) * 1_000_000, lambda batch: parts.append(batch.tobytes()))
        assert decoder.quality.gaps == [], f"{name}: a gap where there is none"
        return b"".join(parts)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording"
        path.write_bytes(b"".join(b"%d %s\n" % ((START_MS + n) * 1_000_000, frame) for n, frame in enumerate(frames)))
        source = adapter.open([path], instruments=[instrument])
        rows = np.concatenate([batch.copy() for batch in source.batches()])
    assert live() == rows.tobytes(), f"{name}: the recording differs from what was live"
    history = adapter is HYPERLIQUID
    assert (rows["kind"] == TRADE).sum() == MESSAGES // 10 - history, f"{name}: prints are missing"
    assert ((rows["flags"] & LAST) > 0).sum() == MESSAGES - history, f"{name}: messages are missing"
    rates = tuple(len(frames) / s / 1e3 for s in seconds(live, 3))
    return Measurement(name, f"{len(rows):,} rows", "k messages/s", rates, "one frame at a time")


def traffic() -> Iterator[tuple[int, Sides | None]]:
    """(number, changed levels or None for a print) of each message; the first is a full book."""
    random = np.random.default_rng(SEED)
    for number in range(MESSAGES):
        if number % 10 == 9:
            yield number, None
            continue
        count = 50 if number == 0 else 2
        steps = np.arange(count) if number == 0 else random.choice(50, count, replace=False)
        sizes = random.integers(1 if number == 0 else 0, 5_000, (2, count))
        bids = [[f"{60_000 - step / 10:.1f}", f"{size / 1000:.3f}"] for step, size in zip(steps, sizes[0])]
        asks = [[f"{60_000.1 + step / 10:.1f}", f"{size / 1000:.3f}"] for step, size in zip(steps, sizes[1])]
        yield number, (bids, asks)


def bybit_frames() -> Iterator[Any]:
    """orderbook.50 and publicTrade."""
    update = 0
    for number, sides in traffic():
        ms = START_MS + number
        if sides is None:
            row = {"T": ms, "s": "BTCUSDT", "S": "Buy", "v": "0.4", "p": "60000.1", "i": "x", "BT": False}
            yield {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": ms, "data": [row]}
            continue
        update += 1
        data = {"s": "BTCUSDT", "b": sides[0], "a": sides[1], "u": update, "seq": number}
        kind = "delta" if number else "snapshot"
        yield {"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": ms, "data": data, "cts": ms}


def okx_frames(summed: bool = False) -> Iterator[Any]:
    """books and trades."""
    previous, book = -1, SumBook()
    for number, sides in traffic():
        ms = str(START_MS + number)
        if sides is None:
            row = {"instId": "BTC-USDT", "tradeId": ms, "px": "60000.1", "sz": "0.4", "side": "buy", "ts": ms}
            yield {"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": [row]}
            continue
        data: dict[str, Any] = {"bids": sides[0], "asks": sides[1], "ts": ms}
        if summed:
            book.apply(data)
            data["checksum"] = book.checksum()
        else:
            data |= {"seqId": number, "prevSeqId": previous}
            previous = number
        action = "update" if number else "snapshot"
        yield {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": [data]}


def summed_frames() -> Iterator[Any]:
    """The same as before there were ids."""
    return okx_frames(summed=True)


def deribit_frames() -> Iterator[Any]:
    """book.raw and trades.raw."""
    for number, sides in traffic():
        ms, name = START_MS + number, {"instrument_name": "BTC-PERPETUAL"}
        if sides is None:
            row = {"trade_seq": number, "timestamp": ms, "price": 60000.1, "direction": "buy", "amount": 0.4, **name}
            yield notification("trades", [row])
            continue
        bids, asks = ([["change" if float(size) else "delete", float(p), float(size)] for p, size in s] for s in sides)
        before = number - 1 - (number % 10 == 0)
        chain = {"prev_change_id": 1 + before, "type": "change"} if number else {"type": "snapshot"}
        yield notification(
            "book", {"timestamp": ms, "change_id": 1 + number, "bids": bids, "asks": asks, **name, **chain}
        )


def notification(kind: str, data: Any) -> Any:
    """What Deribit sends of a subscription."""
    return {
        "jsonrpc": "2.0",
        "method": "subscription",
        "params": {"channel": f"{kind}.BTC-PERPETUAL.raw", "data": data},
    }


def hyperliquid_frames() -> Iterator[Any]:
    """l2Book and trades."""
    for number, sides in traffic():
        ms = START_MS + number
        if sides is None:
            row = {"coin": "BTC", "side": "B", "px": "60000.1", "sz": "0.4", "time": ms, "tid": number}
            yield {"channel": "trades", "data": [row]}
            continue
        best = [(f"{60_000 - step / 10:.1f}", f"{60_000.1 + step / 10:.1f}") for step in range(20)]
        sizes = [f"{(number * 7 + step) % 5_000 / 1000 + 0.001:.3f}" for step in range(20)]
        levels = [[{"px": prices[i], "sz": size, "n": 1} for prices, size in zip(best, sizes)] for i in (0, 1)]
        yield {"channel": "l2Book", "data": {"coin": "BTC", "time": ms, "levels": levels}}
