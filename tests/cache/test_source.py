"""A store through a cache: the same bytes, whatever is in which tier, and whatever happens to Redis."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay.cache import Cache, CachedSource, RedisTier
from replay.engine import Replay
from replay.errors import ConfigError
from replay.events import BOOK, EVENT, TRADE
from replay.sources import ArraySource, Source
from replay.store import Store
from replay.store.columns import joined
from replay.strategy import Strategy
from replay.units import US_PER_HOUR, US_PER_MIN, US_PER_S
from tests.cache.redis_server import RedisServer
from tests.store.conftest import BOTH, MIDNIGHT

NAMES = [instrument.name for instrument in BOTH]


def all_of(source: Any, rows: int = 4_096) -> np.ndarray:
    return np.concatenate([batch.copy() for batch in source.batches(rows)])


def through(store: Store, cache: Cache, *arguments: Any, block_us: int = US_PER_MIN, **options: Any) -> CachedSource:
    return CachedSource(store.source(*arguments, **options), cache, block_us=block_us)


class Taker(Strategy):
    """Trades a little, so that a digest has something to say."""

    lots: int = 1
    seen: int = 0

    def on_trade(self, ctx: Any, trade: Any) -> None:
        self.seen += 1
        if self.seen % 40 == 0:
            ctx.buy(0, self.lots)
        ctx.record("seen", self.seen)


def digest(source: Source) -> str:
    return Replay([source]).run(Taker()).digest


@pytest.mark.parametrize("block_us", [20 * US_PER_S, US_PER_MIN, US_PER_HOUR, 24 * US_PER_HOUR])
@pytest.mark.parametrize("memory", [0, 30_000, 1 << 28])
@pytest.mark.parametrize("names", [NAMES, NAMES[::-1], NAMES[1:]])
def test_the_events_are_those_of_the_store(written: Path, block_us: int, memory: int, names: list[str]) -> None:
    store, cache = Store(written), Cache(memory)
    expected = all_of(store.source(names))
    source = through(store, cache, names, block_us=block_us)
    for _ in range(2):
        assert all_of(source).tobytes() == expected.tobytes()
        cache.check()
    assert (source.counts["disk"] == 0) == (memory == 1 << 28)
    assert source.instruments == store.source(names).instruments


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("channels", [None, ["trades"], ["book", "quotes"]])
@pytest.mark.parametrize("window", [(-1, 1), (-61_000_001, 59_999_999), (-3_600_000_000, -10), (0, None)])
def test_windows_and_channels(store: Store, hot: bool, channels: Any, window: tuple[int, int | None]) -> None:
    start_us, end_us = (None if edge is None else MIDNIGHT + edge for edge in window)
    cache = Cache()
    assert len(all_of(through(store, cache, [NAMES[0]]))) > 0
    options = {"hot": hot, "start_us": start_us, "end_us": end_us, "channels": channels}
    expected = joined([np.zeros(0, EVENT), *store.source(**options).batches()])
    mine = joined([np.zeros(0, EVENT), *through(store, cache, **options).batches()])
    assert mine.tobytes() == expected.tobytes()


def test_blocks_of_other_events_are_not_taken(store: Store, market: np.ndarray) -> None:
    cache = Cache()
    all_of(through(store, cache))
    other = market.copy()
    other["qty"][other["kind"] == TRADE] += 1
    store.record(ArraySource(other, BOTH), existing="replace")
    fresh = Store(store.path)
    source = through(fresh, cache)
    assert all_of(source).tobytes() == all_of(fresh.source()).tobytes() == other.tobytes()
    assert source.counts["disk"] > 0


def test_prefetch_and_counts(written: Path) -> None:
    cache = Cache()
    source = through(Store(written), cache)
    middle = MIDNIGHT - 5 * US_PER_MIN
    first = source.prefetch(None, middle)
    assert first["disk"] > 0 and first["memory"] == 0
    assert source.prefetch(None, middle) == {"memory": first["disk"]}
    result = Replay([source]).run(Taker())
    assert result.quality.cache["memory"] == first["disk"]
    assert result.quality.cache["disk"] > 0
    assert result.as_dict()["quality"]["cache"] == dict(result.quality.cache)
    assert any("× memory" in line for line in result.quality.lines())
    assert result.digest == digest(Store(written).source())
    assert result.quality.instruments == Store(written).source().quality.instruments


def test_batches_are_bounded_and_whole(written: Path) -> None:
    source = through(Store(written), Cache())
    sizes = [len(batch) for batch in source.batches(100)]
    assert max(sizes) < 200 and len(sizes) > 10
    with pytest.raises(ConfigError, match="rows"):
        next(source.batches(0))


@pytest.mark.parametrize("block_us", [0, 7, True, 1.5])
def test_blocks_divide_a_day(written: Path, block_us: Any) -> None:
    with pytest.raises(ConfigError, match="does not divide a day"):
        through(Store(written), Cache(), block_us=block_us)


def test_kinds_are_all_there(written: Path) -> None:
    assert {BOOK, TRADE} <= set(all_of(through(Store(written), Cache()))["kind"].tolist())


# ------------------------------------------------------------------------------------------------------------ Redis


@pytest.fixture
def tier(server: RedisServer) -> Any:
    made = RedisTier(server.url, rest_s=0.0)
    yield made
    made.close()


def test_another_process_finds_the_blocks(written: Path, url: str) -> None:
    tiers = [RedisTier(url, ttl_s=60), RedisTier(url, ttl_s=60)]
    first = through(Store(written), Cache(redis=tiers[0]))
    expected = all_of(first)
    second = through(Store(written), Cache(redis=tiers[1]))
    assert all_of(second).tobytes() == expected.tobytes() == all_of(Store(written).source()).tobytes()
    assert second.counts["redis"] == first.counts["disk"] + first.counts["redis"] > 0
    assert second.counts["disk"] == 0
    for tier in tiers:
        tier.close()


def test_keys_end_and_round_trips_are_few(written: Path, server: RedisServer, tier: RedisTier) -> None:
    source = through(Store(written), Cache(0, tier))
    blocks = source.prefetch()["disk"]
    with server.client() as client:
        keys = client.keys("replay:1:*")
        assert len(keys) == blocks
        assert all(0 < client.ttl(key) <= 86_400 for key in keys)
        stats = client.info("commandstats")
    assert stats["cmdstat_mget"]["calls"] < blocks / 4
    assert tier.counts == {"redis value too large": 0}


@pytest.mark.parametrize("damage", [b"", b"junk" * 20, None])
def test_damaged_blocks_are_read_from_disk(
    written: Path, server: RedisServer, tier: RedisTier, damage: bytes | None
) -> None:
    source = through(Store(written), Cache(0, tier))
    blocks = source.prefetch()["disk"]
    with server.client() as client:
        for key in client.keys("replay:*")[::2]:
            value = client.get(key)
            client.set(key, value[:-1] if damage is None else damage)
    assert all_of(source).tobytes() == all_of(Store(written).source()).tobytes()
    assert source.counts["damaged or of another version"] == source.counts["disk"] == (blocks + 1) // 2
    assert source.quality.cache["redis"] == blocks // 2


def stepped(source: Source, at: dict[int, Callable[[], None]]) -> str:
    """Digest of a run in which something happens after some batches."""
    count = 0

    def progress(*_: int) -> None:
        nonlocal count
        at.get(count, lambda: None)()
        count += 1

    result = Replay([source], batch_rows=200, progress=progress).run(Taker())
    assert count > max(at), "the run was too short"
    return result.digest


def test_redis_stopped_and_restarted_in_the_middle(written: Path, server: RedisServer, tier: RedisTier) -> None:
    expected = digest(Store(written).source())
    source = through(Store(written), Cache(0, tier), block_us=10 * US_PER_S)
    source.prefetch()
    seen: list[int] = []

    def note() -> None:
        seen.append(source.counts["redis"])

    def down() -> None:
        note()
        server.stop()

    def up() -> None:
        note()
        server.start()

    assert stepped(source, {3: down, 20: up, 40: note}) == expected
    assert source.counts["redis not there"] > 0 and source.counts["disk"] > 0
    assert seen[0] > 0
    assert stepped(source, {0: note}) == expected
    assert source.counts["redis"] > 0


def test_redis_absent(written: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        tier = RedisTier(f"redis://user:hidden@127.0.0.1:{free.getsockname()[1]}/0", rest_s=1e9)
        source = through(Store(written), Cache(0, tier))
        assert digest(source) == digest(Store(written).source())
    assert source.counts["redis not there"] == 1
    assert source.counts["redis skipped"] > 2
    assert "hidden" not in repr(tier)


def test_redis_slow(written: Path, server: RedisServer) -> None:
    tier = RedisTier(server.url, timeout_s=0.05, rest_s=1e9)
    source = through(Store(written), Cache(0, tier))
    source.prefetch()
    with server.client() as client:
        client.execute_command("CLIENT", "PAUSE", 3_000)
    assert all_of(source).tobytes() == all_of(Store(written).source()).tobytes()
    assert source.counts["redis slow"] == 1
    tier.close()


def test_redis_full(written: Path, server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1mb")
    tier = RedisTier(server.url, rest_s=0.0)
    source = through(Store(written), Cache(0, tier))
    for _ in range(2):
        assert all_of(source).tobytes() == all_of(Store(written).source()).tobytes()
    assert source.counts["redis refused"] > 0 and source.counts["disk"] > 0
    tier.close()


def test_large_values_are_not_sent(written: Path, server: RedisServer) -> None:
    tier = RedisTier(server.url, max_value_bytes=100)
    source = through(Store(written), Cache(0, tier))
    assert len(all_of(source)) > 0
    assert source.counts["redis value too large"] > 0
    with server.client() as client:
        assert all(client.strlen(key) <= 100 for key in client.keys("*"))
    tier.close()


@pytest.mark.parametrize(
    ("url", "options"), [("localhost:6379", {}), ("http://x", {}), ("redis://x", {"ttl_s": 0})]
)  # fmt: skip
def test_wrong_settings(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        RedisTier(url, **options)
