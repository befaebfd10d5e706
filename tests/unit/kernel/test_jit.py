"""The kernel decorator and its cache, in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from replay.kernel import jit

ROOT = Path(jit.__file__).parents[2]
SHOW = "from replay.kernel import jit; print(jit.CACHE_DIR)"

INNER = '''"""Called by another module."""

from replay.kernel.jit import kernel


@kernel{options}
def inner(x):
    return x + {value}
'''

OUTER = '''"""Calls another module."""

from replay.kernel.inner import inner
from replay.kernel.jit import kernel


@kernel
def outer(x):
    return 10 * inner(x)
'''

CALL = "from replay.kernel.outer import outer; print(outer(1))"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the vocabulary and of the decorator, without the engine's kernels."""
    home = tmp_path / "replay"
    (home / "kernel").mkdir(parents=True)
    for name in ("__init__.py", "_version.py", "errors.py", "events.py", "units.py"):
        shutil.copy(ROOT / "replay" / name, home / name)
    for name in ("__init__.py", "jit.py"):
        shutil.copy(ROOT / "replay" / "kernel" / name, home / "kernel" / name)
    return tmp_path


def start(package: Path, code: str, **environment: str) -> subprocess.Popen[str]:
    """Python on that copy, with a cache folder next to it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "PYTHONPATH", "XDG_CACHE"))}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        cwd=package,
        env={**clean, "PYTHONPATH": str(package), "REPLAY_CACHE_DIR": str(package / "cache"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.strip()


def run(package: Path, code: str, **environment: str) -> str:
    return finish(start(package, code, **environment))


def test_the_cache_folder_follows_sources_and_flags(package: Path) -> None:
    seen = {run(package, SHOW)}
    assert run(package, SHOW) in seen, "nothing changed"
    for flags in ({"NUMBA_BOUNDSCHECK": "1"}, {"NUMBA_DISABLE_JIT": "1"}, {"NUMBA_OPT": "1"}):
        folder = run(package, SHOW, **flags)
        assert folder not in seen, flags
        seen.add(folder)
    for name in ("kernel/jit.py", "events.py", "units.py"):
        path = package / "replay" / name
        path.write_text(path.read_text() + "\n# edited\n")
        folder = run(package, SHOW)
        assert folder not in seen, name
        seen.add(folder)
    (package / "replay" / "kernel" / "new.py").write_text('"""New."""\n')
    assert run(package, SHOW) not in seen


@pytest.mark.parametrize(("variable", "tail"), [("REPLAY_CACHE_DIR", ""), ("XDG_CACHE_HOME", "tickreplay"),
                                                ("HOME", ".cache/tickreplay")])  # fmt: skip
def test_where_the_cache_lies(package: Path, variable: str, tail: str) -> None:
    chosen = package / "chosen"
    environment = {"REPLAY_CACHE_DIR": "", variable: str(chosen)}
    folder = Path(run(package, SHOW, **environment))
    assert folder.parent == chosen / tail / "kernels"


@pytest.mark.parametrize("options", ["", "(entry=False)"])
def test_an_edit_in_another_module_is_noticed(package: Path, options: str) -> None:
    inner = package / "replay" / "kernel" / "inner.py"
    (package / "replay" / "kernel" / "outer.py").write_text(OUTER)
    inner.write_text(INNER.format(options=options, value=1))
    assert run(package, CALL) == "20"
    compiled = sorted(package.glob("cache/kernels/*/**/*outer*.nbc"))
    assert compiled, "the first run must have left machine code"
    assert run(package, CALL) == "20"
    assert sorted(package.glob("cache/kernels/*/**/*outer*.nbc")) == compiled, "the second run must reuse it"
    inner.write_text(INNER.format(options=options, value=2))
    assert run(package, CALL) == "30"


def test_two_processes_may_compile_at_once(package: Path) -> None:
    (package / "replay" / "kernel" / "outer.py").write_text(OUTER)
    (package / "replay" / "kernel" / "inner.py").write_text(INNER.format(options="", value=1))
    pair = [start(package, CALL) for _ in range(2)]
    assert [finish(process) for process in pair] == ["20", "20"]
    assert run(package, CALL) == "20"


def test_is_compiled_tells_whether_the_first_call_will_be_slow(package: Path) -> None:
    (package / "replay" / "kernel" / "outer.py").write_text(OUTER)
    (package / "replay" / "kernel" / "inner.py").write_text(INNER.format(options="", value=1))
    ask = "from replay.kernel.jit import is_compiled; print(is_compiled('outer'), is_compiled('oute'))"
    assert run(package, ask) == "False False"
    run(package, CALL)
    assert run(package, ask) == "True False"
    assert run(package, ask, NUMBA_DISABLE_JIT="1") == "True True"


def test_bounds_are_checked_only_on_request(package: Path) -> None:
    (package / "replay" / "kernel" / "outer.py").write_text(
        "from replay.kernel.jit import kernel\n\n\n@kernel\ndef outer(a, i):\n    return a[i]\n"
    )
    code = "import numpy as np; from replay.kernel.outer import outer\n"
    code += "try: outer(np.zeros(3), 3)\nexcept IndexError: print('checked')"
    run(package, code)
    assert run(package, code, NUMBA_BOUNDSCHECK="1") == "checked"
    assert run(package, code, NUMBA_DISABLE_JIT="1") == "checked"


@jit.kernel
def ratio(a, b):
    """Division with the error model of kernels."""
    return a[0] / b[0]


@jit.kernel
def caller(out, wide, narrow):
    """Calls one kernel with several widths and a constant."""
    out[0] = callee(wide)
    out[1] = callee(narrow)
    out[2] = callee(7)


@jit.kernel
def callee(x):
    """Twice its argument."""
    return 2 * x


def test_kernels_divide_by_zero_as_ieee_says() -> None:
    with np.errstate(all="ignore"):
        assert ratio(np.array([1.0]), np.array([0.0])) == np.inf
        assert np.isnan(ratio(np.array([0.0]), np.array([0.0])))


def test_calls_between_kernels_are_widened_to_one_version() -> None:
    out = np.zeros(3, np.int64)
    caller(out, 2**40, np.int8(-3))
    assert out.tolist() == [2**41, -6, 14]
    if hasattr(callee, "signatures"):
        caller.recompile()  # it may have come from the cache, with its callee inside
        assert len(callee.signatures) == 1


def test_killed_while_compiling(package: Path) -> None:
    """Whenever the process dies, the next one works."""
    (package / "replay" / "kernel" / "outer.py").write_text(OUTER)
    (package / "replay" / "kernel" / "inner.py").write_text(INNER.format(options="", value=1))
    killed = 0
    for tenths in range(2, 14, 2):
        process = start(package, CALL)
        try:
            process.communicate(timeout=tenths / 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate(timeout=30)
            killed += 1
    assert killed > 0
    assert run(package, CALL) == "20"
    assert list(package.glob("cache/kernels/*/**/*outer*.nbc"))


def test_a_cache_that_cannot_be_written(package: Path) -> None:
    """It works, says so, and leaves nothing in __pycache__, where Numba would keep machine code that goes stale."""
    (package / "replay" / "kernel" / "outer.py").write_text(OUTER)
    (package / "replay" / "kernel" / "inner.py").write_text(INNER.format(options="", value=1))
    (package / "file").write_text("in the way")
    process = start(package, CALL + "; from replay.kernel import jit; print(jit.CACHE_DIR)",
                    REPLAY_CACHE_DIR=str(package / "file" / "cache"))  # fmt: skip
    out, err = process.communicate(timeout=120)
    answer, folder = out.split()
    assert answer == "20" and "set REPLAY_CACHE_DIR to a folder that can be written" in err
    assert not Path(folder).exists(), "the folder of this process goes with it"
    assert not list(package.rglob("__pycache__/*.nb?"))


def test_a_filled_cache_that_cannot_be_written_is_read(package: Path) -> None:
    (package / "replay" / "kernel" / "outer.py").write_text(OUTER)
    (package / "replay" / "kernel" / "inner.py").write_text(INNER.format(options="", value=1))
    run(package, CALL)
    folder = Path(run(package, SHOW))
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere (root)")
    hits = CALL + "; print(sum(outer.stats.cache_hits.values()))"
    assert run(package, hits).split() == ["20", "1"]
    folder.chmod(0o755)
