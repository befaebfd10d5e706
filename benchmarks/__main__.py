"""`python -m benchmarks [NAME …]`: run benchmarks, say what was timed on which machine, keep the figures.

Every module of this package with a `TITLE` and a `measure(capture)` is a benchmark (see `benchmarks.harness`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks.harness import Measurement

REPO = Path(__file__).parents[1]
CAPTURE = REPO.parent / "shared" / "captures" / "binance_usdm" / "btcusdt_20240808.gz"
NOT_BENCHMARKS = {"__main__", "harness"}
LIBRARIES = ("numpy", "numba", "llvmlite", "orjson", "isal")


def names() -> list[str]:
    """Names of all benchmarks."""
    return sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in NOT_BENCHMARKS)


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }


def cpu_name() -> str:
    """The model of the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def number(value: float) -> str:
    """Four significant digits, thousands grouped."""
    if value == 0 or not 1e-3 <= abs(value) < 1e15:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def lines(measurements: Sequence[Measurement]) -> list[str]:
    """One benchmark's results as an aligned table: name, median, unit, spread, and under it what was measured."""
    width = max(len(m.name) for m in measurements)
    out = []
    for m in measurements:
        spread = f"±{50 * m.spread:.0f} % of {len(m.samples)}" if len(m.samples) > 1 else "1 run"
        facts = "".join(f", {name} {number(value)}" for name, value in m.facts.items())
        out.append(f"  {m.name:<{width}}  {number(m.value):>10} {m.unit:<12} {spread:<14} {m.workload}{facts}")
        if m.note:
            out.append(f"  {'':<{width}}  {m.note}")
    return out


def as_dict(m: Measurement) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "name": m.name, "workload": m.workload, "unit": m.unit, "value": m.value, "spread": m.spread,
        "samples": list(m.samples), "note": m.note, "facts": m.facts,
    }  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure tickreplay on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (default: all)")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument(
        "--capture",
        type=Path,
        metavar="PATH",
        help="a raw Binance USD-M recording to measure on (default: the BTCUSDT capture if present, else synthetic)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 2 for an unknown name or a capture that does not exist, 1 when an answer was wrong."""
    parser = make_parser()
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.names) - set(names()))
    if unknown:
        parser.error(f"no benchmark called {', '.join(unknown)}; there are: {', '.join(names())}")
    if chosen.capture is not None and not chosen.capture.exists():
        parser.error(f"--capture {chosen.capture}: no such file")
    capture = chosen.capture or (CAPTURE if CAPTURE.exists() else None)
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in chosen.names or names()}
    if chosen.list:
        for name, module in modules.items():
            print(f"{name:<16} {module.TITLE}")
        return 0
    where = machine()
    print("machine:", ", ".join(f"{key} {value}" for key, value in where.items()))
    print("capture:", capture or "none, the market is synthetic")
    results: dict[str, Any] = {}
    wrong = []
    for name, module in modules.items():
        print(f"\n{name}: {module.TITLE}", flush=True)
        try:
            measurements = module.measure(capture)
        except AssertionError as error:
            wrong.append(name)
            print(f"  wrong answer, not timed: {error}")
            continue
        print("\n".join(lines(measurements)), flush=True)
        results[name] = [as_dict(m) for m in measurements]
    if chosen.json is not None:
        document = {"machine": where, "capture": str(capture or ""), "benchmarks": results, "wrong": wrong}
        chosen.json.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
