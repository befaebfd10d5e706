"""OKX before v5 (2019 to 2021): messages `{"table":"<kind>/<channel>",…}`.

Books have no ids, and a CRC32 since late 2019.  A funding rate is that of the settlement at `funding_time`.
Liquidations were polled by recorders; their type 3 closes a long, 4 a short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.decoders.parsed import (
    Json,
    Parsed,
    get,
    json_number,
    level,
    mark_and_funding,
    other,
    quoted,
    records,
    side_of,
    symbol_of,
    text_time_us,
    trade_id,
)
from replay.errors import DataError
from replay.kernel import scan

if TYPE_CHECKING:
    from adapters.decoders.okx import OkxMessages

SIDES = {"buy": 1, "sell": -1}
INFINITE = "∞"
"""The mark price of an option that has expired."""
LIQUIDATED = {"3": -1, "4": 1}


def read(state: OkxMessages, message: Json) -> list[Parsed]:
    """The events of a message."""
    table = message["table"]
    channel = table.partition("/")[2] if isinstance(table, str) else ""
    if table == "index/ticker" or channel not in READERS:
        return [other(f"{table}"[:60])]
    return [parsed for data in records(message, "data") for parsed in READERS[channel](state, message, data)]


def name(data: Json) -> str:
    """The instrument."""
    return symbol_of(data, "instrument_id")


def book(state: OkxMessages, message: Json, data: Json) -> list[Parsed]:
    """depth (100 ms), depth_l2_tbt (each change)"""
    action, stream = message.get("action"), message["table"].partition("/")[2]
    if action not in ("partial", "update"):
        raise DataError(f"a book with action {action!r}, neither 'partial' nor 'update'")
    return [state.change(name(data), stream, action == "partial", data, text_time_us(data, "timestamp"))]


def trade(state: OkxMessages, message: Json, data: Json) -> list[Parsed]:
    """trade"""
    size = level(get(data, "price"), get(data, "size" if "size" in data else "qty"))
    ident, side, venue_us = (
        trade_id(data.get("trade_id")),
        side_of(data, "side", SIDES),
        text_time_us(data, "timestamp"),
    )
    return [Parsed(scan.TRADE, name(data), venue_us=venue_us, last_id=ident, side=side, bids=[size])]


def liquidation(state: OkxMessages, message: Json, data: Json) -> list[Parsed]:
    """liquidation"""
    size, side = level(get(data, "price"), get(data, "size")), side_of(data, "type", LIQUIDATED)
    return [Parsed(scan.FORCE, name(data), venue_us=text_time_us(data, "created_at"), side=side, bids=[size])]


def mark(state: OkxMessages, message: Json, data: Json) -> list[Parsed]:
    """mark_price"""
    price = json_number(get(data, "mark_price"), "mark price")
    return mark_and_funding(name(data), text_time_us(data, "timestamp"), price)


def funding(state: OkxMessages, message: Json, data: Json) -> list[Parsed]:
    """funding_rate"""
    rate = json_number(get(data, "funding_rate"), "funding rate")
    return mark_and_funding(name(data), -1, None, rate, text_time_us(data, "funding_time"))


def ticker(state: OkxMessages, message: Json, data: Json) -> list[Parsed]:
    """ticker, and summary of options, which has a mark price too"""
    symbol, venue_us = name(data), text_time_us(data, "timestamp")
    price = data.get("mark_price")
    mark = None if price in (None, "", INFINITE) else json_number(price, "mark price")
    bid, ask = (quoted(data.get(f"best_{side}"), data.get(f"best_{side}_size")) for side in ("bid", "ask"))
    return [*mark_and_funding(symbol, venue_us, mark), *state.ticker_quote(symbol, venue_us, bid, ask)]


READERS = {
    "depth": book,
    "depth_l2_tbt": book,
    "trade": trade,
    "liquidation": liquidation,
    "mark_price": mark,
    "funding_rate": funding,
    "ticker": ticker,
    "summary": ticker,
}
