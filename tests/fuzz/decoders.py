"""Coverage-guided fuzzing of all decoders: `python -m tests.fuzz.decoders [--seconds N] [NAME …]`.

Needs atheris (`pip install tickreplay[fuzz]`).  Each adapter gets a process of its own and N seconds; an input that
breaks a rule of `tests.fuzz.targets` is written to the folder `--found` and printed, and belongs into
`tests/fuzz/test_targets.py` when the fault is mended.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

MEMORY_MB = 2_048
INPUT_S = 20
"""One input may take this long: the first one compiles nothing but loads the kernels."""
VALUES = (
    None, True, 0, -1, 1, 2**31, 2**53, 2**62, 2**63, 2**64, 1e308, 1e-308, 0.1, "", "0", "-1", "1e9", "0.-1", "nan",
    "9" * 30, "2021-04-17T16:43:37Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", [], {}, [[]], [["1", "2"]],
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every value inside `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, inner in items:
        found.append((value, key))
        found += places(inner)
    return found


def mutate_json(data: bytes, random: Random) -> bytes | None:
    """One value of one line replaced, or the line repeated, removed or moved; None when the line is no JSON."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    how = random.randrange(8)
    if how == 0:
        lines.insert(random.randrange(len(lines) + 1), lines[at])
    elif how == 1 and len(lines) > 1:
        lines.insert(random.randrange(len(lines)), lines.pop(at))
    elif how == 2 and len(lines) > 1:
        del lines[at]
    else:
        try:
            value = json.loads(lines[at])
        except ValueError:
            return None
        inside = places(value)
        if not inside:
            return None
        container, key = random.choice(inside)
        other, other_key = random.choice(inside)
        container[key] = random.choice((random.choice(VALUES), json.loads(json.dumps(other[other_key]))))
        lines[at] = json.dumps(value).encode()
    return b"\n".join(lines)


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Fuzz one adapter in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["adapters"]):
        from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        random = Random(seed)
        found = mutate_json(data, random) if random.random() < 0.7 else None
        return found if found is not None and len(found) <= longest else atheris.Mutate(data, longest)

    def check(data: bytes) -> None:
        target.check(data, folder)

    atheris.Setup([sys.argv[0], *arguments], check, custom_mutator=mutate)
    atheris.Fuzz()


def fuzz(name: str, seconds: int, found: Path, captures: Path) -> bool:
    """Fuzz one adapter in a process of its own; whether nothing was found."""
    from tests.fuzz.targets import TARGETS

    with tempfile.TemporaryDirectory() as corpus:
        for i, seed in enumerate(TARGETS[name].seeds(captures)):
            (Path(corpus) / f"seed-{i}").write_bytes(seed)
        command = [
            sys.executable, "-m", "tests.fuzz.decoders", "--child", name, "--", f"-max_total_time={seconds}",
            f"-rss_limit_mb={MEMORY_MB}", f"-timeout={INPUT_S}", "-max_len=8192", f"-artifact_prefix={found}/{name}-",
            "-print_final_stats=1", "-seed=7", corpus,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
    runs = [line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    print(f"{name}: {runs[0] if runs else '?'} inputs, {'fine' if done.returncode == 0 else 'FOUND'}", flush=True)
    if done.returncode:
        said = (done.stdout + done.stderr).splitlines()
        print("\n".join(line for line in said if not line.startswith(("#", "INFO", "0x", "stat:"))), flush=True)
    return done.returncode == 0


def main() -> int:
    """The command; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.decoders")
    parser.add_argument("--seconds", type=int, default=60, help="for each adapter")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="folder of the inputs that were found")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help="adapters (default: all)")
    args = parser.parse_args()
    if args.child:
        fuzz_one(args.child, args.names)
    from tests.fuzz.targets import TARGETS

    captures = Path(__file__).parents[2].parent / "shared" / "captures"
    args.found.mkdir(parents=True, exist_ok=True)
    fine = [fuzz(name, args.seconds, args.found, captures) for name in args.names or TARGETS]
    if not any(args.found.iterdir()):
        args.found.rmdir()
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
