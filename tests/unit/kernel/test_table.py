"""The CSV lexer against the `csv` module and Decimal: the same columns, or a line handed over to the exact reader."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.decoders.csv_table import IDENT, NUMBER, SKIP, WHOLE, WORD, CsvReader, Layout, Names
from adapters.transports.file import Chunk
from replay.errors import DataError
from replay.kernel import table

PLAN = np.array([WORD, WORD, WHOLE, NUMBER, SKIP, IDENT, WORD], np.int64)
"""Two leading columns (their kind is not looked at), then one of each kind."""

NUMBERS = st.one_of(
    st.decimals(-(10**9), 10**9, places=9).map(lambda d: format(d, "f")),
    st.from_regex(r"\d{1,9}\.\d{0,9}", fullmatch=True, alphabet="0123456789."),
    st.sampled_from(["", "nan", "inf", "1e-7", "1E3", ".5", "5.", "-0", "0.000", "100", "1.2300", "+1", "0" * 30]),
    st.integers(-(10**18) + 1, 10**18 - 1).map(str),
)
WHOLES = st.one_of(
    st.integers(0, 4 * 10**18 - 1).map(str), st.integers(10**14, 10**17).map(str), st.sampled_from(["", "nan", "007"])
)
TEXT = st.text("abcXYZ09-_ ", max_size=9)
ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "bb"]), st.sampled_from(["X", "Y-1", "ZZ"]), WHOLES, NUMBERS, TEXT, TEXT, TEXT),
    min_size=1,
    max_size=20,
)


def columns(text: bytes, fast: bool, rows: int = 7) -> list[tuple[object, ...]]:
    """What a reader makes of the lines: (name, line, values, digits) each."""
    names = Names()
    reader = CsvReader(PLAN, 2, names, rows, fast=fast)
    out: list[tuple[object, ...]] = []
    for count in reader.tables(Chunk(text, "x")):
        for i in range(count):
            values, digits = reader.values[:, i].tolist(), reader.digits[:, i].tolist()
            out.append((names.list[reader.owners[i]], int(reader.lines[i]), values, digits))
    return out


@given(drawn=ROWS, ending=st.sampled_from(["\n", "\r\n"]), quoted=st.booleans())
def test_lexer_and_exact_reader_agree(drawn: list[tuple[str, ...]], ending: str, quoted: bool) -> None:
    """Values, digits, names and line numbers are equal, and a number is value · 10^−digits."""
    lines = [",".join(f'"{cell}"' if quoted and k == 4 else cell for k, cell in enumerate(row)) for row in drawn]
    text = (ending.join(lines) + ending).encode()
    fast = columns(text, True)
    assert fast == columns(text, False)
    assert len(fast) == len(drawn)
    for i, (row, (name, line, values, digits)) in enumerate(zip(drawn, fast)):
        assert (name, line) == (f"{row[0]},{row[1]}".encode(), i)
        if digits[1] >= 0:
            assert Decimal(values[1]).scaleb(-digits[1]) == Decimal(row[3])
            assert digits[1] == 0 or values[1] % 10
        else:
            assert digits[1] == (table.EMPTY if not row[3] else table.MISSING)


@given(noise=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    """Nothing but DataError comes out of bytes that are no table, the same from both readers."""
    outcomes = []
    for fast in (True, False):
        try:
            outcomes.append(columns(noise + b"\n", fast))
        except DataError as error:
            outcomes.append([(error.line, error.problem)])
    assert outcomes[0] == outcomes[1]


def test_names_are_found_among_many() -> None:
    texts = [b"venue,S%d" % i for i in range(500)]
    names = Names(texts)
    reader = CsvReader(np.array([WORD, WORD, WHOLE], np.int64), 2, names)
    lines = b"".join(b"%s,%d\n" % (text, i) for i, text in enumerate(texts))
    (count,) = reader.tables(Chunk(lines))
    assert list(reader.owners[:count]) == list(range(500))
    assert names.add(b"venue,S7") == 7


def test_layout_says_what_is_wrong() -> None:
    layout = Layout({"a": WHOLE, "b": NUMBER}, ("x",))
    assert list(layout.plan(["x", "a", "more", "b"])) == [SKIP, WHOLE, SKIP, NUMBER]
    for header, words in (
        (["a", "x", "b"], "first columns"),
        (["x", "a"], "no column 'b'"),
        (["x", "b", "a"], "order"),
    ):
        with pytest.raises(DataError, match=words):
            layout.plan(list(header))
