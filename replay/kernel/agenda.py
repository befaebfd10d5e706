"""The agenda heap: what the simulation itself will do, and when.

A node is `(time, key, item)` with `key = phase << 56 | sequence`, so that equal times follow the phases of the run
(answers 1, venue settlements 2, requests at the venue 3, timers 4) and equal phases the order in which they were
planned.  What is to be done lies in an item of a pool with a free list; the heap moves only nodes.
"""

from __future__ import annotations

from replay.kernel.jit import kernel

PHASE_ANSWER = 1
PHASE_VENUE = 2
PHASE_REQUEST = 3
PHASE_TIMER = 4
PHASE_SHIFT = 56


@kernel
def node_before(heap, a, b):
    """1 when node `a` is due before node `b`."""
    if heap[a]["time"] != heap[b]["time"]:
        return heap[a]["time"] < heap[b]["time"]
    return heap[a]["key"] < heap[b]["key"]


@kernel
def _swap(heap, a, b):
    time, key, item = heap[a]["time"], heap[a]["key"], heap[a]["item"]
    heap[a]["time"], heap[a]["key"], heap[a]["item"] = heap[b]["time"], heap[b]["key"], heap[b]["item"]
    heap[b]["time"], heap[b]["key"], heap[b]["item"] = time, key, item


@kernel
def agenda_reset(run, items):
    """An empty agenda with every item on the free list."""
    n = len(items)
    for i in range(n):
        items[i]["next"] = i + 1 if i + 1 < n else -1
    run[0]["free_item"] = 0 if n else -1
    run[0]["free_items"] = n
    run[0]["heap_n"] = 0


@kernel
def agenda_extend(run, items, first):
    """Put items `first` … len-1 (new, after the pool grew) on the free list."""
    for i in range(len(items) - 1, first - 1, -1):
        items[i]["next"] = run[0]["free_item"]
        run[0]["free_item"] = i
        run[0]["free_items"] += 1


@kernel
def agenda_push(run, heap, items, time, phase):
    """Plan something at `time` (µs) in `phase`; returns the item to fill in, or -1 when the pool is empty.

    The item's content is undefined until the caller sets it.
    """
    item = run[0]["free_item"]
    if item < 0:
        return -1
    run[0]["free_item"] = items[item]["next"]
    run[0]["free_items"] -= 1
    at = run[0]["heap_n"]
    run[0]["heap_n"] = at + 1
    heap[at]["time"] = time
    heap[at]["key"] = phase << PHASE_SHIFT | run[0]["sequence"]
    heap[at]["item"] = item
    run[0]["sequence"] += 1
    while at > 0:
        parent = (at - 1) >> 1
        if not node_before(heap, at, parent):
            break
        _swap(heap, at, parent)
        at = parent
    return item


@kernel
def agenda_pop(run, heap):
    """Remove the root; returns its item, which stays out of the free list until `agenda_free`."""
    item = heap[0]["item"]
    n = run[0]["heap_n"] - 1
    run[0]["heap_n"] = n
    if n > 0:
        _swap(heap, 0, n)
        at = 0
        while True:
            child = 2 * at + 1
            if child >= n:
                break
            if child + 1 < n and node_before(heap, child + 1, child):
                child += 1
            if not node_before(heap, child, at):
                break
            _swap(heap, child, at)
            at = child
    return item


@kernel
def agenda_free(run, items, item):
    """Give an item back."""
    items[item]["next"] = run[0]["free_item"]
    run[0]["free_item"] = item
    run[0]["free_items"] += 1


@kernel
def agenda_check(run, heap, items):
    """0, or 1 heap order broken, 2 free list length wrong."""
    for i in range(1, run[0]["heap_n"]):
        if node_before(heap, i, (i - 1) >> 1):
            return 1
    n = 0
    item = run[0]["free_item"]
    while item >= 0 and n <= len(items):
        n += 1
        item = items[item]["next"]
    return 0 if n == run[0]["free_items"] else 2
