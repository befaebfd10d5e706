"""The models of a run, for each instrument: names, defaults, checks.

A setting is one model for all instruments, or a dict `{"venue:symbol": model}` for some of them.  The same names may
be set for one strategy of a run (`Strategy.under`), which then differs from the others in just that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from replay.errors import ConfigError, did_you_mean
from replay.instruments import Instrument
from replay.kernel import codes
from replay.models import (
    ConstantLatency,
    Fees,
    Latency,
    MakerTaker,
    Margin,
    NoSlippage,
    Queue,
    RiskAverseQueue,
    Slippage,
    fee_currency,
    fee_unit,
)

Models = dict[str, list[Any]]
"""A value for each instrument, by the name of the setting."""

DEFAULTS: dict[str, Any] = {
    "latency": ConstantLatency(),
    "queue": RiskAverseQueue(),
    "slippage": NoSlippage(),
    "fees": MakerTaker(),
    "margin": None,
    "execution": "partial",
    "consume": None,
    "self_trade": None,
    "on_gap": "reject",
    "borrow": False,
    "min_notional": 0.0,
}

_KINDS = {"latency": Latency, "queue": Queue, "slippage": Slippage, "fees": Fees, "margin": Margin | None}
_SELF_TRADE = {"cancel-newest": codes.SELF_CANCEL_NEWEST, "cancel-oldest": codes.SELF_CANCEL_OLDEST,
               "allow": codes.SELF_ALLOW}  # fmt: skip
_EXECUTIONS = {"full": codes.EXECUTION_FULL, "partial": codes.EXECUTION_PARTIAL}
_ON_GAP = {"reject": 0, "hold": 1}


def models_for(instruments: Sequence[Instrument], given: Mapping[str, Any]) -> Models:
    """The models that `given` says, defaults for the rest.  Raises ConfigError for anything unknown or unfit."""
    models = {name: _each(instruments, name, given.get(name, default)) for name, default in DEFAULTS.items()}
    for i in range(len(instruments)):
        slot_settings(models, i)
    return models


def models_under(instruments: Sequence[Instrument], models: Models, given: Mapping[str, Any]) -> Models:
    """`models` with those of one strategy in their place.

    Raises ConfigError for anything unknown or unfit, and for fees in another currency than the run's.
    """
    for name in given:
        if name not in DEFAULTS:
            raise ConfigError(f"under({name})", given[name], "is no model", did_you_mean(name, DEFAULTS))
    changed = models | {name: _each(instruments, name, value) for name, value in given.items()}
    for i, instrument in enumerate(instruments):
        slot_settings(changed, i)
        ours, theirs = changed["fees"][i], models["fees"][i]
        if (fee_currency(ours, instrument), fee_unit(instrument, ours)) != (
            fee_currency(theirs, instrument), fee_unit(instrument, theirs),
        ):  # fmt: skip
            raise ConfigError(
                "under(fees)", ours, f"is not counted in what the run counts fees of {instrument.name} in"
            )
    return changed


def _each(instruments: Sequence[Instrument], name: str, setting: Any) -> list[Any]:
    names = [instrument.name for instrument in instruments]
    if not isinstance(setting, Mapping):
        values = [setting] * len(names)
    else:
        for key in setting:
            if key not in names:
                raise ConfigError(name, key, "is not an instrument of this replay", did_you_mean(key, names))
        values = [setting.get(key, DEFAULTS[name]) for key in names]
    if name in _KINDS:
        for value in values:
            if not isinstance(value, _KINDS[name]):
                raise ConfigError(name, value, "is not a model of that kind", "see replay.models")
    return values


def _choice(name: str, value: str, known: Mapping[str, int]) -> int:
    if value not in known:
        raise ConfigError(name, value, "is not known", did_you_mean(str(value), known))
    return known[value]


def slot_settings(models: Models, i: int) -> dict[str, Any]:
    """The numbers that the kernels read for instrument `i`, besides the models' own records; ConfigError."""
    m = {name: values[i] for name, values in models.items()}
    execution = _choice("execution", m["execution"], _EXECUTIONS)
    partial = execution == codes.EXECUTION_PARTIAL
    consume = partial if m["consume"] is None else bool(m["consume"])
    if consume and not partial:
        raise ConfigError("consume", True, "does nothing with execution='full'", "leave it out")
    self_trade = m["self_trade"] or ("cancel-newest" if partial else "allow")
    return {
        "execution": execution,
        "consume": int(consume),
        "self_trade": _choice("self_trade", self_trade, _SELF_TRADE),
        "hold": _choice("on_gap", m["on_gap"], _ON_GAP),
        "borrow": int(bool(m["borrow"])),
        "min_notional": float(m["min_notional"]),
    }


def described(instruments: Sequence[Instrument], models: Models) -> dict[str, dict[str, str]]:
    """The models as text, for results."""
    return {name: {i.name: repr(v) for i, v in zip(instruments, values)} for name, values in models.items()}
