"""Normalized messages of tardis-machine, one JSON a line (plain or gzip), as a source of events.

See `adapters.decoders.tardis_json` for the messages and `adapters.datasets` for how files are joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from adapters.datasets import DataFile, DataSetSource, Notes, check_options
from adapters.decoders.csv_table import Names
from adapters.decoders.json_rows import TABLE_ROWS, Fields, table
from adapters.decoders.tardis_json import Reader
from adapters.terms import inferred
from adapters.transports.file import read_chunks
from replay.errors import DataError
from replay.instruments import Instrument


class MachineFile(DataFile):
    """One file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "normalized", "mixed")

    def rows(self, names: Names, notes: Notes) -> Iterator[np.ndarray]:
        """ROWs, table by table; DataError with file and line, also for a stream that ended with a failure."""
        reader = Reader(names, notes)
        waiting: list[Fields] = []
        for chunk in read_chunks(self.path):
            for i, line in enumerate(chunk.data[:-1].split(b"\n")):
                if not line:
                    continue
                path, number = chunk.where(i)
                try:
                    waiting += reader.rows(orjson.loads(line), number)
                except orjson.JSONDecodeError as error:
                    raise DataError(f"broken JSON ({error})", path, number, "download it again") from None
                except DataError as error:
                    raise DataError(error.problem, path, number, error.hint) from None
                if len(waiting) >= TABLE_ROWS:
                    yield table(waiting)
                    waiting.clear()
        if waiting:
            yield table(waiting)


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
