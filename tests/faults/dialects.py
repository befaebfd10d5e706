"""How seven venues speak: their side of the protocols, for the local server.

A dialect spells a change for a topic that a client has subscribed to, answers the client's frames and REST requests,
and knows which book it must send when a topic is subscribed.  Facts: the venues' public documentation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from replay.instruments import Instrument, Payoff
from tests.faults.market import Change, Delta, Liquidation, Mark, Market, Print, Touch

Json = dict[str, Any]


@dataclass
class Client:
    """What the venue knows of one connection."""

    path: str
    topics: list[str] = field(default_factory=list)
    heartbeats: int = 0
    sent: dict[str, int] = field(default_factory=dict)


def text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


class Dialect:
    """One venue; `tick` and `lot` are the steps of prices and sizes."""

    name = ""
    symbols: tuple[str, ...] = ()
    stride = 1
    tick, lot = Decimal("0.1"), Decimal("0.001")
    payoff: Payoff = "linear"
    settle = "USDT"
    has_gaps = True
    fetches_snapshots = False
    carries: tuple[type, ...] = (Delta, Print, Touch, Mark, Liquidation)

    def __init__(self, seed: int) -> None:
        self.market = Market(self.symbols, seed, self.stride)

    @property
    def instruments(self) -> list[Instrument]:
        """What is traded."""
        terms = self.payoff, self.tick, self.lot, Decimal(1), self.settle
        return [Instrument(self.name, symbol, *terms) for symbol in self.symbols]

    def price(self, ticks: int) -> str:
        return str(ticks * self.tick)

    def size(self, lots: int) -> str:
        return str(lots * self.lot)

    def pairs(self, levels: Any) -> list[list[str]]:
        return [[self.price(ticks), self.size(lots)] for ticks, lots in levels]

    def on_topic(self, change: Change, topic: str, client: Client) -> bool:
        """Whether `client` gets the change by `topic`."""
        raise NotImplementedError

    def spell(self, change: Change, topic: str) -> str:
        """The message."""
        raise NotImplementedError

    def opened(self, client: Client, query: Mapping[str, str]) -> None:
        """A client has connected."""

    def heard(self, client: Client, frame: str) -> list[str]:
        """Answers to a client's frame; keeps its topics."""
        raise NotImplementedError

    def snapshot(self, client: Client, topic: str) -> str | None:
        """What a new subscriber of a topic gets first."""
        return None

    def rest(self, path: str, query: Mapping[str, str]) -> Json | None:
        """Answer to a GET, None for a path that does not exist."""
        return None

    def is_book(self, topic: str) -> bool:
        """Whether a topic carries the book."""
        raise NotImplementedError

    def books_wanted(self, clients: list[Client]) -> bool:
        """Whether somebody listens to the book of every symbol."""
        topics = {topic for client in clients for topic in client.topics if self.is_book(topic)}
        return all(any(symbol.lower() in topic.lower() for topic in topics) for symbol in self.symbols)


class Binance(Dialect):
    """Spot; the futures differ in times, `pu` and paths."""

    name, symbols = "binance-spot", ("BTCUSDT", "ETHUSDT")
    futures, prefix, pair, payoff = False, "/api/v3", False, "spot"
    fetches_snapshots = True
    carries = (Delta, Print, Touch)

    def on_topic(self, change: Change, topic: str, client: Client) -> bool:
        kind = {Delta: "depth", Print: "trade", Touch: "bookTicker", Mark: "markPrice", Liquidation: "forceOrder"}
        return topic.split("@")[:2] == [change.symbol.lower(), kind[type(change)]]

    def is_book(self, topic: str) -> bool:
        return "@depth" in topic

    def spell(self, change: Change, topic: str) -> str:
        data: Json = {"E": change.time_ms, "s": change.symbol}
        if self.futures:
            data["T"] = change.time_ms
        if self.pair:
            data["ps"] = change.symbol.partition("_")[0]
        if isinstance(change, Delta):
            data |= {"e": "depthUpdate", "U": change.first_id, "u": change.last_id}
            data |= {"b": self.pairs(change.bids), "a": self.pairs(change.asks)}
            if self.futures:
                data["pu"] = change.prev_id
        elif isinstance(change, Print):
            data |= {"e": "trade", "t": change.number, "p": self.price(change.ticks), "q": self.size(change.lots)}
            data |= {"T": change.time_ms, "m": not change.buy}
            data |= {"X": "MARKET"} if self.futures else {"M": True}
        elif isinstance(change, Touch):
            data |= {"u": change.last_id, "b": self.price(change.bid[0]), "B": self.size(change.bid[1])}
            data |= {"a": self.price(change.ask[0]), "A": self.size(change.ask[1])}
            if self.futures:
                data["e"] = "bookTicker"
            else:
                del data["E"]
        elif isinstance(change, Mark):
            data |= {"e": "markPriceUpdate", "p": self.price(change.ticks), "i": self.price(change.ticks)}
            data |= {"r": f"{change.rate / 1e8:.8f}", "T": change.next_ms}
        else:
            order = {"s": change.symbol, "S": "BUY" if change.buy else "SELL", "o": "LIMIT", "f": "IOC"}
            order |= {"q": self.size(change.lots), "p": self.price(change.ticks), "ap": self.price(change.ticks)}
            order |= {"X": "FILLED", "l": self.size(change.lots), "z": self.size(change.lots)}
            data = {"e": "forceOrder", "E": change.time_ms, "o": order | {"T": change.time_ms}}
        return text({"stream": topic, "data": data})

    def opened(self, client: Client, query: Mapping[str, str]) -> None:
        client.topics += [name for name in query.get("streams", "").split("/") if name]

    def heard(self, client: Client, frame: str) -> list[str]:
        asked = json.loads(frame)
        assert asked["method"] in ("SUBSCRIBE", "UNSUBSCRIBE"), frame
        for topic in asked["params"]:
            if asked["method"] == "SUBSCRIBE":
                client.topics.append(topic)
            else:
                client.topics.remove(topic)
        return [text({"result": None, "id": asked["id"]})]

    def rest(self, path: str, query: Mapping[str, str]) -> Json | None:
        if path != f"{self.prefix}/depth":
            return None
        book = self.market.books[query["symbol"].upper()]
        bids, asks = book.ordered()
        answer: Json = {"lastUpdateId": book.last_id}
        if self.futures:
            answer |= {"E": self.market.now_ms, "T": self.market.now_ms}
        if self.pair:
            answer |= {"symbol": query["symbol"], "pair": query["symbol"].partition("_")[0]}
        return answer | {"bids": self.pairs(bids), "asks": self.pairs(asks)}


class BinanceUsdm(Binance):
    """Paths matter: what is not routed carries only the public streams."""

    name, futures, prefix, stride, payoff = "binance-usdm", True, "/fapi/v1", 32, "linear"
    carries = Dialect.carries

    def on_topic(self, change: Change, topic: str, client: Client) -> bool:
        routed = client.path.startswith("/market/") == isinstance(change, Mark | Liquidation)
        return routed and super().on_topic(change, topic, client)


class BinanceCoinm(Binance):
    """Sizes are whole contracts."""

    name, symbols = "binance-coinm", ("BTCUSD_PERP", "ETHUSD_PERP")
    futures, prefix, pair, stride, lot = True, "/dapi/v1", True, 32, Decimal(1)
    payoff, settle = "inverse", "BTC"
    carries = Dialect.carries


class Bybit(Dialect):
    """v5 linear; book ids grow by one, any later snapshot replaces the book."""

    name, symbols = "bybit", ("BTCUSDT", "ETHUSDT")

    def on_topic(self, change: Change, topic: str, client: Client) -> bool:
        if isinstance(change, Delta):
            return self.is_book(topic) and topic.endswith(f".{change.symbol}")
        kind = {Touch: "orderbook.1", Print: "publicTrade", Mark: "tickers", Liquidation: "allLiquidation"}
        return topic == f"{kind[type(change)]}.{change.symbol}"

    def is_book(self, topic: str) -> bool:
        return topic.startswith("orderbook.") and not topic.startswith("orderbook.1.")

    def spell(self, change: Change, topic: str) -> str:
        if isinstance(change, Delta):
            data: Any = {"s": change.symbol, "b": self.pairs(change.bids), "a": self.pairs(change.asks)}
            data |= {"u": change.last_id, "seq": 7 * change.last_id}
            return text(
                {"topic": topic, "type": "delta", "ts": change.time_ms + 1, "data": data, "cts": change.time_ms}
            )
        if isinstance(change, Mark):
            data = {"symbol": change.symbol, "markPrice": self.price(change.ticks)}
            data |= {"fundingRate": f"{change.rate / 1e8:.8f}", "nextFundingTime": str(change.next_ms)}
            return text({"topic": topic, "type": "delta", "ts": change.time_ms, "cs": 1, "data": data})
        if isinstance(change, Touch):
            return self.full(topic, change.symbol, [change.bid], [change.ask])
        assert isinstance(change, Print | Liquidation)
        buy = change.buy if isinstance(change, Print) else not change.buy  # the side of the position
        row = {"T": change.time_ms, "s": change.symbol, "S": "Buy" if buy else "Sell"}
        row |= {"v": self.size(change.lots), "p": self.price(change.ticks)}
        if isinstance(change, Print):
            row |= {"L": "PlusTick", "i": f"id-{change.symbol}-{change.number}", "BT": False}
        return text({"topic": topic, "type": "snapshot", "ts": change.time_ms, "data": [row]})

    def snapshot(self, client: Client, topic: str) -> str | None:
        symbol = topic.rpartition(".")[2]
        if topic.startswith("tickers."):
            mark = self.market.mark(symbol)
            data: Json = {"symbol": symbol, "lastPrice": self.price(mark.ticks), "markPrice": self.price(mark.ticks)}
            data |= {"fundingRate": f"{mark.rate / 1e8:.8f}", "nextFundingTime": str(mark.next_ms)}
            return text({"topic": topic, "type": "snapshot", "data": data, "cs": 1, "ts": mark.time_ms})
        if topic.startswith("orderbook.1."):
            touch = self.market.touch(symbol)
            return self.full(topic, symbol, [touch.bid], [touch.ask])
        return self.full(topic, symbol, *self.market.books[symbol].ordered()) if self.is_book(topic) else None

    def full(self, topic: str, symbol: str, bids: Any, asks: Any) -> str:
        """A whole book."""
        last_id, now = self.market.books[symbol].last_id, self.market.now_ms
        data = {"s": symbol, "b": self.pairs(bids), "a": self.pairs(asks), "u": last_id, "seq": 7 * last_id}
        return text({"topic": topic, "type": "snapshot", "ts": now, "data": data, "cts": now})

    def heard(self, client: Client, frame: str) -> list[str]:
        asked = json.loads(frame)
        if asked["op"] == "ping":
            client.heartbeats += 1
            return [text({"success": True, "ret_msg": "pong", "op": "ping"})]
        for topic in asked["args"]:
            if asked["op"] == "subscribe":
                client.topics.append(topic)
            else:
                client.topics.remove(topic)
        return [text({"success": True, "ret_msg": asked["op"], "conn_id": "1", "op": asked["op"]})]


class Okx(Dialect):
    """v5 swaps; sizes are contracts, a message names its predecessor."""

    name, symbols, stride = "okx", ("BTC-USDT-SWAP", "ETH-USDT-SWAP"), 9
    lot = Decimal("0.01")

    def on_topic(self, change: Change, topic: str, client: Client) -> bool:
        kind = {Delta: "books", Print: "trades", Touch: "bbo-tbt", Mark: "mark-price"}
        if isinstance(change, Liquidation):
            return topic == "liquidation-orders SWAP"
        return topic == f"{kind[type(change)]} {change.symbol}"

    def is_book(self, topic: str) -> bool:
        return topic.startswith("books")

    @staticmethod
    def arg(topic: str) -> Json:
        channel, _, symbol = topic.partition(" ")
        return {"channel": channel, "instType" if channel == "liquidation-orders" else "instId": symbol}

    def rows(self, levels: Any) -> list[list[str]]:
        return [[self.price(ticks), self.size(lots), "0", "1" if lots else "0"] for ticks, lots in levels]

    def spell(self, change: Change, topic: str) -> str:
        row: Json = {"ts": str(change.time_ms)}
        message: Json = {"arg": self.arg(topic)}
        if isinstance(change, Delta):
            row |= {"asks": self.rows(change.asks), "bids": self.rows(change.bids), "checksum": 0}
            row |= {"prevSeqId": change.prev_id, "seqId": change.last_id}
            message["action"] = "update"
        elif isinstance(change, Print):
            row |= {"instId": change.symbol, "tradeId": str(change.number), "px": self.price(change.ticks)}
            row |= {"sz": self.size(change.lots), "side": "buy" if change.buy else "sell"}
        elif isinstance(change, Touch):
            row |= {"asks": self.rows([change.ask]), "bids": self.rows([change.bid]), "seqId": change.last_id}
        elif isinstance(change, Mark):
            row |= {"instId": change.symbol, "instType": "SWAP", "markPx": self.price(change.ticks)}
        else:
            side = {"posSide": "short", "side": "buy"} if change.buy else {"posSide": "long", "side": "sell"}
            detail = {
                "bkLoss": "0",
                "bkPx": self.price(change.ticks),
                "ccy": "",
                "sz": self.size(change.lots),
                **side,
                **row,
            }
            row = {"details": [detail], "instFamily": change.symbol[:-5], "instId": change.symbol}
            row |= {"instType": "SWAP", "uly": change.symbol[:-5]}
        return text(message | {"data": [row]})

    def snapshot(self, client: Client, topic: str) -> str | None:
        symbol = topic.partition(" ")[2]
        if topic.startswith("trades "):
            return self.spell(self.market.latest(symbol), topic)
        if not self.is_book(topic):
            return None
        book = self.market.books[symbol]
        bids, asks = book.ordered()
        row = {"asks": self.rows(asks), "bids": self.rows(bids), "ts": str(self.market.now_ms), "checksum": 0}
        row |= {"prevSeqId": -1, "seqId": book.last_id}
        return text({"arg": self.arg(topic), "action": "snapshot", "data": [row]})

    def heard(self, client: Client, frame: str) -> list[str]:
        if frame == "ping":
            client.heartbeats += 1
            return ["pong"]
        asked = json.loads(frame)
        answers = []
        for arg in asked["args"]:
            topic = f"{arg['channel']} {arg.get('instId') or arg['instType']}"
            if asked["op"] == "subscribe":
                client.topics.append(topic)
            else:
                client.topics.remove(topic)
            answers.append(text({"event": asked["op"], "arg": arg, "connId": "a4d3ae55"}))
        return answers


class Deribit(Dialect):
    """Numbers are JSON numbers; amounts of perpetuals are USD; the server asks whether the client lives."""

    name, symbols, stride = "deribit", ("BTC-PERPETUAL", "ETH-PERPETUAL"), 500
    tick, lot, payoff, settle = Decimal("0.5"), Decimal(10), "inverse", "BTC"
    carries = (Delta, Print, Touch, Mark)

    def on_topic(self, change: Change, topic: str, client: Client) -> bool:
        kind = {Delta: "book", Print: "trades", Touch: "quote", Mark: "ticker"}
        return topic.split(".")[:2] == [kind[type(change)], change.symbol]

    def is_book(self, topic: str) -> bool:
        return topic.startswith("book.")

    def levels(self, levels: Any) -> list[list[Any]]:
        return [
            ["change" if lots else "delete", float(ticks * self.tick), float(lots * self.lot)] for ticks, lots in levels
        ]

    @staticmethod
    def envelope(topic: str, data: Any) -> str:
        return text({"jsonrpc": "2.0", "method": "subscription", "params": {"channel": topic, "data": data}})

    def spell(self, change: Change, topic: str) -> str:
        data: Any = {"timestamp": change.time_ms, "instrument_name": change.symbol}
        if isinstance(change, Delta):
            data |= {"type": "change", "prev_change_id": change.prev_id, "change_id": change.last_id}
            data |= {"bids": self.levels(change.bids), "asks": self.levels(change.asks)}
        elif isinstance(change, Print):
            data |= {"trade_seq": change.number, "trade_id": str(change.number), "tick_direction": 0}
            data |= {"price": float(change.ticks * self.tick), "amount": float(change.lots * self.lot)}
            data = [data | {"direction": "buy" if change.buy else "sell", "index_price": 60000.5}]
        elif isinstance(change, Touch):
            for side, (ticks, lots) in (("bid", change.bid), ("ask", change.ask)):
                data |= {f"best_{side}_price": float(ticks * self.tick), f"best_{side}_amount": float(lots * self.lot)}
        elif isinstance(change, Mark):
            touch = self.market.touch(change.symbol)
            for side, (ticks, lots) in (("bid", touch.bid), ("ask", touch.ask)):
                data |= {f"best_{side}_price": float(ticks * self.tick), f"best_{side}_amount": float(lots * self.lot)}
            data |= {"state": "open", "mark_price": float(change.ticks * self.tick), "index_price": 60000.5}
            data |= {"funding_8h": change.rate / 1e8, "current_funding": 0.0, "last_price": 60000.5}
        return self.envelope(topic, data)

    def snapshot(self, client: Client, topic: str) -> str | None:
        if not self.is_book(topic):
            return None
        symbol = topic.split(".")[1]
        book = self.market.books[symbol]
        bids, asks = book.ordered()
        data = {"type": "snapshot", "timestamp": self.market.now_ms, "instrument_name": symbol}
        data |= {"change_id": book.last_id, "bids": self.levels(bids), "asks": self.levels(asks)}
        return self.envelope(topic, data)

    def heard(self, client: Client, frame: str) -> list[str]:
        asked = json.loads(frame)
        method, answer = asked["method"], {"jsonrpc": "2.0", "id": asked.get("id"), "testnet": False}
        if method in ("public/test", "public/set_heartbeat"):
            client.heartbeats += 1
            return [text(answer | {"result": "ok" if method.endswith("heartbeat") else {"version": "1.2.26"}})]
        channels = asked["params"]["channels"]
        for topic in channels:
            if method == "public/subscribe":
                client.topics.append(topic)
            else:
                assert method == "public/unsubscribe", frame
                client.topics.remove(topic)
        return [text(answer | {"result": channels})]


class Hyperliquid(Dialect):
    """Whole books only: nothing that is lost can be seen."""

    name, symbols = "hyperliquid", ("BTC", "ETH")
    tick, lot, has_gaps = Decimal(1), Decimal("0.001"), False
    carries = (Delta, Print, Touch, Mark)

    def on_topic(self, change: Change, topic: str, client: Client) -> bool:
        kind = {Delta: "l2Book", Print: "trades", Touch: "bbo", Mark: "activeAssetCtx"}
        return topic == f"{kind[type(change)]} {change.symbol}"

    def is_book(self, topic: str) -> bool:
        return topic.startswith("l2Book")

    def level(self, level: tuple[int, int]) -> Json:
        return {"px": self.price(level[0]), "sz": self.size(level[1]), "n": 1}

    def book(self, symbol: str) -> str:
        sides = [[self.level(level) for level in side] for side in self.market.books[symbol].ordered()]
        return text({"channel": "l2Book", "data": {"coin": symbol, "time": self.market.now_ms, "levels": sides}})

    def spell(self, change: Change, topic: str) -> str:
        if isinstance(change, Delta):
            return self.book(change.symbol)
        if isinstance(change, Print):
            row = {"coin": change.symbol, "side": "B" if change.buy else "A", "px": self.price(change.ticks)}
            row |= {"sz": self.size(change.lots), "hash": "0x00", "users": ["0x1", "0x2"]}
            return text({"channel": "trades", "data": [row | {"time": change.time_ms, "tid": change.number}]})
        if isinstance(change, Touch):
            data: Json = {"coin": change.symbol, "time": change.time_ms}
            return text({"channel": "bbo", "data": data | {"bbo": [self.level(change.bid), self.level(change.ask)]}})
        assert isinstance(change, Mark)
        ctx = {"funding": f"{change.rate / 1e8:.8f}", "markPx": self.price(change.ticks), "openInterest": "1.0"}
        return text({"channel": "activeAssetCtx", "data": {"coin": change.symbol, "ctx": ctx}})

    def snapshot(self, client: Client, topic: str) -> str | None:
        symbol = topic.partition(" ")[2]
        if topic.startswith("trades "):
            return self.spell(self.market.latest(symbol), topic)
        return self.book(symbol) if self.is_book(topic) else None

    def heard(self, client: Client, frame: str) -> list[str]:
        asked = json.loads(frame)
        if asked["method"] == "ping":
            client.heartbeats += 1
            return [text({"channel": "pong"})]
        wanted = asked["subscription"]
        topic = f"{wanted['type']} {wanted['coin']}"
        if asked["method"] == "subscribe":
            client.topics.append(topic)
        else:
            client.topics.remove(topic)
        return [text({"channel": "subscriptionResponse", "data": asked})]


DIALECTS: tuple[type[Dialect], ...] = (Binance, BinanceUsdm, BinanceCoinm, Bybit, Okx, Deribit, Hyperliquid)
