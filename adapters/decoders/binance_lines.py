"""One Binance message, read slowly and exactly: the judge of every line that the fast scanner refuses.

A line is `<local ns> <json>`.  The result has the fields of `replay.kernel.scan.MESSAGE`, with the symbol by name and
numbers as (mantissa, digits) without trailing zero decimals.  What cannot be right is a DataError without a place;
the caller knows file and line.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from replay.errors import DataError
from replay.kernel import gaps, lexer, scan

MAX_ID = 2**62
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
SNAPSHOT_STREAM = "@depthSnapshot"

Number = tuple[int, int]
Level = tuple[int, int, int, int]
"""price mantissa, price digits, size mantissa, size digits"""


@dataclass(frozen=True, slots=True)
class Market:
    """One of Binance's markets: `name` is the adapter's, `hosts` its servers."""

    name: str
    futures: bool
    payoff: str
    rule: int
    hosts: tuple[str, ...]


SPOT = Market("binance-spot", False, "spot", gaps.BINANCE_SPOT, ("api.binance.com", "stream.binance.com"))
USDM = Market("binance-usdm", True, "linear", gaps.BINANCE_FUTURES, ("fapi.binance.com", "fstream.binance.com"))
COINM = Market("binance-coinm", True, "inverse", gaps.BINANCE_FUTURES, ("dapi.binance.com", "dstream.binance.com"))
MARKETS = (SPOT, USDM, COINM)


@dataclass(slots=True)
class Parsed:
    """A message; `name` says what it was when `kind` is OTHER."""

    kind: int
    symbol: str = ""
    local_ns: int = 0
    venue_us: int = -1
    first_id: int = -1
    last_id: int = -1
    prev_id: int = -1
    extra: int = 0
    side: int = 0
    name: str = ""
    bids: list[Level] = field(default_factory=list)
    asks: list[Level] = field(default_factory=list)


def wrong_market(what: str, market: Market, right: Market) -> DataError:
    """The error of a recording that belongs to another adapter."""
    return DataError(f"{what}: this is not a {market.name} recording", hint=f"read it with the adapter {right.name!r}")


def read_line(line: bytes, market: Market) -> Parsed:
    """The message on a line (without its newline); DataError when it is broken or belongs to another market."""
    prefix, _, text = line.partition(b" ")
    if not (prefix.isdigit() and len(prefix) < 20):
        if prefix.startswith(codecs.BOM_UTF8):
            raise DataError("it begins with a byte order mark", hint="save it as UTF-8 without one: tail -c +4 FILE")
        raise DataError("no local time in front of the message", hint="lines are `<local ns> <json>`")
    local_ns = int(prefix)
    if not scan.NS_FLOOR <= local_ns < 4 * lexer.MAX_MANTISSA:
        raise DataError(f"local time {local_ns} is not in nanoseconds since 1970")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DataError(f"broken JSON ({error})") from None
    parsed = read_message(message, market)
    parsed.local_ns = local_ns
    return parsed


def read_message(message: Any, market: Market) -> Parsed:
    """The meaning of decoded JSON."""
    if not isinstance(message, dict):
        return Parsed(scan.OTHER, name=type(message).__name__)
    stream = message.get("stream", "")
    wrapped = isinstance(message.get("data"), dict)
    data = message["data"] if wrapped else message
    if "lastUpdateId" in data:
        return _snapshot(data, stream if wrapped else None, market)
    event = data.get("e")
    if event is None and all(key in data for key in ("u", "b", "B", "a", "A")):
        if market.futures:
            raise wrong_market("a bookTicker without event type is spot", market, SPOT)
        return _ticker(data, market)
    if event in READERS:
        parsed = READERS[event](data, market)
        if parsed.kind != scan.OTHER or parsed.symbol:
            return parsed
    return Parsed(scan.OTHER, symbol=_plain_symbol(data), name=_name(message, event, stream))


def _name(message: dict[str, Any], event: object, stream: object) -> str:
    if isinstance(event, str):
        return event
    if isinstance(stream, str) and stream:
        return stream.partition("@")[2] or stream
    if "result" in message or "id" in message:
        return "answer to a request"
    return "unknown message"


def _plain_symbol(data: dict[str, Any]) -> str:
    symbol = data.get("s")
    return symbol if isinstance(symbol, str) else ""


def _get(data: dict[str, Any], key: str) -> Any:
    if key not in data:
        raise DataError(f"{data.get('e', 'the message')} has no field {key!r}")
    return data[key]


def _symbol(data: dict[str, Any], key: str = "s") -> str:
    symbol = _get(data, key)
    if not isinstance(symbol, str) or not 0 < len(symbol) <= 40 or not symbol.isascii():
        raise DataError(f"symbol {symbol!r} is not a name")
    return symbol


def _int(data: dict[str, Any], key: str) -> int:
    value = _get(data, key)
    if type(value) is not int or not 0 <= value < MAX_ID:
        raise DataError(f"field {key!r} is {value!r}, not a whole number below 2^62")
    return value


def _time_us(data: dict[str, Any], key: str) -> int:
    value = _int(data, key)
    return value if value >= lexer.US_FLOOR else value * 1000


def number(value: object, what: str) -> Number:
    """(mantissa, digits) of a decimal string or whole number; DataError when it is neither or has too many digits."""
    if type(value) is int:
        value = str(value)
    if not isinstance(value, str) or not NUMBER.fullmatch(value):
        raise DataError(f"{what} {value!r} is not a decimal string")
    sign, digits, exponent = Decimal(value).as_tuple()
    mantissa = int("".join(map(str, digits)))
    assert isinstance(exponent, int)
    while exponent < 0 and mantissa % 10 == 0:
        mantissa //= 10
        exponent += 1
        if mantissa == 0:
            exponent = 0
    if exponent > 0:
        mantissa *= 10 ** min(exponent, 40)
    if mantissa >= lexer.MAX_MANTISSA or exponent < -18:
        raise DataError(f"{what} {value!r} has more than 18 digits")
    return (-mantissa if sign else mantissa), max(0, -exponent)


def _amount(value: object, what: str) -> Number:
    found = number(value, what)
    if found[0] < 0:
        raise DataError(f"{what} {value!r} is negative")
    return found


def _levels(data: dict[str, Any], key: str) -> list[Level]:
    rows = _get(data, key)
    if not isinstance(rows, list):
        raise DataError(f"field {key!r} is not a list of price levels")
    out = []
    for row in rows:
        if not isinstance(row, list) or len(row) < 2:
            raise DataError(f"field {key!r} holds {row!r}, not a price and a size")
        out.append((*_amount(row[0], "price"), *_amount(row[1], "size")))
    return out


def _snapshot(data: dict[str, Any], stream: object, market: Market) -> Parsed:
    symbol = _symbol(data, "symbol") if "symbol" in data else ""
    if stream is not None:
        if not isinstance(stream, str) or not stream.endswith(SNAPSHOT_STREAM):
            return Parsed(scan.OTHER, name=f"partial depth {stream}")
        symbol = symbol or stream.removesuffix(SNAPSHOT_STREAM).upper()
        if not symbol:
            raise DataError("a depth snapshot names no symbol")
    venue_us = -1
    if "T" in data or "E" in data:
        if not market.futures:
            raise wrong_market("a depth snapshot with times is of futures", market, coin_or_usd(symbol, data))
        venue_us = _time_us(data, "T")
    return Parsed(
        scan.SNAPSHOT,
        symbol,
        venue_us=venue_us,
        last_id=_int(data, "lastUpdateId"),
        bids=_levels(data, "bids"),
        asks=_levels(data, "asks"),
    )


def _depth(data: dict[str, Any], market: Market) -> Parsed:
    if "pu" in data and not market.futures:
        right = coin_or_usd(_plain_symbol(data), data)
        raise wrong_market("a depthUpdate with 'pu' is of futures", market, right)
    if "pu" not in data and market.futures:
        if "T" in data:
            raise DataError("depthUpdate has no field 'pu'")
        raise wrong_market("a depthUpdate without 'pu' is spot", market, SPOT)
    return Parsed(
        scan.DEPTH,
        _symbol(data),
        venue_us=_time_us(data, "T" if market.futures else "E"),
        first_id=_int(data, "U"),
        last_id=_int(data, "u"),
        prev_id=_int(data, "pu") if market.futures else -1,
        bids=_levels(data, "b"),
        asks=_levels(data, "a"),
    )


def _ticker(data: dict[str, Any], market: Market) -> Parsed:
    timed = "T" in data or "E" in data
    if timed and not market.futures:
        raise wrong_market("a bookTicker with times is of futures", market, coin_or_usd(_plain_symbol(data), data))
    return Parsed(
        scan.TICKER,
        _symbol(data),
        venue_us=_time_us(data, "T") if market.futures else -1,
        last_id=_int(data, "u"),
        bids=[(*_amount(_get(data, "b"), "price"), *_amount(_get(data, "B"), "size"))],
        asks=[(*_amount(_get(data, "a"), "price"), *_amount(_get(data, "A"), "size"))],
    )


def _print(data: dict[str, Any], market: Market, kind: int, id_key: str) -> Parsed:
    if "M" in data and market.futures:
        raise wrong_market("a trade with 'M' is spot", market, SPOT)
    if "X" in data and not market.futures:
        raise wrong_market("a trade with 'X' is of futures", market, coin_or_usd(_plain_symbol(data), data))
    maker = _get(data, "m")
    if not isinstance(maker, bool):
        raise DataError(f"field 'm' is {maker!r}, neither true nor false")
    level = (*_amount(_get(data, "p"), "price"), *_amount(_get(data, "q"), "size"))
    off_book = data.get("X", "MARKET") != "MARKET" or level[0] == 0 or level[2] == 0
    return Parsed(
        scan.OFF_BOOK if off_book else kind,
        _symbol(data),
        venue_us=_time_us(data, "T"),
        last_id=_int(data, id_key),
        side=-1 if maker else 1,
        bids=[level],
    )


def _trade(data: dict[str, Any], market: Market) -> Parsed:
    return _print(data, market, scan.TRADE, "t")


def _agg_trade(data: dict[str, Any], market: Market) -> Parsed:
    return _print(data, market, scan.AGG_TRADE, "a" if "a" in data else "l")


def _mark(data: dict[str, Any], market: Market) -> Parsed:
    if not market.futures:
        raise wrong_market("a markPriceUpdate is of futures", market, coin_or_usd(_plain_symbol(data), data))
    rate = data.get("r") or "0"
    next_us = _time_us(data, "T") if data.get("r") else 0
    return Parsed(
        scan.MARK,
        _symbol(data),
        venue_us=_time_us(data, "E"),
        extra=next_us,
        bids=[(*_amount(_get(data, "p"), "price"), *number(rate, "funding rate"))],
    )


def _force(data: dict[str, Any], market: Market) -> Parsed:
    order = _get(data, "o")
    if not isinstance(order, dict):
        raise DataError("forceOrder has no order 'o'")
    symbol = _symbol(order)
    if not market.futures:
        raise wrong_market("a forceOrder is of futures", market, coin_or_usd(symbol, order))
    if _get(order, "X") != "FILLED":
        return Parsed(scan.OTHER, symbol, name="forceOrder not filled")
    side = _get(order, "S")
    if side not in ("BUY", "SELL"):
        raise DataError(f"forceOrder has side {side!r}")
    return Parsed(
        scan.FORCE,
        symbol,
        venue_us=_time_us(order, "T"),
        side=1 if side == "BUY" else -1,
        bids=[(*_amount(_get(order, "p"), "price"), *_amount(_get(order, "z"), "size"))],
    )


def _timed_ticker(data: dict[str, Any], market: Market) -> Parsed:
    if not market.futures:
        raise wrong_market("a bookTicker with event type is of futures", market,
                           coin_or_usd(_plain_symbol(data), data))  # fmt: skip
    return _ticker(data, market)


READERS = {
    "depthUpdate": _depth,
    "trade": _trade,
    "aggTrade": _agg_trade,
    "bookTicker": _timed_ticker,
    "markPriceUpdate": _mark,
    "forceOrder": _force,
}

COIN_SYMBOL = re.compile(r"[A-Z0-9]+USD_(PERP|\d{6})")
BUSD_DATED = re.compile(r"[A-Z0-9]+BUSD_\d{6}")


def coin_margined(symbol: str) -> bool | None:
    """Whether a futures symbol is of COIN-M; None when its name leaves it open (BNBUSD_210625, BTCBUSD_210129)."""
    if BUSD_DATED.fullmatch(symbol):
        return None
    return bool(COIN_SYMBOL.fullmatch(symbol))


def coin_or_usd(symbol: str, data: dict[str, Any]) -> Market:
    """Which futures market a message is of."""
    coin = coin_margined(symbol)
    return COINM if coin or (coin is None and "ps" in data) else USDM


def check_symbol(symbol: str, market: Market) -> None:
    """DataError when `symbol` belongs to another market than `market`."""
    coin = coin_margined(symbol)
    if coin and market is not COINM:
        raise wrong_market(f"{symbol} is a COIN-M contract", market, COINM)
    if market is COINM and coin is False:
        raise wrong_market(f"{symbol} is not a COIN-M contract", market, USDM)
