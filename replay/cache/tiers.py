"""The tiers above the disk: memory, bounded in bytes, the block used longest ago goes first; then, if given, Redis.

A `Cache` may be shared by many sources and runs of one process; it is not for several threads at once, but each of
its calls is guarded by a lock, so that prefetching and a run may meet in it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Protocol

from replay.cache.block import Block, decoded, encoded
from replay.errors import ConfigError

MEMORY_BYTES = 256 * 2**20


class Remote(Protocol):
    """A tier that keeps bytes by key and may fail at any time, which it counts and never raises."""

    counts: Counter[str]

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """What it has, None for the rest."""

    def put(self, blocks: Mapping[str, bytes]) -> None:
        """Keep them, if it can."""


class Memory:
    """Blocks by key, at most `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self.blocks: OrderedDict[str, Block] = OrderedDict()

    def get(self, key: str) -> Block | None:
        """The block, which is then the one used last."""
        block = self.blocks.get(key)
        if block is not None:
            self.blocks.move_to_end(key)
        return block

    def put(self, key: str, block: Block) -> None:
        """Keep it; a block larger than the whole tier is not kept."""
        old = self.blocks.pop(key, None)
        self.used -= old.nbytes if old else 0
        if block.nbytes > self.limit:
            return
        self.blocks[key] = block
        self.used += block.nbytes
        while self.used > self.limit:
            _, oldest = self.blocks.popitem(last=False)
            self.used -= oldest.nbytes

    def check(self) -> None:
        """AssertionError when the sum is wrong or the bound is broken."""
        assert self.used == sum(block.nbytes for block in self.blocks.values()), "bytes do not add up"
        assert self.used <= self.limit, "more than allowed"


class Cache:
    """Memory of `memory_bytes` (0: none), then `redis`.  ConfigError for a negative size."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES, redis: Remote | None = None) -> None:
        if isinstance(memory_bytes, bool) or not isinstance(memory_bytes, int) or memory_bytes < 0:
            raise ConfigError("memory_bytes", memory_bytes, "must be a whole number of at least 0")
        self.memory, self.redis = Memory(memory_bytes), redis
        self._lock = Lock()

    def get(self, keys: Sequence[str], counts: Counter[str]) -> dict[str, Block]:
        """The blocks that are there; `counts` gains the hits of each tier and what went wrong there."""
        with self._lock:
            found = {key: block for key in keys if (block := self.memory.get(key)) is not None}
            counts["memory"] += len(found)
            missing = [key for key in keys if key not in found]
            if self.redis is None or not missing:
                return found
            before = self.redis.counts.copy()
            for key, data in zip(missing, self.redis.get(missing)):
                block = None if data is None else decoded(data)
                if block is not None:
                    found[key] = block
                    counts["redis"] += 1
                    self.memory.put(key, block)
                elif data is not None:
                    counts["damaged or of another version"] += 1
            counts.update(self.redis.counts - before)
            return found

    def put(self, blocks: Iterable[tuple[str, Block]], counts: Counter[str]) -> None:
        """Keep blocks that were read from the disk."""
        with self._lock:
            blocks = list(blocks)
            for key, block in blocks:
                self.memory.put(key, block)
            if self.redis is not None:
                before = self.redis.counts.copy()
                self.redis.put({key: encoded(block) for key, block in blocks})
                counts.update(self.redis.counts - before)

    def check(self) -> None:
        """AssertionError when a bound or a block is broken."""
        self.memory.check()
        for block in self.memory.blocks.values():
            block.check()
