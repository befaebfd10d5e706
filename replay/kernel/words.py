"""Text eight characters at a time: a word holds eight bytes of a buffer, the first one lowest.

Each function treats all bytes of a word at once; what it finds are flags, the lowest bit of a byte each.  No bit that
counts leaves the 64 bits, so the result is the same in machine words and in Python's integers.
"""

from __future__ import annotations

from replay.kernel.jit import kernel

ONES = 0x0101010101010101
ZEROS = 0x3030303030303030
"""Eight characters 0."""
BEYOND_NINE = 0x7676767676767676
"""What lifts the bytes 10 … 127 over 127."""
ALL_BUT_HIGH = 0x7F7F7F7F7F7F7F7F
POSITIVE = 0x7FFFFFFFFFFFFFFF


@kernel(inline=True)
def word_at(buf, at):
    """The bytes [at, at + 8) of a buffer; a single load."""
    word = 0
    word |= (
        int(buf[at])
        | int(buf[at + 1]) << 8
        | int(buf[at + 2]) << 16
        | int(buf[at + 3]) << 24
        | int(buf[at + 4]) << 32
        | int(buf[at + 5]) << 40
        | int(buf[at + 6]) << 48
        | int(buf[at + 7]) << 56
    )
    return word


@kernel(inline=True)
def no_digits(word):
    """Flags of the characters that are not digits."""
    values = word ^ ZEROS
    return ((((values & ALL_BUT_HIGH) + BEYOND_NINE) | values) >> 7) & ONES


@kernel(inline=True)
def no_text(word):
    """Flags of the bytes that are not ASCII from 64 on: letters and a few signs."""
    return ((~word >> 6) | (word >> 7)) & ONES


@kernel(inline=True)
def signs_in(word, sign):
    """Flags of the bytes that are `sign`."""
    others = word ^ (sign * ONES)
    return ~(((others & ALL_BUT_HIGH) + ALL_BUT_HIGH | others) >> 7) & ONES


@kernel(inline=True)
def bytes_below(flags):
    """How many bytes come before the first one with a flag; there must be one."""
    return (((((flags & -flags) - 1) & ONES) * ONES) >> 56) & 0xFF


@kernel(inline=True)
def first_is(flags, count):
    """Whether the first flag is that of byte `count` (0 … 7)."""
    return flags & ((2 << (8 * count)) - 1) == 1 << (8 * count)


@kernel(inline=True)
def digits_of(word, count):
    """The values of the first `count` (1 … 8) characters, all digits, moved to the end; zeros before them."""
    return ((word ^ ZEROS) << (64 - 8 * count)) & POSITIVE


@kernel(inline=True)
def number_of(digits):
    """The number that eight values 0 … 9 are the digits of: pairs, then fours, then all."""
    digits = (digits * 10 + (digits >> 8)) & 0x00FF00FF00FF00FF
    digits = (digits * 100 + (digits >> 16)) & 0x0000FFFF0000FFFF
    return (digits * 10000 + (digits >> 32)) & 0xFFFFFFFF


@kernel
def count_byte(buf, value):
    """How many bytes of a buffer are `value`."""
    found = 0
    for i in range(len(buf)):
        if buf[i] == value:
            found += 1
    return found
