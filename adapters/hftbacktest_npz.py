"""hftbacktest event arrays (`.npz`, `.npy`): in as a source of events, out by `write`.

A file holds one array of records (ev, exch_ts, local_ts, px, qty, order_id, ival, fval), times in ns.  `ev` is a kind
in its low byte and four flags: a row is for the exchange's clock (EXCH), the local one (LOCAL), or both; rows of each
clock stand in its order, and where the two orders differ an event is written twice.  So the LOCAL rows are the
recording, and rows for the exchange alone are their twins.

In: rows of one kind with equal times are a message; a run of snapshot rows is a whole book, DEPTH_CLEAR rows only
announce it (levels outside the snapshot are forgotten here, which hftbacktest keeps).  Prices are doubles; each is
taken as the shortest decimal that stands for it.  A file does not name its instrument: `instruments` does, or the
file's name without its date.

Out: books and trades; what the format cannot say (quotes, liquidations, marks, funding, gaps) is counted.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import numpy as np

from adapters.datasets import DataFile, DataSetSource, Notes, check_options
from adapters.decoders.csv_table import NUMBER, Names, read_cell
from adapters.sequencing import grid
from adapters.terms import step
from adapters.transports.file import BROKEN
from replay.errors import ConfigError, DataError
from replay.events import BOOK, BUY, CLEAR, KIND_NAMES, QUOTE, SELL, SNAPSHOT, TRADE
from replay.instruments import Instrument
from replay.kernel.assemble import BEGINS, GROUPED, NO_SEQ, ROW, SNAP
from replay.kernel.table import MISSING
from replay.store.layout import date_of, day_slices
from replay.units import NS_PER_US

RECORD = np.dtype(
    [("ev", "<u8"), ("exch_ts", "<i8"), ("local_ts", "<i8"), ("px", "<f8"), ("qty", "<f8"), ("order_id", "<u8"),
     ("ival", "<i8"), ("fval", "<f8")], align=True,
)  # fmt: skip
DEPTH, PRINT, DEPTH_CLEAR, DEPTH_SNAPSHOT, DEPTH_BBO = 1, 2, 3, 4, 5
EXCH, LOCAL, BUYING, SELLING = 1 << 31, 1 << 30, 1 << 29, 1 << 28
KIND_MASK = 0xFF
KINDS = {DEPTH: BOOK, DEPTH_SNAPSHOT: BOOK, PRINT: TRADE, DEPTH_BBO: QUOTE}
BLOCK_ROWS = 16_384
UNREADABLE: tuple[type[Exception], ...] = (*BROKEN, EOFError, ValueError)
NS_FLOOR, NS_CEILING = 10**17, 4 * 10**18
VENUE = "hftbacktest"
DATE = re.compile(r"[_-]?\d{4}[_-]?\d\d[_-]?\d\d.*$")


class NpzFile(DataFile):
    """One file; DataError when it is no array of hftbacktest."""

    def __init__(self, path: Path, name: bytes) -> None:
        super().__init__(path, "events", "mixed")
        self.name = name

    def rows(self, names: Names, notes: Notes) -> Iterator[np.ndarray]:
        """ROWs, block by block; `line` is the 1-based record."""
        owner = names.add(self.name)
        first = 1
        for records in read_records(self.path):
            try:
                rows = to_rows(records, notes)
            except DataError as error:
                raise DataError(error.problem, str(self.path), first + error.line, error.hint) from None
            rows["line"] += first
            rows["owner"] = owner
            first += len(records)
            yield rows


def read_records(path: Path, block: int = BLOCK_ROWS) -> Iterator[np.ndarray]:
    """The records, block by block, whatever the size of the file; DataError for anything else in it."""
    try:
        with _open_array(path) as stream:
            if np.lib.format.read_magic(stream) == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
            if dtype != RECORD or len(shape) != 1:
                raise DataError(f"an array of {dtype} with shape {shape} is not hftbacktest's", str(path))
            for start in range(0, shape[0], block):
                count = min(block, shape[0] - start)
                data = stream.read(count * RECORD.itemsize)
                if len(data) < count * RECORD.itemsize:
                    raise DataError("the file is truncated", str(path), start + 1, "make it again")
                yield np.frombuffer(data, RECORD)
    except FileNotFoundError:
        raise DataError("no such file", str(path)) from None
    except UNREADABLE as error:
        raise DataError(f"not an array that NumPy can read ({error})", str(path)) from error


def _open_array(path: Path) -> IO[bytes]:
    if path.suffix != ".npz":
        return path.open("rb")
    archive = zipfile.ZipFile(path)
    members = archive.namelist()
    if "data.npy" not in members and len(members) != 1:
        raise DataError(f"the archive holds {', '.join(members)}, but no array 'data'", str(path))
    return archive.open("data.npy" if "data.npy" in members else members[0])


def to_rows(records: np.ndarray, notes: Notes) -> np.ndarray:
    """ROWs of the records that are for the local clock; `line` is their place from 0."""
    kinds = records["ev"] & KIND_MASK
    local = (records["ev"] & LOCAL) > 0
    wanted = local & np.isin(kinds, list(KINDS))
    alone = int((~local & (records["ev"] & EXCH == 0)).sum())
    if alone:
        notes["row for neither clock"] += alone
    for kind in np.unique(kinds[local & ~wanted]):
        if kind != DEPTH_CLEAR:
            notes[f"row of kind {kind}"] += int((local & (kinds == kind)).sum())
    lines = np.flatnonzero(wanted)
    chosen = records[lines]
    for name in ("local_ts", "exch_ts"):
        wrong = (chosen[name] < NS_FLOOR) | (chosen[name] >= NS_CEILING)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"{name} {int(chosen[name][row])} is not in nanoseconds", line=int(lines[row]))
    rows = np.zeros(len(chosen), ROW)
    rows["line"] = lines
    rows["local_us"], rows["venue_us"] = chosen["local_ts"] // NS_PER_US, chosen["exch_ts"] // NS_PER_US
    rows["seq"] = rows["ident"] = NO_SEQ
    kinds = kinds[lines]
    rows["kind"] = np.choose(kinds.astype(np.int64), [0, BOOK, TRADE, 0, BOOK, QUOTE])
    rows["bits"] = np.where(kinds == PRINT, BEGINS, np.where(kinds == DEPTH_SNAPSHOT, GROUPED | SNAP, GROUPED))
    bought, sold = (chosen["ev"] & BUYING) > 0, (chosen["ev"] & SELLING) > 0
    rows["side"] = bought.astype(np.int8) * BUY + sold.astype(np.int8) * SELL
    _set_decimals(rows, "price", chosen["px"])
    _set_decimals(rows, "size", chosen["qty"])
    return rows


def _set_decimals(rows: np.ndarray, field: str, numbers: np.ndarray) -> None:
    """Doubles as the shortest decimals that stand for them."""
    distinct, places = np.unique(numbers, return_inverse=True)
    texts = [repr(number) for number in distinct.tolist()]
    cells = [read_cell(text, NUMBER) if np.isfinite(float(text)) else (0, MISSING) for text in texts]
    table = np.array(cells, np.int64).reshape(-1, 2)
    rows[field], rows[field + "_digits"] = table[places].T


def inferred(venue: str, symbol: str, finding: np.void) -> Instrument:
    """A linear instrument with the grid that was found; DataError when there is none within 64 bits."""
    if finding["price_step"] < 0 or finding["size_step"] < 0:
        raise DataError(f"{symbol}: prices or sizes have no common step", hint="give its tick and lot as an Instrument")
    tick = step(int(finding["price_step"]), int(finding["price_digits"]))
    return Instrument(venue, symbol, "linear", tick, step(int(finding["size_step"]), int(finding["size_digits"])))


def write(path: Path | str, events: np.ndarray, instrument: Instrument, *, index: int = 0) -> Counter[str]:
    """Write the book and trade events of instrument number `index` as `data` of an `.npz` file that hftbacktest reads.

    `events` are EVENT records in order of receipt, prices and sizes in ticks and lots of `instrument`.  Written aside
    and renamed.  Returns how many rows were left out, by kind.  ConfigError when a price or size is too large to be
    told from its neighbour as a double.
    """
    path = Path(path)
    mine = events[events["instrument"] == index]
    kept = mine[np.isin(mine["kind"], (BOOK, TRADE)) & (mine["side"] != 0)]
    left_out = Counter({KIND_NAMES[int(kind)]: int((mine["kind"] == kind).sum()) for kind in np.unique(mine["kind"])})
    for kind in (BOOK, TRADE):
        left_out[KIND_NAMES[kind]] -= int((kept["kind"] == kind).sum())
    aside = path.with_name(path.name + ".part")
    try:
        with aside.open("wb") as stream:
            np.savez_compressed(stream, data=_in_both_orders(_records(kept, instrument)))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return +left_out


def write_days(
    folder: Path | str, batches: Iterable[np.ndarray], instruments: Sequence[Instrument]
) -> Counter[str]:  # fmt: skip
    """Write `SYMBOL_YYYYMMDD.npz` of each instrument and UTC day (of receipt) into `folder`; what `write` leaves out.

    `batches` are EVENT records, `ts` never stepping back; those of one day are in memory together, as they are when
    hftbacktest reads them.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    left_out: Counter[str] = Counter()
    waiting: list[np.ndarray] = []
    today = -1
    for batch in batches:
        for day, part in day_slices(batch["ts"]):
            if day != today:
                left_out += _write_day(Path(folder), today, waiting, instruments)
                today, waiting = day, []
            waiting.append(batch[part].copy())
    return left_out + _write_day(Path(folder), today, waiting, instruments)


def _write_day(
    folder: Path, day: int, parts: Sequence[np.ndarray], instruments: Sequence[Instrument]
) -> Counter[str]:  # fmt: skip
    left_out: Counter[str] = Counter()
    for index, instrument in enumerate(instruments):
        mine = [part[part["instrument"] == index] for part in parts]
        if any(map(len, mine)):
            name = f"{instrument.symbol.replace('/', '-')}_{date_of(day).replace('-', '')}.npz"
            left_out += write(folder / name, np.concatenate(mine), instrument, index=index)
    return left_out


def _doubles(counts: np.ndarray, unit: Decimal, what: str) -> np.ndarray:
    """`counts` times `unit`, each the double nearest to the exact product."""
    mantissa, digits = grid(unit)
    if (len(counts) and int(np.abs(counts).max()) * mantissa >= 2**53) or digits > 22:
        raise ConfigError(what, int(np.abs(counts).max()), f"in steps of {unit} has more digits than a double holds")
    scaled: np.ndarray = (counts * mantissa).astype(np.float64) / float(10**digits)
    return scaled


def _records(events: np.ndarray, instrument: Instrument) -> np.ndarray:
    """Records with both clocks; before each snapshot one row a side that clears it."""
    starts = np.flatnonzero(events["flags"] & CLEAR)
    out = np.zeros(len(events), RECORD)
    out["local_ts"], out["exch_ts"] = events["ts"] * NS_PER_US, events["exch_ts"] * NS_PER_US
    out["px"] = _doubles(events["price"], instrument.tick, "price")
    out["qty"] = _doubles(events["qty"], instrument.lot, "size")
    snapshot = (events["flags"] & SNAPSHOT) > 0
    kinds = np.where(events["kind"] == TRADE, PRINT, np.where(snapshot, DEPTH_SNAPSHOT, DEPTH))
    sides = np.where(events["side"] == BUY, BUYING, SELLING)
    out["ev"] = kinds | sides
    clears = np.repeat(out[starts], 2)
    clears["ev"] = np.tile([DEPTH_CLEAR | BUYING, DEPTH_CLEAR | SELLING], len(starts))
    clears["px"] = np.tile([0.0, np.inf], len(starts))
    clears["qty"] = 0
    return np.insert(out, np.repeat(starts, 2), clears)


def _in_both_orders(records: np.ndarray) -> np.ndarray:
    """Records in order of receipt as rows for both clocks; those out of the exchange's order twice, once for each."""
    count = len(records)
    by_venue = np.argsort(records["exch_ts"], kind="stable")
    place = np.empty(count, np.int64)
    place[by_venue] = np.arange(count)
    both = place == np.maximum.accumulate(place) if count else np.zeros(0, bool)
    # Between two rows for both clocks stand first the local, then the exchange's rows that belong there.
    step_of = np.cumsum(both)
    local_only = np.flatnonzero(~both)
    venue_only = by_venue[~both[by_venue]]
    venue_step = np.searchsorted(place[both], place[venue_only])
    rows = np.concatenate([np.flatnonzero(both), local_only, venue_only])
    flags = np.repeat(np.array([EXCH | LOCAL, LOCAL, EXCH], np.uint64), [both.sum(), len(local_only), len(venue_only)])
    steps = np.concatenate([step_of[both], step_of[local_only], venue_step])
    order = np.argsort(steps, kind="stable")
    out: np.ndarray = records[rows[order]]
    out["ev"] |= flags[order]
    return out


class NpzAdapter:
    """hftbacktest arrays (see `replay.sources.Adapter`)."""

    name = "hftbacktest-npz"

    def __repr__(self) -> str:
        return "NpzAdapter()"

    def open(
        self, paths: Sequence[Path], *, instruments: Sequence[Instrument] = (), **options: Any
    ) -> DataSetSource:  # fmt: skip
        """Files of one instrument as a source, or of several that their names tell apart.

        One given instrument is that of all files; several are found by their symbols.  Option: `policy` as for Tardis
        files.  DataError for what cannot be read, ConfigError for wrong options.
        """
        check_options(self.name, paths, options, ("policy", "drop_every", "drop_from"))
        files = []
        for path in map(Path, paths):
            symbol = instruments[0].symbol if len(instruments) == 1 else DATE.sub("", path.stem).upper() or path.stem
            files.append(NpzFile(path, f"{VENUE},{symbol}".encode()))
        return DataSetSource(files, inferred, instruments, options.get("policy", "repair"))


NPZ = NpzAdapter()
