"""Strategies and functions by name: from modules and files, and what is said when they are not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from replay import ConfigError, Replay, Strategy
from replay.loading import load_function, load_strategy, place_of
from replay.testing import SyntheticMarket

CODE = """\
from dataclasses import dataclass
from replay import Strategy
from {beside} import STEP

@dataclass
class Thing:
    size: int

class Mine(Strategy):
    step: int = STEP
    seen: int = 0

    def on_trade(self, ctx, trade):
        self.seen += self.step

def queue(front, printed, before, after, lot, parameter):
    return after

number = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a strategy and a module beside it; the search path is put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "loading_beside.py").write_text("STEP = 3\n")
    (tmp_path / "loading_mine.py").write_text(CODE.format(beside="loading_beside"))
    return tmp_path


@pytest.mark.parametrize("name", ["loading_mine:Mine", "loading_mine.py:Mine"])
def test_a_class_runs_in_both_modes(name: str, folder: Path) -> None:
    found = load_strategy("strategy", name, folder)
    assert issubclass(found, Strategy) and found.parameter_types() == {"step": int, "seen": int}
    path = SyntheticMarket("binance-usdm", seed=2, duration_us=1_000_000).write(folder / "day.gz")
    replay = Replay.from_files(path, adapter="binance-usdm")
    seen = []
    for mode in ("interpreted", "compiled"):
        strategy = found()
        replay.run(strategy, mode=mode)
        seen.append(strategy.parameters()["seen"])
    assert seen[0] == seen[1] > 0 and seen[0] % 3 == 0


def test_files_of_one_name_in_two_folders_are_two(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    (other / "loading_mine.py").write_text("from replay import Strategy\nclass Mine(Strategy):\n    mine: int = 1\n")
    first = load_strategy("strategy", "loading_mine.py:Mine", folder)
    second = load_strategy("strategy", "loading_mine.py:Mine", other)
    assert first is not second and "mine" in second.parameter_types()


def test_a_file_that_was_edited_is_read_again(folder: Path) -> None:
    path = folder / "loading_mine.py"
    load_strategy("strategy", "loading_mine.py:Mine", folder)
    path.write_text(path.read_text().replace("seen: int = 0", "seen: int = 100"))
    assert load_strategy("strategy", "loading_mine.py:Mine", folder)().parameters()["seen"] == 100


def test_functions(folder: Path) -> None:
    assert load_function("function", "loading_mine.py:queue", folder)(1, 2, 3, 4, 5, 6) == 4
    with pytest.raises(ConfigError, match="has no function of that name; did you mean 'queue'"):
        load_function("function", "loading_mine.py:queu", folder)
    with pytest.raises(ConfigError, match="has no function of that name"):
        load_function("function", "loading_mine.py:number", folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("loading_mine:Thing", "Thing is not a Strategy; write class Thing"),
        ("loading_mine:Mien", "loading_mine has no Strategy of that name; did you mean 'Mine'"),
        ("loading_beside:X", "has no Strategy of that name; write class MyStrategy"),
        ("loading_none:X", r"there is no module 'loading_none'; it is looked for in .*; or write loading_none\.py:X"),
        ("loading_none.inner:X", "there is no module 'loading_none'; it is looked for in"),
        ("loading_none.py:X", "there is no file .*loading_none.py"),
        ("loading_mine", "is neither MODULE:CLASS nor FILE.py:CLASS"),
        (":Mine", "is neither MODULE:CLASS nor FILE.py:CLASS"),
    ],
)
def test_what_is_not_there(name: str, said: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=f"^strategy='{name}': .*{said}"):
        load_strategy("strategy", name, folder)


def test_a_file_that_cannot_be_imported_leaves_no_module(folder: Path) -> None:
    (folder / "loading_broken.py").write_text("import loading_nothing\n")
    before = set(sys.modules)
    with pytest.raises(ConfigError, match=r"No module named 'loading_nothing'; see .*loading_broken\.py:1"):
        load_strategy("strategy", "loading_broken.py:X", folder)
    assert not [name for name in set(sys.modules) - before if "broken" in name]


def test_the_place_is_the_users(folder: Path) -> None:
    assert place_of(None) == ""
    (folder / "loading_place.py").write_text("import json\n\n\ndef f():\n    json.loads('{')\n")
    function = load_function("function", "loading_place.py:f", folder)
    with pytest.raises(ValueError) as caught:
        function()
    assert place_of(caught.value.__traceback__) == f"{folder / 'loading_place.py'}:5"
