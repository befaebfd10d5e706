"""Raw recording to event rows: both passes (survey and replay), checked against the slow exact reader.

Memory is the peak of what Python and NumPy allocate while one recording streams (tracemalloc), which must not grow
with the length of the file: it is measured on the file once and five times in a row.
"""

from __future__ import annotations

import gzip
import tempfile
import tracemalloc
from pathlib import Path

from adapters.binance import COINM, SPOT, USDM, BinanceAdapter
from adapters.decoders.binance import Reader
from adapters.recording import RecordingSource
from adapters.transports.file import read_chunks
from benchmarks.harness import Measurement, seconds

TITLE = "Raw recording to events"

DEPTH = '{"e":"depthUpdate","E":%d,"T":%d,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,"b":%s,"a":%s}'


def measure(capture: Path | None) -> list[Measurement]:
    """Rows per second over both passes, and peak memory; `capture` is a Binance recording."""
    with tempfile.TemporaryDirectory() as folder:
        path = capture or made_recording(Path(folder) / "made.gz")
        adapter = adapter_for(path)
        source = adapter.open([path])
        rows = count_rows(source)
        check(adapter, path, rows)
        both = seconds(lambda: count_rows(adapter.open([path])))
        replay = seconds(lambda: count_rows(source))
        longer = Path(folder) / "longer.gz"
        longer.write_bytes(path.read_bytes() * 5)
        memory = [peak_mb(adapter, path), peak_mb(adapter, longer)]
    what = f"{path.name}, {rows:,} rows"
    return [
        Measurement("survey and replay", what, "M rows/s", tuple(rows / s / 1e6 for s in both), "gz to events"),
        Measurement("replay alone", what, "M rows/s", tuple(rows / s / 1e6 for s in replay), "gz to events"),
        Measurement("peak memory", what, "MB", (memory[0],), "allocated while streaming"),
        Measurement("peak memory, five times the file", what, "MB", (memory[1],), "allocated while streaming"),
    ]


def adapter_for(path: Path) -> BinanceAdapter:
    """Which market the recording is of, by its first lines."""
    text = next(read_chunks(path)).data
    if b"_PERP" in text:
        return COINM
    return USDM if b'"pu"' in text else SPOT


def count_rows(source: RecordingSource) -> int:
    """Number of rows of a source."""
    return sum(len(batch) for batch in source.batches())


def check(adapter: BinanceAdapter, path: Path, rows: int) -> None:
    """AssertionError unless the slow exact reader gives the same bytes."""
    fast, slow = adapter.open([path]), adapter.open([path])
    found = b"".join(batch.tobytes() for batch in fast.batches())
    expected, exact = [], Reader(adapter.market, slow.reader.symbols, fast=False)
    for chunk in slow.chunks():
        for count in exact.tables(chunk):
            pushed = slow.sequencer.push(exact.messages, count, exact.levels, 32_768)
            expected += [batch.tobytes() for batch in pushed]
    expected += [batch.tobytes() for batch in slow.sequencer.flush()]
    assert found == b"".join(expected), "the fast reader and the slow one disagree"
    assert len(found) == 64 * rows, "two passes over one source differ"


def peak_mb(adapter: BinanceAdapter, path: Path) -> float:
    """Largest amount of memory allocated at once while a recording is opened and streamed."""
    tracemalloc.start()
    try:
        count_rows(adapter.open([path]))
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def made_recording(path: Path) -> Path:
    """A regular stream of depth messages, for machines without a capture."""
    start_ms = 1_700_000_000_000
    lines = [f'{start_ms * 1_000_000} {{"lastUpdateId":0,"bids":[["100.0","1"]],"asks":[["100.2","1"]]}}']
    for i in range(1, 20_000):
        bids = "[" + ",".join(f'["{99 - (i * k) % 50 * 0.1:.1f}","{(i + k) % 90}.{k}"]' for k in range(10)) + "]"
        asks = "[" + ",".join(f'["{101 + (i * k) % 50 * 0.1:.1f}","{(i + k) % 90}.{k}"]' for k in range(10)) + "]"
        now = start_ms + 50 * i
        lines.append(f"{now * 1_000_000} " + DEPTH % (now, now, i, i, i - 1, bids, asks))
    path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", 1))
    return path
