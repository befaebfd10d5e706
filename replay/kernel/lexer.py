"""Lexer of compact JSON: bytes to keys, integers, decimals and price levels, refusing whatever it is not sure of.

Decimals become `mantissa` and `digits` with value = mantissa · 10^−digits and no trailing zero decimals; no float
exists here.  Refused (position −1): white space, escapes, bytes outside printable ASCII, signs, exponents, integers
with leading zeros, more than 18 digits, unknown nesting, a known key given twice.

Keys are filed into `slots`, one row of (mark, start, end, type, nested) per key; `mark` is the line's serial number,
so nothing is cleared between lines.  Every buffer ends with a newline, which no loop steps over: no other bound check
is needed.
"""

from __future__ import annotations

import numpy as np

from replay.kernel.jit import kernel

LEVEL = np.dtype([("price", "<i8"), ("size", "<i8"), ("price_digits", "<i4"), ("size_digits", "<i4")])

CURSOR = np.dtype(
    [
        ("pos", "<i8"),
        ("line", "<i8"),
        ("messages", "<i8"),
        ("levels", "<i8"),
        ("serial", "<i8"),
        ("futures", "<i8"),
        ("only_symbol", "<i8"),
        ("used", "<i8"),
        ("wrapped", "<i8"),
        ("ordered", "<i8"),
    ]
)

# Columns and types of a slot
MARKED, START, END, TYPE, NESTED = 0, 1, 2, 3, 4
STRING, INTEGER, TRUE, FALSE, NULL, LEVELS = 1, 2, 3, 4, 5, 6

PU, SYMBOL, LAST_UPDATE, STREAM, BIDS, ASKS, DATA = 128, 129, 130, 131, 132, 133, 134
SLOTS = 135

MAX_MANTISSA = 10**18
US_FLOOR = 10**14


def word(text):
    """Bytes as the little-endian integer that the scanner packs."""
    return int.from_bytes(text, "little")


W_PU = word(b"pu")
W_BIDS, W_ASKS, W_DATA = word(b"bids"), word(b"asks"), word(b"data")
W_STREAM, W_SYMBOL = word(b"stream"), word(b"symbol")
W_LAST_1, W_LAST_2 = word(b"lastUpda"), word(b"teId")

Q, BACKSLASH, COLON, COMMA, DOT, MINUS = 34, 92, 58, 44, 46, 45
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST, NEWLINE, SPACE = 123, 125, 91, 93, 10, 32
ZERO, NINE = 48, 57
K_a, K_A, K_b, K_B, K_e, K_E, K_m, K_M, K_o = 97, 65, 98, 66, 101, 69, 109, 77, 111
K_p, K_q, K_r, K_s, K_S, K_t, K_T, K_u, K_U, K_X, K_z = 112, 113, 114, 115, 83, 116, 84, 117, 85, 88, 122


@kernel
def read_int(buf, at):
    """(value, position after) of up to 18 digits without leading zeros; position −1 when there is none."""
    value = 0
    start = at
    c = int(buf[at])
    while c >= ZERO and c <= NINE:
        value = value * 10 + (c - ZERO)
        at += 1
        if at - start > 19:
            return 0, -1
        c = int(buf[at])
    size = at - start
    if size == 0 or (size > 1 and int(buf[start]) == ZERO):
        return 0, -1
    if size > 18 and (size > 19 or value < MAX_MANTISSA or value >= 4 * MAX_MANTISSA):
        return 0, -1
    return value, at


@kernel
def read_decimal(buf, at):
    """(mantissa, digits, position of the closing quote) of a plain decimal; position −1 when it is not one."""
    mantissa = 0
    start = at
    c = int(buf[at])
    while c >= ZERO and c <= NINE:
        if mantissa >= MAX_MANTISSA // 10:
            return 0, 0, -1
        mantissa = mantissa * 10 + (c - ZERO)
        at += 1
        c = int(buf[at])
    if at == start:
        return 0, 0, -1
    digits = 0
    if c == DOT:
        at += 1
        start = at
        zeros = 0
        c = int(buf[at])
        while c >= ZERO and c <= NINE:
            if c == ZERO:
                zeros += 1
            else:
                while zeros >= 0:
                    if mantissa >= MAX_MANTISSA // 10:
                        return 0, 0, -1
                    mantissa *= 10
                    digits += 1
                    zeros -= 1
                mantissa += c - ZERO
                zeros = 0
            at += 1
            c = int(buf[at])
        if at == start or digits > 18:
            return 0, 0, -1
    if c != Q:
        return 0, 0, -1
    return mantissa, digits, at


@kernel
def read_levels(buf, at, levels, count):
    """Fill `levels` from `count` on with the `[["price","size"],…]` at `at`; (new count, position after) or (0, −1)."""
    at += 1
    if int(buf[at]) == CLOSE_LIST:
        return count, at + 1
    while True:
        if int(buf[at]) != OPEN_LIST or int(buf[at + 1]) != Q:
            return 0, -1
        price, price_digits, at = read_decimal(buf, at + 2)
        if at < 0 or int(buf[at + 1]) != COMMA or int(buf[at + 2]) != Q:
            return 0, -1
        size, size_digits, at = read_decimal(buf, at + 3)
        if at < 0 or int(buf[at + 1]) != CLOSE_LIST or count >= len(levels):
            return 0, -1
        level = levels[count]
        level["price"] = price
        level["size"] = size
        level["price_digits"] = price_digits
        level["size_digits"] = size_digits
        count += 1
        at += 2
        c = int(buf[at])
        at += 1
        if c == CLOSE_LIST:
            return count, at
        if c != COMMA:
            return 0, -1


@kernel
def key_code(size, low, high):
    """Slot of a key of `size` bytes, packed into two words; −1 for a key that means nothing here."""
    if size == 1:
        return low
    if size == 2:
        if low == W_PU:
            return PU
    elif size == 4:
        if low == W_BIDS:
            return BIDS
        if low == W_ASKS:
            return ASKS
        if low == W_DATA:
            return DATA
    elif size == 6:
        if low == W_STREAM:
            return STREAM
        if low == W_SYMBOL:
            return SYMBOL
    elif size == 12 and low == W_LAST_1 and high == W_LAST_2:
        return LAST_UPDATE
    return -1


@kernel
def read_key(buf, at):
    """(slot, position of the value) of the `"key":` at `at`; position −1 when it is not one."""
    if int(buf[at]) != Q:
        return -1, -1
    at += 1
    start = at
    low = 0
    high = 0
    c = int(buf[at])
    while c != Q:
        if c < SPACE or c >= 127 or c == BACKSLASH:
            return -1, -1
        i = at - start
        if i < 8:
            low |= c << (8 * i)
        elif i < 16:
            high |= c << (8 * (i - 8))
        at += 1
        c = int(buf[at])
    if int(buf[at + 1]) != COLON:
        return -1, -1
    return key_code(at - start, low, high), at + 2


@kernel
def read_plain(buf, at):
    """(type, start, end, position after) of a string, integer, true, false or null; position −1 otherwise."""
    c = int(buf[at])
    if c == Q:
        start = at + 1
        at = start
        c = int(buf[at])
        while c != Q:
            if c < SPACE or c >= 127 or c == BACKSLASH:
                return 0, 0, 0, -1
            at += 1
            c = int(buf[at])
        return STRING, start, at, at + 1
    if c >= ZERO and c <= NINE:
        _, end = read_int(buf, at)
        return INTEGER, at, end, end
    if c == 116 and int(buf[at + 1]) == 114 and int(buf[at + 2]) == 117 and int(buf[at + 3]) == 101:
        return TRUE, at, at + 4, at + 4
    if c == 110 and int(buf[at + 1]) == 117 and int(buf[at + 2]) == 108 and int(buf[at + 3]) == 108:
        return NULL, at, at + 4, at + 4
    if c == 102 and int(buf[at + 1]) == 97 and int(buf[at + 2]) == 108 and int(buf[at + 3]) == 115:
        end = at + 5 if int(buf[at + 4]) == 101 else -1
        return FALSE, at, end, end
    return 0, 0, 0, -1


@kernel
def walk(buf, at, slots, levels, cursor):
    """File the keys of the object at `at`; position after it, or −1.

    Steps into `data` of the outer object and into `o`; anything else nested is refused.
    """
    serial = cursor["serial"]
    depth = 1
    known = 0
    if int(buf[at]) != OPEN:
        return -1
    at += 1
    while True:
        code, at = read_key(buf, at)
        if at < 0:
            return -1
        c = int(buf[at])
        if c == OPEN:
            if code == DATA and depth == 1 and known + cursor["wrapped"] + cursor["ordered"] == 0:
                cursor["wrapped"] = 1
            elif code == K_o and depth == 1 + cursor["wrapped"] and cursor["ordered"] == 0:
                cursor["ordered"] = 1
            else:
                return -1
            depth += 1
            at += 1
            continue
        if code >= 0:
            if slots[code, MARKED] == serial or (cursor["wrapped"] == 1 and depth == 1 and code != STREAM):
                return -1
            slots[code, MARKED] = serial
            slots[code, NESTED] = 1 if depth == 2 + cursor["wrapped"] else 0
            if code != STREAM:
                known += 1
        if c == OPEN_LIST:
            if code != K_b and code != BIDS and code != K_a and code != ASKS:
                return -1
            start = cursor["used"]
            end, at = read_levels(buf, at, levels, start)
            if at < 0:
                return -1
            cursor["used"] = end
            slots[code, TYPE] = LEVELS
            slots[code, START] = start
            slots[code, END] = end
        else:
            kind, start, end, at = read_plain(buf, at)
            if at < 0:
                return -1
            if code >= 0:
                slots[code, TYPE] = kind
                slots[code, START] = start
                slots[code, END] = end
        while int(buf[at]) == CLOSE:
            depth -= 1
            at += 1
            if depth == 0:
                return at
        if int(buf[at]) != COMMA:
            return -1
        at += 1


@kernel
def has(slots, cursor, code, kind):
    """Whether the line has key `code` with a value of type `kind`, outside the nested `o`."""
    row = slots[code]
    return row[MARKED] == cursor["serial"] and row[TYPE] == kind and row[NESTED] == 0


@kernel
def seen(slots, cursor, code):
    """Whether the line has key `code` at all."""
    return slots[code, MARKED] == cursor["serial"]


@kernel
def nested(slots, cursor, code, kind):
    """Whether the line has key `code` with a value of type `kind` inside `o`."""
    row = slots[code]
    return row[MARKED] == cursor["serial"] and row[TYPE] == kind and row[NESTED] == 1


@kernel
def pack(buf, start, end, skip):
    """Up to 8 bytes from `start + skip` as a word."""
    value = 0
    for i in range(8):
        at = start + skip + i
        if at < end:
            value |= int(buf[at]) << (8 * i)
    return value


@kernel
def time_us(buf, slots, code):
    """The milliseconds (or, when as large, microseconds) of an integer slot as µs."""
    value, _ = read_int(buf, slots[code, START])
    return value if value >= US_FLOOR else value * 1000
