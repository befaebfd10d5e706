"""The event store: Parquet files that this engine replays and every other tool opens.

store = Store("store/")
with store.writer(instrument, source_files=["raw.csv.gz"]) as writer:
    writer.write(events)
source = store.source(["binance-usdm:BTCUSDT"], start_us=…, end_us=…)
"""

from __future__ import annotations

from replay.store.catalog import Day, DayFile
from replay.store.footer import DayQuality, Footer, SourceFile
from replay.store.layout import CHANNELS
from replay.store.options import OptionDay, option_days
from replay.store.source import StoreSource
from replay.store.store import Store, Swept
from replay.store.writer import Existing, Writer

__all__ = [
    "CHANNELS",
    "Day",
    "DayFile",
    "DayQuality",
    "Existing",
    "Footer",
    "OptionDay",
    "SourceFile",
    "Store",
    "StoreSource",
    "Swept",
    "Writer",
    "option_days",
]
