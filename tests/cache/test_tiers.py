"""The memory tier against a list, and the order in which tiers are asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.cache.block import Block, encoded
from replay.cache.tiers import Cache, Memory
from replay.errors import ConfigError
from replay.events import empty_events


def block(rows: int) -> Block:
    return Block(empty_events(rows), np.zeros(rows, np.int64))


@given(
    limit=st.integers(0, 3_000),
    steps=st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"), st.integers(0, 20)), max_size=40),
)
def test_memory_is_a_bounded_list_in_order_of_use(limit: int, steps: list[tuple[bool, str, int]]) -> None:
    """The tier holds what a plain list would that moves what is used to its end and drops from its front."""
    memory, oracle = Memory(limit), list[tuple[str, Block]]()
    for put, key, rows in steps:
        mine = next((found for name, found in oracle if name == key), None)
        if put:
            oracle = [pair for pair in oracle if pair[0] != key]
            made = block(rows)
            memory.put(key, made)
            if made.nbytes <= limit:
                oracle.append((key, made))
            while sum(each.nbytes for _, each in oracle) > limit:
                oracle.pop(0)
        else:
            assert memory.get(key) is mine
            if mine is not None:
                oracle = [pair for pair in oracle if pair[0] != key] + [(key, mine)]
        memory.check()
        assert list(memory.blocks.items()) == oracle


class Kept:
    """A tier that remembers, and what it was asked."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.asked: list[Sequence[str]] = []
        self.counts: Counter[str] = Counter()

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        self.asked.append(keys)
        self.counts["trouble"] += 1
        return [self.data.get(key) for key in keys]

    def put(self, blocks: Mapping[str, bytes]) -> None:
        self.data.update(blocks)


def test_the_next_tier_is_asked_only_for_what_is_missing() -> None:
    kept, counts = Kept(), Counter[str]()
    cache = Cache(10_000, kept)
    cache.put([("a", block(3))], counts)
    kept.data |= {"b": encoded(block(4)), "c": b"damaged"}
    found = cache.get(["a", "b", "c", "d"], counts)
    assert sorted(found) == ["a", "b"]
    assert kept.asked == [["b", "c", "d"]]
    assert counts == {"memory": 1, "redis": 1, "damaged or of another version": 1, "trouble": 1}
    assert sorted(cache.get(["a", "b"], counts)) == ["a", "b"]
    assert len(kept.asked) == 1
    cache.check()


@pytest.mark.parametrize("size", [-1, 1.5, True])
def test_wrong_size(size: int) -> None:
    with pytest.raises(ConfigError, match="memory_bytes"):
        Cache(size)
