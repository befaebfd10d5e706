"""A part of a store, read through a cache (see `replay.sources.Source`).

The stretch is cut into blocks of `block_us` for each instrument.  A key names the version of blocks, the digests of the
files of the day, the channels and the grid, so a block of other events has another key.  Blocks that are in the cache
are taken in one round trip for several at a time; the others are read from the store, neighbours in one pass, and put
into the cache.  Blocks of several instruments are put together in the store's order: by ts,
then message number, then instrument.  The events are those of the store, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from replay.cache.block import FIELDS, VERSION, Block
from replay.cache.tiers import Cache
from replay.errors import ConfigError
from replay.events import empty_events
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.sources import BATCH_ROWS, cut_batches
from replay.store.columns import chosen, joined, words_of
from replay.store.lanes import Lane
from replay.store.prefetch import prefetched
from replay.store.source import BLOCK_ROWS, StoreSource
from replay.units import US_PER_DAY, US_PER_MIN

AHEAD = 8
"""Most blocks of one instrument that are asked for in one round trip."""
IN_FLIGHT = 64
"""Blocks that all instruments together have in flight, about: with many of them each asks for fewer."""


class CachedSource:
    """`source` through `cache`; `batches` can be called again.

    `quality.cache` counts blocks by where they came from, and what went wrong with a tier, in the latest run.
    ConfigError when `block_us` does not divide a day, or the source begins before its start (`warm=True`).
    """

    def __init__(self, source: StoreSource, cache: Cache, *, block_us: int = US_PER_MIN) -> None:
        if isinstance(block_us, bool) or not isinstance(block_us, int) or block_us < 1 or US_PER_DAY % block_us:
            raise ConfigError("block_us", block_us, "does not divide a day", "for example 60_000_000, a minute")
        if source.starts:
            raise ConfigError("source", source.name, "was opened with warm=True, which is not cached", "leave it out")
        self.source, self.cache, self.block_us = source, cache, block_us
        self.name, self.instruments, self.horizon_us = source.name, source.instruments, source.horizon_us
        self.counts: Counter[str] = Counter()
        self._lanes = [_Lane(self, index) for index in range(len(self.instruments))]

    @property
    def quality(self) -> QualityReport:
        """The store's, with the counts of the cache."""
        return replace(self.source.quality, cache=+self.counts)

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Batches of at most about `rows` rows, which stay valid and are not to be written to; found and decoded
        ahead by a thread."""
        if rows < 1:
            raise ConfigError("rows", rows, "must be at least 1")
        self.counts = Counter()
        for events in prefetched(self._events(self.source.start_us, self.source.end_us, self.counts)):
            yield from cut_batches(events, rows)

    def prefetch(self, start_us: int | None = None, end_us: int | None = None) -> Counter[str]:
        """Bring the blocks of [start_us, end_us) into the cache; how many were found where.

        None means the source's own bounds.  What does not fit into memory is in Redis afterwards, if that is there.
        """
        counts: Counter[str] = Counter()
        start_us = self.source.start_us if start_us is None else max(start_us, self.source.start_us)
        end_us = self.source.end_us if end_us is None else min(end_us, self.source.end_us)
        for lane in self._lanes:
            for _ in lane.blocks(start_us, end_us, counts):
                pass
        return +counts

    def _events(self, start_us: int, end_us: int, counts: Counter[str]) -> Iterator[np.ndarray]:
        """Arrays of whole messages, block after block."""
        lanes = [lane.blocks(start_us, end_us, counts) for lane in self._lanes]
        heads = [next(lane, None) for lane in lanes]
        while waiting := [head[0] for head in heads if head is not None]:
            first = min(waiting)
            parts = []
            for index, head in enumerate(heads):
                if head is not None and head[0] == first:
                    parts.append((index, head[1]))
                    heads[index] = next(lanes[index], None)
            events = _cut(_together(parts), start_us, end_us)
            if len(events):
                yield events


def _together(parts: Sequence[tuple[int, Block]]) -> np.ndarray:
    """EVENT rows of blocks of (instrument index, block), in the store's order; not to be written to."""
    if [index for index, _ in parts] == [0]:
        return parts[0][1].events
    events = joined([block.events for _, block in parts])
    events["instrument"] = np.repeat([index for index, _ in parts], [len(block.events) for _, block in parts])
    if len(parts) > 1:
        numbers = np.concatenate([block.numbers for _, block in parts])
        events = chosen(events, np.lexsort((numbers, events["ts"])))
    return events


def _cut(events: np.ndarray, start_us: int, end_us: int) -> np.ndarray:
    first, stop = np.searchsorted(events["ts"], [start_us, end_us]).tolist()
    return events[first:stop]


class _Lane:
    """The blocks of one instrument."""

    def __init__(self, owner: CachedSource, index: int) -> None:
        self.owner, self.index = owner, index
        source = owner.source
        self.instrument: Instrument = source.instruments[index]
        self.days = {day.number: day for day in list(source.days.values())[index]}
        self.prefixes = {number: self._prefix(number) for number in self.days}

    def _prefix(self, number: int) -> str:
        """What the keys of a day begin with."""
        day, source = self.days[number], self.owner.source
        digests = [day.files[channel].footer.digest for channel in source.channels if channel in day.files]
        said = [self.instrument.name, self.instrument.tick, self.instrument.lot, self.owner.block_us, FIELDS, *digests]
        return f"replay:{VERSION}:{hashlib.sha256(repr(said).encode()).hexdigest()[:32]}"

    def blocks(self, start_us: int, end_us: int, counts: Counter[str]) -> Iterator[tuple[int, Block]]:
        """(number of the block since 1970, block), those with rows, in order of time; `counts` gains where from."""
        cache = self.owner.cache
        ahead = max(1, min(AHEAD, IN_FLIGHT // len(self.owner.instruments)))
        numbers = self._numbers(start_us, end_us)
        reader: _Reader | None = None
        while part := list(islice(numbers, ahead)):
            keys = [self._key(number) for number in part]
            found = cache.get(keys, counts)
            fresh = {}
            for number, key in zip(part, keys):
                if key not in found:
                    if reader is None or reader.next != number:
                        reader = self._reader(number)
                    fresh[key] = reader.read()
            counts["disk"] += len(fresh)
            cache.put(fresh.items(), counts)
            found.update(fresh)
            yield from ((number, found[key]) for number, key in zip(part, keys) if len(found[key].events))

    def _numbers(self, start_us: int, end_us: int) -> Iterator[int]:
        length = self.owner.block_us
        for day in self.days.values():
            first, last = max(start_us, day.first_us), min(end_us - 1, day.last_us)
            yield from range(first // length, last // length + 1)

    def _key(self, number: int) -> str:
        return f"{self.prefixes[number * self.owner.block_us // US_PER_DAY]}:{number}"

    def _reader(self, number: int) -> _Reader:
        """Reads from block `number` to the end of its day."""
        source, length = self.owner.source, self.owner.block_us
        start_us = number * length
        day = self.days[start_us // US_PER_DAY]
        end_us = (day.number + 1) * US_PER_DAY
        files = [day.files[channel] for channel in source.channels if channel in day.files]
        return _Reader([source.lane(self.index, file, BLOCK_ROWS, start_us, end_us) for file in files], number, length)


class _Reader:
    """Blocks of one day from the store, one after the other; `next` is the number of the next one, -1 at the end."""

    def __init__(self, lanes: Sequence[Lane], number: int, length_us: int) -> None:
        self.next, self.length_us = number, length_us
        self.waiting = [(lane, Block(empty_events(0), np.empty(0, np.int64))) for lane in lanes]

    def read(self) -> Block:
        """The next block, perhaps without rows."""
        end_us = (self.next + 1) * self.length_us
        self.next = self.next + 1 if end_us % US_PER_DAY else -1
        taken = []
        for k, (lane, rest) in enumerate(self.waiting):
            mine, rest = _read_until(lane, rest, end_us)
            self.waiting[k] = (lane, rest)
            if len(mine.events):
                taken.append(mine)
        if len(taken) == 1:
            return taken[0]
        events = joined([block.events for block in taken]) if taken else empty_events(0)
        numbers = np.concatenate([np.empty(0, np.int64), *(block.numbers for block in taken)])
        order = np.lexsort((numbers, events["ts"]))
        return Block(chosen(events, order), numbers[order])


def _read_until(lane: Lane, rest: Block, end_us: int) -> tuple[Block, Block]:
    """Rows before `end_us` of what was read before and of the lane, and what was read beyond."""
    events, numbers = [rest.events], [rest.numbers]
    while not len(events[-1]) or events[-1]["ts"][-1] < end_us:
        batch = lane.read()
        if batch is None:
            break
        events.append(empty_events(len(batch)))
        numbers.append(np.empty(len(batch), np.int64))
        lane.expand(batch, words_of(events[-1]), numbers[-1])
        events[-1]["instrument"] = 0
    rows, ids = joined(events), np.concatenate(numbers)
    stop = int(np.searchsorted(rows["ts"], end_us))
    return Block(rows[:stop], ids[:stop].copy()), Block(rows[stop:].copy(), ids[stop:].copy())
