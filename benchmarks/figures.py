"""Figures on paper and in files: the machine they come from, tables of them, and two files side by side.

A file of figures (`--json`) is an object with `machine`, `capture`, `benchmarks` (name → list of measurements as
`as_dict` writes them), `costs` (name → wall and CPU seconds, peak MB of the benchmark's own process) and `wrong`.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.harness import Measurement

LIBRARIES = ("numpy", "numba", "llvmlite", "orjson", "isal", "hftbacktest", "sortedcontainers", "nautilus_trader")


class FiguresError(Exception):
    """A file that is no file of figures; the text says which and why."""


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code; a library that is not installed is ""."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{library: installed(library) for library in LIBRARIES},
    }


def installed(library: str) -> str:
    """Its version, or ""."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


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
    """One benchmark's results as an aligned table: name, median, unit, spread, goal, and what was measured."""
    width = max(len(m.name) for m in measurements)
    out = []
    for m in measurements:
        spread = f"±{50 * m.spread:.0f} % of {len(m.samples)}" if len(m.samples) > 1 else "1 run"
        facts = "".join(f", {name} {number(value)}" for name, value in m.facts.items())
        goal = f"[{m.goal.verdict(m.value)}] " if m.goal else ""
        out.append(f"  {m.name:<{width}}  {number(m.value):>10} {m.unit:<13} {spread:<14} {goal}{m.workload}{facts}")
        if m.note:
            out.append(f"  {'':<{width}}  {m.note}")
    return out


def as_dict(m: Measurement) -> dict[str, Any]:
    """JSON-ready."""
    goal = {"limit": m.goal.limit, "at_least": m.goal.at_least, "met": m.goal.met(m.value)} if m.goal else None
    return {
        "name": m.name, "workload": m.workload, "unit": m.unit, "value": m.value, "spread": m.spread,
        "samples": list(m.samples), "note": m.note, "facts": m.facts, "goal": goal,
    }  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """A file that `--json` wrote; FiguresError when it is not one."""
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise FiguresError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise FiguresError(f"{path}: is not JSON: {error}") from None
    if not isinstance(document, dict) or not {"machine", "benchmarks"} <= document.keys():
        raise FiguresError(f"{path}: is not a file of figures; make one with `python -m benchmarks --json {path}`")
    for name, measurements in document["benchmarks"].items():
        for k, m in enumerate(measurements):
            absent = {"name", "workload", "unit", "value", "samples"} - m.keys()
            if absent or not m["samples"]:
                raise FiguresError(
                    f"{path}: benchmark {name}, figure {k + 1} lacks {', '.join(sorted(absent)) or 'samples'}"
                )
    return document


def compared(first: Path, second: Path) -> list[str]:
    """Both files side by side, as lines of text; FiguresError when one cannot be read."""
    a, b = read(first), read(second)
    out = [f"A: {first}", f"B: {second}", *differences(a, b)]
    for name in dict.fromkeys([*a["benchmarks"], *b["benchmarks"]]):
        pairs = matched(a["benchmarks"].get(name, []), b["benchmarks"].get(name, []))
        width = max((len(figure) for figure in pairs), default=0)
        out += ["", f"{name}:"]
        out += [f"  {figure:<{width}}  {side_by_side(*pair)}" for figure, pair in pairs.items()]
    return out


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Warnings: what besides the code is not the same."""
    out = []
    for key in dict.fromkeys([*a["machine"], *b["machine"]]):
        one, other = a["machine"].get(key, ""), b["machine"].get(key, "")
        if one != other:
            out.append(f"warning: {key} differs: {one or 'none'} and {other or 'none'}")
    if a.get("capture") != b.get("capture"):
        out.append(f"warning: the capture differs: {a.get('capture') or 'none'} and {b.get('capture') or 'none'}")
    return out


def matched(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """Figures of one benchmark by name (and which of that name), None where a side has none."""
    out: dict[str, tuple[Any, Any]] = {}
    for figures, second in ((a, False), (b, True)):
        seen: dict[str, int] = {}
        for figure in figures:
            seen[figure["name"]] = nth = seen.get(figure["name"], 0) + 1
            key = figure["name"] if nth == 1 else f"{figure['name']} ({nth})"
            out[key] = (
                (out[key][0], figure) if second and key in out else ((None, figure) if second else (figure, None))
            )
    return out


def side_by_side(a: dict[str, Any] | None, b: dict[str, Any] | None) -> str:
    """Both values, the ratio of B to A, and whether the runs of one lie beyond those of the other."""
    if a is None or b is None:
        return f"only in {'B' if a is None else 'A'}"
    text = f"{number(a['value']):>10} {number(b['value']):>10} {a['unit']:<13}"
    if a["unit"] != b["unit"]:
        return f"{text} the units differ: {a['unit']} and {b['unit']}"
    text += f" B/A {number(b['value'] / a['value']) if a['value'] else 'n/a':>6}  "
    if a["workload"] != b["workload"]:
        return f"{text}the workload differs: {a['workload']} and {b['workload']}"
    if min(len(a["samples"]), len(b["samples"])) < 2:
        return f"{text}one run only, the spread is not known"
    apart = min(b["samples"]) > max(a["samples"]) or max(b["samples"]) < min(a["samples"])
    return text + ("beyond the spread" if apart else "within the spread")
