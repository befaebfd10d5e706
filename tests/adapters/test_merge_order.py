"""The order in which the five Binance captures of 2024 are merged (captures/README.md §3.4)."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

from adapters.binance import COINM, SPOT, USDM
from adapters.recording import RecordingSource
from adapters.sequencing import Drop, Repair
from adapters.survey import Survey

FILES = {
    "binance_coinm/btcusd_perp_20240808.gz": COINM,
    "binance_spot/btcusdt_20240808.gz": SPOT,
    "binance_spot/ethusdt_20240808.gz": SPOT,
    "binance_usdm/btcusdt_20240808.gz": USDM,
    "binance_usdm/ethusdt_20240808.gz": USDM,
}


def test_merge_order_of_the_five_captures(captures: Path) -> None:
    surveys = [adapter.open([captures / name]).survey for name, adapter in FILES.items()]
    recordings = tuple(recording for survey in surveys for recording in survey.recordings)
    all_five = Survey(recordings, (), surveys[0].timing, frozenset())
    source = RecordingSource(USDM, all_five, Repair(), Drop())
    digest, times, paths = hashlib.sha256(), [], []
    for chunk in source.chunks():
        for i, line in enumerate(chunk.data[:-1].split(b"\n")):
            path, number = chunk.where(i)
            times.append(int(line.partition(b" ")[0]))
            paths.append(str(Path(path).relative_to(captures)))
            digest.update(f"{times[-1]} {paths[-1]} {number - 1}\n".encode())
    truth = json.loads((captures / "ground_truth/merge_five_binance_captures.json").read_text())
    equal = {unit: sum(a // unit == b // unit for a, b in pairwise(times)) for unit in (1, 1_000, 1_000_000)}
    assert (len(times), times[0], times[-1]) == (truth["total"], truth["first_ns"], truth["last_ns"])
    names = ("adjacent_equal_ns", "adjacent_equal_us", "adjacent_equal_ms")
    assert list(equal.values()) == [truth[name] for name in names]
    assert sum(a != b for a, b in pairwise(paths)) == truth["source_switches"]
    assert digest.hexdigest() == truth["sha256_order"]
