"""Putting several sorted runs of event rows into one: by `(ts, number)`, ties in the order of the runs.

A run of rows with equal keys (a message) is never torn apart: it lies in one run, and the tie goes to that run until
its key changes.
"""

from __future__ import annotations

from replay.kernel.jit import kernel
from replay.kernel.merge import NEVER, merge_build, merge_runner_up, merge_sift


@kernel
def interleave(words, numbers, at, stops, more, cursors, heap, out):
    """Merge the runs `words[at[s]:stops[s]]` until one ends that has `more` (1) to come, or until all have ended.

    Rows are 8 int64 words, the first of them `ts` (below `NEVER`); `numbers` belongs to the rows; `cursors` (CURSOR)
    and `heap` (int64) hold one entry a run, `out` as many rows as wait.  A run that has `more` must not be empty.
    `at` is advanced.  Returns the number of rows written.
    """
    n = len(at)
    for s in range(n):
        cursors[s]["tie2"] = s
        cursors[s]["time"] = NEVER
        if at[s] < stops[s]:
            cursors[s]["time"] = words[at[s], 0]
            cursors[s]["tie1"] = numbers[at[s]]
    merge_build(cursors, heap, n)
    written = 0
    while n > 0:
        s = heap[0]
        if cursors[s]["time"] == NEVER:
            break
        other = merge_runner_up(cursors, heap, n)
        time = NEVER
        number = NEVER
        if other >= 0 and cursors[other]["time"] != NEVER:
            time = cursors[other]["time"]
            number = cursors[other]["tie1"] - (1 if other < s else 0)
        i = at[s]
        stop = stops[s]
        while i < stop and (words[i, 0] < time or (words[i, 0] == time and numbers[i] <= number)):
            w0, w1, w2, w3 = words[i, 0], words[i, 1], words[i, 2], words[i, 3]
            w4, w5, w6, w7 = words[i, 4], words[i, 5], words[i, 6], words[i, 7]
            out[written, 0], out[written, 1], out[written, 2], out[written, 3] = w0, w1, w2, w3
            out[written, 4], out[written, 5], out[written, 6], out[written, 7] = w4, w5, w6, w7
            written += 1
            i += 1
        at[s] = i
        if i == stop and more[s]:
            break
        cursors[s]["time"] = NEVER
        if i < stop:
            cursors[s]["time"] = words[i, 0]
            cursors[s]["tie1"] = numbers[i]
        merge_sift(cursors, heap, n, 0)
    return written
