"""Every message pair is accounted for: equal, or in the table of differences with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters import pair_table, pairs


@pytest.fixture(scope="module")
def outcome(captures: Path) -> pairs.Outcome:
    """What came of all pairs."""
    return pairs.compare_all(pairs.load(captures))


def test_every_exchange_has_an_adapter(outcome: pairs.Outcome) -> None:
    assert sum(outcome.pairs.values()) == 306
    assert pair_table.ADAPTERS.keys() == outcome.pairs.keys()


@pytest.mark.parametrize("exchange", pair_table.ADAPTERS)
def test_what_differs_is_in_the_table_and_what_is_in_the_table_differs(outcome: pairs.Outcome, exchange: str) -> None:
    found = {where: times for where, times in outcome.differences.items() if where[0] == exchange}
    known = {where: times for where, (times, _) in pair_table.DIFFERENCES.items() if where[0] == exchange}
    assert found == known
    assert outcome.records[exchange] > sum(times for (_, _, name), times in found.items() if name == "message")


def test_every_field_that_is_not_carried_occurs(outcome: pairs.Outcome) -> None:
    unseen = pair_table.NOT_CARRIED.keys() - outcome.skipped.keys()
    assert not unseen, f"nothing has {unseen}"


def test_a_wrong_value_is_found(captures: Path) -> None:
    """The comparison itself: a pair whose record is altered in any one field differs there."""
    fine = next(pair for pair in pairs.load(captures) if pair.exchange == "binance" and pair.normalized)
    told = pairs.Told(pairs.decoder_of("binance", [fine]))
    assert pairs.compare_pair(fine, told) == ([], [])
    for name in ("price", "amount", "side", "id", "timestamp"):
        wrong = pairs.Pair("binance", 0, fine.received_us, fine.message, [dict(fine.normalized[0])])
        wrong.normalized[0][name] = "2019-04-01T00:00:00.941Z" if name == "timestamp" else 1
        told = pairs.Told(pairs.decoder_of("binance", [fine]))
        assert pairs.compare_pair(wrong, told)[0] == [("binance", "trade", name)]
