"""Work ahead in a background thread, so that reading and decoding overlap with the replay."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextvars import copy_context
from queue import Empty, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


def prefetched(items: Iterator[T], depth: int = 4) -> Iterator[T]:
    """The same items in the same order; a thread makes up to `depth` + 1 of them ahead.

    What `items` raises is raised here, in its place.  The thread ends with the iteration, also when that is given up;
    a generator is then closed by the thread that ran it.  What the thread reads is metered as here.
    """
    ready: Queue[tuple[bool, T | BaseException | None]] = Queue(depth)
    stop = Event()

    def work() -> None:
        try:
            for item in items:
                ready.put((False, item))
                if stop.is_set():
                    if isinstance(items, Generator):
                        items.close()
                    return
            ready.put((True, None))
        except BaseException as error:
            ready.put((True, error))

    thread = Thread(target=copy_context().run, args=(work,), name="replay-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            last, item = ready.get()
            if not last:
                yield item  # type: ignore[misc]
            elif item is None:
                return
            else:
                raise item  # type: ignore[misc]
    finally:
        stop.set()
        while thread.is_alive():
            try:
                ready.get_nowait()  # a full queue would hold the thread
            except Empty:
                thread.join(0.01)
