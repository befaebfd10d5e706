"""Which adapter reads whose message pairs (see `tests.adapters.pairs`), and what differs on purpose."""

from __future__ import annotations

from typing import Any

from adapters import bybit
from adapters.binance import COINM, SPOT, USDM, BinanceAdapter
from adapters.binance_options import OPTIONS
from adapters.bitmex import BITMEX
from adapters.coinbase import COINBASE
from adapters.deribit import DERIBIT
from adapters.hyperliquid import HYPERLIQUID
from adapters.kraken import KRAKEN
from adapters.okx import OKX
from adapters.venue import VenueAdapter

Where = tuple[str, str, str]
"""exchange, type of the record, field"""

TOUCH_FIELDS = ("bidPrice", "bidAmount", "askPrice", "askAmount")
SUMMARY_TOUCH = {"best" + name[0].upper() + name[1:]: name for name in TOUCH_FIELDS}
"""The touch in the words of an option_summary."""

NOT_CARRIED = {
    "lastPrice": "the latest trade says it",
    "openInterest": "no event; what orders meet does not depend on it",
    "indexPrice": "no event; the mark price is what positions are valued at",
    "predictedFundingRate": "no event; only the rate that will be paid is one",
    "bestBidIV": "no event; volatilities follow from prices",
    "bestAskIV": "no event; volatilities follow from prices",
    "markIV": "no event; volatilities follow from prices",
    "delta": "no event; Greeks follow from prices",
    "gamma": "no event; Greeks follow from prices",
    "vega": "no event; Greeks follow from prices",
    "theta": "no event; Greeks follow from prices",
    "rho": "no event; Greeks follow from prices",
    "underlyingPrice": "no event; the underlying is an instrument of its own",
    "underlyingIndex": "a term of the instrument, not an event",
    "optionType": "a term of the instrument, not an event",
    "strikePrice": "a term of the instrument, not an event",
    "expirationDate": "a term of the instrument, not an event",
}


NAMED = ("s", "symbol", "instrument_name", "coin", "instId", "instrument_id", "sprdId", "product_id")
"""Keys whose values name instruments; Kraken's arrays end with a name, too."""
FOREIGN = {"ETCUSDT"}
"""A USD-M contract among messages of COIN-M: its adapter refuses to know it."""

ADAPTERS: dict[str, BinanceAdapter | VenueAdapter] = {
    "binance": SPOT,
    "binance-futures": USDM,
    "binance-delivery": COINM,
    "binance-european-options": OPTIONS,
    "deribit": DERIBIT,
    "hyperliquid": HYPERLIQUID,
    "bybit": bybit.DERIVATIVES,
    "bybit-spot": bybit.SPOT,
    "bybit-options": bybit.OPTIONS,
    "okex": OKX,
    "okex-futures": OKX,
    "okex-swap": OKX,
    "okex-options": OKX,
    "okex-spreads": OKX,
    "bitmex": BITMEX,
    "coinbase": COINBASE,
    "kraken": KRAKEN,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "okx": {"checksums": "never", "ticker_quotes": True},
}
"""Books were cut short for the pairs, so their checksums cannot agree; the late touch of tickers is compared, too."""

MATCHED_TIME = "ours is T, when it was matched; theirs is E, when it was sent"
UUID = "a UUID is no whole number: ours has none"
BY_DATE = "made for another time: theirs takes one channel by date of receipt, ours what comes"
BACK_IN_TIME = "the messages of the case go back in time: venue times never do"
NO_SIZE = "a touch without sizes is no quote"
FIRST_PUSH = "theirs drops the first push of a connection, ours the first one after the answer to a subscription"
ROUNDED = "marks and rates have 8 decimals"
DIFFERENCES: dict[Where, tuple[int, str]] = {
    ("binance", "book_change", "timestamp"): (
        2, "a depth answer has no time: ours is that of the latest depth message, which keeps the venue side in order",
    ),
    ("binance-futures", "book_change", "timestamp"): (
        2, "a depth answer without times: ours is that of the latest depth message, theirs that of the receipt",
    ),
    ("binance-futures", "book_change", "message"): (
        1, "made up: u is not above the id of the book, so it is a repeat and changes nothing",
    ),
    ("binance-futures", "book_ticker", "timestamp"): (1, MATCHED_TIME),
    ("binance-delivery", "book_change", "timestamp"): (1, MATCHED_TIME),
    ("binance-delivery", "book_ticker", "timestamp"): (1, MATCHED_TIME),
    ("binance-delivery", "book_change", "message"): (1, "pu is not the id of the book: a gap, not a change"),
    ("binance-delivery", "gap", "message"): (1, "pu is not the id of the book: a gap, not a change"),
    ("binance-european-options", "book_change", "timestamp"): (1, MATCHED_TIME),
    ("binance-european-options", "ticker", "message"): (1, "the mark price is told at once, not with the next ticker"),
    **{
        ("binance-european-options", "option_summary", name): (
            1, "a mark price message repeats an older touch; bookTicker has it first",
        )
        for name in SUMMARY_TOUCH
    },
    ("deribit", "trade", "id"): (4, "ours is trade_seq, which is consecutive, so that a lost trade is seen"),
    ("deribit", "liquidation", "id"): (2, "a liquidation has no id; the print beside it has"),
    ("deribit", "book_ticker", "message"): (4, "ours has the quote channel (1), and no combinations (3)"),
    ("deribit", "derivative_ticker", "markPrice"): (3, "combinations, whose prices may be negative, are left out"),
    ("deribit", "derivative_ticker", "fundingRate"): (
        2, "it accrues all the time; without a settlement no event can announce it",
    ),
    ("deribit", "book_ticker", "timestamp"): (1, "the message before was younger: venue times never step back"),
    ("deribit", "book_change", "message"): (1, "prev_change_id is not the id of the book: a gap, not a change"),
    ("deribit", "gap", "message"): (1, "prev_change_id is not the id of the book: a gap, not a change"),
    ("deribit", "option_summary", "markPrice"): (1, "0 after expiry: no mark price"),
    ("deribit", "option_summary", "symbol"): (1, "ours is as the venue writes it (1d02), theirs upper case"),
    ("deribit", "book_ticker", "symbol"): (1, "ours is as the venue writes it (1d02), theirs upper case"),
    ("bitmex", "trade", "id"): (1, "a GUID; ours has none"),
    ("bitmex", "liquidation", "id"): (1, "a liquidation has no id"),
    ("bitmex", "book_change", "timestamp"): (
        3, "the book message before had no time, so it got that of its receipt: venue times never step back",
    ),
    ("coinbase", "book_ticker", "message"): (1, "the first ticker repeats the latest one before the subscription"),
    ("kraken", "book_change", "message"): (
        2, "of a full book with an empty part theirs takes the name of the channel for the symbol",
    ),
    ("hyperliquid", "derivative_ticker", "fundingTimestamp"): (1, "ours says when it is paid: at the end of the hour"),
    ("bybit", "trade", "id"): (9, UUID),
    ("bybit-options", "trade", "id"): (1, UUID),
    ("bybit", "liquidation", "id"): (4, "a liquidation has no id"),
    ("bybit", "liquidation", "message"): (1, BY_DATE),
    ("bybit", "book_change", "message"): (1, BY_DATE),
    ("bybit", "book_change", "timestamp"): (2, BACK_IN_TIME),
    ("bybit", "derivative_ticker", "fundingRate"): (1, "the message does not say when it is paid, so it is no event"),
    ("bybit", "derivative_ticker", "timestamp"): (1, "the messages go back in time: theirs keeps the younger one's"),
    ("okex", "book_ticker", "message"): (1, NO_SIZE),
    ("okex-futures", "book_ticker", "message"): (3, NO_SIZE),
    ("okex-futures", "ticker", "message"): (1, "a message of a swap among those of futures: ours reads it, too"),
    ("okex-futures", "book_change", "message"): (2, BY_DATE),
    ("okex-futures", "liquidation", "message"): (1, FIRST_PUSH),
    ("okex-futures", "derivative_ticker", "fundingRate"): (1, ROUNDED),
    ("okex-swap", "derivative_ticker", "timestamp"): (
        2, "the funding message has no time: ours is that of its receipt, and what follows is not before it",
    ),
    ("okex-swap", "derivative_ticker", "fundingTimestamp"): (1, "without a rate there is nothing to announce"),
    ("okex-swap", "book_change", "message"): (1, BY_DATE),
    ("okex-swap", "book_ticker", "message"): (7, f"{NO_SIZE} (2); {BY_DATE} (5)"),
    ("okex-options", "book_change", "message"): (2, BY_DATE),
    ("okex-options", "ticker", "message"): (1, "the mark price is told at once, not with the next summary"),
    ("okex-options", "option_summary", "markPrice"): (1, ROUNDED),
}  # fmt: skip
"""What differs on purpose: how often, and why.  `message`: only one of the two has the record."""
