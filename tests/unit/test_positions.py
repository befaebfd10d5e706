"""Round trips from flat to flat, by hand and against the account."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from replay.instruments import Instrument
from replay.kernel.state import FILL
from replay.outcome import InstrumentResult
from replay.positions import POSITION, positions_of, trades_of
from replay.units import US_PER_S
from tests.differential.scenarios import scenario, wider

LINEAR = Instrument("test", "L", "linear", Decimal("0.5"), Decimal("0.1"), Decimal(2))
INVERSE = Instrument("test", "I", "inverse", Decimal("0.5"), Decimal(1), Decimal(100), "BTC")
CALL = Instrument("test", "C", "option", Decimal("0.5"), Decimal("0.1"), Decimal(1), "USDT", "call", Decimal(90),
                  50 * US_PER_S, "test:L")  # fmt: skip
PART = InstrumentResult(
    name="test:L", currency="USDT", position=0, size="0", mark=105.0, mark_source="mid", entry=0.0, pnl=0.0,
    realised=0.0, unrealised=0.0, fees=0.0, funding=0.0, net=0.0, turnover=0.0, volume=0, fills=0, maker_fills=0,
    submitted=0, refused=0, blind_us=0, gaps=0, fee_currency="USDT", expired=0, settled_at=0.0,
)  # fmt: skip


def fills(*rows: tuple[int, int, int]) -> np.ndarray:
    """Fills of (side, ticks, lots), one a second, with a fee of 0.01 a lot."""
    out = np.zeros(len(rows), FILL)
    for k, (row, (side, ticks, lots)) in enumerate(zip(out, rows)):
        row["exch_ts"], row["side"], row["ticks"], row["lots"], row["fee"] = k * US_PER_S, side, ticks, lots, lots / 100
    return out


def test_a_position_opens_grows_and_closes() -> None:
    (row,) = positions_of(fills((1, 200, 3), (1, 210, 1), (-1, 220, 4)), (PART,), (LINEAR,))
    # 3 lots at 100, 1 at 105, out at 110: each lot is 0.2.
    assert row["pnl"] == pytest.approx(0.2 * (3 * 10 + 5))
    assert (row["entry"], row["exit"]) == (pytest.approx(101.25), 110.0)
    assert (row["side"], row["lots"], row["fills"], row["opened_us"], row["closed_us"]) == (1, 4, 3, 0, 2 * US_PER_S)
    assert row["fees"] == pytest.approx(0.08)


def test_a_fill_that_turns_the_position_belongs_to_both() -> None:
    first, second = positions_of(fills((1, 200, 2), (-1, 206, 5)), (PART,), (LINEAR,))
    assert (first["side"], first["lots"], first["closed_us"]) == (1, 2, US_PER_S)
    assert (second["side"], second["lots"], second["opened_us"], second["closed_us"]) == (-1, 3, US_PER_S, 0)
    assert first["pnl"] == pytest.approx(2 * 0.2 * 3)
    assert second["pnl"] == pytest.approx(-3 * 0.2 * (105 - 103)), "open: at the final mark"
    assert (first["fees"], second["fees"]) == (pytest.approx(0.04), pytest.approx(0.03))
    assert second["exit"] == 0.0


def test_inverse_pays_in_the_coin() -> None:
    (row,) = positions_of(fills((1, 200, 10), (-1, 250, 10)), (PART,), (INVERSE,))
    assert row["pnl"] == pytest.approx(10 * 100 * (1 / 100 - 1 / 125))
    assert (row["entry"], row["exit"]) == (pytest.approx(100.0), pytest.approx(125.0))


def test_an_option_closes_at_its_expiry() -> None:
    part = replace(PART, expired=2, settled_at=97.0)
    (row,) = positions_of(fills((1, 10, 2)), (part,), (CALL,))
    assert (row["closed_us"], row["exit"]) == (50 * US_PER_S, 7.0)
    assert row["pnl"] == pytest.approx(2 * 0.1 * (7 - 5))


def test_trades_by_hand() -> None:
    table = positions_of(
        fills((1, 200, 1), (-1, 210, 1), (-1, 210, 1), (1, 212, 1), (1, 200, 1), (-1, 200, 1), (1, 1, 1)),
        (PART,), (LINEAR,),
    )  # fmt: skip
    assert len(table) == 4
    trades = trades_of(table, np.zeros(4, bool))
    assert (trades.count, trades.win_rate) == (3, pytest.approx(1 / 3))
    assert trades.average_win == pytest.approx(1.0) and trades.average_loss == pytest.approx(-0.2)
    assert trades.profit_factor == pytest.approx(5.0)
    assert trades.expectancy == pytest.approx(0.8 / 3)
    assert (trades.holding_mean_us, trades.holding_median_us, trades.holding_max_us) == (1e6, 1e6, 10**6)
    less = trades_of(table, np.ones(4, bool))
    assert less.average_loss == pytest.approx((-0.22 - 0.02) / 2) and less.average_win == pytest.approx(0.98)


def test_no_trade_and_one_trade() -> None:
    none = trades_of(np.zeros(0, POSITION), np.zeros(0, bool))
    assert none.count == 0 and none.win_rate is None and none.expectancy is None
    one = trades_of(positions_of(fills((1, 200, 1), (-1, 210, 1)), (PART,), (LINEAR,)), np.zeros(1, bool))
    assert (one.count, one.win_rate, one.profit_factor, one.average_loss) == (1, 1.0, None, None)


@pytest.mark.parametrize("seed", range(12))
def test_positions_add_up_to_the_account(seed: int) -> None:
    """Over all models and payoffs, the P&L, fees and lots of all positions are those of the account."""
    made = (scenario if seed % 2 else wider)(seed)
    for result in made.session().results():
        for i, part in enumerate(result.summary_by_instrument):
            mine = result.positions[result.positions["instrument"] == i]
            scale = max(1.0, part.turnover)
            assert mine["pnl"].sum() == pytest.approx(part.pnl, abs=1e-9 * scale)
            assert mine["fees"].sum() == pytest.approx(part.fees, abs=1e-9 * scale)
            assert (mine["closed_us"] == 0).sum() == (part.position != 0)
            assert (mine["lots"] > 0).all() and (np.diff(mine["opened_us"]) >= 0).all()
