"""Arguments on how data is read, shared by commands: repair of holes, and caches (see `replay.reading`)."""

from __future__ import annotations

import argparse
import os

from replay.reading import RELAY, REPAIRS


def add_repair_arguments(parser: argparse.ArgumentParser) -> None:
    """What happens where messages are missing."""
    parser.add_argument(
        "--repair",
        choices=REPAIRS,
        help="a hole in the book: wait for the next snapshot, bridge it, or refetch it from --relay",
    )
    parser.add_argument("--relay", metavar="URL", help="address of the relay; its key is in REPLAY_RELAY_KEY")


def add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    """Where blocks of a store are kept between runs."""
    parser.add_argument(
        "--cache", metavar="SIZE[,URL]", help="keep blocks of the store in memory (512M, 2G) and in Redis (redis://…)"
    )
    parser.add_argument(
        "--prefetch", action="store_true", default=None, help="bring everything into the cache before the run"
    )


def relay_key() -> str:
    """The key of the relay, from the environment."""
    from replay.commands.fetch import find_fetcher

    return os.environ.get(find_fetcher(RELAY).key_variable, "")
