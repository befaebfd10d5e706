"""What a file of the store says about itself: a JSON text under the key `tickreplay` in the Parquet footer.

Each file of a day names the digests of all files of that day.  A day whose files do not agree was interrupted while
it was put in place, and is not there for readers.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from os import fspath
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from replay.errors import DataError
from replay.instruments import Instrument
from replay.quality import Gap, InstrumentQuality
from replay.sources import count_read
from replay.units import plain

SCHEMA_VERSION = 1
KEY = b"tickreplay"
HASHED_BYTES = 1 << 20
_DECIMALS = tuple(term.name for term in fields(Instrument) if term.type == "Decimal")
"""Terms of an instrument that JSON keeps as text."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file from which events were imported: its name, size in bytes and SHA-256 in hex."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path | str) -> SourceFile:
        """Read the file once.  DataError when that cannot be done."""
        path = Path(path)
        size, digest = 0, hashlib.sha256()
        try:
            with path.open("rb", buffering=0) as file:
                while data := file.read(HASHED_BYTES):
                    digest.update(data)
                    size += len(data)
                    count_read(len(data))
            return cls(path.name, size, digest.hexdigest())
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", fspath(path)) from None


@dataclass(slots=True)
class DayQuality:
    """What was wrong with one day of one instrument.

    `counts` are messages; `gaps` at most `MAX_LISTED_GAPS` of `gaps_total`.  `recovered_us` is when the first snapshot
    of the day was complete (None: there was none): it ends a gap that the day before left open.
    """

    counts: InstrumentQuality = field(default_factory=InstrumentQuality)
    gaps: list[Gap] = field(default_factory=list)
    gaps_total: int = 0
    recovered_us: int | None = None


@dataclass(frozen=True, slots=True)
class Footer:
    """One file.  Times are µs of `ts`; `max_latency_us` is the largest `ts - exch_ts`, at least 0.

    `digest` covers the rows and their message numbers; `siblings` gives it for every channel of the day, this one
    included.  `constants` are columns with one value in the whole file.  `origin` names the import that wrote the day
    (see `replay.store.ingest`), "" for other writers.
    """

    instrument: Instrument
    channel: str
    day: int
    rows: int
    messages: int
    first_us: int
    last_us: int
    first_seq: int
    last_seq: int
    max_latency_us: int
    digest: str
    constants: dict[str, int]
    siblings: dict[str, str]
    source_files: tuple[SourceFile, ...]
    quality: DayQuality
    origin: str = ""

    def text(self) -> str:
        """JSON, the same bytes for the same facts."""
        values = asdict(self)
        values["quality"]["counts"] = self.quality.counts.as_dict()  # asdict cannot copy a Counter
        terms = values["instrument"]
        for name in _DECIMALS:
            terms[name] = plain(terms[name])
        return json.dumps({"schema": SCHEMA_VERSION, **values}, sort_keys=True)

    @classmethod
    def from_text(cls, text: str | bytes, path: Path) -> Footer:
        """The reverse of `text`.  DataError naming `path` when it is not what this version writes."""
        try:
            values = json.loads(text)
            version = values.pop("schema")
            if version != SCHEMA_VERSION:
                raise DataError(
                    f"was written in version {version} of the store, this program reads {SCHEMA_VERSION}",
                    fspath(path), hint="update tickreplay, or import the day again",
                )  # fmt: skip
            terms, quality = values["instrument"], values["quality"]
            for name in _DECIMALS:
                if name in terms:  # terms that came later have defaults
                    terms[name] = Decimal(terms[name])
            counts = quality["counts"]
            counts["anomalies"] = Counter(counts["anomalies"])
            values["instrument"] = Instrument(**terms)
            values["source_files"] = tuple(SourceFile(**file) for file in values["source_files"])
            quality["counts"] = InstrumentQuality(**counts)
            quality["gaps"] = [Gap(**gap) for gap in quality["gaps"]]
            values["quality"] = DayQuality(**quality)
            return cls(**values)
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise DataError(f"the footer is damaged ({error})", fspath(path), hint="import the day again") from None


def read_footer(path: Path) -> Footer:
    """What the file at `path` says about itself.  DataError when it is cut short, damaged or not of a store."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from None
    if KEY not in metadata:
        raise DataError("is a Parquet file, but not one of a store", fspath(path), hint="move it out of the store")
    return Footer.from_text(metadata[KEY], path)


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for a file that Arrow cannot read."""
    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"is cut short or damaged ({what})", fspath(path), hint="delete it and import the day again")


def combined_digest(parts: Iterable[tuple[str, str]]) -> str:
    """SHA-256 in hex over named digests, whatever their order."""
    lines = sorted(f"{name} {digest}\n" for name, digest in parts)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
