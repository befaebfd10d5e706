"""A strategy over recordings, through the command line and from Python: same input, same digest."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from replay import (
    ConfigError,
    ConstantLatency,
    Context,
    MakerTaker,
    PowerProbQueue,
    Replay,
    Result,
    Strategy,
    StrategyError,
)
from replay.cli import main
from replay.context import Book, Fill, Gap, Timer, Trade
from replay.sources import ArraySource, find_adapter
from replay.testing import Faults, SyntheticMarket
from replay.units import iso_from_us

ROOT = Path(__file__).parents[2]
CAPTURE = ROOT.parent / "shared" / "captures" / "binance_usdm" / "btcusdt_20240808.gz"
needs_capture = pytest.mark.skipif(not CAPTURE.exists(), reason=f"the shared captures are not here: {CAPTURE}")

STRATEGY = "strategies.market_maker:MarketMaker"


class Maker(Strategy):
    """Quotes both touches of every instrument ten times a second."""

    lots: int = 10
    gaps: int = 0

    def on_start(self, ctx: Context) -> None:
        ctx.every(100_000)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        for i in range(len(ctx.instruments)):
            ctx.cancel_all(i)
            book = ctx.book(i)
            if book.ready:
                ctx.buy(i, self.lots, ticks=book.bid_ticks, post_only=True)
                ctx.sell(i, self.lots, ticks=book.ask_ticks, post_only=True)

    def on_gap(self, ctx: Context, gap: Gap) -> None:
        self.gaps += 1

    def on_fill(self, ctx: Context, fill: Fill) -> None:
        ctx.record("position", ctx.position(fill.instrument))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SyntheticMarket]:
    market = SyntheticMarket(
        "binance-usdm", seed=11, duration_us=30_000_000, faults=Faults(drop=0.004, duplicate=0.002, late=0.002)
    )
    return market.write(tmp_path_factory.mktemp("market") / "two.gz"), market


def replay_of(recording: tuple[Path, SyntheticMarket], **settings: object) -> Replay:
    path, market = recording
    return Replay.from_files(
        path,
        adapter="binance-usdm",
        instruments=market.instruments,
        latency=ConstantLatency(5_000, 5_000),
        queue=PowerProbQueue(3),
        fees=MakerTaker(0.0002, 0.0005),
        **settings,  # type: ignore[arg-type]
    )


def test_batch_size_never_changes_the_run(recording: tuple[Path, SyntheticMarket]) -> None:
    results = [replay_of(recording, batch_rows=rows).run(Maker()) for rows in (200, 4_099, 32_768)]
    assert len(results[0].fills) > 20
    assert {r.digest for r in results} == {results[0].digest}


def test_a_result_names_the_recording_and_keeps_everything(
    recording: tuple[Path, SyntheticMarket], tmp_path: Path
) -> None:  # fmt: skip
    result = replay_of(recording, deposit=1e5).run(Maker())
    path = recording[0]
    assert result.data == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}
    result.to_parquet(tmp_path / "result")
    loaded = Result.load(tmp_path / "result")
    assert loaded.as_dict() == result.as_dict()
    for currency in result.currencies:
        metrics = result.metrics(currency)
        assert metrics.blind_us > 0 and metrics.steps < metrics.all_steps
        assert metrics.split.net == metrics.split.spread + metrics.split.inventory - metrics.split.fees
        assert {m.role for m in metrics.markouts} == {"maker"}


def test_two_runs_of_one_replay_are_equal(recording: tuple[Path, SyntheticMarket]) -> None:
    replay = replay_of(recording)
    assert replay.run(Maker()).digest == replay.run(Maker()).digest


def test_an_instance_is_run_once(recording: tuple[Path, SyntheticMarket]) -> None:
    strategy = Maker()
    replay_of(recording).run(strategy)
    with pytest.raises(ConfigError, match="make a new one for each run"):
        replay_of(recording).run(strategy)


def test_instruments_are_numbered_as_they_were_given(recording: tuple[Path, SyntheticMarket]) -> None:
    path, market = recording
    for given in (market.instruments, market.instruments[::-1]):
        replay = Replay.from_files(path, adapter="binance-usdm", instruments=given)
        assert replay.instruments == given


def test_strategies_side_by_side_get_what_they_get_alone(recording: tuple[Path, SyntheticMarket]) -> None:
    alone = [replay_of(recording).run(Maker(lots=lots)) for lots in (1, 40)]
    together = replay_of(recording).run([Maker(lots=1), Maker(lots=40)])
    for one, both in zip(alone, together):
        assert len(one.fills) == len(both.fills) > 0
        for name in ("exch_ts", "local_ts", "ticks", "lots", "side", "maker", "position"):
            assert np.array_equal(one.fills[name], both.fills[name]), name
        assert one.net == both.net


def test_gaps_reach_strategy_and_result(recording: tuple[Path, SyntheticMarket]) -> None:
    _, market = recording
    strategy = Maker()
    result = replay_of(recording).run(strategy)
    injected = len(market.truth.of_kind("drop", "late"))
    assert injected > 3
    assert result.quality.gaps_total == injected
    assert strategy.gaps == injected
    assert all(gap.repair == "snapshot" for gap in result.quality.gaps)
    assert sum(part.blind_us for part in result.summary_by_instrument) > 0


def test_quality_counts_a_second_run_from_zero(recording: tuple[Path, SyntheticMarket]) -> None:
    replay = replay_of(recording)
    first, second = replay.run(Maker()), replay.run(Maker())
    assert first.quality.gaps_total == second.quality.gaps_total


def test_position_is_the_sum_of_fills_and_money_adds_up(recording: tuple[Path, SyntheticMarket]) -> None:
    result = replay_of(recording).run(Maker())
    for i, part in enumerate(result.summary_by_instrument):
        fills = result.fills[result.fills["instrument"] == i]
        instrument = result.instruments[i]
        assert part.position == int((fills["side"] * fills["lots"]).sum())
        cash = -sum(int(f["side"]) * int(f["ticks"]) * int(f["lots"]) for f in fills) * instrument.tick * instrument.lot
        value = float(cash) + part.position * float(instrument.lot) * part.mark
        assert part.pnl == pytest.approx(value, abs=1e-7)
        assert part.fees == pytest.approx(fills["fee"].sum(), abs=1e-9)
        assert part.net == pytest.approx(part.pnl - part.fees - part.funding, abs=1e-9)


def test_the_last_equity_row_holds_the_sums_of_the_result(recording: tuple[Path, SyntheticMarket]) -> None:
    result = replay_of(recording).run(Maker())
    last = result.equity[-1]
    assert last["fees"] == pytest.approx(sum(p.fees for p in result.summary_by_instrument), abs=1e-9) != 0
    assert last["funding"] == pytest.approx(sum(p.funding for p in result.summary_by_instrument), abs=1e-9)
    assert last["position"] == sum(abs(p.position) for p in result.summary_by_instrument)


def test_another_process_and_hash_seed_give_the_same_digest(recording: tuple[Path, SyntheticMarket]) -> None:
    path, _ = recording
    digests = set()
    for seed in ("0", "4242"):
        done = subprocess.run(
            [sys.executable, "-m", "replay", "run", "--strategy", STRATEGY, "--data", str(path),
             "--adapter", "binance-usdm", "--json"],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        digests.add(json.loads(done.stdout)["digest"])
    assert len(digests) == 1


@needs_capture
def test_example_strategy_on_the_real_capture(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "--strategy", STRATEGY, "--data", str(CAPTURE), "--adapter", "binance-usdm"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    for word in ("fills", "P&L", "fees", "clock offset +1272.157 ms", "0 gaps", "digest"):
        assert word in shown, word
    digests = set()
    for rows in ("32768", "1000"):
        assert main([*arguments, "--json", "--batch-rows", rows]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["fills"] > 0
        digests.add(found["digest"])
    assert len(digests) == 1


def test_demo_shows_the_whole_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--minutes", "0.5", "--seed", "3"]) == 0
    shown = capsys.readouterr().out
    for word in ("lost", "injected", "repaired", "fills", "P&L", "replay run --strategy"):
        assert word in shown, word


def test_wrong_strategy_names_say_what_to_do(
    recording: tuple[Path, SyntheticMarket], capsys: pytest.CaptureFixture[str]
) -> None:
    rest = ["--data", str(recording[0]), "--adapter", "binance-usdm"]
    cases = {
        "nowhere": "is neither MODULE:CLASS nor FILE.py:CLASS",
        "no_such_module:X": "there is no module 'no_such_module'",
        "strategies.market_maker:MarketMakr": "did you mean 'MarketMaker'?",
    }
    for name, message in cases.items():
        assert main(["run", "--strategy", name, *rest]) == 2
        assert message in capsys.readouterr().err
    assert main(["run", "--strategy", STRATEGY, "--param", "lotz=1", *rest]) == 2
    assert "no such parameter; did you mean 'lots'?" in capsys.readouterr().err


def test_a_piece_of_a_recording(recording: tuple[Path, SyntheticMarket], capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = recording
    whole = ["run", "--strategy", STRATEGY, "--data", str(path), "--adapter", "binance-usdm", "--json"]
    assert main(whole) == 0
    first_us = json.loads(capsys.readouterr().out)["first_us"]
    start, end = first_us + 10_000_000, first_us + 20_000_000
    assert main([*whole, "--start", str(start), "--end", iso_from_us(end)]) == 0
    piece = json.loads(capsys.readouterr().out)
    assert piece["first_us"] == start and end - 1_000_000 < piece["last_us"] <= end
    assert main([*whole, "--start", "2024-08-08"]) == 2
    assert "no time zone; write 2024-08-08T00:00:00Z" in capsys.readouterr().err


def test_an_exception_in_a_handler_carries_everything(recording: tuple[Path, SyntheticMarket]) -> None:
    class Breaks(Maker):
        seen: int = 0

        def on_trade(self, ctx: Context, trade: Trade) -> None:
            self.seen += 1
            if self.seen == 100:
                raise ZeroDivisionError("no spread")

    with pytest.raises(StrategyError) as caught:
        replay_of(recording).run(Breaks())
    error = caught.value
    assert (error.strategy, error.handler) == ("Breaks", "on_trade")
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert error.event.lots > 0
    assert error.time_us == error.partial.last_us
    assert error.partial.rows > 0


def test_a_misspelt_handler_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"on_trades.*did you mean 'on_trade'"):
        type("Typo", (Strategy,), {"on_trades": lambda self, ctx, trade: None})


def test_unknown_settings_are_errors(recording: tuple[Path, SyntheticMarket]) -> None:
    for settings, message in (
        ({"execution": "partal"}, "did you mean 'partial'"),
        ({"queue": {"binance-usdm:BTCUSD": PowerProbQueue(2)}}, "did you mean 'binance-usdm:BTCUSDT'"),
        ({"consume": True, "execution": "full"}, "does nothing"),
        ({"latency": 5}, "is not a model"),
        ({"sample_us": 0}, "at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            Replay.from_files(recording[0], adapter="binance-usdm", instruments=recording[1].instruments, **settings)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Replay.from_files(recording[0], adapter="binance-usdm", latancy=ConstantLatency())


def test_files_of_one_market_as_several_sources(recording: tuple[Path, SyntheticMarket]) -> None:
    """Cutting a recording into one source per instrument never changes what the strategy sees."""

    class Watcher(Strategy):
        seen: int = 0

        def on_book(self, ctx: Context, book: Book) -> None:
            self.seen += book.bid_ticks * 31 + book.ask_ticks + book.instrument
            ctx.record("book", book.bid_ticks)

    path, market = recording
    source = find_adapter("binance-usdm").open([path], instruments=market.instruments)
    events = np.concatenate([batch.copy() for batch in source.batches()])
    one, many = Watcher(), Watcher()
    whole = Replay(ArraySource(events, market.instruments)).run(one)
    parts = []
    for i, instrument in enumerate(market.instruments):
        mine = events[events["instrument"] == i].copy()
        mine["instrument"] = 0
        parts.append(ArraySource(mine, [instrument], instrument.name))
    split = Replay(parts, batch_rows=500).run(many)
    assert one.seen == many.seen != 0
    assert whole.parameters == split.parameters == {"seen": 0}
    assert whole.rows == split.rows == len(events)
