"""Writing: whole days or nothing, the same bytes for the same events, clear errors."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from replay.errors import ConfigError, DataError
from replay.events import BAD_TS, BOOK, CLEAR, GAP, LAST, OFF_TICK, QUOTE, SNAPSHOT, TRADE, empty_events
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.sources import ArraySource
from replay.store import SourceFile, Store
from replay.store.columns import ROW_GROUP_ROWS
from replay.store.footer import Footer, read_footer
from replay.units import US_PER_DAY, US_PER_S
from tests.store.conftest import BOTH, MIDNIGHT

ONE = BOTH[0]
REPO = Path(__file__).parents[2]


def some(rows: int = 10, day: int = 0, kind: int = BOOK) -> np.ndarray:
    """So many messages of one row, a second apart."""
    events = empty_events(rows)
    events["ts"] = MIDNIGHT + day * US_PER_DAY + np.arange(rows) * US_PER_S
    events["exch_ts"] = events["ts"] - 1_000
    events["kind"], events["flags"], events["price"], events["seq"] = kind, LAST, 100, np.arange(rows)
    return events


def fingerprint(root: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder by its path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_nothing_is_visible_before_its_day_is_complete(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.writer(ONE) as writer:
        writer.write(some())
        assert Store(store.path).names() == [] and list(store.path.rglob("*.parquet")) == []
        writer.write(some(day=1))
        assert [day.date for day in Store(store.path).days(ONE.name)] == ["2023-11-15"]
        writer.write(some(day=3))
        assert [day.date for day in Store(store.path).days(ONE.name)] == ["2023-11-15", "2023-11-16"]
    assert [day.date for day in store.days(ONE.name)] == ["2023-11-15", "2023-11-16", "2023-11-18"]
    assert writer.days == [day.number for day in store.days(ONE.name)]
    assert not (store.path / ".writing").exists()


def test_an_error_leaves_the_finished_days_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(KeyError), store.writer(ONE) as writer:
        writer.write(some())
        writer.write(some(day=1))
        raise KeyError
    assert [day.date for day in store.days(ONE.name)] == ["2023-11-15"]
    assert [path for path in store.path.rglob("*") if path.is_file() and path.name != "data.parquet"] == []
    with pytest.raises(ConfigError, match="is closed"):
        writer.write(some(day=2))


@pytest.mark.parametrize("rows", [1, 7, 100, 10**6])
def test_the_cut_into_batches_changes_no_byte(store: Store, market: np.ndarray, tmp_path: Path, rows: int) -> None:
    class Cut(ArraySource):
        def batches(self, _: int = 0):  # type: ignore[no-untyped-def]
            return super().batches(rows)

    if rows == 1:
        market = market[: int(np.flatnonzero(market["flags"] & LAST)[1_000]) + 1]
        store = Store(tmp_path / "short")
        store.record(ArraySource(market, BOTH))
    other = Store(tmp_path / "other")
    other.record(Cut(market, BOTH))
    assert fingerprint(other.path) == fingerprint(store.path)
    assert other.digest() == store.digest()


def test_the_digest_is_of_events_and_their_order(tmp_path: Path) -> None:
    digests = set()
    for number, change in enumerate((None, "price", "ts", "order", "flags")):
        events = np.concatenate([some(3, kind=TRADE), some(3, kind=QUOTE)])
        events["ts"] = MIDNIGHT
        if change == "order":
            events = events[[0, 1, 3, 2, 4, 5]]
        elif change is not None:
            events[change][-1] += 2
        store = Store(tmp_path / str(number))
        with store.writer(ONE) as writer:
            writer.write(events)
        store.check()
        digests.add(store.digest())
    assert len(digests) == 5


def test_full_row_groups_and_what_lies_between_them(tmp_path: Path) -> None:
    events = some(2 * ROW_GROUP_ROWS + 5)
    events["ts"] = MIDNIGHT + np.arange(len(events))
    store = Store(tmp_path / "store")
    with store.writer(ONE) as writer:
        writer.write(events[: ROW_GROUP_ROWS - 3])
        writer.write(events[ROW_GROUP_ROWS - 3 :])
    (day,) = store.days(ONE.name)
    metadata = pq.read_metadata(day.files["book"].path)
    assert [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)] == [ROW_GROUP_ROWS] * 2 + [5]
    lo = MIDNIGHT + ROW_GROUP_ROWS - 2
    found = np.concatenate(list(store.source([], lo, lo + 5).batches()))
    assert found["seq"].tolist() == list(range(ROW_GROUP_ROWS - 2, ROW_GROUP_ROWS + 3))
    assert np.concatenate(list(store.source().batches())).tobytes() == events.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e["ts"].sort() or e["ts"].__setitem__(3, MIDNIGHT), "ts steps back"),
        (lambda e: e["flags"].__setitem__(-1, 0), "not closed by LAST"),
        (lambda e: e["flags"].__setitem__(4, 0), "rows of a message have different ts"),
        (lambda e: e["instrument"].__setitem__(4, 1), "rows of several instruments"),
    ],
)
def test_rows_that_break_the_rules(tmp_path: Path, change: Callable[[np.ndarray], None], message: str) -> None:
    events = some()
    change(events)
    with pytest.raises(ConfigError, match=message), Store(tmp_path / "s").writer(ONE) as writer:
        writer.write(events)
    assert fingerprint(tmp_path) == {}


def test_other_wrong_arguments(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    with pytest.raises(ConfigError, match="EVENT records"), store.writer(ONE) as writer:
        writer.write(np.zeros(3))
    with pytest.raises(ConfigError, match="ts steps back"), store.writer(ONE) as writer:
        writer.write(some(day=1))
        writer.write(some())
    for numbers in (np.zeros(10, int), np.arange(9), np.arange(10)[::-1]):
        with pytest.raises(ConfigError, match="one number a message"), store.writer(ONE) as writer:
            writer.write(some(), numbers)
    with pytest.raises(ConfigError, match="does not follow the last one, 9"), store.writer(ONE) as writer:
        writer.write(some(), np.arange(10))
        later = some()
        later["ts"] += US_PER_DAY // 2
        writer.write(later, np.arange(9, 19))
    with pytest.raises(ConfigError, match="did you mean 'replace'"):
        store.writer(ONE, existing="replaced")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no channel for events of kind 99"), store.writer(ONE) as writer:
        writer.write(some(kind=99))
    with pytest.raises(DataError, match="20 decimals"):
        store.writer(Instrument("v", "S", "spot", Decimal("1E-20"), Decimal(1)))
    big = some()
    big["qty"] = 10**18
    with pytest.raises(DataError, match="qty has more than 18 digits at 3 decimals"), store.writer(ONE) as writer:
        writer.write(big)
    with store.writer(ONE) as writer:
        writer.write(empty_events(0))
    assert fingerprint(tmp_path) == {}


def test_days_that_are_there_already(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.writer(ONE) as writer:
        writer.write(np.concatenate([some(3), some(3, day=1)]))
    before = store.digest()
    with pytest.raises(ConfigError, match=r"2023-11-15 is in the store already; pass existing=\"replace\""):
        store.record(ArraySource(some(3), [ONE]))
    with store.writer(ONE, existing="skip") as writer:
        writer.write(some(5))
        writer.quality.anomalies["of a day that is skipped"] += 1
        writer.write(some(3, day=1, kind=TRADE))
        writer.write(some(3, day=2))
    assert writer.days == [MIDNIGHT // US_PER_DAY + 2]
    assert store.days(ONE.name)[-1].quality.counts.anomalies == {}
    assert [day.rows for day in store.days(ONE.name)] == [3, 3, 3]
    with store.writer(ONE, existing="replace") as writer:
        writer.write(some(2, kind=TRADE))
    first = store.days(ONE.name)[0]
    assert (first.rows, list(first.files)) == (2, ["trades"]), "the old book must not stay beside the new trades"
    assert store.digest() != before and store.problems() == []


def test_what_a_footer_tells(tmp_path: Path) -> None:
    raw = tmp_path / "raw.gz"
    raw.write_bytes(b"abc" * 1000)
    events = some(6)
    events["kind"] = [BOOK, GAP, TRADE, BOOK, BOOK, GAP]
    events["flags"] |= [SNAPSHOT | CLEAR, 0, OFF_TICK, SNAPSHOT | CLEAR, BAD_TS, 0]
    events["seq"], events["value"] = [10, 10, 77, 20, 21, 21], [0, 15, 0, 0, 0, 30]
    store = Store(tmp_path / "store")
    with store.writer(ONE, source_files=[raw, SourceFile("other", 5, "00")]) as writer:
        writer.write(events)
        writer.quality.anomalies["crossed message"] += 3
        writer.quality.stale += 2
    (day,) = store.days(ONE.name)
    book = read_footer(day.files["book"].path)
    assert book == day.files["book"].footer and book.instrument == ONE
    assert (book.rows, book.messages, book.first_seq, book.last_seq) == (5, 5, 10, 21)
    assert (book.first_us, book.last_us, book.max_latency_us) == (MIDNIGHT, MIDNIGHT + 5 * US_PER_S, 1_000)
    assert book.siblings == {"book": book.digest, "trades": day.files["trades"].footer.digest}
    assert day.source_files == (SourceFile("raw.gz", 3000, hashlib.sha256(b"abc" * 1000).hexdigest()),
                                SourceFile("other", 5, "00"))  # fmt: skip
    counts = day.quality.counts
    assert (counts.messages, counts.depth_messages, counts.snapshots, counts.breaks) == (6, 1, 2, 2)
    assert (counts.trades, counts.off_tick, counts.exch_ts_backsteps, counts.stale) == (1, 1, 1, 2)
    assert counts.anomalies == {"crossed message": 3} and counts.book_state == "stale"
    assert [(g.last_good_id, g.next_id, g.blind_us) for g in day.quality.gaps] == [
        (10, 15, 2 * US_PER_S),
        (21, 30, None),
    ]
    assert day.quality.recovered_us == MIDNIGHT
    text = json.loads(pq.read_metadata(day.files["book"].path).metadata[b"tickreplay"])
    assert text["schema"] == 1 and text["instrument"]["tick"] == "0.05"
    for later in ("right", "strike", "expiry_us", "underlying"):
        del text["instrument"][later]
    assert Footer.from_text(json.dumps(text), raw) == book, "terms that a file does not know yet have their defaults"
    with pytest.raises(DataError, match=r"missing\.gz: cannot be read"):
        store.writer(ONE, source_files=[tmp_path / "missing.gz"])


def test_counts_of_a_source_are_kept_by_day(tmp_path: Path) -> None:
    class Counting(ArraySource):
        def batches(self, rows: int = 1):  # type: ignore[no-untyped-def]
            self.quality = QualityReport()
            for batch in super().batches(5):
                self.quality.of(ONE.name).anomalies["odd"] += len(batch)
                self.quality.of(ONE.name).duplicates += 1
                yield batch

    store = Store(tmp_path / "store")
    store.record(Counting(np.concatenate([some(10), some(15, day=1)]), [ONE]))
    found = [day.quality.counts for day in store.days(ONE.name)]
    assert [(q.anomalies["odd"], q.duplicates) for q in found] == [(10, 2), (15, 3)]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.writer(ONE) as one, store.writer(BOTH[1]) as two, store.writer(ONE) as three:
        one.write(some())
        two.write(some())
        three.write(some(day=1))
        swept = store.gc()
        assert (swept.busy, swept.leftover_bytes) == (True, 0)
    assert [len(store.days(i.name)) for i in BOTH] == [2, 1] and store.problems() == []


DISK_FULL = """
import resource, sys
import numpy as np
from replay.store import Store
from tests.store.test_writer import ONE, some
store = Store(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
random = np.random.default_rng(1)
with store.writer(ONE) as writer:
    for day in range(3):
        events = some(200 if day < 2 else 70_000, day)
        events["price"] = random.integers(0, 2**40, len(events))
        writer.write(events)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit of the size of files")
@pytest.mark.parametrize("limit", [500, 100_000])
def test_a_disk_that_is_full_leaves_no_half_file(tmp_path: Path, limit: int) -> None:
    """The system refuses bytes beyond a limit, as it does on a full disk."""
    path = tmp_path / "store"
    command = [sys.executable, "-c", DISK_FULL, os.fspath(path), str(limit)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=60)
    assert "DataError" in done.stderr and "cannot be written: File too large; make room" in done.stderr, done.stderr
    assert [day.rows for day in Store(path).days(ONE.name)] == ([] if limit == 500 else [200, 200])
    assert {p.name for p in path.rglob("*") if p.is_file()} <= {"data.parquet"}
    Store(path).check()
