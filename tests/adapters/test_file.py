"""Recordings on disk: what cannot be read is said with file and line; chunks never change the lines."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.binance import USDM
from adapters.transports.file import first_line, join_lines, read_chunks, read_lines
from replay.errors import DataError

GOOD = b'1723161256000000000 {"e":"trade","E":1,"T":1723161256000,"s":"BTCUSDT","t":1,"p":"1","q":"1","m":true}\n'


def failure(path: Path, line: int = 0) -> str:
    """What is wrong with `path` by the DataError of opening it, which names the file and this line."""
    with pytest.raises(DataError) as caught:
        USDM.open([path])
    assert (caught.value.path, caught.value.line) == (str(path), line)
    assert str(path) in str(caught.value)
    return caught.value.problem


def test_missing_directory_and_empty(tmp_path: Path, write: Callable[..., Path]) -> None:
    assert "no such file" in failure(tmp_path / "nothing.gz")
    assert "directory" in failure(tmp_path)
    assert "empty" in failure(write())
    assert "empty" in failure(write(name="empty.gz"))
    blank = tmp_path / "blank.gz"
    blank.write_bytes(gzip.compress(b""))
    assert "empty" in failure(blank)


def test_gzip_is_known_by_its_bytes(tmp_path: Path) -> None:
    named = tmp_path / "plain.gz"
    named.write_bytes(GOOD)
    assert "does not start as gzip" in failure(named)
    packed = tmp_path / "packed.txt"
    packed.write_bytes(gzip.compress(GOOD) + gzip.compress(GOOD))
    assert sum(len(batch) for batch in USDM.open([packed]).batches()) == 2


def test_truncated_and_broken_gzip(tmp_path: Path) -> None:
    import random

    source = random.Random(7)
    lines = b"".join(GOOD.replace(b'"t":1', b'"t":%d' % source.getrandbits(60)) for _ in range(40_000))
    whole = gzip.compress(lines)
    cut = tmp_path / "cut.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated") as caught:
        USDM.open([cut])
    assert caught.value.path == str(cut) and 1 < caught.value.line < 40_000
    broken = tmp_path / "broken.gz"
    broken.write_bytes(whole[:5000] + b"\xff" * 64 + whole[5064:])
    with pytest.raises(DataError, match=r"broken|no local time|JSON") as caught:
        USDM.open([broken])
    assert caught.value.path == str(broken)


def test_final_line_without_newline(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(GOOD + GOOD[:-1])
    assert sum(len(batch) for batch in USDM.open([path]).batches()) == 2
    path.write_bytes(GOOD + GOOD[:-20])
    assert "truncated" in failure(path, 2)


def test_other_files_are_not_recordings(write: Callable[..., Path]) -> None:
    assert "no local time" in failure(write("exchange,symbol,timestamp"), 1)
    with pytest.raises(DataError, match="no market data") as caught:
        USDM.open([write('1723161256000000000 {"topic":"orderbook.500.XRPUSDT"}')])
    assert "unknown message" in str(caught.value)


@given(
    st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=30),
    st.integers(1, 40),
    st.booleans(),
)
def test_chunks_of_any_size_hold_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], block: int, newline: bool
) -> None:
    """Cutting a file into blocks of any size gives its lines with their numbers."""
    path = tmp_path_factory.getbasetemp() / "chunks.txt"
    text = b"\n".join(lines) + (b"\n" if newline else b"")
    if text.startswith(b"\x1f\x8b"):
        return
    path.write_bytes(text)
    expected = text.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    found = []
    for chunk in read_chunks(path, block):
        assert chunk.data.endswith(b"\n")
        for i, line in enumerate(chunk.data[:-1].split(b"\n")):
            assert chunk.where(i) == (str(path), len(found) + 1)
            found.append(line)
    assert found == expected


def test_lines_can_be_joined_again(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\n\ntwo\nthree")
    assert list(read_lines(path)) == [(1, b"one"), (2, b""), (3, b"two"), (4, b"three")]
    assert first_line(path) == b"one"
    chunks = list(join_lines(((line, "p", n) for n, line in read_lines(path)), block=6))
    assert b"".join(chunk.data for chunk in chunks) == b"one\n\ntwo\nthree\n"
    assert chunks[-1].where(0)[1] in (3, 4)
