"""Working ahead changes nothing but the time it takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from replay.store.prefetch import prefetched


def prefetching() -> bool:
    """Whether a thread is still working ahead."""
    return any(thread.name == "replay-prefetch" for thread in threading.enumerate())


@pytest.mark.parametrize("count", [0, 1, 100])
def test_all_items_in_order(count: int) -> None:
    assert list(prefetched(iter(range(count)))) == list(range(count))
    assert not prefetching()


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    got = []
    with pytest.raises(KeyError, match="three"):
        for item in prefetched(items()):
            got.append(item)
    assert got == [1, 2] and not prefetching()


def test_giving_up_ends_the_thread_and_closes_what_it_read() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.set()

    ahead = prefetched(items(), depth=2)
    assert [next(ahead), next(ahead)] == [0, 1]
    ahead.close()  # type: ignore[attr-defined]
    assert closed.wait(10) and not prefetching()


def test_no_more_than_the_depth_is_made_ahead() -> None:
    made = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for item in range(1_000):
            made.append(item)
            if item == 4:
                enough.set()
            yield item

    ahead = prefetched(items(), depth=3)
    assert next(ahead) == 0
    assert enough.wait(10)
    assert len(made) <= 1 + 3 + 1
    ahead.close()  # type: ignore[attr-defined]


def test_a_generator_that_is_given_up_is_closed_by_its_own_thread() -> None:
    ran_in: list[int] = []
    closed_in: list[int] = []

    def items() -> Iterator[int]:
        ran_in.append(threading.get_ident())
        try:
            yield from range(10**9)
        finally:
            closed_in.append(threading.get_ident())

    ahead = prefetched(items(), 2)
    assert next(ahead) == 0
    ahead.close()  # type: ignore[attr-defined]
    assert closed_in == ran_in != [threading.get_ident()]
