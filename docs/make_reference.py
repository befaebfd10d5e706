"""Writes docs/reference.md from the docstrings of the public names: `python docs/make_reference.py`."""

from __future__ import annotations

import inspect
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

PAGE = Path(__file__).parent / "reference.md"
PARTS = {
    "Running": ["replay:Replay", "replay:RunSettings", "replay:Result", "replay:Sweep", "replay:Band",
                "replay.metrics:Metrics"],
    "Strategies": ["replay:Strategy", "replay:Context", "replay:Window", "replay.context:Book", "replay.context:Order",
                   "replay.context:Fill", "replay.context:Trade", "replay.context:Liquidation", "replay.context:Quote",
                   "replay.context:Funding", "replay.context:Gap", "replay.context:Timer", "replay.compiler:kernel"],
    "Instruments": ["replay:Instrument"],
    "Latency": ["replay:ConstantLatency", "replay:TableLatency", "replay:FeedLatency", "replay:LogNormalLatency"],
    "Queues": ["replay:RiskAverseQueue", "replay:PowerProbQueue", "replay:LogProbQueue", "replay:OptimisticQueue",
               "replay:UserQueue"],
    "Slippage": ["replay:NoSlippage", "replay:BpsSlippage", "replay:SpreadSlippage", "replay:SquareRootImpact",
                 "replay:UserSlippage"],
    "Fees and margin": ["replay:MakerTaker", "replay:TieredFees", "replay:PerContractFees", "replay:FlatFees",
                        "replay:FeesIn", "replay:UserFees", "replay:Margin"],
    "Data": ["replay.sources:Source", "replay.sources:Adapter", "replay.sources:find_adapter", "replay.store:Store",
             "replay.cache:Cache", "replay.cache:CachedSource", "replay:QualityReport"],
    "Testing": ["replay.testing:SyntheticMarket", "replay.testing:Faults", "replay.testing:FakeContext",
                "replay.testing:synthetic_events"],
    "Errors": ["replay:ReplayError", "replay:ConfigError", "replay:DataError", "replay:StrategyError",
               "replay:CompileError", "replay:TransportError", "replay:KernelError"],
}  # fmt: skip


HANDED = ("Order", "Fill", "Trade", "Liquidation", "Quote", "Funding", "Gap", "Timer")
"""What handlers are handed: their variables are listed."""


def _example(thing: type) -> str:
    """The file in the docstring of the module of a class: all indented lines."""
    text = inspect.getdoc(sys.modules[thing.__module__]) or ""
    kept = [line for line in text.splitlines() if line.startswith("    ") or not line]
    return "\n".join(kept).strip("\n")


def reference() -> str:
    """The page."""
    lines = ["# Reference", "", "Made from the docstrings by `python docs/make_reference.py`.", ""]
    for part, names in PARTS.items():
        lines += [f"## {part}", ""]
        for name in names:
            module, _, attribute = name.partition(":")
            lines += _entry(f"{module}.{attribute}", attribute, getattr(import_module(module), attribute), "###")
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines()).rstrip() + "\n"


def _entry(path: str, title: str, thing: Any, level: str) -> list[str]:
    lines = [f"{level} `{title}`", "", f"`{path}{_signature(thing)}`", "", _words(thing), ""]
    if not inspect.isclass(thing):
        return lines
    if title in HANDED:
        names = dict.fromkeys(name for base in thing.__mro__ for name in vars(base).get("__slots__", ()))
        lines += [f"Variables: {', '.join(f'`{name}`' for name in sorted(names) if name[0] != '_')}.", ""]
    if title == "RunSettings":
        lines += ["```toml", textwrap.dedent(_example(thing)), "```", ""]
    for name, member in vars(thing).items():
        if name.startswith("_") or not (inspect.getdoc(member) or "").strip():
            continue
        if isinstance(member, property):
            lines += [f"* **`{name}`** {_words(member, indent=2)}"]
        elif isinstance(member, (FunctionType, classmethod, staticmethod)):
            function = getattr(thing, name)
            lines += [f"* **`{name}{_signature(function)}`** {_words(function, indent=2)}"]
    return lines if not lines[-1] else [*lines, ""]


def _signature(thing: Any) -> str:
    """Arguments with defaults, without annotations and `self`; nothing for what takes none of its own."""
    if inspect.isclass(thing) and (
        issubclass(thing, BaseException) or isinstance(vars(thing).get("__new__"), staticmethod)
    ):
        thing = thing.__init__
    try:
        found = inspect.signature(thing)
    except (ValueError, TypeError):
        return ""
    kept = [p.replace(annotation=p.empty) for p in found.parameters.values() if p.name != "self"]
    shown = [p if p.default is p.empty or len(repr(p.default)) < 40 else p.replace(default=...) for p in kept]
    return str(found.replace(parameters=shown, return_annotation=found.empty)).replace("Ellipsis", "…")


def _words(thing: Any, indent: int = 0) -> str:
    return (inspect.getdoc(thing) or "").replace("\n", "\n" + " " * indent)


if __name__ == "__main__":
    sys.path.insert(0, str(PAGE.parents[1]))
    PAGE.write_text(reference())
