"""Gap machine: each rule and each transition by hand."""

from __future__ import annotations

import numpy as np
import pytest

from replay.kernel import gaps
from replay.kernel.gaps import APPLY, BREAK, BRIDGED, BUFFER, DUPLICATE, IGNORE, LOAD, OLD, REFUSE


class Machine:
    """A machine with one rule and policy."""

    def __init__(self, rule: int, policy: int = gaps.WAIT) -> None:
        self.rule, self.policy = gaps.RULES[rule], policy
        self.record = np.zeros(1, gaps.MACHINE)[0]

    def delta(self, first: int, last: int, prev: int = -1) -> int:
        return gaps.on_delta(self.record, self.rule, self.policy, first, last, prev)

    def snapshot(self, snapshot_id: int, kept: tuple[int, int, int] | None = None) -> int:
        first, last, prev = kept or (0, 0, 0)
        return gaps.on_snapshot(self.record, self.rule, snapshot_id, kept is not None, first, last, prev)

    def reset(self, book_id: int) -> None:
        gaps.on_reset(self.record, book_id)

    def lose(self) -> bool:
        return bool(gaps.on_loss(self.record))

    def buffered(self, first: int, last: int, prev: int = -1) -> int:
        return gaps.on_buffered(self.record, self.rule, self.policy, first, last, prev)

    def __getitem__(self, name: str) -> int:
        return int(self.record[name])


def test_spot_start_up_as_binance_documents_it() -> None:
    m = Machine(gaps.BINANCE_SPOT)
    assert m["state"] == gaps.EMPTY
    assert m.delta(5, 8) == BUFFER
    assert m.delta(9, 10) == BUFFER
    assert m["state"] == gaps.BUFFERING
    assert m.snapshot(8, kept=(9, 10, -1)) == LOAD
    assert [m.buffered(5, 8), m.buffered(9, 10)] == [OLD, APPLY]
    assert m.delta(11, 11) == APPLY
    assert (m["state"], m["book_id"], m["applied"], m["stale"], m["breaks"]) == (gaps.LIVE, 11, 2, 1, 0)


@pytest.mark.parametrize(
    ("delta", "verdict"),
    [((90, 99, 80), OLD), ((90, 100, 80), APPLY), ((95, 105, 94), APPLY), ((101, 110, 100), APPLY),
     ((101, 110, 99), BREAK), ((103, 110, 101), BREAK)],
)  # fmt: skip
def test_futures_first_delta_after_snapshot_100(delta: tuple[int, int, int], verdict: int) -> None:
    m = Machine(gaps.BINANCE_FUTURES)
    assert m.snapshot(100) == LOAD
    assert m.delta(*delta) == verdict


@pytest.mark.parametrize(
    ("delta", "verdict"), [((90, 100), OLD), ((90, 101), APPLY), ((101, 110), APPLY), ((102, 110), BREAK)]
)
def test_spot_first_delta_after_snapshot_100(delta: tuple[int, int], verdict: int) -> None:
    m = Machine(gaps.BINANCE_SPOT)
    assert m.snapshot(100) == LOAD
    assert m.delta(*delta) == verdict


def test_futures_chain_goes_by_prev_not_by_first() -> None:
    m = Machine(gaps.BINANCE_FUTURES)
    m.snapshot(100)
    assert m.delta(99, 103, 98) == APPLY
    assert m.delta(250, 260, 103) == APPLY
    assert m.delta(261, 270, 259) == BREAK
    assert (m["state"], m["book_id"], m["breaks"]) == (gaps.STALE, 260, 1)


def test_duplicates_are_silent_in_every_state() -> None:
    m = Machine(gaps.BINANCE_SPOT)
    m.delta(1, 5)
    assert m.delta(1, 5) == DUPLICATE
    m.snapshot(5)
    m.delta(6, 6)
    before = m.record.copy()
    assert m.delta(6, 6) == DUPLICATE
    assert m.delta(2, 4) == DUPLICATE
    changed = [name for name in gaps.MACHINE.names if m.record[name] != before[name]]
    assert changed == ["depth", "duplicates"]


def test_breaks_are_counted_while_stale_and_while_buffering() -> None:
    m = Machine(gaps.BINANCE_SPOT)
    m.delta(1, 5)
    assert m.delta(8, 9) == BUFFER
    assert m["breaks"] == 1
    m.snapshot(9, kept=None)
    assert m.delta(11, 12) == BREAK
    assert m.delta(20, 21) == BUFFER
    assert (m["state"], m["breaks"]) == (gaps.STALE, 3)


def test_a_hole_between_snapshot_and_an_unbroken_stream_counts_once() -> None:
    m = Machine(gaps.BINANCE_SPOT)
    m.snapshot(10)
    assert m.delta(15, 16) == BREAK
    assert m["breaks"] == 1


def test_snapshots_too_old_are_refused_and_not_newer_ones_ignored() -> None:
    m = Machine(gaps.BINANCE_SPOT)
    m.delta(20, 25)
    assert m.snapshot(10, kept=(20, 25, -1)) == REFUSE
    assert m["state"] == gaps.BUFFERING
    assert m.snapshot(22, kept=(20, 25, -1)) == LOAD
    assert m.buffered(20, 25) == APPLY
    assert m.snapshot(25) == IGNORE
    assert m.snapshot(30) == LOAD
    assert m["state"] == gaps.AWAIT_FIRST
    assert m.delta(26, 30) == OLD
    assert m.delta(31, 32) == APPLY


def test_bridge_applies_on_and_stays_live() -> None:
    m = Machine(gaps.BINANCE_SPOT, gaps.BRIDGE)
    m.snapshot(10)
    assert m.delta(11, 11) == APPLY
    assert m.delta(14, 15) == BRIDGED
    assert m.delta(16, 16) == APPLY
    assert (m["state"], m["breaks"], m["applied"]) == (gaps.LIVE, 1, 3)


def test_linked_messages_name_their_predecessor() -> None:
    m = Machine(gaps.LINKED)
    m.reset(10)
    assert m.delta(15, 15, 10) == APPLY
    assert m.delta(15, 15, 10) == DUPLICATE
    assert m.delta(3, 3, 15) == APPLY, "the venue began its numbers anew, and the chain holds"
    assert m.delta(9, 9, 4) == BREAK
    assert (m["state"], m["book_id"], m["breaks"], m["duplicates"]) == (gaps.STALE, 3, 1, 1)
    assert m.delta(11, 11, 9) == BUFFER
    m.reset(2)
    assert m.delta(4, 4, 2) == APPLY, "a full book in the stream counts whatever was before"
    assert (m["state"], m["breaks"], m["snapshots"]) == (gaps.LIVE, 1, 2)


def test_messages_without_links_follow_each_other() -> None:
    m = Machine(gaps.LINKED)
    m.reset(-1)
    assert [m.delta(-1, -1, -1) for _ in range(2)] == [APPLY, APPLY]
    m.reset(7)
    assert [m.delta(n, n, -1) for n in (9, 12, 12, 11)] == [APPLY, APPLY, DUPLICATE, DUPLICATE]
    assert m["breaks"] == 0


def test_a_loss_makes_a_valid_book_invalid_once() -> None:
    m = Machine(gaps.BINANCE_SPOT)
    assert not m.lose()
    m.snapshot(10)
    assert m.delta(11, 12) == APPLY
    assert m.lose()
    assert not m.lose()
    assert m.delta(20, 21) == BUFFER
    assert m.snapshot(30) == gaps.LOAD
    assert (m["breaks"], m["state"]) == (1, gaps.AWAIT_FIRST)
