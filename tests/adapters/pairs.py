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

from adapters import bybit
from adapters.base import Decoder
from adapters.binance import COINM, SPOT, USDM, BinanceAdapter
from adapters.binance_options import OPTIONS
from adapters.decoders.binance import BinanceDecoder
from adapters.deribit import DERIBIT
from adapters.hyperliquid import HYPERLIQUID
from adapters.okx import OKX
from adapters.sequencing import Timing
from adapters.venue import VenueAdapter
from replay.events import BOOK, FUNDING, GAP, LAST, LIQUIDATION, MARK, QUOTE, REPAIRED, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.kernel import gaps
from replay.units import SCALE, iso_from_us, us_from_time

CAPTURES = Path(__file__).parents[2].parent / "shared" / "captures"
RECEIVED_US = us_from_time("2090-01-01T00:00:00Z")
"""When every message is received: after all venue times, so that none is clamped."""
HORIZON_US = RECEIVED_US
GRID = Decimal("1e-10")
"""Tick and lot of every instrument: as fine as any number in the pairs."""

Json = dict[str, Any]
Where = tuple[str, str, str]
"""exchange, type of the record, field"""

SIDES = {1: "buy", -1: "sell"}
TICKER_FIELDS = ("markPrice", "fundingRate", "fundingTimestamp")
TOUCH_FIELDS = ("bidPrice", "bidAmount", "askPrice", "askAmount")
SUMMARY_TOUCH = {"best" + name[0].upper() + name[1:]: name for name in TOUCH_FIELDS}

NOT_CARRIED = {
    "lastPrice": "the latest trade says it",
    "openInterest": "no event; what orders meet does not depend on it",
    "indexPrice": "no event; the mark price is what positions are valued at",
    "predictedFundingRate": "no event; only the rate that will be paid is one",
    "bestBidIV": "no event; volatilities follow from prices",
    "bestAskIV": "no event; volatilities follow from prices",
    "markIV": "no event; volatilities follow from prices",
    "delta": "no event; Greeks follow from prices",
    "gamma": "no event; Greeks follow from prices",
    "vega": "no event; Greeks follow from prices",
    "theta": "no event; Greeks follow from prices",
    "rho": "no event; Greeks follow from prices",
    "underlyingPrice": "no event; the underlying is an instrument of its own",
    "underlyingIndex": "a term of the instrument, not an event",
    "optionType": "a term of the instrument, not an event",
    "strikePrice": "a term of the instrument, not an event",
    "expirationDate": "a term of the instrument, not an event",
}


NAMED = ("s", "symbol", "instrument_name", "coin", "instId", "instrument_id", "sprdId")
"""Keys whose values name instruments."""
FOREIGN = {"ETCUSDT"}
"""A USD-M contract among messages of COIN-M: its adapter refuses to know it."""

ADAPTERS: dict[str, BinanceAdapter | VenueAdapter] = {
    "binance": SPOT,
    "binance-futures": USDM,
    "binance-delivery": COINM,
    "binance-european-options": OPTIONS,
    "deribit": DERIBIT,
    "hyperliquid": HYPERLIQUID,
    "bybit": bybit.DERIVATIVES,
    "bybit-spot": bybit.SPOT,
    "bybit-options": bybit.OPTIONS,
    "okex": OKX,
    "okex-futures": OKX,
    "okex-swap": OKX,
    "okex-options": OKX,
    "okex-spreads": OKX,
}
SETTINGS: dict[str, Json] = {
    "okx": {"checksums": "never", "ticker_quotes": True},
}
"""Books were cut short for the pairs, so their checksums cannot agree; the late touch of tickers is compared, too."""
UNDECODED: dict[str, str] = dict.fromkeys(["bitmex", "coinbase", "kraken"], "its adapter is not there yet")
"""Exchanges without an adapter, each with the reason."""

MATCHED_TIME = "ours is T, when it was matched; theirs is E, when it was sent"
UUID = "a UUID is no whole number: ours has none"
BY_DATE = "made for another time: theirs takes one channel by date of receipt, ours what comes"
BACK_IN_TIME = "the messages of the case go back in time: venue times never do"
NO_SIZE = "a touch without sizes is no quote"
FIRST_PUSH = "theirs drops the first push of a connection, ours the first one after the answer to a subscription"
ROUNDED = "marks and rates have 8 decimals"
DIFFERENCES: dict[Where, tuple[int, str]] = {
    ("binance", "book_change", "timestamp"): (
        2, "a depth answer has no time: ours is that of the latest depth message, which keeps the venue side in order",
    ),
    ("binance-futures", "book_change", "timestamp"): (
        2, "a depth answer without times: ours is that of the latest depth message, theirs that of the receipt",
    ),
    ("binance-futures", "book_change", "message"): (
        1, "made up: u is not above the id of the book, so it is a repeat and changes nothing",
    ),
    ("binance-futures", "book_ticker", "timestamp"): (1, MATCHED_TIME),
    ("binance-delivery", "book_change", "timestamp"): (1, MATCHED_TIME),
    ("binance-delivery", "book_ticker", "timestamp"): (1, MATCHED_TIME),
    ("binance-delivery", "book_change", "message"): (1, "pu is not the id of the book: a gap, not a change"),
    ("binance-delivery", "gap", "message"): (1, "pu is not the id of the book: a gap, not a change"),
    ("binance-european-options", "book_change", "timestamp"): (1, MATCHED_TIME),
    ("binance-european-options", "ticker", "message"): (1, "the mark price is told at once, not with the next ticker"),
    **{
        ("binance-european-options", "option_summary", name): (
            1, "a mark price message repeats an older touch; bookTicker has it first",
        )
        for name in SUMMARY_TOUCH
    },
    ("deribit", "trade", "id"): (4, "ours is trade_seq, which is consecutive, so that a lost trade is seen"),
    ("deribit", "liquidation", "id"): (2, "a liquidation has no id; the print beside it has"),
    ("deribit", "book_ticker", "message"): (4, "ours has the quote channel (1), and no combinations (3)"),
    ("deribit", "derivative_ticker", "markPrice"): (3, "combinations, whose prices may be negative, are left out"),
    ("deribit", "derivative_ticker", "fundingRate"): (
        2, "it accrues all the time; without a settlement no event can announce it",
    ),
    ("deribit", "book_ticker", "timestamp"): (1, "the message before was younger: venue times never step back"),
    ("deribit", "book_change", "message"): (1, "prev_change_id is not the id of the book: a gap, not a change"),
    ("deribit", "gap", "message"): (1, "prev_change_id is not the id of the book: a gap, not a change"),
    ("deribit", "option_summary", "markPrice"): (1, "0 after expiry: no mark price"),
    ("deribit", "option_summary", "symbol"): (1, "ours is as the venue writes it (1d02), theirs upper case"),
    ("deribit", "book_ticker", "symbol"): (1, "ours is as the venue writes it (1d02), theirs upper case"),
    ("hyperliquid", "derivative_ticker", "fundingTimestamp"): (1, "ours says when it is paid: at the end of the hour"),
    ("bybit", "trade", "id"): (9, UUID),
    ("bybit-options", "trade", "id"): (1, UUID),
    ("bybit", "liquidation", "id"): (4, "a liquidation has no id"),
    ("bybit", "liquidation", "message"): (1, BY_DATE),
    ("bybit", "book_change", "message"): (1, BY_DATE),
    ("bybit", "book_change", "timestamp"): (2, BACK_IN_TIME),
    ("bybit", "derivative_ticker", "fundingRate"): (1, "the message does not say when it is paid, so it is no event"),
    ("bybit", "derivative_ticker", "timestamp"): (1, "the messages go back in time: theirs keeps the younger one's"),
    ("okex", "book_ticker", "message"): (1, NO_SIZE),
    ("okex-futures", "book_ticker", "message"): (3, NO_SIZE),
    ("okex-futures", "ticker", "message"): (1, "a message of a swap among those of futures: ours reads it, too"),
    ("okex-futures", "book_change", "message"): (2, BY_DATE),
    ("okex-futures", "liquidation", "message"): (1, FIRST_PUSH),
    ("okex-futures", "derivative_ticker", "fundingRate"): (1, ROUNDED),
    ("okex-swap", "derivative_ticker", "timestamp"): (
        2, "the funding message has no time: ours is that of its receipt, and what follows is not before it",
    ),
    ("okex-swap", "derivative_ticker", "fundingTimestamp"): (1, "without a rate there is nothing to announce"),
    ("okex-swap", "book_change", "message"): (1, BY_DATE),
    ("okex-swap", "book_ticker", "message"): (7, f"{NO_SIZE} (2); {BY_DATE} (5)"),
    ("okex-options", "book_change", "message"): (2, BY_DATE),
    ("okex-options", "ticker", "message"): (1, "the mark price is told at once, not with the next summary"),
    ("okex-options", "option_summary", "markPrice"): (1, ROUNDED),
}  # fmt: skip
"""What differs on purpose: how often, and why.  `message`: only one of the two has the record."""


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
            return {"type": "trade", "id": str(first["seq"]), **out}
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
    """Feed and compare every pair of an exchange that has an adapter."""
    outcome = Outcome(pairs=Counter(pair.exchange for pair in pairs))
    for (exchange, _), members in cases(pairs).items():
        if exchange not in ADAPTERS:
            continue
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
        adapter = ADAPTERS[exchange].name if exchange in ADAPTERS else f"not decoded: {UNDECODED[exchange]}"
        print(f"{exchange}: {count} messages, {outcome.records[exchange]} records, {adapter}")
    for exchange, kind, name in sorted(outcome.differences):
        times, why = DIFFERENCES.get((exchange, kind, name), (0, "UNEXPLAINED"))
        print(f"{exchange} {kind}.{name}: {outcome.differences[exchange, kind, name]} of {times}: {why}")
    for name, count in sorted(outcome.skipped.items()):
        print(f"not carried: {name}: {count}: {NOT_CARRIED[name]}")


if __name__ == "__main__":
    main()
