"""Events in memory as a source, and adapters by name."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import ConfigError
from replay.events import LAST, empty_events
from replay.instruments import Instrument
from replay.sources import ArraySource, Source, adapter_names, digests_of, file_digests, find_adapter

ONE = Instrument("test", "X", "linear", Decimal(1), Decimal(1))


def messages(sizes: list[int]) -> np.ndarray:
    """Messages of so many rows each, one µs apart."""
    rows = empty_events(sum(sizes))
    ends = np.cumsum(sizes) - 1
    rows["ts"] = np.repeat(np.arange(len(sizes)), sizes)
    rows["flags"][ends.astype(int)] = LAST
    rows["seq"] = np.arange(len(rows))
    return rows


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 20))
def test_batches_are_the_array_cut_between_messages(sizes: list[int], rows: int) -> None:
    """Together the batches are the array; each ends with a message and is as full as whole messages allow."""
    data = messages(sizes)
    batches = list(ArraySource(data, [ONE]).batches(rows))
    assert b"".join(batch.tobytes() for batch in batches) == data.tobytes()
    for batch, following in zip(batches, [*batches[1:], None]):
        assert batch["flags"][-1] == LAST
        assert len(batch) <= rows or (batch["flags"][:-1] == 0).all(), "only one long message may exceed the size"
        if following is not None and len(batch) <= rows:
            first = int(np.argmax(following["flags"])) + 1
            assert len(batch) + first > rows


def test_what_the_engine_needs_to_know() -> None:
    data = messages([1, 1, 1])
    data["exch_ts"] = data["ts"] - [5, 70, -3]
    source = ArraySource(data, [ONE], "mine")
    assert isinstance(source, Source)
    assert (source.name, source.instruments, source.horizon_us) == ("mine", (ONE,), 70)
    data["exch_ts"] = data["ts"] + 10
    assert ArraySource(data, [ONE]).horizon_us == 0
    assert ArraySource(empty_events(0), [ONE]).horizon_us == 0
    assert list(ArraySource(empty_events(0), [ONE]).batches()) == []


def test_rows_out_of_order_and_other_arrays_are_refused() -> None:
    data = messages([1, 1, 1])
    data["ts"] = [1, 3, 2]
    with pytest.raises(ConfigError, match=r"row 2.*steps back"):
        ArraySource(data, [ONE])
    with pytest.raises(ConfigError, match="EVENT records"):
        ArraySource(np.zeros(3), [ONE])


def test_a_message_that_is_not_closed_is_refused() -> None:
    data = messages([1, 2])
    data["flags"][-1] = 0
    with pytest.raises(ConfigError, match=r"row 2.*LAST"):
        ArraySource(data, [ONE])


def test_adapters_are_found_by_name() -> None:
    names = adapter_names()
    assert names == sorted(names)
    assert names, "the package brings some"
    for name in names:
        assert find_adapter(name).name == name
    with pytest.raises(ConfigError, match=f"did you mean '{names[0]}'"):
        find_adapter(names[0] + "x")


def test_a_source_may_name_what_it_reads(tmp_path: Path) -> None:
    class Named(ArraySource):
        def digests(self) -> dict[str, str]:
            return file_digests([tmp_path / "a", tmp_path / "b"])

    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"")
    assert digests_of(ArraySource(messages([1]), [ONE])) == {}
    found = digests_of(Named(messages([1]), [ONE]))
    assert list(found) == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert found[str(tmp_path / "a")] == hashlib.sha256(b"abc").hexdigest()
