"""Tables of a settings file: the line of a key, and what is said about a wrong one."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import ConfigError
from replay.tables import Table, line_of

TEXT = """\
# [models]
[data]
files = [
  "a = 1",
]

[models]
latency = { model = "X", entry = 5 }
fees.maker = 1

[models."venue:A.B"]   # [data]
queue = "Q"
trips = [
  [1, 2, 3],
  [4, 5, 6]
]
margin = 1
"""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("data",), 2),
        (("data", "files"), 3),
        (("models",), 7),
        (("models", "latency", "entry"), 8),
        (("models", "fees", "maker"), 9),
        (("models", "venue:A.B"), 11),
        (("models", "venue:A.B", "margin"), 17),
        (("models", "nothing"), 7),
        (("nowhere",), 0),
    ],
)
def test_the_line_of_a_key(keys: tuple[str, ...], line: int) -> None:
    assert line_of(TEXT, keys) == line


words = st.text("abc_", min_size=1, max_size=3)


@given(st.dictionaries(words, st.dictionaries(words, st.integers(0, 9), min_size=1), min_size=1))
def test_every_key_of_plain_tables_is_found(tables: dict[str, dict[str, int]]) -> None:
    """In a file of one key a line each key is found on its own line."""
    lines: list[str] = []
    places = {}
    for name, table in tables.items():
        lines.append(f"[{name}]")
        for key, value in table.items():
            lines.append(f"{key} = {value}")
            places[name, key] = len(lines)
    text = "\n".join(lines)
    assert tomllib.loads(text) == tables
    assert {keys: line_of(text, keys) for keys in places} == places


def test_values_are_of_their_kind() -> None:
    table = Table({"n": 1, "x": 1.5, "t": "a", "b": True, "l": ["a", 1], "d": {}})
    assert table.get("n", int) == table.get("n", float) == 1
    assert table.get("missing", int, 7) == 7
    assert table.texts("t") == ["a"] and table.texts("missing") == []
    for key, kind, word in (("b", int, "a whole number"), ("b", float, "a number"), ("x", int, "a whole number"),
                            ("n", str, "text"), ("n", bool, "true or false"), ("t", dict, "a table")):  # fmt: skip
        with pytest.raises(ConfigError, match=f"^{key}=.*: must be {word}$"):
            table.get(key, kind)
    with pytest.raises(ConfigError, match="must be a list of texts"):
        table.texts("l")


def test_errors_of_what_is_made_name_the_place() -> None:
    table = Table(tomllib.loads(TEXT)["models"]["latency"], "run.toml", TEXT, ("models", "latency"))
    with pytest.raises(ConfigError, match=r"^run\.toml:8: models\.latency\.entry=5: is odd; halve it$"), table.blamed():
        raise ConfigError("ConstantLatency.entry", 5, "is odd", "halve it")
    with pytest.raises(ConfigError, match=r"^run\.toml:8: models\.latency: other=1: is odd$"), table.blamed():
        raise ConfigError("other", 1, "is odd")
    with pytest.raises(ConfigError, match=r"^run\.toml:8: models\.latency\.entry=5: no; did you mean 'b'\?$"):
        raise table.wrong("entry", "no", "did you mean 'b'?")
