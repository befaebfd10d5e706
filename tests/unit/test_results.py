"""What a run leaves behind, for one small run that can be checked by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay.engine import Replay
from replay.events import BOOK, CLEAR, LAST, SNAPSHOT, TRADE, empty_events
from replay.instruments import Instrument
from replay.models import MakerTaker
from replay.results import Result
from replay.strategy import Strategy

START = 1_700_000_000_000_000
COIN = Instrument("test", "COINUSD", "linear", Decimal("0.5"), Decimal("0.01"), settle="USD")


class RoundTrip(Strategy):
    """Buys 3 lots at the market and sells 2 of them later."""

    lots: int = 3

    def on_start(self, ctx: Any) -> None:
        ctx.at(START + 10, tag=1)
        ctx.at(START + 3_000_020, tag=2)

    def on_timer(self, ctx: Any, timer: Any) -> None:
        ctx.record("timer", timer.tag)
        if timer.tag == 1:
            ctx.buy(0, self.lots)
        else:
            ctx.sell(0, 2)


def market() -> np.ndarray:
    """100.0 / 100.5 at first, 110.0 / 110.5 after two seconds, a print at the end."""
    rows = [(0, BOOK, 1, 200, SNAPSHOT | CLEAR), (0, BOOK, -1, 201, SNAPSHOT | LAST),
            (2_000_000, BOOK, 1, 200, 0), (2_000_000, BOOK, -1, 201, 0),
            (2_000_000, BOOK, 1, 220, 0), (2_000_000, BOOK, -1, 221, LAST),
            (4_000_000, TRADE, 1, 221, LAST)]  # fmt: skip
    events = empty_events(len(rows))
    for event, (ts, kind, side, ticks, flags) in zip(events, rows):
        event["ts"] = event["exch_ts"] = START + ts
        event["kind"], event["side"], event["price"], event["flags"], event["seq"] = kind, side, ticks, flags, ts + 1
        event["qty"] = 0 if ts == 2_000_000 and ticks < 220 else 50
    return events


def run(lots: int = 3) -> Result:
    fees = MakerTaker(maker=0.0, taker="0.001")
    return Replay(market(), instruments=[COIN], fees=fees).run(RoundTrip(lots=lots))


@pytest.fixture(scope="module")
def result() -> Result:
    return run()


def test_money_by_hand(result: Result) -> None:
    part = result.summary_by_instrument[0]
    # 3 lots of 0.01 at 100.5, 2 of them out at 110; the third is worth the mid, 110.25.
    assert (part.position, part.volume, part.fills, part.maker_fills, part.submitted) == (1, 5, 2, 0, 2)
    assert (part.mark, part.mark_source) == (110.25, "mid")
    assert part.pnl == pytest.approx(-0.03 * 100.5 + 0.02 * 110 + 0.01 * 110.25)
    assert part.turnover == pytest.approx(0.03 * 100.5 + 0.02 * 110)
    assert part.fees == pytest.approx(part.turnover * 0.001)
    assert part.net == pytest.approx(part.pnl - part.fees)
    assert part.realised == pytest.approx(0.02 * 9.5)
    assert part.unrealised == pytest.approx(0.01 * 9.75)
    assert part.entry == pytest.approx(100.5)
    assert result.net == {"USD": part.net}


def test_fills_are_told_in_exact_decimals(result: Result) -> None:
    first, second = result.fills_table()
    assert (first["side"], first["price"], first["size"], first["role"]) == ("buy", "100.5", "0.03", "taker")
    assert (second["side"], second["price"], second["size"], second["position"]) == ("sell", "110", "0.02", "0.01")
    assert first["instrument"] == "test:COINUSD"
    assert first["cause"] == "take"
    assert first["time"] == "2023-11-14T22:13:20.000010Z"
    assert sum(row["fee"] for row in (first, second)) == pytest.approx(result.summary_by_instrument[0].fees)


def test_the_digest_tells_runs_apart(result: Result) -> None:
    assert run().digest == result.digest
    assert run(lots=4).digest != result.digest
    assert len(result.digest) == 64


def test_any_changed_number_changes_the_digest() -> None:
    for table in ("fills", "orders", "equity"):
        changed = run()
        names = getattr(changed, table).dtype.names
        before = changed.digest
        getattr(changed, table)[names[0]][-1] += 1
        assert changed.digest != before, table
    changed = run()
    before = changed.digest
    changed.records["timer"]["value"][0] += 1.0
    assert changed.digest != before


def test_json(result: Result, tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    text = result.to_json(target)
    assert target.read_text().strip() == text
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"], "nothing is left beside it"
    values = json.loads(text)
    assert values["digest"] == result.digest
    assert values["strategy"] == "RoundTrip"
    assert values["fills"] == 2
    assert values["instruments"]["test:COINUSD"]["position"] == 1
    assert values["parameters"]["lots"] == 3


def test_recorded_values_and_times(result: Result) -> None:
    assert result.records["timer"].tolist() == [(START + 10, 1.0), (START + 3_000_020, 2.0)]
    assert (result.first_us, result.last_us) == (START, START + 4_000_000)
    assert result.seconds == 4.0
    assert result.rows == 7


def test_summary_names_what_a_person_looks_for(result: Result) -> None:
    text = str(result)
    for words in ("RoundTrip(lots=3)", "test:COINUSD", "0.01", "USD", "position valued at 110.25 (mid)",
                  result.digest[:16]):  # fmt: skip
        assert words in text
    assert "refused" not in text
