"""Deribit API v2: what each JSON-RPC message says.

* `book.*`: a full book, or a change that names its predecessor (`prev_change_id`).  Full is what says so, what names no
  predecessor (recordings of 2019, grouped books) and what names 0: the first change of a new instrument.
* `trades.*`: `trade_seq`, which is consecutive, is the id.  A print with `liquidation` is a liquidation besides: of the
  taker (T), of the maker on the other side (M), or one each (MT).  Block trades are negotiated off the book.
* `ticker.*`: touch and mark price.  A side without orders has price 0 or null.  Funding accrues every millisecond, so
  there is no settlement that an event could announce: the rate is counted and left out.
* `quote.*`: the touch.

Amounts of inverse perpetuals and futures are USD, of all others coins.  Combinations (spreads, straddles) may have
negative prices: they are counted and left out.  Numbers are JSON numbers; see `parsed.json_number`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from adapters.decoders.parsed import (
    Json,
    Level,
    Parsed,
    get,
    json_amount,
    level,
    mark_and_funding,
    other,
    quote,
    quoted,
    record,
    records,
    side_of,
    symbol_of,
    time_us,
    whole,
)
from adapters.venue import Messages, Terms
from replay.errors import DataError
from replay.events import BUY, SELL
from replay.instruments import Instrument
from replay.kernel import scan

SINGLE = re.compile(r"[A-Z0-9]+(_[A-Z0-9]+)?(-PERPETUAL|-\d{1,2}[A-Z]{3}\d{2}(-\d+(d\d+)?-[CP])?)?", re.ASCII)
"""Perpetual, future, option or spot pair; everything else is a combination of them."""
COMBINATION = "combination of contracts, left out"
SIDES = {"buy": BUY, "sell": SELL}
ACTIONS = ("new", "change", "delete")
FORCED = {"T": (1,), "M": (-1,), "MT": (1, -1)}
"""Sides of the forced orders, as factors of the taker's."""


class DeribitMessages(Messages):
    """Messages of one recording or connection, in order.

    Of several book channels of an instrument only one is read, because their chains are numbered apart and a grouped
    book is another book: the one that ends in `book` ("raw", "none.20.100ms"), else the first that comes.
    """

    def __init__(self, book: str = "") -> None:
        super().__init__()
        self.chosen = book

    def read(self, message: Any, received_ns: int) -> list[Parsed]:
        """What a message says; DataError (without a place) when it is broken."""
        if not isinstance(message, dict):
            return [other(type(message).__name__)]
        if message.get("replay") == "instruments":
            self.stated.update(instruments(record(message, "answer")))
            return []
        if message.get("method") != "subscription":
            return [other(str(message.get("method", "answer to a request"))[:40])]
        params = record(message, "params")
        channel = get(params, "channel")
        if not isinstance(channel, str):
            raise DataError(f"field 'channel' is {channel!r}, not a name")
        kind = channel.partition(".")[0]
        if kind == "trades":
            return [parsed for trade in records(params, "data") for parsed in _trade(trade)]
        if kind not in ("book", "ticker", "quote"):
            return [other(f"channel {kind[:40]}")]
        data = record(params, "data")
        symbol = _symbol(data)
        if not symbol:
            return [other(COMBINATION)]
        if kind == "book":
            stream = channel.split(".", 2)[-1]
            if not self.only("book", symbol, stream, self.chosen):
                return [other(f"book {stream[:20]} beside {self.streams['book', symbol]}", symbol)]
            return [_book(data, symbol)]
        return _ticker(data, symbol)

    def answer(self, url: str, body: bytes) -> bytes | None:
        """The list of instruments as a message."""
        return b'{"replay":"instruments","answer":%s}' % body if "/public/get_instruments" in url else None


def instruments(answer: Json) -> dict[str, Instrument]:
    """What an answer of `public/get_instruments` says; DataError when it is broken.

    Of an option's strike and expiry nothing is said here: they need an underlying, which the caller names.
    """
    found = {}
    for data in records(answer, "result"):
        symbol = _symbol(data)
        if symbol:
            tick, *sizes = (_step(data, key) for key in ("tick_size", "contract_size", "min_trade_amount"))
            pays = terms(symbol)
            found[symbol] = Instrument("deribit", symbol, pays.payoff, tick, min(sizes), settle=pays.settle)
    return found


def _step(data: Json, key: str) -> Decimal:
    mantissa, digits = json_amount(get(data, key), key)
    if mantissa == 0:
        raise DataError(f"field {key!r} is {data[key]!r}, not a step of prices or sizes")
    return Decimal(mantissa).scaleb(-digits)


def terms(symbol: str) -> Terms:
    """What an instrument pays, by its name."""
    pair, dated, rest = symbol.partition("-")
    coin, _, money = pair.partition("_")
    if not dated:
        return Terms("spot", money or coin)
    if money or rest.endswith(("-C", "-P")):
        return Terms("linear", money or coin)
    return Terms("inverse", coin)


def _symbol(data: Json) -> str:
    """The instrument, "" for a combination."""
    name = get(data, "instrument_name")
    return "" if isinstance(name, str) and not SINGLE.fullmatch(name) else symbol_of(data, "instrument_name")


def _book(data: Json, symbol: str) -> Parsed:
    previous = whole(data, "prev_change_id") if data.get("prev_change_id") is not None else 0
    full = data.get("type") == "snapshot" or previous == 0
    last_id = whole(data, "change_id")
    return Parsed(
        scan.RESET if full else scan.DEPTH,
        symbol,
        venue_us=time_us(data, "timestamp"),
        first_id=last_id,
        last_id=last_id,
        prev_id=-1 if full else previous,
        bids=_levels(data, "bids"),
        asks=_levels(data, "asks"),
    )


def _levels(data: Json, key: str) -> list[Level]:
    """[action, price, amount] or, in grouped books, [price, amount]."""
    rows = get(data, key)
    if not isinstance(rows, list):
        raise DataError(f"field {key!r} is not a list of price levels")
    out = []
    for row in rows:
        if not isinstance(row, list) or len(row) not in (2, 3) or (len(row) == 3 and row[0] not in ACTIONS):
            raise DataError(f"field {key!r} holds {row!r}, not an action, a price and an amount")
        out.append(level(row[-2], 0 if row[0] == "delete" else row[-1]))
    return out


def _trade(data: Json) -> list[Parsed]:
    symbol = _symbol(data)
    if not symbol:
        return [other(COMBINATION)]
    side = side_of(data, "direction", SIDES)
    at_us, price = time_us(data, "timestamp"), [level(get(data, "price"), get(data, "amount"))]
    kind = scan.TRADE if data.get("block_trade_id") is None else scan.OFF_BOOK
    out = [Parsed(kind, symbol, venue_us=at_us, last_id=whole(data, "trade_seq"), side=side, bids=price)]
    forced = data.get("liquidation")
    if forced is not None:
        if not isinstance(forced, str) or forced not in FORCED:
            raise DataError(f"field 'liquidation' is {forced!r}, neither 'T' nor 'M' nor 'MT'")
        out += [Parsed(scan.FORCE, symbol, venue_us=at_us, side=side * factor, bids=price) for factor in FORCED[forced]]
    return out


def _ticker(data: Json, symbol: str) -> list[Parsed]:
    """A ticker or a quote."""
    at_us = time_us(data, "timestamp")
    bid, ask = (quoted(data.get(f"best_{side}_price"), data.get(f"best_{side}_amount")) for side in ("bid", "ask"))
    mark = json_amount(data["mark_price"], "mark price") if data.get("mark_price") else None
    found = [quote(symbol, at_us, bid, ask), *mark_and_funding(symbol, at_us, mark)]
    if data.get("current_funding") is not None:
        found.append(other("funding rate that accrues continuously, left out", symbol))
    return found
