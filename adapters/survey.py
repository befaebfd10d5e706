"""The first pass over recordings: which symbols, which grids, which clock.

The clock offset is what must be added to local times so that no depth or trade message is received before the venue
made it; it is the same for all files of one call.  The horizon is the longest feed latency after that correction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import numpy as np

from adapters.decoders.cryptofeed import is_cryptofeed, merged_chunks
from adapters.sequencing import Drop, Timing
from adapters.transports.file import Chunk, first_line, read_chunks
from replay.errors import DataError
from replay.instruments import Instrument
from replay.kernel import survey as kernel
from replay.units import US_PER_S

MAX_HORIZON_US = 10 * US_PER_S


class Reader(Protocol):
    """Chunks of lines to message and level tables (`replay.kernel.scan.MESSAGE`, `replay.kernel.lexer.LEVEL`).

    `stated` holds what the recording itself says about instruments; `to_drop` what the sequencer must still leave out.
    """

    symbols: list[str]
    ignored: Counter[str]
    messages: np.ndarray
    levels: np.ndarray
    to_drop: Drop

    @property
    def stated(self) -> dict[str, Instrument]:
        """Instruments by symbol."""

    def tables(self, chunk: Chunk) -> Iterator[int]:
        """Fill `messages` and `levels`, part by part; yields the number of messages each time."""


class Format(Protocol):
    """How the recordings of a venue are read."""

    @property
    def name(self) -> str:
        """The adapter's."""

    @property
    def rule(self) -> int:
        """Of its update ids, in `replay.kernel.gaps.RULES`."""

    def reader(self, symbols: Sequence[str], learn: bool, drop: Drop, lanes: Sequence[int]) -> Reader:
        """A fresh reader that knows `symbols`; with `learn` it adds those that it meets, else it ignores them.

        Depth messages of symbols of one lane are numbered together for `drop`.
        """

    def check_url(self, url: str) -> None:
        """DataError when `url` is of another market."""

    def answer(self, url: str, body: bytes) -> bytes | None:
        """The answer to an HTTP request as a message, None when it carries nothing."""

    def stamped(self, line: bytes, symbols: Sequence[str]) -> tuple[int, bytes]:
        """(local ns, the line as it stands among lines of recordings other than that of `symbols`)."""

    def instrument(self, symbol: str, finding: np.void) -> Instrument:
        """The instrument with the grid that was found; DataError when that leaves something open."""


@dataclass(slots=True)
class Recording:
    """Files that are read as one stream, in this order."""

    paths: list[Path]
    format: Format
    cryptofeed: bool
    symbols: list[str] = field(default_factory=list)
    stated: dict[str, Instrument] = field(default_factory=dict)
    findings: np.ndarray = field(default_factory=lambda: new_findings(1))
    unnamed: tuple[str, int] | None = None

    def chunks(self) -> Iterator[Chunk]:
        """The lines, in order."""
        if self.cryptofeed:
            return merged_chunks(self.paths, self.format)
        return (chunk for path in self.paths for chunk in read_chunks(path))

    @property
    def first_ns(self) -> int:
        """Local time of the first message that names a symbol."""
        return min(int(f["first_ns"]) for f in self.findings[1:])

    def finding(self, symbol: str) -> np.void:
        """What was found out about a symbol."""
        found: np.void = self.findings[1 + self.symbols.index(symbol)]
        return found


@dataclass(frozen=True, slots=True)
class Survey:
    """What a source must know before its first row."""

    recordings: tuple[Recording, ...]
    instruments: tuple[Instrument, ...]
    timing: Timing
    aggregated: frozenset[str]

    def lane_of(self, symbol: str) -> int:
        """Which recording a symbol is in."""
        return next(i for i, recording in enumerate(self.recordings) if symbol in recording.symbols)


def new_findings(rows: int) -> np.ndarray:
    """Blank findings."""
    out = np.zeros(rows, kernel.FINDING)
    out["depth_us"] = -1
    out["max_lag"] = -kernel.NO_LAG
    for name in ("depth_lag", "trade_lag", "agg_lag"):
        out[name] = kernel.NO_LAG
    return out


def take_survey(paths: Sequence[Path], venue: Format, given: tuple[Instrument, ...]) -> Survey:
    """Read all files once; DataError for what cannot be read or decided."""
    recordings = []
    for recording in _group_files(paths, venue):
        survey_recording(recording)
        recordings.append(recording)
    recordings = _chains(recordings)
    if not recordings:
        raise DataError(f"no market data of {venue.name} in it", str(paths[0]))
    symbols = list(dict.fromkeys(symbol for recording in recordings for symbol in recording.symbols))
    findings = {symbol: _total(recordings, symbol) for symbol in symbols}
    known = {s: instrument for recording in recordings for s, instrument in recording.stated.items()}
    known |= {instrument.symbol: instrument for instrument in given}
    instruments = tuple(known.get(s) or venue.instrument(s, findings[s]) for s in symbols)
    aggregated = frozenset(s for s in symbols if findings[s]["trades"] == 0 and findings[s]["agg_trades"] > 0)
    return Survey(tuple(recordings), instruments, _timing(findings, aggregated), aggregated)


def _group_files(paths: Sequence[Path], venue: Format) -> Iterator[Recording]:
    """Cryptofeed files as one recording, every other file as its own."""
    together = []
    for path in paths:
        line = first_line(path)
        if is_cryptofeed(line):
            together.append(path)
        else:
            yield Recording([path], venue, False)
    if together:
        yield Recording(together, venue, True)


def survey_recording(recording: Recording) -> None:
    """Fill in symbols and findings; row 0 of the findings (unnamed snapshots) is merged into the only symbol."""
    reader = recording.format.reader((), True, Drop(), ())
    findings = new_findings(64)
    highest_ns = 0
    for chunk in recording.chunks():
        for count in reader.tables(chunk):
            while len(reader.symbols) >= len(findings):
                findings = np.concatenate([findings, new_findings(len(findings))])
            if recording.unnamed is None:
                unnamed = np.flatnonzero(reader.messages["symbol"][:count] < 0)
                if len(unnamed):
                    recording.unnamed = chunk.where(int(reader.messages["line"][unnamed[0]]))
            highest_ns = int(kernel.survey(reader.messages, count, reader.levels, findings, highest_ns))
    recording.symbols, recording.stated = reader.symbols, reader.stated
    recording.findings = findings[: len(reader.symbols) + 1]
    if not reader.symbols:
        ignored = ", ".join(f"{n} × {name}" for name, n in reader.ignored.most_common(3))
        hint = f"ignored: {ignored}" if ignored else "is it the right adapter?"
        raise DataError(f"no market data of {recording.format.name} in it", str(recording.paths[0]), hint=hint)
    if recording.unnamed:
        if len(reader.symbols) > 1:
            names = ", ".join(reader.symbols[:5])
            raise DataError(
                f"a depth answer names no symbol, and the recording has several ({names})",
                *recording.unnamed,
                hint='wrap it as {"stream":"<symbol>@depthSnapshot","data":…}',
            )
        _absorb(recording.findings[1], recording.findings[0])


def _absorb(into: np.void, other: np.void) -> None:
    """Grids, counts and extreme lags of `other` into `into`."""
    for step, digits in (("price_step", "price_digits"), ("size_step", "size_digits")):
        if other[step] < 0 or into[step] < 0:
            into[step] = -1
        elif other[step]:
            into[step], into[digits] = kernel.fold(into[step], into[digits], other[step], other[digits])
    for name in ("messages", "depth", "trades", "agg_trades", "snapshots"):
        into[name] += other[name]
    for name in ("depth_lag", "trade_lag", "agg_lag"):
        into[name] = min(into[name], other[name])
    into["max_lag"] = max(into["max_lag"], other["max_lag"])


def _total(recordings: Sequence[Recording], symbol: str) -> np.void:
    """The findings on a symbol over all recordings."""
    total: np.void = new_findings(1)[0]
    for recording in recordings:
        if symbol in recording.symbols:
            _absorb(total, recording.finding(symbol))
    return total


def _chains(recordings: list[Recording]) -> list[Recording]:
    """Recordings that share a symbol become one, ordered by first time."""
    out: list[Recording] = []
    for recording in recordings:
        group = [other for other in out if set(other.symbols) & set(recording.symbols)]
        for other in group:
            out.remove(other)
        out.append(_joined([*group, recording]))
    return out


def _joined(group: list[Recording]) -> Recording:
    if len(group) == 1:
        return group[0]
    mixed = [recording for recording in group if recording.cryptofeed]
    if mixed:
        raise DataError(
            "a cryptofeed recording and another file have the same symbol", str(mixed[0].paths[0]),
            hint="read them in two runs",
        )  # fmt: skip
    ordered = sorted(group, key=lambda recording: recording.first_ns)
    unnamed = next((recording.unnamed for recording in ordered if recording.unnamed), None)
    symbols = list(dict.fromkeys(symbol for recording in group for symbol in recording.symbols))
    if unnamed and len(symbols) > 1:
        raise DataError("a depth answer names no symbol, and the recording has several", *unnamed)
    findings = new_findings(1 + len(symbols))
    for i, symbol in enumerate(symbols):
        findings[1 + i] = _total(group, symbol)
        firsts = [int(r.finding(symbol)["first_ns"]) for r in group if symbol in r.symbols]
        findings[1 + i]["first_ns"] = min(firsts)
    paths = [path for recording in ordered for path in recording.paths]
    stated = {symbol: instrument for recording in group for symbol, instrument in recording.stated.items()}
    return Recording(paths, group[0].format, False, symbols, stated, findings, unnamed)


def _timing(findings: dict[str, np.void], aggregated: frozenset[str]) -> Timing:
    """Clock offset and horizon over all symbols."""
    lags = [int(f[name]) for f in findings.values() for name in ("depth_lag", "trade_lag")]
    lags += [int(findings[symbol]["agg_lag"]) for symbol in aggregated]
    lowest = min(lags)
    offset_ns = max(0, -lowest) if lowest < kernel.NO_LAG else 0
    longest = max(int(f["max_lag"]) for f in findings.values())
    horizon_us = 0 if longest == -kernel.NO_LAG else max(0, -(-(longest + offset_ns) // 1000))
    return Timing(offset_ns, min(horizon_us, MAX_HORIZON_US))


def found_grid(name: str, finding: np.void) -> tuple[Decimal, Decimal]:
    """(tick, lot) that were found, 1 where nothing was seen; DataError when there is no common one in 64 bits."""
    if finding["price_step"] < 0 or finding["size_step"] < 0:
        raise DataError(
            f"{name}: prices or sizes have no common step within 64 bits", hint="give its tick and lot as an Instrument"
        )
    price, size = int(finding["price_step"]), int(finding["size_step"])
    tick = Decimal(price or 1).scaleb(-int(finding["price_digits"]))
    return tick, Decimal(size or 1).scaleb(-int(finding["size_digits"]))
