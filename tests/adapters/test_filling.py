"""Holes of a recording filled by a relay: same books as without holes, nothing from the future, honest failures."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.base import FillGap
from adapters.binance import COINM, SPOT, USDM, BinanceAdapter
from adapters.relay import RelayFiller
from adapters.transports.relay import Settings
from replay.engine import Replay
from replay.errors import ConfigError, DataError, TransportError
from replay.events import BOOK, CLEAR, GAP, LAST, REPAIRED, SNAPSHOT
from replay.strategy import Strategy
from replay.synthetic import SyntheticMarket
from replay.units import plain
from tests.adapters.relay_server import KEY, RelayServer, serving, status
from tests.conftest import INTERPRETED

EVERY, FROM = 40, 20
DURATION_US = {"binance-usdm": 20_000_000, "binance-spot": 20_000_000, "binance-coinm": 8_000_000}
"""COIN-M sends many more messages."""
Level = tuple[int, int]


class Recording:
    """A synthetic recording without faults, and its book at any update id."""

    def __init__(self, adapter: BinanceAdapter, folder: Path) -> None:
        market = SyntheticMarket(adapter.name, seed=3, duration_us=DURATION_US[adapter.name])
        self.adapter, self.path = adapter, market.write(folder / f"{adapter.name}.gz")
        self.clean = self.open()
        self.events = np.concatenate([batch.copy() for batch in self.clean.batches()])
        self.symbols = [instrument.symbol for instrument in self.clean.instruments]

    def open(self, **options: Any) -> Any:
        return self.adapter.open([self.path], **options)

    def book_at(self, symbol: str, least_id: int, later: int = 0) -> tuple[int, dict[Level, int]]:
        """(id, levels) after the message that reaches `least_id`, or `later` messages behind it."""
        index = self.symbols.index(symbol)
        rows = self.events[(self.events["instrument"] == index) & (self.events["kind"] == BOOK)]
        ends = np.flatnonzero(rows["flags"] & LAST)
        reached = int(np.argmax(rows["seq"][ends] >= least_id))
        end = ends[min(reached + later, len(ends) - 1)]
        return int(rows["seq"][end]), levels(rows[: end + 1])

    def answer(self, symbol: str, least_id: int, later: int = 0) -> dict[str, Any]:
        """The book as a relay sends it."""
        sequence, book = self.book_at(symbol, least_id, later)
        instrument = self.clean.instruments[self.symbols.index(symbol)]
        texts = {
            side: [[plain(instrument.price(p)), plain(instrument.size(q))] for (s, p), q in book.items() if s == side]
            for side in (1, -1)
        }
        return {"sequence": sequence, "bids": texts[1], "asks": texts[-1]}


def levels(rows: np.ndarray) -> dict[Level, int]:
    """{(side, ticks): lots} after BOOK rows of one instrument."""
    clears = np.flatnonzero(rows["flags"] & CLEAR)
    rows = rows[clears[-1] if len(clears) else 0 :]
    latest = dict(zip(zip(rows["side"].tolist(), rows["price"].tolist()), rows["qty"].tolist()))
    return {level: lots for level, lots in latest.items() if lots and level[0]}


@pytest.fixture(scope="module", params=[USDM, SPOT, COINM], ids=lambda adapter: adapter.name)
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """One of each market."""
    return Recording(request.param, tmp_path_factory.mktemp("clean"))


@pytest.fixture
def server() -> Iterator[RelayServer]:
    """A relay that knows nothing yet."""
    with serving(RelayServer()) as made:
        yield made


def filler(server: RelayServer, key: str = KEY) -> RelayFiller:
    settings = Settings(server.url, attempts=3, wait_s=0.01, max_wait_s=0.02, rate_per_s=10_000.0)
    return RelayFiller(settings, "binance-futures", api_key=key, random=random.Random(1), now_s=lambda: 0.0)


def filled(recording: Recording, server: RelayServer, rows: int = 32_768) -> tuple[np.ndarray, Any]:
    """(events, source) with holes and a relay."""
    source = recording.open(drop_every=EVERY, drop_from=FROM, repair="refetch", filler=filler(server))
    return np.concatenate([batch.copy() for batch in source.batches(rows)]), source


def serve(recording: Recording, server: RelayServer, later: int = 0) -> None:
    server.fill = lambda first, last: recording.answer(server.requests[-1][1]["symbol"], last, later)


def test_books_are_those_without_holes(recording: Recording, server: RelayServer) -> None:
    serve(recording, server)
    server.script = [status(429, Retry_After="0"), None, status(500)]
    events, source = filled(recording, server)
    gaps = source.quality.gaps
    assert len(gaps) > 5
    assert {(gap.repair, gap.blind_us) for gap in gaps} == {("refetch", 0)}
    for index, instrument in enumerate(source.instruments):
        mine, clean = (e[(e["instrument"] == index) & (e["kind"] == BOOK)] for e in (events, recording.events))
        assert levels(mine) == levels(clean[clean["seq"] <= mine["seq"][-1]])  # nobody sees that the last one is lost
        assert source.quality.of(instrument.name).book_state == "live"
    snapshots = events[(events["flags"] & REPAIRED != 0) & (events["flags"] & CLEAR != 0)]
    assert len(snapshots) == len(gaps) == (events["kind"] == GAP).sum()


def test_every_request_names_what_is_missing(recording: Recording, server: RelayServer) -> None:
    serve(recording, server)
    _, source = filled(recording, server)
    asked = [(values["start_sequence"], values["end_sequence"]) for _, values in server.requests]
    assert [first for first, _ in asked] == [gap.last_good_id + 1 for gap in source.quality.gaps]
    clean = recording.events[(recording.events["kind"] == BOOK) & (recording.events["flags"] & LAST != 0)]
    assert all(last in clean["seq"] and first <= last for first, last in asked)


@pytest.mark.parametrize("later", [0, 1, 7])
def test_nothing_comes_from_the_future(recording: Recording, server: RelayServer, later: int) -> None:
    serve(recording, server, later)
    events, source = filled(recording, server)
    clean = recording.events[recording.events["kind"] == BOOK]
    repaired = events[(events["flags"] & REPAIRED != 0) & (events["flags"] & SNAPSHOT != 0)]
    assert len(repaired)
    for row in repaired[:: max(1, len(repaired) // 40)]:
        same = (clean["instrument"] == row["instrument"]) & (clean["seq"] == row["seq"])
        assert row["ts"] >= clean["ts"][same][0]
    for index in range(len(source.instruments)):
        mine, want = (e[(e["instrument"] == index) & (e["kind"] == BOOK)] for e in (events, clean))
        if source.quality.of(source.instruments[index].name).book_state == "live":
            assert levels(mine) == levels(want[want["seq"] <= mine["seq"][-1]])


@pytest.mark.parametrize("rows", [1, 50])
def test_batches_do_not_matter(recording: Recording, server: RelayServer, rows: int) -> None:
    serve(recording, server, later=2)
    events, _ = filled(recording, server)
    assert filled(recording, server, rows)[0].tobytes() == events.tobytes()


def test_a_relay_without_answer_leaves_the_hole_open(recording: Recording, server: RelayServer) -> None:
    events, source = filled(recording, server)
    waiting = recording.open(drop_every=EVERY, drop_from=FROM)
    expected = np.concatenate([batch.copy() for batch in waiting.batches()])
    assert events.tobytes() == expected.tobytes()
    assert [gap.repair for gap in source.quality.gaps] == [gap.repair for gap in waiting.quality.gaps]
    for q in source.quality.instruments.values():
        assert q.anomalies["gap not filled: the relay has no snapshot for the gap"] >= (q.book_state == "stale")
    total = sum(q.anomalies.total() for q in source.quality.instruments.values())
    assert total >= source.quality.gaps_total > 0


def test_a_book_that_does_not_join_is_refused(recording: Recording) -> None:
    def stale(gap: FillGap) -> Any:
        from adapters.decoders.relay import filled_of

        answer = recording.answer(gap.symbol, gap.last_id)
        return filled_of({"filled_snapshot": {**answer, "sequence": gap.first_id - 1}}, 0)

    source = recording.open(drop_every=EVERY, drop_from=FROM, repair="refetch", filler=stale)
    for _ in source.batches():
        pass
    reasons = {reason for q in source.quality.instruments.values() for reason in q.anomalies}
    assert "gap not filled: the book does not join what follows" in reasons
    assert all(gap.repair != "refetch" for gap in source.quality.gaps)


def test_a_relay_that_cannot_be_asked_ends_the_run(recording: Recording, server: RelayServer) -> None:
    source = recording.open(drop_every=EVERY, repair="refetch", filler=filler(server, key="wrong"))
    with pytest.raises(TransportError, match="check REPLAY_RELAY_KEY"):
        list(source.batches())


def test_a_run_is_blind_no_more(recording: Recording, server: RelayServer) -> None:
    serve(recording, server)
    dropped = {"drop_every": EVERY, "drop_from": FROM}
    blind = Replay([recording.open(**dropped)]).run(Strategy())
    seeing = Replay([recording.open(**dropped, repair="refetch", filler=filler(server))]).run(Strategy())
    times_us = [sum(part.blind_us for part in result.summary_by_instrument) for result in (blind, seeing)]
    assert 20 * times_us[1] < times_us[0]  # what is left: venue times that step back
    assert all(gap.repair == "refetch" for gap in seeing.quality.gaps)


def test_options_belong_together(recording: Recording) -> None:
    for options in ({"repair": "refetch"}, {"filler": lambda gap: None}):
        with pytest.raises(ConfigError, match="give repair='refetch' and filler="):
            recording.open(**options)


@pytest.mark.skipif(INTERPRETED, reason="a capture takes minutes without the compiler")
def test_real_capture(captures: Path, server: RelayServer) -> None:
    made = object.__new__(Recording)
    made.adapter, made.path = USDM, captures / "binance_usdm" / "ethusdt_20240808.gz"
    made.clean = made.open()
    made.events = np.concatenate([batch.copy() for batch in made.clean.batches()])
    made.symbols = [instrument.symbol for instrument in made.clean.instruments]
    if not (made.events["flags"] & CLEAR).any():
        pytest.skip("the capture has no snapshot to begin with")
    serve(made, server)
    source = made.open(drop_every=2000, drop_from=100, repair="refetch", filler=filler(server))
    events = np.concatenate([batch.copy() for batch in source.batches()])
    assert source.quality.gaps_total > 0
    assert {gap.repair for gap in source.quality.gaps} == {"refetch"}
    assert levels(events[events["kind"] == BOOK]) == levels(made.events[made.events["kind"] == BOOK])


def test_a_broken_answer_is_a_data_error(recording: Recording, server: RelayServer) -> None:
    server.fill = lambda first, last: {"sequence": last, "bids": [["x", "1"]], "asks": [["2", "1"]]}
    with pytest.raises(DataError, match="'x' is not a number"):
        filler(server)(FillGap(recording.symbols[0], 1, 2))
