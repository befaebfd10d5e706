"""Models check themselves, and write into a slot what the kernels read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from replay import models
from replay.errors import ConfigError
from replay.kernel import codes
from replay.kernel.state import SLOT

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.ConstantLatency(-1),
        lambda: models.ConstantLatency(1.5),  # type: ignore[arg-type]
        lambda: models.ConstantLatency(True),
        lambda: models.ConstantLatency(0, models.MAX_LATENCY_US + 1),
        lambda: models.FeedLatency(-0.1),
        lambda: models.FeedLatency(1.0, NAN),
        lambda: models.FeedLatency(entry=-1),
        lambda: models.LogNormalLatency(0, 0.5),
        lambda: models.LogNormalLatency(10, INF),
        lambda: models.LogNormalLatency(10, 0.5, 0),
        lambda: models.LogNormalLatency(10, 0.5, 2**31 - 1),
        lambda: models.TableLatency([]),
        lambda: models.TableLatency([(2, 3, 4), (1, 5, 6)]),
        lambda: models.TableLatency([(1, 9, 9), (2, 5, 9)]),
        lambda: models.TableLatency([(1, 3, 2)]),
        lambda: models.TableLatency([(1, 0, 2), (2, 0, 3)]),
        lambda: models.PowerProbQueue(0.0),
        lambda: models.PowerProbQueue(NAN),
        lambda: models.PowerProbQueue(3.0, 4),
        lambda: models.LogProbQueue(3),
        lambda: models.BpsSlippage(-1.0),
        lambda: models.SpreadSlippage(INF),
        lambda: models.SquareRootImpact(0.03, 0.0),
        lambda: models.MakerTaker("x"),
        lambda: models.MakerTaker(0.2),
        lambda: models.MakerTaker("0.000000001"),
        lambda: models.MakerTaker(NAN),
        lambda: models.TieredFees([]),
        lambda: models.TieredFees([(1, 0.0, 0.0)]),
        lambda: models.TieredFees([(0, 0.0, 0.0), (0, 0.0, 0.0)]),
        lambda: models.TieredFees([(0, 0.0, 0.5)]),
        lambda: models.FlatFees(-1),
        lambda: models.PerContractFees("1e7"),
        lambda: models.Margin(0.0, 0.0),
        lambda: models.Margin(0.05, 0.06),
        lambda: models.Margin(0.05, 0.01, 0.2),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.name.split(".")[0] in dir(models)


def written(write: Callable[..., None], model: Any) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """The slot's fields that are not 0, and the tables, which already hold one foreign row."""
    slot = np.zeros(1, SLOT)[0]
    tables = [(7, 7)]
    if write in (models.write_latency, models.write_fees):
        write(slot, model, tables)
    else:
        write(slot, model)
    return {name: slot[name].item() for name in SLOT.names or () if slot[name] != 0}, tables[1:]


def test_latency_records() -> None:
    assert written(models.write_latency, models.ConstantLatency(3, 4))[0] == {
        "random": 1, "entry_us": 3, "response_us": 4}  # fmt: skip
    fields, tables = written(models.write_latency, models.TableLatency([(10, 12, 15), (20, 0, 26), (30, 31, 33)]))
    assert fields == {"latency_kind": codes.LATENCY_TABLE, "random": 1, "table0": 1, "table_n": 3, "answer0": 4,
                      "answer_n": 2}  # fmt: skip
    assert tables == [(10, 2), (20, -6), (30, 1), (12, 3), (31, 2)]
    assert written(models.write_latency, models.FeedLatency(1.5, 2.5, 3, 4))[0] == {
        "latency_kind": codes.LATENCY_FEED, "random": 1, "latency_a": 1.5, "latency_b": 2.5, "entry_us": 3,
        "response_us": 4}  # fmt: skip
    fields, _ = written(models.write_latency, models.LogNormalLatency(100, 0.5, 9))
    assert fields == {"latency_kind": codes.LATENCY_LOG_NORMAL, "random": 9, "latency_a": math.log(100),
                      "latency_b": 0.5}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "kind"),
    [(models.RiskAverseQueue(), codes.QUEUE_RISK_AVERSE), (models.PowerProbQueue(2.0, 1), codes.QUEUE_POWER),
     (models.PowerProbQueue(2.0, 2), codes.QUEUE_POWER_2), (models.PowerProbQueue(2.0), codes.QUEUE_POWER_3),
     (models.LogProbQueue(), codes.QUEUE_LOG), (models.LogProbQueue(2), codes.QUEUE_LOG_2)],
)  # fmt: skip
def test_queue_records(model: Any, kind: int) -> None:
    fields, _ = written(models.write_queue, model)
    assert fields.get("queue_kind", 0) == kind
    assert fields["queue_n"] == (2.0 if isinstance(model, models.PowerProbQueue) else 1.0)


def test_slippage_records() -> None:
    assert written(models.write_slippage, models.NoSlippage())[0] == {}
    assert written(models.write_slippage, models.BpsSlippage(2.5))[0] == {
        "slippage_kind": codes.SLIPPAGE_BPS, "slippage_a": 2.5}  # fmt: skip
    assert written(models.write_slippage, models.SpreadSlippage(0.5))[0] == {
        "slippage_kind": codes.SLIPPAGE_SPREAD, "slippage_a": 0.5}  # fmt: skip
    assert written(models.write_slippage, models.SquareRootImpact(0.03, 1e4, 0.7))[0] == {
        "slippage_kind": codes.SLIPPAGE_SQRT, "slippage_a": 0.7, "slippage_b": 0.03, "slippage_c": 1e4}  # fmt: skip


def test_fee_records() -> None:
    assert written(models.write_fees, models.MakerTaker(-0.0001, "0.0005"))[0] == {"maker": -10_000, "taker": 50_000}
    fields, tables = written(models.write_fees, models.TieredFees([(0, 0.0002, 0.0005), (1e6, "0", "0.0004")]))
    assert fields == {"fee_kind": codes.FEE_TIERS, "tier0": 1, "tier_n": 2}
    assert tables == [(0, 20_000), (1_000_000, 0), (0, 50_000), (1_000_000, 40_000)]
    assert written(models.write_fees, models.PerContractFees("0.85", 1))[0] == {
        "fee_kind": codes.FEE_PER_CONTRACT, "maker": 85_000_000, "taker": 100_000_000}  # fmt: skip
    assert written(models.write_fees, models.FlatFees(2))[0] == {
        "fee_kind": codes.FEE_FLAT, "flat_scaled": 200_000_000}  # fmt: skip


def test_margin_records() -> None:
    assert written(models.write_margin, None)[0] == {}
    assert written(models.write_margin, models.Margin("0.05", 0.004, 0.001))[0] == {
        "initial_scaled": 5_000_000, "maintenance_scaled": 400_000, "liquidation_fee": 100_000}  # fmt: skip


def test_models_are_values() -> None:
    assert models.PowerProbQueue(3.0) == models.PowerProbQueue(3.0, 3)
    assert hash(models.TableLatency([(1, 2, 3)])) == hash(models.TableLatency(((1, 2, 3),)))
    with pytest.raises(AttributeError):
        models.ConstantLatency(1).entry = 2  # type: ignore[misc]
