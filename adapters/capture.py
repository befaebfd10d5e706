"""Recordings of live market data: written so that nothing is ever half there, read back as the same events.

A folder holds `recording.json` (venue, instruments, clock) and files of lines `<local ns> <message>`, named by venue
and the time of their first line.  A file is a series of gzip members of whole lines; each is written when it is large
or old enough, so whatever ends the process takes at most the lines since then.  A member that was cut by that is left
out by the reader, and counted.  Recording again into a folder begins a new file.

`{"replay":"disconnected"}` stands where books were lost, also at the start of each recording; `{"replay":"ended"}` is
the last line of one that was stopped in peace.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from isal import igzip, isal_zlib

from adapters.decoders.parsed import ENDED
from adapters.live.order import Order
from adapters.recording import RecordingSource
from adapters.sequencing import Drop, Repair, Timing
from adapters.survey import Format, Recording, Survey
from adapters.transports.file import BLOCK_BYTES, BROKEN, Chunk
from replay.errors import ConfigError, DataError, TransportError
from replay.events import empty_events
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.sources import BATCH_ROWS, count_read, find_adapter
from replay.units import NS_PER_US, US_PER_HOUR, US_PER_S, us_from_ns

ABOUT = "recording.json"
STARTED = b'{"replay":"disconnected"}'
GZIP_WBITS = 31
DECIMALS = ("tick", "lot", "multiplier", "strike")


@dataclass(frozen=True, slots=True)
class About:
    """What must be known to read a recording: `order` is that of the run that was recorded."""

    venue: str
    instruments: tuple[Instrument, ...]
    timing: Timing
    order: str = "arrival"

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=1, default=str) + "\n"

    @classmethod
    def read(cls, folder: Path) -> About:
        """DataError when the folder is no recording."""
        path = folder / ABOUT
        try:
            values = json.loads(path.read_text())
            instruments = tuple(
                Instrument(
                    **{**each, **{name: Decimal(each[name]) for name in ("tick", "lot", "multiplier", "strike")}}
                )
                for each in values["instruments"]
            )
            return cls(values["venue"], instruments, Timing(**values["timing"]), values["order"])
        except FileNotFoundError:
            raise DataError(
                "there is no recording.json beside it", str(folder), hint="name a recorded folder"
            ) from None
        except (ValueError, KeyError, TypeError, ArithmeticError, ConfigError) as error:
            raise DataError(f"is not what `replay record` writes ({error!r})", str(path)) from None

    def joined(self, older: About, folder: Path) -> About:
        """Both recordings; ConfigError when they do not belong into one folder."""
        for name in ("venue", "timing", "order"):
            if getattr(self, name) != getattr(older, name):
                problem = f"holds a recording with another {name}, {getattr(older, name)}"
                raise ConfigError("folder", str(folder), problem, "record into another folder")
        known = {instrument.symbol: instrument for instrument in older.instruments}
        for instrument in self.instruments:
            if known.setdefault(instrument.symbol, instrument) != instrument:
                problem = f"holds a recording in which {instrument.name} has other terms"
                raise ConfigError("folder", str(folder), problem, "record into another folder")
        return About(self.venue, tuple(known.values()), self.timing, self.order)


@dataclass(frozen=True, slots=True)
class Blocks:
    """When a block is written (bytes of lines, µs since its first) and when a new file begins (bytes written, µs)."""

    flush_bytes: int = 1_048_576
    flush_us: int = US_PER_S
    file_bytes: int = 268_435_456
    file_us: int = US_PER_HOUR


class Recorder:
    """Writes one recording; times are ns and never step back.  TransportError when it cannot be written."""

    def __init__(self, folder: Path, about: About, blocks: Blocks | None = None) -> None:
        """ConfigError when the folder cannot be used."""
        self.folder, self.about, self.blocks = folder, about, blocks or Blocks()
        self.written = 0
        self._lines: list[bytes] = []
        self._bytes = self._first_ns = 0
        self._file: IO[bytes] | None = None
        self._file_bytes = self._file_ns = 0
        self._begun = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / ABOUT).exists():
                about = about.joined(About.read(folder), folder)
            aside = folder / f".{ABOUT}.part"
            aside.write_text(about.text())
            aside.replace(folder / ABOUT)
        except OSError as error:
            problem = f"cannot be recorded into ({error.strerror})"
            raise ConfigError("folder", str(folder), problem, "name another folder") from error

    def write(self, received_ns: int, message: bytes) -> None:
        """One message without newlines."""
        if not self._begun:
            self._begun = True
            self._line(received_ns, STARTED)
        self._line(received_ns, message)
        self.tick(received_ns)

    def tick(self, now_ns: int) -> None:
        """Write the block if it is large or old enough."""
        old = now_ns - self._first_ns >= self.blocks.flush_us * NS_PER_US
        if self._lines and (old or self._bytes >= self.blocks.flush_bytes):
            self.flush()

    def flush(self) -> None:
        """Write the lines since the last time as one block."""
        if self._lines:
            try:
                self._write_block()
            except OSError as error:
                problem = f"the recording cannot be written ({error.strerror})"
                raise TransportError(problem, str(self.folder), "is the disk full?") from error

    def _write_block(self) -> None:
        block = igzip.compress(b"".join(self._lines), 2, mtime=0)
        age_ns = self._first_ns - self._file_ns
        if self._file_bytes >= self.blocks.file_bytes or age_ns >= self.blocks.file_us * NS_PER_US:
            self._close_file()
        if self._file is None:
            self._file = (self.folder / self._file_name()).open("xb", buffering=0)
            self._file_bytes, self._file_ns = 0, self._first_ns
        view = memoryview(block)
        while view:
            view = view[self._file.write(view) :]
        self._file_bytes += len(block)
        self.written += len(block)
        self._lines, self._bytes = [], 0

    def close(self, now_ns: int) -> None:
        """Say that the recording ended at `now_ns` and write everything."""
        if self._begun:
            self._line(now_ns, ENDED)
            self.flush()
        self._close_file()

    def _line(self, received_ns: int, message: bytes) -> None:
        if not self._lines:
            self._first_ns = received_ns
        line = b"%d %s\n" % (received_ns, message)
        self._lines.append(line)
        self._bytes += len(line)

    def _file_name(self) -> str:
        seconds, micros = divmod(us_from_ns(self._first_ns), US_PER_S)
        moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H-%M-%S")
        return f"{self.about.venue}_{moment}.{micros:06d}Z.gz"

    def _close_file(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def read_blocks(path: Path, torn: Counter[str]) -> Iterator[Chunk]:
    """The lines of a recorded file, block by block; a block that is cut by the end of the file is counted in `torn`.

    DataError for any other damage.
    """
    line, parts = 1, []
    inflate = isal_zlib.decompressobj(GZIP_WBITS)
    fed = False
    with path.open("rb") as stream:
        while data := stream.read(BLOCK_BYTES):
            count_read(len(data))
            while data:
                try:
                    parts.append(inflate.decompress(data))
                except BROKEN as error:
                    raise DataError(f"the gzip data is broken ({error})", str(path), line) from error
                fed, data = True, inflate.unused_data
                if inflate.eof:
                    block = b"".join(parts)
                    yield Chunk(block, str(path), line)
                    line += block.count(b"\n")
                    inflate, parts, fed = isal_zlib.decompressobj(GZIP_WBITS), [], False
    if fed:
        torn[f"block cut off at the end of {path.name}, left out"] += 1


class CapturedFiles(Recording):
    """The files of a recorded folder."""

    def __init__(self, paths: list[Path], format: Format, symbols: list[str]) -> None:
        super().__init__(paths, format, False, symbols)
        self.torn: Counter[str] = Counter()
        self.last_ns = 0

    def chunks(self) -> Iterator[Chunk]:
        """The lines, in order."""
        self.torn.clear()
        for path in self.paths:
            for chunk in read_blocks(path, self.torn):
                self.last_ns = int(chunk.data[chunk.data.rfind(b"\n", 0, -1) + 1 :].partition(b" ")[0])
                yield chunk


class CaptureSource(RecordingSource):
    """A recording as the live run saw it: its instruments, its clock and, unless told otherwise, its order."""

    def __init__(self, files: CapturedFiles, about: About, order: Order, repair: Repair, drop: Drop) -> None:
        self.files, self.order, self.reached_us = files, order, 0
        survey = Survey((files,), about.instruments, about.timing, frozenset())
        super().__init__(files.format, survey, repair, drop)
        self.horizon_us = order.window_us
        self.late = 0

    @property
    def quality(self) -> QualityReport:
        """Counts so far; final when the batches have ended."""
        report = super().quality
        report.live.update(self.files.torn)
        if self.late:
            report.live["rows too late for the window, moved"] = self.late
        return report

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """See RecordingSource; at the end an empty batch, which says up to when the recording goes."""
        self.late = 0
        for batch in super().batches(rows):
            self.late += self.order.apply(batch)
            self.reached_us = int(batch["ts"][-1])
            yield batch
        self.reached_us = max(self.reached_us, us_from_ns(self.files.last_ns + self.survey.timing.offset_ns))
        yield empty_events(0)


class CaptureAdapter:
    """Folders that `replay record` wrote (see `replay.sources.Adapter`)."""

    name = "recording"

    def __repr__(self) -> str:
        return "CaptureAdapter()"

    def open(
        self,
        paths: Sequence[Path],
        *,
        instruments: Sequence[Instrument] = (),
        drop_every: int = 0,
        drop_from: int = 0,
        **options: Any,
    ) -> CaptureSource:
        """A folder, or some of its files, as a source.

        The option `order` replaces that of the run that was recorded (see `adapters.live.order`); `repair` is "wait"
        (default) or "bridge".  `instruments` must be those of the recording, if given.  DataError for what cannot be
        read, ConfigError for wrong options.
        """
        repair = Repair(options.pop("repair", "wait"))
        order = options.pop("order", None)
        if options:
            raise ConfigError("option", sorted(options)[0], "recording has no such option", "known: repair, order")
        folder, files = _files([Path(path) for path in paths])
        about = About.read(folder)
        for instrument in instruments:
            if instrument.venue == about.venue and instrument not in about.instruments:
                raise ConfigError("instruments", instrument.name, "is recorded with other terms or not at all")
        format = cast(Format, find_adapter(about.venue))
        captured = CapturedFiles(files, format, [instrument.symbol for instrument in about.instruments])
        drop = Drop(drop_every, drop_from)
        return CaptureSource(captured, about, Order.parse(order or about.order), repair, drop)


def _files(paths: Sequence[Path]) -> tuple[Path, list[Path]]:
    """(folder, its recorded files that were named, in order of time); DataError unless they are of one folder."""
    folders = {path if path.is_dir() else path.parent for path in paths}
    if len(folders) != 1:
        raise DataError("name one recorded folder, or files of one", ", ".join(map(str, paths)))
    folder = folders.pop()
    named = [path for path in paths if not path.is_dir() and path.name != ABOUT] or list(folder.glob("*.gz"))
    if not named:
        raise DataError("nothing is recorded in it", str(folder))
    for path in named:
        if not path.exists():
            raise DataError("no such file", str(path))
    return folder, sorted(named)


ADAPTER = CaptureAdapter()
