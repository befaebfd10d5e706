"""Tapes: the rows that contestants replay, made of one recording repeated in time.

A contest tape holds the book and trade rows of one instrument (what every peer understands: no quotes, marks or
funding) and begins with a snapshot.  A repetition does not begin with a snapshot again but with one message of plain
level changes that turns the book at the end into the book at the start, because engines differ in what a snapshot does
to resting orders.  Without a recording the rows come from the synthetic market, with as many levels a message,
messages a second and deletes of absent levels as the BTCUSDT recording of August 2024 (`statistics`).

A tape is saved as two files, `NAME.npy` (EVENT records) and `NAME.json` (instruments), for processes of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from replay.events import BOOK, BUY, CLEAR, GAP, LAST, SELL, TRADE, empty_events
from replay.instruments import Instrument
from replay.sources import find_adapter
from replay.testing import LISTINGS, SyntheticMarket
from replay.units import US_PER_MS, US_PER_S, plain

VENUE = "binance-usdm"
SYMBOL = "BTCUSDT"
ROWS = 10_000_000
"""Least length of a contest tape."""

SYNTHETIC_S = 60
FAR_LEVELS = 78
"""Levels behind the touch in a synthetic depth message: 68 a message in all, as recorded."""

LATER_US = 137 * US_PER_MS + 311
"""How much later each copy of `many` runs than the one before: no two have the same message at the same time."""


@dataclass(frozen=True, slots=True)
class Tape:
    """`events` (EVENT records, ascending `ts`, all messages closed) of `instruments`; `name` says what they are."""

    name: str
    events: np.ndarray
    instruments: tuple[Instrument, ...]

    def save(self, path: Path) -> Path:
        """Write `path`.npy and `path`.json; returns `path`."""
        np.save(path.with_suffix(".npy"), self.events)
        terms = [
            {key: plain(value) if isinstance(value, Decimal) else value for key, value in asdict(i).items()}
            for i in self.instruments
        ]
        path.with_suffix(".json").write_text(json.dumps({"name": self.name, "instruments": terms}))
        return path

    @classmethod
    def load(cls, path: Path) -> Tape:
        """What `save` wrote."""
        head = json.loads(path.with_suffix(".json").read_text())
        numbers = ("tick", "lot", "multiplier", "strike")
        instruments = [
            Instrument(**{key: Decimal(text) if key in numbers else text for key, text in terms.items()})
            for terms in head["instruments"]
        ]
        return cls(head["name"], np.load(path.with_suffix(".npy")), tuple(instruments))


@contextmanager
def saved(*tapes: Tape) -> Iterator[list[Path]]:
    """The tapes as files, for as long as the block runs."""
    with TemporaryDirectory() as folder:
        yield [tape.save(Path(folder) / f"tape{k}") for k, tape in enumerate(tapes)]


def contest_tape(capture: Path | None, rows: int = 0) -> Tape:
    """At least `rows` (0: ROWS) book and trade rows of the first instrument of `capture`, or of the synthetic market.

    ValueError when the recording has no snapshot, more than one, or a gap.
    """
    name, once, instrument = one_recording(capture)
    repeats = max(1, -(-(rows or ROWS) // len(once)))
    return Tape(f"{name} × {repeats}", repeated(once, repeats), (instrument,))


def one_recording(capture: Path | None) -> tuple[str, np.ndarray, Instrument]:
    """Name, rows and instrument of one repetition."""
    if capture is not None:
        return capture.name, *read(capture)
    listing = replace(LISTINGS[VENUE][SYMBOL], far_levels=FAR_LEVELS)
    with TemporaryDirectory() as folder:
        market = SyntheticMarket(VENUE, [listing], duration_us=SYNTHETIC_S * US_PER_S)
        return "synthetic market", *read(market.write(Path(folder) / "made.gz"))


def read(path: Path) -> tuple[np.ndarray, Instrument]:
    """Book and trade rows of the first instrument of a Binance USD-M recording, from its snapshot on."""
    source = find_adapter(VENUE).open([path])
    events = np.concatenate([batch.copy() for batch in source.batches()])
    events = events[(events["instrument"] == 0) & np.isin(events["kind"], (BOOK, TRADE, GAP))]
    begins = np.flatnonzero(events["flags"] & CLEAR)
    if len(begins) != 1 or np.any(events["kind"][begins[0] :] == GAP):
        raise ValueError(f"{path}: a tape needs a recording with one snapshot and no gap, this has {len(begins)}")
    return events[begins[0] :], source.instruments[0]


def repeated(once: np.ndarray, repeats: int) -> np.ndarray:
    """`once` end to end, each repetition later by the whole span, the books joined by plain level changes."""
    first = min(int(once["ts"][0]), int(once["exch_ts"].min()))
    span = max(int(once["ts"][-1]), int(once["exch_ts"].max())) - first + US_PER_S
    opening = int(np.argmax((once["flags"] & LAST) != 0)) + 1
    again = np.concatenate([join(once, opening), once[opening:]])
    events = np.concatenate([once, *[again] * (repeats - 1)])
    later = np.concatenate([np.zeros(len(once), np.int64), np.repeat(np.arange(1, repeats) * span, len(again))])
    events["ts"] += later
    events["exch_ts"] += later
    return events


def join(once: np.ndarray, opening: int) -> np.ndarray:
    """The message that turns the book after all of `once` into the book after its first `opening` rows."""
    start, end = book_after(once[:opening]), book_after(once)
    gone = [(side, ticks, 0) for side in (BUY, SELL) for ticks in end[side] if ticks not in start[side]]
    new = [
        (side, ticks, lots)
        for side in (BUY, SELL)
        for ticks, lots in sorted(start[side].items(), key=lambda level: -side * level[0])
        if end[side].get(ticks) != lots
    ]
    rows = empty_events(len(gone) + len(new))
    for name in ("ts", "exch_ts", "seq", "instrument", "kind"):
        rows[name] = once[name][0]
    rows["side"], rows["price"], rows["qty"] = np.array(gone + new).T
    rows["flags"][-1] = LAST
    return rows


def book_after(events: np.ndarray) -> dict[int, dict[int, int]]:
    """The book of one instrument by two dicts: {side: {ticks: lots}}."""
    book: dict[int, dict[int, int]] = {BUY: {}, SELL: {}}
    rows = events[events["kind"] == BOOK]
    for side, ticks, lots in zip(rows["side"].tolist(), rows["price"].tolist(), rows["qty"].tolist()):
        if side and lots:
            book[side][ticks] = lots
        elif side:
            book[side].pop(ticks, None)
    return book


def many(tape: Tape, count: int) -> Tape:
    """`count` instruments with together about as many rows as `tape`, each later than the one before."""
    last = np.flatnonzero(tape.events["flags"] & LAST)
    cut = int(last[np.searchsorted(last, len(tape.events) // count - 1)]) + 1
    parts = []
    for i in range(count):
        part = tape.events[:cut].copy()
        part["instrument"] = i
        part["ts"] += i * LATER_US
        part["exch_ts"] += i * LATER_US
        parts.append(part)
    events = np.concatenate(parts)
    instruments = tuple(replace(tape.instruments[0], symbol=f"{SYMBOL}{i}") for i in range(count))
    return Tape(f"{tape.name}, {count} instruments", events[np.argsort(events["ts"], kind="stable")], instruments)


def finer(tape: Tape, times: int) -> Tape:
    """The same market on a tick `times` finer."""
    events = tape.events.copy()
    events["price"] *= times
    instruments = tuple(replace(i, tick=i.tick / times) for i in tape.instruments)
    return Tape(f"{tape.name}, tick / {times}", events, instruments)


def statistics(events: np.ndarray) -> dict[str, float]:
    """What makes one tape cost more than another: levels a message, messages a second, deletes, absent deletes."""
    rows = events[events["kind"] == BOOK]
    messages = np.count_nonzero(rows["flags"] & LAST)
    seconds = (int(events["ts"][-1]) - int(events["ts"][0])) / US_PER_S
    deleted = absent = 0
    book: dict[int, set[int]] = {BUY: set(), SELL: set()}
    for side, ticks, lots in zip(rows["side"].tolist(), rows["price"].tolist(), rows["qty"].tolist()):
        if lots:
            book[side].add(ticks)
        elif side:
            deleted += 1
            absent += ticks not in book[side]
            book[side].discard(ticks)
    return {
        "levels/message": len(rows) / messages,
        "book messages/s": messages / seconds,
        "trades/s": np.count_nonzero(events["kind"] == TRADE) / seconds,
        "deletes/row": deleted / len(rows),
        "absent/delete": absent / max(deleted, 1),
    }
