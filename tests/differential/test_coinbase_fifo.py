"""A passive trader on the Coinbase level-3 recording: its fills against the venue's own messages.

The oracle knows nothing of the engine's events.  It reads the JSON messages, remembers for each of our orders the ids
and sizes that rested at its price when it came, and lets go of them as the venue names them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.coinbase_l3 import L3, order_number, read_document
from replay import ConstantLatency, Context, PowerProbQueue, Replay, Strategy
from replay.context import Timer
from replay.events import ORDER
from replay.instruments import Instrument
from replay.kernel import codes
from replay.kernel.by_order import check_market_orders
from replay.kernel.jit import jit_is_on
from replay.models import RiskAverseQueue
from replay.session import Session
from replay.sources import ArraySource
from replay.units import US_PER_S, us_from_time

FOLDER = Path(__file__).parents[2].parent / "shared" / "captures" / "coinbase_l3"
if not FOLDER.is_dir():
    pytest.skip(f"no captures in {FOLDER}", allow_module_level=True)
if not jit_is_on():
    pytest.skip("minutes without compiled kernels; see tests/property/test_by_order.py", allow_module_level=True)

COIN = Instrument("coinbase", "BTC-USD", "spot", Decimal("0.01"), Decimal("0.00000001"), settle="USD")
SIDES = {"buy": 1, "sell": -1}
STAY_US = 8 * US_PER_S
Message = dict[str, Any]
Sizes = Counter[tuple[int, int]]
"""Lots by (number of our order, venue time)"""


@pytest.fixture(scope="module")
def recording() -> np.ndarray:
    source = L3.open([FOLDER / "messages.json.gz", FOLDER / "beginning_level_3.json.gz"], instruments=[COIN])
    return np.concatenate([batch.copy() for batch in source.batches()])


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    told: list[Message] = read_document(FOLDER / "messages.json.gz")
    return told


class Quoter(Strategy):
    """One order at each best price, sent anew between the venue's milliseconds; prices and sizes are the caller's."""

    lots: int = 5_000_000
    back: int = 0

    def on_start(self, ctx: Context) -> None:
        self.sent: list[tuple[int, int, int, int]] = []
        self.live: list[int] = []
        ctx.at(ctx.now + 500)

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        ctx.at(ctx.now + STAY_US)
        book = ctx.book(0)
        if not book.ready:
            return
        for order_id in self.live:
            ctx.cancel(order_id)
        self.live = []
        for side, best in ((1, book.bid_ticks), (-1, book.ask_ticks)):
            ticks = best - side * self.back
            self.live.append(ctx.send(0, side, self.lots, ticks, post_only=True))
            self.sent.append((ctx.now, side, ticks, self.lots))


@dataclass
class Ours:
    """One of our orders in the oracle."""

    number: int
    from_us: int
    side: int
    ticks: int
    left: int
    ahead: dict[str, int] = field(default_factory=dict)


def truth(messages: list[Message], sent: list[tuple[int, int, int, int]], stay_us: int) -> Sizes:
    """What our orders execute, by the venue's messages; each is there for `stay_us`."""
    book = read_document(FOLDER / "beginning_level_3.json.gz")
    resting: dict[str, list[int]] = {
        name: [side, COIN.ticks(price), COIN.lots(size)]
        for key, side in (("bids", 1), ("asks", -1)) for price, size, name in book[key]
    }  # fmt: skip
    waiting = [Ours(k + 1, *order) for k, order in enumerate(sent)]
    live: list[Ours] = []
    fills: Sizes = Counter()
    for message in messages:
        now = us_from_time(message["time"])
        while waiting and waiting[0].from_us < now:
            mine = waiting.pop(0)
            level = [mine.side, mine.ticks]
            mine.ahead = {name: order[2] for name, order in resting.items() if order[:2] == level}
            live.append(mine)
        live = [mine for mine in live if now <= mine.from_us + stay_us and mine.left]
        for mine, lots in executed(live, message):
            mine.left -= lots
            fills[mine.number, now] += lots
        apply(resting, live, message)
    return fills


def executed(live: list[Ours], message: Message) -> Iterator[tuple[Ours, int]]:
    """Which of our orders a message fills: behind nobody, through, or reached by the other side."""
    if message["type"] not in ("match", "open"):
        return
    side, ticks = SIDES[message["side"]], COIN.ticks(message["price"])
    for mine in live:
        if message["type"] == "open":
            if side == -mine.side and (mine.ticks - ticks) * mine.side >= 0:
                yield mine, mine.left
        elif side == mine.side and (mine.ticks - ticks) * side > 0:
            yield mine, mine.left
        elif side == mine.side and ticks == mine.ticks and message["maker_order_id"] not in mine.ahead:
            assert not mine.ahead, "the venue is first come, first served"
            yield mine, min(mine.left, COIN.lots(message["size"]))


def apply(resting: dict[str, list[int]], live: list[Ours], message: Message) -> None:
    """Keep the venue's orders, and those ahead of ours."""
    kind = message["type"]
    if kind == "open":
        size = COIN.lots(message["remaining_size"])
        resting[message["order_id"]] = [SIDES[message["side"]], COIN.ticks(message["price"]), size]
        return
    name = message["maker_order_id" if kind == "match" else "order_id"]
    if name not in resting or kind == "received":
        return
    resting[name][2] -= COIN.lots(message["size"]) if kind == "match" else resting[name][2]
    for mine in live:
        if name in mine.ahead:
            mine.ahead[name] = resting[name][2]
            if not mine.ahead[name]:
                del mine.ahead[name]
    if not resting[name][2]:
        del resting[name]


def played(events: np.ndarray, strategy: Quoter, queue: Any) -> Session:
    """A run to its end."""
    replay = Replay(
        ArraySource(events, [COIN]), latency=ConstantLatency(0, 0), queue=queue, borrow=True, execution="partial"
    )
    session = replay.session(strategy)
    session.run()
    return session


@pytest.mark.parametrize(("lots", "back", "least"), [(5_000_000, 0, 30), (300_000_000, 0, 30), (300_000, 1, 10)])
def test_fills_are_those_of_the_venues_queues(
    recording: np.ndarray, messages: list[Message], lots: int, back: int, least: int
) -> None:
    strategy = Quoter(lots=lots, back=back)
    (result,) = played(recording, strategy, RiskAverseQueue()).results()
    made: Sizes = Counter()
    for fill in result.fills:
        made[int(fill["order_id"]), int(fill["exch_ts"])] += int(fill["lots"])
    assert made == truth(messages, strategy.sent, STAY_US)
    causes = set(result.fills["cause"].tolist())
    assert codes.CAUSE_TAKE not in causes
    assert len(made) > least and {codes.CAUSE_QUEUE, codes.CAUSE_THROUGH} <= causes
    other = played(recording, Quoter(lots=lots, back=back), PowerProbQueue(2.0, 1))
    assert other.results()[0].digest == result.digest, "no queue model is asked"


def test_the_queue_model_guesses_where_the_orders_are_not_told(recording: np.ndarray) -> None:
    levels = recording[recording["kind"] != ORDER]
    by_order, by_level = Quoter(), Quoter()
    exact = played(recording, by_order, RiskAverseQueue()).results()[0]
    guess = played(levels, by_level, RiskAverseQueue()).results()[0]
    assert by_order.sent == by_level.sent, "the books are the same"
    assert int(guess.fills["lots"].sum()) < int(exact.fills["lots"].sum()), "risk-averse waits longer than need be"


def test_the_engine_ends_with_the_exchanges_own_orders(recording: np.ndarray) -> None:
    session = played(recording, Quoter(), RiskAverseQueue())
    table, count = session.arena["market_orders"], int(session.arena["run"][0]["market_orders_n"])
    check_market_orders(table, count)
    orders = table[table["lots"] > 0]
    ending = read_document(FOLDER / "ending_level_3.json.gz")
    expected = {
        (order_number(name), side, COIN.ticks(price), COIN.lots(size))
        for key, side in (("bids", 1), ("asks", -1)) for price, size, name in ending[key]
    }  # fmt: skip
    assert set(zip(*(orders[name].tolist() for name in ("number", "side", "ticks", "lots")))) == expected
    assert len(expected) == count > 60_000
