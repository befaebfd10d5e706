"""Instruments: the grid, exactly."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import ConfigError, DataError
from replay.instruments import Instrument

BTC = Instrument("binance-usdm", "BTCUSDT", "linear", Decimal("0.1"), Decimal("0.001"))


@given(st.integers(-(10**14), 10**14), st.sampled_from(["0.1", "0.05", "1", "0.00000001", "2.5", "100"]))
def test_price_and_ticks_are_inverses(ticks: int, tick: str) -> None:
    """Every price on the grid comes back as its ticks, every size as its lots; neither goes through a float."""
    instrument = Instrument("v", "S", "spot", Decimal(tick), Decimal(tick))
    assert instrument.ticks(instrument.price(ticks)) == ticks
    assert instrument.lots(str(instrument.size(ticks))) == ticks
    assert instrument.price(ticks) == ticks * Decimal(tick)


def test_off_the_grid_is_a_data_error_that_names_the_instrument() -> None:
    assert BTC.ticks("61800.2") == 618_002
    with pytest.raises(DataError, match=r"binance-usdm:BTCUSDT: price 61800\.25 is not a multiple of the tick 0\.1"):
        BTC.ticks("61800.25")
    with pytest.raises(DataError, match=r"size 0\.0005 is not a multiple of the lot 0\.001"):
        BTC.lots("0.0005")


def test_a_digit_far_out_is_still_off_the_grid() -> None:
    assert BTC.ticks("100.1" + "0" * 30) == 1_001
    with pytest.raises(DataError, match="not a multiple"):
        BTC.ticks("100.1" + "0" * 30 + "1")


@pytest.mark.parametrize("bad", ["abc", "", "nan", "inf", Decimal("nan"), Decimal("inf")])
def test_what_is_no_number_is_a_data_error(bad: Any) -> None:
    with pytest.raises(DataError, match=r"price .* is not a number"):
        BTC.ticks(bad)


@pytest.mark.parametrize("name", ["tick", "lot", "multiplier"])
@pytest.mark.parametrize("value", [Decimal(0), Decimal(-1), Decimal("nan"), Decimal("inf"), 0.1, 1, "1"])
def test_steps_must_be_positive_decimals(name: str, value: Any) -> None:
    terms: dict[str, Any] = {"tick": Decimal(1), "lot": Decimal(1), "multiplier": Decimal(1), name: value}
    with pytest.raises(ConfigError) as caught:
        Instrument("v", "S", "linear", **terms)
    assert caught.value.name == f"v:S.{name}"


def test_unknown_payoffs_are_refused() -> None:
    with pytest.raises(ConfigError, match="spot, linear, inverse or option"):
        Instrument("v", "S", "quanto", Decimal(1), Decimal(1))  # type: ignore[arg-type]


def test_names_and_equality() -> None:
    assert BTC.name == "binance-usdm:BTCUSDT"
    assert Instrument("binance-usdm", "BTCUSDT", "linear", Decimal("0.10"), Decimal("0.001")) == BTC
    with pytest.raises(AttributeError):
        BTC.tick = Decimal(1)  # type: ignore[misc]


def test_terms_survive_json() -> None:
    call = Instrument(
        "deribit", "BTC-9JUN20-9875-C", "option", Decimal("0.0005"), Decimal("1E-1"), settle="BTC", right="call",
        strike=Decimal("9875"), expiry_us=1_591_689_600_000_000, underlying="deribit:BTC-PERPETUAL",
    )  # fmt: skip
    assert Instrument.from_dict(json.loads(json.dumps(call.as_dict()))) == call
    with pytest.raises(TypeError):
        Instrument.from_dict({**call.as_dict(), "colour": "red"})
