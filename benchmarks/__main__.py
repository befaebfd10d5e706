"""`python -m benchmarks [NAME …]`: run benchmarks, say what was timed on which machine, keep and compare the figures.

Every module of this package with a `TITLE` and a `measure(capture)` is a benchmark (see `benchmarks.harness`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import benchmarks
from benchmarks.figures import FiguresError, as_dict, compared, lines, machine, number
from benchmarks.harness import Measurement, forget_peak, peak_mb

REPO = Path(__file__).parents[1]
CAPTURE = REPO.parent / "shared" / "captures" / "binance_usdm" / "btcusdt_20240808.gz"
NOT_BENCHMARKS = {"__main__", "contenders", "contest", "figures", "harness", "tape", "worker"}


def names() -> list[str]:
    """Names of all benchmarks."""
    return sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in NOT_BENCHMARKS)


def make_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure tickreplay on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (default: all)")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--peers", action="store_true", help="run the peers too, in turn with ours, and give ratios")
    parser.add_argument(
        "--compare", nargs=2, type=Path, metavar=("A", "B"), help="print two files of figures side by side and end"
    )
    parser.add_argument(
        "--capture",
        type=Path,
        metavar="FILE",
        help="a raw Binance USD-M recording to measure on (default: the BTCUSDT capture if present, else synthetic)",
    )
    return parser


def run(module: ModuleType, capture: Path | None, peers: bool) -> tuple[list[Measurement], dict[str, float]]:
    """A benchmark's figures, and what it cost: wall and CPU seconds with its children, peak MB of this process."""
    forget_peak()
    wall, cpu = time.perf_counter(), cpu_seconds()
    measure = getattr(module, "against", module.measure) if peers else module.measure
    measurements: list[Measurement] = measure(capture)
    cost = {"wall_s": time.perf_counter() - wall, "cpu_s": cpu_seconds() - cpu, "peak_mb": peak_mb()}
    return measurements, cost


def cpu_seconds() -> float:
    """CPU time of this process and its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def write(path: Path, document: dict[str, Any]) -> None:
    """The document as JSON, whole or not at all."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(document, indent=2) + "\n")
    aside.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 2 for an unknown name or a file that cannot be read, 1 when an answer was wrong."""
    parser = make_parser()
    chosen = parser.parse_args(arguments)
    if chosen.compare:
        try:
            print("\n".join(compared(*chosen.compare)))
        except FiguresError as error:
            parser.error(str(error))
        return 0
    unknown = sorted(set(chosen.names) - set(names()))
    if unknown:
        parser.error(f"no benchmark called {', '.join(unknown)}; there are: {', '.join(names())}")
    if chosen.capture is not None and not chosen.capture.exists():
        parser.error(f"--capture {chosen.capture}: no such file")
    if chosen.json is not None and not chosen.json.parent.is_dir():
        parser.error(f"--json {chosen.json}: there is no folder {chosen.json.parent}")
    capture = chosen.capture or (CAPTURE if CAPTURE.exists() else None)
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in chosen.names or names()}
    if chosen.list:
        for name, module in modules.items():
            print(f"{name:<16} {module.TITLE}")
        return 0
    return measure_all(modules, capture, chosen.peers, chosen.json)


def measure_all(modules: dict[str, ModuleType], capture: Path | None, peers: bool, file: Path | None) -> int:
    """Run the benchmarks one after the other, print and keep the figures; 1 when an answer was wrong."""
    where = machine()
    print("machine:", ", ".join(f"{key} {value or 'not installed'}" for key, value in where.items()))
    print("capture:", capture or "none, the market is synthetic")
    document: dict[str, Any] = {"machine": where, "capture": str(capture or "")}
    document |= {"benchmarks": {}, "costs": {}, "wrong": []}
    for name, module in modules.items():
        print(f"\n{name}: {module.TITLE}", flush=True)
        try:
            measurements, cost = run(module, capture, peers)
        except AssertionError as error:
            document["wrong"].append(name)
            print(f"  wrong answer, not timed: {error}")
            continue
        print("\n".join(lines(measurements)))
        print(
            f"  all of it: {number(cost['wall_s'])} s, {number(cost['cpu_s'])} s of CPU, "
            f"peak {number(cost['peak_mb'])} MB in the benchmark's own process",
            flush=True,
        )
        document["benchmarks"][name] = [as_dict(m) for m in measurements]
        document["costs"][name] = cost
        if file is not None:
            write(file, document)
    return 1 if document["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
