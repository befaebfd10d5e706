"""A result as a folder: one Parquet file a table, and result.json with all the rest; a band as a folder of results.

The folder is written beside its place, under `.NAME.part`, and renamed when it is complete; an earlier result in that
place is moved away first and then deleted.  The files are for any tool (see `replay.frames`); `load` reads the raw
columns of them back, and the digest has to come out as it was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import fspath
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.errors import DataError
from replay.frames import TABLES, arrow_table
from replay.instruments import Instrument
from replay.kernel.state import EQUITY, FILL, LOG, MARKOUT
from replay.outcome import InstrumentResult
from replay.quality import QualityReport

if TYPE_CHECKING:
    import pyarrow as pa

    from replay.results import Result
    from replay.sweep import Band

FORMAT = 1
FACTS = "result.json"
BAND = "band.json"
"""Of a band: which assumption each folder beside it holds the result of."""
RUN_FILE = "run.toml"
"""What the result came from, as `replay.runfile` writes it; not there for runs that were set from Python."""
_RAW = {"fills": FILL, "orders": LOG, "equity": EQUITY, "markouts": MARKOUT}
_AS_THEY_ARE = (
    "strategy", "parameters", "settings", "refusals", "first_us", "last_us", "rows", "liquidations", "open_orders",
    "mode", "mode_reason", "versions", "data",
)  # fmt: skip
"""Fields of a Result that stand in the JSON as they are."""


def check_place(folder: Path, facts: str = FACTS, what: str = "result") -> None:
    """DataError when a result cannot be saved in `folder`, told before a long run: it is something else.

    `facts` is the file by which a saved `what` is known.
    """
    if folder.is_file() or (folder.exists() and not (folder / facts).is_file()):
        raise DataError(f"exists and is not a saved {what}", fspath(folder), hint="choose another folder")
    nearest = next(parent for parent in folder.absolute().parents if parent.exists())
    if not os.access(nearest, os.W_OK):
        raise DataError(
            f"cannot be made: {nearest} is not yours to write", fspath(folder), hint="choose another folder"
        )


def save(result: Result, folder: Path, texts: Mapping[str, str] = MappingProxyType({})) -> None:
    """See `Result.to_parquet`; `texts` are files that are added, by name."""
    import pyarrow.parquet as pq

    check_place(folder)
    terms = [instrument.as_dict() for instrument in result.instruments]
    facts = {"format": FORMAT, **result.as_dict(), "terms": terms}
    with _written_aside(folder) as aside:
        for name in TABLES:
            pq.write_table(arrow_table(result, name), aside / f"{name}.parquet", compression="zstd")
        for name, text in {**texts, FACTS: json.dumps(facts, indent=2, allow_nan=False) + "\n"}.items():
            (aside / name).write_text(text)


@contextmanager
def _written_aside(folder: Path) -> Iterator[Path]:
    """An empty folder that becomes `folder` when the block ends, and is deleted when it fails."""
    aside, old = (folder.with_name(f".{folder.name}.{word}") for word in ("part", "old"))
    try:
        for leftover in (aside, old):
            shutil.rmtree(leftover, ignore_errors=not leftover.exists())
        aside.mkdir(parents=True)
        try:
            yield aside
            if folder.exists():
                folder.replace(old)
            aside.replace(folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        shutil.rmtree(old, ignore_errors=not old.exists())
    except OSError as error:
        problem = f"cannot be written: {os.strerror(error.errno) if error.errno else error}"
        raise DataError(problem, fspath(folder), hint="check room and rights, or choose another folder") from error


def load(folder: Path) -> Result:
    """See `Result.load`."""
    from replay.results import Result

    path = folder / FACTS
    facts = _facts(path, "result")
    try:
        kept: dict[str, Any] = {name: facts[name] for name in _AS_THEY_ARE}
        kept |= {name: _rows(_read(folder, name), kind) for name, kind in _RAW.items()}
        result = Result(
            instruments=tuple(Instrument.from_dict(terms) for terms in facts["terms"]),
            summary_by_instrument=tuple(InstrumentResult(**part) for part in facts["instruments"].values()),
            quality=QualityReport.from_dict(facts["quality"]),
            records=_records(_read(folder, "records")),
            **kept,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"is not whole: {error}", fspath(path), hint="run it again") from error
    if result.digest != facts["digest"]:
        raise DataError("has been changed since it was saved: the digest differs", fspath(folder), hint="run it again")
    return result


def save_band(band: Band, folder: Path) -> None:
    """See `Band.to_parquet`."""
    check_place(folder, BAND, "band")
    cases = []
    with _written_aside(folder) as aside:
        for case in band.cases:
            name = f"{case.queue}-{case.latency_factor:g}"
            save(case.result, aside / name)
            cases.append({"folder": name, "queue": case.queue, "latency_factor": case.latency_factor,
                          "digest": case.result.digest})  # fmt: skip
        (aside / BAND).write_text(json.dumps({"format": FORMAT, "cases": cases}, indent=2) + "\n")


def load_band(folder: Path) -> Band:
    """See `Band.load`."""
    from replay.sweep import Band, Case

    path = folder / BAND
    facts = _facts(path, "band")
    cases = []
    try:
        for said in facts["cases"]:
            result = load(folder / said["folder"])
            if result.digest != said["digest"]:
                raise DataError(
                    f"{said['folder']} holds the result of another run", fspath(folder), hint="run it again"
                )
            cases.append(Case(str(said["queue"]), float(said["latency_factor"]), result))
        band = Band(tuple(cases))
        _ = band.base, band.pessimistic, band.optimistic  # have to be there
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise DataError(f"is not whole: {error!r}", fspath(path), hint="run it again") from error
    return band


def _facts(path: Path, what: str) -> dict[str, Any]:
    """The JSON at `path`, by which a saved `what` is known; DataError when it is none of this version."""
    try:
        facts = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"is not a saved {what}: it has no {path.name}", fspath(path.parent)) from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", fspath(path)) from error
    found = facts.get("format") if isinstance(facts, dict) else None
    if found != FORMAT:
        raise DataError(f"is of format {found}, this version reads {FORMAT}", fspath(path), hint="run it again")
    return dict(facts)


def _read(folder: Path, name: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"{name}.parquet"
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot be read: {error}", fspath(path)) from error


def _column(table: pa.Table, field: str) -> np.ndarray:
    """A raw column; timestamps become µs again, 0 where unknown."""
    import pyarrow as pa

    column = table[field]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64()).fill_null(0)
    return np.asarray(column.to_numpy())


def _rows(table: pa.Table, kind: np.dtype) -> np.ndarray:
    """The raw columns as records; `strategy` is 0 in every result and not kept."""
    out = np.zeros(table.num_rows, kind)
    for field in kind.names or ():
        if field != "strategy":
            out[field] = _column(table, field)
    return out


def _records(table: pa.Table) -> dict[str, np.ndarray]:
    from replay.results import SERIES

    names = np.asarray(table["name"].to_pylist(), object)
    rows = np.zeros(table.num_rows, SERIES)
    rows["ts"], rows["value"] = _column(table, "ts"), _column(table, "value")
    return {str(name): rows[names == name] for name in dict.fromkeys(names.tolist())}
