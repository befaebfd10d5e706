"""The venues of `replay record` and `replay live`, by entry point of the group `replay.live`."""

from __future__ import annotations

from adapters.live import binance, bybit, deribit, hyperliquid, okx
from adapters.live.source import LiveAdapter

BINANCE_SPOT = LiveAdapter(binance.SPOT)
BINANCE_USDM = LiveAdapter(binance.USDM)
BINANCE_COINM = LiveAdapter(binance.COINM)
BYBIT = LiveAdapter(bybit.BYBIT)
BYBIT_SPOT = LiveAdapter(bybit.BYBIT_SPOT)
OKX = LiveAdapter(okx.OKX)
DERIBIT = LiveAdapter(deribit.DERIBIT)
HYPERLIQUID = LiveAdapter(hyperliquid.HYPERLIQUID)
