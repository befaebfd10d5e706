"""`replay verify` on real captures: every figure of ../shared/captures/README.md §3.1, §3.3, §3.5 and §3.6."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from replay.cli import main

REPO = Path(__file__).parents[2]
CAPTURES = REPO.parent / "shared" / "captures"

pytestmark = pytest.mark.skipif(
    not CAPTURES.is_dir(), reason=f"needs the recorded captures in {CAPTURES}, which are not part of this repository"
)

BINANCE_2024 = [
    "binance_usdm/btcusdt_20240808.gz",
    "binance_usdm/ethusdt_20240808.gz",
    "binance_coinm/btcusd_perp_20240808.gz",
    "binance_spot/btcusdt_20240808.gz",
    "binance_spot/ethusdt_20240808.gz",
]
CRYPTOFEED = [("BINANCE", "binance-spot"), ("BINANCE_FUTURES", "binance-usdm"), ("BINANCE_DELIVERY", "binance-coinm")]


def ground_truth(name: str) -> dict[str, Any]:
    """One JSON file of recorded figures."""
    truth: dict[str, Any] = json.loads((CAPTURES / "ground_truth" / name).read_text())
    return truth


def adapter_of(capture: str) -> str:
    """`binance_usdm/…` was recorded from what the adapter `binance-usdm` reads."""
    return capture.split("/")[0].replace("_", "-")


def verified(capsys: pytest.CaptureFixture[str], paths: list[Path], adapter: str, *options: str) -> dict[str, Any]:
    """The JSON that `replay verify` prints."""
    code = main(["verify", *map(str, paths), "--adapter", adapter, "--json", *options])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    report: dict[str, Any] = json.loads(out)
    return report


def decimals(values: list[str]) -> list[Decimal]:
    """Numbers to compare whatever zeros they end with."""
    return [Decimal(value) for value in values]


@pytest.mark.parametrize("capture", BINANCE_2024)
def test_binance_2024(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = verified(capsys, [CAPTURES / capture], adapter_of(capture))
    (found,) = report["instruments"].values()
    truth = ground_truth("binance_captures.json")[capture]
    rebuilt, exact, asof, trades = truth["rebuild"], truth["exact_u"], truth["asof_u"], truth["trades"]

    assert report["clean"] is True and report["mismatches"] == []
    assert found["messages"] == truth["messages"]
    assert found["depth_messages"] == truth["counts"]["depth"]
    assert found["applied"] == truth["sync"]["applied"]
    assert found["stale"] == truth["sync"]["stale_dropped"]
    assert found["breaks"] == truth["depth_breaks"] == 0
    assert found["crossed"] == rebuilt["crossed_or_locked"] == 0
    assert found["deletes"] == rebuilt["deletes"]
    assert found["absent_deletes"] == rebuilt["deletes_of_absent_level"]
    assert found["bbo_exact"] == {"compared": exact["n"], "matched": exact["all"]}
    assert found["bbo_asof"] == {"compared": asof["n"], "matched": asof["all"]}
    assert found["unusable"] == found["out_of_order"] == found["overflow"] == 0
    assert decimals(found["final_bid"]) == decimals(rebuilt["best_bid"])
    assert decimals(found["final_ask"]) == decimals(rebuilt["best_ask"])
    assert found["levels"] == [rebuilt["bid_levels"], rebuilt["ask_levels"]]
    assert found["digest_top50"] == rebuilt["sha256_top50"]
    assert found["digest_all"] == rebuilt["sha256_all"]
    assert found["book_state"] == "live"

    sums = found["trades"]
    assert (sums["count"], sums["first_id"], sums["last_id"]) == (trades["n"], trades["first"], trades["last"])
    assert (sums["id_gaps"], sums["id_backsteps"]) == (trades["id_gaps"], trades["id_back"])
    assert Decimal(sums["buy_qty"]) == Decimal(trades["taker_buy_qty"])
    assert Decimal(sums["sell_qty"]) == Decimal(trades["taker_sell_qty"])

    # The recorder's clock was about 1.27 s behind; only an estimate exists, so it is held between the fastest message
    # and the median (both of depth), 10 ms apart at most.
    latency = truth["latency_ms_local_minus_E"]["depth"]
    assert -latency["p99"] < found["clock_offset_us"] / 1000 < -latency["min"] + 1


@pytest.mark.parametrize("capture", BINANCE_2024)
@pytest.mark.parametrize("every", [500, 100])
def test_dropped_messages_are_found(capture: str, every: int, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--drop-every", str(every), "--drop-from", "200")
    report = verified(capsys, [CAPTURES / capture], adapter_of(capture), *options)
    (found,) = report["instruments"].values()
    truth = ground_truth("fault_injection.json")[capture][f"drop i>=200 and i%{every}==0"]
    depth = ground_truth("binance_captures.json")[capture]["counts"]["depth"]
    assert found["breaks"] == truth["breaks"] == truth["dropped"]
    assert found["depth_messages"] == depth - truth["dropped"]
    # Up to the hole the book is right; after it nothing is compared, because nothing can repair it in this file.
    assert found["bbo_asof"]["matched"] == found["bbo_asof"]["compared"] > 0
    assert found["crossed"] == 0
    assert found["book_state"] == "stale"
    assert report["clean"] is False
    gap = report["quality"]["gaps"][0]
    assert gap["end_us"] is None and gap["last_good_id"] < gap["next_id"]


@pytest.mark.parametrize(("name", "adapter"), CRYPTOFEED)
def test_cryptofeed_2021(name: str, adapter: str, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [CAPTURES / "cryptofeed" / f"{name}.{part}.gz" for part in ("0", "http.0.0", "ws.1.0")]
    report = verified(capsys, paths, adapter)
    truth = ground_truth("cryptofeed_captures.json")[name]
    found = {check["symbol"]: check for check in report["instruments"].values()}
    assert sorted(found) == sorted(truth)
    for symbol, figures in truth.items():
        check = found[symbol]
        assert check["depth_messages"] == figures["depth_messages"], symbol
        assert check["applied"] == figures["applied"], symbol
        assert check["stale"] == figures["stale_dropped"], symbol
        assert check["breaks"] == figures["continuity_breaks"] == 0, symbol
        assert check["crossed"] == figures["crossed"], symbol
        assert check["absent_deletes"] == figures["deletes_of_absent_level"], symbol
        exact = {"compared": figures["exact_u_compared"], "matched": figures["exact_u_matched"]}
        asof = {"compared": figures["asof_u_compared"], "matched": figures["asof_u_matched"]}
        assert (check["bbo_exact"], check["bbo_asof"]) == (exact, asof), symbol
        assert [float(x) for x in (*check["final_bid"], *check["final_ask"])] == figures["final_best"], symbol
        assert check["levels"] == figures["final_levels"], symbol

    listed = [
        [m["u"], m["quote_u"], *([float(x) for side in m[which].values() for x in side] for which in ("quote", "book"))]
        for m in report["mismatches"]
    ]
    assert sorted(listed) == sorted(
        example for figures in truth.values() for example in figures["asof_mismatch_examples"]
    )
    assert report["mismatches_total"] == (3 if name == "BINANCE_DELIVERY" else 0)
    assert report["clean"] is (name != "BINANCE_DELIVERY")


def test_readable_report_and_strict(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(CAPTURES / "cryptofeed" / f"BINANCE_DELIVERY.{part}.gz") for part in ("http.0.0", "ws.1.0")]
    assert main(["verify", *paths, "--adapter", "binance-coinm"]) == 0
    out = capsys.readouterr().out
    assert "206/208" in out and "427.91 × 24" in out
    assert "binance-coinm:TRXUSD_PERP: book disagrees with 1 of 139 quotes" in out
    assert main(["verify", *paths, "--adapter", "binance-coinm", "--strict"]) == 1


def test_two_files_of_one_instrument_are_one_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = "binance_spot/ethusdt_20240808.gz"
    lines = gzip.decompress((CAPTURES / capture).read_bytes()).splitlines(keepends=True)
    parts = [tmp_path / "a.gz", tmp_path / "b"]
    parts[0].write_bytes(gzip.compress(b"".join(lines[:20_000]), 1))
    parts[1].write_bytes(b"".join(lines[20_000:]))
    (split,) = verified(capsys, parts, "binance-spot")["instruments"].values()
    (whole,) = verified(capsys, [CAPTURES / capture], "binance-spot")["instruments"].values()
    offset = split.pop("clock_offset_us") - whole.pop("clock_offset_us")
    assert split == whole
    assert abs(offset) < 5_000


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that cannot be read, each in its own way."""
    folder = tmp_path_factory.mktemp("broken")
    packed = (CAPTURES / "binance_spot/ethusdt_20240808.gz").read_bytes()
    lines = gzip.decompress(packed).splitlines(keepends=True)[:200]
    (folder / "not_gzip.gz").write_bytes(b"".join(lines))
    (folder / "truncated.gz").write_bytes(packed[: len(packed) // 2])
    bad = [*lines[:99], b'1723161254025000000 {"stream": broken\n', *lines[99:]]
    (folder / "bad_line.gz").write_bytes(gzip.compress(b"".join(bad)))
    (folder / "good.gz").write_bytes(gzip.compress(b"".join(lines)))
    return folder


@pytest.mark.parametrize(
    ("file", "adapter", "parts"),
    [
        ("absent.gz", "binance-spot", ["absent.gz: no such file"]),
        ("not_gzip.gz", "binance-spot", ["not_gzip.gz:", "gzip"]),
        ("truncated.gz", "binance-spot", ["truncated.gz:"]),
        ("bad_line.gz", "binance-spot", ["bad_line.gz:100:"]),
        ("good.gz", "binance-usdm", ["good.gz:"]),
        ("good.gz", "binance-spott", ["'binance-spott'", "did you mean 'binance-spot'?"]),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(broken: Path, file: str, adapter: str, parts: list[str]) -> None:
    command = [sys.executable, "-m", "replay", "verify", str(broken / file), "--adapter", adapter]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO, timeout=300)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("replay: ") and done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


def test_other_venues_files_are_refused_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    for capture, adapter in [
        ("binance_spot/btcusdt_20240808.gz", "binance-coinm"),
        ("binance_usdm/btcusdt_20240808.gz", "binance-spot"),
        ("hyperliquid/btcusd_20250126.gz", "binance-usdm"),
    ]:
        assert main(["verify", str(CAPTURES / capture), "--adapter", adapter]) == 2
        err = capsys.readouterr().err
        assert Path(capture).name in err and err.count("\n") == 1, err
