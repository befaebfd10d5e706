"""VWAP momentum: go with a move away from the volume-weighted average price, with a target and a stop.

The VWAP of the last minutes is what others have paid on average; a price that has left it and still moves the same way
has news or a large order behind it.  The usual rule: at a bar's end, last price above VWAP by `entry_bps` and above the
close `momentum_bars` ago means buy, the mirror image sell; each book message compares the price at which it could leave
with the average entry.  Entries are IOC, exits market orders, one at a time.  Ignored: fees, lost trades.
Parameters: `instrument` index; `lots` the position, also its limit; `bar_us`; `window_bars` of the VWAP (at most 255);
`momentum_bars` (less than the window); `entry_bps`, `target_bps`, `stop_bps` in 1/10000 of the price.  The rest is
state: rows of `ring` are ticks · lots, lots and close, bar k in place k % 256.  Records "vwap" (ticks) while flat.
"""

from __future__ import annotations

import numpy as np

from replay import Strategy
from replay.context import Book, Context, Fill, Order, Timer, Trade


class VwapMomentum(Strategy):
    """One position at a time, entered at bar ends, left at target or stop."""

    instrument: int = 0
    lots: int = 10
    bar_us: int = 1_000_000
    window_bars: int = 20
    momentum_bars: int = 5
    entry_bps: float = 1.0
    target_bps: float = 2.0
    stop_bps: float = 2.0

    ring: np.ndarray = np.zeros((3, 256), np.int64)
    bars: int = 0
    cost: float = 0.0
    order_id: int = 0

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.bar_us)

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        if trade.instrument == self.instrument:
            self.ring[0, self.bars % 256] += trade.ticks * trade.lots
            self.ring[1, self.bars % 256] += trade.lots
            self.ring[2, self.bars % 256] = trade.ticks

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        last = self.ring[2, self.bars % 256]
        self.bars += 1
        self.ring[:, self.bars % 256] = np.array([0, 0, last])
        window = np.arange(self.bars - self.window_bars, self.bars) % 256
        size, past = self.ring[1][window].sum(), self.ring[2, (self.bars - 1 - self.momentum_bars) % 256]
        book, position = ctx.book(self.instrument), ctx.position(self.instrument)
        if self.bars < self.window_bars or min(size, past) == 0 or not book.ready or self.order_id or position:
            return
        vwap = self.ring[0][window].sum() / size
        away = vwap * self.entry_bps / 10_000
        ctx.record("vwap", vwap)
        if last > max(vwap + away, past):
            self.order_id = max(0, ctx.buy(self.instrument, self.lots, book.ask_ticks, tif="IOC"))
        elif last < min(vwap - away, past):
            self.order_id = max(0, ctx.sell(self.instrument, self.lots, book.bid_ticks, tif="IOC"))

    def on_book(self, ctx: Context, book: Book) -> None:
        position = ctx.position(self.instrument)
        if book.instrument != self.instrument or not book.ready or self.order_id != 0 or position == 0:
            return
        gain = (book.bid_ticks if position > 0 else book.ask_ticks) * position - self.cost
        over = not -self.stop_bps < 10_000 * gain / abs(self.cost) < self.target_bps
        if over and position > 0:
            self.order_id = max(0, ctx.sell(self.instrument, position, reduce_only=True))
        elif over:
            self.order_id = max(0, ctx.buy(self.instrument, -position, reduce_only=True))

    def on_order(self, ctx: Context, order: Order) -> None:
        self.order_id = 0 if order.done else order.id

    def on_fill(self, ctx: Context, fill: Fill) -> None:
        traded, held = fill.side * fill.lots, ctx.position(self.instrument)
        self.cost = self.cost + traded * fill.ticks if traded * held > 0 else self.cost * held / (held - traded)
