"""Several streams of events in order of receipt as one: by `ts`, ties in order of the streams; messages stay whole.

Memory is bounded by one batch of each stream, however long they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from replay.sources import cut_batches


def merged(streams: Sequence[Iterator[np.ndarray]], rows: int) -> Iterator[np.ndarray]:
    """Batches of at least one and about `rows` events; each stream must be sorted by `ts` and cut after a LAST row.

    A batch that comes in is copied before its stream is asked for the next one.
    """
    if len(streams) == 1:
        yield from streams[0]
        return
    heads: list[np.ndarray | None] = [_next(stream) for stream in streams]
    while True:
        alive = [head for head in heads if head is not None]
        if not alive:
            return
        # Up to the first end of a batch nothing else can come; of rows at that very time those of earlier streams go.
        bound = min(int(head["ts"][-1]) for head in alive)
        tied = next(k for k, head in enumerate(heads) if head is not None and int(head["ts"][-1]) == bound)
        parts = []
        for k, head in enumerate(heads):
            if head is None:
                continue
            stop = len(head) if k == tied else int(np.searchsorted(head["ts"], bound, "right" if k < tied else "left"))
            parts.append(head[:stop])
            heads[k] = _next(streams[k]) if k == tied else head[stop:]
        yield from cut_batches(_sorted(parts), rows)


def _next(stream: Iterator[np.ndarray]) -> np.ndarray | None:
    batch = next(stream, None)
    return None if batch is None else batch.copy()


def _sorted(parts: Sequence[np.ndarray]) -> np.ndarray:
    filled = [part for part in parts if len(part)]
    if len(filled) == 1:
        return filled[0]
    together = np.concatenate(filled)
    return together[np.argsort(together["ts"], kind="stable")]
