"""The compiled driver: the machine and the handlers of compiled strategies, without Python between events.

`drive` is to compiled strategies what `Session._go` is to interpreted ones: it lets `advance` run to the next event
that somebody wants and calls the handlers, in the same order.  It comes back for what only Python can do (data, room,
the end) with the code of `advance`, or with CALLBACK after a number of events.
"""

from __future__ import annotations

from replay.kernel.codes import CALLBACK, ON_FILL, ON_GAP, ON_ORDER, ON_TIMER
from replay.kernel.jit import kernel
from replay.kernel.native import (
    AT_ADVANCE,
    AT_HANDLER,
    AT_STRATEGY,
    STATE_WORD,
    STRATEGY0,
    STRATEGY_WORDS,
    arena_of,
    call_at,
    peek,
    poke,
    section_reader,
)

runs = section_reader("run")


@kernel(entry=False)
def call_handler(handle, strategy, word):
    """Call handler number `word` of a strategy, when it has one."""
    first = STRATEGY0 + STRATEGY_WORDS * strategy
    address = peek(handle, first + word)
    if address != 0:
        poke(handle, AT_STRATEGY, strategy)
        poke(handle, AT_HANDLER, word)
        call_at(address, (handle, peek(handle, first + STATE_WORD), strategy))


@kernel
def drive(handle, callbacks):
    """Run until Python is needed or `callbacks` events have been handed over; returns a code of `advance`.

    `handle` is the address of the handle (see `native`).  Raises what a handler raises.
    """
    while True:
        code = call_at(peek(handle, AT_ADVANCE), (arena_of(handle),))
        if code != CALLBACK:
            return code
        run = runs(handle)[0]
        kinds = run["out_kinds"]
        strategy = run["out_strategy"]
        if kinds <= ON_GAP:
            word = 0
            while kinds > 1:
                kinds >>= 1
                word += 1
            for k in range(run["strategies"]):
                call_handler(handle, k, word)
        elif kinds == ON_TIMER:
            call_handler(handle, strategy, 6)
        else:
            if kinds & ON_ORDER:
                call_handler(handle, strategy, 7)
            if kinds & ON_FILL:
                call_handler(handle, strategy, 8)
        callbacks -= 1
        if callbacks == 0:
            return CALLBACK
