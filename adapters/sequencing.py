"""Messages to events: the Python side of `replay.kernel.sequence`.

A `Sequencer` owns the state of one source (gap machines, rings of early deltas, clocks) and the output array; it
takes message tables and hands out batches of events.  The batch size never changes the events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from adapters.base import Filler
from adapters.filling import Fills, as_message
from replay.errors import ConfigError, DataError, did_you_mean
from replay.events import empty_events
from replay.instruments import Instrument
from replay.kernel import gaps
from replay.kernel import rows as row_kernel
from replay.kernel import sequence as kernel
from replay.kernel.lexer import LEVEL
from replay.quality import Gap, QualityReport

RING_MESSAGES = 4_096
RING_LEVELS = 262_144
POOL_LEVELS = 4_194_304
"""Early deltas are kept up to RING_MESSAGES messages and RING_LEVELS levels per instrument; with many instruments
they share POOL_LEVELS levels."""

LOG_ROWS = 256
FILLED_LOG_ROWS = 2
"""A log without room for a second hole: the kernel comes back after each."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Clock of a recording: `offset_ns` is added to local times, `horizon_us` bounds the feed latency."""

    offset_ns: int = 0
    horizon_us: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Repair:
    """What happens at a hole: "wait" for the next snapshot, "refetch" one, or "bridge" it and apply on.

    ConfigError when there is no such policy.
    """

    policy: str = "wait"

    def __post_init__(self) -> None:
        if self.policy not in gaps.POLICIES:
            raise ConfigError("repair", self.policy, "no such policy", did_you_mean(self.policy, gaps.POLICIES))

    @property
    def code(self) -> int:
        """Policy as the kernel knows it."""
        return gaps.POLICIES[self.policy]


@dataclass(frozen=True, slots=True)
class Drop:
    """Leave out the depth messages whose 0-based ordinal i has i >= start and i % every == 0 (every 0: none)."""

    every: int = 0
    start: int = 0


def grid(step: Decimal) -> tuple[int, int]:
    """A decimal step as (mantissa, digits): 0.05 is (5, 2)."""
    _, digits, exponent = step.normalize().as_tuple()
    mantissa = int("".join(map(str, digits)))
    if not isinstance(exponent, int):
        raise ConfigError("step", step, "must be finite")
    return (mantissa * 10**exponent, 0) if exponent > 0 else (mantissa, -exponent)


class Sequencer:
    """State of one source.

    `rule` indexes `gaps.RULES`; `lanes[i]` groups instruments whose depth messages are numbered together for `drop`;
    `aggregated` holds the symbols whose aggTrades count as trades; `filler` is asked for what holes have swallowed.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        rule: int,
        timing: Timing,
        *,
        repair: Repair | None = None,
        drop: Drop | None = None,
        lanes: Sequence[int] = (),
        aggregated: frozenset[str] = frozenset(),
        filler: Filler | None = None,
    ) -> None:
        self.instruments = tuple(instruments)
        self.timing, self.repair = timing, repair or Repair()
        drop = drop or Drop()
        count = len(self.instruments)
        levels = max(16_384, min(RING_LEVELS, POOL_LEVELS // max(1, count)))
        self.feeds = np.zeros(count, row_kernel.FEED)
        self.machines = np.zeros(count, gaps.MACHINE)
        self.rings = np.empty((count, RING_MESSAGES), kernel.RING)
        self.ring_levels = np.empty((count, levels), LEVEL)
        self.latest = np.zeros((count, row_kernel.CHANNELS), np.int64)
        self.fills = Fills(filler) if filler else None
        self.filling = False
        self.opened: list[int] = []
        self.log = np.zeros(FILLED_LOG_ROWS if filler else LOG_ROWS, kernel.GAP_LOG)
        self.cursor = np.zeros(1, row_kernel.CURSOR)
        self.setup = np.zeros(1, row_kernel.SETUP)
        self.setup[0] = (timing.offset_ns, timing.horizon_us, self.repair.code, drop.every, drop.start)
        self.ordinals = np.zeros(max(lanes, default=0) + 1, np.int64)
        self.out = empty_events(1)
        self.gaps = QualityReport()
        self.open_gaps: dict[int, Gap] = {}
        for i, instrument in enumerate(self.instruments):
            feed = self.feeds[i]
            feed["rule"] = rule
            feed["price_step"], feed["price_digits"] = grid(instrument.tick)
            feed["size_step"], feed["size_digits"] = grid(instrument.lot)
            feed["lane"] = lanes[i] if lanes else 0
            feed["use_agg"] = instrument.symbol in aggregated

    def push(self, messages: np.ndarray, count: int, levels: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Take `count` messages; yield full batches of about `rows` rows, valid until the next step.

        DataError when a number does not fit the grid of its instrument into 64 bits; its `line` is the row's line.
        """
        cursor = self.cursor[0]
        cursor["next"] = 0
        self._resize(rows)
        cursor["limit"] = rows
        while cursor["next"] < count:
            stop = self.fills.stop(messages, int(cursor["next"]), count) if self.fills else count
            yield from self._advance(messages, stop, levels)
            if self.fills:
                yield from self._fill(self.fills, messages)

    def _advance(self, messages: np.ndarray, count: int, levels: np.ndarray) -> Iterator[np.ndarray]:
        """Take messages up to `count`; with a filler only up to the first hole."""
        cursor = self.cursor[0]
        while True:
            status = kernel.sequence(
                messages, count, levels, self.setup[0], self.feeds, self.machines, gaps.RULES, self.rings,
                self.ring_levels, self.ordinals, self.latest, self.log, self.out, cursor,
            )  # fmt: skip
            if status in (kernel.DONE, kernel.LOG_FULL):
                self._drain_log()
                if status == kernel.DONE or (self.opened and not cursor["releasing"]):
                    return
            elif status == kernel.GROW:
                self._resize(int(cursor["needed"]))
            elif status == kernel.OUT_FULL:
                yield from self.flush()
            else:
                message = messages[cursor["next"]]
                name = self.instruments[message["symbol"]].name
                raise DataError(f"{name}: a price or size is too large for its tick or lot", line=int(message["line"]))

    def _fill(self, fills: Fills, messages: np.ndarray) -> Iterator[np.ndarray]:
        """Ask for the holes that were just found, and load the answers that are due after the latest message."""
        cursor = self.cursor[0]
        while True:
            for i in self.opened:
                if not self.feeds[i]["kept"]:  # no message behind the hole says where it ends
                    fills.failed.setdefault(i, Counter())["nobody knows what is missing"] += 1
                    continue
                behind = self.rings[i][self.feeds[i]["head"]]  # the message behind the hole was kept first
                missing = int(behind["prev_id"] if behind["prev_id"] >= 0 else behind["first_id"] - 1)
                fills.ask(i, self.instruments[i].symbol, self.open_gaps[i].last_good_id, missing)
            self.opened.clear()
            answer = fills.due(self.machines)
            if answer is None:
                return
            at = int(cursor["next"])
            cursor["next"], self.filling = 0, True
            message, levels = as_message(*answer, messages[at - 1])
            refused = int(self.machines[answer[0]]["refused"])
            while cursor["next"] < 1 or cursor["releasing"]:
                yield from self._advance(message, 1, levels)
            if self.machines[answer[0]]["refused"] > refused:
                fills.failed.setdefault(answer[0], Counter())["the book does not join what follows"] += 1
            cursor["next"], self.filling = at, False

    def flush(self) -> Iterator[np.ndarray]:
        """Rows not handed out yet, as one batch, if any."""
        count = int(self.cursor[0]["rows"])
        if count:
            self.cursor[0]["rows"] = 0
            yield self.out[:count]

    def wanted(self) -> list[str]:
        """Symbols whose book needs a snapshot that has not been asked for; asks once each."""
        indices = np.flatnonzero(self.feeds["wants_snapshot"])
        self.feeds["wants_snapshot"][indices] = 0
        return [self.instruments[i].symbol for i in indices]

    def await_delta(self) -> None:
        """After a loss: snapshots are asked for when the stream is back, upon the first delta, not before."""
        lost = self.feeds["wants_snapshot"] == 1
        self.feeds["wants_snapshot"][lost] = 0
        self.machines["state"][lost] = gaps.EMPTY

    def check(self) -> None:
        """AssertionError when a ring, a machine or a clock contradicts itself."""
        for feed, machine, ring in zip(self.feeds, self.machines, self.rings):
            entries = ring[(feed["head"] + np.arange(feed["kept"])) % len(ring)]
            assert 0 <= feed["kept"] <= len(ring), "ring holds too many deltas"
            assert feed["levels_kept"] == (entries["bids"] + entries["asks"]).sum(), "levels of the ring do not add up"
            assert (np.diff(entries["last_id"]) > 0).all(), "kept deltas are out of order"
            live = machine["state"] in (gaps.AWAIT_FIRST, gaps.LIVE)
            assert not (live and feed["kept"]), "a valid book has kept deltas"
            assert not (live and feed["in_gap"]), "a valid book is in a gap"
        assert (self.latest <= max(0, self.cursor[0]["last_ts"])).all(), "a venue time lies after its receipt"

    def _resize(self, rows: int) -> None:
        if len(self.out) < rows:
            bigger = empty_events(rows)
            bigger[: len(self.out)] = self.out
            self.out = bigger

    def _drain_log(self) -> None:
        cursor = self.cursor[0]
        for entry in self.log[: cursor["logged"]]:
            i, ts, what = int(entry["instrument"]), int(entry["ts"]), int(entry["what"])
            if what == kernel.CLOSED:
                gap = self.open_gaps.pop(i)
                gap.end_us = ts
                fetched = self.filling if self.fills else self.repair.policy == "refetch"
                gap.repair = "refetch" if fetched else "snapshot"
                if self.fills and not self.filling:
                    self.fills.waiting.pop(i, None)
                continue
            gap = Gap(self.instruments[i].name, ts, int(entry["last_good"]), int(entry["next_id"]))
            if what == kernel.BRIDGED:
                gap.end_us, gap.repair = ts, "bridge"
            else:
                self.open_gaps[i] = gap
                if self.fills:
                    self.opened.append(i)
            self.gaps.add_gap(gap)
        cursor["logged"] = 0

    @property
    def quality(self) -> QualityReport:
        """Counts so far, as a new report."""
        self._drain_log()
        report = QualityReport(
            gaps=list(self.gaps.gaps),
            gaps_total=self.gaps.gaps_total,
            clock_offset_us=self.timing.offset_ns / 1000,
            max_feed_latency_us=self.timing.horizon_us,
            ts_backsteps=int(self.cursor[0]["ts_backsteps"]),
        )
        for instrument, feed, machine in zip(self.instruments, self.feeds, self.machines):
            q = report.of(instrument.name)
            q.messages, q.depth_messages = int(feed["messages"]), int(machine["depth"])
            q.applied, q.stale = int(machine["applied"]), int(machine["stale"])
            q.duplicates, q.breaks = int(machine["duplicates"]), int(machine["breaks"])
            q.snapshots, q.snapshots_refused = int(machine["snapshots"]), int(machine["refused"])
            q.trades, q.off_tick = int(feed["trades"]), int(feed["off_tick"])
            q.exch_ts_backsteps, q.buffer_overflows = int(feed["backsteps"]), int(feed["overflows"])
            q.book_state = gaps.STATE_NAMES[machine["state"]]
            for name, field in ANOMALIES:
                if feed[field]:
                    q.anomalies[name] = int(feed[field])
            if machine["ignored"]:
                q.anomalies["snapshot not newer than the book, ignored"] = int(machine["ignored"])
        for i, reasons in self.fills.failed.items() if self.fills else ():
            for reason, times in reasons.items():
                report.of(self.instruments[i].name).anomalies[f"gap not filled: {reason}"] = times
        return report


ANOMALIES = (
    ("trade off the book (insurance fund, ADL, zero), left out", "off_book"),
    ("aggTrade beside the trade stream, left out", "agg_unused"),
    ("venue time after receipt, clamped", "early"),
    ("venue time further back than the horizon, clamped", "late"),
)
