"""The arena: layout, growth, and single words."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from replay.kernel.jit import kernel
from replay.kernel.state import SECTIONS, Arena, open_state

COUNTS = {name: 1 + i % 5 for i, name in enumerate(SECTIONS)}


@kernel
def stamp(arena):
    """Write one number into the last record of each of a few sections."""
    st = open_state(arena)
    st.run[0]["now"] = 11
    st.slots[len(st.slots) - 1]["position"] = -12
    st.orders[len(st.orders) - 1]["front"] = 1.5
    st.rows[len(st.rows) - 1]["side"] = -1
    st.cells[len(st.cells) - 1] = 13
    st.venue_cursors[len(st.venue_cursors) - 1]["tie2"] = 14


@kernel
def lengths(arena, out):
    """Records in each section, in the order of State."""
    st = open_state(arena)
    out[0], out[1], out[2], out[3] = len(st.run), len(st.sources), len(st.instruments), len(st.strategies)
    out[4], out[5], out[6], out[7] = len(st.slots), len(st.orders), len(st.heap), len(st.items)
    out[8], out[9], out[10], out[11] = len(st.fills), len(st.log), len(st.equity), len(st.taken)
    out[12], out[13], out[14], out[15] = len(st.tables), len(st.retired), len(st.books), len(st.cells)
    out[16], out[17], out[18] = len(st.event), len(st.rows), len(st.venue_order)
    out[19], out[20] = len(st.local_heap), len(st.venue_heap)
    out[21], out[22] = len(st.local_cursors), len(st.venue_cursors)
    out[23], out[24], out[25] = len(st.answered), len(st.refusals), len(st.records)
    out[26] = len(st.market_orders)


def filled(counts: dict[str, int]) -> Arena:
    """An arena in which every byte of every section is arbitrary."""
    arena = Arena(counts)
    random = np.random.default_rng(5)
    for name in SECTIONS:
        view = arena[name].view(np.uint8)
        view[:] = random.integers(0, 256, len(view), dtype=np.uint8)
    return arena


def test_sections_are_aligned_and_do_not_overlap() -> None:
    arena = Arena(COUNTS)
    spans = []
    for name, dtype in SECTIONS.items():
        view = arena[name]
        assert view.dtype == dtype
        assert len(view) == COUNTS[name]
        assert view.ctypes.data % 64 == 0
        assert dtype.itemsize % 8 == 0
        spans.append((view.ctypes.data, view.ctypes.data + view.nbytes))
    header_end = arena.bytes.ctypes.data + 16 * len(SECTIONS)
    assert spans[0][0] >= header_end
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert spans[-1][1] <= arena.bytes.ctypes.data + len(arena.bytes)


def test_kernels_see_every_section_in_its_place() -> None:
    arena = Arena(COUNTS)
    out = np.zeros(len(SECTIONS), np.int64)
    lengths(arena.bytes, out)
    assert out.tolist() == list(COUNTS.values())
    stamp(arena.bytes)
    assert arena["run"][0]["now"] == 11
    assert arena["slots"][-1]["position"] == -12
    assert arena["orders"][-1]["front"] == 1.5
    assert arena["rows"][-1]["side"] == -1
    assert arena["cells"][-1] == 13
    assert arena["venue_cursors"][-1]["tie2"] == 14
    assert not np.any(arena["heap"].view(np.uint8))


@pytest.mark.parametrize("name", ["run", "slots", "orders", "items", "fills", "log", "equity", "instruments"])
def test_word_is_the_place_that_numpy_reads(name: str) -> None:
    arena = filled(COUNTS)
    last = COUNTS[name] - 1
    names = SECTIONS[name].names
    assert names is not None
    for field in names:
        at = arena.word(name, field, last)
        assert arena.ints[at] == arena[name][field].view("<i8")[last]
        arena.ints[at] = 4321
        assert arena[name][field].view("<i8")[last] == 4321


@pytest.mark.parametrize("name", SECTIONS)
def test_growing_one_section_keeps_all_others(name: str) -> None:
    arena = filled(COUNTS)
    before = {other: arena[other].tobytes() for other in SECTIONS}
    arena.resize(**{name: COUNTS[name] + 7})
    assert len(arena[name]) == COUNTS[name] + 7
    for other in SECTIONS:
        now = arena[other].tobytes()
        assert now[: len(before[other])] == before[other], other
        assert other == name or len(now) == len(before[other])
        assert arena[other].ctypes.data % 64 == 0
    assert not np.any(arena[name][COUNTS[name] :].view(np.uint8))


def test_shrinking_keeps_what_fits_and_arrays_replace() -> None:
    arena = filled(COUNTS)
    orders = arena["orders"].copy()
    cells = np.arange(9, dtype=np.int64)
    arena.resize(orders=1, cells=cells)
    assert arena["orders"].tobytes() == orders[:1].tobytes()
    assert arena["cells"].tolist() == cells.tolist()
    cells[0] = 99
    assert arena["cells"][0] == 0


def test_resizing_moves_the_words() -> None:
    arena = filled(COUNTS)
    arena["venue_cursors"][0]["time"] = 17
    arena.resize(orders=100)
    assert arena.ints[arena.word("venue_cursors", "time")] == 17


def test_every_section_must_be_counted() -> None:
    with pytest.raises(ValueError, match="slots"):
        Arena({name: 1 for name in SECTIONS if name != "slots"})
    with pytest.raises(ValueError, match="slotz"):
        Arena({**COUNTS, "slotz": 1})
