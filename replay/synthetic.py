"""A synthetic market: a seeded exchange and the recorder that listens to it.

`SyntheticMarket` produces what a recorder of a Binance market writes down: `<local ns> <json>` lines of
several instruments, in the venue's own spelling.  It needs no network, and because it knows what it did to
the data, tests can compare what a reader reports with `SyntheticMarket.truth`.

How it is put together, per instrument: `OrderFlow` makes orders and keeps the book; the listener here turns
each change of the touch into a bookTicker, each match into trades, the changed levels into a depthUpdate per
interval, and carries each message to the recorder with a latency.  The rules that hold of the result:

* Update ids: `U` is the first change since the last depth message, `u` the newest; on spot `U` is the last
  `u` + 1; on futures ids are shared with other symbols, so they jump, and `pu` is the last `u`.
* After the delta that ends at `u`, the touch equals the bookTicker with the largest id that is not above `u`.
* Trade ids are consecutive.  A market order's prints take exactly what the book held.
* Venue times are whole milliseconds and never step back within a stream.  Receipt is later than the venue
  time by a positive latency; streams overtake each other, messages within a stream do not.
* Depth messages come before the first snapshot, so a reader must buffer.  A lost or late depth message makes
  the recorder ask for a snapshot.  No fault is injected while that repair is under way, nor so late that it
  could not end: each lost or late message is one gap, and the recording ends with a good book.
* The market does not depend on the faults: same seed, same order flow, same final book.
"""

from __future__ import annotations

import gzip
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Literal

from replay.errors import ConfigError, did_you_mean
from replay.events import BUY
from replay.instruments import Instrument
from replay.synthetic_flow import FAIR_STEP_US, LISTINGS, Listing, OrderFlow, find_listing, stream
from replay.synthetic_wire import DIALECTS, Wire
from replay.units import NS_PER_US, SCALE, US_PER_HOUR, US_PER_MS, US_PER_S

CHUNK_US = 50_000
"""Stretch of venue time that is made at once: bounds the memory."""

FIRST_SNAPSHOT_US = 400_000
NEVER = 2**62
STREAM_STEP_NS = 600
"""Least distance of two messages of one stream at the recorder."""

LIQUIDATION_QUIET_US = US_PER_S
"""The venue publishes at most one liquidation per symbol in this time."""

FaultKind = Literal["drop", "late", "duplicate"]
FAULT_KINDS: tuple[FaultKind, ...] = ("drop", "late", "duplicate")

DEPTH, TICKER, TRADE, FORCE, MARK = range(5)


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong with depth messages on their way; probabilities per message in [0, 1].

    `drop` loses it, `late` delivers it after its successor, `duplicate` delivers it twice.
    `snapshot_after_gap_us` is how long the recorder takes from seeing a gap to asking for a snapshot.  Raises
    ConfigError outside the ranges.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    late: float = 0.0
    snapshot_after_gap_us: int = 300_000

    def __post_init__(self) -> None:
        for name in ("drop", "duplicate", "late"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"faults.{name}", getattr(self, name), "is a probability, 0 to 1")
        if self.drop + self.duplicate + self.late > 1:
            raise ConfigError("faults", self, "drop, duplicate and late together exceed 1")
        if self.snapshot_after_gap_us < 0:
            raise ConfigError("faults.snapshot_after_gap_us", self.snapshot_after_gap_us, "must not be negative")


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """One depth message that did not arrive as it should.

    `ordinal` counts the depth messages that the venue sent for this symbol, from 0.  `local_ns` is when the
    message would have been received (late: before it was held back; duplicate: the first copy).
    """

    kind: FaultKind
    symbol: str
    ordinal: int
    first_id: int
    last_id: int
    local_ns: int


@dataclass(slots=True)
class TradeTotals:
    """Trades of one instrument; ids run from `first_id` to `last_id` (both 0 when there are none)."""

    count: int = 0
    first_id: int = 0
    last_id: int = 0
    buy_qty: Decimal = Decimal(0)
    sell_qty: Decimal = Decimal(0)


@dataclass(slots=True)
class Truth:
    """What happened in a synthetic market, per symbol where it is a dict.

    `books[symbol]["bids" | "asks"]` maps price to size after the last message.  `sent_depth` counts depth
    messages that the venue sent, lost ones included.  `funding` lists settlements inside the run as (time in
    µs, rate).
    """

    faults: list[InjectedFault] = field(default_factory=list)
    books: dict[str, dict[str, dict[Decimal, Decimal]]] = field(default_factory=dict)
    trades: dict[str, TradeTotals] = field(default_factory=dict)
    sent_depth: dict[str, int] = field(default_factory=dict)
    snapshots: dict[str, int] = field(default_factory=dict)
    liquidations: dict[str, int] = field(default_factory=dict)
    funding: dict[str, list[tuple[int, Decimal]]] = field(default_factory=dict)
    messages: int = 0

    def of_kind(self, *kinds: str) -> list[InjectedFault]:
        """The injected faults of these kinds, in the order in which they were injected."""
        return [fault for fault in self.faults if fault.kind in kinds]

    def breaks(self, symbol: str) -> int:
        """How many gaps a correct reader reports for `symbol`."""
        return sum(fault.symbol == symbol for fault in self.of_kind("drop", "late"))


class SyntheticMarket:
    """A few minutes of one venue, recorded.

    `instruments` are symbols with a ready-made listing (see `LISTINGS`) or `Listing`s of your own; the first
    two of the venue when left out.  Venue time runs from `start_us` for `duration_us`.  `rate` scales the
    order flow (1: like the real market).  `clock_offset_us` is added to all receive times, as by a recorder
    whose clock is off. `feed_latency_us` is the least and about the largest time from venue to recorder.
    `liquidation_odds`: one market order in this many is a liquidation (futures; 0: none).

    `messages()` and `write()` may be called any number of times and always give the same bytes.
    Raises ConfigError for an unknown venue or symbol and for values out of range.
    """

    def __init__(
        self,
        venue: str = "binance-usdm",
        instruments: Sequence[str | Listing] = (),
        *,
        seed: int = 7,
        start_us: int = 1_700_000_000_000_000,
        duration_us: int = 60 * US_PER_S,
        rate: float = 1.0,
        faults: Faults | None = None,
        clock_offset_us: int = 0,
        feed_latency_us: tuple[int, int] = (1_500, 15_000),
        funding_interval_us: int = 8 * US_PER_HOUR,
        liquidation_odds: int = 300,
    ) -> None:
        if venue not in DIALECTS:
            raise ConfigError("venue", venue, "no such synthetic venue", did_you_mean(venue, DIALECTS))
        names = instruments or tuple(LISTINGS[venue])[:2]
        self.listings = tuple(find_listing(venue, n) if isinstance(n, str) else n for n in names)
        self.venue, self.seed, self.rate = venue, seed, rate
        self.start_us, self.duration_us = start_us, duration_us
        self.faults = faults or Faults()
        self.clock_offset_us, self.feed_latency_us = clock_offset_us, feed_latency_us
        self.funding_interval_us, self.liquidation_odds = funding_interval_us, liquidation_odds
        self._truth: Truth | None = None
        self._check()

    def _check(self) -> None:
        symbols = [listing.symbol for listing in self.listings]
        if len(set(symbols)) != len(symbols):
            raise ConfigError("instruments", symbols, "a symbol is listed twice")
        for listing in self.listings:
            if listing.instrument.venue != self.venue:
                raise ConfigError("instruments", listing.instrument.name, f"is not of venue {self.venue}")
        if self.duration_us < US_PER_S:
            raise ConfigError("duration_us", self.duration_us, "must be at least one second")
        if not 0 < self.rate <= 100:
            raise ConfigError("rate", self.rate, "must be above 0 and at most 100")
        if not 0 < self.feed_latency_us[0] <= self.feed_latency_us[1]:
            raise ConfigError("feed_latency_us", self.feed_latency_us, "must be (least, largest), both positive")
        if self.funding_interval_us < US_PER_S or self.funding_interval_us % US_PER_MS:
            raise ConfigError("funding_interval_us", self.funding_interval_us, "must be whole ms and at least 1 s")
        if self.start_us % US_PER_MS or self.start_us < US_PER_S:
            raise ConfigError("start_us", self.start_us, "must be whole milliseconds after 1970")

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Tick, lot and payoff of what is traded, in the order of registration."""
        return tuple(listing.instrument for listing in self.listings)

    @property
    def truth(self) -> Truth:
        """What really happened; runs the market once if no iteration of `messages()` has ended yet."""
        if self._truth is None:
            for _ in self.messages():
                pass
        assert self._truth is not None
        return self._truth

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(local time in ns, raw message) in order of receipt; memory does not grow with the duration."""
        truth = Truth()
        pending: list[tuple[int, bytes]] = []
        listeners = [_Listener(self, listing, pending, truth) for listing in self.listings]
        stop_us = self.start_us + self.duration_us
        now_us = self.start_us
        while now_us < stop_us:
            now_us = min(now_us + CHUNK_US, stop_us)
            for listener in listeners:
                listener.advance(now_us)
            if now_us == stop_us:
                for listener in listeners:
                    listener.finish()
            pending.sort()
            safe_ns = (now_us + self.clock_offset_us) * NS_PER_US
            ready = len(pending) if now_us == stop_us else bisect_left(pending, (safe_ns, b""))
            truth.messages += ready
            yield from pending[:ready]
            del pending[:ready]
        self._truth = truth

    def write(self, path: Path | str) -> Path:
        """Write `<local ns> <json>` lines to `path` (gzip when it ends in .gz) aside, then rename."""
        path = Path(path)
        aside = path.with_name(path.name + ".part")
        try:
            with aside.open("wb") as raw:
                if path.suffix == ".gz":
                    with gzip.GzipFile("", "wb", 3, raw, mtime=0) as packed:
                        self._write_lines(packed)
                else:
                    self._write_lines(raw)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        return path

    def _write_lines(self, out: IO[bytes] | gzip.GzipFile) -> None:
        lines: list[bytes] = []
        for local_ns, payload in self.messages():
            lines.append(b"%d %b\n" % (local_ns, payload))
            if len(lines) == 2_000:
                out.write(b"".join(lines))
                lines.clear()
        out.write(b"".join(lines))


class _Listener:
    """One instrument on its way from order flow to recorder; appends (local ns, payload) to `pending`."""

    def __init__(
        self, market: SyntheticMarket, listing: Listing, pending: list[tuple[int, bytes]], truth: Truth
    ) -> None:
        self.market, self.pending, self.truth = market, pending, truth
        self.symbol, self.instrument = listing.symbol, listing.instrument
        self.wire = Wire(listing)
        self.dialect = self.wire.dialect
        self.flow = OrderFlow(listing, market.seed, market.rate, self.dialect.id_stride)
        name = listing.instrument.name
        self.carrier_bits = stream(market.seed, name, "carrier").getrandbits
        self.fault_bits = stream(market.seed, name, "faults").getrandbits
        self.rest_bits = stream(market.seed, name, "rest").getrandbits
        self.event_bits = stream(market.seed, name, "events").getrandbits
        least, largest = market.feed_latency_us
        self.least_ns, self.spread_ns = least * NS_PER_US, (largest - least) * NS_PER_US
        self.offset_ns = market.clock_offset_us * NS_PER_US
        self.event_us = [market.start_us] * 5
        self.local_ns = [0] * 5
        self.trade_id = 100_000_000 + self.event_bits(28)
        self.totals = truth.trades[self.symbol] = TradeTotals()
        self.bought_lots = self.sold_lots = 0
        for counter in (truth.sent_depth, truth.snapshots, truth.liquidations):
            counter[self.symbol] = 0
        truth.funding[self.symbol] = []
        self.rate_e8, self.basis_e8, self.announced = 10_000, 0, False
        self._schedule(market.start_us)
        self.previous_id = self.flow.last_id
        self.touched_us = market.start_us
        self.held = b""
        self.repairing, self.missing = True, False
        self.snapshot_id, self.snapshot_local_ns = 0, NEVER

    def _schedule(self, start_us: int) -> None:
        self.order_us = start_us + self.flow.wait_us()
        self.flush_us = start_us + self.event_bits(10) * 10 + 1_000
        self.drift_us = start_us + FAIR_STEP_US
        self.mark_us = start_us - start_us % US_PER_S + US_PER_S if self.dialect.futures else NEVER
        self.settle_us = start_us - start_us % self.market.funding_interval_us + self.market.funding_interval_us
        self.snapshot_us = start_us + FIRST_SNAPSHOT_US + self.event_bits(12) * 10
        self.liquidation_us = start_us

    def advance(self, until_us: int) -> None:
        """Everything that happens at the venue before `until_us`."""
        while True:
            now = min(self.order_us, self.flush_us, self.snapshot_us, self.mark_us, self.drift_us)
            if now >= until_us:
                return
            if now == self.order_us:
                self._order(now)
                self.order_us = now + self.flow.wait_us()
            elif now == self.flush_us:
                self.flow.far_activity()
                self.touched_us = now
                self._flush(now)
                jitter = self.dialect.depth_jitter_us
                self.flush_us = now + self.dialect.depth_interval_us
                self.flush_us += jitter * self.event_bits(8) >> 8 if jitter else 0
            elif now == self.snapshot_us:
                self._snapshot(now)
            elif now == self.mark_us:
                self._mark(now)
                self.mark_us = now + US_PER_S
            else:
                self.flow.drift()
                self.drift_us = now + FAIR_STEP_US

    def finish(self) -> None:
        """Send what is left and write the final state down."""
        stop_us = self.market.start_us + self.market.duration_us
        self._flush(stop_us)
        self._settle(stop_us - 1)
        self.totals.buy_qty = self.instrument.size(self.bought_lots)
        self.totals.sell_qty = self.instrument.size(self.sold_lots)
        price, size = self.instrument.price, self.instrument.size
        self.truth.books[self.symbol] = {
            name: {price(ticks): size(lots) for ticks, lots in book.items()}
            for name, book in (("bids", self.flow.bids), ("asks", self.flow.asks))
        }

    def _stamp(self, channel: int, venue_us: int) -> tuple[int, int]:
        """Event time in ms and receive time in ns of the next message of a stream; neither steps back."""
        r = self.carrier_bits(24)
        event_us = self.event_us[channel] = max(self.event_us[channel], venue_us + (r >> 16 << 2))
        jitter = (r & 0xFFFF) ** 4 * self.spread_ns >> 64
        earliest = event_us * NS_PER_US + self.least_ns + jitter + self.offset_ns
        local_ns = self.local_ns[channel] = max(self.local_ns[channel] + STREAM_STEP_NS, earliest)
        return event_us // US_PER_MS, local_ns

    def _order(self, now: int) -> None:
        flow = self.flow
        before_id, before = flow.last_id, flow.touch()
        side, prints = flow.order()
        if flow.last_id == before_id:
            return
        self.touched_us = now
        match_ms = now // US_PER_MS
        if prints:
            self._trades(now, side, prints)
        touch = flow.touch()
        if touch != before:
            event_ms, local_ns = self._stamp(TICKER, now)
            self.pending.append((local_ns, self.wire.ticker(event_ms, match_ms, flow.last_id, touch)))

    def _trades(self, now: int, side: int, prints: list[tuple[int, int]]) -> None:
        match_ms = now // US_PER_MS
        totals = self.totals
        totals.first_id = totals.first_id or self.trade_id
        for ticks, lots in prints:
            event_ms, local_ns = self._stamp(TRADE, now)
            self.pending.append((local_ns, self.wire.trade(event_ms, match_ms, self.trade_id, side, ticks, lots)))
            totals.last_id = self.trade_id
            self.trade_id += 1
        traded = sum(lots for _, lots in prints)
        if side == BUY:
            self.bought_lots += traded
        else:
            self.sold_lots += traded
        totals.count += len(prints)
        odds = self.market.liquidation_odds
        if self.dialect.futures and odds and self.event_bits(32) * odds >> 32 == 0 and now >= self.liquidation_us:
            self.liquidation_us = now + LIQUIDATION_QUIET_US
            limit = prints[-1][0] + side * (5 + self.event_bits(6))
            event_ms, local_ns = self._stamp(FORCE, now)
            self.pending.append((local_ns, self.wire.liquidation(event_ms, match_ms, side, prints, limit)))
            self.truth.liquidations[self.symbol] += 1

    def _mark(self, now: int) -> None:
        self._settle(now)
        self.rate_e8 += self.event_bits(6) - 32 + (10_000 - self.rate_e8 >> 6)
        self.basis_e8 += (self.event_bits(16) - 32_768) - (self.basis_e8 >> 4)
        self.announced = True
        tick_e8 = int(self.instrument.tick * SCALE)
        mark_e8 = (self.flow.bid + self.flow.ask) * tick_e8 // 2 + self.basis_e8
        event_ms, local_ns = self._stamp(MARK, now)
        payload = self.wire.mark(
            event_ms, mark_e8, mark_e8 - 3 * self.basis_e8, self.rate_e8, self.settle_us // US_PER_MS
        )
        self.pending.append((local_ns, payload))

    def _settle(self, now: int) -> None:
        """Funding is exchanged at the rate that was published last for this settlement."""
        if now < self.settle_us:
            return
        if self.announced:
            rate = Decimal(self.rate_e8) / SCALE
            self.truth.funding[self.symbol].append((self.settle_us, rate))
        self.settle_us += self.market.funding_interval_us
        self.announced = False

    def _snapshot(self, now: int) -> None:
        """The recorder's REST request reaches the venue; the answer travels longer than messages do."""
        flow, wire = self.flow, self.wire
        self.snapshot_us = NEVER
        self.snapshot_id = flow.last_id
        bids = wire.levels(sorted(flow.bids.items(), reverse=True))
        asks = wire.levels(sorted(flow.asks.items()))
        payload = wire.snapshot(now // US_PER_MS, self.touched_us // US_PER_MS, flow.last_id, bids, asks)
        travel_us = 20_000 + self.rest_bits(15)
        self.snapshot_local_ns = (now + travel_us) * NS_PER_US + self.least_ns + self.offset_ns
        self.pending.append((self.snapshot_local_ns, payload))
        self.truth.snapshots[self.symbol] += 1

    def _flush(self, now: int) -> None:
        flow, wire = self.flow, self.wire
        if not flow.first_id:
            return
        bids, asks = flow.bids, flow.asks
        bid_text = wire.levels((p, bids.get(p, 0)) for p in sorted(flow.dirty_bids, reverse=not self.dialect.futures))
        ask_text = wire.levels((p, asks.get(p, 0)) for p in sorted(flow.dirty_asks))
        event_ms, local_ns = self._stamp(DEPTH, now)
        first = flow.first_id if self.dialect.futures else self.previous_id + 1
        ids = (first, flow.last_id, self.previous_id)
        payload = wire.depth(event_ms, self.touched_us // US_PER_MS, ids, bid_text, ask_text)
        self._deliver(now, local_ns, payload, ids)
        self.previous_id = flow.last_id
        flow.clear_dirty()

    def _deliver(self, now: int, local_ns: int, payload: bytes, ids: tuple[int, int, int]) -> None:
        """Hand a depth message to the recorder, or do to it what `faults` asks for."""
        if self.repairing and local_ns > self.snapshot_local_ns and ids[2] >= self.snapshot_id:
            self.repairing = False
        kind = self._fault_kind(now)
        ordinal = self.truth.sent_depth[self.symbol]
        self.truth.sent_depth[self.symbol] += 1
        if kind:
            fault = InjectedFault(kind, self.symbol, ordinal, ids[0], ids[1], local_ns)
            self.truth.faults.append(fault)
        if kind in ("drop", "late"):
            self.repairing = self.missing = True
            self.snapshot_local_ns = NEVER
            self.held = payload if kind == "late" else b""
            return
        self.pending.append((local_ns, payload))
        if kind == "duplicate":
            self.pending.append((local_ns + STREAM_STEP_NS // 2, payload))
        if self.missing:
            self.missing = False
            seen_us = (local_ns - self.offset_ns) // NS_PER_US
            self.snapshot_us = seen_us + self.market.faults.snapshot_after_gap_us
            if self.held:
                self.pending.append((local_ns + STREAM_STEP_NS // 2, self.held))

    def _fault_kind(self, now: int) -> FaultKind | None:
        """What happens to this depth message; draws the same random numbers whatever the answer."""
        faults, r = self.market.faults, self.fault_bits(32)
        room_us = faults.snapshot_after_gap_us + 2 * self.market.feed_latency_us[1] + US_PER_S
        if self.repairing or now + room_us > self.market.start_us + self.market.duration_us:
            return None
        for kind in FAULT_KINDS:
            odds = int(getattr(faults, kind) * 2**32)
            if r < odds:
                return kind
            r -= odds
        return None
