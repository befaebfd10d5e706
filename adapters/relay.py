"""Downloads of a REST relay as a source of events, and the relay as the one who fills gaps.

A file holds a header and one row of an answer a line (see `adapters.transports.relay`); what rows mean is told in
`adapters.decoders.relay`, how files are joined in `adapters.datasets`.  A relay gives the venue's time only, which is
then the time of receipt too; give `FeedLatency` to a run that should see events later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import numpy as np
import orjson

from adapters.base import Filled, FillGap
from adapters.datasets import DataFile, DataSetSource, Notes, check_options, json_tables
from adapters.decoders.csv_table import Names
from adapters.decoders.json_rows import Fields
from adapters.decoders.relay import RowReader
from adapters.terms import inferred
from adapters.transports.file import first_line
from adapters.transports.relay import FORMAT, DataSet, Relay, Settings, download
from replay.errors import DataError
from replay.instruments import Instrument

CHANNELS = {"trades": "trades", "books": "book", "events": "mixed"}
T = TypeVar("T")


class RelayFile(DataFile):
    """One file; DataError when its header is none of a relay's download."""

    def __init__(self, path: Path) -> None:
        try:
            header = orjson.loads(first_line(path))
            version, kind = header["relay"], str(header["kind"])
            self.owner = f"{header['exchange']},{header['symbol']}".encode()
            self.unit_us = int(header["unit_us"])
            channel = CHANNELS[kind]
        except (ValueError, KeyError, TypeError):
            raise DataError(
                "this is no download of a relay: its first line is not their header", str(path), 1
            ) from None
        if version != FORMAT:
            raise DataError(f"it has format {version}, this program reads {FORMAT}", str(path), 1, "download it again")
        super().__init__(path, kind, channel)

    def rows(self, names: Names, notes: Notes) -> Iterator[np.ndarray]:
        """ROWs, table by table."""
        owner = names.add(self.owner)
        reader = RowReader(self.kind, self.unit_us, notes)

        def read(value: Any, line: int) -> Iterator[Fields]:
            return ((*fields, line, owner) for fields in reader.fields(value))

        yield from json_tables(self.path, read, skip=1)


class RelayAdapter:
    """Downloads of relays (see `replay.sources.Adapter`)."""

    name = "relay"

    def __repr__(self) -> str:
        return "RelayAdapter()"

    def open(
        self, paths: Sequence[Path], *, instruments: Sequence[Instrument] = (), **options: Any
    ) -> DataSetSource:  # fmt: skip
        """Files as a source; options and `instruments` as for Tardis files (`policy`)."""
        check_options(self.name, paths, options, ("policy", "drop_every", "drop_from"))
        files = [RelayFile(Path(path)) for path in paths]
        return DataSetSource(files, inferred, instruments, options.get("policy", "repair"))


ADAPTER = RelayAdapter()


def relay_source(
    settings: Settings, wanted: Sequence[DataSet], folder: Path, *, api_key: str = "", random: Random | None = None,
    now_s: Callable[[], float] | None = None, instruments: Sequence[Instrument] = (), policy: str = "repair",
) -> DataSetSource:  # fmt: skip
    """Download what is not in `folder` yet, then the files as a source.  Raises what either raises."""

    async def fetched() -> list[Path]:
        async with Relay(settings, api_key, random=random, now_s=now_s) as relay:
            return await download(relay, wanted, folder)

    return ADAPTER.open(waited(fetched), instruments=instruments, policy=policy)


class RelayFiller:
    """Fills holes of `exchange`'s books by the relay's fill-gaps call (see `adapters.base.Filler`)."""

    def __init__(
        self, settings: Settings, exchange: str, *, api_key: str = "", random: Random | None = None,
        now_s: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.exchange = settings, exchange
        self._key, self._random, self._now_s = api_key, random, now_s

    def __call__(self, gap: FillGap) -> Filled:
        """The book; DataError when the relay has none that fits, TransportError when it cannot be asked."""

        async def asked() -> Filled:
            async with Relay(self.settings, self._key, random=self._random, now_s=self._now_s) as relay:
                return await relay.fill_gap(self.exchange, gap.symbol, gap.first_id, gap.last_id)

        return waited(asked)


EXCHANGES = {"binance-spot": "binance", "binance-usdm": "binance-futures", "binance-coinm": "binance-delivery"}
"""What relays call the venue of an adapter, where they do not call it the same."""


def filler_of(url: str, adapter: str, api_key: str) -> RelayFiller:
    """Fills holes in recordings that `adapter` reads from the relay at `url`."""
    return RelayFiller(Settings(url), EXCHANGES.get(adapter, adapter), api_key=api_key)


def waited(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a coroutine, run in a thread of its own: the caller may be inside an event loop already."""
    with ThreadPoolExecutor(1, "replay-relay") as pool:
        return pool.submit(lambda: asyncio.run(work())).result()
