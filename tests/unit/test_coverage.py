"""Coverage: counted against plain loops over the same events, in any batches."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from replay.cli import main
from replay.coverage import Spells, cover
from replay.events import BAD_TS, BOOK, CLEAR, GAP, LAST, OFF_TICK, SNAPSHOT, empty_events
from replay.instruments import Instrument
from replay.sources import ArraySource, cut_batches
from replay.store import Store
from replay.store.layout import CHANNEL_OF
from replay.testing import synthetic_events
from tests.oracles.verify import touch

SHARED = Path(__file__).parents[2].parent / "shared" / "captures"
needs_captures = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the recorded captures in {SHARED}")
BOTH = tuple(Instrument("test", name, "linear", Decimal("0.1"), Decimal("0.001")) for name in "AB")


class Cut(ArraySource):
    """Short batches."""

    def batches(self, rows: int = 0) -> object:  # type: ignore[override]
        return cut_batches(self.events, 53)


@pytest.fixture(scope="module")
def market() -> np.ndarray:
    """Two instruments with gaps, crossed messages, flags and a silence of two minutes."""
    events = synthetic_events(BOTH, messages=3_000, gap_every=60, start_us=1_700_000_000_000_000, mean_step_us=30_000)
    half = len(events) // 2
    while not events["flags"][half - 1] & LAST:
        half += 1
    for name in ("ts", "exch_ts"):
        events[name][half:] += 120_000_000
    chance = np.random.default_rng(5)
    deltas = np.flatnonzero((events["kind"] == BOOK) & ((events["flags"] & SNAPSHOT) == 0) & (events["qty"] > 0))
    for row in chance.choice(deltas, 60, replace=False):
        events["price"][row] += int(events["side"][row]) * 500
    events["flags"][chance.choice(deltas, 30, replace=False)] |= OFF_TICK
    events["flags"][chance.choice(deltas, 20, replace=False)] |= BAD_TS
    events.flags.writeable = False
    return events


def expected(rows: np.ndarray) -> tuple[list[tuple[int, int | None]], list[tuple[int, int | None]]]:
    """(gaps, crossed spells) of one instrument, row by row."""
    sides: dict[int, dict[int, int]] = {1: {}, -1: {}}
    spells: dict[str, list[list[int | None]]] = {"gap": [], "crossed": []}

    def turn(name: str, on: bool, ts: int) -> None:
        under_way = bool(spells[name]) and spells[name][-1][1] is None
        if on and not under_way:
            spells[name].append([ts, None])
        elif not on and under_way:
            spells[name][-1][1] = ts

    valid = False
    for row in rows:
        ts = int(row["ts"])
        if row["kind"] == GAP:
            valid = False
            turn("gap", True, ts)
            turn("crossed", False, ts)
        elif row["kind"] == BOOK:
            if row["flags"] & CLEAR:
                sides = {1: {}, -1: {}}
            if row["side"]:
                sides[int(row["side"])].pop(int(row["price"]), None)
                if row["qty"]:
                    sides[int(row["side"])][int(row["price"])] = int(row["qty"])
            if row["flags"] & LAST:
                if row["flags"] & SNAPSHOT:
                    valid = True
                    turn("gap", False, ts)
                bid, _, ask, _ = touch(sides)
                turn("crossed", valid and bool(sides[1] and sides[-1]) and bid >= ask, ts)
    return tuple([(a, b) for a, b in spells[name]] for name in ("gap", "crossed"))  # type: ignore[return-value,misc]


def listed(spells: Spells) -> list[tuple[int, int | None]]:
    return [(spell.start_us, spell.end_us) for spell in spells.listed]


@pytest.mark.parametrize("kind", [ArraySource, Cut])
def test_everything_is_counted(market: np.ndarray, kind: type[ArraySource]) -> None:
    found = cover(kind(market, BOTH))
    assert list(found) == ["test:A", "test:B"]
    for index, coverage in enumerate(found.values()):
        rows = market[market["instrument"] == index]
        gaps, crossed = expected(rows)
        assert listed(coverage.gaps) == gaps and len(gaps) > 2 and gaps[0][1] is not None
        assert listed(coverage.crossed) == crossed and len(crossed) > 2
        assert coverage.crossed.closed_us == sum(end - start for start, end in crossed if end is not None)
        assert coverage.reconnects == np.count_nonzero(rows["flags"] & CLEAR) - 1
        assert coverage.off_tick == np.count_nonzero(rows["flags"] & OFF_TICK) > 0
        assert coverage.clamped == np.count_nonzero(rows["flags"] & BAD_TS) > 0
        for name, channel in coverage.channels.items():
            mine = rows[[CHANNEL_OF[k] == name for k in rows["kind"].tolist()]]
            assert (channel.rows, channel.first_us, channel.last_us) == (len(mine), mine["ts"][0], mine["ts"][-1])
            steps = np.diff(mine["ts"])
            (at,) = np.nonzero(steps >= 60_000_000)
            assert listed(channel.silences) == [(int(mine["ts"][k]), int(mine["ts"][k + 1])) for k in at] and len(at)
            ends = mine[(mine["flags"] & LAST) != 0]
            lags = np.sort(ends["ts"] - ends["exch_ts"])
            for text, value in channel.latency_us().items():
                exact = int(lags[max(0, int(np.ceil(float(text) * len(lags))) - 1)])
                assert value == pytest.approx(exact, rel=0.05, abs=1)


def test_the_cause_of_a_gap() -> None:
    rows = empty_events(2)
    rows["kind"], rows["flags"], rows["ts"], rows["exch_ts"] = GAP, LAST, (10, 20), (10, 20)
    rows["seq"], rows["value"], rows["instrument"] = (5, -1), (9, -1), (0, 1)
    found = cover(ArraySource(rows, BOTH))
    assert [coverage.gaps.listed[0].cause for coverage in found.values()] == ["ids after 5 lost, 9 came", "reconnect"]
    assert found["test:A"].gaps.listed[0].length_us is None


def test_the_command(tmp_path: Path, market: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    Store(store).record(ArraySource(market, BOTH))
    assert main(["inspect", "--coverage", str(store), "--json", "--instrument", "test:B"]) == 0
    facts = json.loads(capsys.readouterr().out)["instruments"]
    assert facts == {"test:B": json.loads(json.dumps(cover(ArraySource(market, BOTH))["test:B"].as_dict()))}
    assert main(["inspect", "--coverage", str(store)]) == 0
    out = capsys.readouterr().out
    assert "crossed spells" in out and "reconnects" in out and "drift" in out and "silence at" in out
    assert main(["inspect", str(store), "--adapter", "tardis-csv"]) == 2
    assert "is for --coverage" in capsys.readouterr().err


@needs_captures
def test_the_clock_of_a_recorder(capsys: pytest.CaptureFixture[str]) -> None:
    """Binance spot, August 2024: 1.27 s behind and losing 0.25 to 0.33 ms a minute."""
    path = SHARED / "binance_spot" / "btcusdt_20240808.gz"
    assert main(["inspect", "--coverage", "--adapter", "binance-spot", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    (coverage,) = facts["instruments"].values()
    assert 1_270_000 < facts["clock_offset_us"] < 1_280_000
    assert all(-8 < piece["drift_ppm"] < -2 for piece in coverage["clock"])
    assert coverage["crossed"]["total"] == coverage["gaps"]["total"] == coverage["reconnects"] == 0
    assert 0 < coverage["channels"]["trades"]["latency_us"]["0.5"] < 10_000
