"""A run as a file: what it says is what runs, what is wrong with it is named, and a saved run can be run again."""

from __future__ import annotations

import hashlib
import json
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from replay import (
    BpsSlippage,
    ConfigError,
    ConstantLatency,
    DataError,
    FeesIn,
    MakerTaker,
    Margin,
    PowerProbQueue,
    Replay,
    Result,
    RiskAverseQueue,
    RunSettings,
    TableLatency,
    TieredFees,
    UserQueue,
)
from replay.cli import main, make_parser
from replay.commands.run import model_settings
from replay.loading import load_strategy
from replay.testing import SyntheticMarket

MAKER = """\
from helper import EVERY_US
from replay import Strategy

class Maker(Strategy):
    lots: int = 10

    def on_start(self, ctx):
        ctx.every(EVERY_US)

    def on_timer(self, ctx, timer):
        book = ctx.book(0)
        ctx.cancel_all(0)
        if book.ready:
            ctx.buy(0, self.lots, ticks=book.bid_ticks, post_only=True)
            ctx.sell(0, self.lots, ticks=book.ask_ticks, post_only=True)

def last(front, printed, before, after, lot, parameter):
    return after
"""

RUN = """\
[data]
files = ["day.gz"]
adapter = "binance-usdm"

[models]
latency = { model = "ConstantLatency", entry = 5_000, response = 5_000 }
fees = { model = "MakerTaker", maker = 0.0002, taker = 0.0005 }

[models."binance-usdm:BTCUSDT"]
queue = { model = "PowerProbQueue", n = 3 }

[strategy]
class = "maker.py:Maker"
parameters = { lots = 5 }

[run]
mode = "interpreted"
deposit = 100_000

[output]
save = "result"
"""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> SyntheticMarket:
    return SyntheticMarket("binance-usdm", seed=5, duration_us=5_000_000)


@pytest.fixture
def folder(market: SyntheticMarket, tmp_path: Path) -> Path:
    """A user's folder: a recording, a strategy with a helper beside it, and run.toml."""
    market.write(tmp_path / "day.gz")
    (tmp_path / "maker.py").write_text(MAKER)
    (tmp_path / "helper.py").write_text("EVERY_US = 100_000\n")
    (tmp_path / "run.toml").write_text(RUN)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What a command printed as JSON."""
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_file_runs_what_python_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(folder / "run.toml"), "--json"]) == 0
    found = shown(capsys)
    maker = load_strategy("class", "maker.py:Maker", folder)
    result = Replay.from_files(
        folder / "day.gz",
        adapter="binance-usdm",
        latency=ConstantLatency(5_000, 5_000),
        fees=MakerTaker(0.0002, 0.0005),
        queue={"binance-usdm:BTCUSDT": PowerProbQueue(3)},
        deposit=100_000,
    ).run(maker(lots=5))
    assert found["digest"] == result.digest and len(result.fills) > 0
    assert found["settings"] == result.settings


def test_a_saved_run_comes_out_again(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", str(folder / "run.toml")]) == 0
    saved = folder / "result" / "run.toml"
    digest = Result.load(folder / "result").digest
    assert tomllib.loads(saved.read_text())["recorded"]["digest"] == digest
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    capsys.readouterr()
    assert main(["run", str(saved)]) == 0
    assert "the digest is the recorded one" in capsys.readouterr().out
    assert main(["run", str(saved.parent)]) == 2
    assert "is a saved result; to run it again write replay run" in capsys.readouterr().err
    assert main(["run", str(saved), "--json", "--save", "again"]) == 0
    assert shown(capsys)["digest"] == digest == Result.load(elsewhere / "again").digest


def test_changed_data_are_refused(folder: Path, market: SyntheticMarket, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(folder / "run.toml")]) == 0
    SyntheticMarket("binance-usdm", seed=6, duration_us=5_000_000).write(folder / "day.gz")
    capsys.readouterr()
    assert main(["run", str(folder / "result" / "run.toml")]) == 2
    said = capsys.readouterr().err
    assert "day.gz has changed since this run was recorded" in said and "run.toml" in said


def test_a_changed_strategy_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(folder / "run.toml")]) == 0
    saved = str(folder / "result" / "run.toml")
    (folder / "maker.py").write_text(MAKER.replace("book.bid_ticks", "book.bid_ticks - 1"))
    capsys.readouterr()
    assert main(["run", saved]) == 1
    said = capsys.readouterr().err
    assert "recorded was" in said and "the file of the strategy has changed" in said
    assert main(["run", saved, "--param", "lots=1"]) == 0, "another run than the recorded one"


def test_runs_set_by_arguments_are_saved_with_their_file(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    arguments = ["--data", "day.gz", "--adapter", "binance-usdm", "--latency", "2000,3000", "--queue", "power:2"]
    assert (
        main(["run", "--strategy", "maker.py:Maker", "--param", "lots=3", *arguments, "--save", "out", "--json"]) == 0
    )
    digest = shown(capsys)["digest"]
    assert main(["run", "out/run.toml", "--json"]) == 0
    assert shown(capsys)["digest"] == digest
    assert tomllib.loads(Path("out/run.toml").read_text())["models"]["latency"]["response"] == 3000


def test_a_run_of_a_store_comes_out_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, out = str(folder / "store"), str(folder / "out")
    day = str(folder / "day.gz")
    assert main(["import", day, "--adapter", "binance-usdm", "--store", store, "--jobs", "1"]) == 0
    strategy = str(folder / "maker.py") + ":Maker"
    instrument = "binance-usdm:ETHUSDT"
    capsys.readouterr()
    assert main(["run", store, "--strategy", strategy, "--instrument", instrument, "--save", out, "--json"]) == 0
    found = shown(capsys)
    assert list(found["instruments"]) == [instrument]  # type: ignore[call-overload]
    assert main(["run", out + "/run.toml", "--json"]) == 0
    assert shown(capsys)["digest"] == found["digest"]


def test_every_kind_of_model_can_be_said(folder: Path) -> None:
    (folder / "run.toml").write_text(
        RUN.replace(
            '[models."binance-usdm:BTCUSDT"]\nqueue = { model = "PowerProbQueue", n = 3 }',
            """\
slippage = { model = "BpsSlippage", bps = 0.5 }
margin = { initial = 0.05, maintenance = "0.03" }
execution = "full"
[models."binance-usdm:BTCUSDT"]
fees = { model = "TieredFees", tiers = [[0, 0.0002, 0.0005], [1e6, "0.0001", 0.0004]] }
latency = { model = "TableLatency", trips = [[1, 5, 9], [11, 15, 19]] }
queue = { model = "UserQueue", function = "maker.py:last", parameter = 2.0 }
[models."binance-usdm:ETHUSDT"]
fees = { model = "FeesIn", currency = "BNB", price = "600", fees = { model = "MakerTaker", maker = "0.0001" } }
[instruments."binance-usdm:BTCUSDT"]
tick = 0.1
lot = "0.001"
""",
        )
    )
    replay = RunSettings.from_toml(folder / "run.toml").replay()
    btc, eth = (replay.instruments.index(i) for i in sorted(replay.instruments, key=lambda i: i.symbol))
    assert replay.instruments[btc].tick == Decimal("0.1")
    models = replay.models
    assert models["slippage"] == [BpsSlippage(0.5)] * 2
    assert models["margin"] == [Margin(0.05, "0.03")] * 2
    assert models["execution"] == ["full", "full"]
    assert models["fees"][btc] == TieredFees([(0, 0.0002, 0.0005), (1e6, "0.0001", 0.0004)])
    assert models["fees"][eth] == FeesIn(MakerTaker("0.0001"), "BNB", "600")
    assert models["latency"][btc] == TableLatency([(1, 5, 9), (11, 15, 19)])
    assert models["latency"][eth] == ConstantLatency(5_000, 5_000)
    assert isinstance(models["queue"][btc], UserQueue) and models["queue"][btc].parameter == 2.0


def test_settings_from_python(folder: Path) -> None:
    given = {
        "data": {"files": "day.gz", "adapter": "binance-usdm"},
        "models": {"latency": {"model": "ConstantLatency", "entry": 1_000}},
        "strategy": {"class": "maker.py:Maker", "parameters": {"lots": 2}},
    }
    result = RunSettings(given, folder).run()
    assert result.parameters == {"lots": 2}
    path = folder / "day.gz"
    assert result.data == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}
    with pytest.raises(ConfigError, match=r"models\.latency\.entry=-5: must be whole microseconds"):
        RunSettings({**given, "models": {"latency": {"model": "ConstantLatency", "entry": -5}}}, folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[models]", "[model]", "run.toml:5: model={…}: there is no such key; did you mean 'models'?"),
        ("adapter =", "adaptor =", "run.toml:3: data.adaptor='binance-usdm': there is no such key; did you mean 'ada"),
        ('"binance-usdm"\n', '"binance-usd"\n', "run.toml:3: data.adapter='binance-usd': no such adapter; did you mea"),
        ('"day.gz"', "1", "run.toml:2: data.files=[1]: must be a list of texts"),
        ("entry = 5_000", "entri = 5_000", "run.toml:6: models.latency.entri=5000: there is no such key; did you mean"),
        ("entry = 5_000", "entry = -1", "run.toml:6: models.latency.entry=-1: must be whole microseconds from 0"),
        ("ConstantLatency", "ConstLatency", "model='ConstLatency': is no model of latency; did you mean 'ConstantL"),
        ("maker = 0.0002", "maker = 2", "run.toml:7: models.fees.maker=2: must lie between -0.1 and 0.1"),
        ("latency =", "latancy =", "run.toml:6: models.latancy={…}: there is no such key; did you mean 'latency'?"),
        (":BTCUSDT", ":BTCUSD", 'run.toml:9: models."binance-usdm:BTCUSD": is not an instrument of this run; did you'),
        (", n = 3", "", "run.toml:10: models.\"binance-usdm:BTCUSDT\".queue.n: is missing: PowerProbQueue needs it"),
        ("Maker\"", "Makr\"", "run.toml:13: strategy.class='maker.py:Makr': maker.py has no Strategy of that name; di"),
        ("lots = 5", "lotz = 5", "run.toml:14: strategy.parameters.lotz=5: Maker has no such parameter; did you mean"),
        ("lots = 5", 'lots = "x"', "run.toml:14: strategy.parameters.lots='x': must be a whole number"),
        ('"interpreted"', '"interpret"', "run.toml:17: run.mode='interpret': is not known; did you mean 'interpreted'"),
        ("100_000", '"much"', "run.toml:18: run.deposit='much': must be a number"),
        ('save = "result"', "save = 1", "run.toml:21: output.save=1: must be text"),
        ('adapter = "binance-usdm"', "", "run.toml:1: data.adapter: is missing"),
        ('files = ["day.gz"]', "", "run.toml:1: data: name files with an adapter, a store"),
        ("[output]", "[output", "run.toml: is not TOML: "),
        ('files = ["day.gz"]', 'files = ["day.gz"]\nstart = 2024-08-08', "start='2024-08-08': 2024-08-08 00:00:00 has"),
        ('"day.gz"', '"night.gz"', "night.gz: no such file"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(
    old: str, new: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in RUN
    (folder / "run.toml").write_text(RUN.replace(old, new, 1))
    assert main(["run", str(folder / "run.toml")]) == 2
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1 and out == ""
    assert str(folder) in err
    assert not (folder / "result").exists()


def test_arguments_that_a_file_has_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(folder / "run.toml"), "--queue", "log"]) == 2
    assert "--queue='log': stands in the file; change models.queue there" in capsys.readouterr().err


def test_a_place_that_is_taken_is_told_before_the_run(folder: Path) -> None:
    (folder / "result").mkdir()
    with pytest.raises(DataError, match="is not a saved result"):
        RunSettings.from_toml(folder / "run.toml").run()
    assert list((folder / "result").iterdir()) == []


def test_model_arguments_are_models() -> None:
    text = "run --latency 1,2 --queue power:2 --fees 0.0001,0.0002 --slippage-bps 1.5 --execution full --batch-rows 99"
    assert model_settings(make_parser().parse_args(text.split())) == {
        "latency": ConstantLatency(1, 2),
        "queue": PowerProbQueue(2.0),
        "fees": MakerTaker("0.0001", "0.0002"),
        "slippage": BpsSlippage(1.5),
        "execution": "full",
        "batch_rows": 99,
    }
    assert model_settings(make_parser().parse_args(["run"])) == {
        "latency": ConstantLatency(10_000, 10_000),
        "queue": RiskAverseQueue(),
        "fees": MakerTaker("0.0002", "0.0005"),
    }
