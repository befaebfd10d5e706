"""Time dilation: a recording at the speed at which it was made, N times as fast, or step by step.

`Paced` wraps a source and hands its rows out when their time has come; while none is due it says up to when there is
none, so that timers fire on time too.  Nothing else changes: a paced run has the digest of one that is not.  An engine
holds rows back for the horizon of their source, so they are handed out that much earlier, and callbacks come on time
(except in the last stretch of that length, which comes at once when its time is over).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from replay.errors import ConfigError
from replay.events import LAST, empty_events
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.sources import BATCH_ROWS, Source, digests_of, reached_by
from replay.units import US_PER_MS, US_PER_S

STEP_S = 0.001
"""Longest sleep: how often time is told, and a pause or step is noticed."""


@dataclass(slots=True)
class Drift:
    """How late rows were handed out, in µs of the wall clock: how many times, sum and maximum."""

    count: int = 0
    total_us: float = 0.0
    max_us: float = 0.0

    def add(self, late_us: float) -> None:
        """Count one."""
        self.count += 1
        self.total_us += late_us
        self.max_us = max(self.max_us, late_us)

    @property
    def mean_us(self) -> float:
        """0 when there is none."""
        return self.total_us / self.count if self.count else 0.0

    def __str__(self) -> str:
        return f"{self.mean_us / US_PER_MS:.3f} ms late on average, {self.max_us / US_PER_MS:.3f} ms at most"


class Paced:
    """`source` at `speed` times the pace of its times (`math.inf`: as fast as possible, with pauses and steps still).

    `start_us` is when pacing begins: what was received before is handed out at once (None: at the first row).  `clock`
    gives seconds and never steps back, `sleep` takes seconds.  `pause`, `resume`, `step` may be called from any thread.
    Several paced sources of one run need the same `start_us`.  ConfigError when the speed is not a positive number.
    """

    def __init__(
        self,
        source: Source,
        speed: float = 1.0,
        *,
        start_us: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not isinstance(speed, (int, float)) or not speed > 0:
            raise ConfigError("speed", speed, "must be a positive number", "1 is real time, inf as fast as possible")
        self.source, self.speed, self.start_us = source, float(speed), start_us
        self.clock, self.sleep = clock, sleep
        self.drift = Drift()
        self.reached_us = 0
        self._guard = threading.Lock()
        self._base_us = self._base_s = self._begun_us = 0.0
        self._paused = False

    @property
    def name(self) -> str:
        """Of the source."""
        return self.source.name

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Of the source."""
        return self.source.instruments

    @property
    def quality(self) -> QualityReport:
        """Of the source."""
        return self.source.quality

    @property
    def horizon_us(self) -> int:
        """Of the source."""
        return self.source.horizon_us

    def digests(self) -> dict[str, str]:
        """Of the source."""
        return digests_of(self.source)

    @property
    def now_us(self) -> float:
        """The time of the recording at this moment; infinite when it is played as fast as possible."""
        with self._guard:
            return self._now_us()

    def _now_us(self) -> float:
        if self._paused:
            return self._base_us
        if math.isinf(self.speed):
            return math.inf
        return self._base_us + (self.clock() - self._base_s) * self.speed * US_PER_S

    def pause(self) -> None:
        """Let the time of the recording stand still."""
        with self._guard:
            if not self._paused:
                now_us = self._now_us()
                self._base_us = self.reached_us - self.horizon_us if math.isinf(now_us) else now_us
                self._paused = True

    def resume(self) -> None:
        """Let it go on."""
        with self._guard:
            self._base_s, self._paused = self.clock(), False

    def step(self, step_us: int) -> None:
        """While paused: let `step_us` pass at once."""
        with self._guard:
            if not self._paused:
                raise ConfigError("step", step_us, "needs a pause first", "call pause()")
            self._base_us += step_us

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Rows when they are due; empty batches move `reached_us` in between."""
        begun = False
        for batch in self.source.batches(rows):
            if len(batch) and not begun:
                begun = True
                self._begin(int(batch["ts"][0]))
            yield from self._play(batch)
            if begun and not len(batch) and reached_by(self.source) > self.reached_us:
                yield from self._wait(reached_by(self.source) - self.horizon_us, reached_by(self.source))
                self.reached_us = reached_by(self.source)
                yield batch
        if begun:
            yield from self._wait(self.reached_us, self.reached_us)

    def _begin(self, first_us: int) -> None:
        with self._guard:
            self._base_us = self._begun_us = first_us if self.start_us is None else max(first_us, self.start_us)
            self._base_s = self.clock()

    def _play(self, batch: np.ndarray) -> Iterator[np.ndarray]:
        """One batch: whole messages, as many at once as are due."""
        ends = np.flatnonzero(batch["flags"] & LAST) + 1
        times = batch["ts"][ends - 1]
        done = 0
        while done < len(ends):
            due_us = int(times[done]) - self.horizon_us
            yield from self._wait(due_us, int(times[done]))
            now_us = self.now_us
            if due_us > self._begun_us and math.isfinite(now_us) and not self._paused:
                self.drift.add((now_us - due_us) / self.speed)
            stop = max(done + 1, int(np.searchsorted(times, now_us + self.horizon_us, "right")))
            self.reached_us = int(times[stop - 1])
            yield batch[ends[done - 1] if done else 0 : ends[stop - 1]]
            done = stop

    def _wait(self, due_us: int, next_us: int) -> Iterator[np.ndarray]:
        """Until it is `due_us`; empty batches on the way, up to the next row, at `next_us`."""
        while (now_us := self.now_us) < due_us:
            reached_us = min(int(now_us) + self.horizon_us, next_us)
            if reached_us > self.reached_us:
                self.reached_us = reached_us
                yield empty_events(0)
            left_s = math.inf if self._paused else (due_us - self.now_us) / self.speed / US_PER_S
            self.sleep(min(STEP_S, max(0.0, left_s)))
