"""The order of a live run: arrival, or a window of the venue's clock."""

from __future__ import annotations

import numpy as np
import pytest

from adapters.live.order import Order
from replay.errors import ConfigError
from replay.events import BAD_TS, empty_events


def rows() -> np.ndarray:
    """Three rows that the venue made 10, 50 and 200 µs before their receipt."""
    out = empty_events(3)
    out["ts"] = (1_000, 2_000, 3_000)
    out["exch_ts"] = out["ts"] - (10, 50, 200)
    return out


def test_arrival_happens_when_it_is_received() -> None:
    some = rows()
    assert Order.parse("arrival").apply(some) == 0
    assert (some["exch_ts"] == some["ts"]).all()
    assert not some["flags"].any()


def test_a_window_keeps_the_venues_times_within_it() -> None:
    some = rows()
    order = Order.parse("reorder:50")
    assert order.apply(some) == 1
    assert (some["ts"] - some["exch_ts"]).tolist() == [10, 50, 50]
    assert some["flags"].tolist() == [0, 0, BAD_TS]
    assert (order.window_us, str(order)) == (50, "reorder:50")


@pytest.mark.parametrize("text", ["", "reorder", "reorder:", "reorder:0", "reorder:-5", "reorder:61000000", "venue:5"])
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no order"):
        Order.parse(text)
