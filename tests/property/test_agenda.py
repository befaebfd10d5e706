"""The agenda as a state machine against `heapq` over whole tuples."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from replay.kernel import agenda
from replay.kernel.state import ITEM, NODE, RUN
from tests.oracles.merge import AgendaModel

PHASES = st.integers(agenda.PHASE_ANSWER, agenda.PHASE_TIMER)


class AgendaMachine(RuleBasedStateMachine):
    """Plans, does, gives back and makes room, in any order."""

    @initialize(size=st.integers(0, 12))
    def begin(self, size: int) -> None:
        self.run, self.heap, self.items = np.zeros(1, RUN), np.zeros(size, NODE), np.zeros(size, ITEM)
        agenda.agenda_reset(self.run, self.items)
        self.model = AgendaModel()
        self.held: list[int] = []

    @rule(time=st.one_of(st.integers(0, 3), st.integers(-(2**62), 2**62)), phase=PHASES)
    def push(self, time: int, phase: int) -> None:
        busy = {entry[3] for entry in self.model.planned} | set(self.held)
        item = agenda.agenda_push(self.run, self.heap, self.items, time, phase)
        if len(busy) == len(self.items):
            assert item == -1
            return
        assert 0 <= item < len(self.items)
        assert item not in busy
        self.model.push(time, phase, item)

    @precondition(lambda self: self.model.planned)
    @rule()
    def pop(self) -> None:
        root = self.heap[0]
        time, phase = int(root["time"]), int(root["key"]) >> agenda.PHASE_SHIFT
        item = agenda.agenda_pop(self.run, self.heap)
        expected = self.model.pop()
        assert (time, phase, item) == (expected[0], expected[1], expected[3])
        self.held.append(item)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        item = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        agenda.agenda_free(self.run, self.items, item)

    @precondition(lambda self: len(self.items) < 40)
    @rule(more=st.integers(1, 8))
    def extend(self, more: int) -> None:
        old = len(self.items)
        self.heap, self.items = np.resize(self.heap, old + more), np.resize(self.items, old + more)
        agenda.agenda_extend(self.run, self.items, old)

    @invariant()
    def sound(self) -> None:
        assert agenda.agenda_check(self.run, self.heap, self.items) == 0
        assert self.run[0]["heap_n"] == len(self.model.planned)
        assert self.run[0]["free_items"] == len(self.items) - len(self.model.planned) - len(self.held)


TestAgenda = AgendaMachine.TestCase
TestAgenda.settings = settings(stateful_step_count=60)
