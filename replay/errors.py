"""The error tree.

Mistakes by the caller are exceptions; anomalies in the world's data are counted (see `replay.quality`) and become
exceptions only under the policy "raise".  An exception carries its facts as attributes; the sentence that a person
reads is made from them in `__str__` and says who is wrong and what to do.

    ReplayError
      ConfigError          a setting, name or argument is wrong
      DataError            a file or message is not what it should be
      TransportError       a connection, server or cache failed
      StrategyError        user code raised
        CompileError       user code cannot be compiled
      KernelError          an invariant of the engine broke: our mistake, please report
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class ReplayError(Exception):
    """Root of everything that this library raises on purpose."""

    exit_code = 1


class ConfigError(ReplayError):
    """A setting is unknown or out of range.

    `name` is the setting, `value` what was given, `problem` what is wrong with it, `hint` what to do.
    """

    exit_code = 2

    def __init__(self, name: str, value: Any, problem: str, hint: str = "") -> None:
        super().__init__(name, value, problem, hint)
        self.name, self.value, self.problem, self.hint = name, value, problem, hint

    def __str__(self) -> str:
        text = f"{self.name}={self.value!r}: {self.problem}" if self.name else self.problem
        return f"{text}; {self.hint}" if self.hint else text


class DataError(ReplayError):
    """Input that cannot be read as what it claims to be.

    `path` is the file ("" for live data), `line` its 1-based line (0 when the whole file is meant).
    """

    exit_code = 2

    def __init__(self, problem: str, path: str = "", line: int = 0, hint: str = "") -> None:
        super().__init__(problem, path, line, hint)
        self.problem, self.path, self.line, self.hint = problem, path, line, hint

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}: " if self.line else (f"{self.path}: " if self.path else "")
        return f"{where}{self.problem}" + (f"; {self.hint}" if self.hint else "")


class TransportError(ReplayError):
    """A server, connection or cache did not do its part; `peer` names it."""

    exit_code = 3

    def __init__(self, problem: str, peer: str = "", hint: str = "") -> None:
        super().__init__(problem, peer, hint)
        self.problem, self.peer, self.hint = problem, peer, hint

    def __str__(self) -> str:
        where = f"{self.peer}: " if self.peer else ""
        return f"{where}{self.problem}" + (f"; {self.hint}" if self.hint else "")


class StrategyError(ReplayError):
    """A handler of the user's strategy raised (the cause is `__cause__`) or asked for something impossible.

    `strategy` class name, `handler` method name, `time_us` simulated time, `event` what it was handed,
    `partial` the Result up to that moment (None when there is none yet).
    """

    def __init__(
        self,
        strategy: str,
        handler: str,
        problem: str,
        time_us: int | None = None,
        event: Any = None,
        partial: Any = None,
    ) -> None:
        super().__init__(strategy, handler, problem, time_us, event)
        self.strategy, self.handler, self.problem = strategy, handler, problem
        self.time_us, self.event, self.partial = time_us, event, partial

    def __str__(self) -> str:
        where = f"{self.strategy}.{self.handler}" if self.handler else self.strategy
        when = ""
        if self.time_us is not None:
            from replay.units import iso_from_us

            when = f" at {iso_from_us(self.time_us)}"
        what = f" while handling {self.event!r}" if self.event is not None else ""
        return f"{where}{when}: {self.problem}{what}"


class CompileError(StrategyError):
    """A strategy cannot be turned into machine code; `line` is the line of its source file."""

    def __init__(self, strategy: str, handler: str, problem: str, line: int = 0) -> None:
        super().__init__(strategy, handler, problem)
        self.line = line
        self.args = (strategy, handler, problem, line)  # what pickle calls the class with

    def __str__(self) -> str:
        where = f"{self.strategy}.{self.handler}" if self.handler else self.strategy
        return f"{where}, line {self.line}: {self.problem}" if self.line else f"{where}: {self.problem}"


class KernelError(ReplayError):
    """The engine found its own state broken: `code` and `where` are for the bug report."""

    exit_code = 70

    def __init__(self, code: int, where: str, detail: str = "") -> None:
        super().__init__(code, where, detail)
        self.code, self.where, self.detail = code, where, detail

    def __str__(self) -> str:
        return (
            f"internal error {self.code} in {self.where}"
            + (f" ({self.detail})" if self.detail else "")
            + "; this is a bug of tickreplay, please report it with the command that you ran"
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint such as `did you mean 'on_trade'?`, or the list of what is known when nothing is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(names)
