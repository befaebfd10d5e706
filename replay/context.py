"""What a strategy sees and may do: the `ctx` of every handler.

Everything here is local-side state: the book, prices, orders, position and money as the strategy can know them at
`ctx.now`, with feed and response latency gone by.  Event objects are values of their own; the `Book` is a live view.
Prices come twice: `ticks` (integer, exact) and `price` (float, for reading).  Requests return at once; what became of
them comes to `on_order`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.errors import ConfigError, did_you_mean
from replay.instruments import Instrument
from replay.kernel import codes
from replay.kernel.book import NO_ASK, NO_BID, book_depth
from replay.kernel.local_view import CASH, EQUITY, FEES, TURNOVER, local_money, own_order_at
from replay.kernel.orders import BOOKS_EACH
from replay.kernel.requests import NEED_ROOM_CODE, cancel, cancel_all, modify, record_value, set_timer, submit
from replay.kernel.state import record_number
from replay.kernel.terms import CONTRADICTIONS, TIF_CODES, TRIGGER_CODES, order_kind
from replay.units import SCALE

if TYPE_CHECKING:
    from replay.session import Session

_BUY = 1
TRADE_ROW = struct.Struct("<5q8xi5xb6x")
"""What `Trade` is made of, from the 64 bytes of an event record: ts, exch_ts, seq, price, qty, instrument, side."""
QUOTE_ROW = struct.Struct("<3q24xi12x")
"""What `Quote` is made of: ts, exch_ts, seq, instrument."""
NOTICE_ROW = struct.Struct("<3q16xqi12x")
"""What `Funding` and `Gap` are made of: ts, exch_ts, seq, value, instrument."""
TOUCH = struct.Struct("<4q")
"""Bid ticks and lots, ask ticks and lots, as they lie in the instrument's record."""


class _Grid:
    """Ticks and lots to floats: division by a whole number where that is exact (618002 / 10, not 618002 × 0.1)."""

    __slots__ = ("lot", "lots_each", "tick", "ticks_each")

    def __init__(self, instrument: Instrument) -> None:
        self.tick, self.lot = float(instrument.tick), float(instrument.lot)
        per_tick, per_lot = 1 / instrument.tick, 1 / instrument.lot
        self.ticks_each = float(per_tick) if per_tick == int(per_tick) else 0.0
        self.lots_each = float(per_lot) if per_lot == int(per_lot) else 0.0

    def price(self, ticks: float) -> float:
        return ticks / self.ticks_each if self.ticks_each else ticks * self.tick

    def size(self, lots: float) -> float:
        return lots / self.lots_each if self.lots_each else lots * self.lot


class Trade:
    """A print: `side` +1 when the aggressor bought; `seq` the venue's trade id; times in µs."""

    __slots__ = ("_grid", "exch_ts", "instrument", "lots", "seq", "side", "ticks", "ts")

    def __init__(self, row: tuple[int, ...], grid: _Grid) -> None:
        self.ts, self.exch_ts, self.seq, self.ticks, self.lots, self.instrument, self.side = row
        self._grid = grid

    @property
    def price(self) -> float:
        """Price in the quote currency."""
        return self._grid.price(self.ticks)

    @property
    def size(self) -> float:
        """Size in the instrument's unit."""
        return self._grid.size(self.lots)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'buy' if self.side > 0 else 'sell'} {self.size:g} @ {self.price:g})"


class Liquidation(Trade):
    """A forced order: `side` +1 when a short was bought back, -1 when a long was sold."""

    __slots__ = ()


class Quote:
    """The venue's best bid and ask message; `seq` is its update id."""

    __slots__ = ("_grid", "ask_lots", "ask_ticks", "bid_lots", "bid_ticks", "exch_ts", "instrument", "seq", "ts")

    def __init__(self, row: tuple[int, ...], touch: tuple[int, ...], grid: _Grid) -> None:
        self.ts, self.exch_ts, self.seq, self.instrument = row
        self.bid_ticks, self.bid_lots, self.ask_ticks, self.ask_lots = touch
        self._grid = grid

    @property
    def bid(self) -> float:
        """Best bid price."""
        return self._grid.price(self.bid_ticks)

    @property
    def ask(self) -> float:
        """Best ask price."""
        return self._grid.price(self.ask_ticks)

    def __repr__(self) -> str:
        return f"Quote({self.bid_lots} @ {self.bid:g} | {self.ask_lots} @ {self.ask:g})"


class Funding:
    """`rate` of the period that ends at `next_us`; longs pay a positive rate."""

    __slots__ = ("exch_ts", "instrument", "next_us", "rate", "ts")

    def __init__(self, row: tuple[int, ...]) -> None:
        self.ts, self.exch_ts, self.next_us, rate_scaled, self.instrument = row
        self.rate = rate_scaled / SCALE

    def __repr__(self) -> str:
        return f"Funding(rate={self.rate:g}, next_us={self.next_us})"


class Gap:
    """A hole in the feed: ids after `last_good_id` and before `next_id` are missing, the book is invalid."""

    __slots__ = ("exch_ts", "instrument", "last_good_id", "next_id", "ts")

    def __init__(self, row: tuple[int, ...]) -> None:
        self.ts, self.exch_ts, self.last_good_id, self.next_id, self.instrument = row

    def __repr__(self) -> str:
        return f"Gap({self.last_good_id}…{self.next_id})"


class Timer:
    """`tag` as given to `ctx.every` or `ctx.at`, `time_us` now."""

    __slots__ = ("tag", "time_us")

    def __init__(self, tag: int, time_us: int) -> None:
        self.tag, self.time_us = tag, time_us

    def __repr__(self) -> str:
        return f"Timer(tag={self.tag})"


class Order:
    """One of our orders as we know it now (a copy).

    `status` is one of pending, live, partly-filled, filled, cancelled, expired, rejected; `pending` tells that a
    request on it has not been answered; `reason` says why it was rejected or expired.
    """

    __slots__ = ("filled", "id", "instrument", "leaves", "lots", "pending", "reason", "side", "status", "tag", "ticks")

    def __init__(self, record: Any) -> None:
        self.id = int(record["number"])
        self.instrument = int(record["instrument"])
        self.side = int(record["side"])
        self.ticks = int(record["l_ticks"])
        self.lots = int(record["l_lots"])
        self.leaves = int(record["l_leaves"])
        self.filled = int(record["l_filled"])
        self.status = codes.STATUS_NAMES[int(record["status"])]
        self.pending = bool(record["pending"])
        self.reason = codes.REASONS[int(record["reason"])]
        self.tag = int(record["tag"])

    @property
    def done(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.status in ("filled", "cancelled", "expired", "rejected")

    def __repr__(self) -> str:
        side = "buy" if self.side > 0 else "sell"
        why = f", {self.reason}" if self.reason else ""
        return f"Order({self.id}: {side} {self.leaves}/{self.lots} @ {self.ticks} ticks, {self.status}{why})"


class Fill:
    """One execution of ours: `fee` in the settlement currency, `maker` whether we rested; `exch_ts` venue time."""

    __slots__ = ("_grid", "exch_ts", "fee", "instrument", "lots", "maker", "order_id", "side", "ticks")

    def __init__(self, row: Any, grid: _Grid) -> None:
        self.order_id, self.instrument, self.side = int(row["order_id"]), int(row["instrument"]), int(row["side"])
        self.ticks, self.lots, self.maker = int(row["exec_ticks"]), int(row["exec_lots"]), bool(row["maker"])
        self.fee, self.exch_ts = float(row["fee"]), int(row["exch_ts"])
        self._grid = grid

    @property
    def price(self) -> float:
        """Price in the quote currency, slippage included."""
        return self._grid.price(self.ticks)

    @property
    def size(self) -> float:
        """Size in the instrument's unit."""
        return self._grid.size(self.lots)

    def __repr__(self) -> str:
        role = "maker" if self.maker else "taker"
        return f"Fill({'buy' if self.side > 0 else 'sell'} {self.size:g} @ {self.price:g}, {role})"


class Book:
    """Live view of the local book of one instrument; reading the touch is O(1) and copies nothing.

    `bid_ticks`, `ask_ticks` are NO_BID, NO_ASK (far below and above any price) on an empty side; `ready` tells that
    the book is valid and both sides have a price.
    """

    __slots__ = ("_ask", "_ask_lots", "_bid", "_bid_lots", "_ints", "_session", "_valid", "grid", "instrument")

    def __init__(self, session: Session, instrument: int, grid: _Grid) -> None:
        self._session = session
        self.instrument = instrument
        self.grid = grid
        self.bind()

    def bind(self) -> None:
        """Find the words of the arena again after it moved."""
        arena = self._session.arena
        self._ints = arena.ints
        self._bid = arena.word("books", "bid_ticks", self.instrument * BOOKS_EACH + 1)
        self._bid_lots, self._ask, self._ask_lots = self._bid + 1, self._bid + 2, self._bid + 3
        self._valid = arena.word("instruments", "local_valid", self.instrument)

    @property
    def bid_ticks(self) -> int:
        """Best bid price."""
        return self._ints[self._bid]

    @property
    def bid_lots(self) -> int:
        """Size at the best bid; 0 when there is none."""
        return self._ints[self._bid_lots]

    @property
    def ask_ticks(self) -> int:
        """Best ask price."""
        return self._ints[self._ask]

    @property
    def ask_lots(self) -> int:
        """Size at the best ask; 0 when there is none."""
        return self._ints[self._ask_lots]

    @property
    def valid(self) -> bool:
        """Whether a snapshot has come and no message was lost since."""
        return self._ints[self._valid] != 0

    @property
    def ready(self) -> bool:
        """Valid, with a bid and an ask."""
        ints = self._ints
        return ints[self._valid] != 0 and ints[self._bid_lots] > 0 and ints[self._ask_lots] > 0

    @property
    def mid_ticks(self) -> float:
        """Half way between the touches, in ticks; NaN when a side is empty."""
        bid, ask = self.bid_ticks, self.ask_ticks
        return (bid + ask) / 2 if bid != NO_BID and ask != NO_ASK else float("nan")

    @property
    def mid(self) -> float:
        """Mid price in the quote currency; NaN when a side is empty."""
        return self.grid.price(self.mid_ticks)

    @property
    def spread_ticks(self) -> int:
        """Ask minus bid."""
        return self.ask_ticks - self.bid_ticks

    def depth(self, side: int, levels: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """(ticks, lots), best first, at most `levels` of them; `side` +1 bids, -1 asks."""
        ticks, lots = np.empty(levels, np.int64), np.empty(levels, np.int64)
        arena = self._session.arena
        b = self.instrument * BOOKS_EACH + 1
        n = book_depth(arena["books"], arena["cells"], b, side, ticks, lots)
        return ticks[:n], lots[:n]

    def __repr__(self) -> str:
        return f"Book({self.bid_lots} @ {self.bid_ticks} | {self.ask_lots} @ {self.ask_ticks} ticks)"


def _whole(**given: Any) -> None:
    """ConfigError for what is no whole number: it would quietly be cut to one."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            hint = (
                "times are in µs" if name.endswith("_us") else "write int(...), or ctx.instruments[0].ticks('60000.1')"
            )
            raise ConfigError(name, value, "must be a whole number", hint)


class Context:
    """The strategy's window on the run and its hands.

    Requests return the order id, or minus a reason code when they are refused here (`ctx.reason(code)` names it).
    """

    def __init__(self, session: Session, strategy: int) -> None:
        self._session = session
        self._strategy = strategy
        self._books = session.books
        self._slot0 = strategy * len(session.instruments)
        self._now = 0
        self._numbers: dict[str, int] = {}
        self.bind()

    def bind(self) -> None:
        """Find the words of the arena again after it moved."""
        self._now = self._session.arena.word("run", "now")

    # ---------------------------------------------------------------------------------------------------- reading

    @property
    def now(self) -> int:
        """Simulated local time, µs since the epoch, UTC."""
        return self._session.ints[self._now]

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """All instruments of the run, in order of index."""
        return self._session.instruments

    def index(self, name: str) -> int:
        """Index of the instrument `venue:symbol`; ConfigError with the nearest name."""
        names = [instrument.name for instrument in self._session.instruments]
        if name not in names:
            raise ConfigError("instrument", name, "is not in this run", did_you_mean(name, names))
        return names.index(name)

    def book(self, instrument: int = 0) -> Book:
        """The local book."""
        try:
            return self._books[instrument]
        except (IndexError, TypeError):
            raise self._no_instrument(instrument) from None

    def _no_instrument(self, given: Any) -> ConfigError:
        names = [instrument.name for instrument in self._session.instruments]
        known = ", ".join(f"{i} is {name}" for i, name in enumerate(names))
        hint = "write ctx.index('venue:SYMBOL')" if isinstance(given, str) else known
        return ConfigError("instrument", given, "is not the index of an instrument of this run", hint)

    def position(self, instrument: int = 0) -> int:
        """Signed lots, from the fills that we have heard of."""
        return int(self._session.arena["slots"][self._slot0 + instrument]["l_position"])

    def mark(self, instrument: int = 0) -> float:
        """Latest mark price that we have heard, else the local mid, else the last print; NaN when there is none."""
        session = self._session
        inst = session.arena["instruments"][instrument]
        if inst["mark_local"]:
            return int(inst["mark_local"]) / SCALE
        book = session.books[instrument]
        if book.ready:
            return book.mid
        last = int(inst["last_local"])
        return book.grid.price(last) if last else float("nan")

    def equity(self, instrument: int = 0) -> float:
        """Profit so far in the settlement currency: realised, unrealised at the mark, less fees and funding."""
        return self._money(instrument, EQUITY)

    def cash(self, instrument: int = 0) -> float:
        """What our fills moved, in the settlement currency: sales less purchases (inverse: coin), before fees."""
        return self._money(instrument, CASH)

    def fees(self, instrument: int = 0) -> float:
        """Fees that we have heard of, in the fee currency; a rebate is negative."""
        return self._money(instrument, FEES)

    def turnover(self, instrument: int = 0) -> float:
        """Traded value so far, in the settlement currency."""
        return self._money(instrument, TURNOVER)

    def _money(self, instrument: int, what: int) -> float:
        return float(local_money(self._session.bytes, self._slot0 + instrument, what))

    def order(self, order_id: int) -> Order | None:
        """The order as we know it, or None once it is over and forgotten."""
        session = self._session
        at = own_order_at(session.bytes, self._strategy, order_id)
        return Order(session.arena["orders"][at]) if at >= 0 else None

    def orders(self, instrument: int | None = None) -> list[Order]:
        """All our orders that are not forgotten, in order of id (of one instrument)."""
        return [Order(r) for r in self._records() if instrument is None or r["instrument"] == instrument]

    def _records(self) -> Iterator[Any]:
        orders = self._session.arena["orders"]
        slots = self._session.arena["slots"]
        for k in range(len(self._session.instruments)):
            head = at = int(slots[self._slot0 + k]["own_head"])
            while at >= 0:
                yield orders[at]
                at = int(orders[at]["own_next"])
                if at == head:
                    break

    # --------------------------------------------------------------------------------------------------- requests

    def buy(self, instrument: int, lots: int, ticks: int | None = None, **terms: Any) -> int:
        """Buy `lots`: at `ticks` or better, or at market when no price is given.  Terms: see `send`."""
        return self.send(instrument, _BUY, lots, ticks, **terms)

    def sell(self, instrument: int, lots: int, ticks: int | None = None, **terms: Any) -> int:
        """Sell `lots`: at `ticks` or better, or at market when no price is given.  Terms: see `send`."""
        return self.send(instrument, -_BUY, lots, ticks, **terms)

    def send(
        self,
        instrument: int,
        side: int,
        lots: int,
        ticks: int | None = None,
        *,
        post_only: bool = False,
        reduce_only: bool = False,
        tif: str = "GTC",
        stop_ticks: int | None = None,
        trail_ticks: int | None = None,
        trigger: str = "last",
        expire_us: int = 0,
        tag: int = 0,
    ) -> int:
        """Send an order and return its id (or minus a reason code).

        `tif` GTC, IOC, FOK or GTD (until `expire_us`).  With `stop_ticks` it waits until the `trigger` (last, mark,
        touch) reaches that price; with `trail_ticks` the stop follows the best price at that distance.  ConfigError
        for terms that contradict each other.
        """
        if tif not in TIF_CODES:
            raise ConfigError("tif", tif, "is not a time in force", did_you_mean(tif, TIF_CODES))
        if trigger not in TRIGGER_CODES:
            raise ConfigError("trigger", trigger, "is not a trigger", did_you_mean(trigger, TRIGGER_CODES))
        if instrument not in self._session.indices:
            raise self._no_instrument(instrument)
        if type(lots) is not int or (ticks is not None and type(ticks) is not int):
            _whole(instrument=instrument, lots=lots, ticks=ticks or 0)
        kind = order_kind(
            ticks is not None, stop_ticks is not None, trail_ticks is not None, trail_ticks or 0, TIF_CODES[tif],
            post_only, expire_us,
        )  # fmt: skip
        if kind < 0:
            setting, problem = CONTRADICTIONS[-kind]
            given = {"post_only": post_only, "trail_ticks": trail_ticks, "expire_us": expire_us}
            raise ConfigError(setting, given[setting], problem)
        flags = (codes.POST_ONLY if post_only else 0) | (codes.REDUCE_ONLY if reduce_only else 0)
        session = self._session
        while True:
            answer = submit(
                session.bytes, self._strategy, instrument, side, kind, TIF_CODES[tif], flags, lots, ticks or 0,
                stop_ticks or 0, TRIGGER_CODES[trigger], trail_ticks or 0, expire_us, tag,
            )  # fmt: skip
            if answer != NEED_ROOM_CODE:
                return int(answer)
            session.make_room()

    def cancel(self, order_id: int) -> int:
        """Ask the venue to cancel; 0, or minus a reason code."""
        session = self._session
        while (answer := cancel(session.bytes, self._strategy, order_id)) == NEED_ROOM_CODE:
            session.make_room()
        return int(answer)

    def cancel_all(self, instrument: int = 0) -> int:
        """Cancel every live order of the instrument that has no request under way; returns how many."""
        session = self._session
        while (answer := cancel_all(session.bytes, self._strategy, instrument)) == NEED_ROOM_CODE:
            session.make_room()
        return int(answer)

    def modify(self, order_id: int, lots: int, ticks: int, stop_ticks: int = 0) -> int:
        """Ask for a new total size and price; less size at the same price keeps the place in the queue.

        `stop_ticks` moves the stop of an order that still waits for its trigger.
        """
        if type(lots) is not int or type(ticks) is not int:
            _whole(lots=lots, ticks=ticks)
        session = self._session
        while (answer := modify(session.bytes, self._strategy, order_id, lots, ticks, stop_ticks)) == NEED_ROOM_CODE:
            session.make_room()
        return int(answer)

    def every(self, interval_us: int, tag: int = 0) -> None:
        """Call `on_timer` at every whole multiple of `interval_us` since the epoch, from now on."""
        _whole(interval_us=interval_us)
        if interval_us <= 0:
            raise ConfigError("interval_us", interval_us, "must be positive")
        first = -(-self.now // interval_us) * interval_us
        self._timer(first, interval_us, tag)

    def at(self, time_us: int, tag: int = 0) -> None:
        """Call `on_timer` once at `time_us` (at once when that is past)."""
        _whole(time_us=time_us)
        self._timer(time_us, 0, tag)

    def _timer(self, time_us: int, interval_us: int, tag: int) -> None:
        session = self._session
        while set_timer(session.bytes, self._strategy, time_us, interval_us, tag) == NEED_ROOM_CODE:
            session.make_room()

    def record(self, name: str, value: float) -> None:
        """Keep a value of the user's own with the time; it comes back in `Result.records`."""
        session = self._session
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = record_number(name)
            session.names[number] = name
        while record_value(session.bytes, self._strategy, number, float(value)) == NEED_ROOM_CODE:
            session.make_room()

    def stop(self) -> None:
        """End the run after this handler."""
        self._session.stop()

    @staticmethod
    def reason(code: int) -> str:
        """Name of a refusal: `ctx.reason(-7)` is "insufficient-margin"."""
        return codes.REASONS[-code] if code < 0 else ""
