"""Words of eight characters against the same questions asked byte by byte."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.kernel import words

EIGHT = st.one_of(
    st.binary(min_size=8, max_size=8),
    st.text("0123456789.,a@?\n", min_size=8, max_size=8).map(str.encode),
    st.text("0123456789", min_size=8, max_size=8).map(str.encode),
)


def flags(found: list[bool]) -> int:
    """A word with the flag of each byte of which that is so."""
    return sum(1 << (8 * i) for i, is_so in enumerate(found) if is_so)


@given(text=EIGHT, sign=st.sampled_from(b",.9\n"))
def test_words_tell_what_bytes_tell(text: bytes, sign: int) -> None:
    """Flags, their first byte and the numbers of all beginnings are those of the bytes, whatever the bytes are."""
    word = words.word_at(np.frombuffer(b"x" + text, np.uint8), 1)
    assert int(word) & (2**64 - 1) == int.from_bytes(text, "little")
    digits = [byte in b"0123456789" for byte in text]
    assert words.no_digits(word) == flags([not is_digit for is_digit in digits])
    assert words.no_text(word) == flags([not 64 <= byte < 128 for byte in text])
    signs = words.signs_in(word, sign)
    assert signs == flags([byte == sign for byte in text])
    first = text.find(sign)
    assert [words.first_is(signs, count) for count in range(8)] == [count == first for count in range(8)]
    if first >= 0:
        assert words.bytes_below(signs) == first
    for count in range(1, 9):
        if all(digits[:count]):
            assert words.number_of(words.digits_of(word, count)) == int(text[:count])


@given(text=st.binary(max_size=300))
def test_bytes_are_counted(text: bytes) -> None:
    """As `bytes.count` does."""
    assert words.count_byte(np.frombuffer(text, np.uint8), 10) == text.count(b"\n")
