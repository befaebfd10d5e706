"""How data is read, as words of a settings file or a command line: repair of holes by a relay, and caches.

`repair` says what happens at a hole in the book: "wait" for the next snapshot, "bridge" it, or "refetch" it from the
relay at an address (entry-point group `replay.fillers`).  A cache is `SIZE[,URL]`: bytes in memory (512M, 2G), and a
Redis that is shared with other runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from replay.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from replay.cache import Cache

FILLER_GROUP = "replay.fillers"
RELAY = "relay"
REPAIRS = ("wait", "bridge", "refetch")
UNITS = {"": 1, "k": 2**10, "M": 2**20, "G": 2**30}


def repair_options(adapter: str, repair: str | None, relay: str, key: str) -> dict[str, Any]:
    """Options for `open` of the adapter called `adapter`, none when nothing was said; `key` is the relay's.

    ConfigError when repair and relay do not fit.
    """
    if repair is not None and repair not in REPAIRS:
        raise ConfigError("repair", repair, "is not known", did_you_mean(repair, REPAIRS))
    if (repair == "refetch") != bool(relay):
        raise ConfigError(
            "repair", repair, "and relay belong together", "repair by refetch needs a relay, and only that"
        )
    if repair is None:
        return {}
    if repair != "refetch":
        return {"repair": repair}
    return {"repair": "refetch", "filler": find_filler()(relay, adapter, key)}


def find_filler() -> Callable[[str, str, str], Any]:
    """What makes a filler (`adapters.base.Filler`) of an address, the name of an adapter and a key."""
    (point,) = entry_points(group=FILLER_GROUP, name=RELAY)
    found: Callable[[str, str, str], Any] = point.load()
    return found


def cache_of(text: str) -> Cache:
    """The cache `SIZE[,URL]`; ConfigError when it is none."""
    from replay.cache import Cache, RedisTier

    size, _, url = text.partition(",")
    found = re.fullmatch(r"(\d+)([kMG]?)", size)
    if not found:
        raise ConfigError(
            "cache", text, "does not begin with a size", "for example 512M, or 2G,redis://127.0.0.1:6379/0"
        )
    return Cache(int(found[1]) * UNITS[found[2]], RedisTier(url) if url else None)
