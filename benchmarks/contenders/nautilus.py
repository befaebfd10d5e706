"""NautilusTrader's BacktestEngine on L2 deltas: one book of its own, one of the strategy's cache.

A message becomes one `OrderBookDeltas`, a print one `TradeTick`; making these objects is not timed.  The engine
keeps the venue's book in its matching engine; a strategy that subscribes to deltas gets a managed book.  Time order is
by `ts_init`, the receipt; there is no second clock.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import BookOrder, OrderBookDelta, OrderBookDeltas, TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, BookAction, BookType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from benchmarks.contenders import Make, Settings
from benchmarks.tape import Tape, book_after
from replay.events import BOOK, BUY, LAST, SELL
from replay.instruments import Instrument
from replay.units import NS_PER_US

VENUE = Venue("BINANCE")


def digits(step: Decimal) -> int:
    """Decimals of a tick or lot."""
    return max(0, -int(step.as_tuple().exponent))


class Data:
    """The tape as the peer's objects, and its instrument."""

    def __init__(self, tape: Tape, settings: Settings) -> None:
        self.terms = tape.instruments[0]
        self.instrument = perpetual(self.terms)
        self.items = items(tape.events, self.terms, self.instrument.id)
        book = book_after(tape.events)
        bid, ask = max(book[BUY]), min(book[SELL])
        self.touch = [bid, book[BUY][bid], ask, book[SELL][ask]]


def load(tape: Tape, settings: Settings) -> Data:
    """The tape as objects."""
    return Data(tape, settings)


def perpetual(terms: Instrument) -> CryptoPerpetual:
    """The instrument."""
    price_digits, size_digits = digits(terms.tick), digits(terms.lot)
    return CryptoPerpetual(
        instrument_id=InstrumentId(Symbol(terms.symbol), VENUE), raw_symbol=Symbol(terms.symbol), base_currency=BTC,
        quote_currency=USDT, settlement_currency=USDT, is_inverse=False, price_precision=price_digits,
        size_precision=size_digits, price_increment=Price(float(terms.tick), price_digits),
        size_increment=Quantity(float(terms.lot), size_digits), maker_fee=Decimal("0.0002"),
        taker_fee=Decimal("0.0005"), margin_init=Decimal(0), margin_maint=Decimal(0), ts_event=0, ts_init=0,
    )  # fmt: skip


def items(events: np.ndarray, terms: Instrument, name: InstrumentId) -> list[Any]:
    """Messages as OrderBookDeltas and TradeTicks."""
    out: list[Any] = []
    deltas: list[OrderBookDelta] = []
    tick, lot = float(terms.tick), float(terms.lot)
    price_digits, size_digits = digits(terms.tick), digits(terms.lot)
    columns = [events[name].tolist() for name in ("ts", "exch_ts", "price", "qty", "side", "kind", "flags", "seq")]
    for ts, venue_us, ticks, lots, side, kind, flags, seq in zip(*columns):
        price, size = Price(ticks * tick, price_digits), Quantity(lots * lot, size_digits)
        times = (venue_us * NS_PER_US, ts * NS_PER_US)
        if kind != BOOK:
            aggressor = AggressorSide.BUYER if side == BUY else AggressorSide.SELLER
            out.append(TradeTick(name, price, size, aggressor, TradeId(str(seq)), *times))
            continue
        order = BookOrder(OrderSide.BUY if side == BUY else OrderSide.SELL, price, size, 0)
        action = BookAction.UPDATE if lots else BookAction.DELETE
        deltas.append(OrderBookDelta(name, action, order, 128 if flags & LAST else 0, seq, *times))
        if flags & LAST:
            out.append(OrderBookDeltas(name, deltas))
            deltas = []
    return out


class Reader(Strategy):  # type: ignore[misc]
    """Subscribes to book and prints and reads the touch at each."""

    def __init__(self, instrument: InstrumentId) -> None:
        super().__init__()
        self.name = instrument
        self.calls = 0
        self.last: list[Any] = []

    def on_start(self) -> None:
        """Subscribe."""
        self.subscribe_order_book_deltas(self.name, book_type=BookType.L2_MBP)
        self.subscribe_trade_ticks(self.name)

    def on_order_book_deltas(self, deltas: OrderBookDeltas) -> None:
        """A book message."""
        self.seen()

    def on_trade_tick(self, tick: TradeTick) -> None:
        """A print."""
        self.seen()

    def seen(self) -> None:
        """Count; read the touch."""
        self.calls += 1
        book = self.cache.order_book(self.name)
        self.last = [book.best_bid_price(), book.best_ask_price()]


class Played:
    """An engine with the data in it."""

    def __init__(self, data: Data, settings: Settings) -> None:
        self.data = data
        self.engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
        self.engine.add_venue(
            venue=VENUE, oms_type=OmsType.NETTING, account_type=AccountType.MARGIN, base_currency=None,
            starting_balances=[Money(1_000_000, USDT)], book_type=BookType.L2_MBP,
        )  # fmt: skip
        self.engine.add_instrument(data.instrument)
        self.engine.add_data(data.items)

    def go(self) -> None:
        """Run."""
        self.engine.run()

    def touch(self, book: Any) -> list[int]:
        """The touch of one of its books in ticks and lots."""
        tick, lot = float(self.data.terms.tick), float(self.data.terms.lot)
        found = (book.best_bid_price(), book.best_bid_size(), book.best_ask_price(), book.best_ask_size())
        return [round(float(value) / step) for value, step in zip(found, (tick, lot, tick, lot))]


class Watched(Played):
    """Reads the touch at every message."""

    def __init__(self, data: Data, settings: Settings) -> None:
        super().__init__(data, settings)
        self.reader = Reader(data.instrument.id)
        self.engine.add_strategy(self.reader)

    def answer(self) -> dict[str, Any]:
        """Calls; AssertionError when its book ended with another touch than two dicts do."""
        found, expected = self.touch(self.engine.cache.order_book(self.data.instrument.id)), self.data.touch
        assert found == expected, f"nautilus ended with the touch {found}, not {expected}"
        return {"calls": self.reader.calls}


RUNS: dict[str, Make] = {"watch": Watched}
