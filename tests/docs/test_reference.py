"""The reference is what the docstrings say, and names everything that is public."""

from __future__ import annotations

import re
import subprocess
import sys

import replay
from tests.docs.pages import ROOT

CHECK = "import make_reference as made; print(made.reference() == made.PAGE.read_text())"


def test_the_reference_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'docs'}", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.stdout == "True\n", f"run: python docs/make_reference.py\n{done.stderr}"


def test_every_public_name_is_in_the_reference() -> None:
    named = set(re.findall(r"^### `(\w+)`", (ROOT / "docs" / "reference.md").read_text(), re.M))
    assert set(replay.__all__) - {"__version__"} <= named
