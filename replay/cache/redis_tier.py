"""Redis as a tier: bytes by key, with a time to live, many keys a round trip.

Redis may be absent, restart, be full or slow: then it has nothing, each failure is counted, and it is left alone for
`rest_s` so that a run does not wait for it again and again.  Nothing of this is ever an error of a run.  Redis itself
is bounded by its `maxmemory` and by the time to live; a value of more than `max_value_bytes` is not sent.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from replay.errors import ConfigError

if TYPE_CHECKING:
    from redis import Redis

DAY_S = 86_400
BATCH_BYTES = 4 * 2**20


class RedisTier:
    """A Redis at `url`; `timeout_s` is how long one round trip may take, `clock` tells seconds for the rest.

    ConfigError for an address that is none; a server that does not answer is no error.
    """

    def __init__(
        self, url: str, *, ttl_s: int = DAY_S, timeout_s: float = 0.25, rest_s: float = 1.0,
        max_value_bytes: int = 16 * 2**20, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ConfigError("redis", url.rpartition("@")[2], "is not an address", "redis://host:6379/0")
        for name, value in (("ttl_s", ttl_s), ("timeout_s", timeout_s)):
            if value <= 0:
                raise ConfigError(name, value, "must be positive")
        self.url, self.ttl_s, self.timeout_s, self.rest_s = url, ttl_s, timeout_s, rest_s
        self.max_value_bytes, self.clock = max_value_bytes, clock
        self.counts: Counter[str] = Counter()
        self._resting_until_s: float | None = None
        self._client: Redis | None = None

    def __repr__(self) -> str:
        return f"RedisTier({self.url.rpartition('@')[2]!r})"

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """Values in the order of `keys`, None where there is none or Redis fails."""
        found = self._asked(lambda client: client.mget(keys)) if keys else None
        return found if isinstance(found, list) else [None] * len(keys)

    def put(self, blocks: Mapping[str, bytes]) -> None:
        """Send the values, some MB a round trip."""
        small = {key: data for key, data in blocks.items() if len(data) <= self.max_value_bytes}
        self.counts["redis value too large"] += len(blocks) - len(small)
        batch: dict[str, bytes] = {}
        size = 0
        for key, data in small.items():
            if size + len(data) > BATCH_BYTES:
                self._send(batch)
                batch, size = {}, 0
            batch[key] = data
            size += len(data)
        self._send(batch)

    def _send(self, batch: Mapping[str, bytes]) -> None:
        def work(client: Redis) -> object:
            pipeline = client.pipeline(transaction=False)
            for key, data in batch.items():
                pipeline.set(key, data, ex=self.ttl_s)
            return pipeline.execute()

        if batch:
            self._asked(work)

    def _asked(self, work: Callable[[Redis], object]) -> object:
        """What Redis says; None when it rests or fails."""
        if self._resting_until_s is not None and self.clock() < self._resting_until_s:
            self.counts["redis skipped"] += 1
            return None
        self._resting_until_s = None
        from redis import ConnectionError, RedisError, TimeoutError

        try:
            return work(self._connected())
        except TimeoutError:
            self.counts["redis slow"] += 1
        except ConnectionError:
            self.counts["redis not there"] += 1
        except RedisError:
            self.counts["redis refused"] += 1
        self._resting_until_s = self.clock() + self.rest_s
        return None

    def _connected(self) -> Redis:
        if self._client is None:
            from redis import Redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry

            timeout_s = self.timeout_s
            self._client = Redis.from_url(
                self.url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0),
            )  # fmt: skip
        return self._client

    def close(self) -> None:
        """Give up the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None
