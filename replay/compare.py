"""Two feeds of the same market: do they tell the same?

What is compared is what both have, per instrument and kind of event, over the time that both cover:

* events: book changes, trades, quotes, liquidations, marks and funding rates, row by row in their order (see
  `replay.alignment`), by what they say (side, price, size) and not by when: how far their times lie apart is told
  beside it.  Snapshots are left out, and so are rows that a reader made or moved (REPAIRED);
* books, rebuilt from each feed: the levels that differ at instants spread over the common time, by venue time.  One
  venue time may mean when a change was made and the other when it was sent, so each instant lies in the middle of the
  longest pause of A's book within its second;
* the final books, by digest: after the last book row of the feed that ends first.

The rows of one message count as a set, because feeds order them differently.  Sizes and prices are compared on the
finest common grid.  Rows in the first and last `slack_us` are forgiven when they lie before the first or after the last
row that both have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import gcd
from typing import Any

import numpy as np

from replay.alignment import ALIGNED, Aligner, mixed
from replay.errors import ConfigError, DataError
from replay.events import (
    BOOK,
    FUNDING,
    GAP,
    KIND_NAMES,
    LAST,
    LIQUIDATION,
    MARK,
    QUOTE,
    REPAIRED,
    SNAPSHOT,
    TRADE,
)  # fmt: skip
from replay.instruments import Instrument
from replay.kernel import cross
from replay.kernel.book import book_digest, book_levels, grow_book, make_books
from replay.sources import Source
from replay.units import INT64_MAX, INT64_MIN, US_PER_S, iso_from_us, plain

KINDS = (BOOK, TRADE, QUOTE, LIQUIDATION, MARK, FUNDING)
SLACK_US = 2 * US_PER_S
SAMPLES = 200
DIGEST_LEVELS = 50


@dataclass(frozen=True, slots=True)
class EventsCompared:
    """One kind of event of one instrument; counts are rows, `later_us` the least, mean and greatest of B's minus A's
    time over the rows that both have, by "ts" and "exch_ts"."""

    matched: int
    missing: int
    extra: int
    different: int
    later_us: dict[str, tuple[int, float, int]]
    examples: list[dict[str, Any]]

    @property
    def same(self) -> bool:
        """Whether both feeds have the same rows."""
        return self.matched > 0 and not (self.missing or self.extra or self.different)


@dataclass(frozen=True, slots=True)
class Divergence:
    """The two books at one instant: how many levels differ, and whether the best ones do."""

    time_us: int
    levels: int
    touch: bool


@dataclass(slots=True)
class BooksCompared:
    """`samples` instants were compared and `unknown` more could not be, a book being invalid; then the final books."""

    samples: int = 0
    unknown: int = 0
    diverged: list[Divergence] = field(default_factory=list)
    digests_top50: tuple[str, str] = ("", "")
    digests_all: tuple[str, str] = ("", "")

    @property
    def same(self) -> bool:
        """Whether the books were equal whenever they were looked at."""
        return not self.diverged and self.digests_all[0] == self.digests_all[1]


@dataclass(frozen=True, slots=True)
class PairCompared:
    """One instrument under its names in A and B; `books` is None when one feed has no book."""

    names: tuple[str, str]
    span_us: tuple[int, int]
    events: dict[str, EventsCompared]
    only: tuple[list[str], list[str]]
    books: BooksCompared | None

    @property
    def same(self) -> bool:
        """Whether everything that both have is the same."""
        return all(found.same for found in self.events.values()) and (self.books is None or self.books.same)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        events = {
            kind: {name: getattr(found, name) for name in EventsCompared.__slots__}
            for kind, found in self.events.items()
        }
        books = None
        if self.books is not None:
            books = {name: getattr(self.books, name) for name in BooksCompared.__slots__}
            books["diverged"] = [{n: getattr(d, n) for n in Divergence.__slots__} for d in self.books.diverged]
        return {"names": list(self.names), "span_us": list(self.span_us), "same": self.same, "events": events,
                "only": [list(kinds) for kinds in self.only], "books": books}  # fmt: skip

    def lines(self) -> list[str]:
        """For a terminal."""
        first, last = (iso_from_us(us) for us in self.span_us)
        out = [f"{' = '.join(dict.fromkeys(self.names))}, {first} … {last}"]
        for kind, found in self.events.items():
            out.append(
                f"  {kind}: {found.matched:,} rows in both, {found.missing:,} missing, {found.extra:,} extra, "
                f"{found.different:,} different"
            )
            if found.matched:
                least, mean, most = found.later_us["ts"]
                out.append(f"    received in B later by {least:,} … {mean:,.0f} … {most:,} µs")
            out += [f"    {e['what']} at {e['time']}: {e['text']}" for e in found.examples[:5]]
        for which, kinds in zip("AB", self.only):
            if kinds:
                out.append(f"  only {which} has {', '.join(kinds)}: not compared")
        if self.books is not None:
            out += _book_lines(self.books)
        return out


def _book_lines(books: BooksCompared) -> list[str]:
    out = [f"  books: {len(books.diverged):,} of {books.samples:,} instants differ"]
    if books.unknown:
        out[0] += f", {books.unknown:,} more without a valid book"
    for divergence in books.diverged[:5]:
        touch = ", the best ones among them" if divergence.touch else ""
        out.append(f"    at {iso_from_us(divergence.time_us)} {divergence.levels:,} levels differ{touch}")
    for name, (a, b) in (("best 50", books.digests_top50), ("all", books.digests_all)):
        out.append(f"  final books, {name} levels: {'equal' if a == b else 'DIFFERENT'} ({a[:12]}, {b[:12]})")
    return out


@dataclass(frozen=True, slots=True)
class FeedComparison:
    """The verdict on two feeds; `unpaired` are the instruments that only A or only B has."""

    pairs: list[PairCompared]
    unpaired: tuple[list[str], list[str]]

    @property
    def same(self) -> bool:
        """Whether both tell the same where both tell something."""
        return all(pair.same for pair in self.pairs)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        pairs = [pair.as_dict() for pair in self.pairs]
        return {"same": self.same, "pairs": pairs, "unpaired": [list(names) for names in self.unpaired]}

    def lines(self) -> list[str]:
        """For a terminal."""
        out = [line for pair in self.pairs for line in pair.lines()]
        for which, names in zip("AB", self.unpaired):
            if names:
                out.append(f"only {which} has {', '.join(names)}")
        return [*out, "the feeds tell the same" if self.same else "the feeds DIFFER"]


# ------------------------------------------------------------------------------------------------------------ pairing


def paired(a: Source, b: Source) -> list[tuple[int, int]]:
    """Indices of instruments that are the same: by name, else by symbol, else the only ones.  ConfigError if none."""
    pairs = []
    for i, mine in enumerate(a.instruments):
        names = [theirs.name for theirs in b.instruments]
        symbols = [theirs.symbol for theirs in b.instruments]
        if mine.name in names:
            pairs.append((i, names.index(mine.name)))
        elif symbols.count(mine.symbol) == 1:
            pairs.append((i, symbols.index(mine.symbol)))
    if not pairs and len(a.instruments) == len(b.instruments) == 1:
        pairs = [(0, 0)]
    if not pairs:
        raise ConfigError("A, B", (a.name, b.name), "have no instrument in common")
    return pairs


def _factors(a: Instrument, b: Instrument) -> list[dict[str, int]]:
    """By what the ticks and lots of each are multiplied to stand on the finest common grid."""
    out: list[dict[str, int]] = [{}, {}]
    for name, first, second in (("price", a.tick, b.tick), ("qty", a.lot, b.lot)):
        (p, q), (r, s) = first.as_integer_ratio(), second.as_integer_ratio()
        common = gcd(p * s, r * q)
        out[0][name], out[1][name] = p * s // common, r * q // common
    return out


class Feed:
    """One of the two: its rows by pair, on the common grid, and its book of each pair."""

    def __init__(self, source: Source, owners: list[int], factors: list[dict[str, int]]) -> None:
        self.source, self.owners, self.factors = source, owners, factors
        self.books, self.cells = make_books(len(owners))
        self.valid = [False] * len(owners)

    def parts(self) -> Iterator[list[np.ndarray]]:
        """The rows of each pair, batch by batch, `instrument` being the pair."""
        for batch in self.source.batches():
            parts = []
            for pair, (owner, factors) in enumerate(zip(self.owners, self.factors)):
                rows = batch[batch["instrument"] == owner]
                rows["instrument"] = pair
                for name, factor in factors.items():
                    if factor != 1:
                        if len(rows) and int(np.abs(rows[name]).max()) > INT64_MAX // factor:
                            raise DataError(f"a {name} does not fit 64 bits on the grid of both", self.source.name)
                        rows[name] *= factor
                parts.append(rows)
            yield parts

    def apply(self, pair: int, rows: np.ndarray) -> None:
        """Move the book of a pair by BOOK and GAP rows."""
        at = 0
        while at < len(rows):
            at, status = cross.find_crossed(rows, at, self.books, self.cells)
            if status == cross.NO_ROOM:
                self.books, self.cells = grow_book(self.books, self.cells, pair)
        turns = rows[(rows["kind"] == GAP) | ((rows["flags"] & (SNAPSHOT | LAST)) == SNAPSHOT | LAST)]
        if len(turns):
            self.valid[pair] = bool(turns["kind"][-1] == BOOK)

    def levels(self, pair: int) -> np.ndarray | None:
        """(side, ticks, lots) of every level, best first, bids first; None while the book is not valid."""
        if not self.valid[pair]:
            return None
        sides = []
        for side in (1, -1):
            ticks, lots = book_levels(self.books, self.cells, pair, side)
            sides.append(np.column_stack([np.full(len(ticks), side), ticks, lots]))
        return np.concatenate(sides)


class Pauses:
    """The middle of the longest pause in each second, of venue times that never step back."""

    def __init__(self) -> None:
        self.last_us: int | None = None
        self.longest: dict[int, tuple[int, int]] = {}

    def push(self, times_us: np.ndarray) -> None:
        """Take the next times."""
        times = times_us if self.last_us is None else np.concatenate([[self.last_us], times_us])
        self.last_us = int(times[-1])
        pauses = np.diff(times)
        seconds = times[:-1] // US_PER_S
        order = np.lexsort((pauses, seconds))
        longest = order[np.flatnonzero(np.append(np.diff(seconds), 1)[: len(order)])]
        for second, pause, begin in zip(*(a[longest].tolist() for a in (seconds, pauses, times[:-1]))):
            if pause > self.longest.get(second, (0, 0))[0]:
                self.longest[second] = pause, begin + pause // 2

    def instants(self, span_us: tuple[int, int], most: int) -> np.ndarray:
        """At most `most` of them within a span, spread evenly, ascending."""
        middles = np.array(sorted(middle for _, middle in self.longest.values()), np.int64)
        middles = middles[(middles >= span_us[0]) & (middles < span_us[1])]
        chosen: np.ndarray = middles[np.unique(np.linspace(0, len(middles) - 1, min(most, len(middles))).astype(int))]
        return chosen


def _spans(feed: Feed, pauses: list[Pauses], progress: Callable[[int], None]) -> list[dict[int, tuple[int, int]]]:
    """First and last venue time of each pair's rows by kind; of a book from its first snapshot on, and its pauses."""
    spans: list[dict[int, tuple[int, int]]] = [{} for _ in feed.owners]
    count = 0
    for parts in feed.parts():
        count += sum(map(len, parts))
        progress(count)
        for span, rows, pause in zip(spans, parts, pauses):
            for kind in KINDS:
                mine = rows[rows["kind"] == kind]
                if kind == BOOK and BOOK not in span and len(mine):
                    snapshots = np.flatnonzero(mine["flags"] & SNAPSHOT)
                    mine = mine[snapshots[0] :] if len(snapshots) else mine[:0]
                if kind == BOOK and len(mine):
                    pause.push(mine["exch_ts"])
                if len(mine):
                    first, last = span.get(kind, (INT64_MAX, INT64_MIN))
                    span[kind] = min(first, int(mine["exch_ts"][0])), max(last, int(mine["exch_ts"][-1]))
    return spans


# ---------------------------------------------------------------------------------------------------------- comparing


class _Pair:
    """The comparison of one instrument under way; `spans` by kind is the time that both cover.

    `instants` are those at which books are compared, then the end of their common time.
    """

    def __init__(self, spans: dict[int, tuple[int, int]], pauses: Pauses, samples: int, slack_us: int) -> None:
        self.spans, self.slack_us = spans, slack_us
        self.aligners = {kind: Aligner() for kind in spans}
        self.books = BooksCompared() if BOOK in spans else None
        self.instants = np.zeros(0, np.int64)
        if self.books is not None:
            self.instants = np.append(pauses.instants(spans[BOOK], samples), spans[BOOK][1])
        self.taken = [0, 0]
        self.states: list[list[np.ndarray | None]] = [[], []]

    def push(self, which: int, feed: Feed, pair: int, rows: np.ndarray) -> None:
        """Take rows of feed `which`."""
        for kind, aligner in self.aligners.items():
            mine = _comparable(rows, kind)
            first, last = self.spans[kind]
            mine = mine[(mine["exch_ts"] >= first - self.slack_us) & (mine["exch_ts"] <= last + self.slack_us)]
            if len(mine):
                aligner.push(which, _aligned(mine, kind))
        if self.books is not None:
            self._sample(which, feed, pair, rows[(rows["kind"] == BOOK) | (rows["kind"] == GAP)])

    def _sample(self, which: int, feed: Feed, pair: int, rows: np.ndarray) -> None:
        """Move the book, and look at it at each instant that is passed."""
        while self.taken[which] < len(self.instants) and len(rows):
            stop = int(np.searchsorted(rows["exch_ts"], self.instants[self.taken[which]], "right"))
            feed.apply(pair, rows[:stop])
            rows = rows[stop:]
            if len(rows):
                self.look(which, feed, pair)

    def look(self, which: int, feed: Feed, pair: int) -> None:
        """The book at the next instant; compared when the other feed has come there."""
        assert self.books is not None
        self.taken[which] += 1
        if self.taken[which] == len(self.instants):
            return
        self.states[which].append(feed.levels(pair))
        if self.states[0] and self.states[1]:
            time_us = int(self.instants[self.books.samples + self.books.unknown])
            a, b = (states.pop(0) for states in self.states)
            if a is None or b is None:
                self.books.unknown += 1
                return
            self.books.samples += 1
            if not np.array_equal(a, b):
                levels, touch = _difference(a, b)
                self.books.diverged.append(Divergence(time_us, levels, touch))


def _comparable(rows: np.ndarray, kind: int) -> np.ndarray:
    """Rows of a kind that the feed itself sent as changes, each message sorted."""
    mine = rows[rows["kind"] == kind]
    if kind in (BOOK, QUOTE):
        message = np.cumsum((mine["flags"] & LAST) != 0) - ((mine["flags"] & LAST) != 0)
        mine = mine[np.lexsort((mine["price"], mine["side"], message))]
        mine = mine[((mine["flags"] & (SNAPSHOT | REPAIRED)) == 0) & (mine["side"] != 0)]
    return np.asarray(mine)


def _aligned(rows: np.ndarray, kind: int) -> np.ndarray:
    out = np.zeros(len(rows), ALIGNED)
    for name in ("ts", "exch_ts", "price", "qty", "value", "side"):
        out[name] = rows[name]
    if kind in (MARK, FUNDING):
        out["key"] = mixed([rows["value"], rows["seq"] if kind == FUNDING else rows["side"]])
        out["ident"] = mixed([rows["exch_ts"]])
    else:
        out["key"] = mixed([rows["side"], rows["price"], rows["qty"]])
        out["ident"] = mixed([rows["exch_ts"], rows["side"], rows["price"]])
    return out


def _difference(a: np.ndarray, b: np.ndarray) -> tuple[int, bool]:
    """(levels that are not in both with one size, whether one of the best is among them)."""
    books = [{(side, ticks): lots for side, ticks, lots in rows.tolist()} for rows in (a, b)]
    levels = sum(books[0].get(key) != books[1].get(key) for key in books[0].keys() | books[1].keys())
    best = [[next((r for r in rows.tolist() if r[0] == side), None) for side in (1, -1)] for rows in (a, b)]
    return levels, best[0] != best[1]


def compare(
    a: Source, b: Source, *, samples: int = SAMPLES, slack_us: int = SLACK_US,
    progress: Callable[[int], None] | None = None,
) -> FeedComparison:  # fmt: skip
    """Read both feeds twice and compare what both have.

    Books are compared at `samples` instants.  `progress` is told the rows of each reading so far.
    Raises ConfigError when the feeds have no instrument or no time in common, and what the sources raise.
    """
    if samples < 1:
        raise ConfigError("samples", samples, "must be at least 1")
    pairs = paired(a, b)
    factors = [_factors(a.instruments[i], b.instruments[j]) for i, j in pairs]

    def feeds() -> list[Feed]:
        return [Feed(s, [p[k] for p in pairs], [f[k] for f in factors]) for k, s in enumerate((a, b))]

    pauses = [[Pauses() for _ in pairs] for _ in (a, b)]
    told = progress or (lambda rows: None)
    spans = [_spans(feed, own, told) for feed, own in zip(feeds(), pauses)]
    common = [
        {kind: (max(x[kind][0], y[kind][0]), min(x[kind][1], y[kind][1])) for kind in KINDS if kind in x and kind in y}
        for x, y in zip(*spans)
    ]
    common = [{kind: span for kind, span in kinds.items() if span[0] <= span[1]} for kinds in common]
    if not any(common):
        raise ConfigError("A, B", (a.name, b.name), "have no time in common")
    running = [_Pair(kinds, own, samples, slack_us) for kinds, own in zip(common, pauses[0])]
    second = feeds()
    _read_both(second, running, told)
    found = []
    for k, (pair, kinds) in enumerate(zip(pairs, running)):
        terms = a.instruments[pair[0]], b.instruments[pair[1]]
        only = [[KIND_NAMES[kind] for kind in KINDS if kind in span[k] and kind not in common[k]] for span in spans]
        found.append(_result(kinds, second, k, terms, (only[0], only[1])))
    unpaired = [
        [i.name for n, i in enumerate(source.instruments) if n not in [pair[k] for pair in pairs]]
        for k, source in enumerate((a, b))
    ]
    return FeedComparison(found, (unpaired[0], unpaired[1]))


def _read_both(feeds: list[Feed], running: list[_Pair], progress: Callable[[int], None]) -> None:
    """Let the feed that is behind go on, until both have ended."""
    streams = [feed.parts() for feed in feeds]
    reached: list[float] = [INT64_MIN, INT64_MIN]
    rows = 0
    while min(reached) < INT64_MAX:
        which = 0 if reached[0] <= reached[1] else 1
        parts = next(streams[which], None)
        if parts is None:
            reached[which] = INT64_MAX
            continue
        for k, (pair, part) in enumerate(zip(running, parts)):
            pair.push(which, feeds[which], k, part)
            if len(part):
                reached[which] = max(reached[which], int(part["ts"][-1]))
        rows += sum(len(part) for part in parts)
        progress(rows)


def _result(
    found: _Pair, feeds: list[Feed], k: int, terms: tuple[Instrument, Instrument], only: tuple[list[str], list[str]]
) -> PairCompared:
    events = {}
    for kind, aligner in found.aligners.items():
        first, last = found.spans[kind]
        aligner.finish(first + found.slack_us, last - found.slack_us)
        mean = {
            name: (least, total / aligner.matched, most) if aligner.matched else (0, 0.0, 0)
            for name, (least, total, most) in aligner.later_us.items()
        }
        grid = _common_terms(terms, feeds, k)
        examples = [_example(what, row, grid) for what, row in aligner.examples]
        events[KIND_NAMES[kind]] = EventsCompared(
            aligner.matched, aligner.missing, aligner.extra, aligner.different, mean, examples
        )
    if found.books is not None:
        for which, feed in enumerate(feeds):
            while found.taken[which] < len(found.instants):
                found.look(which, feed, k)
        grid = _common_terms(terms, feeds, k)
        top, whole = (
            [book_digest(feed.books, feed.cells, k, grid, levels) for feed in feeds] for levels in (DIGEST_LEVELS, None)
        )
        found.books.digests_top50, found.books.digests_all = (top[0], top[1]), (whole[0], whole[1])
    span = min(s[0] for s in found.spans.values()), max(s[1] for s in found.spans.values())
    return PairCompared((terms[0].name, terms[1].name), span, events, only, found.books)


def _common_terms(terms: tuple[Instrument, Instrument], feeds: list[Feed], k: int) -> Instrument:
    """The first instrument on the grid of both."""
    factors = feeds[0].factors[k]
    return replace(terms[0], tick=terms[0].tick / factors["price"], lot=terms[0].lot / factors["qty"])


def _example(what: str, row: np.void, grid: Instrument) -> dict[str, Any]:
    side = {1: "buy", -1: "sell", 0: ""}[int(row["side"])]
    price, size = plain(grid.price(int(row["price"]))), plain(grid.size(int(row["qty"])))
    text = f"{side} {size} @ {price}" if side else f"value {int(row['value'])}"
    return {"what": what, "time": iso_from_us(int(row["exch_ts"])), "ts": int(row["ts"]), "text": text}
