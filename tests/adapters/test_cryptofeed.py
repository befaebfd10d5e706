"""Cryptofeed recordings: line forms, exact times, merging."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.binance import COINM, SPOT, USDM
from adapters.decoders.cryptofeed import canonical, is_cryptofeed, nanoseconds
from replay.errors import DataError


class Anything:
    """Accepts every URL."""

    def check_url(self, url: str) -> None:
        pass

    answer = SPOT.answer


anything = Anything()


@given(st.integers(0, 4_000_000_000), st.integers(0, 999_999_999), st.integers(1, 9))
def test_seconds_become_nanoseconds_exactly(whole: int, nanos: int, digits: int) -> None:
    """Decimal seconds with up to nine digits become the same whole number of ns."""
    text = f"{whole}.{nanos:09d}"[: len(str(whole)) + 1 + digits]
    assert nanoseconds(text.encode()) == int(Decimal(text) * 10**9)


def test_forms_of_lines() -> None:
    assert nanoseconds(b"1633998512") == 1_633_998_512_000_000_000
    assert canonical(b'1633998512.5: {"a":1}', anything) == (1_633_998_512_500_000_000, b'1633998512500000000 {"a":1}')
    for skipped in (b"", b'configuration: {"x":1}', b"wss://stream.binance.com/x <-> 1.5", b"wss://h/x <- 1.5: {}",
                    b"https://api.binance.com/api/v3/exchangeInfo -> 1.5: {}"):  # fmt: skip
        assert canonical(skipped, anything) is None
    answer = canonical(b"https://h/api/v3/depth?symbol=LRCBTC&limit=9 -> 1.5: {}", anything)
    assert answer == (1_500_000_000, b'1500000000 {"stream":"lrcbtc@depthSnapshot","data":{}}')
    for bad in (b"hello", b"https://h/depth?limit=9 -> 1.5: {}", b"1633998512500000000 {}"):
        with pytest.raises(DataError):
            canonical(bad, anything)
    assert is_cryptofeed(b"1633998512.5: {}")
    assert not is_cryptofeed(b"1633998512500000000 {}")


def test_a_server_of_another_market_names_the_adapter(captures: Path) -> None:
    paths = sorted((captures / "cryptofeed").glob("BINANCE_DELIVERY.*gz"))
    for adapter in (SPOT, USDM):
        with pytest.raises(DataError, match="binance-coinm") as caught:
            adapter.open(paths)
        assert caught.value.line >= 1
    with pytest.raises(DataError, match="no market data"):
        COINM.open([path for path in paths if path.name == "BINANCE_DELIVERY.0.gz"])


def test_errors_name_the_file_and_line_they_came_from(write: Callable[..., Path]) -> None:
    good = '1633998512.5: {"u":1,"s":"LRCBTC","b":"1","B":"1","a":"2","A":"1"}'
    one = write(good, "", good, name="one")
    two = write(good, good, '1633998513: {"u":', name="two")
    with pytest.raises(DataError, match="JSON") as caught:
        SPOT.open([one, two])
    assert (caught.value.path, caught.value.line) == (str(two), 3)
