"""Where the real captures are, and small recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(scope="session")
def captures() -> Path:
    """Folder of the real captures; the test is skipped where they are not."""
    folder = SHARED / "captures"
    if not folder.is_dir():
        pytest.skip(f"no captures in {folder}")
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines to a file of a fresh folder."""

    def writer(*lines: str, name: str = "recording.txt", end: str = "\n") -> Path:
        path = tmp_path / name
        path.write_bytes("\n".join(lines).encode() + end.encode() if lines else b"")
        return path

    return writer
