"""Messages that a venue would not send: bytes at random, real messages with bytes or values replaced."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.just([]), st.just({}),
    st.sampled_from(["0", "-1", "1e9", "1" * 30, "nan", "", [[]], [["new", 1, 2]], [["1", "2"]], [None], {"px": "1"}]),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside `value`, and its own."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


@st.composite
def broken(draw: st.DrawFn, messages: list[bytes]) -> bytes:
    """One of `messages`, broken in a few places."""
    text = draw(st.sampled_from(messages))
    if draw(st.booleans()):
        value = json.loads(text)
        for _ in range(draw(st.integers(1, 3))):
            path = draw(st.sampled_from(places(value)[1:]))
            inner = value
            for key in path[:-1]:
                inner = inner[key]
            if draw(st.booleans()):
                inner[path[-1]] = copy.deepcopy(draw(VALUES))
            else:
                del inner[path[-1]]
            if not places(value)[1:]:
                break
        return json.dumps(value).encode()
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 20)))
    return text[:start] + draw(st.binary(max_size=6)) + text[end:]
