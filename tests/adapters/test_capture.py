"""Recordings: whatever ends the recorder, what was flushed is there and reads back as the same events."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.capture import ABOUT, ADAPTER, About, Blocks, Recorder, read_blocks
from adapters.decoders import binance_lines
from adapters.decoders.binance import BinanceDecoder
from adapters.live.order import Order
from adapters.sequencing import Repair, Timing
from replay.errors import ConfigError, DataError, TransportError
from replay.events import GAP
from replay.instruments import Instrument
from replay.sources import find_adapter

BTC = Instrument("binance-spot", "BTCUSDT", "spot", Decimal("0.01"), Decimal("0.001"))
ETH = Instrument("binance-spot", "ETHUSDT", "spot", Decimal("0.01"), Decimal("0.001"))
HERE = About("binance-spot", (BTC,), Timing(), "reorder:10000000")
START_NS = 1_800_000_000_000_000_000
STEP_NS = 10_000_000


def message(i: int) -> bytes:
    """Message i of a spot feed that begins with a full book and goes on with deltas."""
    if i == 0:
        return b'{"stream":"btcusdt@depthSnapshot","data":{"lastUpdateId":0,"bids":[["9.00","1.000"]],"asks":[]}}'
    ms = (START_NS + i * STEP_NS) // 1_000_000 - 3
    return (
        b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,'
        b'"b":[["%d.00","%d.000"]],"a":[]}}' % (ms, i, i, 1 + i % 7, i % 5)
    )


def record(folder: Path, first: int, stop: int, blocks: Blocks | None = None, *, close: bool = True) -> Recorder:
    """Messages [first, stop) recorded."""
    recorder = Recorder(folder, HERE, blocks)
    for i in range(first, stop):
        recorder.write(START_NS + i * STEP_NS, message(i))
    if close:
        recorder.close(START_NS + stop * STEP_NS)
    return recorder


def events(folder: Path) -> np.ndarray:
    """What the adapter reads."""
    return np.concatenate([batch.copy() for batch in ADAPTER.open([folder]).batches()])


def decoded(stop: int) -> np.ndarray:
    """What a live decoder makes of messages [0, stop)."""
    parts: list[np.ndarray] = []
    decoder = BinanceDecoder(binance_lines.SPOT, [BTC], repair=Repair("refetch"))
    for i in range(stop):
        decoder.feed(message(i), START_NS + i * STEP_NS, lambda batch: parts.append(batch.copy()))
    rows = np.concatenate(parts)
    Order.parse(HERE.order).apply(rows)
    return rows


def test_a_recording_reads_back_as_the_events_of_the_live_decoder(tmp_path: Path) -> None:
    record(tmp_path, 0, 500)
    assert events(tmp_path).tobytes() == decoded(500).tobytes()
    source = ADAPTER.open([tmp_path])
    last = list(source.batches())[-1]
    assert len(last) == 0
    assert source.reached_us == (START_NS + 500 * STEP_NS) // 1_000
    assert not source.quality.live


def test_a_folder_may_be_named_by_all_of_its_files(tmp_path: Path) -> None:
    record(tmp_path, 0, 200, Blocks(flush_bytes=2_000, file_bytes=3_000))
    source = ADAPTER.open(list(tmp_path.iterdir())[::-1])
    assert np.concatenate([batch.copy() for batch in source.batches()]).tobytes() == decoded(200).tobytes()


def test_the_venues_own_adapter_reads_the_files_too(tmp_path: Path) -> None:
    record(tmp_path, 0, 500)
    source = find_adapter("binance-spot").open(sorted(tmp_path.glob("*.gz")), instruments=[BTC])
    rows = np.concatenate([batch.copy() for batch in source.batches()])
    live = decoded(500)
    assert rows[1:].tobytes() == live[1:].tobytes()
    assert rows[0]["exch_ts"] > live[0]["exch_ts"]  # of a book without a time; the adapter knows how late the feed is


def test_files_are_rotated_by_size_and_by_age_and_read_as_one(tmp_path: Path) -> None:
    record(tmp_path / "size", 0, 500, Blocks(flush_bytes=2_000, file_bytes=3_000))
    record(tmp_path / "age", 0, 500, Blocks(flush_us=100_000, file_us=1_000_000))
    for folder, few in (("size", 5), ("age", 4)):
        assert len(list((tmp_path / folder).glob("*.gz"))) >= few
        assert events(tmp_path / folder).tobytes() == decoded(500).tobytes()


def test_lines_are_written_when_they_are_old_enough_though_nothing_comes(tmp_path: Path) -> None:
    recorder = record(tmp_path, 0, 3, close=False)
    assert not list(tmp_path.glob("*.gz"))
    recorder.tick(START_NS + 2_000_000_000)
    (path,) = tmp_path.glob("*.gz")
    assert gzip.decompress(path.read_bytes()).count(b"\n") == 4
    recorder.close(START_NS + 3_000_000_000)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, 10_000), flush=st.sampled_from((300, 1_000, 5_000)))
def test_a_file_cut_anywhere_loses_only_the_block_that_was_cut(tmp_path_factory, cut: int, flush: int) -> None:
    """What is read of a file cut at any byte are the whole blocks before the cut, and the rest is counted."""
    folder = tmp_path_factory.mktemp("cut")
    record(folder, 0, 120, Blocks(flush_bytes=flush))
    (path,) = folder.glob("*.gz")
    whole = path.read_bytes()
    cut = cut % len(whole)
    blocks = [chunk.data for chunk in read_blocks(path, Counter())]
    path.write_bytes(whole[:cut])
    torn: Counter[str] = Counter()
    found = [chunk.data for chunk in read_blocks(path, torn)]
    assert found == blocks[: len(found)]
    assert len(found) < len(blocks)
    ends = {0}
    for block in blocks:
        ends.add(max(ends) + len(_compressed(block)))
    assert torn.total() == (cut not in ends)


def _compressed(block: bytes) -> bytes:
    from isal import igzip

    return igzip.compress(block, 2, mtime=0)


def test_damage_inside_a_file_is_an_error_with_its_line(tmp_path: Path) -> None:
    record(tmp_path, 0, 200, Blocks(flush_bytes=3_000))
    (path,) = tmp_path.glob("*.gz")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"\.gz:\d+: the gzip data is broken"):
        events(tmp_path)


def test_recording_again_begins_a_new_file_and_the_books_are_invalid_between(tmp_path: Path) -> None:
    record(tmp_path, 0, 100)
    record(tmp_path, 150, 200)
    assert len(list(tmp_path.glob("*.gz"))) == 2
    rows = events(tmp_path)
    gaps = rows[rows["kind"] == GAP]
    assert gaps["ts"].tolist() == [(START_NS + 150 * STEP_NS) // 1_000]
    assert rows["ts"].max() == gaps["ts"][0]


def test_recordings_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    record(tmp_path, 0, 10)
    for other, problem in (
        (replace(HERE, venue="binance-usdm"), "another venue"),
        (replace(HERE, order="arrival"), "another order"),
        (replace(HERE, instruments=(replace(BTC, tick=Decimal("0.1")),)), "other terms"),
    ):
        with pytest.raises(ConfigError, match=problem):
            Recorder(tmp_path, other)
    Recorder(tmp_path, replace(HERE, instruments=(ETH,)))
    assert About.read(tmp_path).instruments == (BTC, ETH)


def test_what_is_no_recording_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing is recorded"):
        ADAPTER.open([tmp_path])
    (tmp_path / "some.gz").touch()
    with pytest.raises(DataError, match=r"no recording\.json"):
        ADAPTER.open([tmp_path])
    (tmp_path / "some.gz").unlink()
    record(tmp_path, 0, 10)
    with pytest.raises(DataError, match="no such file"):
        ADAPTER.open([tmp_path / "missing.gz"])
    with pytest.raises(ConfigError, match="no such option"):
        ADAPTER.open([tmp_path], colour="red")
    with pytest.raises(DataError, match="one recorded folder"):
        ADAPTER.open([tmp_path, tmp_path.parent / "other" / "file.gz"])
    (tmp_path / ABOUT).write_text("{}")
    with pytest.raises(DataError, match="not what `replay record` writes"):
        ADAPTER.open([tmp_path])


def test_a_disk_that_fails_is_told(tmp_path: Path) -> None:
    recorder = record(tmp_path / "here", 0, 3, close=False)
    (tmp_path / "here" / ABOUT).unlink()
    (tmp_path / "here").rmdir()
    with pytest.raises(TransportError, match="cannot be written"):
        recorder.flush()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be recorded into"):
        Recorder(tmp_path / "file", HERE)


VICTIM = """
import sys, time
from pathlib import Path
from adapters.capture import Blocks
from tests.adapters.test_capture import HERE, START_NS, STEP_NS, message
from adapters.capture import Recorder

recorder = Recorder(Path(sys.argv[1]), HERE, Blocks(flush_bytes=int(sys.argv[2]), file_bytes=60_000))
i = 0
while True:
    recorder.write(START_NS + i * STEP_NS, message(i))
    i += 1
    if i % 200 == 0:
        print(i, flush=True)
"""


def test_a_killed_recorder_leaves_a_readable_recording(tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    random = Random(seed)
    for round_ in range(4):
        folder, flush = tmp_path / str(round_), random.choice((500, 5_000, 40_000))
        root = str(Path(__file__).parents[2])
        victim = subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(folder), str(flush)], stdout=subprocess.PIPE, cwd=root,
            env={**os.environ, "PYTHONPATH": root},
        )  # fmt: skip
        assert victim.stdout is not None
        said = 0
        for _ in range(random.randint(1, 40)):
            said = int(victim.stdout.readline())
        time.sleep(random.uniform(0.0, 0.01))
        victim.send_signal(signal.SIGKILL)
        victim.wait(30)
        said = int((victim.stdout.read().split() or [said])[-1])
        victim.stdout.close()
        rows = events(folder)
        messages = len(rows)
        unflushed = flush // len(message(1_000)) + 2
        assert messages >= said - unflushed
        assert rows.tobytes() == decoded(messages).tobytes()
        record(folder, messages + 10_000, messages + 10_010)
        assert np.count_nonzero(events(folder)["kind"] == GAP) == 1
