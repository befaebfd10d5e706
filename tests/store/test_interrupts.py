"""Ctrl-C at every line of an import: KeyboardInterrupt comes, nothing half-done stays, a rerun completes."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import replay.store
from replay.store import Store
from replay.store.ingest import ingest
from replay.store.interrupts import interrupts_held
from tests.store.tardis_files import write_day

FOLDER = str(Path(replay.store.__file__).parent)
WRITING = ("aside.py", "writer.py", "ingest.py")
"""Modules whose lines are interrupted at their first and at their last visit."""
Line = tuple[str, int]


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    """Ctrl-C as Python sets it up, whoever runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with one tiny day."""
    folder = tmp_path_factory.mktemp("files")
    write_day(folder, "AAA", 0, seed=1, messages=20)
    return folder


def traced(run: Callable[[], Any], at_line: Callable[[Line], None]) -> None:
    """Run, and call `at_line` before each line of `replay.store` in this thread."""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        if event == "line":
            at_line((frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)


def lines_of(run: Callable[[], Any]) -> dict[Line, int]:
    """How often each line is reached."""
    counts: dict[Line, int] = {}

    def count(line: Line) -> None:
        counts[line] = counts.get(line, 0) + 1

    traced(run, count)
    return counts


def interrupted_at(run: Callable[[], Any], line: Line, visit: int) -> bool:
    """Run with one Ctrl-C before the `visit`-th time that a line is reached; whether KeyboardInterrupt came."""
    left = visit

    def press(reached: Line) -> None:
        nonlocal left
        if reached == line:
            left -= 1
            if not left:
                signal.raise_signal(signal.SIGINT)

    try:
        traced(run, press)
    except KeyboardInterrupt:
        return True
    assert left > 0, f"Ctrl-C at {line} was lost"
    return False


def test_ctrl_c_at_every_line(files: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    lines = lines_of(lambda: ingest([files], adapter="tardis-csv", store=tmp_path / "whole"))
    whole = Store(tmp_path / "whole").digest()
    writing = [line for line in lines if Path(line[0]).name in WRITING]
    assert len(writing) > 100
    interrupted = 0
    for number, line in enumerate(sorted(lines)):
        for visit in {1, lines[line]} if line in writing else {1}:
            path = store / f"{number}-{visit}"
            came = interrupted_at(lambda: ingest([files], adapter="tardis-csv", store=path), line, visit)  # noqa: B023
            interrupted += came
            assert not (path / ".writing").exists(), f"a Ctrl-C at {line} left something behind"
            if path.exists():
                assert Store(path).problems() == []
            if came and number % 10 == 0:
                ingest([files], adapter="tardis-csv", store=path)
                assert Store(path).digest() == whole
    assert interrupted >= len(lines), "each line was interrupted"


def test_the_wish_is_delivered_after_the_block() -> None:
    asked, after = [], False
    with pytest.raises(KeyboardInterrupt), interrupts_held(lambda: asked.append(1)):
        signal.raise_signal(signal.SIGINT)
        after = True
    assert asked == [1] and after
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_interrupts_at_once() -> None:
    asked, after = [], False
    with pytest.raises(KeyboardInterrupt), interrupts_held(lambda: asked.append(1)):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        after = True
    assert asked == [1] and not after


def test_an_error_gives_way_to_the_wish() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts_held(lambda: None):
        signal.raise_signal(signal.SIGINT)
        raise ValueError


def test_the_handler_of_the_caller_hears_it_once() -> None:
    heard = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    with interrupts_held(lambda: None):
        signal.raise_signal(signal.SIGINT)
        assert heard == []
    assert heard == [signal.SIGINT]


def test_a_handler_that_does_not_raise_still_ends_the_import(files: Path, tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, lambda number, frame: None)

    def press(rows: int, done: int, total: int) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        ingest([files], adapter="tardis-csv", store=tmp_path / "store", progress=press)
    assert not (tmp_path / "store" / ".writing").exists()


def test_ignored_signals_and_other_threads_are_left_alone() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts_held(lambda: None):
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)
    seen = []

    def work() -> None:
        with interrupts_held(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
