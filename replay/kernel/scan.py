"""Scanner of raw recordings: bytes of `<local ns> <json>\\n` lines to tables of messages and price levels.

One call reads a whole chunk that ends with a newline, with the keys in any order.  A line that the lexer refuses, or
that is of another kind, symbol or venue than expected, stops the call with SLOW; the caller decides it with an exact
slow reader that fills the same tables, and calls again.  What is accepted must mean exactly what the slow reader
reads.
"""

from __future__ import annotations

import numpy as np

from replay.kernel.jit import kernel
from replay.kernel.lexer import (
    ASKS,
    BIDS,
    END,
    FALSE,
    INTEGER,
    K_A,
    K_B,
    K_E,
    K_M,
    K_S,
    K_T,
    K_U,
    K_X,
    LAST_UPDATE,
    LEVELS,
    MARKED,
    MINUS,
    NEWLINE,
    PU,
    SPACE,
    START,
    STREAM,
    STRING,
    SYMBOL,
    TRUE,
    TYPE,
    K_a,
    K_b,
    K_e,
    K_m,
    K_p,
    K_q,
    K_r,
    K_s,
    K_t,
    K_u,
    K_z,
    has,
    nested,
    pack,
    read_decimal,
    read_int,
    seen,
    time_us,
    walk,
    word,
)

MESSAGE = np.dtype(
    [
        ("local_ns", "<i8"),
        ("venue_us", "<i8"),  # the venue's time of the event, −1: none
        ("first_id", "<i8"),
        ("last_id", "<i8"),
        ("prev_id", "<i8"),
        ("extra", "<i8"),  # MARK, FUND: next funding, µs, 0: no funding
        ("bid_start", "<i8"),
        ("ask_start", "<i8"),
        ("bids", "<i4"),
        ("asks", "<i4"),
        ("line", "<i4"),  # 0-based in the chunk
        ("symbol", "<i4"),  # −1: not named in the message
        ("kind", "<i4"),
        ("side", "<i4"),
    ]
)
"""DEPTH: ids U, u, pu (−1).  SNAPSHOT: last_id.  TRADE, AGG_TRADE: last_id is the id, one bid row (price, size), side
of the aggressor.  TICKER: last_id u, one bid and one ask row.  FORCE: one bid row, side of the forced order.  MARK:
one bid row (mark, rate).  FUND: the same without a mark.  RESET: a full book in the stream, as SNAPSHOT but it replaces
whatever was before; last_id −1: none.  LOST: messages were lost here, the book is invalid until the next full one."""

# Kinds of message
DEPTH, SNAPSHOT, TICKER, TRADE, AGG_TRADE, FORCE, MARK, OTHER, OFF_BOOK = 1, 2, 3, 4, 5, 6, 7, 8, 9
RESET, LOST, FUND = 10, 11, 12

# Status
DONE, SLOW, FULL = 0, 1, 2

NS_FLOOR = 10**17
W_DEPTH_1, W_DEPTH_2 = word(b"depthUpd"), word(b"ate")
W_TRADE, W_AGG_TRADE = word(b"trade"), word(b"aggTrade")
W_TICKER_1, W_TICKER_2 = word(b"bookTick"), word(b"er")
W_FORCE_1, W_FORCE_2 = word(b"forceOrd"), word(b"er")
W_MARK_1, W_MARK_2 = word(b"markPric"), word(b"eUpdate")
W_MARKET, W_FILLED = word(b"MARKET"), word(b"FILLED")
W_BUY, W_SELL = word(b"BUY"), word(b"SELL")
W_SNAP_1, W_SNAP_2 = word(b"@depthSn"), word(b"apshot")


@kernel
def symbol_hash(buf, start, end):
    """Hash of a symbol; a stream name counts as upper case."""
    h = 7
    for at in range(start, end):
        c = int(buf[at])
        if c >= 97 and c <= 122:
            c -= 32
        h = (h * 31 + c) & 0xFFFFFFF
    return h


@kernel
def find_symbol(buf, start, end, fold, heads, names):
    """Index of the symbol at [start, end) in `names`, −1 when unknown; `fold` compares in upper case.

    `heads` is an open-addressing hash table of indices (−1: empty), its length a power of two.
    """
    size = end - start
    mask = len(heads) - 1
    at = symbol_hash(buf, start, end) & mask
    while heads[at] >= 0:
        index = int(heads[at])
        if int(names[index, 0]) == size:
            same = True
            for i in range(size):
                c = int(buf[start + i])
                if fold and c >= 97 and c <= 122:
                    c -= 32
                if c != int(names[index, i + 1]):
                    same = False
                    break
            if same:
                return index
        at = (at + 1) & mask
    return -1


@kernel
def put_level(buf, slots, price, size, levels, at):
    """Level `at` from two decimal string slots; False when they are not plain decimals."""
    m, d, end = read_decimal(buf, slots[price, START])
    n, e, stop = read_decimal(buf, slots[size, START])
    if end < 0 or stop < 0 or at >= len(levels):
        return False
    level = levels[at]
    level["price"] = m
    level["price_digits"] = d
    level["size"] = n
    level["size_digits"] = e
    return True


@kernel
def take_trade(buf, slots, levels, cursor, message, aggregated):
    """A trade or aggTrade; False when the line must be read slowly."""
    id_code = K_a if aggregated else K_t
    if not (has(slots, cursor, K_p, STRING) and has(slots, cursor, K_q, STRING)):
        return False
    if not (has(slots, cursor, K_T, INTEGER) and has(slots, cursor, id_code, INTEGER)):
        return False
    foreign = K_M if cursor["futures"] == 1 else K_X
    if seen(slots, cursor, foreign):
        return False
    used = cursor["used"]
    if not put_level(buf, slots, K_p, K_q, levels, used):
        return False
    if has(slots, cursor, K_m, TRUE):
        message["side"] = -1
    elif has(slots, cursor, K_m, FALSE):
        message["side"] = 1
    else:
        return False
    message["kind"] = AGG_TRADE if aggregated else TRADE
    if seen(slots, cursor, K_X):
        start, end = slots[K_X, START], slots[K_X, END]
        if slots[K_X, TYPE] != STRING or end - start > 8:
            return False
        if pack(buf, start, end, 0) != W_MARKET:
            message["kind"] = OFF_BOOK
    if levels[used]["price"] == 0 or levels[used]["size"] == 0:
        message["kind"] = OFF_BOOK
    message["bid_start"] = used
    message["bids"] = 1
    cursor["used"] = used + 1
    message["venue_us"] = time_us(buf, slots, K_T)
    message["last_id"], _ = read_int(buf, slots[id_code, START])
    return True


@kernel
def take_depth(buf, slots, cursor, message):
    """A depthUpdate; False when the line must be read slowly."""
    futures = cursor["futures"] == 1
    if futures != seen(slots, cursor, PU):
        return False
    if not (has(slots, cursor, K_b, LEVELS) and has(slots, cursor, K_a, LEVELS)):
        return False
    if not (has(slots, cursor, K_U, INTEGER) and has(slots, cursor, K_u, INTEGER)):
        return False
    clock = K_T if futures else K_E
    if not has(slots, cursor, clock, INTEGER):
        return False
    if futures:
        if not has(slots, cursor, PU, INTEGER):
            return False
        message["prev_id"], _ = read_int(buf, slots[PU, START])
    message["kind"] = DEPTH
    message["venue_us"] = time_us(buf, slots, clock)
    message["first_id"], _ = read_int(buf, slots[K_U, START])
    message["last_id"], _ = read_int(buf, slots[K_u, START])
    take_sides(slots, K_b, K_a, message)
    return True


@kernel
def take_sides(slots, bid, ask, message):
    """Where the levels of the two sides lie."""
    message["bid_start"] = slots[bid, START]
    message["bids"] = slots[bid, END] - slots[bid, START]
    message["ask_start"] = slots[ask, START]
    message["asks"] = slots[ask, END] - slots[ask, START]


@kernel
def take_ticker(buf, slots, levels, cursor, message):
    """A bookTicker; False when the line must be read slowly."""
    for code in (K_b, K_B, K_a, K_A):
        if not has(slots, cursor, code, STRING):
            return False
    if not has(slots, cursor, K_u, INTEGER):
        return False
    if cursor["futures"] == 1:
        if not has(slots, cursor, K_T, INTEGER):
            return False
        message["venue_us"] = time_us(buf, slots, K_T)
    elif seen(slots, cursor, K_T) or seen(slots, cursor, K_E):
        return False
    used = cursor["used"]
    if not put_level(buf, slots, K_b, K_B, levels, used) or not put_level(buf, slots, K_a, K_A, levels, used + 1):
        return False
    message["kind"] = TICKER
    message["last_id"], _ = read_int(buf, slots[K_u, START])
    message["bid_start"] = used
    message["ask_start"] = used + 1
    message["bids"] = 1
    message["asks"] = 1
    cursor["used"] = used + 2
    return True


@kernel
def take_mark(buf, slots, levels, cursor, message):
    """A markPriceUpdate with a funding rate; False when the line must be read slowly."""
    if cursor["futures"] == 0 or not has(slots, cursor, K_p, STRING) or not has(slots, cursor, K_r, STRING):
        return False
    if not has(slots, cursor, K_E, INTEGER) or not has(slots, cursor, K_T, INTEGER):
        return False
    used = cursor["used"]
    start = slots[K_r, START]
    negative = int(buf[start]) == MINUS
    if negative:
        slots[K_r, START] = start + 1
    if not put_level(buf, slots, K_p, K_r, levels, used):
        return False
    if negative:
        levels[used]["size"] = -levels[used]["size"]
    message["kind"] = MARK
    message["venue_us"] = time_us(buf, slots, K_E)
    message["extra"] = time_us(buf, slots, K_T)
    message["bid_start"] = used
    message["bids"] = 1
    cursor["used"] = used + 1
    return True


@kernel
def take_force(buf, slots, levels, cursor, message):
    """A filled forceOrder; False when the line must be read slowly."""
    if cursor["futures"] == 0 or not nested(slots, cursor, K_T, INTEGER):
        return False
    for code in (K_s, K_S, K_p, K_z, K_X):
        if not nested(slots, cursor, code, STRING):
            return False
    start, end = slots[K_X, START], slots[K_X, END]
    if end - start > 8 or pack(buf, start, end, 0) != W_FILLED:
        return False
    start, end = slots[K_S, START], slots[K_S, END]
    if end - start > 8:
        return False
    side = pack(buf, start, end, 0)
    if side != W_BUY and side != W_SELL:
        return False
    used = cursor["used"]
    if not put_level(buf, slots, K_p, K_z, levels, used):
        return False
    message["kind"] = FORCE
    message["side"] = 1 if side == W_BUY else -1
    message["venue_us"] = time_us(buf, slots, K_T)
    message["bid_start"] = used
    message["bids"] = 1
    cursor["used"] = used + 1
    return True


@kernel
def take_snapshot(buf, slots, cursor, message):
    """A REST depth answer; False when the line must be read slowly."""
    if not has(slots, cursor, LAST_UPDATE, INTEGER) or seen(slots, cursor, K_s) or seen(slots, cursor, K_e):
        return False
    if not (has(slots, cursor, BIDS, LEVELS) and has(slots, cursor, ASKS, LEVELS)):
        return False
    futures = cursor["futures"] == 1
    if seen(slots, cursor, K_T):
        if not futures or not has(slots, cursor, K_T, INTEGER):
            return False
        message["venue_us"] = time_us(buf, slots, K_T)
    elif seen(slots, cursor, K_E):
        return False
    message["kind"] = SNAPSHOT
    message["last_id"], _ = read_int(buf, slots[LAST_UPDATE, START])
    take_sides(slots, BIDS, ASKS, message)
    return True


@kernel
def snapshot_symbol(buf, slots, cursor, heads, names):
    """Index of the symbol of a REST answer: named inside, by its stream, or the only one; −2 when it is unknown."""
    named = -1
    if seen(slots, cursor, SYMBOL):
        if not has(slots, cursor, SYMBOL, STRING):
            return -2
        named = find_symbol(buf, slots[SYMBOL, START], slots[SYMBOL, END], False, heads, names)
        if named < 0:
            return -2
    if cursor["wrapped"] == 1:
        if slots[STREAM, MARKED] != cursor["serial"] or slots[STREAM, TYPE] != STRING:
            return -2
        start, end = slots[STREAM, START], slots[STREAM, END]
        if end - start < 15 or pack(buf, end - 14, end, 0) != W_SNAP_1 or pack(buf, end - 14, end, 8) != W_SNAP_2:
            return -2
        if named >= 0:
            return named
        index = find_symbol(buf, start, end - 14, True, heads, names)
        return index if index >= 0 else -2
    if named >= 0:
        return named
    return cursor["only_symbol"]


@kernel
def take(buf, slots, levels, cursor, message, heads, names):
    """Fill `message` from the filed keys; False when the line must be read slowly."""
    if seen(slots, cursor, LAST_UPDATE):
        if cursor["ordered"] == 1 or not take_snapshot(buf, slots, cursor, message):
            return False
        message["symbol"] = snapshot_symbol(buf, slots, cursor, heads, names)
        return message["symbol"] >= -1
    if not seen(slots, cursor, K_s) or slots[K_s, TYPE] != STRING:
        return False
    symbol = find_symbol(buf, slots[K_s, START], slots[K_s, END], False, heads, names)
    if symbol < 0:
        return False
    message["symbol"] = symbol
    if not seen(slots, cursor, K_e):
        if cursor["futures"] == 1 or cursor["ordered"] == 1 or seen(slots, cursor, PU):
            return False
        return take_ticker(buf, slots, levels, cursor, message)
    if not has(slots, cursor, K_e, STRING):
        return False
    start, end = slots[K_e, START], slots[K_e, END]
    size = end - start
    low = pack(buf, start, end, 0)
    high = pack(buf, start, end, 8)
    if size == 10 and low == W_FORCE_1 and high == W_FORCE_2:
        return cursor["ordered"] == 1 and take_force(buf, slots, levels, cursor, message)
    if cursor["ordered"] == 1:
        return False
    if size == 11 and low == W_DEPTH_1 and high == W_DEPTH_2:
        return take_depth(buf, slots, cursor, message)
    if size == 5 and low == W_TRADE:
        return take_trade(buf, slots, levels, cursor, message, False)
    if size == 8 and low == W_AGG_TRADE:
        return take_trade(buf, slots, levels, cursor, message, True)
    if size == 10 and low == W_TICKER_1 and high == W_TICKER_2:
        return cursor["futures"] == 1 and take_ticker(buf, slots, levels, cursor, message)
    if size == 15 and low == W_MARK_1 and high == W_MARK_2:
        return take_mark(buf, slots, levels, cursor, message)
    return False


@kernel
def scan(buf, stop, heads, names, slots, messages, levels, cursor):
    """Read lines from `cursor["pos"]` to `stop` (after a newline) into the tables; DONE, SLOW or FULL.

    SLOW leaves `cursor["pos"]` at the start of the refused line and `cursor["line"]` at its number; the caller adds
    its own message, moves both past the line and calls again.
    """
    while cursor["pos"] < stop:
        count = cursor["messages"]
        if count >= len(messages):
            return FULL
        cursor["serial"] += 1
        cursor["used"] = cursor["levels"]
        cursor["wrapped"] = 0
        cursor["ordered"] = 0
        local_ns, at = read_int(buf, cursor["pos"])
        if at < 0 or local_ns < NS_FLOOR or int(buf[at]) != SPACE:
            return SLOW
        at = walk(buf, at + 1, slots, levels, cursor)
        if at < 0 or int(buf[at]) != NEWLINE:
            return SLOW
        message = messages[count]
        message["local_ns"] = local_ns
        message["venue_us"] = -1
        message["first_id"] = -1
        message["last_id"] = -1
        message["prev_id"] = -1
        message["extra"] = 0
        message["bid_start"] = 0
        message["ask_start"] = 0
        message["bids"] = 0
        message["asks"] = 0
        message["side"] = 0
        message["line"] = cursor["line"]
        if not take(buf, slots, levels, cursor, message, heads, names):
            return SLOW
        cursor["messages"] = count + 1
        cursor["levels"] = cursor["used"]
        cursor["line"] += 1
        cursor["pos"] = at + 1
    return DONE
