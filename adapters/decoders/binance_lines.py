"""One Binance message, read slowly and exactly: the judge of every line that the fast scanner refuses.

A line is `<local ns> <json>` (see `adapters.decoders.parsed`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from adapters.decoders.parsed import Parsed, amount, get, levels, number, split_line, symbol_of, time_us, whole
from replay.errors import DataError
from replay.kernel import gaps, scan

SNAPSHOT_STREAM = "@depthSnapshot"


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


def wrong_market(what: str, market: Market, right: Market) -> DataError:
    """The error of a recording that belongs to another adapter."""
    return DataError(f"{what}: this is not a {market.name} recording", hint=f"read it with the adapter {right.name!r}")


def read_line(line: bytes, market: Market) -> Parsed:
    """The message on a line (without its newline); DataError when it is broken or belongs to another market."""
    local_ns, message = split_line(line)
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
    if isinstance(event, str) and event in READERS:
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


def _snapshot(data: dict[str, Any], stream: object, market: Market) -> Parsed:
    symbol = symbol_of(data, "symbol") if "symbol" in data else ""
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
        venue_us = time_us(data, "T")
    return Parsed(
        scan.SNAPSHOT,
        symbol,
        venue_us=venue_us,
        last_id=whole(data, "lastUpdateId"),
        bids=levels(data, "bids", amount),
        asks=levels(data, "asks", amount),
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
        symbol_of(data),
        venue_us=time_us(data, "T" if market.futures else "E"),
        first_id=whole(data, "U"),
        last_id=whole(data, "u"),
        prev_id=whole(data, "pu") if market.futures else -1,
        bids=levels(data, "b", amount),
        asks=levels(data, "a", amount),
    )


def _ticker(data: dict[str, Any], market: Market) -> Parsed:
    timed = "T" in data or "E" in data
    if timed and not market.futures:
        raise wrong_market("a bookTicker with times is of futures", market, coin_or_usd(_plain_symbol(data), data))
    return Parsed(
        scan.TICKER,
        symbol_of(data),
        venue_us=time_us(data, "T") if market.futures else -1,
        last_id=whole(data, "u"),
        bids=[(*amount(get(data, "b"), "price"), *amount(get(data, "B"), "size"))],
        asks=[(*amount(get(data, "a"), "price"), *amount(get(data, "A"), "size"))],
    )


def _print(data: dict[str, Any], market: Market, kind: int, id_key: str) -> Parsed:
    if "M" in data and market.futures:
        raise wrong_market("a trade with 'M' is spot", market, SPOT)
    if "X" in data and not market.futures:
        raise wrong_market("a trade with 'X' is of futures", market, coin_or_usd(_plain_symbol(data), data))
    maker = get(data, "m")
    if not isinstance(maker, bool):
        raise DataError(f"field 'm' is {maker!r}, neither true nor false")
    level = (*amount(get(data, "p"), "price"), *amount(get(data, "q"), "size"))
    off_book = data.get("X", "MARKET") != "MARKET" or level[0] == 0 or level[2] == 0
    return Parsed(
        scan.OFF_BOOK if off_book else kind,
        symbol_of(data),
        venue_us=time_us(data, "T"),
        last_id=whole(data, id_key),
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
    next_us = time_us(data, "T") if data.get("r") else 0
    return Parsed(
        scan.MARK,
        symbol_of(data),
        venue_us=time_us(data, "E"),
        extra=next_us,
        bids=[(*amount(get(data, "p"), "price"), *number(rate, "funding rate"))],
    )


def _force(data: dict[str, Any], market: Market) -> Parsed:
    order = get(data, "o")
    if not isinstance(order, dict):
        raise DataError("forceOrder has no order 'o'")
    symbol = symbol_of(order)
    if not market.futures:
        raise wrong_market("a forceOrder is of futures", market, coin_or_usd(symbol, order))
    if get(order, "X") != "FILLED":
        return Parsed(scan.OTHER, symbol, name="forceOrder not filled")
    side = get(order, "S")
    if side not in ("BUY", "SELL"):
        raise DataError(f"forceOrder has side {side!r}")
    return Parsed(
        scan.FORCE,
        symbol,
        venue_us=time_us(order, "T"),
        side=1 if side == "BUY" else -1,
        bids=[(*amount(get(order, "p"), "price"), *amount(get(order, "z"), "size"))],
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
