"""What competes: ours and the peers, each a module that replays a tape in a process of its own.

A module has `load(tape, settings)`, which makes its own data of a tape, and
`RUNS`, workload name → `make(data, settings)`, which returns a `Run` that has not begun.  What `load` and `make` do is
not timed; `go` is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Settings = Mapping[str, Any]
"""Plain values that can be written as JSON."""


class Run(Protocol):
    """One replay: `go` is timed and called once; `answer` is JSON-ready and says what came out."""

    def go(self) -> None:
        """Replay everything."""

    def answer(self) -> dict[str, Any]:
        """What came out; compared with the answers of the others."""


Make = Callable[[Any, Settings], Run]
