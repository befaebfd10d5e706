"""Option summaries: the tables of option chains, beside the events.

The engine replays what it can use of a summary, the touch and the mark price, as events of each option.  Everything
else (Greeks, volatilities, open interest, the underlying) is kept as it came for other tools: all options of a venue
and UTC day in one Parquet file,

    STORE/venue=deribit/instrument=OPTIONS/channel=options/date=2020-06-08/data.parquet

Numbers of the market are exact decimals with 18 places; volatilities and Greeks, which a model made, are doubles.  An
empty cell means that the venue said nothing.  Rows stand in the order of the recording.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from os import fspath
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from replay.errors import ConfigError, DataError
from replay.store import layout
from replay.store.aside import Slot, writing_errors
from replay.store.footer import SourceFile, unreadable
from replay.units import US_PER_DAY

CHANNEL = "options"
SYMBOL = "OPTIONS"
KEY = b"tickreplay.options"
ROW_GROUP_ROWS = 131_072

_TIME = pa.timestamp("us", tz="UTC")
_EXACT = pa.decimal128(38, 18)
_WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema([
    ("symbol", _WORD), ("ts", _TIME), ("exch_ts", _TIME), ("type", _WORD), ("strike_price", _EXACT),
    ("expiration", _TIME), ("open_interest", _EXACT), ("last_price", _EXACT), ("bid_price", _EXACT),
    ("bid_amount", _EXACT), ("bid_iv", pa.float64()), ("ask_price", _EXACT), ("ask_amount", _EXACT),
    ("ask_iv", pa.float64()), ("mark_price", _EXACT), ("mark_iv", pa.float64()), ("underlying_index", _WORD),
    ("underlying_price", _EXACT), ("delta", pa.float64()), ("gamma", pa.float64()), ("vega", pa.float64()),
    ("theta", pa.float64()), ("rho", pa.float64()),
])  # fmt: skip
"""`ts` is the local time of receipt, clock offset corrected; `exch_ts` the venue's, `ts` where it has none."""


@runtime_checkable
class OptionSource(Protocol):
    """A source that has summaries."""

    def option_summaries(self) -> Iterator[tuple[str, Any]]:
        """(venue, record batch of SCHEMA) in the order of the recording.  DataError for what cannot be read."""


@dataclass(frozen=True, slots=True)
class OptionDay:
    """One file: its rows, the files from which it was imported, and by which import."""

    path: Path
    venue: str
    date: str
    rows: int
    bytes: int
    source_files: tuple[SourceFile, ...]
    origin: str


def option_days(store: Path | str) -> Iterator[OptionDay | DataError]:
    """All files of a store, by venue and day; in place of a damaged one, what is wrong with it."""
    pattern = f"venue=*/instrument={SYMBOL}/channel={CHANNEL}/date=*/{layout.FILE_NAME}"
    for path in sorted(Path(store).glob(pattern)):
        try:
            yield _read(path)
        except DataError as error:
            yield error


def _read(path: Path) -> OptionDay:
    try:
        with pq.ParquetFile(path) as file:
            rows, text = file.metadata.num_rows, (file.metadata.metadata or {}).get(KEY, b"")
        facts = json.loads(text)
        files = tuple(SourceFile(**each) for each in facts["source_files"])
        return OptionDay(path, facts["venue"], facts["date"], rows, path.stat().st_size, files, facts["origin"])
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from None
    except (ValueError, KeyError, TypeError):
        raise DataError("is no file of option summaries", fspath(path), hint="move it out of the store") from None


def write_options(
    store: Path, source: OptionSource, *, source_files: Sequence[SourceFile], origin: str,
    end_us: int | None = None, replace: bool = False, progress: Callable[[int], None] | None = None,
) -> list[Path]:  # fmt: skip
    """Write all summaries of a source; the paths of the files, relative to the store.

    Rows that only a clock correction moves over `end_us` stay in the day that it ends.  A day from another `origin`
    is replaced only when told so: ConfigError.  All files are complete before the first is put in place.  `progress`
    is called with the rows so far.
    """
    files: dict[tuple[str, int], _Draft] = {}
    rows = 0
    with ExitStack() as stack:
        slots: list[Slot] = []
        for venue, batch in source.option_summaries():
            with writing_errors(store):
                if not slots:
                    slots.append(stack.enter_context(Slot(store)))
                for day, part in _by_day(batch, end_us):
                    if (venue, day) not in files:
                        path = store / layout.file_path(f"{venue}:{SYMBOL}", CHANNEL, day)
                        _may_write(path, origin, replace)
                        draft = _Draft(slots[0].path / f"{len(files)}.part", path)
                        files[venue, day] = draft
                        stack.callback(draft.abandon)
                    files[venue, day].add(part)
            rows += len(batch)
            if progress is not None:
                progress(rows)
        with writing_errors(store):
            for (venue, day), draft in files.items():
                facts = {"venue": venue, "date": layout.date_of(day), "origin": origin}
                draft.finish({**facts, "source_files": [asdict(file) for file in source_files]})
            for draft in files.values():
                draft.put()
    return [draft.path.relative_to(store) for draft in files.values()]


def _by_day(batch: Any, end_us: int | None) -> Iterator[tuple[int, Any]]:
    """(day number, rows) of the UTC days in a batch, each in the order of the recording."""
    days = np.asarray(batch.column("ts").view(pa.int64())) // US_PER_DAY
    if end_us is not None:
        days = np.minimum(days, end_us // US_PER_DAY - 1)
    for day in np.unique(days).tolist():
        yield day, batch.filter(pa.array(days == day))


def _may_write(path: Path, origin: str, replace: bool) -> None:
    if replace or not path.exists():
        return
    found = _read(path)
    if found.origin != origin:
        files = ", ".join(file.name for file in found.source_files)
        raise ConfigError(
            "existing", "error", f"option summaries of {found.venue} {found.date} are in the store, from {files}",
            "import all files of the day in one call, or pass --replace",
        )  # fmt: skip


class _Draft:
    """One file on its way."""

    def __init__(self, aside: Path, path: Path) -> None:
        self.aside, self.path = aside, path
        self.sink = pa.OSFile(fspath(aside), "wb")
        self.parquet = pq.ParquetWriter(self.sink, SCHEMA, compression="zstd", compression_level=3)
        self.waiting: list[Any] = []

    def add(self, batch: Any) -> None:
        """Append rows."""
        self.waiting.append(batch)
        if sum(map(len, self.waiting)) >= ROW_GROUP_ROWS:
            self._write()

    def _write(self) -> None:
        table = pa.Table.from_batches(self.waiting, SCHEMA).unify_dictionaries()
        self.parquet.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self.waiting = []

    def finish(self, facts: dict[str, Any]) -> None:
        """Write what waits and the footer; the file is then on the disk."""
        self._write()
        self.parquet.add_key_value_metadata({KEY: json.dumps(facts).encode()})
        self.parquet.close()
        self.sink.close()
        with self.aside.open("rb") as file:
            os.fsync(file.fileno())

    def put(self) -> None:
        """Put it in place."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.aside.replace(self.path)

    def abandon(self) -> None:
        """Close without a footer."""
        self.parquet.is_open = False  # or it would write a footer when it is collected
        self.sink.close()
