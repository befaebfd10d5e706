"""Tardis CSV by the rules alone, in slow, plain Python: `csv`, `Decimal`, dicts and lists.

`Oracle` turns the text of one file into tuples (ts, exch_ts, seq, price, qty, value, flags, kind, side) of one
instrument, and counts what was wrong.  Grid, clock offset and horizon (µs) are given.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from decimal import Decimal, localcontext
from fractions import Fraction

from replay.events import (
    BAD_TS,
    BOOK,
    CLEAR,
    FUNDING,
    GAP,
    GAP_BEFORE,
    LAST,
    LIQUIDATION,
    MARK,
    OFF_TICK,
    QUOTE,
    REPAIRED,
    SNAPSHOT,
    TRADE,
)  # fmt: skip

Row = dict[str, object]


class Stop(Exception):
    """The first anomaly under "raise": (line, what)."""


def number(text: str) -> Decimal | str:
    """A Decimal, "" for an empty field, "nan" for something that is no number."""
    if not text:
        return ""
    return "nan" if text.lower() in ("nan", "inf", "-inf", "null") else Decimal(text)


def nearest(value: Decimal, step: Decimal) -> tuple[int, bool]:
    """(nearest whole number of steps, halves up; whether it was rounded)."""
    exact = Fraction(value) / Fraction(step)
    return (exact + Fraction(1, 2)).__floor__(), exact.denominator != 1


def read_rows(text: str, data_type: str) -> list[Row]:
    """Lines as rows: dicts of line, local, venue, kind, side, price, size, seq, ident, snap, and how they group."""
    rows: list[Row] = []
    for line, cells in enumerate(csv.DictReader(io.StringIO(text)), 2):
        common = {"line": line, "local": int(cells["local_timestamp"]), "venue": int(cells["timestamp"] or 0),
                  "seq": -1, "ident": None, "snap": False, "side": 0, "size": "", "begins": True}  # fmt: skip
        if data_type == "incremental_book_L2":
            side = {"bid": 1, "ask": -1}.get(cells["side"], 0)
            rows.append({**common, "kind": BOOK, "side": side, "price": number(cells["price"]),
                         "size": number(cells["amount"]), "snap": cells["is_snapshot"] == "true",
                         "begins": None})  # fmt: skip
        elif data_type in ("trades", "liquidations"):
            plain = cells["id"].isdigit() and int(cells["id"]) < 4 * 10**18 and str(int(cells["id"])) == cells["id"]
            rows.append({**common, "kind": TRADE if data_type == "trades" else LIQUIDATION,
                         "side": {"buy": 1, "sell": -1}.get(cells["side"], 0), "price": number(cells["price"]),
                         "size": number(cells["amount"]), "ident": cells["id"] or None,
                         "seq": int(cells["id"]) if plain else -1})  # fmt: skip
        elif data_type in ("quotes", "book_ticker"):
            for side, name, begins in ((1, "bid", True), (-1, "ask", False)):
                rows.append({**common, "kind": QUOTE, "side": side, "price": number(cells[f"{name}_price"]),
                             "size": number(cells[f"{name}_amount"]), "begins": begins})  # fmt: skip
        elif data_type == "derivative_ticker":
            mark, rate, due = (number(cells[name]) for name in ("mark_price", "funding_rate", "funding_timestamp"))
            if mark != "":
                rows.append({**common, "kind": MARK, "price": mark})
            if rate != "" and due != "":
                rows.append({**common, "kind": FUNDING, "price": rate, "seq": int(due), "begins": mark == ""})
        elif "_snapshot_" in data_type:
            depth, sides = range(int(data_type.rpartition("_")[2])), ((-1, "asks"), (1, "bids"))
            places = [(i, side) for i in depth for side in sides]
            if data_type.startswith("machine"):  # JSON lists the bids, then the asks
                places = [(i, side) for side in reversed(sides) for i in depth]
            begins = True
            for i, (side, name) in places:
                price, size = number(cells[f"{name}[{i}].price"]), number(cells[f"{name}[{i}].amount"])
                if (price, size) != ("", ""):
                    rows.append({**common, "kind": BOOK, "side": side, "price": price, "size": size, "snap": True,
                                 "begins": begins})  # fmt: skip
                    begins = False
        elif data_type == "options_chain":
            for side, name, begins in ((1, "bid", True), (-1, "ask", False)):
                rows.append({**common, "kind": QUOTE, "side": side, "price": number(cells[f"{name}_price"]),
                             "size": number(cells[f"{name}_amount"]), "begins": begins})  # fmt: skip
            mark = number(cells["mark_price"])
            if mark not in ("", 0):
                rows.append({**common, "kind": MARK, "price": mark})
        else:
            raise AssertionError(data_type)
    return rows


class Oracle:
    """One file of one instrument, and what it becomes."""

    def __init__(self, tick: Decimal, lot: Decimal, offset: int, horizon: int, policy: str) -> None:
        self.tick, self.lot, self.offset, self.horizon, self.policy = tick, lot, offset, horizon, policy
        self.wrong: Counter[str] = Counter()
        self.events: list[list[int]] = []
        self.message: list[list[int]] = []
        self.book: dict[int, dict[int, int]] = {1: {}, -1: {}}
        self.latest: Counter[int] = Counter()
        self.live = self.after_delta = False
        self.last_ts = 0
        self.last_ident: object = None
        self.gaps = 0
        self.before: Row | None = None

    def read(self, text: str, data_type: str) -> list[tuple[int, ...]]:
        """All events of the text; Stop at the first anomaly under "raise"."""
        wanted, flags, times = True, 0, (0, 0, 0)
        for row in read_rows(text, data_type):
            if self.starts(row):
                self.close()
                if row["local"] + self.offset < self.last_ts:
                    self.note("off order", row)
                wanted = bool(row["kind"] != BOOK or self.live or row["snap"])
                if wanted:
                    flags, times = self.begin(row)
            left_out = self.judge(row)
            self.before = row
            if wanted and not left_out:
                self.message.append(self.event(row, times, flags))
                flags = 0
        self.close()
        return [tuple(event) for event in self.events]

    def starts(self, row: Row) -> bool:
        if row["begins"] is not None or self.before is None:
            return row["begins"] is not False
        same = ("local", "snap") if row["snap"] else ("local", "snap", "venue")
        return any(row[name] != self.before[name] for name in same)

    def note(self, what: str, row: Row) -> None:
        self.wrong[what] += 1
        if self.policy == "raise":
            raise Stop(row["line"], what)

    def begin(self, row: Row) -> tuple[int, tuple[int, int, int]]:
        """(flags of the first row, (ts, exch, flags of every row))."""
        channel = {MARK: MARK, FUNDING: MARK}.get(row["kind"], row["kind"])
        first = 0
        if row["kind"] == BOOK and row["snap"]:
            first = CLEAR
            if self.after_delta:
                first |= GAP_BEFORE
                self.gaps += 1
                exch = self.latest[BOOK] = max(self.latest[BOOK], self.last_ts - self.horizon)
                self.events.append([self.last_ts, exch, -1, 0, 0, -1, LAST, GAP, 0])
            self.live, self.after_delta = True, False
        elif row["kind"] == BOOK:
            self.after_delta = True
        ts = max(row["local"] + self.offset, self.last_ts)
        exch = row["venue"] or ts
        held = max(min(max(exch, ts - self.horizon), ts), self.latest[channel])
        bad = BAD_TS if ts != row["local"] + self.offset or held != exch else 0
        self.last_ts, self.latest[channel] = ts, held
        return first, (ts, held, bad)

    def judge(self, row: Row) -> bool:
        """Whether the row is left out."""
        kind, price, size = row["kind"], row["price"], row["size"]
        if kind == QUOTE:
            if "nan" in (price, size):
                self.note("price", row)
            return False
        if isinstance(price, str) or (price <= 0 and kind != FUNDING):
            self.note("price", row)
            return True
        if kind in (MARK, FUNDING):
            return False
        if isinstance(size, str) or size < 0 or (size == 0 and kind != BOOK):
            self.note("size", row)
            return True
        if row["side"] == 0:
            self.note("side", row)
            return kind == BOOK
        if kind == BOOK:
            names = ("price", "size", "local", "venue", "side", "snap")
            same = self.before is not None and all(row[name] == self.before[name] for name in names)
        else:
            same = row["ident"] is not None and row["ident"] == self.last_ident
            self.last_ident = row["ident"]
        if same:
            self.note("repeated", row)
        return same and self.policy == "repair"

    def event(self, row: Row, times: tuple[int, int, int], flags: int) -> list[int]:
        ts, exch, bad = times
        kind, price, size, side = row["kind"], row["price"], row["size"], row["side"]
        ticks = lots = value = 0
        if kind == FUNDING:
            value = _scaled(price)
        elif kind == MARK:
            value, (ticks, _) = _scaled(price), nearest(price, self.tick)
        elif not (kind == QUOTE and (isinstance(price, str) or isinstance(size, str) or price <= 0 or size <= 0)):
            (ticks, off), (lots, odd) = nearest(price, self.tick), nearest(size, self.lot)
            if off or odd:
                flags |= OFF_TICK
                self.note("grid", row)
        flags |= bad | (SNAPSHOT if row["snap"] else 0)
        return [ts, exch, row["seq"], ticks, lots, value, flags, kind, side]

    def close(self) -> None:
        """End the message; keep the book, and uncross it."""
        message, self.message = self.message, []
        if not message:
            return
        message[-1][6] |= LAST
        self.events += message
        if message[0][7] != BOOK:
            return
        if message[0][6] & CLEAR:
            self.book = {1: {}, -1: {}}
        for event in message:
            self.book[event[8]][event[3]] = event[4]
        bids, asks = ([t for t, lots in self.book[side].items() if lots] for side in (1, -1))
        if not (bids and asks and max(bids) >= min(asks)):
            return
        self.note("crossed", self.before or {})
        if self.policy != "repair":
            return
        asked = any(event[8] == -1 and event[3] == min(asks) and event[4] > 0 for event in message)
        side = 1 if asked else -1
        crossing = sorted((t for t in bids if t >= min(asks)), reverse=True)
        if not asked:
            crossing = sorted(t for t in asks if t <= max(bids))
        message[-1][6] &= ~LAST
        for ticks in crossing:
            self.book[side][ticks] = 0
            repair = [
                *message[-1][:3],
                ticks,
                0,
                0,
                (message[-1][6] & ~(LAST | CLEAR | GAP_BEFORE | OFF_TICK)) | REPAIRED,
            ]
            self.events.append([*repair, BOOK, side])
        self.events[-1][6] |= LAST


def _scaled(value: Decimal) -> int:
    """`value` in units of 1e-8, halves up."""
    with localcontext(prec=60):
        return int((value * 10**8 + Decimal("0.5")).to_integral_value(rounding="ROUND_FLOOR"))
