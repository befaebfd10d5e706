"""Finding a strategy, or a function of a user's own, by the name that stands in an argument or a file.

`package.module:Name` is imported as Python does, after the given folder was put in front of the search path;
`path/to/file.py:Name` is run from that file, with its folder in front, so that it can import what lies beside it.
What goes wrong in user code while it is imported is a ConfigError that names its file and line.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from replay.errors import ConfigError, did_you_mean
from replay.strategy import Strategy

_NOT_THE_USERS = (str(Path(__file__).parent), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))


def load_strategy(setting: str, name: str, folder: Path) -> type[Strategy]:
    """The Strategy class called `name`; `setting` is how errors call the place where the name stands.

    Raises ConfigError when there is no such module, file or class, it cannot be imported, or it is no class of ours.
    """
    module, found = _load(setting, name, folder, "strategies.market_maker:MarketMaker")
    if isinstance(found, Strategy):
        raise ConfigError(setting, name, "is an instance", f"name its class, {type(found).__name__}")
    if inspect.isclass(found) and issubclass(found, Strategy) and found is not Strategy:
        return found
    wanted = name.rpartition(":")[2]
    if inspect.isclass(found) and found is not Strategy:
        raise ConfigError(
            setting, name, f"{wanted} is not a Strategy", f"write class {wanted}(Strategy), from replay import Strategy"
        )
    classes = [
        key for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Strategy) and value is not Strategy
    ]  # fmt: skip
    hint = did_you_mean(wanted, classes) if classes else "write class MyStrategy(Strategy) in it"
    raise ConfigError(setting, name, f"{_called(module)} has no Strategy of that name", hint)


def load_function(setting: str, name: str, folder: Path) -> Any:
    """The function called `name`, for a model of a user's own.  ConfigError as `load_strategy`."""
    module, found = _load(setting, name, folder, "my_models:my_queue")
    if not callable(found):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        hint = did_you_mean(name.rpartition(":")[2], functions)
        raise ConfigError(setting, name, f"{_called(module)} has no function of that name", hint)
    return found


def place_of(trace: TracebackType | None) -> str:
    """`file.py:12` of the innermost user code in `trace`: neither ours nor Python's nor a package's; "" without any."""
    for frame in reversed(traceback.extract_tb(trace)):
        if Path(frame.filename).is_file() and not frame.filename.startswith(_NOT_THE_USERS):
            return f"{frame.filename}:{frame.lineno}"
    return ""


def _called(module: ModuleType) -> str:
    """What a person calls it."""
    return Path(module.__file__).name if "@" in module.__name__ and module.__file__ else module.__name__


def _load(setting: str, name: str, folder: Path, example: str) -> tuple[ModuleType, Any]:
    """The module, and what is called NAME in it (None when nothing is)."""
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise ConfigError(setting, name, "is neither MODULE:CLASS nor FILE.py:CLASS", f"for example {example}")
    path = folder / place if _is_file(place) else None
    if path is not None and not path.is_file():
        raise ConfigError(setting, name, f"there is no file {path}")
    first = str((folder if path is None else path.parent).resolve())
    if first not in sys.path:
        sys.path.insert(0, first)
    try:
        module = importlib.import_module(place) if path is None else _run(path)
    except ModuleNotFoundError as error:
        if path is None and error.name is not None and f"{place}.".startswith(f"{error.name}."):
            hint = f"it is looked for in {first}" + (f"; or write {place}.py:{attribute}" if "." not in place else "")
            raise ConfigError(setting, name, f"there is no module {error.name!r}", hint) from None
        raise _broken(setting, name, error) from error
    except Exception as error:
        raise _broken(setting, name, error) from error
    return module, getattr(module, attribute, None)


def _is_file(place: str) -> bool:
    return place.endswith(".py")


def _run(path: Path) -> ModuleType:
    """The module that the file makes; under a name of its own, for two folders may hold files of one name."""
    path = path.resolve()
    name = f"{path.stem}@{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _broken(setting: str, name: str, error: Exception) -> ConfigError:
    """What went wrong in the user's file, and where."""
    where = f"{error.filename}:{error.lineno}" if isinstance(error, SyntaxError) else place_of(error.__traceback__)
    said = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        said = f"{type(error).__name__}: {error.msg}"
    if "relative import" in said:
        where += ", write `import other` for the file other.py beside it"
    return ConfigError(setting, name, f"cannot be imported: {said}", f"see {where}" if where else "")
