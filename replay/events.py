"""The event record: what every adapter produces and the engine consumes.

One market data row is one 64-byte aligned record, so that a cursor over any mixture of sources has one type.

| field | unit | meaning |
|---|---|---|
| `ts` | µs | local receipt time, clock offset corrected; the merge key; never steps back inside a source |
| `exch_ts` | µs | venue time; never steps back inside one channel of a source |
| `seq` | id | BOOK, QUOTE, ORDER: last update id; TRADE: trade id; FUNDING: next settlement, µs; GAP: last good id |
| `price` | ticks | BOOK, TRADE, QUOTE, LIQUIDATION, ORDER; MARK: mark rounded to ticks |
| `qty` | lots | BOOK, QUOTE, ORDER: size of the level or order from now on (0 deletes); TRADE, LIQUIDATION: traded |
| `value` | 1/SCALE | MARK: mark price; FUNDING: rate for the period that ends at `seq` |
| `value` | id | GAP: first id after the hole; ORDER: number of the order, in [0, 2^63) |
| `instrument` | index | into the source's `instruments` |
| `source` | index | registration order in the run (the engine fills it in) |
| `flags` | bits | below |
| `kind` | code | below |
| `side` | +1 −1 0 | BOOK, QUOTE, ORDER: +1 bid, −1 ask; TRADE: aggressor bought, sold; LIQUIDATION: forced buy, sell |

Where a recording has no ids, `seq` of BOOK, QUOTE and TRADE is −1, as both ids of its GAP rows are.

A venue message is a run of rows with the same `ts` and `exch_ts`; its final row carries `LAST`.  Books are looked at
only there, so nobody sees a half-applied, crossed book.  A message without levels (it still moves `seq`) is one BOOK
row with side 0.  A snapshot is a message whose every row carries SNAPSHOT and whose first row carries CLEAR.  A GAP
row makes the book of its instrument invalid until the LAST row of the next snapshot.

A level-3 feed tells each resting order in ORDER rows, in messages of their own, each before the BOOK message with the
level's new size and at its times; a print comes before the ORDER rows of the orders that it hit.  A message of ORDER
rows with SNAPSHOT (without CLEAR) names all orders: others are gone.  The books are those of the BOOK rows.
"""

from __future__ import annotations

import numpy as np

EVENT = np.dtype(
    [
        ("ts", "<i8"),
        ("exch_ts", "<i8"),
        ("seq", "<i8"),
        ("price", "<i8"),
        ("qty", "<i8"),
        ("value", "<i8"),
        ("instrument", "<i4"),
        ("source", "<i2"),
        ("flags", "<i2"),
        ("kind", "i1"),
        ("side", "i1"),
        ("pad2", "<i2"),
        ("pad4", "<i4"),
    ],
    align=True,
)

# Kinds
BOOK = 1
TRADE = 2
QUOTE = 3
LIQUIDATION = 4
MARK = 5
FUNDING = 6
GAP = 7
ORDER = 8

KIND_NAMES = {BOOK: "book", TRADE: "trade", QUOTE: "quote", LIQUIDATION: "liquidation",
              MARK: "mark", FUNDING: "funding", GAP: "gap", ORDER: "order"}  # fmt: skip

# Flags
LAST = 1
"""Final row of a venue message."""
SNAPSHOT = 2
"""Row of a full book."""
CLEAR = 4
"""Empty the book before this row."""
GAP_BEFORE = 8
"""Messages of this channel were lost immediately before this one."""
REPAIRED = 16
"""Made or moved by a repair (for example a delta that was buffered until its snapshot came)."""
BAD_TS = 32
"""A time of this row stepped back and was clamped."""
OFF_TICK = 64
"""Price or size did not lie on the instrument's grid and was rounded."""

BUY = 1
SELL = -1


def empty_events(rows: int) -> np.ndarray:
    """A zeroed array of `rows` event records."""
    return np.zeros(rows, EVENT)
