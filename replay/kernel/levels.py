"""Rows of books from the columns of a table: one pass, where NumPy takes one for each field of a row."""

from __future__ import annotations

from replay.events import BOOK
from replay.kernel.assemble import GROUPED, NO_SEQ, SNAP
from replay.kernel.jit import kernel
from replay.kernel.lexer import word

TRUE, FALSE = word(b"true"), word(b"false")
BID, ASK = word(b"bid"), word(b"ask")


@kernel
def level_rows(values, digits, lines, owners, count, first_line, floor_us, ceiling_us, rows):
    """Fill `rows` (ROW of `replay.kernel.assemble`) from `count` rows of columns.

    The columns are venue time (0: none), local time, snapshot mark, side, price, size.  Returns the first row with a
    time outside [floor_us, ceiling_us) or another mark than true and false, `count` when there is none.
    """
    for i in range(count):
        venue_us = values[0, i]
        local_us = values[1, i]
        mark = values[2, i]
        side = values[3, i]
        if local_us < floor_us or local_us >= ceiling_us or (mark != TRUE and mark != FALSE):
            return i
        if venue_us != 0 and (venue_us < floor_us or venue_us >= ceiling_us):
            return i
        row = rows[i]
        row["local_us"] = local_us
        row["venue_us"] = venue_us if venue_us != 0 else -1
        row["seq"] = NO_SEQ
        row["ident"] = NO_SEQ
        row["price"] = values[4, i]
        row["size"] = values[5, i]
        row["line"] = first_line + lines[i]
        row["owner"] = owners[i]
        row["price_digits"] = digits[4, i]
        row["size_digits"] = digits[5, i]
        row["kind"] = BOOK
        row["side"] = 1 if side == BID else -1 if side == ASK else 0
        row["bits"] = GROUPED | SNAP if mark == TRUE else GROUPED
    return count
