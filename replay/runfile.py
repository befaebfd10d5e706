"""Everything that a run is made of, as plain settings: the file run.toml, or the same as a dict.

    [data]
    files = ["btcusdt_20240808.gz"]         # relative to this file; or store = "store", or stream = "redis://…"
    adapter = "binance-usdm"                # of files
    repair = "wait"                         # of files: also "bridge", or "refetch" with relay = "https://…"
    cache = "512M"                          # of a store, also "512M,redis://…"; prefetch = true fills it first
    instruments = ["binance-usdm:BTCUSDT"]  # of a store: only these, in the strategy's order
    start = 2024-08-08T23:54:15Z            # or whole µs; also end

    [instruments."binance-usdm:BTCUSDT"]    # terms that are known (files only); else found in the data
    tick = "0.1"
    lot = "0.001"

    [models]                                # any of replay.models by name, and the other settings of Replay
    latency = { model = "ConstantLatency", entry = 10_000, response = 10_000 }
    queue = "RiskAverseQueue"

    [models."binance-usdm:BTCUSDT"]         # what is different for one instrument
    execution = "full"

    [strategy]
    class = "strategies.market_maker:MarketMaker"  # or "my_file.py:Maker"
    folder = "."                            # where that is looked for
    parameters = { lots = 5 }

    [run]
    mode = "auto"                           # also deposit, warm_up_us, sample_us; speed = 1 is the recording's pace

    [output]
    save = "result"                         # folder that is made
    report = "report.html"                  # page that is made
    fills = 10                              # how many are listed

Beside a saved result lies such a file with absolute paths and a table `[recorded]`: digests of the data, of the
strategy's file and of the result.  Running that file again refuses data that are not the same, and tells whether the
result is.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from decimal import Decimal, InvalidOperation
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import tomli_w

from replay import models as model_classes
from replay.engine import Progress, Replay
from replay.errors import ConfigError, DataError, did_you_mean
from replay.instruments import Instrument
from replay.loading import load_function, load_strategy
from replay.pacing import Paced
from replay.reading import cache_of, repair_options
from replay.results import Result
from replay.saving import RUN_FILE, check_place, save
from replay.session import MODES
from replay.settings import DEFAULTS
from replay.sources import Source, digests_of, file_digests, find_adapter, open_stream
from replay.strategy import Strategy
from replay.tables import Table
from replay.units import US_PER_S, us_from_time

if TYPE_CHECKING:
    from replay.store import StoreSource

DATA_KEYS = (
    "files",
    "adapter",
    "store",
    "stream",
    "instruments",
    "start",
    "end",
    "repair",
    "relay",
    "cache",
    "prefetch",
)
KEY_OF = {
    "adapter": "files", "repair": "files", "relay": "files", "instruments": "store", "cache": "store",
    "prefetch": "store",
}  # fmt: skip
"""What must be there beside a key."""
TABLES = ("data", "instruments", "models", "strategy", "run", "output", "recorded")
LEAST_US, MOST_US = 631_152_000 * US_PER_S, 4_102_444_800 * US_PER_S
"""The years from 1990 to 2099: what lies outside is a time in other units."""
RUN_KEYS = {"deposit": float, "warm_up_us": int, "sample_us": int, "batch_rows": int}
_DECIMALS = ("tick", "lot", "multiplier", "strike")
_TERMS = {"payoff": str, "settle": str, "right": str, "expiry_us": int, "underlying": str}
_MODELS: dict[str, tuple[type, ...]] = {
    "latency": get_args(model_classes.Latency),
    "queue": get_args(model_classes.Queue),
    "slippage": get_args(model_classes.Slippage),
    "fees": get_args(model_classes.Fees),
    "margin": (model_classes.Margin,),
}
"""Classes by the setting that they are values of."""
_PLAIN = {"execution": str, "consume": bool, "self_trade": str, "on_gap": str, "borrow": bool, "min_notional": float}
"""The settings of `replay.settings.DEFAULTS` that are plain values."""


class RunSettings:
    """A run as plain settings `given` (see above); `folder` is what its relative paths start from.

    Everything that can be checked without the data is checked here: a ConfigError names the file, line and key.
    """

    def __init__(self, given: Mapping[str, Any], folder: str | Path = ".", *, name: str = "", text: str = "") -> None:
        self.folder = Path(folder)
        self.top = Table(given, name, text)
        self.top.only(TABLES)
        self.data, self._strategy = self.top.table("data"), self.top.table("strategy")
        self.run_table, self.output = self.top.table("run"), self.top.table("output")
        self._check_data()
        self._check_run()
        self.strategy_class = self._load_strategy()
        self.terms = [self._terms(name) for name in self.top.table("instruments").given]
        self.models = models_by_instrument(self.top.table("models"), self.code_folder)
        self.recorded = self.top.table("recorded")
        self.recorded.only(("digest", "strategy", "data", "versions"))
        self.relay_key = ""
        self.paced: Paced | None = None

    @classmethod
    def from_toml(cls, path: str | Path) -> RunSettings:
        """The settings in a file; paths in it are relative to its folder.  DataError when it is no TOML."""
        path = Path(path)
        try:
            text = path.read_bytes().decode("utf-8-sig")
            given = tomllib.loads(text)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", fspath(path)) from None
        except UnicodeDecodeError as error:
            raise DataError(f"is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}", fspath(path),
                            hint="save it as UTF-8") from None  # fmt: skip
        except tomllib.TOMLDecodeError as error:
            raise DataError(f"is not TOML: {error}", fspath(path)) from None
        return cls(given, path.parent, name=fspath(path), text=text)

    # ---------------------------------------------------------------------------------------------------- checking

    def _check_data(self) -> None:
        data = self.data
        data.only(DATA_KEYS)
        self.files = [self.folder / name for name in data.texts("files")]
        self.instruments = data.texts("instruments")
        self.stream, store = data.get("stream", str), data.get("store", str)
        self.store = None if store is None else self.folder / store
        if sum((bool(self.files), self.store is not None, self.stream is not None)) != 1:
            hint = "write store = …, or files = […], adapter = …, or stream = …"
            raise data.wrong("", "name files with an adapter, a store, or a stream", hint)
        for key in data.given:
            kind = KEY_OF.get(key, "")
            if kind and kind not in data.given:
                raise data.wrong(key, "is for stores" if kind == "store" else "is for files")
        self.adapter = None
        if self.files:
            if len({path.resolve() for path in self.files}) < len(self.files):
                raise data.wrong("files", "names a file twice")
            if "adapter" not in data.given:
                raise data.wrong("adapter", "is missing", "files need one: who wrote them")
            with data.blamed("adapter"):
                self.adapter = find_adapter(data.get("adapter", str))
        elif self.top.table("instruments").given:
            raise self.top.wrong("instruments", "is for files", "a store or stream knows the terms")
        self.repair, self.relay = data.get("repair", str), data.get("relay", str, "")
        self.cache, self.prefetch = data.get("cache", str), data.get("prefetch", bool, False)
        if self.prefetch and self.cache is None:
            raise data.wrong("prefetch", "needs a cache", 'for example cache = "1G"')
        self.start, self.end = (self._time(key) for key in ("start", "end"))

    def _time(self, key: str) -> Any:
        value = self.data.given.get(key)
        if isinstance(value, int) and not LEAST_US <= value <= MOST_US:
            raise self.data.wrong(
                key, "is not in microseconds since 1970", "seconds have 10 digits, ms 13, µs 16, ns 19"
            )
        if isinstance(value, bool) or not isinstance(value, (int, str, date, type(None))):
            raise self.data.wrong(key, "must be a time", "for example 2024-08-08T23:54:15Z")
        return value.isoformat() if isinstance(value, date) else value

    def _check_run(self) -> None:
        self.run_table.only(("mode", "speed", *RUN_KEYS))
        self.mode = self.run_table.get("mode", str, "auto")
        if self.mode not in MODES:
            raise self.run_table.wrong("mode", "is not known", did_you_mean(self.mode, MODES))
        self.numbers = {
            key: self.run_table.get(key, kind) for key, kind in RUN_KEYS.items() if key in self.run_table.given
        }
        self.speed = self.run_table.get("speed", float)
        self.output.only(("save", "report", "fills"))
        self.save_to, self.report_to = self._place("save"), self._place("report")
        self.fills = self.output.get("fills", int, 10)
        if self.fills < 0:
            raise self.output.wrong("fills", "must be at least 0", "it says how many of the last fills are listed")

    def _place(self, key: str) -> Path | None:
        place = self.output.get(key, str)
        return None if place is None else self.folder / place

    def _load_strategy(self) -> type[Strategy]:
        table = self._strategy
        table.only(("class", "folder", "parameters"))
        if "class" not in table.given:
            raise table.wrong("class", "is missing", 'write class = "my_file.py:MyStrategy"')
        self.code_folder = self.folder / table.get("folder", str, ".")
        with table.blamed("class"):
            return load_strategy("class", table.get("class", str), self.code_folder)

    def strategy(self) -> Strategy:
        """A new instance with the parameters of the settings."""
        parameters = self._strategy.table("parameters")
        for key in parameters.given:
            known = self.strategy_class.parameter_types()
            if key not in known:
                problem = f"{self.strategy_class.__name__} has no such parameter"
                raise parameters.wrong(key, problem, did_you_mean(key, known))
        with parameters.blamed():
            return self.strategy_class(**parameters.given)

    def _terms(self, name: str) -> Instrument:
        table = self.top.table("instruments").table(name)
        table.only((*_DECIMALS, *_TERMS))
        venue, colon, symbol = name.partition(":")
        if not (venue and colon and symbol):
            raise table.wrong("", "is not venue:SYMBOL")
        for key in ("tick", "lot"):
            if key not in table.given:
                raise table.wrong(key, "is missing", f'write {key} = "0.1"')
        terms: dict[str, Any] = {key: table.get(key, kind) for key, kind in _TERMS.items() if key in table.given}
        for key in _DECIMALS:
            if key in table.given:
                try:
                    terms[key] = Decimal(str(table.given[key]))
                except InvalidOperation:
                    raise table.wrong(key, "is not a decimal number") from None
        with table.blamed():
            return Instrument(venue, symbol, **{"payoff": "linear", **terms})

    # ----------------------------------------------------------------------------------------------------- running

    def replay(self, progress: Progress | None = None) -> Replay:
        """Open the data.  Raises ConfigError and DataError; DataError when they are not those that were recorded."""
        source = self._open()
        self._compare_data(source)
        if not source.instruments:
            raise self.data.wrong("store", "holds nothing", "import something first: replay import …")
        start_us = self._start_us()
        with self._placed():
            if self.speed is not None:
                source = self.paced = Paced(source, self.speed, start_us=start_us)
            return Replay(
                source, instruments=self.instruments or self.terms, start=self.start, end=self.end, progress=progress,
                **self.numbers, **self._models_over([instrument.name for instrument in source.instruments]),
            )  # fmt: skip

    def _start_us(self) -> int | None:
        with self.data.blamed("start"):
            try:
                return None if self.start is None else us_from_time(self.start)
            except ValueError as error:
                raise ConfigError("start", self.start, str(error)) from None

    def _open(self) -> Source:
        """The data."""
        from replay.store import Store

        if self.stream is not None:
            with self.data.blamed("stream"):
                return open_stream(self.stream)
        if self.adapter is not None:
            with self.data.blamed():
                options = repair_options(self.adapter.name, self.repair, self.relay, self.relay_key)
            return self.adapter.open(self.files, instruments=self.terms, **options)
        assert self.store is not None
        start_us = self._start_us()
        with self.data.blamed("store"):
            store = Store(self.store)
            known = store.names()
        for name in self.instruments:
            if name not in known:
                raise self.data.wrong("instruments", f"{name} is not in the store", did_you_mean(name, known))
        with self.data.blamed("store"):
            if self.cache is None:
                return store.source(self.instruments, start_us, warm=True)
            source = store.source(self.instruments)
        return self._cached(source, self.cache)

    def _cached(self, source: StoreSource, cache: str) -> Source:
        from replay.cache import CachedSource

        with self.data.blamed("cache"):
            cached = CachedSource(source, cache_of(cache))
        if self.prefetch:
            cached.prefetch()
        return cached

    @contextmanager
    def _placed(self) -> Iterator[None]:
        """Let errors of Replay name the key that they are about."""
        try:
            yield
        except ConfigError as error:
            for table in (self.data, self.run_table):
                if error.name in table.given:
                    raise table.wrong(error.name, error.problem, error.hint) from error
            raise

    def _models_over(self, names: list[str]) -> dict[str, Any]:
        """The models as Replay wants them: one, or one by instrument where one of them has its own."""
        for name in self.models:
            if name and name not in names:
                table = self.top.table("models").table(name)
                raise table.wrong("", "is not an instrument of this run", did_you_mean(name, names))
        out = dict(self.models[""])
        for key in {key for name, own in self.models.items() if name for key in own}:
            general = self.models[""].get(key, DEFAULTS[key])
            out[key] = {name: self.models.get(name, {}).get(key, general) for name in names}
        return out

    def run(
        self, progress: Progress | None = None, opened: Callable[[Replay], None] = lambda replay: None
    ) -> Result:  # fmt: skip
        """Run the strategy, and save result and report where the settings say so; `opened` is called before the first
        event.

        Raises what `replay` does and StrategyError, and DataError when the result cannot be saved.
        """
        strategy = self.strategy()
        if self.save_to is not None:
            check_place(self.save_to)
        replay = self.replay(progress)
        opened(replay)
        with self._placed():
            result = replay.run(strategy, mode=self.mode)
        if self.save_to is not None:
            save(result, self.save_to, {RUN_FILE: self.to_toml(result)})
        if self.report_to is not None:
            result.to_html(self.report_to)
        return result

    # ---------------------------------------------------------------------------------------------------- recording

    def to_toml(self, result: Result | None = None) -> str:
        """The settings as a file that can lie anywhere; with what `result` came from, and its digest."""
        tables: dict[str, Any] = {key: dict(self.top.given[key]) for key in TABLES if key in self.top.given}
        tables.pop("recorded", None)
        for key in ("save", "report"):
            tables.get("output", {}).pop(key, None)
        data, strategy = tables["data"], tables["strategy"]
        if self.files:
            data["files"] = [fspath(path.resolve()) for path in self.files]
        elif self.store is not None:
            data["store"] = fspath(self.store.resolve())
        strategy["folder"] = fspath(self.code_folder.resolve())
        if result is not None:
            tables["recorded"] = {
                "digest": result.digest,
                "strategy": self._code_digest(),
                "versions": result.versions,
                "data": {self._absolute(name): digest for name, digest in result.data.items()},
            }
        return tomli_w.dumps(tables)

    def _absolute(self, name: str) -> str:
        return fspath(Path(name).resolve()) if self.files else name

    def _code_digest(self) -> str:
        path = inspect.getsourcefile(self.strategy_class)
        return next(iter(file_digests([Path(path)]).values())) if path else ""

    def _compare_data(self, source: Source) -> None:
        recorded = self.recorded.get("data", dict, {})
        if not recorded:
            return
        found = {self._absolute(name): digest for name, digest in digests_of(source).items()}
        for name in sorted(recorded | found):
            if recorded.get(name) != found.get(name):
                problem = (
                    "has changed" if name in found and name in recorded else "is new" if name in found else "is gone"
                )
                raise DataError(
                    f"{name} {problem} since this run was recorded", self.top.name,
                    hint="bring the data back, or remove [recorded] to run with these",
                )  # fmt: skip

    def differences(self, result: Result) -> list[str]:
        """Why `result` is not the recorded one, one line each; empty when it is, or when none was recorded."""
        wanted = self.recorded.get("digest", str, "")
        if not wanted or wanted == result.digest:
            return []
        reasons = [f"the digest is {result.digest[:12]}…, recorded was {wanted[:12]}…"]
        if self.recorded.get("strategy", str) != self._code_digest():
            reasons.append("the file of the strategy has changed")
        for name, version in self.recorded.table("versions").given.items():
            if result.versions.get(name) != version:
                reasons.append(f"{name} was {version} and is {result.versions.get(name)}")
        return reasons


def models_by_instrument(table: Table, folder: Path) -> dict[str, dict[str, Any]]:
    """The models that a table says by instrument name, under "" those for all; `folder` is where functions are found.

    Raises ConfigError naming the place.
    """
    names = [key for key in table.given if ":" in key]
    table.only((*DEFAULTS, *names))
    found = {"": _settings(table, [key for key in table.given if key not in names], folder)}
    for name in names:
        own = table.table(name)
        own.only(DEFAULTS)
        found[name] = _settings(own, list(own.given), folder)
    return found


def _settings(table: Table, keys: list[str], folder: Path) -> dict[str, Any]:
    return {key: table.get(key, _PLAIN[key]) if key in _PLAIN else _model(table, key, key, folder) for key in keys}


def _model(table: Table, key: str, setting: str, folder: Path) -> Any:
    """The model under `key`: its name, or a table with that and its parameters."""
    classes = {kind.__name__: kind for kind in _MODELS[setting]}
    if isinstance(table.given[key], str):
        table = Table({key: {"model": table.given[key]}}, table.name, table.text, table.keys)
    own = table.table(key)
    chosen = own.get("model", str, next(iter(classes)) if len(classes) == 1 else "")
    if chosen not in classes:
        raise own.wrong("model", f"is no model of {setting}", did_you_mean(chosen, classes))
    wanted = inspect.signature(classes[chosen]).parameters
    own.only(("model", *wanted))
    given = {name: value for name, value in own.given.items() if name != "model"}
    for name, parameter in wanted.items():
        if parameter.default is parameter.empty and name not in given:
            raise own.wrong(name, f"is missing: {chosen} needs it")
    if "function" in given:
        with own.blamed("function"):
            given["function"] = load_function("function", own.get("function", str), folder)
    if setting == "fees" and "fees" in given:
        given["fees"] = _model(own, "fees", "fees", folder)
    with own.blamed():
        return classes[chosen](**given)
