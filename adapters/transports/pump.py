"""An asynchronous stream as a plain iterator: it runs in a thread, and what it gives waits in a bounded queue.

A full queue stops the stream, so whoever sends is held back by TCP.  Leaving the iterator early, also by an exception,
cancels the stream and ends the thread; what the stream raises is raised in the iterator.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from queue import Full, Queue
from typing import Any, TypeVar

T = TypeVar("T")
QUEUED = 64
FULL_PAUSE_S = 0.002


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def pumped(stream: Callable[[], AsyncIterator[T]], queued: int = QUEUED) -> Iterator[T]:
    """What `stream()` gives; it is made, run and closed in a thread of its own, at most `queued` things ahead."""
    queue: Queue[Any] = Queue(queued)
    stopping = threading.Event()
    loop = asyncio.new_event_loop()

    async def offered(thing: Any) -> None:
        while not stopping.is_set():
            try:
                queue.put_nowait(thing)
                return
            except Full:
                await asyncio.sleep(FULL_PAUSE_S)

    async def work() -> None:
        error: BaseException | None = None
        try:
            async with aclosing(stream()) as things:  # type: ignore[type-var]
                async for thing in things:
                    await offered(thing)
        except Exception as raised:
            error = raised
        await offered(_End(error))

    task = loop.create_task(work())

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner, suppress(asyncio.CancelledError):
            runner.get_loop().run_until_complete(task)

    thread = threading.Thread(target=run, name="replay-stream")
    thread.start()
    try:
        while True:
            thing = queue.get()
            if isinstance(thing, _End):
                if thing.error is not None:
                    raise thing.error
                return
            yield thing
    finally:
        stopping.set()
        with suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
