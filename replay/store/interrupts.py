"""Ctrl-C as a wish: work that must clean up is asked to stop, and KeyboardInterrupt comes when it has.

Python raises KeyboardInterrupt between any two instructions, also between making a thing and remembering that it must
be deleted.  No `finally` is safe from that; work that sees the wish where it can stop is.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_held(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first Ctrl-C in this block, and let it interrupt when the block is over, however it ended.

    A second Ctrl-C interrupts at once, for work that does not stop.  In other threads than the main one, and where
    Ctrl-C is ignored, the block is left alone: nothing interrupts it there.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield
        return
    held = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal held
        held = True
        signal.signal(signal.SIGINT, before)
        stop()

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            signal.raise_signal(signal.SIGINT)
