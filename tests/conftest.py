"""Settings that hold for every test.

Hypothesis runs without deadlines (the first call of a kernel compiles it) and derandomised: the same examples on
every machine, so a red build is red at home.  `REPLAY_TEST_SEED=random` searches anew and prints what reproduces a
failure.  With NUMBA_DISABLE_JIT=1 kernels are plain Python, some hundred times slower: fewer examples then.
"""

from __future__ import annotations

import os

from hypothesis import settings

FIXED = os.environ.get("REPLAY_TEST_SEED", "fixed") != "random"
INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT", "0") == "1"

settings.register_profile(
    "replay",
    deadline=None,
    derandomize=FIXED,
    database=None,
    print_blob=True,
    max_examples=20 if INTERPRETED else 100,
)
settings.load_profile("replay")


def pytest_report_header() -> str:
    """Say which examples Hypothesis will use."""
    examples = "fixed" if FIXED else "random"
    kernels = "plain Python" if INTERPRETED else "jitted"
    return f"hypothesis examples: {examples}; kernels: {kernels}"
