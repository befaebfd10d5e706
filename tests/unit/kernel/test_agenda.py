"""The agenda by hand (see tests/property/test_agenda.py for the rest)."""

from __future__ import annotations

import numpy as np
import pytest

from replay.kernel import agenda
from replay.kernel.state import ITEM, NODE, RUN


class Agenda:
    """An agenda of `size` items."""

    def __init__(self, size: int) -> None:
        self.run, self.heap, self.items = np.zeros(1, RUN), np.zeros(size, NODE), np.zeros(size, ITEM)
        agenda.agenda_reset(self.run, self.items)

    def push(self, time: int, phase: int, tag: int) -> int:
        item = agenda.agenda_push(self.run, self.heap, self.items, time, phase)
        if item >= 0:
            self.items[item]["id"] = tag
        return item

    def pop(self) -> int:
        """The tag of what is due."""
        item = agenda.agenda_pop(self.run, self.heap)
        agenda.agenda_free(self.run, self.items, item)
        return int(self.items[item]["id"])

    def check(self) -> int:
        return agenda.agenda_check(self.run, self.heap, self.items)


def test_equal_times_follow_the_phases() -> None:
    plan = Agenda(8)
    phases = [agenda.PHASE_TIMER, agenda.PHASE_REQUEST, agenda.PHASE_VENUE, agenda.PHASE_ANSWER]
    for phase in phases:
        plan.push(5, phase, phase)
    plan.push(4, agenda.PHASE_TIMER, 99)
    assert [plan.pop() for _ in range(5)] == [99, *sorted(phases)]


def test_equal_keys_are_first_in_first_out() -> None:
    plan = Agenda(64)
    for tag in range(64):
        plan.push(7, agenda.PHASE_REQUEST, tag)
    assert [plan.pop() for _ in range(64)] == list(range(64))


def test_order_of_planning_survives_reuse_of_items() -> None:
    plan = Agenda(2)
    plan.push(1, agenda.PHASE_ANSWER, 1)
    plan.push(2, agenda.PHASE_ANSWER, 2)
    assert plan.pop() == 1
    plan.push(2, agenda.PHASE_ANSWER, 3)
    assert [plan.pop(), plan.pop()] == [2, 3]


def test_a_full_pool_is_told() -> None:
    plan = Agenda(2)
    assert {plan.push(1, 1, 0), plan.push(1, 1, 0)} == {0, 1}
    assert plan.push(1, 1, 0) == -1
    assert plan.run[0]["heap_n"] == 2
    assert plan.check() == 0


def test_check_notices_a_broken_heap_and_a_lost_item() -> None:
    plan = Agenda(4)
    plan.push(1, 1, 0)
    plan.push(2, 1, 0)
    plan.heap[1]["time"] = 0
    assert plan.check() == 1
    plan.heap[1]["time"] = 2
    assert plan.check() == 0
    plan.run[0]["free_items"] -= 1
    assert plan.check() == 2


@pytest.mark.parametrize("loop", [0, 3])
def test_check_notices_a_free_list_that_runs_in_a_circle(loop: int) -> None:
    plan = Agenda(4)
    plan.items[3]["next"] = loop
    assert plan.check() == 2
