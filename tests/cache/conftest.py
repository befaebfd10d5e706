"""The small market and the store of the store's tests, and a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cache.redis_server import RedisServer, given_url
from tests.store.conftest import market, source, store, written

__all__ = ["market", "source", "store", "written"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    made = RedisServer(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """Address of a Redis that stays: the one of the environment, else one of the test's own."""
    return given_url() or str(request.getfixturevalue("server").url)
