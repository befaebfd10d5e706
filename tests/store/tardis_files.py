"""Small Tardis files: a book of a few levels a side, moved at random, and trades, day after day."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

from replay.store.layout import date_of
from replay.units import US_PER_DAY, US_PER_S
from tests.store.conftest import MIDNIGHT

BOOK = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"
TRADES = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
LEVELS = 5


def write_day(
    folder: Path, symbol: str, day: int, seed: int, messages: int = 400, lag_us: int = 1_000, venue: str = "venue"
) -> list[Path]:
    """Book and trades of a symbol from the first second of day `day` after MIDNIGHT to its last; the two files.

    Rows are received `lag_us` after the venue made them, which may be negative.
    """
    chance = random.Random(f"{symbol} {day} {seed}")
    start = MIDNIGHT + day * US_PER_DAY
    times = sorted(chance.sample(range(2 * US_PER_S, US_PER_DAY - 2), messages))
    times[-1] = US_PER_DAY - 1
    lead = f"{venue},{symbol}"
    book, trades = [BOOK], [TRADES]
    for side, sign in (("bid", -1), ("ask", 1)):
        for level in range(1, LEVELS + 1):
            book.append(f"{lead},{start + US_PER_S - lag_us},{start + US_PER_S},true,{side},{100 + sign * level},1.5")
    for number, time in enumerate(times):
        local = start + time
        side, sign = chance.choice((("bid", -1), ("ask", 1)))
        for level in sorted(chance.sample(range(1, LEVELS + 1), chance.randint(1, 3))):
            amount = chance.choice(("0", "0.5", "2.25"))
            book.append(f"{lead},{local - lag_us},{local},false,{side},{100 + sign * level},{amount}")
        if chance.random() < 0.3:
            taker = chance.choice(("buy", "sell"))
            trades.append(f"{lead},{local - lag_us},{local},{day * 10_000 + number},{taker},{100 + sign},0.5")
    date = date_of(start // US_PER_DAY)
    paths = []
    for kind, lines in (("incremental_book_L2", book), ("trades", trades)):
        path = folder / f"{venue}_{kind}_{date}_{symbol}.csv.gz"
        path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))
        paths.append(path)
    return paths
