"""Rows of a book from columns, against a dictionary a row."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.events import BOOK
from replay.kernel.assemble import GROUPED, NO_SEQ, ROW, SNAP
from replay.kernel.levels import level_rows
from replay.kernel.lexer import word

LINE = st.tuples(
    st.sampled_from([0, 9, 10, 15, 19, 20]),
    st.sampled_from([0, 9, 10, 15, 19, 20] + [12] * 9),
    st.sampled_from([b"true", b"false", b"false", b"true", b"false", b"maybe"]).map(word),
    st.sampled_from([b"bid", b"ask", b"odd"]).map(word),
    st.integers(-(2**40), 2**40),
    st.integers(-(2**40), 2**40),
    st.integers(-3, 18),
)


@given(drawn=st.lists(LINE, max_size=9), first_line=st.integers(1, 10**9))
def test_levels_become_rows(drawn: list[tuple[int, ...]], first_line: int) -> None:
    """Each row says what its columns say; the first that cannot be right ends them."""
    table = np.array(drawn, np.int64).reshape(len(drawn), 7)
    values, digits = table[:, :6].T.copy(), np.tile(table[:, 6], (6, 1)).astype(np.int8)
    digits[5] += 1
    lines, owners = np.arange(len(drawn)) * 2, np.arange(len(drawn), dtype=np.int32) % 3
    rows = np.zeros(len(drawn), ROW)
    found = level_rows(values, digits, lines, owners, len(drawn), first_line, 10, 20, rows)
    sound = [
        (venue == 0 or 10 <= venue < 20) and 10 <= local < 20 and mark in (word(b"true"), word(b"false"))
        for venue, local, mark, *_ in drawn
    ]
    assert found == (sound.index(False) if False in sound else len(drawn))
    for i, (venue, local, mark, side, price, size, places) in enumerate(drawn[:found]):
        expected = {
            "local_us": local, "venue_us": venue or -1, "seq": NO_SEQ, "ident": NO_SEQ, "price": price, "size": size,
            "line": first_line + 2 * i, "owner": i % 3, "price_digits": places, "size_digits": places + 1,
            "kind": BOOK, "side": {word(b"bid"): 1, word(b"ask"): -1}.get(side, 0),
            "bits": GROUPED | SNAP if mark == word(b"true") else GROUPED,
        }  # fmt: skip
        assert {name: int(rows[name][i]) for name in ROW.names or ()} == expected
