"""What the names of venue and symbol tell of an instrument."""

from __future__ import annotations

from decimal import Decimal

import pytest

from adapters.terms import inferred, step
from replay.errors import DataError
from replay.kernel.outline import new_findings


@pytest.mark.parametrize(
    ("venue", "symbol", "payoff", "multiplier", "settle"),
    [
        ("binance", "ETHUSDT", "spot", 1, "USDT"),
        ("coinbase", "BTC-USD", "spot", 1, "USD"),
        ("binance-futures", "BTCUSDT", "linear", 1, "USDT"),
        ("binance-delivery", "BTCUSD_PERP", "inverse", 100, "BTC"),
        ("binance-delivery", "ETHUSD_240628", "inverse", 10, "ETH"),
        ("bitmex", "XBTUSD", "inverse", 1, "BTC"),
        ("deribit", "BTC-PERPETUAL", "inverse", 1, "BTC"),
        ("deribit", "BTC-9JUN20-9875-P", "linear", 1, "BTC"),
        ("deribit", "BTC_USDC-PERPETUAL", "linear", 1, "USDC"),
        ("hyperliquid", "SOL", "linear", 1, "USD"),
        ("kraken", "ETH/EUR", "spot", 1, "EUR"),
        ("binance", "ETHBTC", "spot", 1, "BTC"),
        ("okex-swap", "BTC-USD-SWAP", "inverse", 1, "BTC"),
        ("okex-swap", "BTC-USDT-SWAP", "linear", 1, "USDT"),
        ("cryptofacilities", "PI_XBTUSD", "inverse", 1, "BTC"),
    ],
)
def test_terms(venue: str, symbol: str, payoff: str, multiplier: int, settle: str) -> None:
    finding = new_findings(1)[0]
    finding["price_step"], finding["price_digits"], finding["size_step"] = 5, 1, 1
    found = inferred(venue, symbol, finding)
    assert (found.payoff, found.multiplier, found.settle) == (payoff, multiplier, settle)
    assert (str(found.tick), str(found.lot)) == ("0.5", "1")


def test_step() -> None:
    assert [str(step(*pair)) for pair in ((1_000_000, 8), (0, 4), (25, 0))] == ["0.01", "1", "25"]


def test_no_common_grid_is_an_error() -> None:
    finding = new_findings(1)[0]
    finding["price_step"] = -1
    with pytest.raises(DataError, match="no common step within 64 bits; give its tick and lot"):
        inferred("x", "Y", finding)
    assert Decimal(1) == step(0, 0)
