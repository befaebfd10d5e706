"""Every code block of the documentation runs, and prints what the page says; every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, agrees, blocks, expected, pages, run_page

NAMES = [str(path.relative_to(ROOT)) for path in pages()]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_does_what_it_says(name: str, tmp_path: Path) -> None:
    text = (ROOT / name).read_text()
    printed = run_page(text, tmp_path)
    for number, block in expected(blocks(text)):
        assert agrees(block.body, printed[number]), f"{name} says\n{block.body}\nbut it prints\n{printed[number]}"


@pytest.mark.parametrize("name", [*NAMES, "ARCHITECTURE.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in LINK.findall(page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{name} links to {target}"


def test_wildcards_stand_for_anything_but_the_rest_must_be_equal() -> None:
    assert agrees("a … c\n", "a b c\n") and agrees("a\n…\nd\n", "a\nb\nc\nd\n")
    assert not agrees("a … c\n", "a b d\n") and not agrees("a\n", "a\nb\n")
