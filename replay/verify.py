"""Checking a recording without a strategy: is it whole, and does the book rebuilt from it agree with the venue?

`verify` reads a source once, rebuilds the book of each instrument, compares its touch after each applied delta with
the venue's own quotes (by update id, see `replay.kernel.verify`), adds up the trades and takes the counts of lost,
stale and applied messages from the source.  Anomalies are results here, not exceptions: a recording with gaps is a
recording whose verdict says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from replay.instruments import Instrument
from replay.kernel import verify as kernel
from replay.kernel.book import book_digest, grow_book, make_books
from replay.quality import InstrumentQuality, QualityReport
from replay.sources import Source
from replay.units import iso_from_us, plain

DIGEST_LEVELS = 50
COMPLETE_STATES = ("live", "empty")
COUNTED = [name for name in kernel.CHECKS.names or () if name not in ("quoted", "arriving")]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`matched` of `compared` touches agreed in all four: bid price and size, ask price and size."""

    compared: int
    matched: int

    def __str__(self) -> str:
        return f"{self.matched:,}/{self.compared:,}"


@dataclass(frozen=True, slots=True)
class Touch:
    """Best bid and ask as plain decimals, (price, size); None where a side is empty."""

    bid: tuple[str, str] | None
    ask: tuple[str, str] | None

    def __str__(self) -> str:
        bid, ask = (f"{side[0]} × {side[1]}" if side else "empty" for side in (self.bid, self.ask))
        return f"{bid} | {ask}"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The book rebuilt at update `u`, at local time `time_us`, is not what the venue quoted at `quote_u` <= u."""

    instrument: str
    u: int
    quote_u: int
    time_us: int
    book: Touch
    quote: Touch

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "instrument": self.instrument,
            "u": self.u,
            "quote_u": self.quote_u,
            "time_us": self.time_us,
            "time": iso_from_us(self.time_us),
            "book": {"bid": self.book.bid, "ask": self.book.ask},
            "quote": {"bid": self.quote.bid, "ask": self.quote.ask},
        }


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades of one instrument; sizes are plain decimals, `id_gaps` counts places where ids are not consecutive."""

    count: int
    first_id: int | None
    last_id: int | None
    buy_qty: str
    sell_qty: str
    id_gaps: int
    id_backsteps: int


@dataclass(frozen=True, slots=True)
class InstrumentCheck:
    """What was found about one instrument; sizes and prices are plain decimals.

    `unusable` deltas came while no valid book stood; `out_of_order` and `overflow` are touches that could not be
    compared for sure (see `replay.kernel.verify`).
    """

    instrument: Instrument
    quality: InstrumentQuality
    clock_offset_us: float
    unusable: int
    crossed: int
    deletes: int
    absent_deletes: int
    bbo_exact: Comparison
    bbo_asof: Comparison
    out_of_order: int
    overflow: int
    touch: Touch
    levels: tuple[int, int]
    digest_top50: str
    digest_all: str
    trades: Trades

    def problems(self) -> list[str]:
        """What a person should know before trusting this instrument; empty when nothing is wrong."""
        q = self.quality
        wrong = self.bbo_asof.compared - self.bbo_asof.matched
        found = [
            (q.breaks, f"{q.breaks:,} sequence gaps"),
            (self.crossed, f"book crossed after {self.crossed:,} deltas"),
            (wrong, f"book disagrees with {wrong:,} of {self.bbo_asof.compared:,} quotes"),
            (self.unusable, f"{self.unusable:,} deltas without a valid book"),
            (q.depth_messages and q.book_state not in COMPLETE_STATES, f"book ends {q.book_state}"),
            (q.depth_messages and q.book_state == "empty", "no snapshot found, so no book could be built"),
            (self.out_of_order, f"{self.out_of_order:,} update ids out of order"),
            (self.overflow, f"{self.overflow:,} deltas too far from their quotes to compare"),
        ]
        return [text for holds, text in found if holds]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        q = self.quality
        return {
            "symbol": self.instrument.symbol,
            "venue": self.instrument.venue,
            "tick": plain(self.instrument.tick),
            "lot": plain(self.instrument.lot),
            "messages": q.messages,
            "depth_messages": q.depth_messages,
            "applied": q.applied,
            "stale": q.stale,
            "duplicates": q.duplicates,
            "breaks": q.breaks,
            "unusable": self.unusable,
            "crossed": self.crossed,
            "deletes": self.deletes,
            "absent_deletes": self.absent_deletes,
            "bbo_exact": {"compared": self.bbo_exact.compared, "matched": self.bbo_exact.matched},
            "bbo_asof": {"compared": self.bbo_asof.compared, "matched": self.bbo_asof.matched},
            "out_of_order": self.out_of_order,
            "overflow": self.overflow,
            "final_bid": self.touch.bid,
            "final_ask": self.touch.ask,
            "levels": list(self.levels),
            "digest_top50": self.digest_top50,
            "digest_all": self.digest_all,
            "trades": {name: getattr(self.trades, name) for name in Trades.__slots__},
            "clock_offset_us": self.clock_offset_us,
            "book_state": q.book_state,
            "problems": self.problems(),
        }


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict on one source: a check per instrument, the as-of mismatches (the first 100 of each), data quality."""

    instruments: dict[str, InstrumentCheck]
    mismatches: list[Mismatch]
    mismatches_total: int
    quality: QualityReport
    files: list[str] = field(default_factory=list)
    adapter: str = ""

    @property
    def clean(self) -> bool:
        """Nothing was found that a person should know."""
        return not any(check.problems() for check in self.instruments.values())

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "files": self.files,
            "adapter": self.adapter,
            "clean": self.clean,
            "instruments": {name: check.as_dict() for name, check in self.instruments.items()},
            "mismatches": [mismatch.as_dict() for mismatch in self.mismatches],
            "mismatches_total": self.mismatches_total,
            "quality": self.quality.as_dict(),
        }

    def lines(self) -> list[str]:
        """The verification as lines for a terminal: table, final books, mismatches, quality, verdict."""
        out = _table(self.instruments)
        for name, check in self.instruments.items():
            out.append(f"{name}: final book {check.touch}, {check.levels[0]:,} + {check.levels[1]:,} levels")
        shown = self.mismatches[:20]
        if shown:
            out.append("book and quote disagree:")
        for m in shown:
            out.append(f"  {m.instrument} at {iso_from_us(m.time_us)}, update {m.u}")
            out.append(f"    book                {m.book}")
            out.append(f"    quote {m.quote_u:<13} {m.quote}")
        if self.mismatches_total > len(shown):
            out.append(f"  … {self.mismatches_total - len(shown):,} more")
        out.extend(["", *self.quality.lines(), ""])
        for name, check in self.instruments.items():
            out.extend(f"{name}: {problem}" for problem in check.problems())
        if not self.instruments:
            out.append("nothing to verify: no instrument found")
        else:
            out.append("verified: nothing wrong was found" if self.clean else "the recording has the faults above")
        return out


def verify(source: Source, on_batch: Callable[[int], None] | None = None, ring: int = 1 << 16) -> Verification:
    """Read `source` to its end and check it.

    `on_batch` is told the rows read so far (for progress); `ring` is how many quotes or deltas per instrument may wait
    for their partner.  Raises what the source raises (DataError for what cannot be read).
    """
    count = len(source.instruments)
    books, cells = make_books(count)
    checks = kernel.make_checks(count, ring)
    rows = 0
    for events in source.batches():
        at = kernel.check_batch(events, 0, books, cells, checks)
        while at < len(events):
            books, cells = grow_book(books, cells, int(events[at]["instrument"]))
            at = kernel.check_batch(events, at, books, cells, checks)
        rows += len(events)
        if on_batch is not None:
            on_batch(rows)
    kernel.finish(checks)
    quality = source.quality
    return Verification(
        instruments={
            instrument.name: _instrument_check(quality, instrument, i, books, cells, checks)
            for i, instrument in enumerate(source.instruments)
        },
        mismatches=_mismatches(source, checks),
        mismatches_total=int((checks.counts["asof_compared"] - checks.counts["asof_matched"]).sum()),
        quality=quality,
    )


def _instrument_check(
    quality: QualityReport, instrument: Instrument, i: int, books: np.ndarray, cells: np.ndarray, checks: kernel.Checks
) -> InstrumentCheck:
    counts = {name: int(checks.counts[i][name]) for name in COUNTED}
    book = books[i]
    touch = _touch(
        instrument,
        (int(book["bid_ticks"]), int(book["bid_lots"])),
        (int(book["ask_ticks"]), int(book["ask_lots"])),
    )
    trades = counts["trades"]
    return InstrumentCheck(
        instrument=instrument,
        quality=quality.of(instrument.name),
        clock_offset_us=quality.clock_offset_us,
        unusable=counts["unusable"],
        crossed=counts["crossed"],
        deletes=counts["deletes"],
        absent_deletes=counts["absent_deletes"],
        bbo_exact=Comparison(counts["exact_compared"], counts["exact_matched"]),
        bbo_asof=Comparison(counts["asof_compared"], counts["asof_matched"]),
        out_of_order=counts["out_of_order"],
        overflow=counts["overflow"],
        touch=touch,
        levels=(int(book["bids"]), int(book["asks"])),
        digest_top50=book_digest(books, cells, i, instrument, DIGEST_LEVELS),
        digest_all=book_digest(books, cells, i, instrument),
        trades=Trades(
            count=trades,
            first_id=counts["first_trade"] if trades and counts["first_trade"] >= 0 else None,
            last_id=counts["last_trade"] if trades and counts["last_trade"] >= 0 else None,
            buy_qty=plain(instrument.size(counts["buy_lots"])),
            sell_qty=plain(instrument.size(counts["sell_lots"])),
            id_gaps=counts["trade_gaps"],
            id_backsteps=counts["trade_backsteps"],
        ),
    )


def _touch(instrument: Instrument, bid: tuple[int, int], ask: tuple[int, int]) -> Touch:
    sides = (
        (plain(instrument.price(ticks)), plain(instrument.size(lots))) if lots > 0 else None
        for ticks, lots in (bid, ask)
    )
    return Touch(*sides)


def _mismatches(source: Source, checks: kernel.Checks) -> list[Mismatch]:
    """Those that were kept, in order of time (equal times: as the instruments are listed)."""
    out = []
    for instrument, count, log in zip(source.instruments, checks.counts, checks.log):
        for entry in log[: int(count["asof_compared"] - count["asof_matched"])]:
            book, quote = (
                _touch(
                    instrument,
                    (int(side["bid_ticks"]), int(side["bid_lots"])),
                    (int(side["ask_ticks"]), int(side["ask_lots"])),
                )
                for side in (entry["book"], entry["quote"])
            )
            u, quote_u, ts = int(entry["book"]["u"]), int(entry["quote"]["u"]), int(entry["book"]["ts"])
            out.append(Mismatch(instrument.name, u, quote_u, ts, book, quote))
    return sorted(out, key=lambda mismatch: mismatch.time_us)


def _table(checks: dict[str, InstrumentCheck]) -> list[str]:
    """Counts of each instrument, aligned, the name at the left."""
    rows: list[tuple[str, ...]] = [
        ("instrument", "messages", "depth", "applied", "gaps", "crossed", "exact", "as-of", "trades")
    ]
    for name, c in checks.items():
        q = c.quality
        numbers = (q.messages, q.depth_messages, q.applied, q.breaks, c.crossed)
        cells = (*(f"{n:,}" for n in numbers), str(c.bbo_exact), str(c.bbo_asof), f"{c.trades.count:,}")
        rows.append((name, *cells))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    ]
