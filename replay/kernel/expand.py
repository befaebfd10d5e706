"""Columns to event rows: what a file keeps side by side becomes records, and the message number of each.

A row is the 8 int64 words of an EVENT record, which are written whole: stores of single fields would cost twice the
time.
"""

from __future__ import annotations

from replay.events import LAST
from replay.kernel.jit import kernel


@kernel
def expand(
    ts, exch_ts, message, seq, kind, side, price, qty, value, flags, steps, instrument, words, numbers
):  # fmt: skip
    """Write the rows `words` (int64[rows, 8]) and `numbers` (int64[rows]) of instrument index `instrument`.

    Row i takes element `i × steps[k]` of column k, in the order of the arguments: step 0 is for a column with one
    value, 2 for decimals, whose low words are the values.  Returns how many rows there are up to the last that closes
    a message, 0 when none does.
    """
    low = instrument & 0xFFFFFFFF
    closed = 0
    for i in range(len(words)):
        bits = int(flags[i * steps[9]])
        words[i, 0] = ts[i * steps[0]]
        words[i, 1] = exch_ts[i * steps[1]]
        numbers[i] = message[i * steps[2]]
        words[i, 2] = seq[i * steps[3]]
        words[i, 3] = price[i * steps[6]]
        words[i, 4] = qty[i * steps[7]]
        words[i, 5] = value[i * steps[8]]
        words[i, 6] = low | (bits << 48)
        words[i, 7] = (int(kind[i * steps[4]]) & 0xFF) | ((int(side[i * steps[5]]) & 0xFF) << 8)
        if bits & LAST:
            closed = i + 1
    return closed
