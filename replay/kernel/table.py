"""Lexer of plain CSV tables: lines to columns of integers, refusing whatever it is not sure of.

A plan gives each column of the file a kind.  Numbers become `value` and `digits` with number = value · 10^−digits and
no trailing zero decimals; no float exists here.  `digits` is EMPTY where the field is empty; MISSING (written by the
exact reader only) where it says that there is no number.  The first `lead` columns together name the instrument.

Refused (status SLOW): quotes, exponents, spaces, decimals of more than 18 digits, too few or too many fields, long
words.  The caller reads such a line exactly and goes on behind it.  Every buffer ends with a newline, which no loop
steps over.

Fields of usual size are read eight characters at a time (`replay.kernel.words`), the others byte by byte.  Where the
next field begins would be known only when this one was understood; so each field is first held against its size in the
row before (`sizes`), which is nearly always right and lets the processor go on.
"""

from __future__ import annotations

import numpy as np

from replay.kernel.jit import kernel
from replay.kernel.lexer import COMMA, DOT, MAX_MANTISSA, MINUS, NEWLINE, NINE, ZERO
from replay.kernel.words import bytes_below, digits_of, first_is, no_digits, no_text, number_of, signs_in, word_at

# Kinds of columns
SKIP, WHOLE, NUMBER, WORD, IDENT = 0, 1, 2, 3, 4

# Where there is no number
EMPTY, MISSING, HASHED = -1, -2, -3

# Status
DONE, FULL, SLOW, NEW_NAME = 0, 1, 2, 3

RETURN, QUOTE = 13, 34
FNV_PRIME = 0x01000193
NAME_BYTES = 128
MAX_DIGITS = 18
LARGEST_WHOLE = 4 * 10**18

WIDE = 24
"""So many bytes must follow where fields are read in words."""
POWERS = np.array([10**n for n in range(9)], np.int64)

CURSOR = np.dtype(
    [
        ("pos", "<i8"),
        ("line", "<i8"),
        ("rows", "<i8"),
        ("lead", "<i8"),  # leading columns that name the instrument
        ("name", "<i8"),  # instrument of the row before
        ("name_at", "<i8"),  # where that name stands in this buffer, −1: nowhere
        ("name_size", "<i8"),
    ]
)


@kernel
def text_hash(buf, start, end):
    """A hash of the bytes [start, end): 0 <= hash < 2^62."""
    low = 0x811C9DC5
    high = 0x01000193
    for at in range(start, end):
        low = ((low ^ int(buf[at])) * FNV_PRIME) & 0x7FFFFFFF
        high = (high * 31 + int(buf[at])) & 0x7FFFFFFF
    return (high << 31) | low


@kernel
def find_name(buf, start, end, heads, names):
    """Index of the name at [start, end), −1 when unknown; `names` are (size, bytes…), `heads` an open table."""
    size = end - start
    mask = len(heads) - 1
    at = text_hash(buf, start, end) & mask
    while heads[at] >= 0:
        index = int(heads[at])
        if int(names[index, 0]) == size:
            same = True
            for i in range(size):
                if int(buf[start + i]) != int(names[index, i + 1]):
                    same = False
                    break
            if same:
                return index
        at = (at + 1) & mask
    return -1


@kernel(inline=True)
def read_whole(buf, at):
    """(value, position after) of an unsigned integer below LARGEST_WHOLE; position −1 when it is longer."""
    if at + WIDE <= len(buf):
        word = word_at(buf, at)
        rest = word_at(buf, at + 8)
        c = int(buf[at + 16])
        if no_digits(word) == 0 and no_digits(rest) == 0 and (c < ZERO or c > NINE):
            return number_of(digits_of(word, 8)) * 10**8 + number_of(digits_of(rest, 8)), at + 16
    value = 0
    start = at
    c = int(buf[at])
    while c >= ZERO and c <= NINE:
        value = value * 10 + (c - ZERO)  # runs over only where there are too many digits
        at += 1
        c = int(buf[at])
    size = at - start
    if size > 18 and (size > 19 or value < MAX_MANTISSA or value >= LARGEST_WHOLE):
        return 0, -1
    return value, at


@kernel(inline=True)
def read_number(buf, at, sizes, k):
    """(value, digits, position after) of a signed plain decimal; position −1 when it has too many digits.

    sizes[k] and sizes[k + 1] are how many digits it has before and behind the point, in the row before and then here.
    """
    if at + WIDE <= len(buf):
        word = word_at(buf, at)
        others = no_digits(word)
        size = sizes[k]
        if others != 0 and not first_is(others, size):
            size = bytes_below(others)
            sizes[k] = size
        if others != 0 and size > 0:
            value = number_of(digits_of(word, size))
            at += size
            if int(buf[at]) != DOT:
                return value, 0, at
            word = word_at(buf, at + 1)
            others = no_digits(word)
            digits = sizes[k + 1]
            if others != 0 and not first_is(others, digits):
                digits = bytes_below(others)
                sizes[k + 1] = digits
            if others != 0:
                after = at + 1 + digits
                fraction = digits_of(word, digits) if digits > 0 else 0
                if fraction == 0:
                    return value, 0, after
                while fraction >> 56 == 0:  # the last one is a zero
                    fraction <<= 8
                    digits -= 1
                return value * POWERS[digits] + number_of(fraction), digits, after
            at -= size
    value = 0
    negative = int(buf[at]) == MINUS
    if negative:
        at += 1
    start = at
    c = int(buf[at])
    while c >= ZERO and c <= NINE:
        if value >= MAX_MANTISSA // 10:
            return 0, 0, -1
        value = value * 10 + (c - ZERO)
        at += 1
        c = int(buf[at])
    if at == start:
        return 0, 0, -1
    digits = 0
    if c == DOT:
        at += 1
        zeros = 0
        c = int(buf[at])
        while c >= ZERO and c <= NINE:
            if c == ZERO:
                zeros += 1
            else:
                while zeros >= 0:
                    if value >= MAX_MANTISSA // 10:
                        return 0, 0, -1
                    value *= 10
                    digits += 1
                    zeros -= 1
                value += c - ZERO
                zeros = 0
            at += 1
            c = int(buf[at])
        if digits > MAX_DIGITS:
            return 0, 0, -1
    return (-value if negative else value), digits, at


@kernel(inline=True)
def is_text(c):
    """Whether a byte up to the comma is part of a field without quotes."""
    return c != COMMA and c != NEWLINE and c != RETURN and c != QUOTE


@kernel(inline=True)
def read_word(buf, at, sizes, k):
    """(bytes packed as a little-endian word, size, position after); position −1 beyond 7 bytes or at a quote.

    sizes[k] is the size, in the row before and then here.
    """
    if at + WIDE <= len(buf):
        word = word_at(buf, at)
        commas = signs_in(word, COMMA)
        if commas != 0:
            size = sizes[k]
            if not first_is(commas, size):
                size = bytes_below(commas)
                sizes[k] = size
            before = (1 << (8 * size)) - 1
            if no_text(word) & before == 0:
                return word & before, size, at + size
    value = 0
    start = at
    c = int(buf[at])
    while c > COMMA or is_text(c):
        if at - start >= 7:
            return 0, 0, -1
        value |= c << (8 * (at - start))
        at += 1
        c = int(buf[at])
    return value, at - start, (-1 if c == QUOTE else at)


@kernel(inline=True)
def end_of_field(buf, at):
    """Position of the comma or newline that ends the field at `at`; −1 when it holds a quote."""
    c = int(buf[at])
    while c > COMMA or is_text(c):
        at += 1
        c = int(buf[at])
    return -1 if c == QUOTE else at


@kernel
def read_ident(buf, at):
    """(number or hash, 0 or HASHED or EMPTY, position after) of an id; position −1 at a quote."""
    end = end_of_field(buf, at)
    if end < 0:
        return 0, 0, -1
    if end == at:
        return 0, EMPTY, end
    value, after = read_whole(buf, at)
    if after == end and (int(buf[at]) != ZERO or end == at + 1):
        return value, 0, end
    return text_hash(buf, at, end), HASHED, end


@kernel(inline=True)
def read_fields(buf, at, plan, lead, row, values, digits, sizes):
    """Position of the newline behind the fields of columns [lead, …), stored in column `row`; −1: refused."""
    out = 0
    last = len(plan) - 1
    for column in range(lead, len(plan)):
        what = plan[column]
        if what == SKIP:
            at = end_of_field(buf, at)
        else:
            c = int(buf[at])
            value, places = 0, 0
            if what == NUMBER:
                if c == COMMA or c == NEWLINE or c == RETURN:
                    places = EMPTY
                else:
                    value, places, at = read_number(buf, at, sizes, 2 * column)
            elif what == WHOLE:
                if c == COMMA or c == NEWLINE or c == RETURN:
                    places = EMPTY
                else:
                    value, at = read_whole(buf, at)
            elif what == WORD:
                value, places, at = read_word(buf, at, sizes, 2 * column)
            else:
                value, places, at = read_ident(buf, at)
            if at >= 0:
                values[out, row] = value
                digits[out, row] = places
                out += 1
        if at < 0:
            return -1
        c = int(buf[at])
        if column < last:
            if c != COMMA:
                return -1
            at += 1
        elif c == RETURN:
            at += 1
            c = int(buf[at])
    return at if c == NEWLINE else -1


@kernel(inline=True)
def same_text(buf, at, before, size):
    """Whether the `size` bytes at `at` are those at `before`, a smaller position; no newline is among the latter."""
    i = 0
    if at + size <= len(buf):
        while i + 8 <= size:
            if word_at(buf, at + i) != word_at(buf, before + i):
                return False
            i += 8
    while i < size:
        if int(buf[at + i]) != int(buf[before + i]):
            return False
        i += 1
    return True


@kernel(inline=True)
def read_name(buf, at, heads, names, cursor):
    """(index of the instrument, position after its comma); index −1 unknown, −2 refused."""
    size = cursor["name_size"]
    before = cursor["name_at"]
    if before >= 0 and before != at:
        if same_text(buf, at, before, size + 1):  # with the comma behind it
            cursor["name_at"] = at
            return cursor["name"], at + size + 1
    end = at
    for _ in range(cursor["lead"]):
        end = end_of_field(buf, end)
        if end < 0 or int(buf[end]) != COMMA:
            return -2, at
        end += 1
    size = end - 1 - at
    if size <= 0 or size >= NAME_BYTES:
        return -2, at
    index = find_name(buf, at, end - 1, heads, names)
    cursor["name_at"] = at
    cursor["name_size"] = size
    cursor["name"] = index
    return index, end


@kernel
def scan_table(buf, stop, plan, heads, names, values, digits, lines, owners, sizes, cursor):
    """Read rows into columns: values[k, row], digits[k, row] for the k-th column that is not skipped or leading.

    `lines` gets the 0-based line of the buffer, `owners` the instrument (0 without leading columns); `sizes` (two a
    column of the file) are those of the row before, zeros at first.  Returns DONE at
    the end of the buffer, FULL when the columns are, SLOW or NEW_NAME with the cursor at the start of that line.
    """
    lead = cursor["lead"]
    room = len(lines)
    row = cursor["rows"]
    line = cursor["line"]
    at = cursor["pos"]
    status = DONE
    while at < stop:
        if int(buf[at]) == NEWLINE:
            at += 1
            line += 1
            continue
        if row >= room:
            status = FULL
            break
        start = at
        owner = 0
        if lead > 0:
            owner, at = read_name(buf, at, heads, names, cursor)
            if owner < 0:
                status = NEW_NAME if owner == -1 else SLOW
                cursor["name_at"] = -1
                at = start
                break
        at = read_fields(buf, at, plan, lead, row, values, digits, sizes)
        if at < 0:
            status = SLOW
            at = start
            break
        lines[row] = line
        owners[row] = owner
        row += 1
        line += 1
        at += 1
    cursor["rows"] = row
    cursor["line"] = line
    cursor["pos"] = at
    return status
