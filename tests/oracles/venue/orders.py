"""Orders and the reports about them.

Statuses: pending, live, partly-filled, filled, cancelled, expired, rejected.  A post-only order that would cross is
"expired" under no model of ours: it is "rejected" with its reason (the reference files call that status 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

OVER = ("filled", "cancelled", "expired", "rejected")


@dataclass
class Order:
    """An order as the venue knows it; `kind` limit, market, stop-market, stop-limit, trailing-stop."""

    id: int
    instrument: int
    side: int
    lots: int
    ticks: int = 0
    kind: str = "limit"
    tif: str = "GTC"
    post_only: bool = False
    reduce_only: bool = False
    expire_us: int = 0
    trigger: str = "last"
    stop_ticks: int | None = None
    trail: int = 0
    leaves: int = 0
    filled: int = 0
    status: str = "pending"
    front: float = 0.0
    printed: int = 0
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What the venue says about an order: its state after one change, the execution if there was one.

    `request` names the request that this report answers ("" for none): every request is named by exactly one.
    `front` is the queue estimate just before a maker fill; `cause` take, touch, through or queue.
    """

    order_id: int
    venue_us: int
    status: str
    request: str
    ticks: int
    lots: int
    leaves: int
    filled: int
    reason: str = ""
    exec_lots: int = 0
    exec_ticks: int = 0
    maker: bool = False
    cause: str = ""
    front: float = 0.0
    slippage: int = 0
    fee: Fraction = Fraction(0)


@dataclass
class LocalOrder:
    """An order as the strategy knows it: changed by answers alone."""

    id: int
    instrument: int
    side: int
    ticks: int
    lots: int
    leaves: int
    filled: int = 0
    status: str = "pending"
    pending: str = "new"
    sent_us: int = 0
    venue_us: int = 0

    @property
    def over(self) -> bool:
        return self.status in OVER
