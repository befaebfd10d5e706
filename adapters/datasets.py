"""Downloaded data sets as a source of events: what all formats with one file a day and channel share.

A format tells how to make ROWs of a file (`DataFile.rows`) and what an instrument pays (`Infer`).  Files of one channel
that share an instrument are one lane, read one after the other by their first times (a book carries over midnight);
lanes are merged by local time, at equal times in the order of `RANKS`.  Each file is read twice: the survey finds
instruments, the grid of prices and sizes, and the offset of the recorder's clock (see `adapters.survey`: the least that
makes no book or trade row arrive before the venue made it); the second pass streams with bounded memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from adapters.assembling import Assembler, policy_code
from adapters.decoders.csv_table import Names
from adapters.decoders.json_rows import TABLE_ROWS, Fields, table
from adapters.merging import merged
from adapters.survey import MAX_HORIZON_US
from adapters.transports.file import read_chunks
from replay.errors import ConfigError, DataError, did_you_mean
from replay.instruments import Instrument
from replay.kernel import outline as kernel
from replay.kernel.survey import NO_LAG
from replay.quality import QualityReport
from replay.sources import BATCH_ROWS, file_digests

RANKS = ("trades", "liquidations", "marks", "book", "quotes", "mixed")
"""Channels, in the order in which they are merged at equal times."""

LINE_BITS = 40
"""The line of a ROW is file << LINE_BITS | 1-based line (or record)."""

Notes = Counter[str]
Infer = Callable[[str, str, np.void], Instrument]
"""(venue, symbol, FINDING) to an instrument; DataError when it cannot be."""


class DataFile(ABC):
    """One file; `kind` is the data type, `channel` one of RANKS ("mixed": several channels).

    The survey fills in `findings[i]` of name i and `owners`, the names that occur.
    """

    def __init__(self, path: Path, kind: str, channel: str) -> None:
        self.path, self.kind, self.channel = path, kind, channel
        self.findings = kernel.new_findings(0)
        self.owners: tuple[int, ...] = ()

    @abstractmethod
    def rows(self, names: Names, notes: Notes) -> Iterator[np.ndarray]:
        """ROWs, table by table, `line` being that of this file; DataError with file and line.

        Names are `venue,symbol`; `notes` counts what is left out because no event can say it.
        """

    def option_summaries(self, offset_us: int) -> Iterator[tuple[str, Any]]:
        """(venue, batch of `replay.store.options.SCHEMA`), `offset_us` added to local times; most files have none."""
        return iter(())

    @property
    def first_us(self) -> int:
        """Local time of the first row."""
        return min(int(self.findings[i]["first_us"]) for i in self.owners)

    @property
    def last_us(self) -> int:
        """Latest local time."""
        return max(int(self.findings[i]["last_us"]) for i in self.owners)


def json_tables(path: Path, read: Callable[[Any, int], Iterable[Fields]], skip: int = 0) -> Iterator[np.ndarray]:
    """ROWs of a file with one JSON a line, table by table; `read` makes them of a value and its line.

    The first `skip` lines and empty ones are left out.  DataError names file and line.
    """
    waiting: list[Fields] = []
    for chunk in read_chunks(path):
        for i, line in enumerate(chunk.data[:-1].split(b"\n")):
            file, number = chunk.where(i)
            if number <= skip or not line:
                continue
            try:
                waiting += read(orjson.loads(line), number)
            except orjson.JSONDecodeError as error:
                raise DataError(f"broken JSON ({error})", file, number, "download it again") from None
            except DataError as error:
                raise DataError(error.problem, file, number, error.hint) from None
            if len(waiting) >= TABLE_ROWS:
                yield table(waiting)
                waiting.clear()
    if waiting:
        yield table(waiting)


def survey(file: DataFile, names: Names) -> None:
    """Read a file once; fills in its findings.  DataError when it has no rows."""
    highest_us = 0
    findings = kernel.new_findings(64)
    for rows in file.rows(names, Counter()):
        while len(names.list) > len(findings):
            findings = np.concatenate([findings, kernel.new_findings(len(findings))])
        highest_us = kernel.outline(rows, len(rows), findings, highest_us)
    file.findings = findings
    file.owners = tuple(int(i) for i in np.flatnonzero(findings["rows"]))
    if not file.owners:
        raise DataError("it has no rows", str(file.path))
    for owner in file.owners:
        venue_and_symbol(names.list[owner], str(file.path))


def venue_and_symbol(name: bytes, path: str = "") -> tuple[str, str]:
    """The two parts of `venue,symbol`; DataError when it is something else."""
    try:
        venue, symbol = name.decode().split(",")
    except ValueError:  # also of what is no UTF-8
        raise DataError(f"{name[:60]!r} does not name a venue and a symbol", path) from None
    return venue, symbol


def lanes_of(files: Sequence[DataFile], names: Names) -> list[list[DataFile]]:
    """Files grouped into lanes, each in order of time; DataError where two of them cannot be read together."""
    lanes: list[list[DataFile]] = []
    for file in files:
        joined = [file]
        for lane in [lane for lane in lanes if lane[0].channel == file.channel]:
            shared = set(file.owners) & {owner for other in lane for owner in other.owners}
            if not shared:
                continue
            if lane[0].kind != file.kind:
                name = names.list[min(shared)].decode().replace(",", ":")
                raise DataError(
                    f"it holds {file.kind} of {name}, and {lane[0].path.name} {lane[0].kind}: "
                    f"two sources of the same channel", str(file.path), hint="leave one of them out",
                )  # fmt: skip
            lanes.remove(lane)
            joined = [*lane, *joined]
        lanes.append(sorted(joined, key=lambda each: each.first_us))
    for lane in lanes:
        for early, late in pairwise(lane):
            if late.first_us < early.last_us:
                problem = f"its times overlap those of {early.path.name}"
                raise DataError(problem, str(late.path), hint="is it the same data twice?")
    return sorted(lanes, key=lambda lane: RANKS.index(lane[0].channel))


class DataSetSource:
    """Data sets of one or more instruments (see `replay.sources.Source`); `batches` can be called again."""

    def __init__(self, files: Sequence[DataFile], infer: Infer, given: Sequence[Instrument], policy: str) -> None:
        self.files, self.policy = tuple(files), policy
        self.name = ", ".join(file.path.name for file in files)
        self.names = Names()
        for file in files:
            survey(file, self.names)
        self.lanes = lanes_of(files, self.names)
        self.instruments = self._instruments(infer, given)
        self.offset_us, self.horizon_us = self._clock()
        self._start()

    def _finding(self, owner: int) -> np.void:
        total: np.void = kernel.new_findings(1)[0]
        for file in self.files:
            if owner in file.owners:
                kernel.absorb(total, file.findings[owner])
        return total

    def _instruments(self, infer: Infer, given: Sequence[Instrument]) -> tuple[Instrument, ...]:
        names = [venue_and_symbol(name) for name in self.names.list]
        one_venue = len({venue for venue, _ in names}) == 1
        known = {(instrument.venue, instrument.symbol): instrument for instrument in given}
        if one_venue:  # a given instrument may call the venue by another name
            known = {(names[0][0], instrument.symbol): instrument for instrument in given}
        return tuple(known.get(name) or infer(*name, self._finding(i)) for i, name in enumerate(names))

    def _clock(self) -> tuple[int, int]:
        """(offset, horizon) in µs over all files."""
        found = [self._finding(owner) for owner in range(len(self.names.list))]
        least = min(int(f["least_lag"]) for f in found)
        longest = max(int(f["max_lag"]) for f in found)
        offset_us = max(0, -least) if least < NO_LAG else 0
        horizon_us = 0 if longest == -NO_LAG else max(0, longest + offset_us)
        return offset_us, min(horizon_us, MAX_HORIZON_US)

    @cached_property
    def _digests(self) -> dict[str, str]:
        return file_digests(file.path for file in self.files)

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file, read once."""
        return self._digests

    def where(self, line: int) -> tuple[str, int]:
        """File and line of the `line` of a ROW."""
        return str(self.files[line >> LINE_BITS].path), line & ((1 << LINE_BITS) - 1)

    def _start(self) -> None:
        self.notes: Notes = Counter()
        clock = {"offset_us": self.offset_us, "horizon_us": self.horizon_us}
        self.assemblers = [Assembler(self.instruments, self.where, policy=self.policy, **clock) for _ in self.lanes]

    @property
    def quality(self) -> QualityReport:
        """Counts so far; final when the batches have ended."""
        report = QualityReport(clock_offset_us=float(self.offset_us), max_feed_latency_us=self.horizon_us)
        report.ignored.update(self.notes)
        for assembler in self.assemblers:
            assembler.report(report)
        return report

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """Batches of about `rows` rows, valid until the next one is asked for; a message is never cut."""
        if rows < 1:
            raise ConfigError("rows", rows, "must be at least 1")
        self._start()
        return merged([self._lane(files, a, rows) for files, a in zip(self.lanes, self.assemblers)], rows)

    def option_summaries(self) -> Iterator[tuple[str, Any]]:
        """See `replay.store.options.OptionSource`; the files one after the other, by time of their first rows."""
        for file in sorted(self.files, key=lambda each: each.first_us):
            yield from file.option_summaries(self.offset_us)

    def _lane(self, files: Sequence[DataFile], assembler: Assembler, batch_rows: int) -> Iterator[np.ndarray]:
        for file in files:
            number = self.files.index(file) << LINE_BITS
            for rows in file.rows(self.names, self.notes):
                rows["line"] |= number
                yield from assembler.push(rows, len(rows), batch_rows)
        yield from assembler.finish()


def check_options(adapter: str, paths: Sequence[Path], options: Mapping[str, Any], known: Sequence[str]) -> None:
    """ConfigError for an option that is not known, a wrong `policy`, missed messages, or no paths at all."""
    for name in sorted(options):
        if name not in known:
            raise ConfigError("option", name, f"{adapter} has no such option", did_you_mean(name, known))
    policy_code(options.get("policy", "repair"))
    if options.get("drop_every") or options.get("drop_from"):
        raise ConfigError(
            "drop_every", options["drop_every"], "cannot be told without message ids", "use a raw capture"
        )
    if not paths:
        raise ConfigError("paths", [], "no file was named")
