"""The pages of `docs/` and README.md as programs.

A page is run from top to bottom in an empty folder, as one script: its ```python blocks one after the other, its ```sh
blocks by bash where they stand.  A ```text block is what the block before it prints; `…` in it stands for anything in
that line, a line with nothing but `…` for any number of lines.  Blocks of other kinds (```toml, ```python skip) are not
run; `title=NAME` behind the kind writes the block to the file NAME instead of running it.

    python -m tests.docs.pages docs/tutorial.md      # run a page and put what it really prints into its text blocks
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)
MARK = "\x1e"
"""Printed before the output of each block."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its kind, what stands behind the kind, its text and where it lies in the page."""

    kind: str
    more: str
    body: str
    span: tuple[int, int]

    @property
    def title(self) -> str:
        """The file that the block is written to, if any."""
        found = re.search(r"title=(\S+)", self.more)
        return found[1] if found else ""


def pages() -> list[Path]:
    """Every page."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page."""
    return [Block(m[1], m[2].strip(), m[3], m.span(3)) for m in BLOCK.finditer(text)]


def script(found: list[Block]) -> str:
    """The page as one Python script."""
    parts = ["import subprocess as _subprocess"]
    for block in found:
        if block.title:
            parts.append(f"with open({block.title!r}, 'w') as _file:\n    _file.write({block.body!r})")
            continue
        if block.kind not in ("python", "sh") or "skip" in block.more:
            continue
        parts.append(f"print({MARK!r}, flush=True)")
        if block.kind == "python":
            parts.append(block.body)
        else:
            parts.append(f"_subprocess.run(['bash', '-ec', {block.body!r}], check=True)")
    return "\n".join(parts) + "\n"


def run_page(text: str, folder: Path) -> list[str]:
    """What each block that runs prints, in order; AssertionError with the error output when one fails."""
    path = folder / "page.py"
    path.write_text(script(blocks(text)))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, path.name], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [part.removeprefix("\n") for part in done.stdout.split(MARK)[1:]]


def expected(found: list[Block]) -> list[tuple[int, Block]]:
    """(number of the block that runs, what it is said to print)."""
    out, number = [], -1
    for block in found:
        if block.kind in ("python", "sh") and not block.title and "skip" not in block.more:
            number += 1
        elif block.kind == "text" and number >= 0:
            out.append((number, block))
    return out


def agrees(said: str, printed: str) -> bool:
    """Whether what is printed is what the page says, but for `…`."""
    lines = [line.rstrip() for line in said.strip("\n").split("\n")]
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "…" else ".*".join(re.escape(part) for part in line.split("…")) + r" *\n"
        for line in lines
    )
    return re.fullmatch(pattern, printed.strip("\n") + "\n") is not None


def main(names: list[str]) -> None:
    """Rewrite the text blocks of these pages."""
    for name in names:
        text = Path(name).read_text()
        with tempfile.TemporaryDirectory() as folder:
            printed = run_page(text, Path(folder))
        for number, block in reversed(expected(blocks(text))):
            if not agrees(block.body, printed[number]):
                start, end = block.span
                text = (
                    text[:start]
                    + "\n".join(s.rstrip() for s in printed[number].strip("\n").split("\n"))
                    + "\n"
                    + text[end:]
                )
        Path(name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
