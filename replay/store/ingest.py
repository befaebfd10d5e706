"""Importing recordings into a store: part after part, or several at a time in processes of their own.

A part is what must be read together (`replay.sources.Part`): files of one instrument and day, where the adapter can
tell that, else all files.  What a part becomes depends on its files and on the options alone, never on how many are
imported at a time.  Its key, a digest of adapter, options and the files' SHA-256, stands in the footer of each day
that it writes, and when all of them are in place a note `.imports/KEY.json` lists them.  So an import that was cut
short is repeated by the same call: a part whose note names days that are still there is skipped after its files were
hashed, of another one only the days that are missing are written.  A day from other files is never overwritten
silently.

Some recordings are cut at midnight by the recorder's clock.  Where that clock is corrected by up to `KEPT_US`, the
rows that would move over midnight stay at the last microsecond of their day (BAD_TS): they would fall into the day of
other files.  A clock that was wrong by more is another matter: the rows go where they belong, and files of several days
must be read as one part (`together`).
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import numpy as np

from replay.errors import ConfigError, DataError, ReplayError
from replay.events import BAD_TS
from replay.instruments import Instrument
from replay.quality import QualityReport
from replay.sources import BATCH_ROWS, Part, Source, find_adapter, metered
from replay.store import layout
from replay.store.aside import Slot, sweep, writing_errors
from replay.store.columns import joined
from replay.store.footer import SourceFile
from replay.store.interrupts import interrupts_held
from replay.store.options import OptionSource, write_options
from replay.store.prefetch import prefetched
from replay.store.store import Store
from replay.store.writer import Existing

KEPT_US = 100_000
AHEAD = 2
"""Batches that are decoded while the store writes."""
POLL_S = 0.1
MIDNIGHT = "row kept at the end of its day, over which the clock correction would move it"

Progress = Callable[[int, int, int], None]
"""Called with (rows written, bytes read, bytes to read)."""


@dataclass(frozen=True, slots=True)
class DayMark:
    """A day that an import wrote: `digest` as of `Day`."""

    instrument: str
    date: str
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one part: `state` is "imported", "skipped" (finished before) or "failed", then with `error`."""

    paths: tuple[str, ...]
    state: str
    rows: int = 0
    days: tuple[DayMark, ...] = ()
    error: ReplayError | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        days = [asdict(day) for day in self.days]
        error = None if self.error is None else str(self.error)
        return {"files": list(self.paths), "state": self.state, "rows": self.rows, "days": days, "error": error}


@dataclass(frozen=True, slots=True)
class Task:
    """One part and how it is imported; what a worker process is told."""

    part: Part
    adapter: str
    store: Path
    instruments: tuple[Instrument, ...]
    options: tuple[tuple[str, str], ...]
    replace: bool

    @property
    def weight(self) -> int:
        """Bytes that are read for it: each file is hashed, surveyed and read."""
        return 3 * sum(path.stat().st_size for path in self.part.paths)


class Stopped(Exception):
    """The import was given up."""


class Watch:
    """Counters that all processes share: [stop, rows, bytes, rows, bytes, …], a pair for each part, by `index`.

    A part counts for `limit` bytes, whatever is read of it, and how often.
    """

    def __init__(self, counters: Any, index: int, limit: int) -> None:
        self.counters, self.at, self.limit = counters, 1 + 2 * index, limit
        self.parent = os.getppid()
        self.counting = Lock()

    def read(self, count: int) -> None:
        """Count bytes, in any thread; Stopped when the import was given up or the process that wanted it is gone."""
        with self.counting:
            self.counters[self.at + 1] = min(self.counters[self.at + 1] + count, self.limit)
        self._check()

    def wrote(self, rows: int) -> None:
        """Set rows; Stopped as in `read`."""
        self.counters[self.at] = rows
        self._check()

    def _check(self) -> None:
        if self.counters[0] or os.getppid() != self.parent:
            raise Stopped

    def end(self) -> None:
        """The part is over."""
        self.counters[self.at + 1] = self.limit


class PartSource:
    """The source of one part: read ahead by a thread, kept in its day where `end_us` says so."""

    def __init__(self, source: Source, end_us: int | None, watch: Watch) -> None:
        self.source, self.end_us, self.watch = source, end_us, watch
        self.name, self.instruments, self.horizon_us = source.name, source.instruments, source.horizon_us
        self.quality = QualityReport()
        self.span_us: tuple[int, int] | None = None

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[np.ndarray]:
        """As of the source; `quality` is then that of what was handed out."""
        for events, quality in prefetched(self._read(rows), AHEAD):
            self.quality = quality
            self.span_us = (self.span_us[0] if self.span_us else int(events["ts"][0]), int(events["ts"][-1]))
            yield events

    def _read(self, rows: int) -> Iterator[tuple[np.ndarray, QualityReport]]:
        kept = dict.fromkeys((instrument.name for instrument in self.instruments), 0)
        with metered(self.watch.read):
            for batch in self.source.batches(rows):
                if not len(batch):
                    continue  # time that passes without events is not stored
                events = joined([batch])  # a copy: the batch is valid until the next one
                counts = deepcopy(self.source.quality.instruments)
                if self.end_us is not None and events["ts"][-1] >= self.end_us:
                    self._keep(events, self.end_us, kept)
                quality = QualityReport(instruments=counts)
                for name, count in kept.items():
                    if count:
                        quality.of(name).anomalies[MIDNIGHT] = count
                yield events, quality

    def _keep(self, events: np.ndarray, end_us: int, kept: dict[str, int]) -> None:
        """Leave rows in the day that ends at `end_us` when only the clock correction moves them out of it."""
        offset_us = round(self.source.quality.clock_offset_us)
        if offset_us > KEPT_US:
            return
        moved = np.flatnonzero((events["ts"] >= end_us) & (events["ts"] - offset_us < end_us))
        events["ts"][moved] = end_us - 1
        events["exch_ts"][moved] = np.minimum(events["exch_ts"][moved], end_us - 1)
        events["flags"][moved] |= BAD_TS
        for index, instrument in enumerate(self.instruments):
            kept[instrument.name] += int(np.count_nonzero(events["instrument"][moved] == index))


# ------------------------------------------------------------------------------------------------------------- a part


def import_part(task: Task, watch: Watch) -> Outcome:
    """Import one part, or find that it was imported.  Raises ReplayError, and Stopped when the import was given up."""
    names = tuple(str(path) for path in task.part.paths)
    with metered(watch.read):
        files = [SourceFile.of(path) for path in task.part.paths]
    key = key_of(task, files)
    store = Store(task.store)
    marks = None if task.replace else finished(store, key)
    if marks is not None:
        return Outcome(names, "skipped", sum(mark.rows for mark in marks), marks)
    options: dict[str, Any] = dict(task.options)
    with metered(watch.read):
        opened = find_adapter(task.adapter).open(task.part.paths, instruments=task.instruments, **options)
    source = PartSource(opened, task.part.end_us, watch)
    existing: Existing = "replace" if task.replace else "error"
    rows = store.record(source, source_files=files, existing=existing, origin=key, progress=watch.wrote)
    tables: list[Path] = []
    if isinstance(opened, OptionSource):
        with metered(watch.read):
            tables = write_options(
                store.path, opened, source_files=files, origin=key, end_us=task.part.end_us, replace=task.replace
            )
    marks = tuple(_marks(store, source, key))
    note(store, key, files, marks, tables)
    return Outcome(names, "imported", rows, marks)


def key_of(task: Task, files: Sequence[SourceFile]) -> str:
    """SHA-256 in hex over everything that the events of a part depend on, but for the version of this program."""
    terms = sorted(repr(instrument) for instrument in task.instruments)
    facts = [task.adapter, sorted(task.options), terms, [file.sha256 for file in files], task.part.end_us]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _marks(store: Store, source: PartSource, key: str) -> Iterator[DayMark]:
    if source.span_us is None:
        return
    for instrument in source.instruments:
        store.catalog.forget(instrument.name)
        for day in store.catalog.between(instrument.name, source.span_us[0], source.span_us[1] + 1):
            if day.origin == key:
                yield DayMark(instrument.name, day.date, day.rows, day.digest)


def note(
    store: Store, key: str, files: Sequence[SourceFile], marks: Sequence[DayMark], tables: Sequence[Path]
) -> None:  # fmt: skip
    """Write down that a part is complete: its days, and its files of option summaries."""
    facts = {
        "files": [asdict(file) for file in files],
        "days": [asdict(mark) for mark in marks],
        "tables": [table.as_posix() for table in tables],
    }
    path = store.path / layout.IMPORTS / f"{key}.json"
    with writing_errors(path), Slot(store.path) as slot:
        aside = slot.path / path.name
        with aside.open("w") as file:
            file.write(json.dumps(facts, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.replace(path)


def finished(store: Store, key: str) -> tuple[DayMark, ...] | None:
    """The days of a part that is complete and still there as it was written; None for any other."""
    try:
        facts = json.loads((store.path / layout.IMPORTS / f"{key}.json").read_text())
        marks = tuple(DayMark(**day) for day in facts["days"])
        days = [store.catalog.day(mark.instrument, layout.day_of(mark.date)) for mark in marks]
        if not all((store.path / table).exists() for table in facts["tables"]):
            return None
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None  # no note, a damaged one, or days that are gone: import the part
    return marks if all(day.digest == mark.digest for day, mark in zip(days, marks)) else None


# ---------------------------------------------------------------------------------------------------------- all parts


def expand(sources: Sequence[str | Path]) -> list[Path]:
    """Files, the files in folders (all levels, hidden ones, checksums and unfinished downloads left out), and globs.

    Sorted within each folder or glob, none twice.  ConfigError when one names nothing.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        paths = [path]
        if path.is_dir():
            inside = (child for child in path.rglob("*") if child.is_file())
            paths = [p for p in sorted(inside) if not p.name.startswith(".") and p.suffix not in (".CHECKSUM", ".part")]
        elif not path.exists() and any(sign in path.name for sign in "*?["):
            paths = sorted(path.parent.glob(path.name))
        elif not path.exists():
            raise ConfigError("source", str(path), "no such file or folder")
        if not paths:
            raise ConfigError("source", str(path), "there is no file in it" if path.is_dir() else "matches no file")
        found.update(dict.fromkeys(paths))
    if not found:
        raise ConfigError("source", [], "no file was named")
    return list(found)


def ingest(
    sources: Sequence[str | Path], *, adapter: str, store: str | Path, instruments: Sequence[Instrument] = (),
    options: Mapping[str, str] | None = None, replace: bool = False, together: bool = False,
    jobs: int = 1, progress: Progress | None = None,
) -> list[Outcome]:  # fmt: skip
    """Import files, folders and globs; an Outcome for each part, in the order of the files.

    `adapter` reads them; `instruments` and `options` (`policy`, …) are handed to it.  `replace` writes days anew that
    the store has from other files, or from these.  `together` reads all files as one part.  `jobs` processes work at a
    time; with more than one the program that calls must be importable (`if __name__ == "__main__":`).  `progress` is
    called often, never twice at once.

    Raises ConfigError for wrong arguments and what the adapter raises for files of which it cannot even see to which
    part they belong.  A part that fails does not stop the others: its Outcome has the error.  Ctrl-C ends the import
    cleanly, then raises KeyboardInterrupt: finished days stay, nothing else does.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ConfigError("jobs", jobs, "must be at least 1")
    paths = expand(sources)
    parts = [Part(tuple(paths))] if together else parts_of(adapter, paths)
    target = Store(store).path
    chosen = tuple(sorted((options or {}).items()))
    tasks = [Task(part, adapter, target, tuple(instruments), chosen, replace) for part in parts]
    work = _at_a_time if min(jobs, len(tasks)) > 1 else _one_by_one
    try:
        return _without_conflicts(work(tasks, jobs, progress or (lambda rows, done, total: None)))
    except Stopped:  # by a Ctrl-C that the caller's own handler has taken
        raise KeyboardInterrupt from None


def parts_of(adapter: str, paths: Sequence[Path]) -> list[Part]:
    """What the adapter says, or one part when it cannot tell."""
    divide: Callable[[Sequence[Path]], list[Part]] | None = getattr(find_adapter(adapter), "parts", None)
    return [Part(tuple(paths))] if divide is None else divide(paths)


def _attempt(task: Task, watch: Watch) -> Outcome:
    try:
        return import_part(task, watch)
    except ReplayError as error:
        return Outcome(tuple(str(path) for path in task.part.paths), "failed", error=error)
    finally:
        watch.end()


class _Reporting(Watch):
    """A watch in the process of the caller: it reports, and nobody but the caller can stop it."""

    def __init__(self, counters: Any, index: int, limit: int, progress: Progress, total: int) -> None:
        super().__init__(counters, index, limit)
        self.progress, self.total, self.reporting = progress, total, Lock()

    def read(self, count: int) -> None:
        super().read(count)
        self.report()

    def wrote(self, rows: int) -> None:
        super().wrote(rows)
        self.report()

    def end(self) -> None:
        super().end()
        self.report()

    def report(self) -> None:
        with self.reporting:  # several threads read, another one writes
            self.progress(*_sums(self.counters), self.total)


def _stop(counters: Any) -> None:
    counters[0] = 1


def _sums(counters: Any) -> tuple[int, int]:
    """(rows, bytes) of all parts."""
    return sum(counters[1::2]), sum(counters[2::2])


def _one_by_one(tasks: Sequence[Task], jobs: int, progress: Progress) -> list[Outcome]:
    counters, total = [0] * (1 + 2 * len(tasks)), sum(task.weight for task in tasks)
    with interrupts_held(lambda: _stop(counters)):
        return [_attempt(task, _Reporting(counters, i, task.weight, progress, total)) for i, task in enumerate(tasks)]


_shared: Any = None
"""In a worker process: the counters of `Watch`."""


def _begin(counters: Any) -> None:
    """Make this process a worker: Ctrl-C is for the caller, who sets counters[0], and whose end is this one's."""
    global _shared
    _shared = counters
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_caller, name="end with caller", daemon=True).start()


def _end_with_caller() -> None:
    """End this process as soon as its caller was killed: a pool's workers would wait for work for ever.

    What it was writing stays aside, as if it had been killed, too.
    """
    caller = multiprocessing.parent_process()
    assert caller is not None, "a worker has a parent"
    caller.join()
    os._exit(1)


def _work(task: Task, index: int) -> Outcome:
    return _attempt(task, Watch(_shared, index, task.weight))


def _at_a_time(tasks: Sequence[Task], jobs: int, progress: Progress) -> list[Outcome]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    counters = context.RawArray("q", 1 + 2 * len(tasks))
    with interrupts_held(lambda: _stop(counters)):
        try:
            with ProcessPoolExecutor(min(jobs, len(tasks)), context, _begin, (counters,)) as pool:
                return _gathered(pool, tasks, counters, progress)
        except BrokenProcessPool:
            raise ConfigError(
                "jobs", jobs, "a worker process was killed, perhaps for lack of memory",
                "run again with fewer: finished days are kept",
            ) from None  # fmt: skip
        finally:
            sweep(tasks[0].store)  # what a killed worker left


def _gathered(pool: ProcessPoolExecutor, tasks: Sequence[Task], counters: Any, progress: Progress) -> list[Outcome]:
    """Have the workers do all tasks, and watch them.  Whatever ends that early stops them."""
    total = sum(task.weight for task in tasks)
    try:
        futures = [pool.submit(_work, task, index) for index, task in enumerate(tasks)]
        waiting: set[Future[Outcome]] = set(futures)
        while waiting:
            _, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
            progress(*_sums(counters), total)
            if counters[0]:
                raise Stopped
        return [future.result() for future in futures]
    finally:
        _stop(counters)
        pool.shutdown(cancel_futures=True)


def _without_conflicts(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """A day that two parts wrote at the same time has the rows of one of them: the other one has failed."""
    owners: dict[tuple[str, str], Outcome] = {}
    out = []
    for outcome in outcomes:
        for mark in outcome.days:
            other = owners.setdefault((mark.instrument, mark.date), outcome)
            if other is not outcome:
                error = DataError(
                    f"it has {mark.instrument} on {mark.date}, which {', '.join(other.paths)} has, too",
                    outcome.paths[0], hint="import one of them, or both with --together",
                )  # fmt: skip
                outcome = Outcome(outcome.paths, "failed", error=error)
                break
        out.append(outcome)
    return out
