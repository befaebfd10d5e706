"""Raw venue messages beside the values that tardis-node made of them, compared with what our decoders make of them.

A pair is one message with its normalized records.  The messages of one case are fed to one decoder in order; what its
events say is told in the same words (`Told.records`) and compared field by field, as exact decimals.  Rules:

* A snapshot and the early deltas that it releases are one record there, and so they are here.
* A `derivative_ticker` and an `option_summary` repeat the latest value of each field: ours are remembered, too.
* A change that no full book came before is one of an empty book: the pairs begin in the middle.
* Where the record has the time of the (made up) receipt, ours must have that of its receipt.
* What no event can carry (`NOT_CARRIED`) is counted, not compared.

`python -m tests.adapters.pairs` prints what was compared, and each difference with its reason.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from adapters.base import Decoder
from adapters.binance import BinanceAdapter
from adapters.decoders.binance import BinanceDecoder
from adapters.sequencing import Timing
from replay.events import BOOK, FUNDING, GAP, LAST, LIQUIDATION, MARK, QUOTE, REPAIRED, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.kernel import gaps
from replay.units import SCALE, iso_from_us, us_from_time
from tests.adapters.pair_table import (
    ADAPTERS,
    DIFFERENCES,
    FOREIGN,
    NAMED,
    NOT_CARRIED,
    SETTINGS,
    SUMMARY_TOUCH,
    TOUCH_FIELDS,
    Where,
)

CAPTURES = Path(__file__).parents[2].parent / "shared" / "captures"
RECEIVED_US = us_from_time("2090-01-01T00:00:00Z")
"""When every message is received: after all venue times, so that none is clamped."""
HORIZON_US = RECEIVED_US
GRID = Decimal("1e-10")
"""Tick and lot of every instrument: as fine as any number in the pairs."""

Json = dict[str, Any]
SIDES = {1: "buy", -1: "sell"}


@dataclass(frozen=True)
class Pair:
    """One message and its normalized records; `case` says which decoder it goes to."""

    exchange: str
    case: int
    received_us: int
    message: Any
    normalized: list[Json]


def load(captures: Path = CAPTURES) -> list[Pair]:
    """All pairs, numbers as exact decimals in the records."""
    text = gzip.decompress((captures / "raw_to_normalized/pairs.ndjson.gz").read_bytes())
    pairs = []
    for line in text.splitlines():
        raw, exact = json.loads(line), json.loads(line, parse_float=Decimal)
        received_us = us_from_time(raw["localTimestamp"])
        pairs.append(Pair(raw["exchange"], raw["case"], received_us, raw["message"], exact["normalized"]))
    return pairs


def cases(pairs: Sequence[Pair]) -> dict[tuple[str, int], list[Pair]]:
    """Pairs that belong to one decoder, in order."""
    found: dict[tuple[str, int], list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[pair.exchange, pair.case].append(pair)
    return found


@dataclass
class Told:
    """What the events of one decoder have said so far: the latest mark, funding and touch by symbol."""

    decoder: Decoder
    ticker: dict[str, Json] = field(default_factory=lambda: defaultdict(dict))
    touch: dict[str, Json] = field(default_factory=lambda: defaultdict(dict))

    def records(self, message: Any) -> list[Json]:
        """Feed a message; its events as records (`ticker` for mark and funding)."""
        batches: list[np.ndarray] = []
        self.decoder.feed(orjson.dumps(message), RECEIVED_US * 1000, lambda batch: batches.append(batch.copy()))
        records: list[Json] = []
        for rows in messages_of(batches):
            instrument = self.decoder.instruments[int(rows[0]["instrument"])]
            record = self._record(rows, instrument)
            before = records[-1] if records else {}
            folded = record["type"] == "book_change" and (rows["flags"] & REPAIRED).all() and not record["isSnapshot"]
            if folded and before.get("symbol") == record["symbol"]:
                for side in ("bids", "asks"):
                    before[side] |= record[side]
                continue
            records.append(record)
        return records

    def _record(self, rows: np.ndarray, instrument: Instrument) -> Json:
        first = rows[0]
        kind, exch_us = int(first["kind"]), int(first["exch_ts"])
        time = "receipt" if exch_us == int(first["ts"]) else iso_from_us(exch_us)
        out: Json = {"symbol": instrument.symbol, "timestamp": time}
        if kind == BOOK:
            sides = {1: "bids", -1: "asks"}
            levels: Json = {"bids": {}, "asks": {}}
            for row in rows[rows["side"] != 0]:
                levels[sides[int(row["side"])]][instrument.price(int(row["price"]))] = instrument.size(int(row["qty"]))
            return {"type": "book_change", "isSnapshot": bool(first["flags"] & SNAPSHOT), **levels, **out}
        if kind in (TRADE, LIQUIDATION):
            price, amount = instrument.price(int(first["price"])), instrument.size(int(first["qty"]))
            out |= {"price": price, "amount": amount, "side": SIDES.get(int(first["side"]), "unknown")}
            if kind == LIQUIDATION:
                return {"type": "liquidation", **out}
            return {"type": "trade", **({"id": str(first["seq"])} if first["seq"] >= 0 else {}), **out}
        if kind == QUOTE:
            touch = self.touch[instrument.symbol]
            touch.clear()
            for row, (price, amount) in zip(rows, (TOUCH_FIELDS[:2], TOUCH_FIELDS[2:])):
                if row["price"] != 0:
                    touch[price] = instrument.price(int(row["price"]))
                if row["qty"] != 0:
                    touch[amount] = instrument.size(int(row["qty"]))
            return {"type": "book_ticker", **touch, **out}
        if kind == GAP:
            return {"type": "gap", **out}
        assert kind in (MARK, FUNDING), f"unexpected kind {kind}"
        ticker = self.ticker[instrument.symbol]
        for row in rows:
            value = Decimal(int(row["value"])) / SCALE
            if row["kind"] == MARK:
                ticker["markPrice"] = value
            else:
                ticker |= {"fundingRate": value, "fundingTimestamp": iso_from_us(int(row["seq"]))}
        return {"type": "ticker", **out}


def messages_of(batches: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The rows of each venue message."""
    for batch in batches:
        yield from np.split(batch, np.flatnonzero(batch["flags"] & LAST)[:-1] + 1)


def theirs(pair: Pair, record: Json) -> Json:
    """A normalized record in the words of `Told`."""
    out = {name: value for name, value in record.items() if name not in ("exchange", "localTimestamp")}
    for name in ("timestamp", "fundingTimestamp"):
        if name in out:
            out[name] = iso_from_us(us_from_time(out[name]))
    if us_from_time(record["timestamp"]) == pair.received_us:
        out["timestamp"] = "receipt"
    for side in ("bids", "asks"):
        if side in out:
            out[side] = {Decimal(level["price"]): Decimal(level["amount"]) for level in out[side]}
    return out


def compare_pair(pair: Pair, told: Told) -> tuple[list[Where], list[str]]:
    """Where a pair differs, and which fields of it no event carries; feeds the message to the decoder of `told`.

    The field `message` stands for a record that only one of the two has.
    """
    ours = told.records(pair.message)
    has_quote = any(record["type"] == "book_ticker" for record in pair.normalized)
    differences: list[Where] = []
    skipped: list[str] = []
    for record in (theirs(pair, record) for record in pair.normalized):
        kind, symbol = record["type"], record["symbol"]
        skipped += [name for name in record if name in NOT_CARRIED]
        expected = {name: value for name, value in record.items() if name not in NOT_CARRIED}
        if kind in ("derivative_ticker", "option_summary"):
            if kind == "option_summary" and not has_quote:
                take(ours, "book_ticker", symbol)  # the summary has the touch
            now = take(ours, "ticker", symbol) or {"symbol": symbol, "timestamp": expected["timestamp"]}
            found = now | {"type": kind} | remembered(told, kind, symbol)
        else:
            found = take(ours, kind, symbol)
        if found is None:
            differences.append((pair.exchange, kind, "message"))
            continue
        names = sorted(expected.keys() | found.keys())
        differences += [(pair.exchange, kind, name) for name in names if expected.get(name) != found.get(name)]
    differences += [(pair.exchange, each["type"], "message") for each in ours]
    return differences, skipped


def take(records: list[Json], kind: str, symbol: str) -> Json | None:
    """The first record of a kind and symbol, which is removed; None when there is none."""
    for i, record in enumerate(records):
        if record["type"] == kind and record["symbol"].upper() == symbol.upper():
            return records.pop(i)
    return None


def remembered(told: Told, kind: str, symbol: str) -> Json:
    """The latest mark and funding of the symbol, and its touch in the words of an option_summary."""
    known = next((i.symbol for i in told.decoder.instruments if i.symbol.upper() == symbol.upper()), "")
    found = dict(told.ticker.get(known, {}))
    if kind == "option_summary":
        touch = told.touch.get(known, {})
        found |= {name: touch[short] for name, short in SUMMARY_TOUCH.items() if short in touch}
    return found


def symbols_in(message: Any) -> set[str]:
    """What may be the name of an instrument in a message."""
    found: set[str] = set()
    for key, value in message.items() if isinstance(message, dict) else ():
        if key in NAMED and isinstance(value, str):
            found.add(value)
    if isinstance(message, list) and message and isinstance(message[-1], str) and "/" in message[-1]:
        found.add(message[-1])
    for value in message.values() if isinstance(message, dict) else message if isinstance(message, list) else ():
        found |= symbols_in(value)
    return found


def decoder_of(exchange: str, pairs: Sequence[Pair]) -> Decoder:
    """A decoder for the instruments that the pairs of one case name.

    Many changes come without the full book before them: where books come in the stream, all begin valid and empty.
    """
    adapter = ADAPTERS[exchange]
    symbols = {symbol for pair in pairs for symbol in symbols_in(pair.message)} - FOREIGN
    instruments = [Instrument(adapter.name, symbol, "linear", GRID, GRID) for symbol in sorted(symbols)]
    timing = Timing(0, HORIZON_US)
    if isinstance(adapter, BinanceAdapter):
        return BinanceDecoder(adapter.market, instruments, timing=timing)
    decoder = adapter.decoder(instruments, timing=timing, **SETTINGS.get(adapter.name, {}))
    decoder.sequencer.machines["state"] = gaps.LIVE
    return decoder


@dataclass
class Outcome:
    """What came of all pairs: pairs by exchange, differences, fields that no event carries, records that were equal."""

    pairs: Counter[str] = field(default_factory=Counter)
    differences: Counter[Where] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)


def compare_all(pairs: Sequence[Pair]) -> Outcome:
    """Feed and compare every pair."""
    outcome = Outcome(pairs=Counter(pair.exchange for pair in pairs))
    for (exchange, _), members in cases(pairs).items():
        told = Told(decoder_of(exchange, members))
        for pair in members:
            differences, skipped = compare_pair(pair, told)
            outcome.differences.update(differences)
            outcome.skipped.update(skipped)
            outcome.records[exchange] += len(pair.normalized)
    return outcome


def main() -> None:
    """Print what was compared and what differs."""
    outcome = compare_all(load())
    for exchange, count in outcome.pairs.items():
        print(f"{exchange}: {count} messages, {outcome.records[exchange]} records, {ADAPTERS[exchange].name}")
    for exchange, kind, name in sorted(outcome.differences):
        times, why = DIFFERENCES.get((exchange, kind, name), (0, "UNEXPLAINED"))
        print(f"{exchange} {kind}.{name}: {outcome.differences[exchange, kind, name]} of {times}: {why}")
    for name, count in sorted(outcome.skipped.items()):
        print(f"not carried: {name}: {count}: {NOT_CARRIED[name]}")


if __name__ == "__main__":
    main()
