"""Integer codes that the kernels and Python share.

A value here is part of the result digest: append, never renumber.
"""

from __future__ import annotations

# What `advance` returns
DONE = 0
CALLBACK = 1
NEED_DATA = 2
NEED_ROOM = 3
FLUSH = 4
GO_ON = 100
"""Between kernels only: nothing for the outside to do."""

RESERVE = 256
"""Free agenda items and log rows, beyond four for each live order, that one event may need."""

# What lacks room when `advance` returns NEED_ROOM: a book (out_source says which) or a section
ROOM_BOOK = 1
ROOM_ITEMS = 2
ROOM_TAKEN = 4
ROOM_MARKET_ORDERS = 5

# Why a strategy is called; bits, because one answer can be both an order change and a fill
ON_BOOK = 1
ON_QUOTE = 2
ON_TRADE = 4
ON_LIQUIDATION = 8
ON_FUNDING = 16
ON_GAP = 32
ON_TIMER = 64
ON_ORDER = 128
ON_FILL = 256

# Payoffs
SPOT = 0
LINEAR = 1
INVERSE = 2
OPTION = 3

# Order kinds
LIMIT = 0
MARKET = 1
STOP_MARKET = 2
STOP_LIMIT = 3
TRAILING_STOP = 4

# Time in force
GTC = 0
IOC = 1
FOK = 2
GTD = 3

# Order flags
POST_ONLY = 1
REDUCE_ONLY = 2
SYSTEM = 4
"""Sent by the simulation itself: the liquidation of a position."""

# What a stop order watches
TRIGGER_LAST = 0
TRIGGER_MARK = 1
TRIGGER_TOUCH = 2

# Order status, as the strategy knows it
PENDING = 0
LIVE = 1
PARTLY_FILLED = 2
FILLED = 3
CANCELLED = 4
EXPIRED = 5
REJECTED = 6
STATUS_NAMES = ("pending", "live", "partly-filled", "filled", "cancelled", "expired", "rejected")

# Requests
REQUEST_NONE = 0
REQUEST_NEW = 1
REQUEST_CANCEL = 2
REQUEST_MODIFY = 3

# Where an order is at the venue
ABSENT = 0
RESTING = 1
WATCHING = 2
HELD = 3
GONE = 4

# Reasons
REASONS = (
    "",
    "unknown-order",
    "pending",
    "post-only-would-cross",
    "off-tick",
    "off-lot",
    "below-min-notional",
    "insufficient-margin",
    "reduce-only",
    "book-invalid",
    "duplicate-id",
    "expired",
    "self-trade",
    "venue-rejected",
    "warm-up",
    "no-liquidity",
    "liquidated",
    "run-ended",
)
R_NONE = 0
R_UNKNOWN_ORDER = 1
R_PENDING = 2
R_POST_ONLY = 3
R_OFF_TICK = 4
R_OFF_LOT = 5
R_MIN_NOTIONAL = 6
R_MARGIN = 7
R_REDUCE_ONLY = 8
R_BOOK_INVALID = 9
R_DUPLICATE_ID = 10
R_EXPIRED = 11
R_SELF_TRADE = 12
R_VENUE = 13
R_WARM_UP = 14
R_NO_LIQUIDITY = 15
R_LIQUIDATED = 16
R_ENDED = 17

# Agenda items
DO_ANSWER = 1
DO_NEW = 2
DO_CANCEL = 3
DO_MODIFY = 4
DO_TIMER = 5
DO_FUNDING = 6
DO_FUNDING_SEEN = 7
DO_SAMPLE = 8
DO_EXPIRE = 9
DO_TRIGGERED = 10
DO_EXPIRY = 11
DO_EXPIRY_SEEN = 12
DO_MARKOUT = 13

# Models
LATENCY_CONSTANT = 0
LATENCY_TABLE = 1
LATENCY_FEED = 2
LATENCY_LOG_NORMAL = 3
QUEUE_RISK_AVERSE = 0
QUEUE_POWER = 1
QUEUE_POWER_2 = 2
QUEUE_POWER_3 = 3
QUEUE_LOG = 4
QUEUE_LOG_2 = 5
EXECUTION_FULL = 0
EXECUTION_PARTIAL = 1
SLIPPAGE_NONE = 0
SLIPPAGE_BPS = 1
SLIPPAGE_SPREAD = 2
SLIPPAGE_SQRT = 3
FEE_RATES = 0
FEE_TIERS = 1
FEE_PER_CONTRACT = 2
FEE_FLAT = 3
SELF_CANCEL_NEWEST = 0
SELF_CANCEL_OLDEST = 1
SELF_ALLOW = 2

# What made a fill
CAUSE_TAKE = 0
CAUSE_TOUCH = 1
CAUSE_THROUGH = 2
CAUSE_QUEUE = 3
CAUSE_NAMES = ("take", "touch", "through", "queue")
