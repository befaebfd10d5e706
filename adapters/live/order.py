"""In which order a live run puts what happened at the venue.

"arrival": what is received happens when it is received, at the venue too (`exch_ts` = `ts`).  Callbacks come at once;
an order meets a market that is one feed latency older than it would be in truth.  "reorder:US": venue times count, as
far as they lie at most US microseconds before the receipt; events are held for so long, so that what comes later can
still be put before them.  What is later than that counts as if it had happened US before its receipt (flag BAD_TS).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from replay.errors import ConfigError
from replay.events import BAD_TS
from replay.units import US_PER_MIN


@dataclass(frozen=True, slots=True)
class Order:
    """`window_us` is 0 for order of arrival."""

    window_us: int = 0

    @classmethod
    def parse(cls, text: str) -> Order:
        """`arrival` or `reorder:US`, US in [1, a minute]; ConfigError for anything else."""
        if text == "arrival":
            return cls()
        kind, _, window = text.partition(":")
        if kind != "reorder" or not (window.isascii() and window.isdigit() and 0 < int(window) <= US_PER_MIN):
            raise ConfigError("order", text, "is no order", "arrival, or reorder:US with a window of up to 60000000 µs")
        return cls(int(window))

    def __str__(self) -> str:
        return f"reorder:{self.window_us}" if self.window_us else "arrival"

    def apply(self, rows: np.ndarray) -> int:
        """Set `exch_ts` of `rows` in place; how many came too late for the window."""
        earliest = rows["ts"] - self.window_us
        late = rows["exch_ts"] < earliest
        np.maximum(rows["exch_ts"], earliest, out=rows["exch_ts"])
        if not self.window_us:
            return 0
        rows["flags"][late] |= BAD_TS
        return int(np.count_nonzero(late))
