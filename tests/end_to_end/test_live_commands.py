"""`replay record` and `replay live` against an exchange on loopback, ended by time and by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.cli import main
from replay.errors import ConfigError
from replay.live import find_live
from tests.adapters.live_exchange import Exchange

STRATEGY = ["--strategy", "strategies.market_maker:MarketMaker", "--mode", "interpreted"]


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """Running; nothing of ours is left afterwards, and signals do what they did."""
    before = signal.getsignal(signal.SIGINT)
    with Exchange() as running:
        yield running
    assert signal.getsignal(signal.SIGINT) is before
    assert [thread.name for thread in threading.enumerate() if thread.name.endswith(" live")] == []


def feed(exchange: Exchange) -> list[str]:
    """Arguments of a feed of both symbols."""
    base = f"127.0.0.1:{exchange.port}"
    return ["binance-usdm", "BTCUSDT", "ETHUSDT", "--socket-url", f"ws://{base}", "--rest-url", f"http://{base}"]


def interrupt_when(condition) -> threading.Thread:
    """A thread that presses Ctrl-C once, as soon as `condition` holds."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def long_after_books(exchange: Exchange):
    """Whether 2000 trades were sent since both books were fetched: two seconds or more."""
    sent: list[int] = []

    def passed() -> bool:
        if exchange.snapshots >= 2:
            sent.append(len(exchange.trades_sent))
        return bool(sent) and sent[-1] > sent[0] + 2_000

    return passed


def test_recording_ends_with_ctrl_c_and_replays(exchange: Exchange, tmp_path: Path, capsys) -> None:
    out = tmp_path / "btc"
    pressing = interrupt_when(lambda: len(exchange.trades_sent) > 300 and exchange.snapshots >= 2)
    assert main(["record", *feed(exchange), "--out", str(out)]) == 0
    pressing.join()
    said = capsys.readouterr().out
    assert f"into {out}" in said
    assert "0 gaps, book live" in said
    assert main(["run", "--data", str(out), "--adapter", "recording", *STRATEGY, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mode"] == "interpreted"
    assert main(["import", str(out), "--adapter", "recording", "--store", str(tmp_path / "store")]) == 0
    assert main(["verify", str(out), "--adapter", "recording", "--strict"]) == 0


def test_recording_ends_by_itself_with_terms_by_hand(exchange: Exchange, tmp_path: Path, capsys) -> None:
    hands = [f"--instrument=binance-usdm:{symbol},tick=0.1,lot=0.001" for symbol in exchange.listings]
    options = ["--channel", "trades", "--out", str(tmp_path), "--for", "0.5"]
    assert main(["record", *feed(exchange), *hands, *options]) == 0
    assert "recorded" in capsys.readouterr().out
    assert {name.split("@")[1] for name in exchange.subscribed} == {"trade"}
    assert len(list(tmp_path.glob("*.gz"))) == 1


def test_a_paper_run_ends_with_ctrl_c_and_its_result_is_kept(exchange: Exchange, tmp_path: Path, capsys) -> None:
    pressing = interrupt_when(long_after_books(exchange))
    arguments = ["--warm-up", "0.5", "--save", str(tmp_path / "result"), "--record", str(tmp_path / "kept")]
    assert main(["live", *feed(exchange), *STRATEGY, *arguments]) == 0
    pressing.join()
    said = capsys.readouterr().out
    assert "digest" in said
    saved = json.loads((tmp_path / "result" / "result.json").read_text())
    assert saved["strategy"] == "MarketMaker"
    assert saved["digest"][:16] in said
    assert (tmp_path / "kept" / "recording.json").exists()


def test_a_paper_run_ends_by_itself_in_either_order(exchange: Exchange, capsys) -> None:
    for order in ("arrival", "reorder:20000"):
        arguments = ["--warm-up", "0.5", "--for", "0.5", "--order", order, "--json"]
        assert main(["live", *feed(exchange), *STRATEGY, *arguments]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["settings"]["end_us"] - result["settings"]["start_us"] == 500_000


def test_stopping_before_the_start_says_so(exchange: Exchange, capsys) -> None:
    pressing = interrupt_when(lambda: exchange.snapshots >= 2)
    assert main(["live", *feed(exchange), *STRATEGY, "--warm-up", "1000"]) == 2
    pressing.join()
    assert "stopped before the run began" in capsys.readouterr().err


def test_a_feed_that_fails_leaves_the_result_and_an_error(exchange: Exchange, capsys) -> None:
    passed = long_after_books(exchange)

    def refuse() -> bool:
        ready = passed()
        if ready:
            exchange.garbage = ['{"error":{"code":2,"msg":"Invalid request"},"id":9}']
        return ready

    thread = threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(refuse, True)])
    thread.start()
    assert main(["live", *feed(exchange), *STRATEGY, "--warm-up", "0.5"]) == 3
    thread.join()
    said = capsys.readouterr()
    assert "digest" in said.out
    assert "Invalid request" in said.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["record", "binance-usdn", "BTCUSDT", "--out", "x"], "did you mean 'binance-usdm'"),
        (["record", "binance-usdm", "BTCUSDT", "--out", "x", "--for", "-1"], "is no length of time"),
        (["record", "binance-usdm", "BTCUSDT", "--out", "x", "--instrument", "a:b,tick=1"], "has no lot"),
        (["record", "binance-usdm", "BTCUSDT", "--out", "x", "--socket-url", "here"], "is no base address"),
        (["live", "binance-usdm", "BTCUSDT", *STRATEGY, "--warm-up", "0"], "must be a number of seconds"),
        (["live", "binance-usdm", "BTCUSDT", "--strategy", "nothing"], "CLASS"),
    ],
)
def test_wrong_arguments_are_told(arguments: list[str], problem: str, capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert problem in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_venue_is_found_by_its_name() -> None:
    for name in ("binance-spot", "binance-coinm", "bybit", "bybit-spot", "okx", "deribit", "hyperliquid"):
        assert find_live(name).name == name
    with pytest.raises(ConfigError, match="has no live feed here"):
        find_live("nowhere")
