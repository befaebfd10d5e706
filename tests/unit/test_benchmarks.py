"""The harness: figures in files and side by side, tapes, contests of two processes.  No absolute number is tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import contest, tape
from benchmarks.contest import Side, assert_same
from benchmarks.figures import FiguresError, compared, read
from benchmarks.gridmaker import grid_settings
from benchmarks.harness import Goal, Measurement
from replay.events import BOOK, CLEAR, LAST
from replay.sources import ArraySource


def figures(path: Path, *samples: float, cpu: str = "one", unit: str = "s") -> Path:
    """A file with one figure."""
    figure = {"name": "x", "workload": "w", "unit": unit, "value": float(np.median(samples)), "samples": list(samples)}
    path.write_text(json.dumps({"machine": {"cpu": cpu}, "capture": "", "benchmarks": {"b": [figure]}}))
    return path


@pytest.fixture(scope="module")
def short() -> tape.Tape:
    """A synthetic tape of two repetitions."""
    once = tape.contest_tape(None, 1)
    return tape.contest_tape(None, len(once.events) + 1)


def test_value_spread_and_goal() -> None:
    m = Measurement("m", "w", "s", (1.0, 2.0, 4.0))
    assert (m.value, m.spread) == (2.0, 1.5)
    assert Goal(2.0).met(2.0) and not Goal(2.0).met(1.9)
    assert Goal(2.0, at_least=False).met(1.9) and not Goal(2.0, at_least=False).met(2.1)
    assert "MISSED" in Goal(3.0).verdict(1.0)


@pytest.mark.parametrize(("second", "verdict"), [((5.0, 6.0), "beyond"), ((2.5, 6.0), "within")])
def test_compare_tells_a_difference_from_noise(tmp_path: Path, second: tuple[float, ...], verdict: str) -> None:
    text = "\n".join(compared(figures(tmp_path / "a", 2.0, 3.0), figures(tmp_path / "b", *second)))
    assert f"{verdict} the spread" in text
    assert "warning" not in text


def test_compare_says_what_cannot_be_compared(tmp_path: Path) -> None:
    other = figures(tmp_path / "b", 3.0, cpu="two", unit="ms")
    text = "\n".join(compared(figures(tmp_path / "a", 3.0), other))
    assert "warning: cpu differs: one and two" in text
    assert "the units differ: s and ms" in text
    single = "\n".join(compared(figures(tmp_path / "a", 3.0), figures(tmp_path / "b", 3.0)))
    assert "one run only" in single


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read"), ("{", "is not JSON"), ("[]", "is not a file of figures"),
     ('{"machine": {}, "benchmarks": {"b": [{"name": "x"}]}}', "figure 1 lacks")],
)  # fmt: skip
def test_a_file_without_figures_is_named(
    tmp_path: Path, content: str | None, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "f.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(FiguresError, match=problem) as raised:
        read(path)
    assert str(path) in str(raised.value)
    with pytest.raises(SystemExit) as ended:
        command.main(["--compare", str(path), str(path)])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["nonsense"], ["--capture", "/no/such/file"], ["--json", "/no/such/folder/f"]])
def test_wrong_arguments_end_with_2(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(wrong)
    assert ended.value.code == 2


def test_figures_are_kept_and_a_wrong_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Right:
        TITLE = "right"

        @staticmethod
        def measure(capture: Path | None) -> list[Measurement]:
            return [Measurement("a", "w", "s", (1.0, 3.0), goal=Goal(5.0))]

    class Wrong:
        TITLE = "wrong"

        @staticmethod
        def measure(capture: Path | None) -> list[Measurement]:
            raise AssertionError("2 is not 3")

    modules: dict[str, Any] = {"right": Right, "wrong": Wrong}
    path = tmp_path / "f.json"
    assert command.measure_all(modules, None, False, path) == 1
    document = read(path)
    assert document["benchmarks"]["right"][0]["goal"] == {"limit": 5.0, "at_least": True, "met": False}
    assert document["costs"]["right"].keys() == {"wall_s", "cpu_s", "peak_mb"}
    assert command.measure_all({"right": Right}, None, False, None) == 0


def test_a_tape_repeats_the_book(short: tape.Tape) -> None:
    once = tape.one_recording(None)[1]
    assert tape.book_after(short.events) == tape.book_after(once)
    assert np.count_nonzero(short.events["flags"] & CLEAR) == 1
    opening = int(np.argmax((once["flags"] & LAST) != 0)) + 1
    joined = short.events[len(once) :]
    first = int(np.argmax((joined["flags"] & LAST) != 0)) + 1
    assert tape.book_after(short.events[: len(once) + first]) == tape.book_after(once[:opening])
    ArraySource(short.events, short.instruments)


def test_many_and_finer_keep_the_market(short: tape.Tape) -> None:
    lot = tape.many(short, 3)
    assert abs(len(lot.events) - len(short.events)) < len(short.events) // 10
    books = [tape.book_after(lot.events[lot.events["instrument"] == i]) for i in range(3)]
    assert books[0] == books[1] == books[2]
    ArraySource(lot.events, lot.instruments)
    fine = tape.finer(short, 1000)
    assert fine.instruments[0].tick * 1000 == short.instruments[0].tick
    assert tape.statistics(fine.events) == tape.statistics(short.events)


def test_a_synthetic_tape_is_like_the_recording() -> None:
    made = tape.statistics(tape.one_recording(None)[1])
    assert made["levels/message"] == pytest.approx(68, rel=0.1)
    assert made["book messages/s"] == pytest.approx(19, rel=0.1)
    assert made["absent/delete"] == pytest.approx(0.185, rel=0.25)


def test_a_tape_is_read_back(short: tape.Tape, tmp_path: Path) -> None:
    again = tape.Tape.load(short.save(tmp_path / "tape"))
    assert again.instruments == short.instruments and again.name == short.name
    assert np.array_equal(again.events, short.events)


def test_differences_of_answers_are_shown() -> None:
    assert_same({"fills": [1, 2]}, {"fills": [1, 2]}, "x")
    with pytest.raises(AssertionError, match=r"differ in fills: 2 and 3, first at 1"):
        assert_same({"fills": [1, 2]}, {"fills": [1, 3, 4]}, "x")


def test_a_missing_peer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "find_spec", lambda name: None)
    assert "pip install tickreplay[bench]" in contest.missing("hft")
    assert contest.missing("ours") == ""


def test_a_contest_of_two_processes(short: tape.Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours against the tutorial engine: equal answers, a ratio for each pair."""
    monkeypatch.setattr(contest, "PAIRS", 2)
    rows = len(short.events)
    with tape.saved(short) as (path,):
        ours, theirs = Side("ours", "watch", path, rows), Side("tutorial", "watch", path, rows, label="tutorial")
        own, other, ratio = contest.contest("x", ours, theirs, "w", Goal(0.0))
    assert own.facts["callbacks"] == other.facts["callbacks"] > 0
    assert len(ratio.samples) == 2
    books = np.count_nonzero(short.events["flags"] & LAST)
    assert own.facts["callbacks"] == books
    assert ratio.facts["pair 1"] == ratio.samples[0]


def test_a_failing_process_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="ours noop ended with code"),
        Side("ours", "noop", tmp_path / "no", 1).worker(),
    ):
        pass


def test_fills_equal_hftbacktest(short: tape.Tape) -> None:
    hft = pytest.importorskip("benchmarks.contenders.hft", reason="hftbacktest is not installed", exc_type=ImportError)
    from benchmarks.contenders import ours

    settings = grid_settings(short, queue="power3", backend="roi")
    answers = []
    for module in (ours, hft):
        run = module.RUNS["grid"](module.load(short, settings), settings)
        run.go()
        answers.append(run.answer()["fills"])
    assert len(answers[0]) > 0
    assert answers[0] == answers[1]
    assert np.count_nonzero(short.events["kind"] == BOOK) > 0
