"""Normalized messages of tardis-machine, one JSON a line (plain or gzip), as a source of events.

See `adapters.decoders.tardis_json` for the messages and `adapters.datasets` for how files are joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adapters.datasets import DataFile, DataSetSource, Notes, check_options, json_tables
from adapters.decoders.csv_table import Names
from adapters.decoders.tardis_json import Reader
from adapters.options import machine_summaries
from adapters.terms import inferred
from replay.instruments import Instrument


class MachineFile(DataFile):
    """One file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "normalized", "mixed")

    def rows(self, names: Names, notes: Notes) -> Iterator[np.ndarray]:
        """ROWs, table by table; DataError with file and line, also for a stream that ended with a failure."""
        yield from json_tables(self.path, Reader(names, notes).rows)

    def option_summaries(self, offset_us: int) -> Iterator[tuple[str, Any]]:
        """All keys of the messages `option_summary`."""
        return machine_summaries(self.path, offset_us)


class MachineAdapter:
    """Normalized messages (see `replay.sources.Adapter`)."""

    name = "tardis-machine"

    def __repr__(self) -> str:
        return "MachineAdapter()"

    def open(
        self, paths: Sequence[Path], *, instruments: Sequence[Instrument] = (), **options: Any
    ) -> DataSetSource:  # fmt: skip
        """Files as a source; options and `instruments` as for Tardis files (`policy`)."""
        check_options(self.name, paths, options, ("policy", "drop_every", "drop_from"))
        files = [MachineFile(Path(path)) for path in paths]
        return DataSetSource(files, inferred, instruments, options.get("policy", "repair"))


ADAPTER = MachineAdapter()
