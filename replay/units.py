"""Time and number units: the only file that knows them.

Below the edge of the program time is an int64 count of **microseconds** since 1970-01-01 UTC.  Nanosecond input
is floor-divided, which can tie but never reorder.  Prices and sizes are integers (ticks and lots, see
`replay.instruments`); money rates and mark prices, which need not lie on a tick, are integers in units of
`1 / SCALE`.  Decimal strings become integers digit by digit, never through a float.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

US_PER_MS = 1_000
US_PER_S = 1_000_000
US_PER_MIN = 60 * US_PER_S
US_PER_HOUR = 3_600 * US_PER_S
US_PER_DAY = 24 * US_PER_HOUR
NS_PER_US = 1_000

SCALE_DIGITS = 8
SCALE: int = 10**SCALE_DIGITS
"""Event `value` fields and all rates (fees, funding) are integers in units of 1 / SCALE."""

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


def us_from_ns(time_ns: int) -> int:
    """Microseconds from nanoseconds, floored (also below zero)."""
    return time_ns // NS_PER_US


def us_from_ms(time_ms: int) -> int:
    """Microseconds from milliseconds, exact."""
    return time_ms * US_PER_MS


def iso_from_us(time_us: int) -> str:
    """`2024-08-08T23:54:15.030314Z` from microseconds since the epoch."""
    seconds, micros = divmod(time_us, US_PER_S)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{micros:06d}Z"


def us_from_time(time: int | str | datetime) -> int:
    """Microseconds since the epoch from whole µs, ISO text (`2024-08-08T23:54:15Z`) or a datetime, floored.

    Raises ValueError for anything else, and for a date and time without a zone: nobody knows which one was meant.
    """
    if isinstance(time, int) and not isinstance(time, bool):
        return time
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            raise ValueError(f"{time!r} is not a date and time such as 2024-08-08T23:54:15Z") from None
    if not isinstance(time, datetime):
        raise ValueError(f"{time!r} is neither whole microseconds, ISO text nor a datetime")
    if time.utcoffset() is None:
        raise ValueError(f"{time} has no time zone; write {time.isoformat()}Z for UTC")
    return (time - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


_PLAIN_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_MAX_EXPONENT = 100


def scaled_int(text: str | bytes | Decimal | int, digits: int) -> int:
    """`text` times 10**digits as an exact integer.

    Text is plain decimal notation, without exponent, spaces or underscores.  Raises ValueError when it is anything
    else, has more than `digits` decimals that are not zero, or leaves the int64 range.  Floats are refused on purpose:
    0.1 is not one tenth.
    """
    if isinstance(text, float):
        raise ValueError(f"{text!r} is a float; pass a string or Decimal so that no digit is guessed")
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    if isinstance(text, str) and not _PLAIN_DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is not a plain decimal number")
    number = Decimal(text)
    sign, figures, exponent = number.as_tuple()
    if not isinstance(exponent, int) or abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError(f"{text!r} is not a finite number of ordinary size")
    whole = int("".join(map(str, figures)) or "0")
    shift = exponent + digits
    power: int = 10 ** abs(shift)
    if shift >= 0:
        whole *= power
    else:
        whole, rest = divmod(whole, power)
        if rest:
            raise ValueError(f"{text!r} has more than {digits} decimals")
    if sign:
        whole = -whole
    if not INT64_MIN < whole <= INT64_MAX:
        raise ValueError(f"{text!r} times 10^{digits} does not fit 64 bits")
    return whole


def plain(number: Decimal) -> str:
    """Plain decimal notation without trailing zeros: `61800.2`, `100`, `0`."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def decimal_from_rate(rate: float | str | Decimal) -> Decimal:
    """A rate as the decimal that a person wrote: `0.0002` is two basis points exactly."""
    return Decimal(repr(rate)) if isinstance(rate, float) else Decimal(rate)
