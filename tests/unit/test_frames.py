"""Tables for other tools: the raw numbers and what they mean."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from replay import ConfigError
from replay.frames import TABLES
from tests.unit.test_results import run


def test_arrow_fills_hold_raw_numbers_and_their_meaning() -> None:
    result = run()
    table = result.to_arrow("fills")
    assert table["ticks"].to_pylist() == result.fills["ticks"].tolist()
    assert table["price"].to_pylist() == [100.5, 110.0]
    assert table["size"].to_pylist() == [0.03, 0.02]
    assert table["cause_name"].to_pylist() == ["take", "take"]
    assert table["exch_ts"].to_pylist()[0] == datetime(2023, 11, 14, 22, 13, 20, 10, UTC)
    assert "strategy" not in table.column_names


def test_what_is_unknown_is_null() -> None:
    result = run()
    assert result.to_arrow("positions")["closed_us"].to_pylist() == [None]
    result.markouts["mid2"][0] = 0
    assert result.to_arrow("markouts")["mid"].to_pylist()[:2] == [None, 100.25]


def test_names_instead_of_codes() -> None:
    result = run()
    assert result.to_arrow("orders")["status_name"].to_pylist()[-1] == "filled"
    assert set(result.to_arrow("equity")["currency_name"].to_pylist()) == {"USD"}
    assert result.to_arrow("records").to_pylist()[0]["name"] == "timer"


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_frames_have_the_rows_of_the_table(name: str, package: str) -> None:
    pytest.importorskip(package, reason=f"optional: pip install {package}")
    result = run()
    frame = getattr(result, f"to_{package}")(name)
    assert type(frame).__module__.startswith(package)
    assert list(frame.columns) == result.to_arrow(name).column_names
    assert len(frame) == result.to_arrow(name).num_rows > 0


def test_a_missing_package_and_an_unknown_table(monkeypatch: pytest.MonkeyPatch) -> None:
    result: Any = run()
    for package in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ConfigError, match=f"{package} is not installed; pip install {package}"):
            getattr(result, f"to_{package}")()
    with pytest.raises(ConfigError, match=r"'fill'.*did you mean 'fills'"):
        result.to_arrow("fill")
