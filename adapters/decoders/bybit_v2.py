"""Bybit before v5: the derivatives' topics of 2019 to 2023 and those of the first spot API.

A book of the derivatives is a `snapshot` (a list, or an object around it), then `delta` with deletes, updates and
inserts, each of which names its price.  `cross_seq` rises but is shared by all symbols, so a hole cannot be seen.
Numbers are text or JSON numbers, names snake_case or, for USDC contracts, camelCase.  A spot book is sent whole each
time.
"""

from __future__ import annotations

from adapters.decoders.parsed import (
    Json,
    Level,
    Number,
    Parsed,
    get,
    in_us,
    json_number,
    level,
    levels,
    mark_and_funding,
    other,
    quote,
    quoted,
    record,
    records,
    side_of,
    symbol_of,
    text_time_us,
    trade_id,
    whole,
    whole_or_text,
)
from adapters.venue import Messages
from replay.errors import DataError
from replay.kernel import scan

BOOK_SIDES = {"Buy": 0, "Sell": 1}
TAKER = {"Buy": 1, "Sell": -1}
POSITION = {"Buy": -1, "Sell": 1}
"""Forced side by the side of the liquidated position."""
NEVER = "1970-01-01T00:00:00Z"


def derivatives(state: Messages, message: Json, kind: str, rest: str) -> list[Parsed]:
    """The events of a message whose topic is `<kind>.<rest>`."""
    reader = READERS.get(kind)
    return [other(kind)] if reader is None else reader(state, message, kind, rest)


def sent_us(message: Json) -> int:
    """When a message was sent; DataError when it does not say."""
    return whole_or_text(message, name_of(message, "timestamp_e6", "timestampE6"))


def name_of(data: Json, *names: str) -> str:
    """The first of `names` that is there, else the first."""
    return next((name for name in names if name in data), names[0])


def book(state: Messages, message: Json, kind: str, rest: str) -> list[Parsed]:
    """orderBookL2_25.<symbol>, orderBook_200.100ms.<symbol>"""
    symbol = rest.rpartition(".")[2]
    if not state.only("book", symbol, kind):
        return [other(f"{kind} beside {state.streams['book', symbol]}", symbol)]
    sides: tuple[list[Level], list[Level]] = ([], [])
    snapshot = message.get("type") == "snapshot"
    if snapshot:
        data = message["data"]
        inner = data if isinstance(data, dict) else message
        changes = [("insert", each) for each in records(inner, name_of(inner, "order_book", "orderBook", "data"))]
    else:
        data = record(message, "data")
        changes = [
            (what, each) for what in ("delete", "update", "insert") if what in data for each in records(data, what)
        ]
    for what, each in changes:
        size = 0 if what == "delete" else get(each, "size")
        sides[side_of(each, "side", BOOK_SIDES)].append(level(get(each, "price"), size))
    sequence = whole_or_text(message, name_of(message, "cross_seq", "crossSeq"))
    return [
        Parsed(
            scan.RESET if snapshot else scan.DEPTH,
            symbol_of({"s": symbol}),
            venue_us=sent_us(message),
            first_id=sequence,
            last_id=sequence,
            bids=sides[0],
            asks=sides[1],
        )
    ]


def trades(state: Messages, message: Json, kind: str, rest: str) -> list[Parsed]:
    """trade.<symbol>"""
    found = []
    for data in records(message, "data"):
        time = name_of(data, "trade_time_ms", "tradeTimeMs")
        venue_us = in_us(whole_or_text(data, time)) if time in data else text_time_us(data, "timestamp")
        ident = trade_id(data.get(name_of(data, "trade_id", "tradeId")))
        size = level(get(data, "price"), get(data, "size"))
        side = side_of(data, "side", TAKER)
        symbol = symbol_of(data, "symbol")
        found.append(Parsed(scan.TRADE, symbol, venue_us=venue_us, last_id=ident, side=side, bids=[size]))
    return found


def liquidations(state: Messages, message: Json, kind: str, rest: str) -> list[Parsed]:
    """liquidation.<symbol>, also of v5 until 2025; polled ones come as a list."""
    found = []
    for data in records(message, "data") if isinstance(message["data"], list) else [record(message, "data")]:
        symbol = symbol_of(data, "symbol")
        if not state.only("liquidations", symbol, "single"):
            found.append(other("liquidation beside allLiquidation", symbol))
            continue
        size = level(get(data, "price"), get(data, name_of(data, "qty", "size")))
        venue_us = in_us(whole_or_text(data, name_of(data, "time", "updatedTime")))
        side = side_of(data, "side", POSITION)
        found.append(Parsed(scan.FORCE, symbol, venue_us=venue_us, side=side, bids=[size]))
    return found


def instrument_info(state: Messages, message: Json, kind: str, rest: str) -> list[Parsed]:
    """instrument_info.100ms.<symbol>: mark price and funding as far as they changed."""
    data = record(message, "data")
    found = []
    for news in [data] if message.get("type") == "snapshot" else records(data, "update"):
        symbol = symbol_of(news, "symbol")
        mark = scaled(news, "mark price", ("mark_price_e4", "markPriceE4"), 4)
        rate = scaled(news, "funding rate", ("funding_rate_e6", "fundingRateE6"), 6)
        due = name_of(news, "next_funding_time", "nextFundingTime")
        due_us = text_time_us(news, due) if news.get(due, NEVER) != NEVER else 0
        found += mark_and_funding(symbol, sent_us(message), mark, rate, due_us)
    return found or [other("instrument_info without mark price and funding")]


def scaled(data: Json, what: str, names: tuple[str, ...], digits: int) -> Number | None:
    """A whole number of 10^−digits, None when it is not there."""
    name = name_of(data, *names)
    if name not in data:
        return None
    mantissa, places = json_number(data[name], what)
    return mantissa, places + digits


def spot(message: Json, topic: str) -> list[Parsed]:
    """The events of a message of the first spot API."""
    symbol, data = symbol_of(record(message, "params"), "symbol"), record(message, "data")
    if topic == "depth":
        bids, asks = levels(data, "b"), levels(data, "a")
        return [Parsed(scan.RESET, symbol, venue_us=in_us(whole(data, "t")), bids=bids, asks=asks)]
    if topic == "trade":
        buys = get(data, "m")
        if not isinstance(buys, bool):
            raise DataError(f"field 'm' is {buys!r}, neither true nor false")
        size, venue_us = level(get(data, "p"), get(data, "q")), in_us(whole(data, "t"))
        return [Parsed(scan.TRADE, symbol, venue_us=venue_us, last_id=trade_id(data.get("v")), side=1 if buys else -1,
                       bids=[size])]  # fmt: skip
    if topic == "bookTicker":
        bid, ask = (quoted(get(data, f"{side}Price"), get(data, f"{side}Qty")) for side in ("bid", "ask"))
        return [quote(symbol, in_us(whole(data, "time")), bid, ask)]
    return [other(topic, symbol)]


READERS = {
    "orderBookL2_25": book,
    "orderBook_200": book,
    "trade": trades,
    "liquidation": liquidations,
    "instrument_info": instrument_info,
}
