"""Comparing feeds: equal ones, faults in one of them, other grids and names, and the recorded markets."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from replay.cli import main
from replay.compare import compare
from replay.errors import ConfigError
from replay.events import BOOK, LAST, QUOTE, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.sources import ArraySource, cut_batches
from replay.store import Store
from replay.testing import synthetic_events

SHARED = Path(__file__).parents[2].parent / "shared" / "captures"
needs_captures = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the recorded captures in {SHARED}")
BOTH = (
    Instrument("test", "A", "linear", Decimal("0.05"), Decimal("0.001")),
    Instrument("test", "B", "linear", Decimal("10"), Decimal("1")),
)


@pytest.fixture(scope="module")
def market() -> np.ndarray:
    """A minute or so of two instruments."""
    events = synthetic_events(BOTH, messages=3_000, gap_every=0, start_us=1_700_000_000_000_000, mean_step_us=20_000)
    events.flags.writeable = False
    return events


def later(events: np.ndarray, by_us: int) -> np.ndarray:
    """The same as another recorder would have received it."""
    out = events.copy()
    out["ts"] += by_us
    return out


def test_equal_feeds_on_other_grids_under_other_names(market: np.ndarray) -> None:
    finer = market.copy()
    finer["price"][finer["instrument"] == 0] *= 5
    finer["qty"][finer["instrument"] == 1] *= 1_000
    others = [replace(instrument, venue="other") for instrument in BOTH]
    others = [replace(others[0], tick=Decimal("0.01")), replace(others[1], lot=Decimal("0.001"))]
    seen: list[int] = []
    found = compare(ArraySource(market, BOTH), ArraySource(later(finer, 300), others), progress=seen.append)
    assert found.same and seen[-1] == 2 * len(market)
    assert [pair.names for pair in found.pairs] == [("test:A", "other:A"), ("test:B", "other:B")]
    for index, pair in enumerate(found.pairs):
        mine = market[market["instrument"] == index]
        deltas = (mine["kind"] == BOOK) & ((mine["flags"] & SNAPSHOT) == 0) & (mine["side"] != 0)
        assert pair.events["trade"].matched == np.count_nonzero(mine["kind"] == TRADE)
        assert pair.events["book"].matched == np.count_nonzero(deltas) > 100
        assert pair.events["book"].later_us["ts"] == (300, 300.0, 300)
        assert pair.books is not None and pair.books.samples > 10
        assert pair.books.digests_all[0] == pair.books.digests_all[1]


def test_a_message_that_one_feed_lacks(market: np.ndarray) -> None:
    """It is missing, and the books differ from then on until the levels change again."""
    mine = market[market["instrument"] == 0]
    book = np.flatnonzero((mine["kind"] == BOOK) & ((mine["flags"] & SNAPSHOT) == 0) & ((mine["flags"] & LAST) != 0))
    stop = int(book[len(book) // 2]) + 1
    ends = np.flatnonzero(mine["flags"][: stop - 1] & LAST)
    start = int(ends[-1]) + 1
    holed = np.delete(mine, slice(start, stop))
    assert (mine["kind"][start:stop] == BOOK).all()
    found = compare(ArraySource(mine, BOTH[:1]), ArraySource(holed, BOTH[:1]))
    (pair,) = found.pairs
    assert not found.same
    assert (pair.events["book"].missing, pair.events["book"].extra) == (stop - start, 0)
    assert pair.events["trade"].same and pair.events["quote"].same
    assert len(pair.events["book"].examples) == min(20, stop - start)
    assert pair.books is not None and all(d.time_us > int(mine["exch_ts"][start]) for d in pair.books.diverged)
    back = compare(ArraySource(holed, BOTH[:1]), ArraySource(mine, BOTH[:1])).pairs[0].events["book"]
    assert (back.missing, back.extra) == (0, stop - start)


def test_a_size_that_differs(market: np.ndarray) -> None:
    mine = market[market["instrument"] == 0]
    changed = mine.copy()
    (trades,) = np.nonzero(mine["kind"] == TRADE)
    changed["qty"][trades[len(trades) // 2]] += 1
    found = compare(ArraySource(mine, BOTH[:1]), ArraySource(changed, BOTH[:1]))
    trades_found = found.pairs[0].events["trade"]
    assert (trades_found.missing, trades_found.extra, trades_found.different) == (0, 0, 1)
    assert trades_found.examples[0]["what"] == "different"
    assert not found.same and found.pairs[0].books is not None and found.pairs[0].books.same


def test_what_only_one_feed_has(market: np.ndarray) -> None:
    without = market[(market["kind"] != QUOTE) & (market["instrument"] == 0)]
    found = compare(ArraySource(market, BOTH), ArraySource(without, BOTH[:1]))
    assert found.same and found.pairs[0].only == (["quote"], []) and found.unpaired == (["test:B"], [])
    text = "\n".join(found.lines())
    assert "only A has quote" in text and "only A has test:B" in text and "the feeds tell the same" in text
    other = replace(BOTH[0], symbol="C")
    with pytest.raises(ConfigError, match="no instrument in common"):
        compare(ArraySource(market, BOTH), ArraySource(without, [other]))
    far = without.copy()
    for name in ("ts", "exch_ts"):
        far[name] += 10**12
    with pytest.raises(ConfigError, match="no time in common"):
        compare(ArraySource(market, BOTH), ArraySource(far, BOTH[:1]))


def test_batches_do_not_matter(market: np.ndarray) -> None:
    class Cut(ArraySource):
        def batches(self, rows: int = 100) -> object:  # type: ignore[override]
            return cut_batches(self.events, 97)

    holed = np.delete(market, np.flatnonzero(market["kind"] == TRADE)[50:60])
    whole = compare(ArraySource(market, BOTH), ArraySource(holed, BOTH))
    cut = compare(Cut(market, BOTH), Cut(holed, BOTH))
    assert cut.as_dict() == whole.as_dict() and not whole.same


@needs_captures
@pytest.mark.parametrize(
    ("raw", "derived", "digest"),
    [
        ("binance-spot:{}/binance_spot/ethusdt_20240808.gz", "binance_{}_2024-08-08_ETHUSDT.csv.gz", "binance ETHUSDT"),
        (
            "binance-usdm:{}/binance_usdm/btcusdt_20240808.gz",
            "binance-futures_{}_2024-08-08_BTCUSDT.csv.gz",
            "binance-futures BTCUSDT (first 120 s)",
        ),
    ],
)
def test_derived_files_tell_what_the_capture_tells(
    tmp_path: Path, raw: str, derived: str, digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same events, same books at all times, and the final book of the ground truth; also by way of a store."""
    truth = json.loads((SHARED / "ground_truth" / "derived_tardis.json").read_text())[digest]
    kinds = ("incremental_book_L2", "trades", "book_ticker")
    files = [SHARED / "derived_tardis" / derived.format(kind) for kind in kinds]
    assert main(["compare", raw.format(SHARED), "tardis-csv:" + ",".join(map(str, files)), "--json"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["books"]["digests_top50"] == [truth["final_sha256_top50"]] * 2
    assert pair["books"]["digests_all"][0] == pair["books"]["digests_all"][1] and pair["books"]["samples"] > 100
    assert pair["events"]["book"]["matched"] == truth["delta_rows"]
    assert pair["events"]["trade"]["matched"] == truth["trades"]
    assert pair["events"]["quote"]["matched"] == 2 * truth["book_ticker"]
    store = str(tmp_path / "store")
    assert main(["import", *map(str, files), "--adapter", "tardis-csv", "--store", store]) == 0
    assert main(["compare", raw.format(SHARED), store]) == 0
    assert "the feeds tell the same" in capsys.readouterr().out


def test_the_command_tells_differences_by_its_exit_code(
    tmp_path: Path, market: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, events in (("a", market), ("b", np.delete(market, np.flatnonzero(market["kind"] == TRADE)[50]))):
        Store(tmp_path / name).record(ArraySource(events, BOTH))
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert main(["compare", a, a]) == 0
    assert main(["compare", a, b]) == 1
    assert "1 missing" in capsys.readouterr().out
    assert main(["compare", a, "nothing"]) == 2
    assert "neither a store nor ADAPTER:FILE" in capsys.readouterr().err
    assert main(["compare", a, "tardis-csw:x"]) == 2
    assert "did you mean" in capsys.readouterr().err
