"""Which recordings need each other: files that share a key belong together, whoever brought them together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from replay.sources import Part

Key = TypeVar("Key")


def joined_parts(files: Sequence[tuple[Path, Iterable[Key]]], ends: dict[Key, int]) -> list[Part]:
    """Parts of files that share keys, directly or by way of others; both in the order of `files`.

    `ends[key]` is the midnight that ends the day of a key: a part has one when all its keys have the same.
    """
    groups: list[tuple[list[Path], set[Key]]] = []
    for path, found in files:
        keys = set(found)
        paths: list[Path] = []
        for group in [group for group in groups if group[1] & keys]:
            groups.remove(group)
            paths += group[0]
            keys |= group[1]
        groups.append(([*paths, path], keys))
    order = [path for path, _ in files]
    parts = []
    for paths, keys in groups:
        days = {ends.get(key) for key in keys}
        parts.append(Part(tuple(sorted(paths, key=order.index)), days.pop() if len(days) == 1 else None))
    return sorted(parts, key=lambda part: order.index(part.paths[0]))
