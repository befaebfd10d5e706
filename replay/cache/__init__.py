"""Blocks of events, kept where they are read faster the second time: in memory, in Redis, else on disk.

cache = Cache(memory_bytes=512 << 20, redis=RedisTier("redis://127.0.0.1:6379/0"))
source = CachedSource(Store("store/").source(["binance-usdm:BTCUSDT"]), cache)
source.prefetch(start_us, end_us)
result = Replay([source]).run(Strategy())
print(result.quality.cache)

A cache never changes a result: what it has not, or not intact, is read from the store.
"""

from __future__ import annotations

from replay.cache.block import Block
from replay.cache.redis_tier import RedisTier
from replay.cache.source import CachedSource
from replay.cache.tiers import Cache

__all__ = ["Block", "Cache", "CachedSource", "RedisTier"]
