"""tickreplay: tick-level replay of crypto markets with verified books and fills that can be believed.

Names are loaded when they are first used, so that `import replay` costs nothing and Numba is only loaded by those who
run something.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from replay._version import __version__

_HOME = {
    "Band": "replay.sweep",
    "BpsSlippage": "replay.models",
    "CompileError": "replay.errors",
    "ConfigError": "replay.errors",
    "ConstantLatency": "replay.models",
    "Context": "replay.context",
    "DataError": "replay.errors",
    "FeedLatency": "replay.models",
    "FeesIn": "replay.models",
    "FlatFees": "replay.models",
    "Instrument": "replay.instruments",
    "KernelError": "replay.errors",
    "LogNormalLatency": "replay.models",
    "LogProbQueue": "replay.models",
    "MakerTaker": "replay.models",
    "Margin": "replay.models",
    "NoSlippage": "replay.models",
    "OptimisticQueue": "replay.models",
    "PerContractFees": "replay.models",
    "PowerProbQueue": "replay.models",
    "QualityReport": "replay.quality",
    "Replay": "replay.engine",
    "ReplayError": "replay.errors",
    "Result": "replay.results",
    "RiskAverseQueue": "replay.models",
    "RunSettings": "replay.runfile",
    "SpreadSlippage": "replay.models",
    "SquareRootImpact": "replay.models",
    "Strategy": "replay.strategy",
    "StrategyError": "replay.errors",
    "Sweep": "replay.sweep",
    "TableLatency": "replay.models",
    "TieredFees": "replay.models",
    "TransportError": "replay.errors",
    "UserFees": "replay.models",
    "UserQueue": "replay.models",
    "UserSlippage": "replay.models",
    "Window": "replay.window",
}

__all__ = [
    "Band",
    "BpsSlippage",
    "CompileError",
    "ConfigError",
    "ConstantLatency",
    "Context",
    "DataError",
    "FeedLatency",
    "FeesIn",
    "FlatFees",
    "Instrument",
    "KernelError",
    "LogNormalLatency",
    "LogProbQueue",
    "MakerTaker",
    "Margin",
    "NoSlippage",
    "OptimisticQueue",
    "PerContractFees",
    "PowerProbQueue",
    "QualityReport",
    "Replay",
    "ReplayError",
    "Result",
    "RiskAverseQueue",
    "RunSettings",
    "SpreadSlippage",
    "SquareRootImpact",
    "Strategy",
    "StrategyError",
    "Sweep",
    "TableLatency",
    "TieredFees",
    "TransportError",
    "UserFees",
    "UserQueue",
    "UserSlippage",
    "Window",
    "__version__",
]

if TYPE_CHECKING:
    from replay.context import Context
    from replay.engine import Replay
    from replay.errors import (
        CompileError,
        ConfigError,
        DataError,
        KernelError,
        ReplayError,
        StrategyError,
        TransportError,
    )
    from replay.instruments import Instrument
    from replay.models import (
        BpsSlippage,
        ConstantLatency,
        FeedLatency,
        FeesIn,
        FlatFees,
        LogNormalLatency,
        LogProbQueue,
        MakerTaker,
        Margin,
        NoSlippage,
        OptimisticQueue,
        PerContractFees,
        PowerProbQueue,
        RiskAverseQueue,
        SpreadSlippage,
        SquareRootImpact,
        TableLatency,
        TieredFees,
        UserFees,
        UserQueue,
        UserSlippage,
    )
    from replay.quality import QualityReport
    from replay.results import Result
    from replay.runfile import RunSettings
    from replay.strategy import Strategy
    from replay.sweep import Band, Sweep
    from replay.window import Window


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'replay' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
