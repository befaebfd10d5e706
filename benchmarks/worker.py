"""A contender in a process of its own: `python -m benchmarks.worker CONTENDER WORKLOAD TAPE SETTINGS`.

It loads the tape and says "ready" on its standard output; for each line on its standard input it makes a new run, times
it and answers with one line of JSON: `wall_s`, `cpu_s`, `peak_mb` (of the process so far, tape included) and, when the
line was "check", the `answer`.
"""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.contenders import Settings
from benchmarks.harness import peak_mb
from benchmarks.tape import Tape

REPO = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Timing:
    """One run of a contender; `peak_mb` is the process's, tape included."""

    wall_s: float
    cpu_s: float
    peak_mb: float


class Worker:
    """The parent's end: a context manager; RuntimeError with the child's own words when it fails."""

    def __init__(self, contender: str, workload: str, tape: Path, settings: Settings) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", contender, workload, str(tape), json.dumps(settings)]
        self.name = f"{contender} {workload}"
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO, bufsize=1
        )
        self.read()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> int:
        """Let the child end; its exit code."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait()
        self.process.stdout.close()
        return code

    def read(self) -> dict[str, Any]:
        """The next line of the child."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with code {self.close()}; see its message above")
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, what: str) -> dict[str, Any]:
        """Send a line and read the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        return self.read()

    def check(self) -> dict[str, Any]:
        """A run that is not counted (whatever has to be compiled, is): its answer."""
        answer: dict[str, Any] = self.ask("check")["answer"]
        return answer

    def time(self) -> Timing:
        """A run that counts."""
        found = self.ask("time")
        return Timing(found["wall_s"], found["cpu_s"], found["peak_mb"])


def child(contender: str, workload: str, tape: Path, settings: Settings) -> None:
    """Serve runs until standard input ends."""
    module = importlib.import_module(f"benchmarks.contenders.{contender}")
    make = module.RUNS[workload]
    data = module.load(Tape.load(tape), settings)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        run = make(data, settings)
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        run.go()
        found: dict[str, Any] = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        found["peak_mb"] = peak_mb()
        if line.strip() == "check":
            found["answer"] = run.answer()
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    child(sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4]))
