"""What one message of a venue says, read slowly and exactly: typed fields, exact numbers, and `Parsed`.

`Parsed` has the fields of `replay.kernel.scan.MESSAGE`, with the symbol by name and numbers as (mantissa, digits)
without trailing zero decimals.  What cannot be right is a DataError without a place; the caller knows file and line.

A line `<local ns> {"replay":"disconnected"}`, which recorders write and no venue sends, says that the connection was
lost there; `"symbols":[…]` names whose, else all are meant.  `{"replay":"ended"}` says that the recorder was stopped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson

from replay.errors import DataError
from replay.kernel import lexer, scan
from replay.units import US_PER_S, us_from_time

MAX_ID = 2**62
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
SECONDS = re.compile(r"\d{1,10}(\.\d{1,9})?", re.ASCII)
EARLIEST_US, LATEST_US = 10**15, 10**16
"""2001 to 2286."""
DISCONNECTED = "disconnected"
ENDED = b'{"replay":"ended"}'

Json = dict[str, Any]
Number = tuple[int, int]
"""mantissa, digits: mantissa · 10^−digits"""
Level = tuple[int, int, int, int]
"""price mantissa, price digits, size mantissa, size digits"""
NOTHING: Level = (0, 0, 0, 0)
"""An empty side of a quote."""


@dataclass(slots=True)
class Parsed:
    """A message; `name` says what it was when `kind` is OTHER.

    `check`, where the venue sends checksums, is called once when the message has been taken: False when the book is not
    what the venue's is.  A message that a recording leaves out on purpose is not checked.
    """

    kind: int
    symbol: str = ""
    local_ns: int = 0
    venue_us: int = -1
    first_id: int = -1
    last_id: int = -1
    prev_id: int = -1
    extra: int = 0
    side: int = 0
    name: str = ""
    bids: list[Level] = field(default_factory=list)
    asks: list[Level] = field(default_factory=list)
    check: Callable[[], bool] | None = None


def split_line(line: bytes) -> tuple[int, Any]:
    """(local ns, decoded JSON) of a line `<local ns> <json>` without its newline; DataError when it is no such line."""
    prefix, _, text = line.partition(b" ")
    return local_time_ns(prefix), decoded(text)


def local_time_ns(prefix: bytes) -> int:
    """The local time in front of a message; DataError when it is none."""
    if not (prefix.isdigit() and len(prefix) < 20):
        raise DataError("no local time in front of the message", hint="lines are `<local ns> <json>`")
    local_ns = int(prefix)
    if not scan.NS_FLOOR <= local_ns < 4 * lexer.MAX_MANTISSA:
        raise DataError(f"local time {local_ns} is not in nanoseconds since 1970")
    return local_ns


def decoded(text: bytes) -> Any:
    """The value of JSON text; DataError when it is broken."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DataError(f"broken JSON ({error})") from None


def lost_symbols(message: Any) -> list[str] | None:
    """Whose connection was lost ([]: all) when `message` says so, else None."""
    if not isinstance(message, dict) or message.get("replay") != DISCONNECTED:
        return None
    symbols = message.get("symbols", [])
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise DataError(f"field 'symbols' is {symbols!r}, not a list of names")
    return symbols


def get(data: Json, key: str) -> Any:
    """Field `key`, whatever it is."""
    if key not in data:
        raise DataError(f"{data.get('e', 'the message')} has no field {key!r}")
    return data[key]


def record(data: Json, key: str) -> Json:
    """An object."""
    value = get(data, key)
    if not isinstance(value, dict):
        raise DataError(f"field {key!r} is {value!r}, not an object")
    return value


def records(data: Json, key: str) -> list[Json]:
    """A list of objects."""
    value = get(data, key)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise DataError(f"field {key!r} is not a list of objects")
    return value


def symbol_of(data: Json, key: str = "s") -> str:
    """A symbol: at most 40 ASCII characters."""
    symbol = get(data, key)
    if not isinstance(symbol, str) or not 0 < len(symbol) <= 40 or not symbol.isascii():
        raise DataError(f"symbol {symbol!r} is not a name")
    return symbol


def whole(data: Json, key: str) -> int:
    """A whole number in [0, 2^62)."""
    value = get(data, key)
    if type(value) is not int or not 0 <= value < MAX_ID:
        raise DataError(f"field {key!r} is {value!r}, not a whole number below 2^62")
    return value


def whole_or_text(data: Json, key: str) -> int:
    """A whole number in [0, 2^62), as a number or as text."""
    value = trade_id(get(data, key))
    if value < 0:
        raise DataError(f"field {key!r} is {data[key]!r}, not a whole number below 2^62")
    return value


def time_us(data: Json, key: str) -> int:
    """A time in ms or µs, whichever it must be, as µs."""
    return in_us(whole(data, key))


def in_us(value: int) -> int:
    """A time in ms or µs, whichever it must be, as µs."""
    return value if value >= lexer.US_FLOOR else value * 1000


def text_time_us(data: Json, key: str) -> int:
    """A time as ISO text, as µs."""
    value = get(data, key)
    try:
        return us_from_time(value if isinstance(value, str) else "")
    except ValueError:
        raise DataError(f"field {key!r} is {value!r}, not a date and time with a zone") from None


def event_time_us(data: Json, key: str) -> int:
    """A time as ISO text, as µs, −1 when it is before 2001, with which a venue says that it has none."""
    found = text_time_us(data, key)
    if found >= LATEST_US:
        raise DataError(f"field {key!r} is {data[key]!r}, later than 2286")
    return found if found >= EARLIEST_US else -1


def seconds_us(value: object) -> int:
    """Decimal seconds such as `1561939258.512503`, as text, as µs; digits beyond µs are cut."""
    if not isinstance(value, str) or not SECONDS.fullmatch(value):
        raise DataError(f"time {value!r} is not in decimal seconds")
    seconds, _, fraction = value.partition(".")
    return int(seconds) * US_PER_S + int(fraction[:6].ljust(6, "0"))


def trade_id(value: object) -> int:
    """A trade's id, −1 when it is no whole number in [0, 2^62)."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    return value if type(value) is int and 0 <= value < MAX_ID else -1


def number(value: object, what: str) -> Number:
    """(mantissa, digits) of a decimal string or whole number; DataError when it is neither or has too many digits."""
    if type(value) is int:
        value = str(value)
    if not isinstance(value, str):
        raise DataError(f"{what} {value!r} is not a decimal string")
    found = _exact(value)
    if found is None:
        reason = "has more than 18 digits" if NUMBER.fullmatch(value) else "is not a decimal string"
        raise DataError(f"{what} {value[:60]!r} {reason}")
    return found


@lru_cache(maxsize=65_536)
def _exact(text: str) -> Number | None:
    """(mantissa, digits) of decimal text, None when it is none or too long."""
    if len(text) > 400 or not NUMBER.fullmatch(text):
        return None
    sign, digits, exponent = Decimal(text).as_tuple()
    mantissa = int("".join(map(str, digits)))
    assert isinstance(exponent, int)
    while exponent < 0 and mantissa % 10 == 0:
        mantissa //= 10
        exponent += 1
        if mantissa == 0:
            exponent = 0
    if exponent > 0:
        mantissa *= 10 ** min(exponent, 40)
    if mantissa >= lexer.MAX_MANTISSA or exponent < -18:
        return None
    return (-mantissa if sign else mantissa), max(0, -exponent)


def step_of(data: Json, key: str) -> Decimal:
    """A tick or lot: a positive number, as text or as a JSON number."""
    mantissa, digits = json_amount(get(data, key), key)
    if mantissa == 0:
        raise DataError(f"field {key!r} is 0, not a step")
    return Decimal(mantissa).scaleb(-digits)


def json_number(value: object, what: str) -> Number:
    """The same, for venues that send JSON numbers too: the decimal is the shortest one that gives the same float.

    That is what the venue wrote as long as it wrote at most 15 digits.
    """
    return number(repr(value) if type(value) is float else value, what)


def amount(value: object, what: str) -> Number:
    """A number that is not negative; JSON numbers with decimals are refused."""
    return _not_negative(number(value, what), value, what)


def json_amount(value: object, what: str) -> Number:
    """A number that is not negative; JSON numbers are welcome."""
    found = _exact(value) if type(value) is str else None  # nearly always: as short as can be
    if found is not None and found[0] >= 0:
        return found
    return _not_negative(json_number(value, what), value, what)


def _not_negative(found: Number, value: object, what: str) -> Number:
    if found[0] < 0:
        raise DataError(f"{what} {value!r} is negative")
    return found


def level(price: object, size: object) -> Level:
    """A price and a size, as text or JSON numbers."""
    return (*json_amount(price, "price"), *json_amount(size, "size"))


def levels(data: Json, key: str, read: Callable[[object, str], Number] = json_amount) -> list[Level]:
    """Price levels [price, size, …]; what else a level holds is left out."""
    rows = get(data, key)
    if not isinstance(rows, list):
        raise DataError(f"field {key!r} is not a list of price levels")
    out = []
    for row in rows:
        if not isinstance(row, list) or len(row) < 2:
            raise DataError(f"field {key!r} holds {row!r}, not a price and a size")
        out.append((*read(row[0], "price"), *read(row[1], "size")))
    return out


def side_of(data: Json, key: str, sides: dict[str, int]) -> int:
    """+1 or −1 by the venue's word; DataError when it is not in `sides`."""
    value = get(data, key)
    if not isinstance(value, str) or value not in sides:
        raise DataError(f"field {key!r} is {value!r}, neither " + " nor ".join(map(repr, sides)))
    return sides[value]


def other(name: str, symbol: str = "") -> Parsed:
    """A message that has no event, counted under `name`."""
    return Parsed(scan.OTHER, symbol, name=name)


def quoted(price: object, size: object) -> Level:
    """One side of a quote; nothing, empty text and zero mean that there is none."""
    found = level(price or 0, size or 0)
    return found if found[0] and found[2] else NOTHING


def quote(symbol: str, venue_us: int, bid: Level, ask: Level, last_id: int = -1) -> Parsed:
    """The venue's own touch."""
    return Parsed(scan.TICKER, symbol, venue_us=venue_us, last_id=last_id, bids=[bid], asks=[ask])


def mark_and_funding(
    symbol: str, venue_us: int, mark: Number | None, rate: Number | None = None, due_us: int = 0
) -> list[Parsed]:
    """What is known of mark price and of the rate that is settled at `due_us` (0: nobody says when, so left out)."""
    funded = rate is not None and due_us > 0
    if mark is None and not funded:
        return []
    kind = scan.FUND if mark is None else scan.MARK
    row = (*(mark or (0, 0)), *(rate if rate and funded else (0, 0)))
    return [Parsed(kind, symbol, venue_us=venue_us, extra=due_us if funded else 0, bids=[row])]
