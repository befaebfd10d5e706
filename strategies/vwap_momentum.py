"""VWAP momentum: go with a move away from the volume-weighted average price, with a target and a stop.

The VWAP of the last minutes is what others have paid on average.  A price that has left it and still moves the same way
has news or a large order behind it; the strategy joins, and leaves at a fixed profit or loss.  It is the common
day-trading rule of that name.  Trades are gathered in bars.  At a bar's end, last price above the VWAP by `entry_bps`
and above the close `momentum_bars` ago means buy; the mirror image means sell.  In the market, each book message
compares the price at which it could leave with the average entry price.

Parameters: `instrument` index; `lots` the position, also its limit; `bar_us`; `window_bars` of the VWAP (at most 255);
`momentum_bars` of the filter (less than the window); `entry_bps`, `target_bps`, `stop_bps` in 1/10000 of the price;
`pause_us` without entries after an exit.  The rest is state, bar k in place k % 256.  Records "vwap", in ticks.

Entries are IOC at the touch, exits are market orders, one order at a time.
Ignored: fees, time of day, trades lost in gaps, what a stop costs beyond the touch.
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
    pause_us: int = 2_000_000

    values: np.ndarray = np.zeros(256, np.int64)
    sizes: np.ndarray = np.zeros(256, np.int64)
    closes: np.ndarray = np.zeros(256, np.int64)
    bars: int = 0
    last_ticks: int = 0
    entry_value: int = 0
    entry_lots: int = 0
    free_us: int = 0
    order_id: int = 0

    def on_start(self, ctx: Context) -> None:
        ctx.every(self.bar_us)

    def on_trade(self, ctx: Context, trade: Trade) -> None:
        if trade.instrument == self.instrument:
            self.values[self.bars % 256] += trade.ticks * trade.lots
            self.sizes[self.bars % 256] += trade.lots
            self.last_ticks = trade.ticks

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        if self.last_ticks == 0:
            return
        self.closes[self.bars % 256] = self.last_ticks
        self.bars += 1
        self.values[self.bars % 256] = self.sizes[self.bars % 256] = 0
        value = size = 0
        for k in range(self.bars - self.window_bars, self.bars):
            value += self.values[k % 256]
            size += self.sizes[k % 256]
        if self.bars >= self.window_bars and size > 0:
            ctx.record("vwap", value / size)
            self.enter(ctx, value / size)

    def enter(self, ctx: Context, vwap: float) -> None:
        """Open a position when deviation and momentum agree."""
        book = ctx.book(self.instrument)
        if not book.ready or self.order_id != 0 or ctx.position(self.instrument) != 0 or ctx.now < self.free_us:
            return
        past = self.closes[(self.bars - 1 - self.momentum_bars) % 256]
        margin = vwap * self.entry_bps / 10_000
        if self.last_ticks > max(vwap + margin, past):
            self.order_id = max(0, ctx.buy(self.instrument, self.lots, book.ask_ticks, tif="IOC"))
        elif self.last_ticks < min(vwap - margin, past):
            self.order_id = max(0, ctx.sell(self.instrument, self.lots, book.bid_ticks, tif="IOC"))

    def on_book(self, ctx: Context, book: Book) -> None:
        ...
