"""Arguments on how data is read, shared by commands: repair of holes, and caches."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from replay.errors import ConfigError

if TYPE_CHECKING:
    from replay.cache import Cache

FILLER_GROUP = "replay.fillers"
RELAY = "relay"
REPAIRS = ("wait", "bridge", "refetch")
UNITS = {"": 1, "k": 2**10, "M": 2**20, "G": 2**30}


def add_repair_arguments(parser: argparse.ArgumentParser) -> None:
    """What happens where messages are missing."""
    parser.add_argument(
        "--repair",
        choices=REPAIRS,
        help="a hole in the book: wait for the next snapshot, bridge it, or refetch it from --relay",
    )
    parser.add_argument(
        "--relay", default="", metavar="URL", help="address of the relay; its key is in REPLAY_RELAY_KEY"
    )


def repair_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Options of the adapter `arguments.adapter`, none when nothing was said; ConfigError when they do not fit."""
    if (arguments.repair == "refetch") != bool(arguments.relay):
        raise ConfigError("--repair", arguments.repair, "and --relay belong together", "--repair refetch --relay URL")
    if arguments.repair is None:
        return {}
    if arguments.repair != "refetch":
        return {"repair": arguments.repair}
    from replay.commands.fetch import find_fetcher

    key = os.environ.get(find_fetcher(RELAY).key_variable, "")
    return {"repair": "refetch", "filler": find_filler()(arguments.relay, arguments.adapter, key)}


def find_filler() -> Callable[[str, str, str], Any]:
    """What makes a filler (`adapters.base.Filler`) of an address, the name of an adapter and a key."""
    from importlib.metadata import entry_points

    (point,) = entry_points(group=FILLER_GROUP, name=RELAY)
    found: Callable[[str, str, str], Any] = point.load()
    return found


def add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    """Where blocks of a store are kept between runs."""
    parser.add_argument(
        "--cache", metavar="SIZE[,URL]", help="keep blocks of the store in memory (512M, 2G) and in Redis (redis://…)"
    )
    parser.add_argument("--prefetch", action="store_true", help="bring everything into the cache before the run")


def cache_of(text: str) -> Cache:
    """The cache of an argument `SIZE[,URL]`; ConfigError when it is none."""
    from replay.cache import Cache, RedisTier

    size, _, url = text.partition(",")
    found = re.fullmatch(r"(\d+)([kMG]?)", size)
    if not found:
        raise ConfigError(
            "--cache", text, "does not begin with a size", "for example 512M, or 2G,redis://127.0.0.1:6379/0"
        )
    return Cache(int(found[1]) * UNITS[found[2]], RedisTier(url) if url else None)
