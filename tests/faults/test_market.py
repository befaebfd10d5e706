"""The local market itself: its deltas rebuild its books."""

from __future__ import annotations

import pytest

from tests.faults.dialects import DIALECTS, Client, Dialect
from tests.faults.market import Delta, Market


@pytest.mark.parametrize("seed", range(5))
def test_the_deltas_rebuild_the_book(seed: int) -> None:
    print(f"seed {seed}")
    market = Market(("A", "B"), seed, stride=9)
    copies = {name: (dict(book.bids), dict(book.asks), book.last_id) for name, book in market.books.items()}
    for _ in range(2_000):
        change = market.step()
        if not isinstance(change, Delta):
            continue
        bids, asks, last_id = copies[change.symbol]
        assert change.prev_id == last_id == change.first_id - 1 <= change.last_id
        for side, levels in ((bids, change.bids), (asks, change.asks)):
            side.update(levels)
        copies[change.symbol] = (*({t: q for t, q in side.items() if q} for side in (bids, asks)), change.last_id)
        book = market.books[change.symbol]
        book.check()
        assert copies[change.symbol] == (book.bids, book.asks, book.last_id)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_change_can_be_spelled(dialect: type[Dialect]) -> None:
    venue = dialect(1)
    spelled = set()
    for _ in range(500):
        change = venue.market.step()
        if isinstance(change, venue.carries):
            assert change.symbol in venue.spell(change, f"books.{change.symbol}")
            spelled.add(type(change))
    assert spelled == set(venue.carries)
    assert not venue.books_wanted([Client("/")])
