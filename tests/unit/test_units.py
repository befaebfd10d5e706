"""Exact numbers from text, and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from replay.units import (
    INT64_MAX,
    INT64_MIN,
    decimal_from_rate,
    iso_from_us,
    plain,
    scaled_int,
    us_from_ms,
    us_from_ns,
    us_from_time,
)


@given(st.integers(-INT64_MAX, INT64_MAX), st.integers(0, 18))
def test_scaled_int_is_the_inverse_of_writing_decimals(whole: int, digits: int) -> None:
    """Any int64 written with `digits` decimals comes back exactly, as text, bytes or Decimal."""
    with localcontext(prec=60):
        number = Decimal(whole).scaleb(-digits)
        text = format(number, "f")
    for value in (text, text.encode(), number, text + "000" if "." in text else text):
        assert scaled_int(value, digits) == whole


@given(st.integers(-(10**12), 10**12), st.integers(1, 12), st.integers(0, 11))
def test_a_digit_too_many_is_refused_unless_it_is_zero(whole: int, decimals: int, digits: int) -> None:
    """Decimals beyond `digits` that are not zero raise; anything else is the exact product."""
    assume(digits < decimals)
    text = format(Decimal(whole).scaleb(-decimals), "f")
    if whole % 10 ** (decimals - digits):
        with pytest.raises(ValueError, match="decimals"):
            scaled_int(text, digits)
    else:
        assert scaled_int(text, digits) == whole // 10 ** (decimals - digits)


NOT_PLAIN = [
    "",
    "abc",
    "1,5",
    "0x10",
    "--1",
    "nan",
    "inf",
    "-Infinity",
    "1 2",
    " 1",
    "1_000",
    "1e3",
    "\uff11",
    ".",
    b"\xff",
]
NOT_ORDINARY = [Decimal("nan"), Decimal("inf"), Decimal("1e999999"), Decimal("1e-999999"), 0.1]


@pytest.mark.parametrize("bad", [*NOT_PLAIN, *NOT_ORDINARY], ids=repr)
def test_what_is_no_decimal_number_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match=r"number|float"):
        scaled_int(bad, 8)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "digits"), [("9223372036854775808", 0), ("92233720368.54775808", 8), (Decimal("1e19"), 0)]
)
def test_what_does_not_fit_is_refused(text: str | Decimal, digits: int) -> None:
    assert scaled_int("9223372036854775807", 0) == INT64_MAX
    with pytest.raises(ValueError, match="64 bits"):
        scaled_int(text, digits)
    with pytest.raises(ValueError, match="64 bits"):
        scaled_int(str(INT64_MIN), 0)


def test_no_digit_is_rounded_away_however_far_out_it_stands() -> None:
    assert scaled_int("0.12345678" + "0" * 40, 8) == 12_345_678
    with pytest.raises(ValueError, match="decimals"):
        scaled_int("0.12345678" + "0" * 40 + "1", 8)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**4))
def test_nanoseconds_are_floored_and_never_reorder(time_ns: int, later: int) -> None:
    """Microseconds are the floor, so the order of nanoseconds is kept."""
    us = us_from_ns(time_ns)
    assert us * 1_000 <= time_ns < (us + 1) * 1_000
    assert us_from_ns(time_ns + later) >= us


def test_milliseconds() -> None:
    assert us_from_ms(-3) == -3_000


@pytest.mark.parametrize(
    ("time_us", "text"),
    [(0, "1970-01-01T00:00:00.000000Z"), (-1, "1969-12-31T23:59:59.999999Z"),
     (1_723_161_255_030_314, "2024-08-08T23:54:15.030314Z"), (1_709_164_800_000_001, "2024-02-29T00:00:00.000001Z")],
)  # fmt: skip
def test_iso(time_us: int, text: str) -> None:
    assert iso_from_us(time_us) == text


@given(st.integers(-(10**15), 10**16), st.integers(-23, 23))
def test_a_moment_is_the_same_in_all_its_spellings(time_us: int, zone: int) -> None:
    """Whole µs, ISO text in UTC and a datetime in any zone name one moment, to the µs."""
    there = (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time_us)).astimezone(
        timezone(timedelta(hours=zone))
    )
    assert us_from_time(time_us) == us_from_time(iso_from_us(time_us)) == us_from_time(there) == time_us
    assert us_from_time(there.isoformat()) == time_us


@pytest.mark.parametrize(
    ("bad", "why"),
    [("2024-08-08T23:54:15", "has no time zone; write 2024-08-08T23:54:15Z"), (datetime(2024, 8, 8), "no time zone"),
     ("yesterday", "is not a date and time"), (1.5, "neither whole microseconds"), (None, "neither")],
)  # fmt: skip
def test_what_is_no_moment(bad: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        us_from_time(bad)


@pytest.mark.parametrize(
    ("number", "text"),
    [("61800.20", "61800.2"), ("100", "100"), ("0.000", "0"), ("-0.0", "0"), ("1E+3", "1000"), ("1E-7", "0.0000001"),
     ("-1.50", "-1.5")],
)  # fmt: skip
def test_plain(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text


def test_rates_are_what_a_person_wrote() -> None:
    assert decimal_from_rate(0.0002) == Decimal("0.0002")
    assert decimal_from_rate(1e-05) == Decimal("0.00001")
    assert decimal_from_rate("0.0005") == decimal_from_rate(Decimal("0.0005")) == Decimal("0.0005")
