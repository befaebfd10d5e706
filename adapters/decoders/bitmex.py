"""BitMEX: what each message of its tables says.

* `orderBookL2`: levels by id.  `partial` is a full book and `insert` names the price; `update` and `delete` name only
  the id, so the price of each id is kept.  There are no sequence numbers: a change of an id that is not there is the
  only sign of a lost message, and makes the book invalid until the next `partial`.
* `quote`, `trade`: what is inserted; the `partial` of either is from before the subscription.
* `liquidation`: an order that takes a position over, `side` is that of the order.
* `instrument`: mark price, funding rate and its next time; an update names only what has changed.  The fields of a full
  record are the terms of the instrument: see `terms_of`.

Indices (`.BXBT`) are counted and left out.  Numbers are JSON numbers; see `parsed.json_number`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from adapters.decoders.parsed import (
    NOTHING,
    Json,
    Level,
    Number,
    Parsed,
    event_time_us,
    get,
    json_amount,
    json_number,
    level,
    other,
    records,
    side_of,
    step_of,
    symbol_of,
    whole,
)
from adapters.venue import Messages
from replay.errors import DataError
from replay.events import BUY, SELL
from replay.instruments import Instrument, Payoff
from replay.kernel import scan

SIDES = {"Buy": BUY, "Sell": SELL}
BOOK_TABLES = ("orderBookL2", "orderBookL2_25")
ACTIONS = ("partial", "insert", "update", "delete")
MONEY = {"XBt": ("BTC", 8), "USDt": ("USDT", 6)}
"""Currencies of settlement: what people call them, and the digits of their smallest unit."""
TERMS = ("tickSize", "lotSize", "multiplier", "isInverse", "settlCurrency")
TICKER = ("markPrice", "fundingRate", "fundingTimestamp")


Prices = dict[int, Number | None]


class Bitmex(Messages):
    """Messages of one recording or connection, in order.

    `prices[symbol][id]` is the price of a level; `latest[symbol]` mark price, funding rate and the µs at which it is
    paid next (0: never).
    """

    def __init__(self) -> None:
        super().__init__()
        self.prices: dict[str, dict[int, Number]] = {}
        self.latest: dict[str, tuple[Number, Number, int]] = {}

    def answer(self, url: str, body: bytes) -> bytes | None:
        """The list of instruments."""
        if "/instrument" not in urlsplit(url).path:
            return None
        return b'{"table":"instrument","action":"listed","data":%s}' % body

    def read(self, message: Any, received_ns: int) -> list[Parsed]:
        """What a message says; DataError (without a place) when it is broken."""
        if not isinstance(message, dict):
            return [other(type(message).__name__)]
        if "table" not in message:
            return [other("answer to a request")]
        table, action = message["table"], get(message, "action")
        if action == "listed":
            for row in records(message, "data"):
                self._state(row)
            return []
        if not isinstance(table, str):
            raise DataError(f"field 'table' is {table!r}, not a name")
        if action not in ACTIONS:
            raise DataError(f"field 'action' is {action!r}, not one of {', '.join(ACTIONS)}")
        if table in BOOK_TABLES:
            return self._book(message, action)
        if table == "instrument" and action in ("partial", "insert", "update"):
            return [self._instrument(row) for row in records(message, "data")]
        if table in READERS and action == "insert":
            return [READERS[table](row) for row in records(message, "data")]
        return [other(f"{table[:40]} {action}")]

    def _book(self, message: Json, action: str) -> list[Parsed]:
        rows: dict[str, list[Json]] = {}
        about = message.get("filter")
        if action == "partial" and isinstance(about, dict) and "symbol" in about:
            rows[symbol_of(about, "symbol")] = []
        for row in records(message, "data"):
            rows.setdefault(symbol_of(row, "symbol"), []).append(row)
        staged = [self._levels(symbol, of_one, action) for symbol, of_one in rows.items()]
        for parsed, prices in staged:  # now that the whole message has been read
            if parsed.kind == scan.LOST:
                del self.prices[parsed.symbol]
            else:
                self._keep(parsed, prices)
        return [parsed for parsed, _ in staged]

    def _levels(self, symbol: str, rows: list[Json], action: str) -> tuple[Parsed, Prices]:
        """The changes of one book, and the prices of their ids (None: deleted)."""
        full = action == "partial"
        if not full and symbol not in self.prices:
            return other("change of a book before its partial", symbol), {}
        known = self.prices.get(symbol, {})
        found: Prices = {}
        out = Parsed(scan.RESET if full else scan.DEPTH, symbol, venue_us=_latest_us(rows))
        for row in rows:
            ident, side = whole(row, "id"), side_of(row, "side", SIDES)
            named = action in ("partial", "insert")
            price = json_amount(get(row, "price"), "price") if named else found.get(ident, known.get(ident))
            if price is None:
                return Parsed(scan.LOST, symbol, venue_us=out.venue_us), {}
            size = (0, 0) if action == "delete" else json_amount(get(row, "size"), "size")
            found[ident] = None if action == "delete" else price
            (out.bids if side == BUY else out.asks).append((*price, *size))
        return out, found

    def _keep(self, parsed: Parsed, prices: Prices) -> None:
        if parsed.kind == scan.RESET:
            self.prices[parsed.symbol] = {}
        for ident, price in prices.items():
            if price is None:
                self.prices[parsed.symbol].pop(ident, None)
            else:
                self.prices[parsed.symbol][ident] = price

    def _instrument(self, row: Json) -> Parsed:
        symbol = symbol_of(row, "symbol")
        if symbol.startswith("."):
            return other("index", symbol)
        self._state(row)
        mark, rate, next_us = self.latest.get(symbol, ((0, 0), (0, 0), 0))
        if all(row.get(name) is None for name in TICKER):
            return other("instrument without mark price and funding", symbol)
        if row.get("markPrice") is not None:
            mark = json_amount(row["markPrice"], "mark price")
        if row.get("fundingRate") is not None:
            rate = json_number(row["fundingRate"], "funding rate")
        if row.get("fundingTimestamp") is not None:
            next_us = event_time_us(row, "fundingTimestamp")
        venue_us = event_time_us(row, "timestamp") if "timestamp" in row else -1
        self.latest[symbol] = mark, rate, next_us
        kind = scan.MARK if mark[0] else scan.FUND
        return Parsed(kind, symbol, venue_us=venue_us, extra=next_us, bids=[(*mark, *rate)])

    def _state(self, row: Json) -> None:
        """Keep the terms in a full record."""
        if all(row.get(name) is not None for name in TERMS):
            instrument = terms_of(row)
            if instrument is not None:
                self.stated[instrument.symbol] = instrument


def terms_of(row: Json) -> Instrument | None:
    """The instrument in a full record of the table `instrument`; None where the currency of settlement is unknown.

    A contract pays `multiplier` smallest units of that currency for each unit of its price or, where it is inverse, of
    one over its price.  So quanto contracts, which pay BTC for the price of another coin, are linear, too.
    """
    symbol, money = symbol_of(row, "symbol"), row["settlCurrency"]
    if not isinstance(money, str) or money not in MONEY:
        return None
    settle, digits = MONEY[money]
    mantissa, places = json_number(row["multiplier"], "multiplier")
    payoff: Payoff = "inverse" if row["isInverse"] is True else "linear"
    worth = Decimal(abs(mantissa)).scaleb(-places - digits).normalize()
    return Instrument("bitmex", symbol, payoff, step_of(row, "tickSize"), step_of(row, "lotSize"), worth, settle)


def _latest_us(rows: list[Json]) -> int:
    """The latest time in `rows`; recordings before 2022 have none."""
    return max((event_time_us(row, "timestamp") for row in rows if "timestamp" in row), default=-1)


def _quote(row: Json) -> Parsed:
    bid, ask = _touch(row, "bid"), _touch(row, "ask")
    return Parsed(
        scan.TICKER, symbol_of(row, "symbol"), venue_us=event_time_us(row, "timestamp"), bids=[bid], asks=[ask]
    )  # fmt: skip


def _touch(row: Json, side: str) -> Level:
    price, size = row.get(f"{side}Price"), row.get(f"{side}Size")
    return level(price, size) if price and size else NOTHING


def _trade(row: Json) -> Parsed:
    symbol = symbol_of(row, "symbol")
    if symbol.startswith("."):
        return other("index", symbol)
    return Parsed(
        scan.TRADE if row.get("trdType", "Regular") == "Regular" else scan.OFF_BOOK,
        symbol,
        venue_us=event_time_us(row, "timestamp"),
        side=side_of(row, "side", SIDES),
        bids=[level(get(row, "price"), get(row, "size"))],
    )


def _liquidation(row: Json) -> Parsed:
    side, size = side_of(row, "side", SIDES), get(row, "leavesQty")
    return Parsed(scan.FORCE, symbol_of(row, "symbol"), side=side, bids=[level(get(row, "price"), size)])


READERS = {"quote": _quote, "trade": _trade, "liquidation": _liquidation}
