"""Blocks as bytes: what goes in comes out, anything else is no block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.cache import block as module
from replay.cache.block import FIELDS, HEADER, Block, decoded, encoded
from replay.events import EVENT, LAST, empty_events
from replay.units import INT64_MAX, INT64_MIN


def random_block(rows: int, seed: int, extreme: bool = False) -> Block:
    dice = np.random.default_rng(seed)
    events = empty_events(rows)
    for name in FIELDS:
        wide = np.iinfo(EVENT[name]) if extreme or EVENT[name].itemsize < 8 else np.iinfo(np.int32)
        events[name] = dice.integers(wide.min, wide.max, rows, EVENT[name], endpoint=True)
    events["ts"] = np.sort(events["ts"])
    return Block(events, dice.integers(INT64_MIN if extreme else 0, INT64_MAX, rows))


@given(rows=st.integers(0, 300), seed=st.integers(0, 2**32), extreme=st.booleans())
def test_round_trip(rows: int, seed: int, extreme: bool) -> None:
    """Any rows, also such whose differences leave 64 bits, come back bit for bit."""
    block = random_block(rows, seed, extreme)
    back = decoded(encoded(block))
    assert back is not None
    assert back.events.tobytes() == block.events.tobytes()
    assert back.numbers.tobytes() == block.numbers.tobytes()
    back.check()


@given(rows=st.integers(0, 50), seed=st.integers(0, 2**32), data=st.data())
def test_damage_is_seen(rows: int, seed: int, data: st.DataObject) -> None:
    """Bytes with one bit turned, cut short or with something behind are no block."""
    good = encoded(random_block(rows, seed))
    at = data.draw(st.integers(0, len(good) - 1))
    turned = bytearray(good)
    turned[at] ^= 1 << data.draw(st.integers(0, 7))
    assert decoded(bytes(turned)) is None
    assert decoded(good[:at]) is None
    assert decoded(good + b"\0") is None


def test_another_version_is_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    old = encoded(random_block(5, 1))
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert decoded(old) is None
    assert decoded(encoded(random_block(5, 1))) is not None


def test_every_kept_field_is_in_it() -> None:
    left_out = set(EVENT.names or ()) - set(FIELDS)
    assert left_out == {"instrument", "source", "pad2", "pad4"}


def test_real_rows_shrink(market: np.ndarray) -> None:
    events = market[market["instrument"] == 0].copy()
    numbers = np.cumsum(events["flags"] & LAST != 0)
    data = encoded(Block(events, numbers))
    assert len(data) - HEADER.size < 0.4 * events.nbytes


def test_check() -> None:
    good = random_block(9, 2)
    good.check()
    other = good.events.copy()
    other["instrument"][3] = 1
    back = good.events.copy()
    back["ts"] = back["ts"][::-1]
    for wrong in (Block(good.events[:4], good.numbers), Block(other, good.numbers), Block(back, good.numbers)):
        with pytest.raises(AssertionError):
            wrong.check()
