"""A strategy that is woken at every message of the venue and reads the touch.

Each side counts its calls and adds up the ticks of the touch; both must agree.  Compiled against hftbacktest's `njit`
loop over `wait_next_feed`, interpreted against the same loop in plain Python, the tutorial engine and NautilusTrader.
The cost of an interpreted callback is that run less a run without handlers, divided by the calls.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.contenders.ours import MODE
from benchmarks.contest import Side, alone, contest, runs_of
from benchmarks.harness import Goal, Measurement
from benchmarks.tape import Tape, contest_tape, saved

TITLE = "Woken at every message, against hftbacktest, a tutorial engine and NautilusTrader"
GOAL = Goal(2.0)
CALLBACK_GOAL = Goal(1.0, at_least=False)
SHORT_ROWS = 400_000
"""For engines that make objects of rows."""


def side(path: Path, tape: Tape, mode: str) -> Side:
    """Ours in one mode."""
    return Side("ours", "watch", path, len(tape.events), {"mode": mode}, f"ours, {mode}")


def measure(capture: Path | None) -> list[Measurement]:
    """Ours alone."""
    tape = contest_tape(capture)
    with saved(tape) as (path,):
        out = [alone(f"every message, {mode}, ours", side(path, tape, mode), tape.name) for mode in modes()]
        return [*out, callback(path, tape)]


def modes() -> list[str]:
    """The modes that there are."""
    return list(dict.fromkeys((MODE, "interpreted")))


def callback(path: Path, tape: Tape) -> Measurement:
    """µs of an interpreted callback, by pairs of runs with and without handlers."""
    silent = Side("ours", "noop", path, len(tape.events))
    pairs, answers = runs_of([side(path, tape, "interpreted"), silent])
    calls = answers[0]["calls"]
    each = tuple(1e6 * (with_calls.wall_s - without.wall_s) / calls for with_calls, without in zip(*pairs))
    return Measurement("interpreted callback", tape.name, "µs", each, facts={"callbacks": calls}, goal=CALLBACK_GOAL)


def against(capture: Path | None) -> list[Measurement]:
    """Ours and theirs in turn."""
    tape, short = contest_tape(capture), contest_tape(capture, SHORT_ROWS)
    out = []
    with saved(tape, short) as (path, short_path):
        for mode, plain, label in (
            (MODE, False, "hftbacktest njit"),
            ("interpreted", True, "hftbacktest plain Python"),
        ):
            theirs = {"backend": "roi", "distinct": True, "plain": plain}
            peer = Side("hft", "watch", path, len(tape.events), theirs, label)
            out += contest("every message", side(path, tape, mode), peer, tape.name, GOAL)
        for contender, label in (("tutorial", "tutorial engine"), ("nautilus", "NautilusTrader")):
            peer = Side(contender, "watch", short_path, len(short.events), {}, label)
            out += contest("every message", side(short_path, short, "interpreted"), peer, short.name)
        return [*out, callback(path, tape)]
