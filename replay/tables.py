"""Tables of a settings file, read with checks: what is wrong is named with file, line and dotted key.

`tomllib` does not tell lines, so the line of a key is looked up in the text when an error needs it: the last header
before it, then the key; of a key inside an inline table the line on which that begins.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from replay.errors import ConfigError, did_you_mean

_WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a table"}
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


@dataclass(frozen=True, slots=True)
class Table:
    """A table `given` under the dotted `keys` of a file called `name` with the text `text` (both "" from Python)."""

    given: Mapping[str, Any]
    name: str = ""
    text: str = ""
    keys: tuple[str, ...] = ()

    def wrong(self, key: str, problem: str, hint: str = "") -> ConfigError:
        """The error for a key of this table; for the table itself, or a key that is missing, without a value."""
        if key in self.given:
            value = self.given[key]
            return ConfigError(self.place(key), _shown(value), problem, hint)
        return ConfigError("", None, f"{self.place(key)}: {problem}", hint)

    def place(self, key: str) -> str:
        """`run.toml:12: models.latency.entry`."""
        keys = (*self.keys, key) if key else self.keys
        line = line_of(self.text, keys)
        file = (f"{self.name}:{line}: " if line else f"{self.name}: ") if self.name else ""
        return file + (".".join(_quoted(word) for word in keys) or "settings")

    def only(self, known: Iterable[str]) -> None:
        """ConfigError, with the nearest one, for a key that is none of the `known`."""
        for key in self.given:
            if key not in known:
                raise self.wrong(key, "there is no such key", did_you_mean(key, known))

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """The value of a key, which must be of `kind`; a whole number is a number, true and false are none."""
        if key not in self.given:
            return default
        value = self.given[key]
        fits = isinstance(value, (int, float)) if kind is float else isinstance(value, kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, f"must be {_WORDS[kind]}")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts; one text stands for a list of one."""
        if isinstance(self.given.get(key), str):
            return [self.given[key]]
        found: list[str] = self.get(key, list, [])
        if not all(isinstance(item, str) for item in found):
            raise self.wrong(key, "must be a list of texts")
        return found

    def table(self, key: str) -> Table:
        """The table under a key; an empty one when it is missing."""
        return Table(self.get(key, dict, {}), self.name, self.text, (*self.keys, key))

    @contextmanager
    def blamed(self, key: str = "") -> Iterator[None]:
        """Errors of what is made from the value of `key`, or from the keys of this table, name their place here."""
        try:
            yield
        except ConfigError as error:
            part = key or error.name.rpartition(".")[2]
            if part in self.given:
                raise self.wrong(part, error.problem, error.hint) from error
            raise self.wrong("", str(error)) from error


class _Short:
    """Stands for a table in a message."""

    def __repr__(self) -> str:
        return "{…}"


def _shown(value: Any) -> Any:
    """What a message says in the place of a value: TOML's dates as they were written, tables in short."""
    if isinstance(value, date):
        return value.isoformat()
    return _Short() if isinstance(value, dict) else value


def line_of(text: str, keys: tuple[str, ...]) -> int:
    """1-based line on which the dotted key stands, or the longest part of it that can be found; 0 for none."""
    best, line = 0, 0
    header: tuple[str, ...] = ()
    for number, row in enumerate(text.splitlines(), 1):
        found: tuple[str, ...] = ()
        if row.lstrip().startswith("["):
            found = _path(row)
            header = found or header
        elif match := _KEY.match(row):
            found = header + _path(f"{match[1]} = 0")
        if found and len(found) > best and keys[: len(found)] == found:
            best, line = len(found), number
    return line


def _path(row: str) -> tuple[str, ...]:
    """The keys that one line of TOML opens; none for a line that is not one by itself."""
    try:
        found: Any = tomllib.loads(row)
    except tomllib.TOMLDecodeError:
        return ()
    keys = []
    while isinstance(found, dict) and found:
        key = next(iter(found))
        keys.append(key)
        found = found[key]
    return tuple(keys)


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w-]+", word) else f'"{word}"'
